/*
 * Resolver: makes repos and revisions known to the catalogue. What fetch.c uses of it.
 *
 * A question that the catalogue answers costs no thread and no network. Any other becomes a flight,
 * which equal questions share: adoption from the store first, then the hub.
 *
 * Threads     Any thread may call. @done is called by a thread of the names pool, or by
 *             fetch_cancel()'s caller, never from inside these calls.
 */
#pragma once

#include "fetch/fill.h"

struct resolver;

struct resolver_options {
        struct index *index;
        struct hub *hub; /* NULL: offline for good */
        struct gate *gate;
        const struct policy *policy;
        struct workq *names;
        struct filler *filler; /* told of new listings; may be NULL until resolver_set_filler() */
        unsigned deadline_s;
};

int resolver_new(const struct resolver_options *o, struct resolver **ret);
/* Before the first question. */
void resolver_set_filler(struct resolver *rs, struct filler *fl);
/* Waiters get -ECANCELED and no flight begins; those under way must be ended by hub_suspend(). */
void resolver_stop(struct resolver *rs);
/* Waits for the last flight. NULL is fine. */
struct resolver *resolver_free(struct resolver *rs);

/* As fetch_repo() and fetch_revision(). */
int resolver_repo(struct resolver *rs, enum repo_type type, const char *name, const struct fetch_asker *asker,
                  fetch_done_fn done, void *arg, struct fetch_wait **ret_wait);
int resolver_revision(struct resolver *rs, int64_t repo, const char *revision, const struct fetch_asker *asker,
                      fetch_done_fn done, void *arg, struct fetch_wait **ret_wait);
/* How many strangers were not looked up since there were too many. */
uint64_t resolver_not_asked(struct resolver *rs);
/* As fetch_ask_anew(). */
void resolver_ask_anew(struct resolver *rs);

/* True when no flight is under way. */
bool resolver_is_idle(void *rs);
