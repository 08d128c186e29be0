/*
 * What the files of the catalogue share: connections, statements, transactions, row readers.
 *
 * catalog.c holds opening and damage, catalog_db.c SQLite, catalog_vfs.c the checksums of its pages,
 * catalog_repo.c repos and orgs, catalog_ref.c refs, catalog_ref_kept.c what they stand for offline,
 * catalog_commit.c commits and entries, catalog_listing.c the making of a listing, catalog_blob.c blobs.
 *
 * Locks      write_lock, then pool_lock; nobody takes them the other way round, nor both for
 *            long. A reader holds neither while it reads. Under lacks_lock nothing else is done.
 * Errors     as catalog.h. db_error() is the one place that translates SQLite's codes.
 */
#pragma once

#include "base/lock.h"
#include "base/util.h"
#include "index/catalog.h"

#include <sqlite3.h>

#define CATALOG_APPLICATION_ID 0x77667332   /* "wfs2", at byte 68 of the file: its pages are sealed */
#define CATALOG_APPLICATION_ID_1 0x77667331 /* "wfs1": made by an older version, and they are not */
#define CATALOG_READERS_MAX 16
#define CATALOG_ORGS_UNUSED_MAX 10000 /* orgs that were asked for and have no repo */
#define INCARNATION_MAX ((1u << 24) - 1)
#define STATEMENTS_MAX 128 /* a power of two; about twice as many as there are */

struct conn { /* one connection; used by one thread at a time */
        sqlite3 *db;
        struct conn *next; /* in the pool; protected by pool_lock */
        bool opened;       /* the catalogue was found good: damage that is met now is marked */
        struct {
                const char *sql; /* the key is the address of the literal */
                sqlite3_stmt *st;
        } statements[STATEMENTS_MAX];
};

/* A file that a commit lacks of the one before it (catalog_ref_kept.c): where it is in both. @pos 0: none is known. */
struct lack {
        int64_t commit, kept;
        uint32_t pos, kept_pos;
};

#define LACKS_MAX 64 /* that are remembered */

struct catalog {
        char *path;     /* absolute: readers are opened later, perhaps from another directory */
        uint64_t epoch; /* constant, as the next one */
        bool is_new;

        struct lock write_lock;
        struct conn *writer; /* protected by write_lock */

        _Atomic int64_t changed_ns; /* catalog_changed_ns(); written under write_lock */

        struct lock pool_lock;
        pthread_cond_t pool_cond; /* a reader was given back */
        struct conn *idle;        /* protected by pool_lock */
        unsigned readers;         /* open ones, idle or not; protected by pool_lock */

        struct lock lacks_lock;
        struct lack lacks[LACKS_MAX]; /* by the number of the commit; protected by lacks_lock */
};

/* ---- checksums of pages (catalog_vfs.c) ---- */

#define CATALOG_VFS "weightfs"
#define CATALOG_SEAL_BYTES 8 /* of each page, at its end */
/* Makes the layer known to SQLite, once in a process. SQLITE_OK or another of its codes. */
int catalog_vfs_register(void);
/* True when the seal of a page that lies @at in the file holds. */
bool catalog_page_holds(const unsigned char *page, size_t len, uint64_t at);

/* ---- connections ---- */

enum conn_kind { CONN_WRITER, CONN_READER };

int conn_open(const char *path, enum conn_kind kind, struct conn **ret);
struct conn *conn_close(struct conn *k); /* NULL is allowed; returns NULL */
DEFINE_CLEANUP(struct conn *, conn, conn_close)

/* The errno for SQLite's @rc on @db (NULL: no connection). */
int db_error(sqlite3 *db, int rc);

/* The file beside a catalogue that says that damage was met in it: @path and this. Who opens it next finds
 * it damaged. */
#define CATALOG_MARK ".damaged"

/* A reader of the pool, given back when the variable leaves its scope. */
struct reader {
        struct catalog *catalog;
        struct conn *conn;
};

int reader_take(struct catalog *c, struct reader *ret);
void reader_give(struct reader *rd);
#define CLEANUP_READER CLEANUP(reader_give)

/* ---- statements ---- */

struct param {
        const char *text; /* NULL: it is the number */
        int64_t number;
        bool null;
};

#define P_INT(n)                                                                                             \
        {                                                                                                    \
                .number = (int64_t)(n)                                                                       \
        }
#define P_TEXT(s)                                                                                            \
        {                                                                                                    \
                .text = (s)                                                                                  \
        }
#define P_NULL                                                                                               \
        {                                                                                                    \
                .null = true                                                                                 \
        }
#define PARAMS(...)                                                                                          \
        (const struct param[]){ __VA_ARGS__ },                                                               \
                sizeof((const struct param[]){ __VA_ARGS__ }) / sizeof(struct param)
#define NO_PARAMS NULL, 0

void cleanup_stmt(sqlite3_stmt **st);
#define CLEANUP_STMT CLEANUP(cleanup_stmt)

/* Prepares @sql (a literal: kept per connection by its address) and binds; the texts are borrowed
 * until the statement is done. @ret is a CLEANUP_STMT variable. */
int db_query(struct conn *k, const char *sql, const struct param *params, size_t count, sqlite3_stmt **ret);
/* The next row: 0, CATALOG_E_NONE after the last, or negative errno. */
int db_row(struct conn *k, sqlite3_stmt *st);
/* Runs a statement that gives no rows. A fault point. */
int db_exec(struct conn *k, const char *sql, const struct param *params, size_t count);
/* The same for an INSERT; the new row's id, -EOVERFLOW when it does not fit CATALOG_ID_MAX. */
int db_insert(struct conn *k, const char *sql, const struct param *params, size_t count, int64_t *ret_id);
/* The first column of the first row, a number. CATALOG_E_NONE when there is no row. */
int db_number(struct conn *k, const char *sql, const struct param *params, size_t count, int64_t *ret);
/* Reads the columns of one row into @ret, whose type is the function's own. 0 or negative errno. */
typedef int (*row_fn)(sqlite3_stmt *st, void *ret);
/* The first row, read with @read. CATALOG_E_NONE when there is none. */
int db_get(struct conn *k, const char *sql, const struct param *params, size_t count, row_fn read, void *ret);
/* The same on a reader of the pool. */
int catalog_get(struct catalog *c, const char *sql, const struct param *params, size_t count, row_fn read,
                void *ret);
/* All rows, one by one (catalog_rows_next()). The parameters must be numbers: they outlive the call. */
int catalog_get_rows(struct catalog *c, const char *sql, const struct param *params, size_t count, row_fn read,
                     struct catalog_rows **ret);
/* Several statements that are run once (schema, settings); not kept. */
int db_script(struct conn *k, const char *sql);

/* Copies a text column; -EUCLEAN when it does not fit @size or is not text. */
int column_text(sqlite3_stmt *st, int column, char *ret, size_t size);

/* ---- transactions ---- */

struct txn { /* rolls back unless committed */
        struct conn *conn;
};

int txn_begin(struct txn *t, struct conn *k);
int txn_commit(struct txn *t);
/* The same for what changes a listing: catalog_changed_ns() grows, once it can be seen. */
int txn_commit_shown(struct txn *t, struct catalog *c) REQUIRES(c->write_lock);
void txn_abort(struct txn *t);
#define CLEANUP_TXN CLEANUP(txn_abort)

/* ---- schema ---- */

#define CATALOG_VERSION 5 /* user_version */
extern const char *const catalog_steps[CATALOG_VERSION];

/* Brings the file to version @count: step n makes version n + 1. All or nothing. */
int catalog_migrate(struct conn *k, const char *const *steps, size_t count, int64_t *ret_from);

/* ---- rows, on any connection: 0, CATALOG_E_NONE, negative errno ---- */

int repo_load(struct conn *k, int64_t id, struct repo *ret);
int commit_load(struct conn *k, int64_t id, struct commit *ret);
int entry_load(struct conn *k, int64_t commit, uint32_t pos, struct entry *ret);
int blob_load(struct conn *k, int64_t id, struct blob_row *ret);

/* ---- what refs stand for (catalog_ref_kept.c) ---- */

/* catalog_ref_stands_for() on any connection. @lack: zeros, or what an earlier call left there, for whatever ref. */
int ref_stands_for(struct conn *k, const struct ref *ref, struct lack *lack, int64_t *ret);
/* What @ref is to keep when it moves on to the commit @next; 0: nothing. */
int ref_to_keep(struct conn *k, const struct ref *ref, int64_t next, int64_t *ret);

/* ---- listings (catalog_listing.c) ---- */

struct node {             /* one position */
        const char *path; /* @len bytes, borrowed from a listed_file */
        uint32_t len;
        uint32_t parent;
        uint32_t depth;
        bool along;
        const struct listed_file *file; /* NULL: a folder */
};

struct listing {
        struct node *nodes; /* by position; the root is the first */
        size_t count;
        uint32_t files;
        uint64_t size;
};

/* 0, CATALOG_E_LIMIT, -EINVAL for a path or etag that is not valid, -ENOMEM. */
int listing_make(const struct listed_file *files, size_t count, struct listing *ret);
void listing_done(struct listing *l);

/* ---- file systems (remote.c) ---- */

/* The name of the network file system with this statfs(2) type; NULL: a local one. */
const char *remote_fs_name(uint64_t type);
/* The same for where @path lies or would lie. */
const char *path_remote_fs(const char *path);
