/*
 * For the tests of index/: an index in the scratch folder, with one repo and listings to fill.
 */
#pragma once

#include "index/index.h"

#include "scratch.h"

#define COMMIT_A "1111111111111111111111111111111111111111"
#define COMMIT_B "2222222222222222222222222222222222222222"

static struct index ix;

static inline void index_start(void)
{
        struct index_options o = { .store = at("store"), .state = at("state") };
        struct errmsg err = {};

        ck_assert_msg(index_open(&o, &ix, &err) == 0, "%s", err.text);
}

static inline void index_restart(void)
{
        index_close(&ix);
        index_start();
}

static inline void index_setup(void)
{
        scratch_setup();
        index_start();
}

static inline void index_teardown(void)
{
        index_close(&ix);
        scratch_teardown();
}

static inline int64_t add_repo(enum repo_type type, const char *name)
{
        struct repo repo;

        ASSERT_OK(catalog_repo_put(ix.catalog, type, name, name, true, &repo));
        return repo.id;
}

static inline int64_t add_commit(int64_t repo, const char *sha, const struct listed_file *files, size_t count)
{
        struct commit commit;

        ASSERT_OK(catalog_commit_put(ix.catalog, repo, sha, 1700000000, true, files, count, &commit));
        return commit.id;
}

static inline struct blob_row row_of(const char *etag, uint64_t size)
{
        struct blob_row row;

        ASSERT_OK(catalog_blob_find(ix.catalog, etag, size, &row));
        return row;
}

static inline struct blob *open_blob(const char *etag, uint64_t size)
{
        struct blob *b;

        ASSERT_OK(blobs_get(ix.blobs, row_of(etag, size).id, &b));
        return b;
}
