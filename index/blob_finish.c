/*
 * How a blob becomes whole, and what happens to one whose hash is wrong.
 *
 * The steps of blob_finish(), each of which may be the last before a crash:
 *   1 hashed to the end, data synced               row filling, partial there: goes on from there
 *   2 linked into the repos that list it, links    row filling, final file there: adopted (T3)
 *   3 row complete                                 partial there: removed at the next opening
 *   4 partial file and map removed
 */
#include "index/blob_internal.h"

#define LOG_COMPONENT "blob"
#include "base/clock.h"
#include "base/log.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool blob_same_file(int a, int b)
{
        struct stat x, y;

        return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* Somebody else's file may have the final name already: it is kept if its hash holds (B2), else
 * set aside. */
static int clear_place(struct blob *b, int fd, const struct repo *repo, const atomic_bool *cancel)
{
        CLEANUP_FD int there = -1;
        uint64_t size;
        bool match;
        int r;

        r = store_blob_open(b->table->store, repo->type, repo->hub_name, b->etag, &there, &size);
        if (r < 0)
                return r == -ENOENT || r == -ELOOP || r == -EINVAL ? 0 : r;
        if (blob_same_file(there, fd))
                return 0;
        r = blob_is_right_file(b, there, cancel, &match);
        if (r < 0 || match)
                return r;
        return store_blob_quarantine(b->table->store, repo->type, repo->hub_name, b->etag);
}

/* One repo gets the blob: from the partial file, or from @source once that was moved away. */
static int publish_in(struct blob *b, const struct repo *repo, const struct repo *source,
                      const atomic_bool *cancel)
{
        struct store *s = b->table->store;
        int r = clear_place(b, b->fd, repo, cancel);

        if (r < 0)
                return r;
        r = store_blob_publish(s, b->etag, repo->type, repo->hub_name, b->etag);
        if (r == -ENOENT && source->id != 0)
                r = store_blob_share(s, b->fd, source->type, source->hub_name, repo->type, repo->hub_name, b->etag);
        return r;
}

static int link_in(struct blob *b, const struct place_walk *w)
{
        int r = store_link_put(b->table->store, w->repo.type, w->repo.hub_name, w->commit.sha, w->entry.path,
                               b->etag);

        if (r < 0 && place_is_odd(r)) {
                log_debug("%.12s: no link %s in %s: %s", b->etag, w->entry.path, w->repo.hub_name,
                          strerror(-r));
                return 0; /* something foreign is in the way: the blob is whole all the same */
        }
        return r;
}

/*
 * Walks on through the places and serves each. @source is the first repo that has the blob (id 0:
 * none yet). A place that is odd is passed over.
 */
static int serve_places(struct blob *b, struct place_walk *w, struct repo *source,
                        const atomic_bool *cancel)
{
        int odd = 0, r;

        while ((r = place_walk_next(b, w)) == 0) {
                if (w->new_repo) {
                        r = publish_in(b, &w->repo, source, cancel);
                        if (r < 0 && place_is_odd(r)) {
                                odd = r;
                                continue;
                        }
                        if (r < 0)
                                return r;
                        if (source->id == 0)
                                *source = w->repo;
                }
                r = link_in(b, w);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (source->id == 0)
                return odd < 0 ? odd : -ENOENT; /* nothing lists it any longer */
        return 0;
}

/* Where the final file is a copy (hub/ on another file system than partial/) it is what is read from now on. */
static void follow_copy(struct blob *b, const struct repo *source)
{
        CLEANUP_FD int fd = -1;
        struct repo named;
        uint64_t size;

        if (blob_find_named(b, b->fd, &named) == -ENOENT &&
            store_blob_open(b->table->store, source->type, source->hub_name, b->etag, &fd, &size) == 0 &&
            size == b->size && blob_switch_fd(b, &fd) < 0)
                log_debug("%.12s: read from its partial file for now", b->etag);
}

/* Steps 2 to 4. The caller holds finish and io. */
static int publish(struct blob *b, const atomic_bool *cancel)
{
        CLEANUP(place_walk_done) struct place_walk w = {};
        struct repo source = {};
        int r;

        r = serve_places(b, &w, &source, cancel);
        if (r < 0)
                return r;
        if (FAULT("blob.state"))
                return -EIO;
        r = blob_set_state(b, BLOB_COMPLETE);
        if (r < 0)
                return r;
        /* listings that came while it was published did not know that it would be whole */
        if (serve_places(b, &w, &source, cancel) < 0)
                log_debug("%.12s: not linked everywhere", b->etag);
        follow_copy(b, &source);
        if (!FAULT("blob.unlink"))
                blob_remove_partial(b);
        return 0;
}

static bool all_held(struct blob *b, int fd)
{
        bool held;

        lock_take(&b->lock);
        held = b->fd == fd && fd >= 0 && rangeset_covers(&b->extents, 0, b->size);
        lock_drop(&b->lock);
        return held;
}

/* H3 */
static bool era_lasts(struct blob *b, uint64_t era)
{
        bool lasts;

        lock_take(&b->lock);
        lasts = b->era == era;
        lock_drop(&b->lock);
        return lasts;
}

static int finish(struct blob *b, const atomic_bool *cancel)
{
        uint64_t era;
        bool match;
        int fd, r;

        if (blob_state_whole(blob_state(b)))
                return 0;
        r = blob_prepare(b); /* an empty blob was never written to */
        if (r < 0)
                return r;
        fd = blob_fd(b);
        if (!all_held(b, fd))
                return -ENODATA;
        /* the disk begins while the CPU works; no error is taken away from fdatasync(2) by this */
        (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        r = blob_hash_rest(b, cancel, &match, &era);
        if (r < 0)
                return r;
        if (!match)
                return BLOB_E_HASH;
        lock_take(&b->io);
        r = blob_sync_data(b);
        if (r == 0) /* and nothing was dropped meanwhile */
                r = era_lasts(b, era) && all_held(b, fd) ? publish(b, cancel) : -ENODATA;
        lock_drop(&b->io);
        if (r == 0)
                blob_hash_drop(b);
        return r;
}

static void set_finishing(struct blob *b, bool finishing)
{
        lock_take(&b->lock);
        b->finishing = finishing;
        lock_drop(&b->lock);
}

int blob_finish(struct blob *b, const atomic_bool *cancel)
{
        int r;

        lock_take(&b->finish);
        set_finishing(b, true);
        r = finish(b, cancel);
        set_finishing(b, false);
        lock_drop(&b->finish);
        return r;
}

/* ---- places of a whole blob ---- */

/* One repo gets the file that is open. What it has of its own is hashed first where the blob is @verified. */
static int share_in(struct blob *b, int fd, const struct repo *source, const struct repo *repo, bool verified,
                    const atomic_bool *cancel)
{
        int r = verified ? clear_place(b, fd, repo, cancel) : 0;

        if (r < 0 || repo->id == source->id)
                return r;
        return store_blob_share(b->table->store, fd, source->type, source->hub_name, repo->type, repo->hub_name,
                                b->etag);
}

/* All places get the file @fd, which @source has. -ENOENT: it has it no longer. */
static int link_places(struct blob *b, int fd, const struct repo *source, bool verified, const atomic_bool *cancel)
{
        CLEANUP(place_walk_done) struct place_walk w = {};
        struct repo still;
        int r;

        while ((r = place_walk_next(b, &w)) == 0) {
                r = w.new_repo ? share_in(b, fd, source, &w.repo, verified, cancel) : 0;
                if (r < 0 && place_is_odd(r))
                        continue;
                if (r == 0)
                        r = link_in(b, &w);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : blob_find_named(b, fd, &still);
}

int blob_link_places(struct blob *b, const atomic_bool *cancel)
{
        enum blob_state state = blob_state(b);
        struct repo source;
        int fd, r;

        if (!blob_state_whole(state))
                return -ENODATA;
        fd = blob_fd(b);
        r = fd < 0 ? fd : blob_find_named(b, fd, &source);
        return r < 0 ? r : link_places(b, fd, &source, state == BLOB_COMPLETE, cancel);
}

/* ---- wrong hashes ---- */

int blob_quarantine_whole(struct blob *b)
{
        CLEANUP(place_walk_done) struct place_walk w = {};
        struct store *s = b->table->store;
        int r;

        while ((r = place_walk_next(b, &w)) == 0) {
                CLEANUP_FD int there = -1;
                uint64_t size;

                if (!w.new_repo)
                        continue;
                r = store_blob_open(s, w.repo.type, w.repo.hub_name, b->etag, &there, &size);
                if (r == 0 && !blob_same_file(there, b->fd))
                        continue;
                /* of a shared blob, a link to what was set aside already may be left */
                if (r == 0 || r == -ENOENT)
                        r = store_blob_quarantine(s, w.repo.type, w.repo.hub_name, b->etag);
                if (r < 0 && !place_is_odd(r))
                        return r;
        }
        return r < 0 ? r : 0;
}

static int reject_adopted(struct blob *b)
{
        int r;

        lock_take(&b->io);
        r = blob_quarantine_whole(b);
        if (r == 0 || r == -EROFS)
                /* what cannot be moved away must not be found again */
                r = blob_renew(b, r == 0 ? BLOB_FILLING : BLOB_QUARANTINED);
        if (r == 0)
                blob_remove_partial(b);
        lock_drop(&b->io);
        return r < 0 ? r : BLOB_E_HASH;
}

/* What was hashed has no name any longer, or another file has it: that one is not believed. */
static int was_replaced(struct blob *b)
{
        int r;

        lock_take(&b->io);
        r = blob_find_other(b);
        lock_drop(&b->io);
        return r < 0 ? r : -ENODATA;
}

int blob_complete_adopted(struct blob *b, const atomic_bool *cancel)
{
        struct repo source;
        int r = blob_find_named(b, b->fd, &source);

        if (r == 0 && !b->table->store->read_only)
                r = link_places(b, b->fd, &source, true, cancel); /* a crash between 2 and 3 left some out */
        if (r == -ENOENT)
                return was_replaced(b);
        return r == 0 ? blob_set_state(b, BLOB_COMPLETE) : r;
}

#define HASHES_MAX 3

/* Hashes the file, and does so again where it was written to meanwhile: what had been read by then may be something
 * else now, and no time would tell later, since the hash is the later one (T3). -EBUSY: it is written to on and on. */
static int hash_at_rest(struct blob *b, const atomic_bool *cancel, char *ret_hex)
{
        struct stat before = {}, after = {};

        for (unsigned i = 0; i < HASHES_MAX; i++) {
                int r = fstat(b->fd, &before) < 0 ? -errno : 0;

                if (r == 0)
                        r = hash_file_hex(b->fd, b->etag, b->size, cancel, ret_hex);
                if (r == 0 && fstat(b->fd, &after) < 0)
                        r = -errno;
                if (r < 0 || timespec_equal(before.st_mtim, after.st_mtim))
                        return r;
        }
        return -EBUSY;
}

static int verify_adopted(struct blob *b, const atomic_bool *cancel)
{
        enum blob_state state = blob_state(b);
        char hex[ETAG_MAX + 1];
        int r;

        if (state != BLOB_ADOPTED)
                return state == BLOB_COMPLETE ? 0 : -ENODATA;
        r = hash_at_rest(b, cancel, hex);
        if (r < 0)
                return r;
        if (strcmp(hex, b->etag) != 0) {
                blob_note_wrong(b, hex);
                return reject_adopted(b);
        }
        r = blob_complete_adopted(b, cancel);
        if (r == 0) {
                lock_take(&b->io);
                blob_remove_partial(b);
                lock_drop(&b->io);
        }
        return r;
}

int blob_verify_adopted(struct blob *b, const atomic_bool *cancel)
{
        int r;

        lock_take(&b->finish);
        r = verify_adopted(b, cancel);
        lock_drop(&b->finish);
        return r;
}

/* The caller holds finish and io. */
static int quarantine_partial(struct blob *b)
{
        int r = 0;

        if (blob_state_whole(blob_state(b)))
                return -EINVAL;
        if (b->fd >= 0)
                r = store_partial_quarantine(b->table->store, b->etag);
        if (r < 0 && r != -ENOENT)
                return r;
        r = blob_forget_extents(b);
        if (r < 0)
                return r;
        blob_remove_partial(b);
        return blob_renew(b, BLOB_QUARANTINED);
}

int blob_quarantine(struct blob *b)
{
        int r;

        lock_take(&b->finish);
        lock_take(&b->io);
        r = quarantine_partial(b);
        lock_drop(&b->io);
        lock_drop(&b->finish);
        return r;
}

int blob_readmit(struct blob *b)
{
        int r = 0;

        lock_take(&b->finish);
        if (blob_state(b) == BLOB_QUARANTINED)
                r = blob_set_state(b, BLOB_FILLING);
        lock_drop(&b->finish);
        return r;
}
