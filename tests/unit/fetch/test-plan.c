/*
 * Tests of fetch/plan.c: what is asked for, without a hub.
 */
#include "fetch/plan.h"

#include <check.h>

#define KB UINT64_C(1024)
#define MB (KB * 1024)
#define GB (MB * 1024)

static struct rangeset held;
static struct plan_transfer transfers[16];
static struct plan_view view;

static bool next_hole(void *arg, uint64_t from, uint64_t limit, struct range *ret)
{
        return rangeset_next_hole(arg, from, limit, ret);
}

static void setup(void)
{
        rangeset_done(&held);
        view = (struct plan_view){ .size = GB, .missing = GB, .next_hole = next_hole, .arg = &held,
                                   .transfers = transfers, .range_max = PLAN_RANGE_USUAL };
}

static void teardown(void)
{
        rangeset_done(&held);
}

#define ASSERT_ASK(ask, s, e)                   \
        do {                                    \
                ck_assert_uint_eq(ask.start, s); \
                ck_assert_uint_eq(ask.end, e);   \
        } while (0)

START_TEST(lone_reads_are_rounded)
{
        struct plan_ask ask;

        ck_assert(plan_demand(&view, 100 * MB + 5000, 100 * MB + 9096, 4096, &ask));
        ASSERT_ASK(ask, 100 * MB, 100 * MB + 64 * KB);
        ck_assert(plan_demand(&view, 0, 8, 8, &ask));
        ASSERT_ASK(ask, 0, 256 * KB);
        ck_assert(plan_demand(&view, GB - 10, GB, 10, &ask));
        ASSERT_ASK(ask, GB - 64 * KB, GB);
        ck_assert_uint_eq(ask.cut, SIZE_MAX);
}
END_TEST

START_TEST(a_small_blob_is_asked_for_whole)
{
        struct plan_ask ask;

        view.size = view.missing = 700 * KB;
        ck_assert(plan_demand(&view, 300 * KB, 304 * KB, 4096, &ask));
        ASSERT_ASK(ask, 0, 700 * KB);
}
END_TEST

START_TEST(what_is_held_is_not_asked_for)
{
        struct plan_ask ask;

        rangeset_add(&held, 10 * MB, 10 * MB + 20 * KB);
        ck_assert(plan_demand(&view, 10 * MB, 10 * MB + 128 * KB, 0, &ask));
        ASSERT_ASK(ask, 10 * MB + 20 * KB, 10 * MB + 128 * KB);
        rangeset_add(&held, 10 * MB, 10 * MB + 128 * KB);
        ck_assert(!plan_demand(&view, 10 * MB, 10 * MB + 128 * KB, 0, &ask));
}
END_TEST

START_TEST(a_demand_waits_for_a_transfer_that_is_near)
{
        struct plan_ask ask;

        transfers[0] = (struct plan_transfer){ .at = 10 * MB, .end = 26 * MB };
        view.count = 1;
        ck_assert(!plan_demand(&view, 11 * MB, 11 * MB + 128 * KB, 0, &ask));
        /* half in the transfer, half behind it */
        transfers[0].at = 25 * MB;
        ck_assert(plan_demand(&view, 26 * MB - 64 * KB, 26 * MB + 64 * KB, 0, &ask));
        ASSERT_ASK(ask, 26 * MB, 26 * MB + 64 * KB);
}
END_TEST

START_TEST(a_transfer_far_before_a_demand_is_cut)
{
        struct plan_ask ask;

        transfers[0] = (struct plan_transfer){ .at = 10 * MB, .end = 26 * MB, .rate = MB };
        view.count = 1;
        ck_assert(plan_demand(&view, 20 * MB, 20 * MB + 128 * KB, 0, &ask));
        ASSERT_ASK(ask, 20 * MB, 20 * MB + 128 * KB);
        ck_assert_uint_eq(ask.cut, 0);
        /* a fast one is near everywhere */
        transfers[0].rate = 100 * MB;
        ck_assert(!plan_demand(&view, 20 * MB, 20 * MB + 128 * KB, 0, &ask));
}
END_TEST

START_TEST(a_huge_demand_comes_in_parts)
{
        struct plan_ask ask;

        ck_assert(plan_demand(&view, 0, GB, 0, &ask));
        ASSERT_ASK(ask, 0, PLAN_RANGE_USUAL);
}
END_TEST

START_TEST(ranges_are_as_long_as_a_round_trip_asks_for)
{
        ck_assert_uint_eq(plan_range_max(0, 0), PLAN_RANGE_USUAL);
        ck_assert_uint_eq(plan_range_max(MB, 20), PLAN_RANGE_LEAST);       /* a slow line */
        ck_assert_uint_eq(plan_range_max(100 * MB, 20), 25 * MB);          /* a quarter of a second */
        ck_assert_uint_ge(plan_range_max(100 * MB, 60), 47 * MB);          /* eight round trips */
        ck_assert_uint_eq(plan_range_max(100 * MB, 100000), PLAN_RANGE_MAX);
        ck_assert_uint_eq(plan_range_max(10 * GB, 1), PLAN_RANGE_MAX);
}
END_TEST

START_TEST(a_peek_is_not_read_ahead)
{
        struct plan_reads reads = {};
        struct plan_stream *s;
        struct plan_ask ask;

        /* one megabyte in the kernel's eight pieces, each fetched */
        for (uint64_t at = 0; at < MB; at += 128 * KB) {
                s = plan_note_read(&reads, at, at + 128 * KB, false, 1000);
                if (plan_demand(&view, at, at + 128 * KB, s->run, &ask))
                        rangeset_add(&held, ask.start, ask.end);
                while (plan_ahead(&view, s, 1000, &ask))
                        rangeset_add(&held, ask.start, ask.end);
        }
        ck_assert_uint_eq(held.total, MB);
        ck_assert(!plan_is_loaded(&reads, GB));
}
END_TEST

START_TEST(two_reads_ask_for_no_more)
{
        struct plan_reads reads = {};
        struct plan_stream *s;
        struct plan_ask ask;

        for (uint64_t at = 0; at < MB; at += 512 * KB) {
                s = plan_note_read(&reads, at, at + 512 * KB, false, 1000);
                ck_assert(!plan_ahead(&view, s, 1000, &ask) || ask.end <= at + 512 * KB);
        }
}
END_TEST

START_TEST(a_stream_is_read_ahead_ever_further)
{
        struct plan_reads reads = {};
        struct plan_stream *s = NULL;
        uint64_t ahead = 0;
        struct plan_ask ask;

        for (uint64_t at = 0; at < 100 * MB; at += 128 * KB) {
                s = plan_note_read(&reads, at, at + 128 * KB, true, 1000);
                rangeset_add(&held, at, at + 128 * KB);
                while (plan_ahead(&view, s, 1000, &ask)) {
                        ck_assert_uint_le(ask.end - ask.start, PLAN_RANGE_USUAL);
                        ck_assert(!rangeset_covers(&held, ask.start, ask.end));
                        rangeset_add(&held, ask.start, ask.end);
                        ahead = ask.end - s->next;
                }
                ck_assert_uint_le(ahead, PLAN_WINDOW_MAX);
        }
        ck_assert_uint_ge(ahead, 32 * MB);
        ck_assert(plan_is_loaded(&reads, GB));
        ck_assert(!plan_ahead(&view, s, 1000 + PLAN_STREAM_LIFE_MS + 1, &ask));
}
END_TEST

START_TEST(a_thousand_random_reads_cost_little)
{
        struct plan_reads reads = {};
        uint64_t total = 0, x = 88172645463325252u;
        struct plan_ask ask;

        view.size = 2 * GB;
        for (int i = 0; i < 1000; i++) {
                uint64_t at;
                struct plan_stream *s;

                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                at = x % (view.size / 4096) * 4096;
                s = plan_note_read(&reads, at, at + 4096, rangeset_covers(&held, at, at + 4096), 1000);
                while (plan_demand(&view, at, at + 4096, s->run, &ask) || plan_ahead(&view, s, 1000, &ask)) {
                        rangeset_add(&held, ask.start, ask.end);
                        total += ask.end - ask.start;
                }
        }
        ck_assert_uint_le(total, 70000000);
        ck_assert_uint_eq(total, held.total); /* L1 */
        ck_assert(!plan_is_loaded(&reads, view.size));
}
END_TEST

START_TEST(a_fault_storm_is_loading)
{
        struct plan_reads reads = {};
        uint64_t at = 0;

        /* two faults at the beginning of each tensor of 20 MiB, every sixth time a jump back */
        for (int i = 0; i < 40; i++) {
                at = i % 6 == 5 ? at - 15 * MB : at + (i % 2 ? 128 * KB : 20 * MB);
                plan_note_read(&reads, at, at + 128 * KB, false, 1000);
        }
        ck_assert(plan_is_loaded(&reads, 5 * GB));
}
END_TEST

START_TEST(much_awaited_is_loading)
{
        struct plan_reads reads = {};
        uint64_t n = 0;

        for (uint64_t at = 2 * GB; !plan_is_loaded(&reads, 5 * GB); at -= 20 * MB, n++)
                plan_note_read(&reads, at, at + MB, false, 1000);
        ck_assert_uint_eq(n, 65);
}
END_TEST

START_TEST(interleaved_streams_are_told_apart)
{
        struct plan_reads reads = {};

        for (uint64_t i = 0; i < 6; i++)
                for (uint64_t t = 0; t < 8; t++) {
                        uint64_t at = t * 100 * MB + i * 128 * KB;
                        struct plan_stream *s = plan_note_read(&reads, at, at + 128 * KB, false, 1000 + i);

                        ck_assert_uint_eq(s->begin, t * 100 * MB);
                        ck_assert_uint_eq(s->reads, i + 1);
                }
}
END_TEST

START_TEST(the_rest_comes_in_order_and_once)
{
        uint64_t from = 700 * MB, total = 0, last = from;
        struct plan_ask ask;

        rangeset_add(&held, 800 * MB, 900 * MB);
        view.missing = GB - 100 * MB;
        while (plan_rest(&view, from, &ask)) {
                ck_assert_uint_le(ask.end - ask.start, PLAN_RANGE_USUAL + PLAN_RANGE_USUAL / 4);
                ck_assert(ask.start >= last || last == GB);
                last = ask.end;
                total += ask.end - ask.start;
                rangeset_add(&held, ask.start, ask.end);
        }
        ck_assert_uint_eq(total, GB - 100 * MB);
        ck_assert_uint_eq(held.total, GB);
}
END_TEST

START_TEST(parallel_ranges_do_not_overlap)
{
        struct plan_ask ask;

        view.size = view.missing = 91 * MB;
        for (view.count = 0; view.count < 8; view.count++) {
                ck_assert(plan_rest(&view, 0, &ask));
                for (size_t i = 0; i < view.count; i++)
                        ck_assert(ask.end <= transfers[i].at || ask.start >= transfers[i].end);
                transfers[view.count] = (struct plan_transfer){ .at = ask.start, .end = ask.end };
        }
        ck_assert_uint_gt(transfers[7].end, 32 * MB);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("plan");
        TCase *t = tcase_create("plan");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, lone_reads_are_rounded);
        tcase_add_test(t, a_small_blob_is_asked_for_whole);
        tcase_add_test(t, what_is_held_is_not_asked_for);
        tcase_add_test(t, a_demand_waits_for_a_transfer_that_is_near);
        tcase_add_test(t, a_transfer_far_before_a_demand_is_cut);
        tcase_add_test(t, a_huge_demand_comes_in_parts);
        tcase_add_test(t, ranges_are_as_long_as_a_round_trip_asks_for);
        tcase_add_test(t, a_peek_is_not_read_ahead);
        tcase_add_test(t, two_reads_ask_for_no_more);
        tcase_add_test(t, a_stream_is_read_ahead_ever_further);
        tcase_add_test(t, a_thousand_random_reads_cost_little);
        tcase_add_test(t, a_fault_storm_is_loading);
        tcase_add_test(t, much_awaited_is_loading);
        tcase_add_test(t, interleaved_streams_are_told_apart);
        tcase_add_test(t, the_rest_comes_in_order_and_once);
        tcase_add_test(t, parallel_ranges_do_not_overlap);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
