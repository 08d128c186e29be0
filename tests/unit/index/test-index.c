/*
 * Tests of index/index.h: folders, the lock, a damaged catalogue, names that survive.
 */
#include "index/index.h"

#include "base/util.h"

#include "cache.h"

#include <dirent.h>
#include <sys/wait.h>

static int try_open(struct index *ret, struct errmsg *err)
{
        struct index_options o = { .store = at("store"), .state = at("state") };

        *err = (struct errmsg){};
        return index_open(&o, ret, err);
}

/* The only name in partial/. */
static void instance(char *ret)
{
        DIR *d = opendir(at("store/partial"));
        struct dirent *e;
        int count = 0;

        while ((e = readdir(d)))
                if (e->d_name[0] != '.') {
                        snprintf(ret, 64, "%.63s", e->d_name);
                        count++;
                }
        closedir(d);
        ck_assert_int_eq(count, 1);
}

START_TEST(opened_again)
{
        char first[64], second[64];
        struct stat st;
        uint64_t epoch;

        ck_assert(ix.rebuilt);
        epoch = catalog_epoch(ix.catalog);
        ASSERT_OK(stat(at("state"), &st));
        ck_assert_uint_eq(st.st_mode & 07777, 0700);
        instance(first);
        index_restart();
        ck_assert(!ix.rebuilt);
        ck_assert_uint_eq(catalog_epoch(ix.catalog), epoch);
        instance(second);
        ck_assert_str_eq(first, second);
        ck_assert_uint_eq(strlen(first), 16);
}
END_TEST

START_TEST(locked)
{
        struct index other = {};
        struct errmsg err;
        char pid[32];

        ck_assert_int_eq(try_open(&other, &err), -EBUSY);
        snprintf(pid, sizeof(pid), "process %ld ", (long)getpid());
        ck_assert_msg(strstr(err.text, pid) != NULL, "%s", err.text);
        put_text(at("state/lock"), "garbage"); /* the same inode, still locked */
        ck_assert_int_eq(try_open(&other, &err), -EBUSY);
        ck_assert_ptr_nonnull(strstr(err.text, "another process"));
}
END_TEST

/* The lock goes with the process that held it. */
START_TEST(lock_of_the_dead)
{
        pid_t pid;
        int status;

        index_close(&ix);
        pid = fork();
        if (pid == 0) {
                index_start();
                _exit(0);
        }
        waitpid(pid, &status, 0);
        ck_assert_int_eq(status, 0);
        index_start();
}
END_TEST

START_TEST(damaged)
{
        uint64_t epoch = catalog_epoch(ix.catalog);
        static char garbage[8192];
        struct dirent *e;
        bool aside = false;
        DIR *d;

        index_close(&ix);
        memset(garbage, 'x', sizeof(garbage));
        put_file(at("state/catalogue.sqlite"), garbage, sizeof(garbage));
        index_start();
        ck_assert(ix.rebuilt);
        ck_assert(catalog_epoch(ix.catalog) != epoch);
        d = opendir(at("state"));
        while ((e = readdir(d)))
                aside |= strncmp(e->d_name, "catalogue.sqlite.damaged-", 25) == 0;
        closedir(d);
        ck_assert(aside);
        index_restart();
        ck_assert(!ix.rebuilt);
}
END_TEST

START_TEST(bad_folders)
{
        struct index other = {};
        struct index_options o = { .store = at("file/store"), .state = at("other") };
        struct errmsg err = {};

        put_text(at("file"), "x");
        ck_assert_int_eq(index_open(&o, &other, &err), -ENOTDIR);
        ck_assert_ptr_nonnull(strstr(err.text, "file/store"));
        o = (struct index_options){ .store = at("store"), .state = at("file") };
        ck_assert_int_eq(index_open(&o, &other, &err), -ENOTDIR);
        o.state = at("file/deeper");
        ck_assert_int_lt(index_open(&o, &other, &err), 0);
        o = (struct index_options){ .store = at("none"), .state = at("other"), .read_only_store = true };
        ck_assert_int_eq(index_open(&o, &other, &err), -ENOENT);
        ck_assert(!exists(at("none")));
        ck_assert(!path_is_remote(scratch));
        ck_assert(!path_is_remote(at("not/there/yet")));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/index");
        TCase *t = tcase_create("index");

        tcase_add_checked_fixture(t, index_setup, index_teardown);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, opened_again);
        tcase_add_test(t, locked);
        tcase_add_test(t, lock_of_the_dead);
        tcase_add_test(t, damaged);
        tcase_add_test(t, bad_folders);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
