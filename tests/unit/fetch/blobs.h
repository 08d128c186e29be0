/*
 * Questions about blobs, over fixture.h.
 */
#pragma once

#include "fixture.h"

static struct blob *get_blob(size_t file)
{
        struct blob_row row;
        struct blob *b;

        know_main();
        ck_assert_int_eq(catalog_blob_find(ix.catalog, fake.files[file].etag, fake.files[file].size, &row), 0);
        ck_assert_int_eq(blobs_get(ix.blobs, row.id, &b), 0);
        return b;
}

static int start_read(struct answer *a, struct blob *b, uint64_t start, uint64_t end)
{
        return fetch_read(fetch, b, start, end, answered, a, &a->wait);
}

static int do_read(struct blob *b, uint64_t start, uint64_t end)
{
        struct answer a = ANSWER_INIT;

        return await(&a, start_read(&a, b, start, end));
}

static int do_whole(struct blob *b)
{
        struct answer a = ANSWER_INIT;

        return await(&a, fetch_whole(fetch, b, answered, &a, &a.wait));
}

static int do_open(struct blob *b)
{
        struct answer a = ANSWER_INIT;

        return await(&a, fetch_open(fetch, b, answered, &a, &a.wait));
}

__attribute__((unused)) static void await_complete(struct blob *b)
{
        AWAIT(blob_state_whole(blob_state(b)));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
}

/* Not as long as a read's deadline is. */
__attribute__((unused)) static void await_answer(struct answer *a)
{
        AWAIT(answer_count(a) > 0);
        ck_assert_int_eq(answer_count(a), 1);
        ck_assert_int_eq(await(a, FETCH_PENDING), 0);
}

/* Reads a little of it, and waits for what comes along: then nothing is fetched but what is asked for. */
__attribute__((unused)) static void touch(struct blob *b)
{
        struct blob *along = get_blob(2);

        ck_assert_int_eq(do_read(b, 8 << 20, (8 << 20) + 1), 0);
        await_complete(along);
        blob_unref(along);
}

/* A range is on its way, and held. */
__attribute__((unused)) static void await_range(void)
{
        AWAIT(FAKE_GET(held) == 1);
}
