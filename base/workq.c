/*
 * Implementation of workq.h. All fields of struct workq are protected by its lock, except the
 * threads, which are written before they start and joined by workq_free() alone.
 *
 * Each thread sleeps on a condition of its own: with several waiters on one, pthread_cond_signal() of
 * glibc 2.27 to 2.40 sometimes wakes none of them (bug 25847), and the job lies until the next one.
 */
#include "base/workq.h"

#include "base/lock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct worker {
        struct list node; /* in workq->idle; protected by its lock */
        struct workq *queue;
        pthread_t thread;
        pthread_cond_t wake;
};

struct workq {
        struct lock lock;
        struct list jobs; /* protected by lock */
        struct list idle; /* protected by lock; those asleep and not woken yet */
        bool stopping;    /* protected by lock */
        unsigned count;
        char name[16];
        struct worker workers[];
};

/* Who was woken looks for jobs until there is none: so no job is left while anybody sleeps. */
static void wake_one_locked(struct workq *q) REQUIRES(q->lock)
{
        struct list *node = list_pop(&q->idle);

        if (node)
                pthread_cond_signal(&LIST_OWNER(node, struct worker, node)->wake);
}

static struct work *next_job(struct worker *me)
{
        struct workq *q = me->queue;
        struct list *node;

        lock_take(&q->lock);
        while (list_empty(&q->jobs) && !q->stopping) {
                list_push(&q->idle, &me->node);
                lock_wait(&q->lock, &me->wake);
                list_remove(&me->node); /* of a wake-up that nobody made */
        }
        node = list_pop(&q->jobs);
        lock_drop(&q->lock);
        return node ? LIST_OWNER(node, struct work, node) : NULL;
}

static void *worker(void *arg)
{
        struct worker *me = arg;
        struct work *w;

        pthread_setname_np(pthread_self(), me->queue->name);
        while ((w = next_job(me)))
                w->run(w);
        return NULL;
}

int workq_new(const char *name, unsigned threads, struct workq **ret)
{
        struct workq *q = calloc(1, sizeof(*q) + threads * sizeof(struct worker));
        sigset_t all, before;
        int r = 0;

        if (!q)
                return -ENOMEM;
        lock_init(&q->lock);
        list_init(&q->jobs);
        list_init(&q->idle);
        snprintf(q->name, sizeof(q->name), "%s", name);
        sigfillset(&all); /* signals belong to the main thread */
        pthread_sigmask(SIG_BLOCK, &all, &before);
        while (q->count < threads && r == 0) {
                struct worker *w = &q->workers[q->count];

                w->queue = q;
                list_init(&w->node);
                pthread_cond_init(&w->wake, NULL);
                r = -pthread_create(&w->thread, NULL, worker, w);
                if (r == 0)
                        q->count++;
                else
                        pthread_cond_destroy(&w->wake);
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r < 0) {
                workq_free(q);
                return r;
        }
        *ret = q;
        return 0;
}

struct workq *workq_free(struct workq *q)
{
        if (!q)
                return NULL;
        lock_take(&q->lock);
        q->stopping = true;
        while (!list_empty(&q->idle))
                wake_one_locked(q);
        lock_drop(&q->lock);
        for (unsigned i = 0; i < q->count; i++) {
                pthread_join(q->workers[i].thread, NULL);
                pthread_cond_destroy(&q->workers[i].wake);
        }
        lock_done(&q->lock);
        free(q);
        return NULL;
}

void workq_push(struct workq *q, struct work *w, void (*run)(struct work *w))
{
        w->run = run;
        lock_take(&q->lock);
        list_push(&q->jobs, &w->node);
        wake_one_locked(q);
        lock_drop(&q->lock);
}
