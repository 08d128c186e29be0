/*
 * A pool of worker threads with one first-in first-out queue.
 *
 * Ownership  A job is embedded in its owner, who must keep it until its function was called; the
 *            function may free it.
 * Threads    workq_push() from any thread, also from a job. workq_free() from outside the pool.
 */
#pragma once

#include "base/list.h"

struct workq;

struct work {
        struct list node;
        void (*run)(struct work *w);
};

/* Starts @threads threads, named @name (at most 15 bytes) for ps(1). 0 or negative errno. */
int workq_new(const char *name, unsigned threads, struct workq **ret);

/* Runs what is queued, ends the threads, frees. NULL is allowed; returns NULL. */
struct workq *workq_free(struct workq *q);

/* Queues @w. @w->run is called exactly once, on a thread of the pool. */
void workq_push(struct workq *q, struct work *w, void (*run)(struct work *w));
