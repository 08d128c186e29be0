/*
 * Tests of cli/format.c: numbers, widths, the progress line, the meter.
 */
#include "cli/format.h"

#include <check.h>
#include <string.h>

static char buf[FORMAT_MAX];

START_TEST(test_sizes)
{
        ck_assert_str_eq(format_size(0, buf), "0 B");
        ck_assert_str_eq(format_size(1023, buf), "1023 B");
        ck_assert_str_eq(format_size(1024, buf), "1.0 KiB");
        ck_assert_str_eq(format_size(1288490189, buf), "1.2 GiB");
        ck_assert_str_eq(format_size(123ull << 30, buf), "123 GiB");
        ck_assert_str_eq(format_size((1ull << 20) - 1, buf), "1.0 MiB");
        ck_assert_str_eq(format_size(UINT64_MAX, buf), "16.0 EiB");
        ck_assert_str_eq(format_rate(0, buf), "-");
        ck_assert_str_eq(format_rate(2.5 * 1024 * 1024, buf), "2.5 MiB/s");
}
END_TEST

START_TEST(test_durations)
{
        ck_assert_str_eq(format_duration(-1, buf), "-");
        ck_assert_str_eq(format_duration(0.0 / 0.0, buf), "-");
        ck_assert_str_eq(format_duration(7.2, buf), "0:07");
        ck_assert_str_eq(format_duration(754, buf), "12:34");
        ck_assert_str_eq(format_duration(3723, buf), "1:02:03");
        ck_assert_str_eq(format_duration(3 * 86400 + 4 * 3600, buf), "3d 04h");
}
END_TEST

START_TEST(test_percent)
{
        ck_assert_uint_eq(format_percent(0, 0), 100);
        ck_assert_uint_eq(format_percent(0, 10), 0);
        ck_assert_uint_eq(format_percent(9999999, 10000000), 99);
        ck_assert_uint_eq(format_percent(10, 10), 100);
        ck_assert_uint_eq(format_percent(UINT64_MAX - 1, UINT64_MAX), 99);
}
END_TEST

START_TEST(test_fit)
{
        char to[128];

        ck_assert_str_eq(text_fit("abc", 5, to), "abc  ");
        ck_assert_str_eq(text_fit("abcdefgh", 6, to), "...fgh");
        ck_assert_uint_eq(text_columns("模型"), 4);
        ck_assert_uint_eq(text_columns("é\xff"), 2);
        ck_assert_str_eq(text_fit("模型模型", 6, to), "...型 ");
        ck_assert_uint_eq(text_columns(text_fit("模型模型", 7, to)), 7);
        ck_assert_str_eq(text_fit("", 2, to), "  ");
}
END_TEST

START_TEST(test_lines_fit)
{
        struct progress_line l = { .name = "folder/model-00001-of-00004.safetensors",
                                   .held = 3ull << 30,
                                   .size = 5ull << 30,
                                   .rate = 123e6,
                                   .left = 17 };
        char to[PROGRESS_MAX];

        for (size_t columns = 1; columns < 400; columns++) {
                size_t limit = columns < 40 ? 40 : columns;

                l.note = NULL;
                ck_assert_uint_le(text_columns(progress_format(&l, columns, to)), limit);
                ck_assert_ptr_nonnull(strstr(to, " 60% "));
                l.note = "verifying";
                ck_assert_uint_le(text_columns(progress_format(&l, columns, to)), limit);
                ck_assert_ptr_nonnull(strstr(to, "verifying"));
        }
        l.note = NULL;
        progress_format(&l, 120, to);
        ck_assert_ptr_nonnull(strstr(to, "3.0 GiB of 5.0 GiB"));
        ck_assert_ptr_nonnull(strstr(to, "117 MiB/s"));
        ck_assert_ptr_nonnull(strstr(to, "0:17"));
        ck_assert_ptr_nonnull(strstr(to, "[####"));
}
END_TEST

START_TEST(test_meter)
{
        struct meter m = {};

        ck_assert(meter_left(&m, 10) < 0);
        ck_assert(meter_left(&m, 0) == 0);
        for (uint64_t i = 0; i <= 100; i++)
                meter_add(&m, 1000 + i * 100, i * 1000);
        ck_assert(m.rate > 9999 && m.rate < 10001);
        ck_assert(meter_left(&m, 100000) > 9.9 && meter_left(&m, 100000) < 10.1);
        for (uint64_t i = 1; i <= 100; i++) /* nothing comes any more: the rate sinks */
                meter_add(&m, 11000 + i * 100, 100000);
        ck_assert(m.rate < 1000);
        meter_add(&m, 30000, 5); /* bytes were dropped: begins anew */
        ck_assert_uint_eq(m.last_bytes, 5);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("format");
        TCase *t = tcase_create("format");
        SRunner *runner;
        int failed;

        tcase_add_test(t, test_sizes);
        tcase_add_test(t, test_durations);
        tcase_add_test(t, test_percent);
        tcase_add_test(t, test_fit);
        tcase_add_test(t, test_lines_fit);
        tcase_add_test(t, test_meter);
        suite_add_tcase(s, t);
        runner = srunner_create(s);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed > 0;
}
