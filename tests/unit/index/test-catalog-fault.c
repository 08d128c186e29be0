/*
 * Faults and threads: every step of every change fails in turn, and either all of the change is
 * there or nothing (C3), the invariants hold, and the retry succeeds. Readers beside a writer see
 * whole changes only, and do not wait for it.
 */
#include "test-catalog.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const struct listed_file part[] = { { "b/c", A, 1 }, { "old", B, 9 } };
static const struct listed_file all[] = { { "a", A, 1 }, { "b/c", B, 2 }, { "b/d/e", A, 1 } };

/* ---- the changes ---- */

static int do_repo_new(void)
{
        struct repo r;

        return catalog_repo_put(cat, REPO_MODEL, "org/new", "org/new", true, &r);
}

static int do_repo_update(void)
{
        struct repo r;

        return catalog_repo_put(cat, REPO_MODEL, "o/r", "renamed/r", true, &r);
}

static int do_scanned(void)
{
        return catalog_repo_set_scanned(cat, 1);
}

static int do_org(void)
{
        int64_t id;

        return catalog_org_put(cat, REPO_MODEL, "asked", &id);
}

static int do_ref_new(void)
{
        struct ref ref;

        return catalog_ref_set(cat, 1, "refs/pr/1", 1, 5, &ref);
}

static int do_ref_change(void)
{
        struct ref ref;

        return catalog_ref_set(cat, 1, "main", 2, 5, &ref);
}

static int do_ref_confirm(void)
{
        struct ref ref;

        return catalog_ref_set(cat, 1, "main", 1, 6, &ref);
}

static int do_ref_remove(void)
{
        return catalog_ref_remove(cat, 1, "v/1");
}

static int do_commit(void)
{
        struct commit commit;

        return catalog_commit_put(cat, 1, sha_of(3), 7, true, all, ARRAY_SIZE(all), &commit);
}

static int do_commit_replace(void)
{
        struct commit commit;

        return catalog_commit_put(cat, 1, sha_of(1), 7, true, all, ARRAY_SIZE(all), &commit);
}

static int do_blob(void)
{
        struct blob_row row;

        return catalog_blob_set_state(cat, 1, BLOB_COMPLETE, &row);
}

static const struct {
        const char *name;
        int (*run)(void);
} changes[] = {
        { "new repo", do_repo_new },
        { "repo update", do_repo_update },
        { "scanned", do_scanned },
        { "org", do_org },
        { "new ref", do_ref_new },
        { "ref change", do_ref_change },
        { "ref confirmed", do_ref_confirm },
        { "ref removal", do_ref_remove },
        { "commit", do_commit },
        { "commit replaced", do_commit_replace },
        { "blob state", do_blob },
};

static void make_rows(void)
{
        struct repo repo = make_repo("o/r");
        struct ref ref;
        int64_t id;

        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "org", &id), 0);
        put_files(repo.id, 1, false, part, ARRAY_SIZE(part));
        put_files(repo.id, 2, true, part, ARRAY_SIZE(part));
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", 1, 1, &ref), 0);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "v/1", 1, 1, &ref), 0);
}

/* All rows of all tables as one text. sqlite_sequence is among them: ids given out count too. */
static char *dump(void)
{
        static const char *const tables[] = { "repo",      "org",   "ref",  "ref_dir",         "commits",
                                              "repo_blob", "entry", "blob", "sqlite_sequence", "meta" };
        sqlite3_stmt *st;
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        sqlite3 *db;
        char sql[64];

        ck_assert_int_eq(sqlite3_open(test_path, &db), SQLITE_OK);
        for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
                snprintf(sql, sizeof(sql), "SELECT * FROM %s", tables[i]);
                ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
                while (sqlite3_step(st) == SQLITE_ROW) {
                        fprintf(f, "%s", tables[i]);
                        for (int c = 0; c < sqlite3_column_count(st); c++)
                                fprintf(f, " %s", (const char *)sqlite3_column_text(st, c));
                        fputc('\n', f);
                }
                sqlite3_finalize(st);
        }
        sqlite3_close(db);
        fclose(f);
        return text;
}

START_TEST(each_step_fails)
{
        CLEANUP_FREE char *before = NULL;
        uint64_t n = 0;
        int r;

        make_rows();
        before = dump();
        do {
                CLEANUP_FREE char *after = NULL;

                fault_arm(++n);
                r = changes[_i].run();
                if (!fault_fired())
                        break;
                fault_arm(0);
                ck_assert_msg(r == -EIO, "%s, fault %u: %d", changes[_i].name, (unsigned)n, r);
                after = dump();
                ck_assert_msg(strcmp(before, after) == 0, "%s, fault %u\n%s\n%s", changes[_i].name,
                              (unsigned)n, before, after);
                check_invariants();
                if (n % 2)
                        reopen();
        } while (n < 1000);
        ck_assert_int_eq(r, 0);
#ifdef WEIGHTFS_FAULTS
        ck_assert_uint_gt(n, 3); /* begin, a step, commit */
#endif
        fault_arm(0);
        check_invariants();
        {
                CLEANUP_FREE char *after = dump();

                ck_assert(strcmp(before, after) != 0);
        }
}
END_TEST

START_TEST(creation_fails)
{
        uint64_t n = 0;
        int r;

        cat = catalog_close(cat);
        do {
                unlink(test_path);
                fault_arm(++n);
                r = catalog_open(test_path, &cat, NULL);
                if (!fault_fired())
                        break;
                fault_arm(0);
                ck_assert_int_eq(r, -EIO);
                test_open(); /* what was left is no hindrance */
                ck_assert(catalog_is_new(cat));
                cat = catalog_close(cat);
        } while (n < 1000);
        fault_arm(0);
        ck_assert_int_eq(r, 0);
}
END_TEST

/* The disk is full: the error says so, nothing is lost, and it goes on once there is room. */
START_TEST(disk_full)
{
        CLEANUP_FREE char *before = NULL;
        static struct listed_file files[2000];
        static char paths[2000][16];
        struct commit commit;
        int64_t pages;

        make_rows();
        before = dump();
        for (unsigned i = 0; i < 2000; i++) {
                snprintf(paths[i], sizeof(paths[i]), "f%u", i);
                files[i] = (struct listed_file){ paths[i], sha_of(i + 10), i };
        }
        lock_take(&cat->write_lock);
        ck_assert_int_eq(db_number(cat->writer, "PRAGMA max_page_count = 30", NO_PARAMS, &pages), 0);
        lock_drop(&cat->write_lock);
        ck_assert_int_eq(catalog_commit_put(cat, 1, sha_of(3), 0, true, files, 2000, &commit), -ENOSPC);
        {
                CLEANUP_FREE char *after = dump();

                ck_assert_str_eq(before, after);
        }
        lock_take(&cat->write_lock);
        ck_assert_int_eq(db_number(cat->writer, "PRAGMA max_page_count = 1000000", NO_PARAMS, &pages), 0);
        lock_drop(&cat->write_lock);
        ck_assert_int_eq(catalog_commit_put(cat, 1, sha_of(3), 0, true, files, 2000, &commit), 0);
        check_invariants();
}
END_TEST

/* Writes until it is killed, and reports what it was told is done: a repo and a commit a round. */
static _Noreturn void write_on(int pipe_fd, unsigned from)
{
        struct catalog *own;
        struct commit commit;
        struct repo repo;
        char name[32];
        int64_t told[2];

        if (catalog_open(test_path, &own, NULL) != 0)
                _exit(1);
        for (unsigned i = from;; i++) {
                snprintf(name, sizeof(name), "org%u/r%u", i % 7, i);
                if (catalog_repo_put(own, REPO_MODEL, name, name, true, &repo) != 0 ||
                    catalog_commit_put(own, repo.id, sha_of(i), 1, i % 2, all, ARRAY_SIZE(all), &commit) != 0)
                        _exit(1);
                told[0] = repo.id;
                told[1] = commit.id;
                if (write(pipe_fd, told, sizeof(told)) != sizeof(told))
                        _exit(1);
        }
}

/* kill -9 in the middle: what was told is there, ids only grow (C1), everything fits. */
START_TEST(killed)
{
        int64_t told[2], first[2], last[2] = { 0, 0 };
        struct commit commit;
        struct repo repo;

        cat = catalog_close(cat);
        for (unsigned round = 0; round < 6; round++) {
                int fds[2], status;
                pid_t pid;

                ck_assert_int_eq(pipe(fds), 0);
                pid = fork();
                ck_assert_int_ge(pid, 0);
                if (pid == 0) {
                        close(fds[0]);
                        write_on(fds[1], round * 100000);
                }
                close(fds[1]);
                ck_assert_int_eq(read(fds[0], first, sizeof(first)), sizeof(first)); /* it is at work */
                usleep(10000 + round * 7001);
                kill(pid, SIGKILL);
                ck_assert_int_eq(waitpid(pid, &status, 0), pid);
                ck_assert(WIFSIGNALED(status));
                test_open();
                memcpy(told, first, sizeof(told));
                do {
                        ck_assert_int_gt(told[0], last[0]);
                        ck_assert_int_gt(told[1], last[1]);
                        ck_assert_int_eq(catalog_repo_get(cat, told[0], &repo), 0);
                        ck_assert_int_eq(catalog_commit_get(cat, told[1], &commit), 0);
                        ck_assert_int_eq(commit.repo, told[0]);
                        memcpy(last, told, sizeof(last));
                } while (read(fds[0], told, sizeof(told)) == sizeof(told));
                ck_assert_int_ge(last[1], first[1]);
                close(fds[0]);
                check_invariants();
                cat = catalog_close(cat);
        }
}
END_TEST

/* ---- threads ---- */

static atomic_bool done;

/* Every commit that is seen has all of its entries, and a ref points at one that exists. */
static void *read_all(void *arg)
{
        unsigned long rounds = 0;

        while (!done || rounds == 0) {
                struct commit c = { .id = 0 };
                struct blob_row row;
                struct entry e;
                struct ref ref;
                struct repo repo;

                while (catalog_commit_next(cat, 1, c.id, &c) == 0)
                        for (uint32_t pos = 0; pos < c.nodes; pos++)
                                if (catalog_entry_at(cat, c.id, pos, &e) != 0)
                                        return "an entry is missing";
                if (catalog_ref_find(cat, 1, "main", &ref) != 0 || strlen(ref.sha) != COMMIT_HEX)
                        return "the ref is missing";
                if (catalog_blob_get(cat, 1, &row) != 0 ||
                    blob_state_whole(row.state) != (row.incarnation % 2 == 1))
                        return "state and incarnation differ";
                if (catalog_blob_place_next(cat, 1, 0, 0, &repo, &c, &e) != 0)
                        return "the place is missing";
                rounds++;
        }
        *(unsigned long *)arg = rounds;
        return NULL;
}

START_TEST(readers_beside_a_writer)
{
        unsigned long rounds[4] = {};
        pthread_t threads[4];
        struct commit commit;
        struct blob_row row;
        struct repo repo;
        struct ref ref;

        make_repo("o/r");
        commit = put_files(1, 1000, true, all, ARRAY_SIZE(all));
        ck_assert_int_eq(catalog_ref_set(cat, 1, "main", commit.id, 1, &ref), 0);
        done = false;
        for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all, &rounds[i]), 0);
        for (unsigned i = 0; i < 60; i++) {
                commit = put_files(1, i, true, all, ARRAY_SIZE(all));
                ck_assert_int_eq(catalog_ref_set(cat, 1, "main", commit.id, i, &ref), 0);
                ck_assert_int_eq(catalog_blob_set_state(cat, 1, i % 2 ? BLOB_FILLING : BLOB_COMPLETE, &row),
                                 0);
                ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/r", i % 2 ? "o/r" : "o/s", true, &repo),
                                 0);
        }
        done = true;
        for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
                void *complaint;

                pthread_join(threads[i], &complaint);
                ck_assert_msg(complaint == NULL, "%s", (const char *)complaint);
                ck_assert_uint_gt(rounds[i], 0);
        }
        check_invariants();
}
END_TEST

/* A writer in the middle of its transaction, and its lock held: readers go on with what was. */
START_TEST(readers_do_not_wait)
{
        struct txn txn = {};
        struct repo repo;

        make_rows();
        lock_take(&cat->write_lock);
        ck_assert_int_eq(txn_begin(&txn, cat->writer), 0);
        ck_assert_int_eq(db_exec(cat->writer, "UPDATE repo SET hub_name = 'x/y'", NO_PARAMS), 0);
        ck_assert_int_eq(catalog_repo_find(cat, REPO_MODEL, "o/r", &repo), 0);
        ck_assert_str_eq(repo.hub_name, "o/r");
        txn_abort(&txn);
        lock_drop(&cat->write_lock);
}
END_TEST

static void *read_one(void *arg)
{
        struct repo repo;

        for (unsigned i = 0; i < 50; i++)
                if (catalog_repo_get(cat, 1, &repo) != 0)
                        return "lost";
        return arg;
}

/* More threads than connections: they take turns. */
START_TEST(more_threads_than_readers)
{
        pthread_t threads[3 * CATALOG_READERS_MAX];

        make_rows();
        for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, read_one, NULL), 0);
        for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
                void *complaint;

                pthread_join(threads[i], &complaint);
                ck_assert_ptr_null(complaint);
        }
        ck_assert_uint_le(cat->readers, CATALOG_READERS_MAX);
}
END_TEST

START_TEST(every_reader_taken)
{
        struct reader rd[CATALOG_READERS_MAX] = {};
        pthread_t thread;
        void *complaint;

        make_rows();
        for (unsigned i = 0; i < ARRAY_SIZE(rd); i++)
                ck_assert_int_eq(reader_take(cat, &rd[i]), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, read_one, NULL), 0);
        usleep(20000);
        ck_assert_uint_eq(cat->readers, CATALOG_READERS_MAX);
        for (unsigned i = 0; i < ARRAY_SIZE(rd); i++)
                reader_give(&rd[i]);
        pthread_join(thread, &complaint);
        ck_assert_ptr_null(complaint);
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("catalog-fault");
        TCase *tcase = tcase_create("catalog-fault");
        SRunner *runner;
        int failed;

        tcase_set_timeout(tcase, 100);
        tcase_add_checked_fixture(tcase, cat_setup, dir_teardown);
        tcase_add_loop_test(tcase, each_step_fails, 0, ARRAY_SIZE(changes));
        tcase_add_test(tcase, creation_fails);
        tcase_add_test(tcase, disk_full);
        tcase_add_test(tcase, killed);
        tcase_add_test(tcase, readers_beside_a_writer);
        tcase_add_test(tcase, readers_do_not_wait);
        tcase_add_test(tcase, more_threads_than_readers);
        tcase_add_test(tcase, every_reader_taken);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? 0 : 1;
}
