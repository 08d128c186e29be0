/*
 * Tests of base/util.h, base/errmsg.h and base/list.h.
 */
#include "base/errmsg.h"
#include "base/list.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[32];
static int dirfd_;

static void setup(void)
{
        strcpy(dir, "/tmp/weightfs-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(dir));
        dirfd_ = open(dir, O_RDONLY | O_DIRECTORY);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void teardown(void)
{
        close(dirfd_);
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

START_TEST(hand_over)
{
        CLEANUP_FREE char *p = strdup("x");
        char *q = take_ptr(p);
        CLEANUP_FD int fd = open("/dev/null", O_RDONLY);
        int taken = take_fd(&fd);

        ck_assert_ptr_null(p);
        ck_assert_str_eq(q, "x");
        ck_assert_int_eq(fd, -1);
        ck_assert_int_eq(close(taken), 0);
        errno = 7;
        cleanup_fd(&(int){ 12345 });
        ck_assert_int_eq(errno, 7);
        free(q);
}
END_TEST

START_TEST(whole_transfers)
{
        char buf[10];
        int fd = openat(dirfd_, "f", O_RDWR | O_CREAT, 0600);

        ck_assert_int_eq(pwrite_all(fd, "hello", 5, 3), 0);
        ck_assert_int_eq(pread_all(fd, buf, sizeof(buf), 0), 8);
        ck_assert_int_eq(memcmp(buf, "\0\0\0hello", 8), 0);
        ck_assert_int_eq(pread_all(fd, buf, sizeof(buf), 8), 0);
        ck_assert_int_eq(pwrite_all(fd, "", 0, 0), 0);
        close(fd);
        ck_assert_int_eq(pwrite_all(-1, "x", 1, 0), -EBADF);
        ck_assert_int_eq(pread_all(-1, buf, 1, 0), -EBADF);
        fd = open("/dev/full", O_WRONLY);
        ck_assert_int_eq(pwrite_all(fd, "x", 1, 0), -ENOSPC);
        close(fd);
}
END_TEST

START_TEST(small_files)
{
        static char big[10000];
        char *text = NULL;
        size_t len;
        int fd = openat(dirfd_, "f", O_RDWR | O_CREAT, 0600);

        ck_assert_int_eq(read_file_at(dirfd_, "f", 0, &text, &len), 0);
        ck_assert_str_eq(text, "");
        free(text);
        memset(big, 'x', sizeof(big));
        for (size_t n = 4095; n <= 4097; n++) { /* around the first buffer */
                ck_assert_int_eq(ftruncate(fd, 0), 0);
                ck_assert_int_eq(pwrite_all(fd, big, n, 0), 0);
                ck_assert_int_eq(read_file_at(dirfd_, "f", n, &text, &len), 0);
                ck_assert_uint_eq(len, n);
                ck_assert_uint_eq(strlen(text), n);
                free(text);
                ck_assert_int_eq(read_file_at(dirfd_, "f", n - 1, &text, &len), -EFBIG);
        }
        ck_assert_int_eq(read_file_at(dirfd_, "none", 10, &text, NULL), -ENOENT);
        ck_assert_int_eq(read_file_at(dirfd_, ".", 10, &text, NULL), -EISDIR);
        close(fd);
}
END_TEST

START_TEST(folders)
{
        char longest[5000];
        struct stat st;

        ck_assert_int_eq(mkdir_parents_at(dirfd_, "a/b/c", 0755), 0);
        ck_assert_int_eq(mkdir_parents_at(dirfd_, "a/b/c", 0755), 0);
        ck_assert_int_eq(mkdir_parents_at(dirfd_, "a//d/", 0755), 0);
        ck_assert_int_eq(fstatat(dirfd_, "a/d", &st, 0), 0);
        close(openat(dirfd_, "file", O_WRONLY | O_CREAT, 0600));
        ck_assert_int_eq(mkdir_parents_at(dirfd_, "file", 0755), -ENOTDIR);
        ck_assert_int_eq(mkdir_parents_at(dirfd_, "file/x", 0755), -ENOTDIR);
        ck_assert_int_eq(mkdir_parents_at(dirfd_, "", 0755), -EINVAL);
        ck_assert_int_eq(mkdir_parents_at(dirfd_, "/tmp", 0755), 0);
        ck_assert_int_eq(mkdir_parents_at(dirfd_, "/", 0755), 0);
        memset(longest, 'a', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        ck_assert_int_eq(mkdir_parents_at(dirfd_, longest, 0755), -ENAMETOOLONG);
}
END_TEST

START_TEST(sentences)
{
        struct errmsg e = {};

        ck_assert_str_eq(errmsg_get(&e, -ENOENT), strerror(ENOENT));
        ck_assert_int_eq(errmsg_set(&e, -EIO, "disk %d", 3), -EIO);
        ck_assert_str_eq(errmsg_get(&e, -EIO), "disk 3");
        ck_assert_int_eq(errmsg_set(NULL, -EIO, "x"), -EIO);
        ck_assert_str_eq(errmsg_get(NULL, -EIO), strerror(EIO));
        errmsg_set(&e, 0, "%2000d", 1);
        ck_assert_uint_eq(strlen(e.text), sizeof(e.text) - 1);
}
END_TEST

START_TEST(lists)
{
        struct list head, other, n[3];
        int i = 0;

        list_init(&head);
        list_init(&other);
        ck_assert_ptr_null(list_pop(&head));
        for (int k = 0; k < 3; k++)
                list_push(&head, &n[k]);
        LIST_FOREACH(node, &head) {
                ck_assert_ptr_eq(node, &n[i++]);
                if (i == 2)
                        list_remove(node); /* the current one may go */
        }
        ck_assert_int_eq(i, 3);
        list_remove(&n[1]);
        list_splice(&other, &head);
        ck_assert(list_empty(&head));
        list_splice(&other, &head);
        ck_assert_ptr_eq(list_pop(&other), &n[0]);
        ck_assert_ptr_eq(list_pop(&other), &n[2]);
        ck_assert(list_empty(&other));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("base/util");
        TCase *t = tcase_create("util");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, hand_over);
        tcase_add_test(t, whole_transfers);
        tcase_add_test(t, small_files);
        tcase_add_test(t, folders);
        tcase_add_test(t, sentences);
        tcase_add_test(t, lists);
        suite_add_tcase(suite, t);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
