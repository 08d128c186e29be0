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
