/*
 * What the catalogue's tests share: a directory of their own, a catalogue in it, short ways to
 * make rows.
 */
#pragma once

#include "base/fault.h"
#include "index/catalog_internal.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static char test_dir[64], test_path[96];
static struct catalog *cat;

__attribute__((unused)) static void test_open(void)
{
        struct errmsg err = {};
        int r = catalog_open(test_path, &cat, &err);

        ck_assert_msg(r == 0, "catalog_open: %d %s", r, err.text);
}

static void dir_setup(void)
{
        strcpy(test_dir, "/tmp/test-catalog-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(test_dir));
        snprintf(test_path, sizeof(test_path), "%s/catalogue.sqlite", test_dir);
}

static void dir_teardown(void)
{
        static const char *const names[] = { "", "-wal", "-shm", "-journal", ".copy", CATALOG_MARK };
        char path[160];

        cat = catalog_close(cat);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                snprintf(path, sizeof(path), "%s%s", test_path, names[i]);
                unlink(path);
        }
        rmdir(test_dir);
}

__attribute__((unused)) static void cat_setup(void)
{
        dir_setup();
        test_open();
}

__attribute__((unused)) static void reopen(void)
{
        cat = catalog_close(cat);
        test_open();
}

/* Runs SQL on a connection of its own; the catalogue may be open. */
__attribute__((unused)) static void raw_sql(const char *path, const char *sql)
{
        sqlite3 *db;
        char *message = NULL;

        /* with seals, unless no catalogue was opened yet */
        ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                                         sqlite3_vfs_find(CATALOG_VFS) ? CATALOG_VFS : NULL), SQLITE_OK);
        sqlite3_busy_timeout(db, 5000);
        sqlite3_exec(db, sql, NULL, NULL, &message);
        ck_assert_msg(message == NULL, "%s: %s", sql, message);
        sqlite3_close(db);
}

__attribute__((unused)) static int64_t raw_number(const char *path, const char *sql)
{
        sqlite3_stmt *st;
        sqlite3 *db;
        int64_t n;

        ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
        ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
        ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
        n = sqlite3_column_int64(st, 0);
        sqlite3_finalize(st);
        sqlite3_close(db);
        return n;
}

__attribute__((unused)) static struct repo make_repo(const char *name)
{
        struct repo repo;

        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, name, name, true, &repo), 0);
        return repo;
}

/* 40 hex digits that begin with those of @n. */
__attribute__((unused)) static const char *sha_of(unsigned n)
{
        static _Thread_local char text[4][COMMIT_HEX + 1];
        static _Thread_local unsigned at;

        at = (at + 1) % 4;
        snprintf(text[at], sizeof(text[at]), "%08x%032x", n, n);
        return text[at];
}

__attribute__((unused)) static struct commit put_files(int64_t repo, unsigned sha, bool whole,
                                                       const struct listed_file *files, size_t count)
{
        struct commit commit;

        ck_assert_int_eq(catalog_commit_put(cat, repo, sha_of(sha), 1700000000, whole, files, count, &commit),
                         0);
        return commit;
}

/* All of it fits together: foreign keys, SQLite's own check, C4, C5, C6, F2, R2. */
__attribute__((unused)) static void check_invariants(void)
{
        static const char *const empty[] = {
                "SELECT count(*) FROM pragma_foreign_key_check",
                "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
                "SELECT count(*) FROM commits c WHERE missing <> (SELECT count(*) FROM entry e JOIN blob b"
                " ON b.id = e.blob WHERE e.commit_id = c.id AND e.along AND b.state NOT IN (1, 2))",
                "SELECT count(*) FROM (SELECT repo, blob FROM repo_blob EXCEPT SELECT c.repo, e.blob"
                " FROM entry e JOIN commits c ON c.id = e.commit_id)",
                "SELECT count(*) FROM (SELECT c.repo, e.blob FROM entry e JOIN commits c ON c.id = "
                "e.commit_id"
                " WHERE e.blob IS NOT NULL EXCEPT SELECT repo, blob FROM repo_blob)",
                "SELECT count(*) FROM blob WHERE incarnation % 2 <> (state IN (1, 2))",
                "SELECT count(*) FROM commits c WHERE nodes <> (SELECT count(*) FROM entry WHERE commit_id = "
                "c.id)",
                "SELECT count(*) FROM ref_dir d WHERE NOT EXISTS (SELECT 1 FROM ref WHERE ref.repo = d.repo"
                " AND substr(ref.name, 1, length(d.path) + 1) = d.path || '/')",
                "SELECT count(*) FROM org o WHERE used <> EXISTS (SELECT 1 FROM repo WHERE repo.type = o.type"
                " AND repo.resolved AND substr(repo.name, 1, length(o.name) + 1) = o.name || '/')",
                "SELECT count(*) FROM repo r WHERE resolved AND name LIKE '%/%' AND NOT EXISTS (SELECT 1 "
                "FROM org o"
                " WHERE o.type = r.type AND o.used AND substr(r.name, 1, length(o.name) + 1) = o.name || "
                "'/')",
        };

        for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
                ck_assert_msg(raw_number(test_path, empty[i]) == 0, "%s", empty[i]);
}

__attribute__((unused)) static int run_cases(const char *name, const TTest *const *tests, size_t count,
                                             void (*setup)(void))
{
        Suite *suite = suite_create(name);
        TCase *tcase = tcase_create(name);
        SRunner *runner;
        int failed;

        tcase_set_timeout(tcase, 60);
        tcase_add_checked_fixture(tcase, setup, dir_teardown);
        for (size_t i = 0; i < count; i++)
                tcase_add_test(tcase, tests[i]);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? 0 : 1;
}

/* The first of @rows, which are given back. */
static inline int first_row(int r, struct catalog_rows *rows, void *ret)
{
        if (r == 0) {
                r = catalog_rows_next(rows, ret);
                catalog_rows_free(rows);
        }
        return r;
}

static inline int entry_next(int64_t commit, uint32_t parent, uint32_t after, struct entry *ret)
{
        struct catalog_rows *rows = NULL;
        int r = catalog_entries(cat, commit, parent, after, &rows);

        return first_row(r, rows, ret);
}

static inline int blob_next(int64_t repo, int64_t after, struct blob_row *ret)
{
        struct catalog_rows *rows = NULL;
        int r = catalog_blobs_in_repo(cat, repo, after, &rows);

        return first_row(r, rows, ret);
}

/* The ref of @repo with the lowest id above @after. */
static inline int ref_above(int64_t repo, int64_t after, struct ref *ret)
{
        struct catalog_rows *rows = NULL;
        int r = catalog_refs(cat, repo, after, &rows);

        return first_row(r, rows, ret);
}

static inline int ref_dir_above(int64_t repo, int64_t after, struct ref_dir *ret)
{
        struct catalog_rows *rows = NULL;
        int r = catalog_ref_dirs(cat, repo, after, &rows);

        return first_row(r, rows, ret);
}
