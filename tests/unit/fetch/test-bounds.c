/*
 * fetch/fill_bounds.c: space that is kept free. What a repo brings in an hour: test-bounds-hour.c.
 */
#include "blobs.h"

#include "fetch/fill_internal.h"

#include <sys/statvfs.h>

#define MB (UINT64_C(1) << 20)
#define KEEP (50 * MB)

static _Atomic uint64_t fs_free = 1000 * MB, fs_size = 10000 * MB;
static _Atomic uint64_t fs_free_then; /* after the next look at it; 0: as before */
static atomic_uint fs_looks;

/* In place of the C library's: a file system of which the test says how full it is. */
int fstatvfs(int fd, struct statvfs *ret)
{
        uint64_t then;

        (void)fd;
        *ret = (struct statvfs){ .f_bsize = 1, .f_frsize = 1, .f_blocks = fs_size };
        ret->f_bfree = ret->f_bavail = fs_free;
        fs_looks++;
        then = atomic_exchange(&fs_free_then, 0);
        if (then > 0)
                fs_free = then;
        return 0;
}

static void start(uint64_t keep, uint64_t max_fetch, enum fetch_complete complete)
{
        options.keep_free = (struct fetch_keep){ .percent = 100, .bytes = keep };
        options.max_fetch = max_fetch;
        options.complete = complete;
        fs_free = 1000 * MB;
        fs_size = 10000 * MB;
        fs_free_then = 0;
        reopen();
}

/* ---- space ---- */

START_TEST(below_the_kept_nothing_is_begun)
{
        struct fetch_status st;
        struct blob *b, *other;

        start(KEEP, 0, COMPLETE_NEVER);
        b = get_blob(0);
        other = get_blob(2);
        ck_assert_int_eq(do_open(b), 0);
        ck_assert_int_eq(do_read(b, 0, 4096), 0);
        fs_free = KEEP - 1;
        usleep(300000); /* the filler looks five times a second at most */
        ck_assert_int_eq(do_read(b, 0, 4096), 0); /* what is held goes on */
        ck_assert_int_eq(do_read(b, 8 * MB, 8 * MB + 1), 0); /* and who has it open: an error could kill him */
        ck_assert_int_eq(do_open(b), -ENOSPC);
        ck_assert_int_eq(do_whole(b), -ENOSPC);
        ck_assert_uint_eq(fetch_room(fetch), 0);
        fetch_get_status(fetch, &st);
        ck_assert(st.short_of_space);
        ck_assert_uint_eq(st.keep_free, KEEP);
        fs_free = 1000 * MB;
        ck_assert_int_eq(do_open(b), 0); /* it heals by itself */
        ck_assert_int_eq(do_whole(other), 0);
        fetch_get_status(fetch, &st);
        ck_assert(!st.short_of_space);
        blob_unref(b);
        blob_unref(other);
}
END_TEST

START_TEST(what_does_not_fit_above_the_kept_is_not_opened)
{
        struct blob *b, *small;

        start(KEEP, 0, COMPLETE_NEVER);
        b = get_blob(0);
        small = get_blob(1);
        fs_free = KEEP + fake.files[0].size - 1;
        ck_assert_int_eq(do_open(b), -ENOSPC);
        ck_assert_int_eq(do_whole(b), -ENOSPC);
        ck_assert_int_eq(do_open(small), 0);
        fs_free = KEEP + fake.files[0].size;
        ck_assert_int_eq(do_open(b), 0);
        blob_unref(b);
        blob_unref(small);
}
END_TEST

START_TEST(what_nobody_waits_for_stops_first)
{
        struct blob *b, *along;

        start(KEEP, 0, COMPLETE_TOUCHED);
        b = get_blob(0);
        along = get_blob(2);
        fs_free = 2 * KEEP - 1;
        ck_assert_int_eq(do_read(b, 0, 4096), 0);
        usleep(500000);
        ck_assert_uint_lt(blob_held_bytes(b), fake.files[0].size);
        ck_assert_uint_eq(blob_held_bytes(along), 0);
        ck_assert_int_eq(do_read(b, 8 * MB, 8 * MB + 1), 0);
        ck_assert_int_eq(do_whole(along), 0); /* somebody waits for it now */
        fs_free = 1000 * MB;
        await_complete(b); /* it goes on by itself */
        blob_unref(b);
        blob_unref(along);
}
END_TEST

/* Something waits for space all the time, and nothing is busy with that. */
START_TEST(a_full_store_is_looked_at_now_and_then)
{
        struct blob *b;
        uint64_t began;

        start(KEEP, 0, COMPLETE_TOUCHED);
        b = get_blob(0);
        fs_free = 2 * KEEP - 1;
        ck_assert_int_eq(do_read(b, 0, 4096), 0);
        fs_free = KEEP - 1;
        usleep(300000);
        ck_assert_int_eq(do_whole(b), -ENOSPC);
        began = clock_ms();
        fs_looks = 0;
        usleep(3000000);
        ck_assert_uint_le(fs_looks, 2 + 2 * (clock_ms() - began) / 1000);
        AWAIT(fs_looks >= 2);
        blob_unref(b);
}
END_TEST

/* What is on its way is not given up, nor what a read waits for. */
START_TEST(what_is_under_way_comes)
{
        struct answer first = ANSWER_INIT, second = ANSWER_INIT;
        struct blob *b;
        int r;

        start(KEEP, 0, COMPLETE_NEVER);
        b = get_blob(0);
        touch(b);
        FAKE_SET(hold, true);
        r = start_read(&first, b, 0, 4096);
        await_range();
        fs_free = KEEP - 1;
        ck_assert_int_eq(r, FETCH_PENDING);
        usleep(300000);
        ck_assert_int_eq(start_read(&second, b, 11 * MB, 11 * MB + 1), FETCH_PENDING);
        usleep(300000);
        ck_assert_int_eq(answer_count(&first), 0);
        FAKE_SET(hold, false);
        ck_assert_int_eq(await(&first, r), 0);
        ck_assert_int_eq(await(&second, FETCH_PENDING), 0);
        blob_unref(b);
}
END_TEST

/* What has begun counts before it is seen in the file system, or many at once would take what is kept. */
START_TEST(what_begins_counts_at_once)
{
        struct answer a = ANSWER_INIT;
        struct fetch_status st;
        struct blob *b;
        int r;

        start(KEEP, 0, COMPLETE_NEVER);
        b = get_blob(0);
        FAKE_SET(hold, true);
        fs_free_then = KEEP + 3 * MB; /* another blob takes what it was let in for */
        r = fetch_whole(fetch, b, answered, &a, &a.wait);
        await_range();
        usleep(100000);
        fetch_get_status(fetch, &st);
        ck_assert_uint_ge(st.transfers, 1);
        ck_assert_uint_le(st.transfers, 3); /* of 1 MiB each */
        fs_free = 1000 * MB;
        FAKE_SET(hold, false);
        ck_assert_int_eq(await(&a, r), 0);
        blob_unref(b);
}
END_TEST

/* tmpfs with no limit, ramfs, some FUSE ones: no blocks at all is no answer. */
START_TEST(a_file_system_that_does_not_tell_is_tried)
{
        struct blob *b;

        start(KEEP, 0, COMPLETE_NEVER);
        b = get_blob(0);
        fs_size = fs_free = 0;
        ck_assert_uint_eq(fetch_room(fetch), UINT64_MAX);
        ck_assert_int_eq(do_open(b), 0);
        ck_assert_int_eq(do_whole(b), 0);
        blob_unref(b);
}
END_TEST

/* What was begun is completed before the gate shuts; where that may not be, the switch does not wait for it. */
START_TEST(a_switch_goes_through)
{
        static const uint64_t room[] = { 2 * KEEP - 1, KEEP - 1, 1000 * MB };
        struct answer a = ANSWER_INIT, off = ANSWER_INIT;
        struct blob *b;
        int r;

        start(KEEP, _i == 2 ? MB : 0, COMPLETE_NEVER);
        b = get_blob(0);
        touch(b);
        FAKE_SET(hold, true);
        r = start_read(&a, b, 0, 4096);
        await_range();
        fs_free = room[_i];
        ck_assert_int_eq(fetch_set_offline(fetch, true, false, answered, &off), FETCH_PENDING);
        usleep(300000);
        FAKE_SET(hold, false);
        ck_assert_int_eq(await(&a, r), 0);
        await_answer(&off);
        ck_assert_int_eq(blob_held_bytes(b) == fake.files[0].size, _i != 1);
        blob_unref(b);
}
END_TEST

/* Nobody fetches anything then, whoever has taken the space: it may be back when the reader may go on. */
START_TEST(a_parked_read_does_not_fail_for_space)
{
        struct answer a = ANSWER_INIT, off = ANSWER_INIT, on = ANSWER_INIT;
        struct blob *b;
        int r;

        start(KEEP, 0, COMPLETE_NEVER);
        b = get_blob(0);
        FAKE_SET(hold, true);
        r = start_read(&a, b, 0, 4096);
        ck_assert_int_eq(r, FETCH_PENDING);
        ck_assert_int_eq(await(&off, fetch_set_offline(fetch, true, true, answered, &off)), 0);
        fs_free = KEEP - 1;
        usleep(300000);
        ck_assert_int_eq(fetch_set_offline(fetch, true, true, NULL, NULL), 0); /* it looks */
        usleep(300000);
        ck_assert_int_eq(answer_count(&a), 0);
        fs_free = 1000 * MB;
        FAKE_SET(hold, false);
        ck_assert_int_eq(await(&on, fetch_set_offline(fetch, false, false, answered, &on)), 0);
        ck_assert_int_eq(await(&a, r), 0);
        blob_unref(b);
}
END_TEST

/* More small files than are let in at once, which stop before a pull does. */
static void want_many_along(void)
{
        static char names[FILL_PULLED_MAX + 10][SHA256_HEX + 1];
        struct listed_file files[ARRAY_SIZE(names)];
        struct commit commit;
        struct repo repo;
        struct blob *small;

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                snprintf(names[i], sizeof(names[i]), "%064zx", i);
                files[i] = (struct listed_file){ names[i], names[i], 1000 };
        }
        files[0] = (struct listed_file){ fake.files[1].path, fake.files[1].etag, fake.files[1].size };
        ck_assert_int_eq(catalog_repo_put(ix.catalog, REPO_MODEL, "Many/r1", "Many/r1", true, &repo), 0);
        ck_assert_int_eq(catalog_commit_put(ix.catalog, repo.id, FAKE_SHA, 1, true, files, ARRAY_SIZE(files), &commit),
                         0);
        small = get_blob(1);
        ck_assert_int_eq(do_read(small, 0, 700), 0);
        blob_unref(small);
}

START_TEST(a_pull_passes_what_waits_for_space)
{
        struct answer a = ANSWER_INIT;
        struct blob *b;
        int r;

        start(KEEP, 0, COMPLETE_NEVER);
        b = get_blob(0);
        fs_free = 2 * KEEP - 1;
        want_many_along();
        usleep(500000);
        r = fetch_whole(fetch, b, answered, &a, &a.wait);
        ck_assert_int_eq(r, FETCH_PENDING);
        await_answer(&a);
        blob_unref(b);
}
END_TEST

START_TEST(nothing_is_kept_unless_it_is_asked_for)
{
        struct blob *b;

        start(0, 0, COMPLETE_NEVER);
        b = get_blob(0);
        fs_free = 0;
        ck_assert_int_eq(do_open(b), -ENOSPC);
        ck_assert_int_eq(do_read(b, 0, 4096), 0); /* the disk says when it is full */
        blob_unref(b);
}
END_TEST

START_TEST(the_lesser_of_part_and_size_is_kept)
{
        options.keep_free = (struct fetch_keep){ .percent = 1, .bytes = UINT64_MAX };
        reopen();
        fs_free = 150 * MB;
        ck_assert_uint_eq(fetch_room(fetch), 50 * MB);
        options.keep_free.bytes = 20 * MB;
        reopen();
        ck_assert_uint_eq(fetch_room(fetch), 130 * MB);
        options.keep_free.percent = 0;
        reopen();
        ck_assert_uint_eq(fetch_room(fetch), 150 * MB);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("bounds");
        TCase *t = tcase_create("bounds");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, below_the_kept_nothing_is_begun);
        tcase_add_test(t, what_does_not_fit_above_the_kept_is_not_opened);
        tcase_add_test(t, what_nobody_waits_for_stops_first);
        tcase_add_test(t, a_full_store_is_looked_at_now_and_then);
        tcase_add_test(t, what_is_under_way_comes);
        tcase_add_test(t, what_begins_counts_at_once);
        tcase_add_test(t, a_file_system_that_does_not_tell_is_tried);
        tcase_add_loop_test(t, a_switch_goes_through, 0, 3);
        tcase_add_test(t, a_parked_read_does_not_fail_for_space);
        tcase_add_test(t, a_pull_passes_what_waits_for_space);
        tcase_add_test(t, nothing_is_kept_unless_it_is_asked_for);
        tcase_add_test(t, the_lesser_of_part_and_size_is_kept);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
