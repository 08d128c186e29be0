/*
 * Tests of index/blob_place.c: in all places a blob has the file that was hashed, or one that was hashed too.
 */
#include "blobs.h"

#include "base/fault.h"

#include <sched.h>
#include <sys/mount.h>

#define COMMIT_C "3333333333333333333333333333333333333333"

static const char *in_a(void)
{
        return hub("models--a--one", etag);
}

static const char *in_b(void)
{
        return hub("datasets--b--two", etag);
}

static const char *in_c(void)
{
        return hub("models--c--three", etag);
}

/* As a tool that writes anew leaves it: another file, of the right size. */
static void put_wrong(const char *path)
{
        char *wrong = malloc(SIZE);

        memcpy(wrong, data, SIZE);
        wrong[77] ^= 1;
        unlink(path);
        put_file(path, wrong, SIZE);
        free(wrong);
}

static bool is_right(const char *path)
{
        char *buf = malloc(SIZE + 1);
        bool right = get_file(path, buf, SIZE + 1) == SIZE && memcmp(buf, data, SIZE) == 0;

        free(buf);
        return right;
}

static bool same_file(const char *one, const char *other)
{
        struct stat a, b;

        return stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_ino == b.st_ino;
}

static struct blob *complete(void)
{
        struct blob *b = open_blob(etag, SIZE);

        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        return b;
}

/* A third repo comes to list the large blob. */
static void list_once_more(void)
{
        add_commit(add_repo(REPO_MODEL, "c/three"), COMMIT_C,
                   &(struct listed_file){ .path = "late", .etag = etag, .size = SIZE }, 1);
}

/* What is hashed is the file that is open; another has its name by then. */
START_TEST(replaced_while_it_is_hashed)
{
        struct blob *b;
        uint32_t before;

        put_file(in_a(), data, SIZE);
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        before = blob_incarnation(b);
        put_wrong(in_a());
        ck_assert_int_eq(blob_verify_adopted(b, NULL), -ENODATA);
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED); /* that one, not looked at yet */
        ck_assert_uint_eq(blob_incarnation(b), before + 2);
        ck_assert(!exists(in_b()));
        ck_assert_int_eq(blob_verify_adopted(b, NULL), BLOB_E_HASH);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert(!exists(in_a()) && !exists(in_b()));
        blob_unref(b);
}
END_TEST

/* An adopted blob whose repos have files of their own: each is hashed before it is complete. */
START_TEST(two_files_of_one_blob)
{
        struct blob *b;

        put_file(_i == 0 ? in_b() : in_a(), data, SIZE);
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        put_wrong(_i == 0 ? in_a() : in_b());
        ASSERT_OK(blob_verify_adopted(b, NULL));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        check_whole();
        ck_assert(same_file(in_a(), in_b()));
        blob_unref(b);
}
END_TEST

START_TEST(two_right_files)
{
        struct blob *b;

        put_file(in_a(), data, SIZE);
        put_file(in_b(), data, SIZE);
        b = open_blob(etag, SIZE);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        check_whole();
        ck_assert(!same_file(in_a(), in_b())); /* neither was touched */
        blob_unref(b);
}
END_TEST

/* Bytes that this process has read so far, from whatever file. */
static long bytes_read(void)
{
        char text[256] = "";
        long n = 0;

        ck_assert_int_gt(get_file("/proc/self/io", text, sizeof(text) - 1), 0);
        ck_assert_int_eq(sscanf(text, "rchar: %ld", &n), 1);
        return n;
}

/* L2 */
START_TEST(hashed_once)
{
        struct blob *b;
        long before;

        put_file(in_a(), data, SIZE);
        put_file(in_b(), data, SIZE);
        b = open_blob(etag, SIZE);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        before = bytes_read();
        for (int i = 0; i < 3; i++)
                ASSERT_OK(blob_link_places(b, NULL));
        ck_assert_int_lt(bytes_read() - before, SIZE);
        before = bytes_read();
        put_wrong(in_b());
        ASSERT_OK(blob_link_places(b, NULL));
        ck_assert_int_ge(bytes_read() - before, SIZE);
        ck_assert(same_file(in_a(), in_b()));
        ck_assert(is_right(in_a()));
        blob_unref(b);
}
END_TEST

/* What was found right and is written to afterwards, in place, is looked at again. */
START_TEST(hashed_again)
{
        CLEANUP_FD int fd = -1;
        struct blob *b;

        put_file(in_a(), data, SIZE);
        put_file(in_b(), data, SIZE);
        b = open_blob(etag, SIZE);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        usleep(20000); /* the clock of the file system */
        fd = open(in_b(), O_WRONLY);
        ASSERT_OK(pwrite_all(fd, data[77] == '!' ? "?" : "!", 1, 77));
        ASSERT_OK(blob_link_places(b, NULL));
        ck_assert(is_right(in_b()) && same_file(in_a(), in_b()));
        blob_unref(b);
}
END_TEST

/* A listing that comes later gets the verified file, whatever has its name in the first repo. */
START_TEST(late_place)
{
        struct blob *b = complete();

        put_wrong(in_a());
        list_once_more();
        ASSERT_OK(blob_link_places(b, NULL));
        ck_assert(same_file(in_c(), in_b()));
        ck_assert(is_right(in_c()));
        ck_assert(is_right(in_a())); /* and that one was looked at */
        ck_assert(exists(at("store/hub/models--c--three/snapshots/" COMMIT_C "/late")));
        blob_unref(b);
}
END_TEST

/* Where no links can be made it is a copy of the verified one. */
START_TEST(late_copy)
{
#ifndef WEIGHTFS_FAULTS
        printf("SKIP late_copy: built without fault points\n");
        return;
#endif
        struct blob *b = complete();

        list_once_more();
        setenv("WEIGHTFS_FAULT", "store.nolinks:1", 1);
        ASSERT_OK(blob_link_places(b, NULL));
        unsetenv("WEIGHTFS_FAULT");
        ck_assert(fault_fired());
        ck_assert(is_right(in_c()) && !same_file(in_c(), in_a()));
        ck_assert_int_eq(count_leftovers(), 0);
        blob_unref(b);
}
END_TEST

/* All its names are gone or somebody else's: nothing is given to others. */
START_TEST(late_place_without_a_file)
{
        struct blob *b = complete();

        if (_i == 0)
                unlink(in_a());
        else
                put_wrong(in_a());
        unlink(in_b());
        list_once_more();
        ck_assert_int_eq(blob_link_places(b, NULL), -ENOENT);
        ck_assert(!exists(in_c()));
        blob_unref(b);
}
END_TEST

/* A complete blob whose file a foreign writer has replaced is that other file, which nobody hashed. */
START_TEST(replaced_while_idle)
{
        struct blob *b = complete();
        int64_t id = blob_id(b);
        uint32_t before = blob_incarnation(b);

        blob_unref(b);
        put_wrong(in_a());
        if (_i == 0)
                unlink(in_b());
        else
                put_wrong(in_b());
        ASSERT_OK(blobs_get(ix.blobs, id, &b));
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        ck_assert_uint_eq(blob_incarnation(b), before + 2);
        ck_assert_int_eq(blob_verify_adopted(b, NULL), BLOB_E_HASH);
        ck_assert(!exists(in_a()));
        blob_unref(b);
}
END_TEST

/* With hub/ on another file system the final file is a copy, and not the one that was filled. */
START_TEST(another_file_system)
{
        struct blob *b;
        int64_t id;

        if (unshare(CLONE_NEWNS) < 0) {
                printf("SKIP another_file_system: it needs root\n");
                return;
        }
        index_close(&ix);
        ASSERT_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        ASSERT_OK(mount("none", at("store/hub"), "tmpfs", 0, NULL));
        index_start();
        b = complete();
        id = blob_id(b);
        check_whole();
        blob_unref(b);
        ASSERT_OK(blobs_get(ix.blobs, id, &b));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(blob_incarnation(b), 1);
        check_bytes(b, 0, SIZE);
        list_once_more();
        ASSERT_OK(blob_link_places(b, NULL));
        ck_assert(same_file(in_c(), in_a()));
        blob_unref(b);
        ASSERT_OK(umount2(at("store/hub"), MNT_DETACH));
}
END_TEST

/* While a name is left the blob is what it was. */
START_TEST(one_name_is_left)
{
        struct blob *b = complete();
        int64_t id = blob_id(b);
        uint32_t before = blob_incarnation(b);

        blob_unref(b);
        put_wrong(in_a());
        ASSERT_OK(blobs_get(ix.blobs, id, &b));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(blob_incarnation(b), before);
        check_bytes(b, 0, SIZE);
        blob_unref(b);
}
END_TEST

/* What others put in its place is found, and cannot be noted: it is filled, and that goes on. */
START_TEST(found_and_not_noted)
{
        struct blob *b = open_blob(etag, SIZE);
        int64_t id = blob_id(b);

#ifndef WEIGHTFS_FAULTS
        printf("SKIP found_and_not_noted: built without fault points\n");
        blob_unref(b);
        return;
#endif
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        blob_unref(b);
        ASSERT_OK(unlink(hub("models--a--one", etag)));
        ASSERT_OK(unlink(hub("datasets--b--two", etag)));
        put_file(hub("datasets--b--two", etag), data, SIZE);
        setenv("WEIGHTFS_FAULT", "catalog.begin:2", 1);
        ck_assert_int_eq(blobs_get(ix.blobs, id, &b), -EIO);
        unsetenv("WEIGHTFS_FAULT");
        ASSERT_OK(blobs_get(ix.blobs, id, &b));
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_int_eq(blob_fd(b), -ENODATA);
        fill(b, 0, SIZE);
        check_bytes(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob_place");
        TCase *t = tcase_create("blob_place");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_add_test(t, replaced_while_it_is_hashed);
        tcase_add_loop_test(t, two_files_of_one_blob, 0, 2);
        tcase_add_test(t, two_right_files);
        tcase_add_test(t, hashed_once);
        tcase_add_test(t, hashed_again);
        tcase_add_test(t, late_place);
        tcase_add_test(t, late_copy);
        tcase_add_loop_test(t, late_place_without_a_file, 0, 2);
        tcase_add_loop_test(t, replaced_while_idle, 0, 2);
        tcase_add_test(t, one_name_is_left);
        tcase_add_test(t, another_file_system);
        tcase_add_test(t, found_and_not_noted);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
