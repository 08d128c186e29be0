/*
 * Implementation of tune.h.
 */
#include "fetch/tune.h"

#include "base/util.h"

static unsigned lower(const struct tune *u)
{
        unsigned n = u->limit * 3 / 4;

        return n < TUNE_MIN ? TUNE_MIN : n;
}

static unsigned higher(const struct tune *u)
{
        unsigned n = u->limit + (u->limit + 2) / 3;

        return n > u->max ? u->max : n;
}

void tune_init(struct tune *u, unsigned max)
{
        *u = (struct tune){ .limit = max, .max = max };
}

void tune_begin(struct tune *u, uint64_t latency_ms)
{
        if (u->begun)
                return;
        u->begun = u->up = true; /* from a guess, more is tried first */
        u->limit = latency_ms < u->max ? (unsigned)latency_ms + TUNE_NEAR : u->max;
        if (u->limit > u->max)
                u->limit = u->max;
}

static void begin_trial(struct tune *u, uint64_t rate)
{
        unsigned next = u->up ? higher(u) : lower(u);

        if (next == u->limit || u->max <= TUNE_MIN) {
                u->up = !u->up;
                return;
        }
        u->before = u->limit;
        u->rate_before = rate;
        u->limit = next;
}

/* With more, half of what each of them would bring on a free line; with fewer, about the same as before. */
static bool is_good(const struct tune *u, uint64_t rate)
{
        if (u->up)
                return rate >= u->rate_before + u->rate_before * (u->limit - u->before) / u->before / 2;
        return rate >= u->rate_before - u->rate_before / 20;
}

static void end_trial(struct tune *u, uint64_t rate, uint64_t now_ms)
{
        bool good = is_good(u, rate);

        u->hold_ms = now_ms + (good ? TUNE_HOLD_MS : TUNE_SETTLED_MS);
        if (!good) {
                u->limit = u->before;
                u->up = !u->up;
        }
        u->before = 0;
}

void tune_look(struct tune *u, unsigned running, bool wanted, uint64_t bytes, uint64_t now_ms)
{
        uint64_t rate;

        /* A window counts while as many run as may, neither fewer nor what is left of a higher limit. */
        if (running != u->limit || !wanted) {
                u->began_ms = 0;
                return;
        }
        if (u->began_ms == 0) {
                u->began_ms = now_ms;
                u->bytes = bytes;
                return;
        }
        if (now_ms - u->began_ms < TUNE_WINDOW_MS)
                return;
        rate = (bytes - u->bytes) * 1000 / (now_ms - u->began_ms);
        u->began_ms = 0;
        if (u->before != 0)
                end_trial(u, rate, now_ms);
        else if (now_ms >= u->hold_ms)
                begin_trial(u, rate);
}

uint64_t tune_flow(struct tune_flow *f, uint64_t bytes, uint64_t now_ms)
{
        uint64_t passed = now_ms - f->began_ms;

        if (f->began_ms != 0 && passed < TUNE_FLOW_MS)
                return f->rate;
        f->rate = f->began_ms != 0 ? (bytes - f->bytes) * 1000 / passed : 0;
        f->began_ms = now_ms;
        f->bytes = bytes;
        return f->rate;
}
