/*
 * Tests of index/blob_fill.c and index/blob_begun.c: what is held after a restart, and on a full disk.
 */
#include "blobs.h"
#include "index/extent.h"

#include <sys/mount.h>

/* B1: what counts after kill -9 (the map as it lies there), and after a reboot. */
START_TEST(restarts)
{
        struct blob *b = open_blob(etag, SIZE);
        struct rangeset all = {}, synced = {}, none = {};
        struct extent_map m;
        struct extent_draft d;

        fill(b, 0, 1000);
        ASSERT_OK(blob_sync(b));
        ASSERT_OK(blob_sync(b));
        fill(b, 5000, 6000);
        ck_assert(!blob_sync_due(b));
        extent_init(&m, ix.store, "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb", etag, SIZE);
        ASSERT_OK(extent_load(&m, &all, &synced)); /* as after a reboot now */
        ck_assert_uint_eq(all.total, 1000);
        rangeset_done(&all);
        rangeset_done(&synced);
        strcpy(m.repo, "models/a/one");
        blob_unref(b);
        index_restart(); /* closing syncs */
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), 2000);
        check_bytes(b, 5000, 6000);
        blob_unref(b);
        index_close(&ix);

        ck_assert(exists(partial(".map"))); /* the map of another boot, with one synced range */
        index_start();
        ASSERT_OK(rangeset_add(&synced, 0, 1000));
        ASSERT_OK(rangeset_add(&all, 5000, 7000));
        m.store = ix.store;
        ASSERT_OK(extent_begin(&m, &synced, false, &d));
        ASSERT_OK(extent_commit(&m, &d, &all));
        extent_done(&m);
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), 1000);
        check_bytes(b, 0, 1000);
        fill(b, 500, SIZE); /* and it goes on from there */
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
        rangeset_done(&all);
        rangeset_done(&synced);
        rangeset_done(&none);
}
END_TEST

/* B3: without its map, or with another size, data are nothing. */
START_TEST(maps_that_do_not_fit)
{
        struct blob *b = open_blob(etag, SIZE);

        fill(b, 0, 1000);
        blob_unref(b);
        index_close(&ix);
        ASSERT_OK(unlink(partial(".map")));
        index_start();
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        fill(b, 5, 1000);
        blob_unref(b);
        index_close(&ix);
        ASSERT_OK(truncate(partial(""), SIZE - 1));
        index_start();
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
}
END_TEST

/* Of all that is being filled, what somebody began. */
START_TEST(begun)
{
        const struct listed_file cut = { "cut.bin", etag, SIZE - 1 };
        struct blob_row *rows = NULL;
        struct blob *b, *small, *whole;
        size_t count = 9;

        ASSERT_OK(blobs_begun(ix.blobs, &rows, &count));
        ck_assert_uint_eq(count, 0);
        free(rows);
        add_commit(repo_a, COMMIT_B, &cut, 1); /* the same etag in another size */
        small = open_blob(small_etag, 6);
        ASSERT_OK(blob_write(small, "he", 2, 0));
        b = open_blob(etag, SIZE);
        fill(b, 0, 10);
        whole = open_blob(empty_etag, 0);
        ASSERT_OK(blob_finish(whole, NULL));
        put_text(partial(".odd"), "no blob's");
        ASSERT_OK(blobs_begun(ix.blobs, &rows, &count));
        ck_assert_uint_eq(count, 3);
        ck_assert_int_eq(rows[0].id, blob_id(b));
        ck_assert_str_eq(rows[0].etag, etag);
        ck_assert_int_eq(rows[1].id, blob_id(small));
        ck_assert_uint_eq(rows[2].size, SIZE - 1);
        free(rows);
        blob_unref(small);
        blob_unref(b);
        blob_unref(whole);
}
END_TEST

START_TEST(disk_full)
{
        struct index_options o = { .store = at("small/store"), .state = at("state") };
        struct blob *b;
        uint64_t held;
        int r = 0;

        index_close(&ix);
        mkdir(at("small"), 0755);
        if (geteuid() != 0 || mount("tmpfs", at("small"), "tmpfs", 0, "size=256k") < 0) {
                printf("SKIP disk_full: cannot mount a tmpfs\n");
                index_start();
                return;
        }
        ASSERT_OK(index_open(&o, &ix, NULL));
        b = open_blob(etag, SIZE);
        for (uint64_t i = 0; i < SIZE && r == 0; i += 10000)
                r = blob_write(b, data + i, 10000, i);
        ck_assert_int_eq(r, -ENOSPC);
        held = blob_held_bytes(b);
        ck_assert_uint_gt(held, 0);
        check_bytes(b, 0, held); /* nothing lost */
        ASSERT_OK(mount("tmpfs", at("small"), "tmpfs", MS_REMOUNT, "size=2m"));
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        check_bytes(b, 0, SIZE);
        blob_unref(b);
        index_close(&ix);
        umount2(at("small"), MNT_DETACH);
        index_start();
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob_fill");
        TCase *t = tcase_create("blob_fill");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_set_timeout(t, 110);
        tcase_add_test(t, restarts);
        tcase_add_test(t, maps_that_do_not_fit);
        tcase_add_test(t, begun);
        tcase_add_test(t, disk_full);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
