/*
 * Tests of index/blob_reject.c: a complete file that was written to after it was verified is not believed (T3).
 */
#include "index/hash.h"

#include "blobs.h"

#include "base/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *file(void)
{
        return hub("models--a--one", etag);
}

/* The large blob is complete, by the catalogue since @ago seconds. */
static void complete(int64_t ago)
{
        struct blob *b = open_blob(etag, SIZE);
        int64_t id = blob_id(b);

        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        blob_unref(b);
        ASSERT_OK(catalog_blobs_verified(ix.catalog, &id, 1, clock_wall_s() - ago));
}

/* The file was written to that many seconds ago. */
static void written(int64_t ago)
{
        const struct timespec times[] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = clock_wall_s() - ago } };

        ck_assert_int_eq(utimensat(AT_FDCWD, file(), times, 0), 0);
}

static void check_state(enum blob_state state)
{
        struct blob *b = open_blob(etag, SIZE);

        ck_assert_int_eq(blob_state(b), state);
        ck_assert_int_eq(row_of(etag, SIZE).state, state);
        blob_unref(b);
}

START_TEST(what_was_written_to_is_verified_once)
{
        uint32_t incarnation;
        struct blob *b;

        complete(100);
        written(100);
        check_state(BLOB_COMPLETE);
        incarnation = row_of(etag, SIZE).incarnation;
        written(50);
        if (_i == 1)
                index_restart();
        check_state(BLOB_ADOPTED);
        b = open_blob(etag, SIZE);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        blob_unref(b);
        ck_assert_int_ge(row_of(etag, SIZE).verified, clock_wall_s() - 30);
        ck_assert_uint_eq(row_of(etag, SIZE).incarnation, incarnation); /* the same bytes */
        check_state(BLOB_COMPLETE);
        index_restart();
        check_state(BLOB_COMPLETE);
}
END_TEST

START_TEST(times_that_say_nothing)
{
        complete(100);
        written(101);
        check_state(BLOB_COMPLETE);
        written(-1000); /* of another clock */
        if (_i == 1)
                index_restart();
        check_state(BLOB_COMPLETE);
}
END_TEST

/* ---- written to while it is hashed ---- */

#define LARGE (UINT64_C(192) << 20)

static struct {
        int fd;
        atomic_bool end;
} writer;

static void *write_on(void *arg)
{
        for (; !writer.end; usleep(1000))
                ck_assert_int_eq(pwrite(writer.fd, "", 1, 0), 1);
        return arg;
}

/* A file of zeros that somebody else put into the store. */
static struct blob *foreign(void)
{
        struct listed_file f = { "zeros", etag, LARGE };
        CLEANUP_FD int fd = open(at("zeros"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        char hex[ETAG_MAX + 1];
        int64_t id;

        ck_assert_int_eq(ftruncate(fd, LARGE), 0);
        ASSERT_OK(hash_file_hex(fd, etag, LARGE, NULL, hex));
        strcpy(etag, hex);
        add_commit(repo_a, COMMIT_B, &f, 1);
        make_parents(file());
        ck_assert_int_eq(rename(at("zeros"), file()), 0);
        id = row_of(etag, LARGE).id;
        ASSERT_OK(catalog_blobs_adopt(ix.catalog, &id, 1));
        return open_blob(etag, LARGE);
}

/* What was read before is not what is there then, and the file's time would not tell later. */
START_TEST(nothing_is_believed_that_is_written_to_meanwhile)
{
        struct blob *b = foreign();
        pthread_t thread;

        writer.fd = open(file(), O_RDWR | O_CLOEXEC);
        ck_assert_int_ge(writer.fd, 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, write_on, NULL), 0);
        ck_assert_int_eq(blob_verify_adopted(b, NULL), -EBUSY);
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        writer.end = true;
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        close(writer.fd);
        blob_unref(b);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob_reject");
        TCase *t = tcase_create("blob_reject");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_add_loop_test(t, what_was_written_to_is_verified_once, 0, 2);
        tcase_add_loop_test(t, times_that_say_nothing, 0, 2);
        tcase_add_test(t, nothing_is_believed_that_is_written_to_meanwhile);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
