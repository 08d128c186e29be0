/*
 * Tests of fetch/limit.c: what a repo brings in its hour.
 */
#include "fetch/limit.h"

#include <check.h>

START_TEST(an_hour_ends)
{
        struct limit_report reports[4];
        struct limit l;

        limit_init(&l, 100);
        ck_assert_uint_eq(limit_left(&l, 1, 1000), 100);
        limit_charge(&l, 1, 60, 1000);
        limit_charge(&l, 1, 60, 2000);
        limit_charge(&l, 2, 1, 2000);
        ck_assert_uint_eq(limit_left(&l, 1, 2000), 0);
        ck_assert_uint_eq(limit_left(&l, 2, 2000), 99);
        ck_assert_uint_eq(limit_report(&l, 2000, reports, 4), 0);
        limit_refuse(&l, 1, 2000);
        ck_assert_uint_eq(limit_report(&l, 2000, reports, 4), 1);
        ck_assert_int_eq(reports[0].repo, 1);
        ck_assert_uint_eq(reports[0].bytes, 120);
        ck_assert_uint_eq(reports[0].left_ms, LIMIT_HOUR_MS - 1000);
        ck_assert_uint_eq(limit_left(&l, 1, 1000 + LIMIT_HOUR_MS - 1), 0);
        ck_assert_uint_eq(limit_left(&l, 1, 1000 + LIMIT_HOUR_MS), 100);
        ck_assert_uint_eq(limit_report(&l, 1000 + LIMIT_HOUR_MS, reports, 4), 0);
        for (int64_t repo = 10; repo < 10 + LIMIT_REPOS_MAX; repo++) /* no end of repos */
                limit_charge(&l, repo, 100, 3000);
        ck_assert_uint_eq(limit_left(&l, 2, 3000), 100); /* forgotten */
        ck_assert_uint_eq(limit_left(&l, 10, 3000), 0);
        limit_done(&l);
        limit_init(&l, 0);
        limit_charge(&l, 1, 60, 1000);
        ck_assert_uint_eq(limit_left(&l, 1, 1000), UINT64_MAX);
        limit_done(&l);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("limit");
        TCase *t = tcase_create("limit");
        SRunner *r;
        int failed;

        tcase_add_test(t, an_hour_ends);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
