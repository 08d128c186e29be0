/*
 * fs/asker.c: processes of one mount namespace are one asker, those of another are another.
 */
#include "fs/asker.h"

#include <check.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 4194304 /* above the largest pid */

/* What it is for a child, in a mount namespace of its own or not; 0: there can be none here. */
static uint64_t of_child(bool apart)
{
        int ready[2], over[2];
        uint64_t asker = 0;
        char byte = 0;
        pid_t pid;

        ck_assert_int_eq(pipe(ready), 0);
        ck_assert_int_eq(pipe(over), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                close(over[1]);
                byte = !apart || unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
                if (write(ready[1], &byte, 1) != 1 || read(over[0], &byte, 1) != 0)
                        _exit(1);
                _exit(0);
        }
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        if (byte)
                asker = asker_of(pid, 7);
        close(over[1]);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        close(over[0]);
        close(ready[0]);
        close(ready[1]);
        return asker;
}

START_TEST(a_namespace_is_one_asker)
{
        uint64_t own = asker_of(getpid(), 7), other;

        ck_assert_uint_ne(own, asker_of(NOBODY, 7)); /* it is told by the namespace */
        ck_assert_uint_eq(asker_of(getpid(), 8), own);
        ck_assert_uint_eq(of_child(false), own);
        other = of_child(true);
        ck_assert_uint_ne(other, own);
        ck_assert_uint_ne(other, asker_of(NOBODY, 7));
}
END_TEST

START_TEST(who_cannot_be_looked_at_is_told_by_his_uid)
{
        ck_assert_uint_eq(asker_of(NOBODY, 7), asker_of(0, 7));
        ck_assert_uint_ne(asker_of(NOBODY, 7), asker_of(NOBODY, 8));
        ck_assert_uint_ne(asker_of(0, 0), 0); /* which is this process itself */
}
END_TEST

int main(void)
{
        Suite *s = suite_create("asker");
        TCase *t = tcase_create("asker");
        SRunner *r;
        int failed;

        tcase_add_test(t, a_namespace_is_one_asker);
        tcase_add_test(t, who_cannot_be_looked_at_is_told_by_his_uid);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
