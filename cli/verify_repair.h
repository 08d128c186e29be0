/*
 * What becomes of one file that a recheck found to be wrong: it is told, and repaired if that is wanted.
 *
 * Threads    One at a time for a struct repair.
 */
#pragma once

#include "cli/pull.h"
#include "index/recheck.h"

struct repair {
        struct service *service; /* fetch may be NULL where nothing is to be repaired */
        const atomic_bool *cancel;
        bool wanted;
        json_t *damaged; /* verify.h's result */
        size_t left;     /* not repaired */
};

/* Adds the item to damaged. 0; -ECANCELED; what @emit gave. */
int repair_item(struct repair *p, const struct recheck_item *item, pull_event_fn emit, void *arg);
