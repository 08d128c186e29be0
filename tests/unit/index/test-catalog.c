/*
 * Tests of catalog.c, catalog_db.c and remote.c: opening, creating, migrating, damage, ids.
 */
#include "test-catalog.h"
#include "index/index.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>

static int64_t file_size(const char *path)
{
        struct stat st;

        return stat(path, &st) < 0 ? -1 : st.st_size;
}

static void file_write(const char *path, const void *bytes, size_t len)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(pwrite_all(fd, bytes, len, 0), 0);
        close(fd);
}

static void file_patch(const char *path, const void *bytes, size_t len, uint64_t at)
{
        int fd = open(path, O_WRONLY);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(pwrite_all(fd, bytes, len, at), 0);
        close(fd);
}

static const char *wal_path(void)
{
        static char path[128];

        snprintf(path, sizeof(path), "%s-wal", test_path);
        return path;
}

static const char *copy_path(void)
{
        static char path[128];

        snprintf(path, sizeof(path), "%s.copy", test_path);
        return path;
}

/* The file's bytes before and after: a refusal leaves them. */
static void expect_refusal(int error, const char *word)
{
        CLEANUP_FREE char *before = NULL;
        CLEANUP_FREE char *after = NULL;
        size_t before_len, after_len;
        struct errmsg err = {};
        int r;

        ck_assert_int_eq(read_file_at(AT_FDCWD, test_path, 64 << 20, &before, &before_len), 0);
        r = catalog_open(test_path, &cat, &err);
        ck_assert_msg(r == error, "%d instead of %d: %s", r, error, err.text);
        ck_assert_ptr_null(cat);
        ck_assert_msg(strstr(err.text, test_path) && strstr(err.text, word), "%s", err.text);
        ck_assert_int_eq(read_file_at(AT_FDCWD, test_path, 64 << 20, &after, &after_len), 0);
        ck_assert_uint_eq(before_len, after_len);
        ck_assert(memcmp(before, after, before_len) == 0);
}

/* A catalogue of some pages, closed. */
static void make_closed(void)
{
        static struct listed_file files[500];
        static char paths[500][24];
        struct repo repo;

        test_open();
        repo = make_repo("o/r");
        for (unsigned i = 0; i < 500; i++) {
                snprintf(paths[i], sizeof(paths[i]), "some-folder/file-%u", i);
                files[i] = (struct listed_file){ paths[i], sha_of(i), i };
        }
        put_files(repo.id, 1, true, files, 500);
        cat = catalog_close(cat);
}

/* The same, as kill -9 leaves it: the WAL not emptied. */
static void make_killed(void)
{
        CLEANUP_FREE char *wal = NULL;
        size_t len;

        make_closed();
        test_open();
        make_repo("o/late");
        ck_assert_int_eq(read_file_at(AT_FDCWD, wal_path(), 64 << 20, &wal, &len), 0);
        ck_assert_uint_gt(len, 0);
        sqlite3_db_config(cat->writer->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        cat = catalog_close(cat);
        ck_assert_int_gt(file_size(wal_path()), 0);
}

/* ---- opening ---- */

START_TEST(created_and_reopened)
{
        uint64_t epoch;
        struct repo repo;

        test_open();
        epoch = catalog_epoch(cat);
        ck_assert_uint_ne(epoch, 0);
        ck_assert(catalog_is_new(cat));
        repo = make_repo("o/r");
        reopen();
        ck_assert_uint_eq(catalog_epoch(cat), epoch);
        ck_assert(!catalog_is_new(cat));
        ck_assert_int_eq(catalog_repo_find(cat, REPO_MODEL, "o/r", &repo), 0);
        cat = catalog_close(cat);
        ck_assert_int_eq(file_size(wal_path()), -1); /* closed cleanly */
        unlink(test_path);
        test_open();
        ck_assert_uint_ne(catalog_epoch(cat), epoch); /* C2 */
        ck_assert_ptr_null(catalog_close(NULL));
}
END_TEST

START_TEST(settings)
{
        int64_t n;

        test_open();
        ck_assert_int_eq(raw_number(test_path, "PRAGMA application_id"), CATALOG_APPLICATION_ID);
        ck_assert_int_eq(raw_number(test_path, "PRAGMA user_version"), CATALOG_VERSION);
        ck_assert_int_eq(raw_number(test_path, "SELECT count(*) FROM pragma_table_list WHERE schema = 'main'"
                                               " AND name NOT LIKE 'sqlite_%' AND NOT strict"),
                         0);
        ck_assert_int_eq(db_number(cat->writer, "PRAGMA synchronous", NO_PARAMS, &n), 0);
        ck_assert_int_eq(n, 2);
        ck_assert_int_eq(db_number(cat->writer, "PRAGMA foreign_keys", NO_PARAMS, &n), 0);
        ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(empty_file_is_new)
{
        file_write(test_path, "", 0);
        test_open();
        ck_assert(catalog_is_new(cat));
}
END_TEST

START_TEST(relative_path)
{
        struct errmsg err = {};
        struct repo repo;

        ck_assert_int_eq(chdir(test_dir), 0);
        ck_assert_int_eq(catalog_open("catalogue.sqlite", &cat, &err), 0);
        ck_assert_int_eq(chdir("/"), 0); /* as daemons do */
        repo = make_repo("o/r");
        ck_assert_int_eq(catalog_repo_get(cat, repo.id, &repo), 0);
}
END_TEST

START_TEST(cannot_be_opened)
{
        struct errmsg err = {};
        char path[160];

        snprintf(path, sizeof(path), "%s/absent/catalogue.sqlite", test_dir);
        ck_assert_int_eq(catalog_open(path, &cat, &err), -ENOENT);
        ck_assert(strstr(err.text, path) != NULL);
        ck_assert_int_eq(catalog_open(test_dir, &cat, &err), -EEXIST); /* a folder */
        snprintf(path, sizeof(path), "%s/link", test_dir);
        ck_assert_int_eq(symlink("made-elsewhere", path), 0);
        ck_assert_int_eq(catalog_open(path, &cat, &err), -EEXIST);
        ck_assert_ptr_nonnull(strstr(err.text, "symbolic link"));
        ck_assert_int_eq(catalog_open(path, &cat, NULL), -EEXIST);
        ck_assert_ptr_null(cat);
}
END_TEST

START_TEST(after_kill)
{
        struct repo repo;

        make_killed();
        test_open();
        ck_assert_int_eq(catalog_repo_find(cat, REPO_MODEL, "o/late", &repo), 0);
        check_invariants();
}
END_TEST

/* ---- migrations ---- */

START_TEST(migration_steps)
{
        static const char *const steps[] = {
                "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER) STRICT; CREATE TABLE t (a);",
                "INSERT INTO t VALUES (1);",
                "ALTER TABLE t ADD COLUMN b; UPDATE t SET b = a + 1;",
        };
        const char *const bad[] = { steps[0], steps[1], "CREATE TABLE half (a); nonsense;" };
        struct conn *k;
        int64_t from, n;

        ck_assert_int_eq(conn_open(copy_path(), CONN_WRITER, &k), 0);
        ck_assert_int_eq(catalog_migrate(k, steps, 1, &from), 0);
        ck_assert_int_eq(from, 0);
        ck_assert_int_lt(catalog_migrate(k, bad, 3, &from), 0); /* all or nothing */
        ck_assert_int_eq(db_number(k, "PRAGMA user_version", NO_PARAMS, &n), 0);
        ck_assert_int_eq(n, 1);
        ck_assert_int_eq(db_number(k, "SELECT count(*) FROM t", NO_PARAMS, &n), 0);
        ck_assert_int_eq(n, 0);
        ck_assert_int_eq(catalog_migrate(k, steps, 3, &from), 0);
        ck_assert_int_eq(from, 1);
        ck_assert_int_eq(db_number(k, "SELECT b FROM t", NO_PARAMS, &n), 0);
        ck_assert_int_eq(n, 2);
        ck_assert_int_eq(catalog_migrate(k, steps, 3, &from), 0); /* nothing to do */
        ck_assert_int_eq(from, 3);
        ck_assert_int_eq(catalog_migrate(k, steps, 2, &from), -EPROTO);
        conn_close(k);
}
END_TEST

/* The text of every table and index, in one order. */
static const char *schema_of(const char *path)
{
        static char text[16384];
        sqlite3_stmt *st;
        sqlite3 *db;

        ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
        ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema"
                                                " WHERE sql IS NOT NULL ORDER BY name)", -1, &st, NULL), SQLITE_OK);
        ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
        snprintf(text, sizeof(text), "%s", (const char *)sqlite3_column_text(st, 0));
        sqlite3_finalize(st);
        sqlite3_close(db);
        return text;
}

/* What version 1 held: a commit of two files in a folder, refs in a folder of refs, a blob that is whole. */
static const char version_1_rows[] =
        "UPDATE meta SET value = 77 WHERE key = 'epoch';"
        "INSERT INTO repo (id, type, name, hub_name, scanned, resolved) VALUES (5, 0, 'o/r', 'o/r', 1, 1);"
        "INSERT INTO org (type, name, used) VALUES (0, 'o', 1);"
        "INSERT INTO commits VALUES (8, 5, '1111111111111111111111111111111111111111', 9, 4, 2, 30, 1, 1);"
        "INSERT INTO ref VALUES (3, 5, 'main', 8, 1), (4, 5, 'refs/pr/1', 8, 1);"
        "INSERT INTO ref_dir VALUES (6, 5, 'refs'), (7, 5, 'refs/pr');"
        "INSERT INTO blob VALUES (11, '2222222222222222222222222222222222222222', 10, 2, 1),"
        "                        (12, '3333333333333333333333333333333333333333', 20, 0, 4);"
        "INSERT INTO repo_blob VALUES (5, 11), (5, 12);"
        "INSERT INTO entry VALUES (8, 0, 0, 0, '', '', NULL, 0), (8, 1, 0, 1, 'sub', 'sub', NULL, 0),"
        "                         (8, 2, 1, 2, 'a', NULL, 11, 1), (8, 3, 1, 2, 'b', NULL, 12, 1);";

START_TEST(older_version)
{
        struct conn *k;
        struct entry e;
        struct ref ref;
        struct ref_dir dir;
        struct blob_row blob;
        CLEANUP_FREE char *schema = NULL;
        char pragma[64];
        int64_t from;

        test_open();
        cat = catalog_close(cat);
        schema = strdup(schema_of(test_path));
        unlink(test_path);

        snprintf(pragma, sizeof(pragma), "PRAGMA application_id = %d", CATALOG_APPLICATION_ID_1);
        raw_sql(test_path, pragma);
        ck_assert_int_eq(conn_open(test_path, CONN_WRITER, &k), 0);
        ck_assert_int_eq(catalog_migrate(k, catalog_steps, 1, &from), 0);
        conn_close(k);
        raw_sql(test_path, version_1_rows);

        test_open();
        ck_assert(!catalog_is_new(cat));
        ck_assert_uint_eq(catalog_epoch(cat), 77); /* old handles stay good */
        ck_assert_int_eq(entry_next(8, 1, 2, &e), 0);
        ck_assert_str_eq(e.name, "b");
        ck_assert_int_eq(e.blob, 12);
        ck_assert_uint_eq(e.incarnation, 4);
        ck_assert_int_eq(entry_next(8, 1, 3, &e), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_entry_lookup(cat, 8, 1, "a", &e), 0);
        ck_assert_uint_eq(e.pos, 2);
        ck_assert_int_eq(ref_above(5, 3, &ref), 0);
        ck_assert_str_eq(ref.name, "refs/pr/1");
        ck_assert_int_eq(ref_dir_above(5, 6, &dir), 0);
        ck_assert_int_eq(dir.id, 7);
        ck_assert_int_eq(blob_next(5, 11, &blob), 0);
        ck_assert_int_eq(blob.id, 12);
        ck_assert_int_eq(catalog_blob_next_in_state(cat, BLOB_COMPLETE, 0, &blob), 0);
        ck_assert_int_eq(blob.id, 11);
        ck_assert_int_eq(blob.verified, 0); /* when that was is not known */
        check_invariants();
        cat = catalog_close(cat);
        ck_assert_int_eq(raw_number(test_path, "PRAGMA user_version"), CATALOG_VERSION);
        ck_assert_str_eq(schema_of(test_path), schema);
}
END_TEST

START_TEST(newer_version_in_the_log)
{
        make_killed();
        {
                struct conn *k;

                ck_assert_int_eq(conn_open(test_path, CONN_WRITER, &k), 0);
                ck_assert_int_eq(db_script(k, "PRAGMA user_version = 7"), 0);
                conn_close(k); /* as all of them until catalog_open() is done: no checkpoint */
        }
        expect_refusal(-EPROTO, "version 7");
        ck_assert_int_gt(file_size(wal_path()), 0);
}
END_TEST

/* One bit of the file, while the log stays: damage, and no newer version that a person must be asked about. */
START_TEST(version_flipped_beside_the_log)
{
        unsigned char version;
        CLEANUP_FD int fd = -1;

        make_killed();
        fd = open(test_path, O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(pread(fd, &version, 1, 63), 1);
        version ^= 0x20;
        ck_assert_int_eq(pwrite(fd, &version, 1, 63), 1);
        expect_refusal(-EUCLEAN, "damaged");
}
END_TEST

START_TEST(newer_version)
{
        make_closed();
        raw_sql(test_path, "PRAGMA user_version = 7");
        expect_refusal(-EPROTO, "version 7");
        raw_sql(test_path, "PRAGMA journal_mode = DELETE; PRAGMA writable_schema = ON;"
                           "INSERT INTO sqlite_schema VALUES ('table', 'n', 'n', 0, 'CREATE NOVELTY n')");
        expect_refusal(-EPROTO, "version 7");
}
END_TEST

START_TEST(foreign_database)
{
        raw_sql(test_path, "CREATE TABLE other (a); INSERT INTO other VALUES (42)");
        expect_refusal(-EEXIST, "another program");
        raw_sql(test_path, "PRAGMA journal_mode = WAL; PRAGMA application_id = 77");
        expect_refusal(-EEXIST, "another program");
        ck_assert_int_eq(raw_number(test_path, "SELECT a FROM other"), 42);
}
END_TEST

/* ---- damage ---- */

START_TEST(not_a_database)
{
        file_write(test_path, "hello", 5);
        expect_refusal(-EUCLEAN, "damaged");
        {
                char text[8192];

                memset(text, 'x', sizeof(text));
                file_write(test_path, text, sizeof(text));
        }
        expect_refusal(-EUCLEAN, "damaged");
}
END_TEST

START_TEST(truncated)
{
        int64_t size;

        make_closed();
        size = file_size(test_path);
        ck_assert_int_eq(truncate(test_path, size - 4096), 0);
        expect_refusal(-EUCLEAN, "end is missing");
        ck_assert_int_eq(truncate(test_path, 4096), 0);
        expect_refusal(-EUCLEAN, "end is missing");
        ck_assert_int_eq(truncate(test_path, 50), 0);
        expect_refusal(-EUCLEAN, "header");
}
END_TEST

START_TEST(truncated_to_nothing)
{
        make_killed();
        ck_assert_int_eq(truncate(test_path, 0), 0);
        expect_refusal(-EUCLEAN, "empty");
}
END_TEST

START_TEST(flipped_header)
{
        static const uint8_t zero[100];
        unsigned char h[100];
        int fd;

        make_closed();
        fd = open(test_path, O_RDONLY);
        ck_assert_int_eq(pread_all(fd, h, sizeof(h), 0), sizeof(h));
        close(fd);
        file_patch(test_path, zero, 16, 0);
        expect_refusal(-EUCLEAN, "not an SQLite file");
        file_patch(test_path, h, sizeof(h), 0);
        file_patch(test_path, "\x12\x34", 2, 16); /* page size */
        expect_refusal(-EUCLEAN, "damaged");
        file_patch(test_path, h, sizeof(h), 0);
        file_patch(test_path, "\x77", 1, 47); /* schema format */
        expect_refusal(-EUCLEAN, "damaged");
        file_patch(test_path, h, sizeof(h), 0);
        test_open();
}
END_TEST

START_TEST(first_page_gone)
{
        static const uint8_t zero[3996];

        make_closed();
        file_patch(test_path, zero, sizeof(zero), 100);
        expect_refusal(-EUCLEAN, "damaged");
}
END_TEST

/* Damage further inside is looked for only after an unclean end. */
START_TEST(damaged_page_after_kill)
{
        static uint8_t junk[4096];
        int64_t size;

        make_killed();
        size = file_size(test_path);
        memset(junk, 0xa5, sizeof(junk));
        for (int64_t at = size / 2 / 4096 * 4096; at < size; at += 4096)
                file_patch(test_path, junk, sizeof(junk), (uint64_t)at);
        expect_refusal(-EUCLEAN, "damaged");
        ck_assert_int_gt(file_size(wal_path()), 0); /* what is left of it is kept too */
}
END_TEST

START_TEST(damaged_page_met_later)
{
        static uint8_t junk[4096];
        struct commit commit;
        struct entry e;
        int64_t size;
        int r = 0;

        make_closed();
        size = file_size(test_path);
        memset(junk, 0xa5, sizeof(junk));
        for (int64_t at = 4096 * 20; at < size; at += 4096)
                file_patch(test_path, junk, sizeof(junk), (uint64_t)at);
        test_open();
        for (uint32_t pos = 0; r == 0 && pos < 600; pos++)
                r = catalog_entry_at(cat, 1, pos, &e);
        ck_assert_int_eq(r, -EUCLEAN);
        r = catalog_commit_put(cat, 1, sha_of(9), 0, true, (struct listed_file[]){ { "x", sha_of(3), 3 } }, 1,
                               &commit);
        ck_assert_int_le(r, 0);
}
END_TEST

START_TEST(missing_table)
{
        struct repo repo;

        make_closed();
        raw_sql(test_path, "DELETE FROM meta");
        expect_refusal(-EUCLEAN, "damaged");
        raw_sql(test_path, "DROP TABLE meta");
        expect_refusal(-EUCLEAN, "damaged");
        raw_sql(test_path, "CREATE TABLE meta (key TEXT, value); INSERT INTO meta VALUES ('epoch', 5);"
                           "DROP TABLE org");
        test_open();
        ck_assert_int_eq(catalog_repo_find(cat, REPO_MODEL, "o/r", &repo), 0);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "o", &repo.id), -EUCLEAN);
}
END_TEST

/* ---- ids ---- */

START_TEST(ids_are_stable_and_never_reused)
{
        struct repo repo, again, last;
        struct commit one, two;
        struct ref ref, next;

        test_open();
        repo = make_repo("o/r");
        last = make_repo("o/s");
        one = put_files(repo.id, 1, false, NULL, 0);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 1, &ref), 0);
        reopen();
        ck_assert_int_eq(catalog_repo_find(cat, REPO_MODEL, "o/r", &again), 0);
        ck_assert_int_eq(again.id, repo.id);
        ck_assert_int_eq(catalog_commit_find(cat, repo.id, sha_of(1), &two), 0);
        ck_assert_int_eq(two.id, one.id);
        ck_assert_int_eq(catalog_ref_remove(cat, repo.id, "main"), 0);
        reopen();
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 1, &next), 0);
        ck_assert_int_gt(next.id, ref.id);
        two = put_files(repo.id, 1, true, NULL, 0); /* removes the highest commit */
        ck_assert_int_gt(two.id, one.id);
        raw_sql(test_path, "DELETE FROM repo WHERE name = 'o/s'");
        reopen();
        ck_assert_int_gt(make_repo("o/s").id, last.id);
}
END_TEST

START_TEST(ids_end)
{
        struct listed_file file = { "x", "1111111111111111111111111111111111111111", 1 };
        struct repo repo, more;
        struct commit commit;
        int64_t id;

        test_open();
        repo = make_repo("o/r");
        put_files(repo.id, 1, true, NULL, 0);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "o", &id), 0);
        raw_sql(test_path, "UPDATE sqlite_sequence SET seq = 4294967294");
        raw_sql(test_path, "INSERT INTO sqlite_sequence VALUES ('blob', 4294967295)");
        more = make_repo("o/last");
        ck_assert_int_eq(more.id, CATALOG_ID_MAX);
        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/t", "o/t", true, &more), -EOVERFLOW);
        ck_assert_int_eq(catalog_repo_find(cat, REPO_MODEL, "o/t", &more), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "p", &id), 0);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "q", &id), -EOVERFLOW);
        ck_assert_int_eq(catalog_commit_put(cat, repo.id, sha_of(2), 0, true, &file, 1, &commit), -EOVERFLOW);
        ck_assert_int_eq(catalog_commit_find(cat, repo.id, sha_of(2), &commit), CATALOG_E_NONE);
        /* what needs no new id goes on */
        raw_sql(test_path, "UPDATE sqlite_sequence SET seq = 100 WHERE name = 'commits'");
        commit = put_files(repo.id, 3, false, NULL, 0);
        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/r", "o/renamed", true, &repo), 0);
        check_invariants();
}
END_TEST

/* ---- the rest ---- */

START_TEST(sqlite_codes)
{
        static const int table[][2] = {
                { SQLITE_CORRUPT, -EUCLEAN }, { SQLITE_CORRUPT_INDEX, -EUCLEAN },
                { SQLITE_NOTADB, -EUCLEAN },  { SQLITE_FULL, -ENOSPC },
                { SQLITE_IOERR_READ, -EIO },  { SQLITE_IOERR_SHORT_READ, -EUCLEAN },
                { SQLITE_NOMEM, -ENOMEM },    { SQLITE_BUSY_SNAPSHOT, -EBUSY },
                { SQLITE_CANTOPEN, -ENOENT }, { SQLITE_READONLY, -EROFS },
                { SQLITE_INTERNAL, -EIO },
        };

        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                ck_assert_int_eq(db_error(NULL, table[i][0]), table[i][1]);
}
END_TEST

START_TEST(remote_file_systems)
{
        ck_assert_str_eq(remote_fs_name(NFS_SUPER_MAGIC), "NFS");
        ck_assert_str_eq(remote_fs_name(V9FS_MAGIC), "9p");
        ck_assert_str_eq(remote_fs_name(0xffffffffff534d42), "SMB (cifs)"); /* f_type is signed */
        ck_assert_ptr_null(remote_fs_name(EXT4_SUPER_MAGIC));
        ck_assert_ptr_null(remote_fs_name(TMPFS_MAGIC));
        ck_assert(!path_is_remote("/proc/self/absent/deeper/still"));
        ck_assert(!path_is_remote("absent"));
        ck_assert(!path_is_remote(""));
        ck_assert(!path_is_remote("/"));
}
END_TEST

/* Where the machine has a FUSE mount (most desktops do), the real thing. */
START_TEST(remote_path)
{
        FILE *mounts = fopen("/proc/self/mounts", "re");
        char line[4096], at[2048], type[64], path[2100];
        struct errmsg err = {};
        struct stat st;

        while (mounts && fgets(line, sizeof(line), mounts)) {
                if (sscanf(line, "%*s %2047s %63s", at, type) != 2 || strncmp(type, "fuse", 4) != 0 ||
                    strcmp(type, "fusectl") == 0 || stat(at, &st) < 0)
                        continue;
                snprintf(path, sizeof(path), "%s/a/b", at);
                ck_assert(path_is_remote(path));
                ck_assert_int_eq(catalog_open(path, &cat, &err), -EREMOTE);
                ck_assert(strstr(err.text, "FUSE") && strstr(err.text, path) && strstr(err.text, "--state"));
                break;
        }
        if (mounts)
                fclose(mounts);
}
END_TEST

START_TEST(queries_use_indexes)
{
        struct repo repo;
        struct commit commit;
        struct blob_row blob;
        struct repo_totals totals;
        struct ref ref;
        struct ref_dir dir;
        struct entry e;
        enum repo_type type;
        char org[REPO_NAME_MAX + 1];
        int64_t id;
        bool yes;

        make_closed();
        test_open();
        repo = make_repo("o/r");
        catalog_repo_get(cat, 1, &repo);
        catalog_repo_next(cat, REPO_MODEL, 0, &repo);
        catalog_repo_next_in_org(cat, REPO_MODEL, "o", 0, &repo);
        catalog_org_next(cat, REPO_MODEL, 0, &id, org);
        catalog_repo_set_scanned(cat, 1);
        catalog_org_put(cat, REPO_MODEL, "o", &id);
        catalog_org_get(cat, id, &type, org);
        catalog_commit_find(cat, 1, sha_of(1), &commit);
        catalog_commit_next(cat, 1, 0, &commit);
        catalog_ref_set(cat, 1, "a/b", commit.id, 1, &ref);
        catalog_ref_next(cat, 1, "", &ref);
        ref_above(1, 0, &ref);
        ref_dir_above(1, 0, &dir);
        catalog_ref_dir_find(cat, 1, "a", &dir);
        catalog_ref_dir_get(cat, dir.id, &dir);
        catalog_commit_usable_offline(cat, commit.id, &yes);
        catalog_commit_next_unlinked(cat, 0, &commit);
        catalog_commits_set_linked(cat, 1, 1);
        catalog_entry_at(cat, commit.id, 5, &e);
        catalog_entry_lookup(cat, commit.id, 0, "some-folder", &e);
        entry_next(commit.id, 0, 0, &e);
        catalog_entry_walk(cat, commit.id, 5, &e);
        catalog_blob_find(cat, sha_of(1), 1, &blob);
        catalog_blob_in_repo(cat, 1, sha_of(1), &blob);
        blob_next(1, 0, &blob);
        catalog_blob_next_of_etag(cat, sha_of(1), -1, &blob);
        catalog_blob_next_in_state(cat, BLOB_ADOPTED, 0, &blob);
        catalog_blob_place_next(cat, blob.id, 0, 0, &repo, &commit, &e);
        catalog_blob_set_state(cat, blob.id, BLOB_COMPLETE, &blob);
        catalog_repo_totals(cat, 1, &totals);

        for (struct conn *k = cat->idle; k; k = k == cat->writer ? NULL : k->next ? k->next : cat->writer) {
                for (size_t i = 0; i < STATEMENTS_MAX; i++) {
                        sqlite3_stmt *st = k->statements[i].st;
                        CLEANUP_FREE char *sql = NULL;
                        sqlite3_stmt *plan;

                        if (!st || strncmp(sqlite3_sql(st), "PRAGMA", 6) == 0)
                                continue;
                        ck_assert_int_ge(asprintf(&sql, "EXPLAIN QUERY PLAN %s", sqlite3_sql(st)), 0);
                        ck_assert_int_eq(sqlite3_prepare_v2(k->db, sql, -1, &plan, NULL), SQLITE_OK);
                        while (sqlite3_step(plan) == SQLITE_ROW) {
                                const char *step = (const char *)sqlite3_column_text(plan, 3);

                                /* org_unused is bounded (R1) and walked in order */
                                ck_assert_msg(strncmp(step, "SCAN", 4) != 0 || strstr(step, "org_unused") ||
                                                      strstr(step, "CONSTANT ROW") ||
                                                      strcmp(step, "SCAN e") == 0,
                                              "%s: %s", sql, step);
                                ck_assert_msg(!strstr(step, "TEMP B-TREE"), "%s: %s", sql, step);
                                /* nor a walk over one listing */
                                ck_assert_msg(!strstr(step, "entry") || !strstr(step, "(commit_id=?)"),
                                              "%s: %s", sql, step);
                        }
                        sqlite3_finalize(plan);
                }
        }
}
END_TEST

int main(void)
{
        const TTest *const tests[] = {
                created_and_reopened,
                settings,
                empty_file_is_new,
                relative_path,
                cannot_be_opened,
                after_kill,
                migration_steps,
                older_version,
                newer_version,
                newer_version_in_the_log,
                version_flipped_beside_the_log,
                foreign_database,
                not_a_database,
                truncated,
                truncated_to_nothing,
                flipped_header,
                first_page_gone,
                missing_table,
                damaged_page_after_kill,
                damaged_page_met_later,
                ids_are_stable_and_never_reused,
                ids_end,
                sqlite_codes,
                remote_file_systems,
                remote_path,
                queries_use_indexes,
        };

        return run_cases("catalog", tests, ARRAY_SIZE(tests), dir_setup);
}
