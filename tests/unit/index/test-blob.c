/*
 * Tests of index/blob.h: a blob's life, the table, many threads. Filling: test-blob_fill.c; becoming whole:
 * test-blob_finish.c.
 */
#include "blobs.h"

#include <pthread.h>

START_TEST(life_of_a_blob)
{
        struct blob *b = open_blob(etag, SIZE), *again;
        struct range hole;
        struct stat x, y;
        int fd;

        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_uint_eq(blob_size(b), SIZE);
        ck_assert_str_eq(blob_etag(b), etag);
        ck_assert_int_eq(blob_fd(b), -ENODATA);
        ck_assert(!blob_holds(b, 0, 1));
        ck_assert(blob_next_hole(b, 10, UINT64_MAX, &hole));
        ck_assert_uint_eq(hole.end, SIZE);
        ck_assert_int_eq(blob_finish(b, NULL), -ENODATA);
        fill(b, 1000, 2000);
        fill(b, 1500, 3000);
        ck_assert_uint_eq(blob_held_bytes(b), 2000);
        ck_assert_uint_eq(blob_run_end(b, 1000), 3000);
        ck_assert_uint_eq(blob_run_end(b, 999), 999);
        check_bytes(b, 1000, 3000);
        ck_assert(blob_holds(b, 5, 5));
        ck_assert_int_eq(blob_write(b, data, 2, SIZE - 1), -EINVAL);
        ck_assert_int_eq(blob_write(b, data, 1, UINT64_MAX), -EINVAL);
        ASSERT_OK(blob_write(b, data, 0, SIZE));
        fd = blob_fd(b);
        fill(b, 0, SIZE);
        ck_assert_int_eq(blob_finish(b, &cancelled), -ECANCELED);
        ASSERT_OK(blob_finish(b, NULL));
        ASSERT_OK(blob_finish(b, NULL));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(blob_incarnation(b), 1);
        ck_assert_int_eq(blob_fd(b), fd); /* completion keeps the descriptor */
        ASSERT_OK(fstat(fd, &x));
        ASSERT_OK(stat(hub("models--a--one", etag), &y));
        ck_assert_uint_eq(x.st_ino, y.st_ino);
        ck_assert_uint_eq(y.st_nlink, 2);
        check_bytes(b, 0, SIZE);
        ck_assert_int_eq(blob_read(b, &(char){ 0 }, 1, SIZE), 0);
        ck_assert(!blob_next_hole(b, 0, SIZE, &hole));
        ASSERT_OK(blob_write(b, "x", 1, 0)); /* held: not written */
        check_bytes(b, 0, SIZE);
        check_whole();
        ck_assert(!exists(partial("")) && !exists(partial(".map")));
        ck_assert_int_eq(count_leftovers(), 0);
        ASSERT_OK(blobs_get(ix.blobs, blob_id(b), &again));
        ck_assert_ptr_eq(again, b);
        blob_unref(again);
        ck_assert_ptr_null(blob_unref(b));
        ck_assert_ptr_null(blob_unref(NULL));
        index_restart();
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        check_bytes(b, 0, SIZE);
        blob_unref(b);
        ck_assert_int_eq(blobs_get(ix.blobs, 99999, &b), BLOB_E_NONE);
        ck_assert_int_eq(blobs_get(ix.blobs, 99999, &b), BLOB_E_NONE);
}
END_TEST

START_TEST(small_and_empty)
{
        struct blob *b = open_blob(empty_etag, 0);
        struct stat st;

        ck_assert(blob_holds(b, 0, 0));
        ASSERT_OK(blob_finish(b, NULL));
        ASSERT_OK(stat(hub("models--a--one", empty_etag), &st));
        ck_assert_uint_eq(st.st_size, 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0644);
        blob_unref(b);
        b = open_blob(small_etag, 6);
        ASSERT_OK(blob_write(b, "hello\n", 6, 0));
        ASSERT_OK(blob_finish(b, NULL));
        ck_assert(exists(hub("models--a--one", small_etag)));
        blob_unref(b);
}
END_TEST

START_TEST(vanished)
{
        struct blob *b = open_blob(etag, SIZE);

        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        ASSERT_OK(unlink(hub("models--a--one", etag)));
        blob_unref(b);
        b = open_blob(etag, SIZE); /* the other repo still has it */
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ASSERT_OK(unlink(hub("datasets--b--two", etag)));
        check_bytes(b, 0, SIZE); /* who has it open reads on */
        blob_unref(b);
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_uint_eq(blob_incarnation(b), 2);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        ck_assert_uint_eq(blob_incarnation(b), 3);
        check_whole();
        blob_unref(b);
}
END_TEST

/* ---- many at once ---- */

static void *write_parts(void *arg)
{
        struct blob *b = arg;
        unsigned seed = (unsigned)(uintptr_t)pthread_self();

        while (blob_held_bytes(b) < SIZE) {
                uint64_t start = (uint64_t)rand_r(&seed) % SIZE;
                struct range hole;

                if (!blob_next_hole(b, start, SIZE, &hole) && !blob_next_hole(b, 0, SIZE, &hole))
                        break;
                fill(b, hole.start, min_u64(hole.end, hole.start + 777));
        }
        return NULL;
}

static void *sync_and_read(void *arg)
{
        struct blob *b = arg;
        char buf[4096];

        while (!blob_state_whole(blob_state(b))) {
                uint64_t end = blob_run_end(b, 0);

                if (end >= sizeof(buf)) {
                        ck_assert_int_eq(blob_read(b, buf, sizeof(buf), end - sizeof(buf)), sizeof(buf));
                        ck_assert_int_eq(memcmp(buf, data + end - sizeof(buf), sizeof(buf)), 0);
                }
                ASSERT_OK(blob_sync(b));
        }
        return NULL;
}

static void *open_and_close(void *arg)
{
        int64_t id = *(int64_t *)arg;

        for (int i = 0; i < 300; i++) {
                struct blob *b;

                ASSERT_OK(blobs_get(ix.blobs, id, &b));
                blob_ref(b);
                blob_unref(b);
                blob_unref(b);
        }
        return NULL;
}

START_TEST(threads)
{
        struct blob *b = open_blob(etag, SIZE);
        int64_t id = blob_id(b);
        pthread_t writers[3], reader, openers[2];

        for (int i = 0; i < 3; i++)
                pthread_create(&writers[i], NULL, write_parts, b);
        pthread_create(&reader, NULL, sync_and_read, b);
        for (int i = 0; i < 2; i++)
                pthread_create(&openers[i], NULL, open_and_close, &id);
        for (int i = 0; i < 3; i++)
                pthread_join(writers[i], NULL);
        ASSERT_OK(blob_finish(b, NULL));
        pthread_join(reader, NULL);
        for (int i = 0; i < 2; i++)
                pthread_join(openers[i], NULL);
        check_bytes(b, 0, SIZE);
        check_whole();
        blob_unref(b);
}
END_TEST

/* More blobs than are kept open. */
START_TEST(many_blobs)
{
        struct listed_file files[150];
        char tags[150][ETAG_MAX + 1], paths[150][16], text[16];

        for (int i = 0; i < 150; i++) {
                snprintf(paths[i], sizeof(paths[i]), "f%d", i);
                git_sha1_of(paths[i], strlen(paths[i]), tags[i]);
                files[i] = (struct listed_file){ paths[i], tags[i], strlen(paths[i]) };
        }
        add_commit(repo_a, COMMIT_B, files, 150);
        for (int round = 0; round < 2; round++)
                for (int i = 0; i < 150; i++) {
                        struct blob *b = open_blob(tags[i], strlen(paths[i]));

                        if (round == 0)
                                ASSERT_OK(blob_write(b, paths[i], strlen(paths[i]), 0));
                        else
                                ASSERT_OK(blob_finish(b, NULL));
                        ck_assert_int_eq(blob_read(b, text, sizeof(text), 0), (int)strlen(paths[i]));
                        blob_unref(b);
                }
        ck_assert(exists(hub("models--a--one", tags[149])));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob");
        TCase *t = tcase_create("blob");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_set_timeout(t, 110);
        tcase_add_test(t, life_of_a_blob);
        tcase_add_test(t, small_and_empty);
        tcase_add_test(t, vanished);
        tcase_add_test(t, threads);
        tcase_add_test(t, many_blobs);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
