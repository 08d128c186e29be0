/*
 * Tests of index/recheck_names.c, recheck_look.c and recheck_mend.c: what would mislead a client is found and named,
 * and becomes what the catalogue says.
 */
#include "blobs.h"

#include "index/recheck_internal.h"

#define REPO_A "store/hub/models--a--one/"
#define REPO_B "store/hub/datasets--b--two/"
#define REF REPO_A "refs/main"
#define NESTED REPO_A "refs/refs/pr/1"
#define LINK REPO_A "snapshots/" COMMIT_A "/dir/model.bin"
#define SMALL_LINK REPO_A "snapshots/" COMMIT_A "/small.txt"
#define LISTING REPO_A "trees/" COMMIT_A ".json"
#define COMMIT_X "9999999999999999999999999999999999999999"

static struct recheck_names names;

static void finish(const char *tag, const void *bytes, size_t len)
{
        struct blob *b = open_blob(tag, len);

        ASSERT_OK(blob_write(b, bytes, len, 0));
        ASSERT_OK(blob_finish(b, NULL));
        blob_unref(b);
}

static void look(void)
{
        struct repo repo;

        recheck_names_done(&names);
        ASSERT_OK(catalog_repo_get(ix.catalog, repo_a, &repo));
        ASSERT_OK(recheck_names_repo(&names, &ix, &repo, NULL));
        ASSERT_OK(catalog_repo_get(ix.catalog, repo_b, &repo));
        ASSERT_OK(recheck_names_repo(&names, &ix, &repo, NULL));
}

static int mend_all(void)
{
        int result = 0;

        for (const struct recheck_name *n = NULL; (n = recheck_names_next(&names, n));) {
                int r = recheck_name_mend(&ix, n);

                result = r < 0 ? r : result;
        }
        return result;
}

static void put_ref(const char *name)
{
        struct commit commit;
        struct ref ref;

        ASSERT_OK(catalog_commit_find(ix.catalog, repo_a, COMMIT_A, &commit));
        ASSERT_OK(catalog_ref_set(ix.catalog, repo_a, name, commit.id, 1, &ref));
        ASSERT_OK(store_ref_put(ix.store, REPO_MODEL, "a/one", name, COMMIT_A));
}

/* Two repos; the large file is complete, the empty one of them is not held. Their listings are first missing. */
static void names_setup(void)
{
        setup();
        finish(etag, data, SIZE);
        finish(small_etag, "hello\n", 6);
        put_ref("main");
        put_ref("refs/pr/1");
        look();
        ck_assert_uint_eq(HASH_COUNT(names.first), 2);
        for (const struct recheck_name *n = NULL; (n = recheck_names_next(&names, n));) {
                ck_assert_int_eq(recheck_name_kind(n), RECHECK_NAME_LISTING);
                ck_assert_int_eq(recheck_name_fault(n), RECHECK_NAME_MISSING);
        }
        ASSERT_OK(mend_all());
        look();
        ck_assert_ptr_null(recheck_names_next(&names, NULL));
        ck_assert_uint_eq(names.looked, 2 + 4 + 1 + 2);
}

static void names_teardown(void)
{
        recheck_names_done(&names);
        index_teardown();
}

static void replace(const char *path, const char *text)
{
        unlink(path);
        put_text(path, text);
}

static void relink(const char *path, const char *target)
{
        ASSERT_OK(unlink(path));
        ASSERT_OK(symlink(target, path));
}

static char *text_of(const char *path)
{
        char *text = calloc(1, 4096);

        ck_assert_int_gt(get_file(path, text, 4095), 0);
        return text;
}

/* Another size, or another path, in the listing of the first repo. */
static void edit_listing(const char *what, const char *with)
{
        char *text = text_of(at(LISTING)), *place = strstr(text, what);

        ck_assert_ptr_nonnull(place);
        ck_assert_uint_eq(strlen(what), strlen(with));
        memcpy(place, with, strlen(with));
        replace(at(LISTING), text);
        free(text);
}

static void damage(int kind)
{
        char target[100];

        switch (kind) {
        case 0: ASSERT_OK(unlink(at(REF))); break;
        case 1: replace(at(REF), "main"); break;
        case 2: replace(at(REF), COMMIT_A "\n\n"); break;
        case 3: replace(at(REF), COMMIT_X); break;
        case 4: relink(at(REF), "refs/pr/1"); break;
        case 5: replace(at(NESTED), ""); break;
        case 6: ASSERT_OK(unlink(at(LINK))); break;
        case 7:
                snprintf(target, sizeof(target), "../../../blobs/%s", small_etag);
                relink(at(LINK), target);
                break;
        case 8: relink(at(LINK), "/etc/hostname"); break;
        case 9:
                snprintf(target, sizeof(target), "../../blobs/%s", etag); /* one level short */
                relink(at(LINK), target);
                break;
        case 10: ASSERT_OK(unlink(at(LISTING))); break;
        case 11: replace(at(LISTING), "{"); break;
        case 12: edit_listing("\"size\":6", "\"size\":7"); break;
        case 13: edit_listing("small.txt", "smalm.txt"); break;
        case 14: edit_listing(small_etag, empty_etag); break;
        case 15: relink(at(LISTING), "/etc/hostname"); break;
        case 16: /* a folder that leads elsewhere */
                ASSERT_OK(rename(at(REPO_A "snapshots/" COMMIT_A "/dir"), at("elsewhere")));
                ASSERT_OK(symlink(at("elsewhere"), at(REPO_A "snapshots/" COMMIT_A "/dir")));
                break;
        case 17: replace(at(REF), "the very name of a branch, 40 characters"); break;
        }
}

static const struct {
        enum recheck_name_kind kind;
        enum recheck_name_fault fault;
        const char *path;
        int mended;
} cases[] = {
        { RECHECK_NAME_REF, RECHECK_NAME_MISSING, "refs/main", 0 },
        { RECHECK_NAME_REF, RECHECK_NAME_BROKEN, "refs/main", 0 },
        { RECHECK_NAME_REF, RECHECK_NAME_BROKEN, "refs/main", 0 },
        { RECHECK_NAME_REF, RECHECK_NAME_WRONG, "refs/main", 0 },
        { RECHECK_NAME_REF, RECHECK_NAME_BROKEN, "refs/main", 0 },
        { RECHECK_NAME_REF, RECHECK_NAME_BROKEN, "refs/refs/pr/1", 0 },
        { RECHECK_NAME_LINK, RECHECK_NAME_MISSING, "snapshots/" COMMIT_A "/dir/model.bin", 0 },
        { RECHECK_NAME_LINK, RECHECK_NAME_WRONG, "snapshots/" COMMIT_A "/dir/model.bin", 0 },
        { RECHECK_NAME_LINK, RECHECK_NAME_WRONG, "snapshots/" COMMIT_A "/dir/model.bin", 0 },
        { RECHECK_NAME_LINK, RECHECK_NAME_WRONG, "snapshots/" COMMIT_A "/dir/model.bin", 0 },
        { RECHECK_NAME_LISTING, RECHECK_NAME_MISSING, "trees/" COMMIT_A ".json", 0 },
        { RECHECK_NAME_LISTING, RECHECK_NAME_BROKEN, "trees/" COMMIT_A ".json", 0 },
        { RECHECK_NAME_LISTING, RECHECK_NAME_WRONG, "trees/" COMMIT_A ".json", 0 },
        { RECHECK_NAME_LISTING, RECHECK_NAME_WRONG, "trees/" COMMIT_A ".json", 0 },
        { RECHECK_NAME_LISTING, RECHECK_NAME_WRONG, "trees/" COMMIT_A ".json", 0 },
        { RECHECK_NAME_LISTING, RECHECK_NAME_BROKEN, "trees/" COMMIT_A ".json", 0 },
        { RECHECK_NAME_LINK, RECHECK_NAME_BROKEN, "snapshots/" COMMIT_A "/dir/model.bin", -ELOOP },
        { RECHECK_NAME_REF, RECHECK_NAME_BROKEN, "refs/main", 0 },
};

START_TEST(each_damage_has_its_name)
{
        char *listing = text_of(at(LISTING)), *now;
        const struct recheck_name *n;

        damage(_i);
        look();
        n = recheck_names_next(&names, NULL);
        ck_assert_ptr_nonnull(n);
        ck_assert_ptr_null(recheck_names_next(&names, n));
        ck_assert_int_eq(recheck_name_kind(n), cases[_i].kind);
        ck_assert_int_eq(recheck_name_fault(n), cases[_i].fault);
        ck_assert_str_eq(recheck_name_path(n), cases[_i].path);
        ck_assert_int_eq(recheck_name_repo(n)->id, repo_a);
        ck_assert_int_eq(recheck_name_mend(&ix, n), cases[_i].mended);
        ck_assert_int_eq(recheck_name_mend(&ix, n), cases[_i].mended); /* again: it is by now */
        look();
        ck_assert_int_eq(recheck_names_next(&names, NULL) == NULL, cases[_i].mended == 0);
        now = text_of(at(LISTING));
        ck_assert_str_eq(now, listing);
        ck_assert_int_eq(access("/etc/hostname", F_OK), 0);
        ck_assert(_i != 16 || exists(at("elsewhere/model.bin")));
        free(now);
        free(listing);
}
END_TEST

/* What nothing that is known could mend: it is said, and stays. */
START_TEST(cannot_be_mended)
{
        static const int results[] = { -ENODATA, -ENODATA, -ENODATA, -EEXIST, -ENXIO };
        char target[100];

        switch (_i) {
        case 0: put_text(at(REPO_A "refs/other"), "main"); break;
        case 1: put_text(at(REPO_A "refs/other"), COMMIT_X); break;
        case 2: put_text(at(REPO_A "trees/" COMMIT_X ".json"), "{"); break;
        case 3:
                ASSERT_OK(unlink(at(SMALL_LINK)));
                ASSERT_OK(mkdir(at(SMALL_LINK), 0755));
                break;
        case 4: /* of the empty file, which is not held */
                snprintf(target, sizeof(target), "../../blobs/%s", small_etag);
                put_link(at(REPO_A "snapshots/" COMMIT_A "/empty"), target);
                break;
        }
        look();
        ck_assert_uint_eq(HASH_COUNT(names.first), 1);
        ck_assert_int_eq(mend_all(), results[_i]);
        look();
        ck_assert_uint_eq(HASH_COUNT(names.first), 1);
}
END_TEST

/* What others have there, and is right, or no matter of ours. */
START_TEST(no_findings)
{
        char target[300], *text;

        switch (_i) {
        case 0: replace(at(REF), COMMIT_A "\n"); break;
        case 1: /* a commit of another daemon's: the store has its listing, or a snapshot alone */
                put_text(at(REPO_A "refs/other"), COMMIT_X);
                text = text_of(at(LISTING));
                put_text(at(REPO_A "trees/" COMMIT_X ".json"), text);
                free(text);
                break;
        case 2:
                put_text(at(REPO_A "refs/other"), COMMIT_X);
                put_text(at(REPO_A "snapshots/" COMMIT_X "/file"), "");
                break;
        case 3:
                snprintf(target, sizeof(target), "/mnt/cache/models--a--one/blobs/%s", etag);
                relink(at(LINK), target);
                break;
        case 4: replace(at(SMALL_LINK), "hello\n"); break; /* a cache without links */
        case 5: ASSERT_OK(unlink(hub("models--a--one", small_etag))); break; /* recheck.h's matter */
        case 6: /* a right link that is early */
                snprintf(target, sizeof(target), "../../blobs/%s", empty_etag);
                put_link(at(REPO_A "snapshots/" COMMIT_A "/empty"), target);
                break;
        case 7:
                put_text(at(REPO_A "refs/.hidden"), "x");
                put_text(at(REPO_A "trees/other"), "x");
                break;
        }
        look();
        ck_assert_uint_eq(HASH_COUNT(names.first), 0);
}
END_TEST

/* Two rows for one folder: a repo under its old name too. */
START_TEST(a_finding_is_told_once)
{
        struct repo old, repo;

        ASSERT_OK(catalog_repo_get(ix.catalog, repo_a, &repo));
        ASSERT_OK(catalog_repo_put(ix.catalog, REPO_MODEL, "old/name", "a/one", true, &old));
        damage(1);
        recheck_names_done(&names);
        ASSERT_OK(recheck_names_repo(&names, &ix, &repo, NULL));
        ASSERT_OK(recheck_names_repo(&names, &ix, &old, NULL));
        ck_assert_uint_eq(HASH_COUNT(names.first), 1);
        ck_assert_int_eq(recheck_names_repo(&names, &ix, &old, &cancelled), -ECANCELED);
}
END_TEST

START_TEST(no_folder)
{
        struct repo repo;

        recheck_names_done(&names);
        ASSERT_OK(catalog_repo_get(ix.catalog, repo_b, &repo));
        ASSERT_OK(rename(at(REPO_B), at("away")));
        ASSERT_OK(recheck_names_repo(&names, &ix, &repo, NULL));
        ck_assert_uint_eq(names.looked, 0);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/recheck_names");
        TCase *t = tcase_create("recheck_names");

        tcase_add_checked_fixture(t, names_setup, names_teardown);
        tcase_add_loop_test(t, each_damage_has_its_name, 0, ARRAY_SIZE(cases));
        tcase_add_loop_test(t, cannot_be_mended, 0, 5);
        tcase_add_loop_test(t, no_findings, 0, 8);
        tcase_add_test(t, a_finding_is_told_once);
        tcase_add_test(t, no_folder);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
