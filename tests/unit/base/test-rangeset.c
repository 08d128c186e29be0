/*
 * Tests of base/rangeset.h: edges by hand, then random operations against a bitmap.
 */
#include "base/rangeset.h"

#include <check.h>
#include <string.h>

#define SPACE 257u

START_TEST(edges)
{
        struct rangeset s = {}, copy = {};
        struct range hole;

        ck_assert(!rangeset_covers(&s, 0, 1));
        ck_assert(rangeset_covers(&s, 5, 5));
        ck_assert_int_eq(rangeset_add(&s, 7, 7), 0);
        ck_assert_int_eq(rangeset_add(&s, 9, 3), 0);
        ck_assert_uint_eq(s.count, 0);
        ck_assert_int_eq(rangeset_add(&s, 10, 20), 0);
        ck_assert_int_eq(rangeset_add(&s, 20, 30), 0); /* touching ranges are one */
        ck_assert_uint_eq(s.count, 1);
        ck_assert_int_eq(rangeset_add(&s, 5, 10), 0);
        ck_assert_uint_eq(s.count, 1);
        ck_assert_uint_eq(s.total, 25);
        ck_assert_int_eq(rangeset_remove(&s, 12, 14), 0);
        ck_assert_uint_eq(s.count, 2);
        ck_assert_uint_eq(rangeset_run_end(&s, 5), 12);
        ck_assert_uint_eq(rangeset_run_end(&s, 12), 12);
        ck_assert_uint_eq(rangeset_run_end(&s, 13), 13);
        ck_assert_uint_eq(rangeset_run_end(&s, 14), 30);
        ck_assert(rangeset_next_hole(&s, 5, 100, &hole));
        ck_assert(hole.start == 12 && hole.end == 14);
        ck_assert(rangeset_next_hole(&s, 14, 100, &hole));
        ck_assert(hole.start == 30 && hole.end == 100);
        ck_assert(!rangeset_next_hole(&s, 15, 30, &hole));
        ck_assert(!rangeset_next_hole(&s, 50, 50, &hole));
        ck_assert_int_eq(rangeset_copy(&copy, &s), 0);
        ck_assert_uint_eq(copy.total, s.total);
        ck_assert_int_eq(rangeset_remove(&s, 0, UINT64_MAX), 0);
        ck_assert_uint_eq(s.count, 0);
        ck_assert_uint_eq(s.total, 0);
        ck_assert_int_eq(rangeset_add(&s, UINT64_MAX - 1, UINT64_MAX), 0);
        ck_assert(rangeset_covers(&s, UINT64_MAX - 1, UINT64_MAX));
        ck_assert_int_eq(rangeset_copy(&s, &copy), 0);
        ck_assert_uint_eq(s.count, 2);
        rangeset_done(&s);
        rangeset_done(&copy);
        ck_assert_int_eq(rangeset_copy(&copy, &s), 0);
        rangeset_done(&copy);
}
END_TEST

static void check_shape(const struct rangeset *s, const char *bits)
{
        uint64_t total = 0;

        for (size_t i = 0; i < s->count; i++) {
                ck_assert(s->ranges[i].start < s->ranges[i].end);
                ck_assert(i == 0 || s->ranges[i - 1].end < s->ranges[i].start); /* R1 */
                ck_assert_ptr_null(memchr(bits + s->ranges[i].start, 0, s->ranges[i].end - s->ranges[i].start));
        }
        for (uint64_t k = 0; k < SPACE; k++)
                total += (uint64_t)bits[k];
        ck_assert_uint_eq(s->total, total);
}

static void check_questions(const struct rangeset *s, const char *bits, uint64_t from, uint64_t to)
{
        uint64_t run = from, start, end;
        struct range hole;

        while (run < SPACE && bits[run])
                run++;
        ck_assert_uint_eq(rangeset_run_end(s, from), run);
        ck_assert_int_eq(rangeset_covers(s, from, to), from >= to || run >= to);
        for (start = from; start < to && bits[start];)
                start++;
        for (end = start; end < to && !bits[end];)
                end++;
        ck_assert_int_eq(rangeset_next_hole(s, from, to, &hole), start < to);
        if (start < to)
                ck_assert(hole.start == start && hole.end == end);
}

START_TEST(random_against_bitmap)
{
        struct rangeset s = {};
        char bits[SPACE] = {};

        srand(1);
        for (int i = 0; i < 15000; i++) {
                uint64_t from = (uint64_t)rand() % SPACE, to = (uint64_t)rand() % SPACE;
                bool add = rand() % 2;

                if (rand() % 3)
                        to = min_u64(SPACE, from + (uint64_t)rand() % 6);
                ck_assert_int_eq(add ? rangeset_add(&s, from, to) : rangeset_remove(&s, from, to), 0);
                if (from < to)
                        memset(bits + from, add, to - from);
                check_shape(&s, bits);
                check_questions(&s, bits, (uint64_t)rand() % SPACE, (uint64_t)rand() % SPACE);
        }
        rangeset_done(&s);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("base/rangeset");
        TCase *t = tcase_create("rangeset");
        SRunner *runner;
        int failed;

        tcase_set_timeout(t, 60);
        tcase_add_test(t, edges);
        tcase_add_test(t, random_against_bitmap);
        suite_add_tcase(suite, t);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
