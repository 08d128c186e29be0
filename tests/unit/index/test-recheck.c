/*
 * Tests of index/recheck.c and index/blob_reject.c: damage is found and named, and what is wrong goes out of
 * sight without a right file being touched.
 */
#include "blobs.h"

#include "base/fault.h"
#include "index/recheck.h"

#include <fcntl.h>

static struct recheck_plan plan;

static void complete(void)
{
        struct blob *b = open_blob(etag, SIZE);

        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        blob_unref(b);
        b = open_blob(small_etag, 6);
        ASSERT_OK(blob_write(b, "hello\n", 6, 0));
        ASSERT_OK(blob_finish(b, NULL));
        blob_unref(b);
}

static void recheck_setup(void)
{
        setup();
        complete();
        plan = (struct recheck_plan){};
}

static void recheck_teardown(void)
{
        recheck_plan_done(&plan);
        index_teardown();
}

/* Plans both repos and looks at all that is to be looked at; the bytes read. */
static uint64_t look(void)
{
        _Atomic uint64_t read = 0;
        struct repo repo;

        recheck_plan_done(&plan);
        ASSERT_OK(catalog_repo_get(ix.catalog, repo_a, &repo));
        ASSERT_OK(recheck_plan_repo(&plan, &ix, &repo));
        ASSERT_OK(recheck_plan_repo(&plan, &ix, &repo)); /* once more: adds nothing */
        ASSERT_OK(catalog_repo_get(ix.catalog, repo_b, &repo));
        ASSERT_OK(recheck_plan_repo(&plan, &ix, &repo));
        for (size_t i = 0; i < plan.count; i++)
                if (plan.items[i].same_as == i && plan.items[i].kind == RECHECK_RIGHT)
                        ASSERT_OK(recheck_examine(&ix, &plan.items[i], NULL, &read));
        return read;
}

static struct recheck_item *item_of(int64_t repo, const char *tag)
{
        for (size_t i = 0; i < plan.count; i++)
                if (plan.items[i].repo == repo && strcmp(plan.items[i].etag, tag) == 0)
                        return &plan.items[plan.items[i].same_as];
        return NULL;
}

static void replace_file(const char *path, const void *bytes, size_t len)
{
        unlink(path);
        put_file(path, bytes, len);
}

/* As another program does: in place, whatever names the file has. */
static void overwrite_byte(const char *path)
{
        CLEANUP_FD int fd = open(path, O_WRONLY);

        ASSERT_OK(pwrite_all(fd, "!", 1, 77));
}

START_TEST(all_is_right)
{
        ck_assert_uint_eq(look(), SIZE + 6); /* the hard link in the other repo is not read again */
        ck_assert_uint_eq(plan.count, 3);
        for (size_t i = 0; i < plan.count; i++)
                ck_assert_int_eq(plan.items[i].kind, RECHECK_RIGHT);
        ck_assert_int_gt(row_of(etag, SIZE).verified, 0);
}
END_TEST

START_TEST(each_damage_has_its_name)
{
        static const enum recheck_kind kinds[] = { RECHECK_CHANGED, RECHECK_CUT,     RECHECK_GROWN, RECHECK_MISSING,
                                                   RECHECK_LINK,    RECHECK_NO_FILE, RECHECK_MODE,  RECHECK_LINK };
        const char *path = hub("models--a--one", small_etag);
        struct recheck_item *item;

        switch (_i) {
        case 0: put_text(path, "hullo\n"); break;
        case 1: put_text(path, "hello"); break;
        case 2: put_text(path, "hello\n\n"); break;
        case 3: ASSERT_OK(unlink(path)); break;
        case 4: ASSERT_OK(unlink(path)); ASSERT_OK(symlink("/etc/hostname", path)); break;
        case 5: ASSERT_OK(unlink(path)); ASSERT_OK(mkdir(path, 0755)); break;
        case 6: ASSERT_OK(chmod(path, 0646)); break;
        case 7: ASSERT_OK(unlink(path)); ASSERT_OK(symlink("nothing", path)); break;
        }
        look();
        item = item_of(repo_a, small_etag);
        ck_assert_ptr_nonnull(item);
        ck_assert_int_eq(item->kind, kinds[_i]);
        ck_assert_int_eq(item_of(repo_a, etag)->kind, RECHECK_RIGHT);
        if (_i == 0)
                ck_assert_uint_eq(strlen(item->got), COMMIT_HEX);
        ck_assert_int_eq(row_of(small_etag, 6).state, BLOB_COMPLETE); /* nothing was changed */
        if (_i == 6) {
                ASSERT_OK(store_blob_set_mode(ix.store, REPO_MODEL, "a/one", small_etag));
        } else {
                struct blob *b = open_blob(small_etag, 6);

                ASSERT_OK(blob_reject(b, REPO_MODEL, "a/one", NULL));
                ck_assert_int_eq(blob_state(b), BLOB_FILLING);
                ck_assert(!exists(path));
                ASSERT_OK(blob_write(b, "hello\n", 6, 0));
                ASSERT_OK(blob_finish(b, NULL));
                blob_unref(b);
        }
        look();
        ck_assert_int_eq(item_of(repo_a, small_etag)->kind, RECHECK_RIGHT);
        ck_assert_int_eq(access("/etc/hostname", F_OK), 0);
}
END_TEST

START_TEST(of_no_listing)
{
        char tag[ETAG_MAX + 1], other[ETAG_MAX + 1];

        git_sha1_of("stranger", 8, tag);
        put_text(hub("models--a--one", tag), "stranger");
        sha256_of("x", 1, other);
        put_text(hub("models--a--one", other), "y");
        put_text(hub("models--a--one", "no-etag"), "z");
        look();
        ck_assert_uint_eq(plan.count, 5);
        ck_assert_int_eq(item_of(repo_a, tag)->kind, RECHECK_RIGHT);
        ck_assert_int_eq(item_of(repo_a, tag)->blob, 0);
        ck_assert_int_eq(item_of(repo_a, other)->kind, RECHECK_CHANGED);
        ASSERT_OK(store_blob_set_aside(ix.store, REPO_MODEL, "a/one", other));
        ck_assert(!exists(hub("models--a--one", other)));
        ck_assert_int_eq(store_blob_set_aside(ix.store, REPO_MODEL, "a/one", other), -ENOENT);
}
END_TEST

/* Adopted, or put there by hand where we were filling: right, so complete, without another hash. */
START_TEST(what_is_right_is_complete)
{
        struct blob_row row = row_of(etag, SIZE);

        ASSERT_OK(catalog_blob_set_state(ix.catalog, row.id, BLOB_FILLING, &row));
        ck_assert_int_eq(row.verified, 0);
        if (_i == 0)
                ASSERT_OK(catalog_blob_set_state(ix.catalog, row.id, BLOB_ADOPTED, &row));
        index_restart();
        look();
        ck_assert_int_eq(item_of(repo_a, etag)->kind, RECHECK_RIGHT);
        ck_assert_int_eq(row_of(etag, SIZE).state, BLOB_COMPLETE);
        ck_assert_int_gt(row_of(etag, SIZE).verified, 0);
}
END_TEST

/* The blob is open and read from the wrong file: that goes under both its names. */
START_TEST(an_open_one)
{
        struct blob *b = open_blob(etag, SIZE);
        int fd = blob_fd(b);
        char byte, wrong[ETAG_MAX + 1];

        overwrite_byte(hub("models--a--one", etag));
        look();
        ck_assert_int_eq(item_of(repo_a, etag)->kind, RECHECK_CHANGED);
        ck_assert_int_eq(item_of(repo_b, etag)->kind, RECHECK_CHANGED);
        ASSERT_OK(blob_reject(b, REPO_MODEL, "a/one", item_of(repo_a, etag)->got));
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_uint_eq(blob_incarnation(b), 2);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        blob_wrong_hash(b, wrong);
        ck_assert_str_eq(wrong, item_of(repo_a, etag)->got);
        ck_assert(!exists(hub("models--a--one", etag)) && !exists(hub("datasets--b--two", etag)));
        ck_assert_int_eq(pread_all(fd, &byte, 1, 77), 1); /* R1 */
        ck_assert_int_eq(byte, '!');
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        ck_assert_uint_eq(blob_incarnation(b), 3);
        blob_unref(b);
}
END_TEST

/* One repo's own copy is wrong, the other's is right. */
START_TEST(another_copy_is_right)
{
        struct blob *b;
        char *bad = malloc(SIZE);
        const char *served = _i == 0 ? "datasets--b--two" : "models--a--one"; /* the first is what is opened */

        memcpy(bad, data, SIZE);
        bad[5] ^= 1;
        replace_file(hub(served, etag), bad, SIZE);
        index_restart();
        b = open_blob(etag, SIZE);
        look();
        ck_assert_int_eq(item_of(_i == 0 ? repo_b : repo_a, etag)->kind, RECHECK_CHANGED);
        ck_assert_int_eq(item_of(_i == 0 ? repo_a : repo_b, etag)->kind, RECHECK_RIGHT);
        ASSERT_OK(blob_reject(b, _i == 0 ? REPO_DATASET : REPO_MODEL, _i == 0 ? "b/two" : "a/one", NULL));
        ck_assert(blob_state_whole(blob_state(b)));
        ck_assert_uint_eq(blob_incarnation(b), _i == 0 ? 1 : 3);
        check_bytes(b, 0, SIZE);
        ASSERT_OK(blob_link_places(b, NULL));
        check_whole();
        blob_unref(b);
        free(bad);
}
END_TEST

/* Of an adopted blob of which each repo has a file of its own, one (@_i) or none (2) wrong: it is told, and stays. */
START_TEST(nothing_is_changed)
{
        char *bad = malloc(SIZE);
        struct blob *b;

        memcpy(bad, data, SIZE);
        bad[5] ^= 1;
        index_close(&ix);
        ck_assert_int_eq(remove(at("state/catalogue.sqlite")), 0);
        replace_file(hub("models--a--one", etag), _i == 0 ? bad : data, SIZE);
        replace_file(hub("datasets--b--two", etag), _i == 1 ? bad : data, SIZE);
        index_start();
        add_listings();
        blob_unref(open_blob(etag, SIZE));
        blob_unref(open_blob(small_etag, 6));
        ck_assert_int_eq(row_of(etag, SIZE).state, BLOB_ADOPTED);
        look();
        ck_assert_int_eq(item_of(repo_a, etag)->kind, _i == 0 ? RECHECK_CHANGED : RECHECK_RIGHT);
        ck_assert_int_eq(item_of(repo_b, etag)->kind, _i == 1 ? RECHECK_CHANGED : RECHECK_RIGHT);
        ck_assert_int_eq(row_of(etag, SIZE).state, _i == 2 ? BLOB_COMPLETE : BLOB_ADOPTED);
        ck_assert_int_eq(get_file(hub(_i == 0 ? "models--a--one" : "datasets--b--two", etag), data, SIZE), SIZE);
        ck_assert(_i == 2 || memcmp(data, bad, SIZE) == 0);
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), _i == 2 ? BLOB_COMPLETE : BLOB_ADOPTED);
        blob_unref(b);
        free(bad);
}
END_TEST

/* It is not there at all, and yet open. */
START_TEST(gone_while_open)
{
        struct blob *b = open_blob(etag, SIZE);

        ASSERT_OK(unlink(hub("models--a--one", etag)));
        look();
        ck_assert_int_eq(item_of(repo_b, etag)->kind, RECHECK_RIGHT); /* the other repo's name of it */
        ASSERT_OK(unlink(hub("datasets--b--two", etag)));
        look();
        ck_assert_int_eq(item_of(repo_b, etag)->kind, RECHECK_MISSING);
        ASSERT_OK(blob_reject(b, REPO_DATASET, "b/two", NULL));
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_uint_eq(blob_incarnation(b), 2);
        blob_unref(b);
}
END_TEST

/* Another daemon has moved the file to the quarantine, and perhaps put a right one in its place (@_i 1). */
START_TEST(moved_by_another_daemon)
{
        struct blob *b = open_blob(etag, SIZE);

        blob_unref(b); /* it stays open */
        ASSERT_OK(rename(hub("models--a--one", etag), at("store/quarantine/one")));
        ASSERT_OK(rename(hub("datasets--b--two", etag), at("store/quarantine/two")));
        if (_i == 1)
                put_file(hub("models--a--one", etag), data, SIZE);
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), _i == 0 ? BLOB_FILLING : BLOB_ADOPTED);
        ck_assert_uint_eq(blob_incarnation(b), _i == 0 ? 2 : 3);
        blob_unref(b);
        b = open_blob(small_etag, 6); /* another is as it was, with a name more */
        ASSERT_OK(link(hub("models--a--one", small_etag), at("store/another")));
        blob_unref(b);
        b = open_blob(small_etag, 6);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(blob_incarnation(b), 1);
        blob_unref(b);
}
END_TEST

START_TEST(interrupted)
{
        struct recheck_item *item;

        look();
        item = item_of(repo_a, etag);
        ck_assert_int_eq(recheck_examine(&ix, item, &cancelled, NULL), -ECANCELED);
}
END_TEST

START_TEST(when_it_was_verified_is_kept)
{
        struct blob_row large = row_of(etag, SIZE), none = row_of(empty_etag, 0);
        int64_t ids[] = { large.id, none.id }, began;

        ASSERT_OK(catalog_blobs_verified(ix.catalog, ids, 2, 12345));
        ASSERT_OK(catalog_recheck_began(ix.catalog, &began));
        ck_assert_int_eq(began, 0);
        ASSERT_OK(catalog_recheck_set_began(ix.catalog, 77));
        ASSERT_OK(catalog_recheck_set_began(ix.catalog, 78));
        index_restart();
        ASSERT_OK(catalog_recheck_began(ix.catalog, &began));
        ck_assert_int_eq(began, 78);
        ck_assert_int_eq(row_of(etag, SIZE).verified, 12345);
        ck_assert_int_eq(row_of(empty_etag, 0).verified, 0); /* not held: not verified */
        ASSERT_OK(catalog_blob_set_state(ix.catalog, large.id, BLOB_FILLING, &large));
        ck_assert_int_eq(row_of(etag, SIZE).verified, 0);
}
END_TEST

/* Every failure in turn while a wrong file is rejected: no right file goes, and it can be repeated. */
START_TEST(every_failure)
{
#ifndef WEIGHTFS_FAULTS
        printf("SKIP every_failure: built without fault points\n");
        return;
#endif
        for (uint64_t nth = 1;; nth++) {
                struct blob *b = open_blob(etag, SIZE);
                bool fired;
                int r;

                overwrite_byte(hub("models--a--one", etag));
                fault_arm(nth);
                r = blob_reject(b, REPO_MODEL, "a/one", NULL);
                fired = fault_fired();
                fault_arm(0);
                ck_assert(r == 0 || fired);
                blob_unref(b);
                if (nth % 2)
                        index_restart();
                b = open_blob(etag, SIZE);
                ASSERT_OK(blob_reject(b, REPO_MODEL, "a/one", NULL));
                ASSERT_OK(blob_reject(b, REPO_DATASET, "b/two", NULL));
                ck_assert_int_eq(blob_state(b), BLOB_FILLING);
                ck_assert(!exists(hub("models--a--one", etag)) && !exists(hub("datasets--b--two", etag)));
                fill(b, 0, SIZE);
                ASSERT_OK(blob_finish(b, NULL));
                check_whole();
                blob_unref(b);
                recheck_teardown();
                recheck_setup();
                if (!fired)
                        break;
                ck_assert_uint_lt(nth, 1000);
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/recheck");
        TCase *t = tcase_create("recheck");

        tcase_add_checked_fixture(t, recheck_setup, recheck_teardown);
        tcase_set_timeout(t, 100);
        tcase_add_test(t, all_is_right);
        tcase_add_loop_test(t, each_damage_has_its_name, 0, 8);
        tcase_add_test(t, of_no_listing);
        tcase_add_loop_test(t, what_is_right_is_complete, 0, 2);
        tcase_add_test(t, an_open_one);
        tcase_add_loop_test(t, another_copy_is_right, 0, 2);
        tcase_add_loop_test(t, nothing_is_changed, 0, 3);
        tcase_add_test(t, gone_while_open);
        tcase_add_loop_test(t, moved_by_another_daemon, 0, 2);
        tcase_add_test(t, interrupted);
        tcase_add_test(t, when_it_was_verified_is_kept);
        tcase_add_test(t, every_failure);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
