/*
 * Tests of fetch/policy.c.
 */
#include "fetch/policy.h"

#include <check.h>
#include <errno.h>
#include <string.h>

static struct policy p;

static void teardown(void)
{
        policy_done(&p);
}

START_TEST(without_globs_all_is_allowed)
{
        ck_assert_int_eq(policy_init(&p, NULL, NULL, NULL), 0);
        ck_assert(policy_allows(&p, REPO_MODEL, "gpt2"));
        ck_assert(policy_allows(&p, REPO_SPACE, "a/b"));
}
END_TEST

START_TEST(an_empty_allow_list_allows_nothing)
{
        static const char *const none[] = { NULL };

        ck_assert_int_eq(policy_init(&p, none, NULL, NULL), 0);
        ck_assert(!policy_allows(&p, REPO_MODEL, "gpt2"));
}
END_TEST

START_TEST(deny_wins)
{
        static const char *const allow[] = { "meta-llama/*", "datasets/*", NULL };
        static const char *const deny[] = { "*/secret-*", "models/meta-llama/Old*", NULL };

        ck_assert_int_eq(policy_init(&p, allow, deny, NULL), 0);
        ck_assert(policy_allows(&p, REPO_MODEL, "meta-llama/Llama-3"));
        ck_assert(!policy_allows(&p, REPO_MODEL, "meta-llama/Old-1"));
        ck_assert(policy_denies(&p, REPO_MODEL, "meta-llama/Old-1"));
        ck_assert(!policy_allows(&p, REPO_MODEL, "other/Llama-3"));
        ck_assert(!policy_denies(&p, REPO_MODEL, "other/Llama-3"));
        ck_assert(policy_allows(&p, REPO_DATASET, "a/b"));
        ck_assert(!policy_allows(&p, REPO_DATASET, "a/secret-b"));
        ck_assert(!policy_allows(&p, REPO_DATASET, "meta-llama/x") ==
                  !glob_match("datasets/*", "datasets/meta-llama/x"));
        ck_assert(!policy_allows(&p, REPO_SPACE, "meta-llama/x"));
}
END_TEST

START_TEST(globs_that_cannot_be_meant_are_said)
{
        static const char *const bad[] = { "",          "Org/[a",   "https://host/Org",
                                           "/Org/Name", "Org Name", "Org/N\n" };

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                const char *const list[] = { "Org/ok", bad[i], NULL };
                struct errmsg err = {};

                ck_assert_int_eq(policy_init(&p, NULL, list, &err), -EINVAL);
                ck_assert_str_ne(err.text, "");
                ck_assert_ptr_null(p.deny);
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("policy");
        TCase *t = tcase_create("policy");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, NULL, teardown);
        tcase_add_test(t, without_globs_all_is_allowed);
        tcase_add_test(t, an_empty_allow_list_allows_nothing);
        tcase_add_test(t, deny_wins);
        tcase_add_test(t, globs_that_cannot_be_meant_are_said);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
