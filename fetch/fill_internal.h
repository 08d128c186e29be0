/*
 * Inside the filler. fill_life.c: beginning and end. fill.c: the table of fills and the questions.
 * fill_pump.c: the thread that decides. fill_transfer.c: ranges on their way and what becomes of failures.
 * fill_locate.c: where a blob's bytes are. fill_hash.c: hashing on what came. fill_finish.c: syncing,
 * verifying. fill_verdict.c: what was wrong. fill_along.c: small files that come along. fill_next.c: the part
 * that will be read next. fill_bounds.c: space that is kept free, and what a repo may bring. fill_gate.c: what
 * an opening or closing gate means for all of them.
 *
 * Lock order: filler.lock, then a blob's own locks (index/blob.h); gate.lock and the resolver's lock
 * are never held together with any other. No lock is held over a callback, a call of hub.h,
 * a query of the catalogue, or disk I/O other than blob_holds() and the like.
 *
 * A fill is QUEUED (only pulled, and not begun), ACTIVE (something is to be done or goes on) or IDLE
 * (kept for a while with its location and its streams), and in the list of that name. The pump looks
 * at all active ones each time it runs, so it lets few of the queued in at once. A fill goes when it
 * has been idle for long, or its blob is whole.
 *
 * Invariants
 *   K1  A fill is freed only with no wait, transfer or job (fill_is_busy()); its blob reference is
 *       given up with no lock held.
 *   K2  A read waits in its fill only while its range is not held: who adds bytes looks afterwards.
 *       Strict: while the blob is not verified; who verifies answers afterwards.
 *   K3  Transfers of a fill do not overlap in what they still have to bring.
 *   K4  A blob is verified only when all is held and no transfer of it runs.
 */
#pragma once

#include "fetch/fill.h"
#include "fetch/limit.h"
#include "fetch/plan.h"
#include "fetch/tune.h"

#include "base/table.h"

#include <pthread.h>
#include <stdatomic.h>

#define FILL_PULLED_MAX 64    /* active fills that are only pulled */
#define FILL_IDLE_MAX 256
#define FILL_IDLE_MS 600000
#define FILL_RETRY_MS 250     /* the first pause after a failure; doubled each time */
#define FILL_RETRY_MAX_MS 30000
#define FILL_GIVEN_UP_MAX 8
#define FILL_GIVEN_UP_MS 1000 /* a repeat comes at once, or is another reader's */
#define FILL_REFUSED_MAX 3    /* definite refusals in a row before reads fail with them */
#define FILL_PLACES_MAX 256   /* places of a blob that are looked at */
#define FILL_HASHERS 2        /* threads that hash along, and as many that verify */
#define FILL_SMALL_FINISH (UINT64_C(16) << 20) /* verified by the sync thread, not behind large ones */

enum fill_class { FILL_DEMAND, FILL_AHEAD, FILL_PULL, FILL_REST, FILL_NEXT };

enum fill_place { FILL_IDLE, FILL_QUEUED, FILL_ACTIVE };

/* Where a blob's bytes are, for as long as a transfer or the fill uses it. */
struct fill_location {
        unsigned refs; /* protected by filler.lock */
        struct hub_location at;
};

/* A read that was given up. Where that was readahead of the kernel's, it asks once more for the page that its
 * reader wants; that is answered at once, or the reader would wait twice as long. */
struct fill_given_up {
        uint64_t start, end, ms;
};

struct fill {
        UT_hash_handle hh;
        struct list node; /* in the list that place says */
        enum fill_place place; /* protected by filler.lock, as all from reads on */
        struct filler *filler;
        struct blob *blob; /* a reference */
        int64_t id;        /* of the blob */

        /* all that follows is protected by filler.lock */
        struct list reads, wholes, opens; /* struct fetch_wait.node */
        struct list transfers;            /* struct fill_transfer.node */
        unsigned transfer_count;
        struct plan_reads seen;
        struct fill_location *location; /* a reference; NULL: to be asked for */
        int64_t repo;           /* where it was found last, which counts what comes; 0: not yet */
        uint64_t touched_ms, progress_ms;
        unsigned judged;        /* failures of transfers that counted */
        uint64_t retry_ms;      /* nothing is asked for before this; 0: at once */
        uint64_t told_ms;       /* the same, as the hub said; 0: it did not */
        uint64_t rate;          /* bytes per second of one transfer from its first byte on, smoothed */
        uint64_t latency_ms;    /* of one transfer, up to its first byte, smoothed */
        uint64_t planned;       /* filler.pass in which there was nothing more to plan */
        unsigned failures;      /* in a row, without a byte in between */
        unsigned refusals;      /* definite answers of the hub in a row: absent, forbidden */
        unsigned range_errors;  /* HUB_E_RANGE in a row */
        unsigned hash_failures;
        struct fill_given_up given_up[FILL_GIVEN_UP_MAX]; /* the last ones; end 0: none, or it was repeated */
        unsigned given_up_next;
        unsigned jobs;          /* locating, hashing, finishing, syncing: under way */
        bool along;             /* one of the small files that come along: at pull priority */
        bool rest;              /* complete it in the background */
        bool next_sought;       /* the part behind it was looked for, or need not be */
        uint64_t next_end;      /* [0, next_end) is wanted as the next part's beginning; 0: it is not */
        bool before_shut;       /* somebody waits for it: the gate shuts only after it */
        bool ask_whole;         /* the next range is the whole file (after range errors) */
        bool locate_full;       /* the next lookup goes to where the file is */
        bool locating, hashing, finishing, syncing;
        bool dirty; /* bytes came since the last sync */
        struct work hash_work, finish_work, sync_work;
};

struct fill_transfer {
        struct list node;     /* in fill.transfers; protected by filler.lock, as all */
        struct list starting; /* in filler.starting */
        struct fill *fill;
        struct fill_location *location; /* a reference */
        enum fill_class class;
        uint64_t start, at, end; /* [start, at) has come */
        uint64_t asked_end;      /* what the hub was asked for; end is less when it was cut */
        unsigned judged;         /* fill.judged when it began */
        uint64_t began_ms;
        uint64_t came_ms; /* its first byte; 0: none yet */
        bool cancelled; /* end it at the next byte */
};

struct filler {
        struct filler_options o;
        struct workq *hash, *verify, *sync, *adopt;
        unsigned processors;  /* that this process may use */
        pthread_t pump;
        atomic_bool cancel;   /* for blob_finish() and blob_hash_ahead() */

        struct lock lock;
        pthread_cond_t wake, quiet; /* the pump's; the last job's end */
        struct fill *fills;         /* uthash by id; protected by lock, as all that follows */
        struct list active, queued; /* struct fill.node; queued: in the order asked */
        struct list idle;           /* the same; longest idle first */
        unsigned idle_count;
        struct list demands;        /* struct fetch_wait.queue of all reads, oldest first */
        uint64_t progress_ms;       /* when bytes last came, of any blob */
        struct list starting;       /* transfers that the pump will hand to the hub */
        struct list answers;        /* decided waits, to be called by who gives up the lock */
        struct list dead;           /* fills to be freed by who gives up the lock */
        unsigned transfers, locating, jobs;
        unsigned demand_transfers;  /* of transfers */
        uint64_t bytes;             /* that came, in all */
        struct tune tune;           /* how many transfers that nobody waits for */
        struct tune_flow flow;      /* how fast bytes come, of all blobs */
        struct fill_space space;    /* as last looked at, less what is under way */
        uint64_t space_ms;          /* not looked at anew before this */
        bool space_full;            /* less is free than is kept */
        struct limit limit;         /* what repos have brought */
        uint64_t pass;              /* counts the pump's looks at a class */
        bool poked, stopping, suspended, told_offline;
        uint64_t random;            /* for jitter */
        struct along_seen *along_blobs, *along_commits; /* fill_along.c: uthash by id */
        struct verify_job *verifying;                   /* fill_finish.c: uthash by blob */
        struct list verdicts;                           /* fill_verdict.c; oldest first */
        bool walking;                                   /* over all that was adopted */
        struct work walk;                               /* in use while walking, as the next one */
        int64_t walked;                                 /* the last blob of the walk; the walk's own */
};

/* ---- fill.c ---- */

/* Gives up the lock after a change of state: answers and frees what was decided under it. Only on
 * threads of fetch/. */
void filler_leave(struct filler *fl) RELEASES(fl->lock);
/* The fill of @b, made if need be, ready for something to be done. NULL: no memory. */
struct fill *fill_get_locked(struct filler *fl, struct blob *b) REQUIRES(fl->lock);
void filler_poke_locked(struct filler *fl) REQUIRES(fl->lock);
/* Puts the fill into another list, at the end, unless it is there. */
void fill_move_locked(struct filler *fl, struct fill *f, enum fill_place place) REQUIRES(fl->lock);
bool fill_has_waits(const struct fill *f);
/* Forgets wishes that nobody waits for: until the blob is touched again. */
void fill_give_up_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock);
/* Moves the fill to idle, or to its end, when nothing is left to do. */
void fill_settle_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock);
/* Fails all who wait for it, and gives up background wishes. */
void fill_fail_locked(struct filler *fl, struct fill *f, int result) REQUIRES(fl->lock);
void fill_fail_opens_locked(struct filler *fl, struct fill *f, int result) REQUIRES(fl->lock);
bool fill_all_held(struct fill *f);
/* True when a read of [start, end) may be answered (K2). */
bool fill_answers(const struct fill *f, uint64_t start, uint64_t end);
/* Somebody waits for all of it. */
bool fill_whole_awaited(const struct fill *f);
/* What is done for the filler outside its lock counts in filler.jobs; it stays until there is none. This is one
 * that knows no more than an id (of a blob, a commit), on the heap. Without memory it is not done. */
struct filler_job {
        struct work work;
        struct filler *filler;
        int64_t id;
};
void filler_job_start_locked(struct filler *fl, struct workq *q, int64_t id, void (*run)(struct work *w))
        REQUIRES(fl->lock);
void filler_job_end(struct filler_job *job); /* frees it */
void filler_job_ended_locked(struct filler *fl) REQUIRES(fl->lock); /* any kind */
/* One that is a fill's, which stays too. */
void fill_job_begin_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock);
void fill_job_end_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock);
/* Queues a blob to be fetched whole at pull priority with nobody waiting. */
void fill_want_along(struct filler *fl, struct blob *b);

/* ---- fill_life.c ---- */

/* The first place that lists a blob, for people: @repo holds FETCH_REPO_TEXT bytes, @path ENTRY_PATH_MAX + 1.
 * False, and nothing written: it is known by its etag alone. Without the lock. */
bool fill_name_place(struct filler *fl, int64_t blob, char *repo, char *path);

/* All bytes of the blob are there: sees to it that they are verified, which needs no network. Without the lock. */
void fill_finish_soon(struct filler *fl, struct blob *b);

/* ---- fill_transfer.c ---- */

struct fill_transfer *fill_transfer_new_locked(struct filler *fl, struct fill *f, enum fill_class class,
                                               const struct plan_ask *ask) REQUIRES(fl->lock);
/* Hands a planned transfer to the hub. Without the lock. */
void fill_transfer_start(struct fill_transfer *t);
/* The hub answers as it should: pauses begin anew. Under the lock. */
void fill_forget_failures_locked(struct fill *f);
/* [start, end) came and is stored: reads that have their bytes now are answered. */
void fill_came_locked(struct filler *fl, struct fill *f, uint64_t start, uint64_t end, uint64_t now_ms)
        REQUIRES(fl->lock);
/* What came could not be written: @error is the store's. */
void fill_log_unstored(const struct fill *f, int error);
/* A pause before the next try, longer after each failure. */
void fill_back_off_locked(struct filler *fl, struct fill *f, uint64_t at_least_ms) REQUIRES(fl->lock);

/* ---- fill_locate.c ---- */

bool fill_location_good(const struct fill *f, uint64_t now_ms);
/* Both under the lock. NULL is allowed. */
void location_unref(struct fill_location *l);
void fill_drop_location(struct fill *f);
/* Asks for the location unless that is under way. */
void fill_locate_locked(struct filler *fl, struct fill *f, uint64_t now_ms) REQUIRES(fl->lock);

/* ---- fill_hash.c ---- */

/* Queues the hashing of what came in order, once that is enough to be worth it and takes from nobody. */
void fill_hash_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock);

/* ---- fill_finish.c ---- */

/* Queues the verification (K4) when all is held. True when it is under way. */
bool fill_finish_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock);
void fill_sync_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock);

/* ---- fill_verdict.c ---- */

/* Says and keeps that bytes of @b were wrong and what was done; without locks. */
void filler_verdict(struct filler *fl, struct blob *b, enum fetch_outcome outcome);
void verdicts_done(struct filler *fl);

/* ---- fill_along.c ---- */

/* Once a file is read: looks for the small files of the commits that list it. */
void filler_along(struct filler *fl, struct blob *b);
void along_done(struct filler *fl);
/* Forgets what was looked at, so that it is looked at again. */
void along_forget_locked(struct filler *fl) REQUIRES(fl->lock);

/* ---- fill_next.c ---- */

/* After a read that ended at @end: when the part before it is being read to its end, the next one of a
 * series is looked for, and its beginning wanted. */
void fill_next_locked(struct filler *fl, struct fill *f, uint64_t end) REQUIRES(fl->lock);
/* Whether something of the beginning that is wanted is not held. */
bool fill_next_missing(const struct fill *f);

/* ---- fill_bounds.c ---- */

/* What is missing must fit what may be filled: 0 or -ENOSPC. Who cannot tell lets it be tried. */
int fill_check_space(struct filler *fl, struct blob *b);
/* 0, or FETCH_E_LIMIT, which is counted and logged. Queries the catalogue where there is a limit. */
int fill_check_limit(struct filler *fl, struct blob *b);
/* Whether @repo may bring what is missing of the blob. Both without the lock. */
bool fill_limit_allows(struct filler *fl, int64_t repo, struct blob *b);
/* Bytes came. True when the repo has none left: what nobody waits for ends. */
bool fill_charge_locked(struct filler *fl, const struct fill *f, uint64_t bytes, uint64_t now_ms)
        REQUIRES(fl->lock);
/* So many bytes will come, which the file system does not show before they do. */
void fill_begins_locked(struct filler *fl, uint64_t bytes) REQUIRES(fl->lock);
/* The pump's: looks how much is free, unless it has just done so, for which it gives up the lock; where that is less
 * than is kept, who waits is failed, unless parked. */
void fill_look_at_space_locked(struct filler *fl, uint64_t now_ms) REQUIRES(fl->lock);
/* True where something waits for space: it may come without a word. Under the lock. */
bool fill_is_short_of_space(const struct filler *fl);
/* Whether the fill may have a transfer of the class. */
bool fill_is_within_bounds_locked(struct filler *fl, const struct fill *f, enum fill_class class, uint64_t now_ms)
        REQUIRES(fl->lock);
/* It comes along, and may not now: it keeps nothing else waiting. */
bool fill_is_put_off_locked(struct filler *fl, const struct fill *f, uint64_t now_ms) REQUIRES(fl->lock);

/* ---- fill_gate.c ---- */

/* The pump's: one step of closing or opening, for which it gives up the lock. Closing takes several: until what was
 * begun is done, and all transfers are. */
void fill_step_gate_locked(struct filler *fl) REQUIRES(fl->lock);

/* ---- fill_pump.c ---- */

void *filler_pump(void *arg);
