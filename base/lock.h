/*
 * A mutex that Clang's -Wthread-safety understands: public functions lock, static *_locked()
 * functions carry REQUIRES(lock). Field attributes are not used (Clang 14 does not see through
 * them in C); a comment "protected by x" stands on each field instead.
 */
#pragma once

#include <pthread.h>

#if defined(__clang__)
#define LOCK_ATTR(x) __attribute__((x))
#else
#define LOCK_ATTR(x)
#endif
#define REQUIRES(...) LOCK_ATTR(requires_capability(__VA_ARGS__))
#define ACQUIRES(...) LOCK_ATTR(acquire_capability(__VA_ARGS__))
#define RELEASES(...) LOCK_ATTR(release_capability(__VA_ARGS__))
#define NO_LOCK_ANALYSIS LOCK_ATTR(no_thread_safety_analysis)

struct LOCK_ATTR(capability("mutex")) lock {
        pthread_mutex_t mutex;
};

#define LOCK_INIT { PTHREAD_MUTEX_INITIALIZER }

static inline void lock_init(struct lock *l)
{
        pthread_mutex_init(&l->mutex, NULL);
}

static inline void lock_done(struct lock *l)
{
        pthread_mutex_destroy(&l->mutex);
}

static inline void lock_take(struct lock *l) ACQUIRES(*l) NO_LOCK_ANALYSIS
{
        pthread_mutex_lock(&l->mutex);
}

static inline void lock_drop(struct lock *l) RELEASES(*l) NO_LOCK_ANALYSIS
{
        pthread_mutex_unlock(&l->mutex);
}

/* Sleeps on @cond with the lock given up meanwhile, as pthread_cond_wait(3). */
static inline void lock_wait(struct lock *l, pthread_cond_t *cond) REQUIRES(*l)
{
        pthread_cond_wait(cond, &l->mutex);
}
