/*
 * Tests of the filler (fetch/fill*.c) over a fake hub, with the real index.
 */
#include "blobs.h"

#include "fetch/fill_internal.h"

#define MB (UINT64_C(1) << 20)

static int set_offline(bool offline, bool now)
{
        struct answer a = ANSWER_INIT;

        return await(&a, fetch_set_offline(fetch, offline, now, answered, &a));
}

static void assert_content(struct blob *b, uint64_t start, size_t len)
{
        unsigned char *got = malloc(len), *want = malloc(len);

        ck_assert_int_eq(blob_read(b, got, len, start), (int)len);
        fake_fill(want, start, len);
        ck_assert_mem_eq(got, want, len);
        free(got);
        free(want);
}

static void assert_sent_once(void)
{
        pthread_mutex_lock(&fake.lock);
        for (uint64_t p = 0; p <= (fake.files[0].size - 1) >> 12; p++)
                ck_assert_uint_le(fake.sent[p], 2); /* two where a range ends within the page */
        ck_assert_uint_le(fake.bytes, fake.files[0].size + fake.files[1].size + fake.files[2].size);
        pthread_mutex_unlock(&fake.lock);
}

START_TEST(a_read_brings_its_bytes)
{
        struct blob *b = get_blob(0);

        ck_assert_int_eq(do_open(b), 0);
        ck_assert_int_eq(do_read(b, 3 * MB, 3 * MB + 100), 0);
        assert_content(b, 3 * MB, 100);
        ck_assert_uint_lt(blob_held_bytes(b), MB);
        ck_assert_int_eq(do_read(b, fake.files[0].size - 1, UINT64_MAX), 0);
        ck_assert_int_eq(do_read(b, fake.files[0].size, fake.files[0].size + 9), 0); /* behind the end */
        assert_content(b, fake.files[0].size - 1, 1);
        blob_unref(b);
}
END_TEST

START_TEST(whole_is_verified_and_published)
{
        struct blob *b = get_blob(0);
        uint64_t size;
        int fd;

        ck_assert_int_eq(do_whole(b), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_int_ge(events_whole, 1);
        ck_assert_int_eq(do_whole(b), 0);
        ck_assert_int_eq(do_open(b), 0);
        ck_assert_int_eq(store_blob_open(ix.store, REPO_MODEL, "Org/Name", fake.files[0].etag, &fd, &size),
                         0);
        ck_assert_uint_eq(size, fake.files[0].size);
        close(fd);
        assert_content(b, 0, 5 * MB);
        assert_sent_once();
        blob_unref(b);
}
END_TEST

START_TEST(an_empty_blob_is_whole)
{
        struct blob *b = get_blob(3);

        ck_assert_int_eq(do_open(b), 0);
        ck_assert_int_eq(do_whole(b), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        blob_unref(b);
}
END_TEST

START_TEST(small_files_come_along)
{
        struct blob *b = get_blob(0), *small = get_blob(1), *other = get_blob(2);

        ck_assert_int_eq(do_read(b, 0, 100), 0);
        await_complete(small);
        await_complete(other);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        blob_unref(b);
        blob_unref(small);
        blob_unref(other);
}
END_TEST

START_TEST(a_sequential_reader_completes)
{
        struct blob *b = get_blob(0);

        for (uint64_t at = 0; at < 4 * MB; at += 131072)
                ck_assert_int_eq(do_read(b, at, at + 131072), 0);
        await_complete(b);
        assert_sent_once();
        blob_unref(b);
}
END_TEST

START_TEST(completion_is_a_choice)
{
        struct blob *b;

        options.complete = _i == 0 ? COMPLETE_TOUCHED : COMPLETE_NEVER;
        reopen();
        b = get_blob(0);
        ck_assert_int_eq(do_read(b, 0, 100), 0);
        if (_i == 0) {
                await_complete(b);
        } else {
                for (uint64_t at = 0; at < 4 * MB; at += 131072)
                        ck_assert_int_eq(do_read(b, at, at + 131072), 0);
                usleep(300000);
                ck_assert_uint_lt(blob_held_bytes(b), fake.files[0].size); /* read ahead, no more */
                /* what is all there is verified all the same */
                ck_assert_int_eq(do_read(b, 0, fake.files[0].size), 0);
                await_complete(b);
        }
        blob_unref(b);
}
END_TEST

START_TEST(what_was_fetched_survives_a_restart)
{
        struct blob *b = get_blob(0);
        int64_t id = blob_id(b);
        uint64_t held;

        ck_assert_int_eq(do_read(b, 3 * MB, 5 * MB), 0);
        held = blob_held_bytes(b);
        blob_unref(b);
        reopen();
        ck_assert_int_eq(blobs_get(ix.blobs, id, &b), 0);
        ck_assert_uint_ge(blob_held_bytes(b), held);
        ck_assert_int_eq(do_whole(b), 0);
        assert_sent_once();
        blob_unref(b);
}
END_TEST

START_TEST(many_readers_share_transfers)
{
        static struct answer answers[200];
        struct blob *b = get_blob(0);
        int results[200];

        for (int i = 0; i < 200; i++) {
                answers[i] = (struct answer)ANSWER_INIT;
                results[i] = start_read(&answers[i], b, (uint64_t)i % 50 * 131072,
                                        (uint64_t)i % 50 * 131072 + 131072);
        }
        for (int i = 0; i < 200; i++)
                ck_assert_int_eq(await(&answers[i], results[i]), 0);
        assert_content(b, 0, 50 * 131072);
        assert_sent_once();
        blob_unref(b);
}
END_TEST

START_TEST(a_cancelled_read_is_answered_once)
{
        struct answer a = ANSWER_INIT;
        struct blob *b = get_blob(0);

        FAKE_SET(hold, true);
        ck_assert_int_eq(start_read(&a, b, 0, 100), FETCH_PENDING);
        fetch_cancel(a.wait);
        ck_assert_int_eq(answer_count(&a), 1);
        ck_assert_int_eq(a.result, -ECANCELED);
        fetch_cancel(a.wait);
        FAKE_SET(hold, false);
        ck_assert_int_eq(do_read(b, 0, 100), 0);
        ck_assert_int_eq(answer_count(&a), 1);
        fetch_wait_unref(a.wait);
        blob_unref(b);
}
END_TEST

START_TEST(single_failures_are_overcome)
{
        static const int results[] = { HUB_E_CUT,      HUB_E_STALLED,     HUB_E_EXPIRED,   HUB_E_RANGE,
                                       HUB_E_UNREACHABLE, HUB_E_MALFORMED, HUB_E_FORBIDDEN, -ECANCELED };
        struct blob *b = get_blob(0);

        FAKE_SET(range_result, results[_i]);
        FAKE_SET(range_cut, 5000);
        FAKE_SET(range_failures, 1);
        ck_assert_int_eq(do_whole(b), 0);
        assert_content(b, 0, 2 * MB);
        ck_assert_uint_eq(FAKE_GET(range_failures), 0);
        blob_unref(b);
}
END_TEST

START_TEST(an_expired_url_is_asked_for_anew)
{
        struct blob *b = get_blob(0);
        unsigned locates;

        ck_assert_int_eq(do_open(b), 0);
        locates = FAKE_GET(locates);
        FAKE_SET(range_result, HUB_E_EXPIRED);
        FAKE_SET(range_failures, 1);
        ck_assert_int_eq(do_read(b, 0, 100), 0);
        ck_assert_uint_ge(FAKE_GET(locates), locates + 1);
        blob_unref(b);
}
END_TEST

START_TEST(a_small_file_comes_with_its_location)
{
        struct blob *b = get_blob(1);

        ck_assert_int_eq(do_open(b), 0);
        ck_assert_uint_eq(FAKE_GET(locates), 1);
        ck_assert(blob_holds(b, 0, blob_size(b)));
        assert_content(b, 0, blob_size(b));
        ck_assert_int_eq(do_whole(b), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(FAKE_GET(taken), 1);
        blob_unref(b);
}
END_TEST

START_TEST(a_small_file_that_lies_elsewhere)
{
        struct blob *b = get_blob(1);

        FAKE_SET(elsewhere, true);
        ck_assert_int_eq(do_whole(b), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(FAKE_GET(taken), 0);
        ck_assert_uint_eq(FAKE_GET(locates), 1);
        assert_content(b, 0, blob_size(b));
        blob_unref(b);
}
END_TEST

START_TEST(a_small_file_of_another_size_is_not_taken)
{
        struct blob *b = get_blob(1);

        FAKE_SET(lie, 1);
        ck_assert_int_eq(do_open(b), FETCH_E_UNREACHABLE);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        FAKE_SET(lie, 0);
        ck_assert_int_eq(do_open(b), 0);
        assert_content(b, 0, blob_size(b));
        blob_unref(b);
}
END_TEST

static void fail_short_location(void)
{
        struct blob *b = get_blob(0);

        FAKE_SET(own, true);
        ck_assert_int_eq(do_open(b), 0);
        ck_assert_uint_eq(FAKE_GET(full), 0);
        FAKE_SET(range_result, HUB_E_EXPIRED);
        FAKE_SET(range_failures, 1);
        ck_assert_int_eq(do_read(b, 0, 100), 0);
        ck_assert_uint_eq(FAKE_GET(full), 1);
        blob_unref(b);
}

START_TEST(a_short_location_that_fails_is_looked_up_in_full)
{
        fail_short_location();
}
END_TEST

START_TEST(a_short_location_without_a_size_that_fails_is_looked_up_in_full)
{
        FAKE_SET(unsaid, true);
        fail_short_location();
}
END_TEST

START_TEST(a_server_without_ranges_is_asked_for_all)
{
        struct blob *b = get_blob(0);

        FAKE_SET(range_result, HUB_E_RANGE);
        FAKE_SET(range_failures, 4);
        ck_assert_int_eq(do_read(b, MB, MB + 100), 0);
        await_complete(b);
        blob_unref(b);
}
END_TEST

START_TEST(a_wrong_hash_is_fetched_again)
{
        struct blob *b = get_blob(0);

        FAKE_SET(corrupt, 1);
        ck_assert_int_eq(do_whole(b), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        assert_content(b, 0, MB);
        ck_assert_uint_eq(FAKE_GET(locates), 2);
        ck_assert_uint_eq(FAKE_GET(anew), 1); /* the location of before is not used again */
        blob_unref(b);
}
END_TEST

/* What was wrong is told with its readers: one incident, whose outcome is the last. */
START_TEST(verdicts_are_told)
{
        struct fetch_verdict *v = NULL;
        struct blob *b = get_blob(0);
        size_t count;

        FAKE_SET(corrupt_at, 9 * MB);
        blob_note_reader(b, getpid(), 77);
        ck_assert_int_eq(do_whole(b), 0);
        ck_assert_int_eq(fetch_get_verdicts(fetch, &v, &count), 0);
        ck_assert_uint_eq(count, 1);
        ck_assert_int_eq(v->outcome, FETCH_VERDICT_MENDED);
        ck_assert_str_eq(v->repo, "models/Org/Name");
        ck_assert_str_eq(v->path, "model.safetensors");
        ck_assert_str_eq(v->etag, fake.files[0].etag);
        ck_assert_uint_eq(strlen(v->got), SHA256_HEX);
        ck_assert_uint_eq(v->differs.bytes, 1);
        ck_assert_uint_eq(v->differs.ranges[0].start, 9 * MB);
        ck_assert_uint_eq(v->readers.count, 1);
        ck_assert_int_eq(v->readers.at[0].pid, getpid());
        ck_assert_uint_eq(v->readers.at[0].uid, 77);
        free(v);
        blob_unref(b);
}
END_TEST

START_TEST(a_wrong_hash_twice_is_corrupt)
{
        struct fetch_verdict *v = NULL;
        struct blob *b = get_blob(0);
        size_t count;

        FAKE_SET(corrupt, 10000);
        ck_assert_int_eq(do_whole(b), FETCH_E_CORRUPT);
        ck_assert_int_eq(blob_state(b), BLOB_QUARANTINED);
        ck_assert_int_eq(do_open(b), FETCH_E_CORRUPT);
        ck_assert_int_eq(do_read(b, 0, 1), FETCH_E_CORRUPT);
        ck_assert_int_eq(fetch_get_verdicts(fetch, &v, &count), 0);
        ck_assert_uint_eq(count, 1);
        ck_assert_int_eq(v->outcome, FETCH_VERDICT_QUARANTINED);
        free(v);
        blob_unref(b);
}
END_TEST

/* Two thirds of the big file have come, the rest waits; what came is hashed but for a little. */
static void read_and_await_hash(struct blob *b)
{
        FAKE_SET(hold_at, 9 * MB);
        ck_assert_int_eq(do_read(b, 0, 8 * MB), 0);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        AWAIT(blob_hash_left(b) < 4 * MB);
        ck_assert_uint_ge(blob_run_end(b, 0), 8 * MB);
}

START_TEST(what_came_is_hashed_along)
{
        struct blob *b;

        options.complete = COMPLETE_NEVER;
        reopen();
        b = get_blob(0);
        read_and_await_hash(b);
        blob_unref(b);
        reopen(); /* the hash begins anew, as more comes */
        FAKE_SET(hold_at, UINT64_MAX);
        b = get_blob(0);
        ck_assert_uint_ge(blob_hash_left(b), 8 * MB);
        ck_assert_int_eq(do_whole(b), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        assert_content(b, 0, fake.files[0].size);
        blob_unref(b);
}
END_TEST

/* The wrong byte is the first of the file, hashed along; or comes after that. */
START_TEST(a_wrong_byte_is_found_early_and_late)
{
        struct blob *b;

        options.complete = COMPLETE_NEVER;
        reopen();
        b = get_blob(0);
        if (_i == 0)
                FAKE_SET(corrupt_at, 0);
        read_and_await_hash(b);
        if (_i == 1)
                FAKE_SET(corrupt_at, 11 * MB);
        FAKE_SET(hold_at, UINT64_MAX);
        ck_assert_int_eq(do_whole(b), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(blob_incarnation(b), 3); /* filling, filling again, whole */
        assert_content(b, 0, fake.files[0].size);
        ck_assert_uint_gt(FAKE_GET(bytes), fake.files[0].size + 4 * MB); /* all of it came twice */
        blob_unref(b);
}
END_TEST

START_TEST(unreachable_is_found_out_at_open)
{
        struct blob *b = get_blob(0);

        FAKE_SET(locate_result, HUB_E_UNREACHABLE);
        ck_assert_int_eq(do_open(b), FETCH_E_UNREACHABLE);
        FAKE_SET(locate_result, HUB_E_FORBIDDEN);
        ck_assert_int_eq(do_open(b), FETCH_E_FORBIDDEN);
        FAKE_SET(locate_result, 0);
        FAKE_SET(lie, 1);
        ck_assert_int_eq(do_open(b), FETCH_E_UNREACHABLE);
        FAKE_SET(lie, 0);
        ck_assert_int_eq(do_open(b), 0);
        blob_unref(b);
}
END_TEST

START_TEST(a_read_gives_up_at_its_deadline)
{
        struct answer again, other = ANSWER_INIT;
        struct blob *b;
        uint64_t began;
        int r;

        options.read_deadline_s = 1;
        reopen();
        b = get_blob(0);
        FAKE_SET(range_result, HUB_E_UNREACHABLE);
        FAKE_SET(range_failures, 1000);
        do {
                again = (struct answer)ANSWER_INIT;
                began = clock_ms();
                ck_assert_int_eq(do_read(b, 0, 5000), FETCH_E_UNREACHABLE);
                ck_assert_uint_ge(clock_ms() - began, 1000);
                ck_assert_uint_le(FAKE_GET(ranges), 8);
                r = start_read(&again, b, 4096, 5000); /* the kernel's second try */
                if (r == FETCH_PENDING) /* but it came too late to be one */
                        ck_assert_uint_gt(clock_ms() - began, 1000 + FILL_GIVEN_UP_MS);
                ck_assert_int_eq(await(&again, r), FETCH_E_UNREACHABLE);
        } while (answer_count(&again) > 0);
        ck_assert_int_eq(start_read(&other, b, 4096, 5000), FETCH_PENDING); /* another reader's waits */
        ck_assert_int_eq(await(&other, FETCH_PENDING), FETCH_E_UNREACHABLE);
        blob_unref(b);
}
END_TEST

/* What was unreachable until the last reader left may be well by now: then the next one does not wait out the pause. */
START_TEST(who_comes_anew_asks_at_once)
{
        struct answer a = ANSWER_INIT;
        struct blob *b = get_blob(0);
        struct fetch_status status;
        uint64_t failed;

        FAKE_SET(range_result, HUB_E_UNREACHABLE);
        FAKE_SET(range_failures, 1000);
        ck_assert_int_eq(start_read(&a, b, 0, 100), FETCH_PENDING);
        AWAIT(FAKE_GET(ranges) >= 6);
        AWAIT((fetch_get_status(fetch, &status), status.transfers) == 0); /* a pause of 4 s at least */
        failed = clock_ms();
        fetch_cancel(a.wait);
        ck_assert_int_eq(await(&a, FETCH_PENDING), -ECANCELED);
        FAKE_SET(range_failures, 0);
        ck_assert_int_eq(do_read(b, 0, 100), 0);
        ck_assert_uint_lt(clock_ms() - failed, 3900);
        blob_unref(b);
}
END_TEST

/* What breaks off after some bytes is not asked for again at once for ever. */
START_TEST(a_few_bytes_are_no_progress)
{
        struct blob *b;

        options.read_deadline_s = 4;
        reopen();
        b = get_blob(0);
        FAKE_SET(range_result, HUB_E_CUT);
        FAKE_SET(range_cut, 100);
        FAKE_SET(range_failures, 1000);
        ck_assert_int_eq(do_read(b, 0, 8192), FETCH_E_UNREACHABLE);
        ck_assert_uint_le(FAKE_GET(ranges), 10);
        FAKE_SET(range_failures, 0);
        ck_assert_int_eq(do_read(b, 16384, 20000), 0);
        blob_unref(b);
}
END_TEST

START_TEST(a_failing_disk_fails_its_readers_only)
{
        struct blob *b = get_blob(0), *small = get_blob(1), *other = get_blob(2);

        /* the small ones first, lest they meet the fault */
        ck_assert_int_eq(do_whole(small), 0);
        ck_assert_int_eq(do_whole(other), 0);
        blob_unref(small);
        blob_unref(other);
#ifdef WEIGHTFS_FAULTS
        setenv("WEIGHTFS_FAULT", "blob.write:1", 1);
        ck_assert_int_eq(do_read(b, 0, 100), -ENOSPC);
        unsetenv("WEIGHTFS_FAULT");
#endif
        ck_assert_int_eq(do_read(b, 0, 100), 0);
        blob_unref(b);
}
END_TEST

START_TEST(started_offline_asks_nobody)
{
        struct blob *b = get_blob(0), *small = get_blob(1);
        int64_t id = blob_id(b), small_id = blob_id(small);
        unsigned ranges;

        ck_assert_int_eq(do_whole(small), 0);
        blob_unref(b);
        blob_unref(small);
        options.offline = true;
        ranges = FAKE_GET(ranges);
        reopen();
        ck_assert_int_eq(blobs_get(ix.blobs, id, &b), 0);
        ck_assert_int_eq(blobs_get(ix.blobs, small_id, &small), 0);
        ck_assert(fetch_is_offline(fetch));
        ck_assert_int_eq(do_open(b), FETCH_E_OFFLINE);
        ck_assert_int_eq(do_read(b, 0, 1), FETCH_E_OFFLINE);
        ck_assert_int_eq(do_whole(b), FETCH_E_OFFLINE);
        ck_assert_int_eq(do_open(small), 0);
        ck_assert_int_eq(do_read(small, 0, 1), 0);
        ck_assert_int_eq(set_offline(false, false), -EPERM);
        ck_assert_uint_eq(FAKE_GET(ranges), ranges);
        blob_unref(b);
        blob_unref(small);
}
END_TEST

/* A daemon ended between the last byte and the hash: also offline the next one makes it whole. @_i 1: it is wrong. */
START_TEST(held_and_not_verified_at_the_start)
{
        struct blob *b = get_blob(1);
        int64_t id = blob_id(b);
        uint64_t size = blob_size(b);
        unsigned char *bytes = malloc(size);

        ck_assert_ptr_nonnull(bytes);
        fake_fill(bytes, 0, size);
        bytes[size / 2] ^= _i;
        ck_assert_int_eq(blob_write(b, bytes, size, 0), 0);
        free(bytes);
        blob_unref(b);
        options.offline = true;
        reopen();
        ck_assert_int_eq(blobs_get(ix.blobs, id, &b), 0);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_uint_eq(blob_held_bytes(b), size);
        fetch_verify_all(fetch);
        if (_i == 0) {
                await_complete(b);
                ck_assert_int_eq(do_open(b), 0);
        } else {
                AWAIT(blob_held_bytes(b) == 0);
                ck_assert_int_eq(do_open(b), FETCH_E_OFFLINE);
        }
        blob_unref(b);
}
END_TEST

START_TEST(switched_off_now_reads_are_parked)
{
        struct answer a = ANSWER_INIT;
        struct blob *b = get_blob(0);

        FAKE_SET(hold, true);
        ck_assert_int_eq(start_read(&a, b, 0, 100), FETCH_PENDING);
        await_range();
        ck_assert_int_eq(set_offline(true, true), 0);
        ck_assert(fetch_is_offline(fetch));
        ck_assert_int_eq(set_offline(true, true), 0);
        ck_assert_int_eq(answer_count(&a), 0);
        ck_assert_int_eq(do_open(b), FETCH_E_OFFLINE);
        FAKE_SET(hold, false);
        usleep(100000);
        ck_assert_int_eq(answer_count(&a), 0);
        ck_assert_int_eq(set_offline(false, false), 0);
        ck_assert_int_eq(await(&a, FETCH_PENDING), 0);
        ck_assert_int_eq(events_mode, 2);
        blob_unref(b);
}
END_TEST

START_TEST(switched_off_what_is_read_is_completed)
{
        struct answer a = ANSWER_INIT, off = ANSWER_INIT;
        struct blob *b = get_blob(0);

        FAKE_SET(hold, true);
        ck_assert_int_eq(start_read(&a, b, 0, 100), FETCH_PENDING);
        await_range();
        ck_assert_int_eq(fetch_set_offline(fetch, true, false, answered, &off), FETCH_PENDING);
        usleep(100000);
        ck_assert_int_eq(answer_count(&off), 0);
        FAKE_SET(hold, false);
        ck_assert_int_eq(await(&off, FETCH_PENDING), 0);
        ck_assert_int_eq(await(&a, FETCH_PENDING), 0);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_int_eq(do_open(b), 0);
        blob_unref(b);
}
END_TEST

START_TEST(the_end_cancels_who_waits)
{
        struct answer a = ANSWER_INIT, w = ANSWER_INIT;
        struct blob *b = get_blob(0);

        ck_assert_int_eq(do_open(b), 0);
        FAKE_SET(hold, true);
        ck_assert_int_eq(start_read(&a, b, 0, 100), FETCH_PENDING);
        ck_assert_int_eq(fetch_whole(fetch, b, answered, &w, &w.wait), FETCH_PENDING);
        await_range();
        blob_unref(b);
        fetch = fetch_free(fetch);
        ck_assert_int_eq(await(&a, FETCH_PENDING), -ECANCELED);
        ck_assert_int_eq(await(&w, FETCH_PENDING), -ECANCELED);
}
END_TEST

/* ---- races ---- */

#define RACERS 4

static void *race(void *arg)
{
        struct blob *b = arg;
        unsigned seed = (unsigned)(uintptr_t)&seed;

        for (int i = 0; i < 100; i++) {
                uint64_t at = (uint64_t)rand_r(&seed) % fake.files[0].size;
                struct answer a = ANSWER_INIT;
                int r = start_read(&a, b, at, at + 20000);

                if (r == FETCH_PENDING && i % 3 == 0) {
                        fetch_cancel(a.wait);
                        r = await(&a, r);
                        ck_assert(r == 0 || r == -ECANCELED);
                } else {
                        ck_assert_int_eq(await(&a, r), 0);
                }
                ck_assert_int_le(answer_count(&a), 1);
        }
        return NULL;
}

START_TEST(readers_and_cancels_race)
{
        struct blob *b = get_blob(0);
        pthread_t threads[RACERS];
        struct fetch_fill_info *fills;
        struct fetch_status status;
        size_t count;

        for (int i = 0; i < RACERS; i++)
                pthread_create(&threads[i], NULL, race, b);
        for (int i = 0; i < 20; i++) {
                ck_assert_int_eq(fetch_get_fills(fetch, &fills, &count), 0);
                free(fills);
                fetch_get_status(fetch, &status);
                usleep(1000);
        }
        for (int i = 0; i < RACERS; i++)
                pthread_join(threads[i], NULL);
        ck_assert_int_eq(do_whole(b), 0);
        assert_content(b, 0, fake.files[0].size);
        blob_unref(b);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("filler");
        TCase *t = tcase_create("filler");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, a_read_brings_its_bytes);
        tcase_add_test(t, whole_is_verified_and_published);
        tcase_add_test(t, an_empty_blob_is_whole);
        tcase_add_test(t, small_files_come_along);
        tcase_add_test(t, a_sequential_reader_completes);
        tcase_add_loop_test(t, completion_is_a_choice, 0, 2);
        tcase_add_test(t, what_was_fetched_survives_a_restart);
        tcase_add_test(t, many_readers_share_transfers);
        tcase_add_test(t, a_cancelled_read_is_answered_once);
        tcase_add_loop_test(t, single_failures_are_overcome, 0, 8);
        tcase_add_test(t, an_expired_url_is_asked_for_anew);
        tcase_add_test(t, a_small_file_comes_with_its_location);
        tcase_add_test(t, a_small_file_that_lies_elsewhere);
        tcase_add_test(t, a_small_file_of_another_size_is_not_taken);
        tcase_add_test(t, a_short_location_that_fails_is_looked_up_in_full);
        tcase_add_test(t, a_short_location_without_a_size_that_fails_is_looked_up_in_full);
        tcase_add_test(t, a_server_without_ranges_is_asked_for_all);
        tcase_add_test(t, a_wrong_hash_is_fetched_again);
        tcase_add_test(t, a_wrong_hash_twice_is_corrupt);
        tcase_add_test(t, verdicts_are_told);
        tcase_add_test(t, what_came_is_hashed_along);
        tcase_add_loop_test(t, a_wrong_byte_is_found_early_and_late, 0, 2);
        tcase_add_test(t, unreachable_is_found_out_at_open);
        tcase_add_test(t, a_read_gives_up_at_its_deadline);
        tcase_add_test(t, who_comes_anew_asks_at_once);
        tcase_add_test(t, a_few_bytes_are_no_progress);
        tcase_add_test(t, a_failing_disk_fails_its_readers_only);
        tcase_add_test(t, started_offline_asks_nobody);
        tcase_add_loop_test(t, held_and_not_verified_at_the_start, 0, 2);
        tcase_add_test(t, switched_off_now_reads_are_parked);
        tcase_add_test(t, switched_off_what_is_read_is_completed);
        tcase_add_test(t, the_end_cancels_who_waits);
        tcase_add_test(t, readers_and_cancels_race);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
