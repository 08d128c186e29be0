/*
 * Syncing what came, verifying what is all there, and hashing what was adopted: on threads of their
 * own, since each reads or writes gigabytes.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"
#include "index/ref_store.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>

#define FINISH_RETRY_MS 30000 /* after the store's disk failed */

/* ---- syncing ---- */

static void sync_run(struct work *w)
{
        struct fill *f = CONTAINER_OF(w, struct fill, sync_work);
        struct filler *fl = f->filler;
        int r = blob_sync(f->blob);

        lock_take(&fl->lock);
        f->syncing = false;
        if (r < 0) {
                log_ratelimited(LOG_LEVEL_ERROR, "blob %.12s: cannot be synced: %s", blob_etag(f->blob),
                                errmsg_get(NULL, r));
                fill_fail_locked(fl, f, r);
        }
        fill_job_end_locked(fl, f);
        filler_leave(fl);
}

void fill_sync_locked(struct filler *fl, struct fill *f)
{
        if (f->syncing)
                return;
        f->syncing = true;
        f->dirty = false;
        fill_job_begin_locked(fl, f);
        workq_push(fl->sync, &f->sync_work, sync_run);
}

/* ---- verifying ---- */

static void hash_failed_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock)
{
        fill_drop_location(f); /* the next lookup is anew, and so is what follows from it */
        if (f->hash_failures >= 2) {
                fill_fail_locked(fl, f, FETCH_E_CORRUPT);
        } else if (gate_is_offline(fl->o.gate) && !f->before_shut && !gate_parks(fl->o.gate)) {
                fill_fail_locked(fl, f, FETCH_E_OFFLINE); /* what was held is given up, and no more will come */
        } else {
                f->rest = true;
                f->progress_ms = fl->progress_ms = clock_ms(); /* hashing may have taken all of a read's time */
        }
}

/* The bytes were wrong: they are given up, the second time for good. */
static int reject(struct fill *f)
{
        bool again = f->hash_failures + 1 < 2;
        int r = again ? blob_doubt(f->blob) : blob_quarantine(f->blob);

        filler_verdict(f->filler, f->blob, again ? FETCH_VERDICT_AGAIN : FETCH_VERDICT_QUARANTINED);
        return r;
}

static void judge_finish_locked(struct filler *fl, struct fill *f, int result) REQUIRES(fl->lock)
{
        switch (result) {
        case 0:
                f->rest = f->along = f->dirty = false;
                f->next_end = 0;
                fill_fail_locked(fl, f, 0); /* an answer like any other: all who wait have what they want */
                return;
        case BLOB_E_HASH:
                f->hash_failures++;
                f->dirty = false;
                hash_failed_locked(fl, f);
                return;
        case -ECANCELED:
        case -ENODATA: /* a range was lost meanwhile (a failed sync): it is fetched again */
                return;
        default:
                log_ratelimited(LOG_LEVEL_ERROR, "blob %.12s: cannot be made complete: %s",
                                blob_etag(f->blob), errmsg_get(NULL, result));
                fill_fail_locked(fl, f, result);
                f->retry_ms = clock_ms() + FINISH_RETRY_MS;
        }
}

/* Hashes an adopted blob, and tells when it was wrong. */
static int verify_adopted(struct filler *fl, struct blob *b)
{
        const struct fetch_events *ev = &fl->o.events;
        uint32_t before = blob_incarnation(b);
        int r = blob_verify_adopted(b, &fl->cancel);

        if (r == BLOB_E_HASH)
                filler_verdict(fl, b, FETCH_VERDICT_REJECTED);
        if (blob_incarnation(b) != before && ev->blob_filling)
                ev->blob_filling(ev->arg, blob_id(b));
        if (r < 0 && r != -ECANCELED && r != -ENODATA) {
                log_ratelimited(LOG_LEVEL_WARN, "blob %.12s: an adopted file cannot be verified: %s",
                                blob_etag(b), errmsg_get(NULL, r));
        }
        return r;
}

/* Strict: who waits looks at the blob's state then, and begins anew where it was wrong. */
static void finish_adopted(struct fill *f)
{
        struct filler *fl = f->filler;
        int r = verify_adopted(fl, f->blob);

        lock_take(&fl->lock);
        f->finishing = false;
        fill_fail_locked(fl, f, r > 0 || r == -ENODATA ? 0 : r);
        fill_job_end_locked(fl, f);
        filler_leave(fl);
}

/* In the store, a ref may move on to its commit only now. */
static void store_refs(struct blob *b)
{
        int r = blob_store_refs(b);

        if (r < 0 && r != -EROFS)
                log_ratelimited(LOG_LEVEL_WARN, "blob %.12s: refs cannot be stored: %s", blob_etag(b),
                                errmsg_get(NULL, r));
}

static void finish_run(struct work *w)
{
        struct fill *f = CONTAINER_OF(w, struct fill, finish_work);
        struct filler *fl = f->filler;
        const struct fetch_events *ev = &fl->o.events;
        int r, rejected;

        if (blob_state(f->blob) == BLOB_ADOPTED) {
                finish_adopted(f);
                return;
        }
        r = blob_finish(f->blob, &fl->cancel);
        log_debug("blob %.12s: verified: %d", blob_etag(f->blob), r);
        if (r == BLOB_E_HASH) {
                rejected = reject(f);
                r = rejected < 0 ? rejected : r;
                if (ev->blob_filling)
                        ev->blob_filling(ev->arg, f->id);
        }
        if (r == 0 && f->hash_failures > 0)
                filler_verdict(fl, f->blob, FETCH_VERDICT_MENDED);
        if (r == 0)
                store_refs(f->blob);
        if (r == 0 && ev->blob_whole) /* first, so that who waited finds the new node */
                ev->blob_whole(ev->arg, f->id);
        lock_take(&fl->lock);
        f->finishing = false;
        judge_finish_locked(fl, f, r);
        fill_job_end_locked(fl, f);
        filler_leave(fl);
}

bool fill_finish_locked(struct filler *fl, struct fill *f)
{
        bool small = blob_size(f->blob) <= FILL_SMALL_FINISH;
        enum blob_state state = blob_state(f->blob);

        if (f->finishing)
                return true;
        if (f->transfer_count > 0 || f->locating || !fill_all_held(f))
                return false;
        if (state != BLOB_FILLING && !(state == BLOB_ADOPTED && fl->o.strict && fill_has_waits(f)))
                return false;
        if (f->retry_ms > clock_ms() && !fill_has_waits(f))
                return false;
        f->finishing = true;
        fill_job_begin_locked(fl, f);
        workq_push(small ? fl->sync : fl->verify, &f->finish_work, finish_run);
        return true;
}

/* ---- hashing what was adopted ---- */

struct verify_job {
        UT_hash_handle hh;
        struct work work;
        struct filler *filler;
        struct blob *blob; /* a reference */
        int64_t id;
};

/* Hashes one adopted blob, at the lowest priority there is. */
static void verify_idly(struct filler *fl, struct blob *b)
{
        struct sched_param param = {};

        pthread_setschedparam(pthread_self(), SCHED_IDLE, &param); /* refused is fine */
        (void)verify_adopted(fl, b);
}

static void adopt_run(struct work *w)
{
        struct verify_job *job = CONTAINER_OF(w, struct verify_job, work);
        struct filler *fl = job->filler;

        verify_idly(fl, job->blob);
        blob_unref(job->blob);
        lock_take(&fl->lock);
        HASH_DEL(fl->verifying, job);
        filler_job_ended_locked(fl);
        lock_drop(&fl->lock);
        free(job);
}

/* One step of the walk over all that was adopted; it queues itself again behind what readers asked
 * for, so that at most one blob is open for it. */
static void walk_run(struct work *w)
{
        struct filler *fl = CONTAINER_OF(w, struct filler, walk);
        struct blob_row row;
        struct blob *b;
        bool more = false;

        if (!fl->cancel &&
            catalog_blob_next_in_state(fl->o.index->catalog, BLOB_ADOPTED, fl->walked, &row) == 0) {
                fl->walked = row.id;
                more = true;
                if (blobs_get(fl->o.index->blobs, row.id, &b) == 0) {
                        verify_idly(fl, b);
                        blob_unref(b);
                }
        }
        lock_take(&fl->lock);
        more = more && !fl->stopping;
        if (more) {
                workq_push(fl->adopt, &fl->walk, walk_run);
        } else {
                fl->walking = false;
                filler_job_ended_locked(fl);
        }
        lock_drop(&fl->lock);
}

void filler_finish_held(struct filler *fl)
{
        CLEANUP_FREE struct blob_row *rows = NULL;
        struct blob *b;
        size_t count;
        int r = blobs_begun(fl->o.index->blobs, &rows, &count);

        if (r < 0)
                log_warn("what is held and not verified yet cannot be looked at: %s", errmsg_get(NULL, r));
        for (size_t i = 0; r == 0 && i < count && !fl->cancel; i++) {
                if (blobs_get(fl->o.index->blobs, rows[i].id, &b) != 0)
                        continue;
                if (blob_state(b) == BLOB_FILLING && blob_held_bytes(b) == blob_size(b))
                        fill_finish_soon(fl, b);
                blob_unref(b);
        }
}

void filler_verify_all(struct filler *fl)
{
        lock_take(&fl->lock);
        if (!fl->walking && !fl->stopping && !fl->o.strict) {
                fl->walking = true;
                fl->walked = 0;
                fl->jobs++;
                workq_push(fl->adopt, &fl->walk, walk_run);
        }
        lock_drop(&fl->lock);
}

int filler_reject(struct filler *fl, struct blob *b, enum repo_type type, const char *hub_name, const char *got)
{
        const struct fetch_events *ev = &fl->o.events;
        uint32_t before = blob_incarnation(b);
        int r = blob_reject(b, type, hub_name, got);

        if (r < 0)
                return r;
        if (got)
                filler_verdict(fl, b, FETCH_VERDICT_REJECTED);
        if (blob_incarnation(b) != before && ev->blob_filling)
                ev->blob_filling(ev->arg, blob_id(b));
        return 0;
}

void filler_verify(struct filler *fl, struct blob *b)
{
        int64_t id = blob_id(b);
        struct verify_job *job;

        if (blob_state(b) != BLOB_ADOPTED)
                return;
        lock_take(&fl->lock);
        HASH_FIND(hh, fl->verifying, &id, sizeof(id), job);
        if (!job && !fl->stopping)
                job = calloc(1, sizeof(*job));
        else
                job = NULL; /* queued already, or too late */
        if (job) {
                job->id = id;
                HASH_ADD(hh, fl->verifying, id, sizeof(job->id), job);
                if (!HASH_ADDED(job)) {
                        free(job);
                        job = NULL;
                }
        }
        if (job) {
                job->filler = fl;
                job->blob = blob_ref(b);
                fl->jobs++;
                workq_push(fl->adopt, &job->work, adopt_run);
        }
        lock_drop(&fl->lock);
}
