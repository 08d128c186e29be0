/*
 * What the tests of index/blob.h share: a large, a small and an empty blob, the large one in two repos.
 */
#pragma once

#include "index/blob.h"

#include "base/util.h"

#include "cache.h"

#include <dirent.h>

#define SIZE (300000u)

static char data[SIZE], etag[ETAG_MAX + 1], small_etag[ETAG_MAX + 1], empty_etag[ETAG_MAX + 1];
static int64_t repo_a, repo_b;
__attribute__((unused)) static const atomic_bool cancelled = true;

static const char *hub(const char *repo, const char *tag)
{
        return at("store/hub/%s/blobs/%s", repo, tag);
}

__attribute__((unused)) static const char *partial(const char *suffix)
{
        struct dirent *e;
        DIR *d = opendir(at("store/partial"));
        char name[64] = "";

        while ((e = readdir(d)))
                if (e->d_name[0] != '.')
                        snprintf(name, sizeof(name), "%.60s", e->d_name);
        closedir(d);
        return at("store/partial/%s/%s%s", name, etag, suffix);
}

static void add_listings(void)
{
        const struct listed_file files[] = {
                { "dir/model.bin", etag, SIZE }, { "same.bin", etag, SIZE }, { "small.txt", small_etag, 6 },
                { "empty", empty_etag, 0 },
        };

        repo_a = add_repo(REPO_MODEL, "a/one");
        repo_b = add_repo(REPO_DATASET, "b/two");
        add_commit(repo_a, COMMIT_A, files, 4);
        add_commit(repo_b, COMMIT_B, files, 1);
}

static void setup(void)
{
        index_setup();
        srand(3);
        for (size_t i = 0; i < SIZE; i++)
                data[i] = (char)rand();
        sha256_of(data, SIZE, etag);
        git_sha1_of("hello\n", 6, small_etag);
        git_sha1_of("", 0, empty_etag);
        add_listings();
}

__attribute__((unused)) static void fill(struct blob *b, uint64_t start, uint64_t end)
{
        ASSERT_OK(blob_write(b, data + start, end - start, start));
}

__attribute__((unused)) static void check_bytes(struct blob *b, uint64_t start, uint64_t end)
{
        char *buf = malloc(end - start + 1);

        ck_assert(blob_holds(b, start, end));
        ck_assert_int_eq(blob_read(b, buf, end - start, start), (ssize_t)(end - start));
        ck_assert_int_eq(memcmp(buf, data + start, end - start), 0);
        free(buf);
}

__attribute__((unused)) static void check_whole(void)
{
        static const char *const repos[] = { "models--a--one", "datasets--b--two" };
        char *buf = malloc(SIZE + 1);

        for (size_t i = 0; i < 2; i++) {
                ck_assert_int_eq(get_file(hub(repos[i], etag), buf, SIZE + 1), SIZE);
                ck_assert_int_eq(memcmp(buf, data, SIZE), 0);
        }
        ck_assert_int_eq(
                get_file(at("store/hub/models--a--one/snapshots/" COMMIT_A "/dir/model.bin"), buf, SIZE),
                SIZE);
        ck_assert_int_eq(get_file(at("store/hub/models--a--one/snapshots/" COMMIT_A "/same.bin"), buf, SIZE),
                         SIZE);
        ck_assert_int_eq(
                get_file(at("store/hub/datasets--b--two/snapshots/" COMMIT_B "/dir/model.bin"), buf, SIZE),
                SIZE);
        free(buf);
}
