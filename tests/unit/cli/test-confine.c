/*
 * Tests of cli/confine.c: what a confined process can still do (K1, K3). Each in a child of its own,
 * which Check forks.
 */
#include "cli/confine.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The leak checker makes a process, which is what is refused here. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
        return "detect_leaks=0";
}

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

static void confine_calls_or_skip(void)
{
        struct errmsg err = {};
        int r = confine_calls(&err);

        if (r == -ENOSYS)
                _exit(0); /* no seccomp here */
        ck_assert_msg(r == 0, "%s", err.text);
}

static void *nothing(void *arg)
{
        return arg;
}

START_TEST(test_calls_that_are_not_needed)
{
        char *argv[] = { "true", NULL };
        pthread_t thread;
        pid_t pid;

        confine_calls_or_skip();
        ck_assert_int_eq(execv("/bin/true", argv), -1);
        ck_assert_int_eq(errno, EPERM);
        ck_assert_int_eq(fork(), -1);
        ck_assert_int_eq(errno, EPERM);
        ck_assert_int_ne(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, NULL), 0);
        ck_assert_int_eq(mount("none", "/tmp", "tmpfs", 0, NULL), -1);
        ck_assert_int_eq(errno, EPERM);
        ck_assert_int_eq(unshare(CLONE_NEWUSER), -1);
        ck_assert_int_eq(syscall(SYS_ptrace, 0, 0, 0, 0), -1);
        ck_assert_int_eq(errno, EPERM);
        ck_assert_int_eq(syscall(SYS_bpf, 0, NULL, 0), -1);
        ck_assert_int_eq(syscall(SYS_io_uring_setup, 1, NULL), -1);
        ck_assert_int_eq(errno, ENOSYS);
        ck_assert_int_eq(setuid(geteuid()), -1);
        ck_assert_int_eq(try_socket(AF_PACKET, SOCK_RAW), -EAFNOSUPPORT);
        ck_assert_int_eq(try_socket(AF_VSOCK, SOCK_STREAM), -EAFNOSUPPORT);
        ck_assert_int_eq(try_socket(AF_MAX + 5, SOCK_STREAM), -EAFNOSUPPORT);
        /* what the daemon does */
        ck_assert_int_eq(try_socket(AF_UNIX, SOCK_STREAM), 0);
        ck_assert_int_eq(try_socket(AF_INET, SOCK_STREAM), 0);
        ck_assert_int_eq(try_socket(AF_NETLINK, SOCK_RAW), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, nothing, NULL), 0);
        pthread_join(thread, NULL);
        ck_assert_int_eq(umount2("/nonexistent-weightfs", 0), -1);
        ck_assert_int_eq(errno, geteuid() == 0 && confine_is_privileged() ? ENOENT : errno);
}
END_TEST

static void *other_thread_forks(void *arg)
{
        (void)arg;
        pthread_mutex_lock(&turn);
        pthread_mutex_unlock(&turn);
        return (void *)(intptr_t)(fork() < 0 ? errno : 0);
}

START_TEST(test_calls_of_threads_that_run_already)
{
        pthread_t thread;
        void *result;

        pthread_mutex_lock(&turn);
        ck_assert_int_eq(pthread_create(&thread, NULL, other_thread_forks, NULL), 0);
        confine_calls_or_skip();
        pthread_mutex_unlock(&turn);
        pthread_join(thread, &result);
        ck_assert_int_eq((int)(intptr_t)result, EPERM);
}
END_TEST

START_TEST(test_both_filters)
{
        confine_or_skip();
        confine_calls_or_skip();
        ck_assert_int_eq(try_socket(AF_INET, SOCK_STREAM), -EAFNOSUPPORT);
        ck_assert_int_eq(try_socket(AF_UNIX, SOCK_STREAM), 0);
        ck_assert_int_eq(fork(), -1);
}
END_TEST

static uint64_t capabilities(const char *word)
{
        FILE *f = fopen("/proc/self/status", "re");
        char line[256];
        uint64_t caps = UINT64_MAX;

        while (fgets(line, sizeof(line), f))
                if (strncmp(line, word, strlen(word)) == 0)
                        caps = strtoull(line + strlen(word) + 1, NULL, 16);
        fclose(f);
        return caps;
}

START_TEST(test_capabilities)
{
        uint64_t before = capabilities("CapPrm"), bounds = capabilities("CapBnd");

        confine_privileges();
        ck_assert_uint_eq(capabilities("CapPrm"), before & CONFINE_KEPT);
        ck_assert_uint_eq(capabilities("CapEff"), before & CONFINE_KEPT);
        ck_assert_uint_eq(capabilities("CapInh"), 0);
        ck_assert_uint_eq(capabilities("CapAmb"), 0);
        if (before & CONFINE_CAP(CAP_SETPCAP))
                ck_assert_uint_eq(capabilities("CapBnd"), bounds & CONFINE_KEPT);
        ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), confine_is_privileged());
}
END_TEST

START_TEST(test_no_dumps)
{
        struct rlimit limit;

        confine_dumps();
        ck_assert_int_eq(getrlimit(RLIMIT_CORE, &limit), 0);
        ck_assert_uint_eq(limit.rlim_max, 0);
        ck_assert_int_eq(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
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
        tcase_add_test(t, test_calls_that_are_not_needed);
        tcase_add_test(t, test_calls_of_threads_that_run_already);
        tcase_add_test(t, test_both_filters);
        tcase_add_test(t, test_capabilities);
        tcase_add_test(t, test_no_dumps);
        tcase_add_test(t, test_helper_answers);
        suite_add_tcase(s, t);
        runner = srunner_create(s);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed > 0;
}
