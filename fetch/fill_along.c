/*
 * Small files that come along: once one file of a commit is read, the commit's small ones
 * (index/catalog.h, ALONG_*) are fetched too, so that optional ones are there offline.
 *
 * What was looked at is remembered for ten minutes: by blob, so that a read costs one look into a
 * table, and by commit, since its listing has to be walked.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

#define REMEMBER_MS 600000
#define REMEMBER_MAX 65536
#define COMMITS_MAX 4  /* the newest that list the blob */
#define LINKED_BATCH 256 /* listings noted as linked at once: each note waits for the disk */

struct along_seen {
        UT_hash_handle hh;
        int64_t id;
        uint64_t ms;
};

static void seen_free(struct along_seen **table)
{
        struct along_seen *s, *next;

        HASH_ITER(hh, *table, s, next) {
                HASH_DEL(*table, s);
                free(s);
        }
}

void along_done(struct filler *fl)
{
        seen_free(&fl->along_blobs);
        seen_free(&fl->along_commits);
}

void along_forget_locked(struct filler *fl)
{
        along_done(fl);
}

/* True when @id is to be looked at now; it is remembered then. */
static bool look_at(struct along_seen **table, int64_t id)
{
        uint64_t now = clock_ms();
        struct along_seen *s;

        HASH_FIND(hh, *table, &id, sizeof(id), s);
        if (s && now - s->ms < REMEMBER_MS)
                return false;
        if (!s) {
                if (HASH_COUNT(*table) >= REMEMBER_MAX)
                        seen_free(table); /* what is looked at once more costs little */
                s = calloc(1, sizeof(*s));
                if (!s)
                        return false;
                s->id = id;
                HASH_ADD(hh, *table, id, sizeof(s->id), s);
                if (!HASH_ADDED(s)) {
                        free(s);
                        return false;
                }
        }
        s->ms = now;
        return true;
}

/* ---- walks ---- */

static bool is_stopping(struct filler *fl)
{
        return fl->cancel;
}

/* Calls @each for the blobs of a commit's files for which @wanted is true. */
static void walk(struct filler *fl, int64_t commit, bool (*wanted)(const struct entry *e),
                 void (*each)(struct filler *fl, struct blob *b, void *arg), void *arg)
{
        struct entry e = {};
        struct blob *b;

        while (!is_stopping(fl) && catalog_entry_walk(fl->o.index->catalog, commit, e.pos, &e) == 0) {
                if (e.is_dir || !wanted(&e) || blobs_get(fl->o.index->blobs, e.blob, &b) != 0)
                        continue;
                each(fl, b, arg);
                blob_unref(b);
        }
}

static bool wants_along(const struct entry *e)
{
        return e->along && e->state == BLOB_FILLING;
}

static void want_along(struct filler *fl, struct blob *b, void *arg)
{
        (void)arg;
        fill_want_along(fl, b);
}

static void fetch_small_files(struct filler *fl, int64_t commit)
{
        bool usable = false, look;

        if (catalog_commit_usable_offline(fl->o.index->catalog, commit, &usable) == 0 && usable)
                return;
        lock_take(&fl->lock);
        look = look_at(&fl->along_commits, commit);
        lock_drop(&fl->lock);
        if (look)
                walk(fl, commit, wants_along, want_along, NULL);
}

static void along_run(struct work *w)
{
        struct filler_job *job = CONTAINER_OF(w, struct filler_job, work);
        struct filler *fl = job->filler;
        int64_t commits[COMMITS_MAX] = {}, after = 0;
        uint32_t pos = 0;
        struct repo repo;
        struct commit commit;
        struct entry entry;

        for (unsigned i = 0; i < FILL_PLACES_MAX; i++) { /* places come by rising commit id: the newest last */
                if (catalog_blob_place_next(fl->o.index->catalog, job->id, after, pos, &repo, &commit,
                                            &entry) != 0)
                        break;
                if (commit.id != after) {
                        memmove(commits + 1, commits, sizeof(commits) - sizeof(commits[0]));
                        commits[0] = commit.id;
                }
                after = commit.id;
                pos = entry.pos;
        }
        for (size_t i = 0; i < COMMITS_MAX && commits[i] != 0; i++)
                fetch_small_files(fl, commits[i]);
        filler_job_end(job);
}

void filler_along(struct filler *fl, struct blob *b)
{
        if (!fl->o.hub || gate_is_offline(fl->o.gate))
                return;
        lock_take(&fl->lock);
        if (!fl->stopping && look_at(&fl->along_blobs, blob_id(b)))
                filler_job_start_locked(fl, fl->o.names, blob_id(b), along_run);
        lock_drop(&fl->lock);
}

/* ---- a new listing ---- */

static bool is_whole(const struct entry *e)
{
        return blob_state_whole(e->state);
}

static void link_places(struct filler *fl, struct blob *b, void *arg)
{
        int r = blob_link_places(b, &fl->cancel), *result = arg;

        if (r < 0 && r != -EROFS && r != -ECANCELED)
                log_ratelimited(LOG_LEVEL_WARN, "blob %.12s: cannot be linked in the store: %s", blob_etag(b),
                                errmsg_get(NULL, r));
        if (r < 0)
                *result = r;
}

/* Links what a listing has that is whole. What is not done now is done at a later start. */
static int link_commit(struct filler *fl, int64_t commit)
{
        int result = 0;

        walk(fl, commit, is_whole, link_places, &result);
        return is_stopping(fl) ? -ECANCELED : result;
}

static void link_run(struct work *w)
{
        struct filler_job *job = CONTAINER_OF(w, struct filler_job, work);

        if (link_commit(job->filler, job->id) == 0)
                (void)catalog_commits_set_linked(job->filler->o.index->catalog, job->id, job->id);
        filler_job_end(job);
}

/* All listings of which that is not known, some to a transaction. */
static void link_all_run(struct work *w)
{
        struct filler_job *job = CONTAINER_OF(w, struct filler_job, work);
        struct catalog *c = job->filler->o.index->catalog;
        struct commit commit = {};
        int64_t first = 0;
        int r = 0;

        for (unsigned n = 1; r == 0 && catalog_commit_next_unlinked(c, commit.id, &commit) == 0; n++) {
                r = link_commit(job->filler, commit.id);
                if (r == 0 && first == 0)
                        first = commit.id;
                if (r == 0 && n % LINKED_BATCH == 0) {
                        (void)catalog_commits_set_linked(c, first, commit.id);
                        first = 0;
                }
        }
        if (first != 0)
                (void)catalog_commits_set_linked(c, first, commit.id - (r != 0));
        filler_job_end(job);
}

void filler_link_all(struct filler *fl)
{
        lock_take(&fl->lock);
        if (!fl->stopping)
                filler_job_start_locked(fl, fl->adopt, 0, link_all_run);
        lock_drop(&fl->lock);
}

void filler_new_listing(struct filler *fl, int64_t commit)
{
        lock_take(&fl->lock);
        along_forget_locked(fl);
        if (!fl->stopping)
                filler_job_start_locked(fl, fl->verify, commit, link_run);
        lock_drop(&fl->lock);
}
