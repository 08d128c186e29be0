/*
 * Implementation of gate.h.
 */
#include "fetch/gate.h"

#include "base/clock.h"

#include <errno.h>

void gate_init(struct gate *g, bool for_good)
{
        *g = (struct gate){};
        lock_init(&g->lock);
        list_init(&g->askers);
        g->mode = for_good ? GATE_FOR_GOOD : GATE_ONLINE;
}

void gate_done(struct gate *g)
{
        lock_done(&g->lock);
}

enum gate_mode gate_mode(const struct gate *g)
{
        return atomic_load(&g->mode);
}

bool gate_is_offline(const struct gate *g)
{
        return gate_mode(g) != GATE_ONLINE;
}

bool gate_parks(struct gate *g)
{
        return atomic_load(&g->parks);
}

static void ignore_result(void *arg, int result)
{
        (void)arg;
        (void)result;
}

/* Adds an asker to the switch to @mode, which begins or goes on; who asked for the opposite is told. */
static int ask_locked(struct gate *g, enum gate_mode mode, fetch_done_fn done, void *arg,
                      struct list *answers) REQUIRES(g->lock)
{
        struct fetch_wait *w = wait_new(&g->lock, done ? done : ignore_result, arg);

        if (!w)
                return -ENOMEM;
        if (gate_mode(g) != mode)
                waits_enlist(&g->askers, -ECANCELED, answers);
        atomic_store(&g->mode, mode);
        list_push(&g->askers, &w->node);
        return FETCH_PENDING;
}

static int close_locked(struct gate *g, bool now, fetch_done_fn done, void *arg,
                        struct list *answers) REQUIRES(g->lock)
{
        int r;

        switch (gate_mode(g)) {
        case GATE_FOR_GOOD:
                return -EPERM;
        case GATE_OFFLINE:
                atomic_store(&g->parks, g->parks || now);
                return 0;
        default:
                r = ask_locked(g, GATE_CLOSING, done, arg, answers);
                if (r == FETCH_PENDING)
                        atomic_store(&g->parks, g->parks || now);
                return r;
        }
}

int gate_close(struct gate *g, bool now, fetch_done_fn done, void *arg)
{
        struct list answers = LIST_INIT(answers);
        int r;

        lock_take(&g->lock);
        r = close_locked(g, now, done, arg, &answers);
        lock_drop(&g->lock);
        waits_answer(&answers);
        return r;
}

int gate_open(struct gate *g, fetch_done_fn done, void *arg)
{
        struct list answers = LIST_INIT(answers);
        int r;

        lock_take(&g->lock);
        if (gate_mode(g) == GATE_FOR_GOOD)
                r = -EPERM;
        else if (gate_mode(g) == GATE_ONLINE)
                r = 0;
        else
                r = ask_locked(g, GATE_OPENING, done, arg, &answers);
        lock_drop(&g->lock);
        waits_answer(&answers);
        return r;
}

/* A switch has been carried out, unless the mode is no longer @from. */
static bool arrive(struct gate *g, enum gate_mode from, enum gate_mode to)
{
        struct list answers = LIST_INIT(answers);
        bool ok;

        lock_take(&g->lock);
        ok = gate_mode(g) == from;
        if (ok) {
                atomic_store(&g->mode, to);
                if (to == GATE_ONLINE) {
                        atomic_store(&g->parks, false);
                        gate_forget_failed(g);
                }
                waits_enlist(&g->askers, 0, &answers);
        }
        lock_drop(&g->lock);
        waits_answer(&answers);
        return ok;
}

bool gate_shut(struct gate *g)
{
        return arrive(g, GATE_CLOSING, GATE_OFFLINE);
}

bool gate_opened(struct gate *g)
{
        return arrive(g, GATE_OPENING, GATE_ONLINE);
}

void gate_abandon(struct gate *g)
{
        struct list answers = LIST_INIT(answers);

        lock_take(&g->lock);
        waits_enlist(&g->askers, -ECANCELED, &answers);
        lock_drop(&g->lock);
        waits_answer(&answers);
}

void gate_note_reached(struct gate *g)
{
        atomic_store(&g->reached_ms, clock_ms());
        atomic_store(&g->failed_ms, 0);
}

void gate_note_failed(struct gate *g)
{
        atomic_store(&g->failed_ms, clock_ms());
}

void gate_forget_failed(struct gate *g)
{
        atomic_store(&g->failed_ms, 0);
}

static bool within(uint64_t then, uint64_t ms)
{
        return then != 0 && clock_ms() - then <= ms;
}

bool gate_reached_within(struct gate *g, uint64_t ms)
{
        return atomic_load(&g->failed_ms) == 0 && within(atomic_load(&g->reached_ms), ms);
}

bool gate_failed_within(struct gate *g, uint64_t ms)
{
        return within(atomic_load(&g->failed_ms), ms);
}
