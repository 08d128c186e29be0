/*
 * Implementation of workq.h. All fields of struct workq are protected by its lock, except the
 * threads, which are written before they start and joined by workq_free() alone.
 */
#include "base/workq.h"

#include "base/lock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct workq {
        struct lock lock;
        pthread_cond_t wake;
        struct list jobs; /* protected by lock */
        bool stopping;    /* protected by lock */
        unsigned count;
        char name[16];
        pthread_t threads[];
};

static struct work *next_job(struct workq *q)
{
        struct list *node;

        lock_take(&q->lock);
        while (list_empty(&q->jobs) && !q->stopping)
                lock_wait(&q->lock, &q->wake);
        node = list_pop(&q->jobs);
        lock_drop(&q->lock);
        return node ? LIST_OWNER(node, struct work, node) : NULL;
}

static void *worker(void *arg)
{
        struct workq *q = arg;
        struct work *w;

        pthread_setname_np(pthread_self(), q->name);
        while ((w = next_job(q)))
                w->run(w);
        return NULL;
}

int workq_new(const char *name, unsigned threads, struct workq **ret)
{
        struct workq *q = calloc(1, sizeof(*q) + threads * sizeof(pthread_t));
        sigset_t all, before;
        int r = 0;

        if (!q)
                return -ENOMEM;
        lock_init(&q->lock);
        pthread_cond_init(&q->wake, NULL);
        list_init(&q->jobs);
        snprintf(q->name, sizeof(q->name), "%s", name);
        sigfillset(&all); /* signals belong to the main thread */
        pthread_sigmask(SIG_BLOCK, &all, &before);
        while (q->count < threads && r == 0) {
                r = -pthread_create(&q->threads[q->count], NULL, worker, q);
                if (r == 0)
                        q->count++;
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
        pthread_cond_broadcast(&q->wake);
        lock_drop(&q->lock);
        for (unsigned i = 0; i < q->count; i++)
                pthread_join(q->threads[i], NULL);
        pthread_cond_destroy(&q->wake);
        lock_done(&q->lock);
        free(q);
        return NULL;
}

void workq_push(struct workq *q, struct work *w, void (*run)(struct work *w))
{
        w->run = run;
        lock_take(&q->lock);
        list_push(&q->jobs, &w->node);
        pthread_cond_signal(&q->wake);
        lock_drop(&q->lock);
}
