/*
 * Names in the store, as `verify` looks at them (recheck_names.h): told like damaged files, and mended.
 *
 * Threads    One at a time for a struct repair.
 */
#pragma once

#include "cli/verify_repair.h"
#include "index/recheck_names.h"

/* Adds the finding to damaged. 0; what @emit gave. */
int repair_name(struct repair *p, const struct recheck_name *n, pull_event_fn emit, void *arg);
