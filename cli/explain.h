/*
 * Sentences for what fetch/ answers: what, where, and what can be done about it.
 */
#pragma once

#include "fetch/fetch.h"

struct explain {          /* what the sentence may need; all borrowed */
        const char *what; /* "Org/Name", "Org/Name@rev", "Org/Name: file" */
        const char *endpoint, *store;
        const char *last_error; /* of fetch_get_status(); "" or NULL for none */
        bool kept;              /* the store has space that is kept free */
        bool token;             /* a token is in use */
        bool revision;          /* asked for a revision of a repo that is known */
};

/* The sentence for @result (FETCH_E_* or a negative errno), and a negative errno that fits it. */
int explain_fetch(int result, const struct explain *x, struct errmsg *err);
