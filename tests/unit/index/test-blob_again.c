/*
 * Tests of index/blob_again.c: bytes in doubt are compared with what comes anew, and replaced.
 */
#include "blobs.h"
#include "index/blob_internal.h"

#include "base/fault.h"

#include <sys/resource.h>

/* All of the large blob, with wrong bytes at 77 and from 200000 to 200009. */
static struct blob *wrong_blob(void)
{
        struct blob *b = open_blob(etag, SIZE);
        char *bad = malloc(SIZE);

        memcpy(bad, data, SIZE);
        bad[77] ^= 1;
        for (int i = 0; i < 10; i++)
                bad[200000 + i] ^= 2;
        ASSERT_OK(blob_write(b, bad, SIZE, 0));
        free(bad);
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        return b;
}

static ino_t partial_ino(void)
{
        struct stat st;

        ASSERT_OK(stat(partial(""), &st));
        return st.st_ino;
}

START_TEST(what_differs_is_replaced_and_told)
{
        struct blob *b = wrong_blob();
        ino_t before = partial_ino();
        char wrong[ETAG_MAX + 1];
        struct blob_differs d;

        blob_wrong_hash(b, wrong);
        ck_assert_uint_eq(strlen(wrong), SHA256_HEX);
        ck_assert_str_ne(wrong, etag);
        ASSERT_OK(blob_doubt(b));
        ck_assert_uint_eq(blob_held_bytes(b), 0); /* A1 */
        ck_assert(!blob_holds(b, 0, 1));
        ck_assert_uint_eq(blob_incarnation(b), 2);
        ck_assert(partial_ino() == before);
        for (uint64_t i = 0; i < SIZE; i += 100000)
                fill(b, i, i + 100000);
        blob_get_differs(b, &d);
        ck_assert_uint_eq(d.bytes, 11);
        ck_assert_uint_eq(d.count, 2);
        ck_assert(!d.more);
        ck_assert_uint_eq(d.ranges[0].start, 77);
        ck_assert_uint_eq(d.ranges[0].end, 78);
        ck_assert_uint_eq(d.ranges[1].start, 200000);
        ck_assert_uint_eq(d.ranges[1].end, 200010);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_get_differs(b, &d); /* still told */
        ck_assert_uint_eq(d.bytes, 11);
        blob_unref(b);
}
END_TEST

/* A file that cannot be looked at for want of descriptors is not one that is gone. */
START_TEST(no_descriptors)
{
        struct blob *b = open_blob(etag, SIZE);
        int64_t id = blob_id(b);
        struct blobs *t = b->table;
        struct rlimit all, few;
        int fd;

        ASSERT_OK(blob_write(b, data, SIZE, 0));
        ASSERT_OK(blob_finish(b, NULL));
        blob_unref(b);
        ASSERT_OK(blobs_get(t, id, &b));
        ASSERT_OK(fchmod(blob_fd(b), 0640)); /* so that it is looked at again */
        ASSERT_OK(fchmod(blob_fd(b), 0644));
        blob_unref(b);
        ASSERT_OK(getrlimit(RLIMIT_NOFILE, &all));
        fd = dup(STDIN_FILENO);
        ck_assert_int_ge(fd, 0);
        close(fd);
        few = all;
        few.rlim_cur = (rlim_t)fd;
        ASSERT_OK(setrlimit(RLIMIT_NOFILE, &few));
        ck_assert_int_eq(blobs_get(t, id, &b), -EMFILE);
        ASSERT_OK(setrlimit(RLIMIT_NOFILE, &all));
        ASSERT_OK(blobs_get(t, id, &b));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(blob_held_bytes(b), SIZE);
        blob_unref(b);
}
END_TEST

/* More differences than are kept by name are still counted. */
START_TEST(many_differences)
{
        struct blob *b = open_blob(etag, SIZE);
        char *bad = malloc(SIZE);
        struct blob_differs d;

        memcpy(bad, data, SIZE);
        for (uint64_t i = 0; i < SIZE; i += 32768)
                bad[i + 5] ^= 1;
        ASSERT_OK(blob_write(b, bad, SIZE, 0));
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ASSERT_OK(blob_doubt(b));
        fill(b, 0, SIZE);
        blob_get_differs(b, &d);
        ck_assert_uint_eq(d.bytes, (SIZE + 32767) / 32768);
        ck_assert_uint_eq(d.count, BLOB_DIFFERS_MAX);
        ck_assert(d.more);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
        free(bad);
}
END_TEST

/* A1: what was doubted does not come back, neither after a proper end nor after kill -9. */
START_TEST(nothing_of_it_counts_after_a_restart)
{
        struct blob *b = wrong_blob();
        struct rangeset all = {}, synced = {};
        struct extent_map m;

        ASSERT_OK(blob_doubt(b));
        extent_init(&m, ix.store, ix.blobs->boot, etag, SIZE);
        ASSERT_OK(extent_load(&m, &all, &synced)); /* as the next process would find it */
        ck_assert_uint_eq(all.total + synced.total, 0);
        extent_done(&m);
        fill(b, 0, 1000);
        blob_unref(b);
        index_restart();
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), 1000);
        fill(b, 1000, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
        rangeset_done(&all);
        rangeset_done(&synced);
}
END_TEST

/* A file that was cut or extended is left behind. */
START_TEST(another_size)
{
        struct blob *b = wrong_blob();
        ino_t before = partial_ino();
        char wrong[ETAG_MAX + 1];

        ASSERT_OK(truncate(partial(""), _i == 0 ? SIZE - 5 : SIZE + 5));
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        blob_wrong_hash(b, wrong);
        ck_assert_str_eq(wrong, "");
        ASSERT_OK(blob_doubt(b));
        fill(b, 0, SIZE);
        ck_assert(partial_ino() != before);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
}
END_TEST

/* A2 */
START_TEST(after_a_failed_sync_all_is_written)
{
#ifndef WEIGHTFS_FAULTS
        printf("SKIP after_a_failed_sync_all_is_written: built without fault points\n");
        return;
#endif
        struct blob *b = wrong_blob();
        struct blob_differs d;
        bool failed = false;

        ASSERT_OK(blob_doubt(b));
        fill(b, 0, 50);
        for (uint64_t nth = 1; nth < 10 && !failed; nth++) { /* the first site is that of the data */
                fault_arm(nth);
                failed = blob_sync(b) < 0;
                fault_arm(0);
        }
        ck_assert(failed);
        ck_assert(!b->doubt.on);
        fill(b, 0, SIZE);
        blob_get_differs(b, &d);
        ck_assert_uint_eq(d.bytes, 0);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
}
END_TEST

START_TEST(wrong_twice)
{
        struct blob *b = wrong_blob();
        char *bad = calloc(1, SIZE);

        ASSERT_OK(blob_doubt(b));
        ASSERT_OK(blob_write(b, bad, SIZE, 0));
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ASSERT_OK(blob_quarantine(b));
        ck_assert_int_eq(blob_state(b), BLOB_QUARANTINED);
        ck_assert(!exists(partial("")));
        ASSERT_OK(blob_readmit(b));
        fill(b, 0, SIZE); /* into a new file: nothing to compare with */
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
        free(bad);
}
END_TEST

/* Every failure in turn, from the doubt on: what is held is right, and it can be completed. */
START_TEST(every_failure)
{
#ifndef WEIGHTFS_FAULTS
        printf("SKIP every_failure: built without fault points\n");
        return;
#endif
        for (uint64_t nth = 1;; nth++) {
                struct blob *b = wrong_blob();
                bool fired;
                int r;

                fault_arm(nth);
                r = blob_doubt(b);
                if (r == 0)
                        r = blob_write(b, data, SIZE / 2, 0);
                if (r == 0)
                        r = blob_sync(b);
                fired = fault_fired();
                fault_arm(0);
                ck_assert(r == 0 || fired);
                if (r == 0)
                        check_bytes(b, 0, SIZE / 2);
                ASSERT_OK(blob_doubt(b));
                blob_unref(b);
                if (nth % 2)
                        index_restart();
                b = open_blob(etag, SIZE);
                fill(b, 0, SIZE);
                ASSERT_OK(blob_finish(b, NULL));
                check_whole();
                blob_unref(b);
                index_teardown();
                setup();
                if (!fired)
                        break;
                ck_assert_uint_lt(nth, 1000);
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob_again");
        TCase *t = tcase_create("blob_again");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_set_timeout(t, 100);
        tcase_add_test(t, what_differs_is_replaced_and_told);
        tcase_add_test(t, no_descriptors);
        tcase_add_test(t, many_differences);
        tcase_add_test(t, nothing_of_it_counts_after_a_restart);
        tcase_add_loop_test(t, another_size, 0, 2);
        tcase_add_test(t, after_a_failed_sync_all_is_written);
        tcase_add_test(t, wrong_twice);
        tcase_add_test(t, every_failure);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
