/*
 * A sentence for the person: what failed and what to do about it.
 *
 * Functions that open or check something for a person take a `struct errmsg *` besides
 * returning a negative errno. The caller that stops the error's travel prints it.
 *
 * Ownership  Embedded by the caller; NULL is allowed everywhere and ignored.
 */
#pragma once

#include "base/util.h"

struct errmsg {
        char text[1024]; /* empty: nothing was said */
};

/* Sets the sentence, replacing an earlier one, and returns @r, so that it can end a function. */
int errmsg_set(struct errmsg *e, int r, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The sentence, or the text of negative errno @r where nothing was said. */
const char *errmsg_get(const struct errmsg *e, int r);
