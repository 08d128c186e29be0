/*
 * Plan: which bytes of one blob to ask for next. Pure: it sees what is held, what is on its way and
 * what readers did, and answers with a range. The filler decides between blobs and does the asking.
 *
 * Sizes       A lone read gets its bytes rounded to 64 KiB, so that random reads cost little; at the
 *             head of a file 256 KiB. Nothing is read ahead in a stream's first megabyte except up
 *             to that megabyte, so that a header peek stays a peek. From there the window is twice
 *             what the stream has read, up to 128 MiB, in ranges of up to 16 MiB.
 * Ranges      Those of a loaded blob are as long as it takes for a round trip not to count: a quarter of
 *             a second of one transfer's rate, eight times its latency, 4 to 64 MiB.
 * Loading     A blob is being loaded rather than peeked at when a stream has read 3 MiB; or when what
 *             readers had to wait for exceeds max(8 MiB, min(size / 8, 64 MiB)); or when 3 of 4
 *             of the last 32 reads of 64 KiB and more went forward (the page faults of a mapped
 *             file in file order, with gaps).
 * Never twice A byte that is held, or that a transfer will bring soon, is not asked for. A transfer
 *             that is far before a wanted byte is cut short there, and another takes its place.
 *
 * Threads     Everything here is pure or works on its arguments alone.
 */
#pragma once

#include "base/rangeset.h"

#define PLAN_STREAMS 8
#define PLAN_LONE (UINT64_C(64) << 10)   /* what a lone read is rounded to */
#define PLAN_HEAD (UINT64_C(256) << 10)  /* ... at the head of a file */
#define PLAN_PEEK (UINT64_C(1) << 20)    /* a stream's first part, not read ahead of */
#define PLAN_RANGE_MIN (UINT64_C(1) << 20)
#define PLAN_RANGE_LEAST (UINT64_C(4) << 20)  /* what the longest range is at least */
#define PLAN_RANGE_MAX (UINT64_C(64) << 20)   /* ... and at most */
#define PLAN_RANGE_USUAL (UINT64_C(16) << 20) /* of demand and readahead; of all where no rate is known */
#define PLAN_WINDOW_MAX (UINT64_C(128) << 20)
#define PLAN_SMALL (UINT64_C(1) << 20)   /* a blob up to this size is fetched whole at its first read */
#define PLAN_SPLIT 16                    /* what is missing is split into at least so many ranges */
#define PLAN_LOADED_RUN (UINT64_C(3) << 20)
#define PLAN_STREAM_LIFE_MS 30000        /* a stream that nobody read for so long is not read ahead of */

/* ---- what readers did ---- */

struct plan_stream { /* a run of nearby increasing reads, through whichever descriptor */
        uint64_t begin;   /* where it began */
        uint64_t next;    /* where its next read is expected */
        uint64_t run;     /* bytes read in it, gaps not counted */
        uint64_t used_ms; /* when last read; 0: no stream */
        unsigned reads;
};

struct plan_reads {
        struct plan_stream streams[PLAN_STREAMS];
        uint64_t awaited;       /* bytes of reads that were not held when asked for */
        uint64_t last_large;    /* start of the last read of 64 KiB or more */
        uint32_t forward;       /* one bit per such read, newest lowest: it lay after its predecessor */
        unsigned large;         /* such reads */
};

/* Notes a read, and returns the stream that it belongs to. @held: its bytes were there already. */
struct plan_stream *plan_note_read(struct plan_reads *p, uint64_t start, uint64_t end, bool held,
                                   uint64_t now_ms);
bool plan_is_loaded(const struct plan_reads *p, uint64_t size);
/* Where background completion goes on: after the stream read last, 0 when there is none. */
uint64_t plan_resume_at(const struct plan_reads *p);

/* ---- what to ask for ---- */

struct plan_transfer { /* a range on its way: [at, end) is still to come */
        uint64_t at, end;
        uint64_t rate; /* bytes per second as far as known, 0: not */
};

struct plan_view {
        uint64_t size, missing; /* of the blob; bytes not held */
        bool (*next_hole)(void *arg, uint64_t from, uint64_t limit, struct range *ret); /* not held */
        void *arg;
        const struct plan_transfer *transfers;
        size_t count;
        uint64_t range_max; /* plan_range_max() */
};

/* How long a range may be; @rate: bytes per second of one transfer while bytes come, 0: not known;
 * @latency_ms: from the request to its first byte. */
uint64_t plan_range_max(uint64_t rate, uint64_t latency_ms);

struct plan_ask {
        uint64_t start, end;
        size_t cut; /* index of the transfer to end at @start; SIZE_MAX: none */
};

/* For a reader that waits for [start, end); @run: what its stream has read. False when everything
 * is held or will be there soon. */
bool plan_demand(const struct plan_view *v, uint64_t start, uint64_t end, uint64_t run,
                 struct plan_ask *ret);
/* Ahead of a stream. False when nothing is to be done (yet). */
bool plan_ahead(const struct plan_view *v, const struct plan_stream *s, uint64_t now_ms,
                struct plan_ask *ret);
/* What is missing, from @from on, then from the beginning. */
bool plan_rest(const struct plan_view *v, uint64_t from, struct plan_ask *ret);
