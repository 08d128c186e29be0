/*
 * How the fills follow the gate (gate.h): what is under way when it closes, and what begins anew when it
 * opens. All of it is the pump's.
 */
#include "fetch/fill_internal.h"

#include "base/clock.h"

static void tell_mode(struct filler *fl, bool offline)
{
        const struct fetch_events *ev = &fl->o.events;

        if (ev->mode_changed)
                ev->mode_changed(ev->arg, offline);
}

static void cancel_transfers(struct fill *f)
{
        LIST_FOREACH(node, &f->transfers)
                LIST_OWNER(node, struct fill_transfer, node)->cancelled = true;
}

/* What somebody waits for and has begun is completed before the gate shuts; the rest is dropped. */
static void begin_closing_locked(struct filler *fl) REQUIRES(fl->lock)
{
        LIST_FOREACH(node, &fl->queued)
                fill_fail_locked(fl, LIST_OWNER(node, struct fill, node), FETCH_E_OFFLINE);
        LIST_FOREACH(node, &fl->active) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                fill_fail_opens_locked(fl, f, FETCH_E_OFFLINE);
                f->along = false;
                f->next_end = 0;
                f->before_shut = f->rest = fill_has_waits(f);
                if (!f->before_shut)
                        cancel_transfers(f);
        }
        along_forget_locked(fl);
}

/* At the shut gate: only parked reads stay. */
static void end_closing_locked(struct filler *fl) REQUIRES(fl->lock)
{
        LIST_FOREACH(node, &fl->active) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                if (f->finishing || fill_all_held(f))
                        continue; /* needs no network */
                fill_fail_opens_locked(fl, f, FETCH_E_OFFLINE);
                waits_enlist(&f->wholes, FETCH_E_OFFLINE, &fl->answers);
                if (!gate_parks(fl->o.gate))
                        waits_enlist(&f->reads, FETCH_E_OFFLINE, &fl->answers);
                f->rest = f->along = f->before_shut = false;
        }
}

static bool is_draining_locked(struct filler *fl) REQUIRES(fl->lock)
{
        if (gate_parks(fl->o.gate))
                return false;
        LIST_FOREACH(node, &fl->active)
                if (LIST_OWNER(node, struct fill, node)->before_shut)
                        return true;
        return false;
}

static void close_gate_locked(struct filler *fl) REQUIRES(fl->lock)
{
        bool idle;

        if (!fl->told_offline) {
                fl->told_offline = true;
                begin_closing_locked(fl);
                filler_leave(fl);
                tell_mode(fl, true);
                lock_take(&fl->lock);
        }
        if (is_draining_locked(fl))
                return;
        if (!fl->suspended) {
                fl->suspended = true;
                lock_drop(&fl->lock);
                hub_suspend(fl->o.hub);
                lock_take(&fl->lock);
        }
        if (fl->transfers > 0 || fl->locating > 0)
                return;
        end_closing_locked(fl);
        filler_leave(fl);
        idle = fl->o.resolver_idle(fl->o.resolver_arg);
        if (idle)
                gate_shut(fl->o.gate);
        lock_take(&fl->lock);
}

/* Parked reads begin anew, with all their time. */
static void reopen_fills_locked(struct filler *fl) REQUIRES(fl->lock)
{
        uint64_t deadline = clock_ms() + (uint64_t)fl->o.read_deadline_s * 1000;

        LIST_FOREACH(node, &fl->demands)
                LIST_OWNER(node, struct fetch_wait, queue)->deadline = deadline;
        LIST_FOREACH(node, &fl->active) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                f->retry_ms = 0;
                f->failures = 0;
                f->before_shut = false;
        }
}

static void open_gate_locked(struct filler *fl) REQUIRES(fl->lock)
{
        bool was_suspended = fl->suspended;

        fl->suspended = false;
        reopen_fills_locked(fl);
        lock_drop(&fl->lock);
        if (was_suspended)
                hub_resume(fl->o.hub);
        if (gate_opened(fl->o.gate))
                tell_mode(fl, false);
        lock_take(&fl->lock);
        fl->told_offline = gate_is_offline(fl->o.gate);
}

void fill_step_gate_locked(struct filler *fl)
{
        if (gate_mode(fl->o.gate) == GATE_CLOSING)
                close_gate_locked(fl);
        else if (gate_mode(fl->o.gate) == GATE_OPENING)
                open_gate_locked(fl);
}
