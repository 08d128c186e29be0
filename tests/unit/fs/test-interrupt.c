/*
 * fs/interrupt.c: whose wait an INTERRUPT ends, at once or when another signal comes; and that nobody is cancelled
 * once the session is over.
 */
#include "fs/interrupt.h"

#include "waiting.h"

#include "base/util.h"

#include <check.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOKS_US 400000 /* in which a waiter is looked at a few times */

struct asker {
        struct waiter waiter;
        atomic_int holds;
        atomic_uint begun, cancelled;
};

static struct interrupts *x;
static struct waiting child;
static struct asker one;
static useconds_t cancel_us; /* that a cancel() takes */

static void hold(struct waiter *w)
{
        atomic_fetch_add(&CONTAINER_OF(w, struct asker, waiter)->holds, 1);
}

static void drop(struct waiter *w)
{
        atomic_fetch_sub(&CONTAINER_OF(w, struct asker, waiter)->holds, 1);
}

static void cancel(struct waiter *w)
{
        struct asker *a = CONTAINER_OF(w, struct asker, waiter);

        atomic_fetch_add(&a->begun, 1);
        usleep(cancel_us);
        atomic_fetch_add(&a->cancelled, 1);
}

static void setup(void)
{
        static const struct waiter_ops ops = { .hold = hold, .drop = drop, .cancel = cancel };

        ck_assert_int_eq(interrupts_new(&ops, &x), 0);
        list_init(&one.waiter.node);
        child = wait_begins();
}

static void teardown(void)
{
        interrupts_forget(x, &one.waiter);
        interrupts_free(x);
        ck_assert_int_eq(one.holds, 0);
        wait_ends(child);
}

static void interrupt_by(int signal)
{
        ck_assert_int_eq(kill(child.pid, signal), 0);
        interrupts_came(x, &one.waiter, child.pid);
}

static void until_begun(void)
{
        for (unsigned i = 0; one.begun == 0; i++) {
                ck_assert_uint_lt(i, 20000);
                usleep(1000);
        }
}

START_TEST(what_asks_to_break_off)
{
        interrupt_by(SIGINT);
        ck_assert_uint_eq(one.cancelled, 1);
}
END_TEST

START_TEST(what_comes_later_does_so_once)
{
        interrupt_by(SIGCHLD);
        usleep(LOOKS_US);
        ck_assert_uint_eq(one.begun, 0);
        ck_assert_int_eq(kill(child.pid, SIGUSR1), 0);
        until_begun();
        usleep(LOOKS_US);
        ck_assert_uint_eq(one.cancelled, 1);
}
END_TEST

START_TEST(who_was_answered_is_left_alone)
{
        interrupt_by(SIGCHLD);
        interrupts_forget(x, &one.waiter);
        ck_assert_int_eq(kill(child.pid, SIGUSR1), 0);
        usleep(LOOKS_US);
        ck_assert_uint_eq(one.begun, 0);
}
END_TEST

/* X3 */
START_TEST(nobody_is_cancelled_after_the_end)
{
        interrupt_by(SIGCHLD);
        interrupts_end(x);
        ck_assert_int_eq(kill(child.pid, SIGUSR1), 0);
        usleep(LOOKS_US);
        ck_assert_uint_eq(one.begun, 0);
}
END_TEST

START_TEST(the_end_waits_for_who_is_being_cancelled)
{
        cancel_us = LOOKS_US;
        interrupt_by(SIGCHLD);
        ck_assert_int_eq(kill(child.pid, SIGUSR1), 0);
        until_begun();
        interrupts_end(x);
        ck_assert_uint_eq(one.cancelled, 1);
}
END_TEST

/* Where the session ends before anybody was interrupted. */
START_TEST(an_end_without_any)
{
        interrupts_end(x);
        interrupts_end(x);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("interrupt");
        TCase *t = tcase_create("interrupt");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, what_asks_to_break_off);
        tcase_add_test(t, what_comes_later_does_so_once);
        tcase_add_test(t, who_was_answered_is_left_alone);
        tcase_add_test(t, nobody_is_cancelled_after_the_end);
        tcase_add_test(t, the_end_waits_for_who_is_being_cancelled);
        tcase_add_test(t, an_end_without_any);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
