/*
 * A growing list of strings, and the nearest of some words ("did you mean").
 *
 * Ownership  Embedded by the caller; the list owns copies.
 * Threads    None of its own.
 */
#pragma once

#include "base/util.h"

struct strings {
        char **items; /* heap, NULL-ended; NULL while empty */
        size_t count;
};

int strings_add(struct strings *s, const char *text); /* 0 or -ENOMEM */
/* Adds each word of @text; words end at commas and white space. 0 or -ENOMEM. */
int strings_add_words(struct strings *s, const char *text);
void strings_done(struct strings *s); /* frees; empty and usable afterwards */

/* The items as an array that ends in NULL, or NULL where there are none. */
static inline const char *const *strings_array(const struct strings *s)
{
        return (const char *const *)s->items;
}

/* The edits (insert, remove, replace, swap neighbours) that turn @a into @b; "-" equals "_". */
unsigned word_distance(const char *a, const char *b);

/* The best word so far for something misspelt; begin with { .distance = 3 } for two edits at most. */
struct suggestion {
        const char *word; /* NULL: none is near */
        unsigned distance;
};
void suggestion_try(struct suggestion *s, const char *typed, const char *word);
