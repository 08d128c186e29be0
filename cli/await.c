/*
 * Implementation of await.h.
 */
#include "cli/await.h"

#include "base/lock.h"

#include <errno.h>
#include <time.h>

#define LOOK_MS 100 /* how late a cancelled wait may end */

struct await {
        struct lock lock;
        pthread_cond_t answered;
        bool done;               /* protected by lock */
        bool abandoned;          /* protected by lock: the asker has left */
        int result;              /* protected by lock */
        struct fetch_wait *wait; /* written by the question, before await_end() */
};

struct await *await_new(void)
{
        struct await *a = calloc(1, sizeof(*a));
        pthread_condattr_t attr;

        if (!a)
                return NULL;
        lock_init(&a->lock);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&a->answered, &attr);
        pthread_condattr_destroy(&attr);
        return a;
}

static void await_free(struct await *a)
{
        pthread_cond_destroy(&a->answered);
        lock_done(&a->lock);
        free(a);
}

struct fetch_wait **await_slot(struct await *a)
{
        return &a->wait;
}

void await_answer(void *arg, int result)
{
        struct await *a = arg;
        bool abandoned;

        lock_take(&a->lock);
        a->done = true;
        a->result = result;
        abandoned = a->abandoned;
        pthread_cond_signal(&a->answered);
        lock_drop(&a->lock);
        if (abandoned)
                await_free(a);
}

static void sleep_locked(struct await *a) REQUIRES(a->lock)
{
        struct timespec until;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(&a->answered, &a->lock.mutex, &until);
}

int await_end(struct await *a, int r, const atomic_bool *cancel)
{
        struct fetch_wait *wait;
        bool done;

        if (r != FETCH_PENDING) {
                await_free(a);
                return r;
        }
        wait = a->wait;
        lock_take(&a->lock);
        while (!a->done && !(cancel && *cancel))
                sleep_locked(a);
        done = a->done;
        r = done ? a->result : -ECANCELED;
        a->abandoned = !done;
        lock_drop(&a->lock);
        if (done)
                await_free(a);
        else
                fetch_cancel(wait); /* @a belongs to the answer now */
        fetch_wait_unref(wait);
        return r;
}
