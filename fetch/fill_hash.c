/*
 * Hashing along: while a blob is filled, what came in order is hashed, so that its verification has
 * little left to do after the last byte.
 *
 * Who waits for the whole blob waits for its hash too: then it is done by the threads that verify.
 * Else readers and transfers come first: it is done while no read waits, when a processor has
 * nothing better to do, and while bytes come no faster than the processors can also hash them; what is
 * left at the end is hashed by who verifies (fill_finish.c).
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <sched.h>

#define HASH_MIN (UINT64_C(4) << 20)   /* less than this is not worth a job: some 3 ms */
#define HASH_TURN (UINT64_C(32) << 20) /* then it is another blob's turn */
#define HASH_TURN_IDLE (UINT64_C(4) << 20) /* ... or a read may wait meanwhile */

/*
 * Bytes per second and processor from which on hashing waits. To fetch a GiB, store it and hand it to its
 * reader takes some two seconds of a processor, and where the hub is on the same machine a half more: at
 * this rate, half of what there is. Idle priority alone does not suffice: a wake-up from it, and the cache
 * that it fills, cost a reader who finds no processor idle a tenth of his speed.
 */
#define HASH_FLOW_MAX (UINT64_C(200) << 20)

static void hash_turn(struct work *w, uint64_t turn)
{
        struct fill *f = CONTAINER_OF(w, struct fill, hash_work);
        struct filler *fl = f->filler;
        int r;

        r = blob_hash_ahead(f->blob, turn, &fl->cancel);
        if (r < 0 && r != -ECANCELED)
                log_debug("blob %.12s: not hashed along: %s", blob_etag(f->blob), errmsg_get(NULL, r));
        lock_take(&fl->lock);
        f->hashing = false;
        if (r == 0)
                fill_hash_locked(fl, f);
        fill_job_end_locked(fl, f);
        filler_leave(fl);
}

static void hash_run(struct work *w)
{
        hash_turn(w, HASH_TURN);
}

/* Not merely nice: a thread that wakes up must not wait until this one's time is up. */
static void hash_idly(struct work *w)
{
        struct sched_param param = {};

        pthread_setschedparam(pthread_self(), SCHED_IDLE, &param); /* refused is fine */
        hash_turn(w, HASH_TURN_IDLE);
}

/* Readers and transfers leave no processor idle. */
static bool is_hurried_locked(struct filler *fl) REQUIRES(fl->lock)
{
        return tune_flow(&fl->flow, fl->bytes, clock_ms()) > fl->processors * HASH_FLOW_MAX;
}

void fill_hash_locked(struct filler *fl, struct fill *f)
{
        bool asked = fill_whole_awaited(f), hurried = is_hurried_locked(fl);

        if (f->hashing || f->finishing || fl->stopping || (!asked && (hurried || !list_empty(&fl->demands))) ||
            blob_hash_left(f->blob) < HASH_MIN)
                return;
        f->hashing = true;
        fill_job_begin_locked(fl, f);
        if (asked)
                workq_push(fl->verify, &f->hash_work, hash_run);
        else
                workq_push(fl->hash, &f->hash_work, hash_idly);
}
