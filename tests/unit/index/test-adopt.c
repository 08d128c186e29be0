/*
 * Tests of index/adopt.h: caches as huggingface_hub leaves them, and hostile ones.
 */
#include "index/adopt.h"

#include "base/util.h"

#include "cache.h"

#define HELLO "ce013625030ba8dba906f756967f9e9ca394464a" /* git sha1 of "hello\n" */
#define EMPTY "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
#define XET "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
#define COMMIT_C "3333333333333333333333333333333333333333"
#define REPO "store/hub/models--a--one/"

static int64_t repo;

static void setup(void)
{
        index_setup();
        repo = add_repo(REPO_MODEL, "a/one");
}

static bool adopt(void)
{
        bool found = false;
        struct repo after;

        ASSERT_OK(adopt_repo(ix.catalog, ix.store, repo, &found));
        ASSERT_OK(catalog_repo_get(ix.catalog, repo, &after));
        ck_assert(after.scanned);
        return found;
}

static struct commit commit_of(const char *sha)
{
        struct commit commit;

        ASSERT_OK(catalog_commit_find(ix.catalog, repo, sha, &commit));
        return commit;
}

static bool has_commit(const char *sha)
{
        struct commit commit;

        return catalog_commit_find(ix.catalog, repo, sha, &commit) == 0;
}

static const char *ref_of(const char *name)
{
        static struct ref ref;

        return catalog_ref_find(ix.catalog, repo, name, &ref) == 0 ? ref.sha : "";
}

START_TEST(nothing)
{
        ck_assert(!adopt());
        mkdir(at(REPO), 0755);
        ck_assert(!adopt());
}
END_TEST

START_TEST(plain_cache)
{
        struct commit c;
        struct ref ref;

        put_text(at(REPO "blobs/" HELLO), "hello\n");
        put_text(at(REPO "blobs/" EMPTY), "");
        put_text(at(REPO "blobs/" XET ".incomplete"), "hel");
        put_text(at(REPO "blobs/not-an-etag"), "x");
        put_link(at(REPO "snapshots/" COMMIT_A "/config.json"), "../../blobs/" HELLO);
        put_link(at(REPO "snapshots/" COMMIT_A "/onnx/deep/x.bin"), "../../../../blobs/" EMPTY);
        put_link(at(REPO "snapshots/" COMMIT_A "/dangling"), "../../blobs/" XET);
        put_text(at(REPO "snapshots/" COMMIT_A "/regular"), "of a cache without links");
        put_text(at(REPO "refs/main"), COMMIT_A);
        put_text(at(REPO "refs/refs/pr/1"), COMMIT_A "\n");
        put_text(at(REPO "refs/short"), "111");
        put_text(at(REPO "refs/unknown"), COMMIT_B);
        put_text(at(REPO ".no_exist/" COMMIT_A "/nope"), "");
        ck_assert(adopt());
        c = commit_of(COMMIT_A);
        ck_assert(!c.whole_listing);
        ck_assert_uint_eq(c.files, 2);
        ck_assert_int_gt(c.mtime, 0);
        ck_assert_str_eq(ref_of("main"), COMMIT_A);
        ck_assert_str_eq(ref_of("refs/pr/1"), COMMIT_A);
        ck_assert_str_eq(ref_of("short"), "");
        ck_assert_str_eq(ref_of("unknown"), "");
        ASSERT_OK(catalog_ref_find(ix.catalog, repo, "main", &ref));
        ck_assert_int_eq(ref.checked, 0);
        ck_assert_int_eq(row_of(HELLO, 6).state, BLOB_ADOPTED);
        ck_assert_int_eq(row_of(EMPTY, 0).state, BLOB_ADOPTED);
        ck_assert(adopt()); /* once more does no harm */
        ck_assert_int_eq(row_of(HELLO, 6).incarnation, 1);
        ck_assert(exists(at(REPO "blobs/" XET ".incomplete")));
}
END_TEST

#define TREE(files) "{\"format_version\":1,\"files\":{" files "}}"
#define FILE_HELLO "\"config.json\":{\"size\":6,\"blob_id\":\"" HELLO "\"}"
#define FILE_LFS "\"w.bin\":{\"size\":7,\"blob_id\":\"" EMPTY "\",\"lfs_sha256\":\"" XET "\",\"lfs_size\":7}"

START_TEST(with_trees)
{
        struct commit c;

        put_text(at(REPO "trees/" COMMIT_A ".json"), TREE(FILE_HELLO "," FILE_LFS));
        put_link(at(REPO "snapshots/" COMMIT_A "/config.json"), "../../blobs/" HELLO);
        put_text(at(REPO "blobs/" HELLO), "hello\n");
        put_text(at(REPO "blobs/" XET), "6 only"); /* not the listing's size */
        put_text(at(REPO "trees/" COMMIT_B ".json"), TREE(FILE_LFS)); /* no snapshot: known all the same */
        put_text(at(REPO "trees/" COMMIT_C ".json"), "{broken");
        put_link(at(REPO "snapshots/" COMMIT_C "/config.json"), "../../blobs/" HELLO);
        put_text(at(REPO "refs/main"), COMMIT_B);
        ck_assert(adopt());
        c = commit_of(COMMIT_A);
        ck_assert(c.whole_listing);
        ck_assert_uint_eq(c.files, 2);
        ck_assert(commit_of(COMMIT_B).whole_listing);
        ck_assert(!commit_of(COMMIT_C).whole_listing);
        ck_assert_str_eq(ref_of("main"), COMMIT_B);
        ck_assert_int_eq(row_of(HELLO, 6).state, BLOB_ADOPTED);
        ck_assert_int_eq(row_of(XET, 7).state, BLOB_FILLING);
}
END_TEST

START_TEST(shared_store)
{
        struct blob *b;
        char buf[8];

        put_text(at("store/hub/blobs/.huggingface-shared-blobs"), "1\n");
        put_text(at("store/hub/blobs/58/" XET), "hello\n");
        put_link(at(REPO "blobs/" HELLO), "../../blobs/58/" XET);
        put_link(at(REPO "snapshots/" COMMIT_A "/config.json"), "../../blobs/" HELLO);
        ck_assert(adopt());
        b = open_blob(HELLO, 6);
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        ck_assert_int_eq(blob_read(b, buf, sizeof(buf), 0), 6);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        blob_unref(b);
}
END_TEST

START_TEST(hostile)
{
        put_link(at(REPO "blobs/" HELLO), "/etc/passwd");
        put_link(at(REPO "snapshots/" COMMIT_A "/config.json"), "../../blobs/" HELLO);
        put_link(at(REPO "snapshots/" COMMIT_A "/passwd"), "/etc/passwd");
        put_link(at(REPO "snapshots/" COMMIT_A "/up"), "../../../../..");
        put_link(at(REPO "snapshots/" COMMIT_B), "/");
        put_link(at(REPO "refs/main"), "../../..");
        put_link(at(REPO "refs/dir"), "/etc");
        mkfifo(at(REPO "refs/fifo"), 0644);
        put_link(at(REPO "trees/" COMMIT_C ".json"), "/etc/passwd");
        ck_assert(!adopt());
        ck_assert(!has_commit(COMMIT_A) && !has_commit(COMMIT_B) && !has_commit(COMMIT_C));
        ck_assert_str_eq(ref_of("main"), "");
        index_teardown();
        setup();
        mkdir(at(REPO), 0755);
        put_link(at(REPO "snapshots"), "/");
        put_link(at(REPO "refs"), "/etc");
        put_link(at(REPO "blobs"), "/etc");
        put_link(at(REPO "trees"), "/etc");
        ck_assert(!adopt());
        index_teardown();
        setup();
        put_link(at("store/hub/models--a--one"), "../../..");
        ck_assert(!adopt());
}
END_TEST

/* What the hub has said is not replaced by what a cache says. */
START_TEST(hub_goes_first)
{
        const struct listed_file file = { "x", EMPTY, 0 };
        int64_t commit = add_commit(repo, COMMIT_B, &file, 1);
        struct ref ref;

        ASSERT_OK(catalog_ref_set(ix.catalog, repo, "main", commit, 1700000000, &ref));
        put_text(at(REPO "blobs/" HELLO), "hello\n");
        put_link(at(REPO "snapshots/" COMMIT_A "/config.json"), "../../blobs/" HELLO);
        put_text(at(REPO "refs/main"), COMMIT_A);
        ck_assert(adopt());
        ck_assert_str_eq(ref_of("main"), COMMIT_B);
        ck_assert(has_commit(COMMIT_A));
}
END_TEST

START_TEST(names)
{
        struct repo r;

        put_text(at("store/hub/datasets--squad/refs/main"), COMMIT_A);
        mkdir(at("store/hub/models--empty--repo"), 0755);
        mkdir(at("store/hub/kernels--a--b"), 0755);
        mkdir(at("store/hub/models--a--b--c"), 0755);
        mkdir(at("store/hub/.locks"), 0755);
        put_text(at("store/hub/models--a--file"), "not a folder");
        put_text(at("store/hub/models--new--name/refs/main"), COMMIT_A);
        put_link(at("store/hub/models--old--name"), "models--new--name");
        put_link(at("store/hub/models--evil--link"), "/etc");
        ASSERT_OK(adopt_names(ix.catalog, ix.store));
        ASSERT_OK(adopt_names(ix.catalog, ix.store));
        ASSERT_OK(catalog_repo_find(ix.catalog, REPO_DATASET, "squad", &r));
        ck_assert(r.resolved && !r.scanned);
        ASSERT_OK(catalog_repo_find(ix.catalog, REPO_MODEL, "empty/repo", &r));
        ck_assert(!r.resolved);
        ASSERT_OK(catalog_repo_find(ix.catalog, REPO_MODEL, "old/name", &r));
        ck_assert_str_eq(r.hub_name, "new/name");
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "evil/link", &r), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "a/file", &r), CATALOG_E_NONE);
}
END_TEST

/* What weightfs has put into the store comes back when the catalogue is lost. */
START_TEST(rebuilt)
{
        const struct listed_file file = { "dir/config.json", HELLO, 6 };
        struct blob *b;
        struct repo r;
        bool found;

        add_commit(repo, COMMIT_A, &file, 1);
        b = open_blob(HELLO, 6);
        ASSERT_OK(blob_write(b, "hello\n", 6, 0));
        ASSERT_OK(blob_finish(b, NULL));
        blob_unref(b);
        ASSERT_OK(store_ref_put(ix.store, REPO_MODEL, "a/one", "main", COMMIT_A));
        index_close(&ix);
        unlink(at("state/catalogue.sqlite"));
        unlink(at("state/catalogue.sqlite-wal"));
        unlink(at("state/catalogue.sqlite-shm"));
        index_start();
        ck_assert(ix.rebuilt);
        ASSERT_OK(adopt_names(ix.catalog, ix.store));
        ASSERT_OK(catalog_repo_find(ix.catalog, REPO_MODEL, "a/one", &r));
        ck_assert(r.resolved);
        repo = r.id;
        ASSERT_OK(adopt_repo(ix.catalog, ix.store, repo, &found));
        ck_assert(found);
        ck_assert_str_eq(ref_of("main"), COMMIT_A);
        ck_assert_int_eq(row_of(HELLO, 6).state, BLOB_ADOPTED);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/adopt");
        TCase *t = tcase_create("adopt");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, nothing);
        tcase_add_test(t, plain_cache);
        tcase_add_test(t, with_trees);
        tcase_add_test(t, shared_store);
        tcase_add_test(t, hostile);
        tcase_add_test(t, hub_goes_first);
        tcase_add_test(t, names);
        tcase_add_test(t, rebuilt);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
