/*
 * Hashing along: while a blob is filled, what came in order is hashed, so that its verification has
 * little left to do after the last byte.
 *
 * At the lowest ordinary priority: readers and transfers come first, and a hash that falls behind
 * is gone on with by who verifies (fill_finish.c), at the priority of all others.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/log.h"

#include <errno.h>
#include <sys/resource.h>

#define HASH_MIN (UINT64_C(4) << 20)   /* less than this is not worth a job: some 3 ms */
#define HASH_TURN (UINT64_C(32) << 20) /* then it is another blob's turn */

/* This thread alone: on Linux each has a niceness of its own. Refused is fine. */
static void be_nice(void)
{
        (void)setpriority(PRIO_PROCESS, 0, 19);
}

static void hash_run(struct work *w)
{
        struct fill *f = CONTAINER_OF(w, struct fill, hash_work);
        struct filler *fl = f->filler;
        int r;

        be_nice();
        r = blob_hash_ahead(f->blob, HASH_TURN, &fl->cancel);
        if (r < 0 && r != -ECANCELED)
                log_debug("blob %.12s: not hashed along: %s", blob_etag(f->blob), errmsg_get(NULL, r));
        lock_take(&fl->lock);
        f->hashing = false;
        if (r == 0)
                fill_hash_locked(fl, f);
        fill_job_end_locked(fl, f);
        filler_leave(fl);
}

void fill_hash_locked(struct filler *fl, struct fill *f)
{
        if (f->hashing || f->finishing || fl->stopping || blob_hash_left(f->blob) < HASH_MIN)
                return;
        f->hashing = true;
        fill_job_begin_locked(fl, f);
        workq_push(fl->hash, &f->hash_work, hash_run);
}
