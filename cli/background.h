/*
 * Going to the background: the process forks before its first thread; the parent stays until the
 * child is ready or has failed, and ends with that result.
 */
#pragma once

#include "base/errmsg.h"

#include <stdbool.h>

struct background {
        int pipe; /* to the parent; -1: in front, or told already */
        int say;  /* where errors go until ready: the terminal that started us */
};

/*
 * Forks; returns in the child only (the parent ends here). In front: does not fork, and says to
 * standard error.
 */
int background_begin(struct background *b, bool foreground, struct errmsg *err);

/* Writes a line for the person who started us: before ready to the terminal, never later. */
void background_say(struct background *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The mount is ready: the parent ends with 0; the terminal is let go. */
void background_ready(struct background *b);

/* It failed: the parent ends with 1. The sentence was said. */
void background_failed(struct background *b);
