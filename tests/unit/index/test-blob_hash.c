/*
 * Tests of index/blob_hash.c: the running hash is that of the file in the end, whatever happens to
 * the blob while it is filled. Each runs with a sha256 and with a git sha1.
 */
#include "index/blob.h"
#include "index/hash.h"

#include "base/fault.h"
#include "base/util.h"

#include "cache.h"

#include <pthread.h>

#define SIZE ((1u << 20) + 4567)
#define HALF (SIZE / 2)

static char data[SIZE], etags[2][ETAG_MAX + 1];
static const char *etag; /* the one that the test is about */
static const atomic_bool cancelled = true;

/* ---- base/fault.h, played here: something can be done at a site, once ---- */

#ifdef WEIGHTFS_FAULTS
static uint64_t passes;
static const char *site_awaited;
static void (*do_at_site)(void);
static bool fail_at_site;
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

static void at_site(const char *site, void (*action)(void), bool fail)
{
        site_awaited = site;
        do_at_site = action;
        fail_at_site = fail;
}

bool fault_hit(const char *site)
{
        bool here;

        pthread_mutex_lock(&fault_lock);
        here = site_awaited && strcmp(site, site_awaited) == 0;
        if (here)
                site_awaited = NULL;
        passes++;
        pthread_mutex_unlock(&fault_lock);
        if (!here)
                return false;
        if (do_at_site)
                do_at_site();
        return fail_at_site;
}
#endif

static void setup(void)
{
        struct listed_file files[2];

        index_setup();
        srand(5);
        for (size_t i = 0; i < SIZE; i++)
                data[i] = (char)rand();
        sha256_of(data, SIZE, etags[0]);
        git_sha1_of(data, SIZE, etags[1]);
        files[0] = (struct listed_file){ "a", etags[0], SIZE };
        files[1] = (struct listed_file){ "b", etags[1], SIZE };
        add_commit(add_repo(REPO_MODEL, "a/one"), COMMIT_A, files, 2);
}

static struct blob *open_it(int kind)
{
        etag = etags[kind];
        return open_blob(etag, SIZE);
}

static void fill(struct blob *b, uint64_t start, uint64_t end)
{
        ASSERT_OK(blob_write(b, data + start, end - start, start));
}

static void fill_wrong(struct blob *b, uint64_t at_)
{
        char wrong = (char)(data[at_] ^ 1);

        ASSERT_OK(blob_write(b, &wrong, 1, at_));
}

/* Hashes on until nothing is left. */
static void hash_on(struct blob *b)
{
        ASSERT_OK(blob_hash_ahead(b, UINT64_MAX, NULL));
        ck_assert_uint_eq(blob_hash_left(b), 0);
}

static void finish(struct blob *b)
{
        static char buf[SIZE + 1];

        ASSERT_OK(blob_finish(b, NULL));
        ck_assert_int_eq(get_file(at("store/hub/models--a--one/blobs/%s", etag), buf, sizeof(buf)), SIZE);
        ck_assert_int_eq(memcmp(buf, data, SIZE), 0);
        ck_assert_uint_eq(blob_hash_left(b), 0);
        ASSERT_OK(blob_hash_ahead(b, UINT64_MAX, NULL));
        blob_unref(b);
}

START_TEST(goes_along_with_the_run)
{
        struct blob *b = open_it(_i);

        ck_assert_uint_eq(blob_hash_left(b), 0);
        hash_on(b); /* nothing there */
        fill(b, 1000, HALF);
        ck_assert_uint_eq(blob_hash_left(b), 0); /* not from the beginning */
        hash_on(b);
        fill(b, 0, 1000);
        ck_assert_uint_eq(blob_hash_left(b), HALF);
        ck_assert_int_eq(blob_hash_ahead(b, UINT64_MAX, &cancelled), -ECANCELED);
        ck_assert_uint_eq(blob_hash_left(b), HALF);
        ASSERT_OK(blob_hash_ahead(b, 1, NULL));
        ck_assert_uint_gt(blob_hash_left(b), 0);
        ck_assert_uint_lt(blob_hash_left(b), HALF);
        hash_on(b);
        fill(b, HALF + 5, SIZE);
        ck_assert_uint_eq(blob_hash_left(b), 0);
        fill(b, HALF, HALF + 5);
        ck_assert_uint_eq(blob_hash_left(b), SIZE - HALF);
        ck_assert_int_eq(blob_finish(b, &cancelled), -ECANCELED);
        finish(b);
}
END_TEST

/* What is left for the end is what was not hashed along. */
START_TEST(little_is_left_for_the_end)
{
#ifdef WEIGHTFS_FAULTS
        struct blob *b = open_it(_i);
        uint64_t all, last;

        fill(b, 0, SIZE);
        passes = 0;
        ASSERT_OK(blob_finish(b, NULL));
        all = passes;
        blob_unref(b);
        index_teardown();
        setup();
        b = open_it(_i);
        fill(b, 0, SIZE - 1);
        hash_on(b);
        fill(b, SIZE - 1, SIZE);
        passes = 0;
        ASSERT_OK(blob_finish(b, NULL));
        last = passes;
        ck_assert_uint_eq(all - last, SIZE / HASH_PIECE); /* one of the pieces is left */
        blob_unref(b);
#else
        (void)_i;
        printf("SKIP little_is_left_for_the_end: built without fault points\n");
#endif
}
END_TEST

/* A wrong byte among what was hashed along, or in what was left. */
START_TEST(a_wrong_byte_is_found)
{
        static const uint64_t places[] = { 0, 1000, HALF, SIZE - 1 };

        for (size_t i = 0; i < 4; i++) {
                struct blob *b = open_it(_i);

                fill_wrong(b, places[i]);
                fill(b, 0, HALF + 1);
                hash_on(b);
                fill(b, 0, SIZE);
                ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
                ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
                ASSERT_OK(blob_drop(b, 0, UINT64_MAX));
                ck_assert_uint_eq(blob_hash_left(b), 0);
                blob_unref(b);
        }
}
END_TEST

/* H1: bytes below what was hashed are given up, and come again, different. */
START_TEST(dropped_below)
{
        struct blob *b = open_it(_i);

        fill_wrong(b, 1000);
        fill(b, 0, HALF);
        hash_on(b);
        ASSERT_OK(blob_drop(b, 900, 1100));
        ck_assert_uint_eq(blob_hash_left(b), 900);
        hash_on(b);
        fill(b, 0, HALF);
        hash_on(b);
        ASSERT_OK(blob_drop(b, 900, 1100));
        fill_wrong(b, 1000);
        fill(b, 0, SIZE);
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ASSERT_OK(blob_drop(b, 1000, 1001));
        fill(b, 1000, 1001);
        finish(b);
}
END_TEST

/* H1: a new file in which others come. */
START_TEST(quarantined_and_filled_again)
{
        struct blob *b = open_it(_i);

        fill_wrong(b, 1000);
        fill(b, 0, SIZE);
        hash_on(b);
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ASSERT_OK(blob_quarantine(b));
        ck_assert_uint_eq(blob_hash_left(b), 0);
        hash_on(b);
        ASSERT_OK(blob_readmit(b));
        fill(b, 0, HALF);
        hash_on(b);
        fill(b, HALF, SIZE);
        finish(b);
}
END_TEST

/* H1: after a failed sync the kernel may have lost what was hashed. */
START_TEST(a_sync_that_failed)
{
#ifdef WEIGHTFS_FAULTS
        struct blob *b = open_it(_i);

        fill_wrong(b, 1000);
        fill(b, 0, HALF);
        hash_on(b);
        at_site("blob.fsync", NULL, true);
        ck_assert_int_eq(blob_sync(b), -EIO);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        ck_assert_uint_eq(blob_hash_left(b), 0);
        fill(b, 0, SIZE);
        hash_on(b);
        at_site("blob.fsync", NULL, true);
        ck_assert_int_eq(blob_finish(b, NULL), -EIO); /* though the hash was right */
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        fill(b, 0, SIZE);
        finish(b);
#else
        (void)_i;
        printf("SKIP a_sync_that_failed: built without fault points\n");
#endif
}
END_TEST

/* A piece that cannot be read is no verdict: the hash begins anew. */
START_TEST(a_read_that_failed)
{
#ifdef WEIGHTFS_FAULTS
        struct blob *b = open_it(_i);

        fill(b, 0, SIZE);
        ASSERT_OK(blob_hash_ahead(b, HALF, NULL));
        at_site("blob.hash", NULL, true);
        ck_assert_int_eq(blob_hash_ahead(b, UINT64_MAX, NULL), -EIO);
        ck_assert_uint_eq(blob_hash_left(b), SIZE);
        ASSERT_OK(blob_hash_ahead(b, HALF, NULL));
        at_site("blob.hash", NULL, true);
        ck_assert_int_eq(blob_finish(b, NULL), -EIO);
        ck_assert_uint_eq(blob_held_bytes(b), SIZE);
        finish(b);
#else
        (void)_i;
        printf("SKIP a_read_that_failed: built without fault points\n");
#endif
}
END_TEST

/* A restart knows nothing of it. */
START_TEST(restarted)
{
        struct blob *b = open_it(_i);

        fill(b, 0, HALF);
        hash_on(b);
        blob_unref(b);
        index_restart();
        b = open_it(_i);
        ck_assert_uint_eq(blob_hash_left(b), HALF);
        hash_on(b);
        fill(b, HALF, SIZE);
        finish(b);
}
END_TEST

/* The final file appears while the blob is filled, and goes again. */
START_TEST(adopted_meanwhile)
{
        struct blob *b = open_it(_i), *again;
        const char *final = at("store/hub/models--a--one/blobs/%s", etag);
        struct blob_row row;

        fill(b, 0, HALF);
        hash_on(b);
        put_file(final, data, SIZE);
        ASSERT_OK(catalog_blob_set_state(ix.catalog, blob_id(b), BLOB_ADOPTED, &row));
        ASSERT_OK(blobs_get(ix.blobs, blob_id(b), &again));
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        hash_on(b);
        put_file(final, "", 0);
        ASSERT_OK(truncate(final, SIZE));
        ck_assert_int_eq(blob_verify_adopted(b, NULL), BLOB_E_HASH);
        blob_unref(again);
        fill(b, 0, HALF);
        hash_on(b);
        fill(b, 0, SIZE);
        finish(b);
}
END_TEST

/* A file that somebody cut or extended is not what the etag says, though its hash was right. */
START_TEST(another_length)
{
        static const off_t lengths[] = { HALF, SIZE + 1 };

        for (size_t i = 0; i < 2; i++) {
                struct blob *b = open_it(_i);

                fill(b, 0, SIZE);
                hash_on(b);
                ASSERT_OK(ftruncate(blob_fd(b), lengths[i]));
                ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
                ASSERT_OK(blob_drop(b, 0, UINT64_MAX));
                blob_unref(b);
        }
}
END_TEST

/* ---- while a piece is hashed ---- */

#ifdef WEIGHTFS_FAULTS
static struct blob *contested;
static atomic_bool stop;

static void stop_it(void)
{
        stop = true;
}

static void *drop_range(void *arg)
{
        ASSERT_OK(blob_drop(arg, 900, 1100));
        return NULL;
}

/* As another thread does: who hashes must not take the lock that comes before. */
static void drop_some(void)
{
        pthread_t thread;

        pthread_create(&thread, NULL, drop_range, contested);
        pthread_join(thread, NULL);
}
#endif

/* What was hashed until then stays. */
START_TEST(stopped_halfway)
{
#ifdef WEIGHTFS_FAULTS
        struct blob *b = open_it(_i);

        fill(b, 0, HALF);
        stop = false;
        at_site("blob.hash", stop_it, false);
        ck_assert_int_eq(blob_hash_ahead(b, UINT64_MAX, &stop), -ECANCELED);
        ck_assert_uint_eq(blob_hash_left(b), HALF - HASH_PIECE);
        fill(b, HALF, SIZE);
        stop = false;
        at_site("blob.hash", stop_it, false);
        ck_assert_int_eq(blob_finish(b, &stop), -ECANCELED);
        ck_assert_uint_eq(blob_hash_left(b), SIZE - 2 * HASH_PIECE);
        finish(b);
#else
        (void)_i;
        printf("SKIP stopped_halfway: built without fault points\n");
#endif
}
END_TEST

/* H1 */
START_TEST(dropped_while_hashed)
{
#ifdef WEIGHTFS_FAULTS
        struct blob *b = contested = open_it(_i);

        fill_wrong(b, 1000);
        fill(b, 0, SIZE);
        at_site("blob.hash", drop_some, false);
        ASSERT_OK(blob_hash_ahead(b, UINT64_MAX, NULL));
        ck_assert_uint_eq(blob_hash_left(b), 900);
        fill(b, 0, SIZE);
        finish(b);
#else
        (void)_i;
        printf("SKIP dropped_while_hashed: built without fault points\n");
#endif
}
END_TEST

/* ---- two writers of one hole ---- */

#ifdef WEIGHTFS_FAULTS

/* Between finding the hole and writing to it another comes first, and what he wrote is hashed. */
static void write_first(void)
{
        fill(contested, 0, HALF);
        hash_on(contested);
}
#endif

/* H1: the verdict is on the bytes that came last, be they wrong or right. */
START_TEST(rivals)
{
#ifdef WEIGHTFS_FAULTS
        char *wrong = malloc(HALF);
        struct blob *b = contested = open_it(_i);

        fill(b, SIZE - 1, SIZE); /* there is a file */
        memcpy(wrong, data, HALF);
        wrong[1000] ^= 1;
        at_site("blob.write", write_first, false);
        ASSERT_OK(blob_write(b, wrong, HALF, 0));
        ck_assert_uint_eq(blob_hash_left(b), HALF);
        hash_on(b);
        fill(b, HALF, SIZE);
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ASSERT_OK(blob_drop(b, 0, HALF));
        at_site("blob.write", write_first, true); /* who came last failed, perhaps halfway */
        ck_assert_int_eq(blob_write(b, wrong, HALF, 0), -ENOSPC);
        ck_assert_uint_eq(blob_hash_left(b), SIZE);
        free(wrong);
        finish(b);
#else
        (void)_i;
        printf("SKIP rivals: built without fault points\n");
#endif
}
END_TEST

/* ---- threads ---- */

static atomic_bool filled;

static void *hash_while_filling(void *arg)
{
        while (!filled)
                ASSERT_OK(blob_hash_ahead(arg, 300000, NULL));
        return NULL;
}

static void *sync_while_filling(void *arg)
{
        while (!filled)
                ASSERT_OK(blob_sync(arg));
        return NULL;
}

/* Gives up what it likes, and sees that it comes again. */
static void *drop_and_fill(void *arg)
{
        struct blob *b = arg;
        unsigned seed = 7;

        for (int i = 0; i < 100; i++) {
                uint64_t start = (uint64_t)rand_r(&seed) % (SIZE - 5000);
                struct range hole;

                ASSERT_OK(blob_drop(b, start, start + 5000));
                while (blob_next_hole(b, 0, SIZE, &hole))
                        fill(b, hole.start, min_u64(hole.end, hole.start + 30000));
        }
        return NULL;
}

START_TEST(along_with_all_others)
{
        struct blob *b = open_it(_i);
        pthread_t hashers[2], syncer, writer;

        filled = false;
        pthread_create(&writer, NULL, drop_and_fill, b);
        pthread_create(&syncer, NULL, sync_while_filling, b);
        for (int i = 0; i < 2; i++)
                pthread_create(&hashers[i], NULL, hash_while_filling, b);
        pthread_join(writer, NULL);
        ASSERT_OK(blob_finish(b, NULL)); /* the hashers give way */
        filled = true;
        pthread_join(syncer, NULL);
        for (int i = 0; i < 2; i++)
                pthread_join(hashers[i], NULL);
        finish(b);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob_hash");
        TCase *t = tcase_create("blob_hash");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_set_timeout(t, 110);
        tcase_add_loop_test(t, goes_along_with_the_run, 0, 2);
        tcase_add_loop_test(t, little_is_left_for_the_end, 0, 2);
        tcase_add_loop_test(t, a_wrong_byte_is_found, 0, 2);
        tcase_add_loop_test(t, dropped_below, 0, 2);
        tcase_add_loop_test(t, quarantined_and_filled_again, 0, 2);
        tcase_add_loop_test(t, a_sync_that_failed, 0, 2);
        tcase_add_loop_test(t, a_read_that_failed, 0, 2);
        tcase_add_loop_test(t, restarted, 0, 2);
        tcase_add_loop_test(t, adopted_meanwhile, 0, 2);
        tcase_add_loop_test(t, another_length, 0, 2);
        tcase_add_loop_test(t, along_with_all_others, 0, 2);
        tcase_add_loop_test(t, stopped_halfway, 0, 2);
        tcase_add_loop_test(t, dropped_while_hashed, 0, 2);
        tcase_add_loop_test(t, rivals, 0, 2);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
