/*
 * The filler's life, and what it tells of itself.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>

/* ---- what it is doing ---- */

void filler_counts(struct filler *fl, unsigned *ret_transfers, unsigned *ret_waiting_reads)
{
        unsigned waiting = 0;

        lock_take(&fl->lock);
        LIST_FOREACH(node, &fl->demands)
                waiting++;
        *ret_transfers = fl->transfers;
        *ret_waiting_reads = waiting;
        lock_drop(&fl->lock);
}

static void describe(struct fill *f, struct fetch_fill_info *ret)
{
        *ret = (struct fetch_fill_info){
                .blob = f->id,
                .size = blob_size(f->blob),
                .held = blob_held_bytes(f->blob),
                .transfers = f->transfer_count,
                .verifying = f->finishing,
        };
        snprintf(ret->etag, sizeof(ret->etag), "%s", blob_etag(f->blob));
        LIST_FOREACH(node, &f->reads)
                ret->readers++;
}

static int snapshot(struct filler *fl, struct fetch_fill_info **ret, size_t *ret_count)
{
        struct fetch_fill_info *infos;
        size_t count = 0, i = 0;

        lock_take(&fl->lock);
        LIST_FOREACH(node, &fl->active)
                count++;
        infos = calloc(count + 1, sizeof(*infos));
        if (infos)
                LIST_FOREACH(node, &fl->active)
                        describe(LIST_OWNER(node, struct fill, node), &infos[i++]);
        lock_drop(&fl->lock);
        if (!infos)
                return -ENOMEM;
        *ret = infos;
        *ret_count = count;
        return 0;
}

bool fill_name_place(struct filler *fl, int64_t blob, char *repo, char *path)
{
        struct repo place;
        struct commit commit;
        struct entry entry;

        if (catalog_blob_place_next(fl->o.index->catalog, blob, 0, 0, &place, &commit, &entry) != 0)
                return false;
        snprintf(repo, FETCH_REPO_TEXT, "%s/%s", repo_type_plural(place.type), place.name);
        snprintf(path, ENTRY_PATH_MAX + 1, "%s", entry.path);
        return true;
}

int filler_fills(struct filler *fl, struct fetch_fill_info **ret, size_t *ret_count)
{
        int r = snapshot(fl, ret, ret_count);

        for (size_t i = 0; r == 0 && i < *ret_count; i++) {
                struct fetch_fill_info *info = &(*ret)[i];

                fill_name_place(fl, info->blob, info->repo, info->path);
        }
        return r;
}

/* ---- life ---- */

static void init_lists(struct filler *fl)
{
        pthread_condattr_t attr;

        lock_init(&fl->lock);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&fl->wake, &attr);
        pthread_cond_init(&fl->quiet, NULL);
        pthread_condattr_destroy(&attr);
        list_init(&fl->active);
        list_init(&fl->queued);
        list_init(&fl->idle);
        list_init(&fl->demands);
        list_init(&fl->starting);
        list_init(&fl->answers);
        list_init(&fl->dead);
        list_init(&fl->verdicts);
        fl->random = clock_ms() * UINT64_C(0x9e3779b97f4a7c15) | 1;
        fl->progress_ms = clock_ms();
        fl->space.room = UINT64_MAX;
        limit_init(&fl->limit, fl->o.max_fetch);
}

static void free_filler(struct filler *fl)
{
        fl->hash = workq_free(fl->hash);
        fl->verify = workq_free(fl->verify);
        fl->sync = workq_free(fl->sync);
        fl->adopt = workq_free(fl->adopt);
        along_done(fl);
        verdicts_done(fl);
        limit_done(&fl->limit);
        pthread_cond_destroy(&fl->wake);
        pthread_cond_destroy(&fl->quiet);
        lock_done(&fl->lock);
        free(fl);
}

static unsigned count_processors(void)
{
        cpu_set_t set;

        /* more than a set has room for: then there are many */
        return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : CPU_SETSIZE;
}

int filler_new(const struct filler_options *o, struct filler **ret)
{
        struct filler *fl = calloc(1, sizeof(*fl));
        int r;

        if (!fl)
                return -ENOMEM;
        fl->o = *o;
        init_lists(fl);
        fl->processors = count_processors();
        tune_init(&fl->tune, o->connections > 1 ? o->connections * 3 / 4 : 1); /* the rest is for demand */
        r = workq_new("wfs-hash", FILL_HASHERS, &fl->hash);
        if (r == 0)
                r = workq_new("wfs-verify", FILL_HASHERS, &fl->verify);
        if (r == 0)
                r = workq_new("wfs-sync", 1, &fl->sync);
        if (r == 0)
                r = workq_new("wfs-adopt", 1, &fl->adopt);
        if (r == 0)
                r = -pthread_create(&fl->pump, NULL, filler_pump, fl);
        if (r < 0) {
                free_filler(fl);
                return r;
        }
        *ret = fl;
        return 0;
}

void filler_stop(struct filler *fl)
{
        struct fill *f, *next;

        lock_take(&fl->lock);
        fl->stopping = true;
        fl->cancel = true;
        filler_poke_locked(fl);
        lock_drop(&fl->lock);
        pthread_join(fl->pump, NULL);
        lock_take(&fl->lock);
        HASH_ITER(hh, fl->fills, f, next)
                fill_fail_locked(fl, f, -ECANCELED);
        filler_leave(fl);
}

struct filler *filler_free(struct filler *fl)
{
        struct fill *f, *next;

        if (!fl)
                return NULL;
        lock_take(&fl->lock);
        while (fl->transfers > 0 || fl->jobs > 0)
                lock_wait(&fl->lock, &fl->quiet);
        HASH_ITER(hh, fl->fills, f, next) {
                fill_drop_location(f);
                HASH_DEL(fl->fills, f);
                list_remove(&f->node);
                list_push(&fl->dead, &f->node);
        }
        LIST_FOREACH(node, &fl->dead) {
                f = LIST_OWNER(node, struct fill, node);
                if (f->dirty && blob_sync(f->blob) < 0)
                        log_warn("blob %.12s: what came last could not be synced", blob_etag(f->blob));
        }
        filler_leave(fl);
        free_filler(fl);
        return NULL;
}
