/*
 * Tests of cli/mounts.c and cli/paths.c: the mount table, real paths, what may not lie inside.
 */
#include "cli/paths.h"

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];
static struct options o;
static struct errmsg err, warning;

static void setup(void)
{
        char template[] = "/tmp/weightfs-test-XXXXXX";

        ck_assert_ptr_nonnull(mkdtemp(template));
        strcpy(root, template);
        unsetenv("HF_HOME");
        unsetenv("XDG_CACHE_HOME");
        setenv("HOME", root, 1);
        options_init(&o);
        err.text[0] = warning.text[0] = '\0';
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
        options_done(&o);
        nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path below the test's folder; four may be in use at once. */
static const char *below(const char *tail)
{
        static char paths[4][PATH_MAX];
        static unsigned next;
        char *path = paths[next++ % 4];

        snprintf(path, PATH_MAX, "%s%s%s", root, tail[0] != '\0' ? "/" : "", tail);
        return path;
}

static void folder(const char *tail)
{
        ck_assert_int_eq(mkdir(below(tail), 0755), 0);
}

START_TEST(test_mountinfo)
{
        CLEANUP(mount_table_done) struct mount_table t = {};
        const struct mount_entry *m;

        ck_assert_int_eq(mount_table_parse("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
                                           "garbage\n"
                                           "42 22 0:39 / /mnt/with\\040space ro,nosuid shared:7 master:1 - "
                                           "fuse.weightfs /st\\134ate ro,user_id=0\n"
                                           "43 22 0:40 / /empty rw - tmpfs  rw\n"
                                           "44 22 0:41 / /mnt/with\\040space rw - fuse.other x rw\n",
                                           &t),
                         0);
        ck_assert_uint_eq(t.count, 4);
        m = mount_table_by_state(&t, "/st\\ate");
        ck_assert_ptr_nonnull(m);
        ck_assert_str_eq(m->point, "/mnt/with space");
        ck_assert_uint_eq(m->device_minor, 39);
        ck_assert(mount_is_weightfs(m));
        m = mount_table_at(&t, "/mnt/with space"); /* the one on top */
        ck_assert_str_eq(m->type, "fuse.other");
        ck_assert_str_eq(mount_table_at(&t, "/empty")->source, "");
        ck_assert_ptr_null(mount_table_at(&t, "/mnt"));
}
END_TEST

START_TEST(test_real)
{
        char *real;

        folder("a");
        ck_assert_int_eq(symlink("a", below("link")), 0);
        ck_assert_int_eq(symlink("nowhere", below("dangling")), 0);
        ck_assert_int_eq(path_real(below("link/x/y"), &real), 0);
        ck_assert_str_eq(real, below("a/x/y"));
        free(real);
        ck_assert_int_eq(path_real(below("a//./../link/"), &real), 0);
        ck_assert_str_eq(real, below("a"));
        free(real);
        ck_assert_int_eq(path_real("/nonexistent-weightfs", &real), 0);
        ck_assert_str_eq(real, "/nonexistent-weightfs");
        free(real);
        ck_assert_int_eq(path_real(below("missing/../../etc"), &real), -ENOENT);
        ck_assert_int_eq(path_real(below("dangling"), &real), -ENOENT);
        ck_assert_int_eq(path_real(below("dangling/x"), &real), -ENOENT);
}
END_TEST

START_TEST(test_inside)
{
        ck_assert(path_inside("/a/b", "/a"));
        ck_assert(path_inside("/a", "/a"));
        ck_assert(!path_inside("/ab", "/a"));
        ck_assert(path_inside("/x", "/"));
}
END_TEST

/* Nothing below a mounted point is looked at: the table says it is mounted, the disk is not asked. */
START_TEST(test_point_is_not_touched)
{
        CLEANUP(mount_table_done) struct mount_table t = {};
        char line[PATH_MAX], *point;

        folder("m");
        ck_assert_int_eq(symlink("/elsewhere", below("m/mnt")), 0);
        snprintf(line, sizeof(line), "42 22 0:39 / %s ro - fuse.weightfs /s ro\n", below("m/mnt"));
        ck_assert_int_eq(mount_table_parse(line, &t), 0);
        ck_assert_int_eq(path_of_mount(below("m/./mnt/"), &t, &point), 0);
        ck_assert_str_eq(point, below("m/mnt"));
        free(point);
        mount_table_done(&t);
        ck_assert_int_eq(path_of_mount(below("m/mnt"), &t, &point), 0);
        ck_assert_str_eq(point, "/elsewhere");
        free(point);
        ck_assert_int_eq(symlink("loop", below("loop")), 0);
        ck_assert_int_eq(path_of_mount(below("loop"), &t, &point), -ELOOP);
}
END_TEST

static int check(const char *mnt, const char *store, const char *state)
{
        err.text[0] = warning.text[0] = '\0';
        free(o.mount_point);
        free(o.store);
        free(o.state);
        o.mount_point = strdup(below(mnt));
        o.store = strdup(below(store));
        o.state = state ? strdup(below(state)) : NULL;
        return paths_check_mount(&o, &warning, &err);
}

static void assert_said(const struct errmsg *e, const char *part)
{
        ck_assert_msg(strstr(e->text, part) != NULL, "'%s' does not say '%s'", e->text, part);
}

START_TEST(test_mount_checks)
{
        folder("mnt");
        folder("mnt/sub");
        folder("store");
        ck_assert_int_eq(symlink("mnt/sub", below("into")), 0);
        ck_assert_int_eq(check("mnt", "store", NULL), 0);
        ck_assert_str_eq(o.state, below("store/state"));
        assert_said(&warning, "is not empty");
        ck_assert_int_eq(check("none", "store", NULL), -ENOENT);
        assert_said(&err, "mkdir -p");
        ck_assert_int_eq(check("mnt", "into", NULL), -EINVAL);
        assert_said(&err, "the store");
        assert_said(&err, "--store");
        ck_assert_int_eq(check("mnt", "mnt/x/y", NULL), -EINVAL);
        ck_assert_int_eq(check("mnt", "mnt", NULL), -EINVAL);
        ck_assert_int_eq(check("mnt", "store", "into/st"), -EINVAL);
        assert_said(&err, "the state folder");
        folder("store/hub");
        ck_assert_int_eq(check("store/hub", "store", NULL), -EINVAL);
        assert_said(&err, "lies inside the store");
        o.config = strdup(below("mnt/w.conf"));
        ck_assert_int_eq(check("mnt", "store", NULL), -EINVAL);
        assert_said(&err, "the configuration file");
}
END_TEST

START_TEST(test_token)
{
        folder("mnt");
        folder("store");
        setenv("HF_HOME", below("mnt"), 1);
        ck_assert_int_eq(check("mnt", "store", NULL), 0);
        assert_said(&warning, "lies inside the mount and is not used");
        ck_assert_ptr_null(o.token_file);
        unsetenv("HF_HOME");
        ck_assert_int_eq(check("mnt", "store", NULL), 0);
        ck_assert_str_eq(o.token_file, below(".cache/huggingface/token"));
        free(o.token_file);
        o.token_file = strdup(below("mnt/token"));
        ck_assert_int_eq(check("mnt", "store", NULL), -EINVAL);
        assert_said(&err, "the token file");
        assert_said(&err, "HF_TOKEN_PATH");
}
END_TEST

int main(void)
{
        Suite *s = suite_create("paths");
        TCase *t = tcase_create("paths");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, test_mountinfo);
        tcase_add_test(t, test_real);
        tcase_add_test(t, test_inside);
        tcase_add_test(t, test_point_is_not_touched);
        tcase_add_test(t, test_mount_checks);
        tcase_add_test(t, test_token);
        suite_add_tcase(s, t);
        runner = srunner_create(s);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed > 0;
}
