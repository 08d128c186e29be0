/*
 * Tests of index/blob_openers.c: who opened a complete blob is remembered and named later, within bounds.
 */
#include "blobs.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static struct blob_readers openers(struct blob *b)
{
        struct blob_readers l;

        blob_get_openers(b, &l);
        return l;
}

START_TEST(named_later)
{
        struct blob *b = open_blob(etag, SIZE), *other = open_blob(small_etag, 6);

        prctl(PR_SET_NAME, "some\topener");
        ck_assert(blob_note_opener(b, getpid(), 1234));
        ck_assert(!blob_note_opener(b, getpid(), 1234)); /* who names is told once */
        ck_assert(!blob_note_opener(other, getpid(), 1234));
        ck_assert_uint_eq(openers(b).count, 1);
        ck_assert_int_eq(openers(b).at[0].pid, getpid());
        ck_assert_str_eq(openers(b).at[0].comm, ""); /* nothing was looked up */
        blobs_name_openers(ix.blobs);
        ck_assert_uint_eq(openers(b).count, 1);
        ck_assert_uint_eq(openers(b).more, 0);
        ck_assert_str_eq(openers(b).at[0].comm, "some?opener");
        ck_assert_uint_eq(openers(b).at[0].uid, 1234);
        ck_assert_int_le(llabs(openers(b).at[0].at - time(NULL)), 60);
        ck_assert_str_eq(openers(other).at[0].comm, "some?opener");
        blob_unref(other);
        other = open_blob(empty_etag, 0);
        ck_assert(!blob_note_opener(other, getpid(), 1234)); /* it is known by now */
        ck_assert_str_eq(openers(other).at[0].comm, "some?opener");
        ck_assert(blob_note_opener(other, getpid(), 5678)); /* but not as another user */
        ck_assert_uint_eq(openers(other).count, 2);
        ck_assert_uint_eq(openers(other).at[0].uid, 5678);
        blob_forget_openers(other);
        ck_assert_uint_eq(openers(other).count, 0);
        ck_assert_uint_eq(openers(b).count, 1);
        blobs_name_openers(ix.blobs); /* of what was forgotten */
        ck_assert_uint_eq(openers(other).count, 0);
        blob_unref(other);
        blob_unref(b);
}
END_TEST

static void *note_own_thread(void *arg)
{
        (void)blob_note_opener(arg, gettid(), 0);
        blobs_name_openers(ix.blobs); /* while it is there */
        return NULL;
}

START_TEST(threads_are_their_process)
{
        struct blob *b = open_blob(etag, SIZE);

        for (int i = 0; i < 20; i++) {
                pthread_t thread;

                ck_assert_int_eq(pthread_create(&thread, NULL, note_own_thread, b), 0);
                pthread_join(thread, NULL);
        }
        ck_assert_uint_eq(openers(b).count, 1);
        ck_assert_uint_eq(openers(b).more, 0);
        ck_assert_int_eq(openers(b).at[0].pid, getpid());
        blob_unref(b);
}
END_TEST

START_TEST(the_last_ones)
{
        struct blob *b = open_blob(etag, SIZE);
        struct blob_readers l;

        for (pid_t pid = 4194304; pid < 4194404; pid++) { /* beyond pid_max: none of them is */
                blob_note_opener(b, pid, 7);
                blob_note_opener(b, 4194304, 7); /* comes again and again */
        }
        blobs_name_openers(ix.blobs);
        l = openers(b);
        ck_assert_uint_eq(l.count, BLOB_READERS_MAX);
        ck_assert_uint_gt(l.more, 90);
        for (size_t i = 0; i < l.count; i++)
                ck_assert_str_eq(l.at[i].comm, "");
        ck_assert_int_eq(l.at[0].pid == 4194403 || l.at[1].pid == 4194403, true);
        blob_unref(b);
}
END_TEST

/* The blobs opened last are known, also those that were closed meanwhile; earlier ones are not. */
START_TEST(many_blobs)
{
        enum { COUNT = 1100 };
        struct listed_file *files = calloc(COUNT, sizeof(*files));
        char(*tags)[ETAG_MAX + 1] = calloc(COUNT, sizeof(*tags));
        struct blob *b;

        for (unsigned i = 0; i < COUNT; i++) {
                sha256_of(&i, sizeof(i), tags[i]);
                files[i] = (struct listed_file){ .path = tags[i], .etag = tags[i], .size = sizeof(i) };
        }
        add_commit(repo_a, COMMIT_B, files, COUNT);
        b = open_blob(etag, SIZE);
        for (unsigned i = 0; i < COUNT; i++) {
                struct blob *one = open_blob(tags[i], sizeof(i));

                blob_note_opener(one, getpid(), 0);
                if (i % 100 == 0)
                        blob_note_opener(b, getpid(), 0);
                blob_unref(one);
        }
        ck_assert_uint_eq(openers(b).count, 1);
        blob_unref(b);
        b = open_blob(tags[COUNT - 1000], sizeof(unsigned));
        ck_assert_uint_eq(openers(b).count, 1);
        blob_unref(b);
        b = open_blob(tags[0], sizeof(unsigned));
        ck_assert_uint_eq(openers(b).count, 0);
        blob_unref(b);
        free(files);
        free(tags);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob_openers");
        TCase *t = tcase_create("blob_openers");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_add_test(t, named_later);
        tcase_add_test(t, threads_are_their_process);
        tcase_add_test(t, the_last_ones);
        tcase_add_test(t, many_blobs);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
