/*
 * The map beside a partial blob. The input is the file; where its first bit is set, its checksums are
 * made to fit, so that what lies behind them is reached.
 */
#include "index/extent.h"

#include "scratch.h"

#include <string.h>

#define SIZE (UINT64_C(1) << 20)
#define ETAG "a6bf1ec52dc91af5432d4b5a2ccfc3e618a0473427c404d0b2d1a5f40b2e5cbf"
#define HEADER 512
#define RECORD 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct store *store;
static char map_path[512];

static uint64_t fnv(uint64_t seed, const uint8_t *p, size_t len)
{
        uint64_t sum = seed ^ 0xcbf29ce484222325u;

        while (len-- > 0)
                sum = (sum ^ *p++) * 0x100000001b3u;
        return sum;
}

static void make_fit(uint8_t *p, size_t size)
{
        uint64_t seed, sum;

        if (size < HEADER)
                return;
        p[0] = 'W'; /* it held the bit */
        seed = fnv(0, p, HEADER - 8);
        memcpy(p + HEADER - 8, &seed, 8);
        for (size_t at = HEADER; at + RECORD <= size; at += RECORD) {
                sum = fnv(seed, p + at, RECORD - 8);
                memcpy(p + at + RECORD - 8, &sum, 8);
        }
}

static void begin(void)
{
        struct errmsg err = {};
        struct stat st;

        scratch_begin();
        assert(store_open(scratch_at("store"), "0123456789abcdef", false, &store, &err) == 0);
        snprintf(map_path, sizeof(map_path), "%s", scratch_at("store/partial/0123456789abcdef/" ETAG ".map"));
        assert(fstat(store_partial_fd(store), &st) == 0);
}

static void check(const struct rangeset *held, const struct rangeset *synced)
{
        assert(held->total <= SIZE && synced->total <= held->total);
        for (size_t i = 0; i < held->count; i++)
                assert(held->ranges[i].start < held->ranges[i].end && held->ranges[i].end <= SIZE);
        for (size_t i = 0; i < synced->count; i++)
                assert(rangeset_covers(held, synced->ranges[i].start, synced->ranges[i].end));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct rangeset held = {}, synced = {}, again = {}, none = {};
        struct extent_draft draft;
        struct extent_map m;
        uint8_t *copy;

        if (!store)
                begin();
        copy = malloc(size + 1);
        if (!copy)
                return 0;
        memcpy(copy, data, size);
        if (size > 0 && copy[0] & 1)
                make_fit(copy, size);
        scratch_put(map_path, copy, size);
        extent_init(&m, store, "01234567-89ab-cdef-0123-456789abcdef", ETAG, SIZE);
        if (extent_load(&m, &held, &synced) == 0) {
                check(&held, &synced);
                /* what was read is written, and read again */
                assert(extent_begin(&m, &held, false, &draft) == 0 && extent_commit(&m, &draft, &none) == 0);
                assert(extent_load(&m, &again, &none) == 0);
                assert(again.count == held.count && again.total == held.total);
                for (size_t i = 0; i < held.count; i++)
                        assert(rangeset_covers(&again, held.ranges[i].start, held.ranges[i].end));
        }
        extent_done(&m);
        rangeset_done(&held);
        rangeset_done(&synced);
        rangeset_done(&again);
        rangeset_done(&none);
        free(copy);
        return 0;
}
