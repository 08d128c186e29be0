/*
 * Implementation of engine.h: the thread, its queues and timers. engine_easy.c holds the options of
 * a single transfer and the translation of libcurl's codes.
 *
 * A transfer is in one place at a time: incoming -> waiting -> running -> its owner.
 *
 * Invariants
 *  E1  Only the engine's thread calls libcurl on the multi handle, except curl_multi_wakeup(),
 *      which others call with the lock held: the handle is replaced under that lock (flush).
 *  E2  running never holds more than limit transfers.
 *  E3  The lock is never held across an op.
 *  E4  A transfer taken off early closes its connection: libcurl drops one whose answer is not
 *      finished. So a stalled connection is never used again.
 *  E5  Each wake drains all finished transfers.
 *  E6  Nothing is staged of a transfer that is given back.
 */
#include "fetch/engine_easy.h"

#define LOG_COMPONENT "engine"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#define POLL_MAX_MS 60000

struct engine {
        struct lock lock;
        pthread_cond_t flushed; /* with lock */
        struct list incoming;   /* protected by lock */
        bool stopping, cancels; /* protected by lock */
        uint64_t flush_asked;   /* protected by lock; counts */
        uint64_t flush_done;    /* protected by lock */
        CURLM *multi;           /* E1 */
        pthread_t thread;
        struct easy_pool pool; /* engine's thread */
        unsigned limit;
        struct list waiting, running; /* engine's thread */
        atomic_uint active;
};

static bool on_engine(const struct engine *e)
{
        return pthread_equal(pthread_self(), e->thread);
}

/* ---- the engine's thread ---- */

static void insert_by_priority(struct list *queue, struct transfer *t)
{
        struct list *at = queue;

        while (at->prev != queue && LIST_OWNER(at->prev, struct transfer, node)->priority > t->priority)
                at = at->prev;
        list_add_before(at, &t->node);
}

static void finish(struct transfer *t, int result)
{
        list_remove(&t->node);
        t->ops->done(t, result, result == 0 ? "" : easy_why(t, result));
}

/* Takes a running transfer off libcurl and gives it back. */
static void finish_running(struct engine *e, struct transfer *t, int result)
{
        easy_stage_end(&e->pool, t); /* E6 */
        if (result >= 0 && t->verdict != 0) /* what its owner says counts, whatever libcurl made of it */
                result = ENGINE_E_REFUSED;
        curl_multi_remove_handle(e->multi, t->easy);
        if (result == -ENOMEM) /* such a handle may fail for ever: what libcurl 7.88 keeps in it outlives a reset */
                curl_easy_cleanup(take_ptr(t->easy));
        else
                easy_pool_put(&e->pool, take_ptr(t->easy));
        e->active--;
        finish(t, result);
}

static void start(struct engine *e, struct transfer *t, uint64_t now)
{
        CURL *easy = easy_pool_get(&e->pool, t);

        if (!easy) {
                finish(t, -ENOMEM);
                return;
        }
        t->progress = now;
        t->came = 0;
        t->verdict = 0;
        if (curl_multi_add_handle(e->multi, easy) != CURLM_OK) {
                curl_easy_cleanup(easy);
                finish(t, -ENOMEM);
                return;
        }
        t->easy = easy;
        e->active++;
        list_remove(&t->node);
        list_push(&e->running, &t->node);
}

/* Starts what may go; returns when to look again. */
static uint64_t start_waiting(struct engine *e, uint64_t now)
{
        uint64_t next = ENGINE_NEVER;

        LIST_FOREACH(node, &e->waiting)
        {
                struct transfer *t = LIST_OWNER(node, struct transfer, node);
                uint64_t deadline = t->deadline ? t->deadline : ENGINE_NEVER, when = now;

                if (deadline <= now) {
                        finish(t, ENGINE_E_DEADLINE);
                        continue;
                }
                if (e->active < e->limit) {
                        if (t->ops->when)
                                when = t->ops->when(t, now);
                        if (when <= now) {
                                start(e, t, now);
                                continue;
                        }
                        if (when >= deadline) { /* it would only wait in vain */
                                finish(t, ENGINE_E_DEADLINE);
                                continue;
                        }
                        next = min_u64(next, when);
                }
                next = min_u64(next, deadline);
        }
        return next;
}

/* Ends running transfers whose time is up; returns when to look again. */
static uint64_t check_running(struct engine *e, uint64_t now)
{
        uint64_t next = ENGINE_NEVER;

        LIST_FOREACH(node, &e->running)
        {
                struct transfer *t = LIST_OWNER(node, struct transfer, node);
                uint64_t idle = t->idle_ms ? t->progress + t->idle_ms : ENGINE_NEVER;
                uint64_t deadline = t->deadline ? t->deadline : ENGINE_NEVER;

                next = min_u64(next, easy_stage_look(t, now));
                if (t->verdict != 0) /* over what was staged */
                        finish_running(e, t, ENGINE_E_REFUSED);
                else if (deadline <= now)
                        finish_running(e, t, ENGINE_E_DEADLINE);
                else if (idle <= now)
                        finish_running(e, t, ENGINE_E_STALLED);
                else
                        next = min_u64(next, min_u64(idle, deadline));
        }
        return next;
}

static void drain_finished(struct engine *e) /* E5 */
{
        CURLMsg *msg;
        int left;

        while ((msg = curl_multi_info_read(e->multi, &left))) {
                struct transfer *t = NULL;
                CURLcode code = msg->data.result; /* msg dies with the handle's removal */

                if (msg->msg != CURLMSG_DONE)
                        continue;
                curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
                finish_running(e, t, easy_result(t, code));
        }
}

static void end_all(struct engine *e, bool only_cancelled)
{
        LIST_FOREACH(node, &e->waiting)
        {
                struct transfer *t = LIST_OWNER(node, struct transfer, node);

                if (!only_cancelled || t->cancel)
                        finish(t, -ECANCELED);
        }
        LIST_FOREACH(other, &e->running)
        {
                struct transfer *t = LIST_OWNER(other, struct transfer, node);

                if (!only_cancelled || t->cancel)
                        finish_running(e, t, -ECANCELED);
        }
}

/* Closes every connection: libcurl keeps idle ones with the multi handle, so that is replaced. */
static void replace_multi(struct engine *e)
{
        CURLM *multi = easy_multi_new(e->limit), *old = e->multi;

        if (!multi) {
                /* No memory for a new one: the old one stays; it closes idle connections by itself
                 * when there may be none. */
                curl_multi_setopt(old, CURLMOPT_MAXCONNECTS, 1L);
                return;
        }
        lock_take(&e->lock);
        e->multi = multi;
        curl_multi_wakeup(multi); /* what came meanwhile (transfers, a stop) has woken the old one */
        lock_drop(&e->lock);
        curl_multi_cleanup(old);
}

struct orders {
        bool stop, cancels;
        uint64_t flush; /* 0: none; else the count to confirm */
};

static struct orders take_orders(struct engine *e)
{
        struct orders o;
        struct list fresh = LIST_INIT(fresh), *node;

        lock_take(&e->lock);
        o.stop = e->stopping;
        o.cancels = e->cancels;
        e->cancels = false;
        o.flush = e->flush_asked > e->flush_done ? e->flush_asked : 0;
        list_splice(&fresh, &e->incoming);
        lock_drop(&e->lock);
        while ((node = list_pop(&fresh))) {
                struct transfer *t = LIST_OWNER(node, struct transfer, node);

                insert_by_priority(&e->waiting, t);
        }
        return o;
}

static bool carry_out(struct engine *e, const struct orders *o)
{
        if (o->stop || o->flush)
                end_all(e, false);
        else if (o->cancels)
                end_all(e, true);
        if (o->flush) {
                replace_multi(e);
                lock_take(&e->lock);
                e->flush_done = o->flush;
                pthread_cond_broadcast(&e->flushed);
                lock_drop(&e->lock);
        }
        return !o->stop;
}

static void *run(void *arg)
{
        struct engine *e = arg;

        pthread_setname_np(pthread_self(), e->pool.bulk ? "wfs-bulk" : "wfs-engine");
        for (;;) {
                struct orders orders = take_orders(e);
                uint64_t next, now;
                int still;

                if (!carry_out(e, &orders))
                        return NULL;
                now = clock_ms();
                next = start_waiting(e, now);
                curl_multi_perform(e->multi, &still);
                drain_finished(e);
                now = clock_ms();
                next = min_u64(next, check_running(e, now));
                /* What an op submitted meanwhile has woken the poll already; a slot that came free
                 * without one must not leave others waiting. */
                if (!list_empty(&e->waiting) && e->active < e->limit)
                        next = min_u64(next, start_waiting(e, now));
                if (next > now)
                        curl_multi_poll(e->multi, NULL, 0, (int)min_u64(next - now, POLL_MAX_MS), NULL);
        }
}

/* ---- any thread ---- */

static void wake_locked(struct engine *e) REQUIRES(e->lock)
{
        curl_multi_wakeup(e->multi); /* E1 */
}

int engine_submit(struct engine *e, struct transfer *t)
{
        int r = 0;

        t->easy = NULL;
        t->error[0] = '\0';
        lock_take(&e->lock);
        if (e->stopping) {
                r = -ECANCELED;
        } else {
                list_push(&e->incoming, &t->node);
                if (t->cancel)
                        e->cancels = true; /* it was with its owner when it was cancelled */
                wake_locked(e);
        }
        lock_drop(&e->lock);
        return r;
}

void engine_cancel(struct engine *e, struct transfer *t)
{
        lock_take(&e->lock);
        t->cancel = true;
        e->cancels = true;
        wake_locked(e);
        lock_drop(&e->lock);
}

void engine_flush(struct engine *e)
{
        uint64_t mine;

        lock_take(&e->lock);
        mine = ++e->flush_asked;
        wake_locked(e);
        while (!on_engine(e) && e->flush_done < mine && !e->stopping)
                lock_wait(&e->lock, &e->flushed);
        lock_drop(&e->lock);
}

void engine_stop(struct engine *e)
{
        lock_take(&e->lock);
        e->stopping = true;
        wake_locked(e);
        pthread_cond_broadcast(&e->flushed);
        lock_drop(&e->lock);
        pthread_join(e->thread, NULL);
}

unsigned engine_active(const struct engine *e)
{
        return e->active;
}

struct engine *engine_free(struct engine *e)
{
        if (!e)
                return NULL;
        easy_pool_done(&e->pool);
        if (e->multi)
                curl_multi_cleanup(e->multi);
        pthread_cond_destroy(&e->flushed);
        lock_done(&e->lock);
        free(e);
        return NULL;
}

int engine_new(const struct engine_options *o, struct engine **ret)
{
        struct engine *e = calloc(1, sizeof(*e));
        sigset_t all, before;
        int r;

        if (!e)
                return -ENOMEM;
        lock_init(&e->lock);
        pthread_cond_init(&e->flushed, NULL);
        list_init(&e->incoming);
        list_init(&e->waiting);
        list_init(&e->running);
        e->limit = o->limit;
        r = easy_pool_init(&e->pool, o);
        e->multi = easy_multi_new(o->limit);
        if (r < 0 || !e->multi) {
                engine_free(e);
                return -ENOMEM;
        }
        sigfillset(&all); /* SIGPIPE too: libcurl leaves that to us (NOSIGNAL) */
        pthread_sigmask(SIG_BLOCK, &all, &before);
        r = -pthread_create(&e->thread, NULL, run, e);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r < 0) {
                engine_free(e);
                return r;
        }
        *ret = e;
        return 0;
}
