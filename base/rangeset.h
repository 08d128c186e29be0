/*
 * A set of byte ranges, half open [start, end), kept sorted, disjoint and never touching (R1).
 *
 * Errors     -ENOMEM leaves the set as it was.
 * Threads    None of its own; the owner's lock protects a set.
 */
#pragma once

#include "base/util.h"

#include <stdbool.h>

struct range {
        uint64_t start, end;
};

struct rangeset {
        struct range *ranges; /* heap; sorted (R1) */
        size_t count, capacity;
        uint64_t total; /* bytes in all ranges */
};

void rangeset_done(struct rangeset *s); /* frees; the set is empty and usable afterwards */

/* Adds a range, merging it with all that it overlaps or touches. Empty ranges are ignored. */
int rangeset_add(struct rangeset *s, uint64_t start, uint64_t end);

/* Takes a range away, splitting what it cuts. */
int rangeset_remove(struct rangeset *s, uint64_t start, uint64_t end);

int rangeset_copy(struct rangeset *to, const struct rangeset *from); /* @to is replaced */

/* True when every byte of the range is in the set (an empty range always is). */
bool rangeset_covers(const struct rangeset *s, uint64_t start, uint64_t end);

/* The end of the run of held bytes that begins at @offset; @offset itself where it is not held. */
uint64_t rangeset_run_end(const struct rangeset *s, uint64_t offset);

/* The first part of [@from, @limit) that is not in the set; false when there is none. */
bool rangeset_next_hole(const struct rangeset *s, uint64_t from, uint64_t limit, struct range *ret);
