/*
 * Clocks. Deadlines and lifetimes use the monotonic one; what is stored or shown, the wall clock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Milliseconds of CLOCK_MONOTONIC; never 0. */
static inline uint64_t clock_ms(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000 + 1;
}

/* Nanoseconds since the epoch. */
static inline int64_t clock_wall_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* The same in seconds. */
static inline int64_t clock_wall_s(void)
{
        return clock_wall_ns() / 1000000000;
}

static inline bool timespec_equal(struct timespec a, struct timespec b)
{
        return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}
