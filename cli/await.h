/*
 * Waiting for an answer of fetch/ on a thread that may sleep.
 *
 *         struct await *a = await_new();
 *         r = fetch_repo(f, type, name, NULL, await_answer, a, await_slot(a));
 *         r = await_end(a, r, &cancel);
 *
 * Ownership  Two references: the asker's, given up by await_end(), and the answer's. An asker who
 *            stops waiting leaves the object to the answer.
 */
#pragma once

#include "fetch/fetch.h"

#include <stdatomic.h>

struct await;

struct await *await_new(void); /* NULL: no memory */
/* Where the question puts its handle; NULL for a question that has none. */
struct fetch_wait **await_slot(struct await *a);
void await_answer(void *a, int result); /* a fetch_done_fn */

/*
 * @r is what the question returned. Sleeps while that is FETCH_PENDING, and gives the result;
 * -ECANCELED soon after *@cancel became true. @a is gone afterwards.
 */
int await_end(struct await *a, int r, const atomic_bool *cancel);
