/*
 * Filling a blob: the partial file, its extents, the map that lets them survive.
 *
 * B1 in steps: pwrite(2) without a lock; then, under the blob's lock, a record in the map and the
 * range in the extents. A sync copies the extents, syncs the data, writes a new map durably beside
 * the old one (which goes on taking records meanwhile), adds what came since and renames it.
 *
 * Invariants
 *   F1  A file that may have a final name is never written to again: what is not certainly ours
 *       alone (one link, and ours the name) is left behind and a new file begun.
 *   F2  A range is added only if the descriptor it was written to is still the blob's.
 *   F3  Before a new file gets the name of one that was removed, the removal is durable: else a power loss
 *       could leave the old map beside the new file, and what was never written would count as held.
 */
#include "index/blob_internal.h"

#include "base/clock.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SYNC_BYTES (64u << 20)
#define SYNC_MS 5000

/*
 * Written at once. File systems that have large folios take one as large as a write asks for, and such come
 * from memory that lay unused for long. A virtual machine whose free memory goes back to the host pays for
 * each page of that when it is touched: with writes of 512 KiB a first read took up to three times as long.
 * Folios of this size come from memory that was in use a moment ago, and writes of it cost no more.
 */
#define PUT_PIECE (64u << 10)

static int partial_dir(const struct blob *b)
{
        return store_partial_fd(b->table->store);
}

/* F1 */
static bool file_is_private(const struct blob *b, int fd)
{
        struct stat st, name;

        return fstat(fd, &st) == 0 && st.st_nlink == 1 &&
               fstatat(partial_dir(b), b->etag, &name, AT_SYMLINK_NOFOLLOW) == 0 &&
               name.st_ino == st.st_ino && name.st_dev == st.st_dev;
}

void blob_remove_partial(struct blob *b)
{
        char map[ETAG_MAX + 5];
        int r;

        if (partial_dir(b) < 0)
                return;
        extent_name(b->etag, map);
        b->removed |= faccessat(partial_dir(b), map, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        lock_take(&b->lock);
        r = extent_remove(&b->map);
        lock_drop(&b->lock);
        /* the map first: data without a map are nothing, a map without data would be a lie */
        if (r == 0)
                unlinkat(partial_dir(b), b->etag, 0);
}

void blob_forget_extents_locked(struct blob *b)
{
        rangeset_done(&b->extents);
        rangeset_done(&b->synced);
        blob_end_era_locked(b);
        blob_doubt_end_locked(b);
        b->new_bytes = 0;
        b->map_stale = false;
}

int blob_forget_extents(struct blob *b)
{
        int r;

        lock_take(&b->lock);
        r = blob_retire_fd_locked(b);
        if (r == 0)
                blob_forget_extents_locked(b);
        lock_drop(&b->lock);
        return r;
}

/* Opens the partial file that the map speaks of. -EBADMSG: not the one. */
static int open_partial(struct blob *b, bool complete, int *ret_fd)
{
        CLEANUP_FD int fd = -1;
        struct stat st;
        int r;

        r = dir_open(partial_dir(b), b->etag, O_RDWR | O_NONBLOCK, 0, &fd);
        if (r == -ENOENT || r == -ELOOP || r == -EISDIR || r == -ENXIO)
                return -EBADMSG;
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != b->size)
                return -EBADMSG;
        if (!complete && !file_is_private(b, fd))
                return -EBADMSG;
        *ret_fd = take_fd(&fd);
        return 0;
}

int blob_load_partial(struct blob *b)
{
        CLEANUP(rangeset_done) struct rangeset held = {}, synced = {};
        CLEANUP_FD int fd = -1;
        int r;

        if (partial_dir(b) < 0)
                return 0;
        r = extent_load(&b->map, &held, &synced);
        if (r == 0 && held.count > 0)
                r = open_partial(b, held.total == b->size, &fd);
        if (r == -ENOENT || r == -EBADMSG || (r == 0 && held.count == 0))
                return 0; /* B3: what is there is replaced at the first write */
        if (r < 0)
                return r;
        lock_take(&b->lock);
        b->fd = take_fd(&fd);
        b->extents = held;
        b->synced = synced;
        b->new_bytes = held.total - synced.total; /* to be made durable by the next sync */
        b->new_since = clock_ms();
        held = synced = (struct rangeset){};
        lock_drop(&b->lock);
        return 0;
}

/* The first place's repo, for the map's header. */
static void name_repo(struct blob *b)
{
        CLEANUP(place_walk_done) struct place_walk w = {};

        if (b->map.repo[0] == '\0' && place_walk_next(b, &w) == 0)
                snprintf(b->map.repo, sizeof(b->map.repo), "%s/%s", repo_type_plural(w.repo.type),
                         w.repo.hub_name);
}

static int create_file(struct blob *b, int *ret_fd)
{
        CLEANUP_FD int fd = -1;
        int r = 0;

        blob_remove_partial(b); /* no map spoke for it, or it has a final name by now (F1) */
        if (b->removed) { /* F3 */
                r = dir_sync(partial_dir(b));
                if (r < 0)
                        return r;
                b->removed = false;
        }
        if (FAULT("blob.create"))
                return -ENOSPC;
        fd = openat(partial_dir(b), b->etag, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return -errno;
        /* its final mode: changed now it needs no sync of its own later (partial/ itself is private) */
        if (fchmod(fd, 0644) < 0 || ftruncate(fd, (off_t)b->size) < 0) {
                r = -errno;
                unlinkat(partial_dir(b), b->etag, 0);
                return r;
        }
        *ret_fd = take_fd(&fd);
        return 0;
}

/* The extents less the synced ones. */
static int unsynced_locked(const struct blob *b, const struct rangeset *synced, struct rangeset *ret)
        REQUIRES(b->lock)
{
        int r = rangeset_copy(ret, &b->extents);

        for (size_t i = 0; i < synced->count && r == 0; i++)
                r = rangeset_remove(ret, synced->ranges[i].start, synced->ranges[i].end);
        return r;
}

/* Writes a new map: @synced as synced, the rest of the extents as not. The caller holds io. */
static int rewrite_map(struct blob *b, struct rangeset *synced, bool durable)
{
        CLEANUP(rangeset_done) struct rangeset rest = {};
        struct extent_draft draft;
        int r;

        name_repo(b);
        r = extent_begin(&b->map, synced, durable, &draft);
        if (r < 0)
                return r;
        lock_take(&b->lock);
        r = unsynced_locked(b, synced, &rest);
        if (r == 0) {
                r = extent_commit(&b->map, &draft, &rest);
        } else {
                unlinkat(partial_dir(b), draft.tmp, 0);
                cleanup_fd(&draft.fd);
        }
        if (r == 0) {
                struct rangeset before = b->synced;

                b->synced = *synced;
                *synced = before;
                b->map_stale = false;
        }
        lock_drop(&b->lock);
        return r < 0 || !durable ? r : dir_sync(partial_dir(b));
}

/* The caller holds io. */
static int prepare_io(struct blob *b)
{
        CLEANUP(rangeset_done) struct rangeset synced = {};
        CLEANUP_FD int fd = -1;
        bool create, map;
        int r;

        lock_take(&b->lock);
        create = !blob_state_whole(b->state) && b->fd < 0;
        map = !blob_state_whole(b->state) && b->map.fd < 0;
        r = create ? 0 : rangeset_copy(&synced, &b->synced);
        lock_drop(&b->lock);
        if (r < 0)
                return r;
        if ((create || map) && partial_dir(b) < 0)
                return -EROFS;
        if (create) {
                r = create_file(b, &fd);
                if (r < 0)
                        return r;
                lock_take(&b->lock);
                b->fd = take_fd(&fd);
                lock_drop(&b->lock);
        }
        /* after a restart too: the header must name this boot before records are added */
        return create || map ? rewrite_map(b, &synced, synced.count > 0) : 0;
}

int blob_prepare(struct blob *b)
{
        bool ready;
        int r;

        lock_take(&b->lock);
        ready = blob_state_whole(b->state) || (b->fd >= 0 && b->map.fd >= 0);
        lock_drop(&b->lock);
        if (ready)
                return 0;
        lock_take(&b->io);
        r = prepare_io(b);
        lock_drop(&b->io);
        return r;
}

/* ---- writing ---- */

/* The first part of [at, end) that is not held, and where to write it; false: all is held. */
static bool find_hole(struct blob *b, uint64_t at, uint64_t end, struct range *ret, int *ret_fd)
{
        bool found;

        lock_take(&b->lock);
        found = !blob_state_whole(b->state) && rangeset_next_hole(&b->extents, at, end, ret);
        *ret_fd = b->fd;
        lock_drop(&b->lock);
        return found;
}

/* If another writer has brought a part of it meanwhile, held bytes were written once more (H1). */
static void mind_written_twice_locked(struct blob *b, const struct range *written) REQUIRES(b->lock)
{
        struct range hole;

        if (written->start < b->hashed &&
            !(rangeset_next_hole(&b->extents, written->start, written->end, &hole) &&
              hole.start == written->start && hole.end == written->end))
                blob_end_era_locked(b);
}

/* B1, F2 */
static int add_extent(struct blob *b, const struct range *written, int fd)
{
        int r = 0;

        lock_take(&b->lock);
        if (fd == b->fd && b->map.fd >= 0 && !blob_state_whole(b->state)) {
                mind_written_twice_locked(b, written);
                r = extent_append(&b->map, written->start, written->end);
                if (r == 0)
                        r = rangeset_add(&b->extents, written->start, written->end);
                if (r == 0) {
                        if (b->new_bytes == 0)
                                b->new_since = clock_ms();
                        b->new_bytes += written->end - written->start;
                }
        }
        lock_drop(&b->lock);
        return r;
}

/* A part of it may be in the file. */
static void note_failed_write(struct blob *b, const struct range *tried)
{
        lock_take(&b->lock);
        mind_written_twice_locked(b, tried);
        lock_drop(&b->lock);
}

int blob_put(int fd, const char *buf, uint64_t len, uint64_t offset)
{
        int r = FAULT("blob.write") ? -ENOSPC : 0;

        for (uint64_t done = 0, n; done < len && r == 0; done += n) {
                n = min_u64(len - done, PUT_PIECE - (offset + done) % PUT_PIECE);
                r = pwrite_all(fd, buf + done, n, offset + done);
        }
        return r;
}

static int write_hole(struct blob *b, int fd, const char *buf, const struct range *hole)
{
        bool doubt;

        lock_take(&b->lock);
        doubt = b->doubt.on;
        lock_drop(&b->lock);
        if (doubt)
                return blob_write_compared(b, fd, buf, hole->end - hole->start, hole->start);
        return blob_put(fd, buf, hole->end - hole->start, hole->start);
}

int blob_write(struct blob *b, const void *buf, size_t len, uint64_t offset)
{
        struct range hole;
        int fd, r;

        if (offset > b->size || len > b->size - offset)
                return -EINVAL;
        for (uint64_t at = offset; find_hole(b, at, offset + len, &hole, &fd);) {
                r = blob_prepare(b);
                if (r < 0)
                        return r;
                if (fd < 0)
                        continue; /* there is a file now */
                r = write_hole(b, fd, (const char *)buf + (hole.start - offset), &hole);
                if (r == 0)
                        r = add_extent(b, &hole, fd);
                else
                        note_failed_write(b, &hole);
                if (r < 0)
                        return r;
        }
        return 0;
}

bool blob_sync_due(struct blob *b)
{
        bool due;

        lock_take(&b->lock);
        due = b->new_bytes >= SYNC_BYTES || (b->new_bytes > 0 && clock_ms() - b->new_since >= SYNC_MS);
        lock_drop(&b->lock);
        return due;
}

/* ---- syncing ---- */

/* After a failed sync the kernel may have dropped what was written: only synced ranges count. */
static void keep_synced_only(struct blob *b)
{
        lock_take(&b->lock);
        /* without memory for the copy nothing is held, which is never wrong */
        if (rangeset_copy(&b->extents, &b->synced) < 0)
                rangeset_done(&b->extents);
        blob_end_era_locked(b);
        blob_doubt_end_locked(b); /* A2 */
        b->new_bytes = 0;
        b->map_stale = true;
        lock_drop(&b->lock);
}

int blob_sync_data(struct blob *b)
{
        int fd = blob_fd(b), r;

        if (fd < 0)
                return 0;
        do
                r = FAULT("blob.fsync") ? -EIO : fdatasync(fd) < 0 ? -errno : 0;
        while (r == -EINTR);
        if (r < 0)
                keep_synced_only(b);
        return r;
}

/* The caller holds io. */
static int sync_io(struct blob *b)
{
        CLEANUP(rangeset_done) struct rangeset snapshot = {};
        uint64_t new_bytes;
        bool nothing;
        int r;

        lock_take(&b->lock);
        new_bytes = b->new_bytes;
        nothing = blob_state_whole(b->state) || b->fd < 0 || (new_bytes == 0 && !b->map_stale);
        r = nothing ? 0 : rangeset_copy(&snapshot, &b->extents);
        lock_drop(&b->lock);
        if (nothing || r < 0)
                return r;
        r = blob_sync_data(b);
        if (r == 0)
                r = rewrite_map(b, &snapshot, true);
        if (r < 0)
                return r;
        lock_take(&b->lock);
        b->new_bytes -= min_u64(new_bytes, b->new_bytes);
        b->new_since = clock_ms();
        lock_drop(&b->lock);
        return 0;
}

int blob_sync(struct blob *b)
{
        int r;

        lock_take(&b->io);
        r = sync_io(b);
        lock_drop(&b->io);
        return r;
}

/* ---- giving up ---- */

/* The caller holds io. A whole blob has nothing to drop. @keep_file: also where all is dropped. */
static int drop_io(struct blob *b, uint64_t start, uint64_t end, bool keep_file)
{
        CLEANUP(rangeset_done) struct rangeset synced = {};
        bool filling, private;
        int r;

        lock_take(&b->lock);
        filling = !blob_state_whole(b->state) && b->fd >= 0;
        private = filling && file_is_private(b, b->fd);
        r = filling ? rangeset_remove(&b->extents, start, end) : 0;
        if (r == 0 && filling)
                r = rangeset_remove(&b->synced, start, end);
        if (r == 0 && filling)
                r = rangeset_copy(&synced, &b->synced);
        if (filling)
                blob_end_era_locked(b);
        b->map_stale = filling;
        lock_drop(&b->lock);
        if (r < 0 || !filling)
                return r;
        if (private && (keep_file || start > 0 || end < b->size)) {
                r = rewrite_map(b, &synced, true);
                if (r == 0 || (start > 0 || end < b->size))
                        return r;
                /* a full disk: without the file, then (A1 of blob_again.c) */
        }
        r = blob_forget_extents(b); /* all of it, or a file that F1 forbids to write to */
        if (r == 0)
                blob_remove_partial(b);
        return r;
}

int blob_drop(struct blob *b, uint64_t start, uint64_t end)
{
        int r, renewed = 0;

        lock_take(&b->finish);
        lock_take(&b->io);
        r = drop_io(b, start, end, false);
        lock_drop(&b->io);
        if (start == 0 && end >= b->size)
                renewed = blob_renew_filling(b);
        lock_drop(&b->finish);
        return r < 0 ? r : renewed;
}

/* A file that was cut or extended is not gone on with. */
static bool has_its_size(struct blob *b)
{
        struct stat st;

        return fstat(blob_fd(b), &st) == 0 && (uint64_t)st.st_size == b->size;
}

int blob_doubt(struct blob *b)
{
        int r, renewed;

        lock_take(&b->finish);
        lock_take(&b->io);
        r = drop_io(b, 0, UINT64_MAX, has_its_size(b));
        if (r == 0) {
                lock_take(&b->lock);
                blob_doubt_begin_locked(b);
                lock_drop(&b->lock);
        }
        lock_drop(&b->io);
        renewed = blob_renew_filling(b); /* also of what could not be given up: it is wrong */
        lock_drop(&b->finish);
        return r < 0 ? r : renewed;
}
