/*
 * Implementation of plan.h.
 *
 * Invariants
 *   L1  An answered range is not empty, lies within the blob, holds no byte that is held, and none
 *       that a transfer will bring, except behind the point where that transfer is cut.
 *   L2  While a stream has read at most PLAN_PEEK, nothing behind its first PLAN_PEEK is asked for
 *       but what a reader waits for, rounded.
 */
#include "fetch/plan.h"

#define NEAR_BACK (UINT64_C(1) << 20)     /* a read so far before the expected place still belongs */
#define NEAR_AHEAD (UINT64_C(1) << 20)    /* ... behind it; plus half of what the stream has read */
#define NEAR_AHEAD_MAX (UINT64_C(16) << 20)
#define SOON_MIN (UINT64_C(512) << 10) /* bytes before a wanted one that a transfer may yet have to bring */
#define SOON_UNKNOWN (UINT64_C(2) << 20)
#define SOON_MAX PLAN_RANGE_USUAL
#define AWAITED_MIN (UINT64_C(8) << 20)
#define AWAITED_MAX (UINT64_C(64) << 20)
#define FORWARD_READS 32
#define FORWARD_ENOUGH 24

static uint64_t clamp(uint64_t v, uint64_t low, uint64_t high)
{
        return v < low ? low : v > high ? high : v;
}

static uint64_t round_down(uint64_t v)
{
        return v & ~(PLAN_LONE - 1);
}

static uint64_t round_up(uint64_t v)
{
        return round_down(v + PLAN_LONE - 1);
}

/* ---- what readers did ---- */

static bool near(const struct plan_stream *s, uint64_t start)
{
        uint64_t ahead = min_u64(NEAR_AHEAD + s->run / 2, NEAR_AHEAD_MAX);

        return s->used_ms != 0 && start + NEAR_BACK >= s->next && start <= s->next + ahead;
}

/* The stream that a read at @start goes on with, else the one unused for longest, made anew. */
static struct plan_stream *stream_for(struct plan_reads *p, uint64_t start)
{
        struct plan_stream *oldest = &p->streams[0], *found = NULL;

        for (size_t i = 0; i < PLAN_STREAMS; i++) {
                struct plan_stream *s = &p->streams[i];

                if (near(s, start) && (!found || s->next > found->next))
                        found = s;
                if (s->used_ms < oldest->used_ms)
                        oldest = s;
        }
        if (found)
                return found;
        *oldest = (struct plan_stream){ .begin = start, .next = start };
        return oldest;
}

static void note_large(struct plan_reads *p, uint64_t start)
{
        p->forward = p->forward << 1 | (p->large > 0 && start > p->last_large);
        p->last_large = start;
        p->large++;
}

struct plan_stream *plan_note_read(struct plan_reads *p, uint64_t start, uint64_t end, bool held,
                                   uint64_t now_ms)
{
        struct plan_stream *s = stream_for(p, start);

        if (end > s->next) {
                s->run += end - max_u64(start, s->next);
                s->next = end;
        }
        s->reads++;
        s->used_ms = now_ms;
        if (!held)
                p->awaited += end - start;
        if (end - start >= PLAN_LONE)
                note_large(p, start);
        return s;
}

bool plan_is_loaded(const struct plan_reads *p, uint64_t size)
{
        for (size_t i = 0; i < PLAN_STREAMS; i++)
                if (p->streams[i].run >= PLAN_LOADED_RUN)
                        return true;
        if (p->awaited > max_u64(AWAITED_MIN, min_u64(size / 8, AWAITED_MAX)))
                return true;
        return p->large >= FORWARD_READS && __builtin_popcount(p->forward) >= FORWARD_ENOUGH;
}

uint64_t plan_resume_at(const struct plan_reads *p)
{
        const struct plan_stream *last = &p->streams[0];

        for (size_t i = 1; i < PLAN_STREAMS; i++)
                if (p->streams[i].used_ms > last->used_ms)
                        last = &p->streams[i];
        return last->next;
}

/* ---- what to ask for ---- */

uint64_t plan_range_max(uint64_t rate, uint64_t latency_ms)
{
        if (rate == 0)
                return PLAN_RANGE_USUAL;
        return round_up(clamp(max_u64(rate / 4, rate / 125 * min_u64(latency_ms, 1000)), PLAN_RANGE_LEAST,
                              PLAN_RANGE_MAX));
}

/* The transfer that will bring the byte at @pos, or SIZE_MAX. */
static size_t transfer_at(const struct plan_view *v, uint64_t pos)
{
        for (size_t i = 0; i < v->count; i++)
                if (pos >= v->transfers[i].at && pos < v->transfers[i].end)
                        return i;
        return SIZE_MAX;
}

/* @limit, or the beginning of the first transfer behind @pos, whichever is first. */
static uint64_t clip_at_transfer(const struct plan_view *v, uint64_t pos, uint64_t limit)
{
        for (size_t i = 0; i < v->count; i++)
                if (v->transfers[i].at > pos && v->transfers[i].at < v->transfers[i].end)
                        limit = min_u64(limit, v->transfers[i].at);
        return limit;
}

/* The first part of [@from, @limit) that is neither held nor on its way. */
static bool next_uncovered(const struct plan_view *v, uint64_t from, uint64_t limit, struct range *ret)
{
        struct range hole;
        size_t t;

        while (from < limit && v->next_hole(v->arg, from, limit, &hole)) {
                t = transfer_at(v, hole.start);
                if (t == SIZE_MAX) {
                        ret->start = hole.start;
                        ret->end = clip_at_transfer(v, hole.start, hole.end);
                        return true;
                }
                from = v->transfers[t].end;
        }
        return false;
}

static bool is_uncovered(const struct plan_view *v, uint64_t start, uint64_t end)
{
        struct range r;

        return next_uncovered(v, start, end, &r) && r.start == start && r.end == end;
}

static bool comes_soon(const struct plan_transfer *t, uint64_t pos)
{
        uint64_t soon = t->rate ? clamp(t->rate / 4, SOON_MIN, SOON_MAX) : SOON_UNKNOWN;

        return pos - t->at <= soon;
}

/* How far a demand at @pos that ends at @end is worth asking for. */
static uint64_t demand_end(const struct plan_view *v, uint64_t pos, uint64_t end, uint64_t run)
{
        uint64_t want = pos == 0 ? PLAN_HEAD : PLAN_LONE;

        if (v->size <= PLAN_SMALL)
                return v->size;
        if (run > PLAN_PEEK)
                want = clamp(run, PLAN_RANGE_MIN, PLAN_RANGE_USUAL);
        want = max_u64(round_up(end), round_down(pos) + want);
        return min_u64(min_u64(want, round_down(pos) + PLAN_RANGE_USUAL), v->size);
}

/* A hole that no transfer brings: from its rounded beginning where that is free as well. */
static void ask_hole(const struct plan_view *v, const struct range *hole, uint64_t end, uint64_t run,
                     struct plan_ask *ret)
{
        uint64_t low = v->size <= PLAN_SMALL ? 0 : round_down(hole->start);
        struct range r = *hole;

        if (low < r.start && is_uncovered(v, low, r.start))
                r.start = low;
        if (next_uncovered(v, r.start, demand_end(v, hole->start, end, run), &r))
                *ret = (struct plan_ask){ r.start, r.end, SIZE_MAX };
}

bool plan_demand(const struct plan_view *v, uint64_t start, uint64_t end, uint64_t run,
                 struct plan_ask *ret)
{
        uint64_t pos = start;
        struct range hole;

        while (pos < end && v->next_hole(v->arg, pos, end, &hole)) {
                size_t i = transfer_at(v, hole.start);
                uint64_t stop;

                if (i == SIZE_MAX) {
                        ask_hole(v, &hole, end, run, ret);
                        return true;
                }
                if (!comes_soon(&v->transfers[i], hole.start)) {
                        stop = min_u64(v->transfers[i].end, demand_end(v, hole.start, end, run));
                        if (v->next_hole(v->arg, hole.start, stop, &hole))
                                *ret = (struct plan_ask){ hole.start, hole.end, i };
                        return true;
                }
                pos = v->transfers[i].end;
        }
        return false;
}

static uint64_t window_end(const struct plan_stream *s)
{
        if (s->run <= PLAN_PEEK) /* L2; a few tiny reads near each other are no stream yet */
                return s->reads >= 3 && s->run >= 2 * PLAN_LONE ? s->begin + PLAN_PEEK : s->next;
        return s->next + min_u64(2 * s->run, PLAN_WINDOW_MAX);
}

bool plan_ahead(const struct plan_view *v, const struct plan_stream *s, uint64_t now_ms,
                struct plan_ask *ret)
{
        uint64_t limit = min_u64(window_end(s), v->size), want;
        struct range r;

        if (s->used_ms == 0 || now_ms - s->used_ms > PLAN_STREAM_LIFE_MS)
                return false;
        if (!next_uncovered(v, s->next, limit, &r))
                return false;
        /* Wait until a decent piece is free at the window's end, or every read brings a sliver. */
        want = clamp(s->run / 2, PLAN_HEAD, PLAN_RANGE_USUAL);
        if (r.end == limit && limit < v->size && r.end - r.start < want && r.start > s->next)
                return false;
        *ret = (struct plan_ask){ r.start, min_u64(r.end, r.start + max_u64(want, PLAN_RANGE_MIN)),
                                  SIZE_MAX };
        return true;
}

bool plan_rest(const struct plan_view *v, uint64_t from, struct plan_ask *ret)
{
        uint64_t size = clamp(round_up(v->missing / PLAN_SPLIT), PLAN_RANGE_MIN, v->range_max);
        struct range r;

        if (!next_uncovered(v, min_u64(from, v->size), v->size, &r) && !next_uncovered(v, 0, v->size, &r))
                return false;
        if (r.end - r.start > size + size / 4) /* no sliver is left at the end */
                r.end = r.start + size;
        *ret = (struct plan_ask){ r.start, r.end, SIZE_MAX };
        return true;
}
