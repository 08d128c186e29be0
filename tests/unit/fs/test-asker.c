/*
 * fs/asker.c: processes of one mount namespace are one asker, those of another are another; and which signals
 * that are pending for a thread mean that it is to break off.
 */
#include "fs/asker.h"

#include "waiting.h"

#include <check.h>
#include <sched.h>
#include <signal.h>
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

START_TEST(what_only_tells_does_not_break_off)
{
        static const int signals[] = { SIGCHLD, SIGWINCH, SIGURG, SIGPROF, SIGVTALRM, SIGIO, SIGTSTP, SIGCONT };
        struct waiting w = wait_begins();

        ck_assert(!asker_breaks_off(w.pid)); /* none is pending */
        for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
                ck_assert_int_eq(kill(w.pid, signals[i]), 0);
                ck_assert(!asker_breaks_off(w.pid));
        }
        ck_assert_int_eq(kill(w.pid, SIGINT), 0);
        ck_assert(asker_breaks_off(w.pid));
        wait_ends(w);
}
END_TEST

START_TEST(what_asks_to_does)
{
        static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM };

        for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
                struct waiting w = wait_begins();

                ck_assert_int_eq(kill(w.pid, signals[i]), 0);
                ck_assert(asker_breaks_off(w.pid));
                wait_ends(w);
        }
}
END_TEST

START_TEST(what_is_blocked_does_not)
{
        sigset_t all;

        sigfillset(&all);
        ck_assert_int_eq(sigprocmask(SIG_BLOCK, &all, NULL), 0);
        ck_assert_int_eq(kill(getpid(), SIGINT), 0);
        ck_assert(!asker_breaks_off(getpid()));
}
END_TEST

START_TEST(who_cannot_be_looked_at_does)
{
        ck_assert(asker_breaks_off(NOBODY));
        ck_assert(asker_breaks_off(0));
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
        tcase_add_test(t, what_only_tells_does_not_break_off);
        tcase_add_test(t, what_asks_to_does);
        tcase_add_test(t, what_is_blocked_does_not);
        tcase_add_test(t, who_cannot_be_looked_at_does);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
