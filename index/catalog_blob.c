/*
 * Blobs: their state, the places that list them, and totals.
 *
 * C4 (commits.missing) is kept by blob_change_state(), C6 (the incarnation's parity) by it and
 * blob_renew_locked().
 */
#include "index/catalog_internal.h"

#include "base/clock.h"

#include <errno.h>

#define BLOB_COLUMNS "b.id, b.etag, b.size, b.state, b.incarnation, b.verified"

static int row_blob(sqlite3_stmt *st, void *ret)
{
        struct blob_row row = {
                .id = sqlite3_column_int64(st, 0),
                .size = (uint64_t)sqlite3_column_int64(st, 2),
                .state = (enum blob_state)sqlite3_column_int(st, 3),
                .incarnation = (uint32_t)sqlite3_column_int64(st, 4),
                .verified = sqlite3_column_int64(st, 5),
        };
        int r = column_text(st, 1, row.etag, sizeof(row.etag));

        if (r == 0)
                *(struct blob_row *)ret = row;
        return r;
}

#define BLOB_SELECT "SELECT " BLOB_COLUMNS " FROM blob b "
#define BLOB_BY_ID BLOB_SELECT "WHERE b.id = ?1"

int blob_load(struct conn *k, int64_t id, struct blob_row *ret)
{
        return db_get(k, BLOB_BY_ID, PARAMS(P_INT(id)), row_blob, ret);
}

int catalog_blob_get(struct catalog *c, int64_t id, struct blob_row *ret)
{
        return catalog_get(c, BLOB_BY_ID, PARAMS(P_INT(id)), row_blob, ret);
}

int catalog_blob_find(struct catalog *c, const char *etag, uint64_t size, struct blob_row *ret)
{
        if (size > INT64_MAX)
                return CATALOG_E_NONE;
        return catalog_get(c, BLOB_SELECT "WHERE b.etag = ?1 AND b.size = ?2", PARAMS(P_TEXT(etag), P_INT(size)),
                           row_blob, ret);
}

int catalog_blob_in_repo(struct catalog *c, int64_t repo, const char *etag, struct blob_row *ret)
{
        /* Two sizes for one etag: the smaller is a file cut short that was adopted. */
        return catalog_get(c, BLOB_SELECT "CROSS JOIN repo_blob r ON r.repo = ?1 AND r.blob = b.id"
                                          " WHERE b.etag = ?2 ORDER BY b.size DESC LIMIT 1",
                           PARAMS(P_INT(repo), P_TEXT(etag)), row_blob, ret);
}

int catalog_blobs_in_repo(struct catalog *c, int64_t repo, int64_t after, struct catalog_rows **ret)
{
        return catalog_get_rows(c, "SELECT " BLOB_COLUMNS " FROM repo_blob r CROSS JOIN blob b ON b.id = r.blob"
                                   " WHERE r.repo = ?1 AND r.blob > ?2 ORDER BY r.blob",
                                PARAMS(P_INT(repo), P_INT(after)), row_blob, ret);
}

int catalog_blob_next_of_etag(struct catalog *c, const char *etag, int64_t above, struct blob_row *ret)
{
        return catalog_get(c, BLOB_SELECT "WHERE b.etag = ?1 AND b.size > ?2 ORDER BY b.size LIMIT 1",
                           PARAMS(P_TEXT(etag), P_INT(above)), row_blob, ret);
}

int catalog_blob_next_in_state(struct catalog *c, enum blob_state state, int64_t after, struct blob_row *ret)
{
        if (state == BLOB_FILLING)
                return -EINVAL;
        /* the index has the others alone */
        return catalog_get(c,
                           BLOB_SELECT "WHERE b.state <> 0 AND b.state = ?1 AND b.id > ?2 ORDER BY b.id LIMIT 1",
                           PARAMS(P_INT(state), P_INT(after)), row_blob, ret);
}

/* ---- state ---- */

/* C4: the commits that the blob comes along with. */
static int missing_change(struct conn *k, int64_t blob, int by)
{
        return db_exec(
                k,
                "UPDATE commits SET missing = missing + ?2 * e.n FROM (SELECT commit_id, count(*) AS n"
                " FROM entry WHERE blob = ?1 AND along GROUP BY commit_id) AS e WHERE id = e.commit_id",
                PARAMS(P_INT(blob), P_INT(by)));
}

/* Within a transaction. */
static int blob_change_state(struct conn *k, int64_t id, enum blob_state state, struct blob_row *ret)
{
        struct blob_row row;
        bool turns;
        int r = blob_load(k, id, &row);

        if (r != 0)
                return r;
        turns = blob_state_whole(row.state) != blob_state_whole(state);
        if (turns && row.incarnation == INCARNATION_MAX)
                return -EOVERFLOW;
        row.state = state;
        row.incarnation += turns; /* C6 */
        row.verified = state == BLOB_COMPLETE ? clock_wall_s() : 0;
        r = db_exec(k, "UPDATE blob SET state = ?2, incarnation = ?3, verified = ?4 WHERE id = ?1",
                    PARAMS(P_INT(id), P_INT(state), P_INT(row.incarnation), P_INT(row.verified)));
        if (r == 0 && turns)
                r = missing_change(k, id, blob_state_whole(state) ? -1 : 1);
        if (r == 0)
                *ret = row;
        return r;
}

static int blob_set_state_locked(struct catalog *c, int64_t id, enum blob_state state, struct blob_row *ret)
        REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        struct blob_row row;
        int r;

        r = txn_begin(&txn, c->writer);
        if (r == 0)
                r = blob_change_state(c->writer, id, state, &row);
        if (r == 0)
                r = txn_commit_shown(&txn, c);
        if (r == 0)
                *ret = row;
        return r;
}

int catalog_blob_set_state(struct catalog *c, int64_t id, enum blob_state state, struct blob_row *ret)
{
        struct blob_row known;
        int r;

        if ((unsigned)state > BLOB_QUARANTINED)
                return -EINVAL;
        r = catalog_blob_get(c, id, &known);
        if (r != 0)
                return r;
        if (known.state == state) {
                *ret = known;
                return 0;
        }
        lock_take(&c->write_lock);
        r = blob_set_state_locked(c, id, state, ret);
        lock_drop(&c->write_lock);
        return r;
}

static int blobs_adopt_locked(struct catalog *c, const int64_t *ids, size_t count) REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        int r;

        r = txn_begin(&txn, c->writer);
        for (size_t i = 0; i < count && r == 0; i++) {
                struct blob_row row;

                r = blob_load(c->writer, ids[i], &row);
                if (r == 0 && row.state == BLOB_FILLING)
                        r = blob_change_state(c->writer, ids[i], BLOB_ADOPTED, &row);
        }
        return r == 0 ? txn_commit_shown(&txn, c) : r;
}

int catalog_blobs_adopt(struct catalog *c, const int64_t *ids, size_t count)
{
        int r;

        if (count == 0)
                return 0;
        lock_take(&c->write_lock);
        r = blobs_adopt_locked(c, ids, count);
        lock_drop(&c->write_lock);
        return r;
}

static int blobs_verified_locked(struct catalog *c, const int64_t *ids, size_t count, int64_t at)
        REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        int r;

        r = txn_begin(&txn, c->writer);
        for (size_t i = 0; i < count && r == 0; i++)
                r = db_exec(c->writer, "UPDATE blob SET verified = ?2 WHERE id = ?1 AND state = 2",
                            PARAMS(P_INT(ids[i]), P_INT(at)));
        return r == 0 ? txn_commit(&txn) : r;
}

int catalog_blobs_verified(struct catalog *c, const int64_t *ids, size_t count, int64_t at)
{
        int r;

        if (count == 0)
                return 0;
        lock_take(&c->write_lock);
        r = blobs_verified_locked(c, ids, count, at);
        lock_drop(&c->write_lock);
        return r;
}

static int blob_renew_locked(struct catalog *c, int64_t id, enum blob_state state, struct blob_row *ret)
        REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        struct conn *k = c->writer;
        struct blob_row row;
        int r;

        r = txn_begin(&txn, k);
        if (r == 0)
                r = blob_load(k, id, &row);
        if (r == 0 && !blob_state_whole(row.state)) {
                if (row.incarnation > INCARNATION_MAX - 2)
                        return -EOVERFLOW;
                r = db_exec(k, "UPDATE blob SET incarnation = ?2 WHERE id = ?1",
                            PARAMS(P_INT(id), P_INT(row.incarnation + 2))); /* C6 */
        }
        if (r == 0)
                r = blob_change_state(k, id, state, &row); /* of a whole one, a new incarnation by itself */
        if (r == 0)
                r = txn_commit_shown(&txn, c);
        if (r == 0)
                *ret = row;
        return r;
}

int catalog_blob_renew(struct catalog *c, int64_t id, enum blob_state state, struct blob_row *ret)
{
        int r;

        if (state != BLOB_FILLING && state != BLOB_QUARANTINED)
                return -EINVAL;
        lock_take(&c->write_lock);
        r = blob_renew_locked(c, id, state, ret);
        lock_drop(&c->write_lock);
        return r;
}

/* ---- places ---- */

static int place_load(struct conn *k, int64_t blob, int64_t after_commit, uint32_t after_pos,
                      struct repo *ret_repo, struct commit *ret_commit, struct entry *ret_entry)
{
        CLEANUP_STMT sqlite3_stmt *st = NULL;
        struct commit commit;
        struct repo repo;
        int r;

        r = db_query(k,
                     "SELECT commit_id, pos FROM entry WHERE blob = ?1 AND (commit_id, pos) > (?2, ?3)"
                     " ORDER BY commit_id, pos LIMIT 1",
                     PARAMS(P_INT(blob), P_INT(after_commit), P_INT(after_pos)), &st);
        if (r == 0)
                r = db_row(k, st);
        if (r != 0)
                return r;
        /* The statement stays open: until it is reset all that follows sees the same snapshot. */
        r = commit_load(k, sqlite3_column_int64(st, 0), &commit);
        if (r == 0)
                r = repo_load(k, commit.repo, &repo);
        if (r == 0)
                r = entry_load(k, commit.id, (uint32_t)sqlite3_column_int64(st, 1), ret_entry);
        if (r != 0)
                return r < 0 ? r : -EUCLEAN; /* a foreign key points nowhere */
        *ret_commit = commit;
        *ret_repo = repo;
        return 0;
}

int catalog_blob_place_next(struct catalog *c, int64_t blob, int64_t after_commit, uint32_t after_pos,
                            struct repo *ret_repo, struct commit *ret_commit, struct entry *ret_entry)
{
        CLEANUP_READER struct reader rd = {};
        int r = reader_take(c, &rd);

        return r < 0 ? r
                     : place_load(rd.conn, blob, after_commit, after_pos, ret_repo, ret_commit, ret_entry);
}

/* ---- rechecking ---- */

int catalog_recheck_began(struct catalog *c, int64_t *ret)
{
        CLEANUP_READER struct reader rd = {};
        int r = reader_take(c, &rd);

        if (r == 0)
                r = db_number(rd.conn, "SELECT value FROM meta WHERE key = 'recheck'", NO_PARAMS, ret);
        if (r == CATALOG_E_NONE)
                *ret = 0;
        return r == CATALOG_E_NONE ? 0 : r;
}

int catalog_recheck_set_began(struct catalog *c, int64_t began)
{
        int r;

        lock_take(&c->write_lock);
        r = db_exec(c->writer, "INSERT INTO meta VALUES ('recheck', ?1) ON CONFLICT DO UPDATE SET value = ?1",
                    PARAMS(P_INT(began)));
        lock_drop(&c->write_lock);
        return r;
}

/* ---- totals ---- */

static uint64_t column_total(sqlite3_stmt *st, int column)
{
        double v = sqlite3_column_double(st, column);

        return v < (double)INT64_MAX ? (uint64_t)v : INT64_MAX;
}

int catalog_repo_totals(struct catalog *c, int64_t repo, struct repo_totals *ret)
{
        CLEANUP_READER struct reader rd = {};
        CLEANUP_STMT sqlite3_stmt *st = NULL;
        int r;

        r = reader_take(c, &rd);
        /* total() adds in floating point: exact up to 8 PiB, and it cannot overflow. */
        if (r == 0)
                r = db_query(rd.conn,
                             "SELECT (SELECT count(*) FROM commits WHERE repo = ?1), count(*), total(b.size),"
                             " count(*) FILTER (WHERE b.state IN (1, 2)),"
                             " total(b.size) FILTER (WHERE b.state IN (1, 2))"
                             " FROM repo_blob r CROSS JOIN blob b ON b.id = r.blob WHERE r.repo = ?1",
                             PARAMS(P_INT(repo)), &st);
        if (r == 0)
                r = db_row(rd.conn, st);
        if (r != 0)
                return r;
        *ret = (struct repo_totals){
                .commits = (uint64_t)sqlite3_column_int64(st, 0),
                .files = (uint64_t)sqlite3_column_int64(st, 1),
                .bytes = column_total(st, 2),
                .held_files = (uint64_t)sqlite3_column_int64(st, 3),
                .held_bytes = column_total(st, 4),
        };
        return 0;
}
