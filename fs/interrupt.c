/*
 * INTERRUPTs: which of them end a wait.
 *
 * The kernel sends one whatever wakes the thread that waits: a signal that asks to break off, but also one that only
 * tells something (a child has ended, a profiler ticks), a stop, and what is no signal at all (a container that is
 * frozen, a debugger). stat(2) knows no EINTR, and who gets it takes a file for absent. So the thread is looked at,
 * and goes on waiting unless a signal is pending that may ask it to break off (asker.h).
 *
 *   X1  The kernel sends one INTERRUPT for each request. A thread that waits on is looked at again each LOOK_MS, for
 *       signals that come later.
 *   X2  Who was answered is forgotten before the request is gone; who is being looked at is held meanwhile.
 *   X3  Nobody is cancelled after the session's end: the lock that decides about a wait is fetch/'s, which goes then.
 */
#include "fs/interrupt.h"

#include "fs/asker.h"

#include "base/lock.h"
#include "base/workq.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOK_MS 100

struct interrupts {
        struct waiter_ops ops;
        struct workq *queue;
        struct work work;
        struct lock lock;    /* for what follows */
        struct list waiting; /* those that were interrupted, and go on */
        size_t count;
        bool looking; /* the work is queued, or runs */
        bool ended;
        pthread_cond_t looked; /* it has run, and is not queued again */
};

int interrupts_new(const struct waiter_ops *ops, struct interrupts **ret)
{
        struct interrupts *x = calloc(1, sizeof(*x));
        int r;

        if (!x)
                return -ENOMEM;
        x->ops = *ops;
        list_init(&x->waiting);
        list_init(&x->work.node);
        lock_init(&x->lock);
        pthread_cond_init(&x->looked, NULL);
        r = workq_new("wfs-interrupt", 1, &x->queue);
        if (r < 0)
                interrupts_free(x);
        else
                *ret = x;
        return r;
}

struct interrupts *interrupts_free(struct interrupts *x)
{
        if (!x)
                return NULL;
        workq_free(x->queue);
        pthread_cond_destroy(&x->looked);
        lock_done(&x->lock);
        free(x);
        return NULL;
}

static void forget_locked(struct interrupts *x, struct waiter *w) REQUIRES(x->lock)
{
        if (list_empty(&w->node))
                return;
        list_remove(&w->node);
        x->count--;
}

/* The one that was looked at longest ago; NULL: none is left. It is held. */
static struct waiter *next_locked(struct interrupts *x) REQUIRES(x->lock)
{
        struct list *node = list_pop(&x->waiting);
        struct waiter *w;

        if (!node)
                return NULL;
        list_push(&x->waiting, node);
        w = LIST_OWNER(node, struct waiter, node);
        x->ops.hold(w);
        return w;
}

static void look_at_all_locked(struct interrupts *x) REQUIRES(x->lock)
{
        for (size_t left = x->count; left > 0 && !x->ended; left--) {
                struct waiter *w = next_locked(x);
                bool ends;

                if (!w)
                        return;
                lock_drop(&x->lock);
                ends = asker_breaks_off(w->tid);
                if (ends)
                        x->ops.cancel(w);
                lock_take(&x->lock);
                if (ends)
                        forget_locked(x, w);
                lock_drop(&x->lock);
                x->ops.drop(w);
                lock_take(&x->lock);
        }
}

static void look(struct work *work)
{
        struct interrupts *x = CONTAINER_OF(work, struct interrupts, work);

        lock_take(&x->lock);
        while (x->count > 0 && !x->ended) {
                lock_drop(&x->lock);
                usleep(LOOK_MS * 1000);
                lock_take(&x->lock);
                look_at_all_locked(x);
        }
        x->looking = false;
        pthread_cond_broadcast(&x->looked);
        lock_drop(&x->lock);
}

void interrupts_end(struct interrupts *x)
{
        lock_take(&x->lock);
        x->ended = true;
        while (x->looking)
                lock_wait(&x->lock, &x->looked);
        lock_drop(&x->lock);
}

void interrupts_came(struct interrupts *x, struct waiter *w, pid_t tid)
{
        bool begins = false;

        w->tid = tid;
        if (asker_breaks_off(tid)) {
                x->ops.cancel(w);
                return;
        }
        lock_take(&x->lock);
        if (list_empty(&w->node)) {
                list_push(&x->waiting, &w->node);
                x->count++;
                begins = !x->looking;
                x->looking = true;
        }
        lock_drop(&x->lock);
        if (begins)
                workq_push(x->queue, &x->work, look);
}

void interrupts_forget(struct interrupts *x, struct waiter *w)
{
        lock_take(&x->lock);
        forget_locked(x, w);
        lock_drop(&x->lock);
}
