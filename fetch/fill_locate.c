/*
 * Where a blob's bytes are: one lookup at a time per blob, kept until near its expiry. The places
 * that list the blob are tried in turn where one is refused; a place whose file does not have
 * the blob's size or etag contradicts its own listing and is not used.
 *
 * A small file mostly comes with the answer to its lookup: then there is no location, nor a transfer.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PLACES_MAX 8 /* places asked for one lookup */

struct locate {
        struct work work;
        struct fill *fill; /* has a job for us: it stays */
        uint64_t deadline;
        int64_t commit_id, refused_repo; /* the last place; a repo that refuses is not asked again */
        uint32_t pos;
        unsigned tries;
        bool full; /* not short of where the file is */
        bool anew; /* what came before was wrong */
        bool limited; /* nobody reads, nor waits for a switch: a repo that has brought what it may is not asked */
        int worst; /* the answer when no place is left */
        struct repo repo;
        struct commit commit;
        struct entry entry;
};

void location_unref(struct fill_location *l)
{
        if (!l || --l->refs > 0)
                return;
        hub_location_done(&l->at);
        free(l);
}

void fill_drop_location(struct fill *f)
{
        if (f->location && f->location->at.own_origin)
                f->locate_full = true; /* it may have led to another redirect, whatever it said of the file */
        location_unref(f->location);
        f->location = NULL;
}

bool fill_location_good(const struct fill *f, uint64_t now_ms)
{
        return f->location && now_ms < f->location->at.expires_ms;
}

/* ---- the end ---- */

static void refused_locked(struct filler *fl, struct fill *f, int result) REQUIRES(fl->lock)
{
        fill_fail_opens_locked(fl, f, result);
        fill_back_off_locked(fl, f, 0);
        if (++f->refusals >= FILL_REFUSED_MAX)
                fill_fail_locked(fl, f, result);
}

/* Those that were there when the lookup began. Who came later gets one of his own: what made this one fail may
 * have been over by then. */
static void fail_old_opens_locked(struct filler *fl, struct fill *f, int result, uint64_t deadline)
        REQUIRES(fl->lock)
{
        LIST_FOREACH(node, &f->opens) {
                struct fetch_wait *w = LIST_OWNER(node, struct fetch_wait, node);

                if (w->deadline <= deadline)
                        wait_enlist(w, result, &fl->answers);
        }
}

static void judge_locate_locked(struct filler *fl, struct fill *f, int result, uint64_t deadline)
        REQUIRES(fl->lock)
{
        struct gate *gate = fl->o.gate;

        switch (result) {
        case 0:
                f->refusals = 0;
                f->retry_ms = 0;
                fill_fail_opens_locked(fl, f, 0);
                return;
        case FETCH_E_ABSENT:
        case FETCH_E_FORBIDDEN:
                refused_locked(fl, f, result);
                return;
        case FETCH_E_POLICY:
                fill_fail_locked(fl, f, FETCH_E_POLICY);
                return;
        case FETCH_E_LIMIT: /* who reads or pulls came meanwhile, and is not limited */
                fill_fail_opens_locked(fl, f, result);
                f->rest = f->along = false; /* until it is looked at again: not at each read */
                f->next_end = 0;
                return;
        case -ECANCELED:
        case -ENETDOWN:
                fill_fail_opens_locked(fl, f, fl->stopping      ? -ECANCELED :
                                          gate_is_offline(gate) ? FETCH_E_OFFLINE :
                                                                  FETCH_E_UNREACHABLE);
                fill_back_off_locked(fl, f, 0);
                return;
        case FETCH_E_UNREACHABLE:
                gate_note_failed(gate);
                fail_old_opens_locked(fl, f, result, deadline);
                fill_back_off_locked(fl, f, 0);
                return;
        default:
                fill_fail_locked(fl, f, result);
        }
}

/* @at is taken over when given. */
static void locate_end(struct locate *l, int result, struct hub_location *at)
{
        struct fill *f = l->fill;
        struct filler *fl = f->filler;
        struct fill_location *found = NULL;
        bool came = result == 0 && at->bytes;

        if (result == 0)
                gate_note_reached(fl->o.gate);
        if (came) { /* with the answer */
                result = blob_write(f->blob, at->bytes, at->size, 0);
                if (result < 0)
                        fill_log_unstored(f, result);
        } else if (result == 0) {
                found = calloc(1, sizeof(*found));
                result = found ? 0 : -ENOMEM;
        }
        if (found) {
                found->refs = 1;
                found->at = *at;
                *at = (struct hub_location){};
        }
        lock_take(&fl->lock);
        if (result == 0)
                f->repo = l->repo.id;
        if (found) {
                fill_drop_location(f);
                f->location = found;
        }
        if (came && result == 0) {
                fill_forget_failures_locked(f);
                fill_charge_locked(fl, f, blob_size(f->blob), clock_ms());
                fill_came_locked(fl, f, 0, blob_size(f->blob), clock_ms());
        }
        f->locating = false;
        fl->locating--;
        judge_locate_locked(fl, f, result, l->deadline);
        fill_job_end_locked(fl, f);
        filler_leave(fl);
        free(l);
}

/* ---- the way there ---- */

static void next_place(struct work *w);

static bool contradicts(const struct locate *l, const struct hub_location *at)
{
        if ((at->size == l->entry.size || at->size == HUB_SIZE_UNSAID) &&
            (at->etag[0] == '\0' || strcmp(at->etag, l->entry.etag) == 0))
                return false;
        log_ratelimited(LOG_LEVEL_ERROR,
                        "%s/%s: the hub contradicts its listing of %.12s: %s has %" PRIu64
                        " bytes and etag %.12s, listed are %" PRIu64 " and %.12s",
                        repo_type_plural(l->repo.type), l->repo.name, l->commit.sha, l->entry.path, at->size,
                        at->etag, l->entry.size, l->entry.etag);
        return true;
}

static void located(void *arg, int result, struct hub_location *at)
{
        struct locate *l = arg;
        struct filler *fl = l->fill->filler;

        bool here; /* it is this place's fault: another may be better */

        if (result == 0 && contradicts(l, at))
                result = HUB_E_MALFORMED;
        here = result == HUB_E_ABSENT || result == HUB_E_FORBIDDEN || result == HUB_E_MALFORMED;
        result = fetch_result(result);
        if (here) {
                if (l->worst == 0 || l->worst == FETCH_E_ABSENT || l->worst == FETCH_E_POLICY)
                        l->worst = result;
                if (result == FETCH_E_FORBIDDEN)
                        l->refused_repo = l->repo.id;
                workq_push(fl->o.names, &l->work, next_place);
                return;
        }
        locate_end(l, result, at);
}

static int allowed_here(const struct locate *l)
{
        struct filler *fl = l->fill->filler;

        if (!policy_allows(fl->o.policy, l->repo.type, l->repo.name) ||
            policy_denies(fl->o.policy, l->repo.type, l->repo.hub_name))
                return FETCH_E_POLICY;
        return !l->limited || fill_limit_allows(fl, l->repo.id, l->fill->blob) ? 0 : FETCH_E_LIMIT;
}

/* The next place that may be asked: 0, CATALOG_E_NONE, or negative errno. */
static int find_place(struct locate *l)
{
        struct filler *fl = l->fill->filler;
        int r;

        for (;;) {
                r = catalog_blob_place_next(fl->o.index->catalog, l->fill->id, l->commit_id, l->pos, &l->repo,
                                            &l->commit, &l->entry);
                if (r != 0)
                        return r;
                l->commit_id = l->commit.id;
                l->pos = l->entry.pos;
                if (l->repo.id == l->refused_repo)
                        continue;
                r = allowed_here(l);
                if (r == 0)
                        return 0;
                if (l->worst == 0 || r == FETCH_E_LIMIT) /* it has it, whatever others say */
                        l->worst = r;
        }
}

static enum hub_locate_how how_to_locate(const struct locate *l)
{
        enum hub_locate_how how = l->full ? HUB_LOCATE_FULL : HUB_LOCATE_SHORT;

        if (l->entry.size <= HUB_TAKE_MAX)
                how = HUB_LOCATE_TAKE;
        return l->anew ? how | HUB_LOCATE_ANEW : how;
}

static void next_place(struct work *w)
{
        struct locate *l = CONTAINER_OF(w, struct locate, work);
        struct filler *fl = l->fill->filler;
        struct hub_call *call = NULL;
        int r;

        r = l->tries++ < PLACES_MAX ? find_place(l) : CATALOG_E_NONE;
        if (r == CATALOG_E_NONE)
                r = l->worst ? l->worst : FETCH_E_ABSENT;
        else if (r == 0)
                r = hub_locate(fl->o.hub, l->repo.type, l->repo.hub_name, l->commit.sha, l->entry.path,
                               how_to_locate(l), l->deadline, located, l, &call);
        if (r == 0)
                hub_call_unref(call); /* l may be gone already */
        else
                locate_end(l, r, NULL);
}

void fill_locate_locked(struct filler *fl, struct fill *f, uint64_t now_ms)
{
        struct locate *l;

        if (f->locating)
                return;
        if (fill_all_held(f)) { /* what opens wait for has come meanwhile */
                fill_fail_opens_locked(fl, f, 0);
                return;
        }
        if (fl->locating >= fl->o.connections && list_empty(&f->reads) && list_empty(&f->opens))
                return;
        l = calloc(1, sizeof(*l));
        if (!l) {
                fill_fail_locked(fl, f, -ENOMEM);
                return;
        }
        l->fill = f;
        l->full = f->locate_full;
        l->anew = f->hash_failures > 0;
        l->limited = fl->o.max_fetch > 0 && list_empty(&f->reads) && list_empty(&f->wholes) && !f->before_shut;
        l->deadline = now_ms + (uint64_t)fl->o.lookup_deadline_s * 1000;
        f->locating = true;
        fl->locating++;
        fill_job_begin_locked(fl, f);
        workq_push(fl->o.names, &l->work, next_place);
}
