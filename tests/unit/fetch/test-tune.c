/*
 * Tests of fetch/tune.c: the number of transfers that is found on lines of several kinds.
 */
#include "fetch/tune.h"

#include "base/util.h"

#include <check.h>

#define MB UINT64_C(1000000)

static struct tune tune;
static uint64_t now, bytes;

static void setup(void)
{
        tune_init(&tune, 12);
        now = 1000;
        bytes = 0;
}

/* A line that carries @line bytes per second, and @each over one connection. */
static void run(uint64_t seconds, uint64_t line, uint64_t each)
{
        for (uint64_t i = 0; i < seconds * 10; i++) {
                tune_look(&tune, tune.limit, true, bytes, now);
                now += 100;
                bytes += min_u64(line, each * tune.limit) / 10;
        }
}

/* The number that was found, whatever is being tried just now. */
static unsigned found(void)
{
        return tune.before ? tune.before : tune.limit;
}

START_TEST(a_far_hub_gets_all)
{
        run(60, 10000 * MB, 100 * MB);
        ck_assert_uint_eq(found(), 12);
}
END_TEST

START_TEST(trials_are_few)
{
        unsigned fewer = 0;

        for (int i = 0; i < 600; i++) {
                run(1, 10000 * MB, 100 * MB);
                fewer += tune.limit < 12;
        }
        ck_assert_uint_gt(fewer, 10);
        ck_assert_uint_lt(fewer, 100);
}
END_TEST

START_TEST(a_thin_line_gets_few)
{
        run(60, 25 * MB, 20 * MB);
        ck_assert_uint_eq(found(), TUNE_MIN);
}
END_TEST

START_TEST(as_many_as_the_line_feeds)
{
        run(120, 700 * MB, 100 * MB);
        ck_assert_uint_ge(found(), 7);
        ck_assert_uint_le(found(), 9);
}
END_TEST

START_TEST(a_line_that_grows_gets_more)
{
        run(60, 25 * MB, 20 * MB);
        run(300, 10000 * MB, 100 * MB);
        ck_assert_uint_eq(found(), 12);
}
END_TEST

START_TEST(what_is_not_used_is_not_measured)
{
        for (int i = 0; i < 1000; i++, now += 100)
                tune_look(&tune, 3, true, bytes, now);
        for (int i = 0; i < 1000; i++, now += 100)
                tune_look(&tune, tune.limit, false, bytes, now);
        ck_assert_uint_eq(found(), 12);
}
END_TEST

START_TEST(a_near_hub_begins_with_few)
{
        tune_begin(&tune, 1);
        ck_assert_uint_eq(tune.limit, TUNE_NEAR + 1);
        run(60, 1200 * MB, 1000 * MB);
        ck_assert_uint_le(found(), TUNE_NEAR + 1);
        tune_begin(&tune, 100); /* once only */
        ck_assert_uint_le(found(), TUNE_NEAR + 1);
}
END_TEST

START_TEST(a_near_hub_that_is_slow_gets_all)
{
        tune_begin(&tune, 1);
        run(30, 10000 * MB, 50 * MB);
        ck_assert_uint_eq(found(), 12);
}
END_TEST

START_TEST(a_far_hub_begins_with_all)
{
        tune_begin(&tune, 20);
        ck_assert_uint_eq(tune.limit, 12);
}
END_TEST

START_TEST(one_connection_is_one)
{
        tune_init(&tune, 1);
        run(60, 100 * MB, 100 * MB);
        ck_assert_uint_eq(found(), 1);
}
END_TEST

START_TEST(a_flow_is_that_of_the_last_window)
{
        struct tune_flow flow = {};

        ck_assert_uint_eq(tune_flow(&flow, 5 * MB, now), 0); /* nothing to compare with */
        ck_assert_uint_eq(tune_flow(&flow, 25 * MB, now + TUNE_FLOW_MS - 1), 0);
        ck_assert_uint_eq(tune_flow(&flow, 25 * MB, now + TUNE_FLOW_MS), 20 * MB * 1000 / TUNE_FLOW_MS);
        ck_assert_uint_eq(tune_flow(&flow, 26 * MB, now + TUNE_FLOW_MS + 1), 20 * MB * 1000 / TUNE_FLOW_MS);
        ck_assert_uint_eq(tune_flow(&flow, 26 * MB, now + TUNE_FLOW_MS + 1000), 1 * MB);
        ck_assert_uint_eq(tune_flow(&flow, 26 * MB, now + TUNE_FLOW_MS + 2000), 0); /* it has stopped */
}
END_TEST

int main(void)
{
        Suite *s = suite_create("tune");
        TCase *t = tcase_create("tune");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, setup, NULL);
        tcase_add_test(t, a_far_hub_gets_all);
        tcase_add_test(t, trials_are_few);
        tcase_add_test(t, a_thin_line_gets_few);
        tcase_add_test(t, as_many_as_the_line_feeds);
        tcase_add_test(t, a_line_that_grows_gets_more);
        tcase_add_test(t, what_is_not_used_is_not_measured);
        tcase_add_test(t, a_near_hub_begins_with_few);
        tcase_add_test(t, a_near_hub_that_is_slow_gets_all);
        tcase_add_test(t, a_far_hub_begins_with_all);
        tcase_add_test(t, one_connection_is_one);
        tcase_add_test(t, a_flow_is_that_of_the_last_window);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
