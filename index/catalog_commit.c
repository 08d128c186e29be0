/*
 * Commits and the reading of their listings.
 *
 *   K1  A listing never changes under its commit id: positions are parts of node ids. A partial
 *       one that is replaced takes its id with it, and its refs get new ids (F1).
 *   K2  A whole listing is for ever.
 */
#define LOG_COMPONENT "catalog"
#include "base/clock.h"
#include "base/log.h"
#include "index/catalog_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define COMMIT_SELECT "SELECT id, repo, sha, mtime, nodes, files, size, whole FROM commits "

/* The rows of an entry, of its folder (for the path), and of its blob, in this order whatever the
 * planner thinks: CROSS JOIN keeps it. */
#define ENTRY_SELECT                                                                                         \
        "SELECT e.pos, e.parent, e.depth, e.name, e.along, e.path, p.path, e.blob, b.size,"                  \
        " b.state, b.incarnation, b.etag FROM entry e CROSS JOIN entry p ON p.commit_id = e.commit_id"       \
        " AND p.pos = e.parent LEFT JOIN blob b ON b.id = e.blob "

/* ---- commits ---- */

static int row_commit(sqlite3_stmt *st, void *ret)
{
        struct commit commit = {
                .id = sqlite3_column_int64(st, 0),
                .repo = sqlite3_column_int64(st, 1),
                .mtime = sqlite3_column_int64(st, 3),
                .nodes = (uint32_t)sqlite3_column_int64(st, 4),
                .files = (uint32_t)sqlite3_column_int64(st, 5),
                .size = (uint64_t)sqlite3_column_int64(st, 6),
                .whole_listing = sqlite3_column_int(st, 7),
        };
        int r = column_text(st, 2, commit.sha, sizeof(commit.sha));

        if (r == 0)
                *(struct commit *)ret = commit;
        return r;
}

#define COMMIT_BY_ID COMMIT_SELECT "WHERE id = ?1"
#define COMMIT_BY_SHA COMMIT_SELECT "WHERE repo = ?1 AND sha = ?2"

int commit_load(struct conn *k, int64_t id, struct commit *ret)
{
        return db_get(k, COMMIT_BY_ID, PARAMS(P_INT(id)), row_commit, ret);
}

static int commit_load_sha(struct conn *k, int64_t repo, const char *sha, struct commit *ret)
{
        return db_get(k, COMMIT_BY_SHA, PARAMS(P_INT(repo), P_TEXT(sha)), row_commit, ret);
}

int catalog_commit_find(struct catalog *c, int64_t repo, const char *sha, struct commit *ret)
{
        return catalog_get(c, COMMIT_BY_SHA, PARAMS(P_INT(repo), P_TEXT(sha)), row_commit, ret);
}

int catalog_commit_get(struct catalog *c, int64_t id, struct commit *ret)
{
        return catalog_get(c, COMMIT_BY_ID, PARAMS(P_INT(id)), row_commit, ret);
}

int catalog_commit_next(struct catalog *c, int64_t repo, int64_t after, struct commit *ret)
{
        return catalog_get(c, COMMIT_SELECT "WHERE repo = ?1 AND id > ?2 ORDER BY id LIMIT 1",
                           PARAMS(P_INT(repo), P_INT(after)), row_commit, ret);
}

int catalog_commit_usable_offline(struct catalog *c, int64_t commit, bool *ret)
{
        CLEANUP_READER struct reader rd = {};
        int64_t missing;
        int r;

        r = reader_take(c, &rd);
        if (r == 0)
                r = db_number(rd.conn, "SELECT missing FROM commits WHERE id = ?1", PARAMS(P_INT(commit)),
                              &missing);
        if (r == 0)
                *ret = missing == 0;
        return r;
}

/* ---- putting a commit ---- */

/* C5: blobs that only the commit lists leave the repo. The rows of the blobs stay: a node id of
 * one may be in use, and what was filled of it can be listed again. */
static int commit_remove(struct conn *k, const struct commit *commit)
{
        int r;

        r = db_exec(k,
                    "DELETE FROM repo_blob WHERE repo = ?1"
                    " AND blob IN (SELECT blob FROM entry WHERE commit_id = ?2 AND blob IS NOT NULL)"
                    " AND NOT EXISTS (SELECT 1 FROM entry e JOIN commits c ON c.id = e.commit_id"
                    " WHERE e.blob = repo_blob.blob AND e.commit_id <> ?2 AND c.repo = ?1)",
                    PARAMS(P_INT(commit->repo), P_INT(commit->id)));
        if (r == 0) /* its entries go by the foreign key */
                r = db_exec(k, "DELETE FROM commits WHERE id = ?1", PARAMS(P_INT(commit->id)));
        return r;
}

/* The blob's row, made when absent. */
static int blob_of(struct conn *k, const struct listed_file *file, int64_t *ret_id, bool *ret_whole)
{
        CLEANUP_STMT sqlite3_stmt *st = NULL;
        int r;

        r = db_query(k, "SELECT id, state FROM blob WHERE etag = ?1 AND size = ?2",
                     PARAMS(P_TEXT(file->etag), P_INT(file->size)), &st);
        if (r == 0)
                r = db_row(k, st);
        if (r == 0) {
                *ret_id = sqlite3_column_int64(st, 0);
                *ret_whole = blob_state_whole((enum blob_state)sqlite3_column_int(st, 1));
        }
        if (r != CATALOG_E_NONE)
                return r;
        *ret_whole = false;
        return db_insert(k, "INSERT INTO blob (etag, size) VALUES (?1, ?2)",
                         PARAMS(P_TEXT(file->etag), P_INT(file->size)), ret_id);
}

struct tally {           /* of a listing, while it is recorded */
        int64_t missing; /* C4 */
        bool held;       /* a file is whole already */
};

static int node_insert(struct conn *k, const struct commit *commit, uint32_t pos, const struct node *n,
                       struct tally *tally)
{
        char path[ENTRY_PATH_MAX + 1];
        const char *slash, *name;
        int64_t blob = 0;
        bool whole;
        int r = 0;

        if (n->file) {
                r = blob_of(k, n->file, &blob, &whole);
                if (r == 0)
                        r = db_exec(k, "INSERT INTO repo_blob VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                                    PARAMS(P_INT(commit->repo), P_INT(blob)));
                if (r == 0 && n->along && !whole)
                        tally->missing++;
                if (r == 0 && whole)
                        tally->held = true;
        }
        if (r != 0)
                return r;
        memcpy(path, n->path, n->len);
        path[n->len] = '\0';
        slash = strrchr(path, '/');
        name = slash ? slash + 1 : path;
        if (n->file)
                return db_exec(k, "INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6, ?7)",
                               PARAMS(P_INT(commit->id), P_INT(pos), P_INT(n->parent), P_INT(n->depth),
                                      P_TEXT(name), P_INT(blob), P_INT(n->along)));
        return db_exec(k, "INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, 0)",
                       PARAMS(P_INT(commit->id), P_INT(pos), P_INT(n->parent), P_INT(n->depth), P_TEXT(name),
                              P_TEXT(path)));
}

static int commit_insert(struct conn *k, struct commit *commit, const struct listing *l)
{
        struct tally tally = {};
        int r;

        r = db_insert(k,
                      "INSERT INTO commits (repo, sha, mtime, nodes, files, size, whole, missing)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
                      PARAMS(P_INT(commit->repo), P_TEXT(commit->sha), P_INT(commit->mtime), P_INT(l->count),
                             P_INT(l->files), P_INT(l->size), P_INT(commit->whole_listing)),
                      &commit->id);
        for (size_t i = 0; i < l->count && r == 0; i++)
                r = node_insert(k, commit, (uint32_t)i, &l->nodes[i], &tally);
        if (r == 0)
                r = db_exec(k, "UPDATE commits SET missing = ?2, linked = ?3 WHERE id = ?1",
                            PARAMS(P_INT(commit->id), P_INT(tally.missing), P_INT(!tally.held)));
        return r;
}

/* K1: the refs of a commit that was replaced. REPLACE gives each a new row and id. */
static int refs_follow(struct conn *k, const struct commit *from, int64_t to)
{
        int64_t id;
        int r = db_exec(k, "UPDATE ref SET kept = ?3 WHERE repo = ?1 AND kept = ?2",
                        PARAMS(P_INT(from->repo), P_INT(from->id), P_INT(to)));

        return r < 0 ? r
                     : db_insert(k,
                                 "INSERT OR REPLACE INTO ref (repo, name, commit_id, checked, kept)"
                                 " SELECT repo, name, ?2, checked, kept FROM ref WHERE commit_id = ?1 ORDER BY id",
                                 PARAMS(P_INT(from->id), P_INT(to)), &id);
}

/* True when @known stays as it is, whatever is offered. */
static bool commit_stays(const struct commit *known, bool whole, size_t files)
{
        return known->whole_listing || (!whole && files <= known->files);
}

/* @commit has repo, sha, mtime and whole_listing set. */
static int commit_put_locked(struct catalog *c, struct commit *commit, const struct listing *l)
        REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        struct conn *k = c->writer;
        struct commit old;
        int r;

        r = txn_begin(&txn, k);
        if (r < 0)
                return r;
        r = commit_load_sha(k, commit->repo, commit->sha, &old);
        if (r == 0 && commit_stays(&old, commit->whole_listing, l->files)) {
                *commit = old; /* another thread was here first */
                return 0;
        }
        if (r < 0)
                return r;
        if (r == CATALOG_E_NONE)
                old.id = 0;
        if (commit->mtime == 0)
                commit->mtime = old.id > 0 ? old.mtime : clock_wall_s();
        r = old.id > 0 ? commit_remove(k, &old) : 0;
        if (r == 0)
                r = commit_insert(k, commit, l);
        if (r == 0 && old.id > 0)
                r = refs_follow(k, &old, commit->id);
        if (r == 0)
                r = commit_load(k, commit->id, commit);
        if (r == 0)
                r = txn_commit_shown(&txn, c);
        return r;
}

int catalog_commit_put(struct catalog *c, int64_t repo, const char *sha, int64_t mtime, bool whole,
                       const struct listed_file *files, size_t count, struct commit *ret)
{
        CLEANUP(listing_done) struct listing l = {};
        struct commit commit = { .repo = repo, .mtime = mtime, .whole_listing = whole };
        struct commit known;
        int r;

        if (!hex_valid(sha, COMMIT_HEX))
                return -EINVAL;
        r = catalog_commit_find(c, repo, sha, &known);
        if (r < 0)
                return r;
        if (r == 0 && commit_stays(&known, whole, count)) {
                *ret = known;
                return 0;
        }
        r = listing_make(files, count, &l);
        if (r != 0)
                return r;
        memcpy(commit.sha, sha, sizeof(commit.sha));
        lock_take(&c->write_lock);
        r = commit_put_locked(c, &commit, &l);
        lock_drop(&c->write_lock);
        if (r != 0)
                return r;
        log_debug("commit %s: %" PRIu32 " files, id %" PRId64, sha, commit.files, commit.id);
        *ret = commit;
        return 0;
}

/* ---- links ---- */

int catalog_commit_next_unlinked(struct catalog *c, int64_t after, struct commit *ret)
{
        return catalog_get(c, COMMIT_SELECT "WHERE NOT linked AND id > ?1 ORDER BY id LIMIT 1",
                           PARAMS(P_INT(after)), row_commit, ret);
}

int catalog_commits_set_linked(struct catalog *c, int64_t first, int64_t last)
{
        int r;

        lock_take(&c->write_lock);
        r = db_exec(c->writer, "UPDATE commits SET linked = 1 WHERE NOT linked AND id BETWEEN ?1 AND ?2",
                    PARAMS(P_INT(first), P_INT(last)));
        lock_drop(&c->write_lock);
        return r;
}

/* ---- entries ---- */

/* The path of a file is its folder's and its name. */
static int row_entry_path(sqlite3_stmt *st, struct entry *e)
{
        char name[ENTRY_NAME_MAX + 1];
        size_t len;
        int r;

        r = column_text(st, 3, name, sizeof(name));
        if (r < 0 || e->is_dir)
                return r < 0 ? r : column_text(st, 5, e->path, sizeof(e->path));
        r = column_text(st, 6, e->path, sizeof(e->path));
        if (r < 0)
                return r;
        len = strlen(e->path);
        if (len + 1 + strlen(name) >= sizeof(e->path))
                return -EUCLEAN;
        if (len > 0)
                e->path[len++] = '/';
        strcpy(e->path + len, name);
        return 0;
}

static int row_entry(sqlite3_stmt *st, void *ret_entry)
{
        struct entry *ret = ret_entry;
        struct entry e = {
                .pos = (uint32_t)sqlite3_column_int64(st, 0),
                .parent = (uint32_t)sqlite3_column_int64(st, 1),
                .depth = (uint32_t)sqlite3_column_int64(st, 2),
                .along = sqlite3_column_int(st, 4),
                .is_dir = sqlite3_column_type(st, 7) == SQLITE_NULL,
        };
        const char *slash;
        int r;

        r = row_entry_path(st, &e);
        if (r == 0 && !e.is_dir) {
                e.blob = sqlite3_column_int64(st, 7);
                e.size = (uint64_t)sqlite3_column_int64(st, 8);
                e.state = (enum blob_state)sqlite3_column_int(st, 9);
                e.incarnation = (uint32_t)sqlite3_column_int64(st, 10);
                r = column_text(st, 11, e.etag, sizeof(e.etag));
        }
        if (r < 0)
                return r;
        *ret = e;
        slash = strrchr(ret->path, '/');
        ret->name = slash ? slash + 1 : ret->path;
        return 0;
}

#define ENTRY_AT ENTRY_SELECT "WHERE e.commit_id = ?1 AND e.pos = ?2"

int entry_load(struct conn *k, int64_t commit, uint32_t pos, struct entry *ret)
{
        return db_get(k, ENTRY_AT, PARAMS(P_INT(commit), P_INT(pos)), row_entry, ret);
}

int catalog_entry_at(struct catalog *c, int64_t commit, uint32_t pos, struct entry *ret)
{
        return catalog_get(c, ENTRY_AT, PARAMS(P_INT(commit), P_INT(pos)), row_entry, ret);
}

int catalog_entry_lookup(struct catalog *c, int64_t commit, uint32_t parent, const char *name,
                         struct entry *ret)
{
        if (!entry_name_valid(name))
                return CATALOG_E_NONE; /* the root's own row has an empty name */
        return catalog_get(c, ENTRY_SELECT "WHERE e.commit_id = ?1 AND e.parent = ?2 AND e.name = ?3",
                           PARAMS(P_INT(commit), P_INT(parent), P_TEXT(name)), row_entry, ret);
}

int catalog_entries(struct catalog *c, int64_t commit, uint32_t parent, uint32_t after,
                    struct catalog_rows **ret)
{
        /* the root, at 0, has the empty name, which is before all others */
        return catalog_get_rows(c, ENTRY_SELECT
                                "WHERE e.commit_id = ?1 AND e.parent = ?2 AND e.name >"
                                " (SELECT name FROM entry WHERE commit_id = ?1 AND pos = ?3) ORDER BY e.name",
                                PARAMS(P_INT(commit), P_INT(parent), P_INT(after)), row_entry, ret);
}

int catalog_entry_walk(struct catalog *c, int64_t commit, uint32_t after, struct entry *ret)
{
        return catalog_get(c, ENTRY_SELECT "WHERE e.commit_id = ?1 AND e.pos > ?2 ORDER BY e.pos LIMIT 1",
                           PARAMS(P_INT(commit), P_INT(after)), row_entry, ret);
}
