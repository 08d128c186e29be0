/*
 * Tests of index/ref_store.c: what a ref in the store says while it moves, and blobs become whole.
 */
#include "index/ref_store.h"

#include "cache.h"

#define REF "store/hub/models--o--r/refs/main"
#define COMMIT_C "3333333333333333333333333333333333333333"

static struct repo repo;
static struct commit one, two, three;
static char tags[3][ETAG_MAX + 1];

static struct commit put(const char *sha, unsigned content)
{
        const struct listed_file file = { "model.bin", tags[content], UINT64_C(5) << 30 };
        struct commit commit;

        ASSERT_OK(catalog_commit_put(ix.catalog, repo.id, sha, 1, true, &file, 1, &commit));
        return commit;
}

static void setup(void)
{
        index_setup();
        ASSERT_OK(catalog_repo_put(ix.catalog, REPO_MODEL, "o/r", "o/r", true, &repo));
        for (unsigned i = 0; i < ARRAY_SIZE(tags); i++)
                sha256_of(&i, sizeof(i), tags[i]);
        one = put(COMMIT_A, 0);
        two = put(COMMIT_B, 1);
        three = put(COMMIT_C, 2);
}

static void set(unsigned content, enum blob_state state)
{
        struct blob_row row = row_of(tags[content], UINT64_C(5) << 30);

        ASSERT_OK(catalog_blob_set_state(ix.catalog, row.id, state, &row));
}

static void hold(unsigned content)
{
        set(content, BLOB_COMPLETE);
}

static struct ref point(const struct commit *commit)
{
        struct ref ref;

        ASSERT_OK(catalog_ref_set(ix.catalog, repo.id, "main", commit->id, 7, &ref));
        return ref;
}

static void store(const struct ref *ref)
{
        ASSERT_OK(ref_store(ix.catalog, ix.store, &repo, ref->name));
}

static void check(const char *sha, int64_t kept)
{
        char text[COMMIT_HEX + 2] = "";
        struct ref ref;

        ck_assert_int_eq(get_file(at(REF), text, sizeof(text)), COMMIT_HEX);
        ck_assert_str_eq(text, sha);
        ASSERT_OK(catalog_ref_find(ix.catalog, repo.id, "main", &ref));
        ck_assert_int_eq(ref.kept, kept);
}

START_TEST(it_moves_on_when_all_is_held)
{
        struct ref ref = point(&one);

        store(&ref);
        check(COMMIT_A, 0);
        hold(0);
        ref = point(&two);
        store(&ref);
        check(COMMIT_A, one.id);
        hold(1);
        store(&ref);
        check(COMMIT_B, 0);
}
END_TEST

/* A thread that saw the ref before it moved, and comes late. */
START_TEST(what_was_read_before_it_moved)
{
        struct ref ref = point(&one), late;

        hold(0);
        late = point(&two);
        store(&late);
        hold(1);
        hold(2);
        ref = point(&three);
        store(&ref);
        check(COMMIT_C, 0);
        store(&late);
        check(COMMIT_C, 0);
        ASSERT_OK(catalog_ref_remove(ix.catalog, repo.id, "main"));
        store(&late);
}
END_TEST

/* One asks before the last file is whole and writes afterwards, when another has written already: as often as chance
 * has it. What the last one to write leaves is true. */
static void *store_ref(void *ref)
{
        store(ref);
        return NULL;
}

START_TEST(threads)
{
        hold(0);
        for (int i = 0; i < 200; i++) {
                struct ref ref = point(&one);
                pthread_t thread;

                ASSERT_OK(catalog_ref_settle(ix.catalog, &ref));
                ref = point(&two);
                put_text(at(REF), "");
                ck_assert_int_eq(pthread_create(&thread, NULL, store_ref, &ref), 0);
                set(1, BLOB_COMPLETE);
                store(&ref);
                pthread_join(thread, NULL);
                check(COMMIT_B, 0);
                set(1, BLOB_FILLING);
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/ref_store");
        TCase *t = tcase_create("ref_store");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_add_test(t, it_moves_on_when_all_is_held);
        tcase_add_test(t, what_was_read_before_it_moved);
        tcase_add_test(t, threads);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
