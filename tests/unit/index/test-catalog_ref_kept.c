/*
 * Tests of catalog_ref_kept.c.
 */
#include "test-catalog.h"

static struct repo repo;
static struct ref ref;

static void setup(void)
{
        cat_setup();
        repo = make_repo("o/r");
}

/* The etag of content @n. */
static const char *etag(unsigned n)
{
        return sha_of(1000 + n);
}

/* Commit @sha with config.json, of content @config, and a big file, of content @big; 0: it is not there. */
static struct commit put(unsigned sha, bool whole, unsigned config, unsigned big)
{
        struct listed_file files[3];
        size_t count = 0;

        if (config)
                files[count++] = (struct listed_file){ "a/config.json", etag(config), 10 };
        if (big)
                files[count++] = (struct listed_file){ "a/model.bin", etag(big), UINT64_C(5) << 30 };
        if (whole)
                files[count++] = (struct listed_file){ "z", etag(99), UINT64_C(5) << 30 };
        return put_files(repo.id, sha, whole, files, count);
}

/* Content @n is held, or is no more. */
static void hold(unsigned n, bool held)
{
        struct blob_row row;

        ck_assert_int_eq(catalog_blob_next_of_etag(cat, etag(n), -1, &row), 0);
        ck_assert_int_eq(catalog_blob_set_state(cat, row.id, held ? BLOB_COMPLETE : BLOB_FILLING, &row), 0);
}

static void point(const struct commit *commit)
{
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", commit->id, 7, &ref), 0);
        ck_assert_int_eq(ref.commit, commit->id);
        check_invariants();
}

static void stands_for(const struct commit *commit)
{
        struct commit got;
        struct ref now;

        ck_assert_int_eq(catalog_ref_find(cat, repo.id, "main", &now), 0);
        ck_assert_int_eq(catalog_ref_stands_for(cat, &now, &got), 0);
        ck_assert_str_eq(got.sha, commit->sha);
}

START_TEST(a_ref_moves_on_when_the_new_commit_is_held)
{
        struct commit one = put(1, true, 1, 2), two = put(2, true, 3, 4);

        point(&one);
        hold(1, true);
        hold(2, true);
        point(&two);
        ck_assert_int_eq(ref.kept, one.id);
        stands_for(&one);
        hold(3, true); /* it can be shown, but the big one is missing */
        stands_for(&one);
        hold(4, true);
        stands_for(&two);
        hold(4, false); /* as it was */
        stands_for(&one);
        hold(4, true);
        ck_assert_int_eq(catalog_ref_settle(cat, &ref), 0);
        hold(4, false);
        stands_for(&two);
}
END_TEST

START_TEST(nothing_is_kept_where_nothing_is_held)
{
        struct commit one = put(1, true, 1, 2), two = put(2, true, 3, 4);

        point(&one);
        point(&two);
        ck_assert_int_eq(ref.kept, 0);
        stands_for(&two);
}
END_TEST

/* What the new commit does not have at all is no lack. */
START_TEST(a_file_that_the_new_commit_has_no_more)
{
        struct commit one = put(1, true, 1, 2), two = put(2, true, 3, 0);

        point(&one);
        hold(1, true);
        hold(2, true);
        point(&two);
        stands_for(&one);
        hold(3, true);
        stands_for(&two);
}
END_TEST

START_TEST(what_it_stood_for_is_kept_however_often_it_moves)
{
        struct commit one = put(1, true, 1, 2), two = put(2, true, 3, 4), three = put(3, true, 5, 6);

        point(&one);
        hold(1, true);
        hold(2, true);
        point(&two);
        hold(3, true);
        point(&three);
        ck_assert_int_eq(ref.kept, one.id);
        hold(5, true);
        stands_for(&one);
        hold(6, true);
        stands_for(&three);
        point(&one); /* back: the newer one can be loaded too, and so can this */
        stands_for(&one);
}
END_TEST

START_TEST(back_to_what_is_kept)
{
        struct commit one = put(1, true, 1, 2), two = put(2, true, 3, 4);

        point(&one);
        hold(1, true);
        point(&two);
        point(&one);
        ck_assert_int_eq(ref.kept, 0);
        stands_for(&one);
}
END_TEST

/* Of a commit that cannot be loaded itself nothing is gained. */
START_TEST(a_commit_before_that_is_not_usable)
{
        struct commit one = put(1, true, 1, 2), two = put(2, true, 3, 4);

        point(&one);
        hold(2, true); /* its config.json is missing */
        point(&two);
        ck_assert_int_eq(ref.kept, one.id);
        stands_for(&two);
        hold(1, true);
        stands_for(&one);
}
END_TEST

START_TEST(a_partial_listing_that_becomes_whole)
{
        struct commit part = put(1, false, 1, 2), two = put(2, true, 3, 4), one;

        hold(1, true);
        hold(2, true);
        point(&part);
        point(&two);
        ck_assert_int_eq(ref.kept, part.id);
        one = put(1, true, 1, 2);
        ck_assert_int_ne(one.id, part.id);
        check_invariants();
        stands_for(&one);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = { a_ref_moves_on_when_the_new_commit_is_held,
                                       nothing_is_kept_where_nothing_is_held,
                                       a_file_that_the_new_commit_has_no_more,
                                       what_it_stood_for_is_kept_however_often_it_moves,
                                       back_to_what_is_kept,
                                       a_commit_before_that_is_not_usable,
                                       a_partial_listing_that_becomes_whole };

        return run_cases("catalog_ref_kept", tests, ARRAY_SIZE(tests), setup);
}
