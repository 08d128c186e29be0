/*
 * One pending question of one asker (struct fetch_wait of fetch.h).
 *
 * A wait sits in the lists of what will answer it: a flight of the resolver, a fill, the gate. The
 * lock of that owner protects the lists, and decides who answers: wait_enlist() (a result is there)
 * or fetch_cancel(), whoever takes the lock first.
 *
 * Invariants
 *   W1  @done is called exactly once, with no lock of fetch/ held.
 *   W2  *ret_wait is written before @done can be called.
 *   W3  A wait whose result is decided is in no list of its owner, so that the owner may go away.
 *
 * Ownership  References: one of the owner's lists (given up when answered), one of the asker.
 */
#pragma once

#include "fetch/fetch.h"

#include "base/list.h"
#include "base/lock.h"

#include <stdatomic.h>

struct fetch_wait {
        struct list node;  /* in its owner's list, then in a list of answers; protected by *lock */
        struct list queue; /* a fill's reads: in the filler's queue, oldest first; protected by *lock */
        struct lock *lock; /* the owner's; not touched once decided (W3) */
        atomic_uint refs;
        atomic_bool decided; /* written under *lock */
        int result;          /* written under *lock when decided */
        fetch_done_fn done;
        void *arg;
        void *owner;                /* the fill of a read; else NULL */
        uint64_t start, end;        /* a read's range, clipped to the blob */
        uint64_t run;               /* what its stream had read */
        uint64_t deadline;          /* clock_ms(); protected by *lock */
};

/* A wait with one reference, which belongs to the lists that it will be put in. NULL: no memory. */
struct fetch_wait *wait_new(struct lock *lock, fetch_done_fn done, void *arg);

/* Gives the asker a reference of its own unless @ret_wait is NULL. Before the wait is in a list. */
void wait_hand_out(struct fetch_wait *w, struct fetch_wait **ret_wait);

/* Under *lock: takes the wait out of its owner's lists and queues it with its result. */
void wait_enlist(struct fetch_wait *w, int result, struct list *answers);
/* The same for all of a list. */
void waits_enlist(struct list *waits, int result, struct list *answers);

/* With no lock held: calls @done of all, and gives up the owner's references. */
void waits_answer(struct list *answers);
