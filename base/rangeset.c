/*
 * Implementation of rangeset.h: one sorted array. Sets are small (a fill has tens of ranges;
 * random reads of a huge blob some thousands), so a memmove per insertion is cheap.
 */
#include "base/rangeset.h"

#include <errno.h>
#include <string.h>

void rangeset_done(struct rangeset *s)
{
        free(s->ranges);
        *s = (struct rangeset){};
}

/* The first range whose end is >= @offset: the only candidates to hold or touch it. */
static size_t find(const struct rangeset *s, uint64_t offset)
{
        size_t low = 0, high = s->count;

        while (low < high) {
                size_t mid = low + (high - low) / 2;

                if (s->ranges[mid].end < offset)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

static int reserve(struct rangeset *s, size_t count)
{
        size_t capacity = s->capacity ? s->capacity : 8;
        struct range *grown;

        if (count <= s->capacity)
                return 0;
        while (capacity < count)
                capacity *= 2;
        grown = reallocarray(s->ranges, capacity, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        s->ranges = grown;
        s->capacity = capacity;
        return 0;
}

/* Replaces the ranges [at, at + remove) by the @insert given ones. Capacity was reserved. */
static void splice(struct rangeset *s, size_t at, size_t remove, const struct range *with, size_t insert)
{
        if (s->count > at + remove)
                memmove(s->ranges + at + insert, s->ranges + at + remove,
                        (s->count - at - remove) * sizeof(*s->ranges));
        for (size_t i = 0; i < insert; i++)
                s->ranges[at + i] = with[i];
        s->count = s->count - remove + insert;
}

int rangeset_add(struct rangeset *s, uint64_t start, uint64_t end)
{
        size_t first, last;
        struct range merged = { start, end };
        int r;

        if (start >= end)
                return 0;
        r = reserve(s, s->count + 1);
        if (r < 0)
                return r;
        first = last = find(s, start);
        while (last < s->count && s->ranges[last].start <= end) {
                merged.start = min_u64(merged.start, s->ranges[last].start);
                merged.end = max_u64(merged.end, s->ranges[last].end);
                s->total -= s->ranges[last].end - s->ranges[last].start;
                last++;
        }
        splice(s, first, last - first, &merged, 1);
        s->total += merged.end - merged.start;
        return 0;
}

int rangeset_remove(struct rangeset *s, uint64_t start, uint64_t end)
{
        struct range rest[2];
        size_t first, last, n = 0;
        int r;

        if (start >= end)
                return 0;
        r = reserve(s, s->count + 1);
        if (r < 0)
                return r;
        first = find(s, start);
        if (first < s->count && s->ranges[first].end == start)
                first++;
        for (last = first; last < s->count && s->ranges[last].start < end; last++) {
                const struct range *cut = &s->ranges[last];

                s->total -= min_u64(cut->end, end) - max_u64(cut->start, start);
                if (cut->start < start)
                        rest[n++] = (struct range){ cut->start, start };
                if (cut->end > end)
                        rest[n++] = (struct range){ end, cut->end };
        }
        splice(s, first, last - first, rest, n);
        return 0;
}

int rangeset_copy(struct rangeset *to, const struct rangeset *from)
{
        int r = reserve(to, from->count);

        if (r < 0)
                return r;
        if (from->count > 0)
                memcpy(to->ranges, from->ranges, from->count * sizeof(*from->ranges));
        to->count = from->count;
        to->total = from->total;
        return 0;
}

uint64_t rangeset_run_end(const struct rangeset *s, uint64_t offset)
{
        size_t i = find(s, offset);

        if (i < s->count && s->ranges[i].end == offset)
                i++;
        if (i < s->count && s->ranges[i].start <= offset)
                return s->ranges[i].end;
        return offset;
}

bool rangeset_covers(const struct rangeset *s, uint64_t start, uint64_t end)
{
        return start >= end || rangeset_run_end(s, start) >= end;
}

bool rangeset_next_hole(const struct rangeset *s, uint64_t from, uint64_t limit, struct range *ret)
{
        uint64_t start = rangeset_run_end(s, from);
        size_t i;

        if (start >= limit)
                return false;
        i = find(s, start);
        while (i < s->count && s->ranges[i].start <= start)
                i++;
        ret->start = start;
        ret->end = i < s->count ? min_u64(s->ranges[i].start, limit) : limit;
        return true;
}
