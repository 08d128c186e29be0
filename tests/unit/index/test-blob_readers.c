/*
 * Tests of index/blob_readers.c: who read before the hash was known is remembered, within bounds.
 */
#include "blobs.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(a_process_is_named_once)
{
        struct blob *b = open_blob(etag, SIZE);
        struct blob_readers l;

        prctl(PR_SET_NAME, "some\nreader");
        for (int i = 0; i < 3; i++)
                blob_note_reader(b, getpid(), 1234);
        blob_take_readers(b, &l);
        ck_assert_uint_eq(l.count, 1);
        ck_assert_uint_eq(l.more, 0);
        ck_assert_int_eq(l.at[0].pid, getpid());
        ck_assert_uint_eq(l.at[0].uid, 1234);
        ck_assert_int_eq(strncmp(l.at[0].comm, "some", 4), 0);
        ck_assert(!strchr(l.at[0].comm, '\n'));
        blob_take_readers(b, &l);
        ck_assert_uint_eq(l.count, 0);
        blob_note_reader(b, getpid(), 1234); /* and anew */
        blob_take_readers(b, &l);
        ck_assert_uint_eq(l.count, 1);
        blob_unref(b);
}
END_TEST

static void *note_own_thread(void *arg)
{
        blob_note_reader(arg, gettid(), 0);
        return NULL;
}

START_TEST(threads_are_their_process)
{
        struct blob *b = open_blob(etag, SIZE);
        struct blob_readers l;

        for (int i = 0; i < 20; i++) {
                pthread_t thread;

                ck_assert_int_eq(pthread_create(&thread, NULL, note_own_thread, b), 0);
                pthread_join(thread, NULL);
        }
        blob_take_readers(b, &l);
        ck_assert_uint_eq(l.count, 1);
        ck_assert_uint_eq(l.more, 0);
        ck_assert_int_eq(l.at[0].pid, getpid());
        blob_unref(b);
}
END_TEST

START_TEST(many_are_counted)
{
        struct blob *b = open_blob(etag, SIZE);
        struct blob_readers l;
        pid_t gone = fork();

        if (gone == 0)
                _exit(0);
        waitpid(gone, NULL, 0);
        for (int i = 0; i < 100000; i++)
                blob_note_reader(b, gone, (uid_t)(i % 50)); /* the same thread: only the first is looked at */
        for (pid_t pid = 4194304; pid < 4194324; pid++) /* beyond pid_max: none of them is */
                blob_note_reader(b, pid, 7);
        blob_note_reader(b, 0, 7);
        blob_take_readers(b, &l);
        ck_assert_uint_eq(l.count, BLOB_READERS_MAX);
        ck_assert_uint_eq(l.more, 14);
        ck_assert_int_eq(l.at[0].pid, gone);
        ck_assert_str_eq(l.at[0].comm, "");
        blob_unref(b);
}
END_TEST

/* Of a blob that is verified nobody is noted; of one that becomes it they are forgotten. */
START_TEST(verified)
{
        struct blob *b = open_blob(etag, SIZE);
        struct blob_readers l;

        blob_note_reader(b, getpid(), 0);
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        blob_note_reader(b, getpid(), 0);
        blob_take_readers(b, &l);
        ck_assert_uint_eq(l.count, 0);
        blob_unref(b);
        put_text(hub("models--a--one", small_etag), "hullo\n");
        b = open_blob(small_etag, 6);
        blob_note_reader(b, getpid(), 0);
        ck_assert_int_eq(blob_verify_adopted(b, NULL), BLOB_E_HASH);
        blob_take_readers(b, &l);
        ck_assert_uint_eq(l.count, 1);
        blob_unref(b);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob_readers");
        TCase *t = tcase_create("blob_readers");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_add_test(t, a_process_is_named_once);
        tcase_add_test(t, threads_are_their_process);
        tcase_add_test(t, many_are_counted);
        tcase_add_test(t, verified);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
