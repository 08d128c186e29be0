/*
 * Tests of cli/confine.c: what a confined process can still do (K1). Each in a child of its own,
 * which Check forks.
 */
#include "cli/confine.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int try_socket(int family, int type)
{
        CLEANUP_FD int fd = socket(family, type, 0);

        return fd < 0 ? -errno : 0;
}

static void confine_or_skip(void)
{
        struct errmsg err = {};
        int r = confine_sockets(&err);

        if (r == -ENOSYS)
                _exit(0); /* no seccomp here */
        ck_assert_msg(r == 0, "%s", err.text);
}

START_TEST(test_only_unix_sockets)
{
        confine_or_skip();
        ck_assert_int_eq(try_socket(AF_INET, SOCK_STREAM), -EAFNOSUPPORT);
        ck_assert_int_eq(try_socket(AF_INET6, SOCK_DGRAM), -EAFNOSUPPORT);
        ck_assert_int_eq(try_socket(AF_NETLINK, SOCK_RAW), -EAFNOSUPPORT);
        ck_assert_int_eq(try_socket(AF_PACKET, SOCK_RAW), -EAFNOSUPPORT);
        ck_assert_int_eq(try_socket(AF_UNIX, SOCK_STREAM), 0);
}
END_TEST

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void *other_thread(void *arg)
{
        (void)arg;
        pthread_mutex_lock(&turn);
        pthread_mutex_unlock(&turn);
        return (void *)(intptr_t)try_socket(AF_INET, SOCK_STREAM);
}

START_TEST(test_threads_that_run_already)
{
        pthread_t thread;
        void *result;

        pthread_mutex_lock(&turn);
        ck_assert_int_eq(pthread_create(&thread, NULL, other_thread, NULL), 0);
        confine_or_skip();
        pthread_mutex_unlock(&turn);
        pthread_join(thread, &result);
        ck_assert_int_eq((int)(intptr_t)result, -EAFNOSUPPORT);
}
END_TEST

START_TEST(test_no_dumps)
{
        struct rlimit limit;

        confine_dumps();
        ck_assert_int_eq(getrlimit(RLIMIT_CORE, &limit), 0);
        ck_assert_uint_eq(limit.rlim_max, 0);
}
END_TEST

/* There is nothing to unmount, so that fusermount3, or its absence, must come back as an error. */
START_TEST(test_helper_answers)
{
        struct unmount_helper *h;

        ck_assert_int_eq(unmount_helper_new("/nonexistent-weightfs", &h), 0);
        ck_assert_int_lt(unmount_helper_ask(h, false), 0);
        ck_assert_int_lt(unmount_helper_ask(h, true), 0);
        ck_assert_ptr_null(unmount_helper_free(h));
        ck_assert_ptr_null(unmount_helper_free(NULL));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("confine");
        TCase *t = tcase_create("confine");
        SRunner *runner;
        int failed;

        tcase_add_test(t, test_only_unix_sockets);
        tcase_add_test(t, test_threads_that_run_already);
        tcase_add_test(t, test_no_dumps);
        tcase_add_test(t, test_helper_answers);
        suite_add_tcase(s, t);
        runner = srunner_create(s);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed > 0;
}
