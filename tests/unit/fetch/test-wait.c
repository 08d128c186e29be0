/*
 * Tests of fetch/wait.c and fetch/gate.c: exactly one answer, whoever is first.
 */
#include "fetch/gate.h"

#include <check.h>
#include <errno.h>

static struct lock lock = LOCK_INIT;
static atomic_int answers, last;

static void done(void *arg, int result)
{
        (void)arg;
        atomic_store(&last, result);
        atomic_fetch_add(&answers, 1);
}

static void setup(void)
{
        answers = 0;
        last = 1234;
}

static struct fetch_wait *new_wait(struct list *list, struct fetch_wait **ret_wait)
{
        struct fetch_wait *w = wait_new(&lock, done, NULL);

        ck_assert_ptr_nonnull(w);
        wait_hand_out(w, ret_wait);
        list_push(list, &w->node);
        return w;
}

START_TEST(a_result_comes_once)
{
        struct list list = LIST_INIT(list), out = LIST_INIT(out);
        struct fetch_wait *mine = NULL;

        new_wait(&list, &mine);
        new_wait(&list, NULL);
        lock_take(&lock);
        waits_enlist(&list, 5, &out);
        lock_drop(&lock);
        ck_assert(list_empty(&list));
        fetch_cancel(mine); /* too late */
        ck_assert_int_eq(answers, 0);
        waits_answer(&out);
        ck_assert_int_eq(answers, 2);
        ck_assert_int_eq(last, 5);
        fetch_cancel(mine);
        ck_assert_int_eq(answers, 2);
        fetch_wait_unref(mine);
        fetch_wait_unref(NULL);
        fetch_cancel(NULL);
}
END_TEST

START_TEST(a_cancelled_wait_leaves_its_list)
{
        struct list list = LIST_INIT(list);
        struct fetch_wait *mine = NULL;

        new_wait(&list, &mine);
        fetch_cancel(mine);
        ck_assert_int_eq(answers, 1);
        ck_assert_int_eq(last, -ECANCELED);
        ck_assert(list_empty(&list));
        fetch_wait_unref(mine);
}
END_TEST

static void *cancel_all(void *arg)
{
        struct fetch_wait **waits = arg;

        for (int i = 0; i < 1000; i++)
                fetch_cancel(waits[i]);
        return NULL;
}

START_TEST(cancel_and_result_race)
{
        static struct fetch_wait *waits[1000];
        struct list list = LIST_INIT(list);
        pthread_t thread;

        for (int i = 0; i < 1000; i++)
                new_wait(&list, &waits[i]);
        pthread_create(&thread, NULL, cancel_all, waits);
        for (bool more = true; more;) {
                struct list out = LIST_INIT(out);

                lock_take(&lock);
                more = !list_empty(&list);
                if (more) /* from the other end, so that they meet */
                        wait_enlist(LIST_OWNER(list.prev, struct fetch_wait, node), 0, &out);
                lock_drop(&lock);
                waits_answer(&out);
        }
        pthread_join(thread, NULL);
        ck_assert_int_eq(answers, 1000);
        for (int i = 0; i < 1000; i++)
                fetch_wait_unref(waits[i]);
}
END_TEST

/* ---- the gate ---- */

START_TEST(the_gate_goes_round)
{
        struct gate g;

        gate_init(&g, false);
        ck_assert(!gate_is_offline(&g));
        ck_assert_int_eq(gate_open(&g, done, NULL), 0);
        ck_assert_int_eq(gate_close(&g, true, done, NULL), FETCH_PENDING);
        ck_assert(gate_is_offline(&g));
        ck_assert(gate_parks(&g));
        ck_assert_int_eq(gate_close(&g, false, done, NULL), FETCH_PENDING);
        ck_assert(!gate_opened(&g));
        ck_assert(gate_shut(&g));
        ck_assert_int_eq(answers, 2);
        ck_assert_int_eq(last, 0);
        ck_assert_int_eq(gate_close(&g, false, done, NULL), 0);
        ck_assert_int_eq(gate_open(&g, done, NULL), FETCH_PENDING);
        ck_assert(gate_is_offline(&g));
        ck_assert(gate_opened(&g));
        ck_assert(!gate_is_offline(&g));
        ck_assert(!gate_parks(&g));
        ck_assert_int_eq(answers, 3);
        gate_done(&g);
}
END_TEST

START_TEST(the_opposite_ends_a_switch)
{
        struct gate g;

        gate_init(&g, false);
        ck_assert_int_eq(gate_close(&g, false, done, NULL), FETCH_PENDING);
        ck_assert_int_eq(gate_open(&g, NULL, NULL), FETCH_PENDING);
        ck_assert_int_eq(answers, 1);
        ck_assert_int_eq(last, -ECANCELED);
        ck_assert(!gate_shut(&g));
        gate_abandon(&g);
        gate_done(&g);
}
END_TEST

START_TEST(for_good_is_for_good)
{
        struct gate g;

        gate_init(&g, true);
        ck_assert(gate_is_offline(&g));
        ck_assert_int_eq(gate_open(&g, done, NULL), -EPERM);
        ck_assert_int_eq(gate_close(&g, false, done, NULL), -EPERM);
        gate_done(&g);
}
END_TEST

START_TEST(the_gate_knows_how_the_hub_was)
{
        struct gate g;

        gate_init(&g, false);
        ck_assert(!gate_reached_within(&g, 60000));
        ck_assert(!gate_failed_within(&g, 60000));
        gate_note_reached(&g);
        ck_assert(gate_reached_within(&g, 60000));
        gate_note_failed(&g);
        ck_assert(!gate_reached_within(&g, 60000));
        ck_assert(gate_failed_within(&g, 60000));
        gate_note_reached(&g);
        ck_assert(!gate_failed_within(&g, 60000));
        gate_done(&g);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("wait");
        TCase *t = tcase_create("wait");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, setup, NULL);
        tcase_add_test(t, a_result_comes_once);
        tcase_add_test(t, a_cancelled_wait_leaves_its_list);
        tcase_add_test(t, cancel_and_result_race);
        tcase_add_test(t, the_gate_goes_round);
        tcase_add_test(t, the_opposite_ends_a_switch);
        tcase_add_test(t, for_good_is_for_good);
        tcase_add_test(t, the_gate_knows_how_the_hub_was);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
