/*
 * Ranges: one GET, whose answer is checked before its first byte is let through.
 *
 * Invariants
 *  R1  No byte reaches the sink unless status, Content-Range, Content-Length and Content-Encoding
 *      all say that the answer is the range that was asked for.
 *  R2  Bytes reach the sink in order and never beyond the end of the range.
 *  R3  0 is answered only when every byte of the range was let through.
 */
#include "fetch/hub_call.h"

#define LOG_COMPONENT "hub"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STALL_MS 15000
#define STALL_LEAST 4096 /* bytes in that time: less is a drip, which would hold its reader for ever */
#define PACE_PATIENCE_MS 1000 /* longer than this, the filler is told instead of kept waiting */
#define SKIP_MAX (64u << 10)

/* R1. An answer that is no success says what it means in judge_status(). */
static bool as_asked(const struct hub_call *c)
{
        const struct http_answer *a = &c->answer;
        uint64_t want = c->range.end - c->range.start;

        if (a->encoded || a->length == -2 || (a->length >= 0 && (uint64_t)a->length != want))
                return false;
        if (a->status == 200)
                return want == c->range.total && a->length >= 0 && !a->has_range;
        return a->status == 206 && a->has_range && !a->bad_range && !a->range.unsatisfied &&
               a->range.start == c->range.start && a->range.end == c->range.end &&
               (a->range.total == UINT64_MAX || a->range.total == c->range.total);
}

static uint64_t range_when(struct transfer *t, uint64_t now)
{
        struct hub_call *c = LIST_OWNER(t, struct hub_call, transfer);
        uint64_t when = call_pace(c, now);

        if (when <= now + PACE_PATIENCE_MS)
                return when;
        c->range.retry_after_ms = when - now;
        return ENGINE_NEVER;
}

static int range_header(struct transfer *t, const char *line, size_t len)
{
        struct hub_call *c = LIST_OWNER(t, struct hub_call, transfer);
        struct http_answer *a = &c->answer;

        c->failed = call_header(c, line, len);
        if (c->failed == HUB_E_MALFORMED)
                c->failed = HUB_E_RANGE;
        if (c->failed != 0 || !a->headers_ended || c->range.accepted)
                return c->failed;
        c->range.accepted = as_asked(c);
        t->position = c->range.at;
        if (!c->range.accepted && a->status < 300)
                c->failed = HUB_E_RANGE; /* perhaps gigabytes: hang up */
        return c->failed;
}

static int range_data(struct transfer *t, const void *buf, size_t len)
{
        struct hub_call *c = LIST_OWNER(t, struct hub_call, transfer);
        uint64_t at = c->range.at, left = c->range.end - at;

        atomic_fetch_add_explicit(&c->hub->bytes, len, memory_order_relaxed);
        if (!c->range.accepted) {
                c->skipped += len; /* the body of a refusal, read to keep the connection */
                return c->skipped > SKIP_MAX;
        }
        if (left > 0) {
                size_t n = min_u64(len, left);

                c->failed = c->range.sink.data(c->range.sink.arg, at, buf, n);
                c->range.at += n;
        }
        if (c->failed == 0 && len > left)
                c->failed = HUB_E_RANGE; /* R2 */
        return c->failed;
}

static bool range_awaited(struct transfer *t, size_t len)
{
        const struct hub_call *c = LIST_OWNER(t, struct hub_call, transfer);
        const struct hub_sink *sink = &c->range.sink;

        return c->range.accepted && sink->awaited && sink->awaited(sink->arg, c->range.at, len);
}

/* What a status other than a good one means; @own: of the endpoint's origin. */
static int judge_status(const struct hub_call *c)
{
        unsigned status = c->answer.status;

        if (status == 416)
                return HUB_E_RANGE;
        if (status == 408 || status == 429 || status == 407 || status >= 500)
                return HUB_E_UNREACHABLE;
        if (!c->own || status < 400)
                return HUB_E_EXPIRED; /* all that can be done is to ask for the location again */
        if (status == 401 || status == 403 || status == 451)
                return HUB_E_FORBIDDEN;
        return status == 404 || status == 410 ? HUB_E_ABSENT : HUB_E_MALFORMED;
}

static int judge(const struct hub_call *c, int end)
{
        if (c->failed != 0)
                return c->failed;
        if (c->range.accepted && c->range.at == c->range.end)
                return 0; /* R3; how the connection ended is all the same */
        if (end < 0)
                return end;
        if (c->answer.headers_ended && !c->range.accepted)
                return judge_status(c);
        if (end == ENGINE_E_STALLED)
                return HUB_E_STALLED;
        return c->range.accepted ? HUB_E_CUT : HUB_E_UNREACHABLE;
}

/* Worker: refused by the hub itself. A token that was rewritten on disk is tried once. */
static void try_new_token(struct hub_call *c)
{
        bool changed;
        int r = call_renew_token(c, &changed);

        if (r < 0)
                call_finish(c, r);
        else if (changed)
                call_again(c);
        else
                call_finish(c, HUB_E_FORBIDDEN);
}

static void range_done(struct transfer *t, int end, const char *why)
{
        struct hub_call *c = LIST_OWNER(t, struct hub_call, transfer);
        int r = judge(c, end);
        char shown[160];

        call_note(c, c->range.retry_after_ms ? 0 : end, why);
        if (c->own && !c->token_retried && (c->answer.status == 401 || c->answer.status == 403)) {
                call_to_worker(c, try_new_token);
                return;
        }
        if (r == HUB_E_UNREACHABLE)
                c->range.retry_after_ms = max_u64(c->range.retry_after_ms, call_asked_ms(&c->answer));
        if (r != 0) {
                http_url_shown(c->url, shown, sizeof(shown));
                log_debug("range %" PRIu64 "-%" PRIu64 " of %s: result %d, status %u, %s", c->range.start,
                          c->range.end, shown, r, c->answer.status, why);
        }
        call_finish(c, r);
}

static const struct transfer_ops range_ops = {
        .when = range_when,
        .header = range_header,
        .data = range_data,
        .awaited = range_awaited,
        .done = range_done,
};

static void range_deliver(struct hub_call *c, int result)
{
        c->range.sink.done(c->range.sink.arg, result, c->range.retry_after_ms);
}

static const struct call_kind range_kind = { .word = "range", .bulk = true, .deliver = range_deliver };

int hub_range(struct hub *h, const struct hub_location *l, uint64_t start, uint64_t end, uint64_t total,
              const struct hub_sink *sink, struct hub_call **ret_call)
{
        struct hub_call *c;
        int r;

        if (start >= end || end > total)
                return -EINVAL;
        r = call_new(h, &range_kind, strdup(l->url), &c);
        if (r < 0)
                return r;
        c->own = l->own_origin;
        c->anew = c->transfer.fresh = l->anew;
        c->bucket = BUCKET_RESOLVERS;
        c->range.sink = *sink;
        c->range.start = c->range.at = start;
        c->range.end = end;
        c->range.total = total;
        c->transfer.priority = sink->priority;
        c->transfer.idle_ms = STALL_MS;
        c->transfer.idle_least = STALL_LEAST;
        return call_start(c, &range_ops, ret_call);
}
