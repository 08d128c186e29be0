/*
 * The pump: one thread that decides what is fetched next. It alone begins transfers and moves the
 * gate (fill_gate.c). It runs when poked or when a time comes (a deadline, a retry, a sync), and looks at all
 * active fills each time: they are few, and a look is cheap.
 *
 * Order over all blobs: demand, oldest first; readahead; pull, in the order asked; background; the
 * beginning of a part that will be read next. But for pulls, the blob with the fewest transfers gets the
 * next. A quarter of the connections is left to demand, and the rest used as far as that brings more bytes
 * (tune.h). A blob that has no transfer gets one for its demand even beyond the limit, up to twice of it:
 * transfers that stall must not stop other files.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>

#define LOOK_AGAIN_MS 5000 /* while anything is active */
#define SYNC_LOOK_MS 1000
#define SPACE_LOOK_MS 1000
#define TRANSFERS_MAX 64

static bool may_fetch(const struct fill *f)
{
        const struct filler *fl = f->filler;

        if (!fl->o.hub)
                return false;
        switch (gate_mode(fl->o.gate)) {
        case GATE_ONLINE:
                return true;
        case GATE_CLOSING:
                return f->before_shut && !gate_parks(fl->o.gate);
        default:
                return false;
        }
}

/* ---- deadlines ---- */

static void expire_list_locked(struct filler *fl, struct list *waits, uint64_t now, uint64_t at_least)
        REQUIRES(fl->lock)
{
        LIST_FOREACH(node, waits) {
                struct fetch_wait *w = LIST_OWNER(node, struct fetch_wait, node);

                if (now >= max_u64(w->deadline, at_least))
                        wait_enlist(w, FETCH_E_UNREACHABLE, &fl->answers);
        }
}

/* A read that waits for all of a large file is patient as long as that comes, or, while nothing of it fails, another
 * that is before it in line: FILL_PULL brings one after the other. */
static void prolong_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock)
{
        uint64_t came = f->failures == 0 ? fl->progress_ms : f->progress_ms;
        uint64_t progress = came + (uint64_t)fl->o.read_deadline_s * 1000;

        if (!fl->o.strict || came == 0)
                return;
        LIST_FOREACH(node, &f->reads) {
                struct fetch_wait *w = LIST_OWNER(node, struct fetch_wait, node);

                w->deadline = max_u64(w->deadline, progress);
        }
}

static void expire_reads_locked(struct filler *fl, struct fill *f, uint64_t now) REQUIRES(fl->lock)
{
        LIST_FOREACH(node, &f->reads) {
                struct fetch_wait *w = LIST_OWNER(node, struct fetch_wait, node);

                if (now < w->deadline)
                        continue;
                f->given_up[f->given_up_next++ % FILL_GIVEN_UP_MAX] =
                        (struct fill_given_up){ w->start, w->end, now };
                wait_enlist(w, FETCH_E_UNREACHABLE, &fl->answers);
        }
}

static void expire_locked(struct filler *fl, uint64_t now) REQUIRES(fl->lock)
{
        /* A pull of many blobs is patient with each as long as bytes come for any. */
        uint64_t progress = fl->progress_ms + (uint64_t)fl->o.read_deadline_s * 1000;
        enum gate_mode mode = gate_mode(fl->o.gate);

        LIST_FOREACH(node, &fl->active) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                if (f->finishing)
                        continue; /* the hub is not what is waited for */
                expire_list_locked(fl, &f->opens, now, 0);
                if (mode != GATE_ONLINE && gate_parks(fl->o.gate))
                        continue; /* parked */
                prolong_locked(fl, f);
                expire_reads_locked(fl, f, now);
                expire_list_locked(fl, &f->wholes, now, progress);
        }
        if (mode != GATE_ONLINE || now < progress)
                return;
        LIST_FOREACH(node, &fl->queued)
                expire_list_locked(fl, &LIST_OWNER(node, struct fill, node)->wholes, now, progress);
}

/* ---- planning ---- */

struct view {
        struct plan_view v;
        struct plan_transfer ranges[TRANSFERS_MAX];
        struct fill_transfer *transfers[TRANSFERS_MAX];
};

static bool next_hole(void *arg, uint64_t from, uint64_t limit, struct range *ret)
{
        return blob_next_hole(arg, from, limit, ret);
}

static void view_of(struct fill *f, struct view *ret)
{
        size_t n = 0;

        LIST_FOREACH(node, &f->transfers) {
                struct fill_transfer *t = LIST_OWNER(node, struct fill_transfer, node);

                if (n == TRANSFERS_MAX || t->cancelled || t->at >= t->end)
                        continue;
                ret->transfers[n] = t;
                ret->ranges[n++] = (struct plan_transfer){ t->at, t->end, f->rate };
        }
        ret->v = (struct plan_view){
                .size = blob_size(f->blob),
                .missing = blob_size(f->blob) - blob_held_bytes(f->blob),
                .next_hole = next_hole,
                .arg = f->blob,
                .transfers = ret->ranges,
                .count = n,
                .range_max = plan_range_max(f->rate, f->latency_ms),
        };
}

/* Ready for a transfer now; else what it lacks is asked for. */
static bool is_ready_locked(struct filler *fl, struct fill *f, uint64_t now) REQUIRES(fl->lock)
{
        if (!may_fetch(f) || f->finishing || f->retry_ms > now || blob_state(f->blob) != BLOB_FILLING)
                return false;
        if (fill_location_good(f, now))
                return true;
        if (!fill_all_held(f))
                fill_locate_locked(fl, f, now);
        return false;
}

static bool has_slot_locked(struct filler *fl, const struct fill *f, enum fill_class class, uint64_t now)
        REQUIRES(fl->lock)
{
        unsigned all = fl->o.connections;

        if (!fill_is_within_bounds_locked(fl, f, class, now))
                return false;
        if (class == FILL_DEMAND)
                return fl->transfers < all || (f->transfer_count == 0 && fl->transfers < 2 * all);
        return fl->transfers < fl->tune.max && fl->transfers - fl->demand_transfers < fl->tune.limit;
}

static bool begin_locked(struct filler *fl, struct fill *f, enum fill_class class, const struct view *view,
                         const struct plan_ask *ask) REQUIRES(fl->lock)
{
        if (ask->cut != SIZE_MAX)
                view->transfers[ask->cut]->end = ask->start;
        return fill_transfer_new_locked(fl, f, class, ask) != NULL;
}

/* After range errors: the whole file in one request, which a server without ranges answers. */
static bool plan_whole_file_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock)
{
        struct plan_ask ask = { 0, blob_size(f->blob), SIZE_MAX };

        if (!f->ask_whole)
                return false;
        if (f->transfer_count == 0 && fill_transfer_new_locked(fl, f, FILL_DEMAND, &ask))
                f->ask_whole = false;
        return true;
}

static void plan_wait_locked(struct filler *fl, struct fetch_wait *w, uint64_t now) REQUIRES(fl->lock)
{
        struct fill *f = w->owner;
        struct plan_ask ask;
        struct view view;

        if (!is_ready_locked(fl, f, now) || plan_whole_file_locked(fl, f))
                return;
        while (has_slot_locked(fl, f, FILL_DEMAND, now)) {
                view_of(f, &view);
                if (!plan_demand(&view.v, w->start, w->end, w->run, &ask) ||
                    !begin_locked(fl, f, FILL_DEMAND, &view, &ask))
                        return;
        }
}

static bool plan_one_locked(struct filler *fl, struct fill *f, enum fill_class class, uint64_t now)
        REQUIRES(fl->lock)
{
        struct plan_ask ask;
        struct view view;

        view_of(f, &view);
        if (class == FILL_NEXT) {
                view.v.size = f->next_end;
                return plan_rest(&view.v, 0, &ask) && begin_locked(fl, f, class, &view, &ask);
        }
        if (class != FILL_AHEAD)
                return plan_rest(&view.v, plan_resume_at(&f->seen), &ask) &&
                       begin_locked(fl, f, class, &view, &ask);
        for (size_t i = 0; i < PLAN_STREAMS; i++)
                if (plan_ahead(&view.v, &f->seen.streams[i], now, &ask))
                        return begin_locked(fl, f, class, &view, &ask);
        return false;
}

static bool wants_class(const struct fill *f, enum fill_class class)
{
        switch (class) {
        case FILL_AHEAD:
                return f->touched_ms != 0;
        case FILL_PULL:
                return f->along || fill_whole_awaited(f);
        case FILL_REST:
                return f->rest;
        case FILL_NEXT:
                return f->next_end > 0 && !f->rest;
        default:
                return false;
        }
}

/* A stream's next bytes are wanted: not worth a lookup of the location unless there is one. */
static bool is_candidate_locked(struct filler *fl, struct fill *f, enum fill_class class, uint64_t now)
        REQUIRES(fl->lock)
{
        return f->planned != fl->pass && wants_class(f, class) && has_slot_locked(fl, f, class, now) &&
               (class != FILL_AHEAD || fill_location_good(f, now)) && is_ready_locked(fl, f, now) &&
               !plan_whole_file_locked(fl, f);
}

/* Who gets the next transfer: the first for a pull, so that one file after the other is whole; else the one
 * that has the fewest. */
static struct fill *next_fill_locked(struct filler *fl, enum fill_class class, uint64_t now)
        REQUIRES(fl->lock)
{
        struct fill *best = NULL;

        LIST_FOREACH(node, &fl->active) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                if (best && f->transfer_count >= best->transfer_count)
                        continue;
                if (!is_candidate_locked(fl, f, class, now))
                        continue;
                best = f;
                if (class == FILL_PULL)
                        break;
        }
        return best;
}

static void plan_class_locked(struct filler *fl, enum fill_class class, uint64_t now) REQUIRES(fl->lock)
{
        struct fill *f;

        fl->pass++;
        while ((f = next_fill_locked(fl, class, now)))
                if (!plan_one_locked(fl, f, class, now))
                        f->planned = fl->pass;
}

/* Somebody would take another transfer. */
static bool is_wanting_locked(const struct filler *fl) REQUIRES(fl->lock)
{
        LIST_FOREACH(node, &fl->active) {
                const struct fill *f = LIST_OWNER(node, struct fill, node);

                if (f->location && !f->finishing && (wants_class(f, FILL_PULL) || wants_class(f, FILL_REST)))
                        return true;
        }
        return !list_empty(&fl->queued);
}

/* Lets queued fills in, as far as the pump is not to be swamped. */
static void let_in_locked(struct filler *fl, uint64_t now) REQUIRES(fl->lock)
{
        unsigned pulled = 0;

        LIST_FOREACH(node, &fl->active) {
                const struct fill *f = LIST_OWNER(node, struct fill, node);

                pulled += wants_class(f, FILL_PULL) && !fill_is_put_off_locked(fl, f, now);
        }
        LIST_FOREACH(node, &fl->queued) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                if (pulled >= FILL_PULLED_MAX)
                        return;
                if (fill_is_put_off_locked(fl, f, now))
                        continue;
                fill_move_locked(fl, f, FILL_ACTIVE);
                pulled++;
        }
}

/* A blob may become whole behind the filler's back: adopted with another repo's folder, or confirmed by a
 * recheck. Who waits for it has what he wants (K2), and no transfer or job would tell him. */
static void answer_whole_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock)
{
        enum blob_state state;

        if (f->finishing || !fill_has_waits(f))
                return;
        state = blob_state(f->blob);
        if (state != BLOB_COMPLETE && (state != BLOB_ADOPTED || fl->o.strict))
                return;
        f->rest = f->along = false;
        fill_fail_locked(fl, f, 0);
}

static void plan_locked(struct filler *fl, uint64_t now) REQUIRES(fl->lock)
{
        let_in_locked(fl, now);
        LIST_FOREACH(node, &fl->active) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                if (!list_empty(&f->opens) && may_fetch(f)) /* asks for itself, whatever failed before */
                        fill_locate_locked(fl, f, now);
        }
        LIST_FOREACH(node, &fl->demands)
                plan_wait_locked(fl, LIST_OWNER(node, struct fetch_wait, queue), now);
        plan_class_locked(fl, FILL_AHEAD, now);
        plan_class_locked(fl, FILL_PULL, now);
        plan_class_locked(fl, FILL_REST, now);
        plan_class_locked(fl, FILL_NEXT, now);
        tune_look(&fl->tune, fl->transfers - fl->demand_transfers, is_wanting_locked(fl), fl->bytes, now);
        LIST_FOREACH(node, &fl->active) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                answer_whole_locked(fl, f);
                if (!fill_finish_locked(fl, f) && f->dirty && blob_sync_due(f->blob))
                        fill_sync_locked(fl, f);
                if (f->dirty) /* what had to wait for readers, who may have stopped */
                        fill_hash_locked(fl, f);
                fill_settle_locked(fl, f);
        }
}

/* ---- time ---- */

static void earlier(uint64_t *next, uint64_t ms)
{
        if (*next == 0 || ms < *next)
                *next = ms;
}

static void earliest_deadline(uint64_t *next, const struct list *waits)
{
        if (!list_empty(waits))
                earlier(next, LIST_OWNER(waits->next, struct fetch_wait, node)->deadline);
}

/* When to look again: 0 for not before being poked. */
static uint64_t next_time_locked(struct filler *fl, uint64_t now) REQUIRES(fl->lock)
{
        bool parked = gate_mode(fl->o.gate) != GATE_ONLINE && gate_parks(fl->o.gate);
        uint64_t next = 0;

        if (!list_empty(&fl->queued))
                earlier(&next, now + LOOK_AGAIN_MS);
        if (fill_is_short_of_space(fl) && !(list_empty(&fl->active) && list_empty(&fl->queued)))
                earlier(&next, now + SPACE_LOOK_MS);
        if (gate_mode(fl->o.gate) == GATE_CLOSING)
                earlier(&next, now + 100);
        LIST_FOREACH(node, &fl->active) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                earlier(&next, now + (f->dirty ? SYNC_LOOK_MS : LOOK_AGAIN_MS));
                if (f->retry_ms > now)
                        earlier(&next, f->retry_ms);
                if (f->finishing)
                        continue; /* as in expire_locked(): these deadlines do not count now */
                earliest_deadline(&next, &f->opens);
                if (!parked)
                        earliest_deadline(&next, &f->reads);
        }
        return next != 0 ? max_u64(next, now + 1) : 0;
}

static void sleep_locked(struct filler *fl, uint64_t until) REQUIRES(fl->lock) NO_LOCK_ANALYSIS
{
        struct timespec ts;

        if (fl->poked)
                return;
        if (until == 0) {
                lock_wait(&fl->lock, &fl->wake);
                return;
        }
        until--; /* clock_ms() counts from one */
        ts = (struct timespec){ (time_t)(until / 1000), (long)(until % 1000) * 1000000 };
        pthread_cond_timedwait(&fl->wake, &fl->lock.mutex, &ts);
}

/* Gives up the lock for the callbacks and the hub, and takes it again. */
static void carry_out_locked(struct filler *fl) REQUIRES(fl->lock)
{
        struct list starting = LIST_INIT(starting), *node;

        list_splice(&starting, &fl->starting);
        filler_leave(fl);
        while ((node = list_pop(&starting)))
                fill_transfer_start(LIST_OWNER(node, struct fill_transfer, starting));
        lock_take(&fl->lock);
}

void *filler_pump(void *arg)
{
        struct filler *fl = arg;
        sigset_t all;

        sigfillset(&all); /* signals belong to the main thread */
        pthread_sigmask(SIG_SETMASK, &all, NULL);
        pthread_setname_np(pthread_self(), "wfs-fill");
        lock_take(&fl->lock);
        while (!fl->stopping) {
                uint64_t now, next;

                fl->poked = false;
                fill_step_gate_locked(fl);
                now = clock_ms();
                expire_locked(fl, now);
                fill_look_at_space_locked(fl, now);
                plan_locked(fl, now);
                next = next_time_locked(fl, now);
                carry_out_locked(fl);
                sleep_locked(fl, next);
        }
        lock_drop(&fl->lock);
        return NULL;
}
