/*
 * Tests of index/store.h: names, links that lead outside, repetition, failures at every step.
 */
#include "index/store.h"
#include "index/store_dir.h"

#include "base/fault.h"
#include "base/util.h"

#include "scratch.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define INSTANCE "0123456789abcdef"
#define SHA "1111111111111111111111111111111111111111"
#define ETAG "ce013625030ba8dba906f756967f9e9ca394464a" /* "hello\n" */
#define XET "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"

static struct store *s;

static void setup(void)
{
        struct errmsg err = {};

        scratch_setup();
        umask(077); /* modes must not depend on it */
        ck_assert_msg(store_open(at("store"), INSTANCE, false, &s, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
        s = store_close(s);
        scratch_teardown();
}

static mode_t mode_of(const char *path)
{
        struct stat st;

        ASSERT_OK(lstat(path, &st));
        return st.st_mode & 07777;
}

static ino_t ino_of(const char *path)
{
        struct stat st;

        ASSERT_OK(lstat(path, &st));
        return st.st_ino;
}

/* The blob of one repo for another, as what the first has now. */
static int share(struct store *in, const char *from, enum repo_type type, const char *to)
{
        CLEANUP_FD int fd = -1;
        uint64_t size;
        int r = store_blob_open(in, REPO_MODEL, from, ETAG, &fd, &size);

        return r < 0 ? r : store_blob_share(in, fd, REPO_MODEL, from, type, to, ETAG);
}

static void put_partial(void)
{
        put_text(at("store/partial/" INSTANCE "/" ETAG), "hello\n");
}

struct text {
        const char *bytes;
        size_t len;
};

static int write_text(const void *arg, FILE *to)
{
        const struct text *t = arg;

        return fwrite(t->bytes, 1, t->len, to) == t->len && fflush(to) == 0 ? 0 : -errno;
}

static int tree_put(const struct store *to, enum repo_type type, const char *name, const char *sha, const char *bytes,
                    size_t len)
{
        return store_tree_put(to, type, name, sha, write_text, &(struct text){ bytes, len });
}

START_TEST(opening)
{
        struct statvfs fs;

        ck_assert_str_eq(store_path(s), at("store"));
        ck_assert_int_eq(mode_of(at("store/hub")), 0755);
        ck_assert_int_eq(mode_of(at("store/partial")), 0700);
        ck_assert_int_eq(mode_of(at("store/hub/CACHEDIR.TAG")), 0644);
        ASSERT_OK(store_statfs(s, &fs));
        ck_assert_ptr_null(store_close(NULL));
}
END_TEST

START_TEST(opening_fails)
{
        struct errmsg err = {};
        struct store *other = NULL;

        put_text(at("file"), "x");
        ck_assert_int_eq(store_open(at("file"), INSTANCE, false, &other, &err), -ENOTDIR);
        ck_assert_ptr_nonnull(strstr(err.text, "not a folder"));
        ck_assert_int_eq(store_open(at("file/sub"), INSTANCE, false, &other, &err), -ENOTDIR);
        ck_assert_int_eq(store_open(at("nowhere"), INSTANCE, true, &other, &err), -ENOENT);
        ck_assert(!exists(at("nowhere")));
        ck_assert_int_eq(store_open(at("store"), "../x", false, &other, &err), -EINVAL);
        ck_assert_int_eq(store_open(at("store"), "", false, &other, &err), -EINVAL);
        mkdir(at("linked"), 0755);
        put_link(at("linked/hub"), "/tmp");
        ck_assert_int_eq(store_open(at("linked"), INSTANCE, false, &other, &err), -ELOOP);
        ck_assert_ptr_nonnull(strstr(err.text, "symbolic link"));
        ck_assert_ptr_null(other);
}
END_TEST

START_TEST(publishing)
{
        uint64_t size;
        int fd;

        put_partial();
        ck_assert_int_eq(store_blob_open(s, REPO_MODEL, "Org/Name", ETAG, &fd, &size), -ENOENT);
        ASSERT_OK(store_blob_publish(s, ETAG, REPO_MODEL, "Org/Name", ETAG));
        ck_assert_int_eq(mode_of(at("store/hub/models--Org--Name/blobs/" ETAG)), 0644);
        ck_assert_int_eq(mode_of(at("store/hub/models--Org--Name/blobs")), 0755);
        ck_assert_uint_eq(ino_of(at("store/hub/models--Org--Name/blobs/" ETAG)),
                          ino_of(at("store/partial/" INSTANCE "/" ETAG)));
        ASSERT_OK(store_blob_publish(s, ETAG, REPO_MODEL, "Org/Name", ETAG));
        ASSERT_OK(store_blob_open(s, REPO_MODEL, "Org/Name", ETAG, &fd, &size));
        close(fd);
        ck_assert_uint_eq(size, 6);
        ASSERT_OK(share(s, "Org/Name", REPO_DATASET, "squad"));
        ASSERT_OK(share(s, "Org/Name", REPO_DATASET, "squad"));
        ck_assert_uint_eq(ino_of(at("store/hub/datasets--squad/blobs/" ETAG)),
                          ino_of(at("store/partial/" INSTANCE "/" ETAG)));
        ck_assert_int_eq(share(s, "a/b", REPO_MODEL, "c/d"), -ENOENT);
        ck_assert(!exists(at("store/hub/models--c--d")));
        ck_assert_int_eq(store_blob_publish(s, ETAG, REPO_MODEL, "../../x", ETAG), -EINVAL);
        ck_assert_int_eq(store_blob_publish(s, ETAG, REPO_MODEL, "Org/Name", "../x"), -EINVAL);
        ck_assert_int_eq(count_leftovers(), 0);
}
END_TEST

/* What stands in the way of a blob and is none is replaced, never followed. */
START_TEST(publishing_over)
{
        char buf[16];

        put_partial();
        put_link(at("store/hub/models--a--b/blobs/" ETAG), "/etc/passwd");
        ASSERT_OK(store_blob_publish(s, ETAG, REPO_MODEL, "a/b", ETAG));
        ck_assert_int_eq(get_file(at("store/hub/models--a--b/blobs/" ETAG), buf, sizeof(buf)), 6);
        ck_assert_str_eq(link_of(at("store/hub/models--a--b/blobs/" ETAG)), "");
        put_link(at("store/hub/models--c--d/blobs/" ETAG), "../../blobs/58/" XET); /* dangling */
        ASSERT_OK(store_blob_publish(s, ETAG, REPO_MODEL, "c/d", ETAG));
        ck_assert_int_eq(get_file(at("store/hub/models--c--d/blobs/" ETAG), buf, sizeof(buf)), 6);
        ck_assert_int_eq(count_leftovers(), 0);
}
END_TEST

START_TEST(links_lead_nowhere)
{
        static const char *const targets[] = {
                "/etc/passwd", "../../../../../../etc/passwd", "../../../partial/x", "../../blobs/../../x",
                "../../blobs/00/" XET /* another folder than its hash's */, "../../blobs/58/" XET "/", ".",
        };
        uint64_t size;
        int fd;

        mkdir(at("outside"), 0755);
        put_text(at("outside/" ETAG), "secret");
        for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
                put_link(at("store/hub/models--a--b/blobs/" ETAG), targets[i]);
                ck_assert_int_eq(store_blob_open(s, REPO_MODEL, "a/b", ETAG, &fd, &size), -ELOOP);
                unlink(at("store/hub/models--a--b/blobs/" ETAG));
        }
        mkfifo(at("store/hub/models--a--b/blobs/" ETAG), 0644);
        ck_assert_int_eq(store_blob_open(s, REPO_MODEL, "a/b", ETAG, &fd, &size), -EINVAL);
        unlink(at("store/hub/models--a--b/blobs/" ETAG));
        mkdir(at("store/hub/models--a--b/blobs/" ETAG), 0755);
        ck_assert_int_eq(store_blob_open(s, REPO_MODEL, "a/b", ETAG, &fd, &size), -EINVAL);

        mkdir(at("store/hub/models--c--d"), 0755); /* the folders themselves as links */
        put_link(at("store/hub/models--c--d/blobs"), at("outside"));
        put_link(at("store/hub/models--c--d/refs"), at("outside"));
        put_link(at("store/hub/models--c--d/trees"), at("outside"));
        put_link(at("store/hub/models--c--d/snapshots"), at("outside"));
        ck_assert_int_eq(store_blob_open(s, REPO_MODEL, "c/d", ETAG, &fd, &size), -ELOOP);
        put_partial();
        ck_assert_int_eq(store_blob_publish(s, ETAG, REPO_MODEL, "c/d", ETAG), -ELOOP);
        ck_assert_int_eq(tree_put(s, REPO_MODEL, "c/d", SHA, "{}", 2), -ELOOP);
        ck_assert_int_eq(store_tree_open(s, REPO_MODEL, "c/d", SHA, &fd, &size), -ELOOP);
        ck_assert_int_eq(store_link_put(s, REPO_MODEL, "c/d", SHA, "f", ETAG), -ELOOP);
        ck_assert_int_eq(store_ref_put(s, REPO_MODEL, "c/d", "main", SHA), -ELOOP);
        ck_assert_int_eq(store_ref_remove(s, REPO_MODEL, "c/d", "main"), -ELOOP);
        put_link(at("store/hub/models--e--f"), "../../outside");
        ck_assert_int_eq(store_blob_publish(s, ETAG, REPO_MODEL, "e/f", ETAG), -ELOOP);
        put_link(at("store/hub/models--g--h/trees/" SHA ".json"), "/etc/passwd");
        ck_assert_int_eq(store_tree_open(s, REPO_MODEL, "g/h", SHA, &fd, &size), -ELOOP);
}
END_TEST

/* Whatever becomes of the name: what is shared is the file that is open. */
START_TEST(shared_is_the_open_file)
{
        CLEANUP_FD int fd = -1;
        uint64_t size;

        put_text(at("store/hub/models--a--b/blobs/" ETAG), "hello\n");
        ASSERT_OK(store_blob_open(s, REPO_MODEL, "a/b", ETAG, &fd, &size));
        unlink(at("store/hub/models--a--b/blobs/" ETAG));
        put_text(at("store/hub/models--a--b/blobs/" ETAG), "hullo\n");
        ck_assert_int_eq(store_blob_share(s, fd, REPO_MODEL, "a/b", REPO_MODEL, "c/d", ETAG), -ESTALE);
        ck_assert(!exists(at("store/hub/models--c--d")));
        /* nor if it is replaced in between */
        ck_assert_int_eq(store_place_file(s, fd, store_hub_fd(s), "models--a--b/blobs/" ETAG, store_hub_fd(s), "to"),
                         -ESTALE);
        ck_assert(!exists(at("store/hub/to")));
        ck_assert_int_eq(count_leftovers(), 0);
}
END_TEST

START_TEST(shared_blobs)
{
        char buf[16];
        uint64_t size;
        int fd;

        put_text(at("store/hub/blobs/58/" XET), "hello\n");
        put_link(at("store/hub/models--a--b/blobs/" ETAG), "../../blobs/58/" XET);
        ASSERT_OK(store_blob_open(s, REPO_MODEL, "a/b", ETAG, &fd, &size));
        ck_assert_uint_eq(size, 6);
        close(fd);
        ASSERT_OK(share(s, "a/b", REPO_MODEL, "c/d"));
        ck_assert_uint_eq(ino_of(at("store/hub/models--c--d/blobs/" ETAG)),
                          ino_of(at("store/hub/blobs/58/" XET)));
        ASSERT_OK(store_blob_quarantine(s, REPO_MODEL, "a/b", ETAG));
        ck_assert(!exists(at("store/hub/blobs/58/" XET)));
        ck_assert(!exists(at("store/hub/models--a--b/blobs/" ETAG)));
        ck_assert_int_eq(get_file(at("store/hub/models--c--d/blobs/" ETAG), buf, sizeof(buf)), 6);
}
END_TEST

/* No descriptor of somebody else is closed for one that was never opened. */
START_TEST(shared_blob_without_its_folder)
{
        struct stat before, after;
        uint64_t size;
        int fd;

        put_link(at("store/hub/models--a--b/blobs/" ETAG), "../../blobs/58/" XET);
        ASSERT_OK(fstat(0, &before));
        ck_assert_int_eq(store_blob_open(s, REPO_MODEL, "a/b", ETAG, &fd, &size), -ENOENT);
        put_link(at("store/hub/blobs"), "/tmp");
        ck_assert_int_eq(store_blob_open(s, REPO_MODEL, "a/b", ETAG, &fd, &size), -ELOOP);
        ASSERT_OK(fstat(0, &after));
        ck_assert_uint_eq(before.st_ino, after.st_ino);
}
END_TEST

static unsigned count_quarantined(void)
{
        char command[256];
        unsigned n = 0;
        FILE *p;

        snprintf(command, sizeof(command), "ls %s | wc -l", at("store/quarantine"));
        p = popen(command, "r");
        ck_assert_int_eq(fscanf(p, "%u", &n), 1);
        pclose(p);
        return n;
}

START_TEST(quarantine)
{
        put_partial();
        ASSERT_OK(store_blob_publish(s, ETAG, REPO_MODEL, "a/b", ETAG));
        ASSERT_OK(store_blob_quarantine(s, REPO_MODEL, "a/b", ETAG));
        ck_assert(!exists(at("store/hub/models--a--b/blobs/" ETAG)));
        ASSERT_OK(store_partial_quarantine(s, ETAG));
        ck_assert_uint_eq(count_quarantined(), 2); /* neither replaced the other */
        ck_assert_int_eq(store_partial_quarantine(s, ETAG), -ENOENT);
        ck_assert_int_eq(store_partial_quarantine(s, "../../hub"), -EINVAL);
        ck_assert_int_eq(store_blob_quarantine(s, REPO_MODEL, "a/b", ETAG), -ENOENT);
}
END_TEST

START_TEST(links)
{
        ASSERT_OK(store_link_put(s, REPO_MODEL, "a/b", SHA, "config.json", ETAG));
        ck_assert_str_eq(link_of(at("store/hub/models--a--b/snapshots/" SHA "/config.json")),
                         "../../blobs/" ETAG);
        ASSERT_OK(store_link_put(s, REPO_MODEL, "a/b", SHA, "x/y/config.json", ETAG));
        ck_assert_str_eq(link_of(at("store/hub/models--a--b/snapshots/" SHA "/x/y/config.json")),
                         "../../../../blobs/" ETAG);
        ASSERT_OK(store_link_put(s, REPO_MODEL, "a/b", SHA, "config.json", ETAG));
        ASSERT_OK(store_link_put(s, REPO_MODEL, "a/b", SHA, "config.json", XET));
        ck_assert_str_eq(link_of(at("store/hub/models--a--b/snapshots/" SHA "/config.json")),
                         "../../blobs/" XET);
        put_text(at("store/hub/models--a--b/snapshots/" SHA "/real"), "kept");
        ASSERT_OK(store_link_put(s, REPO_MODEL, "a/b", SHA, "real", ETAG));
        ck_assert_str_eq(link_of(at("store/hub/models--a--b/snapshots/" SHA "/real")), "");
        ck_assert_int_eq(store_link_put(s, REPO_MODEL, "a/b", SHA, "../x", ETAG), -EINVAL);
        ck_assert_int_eq(store_link_put(s, REPO_MODEL, "a/b", "main", "x", ETAG), -EINVAL);
        ck_assert_int_eq(store_link_put(s, REPO_MODEL, "a/b", SHA, "config.json/x", ETAG), -ELOOP);
        ck_assert_int_eq(count_leftovers(), 0);
}
END_TEST

START_TEST(refs)
{
        char buf[64];

        ASSERT_OK(store_ref_put(s, REPO_MODEL, "a/b", "main", SHA));
        ck_assert_int_eq(get_file(at("store/hub/models--a--b/refs/main"), buf, sizeof(buf)), 40);
        ck_assert_int_eq(memcmp(buf, SHA, 40), 0);
        ck_assert(exists(at("store/hub/models--a--b/snapshots/" SHA)));
        ASSERT_OK(store_ref_put(s, REPO_MODEL, "a/b", "refs/pr/1", SHA));
        ck_assert_int_eq(mode_of(at("store/hub/models--a--b/refs/refs/pr/1")), 0644);
        ASSERT_OK(store_ref_put(s, REPO_MODEL, "a/b", "main", "2222222222222222222222222222222222222222"));
        ck_assert_int_eq(get_file(at("store/hub/models--a--b/refs/main"), buf, sizeof(buf)), 40);
        ck_assert_int_eq(buf[0], '2');
        ASSERT_OK(store_ref_remove(s, REPO_MODEL, "a/b", "refs/pr/1"));
        ck_assert(!exists(at("store/hub/models--a--b/refs/refs"))); /* or it would hide a ref "refs" */
        ck_assert(exists(at("store/hub/models--a--b/refs/main")));
        ASSERT_OK(store_ref_remove(s, REPO_MODEL, "a/b", "refs/pr/1"));
        ASSERT_OK(store_ref_remove(s, REPO_MODEL, "no/such", "main"));
        ck_assert_int_eq(store_ref_put(s, REPO_MODEL, "a/b", "../main", SHA), -EINVAL);
        ck_assert_int_eq(store_ref_put(s, REPO_MODEL, "a/b", "main", "main"), -EINVAL);
        unlink(at("store/hub/models--a--b/refs/main"));
        put_link(at("store/hub/models--a--b/refs/main"), "/etc/passwd");
        ASSERT_OK(store_ref_put(s, REPO_MODEL, "a/b", "main", SHA)); /* replaced, not followed */
        ck_assert_int_eq(get_file(at("store/hub/models--a--b/refs/main"), buf, sizeof(buf)), 40);
}
END_TEST

START_TEST(trees)
{
        uint64_t size;
        int fd;

        ASSERT_OK(tree_put(s, REPO_SPACE, "a/b", SHA, "{}", 2));
        ASSERT_OK(store_tree_open(s, REPO_SPACE, "a/b", SHA, &fd, &size));
        close(fd);
        ck_assert_uint_eq(size, 2);
        ASSERT_OK(tree_put(s, REPO_SPACE, "a/b", SHA, "{ }", 3));
        ck_assert_int_eq(tree_put(s, REPO_SPACE, "a/b", "../x", "{}", 2), -EINVAL);
        ck_assert_int_eq(
                store_tree_open(s, REPO_SPACE, "a/b", "2222222222222222222222222222222222222222", &fd, &size),
                -ENOENT);
}
END_TEST

START_TEST(aliases)
{
        uint64_t size;
        int fd;

        put_partial();
        ASSERT_OK(store_alias_put(s, REPO_MODEL, "old/name", "new/name"));
        ck_assert_str_eq(link_of(at("store/hub/models--old--name")), "models--new--name");
        ASSERT_OK(store_alias_put(s, REPO_MODEL, "old/name", "new/name"));
        ASSERT_OK(store_blob_publish(s, ETAG, REPO_MODEL, "new/name", ETAG));
        ASSERT_OK(store_blob_open(s, REPO_MODEL, "old/name", ETAG, &fd, &size));
        close(fd);
        ASSERT_OK(store_alias_put(s, REPO_MODEL, "old/name", "newer/name")); /* renamed once more */
        ck_assert_str_eq(link_of(at("store/hub/models--old--name")), "models--newer--name");
        ck_assert_int_eq(store_alias_put(s, REPO_MODEL, "a/b", "a/b"), -EINVAL);
        ASSERT_OK(store_alias_put(s, REPO_MODEL, "new/name", "newest/name")); /* a real folder stays */
        ck_assert_str_eq(link_of(at("store/hub/models--new--name")), "");
        put_link(at("store/hub/models--x--y"), "models--old--name"); /* a link to a link */
        ck_assert_int_eq(store_blob_open(s, REPO_MODEL, "x/y", ETAG, &fd, &size), -ELOOP);
        put_link(at("store/hub/models--z--z"), "datasets--new--name");
        ck_assert_int_eq(store_blob_open(s, REPO_MODEL, "z/z", ETAG, &fd, &size), -ELOOP);
}
END_TEST

START_TEST(read_only)
{
        struct errmsg err = {};
        struct store *ro;
        uint64_t size;
        int fd;

        put_partial();
        ASSERT_OK(store_blob_publish(s, ETAG, REPO_MODEL, "a/b", ETAG));
        ASSERT_OK(store_open(at("store"), INSTANCE, true, &ro, &err));
        ck_assert_int_eq(store_partial_fd(ro), -1);
        ASSERT_OK(store_blob_open(ro, REPO_MODEL, "a/b", ETAG, &fd, &size));
        close(fd);
        ck_assert_int_eq(store_blob_publish(ro, ETAG, REPO_MODEL, "c/d", ETAG), -EROFS);
        ck_assert_int_eq(share(ro, "a/b", REPO_MODEL, "c/d"), -EROFS);
        ck_assert_int_eq(store_blob_quarantine(ro, REPO_MODEL, "a/b", ETAG), -EROFS);
        ck_assert_int_eq(store_partial_quarantine(ro, ETAG), -EROFS);
        ck_assert_int_eq(store_link_put(ro, REPO_MODEL, "a/b", SHA, "f", ETAG), -EROFS);
        ck_assert_int_eq(store_ref_put(ro, REPO_MODEL, "a/b", "main", SHA), -EROFS);
        ck_assert_int_eq(store_ref_remove(ro, REPO_MODEL, "a/b", "main"), -EROFS);
        ck_assert_int_eq(tree_put(ro, REPO_MODEL, "a/b", SHA, "{}", 2), -EROFS);
        ck_assert_int_eq(store_alias_put(ro, REPO_MODEL, "a/b", "c/d"), -EROFS);
        store_close(ro);
}
END_TEST

START_TEST(stale_names)
{
        struct errmsg err = {};
        char name[STORE_TMP_MAX];
        struct store *later;

        store_tmp_name(s, name);
        ck_assert(!store_tmp_stale(s, name));
        ASSERT_OK(store_open(at("store"), INSTANCE, false, &later, &err));
        ck_assert(store_tmp_stale(later, name));
        later = store_close(later);
        ASSERT_OK(store_open(at("store"), "feed", false, &later, &err));
        ck_assert(!store_tmp_stale(later, name)); /* another daemon's */
        ck_assert(!store_tmp_stale(later, ETAG));
        store_close(later);
}
END_TEST

/* Everything that writes, once. Returns the first error. */
static int write_all(void)
{
        int r = store_blob_publish(s, ETAG, REPO_MODEL, "a/b", ETAG);

        if (r == 0)
                r = share(s, "a/b", REPO_MODEL, "c/d");
        if (r == 0)
                r = store_link_put(s, REPO_MODEL, "a/b", SHA, "x/y", ETAG);
        if (r == 0)
                r = store_ref_put(s, REPO_MODEL, "a/b", "refs/pr/1", SHA);
        if (r == 0)
                r = tree_put(s, REPO_MODEL, "a/b", SHA, "{}", 2);
        if (r == 0)
                r = store_alias_put(s, REPO_MODEL, "o/o", "a/b");
        if (r == 0)
                r = store_ref_remove(s, REPO_MODEL, "a/b", "refs/pr/1");
        return r;
}

static void check_written(void)
{
        char buf[64];

        ck_assert_int_eq(get_file(at("store/hub/models--a--b/blobs/" ETAG), buf, sizeof(buf)), 6);
        ck_assert_int_eq(get_file(at("store/hub/models--c--d/blobs/" ETAG), buf, sizeof(buf)), 6);
        ck_assert_int_eq(get_file(at("store/hub/models--a--b/trees/" SHA ".json"), buf, sizeof(buf)), 2);
        ck_assert_str_eq(link_of(at("store/hub/models--o--o")), "models--a--b");
        ck_assert_int_eq(count_leftovers(), 0);
}

/* S1 after any failure: a final name has its content or is not there. */
static void check_nothing_torn(void)
{
        static const char *const names[] = { "models--a--b/blobs/" ETAG, "models--c--d/blobs/" ETAG };
        char buf[64];

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                ssize_t n = get_file(at("store/hub/%s", names[i]), buf, sizeof(buf));

                ck_assert(n == -1 || (n == 6 && memcmp(buf, "hello\n", 6) == 0));
        }
        ck_assert_int_eq(count_leftovers(), 0);
}

START_TEST(every_failure)
{
#ifndef WEIGHTFS_FAULTS
        printf("SKIP every_failure: built without fault points\n");
        return;
#endif
        for (uint64_t nth = 1;; nth++) {
                int r;

                put_partial();
                fault_arm(nth);
                r = write_all();
                /* without links there is a rename or a copy: that failure shows nowhere */
                if (!fault_fired()) {
                        ASSERT_OK(r);
                        ck_assert_uint_gt(nth, 10);
                        break;
                }
                fault_arm(0);
                check_nothing_torn();
                if (!exists(at("store/hub/models--a--b/blobs/" ETAG)))
                        put_partial();
                ASSERT_OK(write_all());
                check_written();
                teardown();
                setup();
        }
        fault_arm(0);
        check_written();
}
END_TEST

/* A disk that is mounted read-only. */
START_TEST(read_only_disk)
{
        struct store *ro = NULL;
        struct errmsg err = {};
        uint64_t size;
        int fd;

        mkdir(at("disk"), 0755);
        if (geteuid() != 0 || mount("tmpfs", at("disk"), "tmpfs", 0, "size=1m") < 0) {
                printf("SKIP read_only_disk: cannot mount a tmpfs\n");
                return;
        }
        ASSERT_OK(store_open(at("disk/store"), INSTANCE, false, &ro, &err));
        ASSERT_OK(tree_put(ro, REPO_MODEL, "a/b", SHA, "{}", 2));
        ro = store_close(ro);
        ASSERT_OK(mount("tmpfs", at("disk"), "tmpfs", MS_REMOUNT | MS_RDONLY, NULL));
        ck_assert_int_eq(store_open(at("disk/store"), INSTANCE, false, &ro, &err), -EROFS);
        ck_assert_ptr_nonnull(strstr(err.text, "--read-only-store"));
        ASSERT_OK(store_open(at("disk/store"), INSTANCE, true, &ro, &err));
        ASSERT_OK(store_tree_open(ro, REPO_MODEL, "a/b", SHA, &fd, &size));
        close(fd);
        store_close(ro);
        umount2(at("disk"), MNT_DETACH);
}
END_TEST

START_TEST(disk_full)
{
        struct store *small = NULL;
        struct errmsg err = {};
        static char big[1 << 20];
        int r;

        mkdir(at("small"), 0755);
        if (geteuid() != 0 || mount("tmpfs", at("small"), "tmpfs", 0, "size=128k") < 0) {
                printf("SKIP disk_full: cannot mount a tmpfs\n");
                return;
        }
        ASSERT_OK(store_open(at("small/store"), INSTANCE, false, &small, &err));
        r = tree_put(small, REPO_MODEL, "a/b", SHA, big, sizeof(big));
        ck_assert_int_eq(r, -ENOSPC);
        ck_assert(!exists(at("small/store/hub/models--a--b/trees/" SHA ".json")));
        ck_assert_int_eq(count_leftovers(), 0);
        ASSERT_OK(tree_put(small, REPO_MODEL, "a/b", SHA, big, 1024));
        store_close(small);
        umount2(at("small"), MNT_DETACH);
}
END_TEST

/* As on a kernel, or in a container, without openat2(2). Each test has a process of its own. */
static void setup_old_kernel(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

        ASSERT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        ASSERT_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
        ck_assert_int_eq(syscall(SYS_openat2, -1, "x", NULL, 0), -1);
        ck_assert_int_eq(errno, ENOSYS);
        setup();
}

int main(void)
{
        Suite *suite = suite_create("index/store");
        TCase *t = tcase_create("store"), *old = tcase_create("without openat2");

        tcase_add_checked_fixture(old, setup_old_kernel, teardown);
        tcase_add_test(old, opening_fails);
        tcase_add_test(old, publishing);
        tcase_add_test(old, links_lead_nowhere);
        tcase_add_test(old, shared_blobs);
        tcase_add_test(old, shared_blob_without_its_folder);
        tcase_add_test(old, links);
        tcase_add_test(old, refs);
        tcase_add_test(old, aliases);
        if (getenv("CK_FORK") == NULL) /* "no": the filter would stay for all tests */
                suite_add_tcase(suite, old);

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, opening);
        tcase_add_test(t, opening_fails);
        tcase_add_test(t, publishing);
        tcase_add_test(t, publishing_over);
        tcase_add_test(t, links_lead_nowhere);
        tcase_add_test(t, shared_is_the_open_file);
        tcase_add_test(t, shared_blobs);
        tcase_add_test(t, shared_blob_without_its_folder);
        tcase_add_test(t, quarantine);
        tcase_add_test(t, links);
        tcase_add_test(t, refs);
        tcase_add_test(t, trees);
        tcase_add_test(t, aliases);
        tcase_add_test(t, read_only);
        tcase_add_test(t, stale_names);
        tcase_add_test(t, every_failure);
        tcase_add_test(t, read_only_disk);
        tcase_add_test(t, disk_full);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
