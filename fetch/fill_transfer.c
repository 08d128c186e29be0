/*
 * Ranges on their way, and what becomes of a failure.
 *
 * | result of a range        | what follows                                                          |
 * |--------------------------|-----------------------------------------------------------------------|
 * | 0                        | the pump plans on                                                     |
 * | EXPIRED, ABSENT, FORBIDDEN | the location is asked for anew; a pause when that repeats without progress |
 * | STALLED, CUT             | again at once, what is missing; a pause from the third without progress |
 * | UNREACHABLE, MALFORMED   | a pause: doubled each time, at most 30 s, with jitter; Retry-After counts |
 * | RANGE                    | a pause; a small file is asked for whole after four in a row          |
 * | -ECANCELED, -ENETDOWN    | nothing: the gate, or cut short by the plan                           |
 * | another negative errno   | (the store's disk) all who wait for the blob fail with it              |
 *
 * Who waits is failed by his deadline (fill_pump.c), not here.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>

#define RANGE_ERRORS_MAX 4 /* then the file is asked for whole, if it is not larger than one range */
#define FAILURES_PATIENT 3 /* in a row: then what nobody waits for is given up */

void fill_forget_failures_locked(struct fill *f)
{
        f->failures = f->refusals = f->range_errors = 0;
        f->retry_ms = 0;
}

void fill_came_locked(struct filler *fl, struct fill *f, uint64_t start, uint64_t end, uint64_t now_ms)
{
        f->dirty = true;
        f->progress_ms = fl->progress_ms = now_ms;
        LIST_FOREACH(node, &f->reads) {
                struct fetch_wait *w = LIST_OWNER(node, struct fetch_wait, node);

                if (w->start < end && w->end > start && fill_answers(f, w->start, w->end))
                        wait_enlist(w, 0, &fl->answers);
        }
        fill_hash_locked(fl, f);
}

void fill_log_unstored(const struct fill *f, int error)
{
        log_ratelimited(LOG_LEVEL_ERROR, "blob %.12s: cannot be stored: %s", blob_etag(f->blob),
                        errmsg_get(NULL, error));
}

/* xorshift64: enough for jitter */
static uint64_t random_locked(struct filler *fl) REQUIRES(fl->lock)
{
        fl->random ^= fl->random << 13;
        fl->random ^= fl->random >> 7;
        fl->random ^= fl->random << 17;
        return fl->random;
}

void fill_back_off_locked(struct filler *fl, struct fill *f, uint64_t at_least_ms)
{
        uint64_t pause = FILL_RETRY_MAX_MS;

        if (f->failures < 8)
                pause = min_u64(pause, (uint64_t)FILL_RETRY_MS << f->failures);
        pause = pause / 2 + random_locked(fl) % (pause / 2 + 1);
        pause = max_u64(pause, at_least_ms);
        f->failures++;
        f->retry_ms = clock_ms() + pause;
        f->told_ms = at_least_ms ? clock_ms() + at_least_ms : 0;
        if (f->failures >= FAILURES_PATIENT && !fill_has_waits(f))
                fill_give_up_locked(fl, f);
        log_debug("blob %.12s: failure %u, next try in %" PRIu64 " ms", blob_etag(f->blob), f->failures,
                  pause);
}

/* ---- while it runs (the engine's thread) ---- */

/* It brought what shows that transfers get somewhere. A few bytes of each before it breaks off show nothing:
 * asking again at once for what they left would be a storm. */
static bool has_progress(const struct fill_transfer *t)
{
        return t->at >= t->end || t->at - t->start >= PLAN_LONE;
}

/* Returns what of @len bytes at @offset is still wanted. */
static size_t wanted_part(struct fill_transfer *t, uint64_t offset, size_t len, bool *ret_cancelled)
{
        struct filler *fl = t->fill->filler;
        uint64_t end;

        lock_take(&fl->lock);
        *ret_cancelled = t->cancelled;
        end = t->end;
        lock_drop(&fl->lock);
        if (offset >= end)
                return 0;
        return min_u64(len, end - offset);
}

static int transfer_data(void *arg, uint64_t offset, const void *buf, size_t len)
{
        struct fill_transfer *t = arg;
        struct fill *f = t->fill;
        struct filler *fl = f->filler;
        bool cancelled, cut;
        size_t n = wanted_part(t, offset, len, &cancelled);
        uint64_t now;
        int r;

        if (cancelled)
                return -ECANCELED;
        r = n > 0 ? blob_write(f->blob, buf, n, offset) : 0;
        if (r < 0)
                return r;
        now = clock_ms();
        lock_take(&fl->lock);
        if (t->came_ms == 0)
                t->came_ms = now;
        fl->bytes += n;
        if (fill_charge_locked(fl, f, n, now) && (t->class == FILL_REST || t->class == FILL_NEXT))
                t->cancelled = true;
        t->at = offset + n;
        if (has_progress(t))
                fill_forget_failures_locked(f);
        fill_came_locked(fl, f, offset, offset + n, now);
        cut = t->cancelled || (t->at >= t->end && t->end < t->asked_end);
        filler_leave(fl);
        gate_note_reached(fl->o.gate);
        return cut ? -ECANCELED : 0;
}

/* Whether a read has all that it wants of this transfer in [offset, offset + len), or the transfer has all that
 * it is to bring. */
static bool transfer_awaited(void *arg, uint64_t offset, size_t len)
{
        struct fill_transfer *t = arg;
        struct filler *fl = t->fill->filler;
        uint64_t end = offset + len;
        bool awaited;

        lock_take(&fl->lock);
        awaited = t->cancelled || end >= t->end;
        LIST_FOREACH(node, &t->fill->reads) {
                const struct fetch_wait *w = LIST_OWNER(node, struct fetch_wait, node);

                awaited = awaited || (w->start < end && w->end > offset && min_u64(w->end, t->end) <= end);
        }
        lock_drop(&fl->lock);
        return awaited;
}

/* ---- its end ---- */

static void range_error_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock)
{
        fill_back_off_locked(fl, f, 0);
        if (++f->range_errors < RANGE_ERRORS_MAX)
                return;
        if (f->range_errors == RANGE_ERRORS_MAX)
                log_ratelimited(LOG_LEVEL_ERROR, "blob %.12s: the hub does not answer ranges as asked",
                                blob_etag(f->blob));
        f->ask_whole = blob_size(f->blob) <= PLAN_RANGE_USUAL;
}

static void judge_failure_locked(struct filler *fl, struct fill *f, const struct fill_transfer *t, int result,
                                 uint64_t retry_after_ms) REQUIRES(fl->lock)
{
        bool progress = has_progress(t);

        switch (result) {
        case HUB_E_EXPIRED:
        case HUB_E_ABSENT:
        case HUB_E_FORBIDDEN:
                if (f->location == t->location)
                        fill_drop_location(f);
                if (!progress && f->failures++ > 0)
                        fill_back_off_locked(fl, f, retry_after_ms);
                return;
        case HUB_E_STALLED:
        case HUB_E_CUT:
                if (!progress && f->failures++ > 1)
                        fill_back_off_locked(fl, f, retry_after_ms);
                return;
        case HUB_E_RANGE:
                range_error_locked(fl, f);
                return;
        case HUB_E_UNREACHABLE:
        case HUB_E_MALFORMED:
                gate_note_failed(fl->o.gate);
                fill_back_off_locked(fl, f, retry_after_ms);
                return;
        case -ECANCELED:
        case -ENETDOWN: /* the gate closes or opens just now: not at once again */
                fill_back_off_locked(fl, f, 0);
                return;
        default:
                fill_log_unstored(f, result);
                fill_fail_locked(fl, f, result);
        }
}

static void smooth(uint64_t *value, uint64_t sample)
{
        *value = *value ? (3 * *value + sample) / 4 : sample;
}

/* Tiny ones say nothing. */
static void note_rate(struct fill *f, const struct fill_transfer *t)
{
        if (t->came_ms == 0 || t->at - t->start < PLAN_HEAD)
                return;
        smooth(&f->rate, (t->at - t->start) * 1000 / max_u64(clock_ms() - t->came_ms, 1));
        smooth(&f->latency_ms, t->came_ms - t->began_ms);
        tune_begin(&f->filler->tune, t->came_ms - t->began_ms);
}

static void transfer_done(void *arg, int result, uint64_t retry_after_ms)
{
        struct fill_transfer *t = arg;
        struct fill *f = t->fill;
        struct filler *fl = f->filler;

        lock_take(&fl->lock);
        list_remove(&t->node);
        f->transfer_count--;
        fl->transfers--;
        fl->demand_transfers -= t->class == FILL_DEMAND;
        note_rate(f, t);
        if (result == 0 && t->at < t->end)
                result = HUB_E_CUT;
        if (result != 0 && t->at < t->end && !t->cancelled) {
                log_debug("blob %.12s: range %" PRIu64 "-%" PRIu64 " ended at %" PRIu64 ": %d",
                          blob_etag(f->blob), t->start, t->end, t->at, result);
                /* Those that ran side by side fail together: that is one failure. */
                if (t->judged == f->judged || result < 0) {
                        f->judged++;
                        judge_failure_locked(fl, f, t, result, retry_after_ms);
                }
        }
        location_unref(t->location);
        free(t);
        pthread_cond_broadcast(&fl->quiet);
        filler_poke_locked(fl);
        filler_leave(fl);
}

/* ---- its beginning ---- */

struct fill_transfer *fill_transfer_new_locked(struct filler *fl, struct fill *f, enum fill_class class,
                                               const struct plan_ask *ask)
{
        struct fill_transfer *t = calloc(1, sizeof(*t));

        if (!t)
                return NULL;
        t->fill = f;
        t->class = class;
        t->location = f->location;
        t->location->refs++;
        t->start = t->at = ask->start;
        t->end = t->asked_end = ask->end;
        t->judged = f->judged;
        t->began_ms = clock_ms();
        list_push(&f->transfers, &t->node);
        list_push(&fl->starting, &t->starting);
        f->transfer_count++;
        fl->transfers++;
        fl->demand_transfers += class == FILL_DEMAND;
        fill_begins_locked(fl, t->end - t->start);
        return t;
}

void fill_transfer_start(struct fill_transfer *t)
{
        static const char *const words[] = { "demand", "ahead", "pull", "rest", "next" };
        struct hub_sink sink = {
                .data = transfer_data,
                .awaited = transfer_awaited,
                .done = transfer_done,
                .arg = t,
                .priority = t->class,
        };
        struct fill *f = t->fill;
        struct hub_call *call = NULL;
        int r;

        log_debug("blob %.12s: %s %" PRIu64 "-%" PRIu64, blob_etag(f->blob), words[t->class], t->start,
                  t->asked_end);
        r = hub_range(f->filler->o.hub, &t->location->at, t->start, t->asked_end, blob_size(f->blob), &sink,
                      &call);
        if (r == 0)
                hub_call_unref(call); /* t may be gone already */
        else
                transfer_done(t, r, 0);
}
