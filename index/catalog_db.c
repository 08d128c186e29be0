/*
 * SQLite, as the catalogue uses it: connections, kept statements, transactions, errors.
 *
 *   D1  A connection is used by one thread at a time: the writer under write_lock, a reader
 *       between reader_take() and reader_give(). Hence SQLITE_OPEN_NOMUTEX.
 *   D2  A statement is reset when its variable leaves scope, so that no read transaction outlives
 *       a call; an open one would keep the WAL from being reset and let it grow.
 *   D3  A transaction that is not committed is rolled back, whatever way its function ends.
 *
 * No mmap: an I/O error or a file cut short from outside would be SIGBUS instead of an errno.
 */
#define LOG_COMPONENT "catalog"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "index/catalog_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 5000

/* ---- errors ---- */

static int error_of_system(sqlite3 *db, int otherwise)
{
        int e = db ? sqlite3_system_errno(db) : 0;

        return e > 0 ? -e : otherwise;
}

int db_error(sqlite3 *db, int rc)
{
        static const struct {
                int code, error;
        } table[] = {
                { SQLITE_CORRUPT, -EUCLEAN },
                { SQLITE_NOTADB, -EUCLEAN },
                { SQLITE_FULL, -ENOSPC },
                { SQLITE_NOMEM, -ENOMEM },
                { SQLITE_BUSY, -EBUSY },
                { SQLITE_LOCKED, -EBUSY },
                { SQLITE_PROTOCOL, -EBUSY },
                { SQLITE_READONLY, -EROFS },
                { SQLITE_PERM, -EACCES },
                { SQLITE_TOOBIG, -EFBIG },
                { SQLITE_CONSTRAINT, -EINVAL },
                { SQLITE_MISUSE, -EINVAL },
                /* the statements are constant: a table or a column is missing */
                { SQLITE_ERROR, -EUCLEAN },
        };

        /* the file ends before a page that it should have; the page's checksum does not hold */
        if (rc == SQLITE_IOERR_SHORT_READ || rc == SQLITE_IOERR_DATA)
                return -EUCLEAN;
        if ((rc & 0xff) == SQLITE_CANTOPEN)
                return error_of_system(db, -ENOENT);
        if ((rc & 0xff) == SQLITE_IOERR && error_of_system(db, 0) == -EDQUOT)
                return -EDQUOT;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                if (table[i].code == (rc & 0xff))
                        return table[i].error;
        return -EIO;
}

/* Damage that is met while the mount lives: nothing is done about it now, since the meaning of node ids is in
 * this file, but the next start makes a new one. */
static void mark_damaged(const struct conn *k)
{
        const char *path = sqlite3_db_filename(k->db, "main");
        CLEANUP_FREE char *mark = NULL;
        CLEANUP_FD int fd = -1;

        if (!path || asprintf(&mark, "%s" CATALOG_MARK, path) < 0) {
                mark = NULL;
                return;
        }
        fd = open(mark, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0) /* by the first who meets it */
                log_error("the catalogue %s is damaged: %s; some of it cannot be read until weightfs is started "
                          "again, which makes it anew from the store", path,
                          sqlite3_extended_errcode(k->db) == SQLITE_IOERR_DATA ? "a checksum does not hold" :
                                                                                 sqlite3_errmsg(k->db));
}

static int conn_error(struct conn *k, int rc)
{
        int r = db_error(k->db, rc);

        if (r == -EUCLEAN && k->opened)
                mark_damaged(k);
        log_debug("catalogue: %s (SQLite %d): %s", strerror(-r), rc, sqlite3_errmsg(k->db));
        return r;
}

/* ---- connections ---- */

/* SQLite counts its memory under one mutex of the process, which all readers would share. */
static int configured;

static void configure(void)
{
        sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
        configured = catalog_vfs_register();
}

int conn_open(const char *path, enum conn_kind kind, struct conn **ret)
{
        CLEANUP(cleanup_conn) struct conn *k = calloc(1, sizeof(*k));
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        /* no link in the path: it is a real one */
        int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, seal = CATALOG_SEAL_BYTES, rc;

        if (!k)
                return -ENOMEM;
        pthread_once(&once, configure);
        if (configured != SQLITE_OK)
                return -ENOMEM;
        flags |= kind == CONN_WRITER ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
        rc = sqlite3_open_v2(path, &k->db, flags, CATALOG_VFS);
        if (rc != SQLITE_OK)
                return k->db ? conn_error(k, rc) : -ENOMEM;

        sqlite3_extended_result_codes(k->db, 1);
        sqlite3_file_control(k->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &seal); /* for a file that is made now */
        sqlite3_busy_timeout(k->db, BUSY_TIMEOUT_MS);
        sqlite3_db_config(k->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        /* A file that turns out to be damaged or newer is left as found, its WAL too;
         * catalog_close() allows the checkpoint. */
        sqlite3_db_config(k->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        rc = db_script(k, kind == CONN_WRITER
                                  ? "PRAGMA page_size = 4096; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                                    "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;"
                                    "PRAGMA cache_size = -2048; PRAGMA journal_size_limit = 8388608;"
                                  : "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                                    "PRAGMA query_only = ON; PRAGMA cache_size = -512;");
        if (rc < 0)
                return rc;
        *ret = take_ptr(k);
        return 0;
}

struct conn *conn_close(struct conn *k)
{
        if (!k)
                return NULL;
        for (size_t i = 0; i < STATEMENTS_MAX; i++)
                sqlite3_finalize(k->statements[i].st);
        sqlite3_close(k->db);
        free(k);
        return NULL;
}

/* All that wait, though one may go on: with several waiters pthread_cond_signal() of glibc 2.27 to 2.40
 * sometimes wakes none (bug 25847). Who waits at all has CATALOG_READERS_MAX others before it. */
static void wake_readers_locked(struct catalog *c) REQUIRES(c->pool_lock)
{
        pthread_cond_broadcast(&c->pool_cond);
}

/* A connection for the place that reader_take() has counted; gives the place back on failure. */
static int reader_open(struct catalog *c, struct conn **ret)
{
        int r = conn_open(c->path, CONN_READER, ret);

        if (r == 0) {
                (*ret)->opened = true;
                return 0;
        }
        lock_take(&c->pool_lock);
        c->readers--;
        wake_readers_locked(c);
        lock_drop(&c->pool_lock);
        return r;
}

int reader_take(struct catalog *c, struct reader *ret)
{
        struct conn *k;
        int r;

        lock_take(&c->pool_lock);
        while (!c->idle && c->readers == CATALOG_READERS_MAX)
                lock_wait(&c->pool_lock, &c->pool_cond);
        k = c->idle;
        if (k)
                c->idle = k->next;
        else
                c->readers++;
        lock_drop(&c->pool_lock);

        r = k ? 0 : reader_open(c, &k);
        if (r == 0)
                *ret = (struct reader){ .catalog = c, .conn = k };
        return r;
}

void reader_give(struct reader *rd)
{
        struct catalog *c = rd->catalog;

        if (!rd->conn)
                return;
        lock_take(&c->pool_lock);
        rd->conn->next = c->idle;
        c->idle = rd->conn;
        wake_readers_locked(c);
        lock_drop(&c->pool_lock);
        rd->conn = NULL;
}

/* ---- statements ---- */

void cleanup_stmt(sqlite3_stmt **st)
{
        if (!*st)
                return;
        sqlite3_reset(*st); /* D2 */
        sqlite3_clear_bindings(*st);
}

static int statement_get(struct conn *k, const char *sql, sqlite3_stmt **ret)
{
        size_t at = ((uintptr_t)sql >> 4) % STATEMENTS_MAX;
        int rc;

        for (size_t i = 0; i < STATEMENTS_MAX; i++, at = (at + 1) % STATEMENTS_MAX) {
                if (k->statements[at].sql == sql) {
                        assert(!sqlite3_stmt_busy(k->statements[at].st));
                        *ret = k->statements[at].st;
                        return 0;
                }
                if (k->statements[at].sql)
                        continue;
                rc = sqlite3_prepare_v3(k->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &k->statements[at].st,
                                        NULL);
                if (rc != SQLITE_OK)
                        return conn_error(k, rc);
                k->statements[at].sql = sql;
                *ret = k->statements[at].st;
                return 0;
        }
        return -ENOMEM;
}

int db_query(struct conn *k, const char *sql, const struct param *params, size_t count, sqlite3_stmt **ret)
{
        sqlite3_stmt *st = NULL;
        int r, rc = SQLITE_OK;

        r = statement_get(k, sql, &st);
        if (r < 0)
                return r;
        for (size_t i = 0; i < count && rc == SQLITE_OK; i++) {
                if (params[i].null)
                        continue; /* what is not bound is NULL */
                if (params[i].text)
                        rc = sqlite3_bind_text(st, (int)i + 1, params[i].text, -1, SQLITE_STATIC);
                else
                        rc = sqlite3_bind_int64(st, (int)i + 1, params[i].number);
        }
        if (rc != SQLITE_OK) {
                sqlite3_clear_bindings(st);
                return conn_error(k, rc);
        }
        *ret = st;
        return 0;
}

int db_row(struct conn *k, sqlite3_stmt *st)
{
        int rc = sqlite3_step(st);

        if (rc == SQLITE_ROW)
                return 0;
        return rc == SQLITE_DONE ? CATALOG_E_NONE : conn_error(k, rc);
}

int db_exec(struct conn *k, const char *sql, const struct param *params, size_t count)
{
        CLEANUP_STMT sqlite3_stmt *st = NULL;
        int r;

        if (FAULT("catalog.step"))
                return -EIO;
        r = db_query(k, sql, params, count, &st);
        if (r < 0)
                return r;
        r = db_row(k, st);
        return r < 0 ? r : 0;
}

int db_insert(struct conn *k, const char *sql, const struct param *params, size_t count, int64_t *ret_id)
{
        int64_t id;
        int r;

        r = db_exec(k, sql, params, count);
        if (r < 0)
                return r;
        id = sqlite3_last_insert_rowid(k->db);
        /* Without a row (INSERT ... SELECT of nothing) it is that of an earlier statement. */
        if (sqlite3_changes(k->db) > 0 && id > CATALOG_ID_MAX)
                return -EOVERFLOW;
        *ret_id = id;
        return 0;
}

int db_number(struct conn *k, const char *sql, const struct param *params, size_t count, int64_t *ret)
{
        CLEANUP_STMT sqlite3_stmt *st = NULL;
        int r;

        r = db_query(k, sql, params, count, &st);
        if (r == 0)
                r = db_row(k, st);
        if (r == 0)
                *ret = sqlite3_column_int64(st, 0);
        return r;
}

int db_get(struct conn *k, const char *sql, const struct param *params, size_t count, row_fn read, void *ret)
{
        CLEANUP_STMT sqlite3_stmt *st = NULL;
        int r;

        r = db_query(k, sql, params, count, &st);
        if (r == 0)
                r = db_row(k, st);
        return r == 0 ? read(st, ret) : r;
}

int catalog_get(struct catalog *c, const char *sql, const struct param *params, size_t count, row_fn read,
                void *ret)
{
        CLEANUP_READER struct reader rd = {};
        int r = reader_take(c, &rd);

        return r < 0 ? r : db_get(rd.conn, sql, params, count, read, ret);
}

/* ---- rows under way ---- */

struct catalog_rows {
        struct reader reader;
        sqlite3_stmt *st;
        row_fn read;
};

int catalog_get_rows(struct catalog *c, const char *sql, const struct param *params, size_t count, row_fn read,
                     struct catalog_rows **ret)
{
        struct catalog_rows *rows = calloc(1, sizeof(*rows));
        int r;

        if (!rows)
                return -ENOMEM;
        rows->read = read;
        r = reader_take(c, &rows->reader);
        if (r == 0)
                r = db_query(rows->reader.conn, sql, params, count, &rows->st);
        if (r < 0)
                catalog_rows_free(rows);
        else
                *ret = rows;
        return r;
}

int catalog_rows_next(struct catalog_rows *rows, void *ret)
{
        int r = db_row(rows->reader.conn, rows->st);

        return r == 0 ? rows->read(rows->st, ret) : r;
}

struct catalog_rows *catalog_rows_free(struct catalog_rows *rows)
{
        if (!rows)
                return NULL;
        cleanup_stmt(&rows->st); /* D2, before D1 ends */
        reader_give(&rows->reader);
        free(rows);
        return NULL;
}

int db_script(struct conn *k, const char *sql)
{
        int rc = sqlite3_exec(k->db, sql, NULL, NULL, NULL);

        return rc == SQLITE_OK ? 0 : conn_error(k, rc);
}

int column_text(sqlite3_stmt *st, int column, char *ret, size_t size)
{
        const unsigned char *text = sqlite3_column_text(st, column);
        int len = sqlite3_column_bytes(st, column);

        if (!text || (size_t)len >= size)
                return -EUCLEAN;
        memcpy(ret, text, (size_t)len + 1);
        return 0;
}

/* ---- transactions ---- */

static const char rollback[] = "ROLLBACK";

/* Ends a transaction, if one is open: after some errors SQLite has rolled back by itself. Not db_exec(): a
 * rollback must not meet a fault point. */
static int roll_back(struct conn *k)
{
        CLEANUP_STMT sqlite3_stmt *st = NULL;
        int r;

        if (sqlite3_get_autocommit(k->db))
                return 0;
        r = statement_get(k, rollback, &st);
        return r == 0 && sqlite3_step(st) != SQLITE_DONE ? -ENOMEM : r;
}

/* What a rollback needs is made beforehand: were there no memory for it then, the transaction would stay open, and
 * the next one would find it so. That one ends it, should it be so all the same. */
static int prepare_rollback(struct conn *k)
{
        sqlite3_stmt *st;
        int r = statement_get(k, rollback, &st);

        return r == 0 ? roll_back(k) : r;
}

int txn_begin(struct txn *t, struct conn *k)
{
        int r;

        if (FAULT("catalog.begin"))
                return -EIO;
        r = prepare_rollback(k);
        if (r < 0)
                return r;
        /* IMMEDIATE: a deferred one that reads first could find the file changed when it writes. */
        r = db_exec(k, "BEGIN IMMEDIATE", NO_PARAMS);
        if (r < 0)
                return r;
        t->conn = k;
        return 0;
}

int txn_commit(struct txn *t)
{
        int r;

        if (FAULT("catalog.commit"))
                return -EIO;
        r = db_exec(t->conn, "COMMIT", NO_PARAMS);
        if (r < 0)
                return r; /* D3: txn_abort() sees whether it is still open */
        t->conn = NULL;
        return 0;
}

int txn_commit_shown(struct txn *t, struct catalog *c)
{
        int r = txn_commit(t);

        if (r == 0) /* also when the clock was set back */
                c->changed_ns = (int64_t)max_u64((uint64_t)clock_wall_ns(), (uint64_t)c->changed_ns + 1);
        return r;
}

void txn_abort(struct txn *t)
{
        if (!t->conn)
                return;
        (void)roll_back(t->conn);
        t->conn = NULL;
}
