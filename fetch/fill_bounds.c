/*
 * What bounds filling: the space that is to be kept free in the store's file system, and what a repo may bring
 * in an hour.
 *
 * | free space             | what is filled                                                              |
 * |------------------------|-----------------------------------------------------------------------------|
 * | above twice the kept   | everything                                                                  |
 * | above the kept         | what somebody waits for, if all of it fits when it is opened or pulled      |
 * | below                  | what a read waits for; who opens or pulls gets -ENOSPC, once nothing of the |
 * |                        | blob is on its way                                                          |
 *
 * A file of which more is missing than its repo may bring is not opened. One that is open is read to its end in
 * either case, since a refusal in a page fault would kill the reader; what nobody waits for ends at the limit. Who asks for
 * the whole of a file (pull) is a person, and is neither limited nor counted.
 *
 * What is completed before the gate shuts counts as waited for in both, or the gate would wait for it.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define LOOK_MS 200 /* between looks at the file system */

/* ---- space ---- */

static bool is_kept(const struct filler *fl)
{
        return fl->o.keep_free.percent > 0 && fl->o.keep_free.bytes > 0;
}

struct fill_space filler_space(struct filler *fl)
{
        struct fill_space s = { .room = UINT64_MAX };
        struct statvfs st;
        uint64_t free;

        if (store_statfs(fl->o.index->store, &st) < 0)
                return s;
        if (st.f_blocks == 0) /* a tmpfs without a limit, or one that does not tell */
                return s;
        free = (uint64_t)st.f_bavail * st.f_frsize;
        if (is_kept(fl))
                s.keep = min_u64((uint64_t)st.f_blocks * st.f_frsize / 100 * fl->o.keep_free.percent,
                                 fl->o.keep_free.bytes);
        s.room = free > s.keep ? free - s.keep : 0;
        return s;
}

int fill_check_space(struct filler *fl, struct blob *b)
{
        return blob_size(b) - blob_held_bytes(b) > filler_space(fl).room ? -ENOSPC : 0;
}

static uint64_t under_way(const struct fill *f)
{
        uint64_t bytes = 0;

        LIST_FOREACH(node, &f->transfers) {
                const struct fill_transfer *t = LIST_OWNER(node, struct fill_transfer, node);

                bytes += t->end > t->at ? t->end - t->at : 0;
        }
        return bytes;
}

static void note_space_locked(struct filler *fl, struct fill_space s) REQUIRES(fl->lock)
{
        uint64_t coming = 0;
        bool full = s.room == 0;

        LIST_FOREACH(node, &fl->active)
                coming += under_way(LIST_OWNER(node, struct fill, node));
        if (full && !fl->space_full)
                log_warn("the store has less than %" PRIu64 " MiB free, which --keep-free keeps: nothing is "
                         "fetched until there is more",
                         s.keep >> 20);
        fl->space_full = full;
        fl->space = s;
        fl->space.room -= min_u64(s.room, coming);
}

void fill_begins_locked(struct filler *fl, uint64_t bytes)
{
        fl->space.room -= min_u64(fl->space.room, bytes);
}

/* What nobody waits for stays, and goes on once there is space; but a gate that shuts does not wait for that. */
static void fail_for_space_locked(struct filler *fl, struct list *fills) REQUIRES(fl->lock)
{
        LIST_FOREACH(node, fills) {
                struct fill *f = LIST_OWNER(node, struct fill, node);

                if (f->finishing || f->transfer_count > 0 || f->locating || fill_all_held(f) ||
                    blob_state(f->blob) != BLOB_FILLING)
                        continue;
                waits_enlist(&f->opens, -ENOSPC, &fl->answers);
                waits_enlist(&f->wholes, -ENOSPC, &fl->answers);
                if (f->before_shut)
                        fill_give_up_locked(fl, f);
        }
}

void fill_look_at_space_locked(struct filler *fl, uint64_t now_ms)
{
        struct fill_space s;

        if (!is_kept(fl) || (list_empty(&fl->active) && list_empty(&fl->queued)))
                return;
        if (now_ms >= fl->space_ms || fl->space_full) { /* nobody is failed for what was */
                lock_drop(&fl->lock);
                s = filler_space(fl); /* the file system may be slow */
                lock_take(&fl->lock);
                fl->space_ms = now_ms + LOOK_MS;
                note_space_locked(fl, s);
        }
        if (!fl->space_full || gate_parks(fl->o.gate)) /* what is parked goes on later, perhaps with space */
                return;
        fail_for_space_locked(fl, &fl->active);
        fail_for_space_locked(fl, &fl->queued);
}

bool fill_is_short_of_space(const struct filler *fl)
{
        return is_kept(fl) && fl->space.room <= fl->space.keep;
}

/* ---- both ---- */

bool fill_is_within_bounds_locked(struct filler *fl, const struct fill *f, enum fill_class class, uint64_t now_ms)
{
        bool awaited = class == FILL_AHEAD || (class == FILL_PULL && fill_whole_awaited(f)) ||
                       f->before_shut;

        if (class == FILL_DEMAND)
                return true;
        if (is_kept(fl) && fl->space.room <= (awaited ? 0 : fl->space.keep))
                return false;
        return awaited || limit_left(&fl->limit, f->repo, now_ms) > 0;
}

bool fill_is_put_off_locked(struct filler *fl, const struct fill *f, uint64_t now_ms)
{
        return f->along && !fill_has_waits(f) && !fill_is_within_bounds_locked(fl, f, FILL_PULL, now_ms);
}

/* ---- the limit of a repo ---- */

bool fill_charge_locked(struct filler *fl, const struct fill *f, uint64_t bytes, uint64_t now_ms)
{
        if (fl->o.max_fetch == 0 || !list_empty(&f->wholes))
                return false;
        limit_charge(&fl->limit, f->repo, bytes, now_ms);
        return !f->before_shut && limit_left(&fl->limit, f->repo, now_ms) == 0;
}

bool fill_limit_allows(struct filler *fl, int64_t repo, struct blob *b)
{
        uint64_t left;

        lock_take(&fl->lock);
        left = limit_left(&fl->limit, repo, clock_ms());
        lock_drop(&fl->lock);
        return blob_size(b) - blob_held_bytes(b) <= left;
}

/* In the name of @repo, the first that lists it. */
static void refuse(struct filler *fl, int64_t repo, struct blob *b)
{
        char name[FETCH_REPO_TEXT], path[ENTRY_PATH_MAX + 1];

        lock_take(&fl->lock);
        limit_refuse(&fl->limit, repo, clock_ms());
        lock_drop(&fl->lock);
        if (fill_name_place(fl, blob_id(b), name, path))
                log_ratelimited(LOG_LEVEL_WARN,
                                "%s: %s is not opened: with it the repo would bring more than --max-fetch in this hour",
                                name, path);
}

int fill_check_limit(struct filler *fl, struct blob *b)
{
        struct repo repo;
        struct commit commit = {};
        struct entry entry = {};
        int64_t first = 0;
        unsigned n = 0;

        if (fl->o.max_fetch == 0)
                return 0;
        while (n < FILL_PLACES_MAX && catalog_blob_place_next(fl->o.index->catalog, blob_id(b), commit.id, entry.pos,
                                                              &repo, &commit, &entry) == 0) {
                if (fill_limit_allows(fl, repo.id, b))
                        return 0;
                if (n++ == 0)
                        first = repo.id;
        }
        if (n == 0)
                return 0;
        refuse(fl, first, b);
        return FETCH_E_LIMIT;
}

/* ---- what is told ---- */

int filler_limits(struct filler *fl, struct fetch_limit **ret, size_t *ret_count)
{
        struct limit_report *reports = calloc(FETCH_LIMITS_MAX, sizeof(*reports));
        struct fetch_limit *limits = calloc(FETCH_LIMITS_MAX, sizeof(*limits));
        struct repo repo;
        size_t count = 0, n = 0;

        if (!reports || !limits) {
                free(reports);
                free(limits);
                return -ENOMEM;
        }
        lock_take(&fl->lock);
        count = limit_report(&fl->limit, clock_ms(), reports, FETCH_LIMITS_MAX);
        lock_drop(&fl->lock);
        for (size_t i = 0; i < count; i++) {
                if (catalog_repo_get(fl->o.index->catalog, reports[i].repo, &repo) != 0)
                        continue;
                snprintf(limits[n].repo, sizeof(limits[n].repo), "%s/%s", repo_type_plural(repo.type), repo.name);
                limits[n].bytes = reports[i].bytes;
                limits[n].refused = reports[i].refused;
                limits[n++].left_s = reports[i].left_ms / 1000;
        }
        free(reports);
        *ret = limits;
        *ret_count = n;
        return 0;
}
