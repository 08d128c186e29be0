/*
 * fs/passthrough.c: what is wished for at INIT, and what is said where the kernel does not offer it.
 */
#define FUSE_USE_VERSION 314

#include "fs/passthrough.h"

#include <check.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#define EXT (1u << 30)
#define PASSTHROUGH2 (1u << 5)

/* As in linux/fuse.h of 7.40, whatever the one here. */
struct question {
        struct fuse_in_header header;
        uint32_t major, minor, max_readahead, flags, flags2, unused[11];
};

struct answer {
        struct fuse_out_header header;
        uint32_t major, minor, max_readahead, flags;
        uint16_t max_background, congestion_threshold;
        uint32_t max_write, time_gran;
        uint16_t max_pages, map_alignment;
        uint32_t flags2, max_stack_depth, unused[6];
};

static bool negotiate(const struct question *q, size_t question_len, struct answer *a, size_t answer_len)
{
        struct passthrough *p = passthrough_new();
        char reason[128];
        bool works;

        ck_assert_ptr_nonnull(p);
        passthrough_negotiate(p, q, question_len, a, answer_len, 2);
        works = passthrough_works(p, reason, sizeof(reason));
        if (works)
                ck_assert_str_eq(reason, "");
        else
                ck_assert_ptr_nonnull(strstr(reason, "Linux 6.9"));
        passthrough_free(p);
        return works;
}

START_TEST(says_nothing_before_the_mount)
{
        struct passthrough *p = passthrough_new();
        char reason[128];

        ck_assert(!passthrough_works(p, reason, sizeof(reason)));
        ck_assert_str_eq(reason, "not mounted yet");
        passthrough_free(p);
}
END_TEST

START_TEST(what_is_offered_is_wished_for)
{
        struct question q = { .major = 7, .minor = 40, .flags = EXT | 1, .flags2 = PASSTHROUGH2 | 1 };
        struct answer a = { .flags = 4, .flags2 = 8 };

        ck_assert(negotiate(&q, sizeof(q), &a, sizeof(a)));
        ck_assert_uint_eq(a.flags, EXT | 4);
        ck_assert_uint_eq(a.flags2, PASSTHROUGH2 | 8);
        ck_assert_uint_eq(a.max_stack_depth, 2);
}
END_TEST

START_TEST(an_older_kernel_gets_libfuses_answer)
{
        static const struct question offers[] = {
                { .flags = EXT, .flags2 = 1 },        /* extended flags, but not this one */
                { .flags = 1, .flags2 = PASSTHROUGH2 }, /* flags2 means nothing without EXT */
        };
        struct answer a, before = { .flags = 4 };

        for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
                a = before;
                ck_assert(!negotiate(&offers[i], sizeof(offers[i]), &a, sizeof(a)));
                ck_assert_mem_eq(&a, &before, sizeof(a));
        }
}
END_TEST

START_TEST(short_messages_and_refusals_are_left_alone)
{
        struct question q = { .flags = EXT, .flags2 = PASSTHROUGH2 };
        struct answer a = {}, before = {};

        ck_assert(!negotiate(&q, sizeof(q.header) + 16, &a, sizeof(a)));
        ck_assert(!negotiate(&q, sizeof(q), &a, sizeof(a.header) + 24));
        ck_assert_mem_eq(&a, &before, sizeof(a));
        a.header.error = before.header.error = -5;
        ck_assert(!negotiate(&q, sizeof(q), &a, sizeof(a)));
        ck_assert_mem_eq(&a, &before, sizeof(a));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("passthrough");
        TCase *t = tcase_create("init");
        SRunner *runner;
        int failed;

        tcase_add_test(t, says_nothing_before_the_mount);
        tcase_add_test(t, what_is_offered_is_wished_for);
        tcase_add_test(t, an_older_kernel_gets_libfuses_answer);
        tcase_add_test(t, short_messages_and_refusals_are_left_alone);
        suite_add_tcase(s, t);
        runner = srunner_create(s);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
