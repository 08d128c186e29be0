/*
 * What a ref stands for where only what is held counts: offline, and in the store as a plain cache.
 *
 * A ref moves when the hub says so, long before anybody has read the commit that it names then. Until that one has
 * all that was held of the one before, a model that can be loaded would be gone without the network, or half of
 * each. So the ref keeps the commit before (ref.kept), and stands for it.
 *
 *   H1  ref.kept is null or another commit of the repo, of which a file is whole when the ref moves.
 *   H2  It is what the ref stood for when it moved: however often it does, nothing that could be loaded is lost.
 *   H3  It is asked at each lookup, and when a file becomes whole: a file that is lacking is remembered, and looked at
 *       first. Until it is whole nothing else is; then it goes on from there, and once more from the beginning when
 *       nothing follows. So all files of a commit that become whole cost some walks through it, not one each.
 *   H4  Weights that the new commit has under another name (one file cut into parts, another format) are not held by
 *       any path that both have. So where large files that were whole are gone, the new commit's whole ones must be a
 *       16th of that (fewer bits for each number make less of it), if those that it lacks would be. It costs a
 *       walk through both, each time; so only commits of up to WEIGHTS_NODES_MAX entries are looked at.
 */
#include "index/catalog_internal.h"

#include <errno.h>
#include <string.h>

#define WHOLE "b.state IN (1, 2)" /* blob_state_whole() */

/* H4. A tokenizer's vocabulary is smaller than this, and a data set has more files. */
#define WEIGHTS "b.size >= 16777216"
#define WEIGHTS_PART 16
#define WEIGHTS_NODES_MAX 10000

/* The files of a commit by path from a position on, those that are @which: positions follow the bytes of paths. */
#define FILES(which)                                                                                         \
        "SELECT CASE p.path WHEN '' THEN e.name ELSE p.path || '/' || e.name END, e.pos, b.size FROM entry e" \
        " CROSS JOIN entry p ON p.commit_id = e.commit_id AND p.pos = e.parent"                              \
        " CROSS JOIN blob b ON b.id = e.blob WHERE e.commit_id = ?1 AND e.pos >= ?2 AND " which              \
        " ORDER BY e.pos"

/* Whether of the large files of a commit less than ?2 bytes are whole, and as many are not: total() cannot overflow,
 * whatever sizes a hub lists. */
#define LACKS_BYTES                                                                                          \
        "SELECT total(b.size) FILTER (WHERE " WHOLE ") < ?2 AND total(b.size) FILTER (WHERE NOT " WHOLE ") >= ?2" \
        " FROM entry e CROSS JOIN blob b ON b.id = e.blob WHERE e.commit_id = ?1 AND " WEIGHTS

struct files { /* of one query, one after the other */
        sqlite3_stmt *st;
        uint32_t pos;
        uint64_t size;
        char path[ENTRY_PATH_MAX + 1];
};

static void files_done(struct files *f)
{
        cleanup_stmt(&f->st);
}

/* @query: FILES(). @ret is a CLEANUP(files_done) variable. */
static int files_begin(struct conn *k, const char *query, int64_t commit, uint32_t pos, struct files *ret)
{
        return db_query(k, query, PARAMS(P_INT(commit), P_INT(pos)), &ret->st);
}

static int files_next(struct conn *k, struct files *f)
{
        int r = db_row(k, f->st);

        if (r != 0)
                return r;
        f->pos = (uint32_t)sqlite3_column_int64(f->st, 1);
        f->size = (uint64_t)sqlite3_column_int64(f->st, 2);
        return column_text(f->st, 0, f->path, sizeof(f->path));
}

/* Whether a file that is whole in the commit before is there in the commit, and not whole: the first one of @at or
 * after it, which @at is then. */
static int find_lack(struct conn *k, struct lack *at, bool *ret)
{
        CLEANUP(files_done) struct files held = {}, missing = {};
        int order = 0, r, s;

        r = files_begin(k, FILES(WHOLE), at->kept, at->kept_pos, &held);
        if (r == 0)
                r = files_begin(k, FILES("NOT " WHOLE), at->commit, at->pos, &missing);
        if (r < 0)
                return r;
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
        at->kept_pos = *ret ? held.pos : 0;
        at->pos = *ret ? missing.pos : 0;
        return 0;
}

/* Bytes of large files that are whole in the commit before, and whose paths the commit does not have at all. */
static int bytes_gone(struct conn *k, const struct lack *of, uint64_t *ret)
{
        CLEANUP(files_done) struct files held = {}, there = {};
        int r, s;

        r = files_begin(k, FILES(WHOLE " AND " WEIGHTS), of->kept, 0, &held);
        if (r == 0)
                r = files_begin(k, FILES("TRUE"), of->commit, 0, &there);
        if (r < 0)
                return r;
        s = files_next(k, &there);
        for (*ret = 0; s >= 0 && (r = files_next(k, &held)) == 0;) {
                while (s == 0 && strcmp(there.path, held.path) < 0)
                        s = files_next(k, &there);
                if (s > 0 || (s == 0 && strcmp(there.path, held.path) > 0))
                        *ret += held.size;
        }
        if (r < 0)
                return r;
        return s < 0 ? s : 0;
}

/* H4. */
static int lacks_weights(struct conn *k, const struct lack *of, bool *ret)
{
        int64_t nodes, less;
        uint64_t gone;
        int r = db_number(k, "SELECT max(nodes) FROM commits WHERE id IN (?1, ?2)",
                          PARAMS(P_INT(of->commit), P_INT(of->kept)), &nodes);

        *ret = false;
        if (r != 0 || nodes > WEIGHTS_NODES_MAX)
                return r < 0 ? r : 0;
        r = bytes_gone(k, of, &gone);
        if (r < 0 || gone == 0)
                return r;
        r = db_number(k, LACKS_BYTES, PARAMS(P_INT(of->commit), P_INT(gone / WEIGHTS_PART)), &less);
        *ret = r == 0 && less != 0;
        return r;
}

/* H3. @known: what was found before, of whatever commits; and what is found now. */
static int lacks(struct conn *k, const struct ref *ref, struct lack *known, bool *ret)
{
        int r;

        if (known->commit != ref->commit || known->kept != ref->kept)
                *known = (struct lack){ .commit = ref->commit, .kept = ref->kept };
        if (known->pos > 0) {
                r = find_lack(k, known, ret);
                if (r < 0 || *ret)
                        return r;
        }
        r = find_lack(k, known, ret);
        return r < 0 || *ret ? r : lacks_weights(k, known, ret);
}

/* A commit that is gone (replaced by one that knows more of it) is not usable. */
static int usable(struct conn *k, int64_t commit, bool *ret)
{
        int64_t missing;
        int r = db_number(k, "SELECT missing FROM commits WHERE id = ?1", PARAMS(P_INT(commit)), &missing);

        *ret = r == 0 && missing == 0;
        return r < 0 ? r : 0;
}

int ref_stands_for(struct conn *k, const struct ref *ref, struct lack *lack, int64_t *ret)
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
                r = lacks(k, ref, lack, &less);
        if (r == 0 && before && (!present || less))
                *ret = ref->kept;
        return r;
}

int ref_to_keep(struct conn *k, const struct ref *ref, int64_t next, int64_t *ret)
{
        struct lack lack = {};
        int64_t stands_for, one;
        int r = ref_stands_for(k, ref, &lack, &stands_for);

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
        struct lack *known = &c->lacks[(uint64_t)ref->commit % LACKS_MAX], lack;
        int64_t commit;
        int r = reader_take(c, &rd);

        if (r < 0)
                return r;
        lock_take(&c->lacks_lock);
        lack = *known;
        lock_drop(&c->lacks_lock);
        r = ref_stands_for(rd.conn, ref, &lack, &commit);
        if (r < 0)
                return r;
        lock_take(&c->lacks_lock);
        *known = lack;
        lock_drop(&c->lacks_lock);
        return commit_load(rd.conn, commit, ret);
}

int catalog_ref_settle(struct catalog *c, const struct ref *ref)
{
        int r;

        lock_take(&c->write_lock);
        r = db_exec(c->writer, "UPDATE ref SET kept = NULL WHERE id = ?1", PARAMS(P_INT(ref->id)));
        lock_drop(&c->write_lock);
        return r;
}
