/*
 * Where the log of a daemon in the background goes: the journal where there is one, else
 * STATE/weightfs.log, of which one older part is kept (weightfs.log.1).
 *
 * Threads    logsink_open() before the first other thread; logsink_turn() from one thread.
 */
#pragma once

#include "base/errmsg.h"

#include <stdbool.h>

struct logsink {
        char *path; /* heap; NULL: standard error needs no care */
};

/* In front, standard error stays as it is; else it is pointed to the journal or the file. */
int logsink_open(struct logsink *l, const char *state, bool foreground, struct errmsg *err);
void logsink_done(struct logsink *l);

/* Starts a new file when the present one is above LOGSINK_MAX; call now and then. */
#define LOGSINK_MAX (16 << 20)
void logsink_turn(struct logsink *l);
