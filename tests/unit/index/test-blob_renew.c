/*
 * Tests of index/blob_renew.c: what was wrong is never given out under its old incarnation, also where the
 * catalogue cannot be written when it is found out.
 */
#include "blobs.h"
#include "index/blob_internal.h"

#include "base/fault.h"

/* The catalogue's next transaction fails. */
static void catalogue_fails(void)
{
        static unsigned passes;
        char fault[32];

        snprintf(fault, sizeof(fault), "catalog.begin:%u", ++passes);
        setenv("WEIGHTFS_FAULT", fault, 1);
}

static void catalogue_works(void)
{
        unsetenv("WEIGHTFS_FAULT");
}

static void get_again(struct blob **b)
{
        struct blobs *t = (*b)->table;
        int64_t id = blob_id(*b);

        blob_unref(*b);
        ASSERT_OK(blobs_get(t, id, b));
}

static const char *mark(void)
{
        char suffix[32];

        snprintf(suffix, sizeof(suffix), ".%u.renew", SIZE);
        return partial(suffix);
}

static bool marked(void)
{
        return exists(mark());
}

/* All of the large blob in its first incarnation, with a wrong byte. */
static struct blob *wrong_blob(void)
{
        struct blob *b = open_blob(etag, SIZE);
        char wrong = (char)(data[77] ^ 1);

        fill(b, 0, 77);
        ASSERT_OK(blob_write(b, &wrong, 1, 77));
        fill(b, 78, SIZE);
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ck_assert_uint_eq(blob_incarnation(b), 0);
        return b;
}

/* As another program does: in place, whatever names the file has. */
static void overwrite_byte(const char *path)
{
        CLEANUP_FD int fd = open(path, O_WRONLY);

        ASSERT_OK(pwrite_all(fd, "!", 1, 77));
}

/* A node of the first incarnation may be opened while the present one is it, or complete from it. */
static void check_new(struct blob *b)
{
        ck_assert_uint_gt(blob_incarnation(b), 1);
        ck_assert_uint_eq(row_of(etag, SIZE).incarnation, blob_incarnation(b));
}

static void find_out(struct blob *b, int how)
{
        catalogue_fails();
        ASSERT_OK(how == 0 ? blob_doubt(b) : how == 1 ? blob_drop(b, 0, UINT64_MAX) : blob_quarantine(b));
        ck_assert(fault_fired());
        catalogue_works();
        ck_assert(blob_owes(b));
        ck_assert_uint_eq(blob_incarnation(b), 0);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        ck_assert_int_eq(blob_state(b), how == 2 ? BLOB_QUARANTINED : BLOB_FILLING);
}

/* It is not opened before the catalogue can be written, and then of another incarnation. */
START_TEST(opened)
{
        struct blob *b = wrong_blob();

        find_out(b, _i);
        for (int i = 0; i < 3; i++) {
                catalogue_fails();
                ck_assert_int_eq(blob_may_open(b), -EIO);
                catalogue_works();
                get_again(&b); /* idle meanwhile */
                ck_assert(blob_owes(b));
        }
        ASSERT_OK(blob_may_open(b));
        ck_assert(!blob_owes(b) && !marked());
        check_new(b);
        ck_assert_int_eq(row_of(etag, SIZE).state, _i == 2 ? BLOB_QUARANTINED : BLOB_FILLING);
        blob_unref(b);
}
END_TEST

/* Nor does it become complete before: the complete incarnation would count as the same bytes. */
START_TEST(finished)
{
        struct blob *b = wrong_blob();

        find_out(b, _i);
        fill(b, 0, SIZE);
        catalogue_fails();
        ck_assert_int_eq(blob_finish(b, NULL), -EIO);
        catalogue_works();
        ck_assert(blob_owes(b));
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        check_new(b);
        ck_assert(!blob_owes(b) && !marked());
        ck_assert_int_eq(row_of(etag, SIZE).state, BLOB_COMPLETE);
        blob_unref(b);
}
END_TEST

/* A file of the store, adopted or complete: it is not read any longer, whatever its row says. */
START_TEST(whole)
{
        struct blob *b = open_blob(etag, SIZE);
        uint32_t before;

        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        blob_unref(b);
        if (_i == 0) { /* adopted once more */
                index_close(&ix);
                ck_assert_int_eq(remove(at("state/catalogue.sqlite")), 0);
                index_start();
                add_listings();
        }
        b = open_blob(etag, SIZE);
        before = blob_incarnation(b);
        ck_assert_int_eq(blob_state(b), _i == 0 ? BLOB_ADOPTED : BLOB_COMPLETE);
        overwrite_byte(hub("models--a--one", etag));
        catalogue_fails();
        if (_i == 0)
                ck_assert_int_eq(blob_verify_adopted(b, NULL), BLOB_E_HASH);
        else
                ASSERT_OK(blob_reject(b, REPO_MODEL, "a/one", NULL));
        catalogue_works();
        ck_assert(blob_owes(b) && marked());
        ck_assert(!blob_holds(b, 0, 1));
        get_again(&b);
        ck_assert(blob_owes(b));
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_uint_eq(blob_incarnation(b), before);
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        ck_assert_uint_eq(blob_incarnation(b), before + 2);
        check_whole();
        blob_unref(b);
}
END_TEST

/* Others that are opened and idle do not push it out of memory, where alone it is known. */
START_TEST(many_others)
{
        struct blob *b = wrong_blob(), *other;
        char tags[100][ETAG_MAX + 1];
        struct listed_file files[100];
        int64_t id = blob_id(b);

        for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
                sha256_of(&i, sizeof(i), tags[i]);
                files[i] = (struct listed_file){ .path = tags[i], .etag = tags[i], .size = sizeof(i) };
        }
        add_commit(repo_a, COMMIT_B, files, ARRAY_SIZE(files));
        find_out(b, 0);
        ASSERT_OK(unlink(mark()));
        blob_unref(b);
        for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
                blob_unref(open_blob(tags[i], sizeof(i)));
        ASSERT_OK(blobs_get(ix.blobs, id, &other));
        ck_assert_ptr_eq(other, b);
        ck_assert(blob_owes(b));
        blob_unref(b);
}
END_TEST

/* N3 */
START_TEST(restarted)
{
        struct blob *b = wrong_blob();

        find_out(b, _i);
        if (_i == 1)
                fill(b, 0, 1000);
        blob_unref(b);
        ck_assert(marked());
        index_restart();
        ck_assert_uint_eq(row_of(etag, SIZE).incarnation, 0);
        catalogue_fails();
        ck_assert_int_eq(blobs_get(ix.blobs, row_of(etag, SIZE).id, &b), -EIO);
        catalogue_works();
        b = open_blob(etag, SIZE);
        check_new(b);
        ck_assert(!blob_owes(b) && !marked());
        ck_assert_uint_eq(blob_held_bytes(b), _i == 1 ? 1000 : 0);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING); /* of the quarantine it could not be noted either */
        blob_unref(b);
}
END_TEST

/* A file that somebody cut has the same name and is another blob: it does not pay. */
START_TEST(another_size)
{
        struct listed_file cut = { .path = "cut", .etag = etag, .size = SIZE - 1 };
        struct blob *b = wrong_blob();
        struct commit commit;

        ASSERT_OK(catalog_commit_put(ix.catalog, repo_a, COMMIT_B, 1, false, &cut, 1, &commit));
        find_out(b, 0);
        blob_unref(b);
        index_restart();
        b = open_blob(etag, SIZE - 1);
        ck_assert_uint_eq(blob_incarnation(b), 0);
        blob_unref(b);
        b = open_blob(etag, SIZE);
        check_new(b);
        ck_assert(!marked());
        blob_unref(b);
}
END_TEST

/* Whatever fails when it is found out: it is of another incarnation, or owes one. */
START_TEST(every_failure)
{
        for (uint64_t nth = 1;; nth++) {
                struct blob *b = wrong_blob();
                bool fired;

                fault_arm(nth);
                (void)blob_doubt(b);
                fired = fault_fired();
                fault_arm(0);
                ck_assert(blob_owes(b) || blob_incarnation(b) > 1);
                ASSERT_OK(blob_may_open(b));
                check_new(b);
                blob_unref(b);
                index_teardown();
                setup();
                if (!fired)
                        break;
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob_renew");
        TCase *t = tcase_create("blob_renew");

#ifndef WEIGHTFS_FAULTS
        printf("SKIP all: built without fault points\n");
        return EXIT_SUCCESS;
#endif
        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_add_loop_test(t, opened, 0, 3);
        tcase_add_loop_test(t, finished, 0, 3);
        tcase_add_loop_test(t, whole, 0, 2);
        tcase_add_test(t, many_others);
        tcase_add_loop_test(t, restarted, 0, 3);
        tcase_add_test(t, another_size);
        tcase_add_test(t, every_failure);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
