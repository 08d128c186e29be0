/*
 * What a ref stands for where only what is held counts: offline, and in the store as a plain cache.
 *
 * A ref moves when the hub says so, long before anybody has read the commit that it names then. Until that one has
 * all that was held of the one before, a model that can be loaded would be gone without the network, or half of
 * each. So the ref keeps the commit before (ref.kept), and stands for it.
 *
 *   H1  ref.kept is null or another commit of the repo, of which a file is whole when the ref moves.
 *   H2  It is what the ref stood for when it moved: however often it does, nothing that could be loaded is lost.
 */
#include "index/catalog_internal.h"

#include <errno.h>
#include <string.h>

#define WHOLE "b.state IN (1, 2)" /* blob_state_whole() */

/* The files of a commit by path, and whether they are whole: positions follow the bytes of paths. */
#define FILES(state)                                                                                         \
        "SELECT CASE p.path WHEN '' THEN e.name ELSE p.path || '/' || e.name END FROM entry e"               \
        " CROSS JOIN entry p ON p.commit_id = e.commit_id AND p.pos = e.parent"                              \
        " CROSS JOIN blob b ON b.id = e.blob WHERE e.commit_id = ?1 AND " state " ORDER BY e.pos"

struct files { /* of one query, one after the other */
        sqlite3_stmt *st;
        char path[ENTRY_PATH_MAX + 1];
};

static int files_next(struct conn *k, struct files *f)
{
        int r = db_row(k, f->st);

        return r == 0 ? column_text(f->st, 0, f->path, sizeof(f->path)) : r;
}

/* Whether a file that is whole in @kept is there in @commit, and not whole. */
static int lacks(struct conn *k, int64_t commit, int64_t kept, bool *ret)
{
        CLEANUP_STMT sqlite3_stmt *held_st = NULL, *missing_st = NULL;
        struct files held, missing;
        int order = 0, r, s;

        r = db_query(k, FILES(WHOLE), PARAMS(P_INT(kept)), &held_st);
        if (r == 0)
                r = db_query(k, FILES("NOT " WHOLE), PARAMS(P_INT(commit)), &missing_st);
        if (r < 0)
                return r;
        held.st = held_st;
        missing.st = missing_st;
        r = files_next(k, &held);
        s = files_next(k, &missing);
        while (r == 0 && s == 0 && (order = strcmp(held.path, missing.path)) != 0) {
                if (order < 0)
                        r = files_next(k, &held);
                else
                        s = files_next(k, &missing);
        }
        if (r < 0 || s < 0)
                return r < 0 ? r : s;
        *ret = r == 0 && s == 0;
        return 0;
}

/* A commit that is gone (replaced by one that knows more of it) is not usable. */
static int usable(struct conn *k, int64_t commit, bool *ret)
{
        int64_t missing;
        int r = db_number(k, "SELECT missing FROM commits WHERE id = ?1", PARAMS(P_INT(commit)), &missing);

        *ret = r == 0 && missing == 0;
        return r < 0 ? r : 0;
}

int ref_stands_for(struct conn *k, const struct ref *ref, int64_t *ret)
{
        bool present, before, less = false;
        int r;

        *ret = ref->commit;
        if (ref->kept == 0)
                return 0;
        r = usable(k, ref->commit, &present);
        if (r == 0)
                r = usable(k, ref->kept, &before);
        if (r == 0 && present && before)
                r = lacks(k, ref->commit, ref->kept, &less);
        if (r == 0 && before && (!present || less))
                *ret = ref->kept;
        return r;
}

int ref_to_keep(struct conn *k, const struct ref *ref, int64_t next, int64_t *ret)
{
        int64_t stands_for, one;
        int r = ref_stands_for(k, ref, &stands_for);

        *ret = 0;
        if (r < 0 || stands_for == next)
                return r;
        r = db_number(k, "SELECT 1 FROM entry e CROSS JOIN blob b ON b.id = e.blob WHERE e.commit_id = ?1 AND " WHOLE,
                      PARAMS(P_INT(stands_for)), &one);
        if (r == 0)
                *ret = stands_for;
        return r < 0 ? r : 0;
}

int catalog_ref_stands_for(struct catalog *c, const struct ref *ref, struct commit *ret)
{
        CLEANUP_READER struct reader rd = {};
        int64_t commit;
        int r = reader_take(c, &rd);

        if (r == 0)
                r = ref_stands_for(rd.conn, ref, &commit);
        return r == 0 ? commit_load(rd.conn, commit, ret) : r;
}

int catalog_ref_settle(struct catalog *c, const struct ref *ref)
{
        int r;

        lock_take(&c->write_lock);
        r = db_exec(c->writer, "UPDATE ref SET kept = NULL WHERE id = ?1", PARAMS(P_INT(ref->id)));
        lock_drop(&c->write_lock);
        return r;
}
