/*
 * Filler: brings missing ranges of blobs into the store. What fetch.c uses of it.
 *
 * Each blob that somebody wants has a fill. One thread, the pump, decides what is fetched next over
 * all of them: demand first (oldest first), then readahead of live streams, then what was asked for
 * whole (pull, small files that come along), then background completion. See fill_internal.h
 * for how it works inside.
 *
 * Threads    Any thread may call. @done is called by the pump or the engine's thread, by
 *            fetch_cancel()'s caller, never from inside these calls.
 */
#pragma once

#include "fetch/gate.h"
#include "fetch/hub.h"
#include "fetch/policy.h"

#include "base/workq.h"

struct filler;

/* The one place where an answer of hub.h becomes one of fetch.h. */
int fetch_result(int hub_result);

struct filler_options {
        struct index *index;
        struct hub *hub; /* NULL: offline for good */
        struct gate *gate;
        const struct policy *policy;
        struct workq *names; /* for lookups in the catalogue */
        bool (*resolver_idle)(void *arg); /* no question about names is under way: the gate may shut */
        void *resolver_arg;
        enum fetch_complete complete;
        bool strict;
        struct fetch_keep keep_free;
        uint64_t max_fetch;
        unsigned connections;
        unsigned lookup_deadline_s, read_deadline_s;
        struct fetch_events events;
};

int filler_new(const struct filler_options *o, struct filler **ret);
/* Waiters get -ECANCELED and nothing new is begun; transfers still running must be ended by
 * hub_suspend() after this. */
void filler_stop(struct filler *fl);
/* Waits until the last transfer and job has ended; syncs and gives up the blobs. NULL is fine. */
struct filler *filler_free(struct filler *fl);

/* As fetch_open(), fetch_read(), fetch_whole(), fetch_verify(). */
int filler_open(struct filler *fl, struct blob *b, fetch_done_fn done, void *arg,
                struct fetch_wait **ret_wait);
int filler_read(struct filler *fl, struct blob *b, uint64_t start, uint64_t end, fetch_done_fn done,
                void *arg, struct fetch_wait **ret_wait);
int filler_whole(struct filler *fl, struct blob *b, fetch_done_fn done, void *arg,
                 struct fetch_wait **ret_wait);
void filler_verify(struct filler *fl, struct blob *b);
void filler_finish_held(struct filler *fl); /* fetch_verify_all()'s */
void filler_verify_all(struct filler *fl);

int filler_reject(struct filler *fl, struct blob *b, enum repo_type type, const char *hub_name, const char *got);
void filler_found_wrong(struct filler *fl, struct blob *b, const char *got);

/* A new listing is known: what comes along is looked at again, and blobs of @commit that are whole
 * already are linked for its repo. */
void filler_new_listing(struct filler *fl, int64_t commit);
/* The same for all listings where an earlier process did not get to the end of it. */
void filler_link_all(struct filler *fl);

/* Something outside has changed (the gate, the resolver): look again. */
void filler_poke(struct filler *fl);

struct fill_space {
        uint64_t room; /* bytes that may be filled; UINT64_MAX where that cannot be told */
        uint64_t keep; /* that are kept free below it */
};
/* Asks the file system: not under a lock. */
struct fill_space filler_space(struct filler *fl);
int filler_limits(struct filler *fl, struct fetch_limit **ret, size_t *ret_count);
void filler_counts(struct filler *fl, unsigned *ret_transfers, unsigned *ret_waiting_reads);
int filler_fills(struct filler *fl, struct fetch_fill_info **ret, size_t *ret_count);
int filler_verdicts(struct filler *fl, struct fetch_verdict **ret, size_t *ret_count);
