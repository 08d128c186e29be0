/*
 * Refs: names for commits, and the folders that nested names make.
 *
 *   F1  A ref that changes its value is a new row with a new id; one that is confirmed keeps it.
 *   F2  ref_dir holds exactly the folders that a ref of the repo lies in.
 */
#include "index/catalog_internal.h"

#include <errno.h>
#include <string.h>

#define REF_SELECT                                                                                           \
        "SELECT r.id, r.repo, r.name, r.commit_id, c.sha, r.checked, r.kept FROM ref r JOIN commits c ON"    \
        " c.id = r.commit_id "

static int row_ref(sqlite3_stmt *st, void *ret)
{
        struct ref ref = {
                .id = sqlite3_column_int64(st, 0),
                .repo = sqlite3_column_int64(st, 1),
                .commit = sqlite3_column_int64(st, 3),
                .checked = sqlite3_column_int64(st, 5),
                .kept = sqlite3_column_int64(st, 6), /* null reads as 0 */
        };
        int r;

        r = column_text(st, 2, ref.name, sizeof(ref.name));
        if (r == 0)
                r = column_text(st, 4, ref.sha, sizeof(ref.sha));
        if (r == 0)
                *(struct ref *)ret = ref;
        return r;
}

#define REF_BY_NAME REF_SELECT "WHERE r.repo = ?1 AND r.name = ?2"

static int ref_load_name(struct conn *k, int64_t repo, const char *name, struct ref *ret)
{
        return db_get(k, REF_BY_NAME, PARAMS(P_INT(repo), P_TEXT(name)), row_ref, ret);
}

int catalog_ref_find(struct catalog *c, int64_t repo, const char *name, struct ref *ret)
{
        return catalog_get(c, REF_BY_NAME, PARAMS(P_INT(repo), P_TEXT(name)), row_ref, ret);
}

int catalog_ref_next(struct catalog *c, int64_t repo, const char *after, struct ref *ret)
{
        return catalog_get(c, REF_SELECT "WHERE r.repo = ?1 AND r.name > ?2 ORDER BY r.name LIMIT 1",
                           PARAMS(P_INT(repo), P_TEXT(after)), row_ref, ret);
}

int catalog_refs(struct catalog *c, int64_t repo, int64_t after, struct catalog_rows **ret)
{
        return catalog_get_rows(c, REF_SELECT "WHERE r.repo = ?1 AND r.id > ?2 ORDER BY r.id",
                                PARAMS(P_INT(repo), P_INT(after)), row_ref, ret);
}

int catalog_ref_keeping_next(struct catalog *c, int64_t commit, const char *after, struct ref *ret)
{
        return catalog_get(c, REF_SELECT
                           "WHERE r.commit_id = ?1 AND r.kept IS NOT NULL AND r.name > ?2 ORDER BY r.name LIMIT 1",
                           PARAMS(P_INT(commit), P_TEXT(after)), row_ref, ret);
}

/* ---- changing ---- */

static int ref_dirs_put(struct conn *k, int64_t repo, const char *name)
{
        char path[REVISION_MAX + 1];
        int64_t id;
        int r = 0;

        for (const char *slash = strchr(name, '/'); slash && r == 0; slash = strchr(slash + 1, '/')) {
                memcpy(path, name, (size_t)(slash - name));
                path[slash - name] = '\0';
                r = db_number(k, "SELECT id FROM ref_dir WHERE repo = ?1 AND path = ?2",
                              PARAMS(P_INT(repo), P_TEXT(path)), &id);
                if (r == CATALOG_E_NONE)
                        r = db_insert(k, "INSERT INTO ref_dir (repo, path) VALUES (?1, ?2)",
                                      PARAMS(P_INT(repo), P_TEXT(path)), &id);
        }
        return r;
}

/* @old: its value until now, NULL: it is new. */
static int ref_replace(struct conn *k, const struct ref *old, int64_t repo, const char *name, int64_t commit,
                       int64_t checked)
{
        int64_t kept = 0, id;
        int r = old ? ref_to_keep(k, old, commit, &kept) : 0;

        if (r == 0)
                r = db_insert(k,
                              "INSERT OR REPLACE INTO ref (repo, name, commit_id, checked, kept)"
                              " VALUES (?1, ?2, ?3, ?4, nullif(?5, 0))",
                              PARAMS(P_INT(repo), P_TEXT(name), P_INT(commit), P_INT(checked), P_INT(kept)), &id);
        return r == 0 ? ref_dirs_put(k, repo, name) : r;
}

static int ref_set_locked(struct catalog *c, int64_t repo, const char *name, int64_t commit, int64_t checked,
                          struct ref *ret) REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        struct conn *k = c->writer;
        struct ref ref;
        int64_t one;
        bool known, moves;
        int r;

        r = txn_begin(&txn, k);
        if (r == 0)
                r = db_number(k, "SELECT 1 FROM commits WHERE id = ?1 AND repo = ?2",
                              PARAMS(P_INT(commit), P_INT(repo)), &one);
        if (r != 0)
                return r;
        r = ref_load_name(k, repo, name, &ref);
        if (r < 0)
                return r;
        known = r == 0;
        moves = !known || ref.commit != commit;
        if (moves) /* F1 */
                r = ref_replace(k, known ? &ref : NULL, repo, name, commit, checked);
        else if (checked != 0) /* what is adopted takes nothing from what the hub said */
                r = db_exec(k, "UPDATE ref SET checked = ?2 WHERE id = ?1",
                            PARAMS(P_INT(ref.id), P_INT(checked)));
        if (r == 0)
                r = ref_load_name(k, repo, name, &ref);
        if (r == 0)
                r = moves ? txn_commit_shown(&txn, c) : txn_commit(&txn);
        if (r == 0)
                *ret = ref;
        return r;
}

int catalog_ref_set(struct catalog *c, int64_t repo, const char *name, int64_t commit, int64_t checked,
                    struct ref *ret)
{
        struct ref known;
        int r;

        if (!revision_valid(name))
                return -EINVAL;
        r = catalog_ref_find(c, repo, name, &known);
        if (r < 0)
                return r;
        if (r == 0 && known.commit == commit && (checked == 0 || checked == known.checked)) {
                *ret = known;
                return 0;
        }
        lock_take(&c->write_lock);
        r = ref_set_locked(c, repo, name, commit, checked, ret);
        lock_drop(&c->write_lock);
        return r;
}

static int ref_remove_locked(struct catalog *c, int64_t repo, const char *name) REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        struct conn *k = c->writer;
        int r;

        r = txn_begin(&txn, k);
        if (r == 0)
                r = db_exec(k, "DELETE FROM ref WHERE repo = ?1 AND name = ?2",
                            PARAMS(P_INT(repo), P_TEXT(name)));
        if (r == 0) /* F2; '0' is the character after '/' */
                r = db_exec(k,
                            "DELETE FROM ref_dir WHERE repo = ?1 AND NOT EXISTS (SELECT 1 FROM ref"
                            " WHERE ref.repo = ?1 AND ref.name > ref_dir.path || '/'"
                            " AND ref.name < ref_dir.path || '0')",
                            PARAMS(P_INT(repo)));
        return r < 0 ? r : txn_commit_shown(&txn, c);
}

int catalog_ref_remove(struct catalog *c, int64_t repo, const char *name)
{
        int r;

        lock_take(&c->write_lock);
        r = ref_remove_locked(c, repo, name);
        lock_drop(&c->write_lock);
        return r;
}

/* ---- folders ---- */

#define REF_DIR_SELECT "SELECT id, repo, path FROM ref_dir "

static int row_ref_dir(sqlite3_stmt *st, void *ret)
{
        struct ref_dir dir = { .id = sqlite3_column_int64(st, 0), .repo = sqlite3_column_int64(st, 1) };
        int r = column_text(st, 2, dir.path, sizeof(dir.path));

        if (r == 0)
                *(struct ref_dir *)ret = dir;
        return r;
}

int catalog_ref_dir_find(struct catalog *c, int64_t repo, const char *path, struct ref_dir *ret)
{
        return catalog_get(c, REF_DIR_SELECT "WHERE repo = ?1 AND path = ?2", PARAMS(P_INT(repo), P_TEXT(path)),
                           row_ref_dir, ret);
}

int catalog_ref_dir_get(struct catalog *c, int64_t id, struct ref_dir *ret)
{
        return catalog_get(c, REF_DIR_SELECT "WHERE id = ?1", PARAMS(P_INT(id)), row_ref_dir, ret);
}

int catalog_ref_dirs(struct catalog *c, int64_t repo, int64_t after, struct catalog_rows **ret)
{
        return catalog_get_rows(c, REF_DIR_SELECT "INDEXED BY ref_dir_listed WHERE repo = ?1 AND id > ?2 ORDER BY id",
                                PARAMS(P_INT(repo), P_INT(after)), row_ref_dir, ret);
}
