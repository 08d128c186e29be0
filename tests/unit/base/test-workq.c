/*
 * Tests of base/workq.h: every job runs once, also those pushed by jobs and those queued at the end.
 */
#include "base/workq.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define JOBS 2000

struct job {
        struct work work;
        atomic_int runs;
};

static struct job jobs[JOBS];
static struct workq *queue;
static atomic_int pushed_by_jobs;

static void run(struct work *w)
{
        atomic_fetch_add(&CONTAINER_OF(w, struct job, work)->runs, 1);
}

static void run_and_push(struct work *w)
{
        int i = atomic_fetch_add(&pushed_by_jobs, 1);

        run(w);
        if (i + 1 < JOBS)
                workq_push(queue, &jobs[i + 1].work, run_and_push);
}

static void check_all_ran_once(void)
{
        for (int i = 0; i < JOBS; i++) {
                ck_assert_int_eq(jobs[i].runs, 1);
                jobs[i].runs = 0;
        }
}

START_TEST(all_run)
{
        for (unsigned threads = 1; threads <= 4; threads += 3) {
                ck_assert_int_eq(workq_new("test", threads, &queue), 0);
                for (int i = 0; i < JOBS; i++)
                        workq_push(queue, &jobs[i].work, run);
                queue = workq_free(queue);
                ck_assert_ptr_null(queue);
                check_all_ran_once();
        }
        ck_assert_ptr_null(workq_free(NULL));
}
END_TEST

START_TEST(jobs_push_jobs)
{
        ck_assert_int_eq(workq_new("a name that is too long", 3, &queue), 0);
        workq_push(queue, &jobs[0].work, run_and_push);
        workq_free(queue); /* also while they go on pushing */
        check_all_ran_once();
}
END_TEST

static int order[JOBS], ordered;

static void run_in_order(struct work *w)
{
        order[ordered++] = (int)(CONTAINER_OF(w, struct job, work) - jobs);
}

START_TEST(first_in_first_out)
{
        ck_assert_int_eq(workq_new("test", 1, &queue), 0);
        for (int i = 0; i < JOBS; i++)
                workq_push(queue, &jobs[i].work, run_in_order);
        workq_free(queue);
        for (int i = 0; i < JOBS; i++)
                ck_assert_int_eq(order[i], i);
}
END_TEST

static sigset_t seen;

static void read_mask(struct work *w)
{
        (void)w;
        pthread_sigmask(SIG_BLOCK, NULL, &seen);
}

START_TEST(signals_are_not_theirs)
{
        sigset_t own;

        ck_assert_int_eq(workq_new("test", 1, &queue), 0);
        workq_push(queue, &jobs[0].work, read_mask);
        workq_free(queue);
        ck_assert_int_eq(sigismember(&seen, SIGTERM), 1);
        pthread_sigmask(SIG_BLOCK, NULL, &own);
        ck_assert_int_eq(sigismember(&own, SIGTERM), 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("base/workq");
        TCase *t = tcase_create("workq");
        SRunner *runner;
        int failed;

        tcase_add_test(t, all_run);
        tcase_add_test(t, jobs_push_jobs);
        tcase_add_test(t, first_in_first_out);
        tcase_add_test(t, signals_are_not_theirs);
        suite_add_tcase(suite, t);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
