/*
 * Repos, and orgs: the first parts of ids, which are folders of the plain view.
 *
 *   R1  An org without a resolved repo exists because somebody asked for it. At most
 *       CATALOG_ORGS_UNUSED_MAX such rows are kept, whatever is asked; the oldest go.
 *   R2  Each org of a resolved repo has a row, with used set; no other row has it set.
 *
 * What is known already is answered by a reader: a lookup must not wait for the disk to sync.
 */
#include "index/catalog_internal.h"

#include <errno.h>
#include <string.h>

#define REPO_SELECT "SELECT id, type, name, hub_name, scanned, resolved FROM repo "

static int row_repo(sqlite3_stmt *st, void *ret)
{
        struct repo repo = {
                .id = sqlite3_column_int64(st, 0),
                .type = (enum repo_type)sqlite3_column_int(st, 1),
                .scanned = sqlite3_column_int(st, 4),
                .resolved = sqlite3_column_int(st, 5),
        };
        int r;

        r = column_text(st, 2, repo.name, sizeof(repo.name));
        if (r == 0)
                r = column_text(st, 3, repo.hub_name, sizeof(repo.hub_name));
        if (r == 0)
                *(struct repo *)ret = repo;
        return r;
}

#define REPO_BY_ID REPO_SELECT "WHERE id = ?1"
#define REPO_BY_NAME REPO_SELECT "WHERE type = ?1 AND name = ?2"

int repo_load(struct conn *k, int64_t id, struct repo *ret)
{
        return db_get(k, REPO_BY_ID, PARAMS(P_INT(id)), row_repo, ret);
}

static int repo_load_name(struct conn *k, enum repo_type type, const char *name, struct repo *ret)
{
        return db_get(k, REPO_BY_NAME, PARAMS(P_INT(type), P_TEXT(name)), row_repo, ret);
}

int catalog_repo_find(struct catalog *c, enum repo_type type, const char *name, struct repo *ret)
{
        return catalog_get(c, REPO_BY_NAME, PARAMS(P_INT(type), P_TEXT(name)), row_repo, ret);
}

int catalog_repo_get(struct catalog *c, int64_t id, struct repo *ret)
{
        return catalog_get(c, REPO_BY_ID, PARAMS(P_INT(id)), row_repo, ret);
}

int catalog_repo_next(struct catalog *c, enum repo_type type, int64_t after, struct repo *ret)
{
        return catalog_get(c, REPO_SELECT "WHERE resolved AND type = ?1 AND id > ?2 ORDER BY id LIMIT 1",
                           PARAMS(P_INT(type), P_INT(after)), row_repo, ret);
}

int catalog_repo_next_in_org(struct catalog *c, enum repo_type type, const char *org, int64_t after,
                             struct repo *ret)
{
        return catalog_get(c, REPO_SELECT "WHERE resolved AND type = ?1 AND org = ?2 AND id > ?3"
                                          " ORDER BY id LIMIT 1",
                           PARAMS(P_INT(type), P_TEXT(org), P_INT(after)), row_repo, ret);
}

/* R2, for a repo that is resolved from now on. */
static int org_use(struct conn *k, enum repo_type type, const char *name)
{
        const char *slash = strchr(name, '/');
        char org[REPO_NAME_MAX + 1];
        int64_t id;
        int r;

        if (!slash)
                return 0;
        memcpy(org, name, (size_t)(slash - name));
        org[slash - name] = '\0';
        /* Not one upsert: it would use up an id also where it only updates. */
        r = db_exec(k, "UPDATE org SET used = 1 WHERE type = ?1 AND name = ?2",
                    PARAMS(P_INT(type), P_TEXT(org)));
        if (r < 0 || sqlite3_changes(k->db) > 0)
                return r;
        return db_insert(k, "INSERT INTO org (type, name, used) VALUES (?1, ?2, 1)",
                         PARAMS(P_INT(type), P_TEXT(org)), &id);
}

/* Within a transaction. */
static int repo_change(struct conn *k, enum repo_type type, const char *name, const char *hub_name, bool resolved,
                       struct repo *ret)
{
        struct repo repo;
        int64_t id;
        int r = repo_load_name(k, type, name, &repo);

        if (r == CATALOG_E_NONE) {
                r = db_insert(k, "INSERT INTO repo (type, name, hub_name, resolved) VALUES (?1, ?2, ?3, ?4)",
                              PARAMS(P_INT(type), P_TEXT(name), P_TEXT(hub_name), P_INT(resolved)), &id);
        } else if (r == 0) {
                id = repo.id;
                r = db_exec(k, "UPDATE repo SET hub_name = ?2, resolved = resolved OR ?3 WHERE id = ?1",
                            PARAMS(P_INT(id), P_TEXT(hub_name), P_INT(resolved)));
        }
        if (r == 0 && resolved)
                r = org_use(k, type, name);
        return r == 0 ? repo_load(k, id, ret) : r;
}

static int repo_put_locked(struct catalog *c, enum repo_type type, const char *name, const char *hub_name,
                           bool resolved, struct repo *ret) REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        struct repo repo;
        int r;

        r = txn_begin(&txn, c->writer);
        if (r == 0)
                r = repo_change(c->writer, type, name, hub_name, resolved, &repo);
        if (r == 0)
                r = txn_commit_shown(&txn, c);
        if (r == 0)
                *ret = repo;
        return r;
}

static int repos_put_locked(struct catalog *c, const struct repo_name *repos, size_t count) REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        struct repo repo;
        int r;

        r = txn_begin(&txn, c->writer);
        for (size_t i = 0; i < count && r == 0; i++) {
                r = repo_load_name(c->writer, repos[i].type, repos[i].name, &repo);
                if (r == CATALOG_E_NONE || (r == 0 && !repo.resolved))
                        r = repo_change(c->writer, repos[i].type, repos[i].name, repos[i].hub_name,
                                        repos[i].resolved, &repo);
        }
        return r == 0 ? txn_commit_shown(&txn, c) : r;
}

int catalog_repos_put(struct catalog *c, const struct repo_name *repos, size_t count)
{
        int r;

        for (size_t i = 0; i < count; i++)
                if ((unsigned)repos[i].type >= REPO_TYPE_COUNT || !repo_name_valid(repos[i].name) ||
                    !repo_name_valid(repos[i].hub_name))
                        return -EINVAL;
        if (count == 0)
                return 0;
        lock_take(&c->write_lock);
        r = repos_put_locked(c, repos, count);
        lock_drop(&c->write_lock);
        return r;
}

int catalog_repo_put(struct catalog *c, enum repo_type type, const char *name, const char *hub_name,
                     bool resolved, struct repo *ret)
{
        struct repo known;
        int r;

        if ((unsigned)type >= REPO_TYPE_COUNT || !repo_name_valid(name) || !repo_name_valid(hub_name))
                return -EINVAL;
        r = catalog_repo_find(c, type, name, &known);
        if (r < 0)
                return r;
        if (r == 0 && strcmp(known.hub_name, hub_name) == 0 && (known.resolved || !resolved)) {
                *ret = known;
                return 0;
        }
        lock_take(&c->write_lock);
        r = repo_put_locked(c, type, name, hub_name, resolved, ret);
        lock_drop(&c->write_lock);
        return r;
}

static int repo_set_scanned_locked(struct catalog *c, int64_t id) REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        int r;

        r = txn_begin(&txn, c->writer);
        if (r == 0)
                r = db_exec(c->writer, "UPDATE repo SET scanned = 1 WHERE id = ?1", PARAMS(P_INT(id)));
        if (r == 0 && sqlite3_changes(c->writer->db) == 0)
                return CATALOG_E_NONE;
        return r < 0 ? r : txn_commit_shown(&txn, c);
}

int catalog_repo_set_scanned(struct catalog *c, int64_t id)
{
        int r;

        lock_take(&c->write_lock);
        r = repo_set_scanned_locked(c, id);
        lock_drop(&c->write_lock);
        return r;
}

/* ---- orgs ---- */

static int org_find(struct conn *k, enum repo_type type, const char *org, int64_t *ret_id)
{
        return db_number(k, "SELECT id FROM org WHERE type = ?1 AND name = ?2",
                         PARAMS(P_INT(type), P_TEXT(org)), ret_id);
}

static int org_put_locked(struct catalog *c, enum repo_type type, const char *org, int64_t *ret_id)
        REQUIRES(c->write_lock)
{
        CLEANUP_TXN struct txn txn = {};
        struct conn *k = c->writer;
        int64_t id;
        int r;

        r = txn_begin(&txn, k);
        if (r < 0)
                return r;
        r = org_find(k, type, org, &id);
        if (r == 0)
                *ret_id = id; /* another thread was here first */
        if (r != CATALOG_E_NONE)
                return r;
        /* Not used (R2): else it would have its row already. */
        r = db_insert(k, "INSERT INTO org (type, name, used) VALUES (?1, ?2, 0)",
                      PARAMS(P_INT(type), P_TEXT(org)), &id);
        if (r == 0) /* R1 */
                r = db_exec(k,
                            "DELETE FROM org WHERE id IN (SELECT id FROM org WHERE NOT used"
                            " ORDER BY id DESC LIMIT -1 OFFSET ?1)",
                            PARAMS(P_INT(CATALOG_ORGS_UNUSED_MAX)));
        if (r == 0)
                r = txn_commit(&txn);
        if (r == 0)
                *ret_id = id;
        return r;
}

int catalog_org_put(struct catalog *c, enum repo_type type, const char *org, int64_t *ret_id)
{
        int r;

        /* An org obeys the rules of an id without one. */
        if ((unsigned)type >= REPO_TYPE_COUNT || strchr(org, '/') || !repo_name_valid(org))
                return -EINVAL;
        {
                CLEANUP_READER struct reader rd = {};

                r = reader_take(c, &rd);
                if (r == 0)
                        r = org_find(rd.conn, type, org, ret_id);
        }
        if (r != CATALOG_E_NONE)
                return r;
        lock_take(&c->write_lock);
        r = org_put_locked(c, type, org, ret_id);
        lock_drop(&c->write_lock);
        return r;
}

struct org {
        int64_t id;
        enum repo_type type;
        char name[REPO_NAME_MAX + 1];
};

static int row_org(sqlite3_stmt *st, void *ret)
{
        struct org org = {
                .id = sqlite3_column_int64(st, 0),
                .type = (enum repo_type)sqlite3_column_int(st, 1),
        };
        int r = column_text(st, 2, org.name, sizeof(org.name));

        if (r == 0)
                *(struct org *)ret = org;
        return r;
}

int catalog_org_get(struct catalog *c, int64_t id, enum repo_type *ret_type, char *ret_org)
{
        struct org org;
        int r = catalog_get(c, "SELECT id, type, name FROM org WHERE id = ?1", PARAMS(P_INT(id)), row_org, &org);

        if (r != 0)
                return r;
        *ret_type = org.type;
        strcpy(ret_org, org.name);
        return 0;
}

int catalog_org_next(struct catalog *c, enum repo_type type, int64_t after, int64_t *ret_id, char *ret_org)
{
        struct org org;
        int r = catalog_get(c, "SELECT id, type, name FROM org WHERE used AND type = ?1 AND id > ?2"
                               " ORDER BY id LIMIT 1",
                            PARAMS(P_INT(type), P_INT(after)), row_org, &org);

        if (r != 0)
                return r;
        *ret_id = org.id;
        strcpy(ret_org, org.name);
        return 0;
}
