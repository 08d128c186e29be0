/*
 * Tests of --verify=strict in the filler: nothing of a blob is given before it is verified.
 */
#include "fixture.h"

#define MB (UINT64_C(1) << 20)

static struct blob *blob_of(int64_t id)
{
        struct blob *b;

        ck_assert_int_eq(blobs_get(ix.blobs, id, &b), 0);
        return b;
}

static int64_t id_of(size_t file)
{
        struct blob_row row;

        know_main();
        ck_assert_int_eq(catalog_blob_find(ix.catalog, fake.files[file].etag, fake.files[file].size, &row),
                         0);
        return row.id;
}

static int read_begin(struct answer *a, struct blob *b, uint64_t start, uint64_t end)
{
        return fetch_read(fetch, b, start, end, answered, a, &a->wait);
}

static int do_open(struct blob *b)
{
        struct answer a = ANSWER_INIT;

        return await(&a, fetch_open(fetch, b, answered, &a, &a.wait));
}

static void strict_setup(void)
{
        setup();
        options.strict = true;
        reopen();
}

/* The stored file of files[0] or another, by its final name. */
static const char *stored(size_t file)
{
        static char path[512];

        snprintf(path, sizeof(path), "%s/store/hub/models--Org--Name/blobs/%s", dir, fake.files[file].etag);
        return path;
}

static void await_held(struct blob *b, uint64_t bytes)
{
        AWAIT(blob_held_bytes(b) >= bytes);
}

START_TEST(a_read_waits_for_the_verdict)
{
        struct answer first = ANSWER_INIT, later = ANSWER_INIT;
        struct blob *b = blob_of(id_of(0));

        FAKE_SET(hold_at, 9 * MB);
        ck_assert_int_eq(read_begin(&first, b, 0, 100), FETCH_PENDING);
        await_held(b, 8 * MB); /* all of it is wanted, though 100 bytes were asked for */
        ck_assert(blob_holds(b, 0, MB));
        ck_assert_int_eq(read_begin(&later, b, 0, MB), FETCH_PENDING); /* held, and not verified */
        usleep(100000);
        ck_assert_int_eq(answer_count(&first), 0);
        ck_assert_int_eq(answer_count(&later), 0);
        FAKE_SET(hold_at, UINT64_MAX);
        ck_assert_int_eq(await(&first, FETCH_PENDING), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_int_eq(await(&later, FETCH_PENDING), 0);
        ck_assert_int_eq(fetch_read(fetch, b, 5, 6, answered, NULL, NULL), 0);
        blob_unref(b);
}
END_TEST

START_TEST(wrong_bytes_are_waited_out)
{
        struct answer a = ANSWER_INIT;
        struct blob *b = blob_of(id_of(0));

        FAKE_SET(corrupt_at, 3 * MB);
        ck_assert_int_eq(await(&a, read_begin(&a, b, 0, 100)), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(blob_incarnation(b), 3);
        blob_unref(b);
}
END_TEST

START_TEST(wrong_twice_fails_the_read)
{
        struct answer a = ANSWER_INIT, again = ANSWER_INIT;
        struct blob *b = blob_of(id_of(0));

        FAKE_SET(corrupt, 10000);
        ck_assert_int_eq(await(&a, read_begin(&a, b, 0, 100)), FETCH_E_CORRUPT);
        ck_assert_int_eq(await(&again, read_begin(&again, b, 0, 100)), FETCH_E_CORRUPT);
        blob_unref(b);
}
END_TEST

START_TEST(a_wait_can_be_given_up)
{
        struct answer a = ANSWER_INIT;
        struct blob *b = blob_of(id_of(0));

        FAKE_SET(hold_at, 9 * MB);
        ck_assert_int_eq(read_begin(&a, b, 0, 100), FETCH_PENDING);
        await_held(b, 8 * MB);
        fetch_cancel(a.wait);
        ck_assert_int_eq(await(&a, FETCH_PENDING), -ECANCELED);
        blob_unref(b);
}
END_TEST

/* The deadline is for a hub that brings nothing, not for a large file. */
START_TEST(a_slow_file_is_waited_for)
{
        struct answer a = ANSWER_INIT;
        struct blob *b;
        uint64_t began, end = 0;

        options.read_deadline_s = 3;
        reopen();
        b = blob_of(id_of(0));
        FAKE_SET(hold_at, end);
        began = clock_ms();
        ck_assert_int_eq(read_begin(&a, b, 0, 100), FETCH_PENDING);
        while (clock_ms() - began < 5000) { /* some of it comes all the time */
                usleep(50000);
                FAKE_SET(hold_at, end += 2 * FAKE_CHUNK);
        }
        ck_assert_int_eq(answer_count(&a), 0);
        ck_assert_uint_lt(end, fake.files[0].size);
        FAKE_SET(hold_at, UINT64_MAX);
        ck_assert_int_eq(await(&a, FETCH_PENDING), 0);
        blob_unref(b);
}
END_TEST

START_TEST(a_hub_that_brings_nothing_is_not)
{
        struct answer a = ANSWER_INIT;
        struct blob *b;

        options.read_deadline_s = 1;
        reopen();
        b = blob_of(id_of(0));
        FAKE_SET(range_result, HUB_E_UNREACHABLE);
        FAKE_SET(range_failures, 1000000);
        ck_assert_int_eq(await(&a, read_begin(&a, b, 0, 100)), FETCH_E_UNREACHABLE);
        blob_unref(b);
}
END_TEST

START_TEST(parked_while_offline)
{
        struct answer a = ANSWER_INIT, off = ANSWER_INIT, on = ANSWER_INIT;
        struct blob *b = blob_of(id_of(0));

        FAKE_SET(hold_at, 9 * MB);
        ck_assert_int_eq(read_begin(&a, b, 0, 100), FETCH_PENDING);
        await_held(b, 8 * MB);
        ck_assert_int_eq(await(&off, fetch_set_offline(fetch, true, true, answered, &off)), 0);
        FAKE_SET(hold_at, UINT64_MAX);
        usleep(100000);
        ck_assert_int_eq(answer_count(&a), 0);
        FAKE_SET(suspended, false);
        ck_assert_int_eq(await(&on, fetch_set_offline(fetch, false, false, answered, &on)), 0);
        ck_assert_int_eq(await(&a, FETCH_PENDING), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        blob_unref(b);
}
END_TEST

/* What others put into the store, right or (@_i 1) wrong, as a daemon finds it that knows nothing of it. */
static struct blob *adopted(void)
{
        struct answer a = ANSWER_INIT;
        struct blob_row row;
        struct blob *b = blob_of(id_of(0));

        ck_assert_int_eq(await(&a, fetch_whole(fetch, b, answered, &a, &a.wait)), 0);
        row.id = blob_id(b);
        blob_unref(b);
        ck_assert_int_eq(catalog_blob_set_state(ix.catalog, row.id, BLOB_FILLING, &row), 0);
        ck_assert_int_eq(catalog_blob_set_state(ix.catalog, row.id, BLOB_ADOPTED, &row), 0);
        reopen();
        return blob_of(row.id);
}

START_TEST(an_adopted_one_is_hashed_at_its_open)
{
        struct answer a = ANSWER_INIT;
        struct blob *b = adopted();

        options.offline = true; /* needs no network */
        blob_unref(b);
        reopen();
        b = blob_of(id_of(0));
        fetch_verify_all(fetch);
        usleep(50000);
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED); /* not before */
        if (_i == 0)
                ck_assert_int_eq(do_open(b), 0);
        else
                ck_assert_int_eq(await(&a, read_begin(&a, b, 0, 100)), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        blob_unref(b);
}
END_TEST

START_TEST(an_adopted_one_that_is_wrong)
{
        struct blob *b = adopted();
        struct answer a = ANSWER_INIT;
        struct fetch_verdict *v;
        uint32_t before = blob_incarnation(b);
        FILE *f = fopen(stored(0), "r+");
        size_t count;

        ck_assert_ptr_nonnull(f);
        fputc('x', f);
        fclose(f);
        ck_assert_int_eq(do_open(b), 0); /* the asker sees that it is another incarnation */
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_uint_eq(blob_incarnation(b), before + 1);
        ck_assert_int_ne(access(stored(0), F_OK), 0);
        ck_assert_int_eq(fetch_get_verdicts(fetch, &v, &count), 0);
        ck_assert_uint_eq(count, 1);
        ck_assert_int_eq(v->outcome, FETCH_VERDICT_REJECTED);
        free(v);
        ck_assert_int_eq(await(&a, read_begin(&a, b, 0, 100)), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        blob_unref(b);
}
END_TEST

START_TEST(the_end_cancels_who_waits)
{
        struct answer a = ANSWER_INIT;
        struct blob *b = blob_of(id_of(0));

        FAKE_SET(hold_at, 9 * MB);
        ck_assert_int_eq(read_begin(&a, b, 0, 100), FETCH_PENDING);
        await_held(b, 8 * MB);
        blob_unref(b);
        fetch = fetch_free(fetch);
        ck_assert_int_eq(answer_count(&a), 1);
        ck_assert_int_eq(a.result, -ECANCELED);
        fetch_wait_unref(a.wait);
        FAKE_SET(hold_at, UINT64_MAX);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("strict");
        TCase *t = tcase_create("strict");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, strict_setup, teardown);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, a_read_waits_for_the_verdict);
        tcase_add_test(t, wrong_bytes_are_waited_out);
        tcase_add_test(t, wrong_twice_fails_the_read);
        tcase_add_test(t, a_wait_can_be_given_up);
        tcase_add_test(t, a_slow_file_is_waited_for);
        tcase_add_test(t, a_hub_that_brings_nothing_is_not);
        tcase_add_test(t, parked_while_offline);
        tcase_add_loop_test(t, an_adopted_one_is_hashed_at_its_open, 0, 2);
        tcase_add_test(t, an_adopted_one_that_is_wrong);
        tcase_add_test(t, the_end_cancels_who_waits);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
