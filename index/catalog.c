/*
 * The catalogue as a file: opening, creating, migrating, damage. Its parts are listed in
 * catalog_internal.h.
 *
 * States of the file at @path
 *   absent or empty   made: application_id, then WAL, then in one transaction schema and epoch
 *   ours, clean       no -wal beside it, or an empty one: catalog_close() ran. The header is
 *                     looked at, nothing else: the time to open does not grow with the file
 *   ours, unclean     a -wal with something in it: the last user was killed or power was lost.
 *                     SQLite recovers, then PRAGMA quick_check looks for damage
 *   older             a user_version below ours: migrated, in one transaction; ids and epoch stay
 *   not ours          another application_id: -EEXIST, not touched
 *   newer             a user_version above ours: -EPROTO, not touched
 *   damaged           -EUCLEAN, not touched; index_open() moves it aside. Also what an earlier process has
 *                     marked, because it met damage when it read a page (catalog_vfs.c)
 *
 * Invariants
 *   C1  An id is never used for two things, also after a row was removed or power was lost:
 *       AUTOINCREMENT, and a commit is on disk (synchronous=FULL) before its ids are returned.
 *   C2  The epoch is made with the schema, in its transaction, and never changes.
 *   C3  A change is one transaction: all of it is seen or nothing.
 *   C4  commits.missing is the number of the commit's entries marked along whose blob is not whole.
 *   C5  repo_blob holds (repo, blob) exactly where an entry of a commit of the repo has the blob.
 *   C6  A blob's incarnation is odd exactly when it is whole.
 */
#define LOG_COMPONENT "catalog"
#include "base/fault.h"
#include "base/log.h"
#include "index/catalog_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HEADER_BYTES 100 /* sqlite.org/fileformat2.html, 1.3 */
#define PAGE_BYTES 4096  /* SQLite's own choice, which the catalogue is made with */

/*
 * The steps by which a catalogue came to be what it is: a new one goes through all of them, an older
 * one through those that it lacks. A step that was released is never edited.
 *
 * An entry is keyed by its position; entry_name serves lookups and, since children are in the order
 * of their names, readdir; entry_blob the places of a blob: each is one search, however large the
 * listing. Each index more would make a large listing slower to record. Only folders keep their
 * path, a file's is its folder's and its name. ("commits": COMMIT is a keyword.)
 */
static const char schema_1[] =
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"

        "CREATE TABLE repo (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  type INTEGER NOT NULL CHECK (type BETWEEN 0 AND 2), name TEXT NOT NULL, hub_name TEXT NOT NULL,"
        "  scanned INTEGER NOT NULL DEFAULT 0, resolved INTEGER NOT NULL,"
        "  org TEXT NOT NULL AS (substr(name, 1, max(0, instr(name, '/') - 1))), UNIQUE (type, name)) STRICT;"
        "CREATE INDEX repo_listed ON repo (type) WHERE resolved;"
        "CREATE INDEX repo_org ON repo (type, org) WHERE resolved;"

        /* used: a resolved repo of the org is known; others are kept in limited number */
        "CREATE TABLE org (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  type INTEGER NOT NULL CHECK (type BETWEEN 0 AND 2), name TEXT NOT NULL, used INTEGER NOT NULL,"
        "  UNIQUE (type, name)) STRICT;"
        "CREATE INDEX org_unused ON org (id) WHERE NOT used;"
        "CREATE INDEX org_listed ON org (type) WHERE used;"

        "CREATE TABLE commits (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  repo INTEGER NOT NULL REFERENCES repo, sha TEXT NOT NULL, mtime INTEGER NOT NULL,"
        "  nodes INTEGER NOT NULL, files INTEGER NOT NULL, size INTEGER NOT NULL,"
        "  whole INTEGER NOT NULL, missing INTEGER NOT NULL, UNIQUE (repo, sha)) STRICT;"
        "CREATE INDEX commits_repo ON commits (repo);"

        /* deferred: a partial commit goes before its refs are moved */
        "CREATE TABLE ref (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  repo INTEGER NOT NULL REFERENCES repo, name TEXT NOT NULL,"
        "  commit_id INTEGER NOT NULL REFERENCES commits DEFERRABLE INITIALLY DEFERRED,"
        "  checked INTEGER NOT NULL, UNIQUE (repo, name)) STRICT;"
        "CREATE INDEX ref_commit ON ref (commit_id);"
        "CREATE TABLE ref_dir (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  repo INTEGER NOT NULL REFERENCES repo, path TEXT NOT NULL, UNIQUE (repo, path)) STRICT;"

        "CREATE TABLE blob (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        "  etag TEXT NOT NULL, size INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0"
        "  CHECK (state BETWEEN 0 AND 3), incarnation INTEGER NOT NULL DEFAULT 0,"
        "  CHECK (incarnation % 2 = (state IN (1, 2))), UNIQUE (etag, size)) STRICT;"
        "CREATE INDEX blob_state ON blob (state);"
        "CREATE TABLE repo_blob (repo INTEGER NOT NULL REFERENCES repo, blob INTEGER NOT NULL REFERENCES "
        "blob,"
        "  PRIMARY KEY (repo, blob)) STRICT, WITHOUT ROWID;"

        "CREATE TABLE entry (commit_id INTEGER NOT NULL REFERENCES commits ON DELETE CASCADE,"
        "  pos INTEGER NOT NULL, parent INTEGER NOT NULL, depth INTEGER NOT NULL, name TEXT NOT NULL,"
        "  path TEXT, blob INTEGER REFERENCES blob, along INTEGER NOT NULL,"
        "  CHECK ((path IS NULL) <> (blob IS NULL)),"
        "  PRIMARY KEY (commit_id, pos)) STRICT, WITHOUT ROWID;"
        "CREATE UNIQUE INDEX entry_name ON entry (commit_id, parent, name);"
        "CREATE INDEX entry_folder ON entry (commit_id, parent, pos);"
        "CREATE INDEX entry_blob ON entry (blob, commit_id, pos) WHERE blob IS NOT NULL;";

/* Listings are read in one go, by indexes of their own; of the blobs' states only the rare ones have
 * an index. Rows of blobs never go, so nothing checks that they are there. */
static const char schema_2[] =
        "DROP INDEX IF EXISTS ref_listed;"
        "DROP INDEX IF EXISTS ref_dir_listed;"
        "DROP INDEX blob_state;"
        "CREATE INDEX ref_listed ON ref (repo);"
        "CREATE INDEX ref_dir_listed ON ref_dir (repo);"
        "CREATE INDEX blob_state ON blob (state) WHERE state <> 0;"

        "CREATE TABLE repo_blob_2 (repo INTEGER NOT NULL, blob INTEGER NOT NULL, PRIMARY KEY (repo, blob))"
        "  STRICT, WITHOUT ROWID;"
        "INSERT INTO repo_blob_2 SELECT repo, blob FROM repo_blob ORDER BY repo, blob;"
        "DROP TABLE repo_blob;"
        "ALTER TABLE repo_blob_2 RENAME TO repo_blob;"

        "CREATE TABLE entry_2 (commit_id INTEGER NOT NULL REFERENCES commits ON DELETE CASCADE,"
        "  pos INTEGER NOT NULL, parent INTEGER NOT NULL, depth INTEGER NOT NULL, name TEXT NOT NULL,"
        "  path TEXT, blob INTEGER, along INTEGER NOT NULL,"
        "  CHECK ((path IS NULL) <> (blob IS NULL)),"
        "  PRIMARY KEY (commit_id, pos)) STRICT, WITHOUT ROWID;"
        "INSERT INTO entry_2 SELECT commit_id, pos, parent, depth, name, path, blob, along FROM entry"
        "  ORDER BY commit_id, pos;"
        "DROP TABLE entry;" /* and its indexes */
        "ALTER TABLE entry_2 RENAME TO entry;"
        "CREATE UNIQUE INDEX entry_name ON entry (commit_id, parent, name);"
        "CREATE INDEX entry_blob ON entry (blob, commit_id, pos) WHERE blob IS NOT NULL;";

/* linked: of the files that were whole when the listing was recorded, all have their links in the store. */
static const char schema_3[] =
        "ALTER TABLE commits ADD COLUMN linked INTEGER NOT NULL DEFAULT 0;"
        "CREATE INDEX commits_unlinked ON commits (id) WHERE NOT linked;";

/* verified: when the content was last found to be right, in seconds; 0: not known. */
static const char schema_4[] = "ALTER TABLE blob ADD COLUMN verified INTEGER NOT NULL DEFAULT 0;";

/* kept: see catalog_ref_kept.c. */
static const char schema_5[] = "ALTER TABLE ref ADD COLUMN kept INTEGER;";

const char *const catalog_steps[CATALOG_VERSION] = { schema_1, schema_2, schema_3, schema_4, schema_5 };

/* ---- what the file looks like before SQLite touches it ---- */

enum found { FOUND_NOTHING, FOUND_CLEAN, FOUND_UNCLEAN };

static uint32_t be32(const unsigned char *p)
{
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The bytes of the -wal beside the file; 0 when there is none. */
static int wal_size(const char *path, off_t *ret)
{
        CLEANUP_FREE char *wal = NULL;
        struct stat st;

        if (asprintf(&wal, "%s-wal", path) < 0) {
                wal = NULL;
                return -ENOMEM;
        }
        if (stat(wal, &st) == 0)
                *ret = st.st_size;
        else if (errno == ENOENT)
                *ret = 0;
        else
                return -errno;
        return 0;
}

static int damaged(const char *path, struct errmsg *err, const char *how)
{
        return errmsg_set(err, -EUCLEAN,
                          "the catalogue %s is damaged: %s. Once moved aside it is made anew from the store",
                          path, how);
}

static int newer(const char *path, int64_t version, struct errmsg *err)
{
        return errmsg_set(err, -EPROTO,
                          "the catalogue %s has version %lld and this weightfs knows up to %d: install the "
                          "newer weightfs again, or move the file away (it is made anew from the store)",
                          path, (long long)version, CATALOG_VERSION);
}

/* A disk that fails has damaged nothing: the file stays, and is not made anew. */
static int unreadable(const char *path, struct errmsg *err, int r)
{
        return errmsg_set(err, r, "cannot read the catalogue %s: %s; choose another --state, or move it away", path,
                          strerror(-r));
}

/* Whether the seal of the first page holds, in a file of sealed pages. */
static int first_page_holds(int fd, bool *ret)
{
        unsigned char buf[PAGE_BYTES];
        ssize_t n = pread_all(fd, buf, sizeof(buf), 0);

        if (n < 0)
                return (int)n;
        *ret = n == (ssize_t)sizeof(buf) && catalog_page_holds(buf, sizeof(buf), 0);
        return 0;
}

/* The first page, in a file that says it is sealed: a flipped bit in it must not make it another program's,
 * newer, or unsealed. */
static int first_page_check(const char *path, int fd, const unsigned char h[HEADER_BYTES], off_t wal,
                            struct errmsg *err)
{
        static const char how[] = "the checksum of its first page does not hold";
        size_t page = (size_t)h[16] << 8 | h[17];
        bool ours = be32(h + 68) == CATALOG_APPLICATION_ID, holds = false;
        int r;

        if (!ours && h[20] != CATALOG_SEAL_BYTES)
                return 0;
        /* what the log is there to mend may be torn */
        if (ours && wal > 0)
                return h[20] == CATALOG_SEAL_BYTES ? 0 : damaged(path, err, how);
        r = ours ? first_page_holds(fd, &holds) : 0;
        if (r < 0)
                return unreadable(path, err, r);
        if (ours && (page != PAGE_BYTES || h[20] != CATALOG_SEAL_BYTES || !holds))
                return damaged(path, err, how);
        if (!ours && __builtin_popcount(be32(h + 68) ^ CATALOG_APPLICATION_ID) == 1)
                return damaged(path, err, how);
        return 0;
}

/* Whether a header that names a later version is to be believed: one bit of it may have flipped, while the log has
 * the page as it was. Then SQLite reads the version (file_prepare()). */
static bool version_holds(int fd, const unsigned char h[HEADER_BYTES])
{
        bool holds = false;

        return be32(h + 68) != CATALOG_APPLICATION_ID || (first_page_holds(fd, &holds) == 0 && holds);
}

/* The header and the length; @wal is what may still be missing in the file itself. */
static int header_check(const char *path, int fd, off_t size, off_t wal, struct errmsg *err)
{
        static const char magic[16] = "SQLite format 3";
        unsigned char h[HEADER_BYTES];
        uint32_t page, pages;
        ssize_t n;
        int r;

        n = pread_all(fd, h, sizeof(h), 0);
        if (n < 0)
                return unreadable(path, err, (int)n);
        if (n < HEADER_BYTES)
                return damaged(path, err, "it ends within its header");
        if (memcmp(h, magic, sizeof(magic)) != 0)
                return damaged(path, err, "it is not an SQLite file");
        r = first_page_check(path, fd, h, wal, err);
        if (r < 0)
                return r;
        if (be32(h + 68) != CATALOG_APPLICATION_ID && be32(h + 68) != CATALOG_APPLICATION_ID_1)
                return errmsg_set(err, -EEXIST,
                                  "%s is the SQLite file of another program; it is left alone. Choose "
                                  "another directory with --state, or move it away",
                                  path);
        /* The log may know better, but a schema that this SQLite cannot parse would be "damaged". */
        if (be32(h + 60) > CATALOG_VERSION && version_holds(fd, h))
                return newer(path, be32(h + 60), err);
        page = (uint32_t)h[16] << 8 | h[17];
        if (page == 1)
                page = 65536;
        if (page < 512 || (page & (page - 1)) != 0)
                return damaged(path, err, "its header is not valid");
        pages = be32(h + 28);
        /* The count is good only if both change counters agree (fileformat2, 1.3.7). */
        if (wal == 0 && memcmp(h + 24, h + 92, 4) == 0 && (uint64_t)pages * page > (uint64_t)size)
                return damaged(path, err, "its end is missing");
        return 0;
}

static bool is_marked(const char *path)
{
        CLEANUP_FREE char *mark = NULL;

        if (asprintf(&mark, "%s" CATALOG_MARK, path) < 0) {
                mark = NULL;
                return false;
        }
        return access(mark, F_OK) == 0;
}

/* Of a catalogue that was moved aside, where a crash came before its mark was. */
static int remove_mark(const char *path)
{
        CLEANUP_FREE char *mark = NULL;

        if (asprintf(&mark, "%s" CATALOG_MARK, path) < 0) {
                mark = NULL;
                return -ENOMEM;
        }
        return unlink(mark) < 0 && errno != ENOENT ? -errno : 0;
}

static int file_look(const char *path, enum found *ret, struct errmsg *err)
{
        CLEANUP_FD int fd = -1;
        struct stat st;
        off_t wal = 0;
        int r;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        if (fd < 0 && errno == ELOOP) /* SQLite would fill what it leads to */
                return errmsg_set(err, -EEXIST, "%s is in the way of the catalogue: it is a symbolic link", path);
        if (fd < 0 && errno != ENOENT)
                return errmsg_set(err, -errno, "cannot open the catalogue %s: %s", path, strerror(errno));
        if (fd >= 0 && fstat(fd, &st) < 0)
                return errmsg_set(err, -errno, "cannot stat the catalogue %s: %s", path, strerror(errno));
        if (fd >= 0 && !S_ISREG(st.st_mode))
                return errmsg_set(err, -EEXIST, "%s is in the way of the catalogue: it is no regular file",
                                  path);
        r = wal_size(path, &wal);
        if (r < 0)
                return errmsg_set(err, r, "cannot look at %s-wal: %s", path, strerror(-r));

        if (fd >= 0 && st.st_size > 0 && is_marked(path))
                return damaged(path, err, "damage was met in it");
        if (fd >= 0 && st.st_size > 0) {
                *ret = wal > 0 ? FOUND_UNCLEAN : FOUND_CLEAN;
                return header_check(path, fd, st.st_size, wal, err);
        }
        /* SQLite would delete the log of an empty file: all that is left of what was there. */
        if (wal > 0)
                return damaged(path, err, "it is empty, but its log is not");
        *ret = FOUND_NOTHING;
        r = remove_mark(path);
        return r < 0 ? errmsg_set(err, r, "cannot remove %s" CATALOG_MARK ": %s", path, strerror(-r)) : 0;
}

/* ---- opening ---- */

int catalog_migrate(struct conn *k, const char *const *what, size_t count, int64_t *ret_from)
{
        CLEANUP_TXN struct txn txn = {};
        char pragma[64];
        int64_t from;
        int r;

        r = txn_begin(&txn, k);
        if (r == 0)
                r = db_number(k, "PRAGMA user_version", NO_PARAMS, &from);
        if (r != 0)
                return r;
        if (from < 0 || from > (int64_t)count)
                return -EPROTO;
        for (size_t i = (size_t)from; i < count && r == 0; i++)
                r = FAULT("catalog.migrate") ? -EIO : db_script(k, what[i]);
        if (r == 0 && from < (int64_t)count) {
                snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %zu", count);
                r = db_script(k, pragma);
        }
        if (r == 0 && from == 0)
                /* C2: 63 bits (SQLite's integers have a sign), and never 0 */
                r = db_exec(k, "INSERT INTO meta VALUES ('epoch', max(1, random() & 9223372036854775807))",
                            NO_PARAMS);
        if (r == 0)
                r = txn_commit(&txn);
        if (r == 0)
                *ret_from = from;
        return r;
}

static int quick_check(struct conn *k)
{
        CLEANUP_STMT sqlite3_stmt *st = NULL;
        char line[256];
        int r;

        r = db_query(k, "PRAGMA quick_check(1)", NO_PARAMS, &st);
        if (r == 0)
                r = db_row(k, st);
        if (r != 0)
                return r < 0 ? r : -EUCLEAN;
        r = column_text(st, 0, line, sizeof(line));
        if (r < 0 || strcmp(line, "ok") != 0)
                return -EUCLEAN;
        return 0;
}

/* WAL. The application_id goes first, still without WAL, so that every file that is not empty has
 * it in its first page and can be told from a foreign one without being opened. It is missing not only
 * in a new file: SQLite may just have taken back what a crash had left half done. */
static int journal_set(struct conn *k)
{
        CLEANUP_STMT sqlite3_stmt *st = NULL;
        char pragma[64], mode[16];
        int64_t id;
        int r = db_number(k, "PRAGMA application_id", NO_PARAMS, &id);

        if (r == 0 && id == 0) {
                snprintf(pragma, sizeof(pragma), "PRAGMA application_id = %d", CATALOG_APPLICATION_ID);
                r = FAULT("catalog.create") ? -EIO : db_script(k, pragma);
        }
        if (r == 0)
                r = db_query(k, "PRAGMA journal_mode = WAL", NO_PARAMS, &st);
        if (r == 0)
                r = db_row(k, st);
        if (r == 0)
                r = column_text(st, 0, mode, sizeof(mode));
        if (r != 0)
                return r < 0 ? r : -EIO;
        return strcmp(mode, "wal") == 0 ? 0 : -EOPNOTSUPP;
}

/* SQLite tells no errno where its index of the WAL finds no space: that is an I/O error like others. */
static bool has_space(const char *path)
{
        char folder[PATH_MAX];
        struct statvfs s;

        snprintf(folder, sizeof(folder), "%s", path);
        if (strrchr(folder, '/'))
                *strrchr(folder, '/') = '\0';
        return statvfs(folder, &s) < 0 || s.f_blocks == 0 || s.f_bavail > 0;
}

static int explain(const char *path, int r, struct errmsg *err)
{
        if (r == -ENOSPC || (r == -EIO && !has_space(path)))
                return errmsg_set(err, -ENOSPC,
                                  "no space is left for the catalogue %s; free some, or choose a directory in "
                                  "another file system with --state",
                                  path);
        if (r == -EUCLEAN)
                return damaged(path, err, "SQLite cannot read it");
        if (r == -EOPNOTSUPP)
                return errmsg_set(err, r,
                                  "the file system of %s cannot hold an SQLite WAL: choose another "
                                  "directory with --state",
                                  path);
        if (r == -ENOENT)
                return errmsg_set(err, r, "the directory of the catalogue %s does not exist", path);
        return errmsg_set(err, r, "cannot open the catalogue %s: %s", path, strerror(-r));
}

static int file_prepare(struct catalog *c, const char *path, enum found found, struct errmsg *err)
        REQUIRES(c->write_lock)
{
        int64_t version, epoch;
        struct conn *k = c->writer;
        int r;

        r = journal_set(k);
        if (r == 0)
                r = db_number(k, "PRAGMA user_version", NO_PARAMS, &version);
        if (r == 0 && version > CATALOG_VERSION)
                return newer(path, version, err);
        if (r == 0 && found == FOUND_UNCLEAN)
                r = quick_check(k);
        if (r == 0)
                r = catalog_migrate(k, catalog_steps, CATALOG_VERSION, &version);
        if (r == 0)
                r = db_number(k, "SELECT value FROM meta WHERE key = 'epoch'", NO_PARAMS, &epoch);
        if (r != 0 || epoch <= 0)
                return explain(path, r < 0 ? r : -EUCLEAN, err);
        c->epoch = (uint64_t)epoch;
        c->is_new = version == 0;
        return 0;
}

DEFINE_CLEANUP(struct catalog *, catalog, catalog_close)

int catalog_open(const char *path, struct catalog **ret, struct errmsg *err)
{
        CLEANUP(cleanup_catalog) struct catalog *c = NULL;
        const char *remote = path_remote_fs(path);
        enum found found = FOUND_NOTHING;
        int r;

        if (remote)
                return errmsg_set(
                        err, -EREMOTE,
                        "the catalogue %s would lie on %s, where SQLite cannot keep it safe: name a "
                        "directory on a local disk with --state",
                        path, remote);
        r = file_look(path, &found, err);
        if (r < 0)
                return r;

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        lock_init(&c->write_lock);
        lock_init(&c->pool_lock);
        lock_init(&c->lacks_lock);
        pthread_cond_init(&c->pool_cond, NULL);
        lock_take(&c->write_lock);
        r = conn_open(path, CONN_WRITER, &c->writer);
        if (r == 0 && !(c->path = strdup(sqlite3_db_filename(c->writer->db, "main"))))
                r = -ENOMEM;
        r = r == 0 ? file_prepare(c, path, found, err) : explain(path, r, err);
        lock_drop(&c->write_lock);
        if (r < 0)
                return r;
        c->writer->opened = true;
        sqlite3_db_config(c->writer->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        log_debug("catalogue %s %s", path, c->is_new ? "made" : "opened");
        *ret = take_ptr(c);
        return 0;
}

struct catalog *catalog_close(struct catalog *c)
{
        if (!c)
                return NULL;
        while (c->idle) {
                struct conn *k = c->idle;

                c->idle = k->next;
                conn_close(k);
        }
        conn_close(c->writer); /* the last one: it empties and removes the WAL */
        pthread_cond_destroy(&c->pool_cond);
        lock_done(&c->lacks_lock);
        lock_done(&c->pool_lock);
        lock_done(&c->write_lock);
        free(c->path);
        free(c);
        return NULL;
}

uint64_t catalog_epoch(const struct catalog *c)
{
        return c->epoch;
}

int64_t catalog_changed_ns(const struct catalog *c)
{
        return c->changed_ns;
}

bool catalog_is_new(const struct catalog *c)
{
        return c->is_new;
}
