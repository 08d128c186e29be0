/*
 * fetch/fill_bounds.c: what a repo brings in an hour.
 */
#include "blobs.h"

#define MB (UINT64_C(1) << 20)

static void start(uint64_t max_fetch, enum fetch_complete complete)
{
        options.max_fetch = max_fetch;
        options.complete = complete;
        reopen();
}

/* The one repo that is told of; false: none is. */
static bool told(struct fetch_limit *ret)
{
        struct fetch_limit *limits;
        size_t count;

        ck_assert_int_eq(fetch_get_limits(fetch, &limits, &count), 0);
        ck_assert_uint_le(count, 1);
        if (count == 1)
                *ret = limits[0];
        free(limits);
        return count == 1;
}

START_TEST(more_than_a_repo_may_bring_is_not_opened)
{
        struct blob *b, *small, *along;
        struct fetch_limit limit;

        start(MB, COMPLETE_NEVER);
        b = get_blob(0);
        small = get_blob(1);
        along = get_blob(2);
        ck_assert(!told(&limit));
        ck_assert_int_eq(do_open(small), 0);
        ck_assert_int_eq(do_read(small, 0, 700), 0);
        await_complete(along); /* 300,000 bytes are within it */
        ck_assert_int_eq(do_open(b), FETCH_E_LIMIT);
        ck_assert(told(&limit));
        ck_assert_str_eq(limit.repo, "models/Org/Name");
        ck_assert_uint_eq(limit.bytes, 700 + 300000);
        ck_assert_uint_eq(limit.refused, 1);
        ck_assert_uint_le(limit.left_s, 3600);
        ck_assert_uint_ge(limit.left_s, 3500);
        ck_assert_int_eq(do_whole(b), 0); /* who pulls is neither limited nor counted */
        ck_assert_int_eq(do_open(b), 0);
        ck_assert(told(&limit));
        ck_assert_uint_eq(limit.bytes, 700 + 300000);
        blob_unref(b);
        blob_unref(small);
        blob_unref(along);
}
END_TEST

/* A refusal in a page fault would kill the reader; but nothing is added to what he reads. */
START_TEST(what_is_open_is_read_and_not_completed)
{
        struct blob *b;

        start(MB, COMPLETE_TOUCHED);
        b = get_blob(0);
        ck_assert_int_eq(do_read(b, 0, 4096), 0);
        usleep(500000);
        ck_assert_uint_lt(blob_held_bytes(b), 4 * MB);
        ck_assert_int_eq(do_read(b, 11 * MB, 11 * MB + 1), 0);
        blob_unref(b);
}
END_TEST

START_TEST(small_files_come_along_within_the_limit)
{
        struct blob *small, *along;

        start(299999, COMPLETE_NEVER);
        small = get_blob(1);
        along = get_blob(2);
        ck_assert_int_eq(do_read(small, 0, 700), 0);
        await_complete(small);
        usleep(300000);
        ck_assert_uint_eq(blob_held_bytes(along), 0);
        blob_unref(small);
        blob_unref(along);
}
END_TEST

static void know_other_repo(void)
{
        struct repo repo;

        ck_assert_int_eq(ask_repo("Many/r1"), 0);
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "Many/r1", &repo), 0);
        ck_assert_int_eq(ask_revision(repo.id, "main"), 0);
}

/* One repo of the blob is gone, which says nothing of it where the other may not bring it now. */
START_TEST(a_limit_is_not_told_as_absent)
{
        struct blob *small, *other;

        start(300500, COMPLETE_NEVER);
        small = get_blob(1);
        other = get_blob(2);
        know_other_repo();
        FAKE_COPY(gone, "Org/Name");
        ck_assert_int_eq(do_open(small), 0); /* 700, of the other repo */
        ck_assert_int_eq(do_open(other), FETCH_E_LIMIT);
        blob_unref(small);
        blob_unref(other);
}
END_TEST

/* The same files in another repo, which has its own hour. */
START_TEST(another_repo_of_the_blob_may_bring_it)
{
        struct blob *small, *other;

        start(300500, COMPLETE_NEVER);
        small = get_blob(1);
        other = get_blob(2);
        ck_assert_int_eq(do_open(small), 0); /* 700, with the answer */
        ck_assert_int_eq(do_open(other), FETCH_E_LIMIT);
        know_other_repo();
        ck_assert_int_eq(do_open(other), 0);
        ck_assert_int_eq(do_read(other, 0, UINT64_MAX), 0);
        blob_unref(small);
        blob_unref(other);
}
END_TEST

/* Where the file is has to be asked for anew on the way, and nobody waits for it any longer. */
START_TEST(a_switch_goes_through_a_location_that_expires)
{
        struct answer a = ANSWER_INIT, off = ANSWER_INIT;
        struct blob *b;
        int r;

        start(MB, COMPLETE_NEVER);
        b = get_blob(0);
        touch(b);
        FAKE_SET(hold, true);
        r = start_read(&a, b, 0, 4096);
        await_range();
        ck_assert_int_eq(fetch_set_offline(fetch, true, false, answered, &off), FETCH_PENDING);
        usleep(300000);
        FAKE_SET(hold_at, MB); /* of the rest, behind what the read brings */
        FAKE_SET(hold, false);
        ck_assert_int_eq(await(&a, r), 0);
        usleep(300000);
        FAKE_SET(range_result, HUB_E_EXPIRED);
        FAKE_SET(range_failures, 1);
        FAKE_SET(hold_at, UINT64_MAX);
        await_answer(&off);
        ck_assert_uint_eq(blob_held_bytes(b), fake.files[0].size);
        blob_unref(b);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("hour");
        TCase *t = tcase_create("hour");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, more_than_a_repo_may_bring_is_not_opened);
        tcase_add_test(t, what_is_open_is_read_and_not_completed);
        tcase_add_test(t, small_files_come_along_within_the_limit);
        tcase_add_test(t, a_limit_is_not_told_as_absent);
        tcase_add_test(t, another_repo_of_the_blob_may_bring_it);
        tcase_add_test(t, a_switch_goes_through_a_location_that_expires);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
