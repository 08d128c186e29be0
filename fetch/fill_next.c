/*
 * The next part: large models lie in files that are read one after the other (model-00001-of-00004...).
 * While one of them is read to its end, the beginning of the next is fetched: where it lies is known and
 * the connections do not fall idle when the reader comes to it.
 *
 * It comes after all else that is to be fetched, completion in the background included; no more than
 * FILL_NEXT_MAX of it comes before somebody reads it; and the part behind that one is not looked for
 * before then. A reader of headers or of single tensors brings none: see is_read_on().
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/log.h"

#define FILL_NEXT_MAX PLAN_WINDOW_MAX

bool fill_next_missing(const struct fill *f)
{
        struct range hole;

        return f->next_end > 0 && blob_next_hole(f->blob, 0, f->next_end, &hole);
}

/* What is being filled already may need all the @room there is. */
static bool is_room_left_locked(struct filler *fl, uint64_t room, uint64_t wanted) REQUIRES(fl->lock)
{
        LIST_FOREACH(node, &fl->active) {
                const struct fill *f = LIST_OWNER(node, struct fill, node);

                wanted += blob_size(f->blob) - blob_held_bytes(f->blob);
        }
        return wanted <= room;
}

static void want_beginning(struct filler *fl, struct blob *b)
{
        uint64_t end = min_u64(blob_size(b), FILL_NEXT_MAX);
        struct fill_space space = filler_space(fl);
        struct fill *f = NULL;

        if (blob_state(b) != BLOB_FILLING || space.room == UINT64_MAX || space.room <= space.keep)
                return;
        lock_take(&fl->lock);
        if (!fl->stopping && !gate_is_offline(fl->o.gate) &&
            is_room_left_locked(fl, space.room - space.keep, end))
                f = fill_get_locked(fl, b);
        if (f && !f->rest) {
                f->next_end = end;
                fill_move_locked(fl, f, FILL_ACTIVE);
                filler_poke_locked(fl);
                log_debug("blob %.12s: the next part that will be read", blob_etag(b));
        }
        lock_drop(&fl->lock);
}

/* The newest place that lists the blob as a part with another behind it. False: none. */
static bool find_next(struct catalog *c, int64_t blob, struct entry *ret)
{
        char name[ENTRY_NAME_MAX + 1];
        struct repo repo;
        struct commit commit = {};
        struct entry entry = {};
        bool found = false;

        /* places come by rising commit id: the newest last */
        for (unsigned i = 0; i < FILL_PLACES_MAX; i++) {
                if (catalog_blob_place_next(c, blob, commit.id, entry.pos, &repo, &commit, &entry) != 0)
                        break;
                if (name_of_next_part(entry.name, name, sizeof(name)) &&
                    catalog_entry_lookup(c, commit.id, entry.parent, name, ret) == 0 && !ret->is_dir)
                        found = true;
        }
        return found;
}

static void next_run(struct work *w)
{
        struct filler_job *job = CONTAINER_OF(w, struct filler_job, work);
        struct filler *fl = job->filler;
        struct entry next;
        struct blob *b;

        if (find_next(fl->o.index->catalog, job->id, &next) && blobs_get(fl->o.index->blobs, next.blob, &b) == 0) {
                want_beginning(fl, b);
                blob_unref(b);
        }
        filler_job_end(job);
}

/* In the second half of a blob that is being loaded, of which a stream has read a quarter. */
static bool is_read_on(const struct fill *f, uint64_t end)
{
        uint64_t size = blob_size(f->blob);

        if (end < size / 2 || !plan_is_loaded(&f->seen, size))
                return false;
        for (size_t i = 0; i < PLAN_STREAMS; i++)
                if (f->seen.streams[i].run >= size / 4)
                        return true;
        return false;
}

void fill_next_locked(struct filler *fl, struct fill *f, uint64_t end)
{
        if (f->next_sought || fl->o.complete == COMPLETE_NEVER || !is_read_on(f, end))
                return;
        f->next_sought = true;
        filler_job_start_locked(fl, fl->o.names, f->id, next_run);
}
