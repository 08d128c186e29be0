/*
 * Tests of index/blob_finish.c: completion, wrong hashes, adoption, every failure in turn, kill -9.
 */
#include "blobs.h"

#include "base/fault.h"

#include <signal.h>
#include <sys/wait.h>

START_TEST(wrong_hash)
{
        struct blob *b = open_blob(etag, SIZE);
        char wrong = (char)(data[77] + 1);

        fill(b, 0, 77);
        ASSERT_OK(blob_write(b, &wrong, 1, 77));
        fill(b, 78, SIZE);
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert(!exists(hub("models--a--one", etag)));
        ASSERT_OK(blob_drop(b, 50, 100));
        ck_assert_uint_eq(blob_held_bytes(b), SIZE - 50);
        blob_unref(b);
        index_restart(); /* what was dropped does not come back */
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), SIZE - 50);
        fill(b, 50, 100);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
}
END_TEST

START_TEST(quarantined)
{
        struct blob *b = open_blob(etag, SIZE);
        char *zeros = calloc(1, SIZE);

        ASSERT_OK(blob_write(b, zeros, SIZE, 0));
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ASSERT_OK(blob_drop(b, 0, UINT64_MAX));
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        ck_assert_uint_eq(blob_incarnation(b), 2); /* what was wrong may be cached under the old one */
        ck_assert(!exists(partial("")));
        ASSERT_OK(blob_write(b, zeros, SIZE, 0));
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ASSERT_OK(blob_quarantine(b));
        ck_assert_int_eq(blob_state(b), BLOB_QUARANTINED);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        ck_assert_uint_eq(blob_incarnation(b), 4);
        ck_assert_uint_eq(row_of(etag, SIZE).incarnation, 4);
        ck_assert(!exists(partial("")) && !exists(partial(".map")));
        ck_assert_uint_eq(row_of(etag, SIZE).state, BLOB_QUARANTINED);
        fill(b, 0, SIZE); /* a third try is the caller's choice */
        ASSERT_OK(blob_finish(b, NULL));
        ck_assert_int_eq(blob_quarantine(b), -EINVAL);
        check_whole();
        blob_unref(b);
        free(zeros);
}
END_TEST

/* A foreign writer has put something under the final name meanwhile. */
START_TEST(foreign_writer)
{
        struct blob *b = open_blob(etag, SIZE);
        char *bad = calloc(1, SIZE);
        struct stat st;

        fill(b, 0, SIZE);
        put_file(hub("models--a--one", etag), bad, SIZE);
        put_file(hub("datasets--b--two", etag), data, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        ASSERT_OK(stat(hub("datasets--b--two", etag), &st));
        ck_assert_uint_eq(st.st_nlink, 1); /* a good one is kept */
        blob_unref(b);
        free(bad);
}
END_TEST

START_TEST(adopted)
{
        struct blob *b, *other;
        char *bad = calloc(1, SIZE);

        put_file(hub("models--a--one", etag), data, SIZE);
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        check_bytes(b, 0, SIZE);
        ck_assert_int_eq(blob_verify_adopted(b, &cancelled), -ECANCELED);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        ck_assert_uint_eq(blob_incarnation(b), 1);
        check_whole(); /* its links were made too */
        ASSERT_OK(blob_link_places(b, NULL));
        check_whole();
        blob_unref(b);

        put_text(hub("models--a--one", small_etag), "wrong!");
        other = open_blob(small_etag, 6);
        ck_assert_int_eq(blob_state(other), BLOB_ADOPTED);
        ck_assert_int_eq(blob_verify_adopted(other, NULL), BLOB_E_HASH);
        ck_assert_int_eq(blob_state(other), BLOB_FILLING);
        ck_assert_uint_eq(blob_held_bytes(other), 0);
        ck_assert(!exists(hub("models--a--one", small_etag)));
        ASSERT_OK(blob_write(other, "hello\n", 6, 0));
        ASSERT_OK(blob_finish(other, NULL));
        blob_unref(other);
        free(bad);
}
END_TEST

/* The final file appears while a struct blob is filling, and adoption tells the catalogue. */
START_TEST(adopted_while_filling)
{
        struct blob *b = open_blob(etag, SIZE), *again;
        struct blob_row row;

        fill(b, 0, 1000);
        put_file(hub("models--a--one", etag), data, SIZE);
        ASSERT_OK(catalog_blob_set_state(ix.catalog, blob_id(b), BLOB_ADOPTED, &row));
        ASSERT_OK(blobs_get(ix.blobs, blob_id(b), &again));
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        check_bytes(b, 0, SIZE);
        ASSERT_OK(blob_write(b, "x", 1, 5000)); /* too late, and harmless */
        check_bytes(b, 0, SIZE);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        ck_assert(!exists(partial("")));
        blob_unref(again);
        blob_unref(b);
}
END_TEST

START_TEST(read_only)
{
        struct index_options o = { .store = at("store"), .state = at("state"), .read_only_store = true };
        struct blob *b;

        put_file(hub("models--a--one", etag), data, SIZE - 1);
        put_text(hub("models--a--one", small_etag), "wrong!");
        index_close(&ix);
        ASSERT_OK(index_open(&o, &ix, NULL));
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING); /* not its size */
        ck_assert_int_eq(blob_write(b, data, 1, 0), -EROFS);
        blob_unref(b);
        b = open_blob(small_etag, 6);
        ck_assert_int_eq(blob_verify_adopted(b, NULL), BLOB_E_HASH);
        ck_assert_int_eq(blob_state(b), BLOB_QUARANTINED);
        blob_unref(b);
        index_close(&ix);
        ASSERT_OK(index_open(&o, &ix, NULL));
        b = open_blob(small_etag, 6);
        ck_assert_int_eq(blob_state(b), BLOB_QUARANTINED); /* and it stays out of sight */
        ck_assert(!blob_holds(b, 0, 1));
        blob_unref(b);
}
END_TEST

/* ---- failures ---- */

/* One life, as far as it gets. */
static int live(void)
{
        struct blob *b = NULL;
        int r = blobs_get(ix.blobs, row_of(etag, SIZE).id, &b);

        for (uint64_t i = 0; i < SIZE && r == 0; i += 100000)
                r = blob_write(b, data + i, 100000, i);
        if (r == 0)
                r = blob_sync(b);
        if (r == 0)
                r = blob_drop(b, 10, 20);
        if (r == 0)
                r = blob_write(b, data, 30, 0);
        if (r == 0)
                r = blob_finish(b, NULL);
        if (r == 0)
                r = blob_link_places(b, NULL);
        blob_unref(b);
        return r;
}

/* S1, B2, B1: final names have their content, whole means complete, held bytes are right. */
static void check_invariants(void)
{
        static const char *const repos[] = { "models--a--one", "datasets--b--two" };
        char *buf = malloc(SIZE + 1);
        struct blob *b;
        bool published = false;

        for (size_t i = 0; i < 2; i++) {
                ssize_t n = get_file(hub(repos[i], etag), buf, SIZE + 1);

                ck_assert(n == -1 || (n == SIZE && memcmp(buf, data, SIZE) == 0));
                published |= n == SIZE;
        }
        free(buf);
        b = open_blob(etag, SIZE);
        if (blob_state_whole(blob_state(b)))
                ck_assert(published);
        for (uint64_t at_ = 0; at_ < SIZE;) {
                uint64_t end = min_u64(blob_run_end(b, at_), SIZE);

                if (end > at_)
                        check_bytes(b, at_, end);
                at_ = end > at_ ? end : at_ + 1;
        }
        blob_unref(b);
}

static void retry_succeeds(void)
{
        struct blob *b = open_blob(etag, SIZE);

        fill(b, 0, SIZE);
        ASSERT_OK(blob_state(b) == BLOB_ADOPTED ? blob_verify_adopted(b, NULL) : blob_finish(b, NULL));
        ASSERT_OK(blob_link_places(b, NULL));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        blob_unref(b);
        index_restart(); /* what a failure at the very end left is removed at the next opening */
        blob_unref(open_blob(etag, SIZE));
        check_whole();
        ck_assert(!exists(partial("")) && !exists(partial(".map")));
        ck_assert_int_eq(count_leftovers(), 0);
}

START_TEST(every_failure)
{
#ifndef WEIGHTFS_FAULTS
        printf("SKIP every_failure: built without fault points\n");
        return;
#endif
        for (uint64_t nth = 1;; nth++) {
                fault_arm(nth);
                (void)live();
                if (!fault_fired())
                        break;
                fault_arm(0);
                if (nth % 2)
                        index_restart();
                check_invariants();
                retry_succeeds();
                index_teardown();
                setup();
        }
        ck_assert_uint_gt(fault_passes(), 20);
        fault_arm(0);
        check_whole();
}
END_TEST

/* A crash between the final name and the row: the catalogue follows at the next start, unasked. */
START_TEST(named_but_not_noted)
{
        struct blob *b;

#ifndef WEIGHTFS_FAULTS
        printf("SKIP named_but_not_noted: built without fault points\n");
        return;
#endif
        b = open_blob(etag, SIZE);
        fill(b, 0, SIZE);
        setenv("WEIGHTFS_FAULT", "blob.state:1", 1);
        ck_assert_int_eq(blob_finish(b, NULL), -EIO);
        unsetenv("WEIGHTFS_FAULT");
        blob_unref(b);
        unlink(at("store/hub/models--a--one/snapshots/" COMMIT_A "/same.bin")); /* nor had all links been made */
        index_restart();
        ck_assert_int_eq(row_of(etag, SIZE).state, BLOB_FILLING);
        ASSERT_OK(blobs_settle_begun(ix.blobs));
        ck_assert_int_eq(row_of(etag, SIZE).state, BLOB_ADOPTED);
        b = open_blob(etag, SIZE);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        blob_unref(b);
        check_whole();
        ck_assert(!exists(partial("")) && !exists(partial(".map")));
}
END_TEST

/* One that cannot be looked at keeps no other from it. */
START_TEST(one_cannot_be_settled)
{
        struct blob *b[2];

#ifndef WEIGHTFS_FAULTS
        printf("SKIP one_cannot_be_settled: built without fault points\n");
        return;
#endif
        b[0] = open_blob(etag, SIZE);
        b[1] = open_blob(small_etag, 6);
        fill(b[0], 0, SIZE);
        ASSERT_OK(blob_write(b[1], "hello\n", 6, 0));
        for (int i = 0; i < 2; i++) {
                setenv("WEIGHTFS_FAULT", i ? "blob.state:2" : "blob.state:1", 1);
                ck_assert_int_eq(blob_finish(b[i], NULL), -EIO);
                unsetenv("WEIGHTFS_FAULT");
                blob_unref(b[i]);
        }
        index_restart();
        setenv("WEIGHTFS_FAULT", "catalog.begin:3", 1);
        ck_assert_int_eq(blobs_settle_begun(ix.blobs), -EIO);
        unsetenv("WEIGHTFS_FAULT");
        ck_assert_int_eq(row_of(etag, SIZE).state, BLOB_FILLING);
        ck_assert_int_eq(row_of(small_etag, 6).state, BLOB_ADOPTED);
        ASSERT_OK(blobs_settle_begun(ix.blobs));
        ck_assert_int_eq(row_of(etag, SIZE).state, BLOB_ADOPTED);
}
END_TEST

/* A crash after the row: what is left goes at the next start, though nobody opens the blob. */
START_TEST(noted_but_not_removed)
{
        struct blob *b;

#ifndef WEIGHTFS_FAULTS
        printf("SKIP noted_but_not_removed: built without fault points\n");
        return;
#endif
        b = open_blob(etag, SIZE);
        fill(b, 0, SIZE);
        setenv("WEIGHTFS_FAULT", "blob.unlink:1", 1);
        ASSERT_OK(blob_finish(b, NULL));
        unsetenv("WEIGHTFS_FAULT");
        blob_unref(b);
        index_restart();
        ck_assert(exists(partial("")) && exists(partial(".map")));
        ASSERT_OK(blobs_settle_begun(ix.blobs));
        ck_assert(!exists(partial("")) && !exists(partial(".map")));
        check_whole();
}
END_TEST

/* kill -9 at any moment. */
START_TEST(killed)
{
        const struct timespec moment = { .tv_nsec = 1 };

        for (int i = 0; i < 30; i++) {
                struct timespec wait = moment;
                pid_t pid;

                index_close(&ix);
                pid = fork();
                if (pid == 0) {
                        index_start();
                        for (;;) {
                                struct blob *b;

                                (void)live();
                                b = open_blob(etag, SIZE); /* and over again */
                                if (blob_state(b) == BLOB_ADOPTED)
                                        (void)blob_verify_adopted(b, NULL);
                                blob_unref(b);
                                unlink(hub("models--a--one", etag));
                                unlink(hub("datasets--b--two", etag));
                        }
                }
                wait.tv_nsec = (rand() % 60) * 1000000L + 1;
                nanosleep(&wait, NULL);
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
                index_start();
                check_invariants();
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob_finish");
        TCase *t = tcase_create("blob_finish");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_set_timeout(t, 110);
        tcase_add_test(t, wrong_hash);
        tcase_add_test(t, quarantined);
        tcase_add_test(t, named_but_not_noted);
        tcase_add_test(t, one_cannot_be_settled);
        tcase_add_test(t, noted_but_not_removed);
        tcase_add_test(t, foreign_writer);
        tcase_add_test(t, adopted);
        tcase_add_test(t, adopted_while_filling);
        tcase_add_test(t, read_only);
        tcase_add_test(t, every_failure);
        tcase_add_test(t, killed);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
