/*
 * Tests of fetch/pace.c, with a clock of their own.
 */
#include "fetch/pace.h"

#include <check.h>
#include <stdlib.h>

#define T0 1000000

START_TEST(nothing_known)
{
        struct pace p = {};

        for (int i = 0; i < 1000; i++) {
                ck_assert(pace_when(&p, T0) <= T0);
                pace_take(&p, T0);
        }
}
END_TEST

START_TEST(plenty_goes_at_once)
{
        struct pace p = {};

        pace_feed(&p, T0, 500, 300);
        for (int i = 0; i < 500 - PACE_LOW - 1; i++) {
                ck_assert(pace_when(&p, T0) <= T0);
                pace_take(&p, T0);
        }
        ck_assert(pace_when(&p, T0) <= T0);
        pace_take(&p, T0);
        ck_assert(pace_when(&p, T0) > T0);
}
END_TEST

START_TEST(scarce_is_a_fifth)
{
        struct pace p = {};

        ck_assert(!pace_scarce(&p, T0));
        pace_feed(&p, T0, 500, 300);
        for (int i = 0; i < 400; i++) {
                ck_assert(!pace_scarce(&p, T0));
                pace_take(&p, T0);
        }
        ck_assert(pace_scarce(&p, T0));
        ck_assert(!pace_scarce(&p, T0 + 300001)); /* a new window, of which nothing is known */
        pace_feed(&p, T0 + 300001, 20, 300); /* a hub that takes few */
        ck_assert(!pace_scarce(&p, T0 + 300001));
}
END_TEST

/* However they are asked for, the last ones are spread over the window and never overdrawn. */
START_TEST(low_is_spread)
{
        struct pace p = {};
        uint64_t now = T0;
        unsigned sent = 0;

        pace_feed(&p, now, 10, 100);
        while (now < T0 + 100 * 1000) {
                uint64_t when = pace_when(&p, now);

                if (when <= now) {
                        pace_take(&p, now);
                        sent++;
                } else {
                        now = when;
                }
        }
        ck_assert_uint_le(sent, 10);
        ck_assert_uint_ge(sent, 8);
}
END_TEST

START_TEST(none_left_waits)
{
        struct pace p = {};

        pace_feed(&p, T0, 0, 60);
        ck_assert_uint_eq(pace_when(&p, T0), T0 + 61 * 1000);
        ck_assert_uint_eq(pace_when(&p, T0 + 30 * 1000), T0 + 61 * 1000);
        ck_assert(pace_when(&p, T0 + 61 * 1000 + 1) <= T0 + 61 * 1000 + 1);
}
END_TEST

START_TEST(late_answers_do_not_refill)
{
        struct pace p = {};

        pace_feed(&p, T0, 5, 100);
        pace_feed(&p, T0 + 100, 9, 100); /* sent before the other, came after it */
        ck_assert_uint_eq(p.remaining, 5);
        pace_feed(&p, T0 + 200, 3, 100); /* others use the same credential */
        ck_assert_uint_eq(p.remaining, 3);
        pace_feed(&p, T0 + 101 * 1000, 500, 299); /* a new window */
        ck_assert_uint_eq(p.remaining, 500);
}
END_TEST

START_TEST(blocked)
{
        struct pace p = {};

        pace_block(&p, T0 + 5000);
        pace_block(&p, T0 + 3000);
        ck_assert_uint_eq(pace_when(&p, T0), T0 + 5000);
        pace_feed(&p, T0, 500, 300);
        ck_assert_uint_eq(pace_when(&p, T0), T0 + 5000);
        ck_assert(pace_when(&p, T0 + 5000) <= T0 + 5000);
        pace_feed(&p, T0, 0, 300);
        ck_assert_uint_gt(pace_when(&p, T0), T0 + 5000);
        ck_assert_uint_eq(pace_blocked(&p), T0 + 5000); /* the used-up window is not its own */
}
END_TEST

START_TEST(absurd_window)
{
        struct pace p = {};

        pace_feed(&p, T0, 0, UINT32_MAX);
        ck_assert_uint_le(pace_when(&p, T0), T0 + (PACE_WINDOW_MAX + 1) * 1000);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("pace");
        TCase *t = tcase_create("all");
        SRunner *r;
        int failed;

        tcase_add_test(t, nothing_known);
        tcase_add_test(t, plenty_goes_at_once);
        tcase_add_test(t, scarce_is_a_fifth);
        tcase_add_test(t, low_is_spread);
        tcase_add_test(t, none_left_waits);
        tcase_add_test(t, late_answers_do_not_refill);
        tcase_add_test(t, blocked);
        tcase_add_test(t, absurd_window);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed != 0;
}
