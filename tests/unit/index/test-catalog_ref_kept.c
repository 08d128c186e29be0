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
                files[count++] = (struct listed_file){ "z", etag(99), UINT64_C(15) << 20 };
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

#define MIB (UINT64_C(1) << 20)

/* Commit @sha with a small file that is held and the large ones @paths of content @content and after, each of @size. */
static struct commit put_weights(unsigned sha, unsigned content, uint64_t size, const char *const *paths)
{
        char etags[8][ETAG_MAX + 1];
        struct listed_file files[8] = { { "config.json", etag(1), 10 } };
        size_t count = 1;

        strcpy(etags[0], etag(1));
        files[0].etag = etags[0];
        for (; *paths; paths++, count++) {
                strcpy(etags[count], etag(content++));
                files[count] = (struct listed_file){ *paths, etags[count], size };
        }
        return put_files(repo.id, sha, true, files, count);
}

#define PATHS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* One commit of which all is held, and then another. */
static void weights_move(const struct commit *one, unsigned first, unsigned count, const struct commit *two)
{
        point(one);
        hold(1, true);
        for (unsigned i = 0; i < count; i++)
                hold(first + i, true);
        point(two);
        ck_assert_int_eq(ref.kept, one->id);
}

START_TEST(weights_under_another_name)
{
        struct commit one = put_weights(1, 10, 400 * MIB, PATHS("model.bin"));
        struct commit two = put_weights(2, 20, 399 * MIB, PATHS("model.safetensors", "onnx/model.onnx"));

        weights_move(&one, 10, 1, &two);
        stands_for(&one);
        hold(20, true);
        stands_for(&two);
        hold(20, false);
        hold(21, true); /* whichever is read */
        stands_for(&two);
}
END_TEST

START_TEST(weights_in_parts)
{
        struct commit one = put_weights(1, 10, 2400 * MIB, PATHS("model.bin"));
        struct commit two = put_weights(2, 20, 100 * MIB, PATHS("1", "2", "3", "4", "5", "6"));

        weights_move(&one, 10, 1, &two);
        stands_for(&one);
        hold(20, true); /* 100 of 2,400 */
        stands_for(&one);
        hold(23, true);
        stands_for(&two);
}
END_TEST

/* Nothing takes the place of what is gone: a ref does not stay where it was for good. */
START_TEST(weights_that_nothing_replaces)
{
        struct commit one = put_weights(1, 10, 400 * MIB, PATHS("a", "model.bin"));
        struct commit two = put_weights(2, 10, 400 * MIB, PATHS("a", "z"));
        struct commit three = put_weights(3, 30, 16 * MIB, PATHS("small"));
        struct commit four = put_weights(4, 40, 16 * MIB - 1, PATHS("1", "2", "3", "4"));

        weights_move(&one, 10, 2, &two);
        stands_for(&two); /* "a" is held, and large */
        weights_move(&one, 10, 2, &three);
        stands_for(&three);
        weights_move(&one, 10, 2, &four);
        stands_for(&four);
        weights_move(&four, 40, 4, &three); /* these were no weights */
        stands_for(&three);
}
END_TEST

/* Both formats were there, and one of them was read: that is what went. */
START_TEST(weights_that_were_there_before)
{
        struct commit one = put_weights(1, 10, 400 * MIB, PATHS("model.bin", "model.safetensors"));
        struct commit two = put_weights(2, 11, 400 * MIB, PATHS("model.safetensors"));

        weights_move(&one, 10, 1, &two);
        stands_for(&one);
        hold(11, true);
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

#define MANY 400

/* What SQLite has done since the last call, in steps of its machine. */
static unsigned steps_of(struct conn *k)
{
        unsigned n = 0;

        for (size_t i = 0; i < STATEMENTS_MAX; i++)
                if (k->statements[i].st)
                        n += (unsigned)sqlite3_stmt_status(k->statements[i].st, SQLITE_STMTSTATUS_VM_STEP, 1);
        return n;
}

/* In all that one thread asked. */
static unsigned steps(void)
{
        return steps_of(cat->idle);
}

/* All files of it have content @content. */
static struct commit put_many(unsigned sha, unsigned content)
{
        static char paths[MANY][16], etags[MANY][ETAG_MAX + 1];
        struct listed_file files[MANY];

        for (unsigned i = 0; i < MANY; i++) {
                snprintf(paths[i], sizeof(paths[i]), "d%u/%04u", i / 100, i);
                strcpy(etags[i], etag(content + i));
                files[i] = (struct listed_file){ paths[i], etags[i], UINT64_C(5) << 30 };
        }
        return put_files(repo.id, sha, true, files, MANY);
}

static unsigned nth_file(unsigned order, unsigned i)
{
        return order == 0 ? i : order == 1 ? MANY - 1 - i : i * 7 % MANY;
}

/* H3: a commit of many files that become whole, the first one first, last, or anyhow. */
START_TEST(a_question_costs_little)
{
        for (unsigned order = 0; order < 3; order++) {
                unsigned a = 10000 * (2 * order + 1), b = a + 10000, walk, all = 0;
                struct commit one = put_many(2 * order + 1, a), two = put_many(2 * order + 2, b);

                point(&one);
                for (unsigned i = 0; i < MANY; i++)
                        hold(a + i, true);
                point(&two);
                for (unsigned i = 0; i < MANY; i++) {
                        (void)steps();
                        stands_for(&one);
                        all += steps();
                        hold(b + nth_file(order, i), true);
                }
                (void)steps();
                stands_for(&two);
                walk = steps(); /* looks at all of it */
                ck_assert_uint_gt(walk, 10 * MANY);
                ck_assert_uint_lt(all, 20 * walk);
                hold(b + MANY / 2, false);
                stands_for(&one);
                (void)steps();
                stands_for(&one);
                ck_assert_uint_lt(steps(), walk / 20);
                hold(b + 3, false); /* before what is known to be lacking */
                hold(b + MANY / 2, true);
                stands_for(&one);
                hold(b + 3, true);
                stands_for(&two);
        }
}
END_TEST

/* Several refs, and commits that share a place among what is remembered. */
START_TEST(refs_do_not_disturb_each_other)
{
        struct commit one = put(1, true, 1, 2), two = put(2, true, 3, 4), three = {}, got;
        struct ref other;

        point(&one);
        hold(1, true);
        hold(2, true);
        for (unsigned i = 0; three.id != two.id + LACKS_MAX; i++)
                three = put(100 + i, true, 5, 6);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "other", one.id, 7, &other), 0);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "other", three.id, 7, &other), 0);
        point(&two);
        hold(5, true);
        for (unsigned i = 0; i < 3; i++) {
                stands_for(&one);
                ck_assert_int_eq(catalog_ref_stands_for(cat, &other, &got), 0);
                ck_assert_int_eq(got.id, one.id);
                hold(3, true);
        }
        hold(6, true);
        ck_assert_int_eq(catalog_ref_stands_for(cat, &other, &got), 0);
        ck_assert_int_eq(got.id, three.id);
        stands_for(&one);
        hold(4, true);
        stands_for(&two);
}
END_TEST

/* A listing that is replaced costs the same however many repos there are. */
START_TEST(refs_of_other_repos_cost_nothing)
{
        unsigned alone, among;
        struct ref other;

        put(1, false, 1, 2);
        (void)steps_of(cat->writer);
        put(1, true, 1, 2);
        alone = steps_of(cat->writer);
        for (unsigned i = 0; i < 200; i++) {
                char name[32];
                int64_t id;

                snprintf(name, sizeof(name), "o/r%u", i);
                id = make_repo(name).id;
                ck_assert_int_eq(catalog_ref_set(cat, id, "main", put_files(id, 1, true, NULL, 0).id, 7, &other), 0);
        }
        put(2, false, 1, 2);
        (void)steps_of(cat->writer);
        put(2, true, 1, 2);
        among = steps_of(cat->writer);
        ck_assert_uint_lt(among, alone + 100);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = { a_ref_moves_on_when_the_new_commit_is_held,
                                       nothing_is_kept_where_nothing_is_held,
                                       a_file_that_the_new_commit_has_no_more,
                                       weights_under_another_name,
                                       weights_in_parts,
                                       weights_that_nothing_replaces,
                                       weights_that_were_there_before,
                                       what_it_stood_for_is_kept_however_often_it_moves,
                                       back_to_what_is_kept,
                                       a_commit_before_that_is_not_usable,
                                       a_partial_listing_that_becomes_whole,
                                       a_question_costs_little,
                                       refs_do_not_disturb_each_other,
                                       refs_of_other_repos_cost_nothing };

        return run_cases("catalog_ref_kept", tests, ARRAY_SIZE(tests), setup);
}
