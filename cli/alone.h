/*
 * The parts of a daemon without its mount, for a command that works on the store where no daemon has the
 * state folder.
 *
 * Errors     0 or negative errno with a sentence.
 */
#pragma once

#include "cli/service.h"

struct alone {
        struct service service;
        bool open;
};

/* Opens the index, and with @hub what may go to the hub (service.fetch is NULL without). Says warnings on
 * standard error. */
int alone_open(struct options *o, bool hub, struct alone *ret, struct errmsg *err);
void alone_close(struct alone *a);

/* For commands that must not make a store where there is none. */
int store_must_exist(const struct options *o, struct errmsg *err);
