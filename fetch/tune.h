/*
 * Tune: how many transfers to run side by side, found by trying; and how fast bytes come.
 *
 * More connections than the line can feed bring nothing, and take from what a waiting reader could
 * have. So the filler begins with as many as it may have, and while that many really run, fewer are
 * tried now and then (and more again): a number is kept when about as many bytes come with fewer, or
 * clearly more with more.
 *
 * Threads    Pure: works on its argument alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TUNE_MIN 4          /* fewer are not tried: one lost packet would halve them */
#define TUNE_NEAR 4         /* to begin with where the hub is near, and one more for each millisecond */
#define TUNE_WINDOW_MS 1000 /* one measurement */
#define TUNE_HOLD_MS 2000   /* between a success and the next trial */
#define TUNE_SETTLED_MS 15000 /* after a trial that was taken back */

struct tune {
        unsigned limit, max;
        bool begun;               /* the latency was told */
        unsigned before;          /* the limit before the trial; 0: no trial is on */
        bool up;                  /* the next trial (or the one that is on) is of more */
        uint64_t rate_before;     /* bytes per second before the trial */
        uint64_t began_ms, bytes; /* the window's; 0: none has begun */
        uint64_t hold_ms;         /* no trial before this */
};

void tune_init(struct tune *u, unsigned max);

/* The first latency seen, of a request: from then on it counts. */
void tune_begin(struct tune *u, uint64_t latency_ms);

/* To be called whenever something changed. @running: transfers of the kind that is limited;
 * @wanted: more would run if they might; @bytes: all that came so far. Moves u->limit. */
void tune_look(struct tune *u, unsigned running, bool wanted, uint64_t bytes, uint64_t now_ms);

/* ---- the flow of all bytes ---- */

#define TUNE_FLOW_MS 50 /* one measurement */

struct tune_flow {
        uint64_t began_ms, bytes; /* the window's; 0: none has begun */
        uint64_t rate;            /* bytes per second in the last one */
};

/* Bytes per second lately; @bytes: all that came so far. To be called again and again. */
uint64_t tune_flow(struct tune_flow *f, uint64_t bytes, uint64_t now_ms);
