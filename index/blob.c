/*
 * Blobs at run time: the table, opening, reading. The places that list a blob are in blob_place.c, writing
 * in blob_fill.c, the running hash in blob_hash.c, becoming whole in blob_finish.c, states in the catalogue in
 * blob_renew.c.
 *
 * States of a struct blob: filling (FILLING, QUARANTINED: fd is the partial file or -1, extents
 * say what is held) and whole (ADOPTED, COMPLETE: fd is a file in STORE/hub, or the partial file
 * that became it: the same inode).
 *
 * Invariants besides B1 to B3
 *   T1  At most one struct blob per row: a second blobs_get() waits while the first opens it, or
 *       while an idle one is being closed.
 *   T2  A descriptor that was handed out stays open until the blob is freed.
 *   T3  Where catalogue and store disagree, the store decides: a whole row without a file becomes
 *       filling; a filling row with a final file becomes adopted (also what a crash between link
 *       and catalogue leaves; it is hashed like any adopted blob). So is a complete one whose file was written to
 *       after it was verified, by its mtime: others have the store in hand, too.
 */
#include "index/blob_internal.h"

#define LOG_COMPONENT "blob"
#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MAX 64 /* blobs kept open without references */

/* ---- state ---- */

int blob_retire_fd_locked(struct blob *b)
{
        int *grown;

        if (b->fd < 0)
                return 0;
        grown = reallocarray(b->retired, b->retired_count + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        b->retired = grown;
        b->retired[b->retired_count++] = take_fd(&b->fd);
        blob_end_era_locked(b);
        return 0;
}

int blob_switch_fd(struct blob *b, int *fd)
{
        int r;

        lock_take(&b->lock);
        r = blob_retire_fd_locked(b);
        if (r == 0)
                b->fd = take_fd(fd);
        lock_drop(&b->lock);
        return r;
}

/* It is whole from now on, in the file @fd. */
static int settle_whole(struct blob *b, const struct blob_row *row, int *fd)
{
        int r = blob_switch_fd(b, fd);

        if (r < 0)
                return r;
        if (!blob_state_whole(row->state) || row->state != b->state)
                r = blob_set_state(b, blob_state_whole(row->state) ? row->state : BLOB_ADOPTED);
        if (r < 0 && !blob_state_whole(b->state))
                (void)blob_forget_extents(b); /* what is filled must not go into that file (F1) */
        if (r == 0 && row->state == BLOB_COMPLETE)
                blob_remove_partial(b); /* left by a crash after the last step */
        if (r == 0)
                blob_doubt_written(b, row);
        return r;
}

/* T3, in the state that @row says. */
static int settle(struct blob *b, const struct blob_row *row)
{
        CLEANUP_FD int fd = -1;
        int r;

        r = row->state == BLOB_QUARANTINED ? -ENOENT : blob_find_whole(b, &fd);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r == 0)
                return settle_whole(b, row, &fd);
        if (blob_state_whole(row->state)) {
                r = blob_set_state(b, BLOB_FILLING);
                if (r == 0)
                        r = blob_forget_extents(b);
                return r < 0 ? r : blob_load_partial(b);
        }
        return row->state == BLOB_QUARANTINED ? 0 : blob_load_partial(b);
}

/* ---- the table ---- */

int blobs_new(struct catalog *c, struct store *s, struct blobs **ret)
{
        struct blobs *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        t->openers = openers_new();
        if (!t->openers) {
                free(t);
                return -ENOMEM;
        }
        t->catalog = c;
        t->store = s;
        boot_id_read(t->boot);
        lock_init(&t->lock);
        lock_init(&t->right_lock);
        pthread_cond_init(&t->settled, NULL);
        list_init(&t->idle);
        *ret = t;
        return 0;
}

static void blob_free(struct blob *b)
{
        extent_done(&b->map);
        cleanup_fd(&b->fd);
        for (size_t i = 0; i < b->retired_count; i++)
                cleanup_fd(&b->retired[i]);
        free(b->retired);
        rangeset_done(&b->extents);
        rangeset_done(&b->synced);
        hash_free(b->hash);
        free(b->readers);
        lock_done(&b->lock);
        lock_done(&b->noting);
        lock_done(&b->io);
        lock_done(&b->hashing);
        lock_done(&b->finish);
        free(b);
}

struct blobs *blobs_free(struct blobs *t)
{
        struct blob *b, *next;

        if (!t)
                return NULL;
        HASH_ITER(hh, t->by_id, b, next) {
                assert(b->refs == 0);
                HASH_DEL(t->by_id, b);
                if (blob_sync(b) < 0) /* what is lost is fetched again */
                        log_debug("%.12s: not synced when closed", b->etag);
                blob_free(b);
        }
        openers_free(t->openers);
        pthread_cond_destroy(&t->settled);
        lock_done(&t->right_lock);
        lock_done(&t->lock);
        free(t);
        return NULL;
}

static struct blob *blob_new(struct blobs *t, int64_t id)
{
        struct blob *b = calloc(1, sizeof(*b));

        if (!b)
                return NULL;
        b->table = t;
        b->id = id;
        b->fd = b->map.fd = -1;
        b->busy = true;
        list_init(&b->idle);
        lock_init(&b->lock);
        lock_init(&b->noting);
        lock_init(&b->io);
        lock_init(&b->hashing);
        lock_init(&b->finish);
        return b;
}

/* Fills in a new blob; others wait for it meanwhile (T1). */
static int open_new(struct blob *b)
{
        struct blob_row row;
        int r;

        r = catalog_blob_get(b->table->catalog, b->id, &row);
        if (r != 0)
                return r == CATALOG_E_NONE ? BLOB_E_NONE : r;
        b->size = row.size;
        strcpy(b->etag, row.etag);
        r = blob_renew_marked(b, &row);
        if (r != 0)
                return r == CATALOG_E_NONE ? BLOB_E_NONE : r;
        b->state = row.state;
        b->incarnation = row.incarnation;
        extent_init(&b->map, b->table->store, b->table->boot, b->etag, b->size);
        return settle(b, &row);
}

int blob_settle(struct blob *b)
{
        struct blob_row row;
        int r = catalog_blob_get(b->table->catalog, b->id, &row);

        return r != 0 ? (r < 0 ? r : -ENOENT) : settle(b, &row);
}

/* Settles a blob anew, now that its row is whole. */
static int settle_again(struct blob *b)
{
        struct blob_row row;
        int r;

        lock_take(&b->finish);
        r = catalog_blob_get(b->table->catalog, b->id, &row);
        if (r == 0 && blob_state_whole(row.state) && !blob_state_whole(b->state)) {
                lock_take(&b->io);
                r = settle(b, &row);
                lock_drop(&b->io);
        }
        lock_drop(&b->finish);
        return r == CATALOG_E_NONE ? BLOB_E_NONE : r;
}

/* The file of a blob that nobody had open has lost a name, or all: it may have been removed, replaced, or moved
 * away by another daemon. */
static int find_again(struct blob *b)
{
        int r = blob_find_again(b);

        if (r < 0) { /* nobody knows yet */
                lock_take(&b->lock);
                b->looked = (struct timespec){};
                lock_drop(&b->lock);
        }
        return r;
}

/* Looks again at a blob that was open already: adoption may have found it whole meanwhile, and the
 * file of one that nobody had open may be another. */
static int look_again(struct blob *b, bool was_idle)
{
        struct stat st = {};
        struct blob_row row;
        bool whole, finishing, moved, owes;
        int r;

        lock_take(&b->lock);
        whole = blob_state_whole(b->state);
        finishing = b->finishing;
        owes = b->owes;
        moved = whole && was_idle &&
                (fstat(b->fd, &st) < 0 || st.st_nlink == 0 || !timespec_equal(st.st_ctim, b->looked));
        if (moved)
                b->looked = st.st_ctim;
        lock_drop(&b->lock);
        if (moved)
                return find_again(b);
        /* opening must not wait for a hash: all bytes are held, and the thread there sets the state. Of what
         * owes its renewal the row says nothing yet. */
        if (finishing || owes || whole)
                return 0;
        r = catalog_blob_get(b->table->catalog, b->id, &row);
        if (r != 0)
                return r == CATALOG_E_NONE ? BLOB_E_NONE : r;
        return blob_state_whole(row.state) ? settle_again(b) : 0;
}

/* Takes a reference; waits until the blob is settled. */
static void hold_locked(struct blobs *t, struct blob *b, bool *ret_was_idle) REQUIRES(t->lock)
{
        *ret_was_idle = b->refs++ == 0;
        if (!list_empty(&b->idle)) {
                list_remove(&b->idle);
                t->idle_count--;
        }
        while (b->busy)
                lock_wait(&t->lock, &t->settled);
}

static int get_known(struct blob *b, bool was_idle, int open_result, struct blob **ret)
{
        int r = open_result != 0 ? open_result : look_again(b, was_idle);

        if (r != 0) {
                blob_unref(b);
                return r;
        }
        *ret = b;
        return 0;
}

int blobs_get(struct blobs *t, int64_t id, struct blob **ret)
{
        struct blob *b;
        bool was_idle;
        int r;

        lock_take(&t->lock);
        HASH_FIND(hh, t->by_id, &id, sizeof(id), b);
        if (b) {
                hold_locked(t, b, &was_idle);
                r = b->open_result;
                lock_drop(&t->lock);
                return get_known(b, was_idle, r, ret);
        }
        b = blob_new(t, id);
        if (!b) {
                lock_drop(&t->lock);
                return -ENOMEM;
        }
        b->refs = 1;
        HASH_ADD(hh, t->by_id, id, sizeof(b->id), b);
        if (!HASH_ADDED(b)) {
                lock_drop(&t->lock);
                blob_free(b);
                return -ENOMEM;
        }
        lock_drop(&t->lock);

        r = open_new(b);
        lock_take(&t->lock);
        b->busy = false;
        b->open_result = r;
        pthread_cond_broadcast(&t->settled);
        lock_drop(&t->lock);
        if (r != 0) {
                blob_unref(b);
                return r;
        }
        *ret = b;
        return 0;
}

struct blob *blob_ref(struct blob *b)
{
        lock_take(&b->table->lock);
        b->refs++;
        lock_drop(&b->table->lock);
        return b;
}

/* Closes the oldest idle blob, unless somebody takes it meanwhile. Gives the lock up for a while. */
static void close_oldest_locked(struct blobs *t) REQUIRES(t->lock)
{
        struct blob *b = LIST_OWNER(list_pop(&t->idle), struct blob, idle);

        t->idle_count--;
        b->busy = true;
        lock_drop(&t->lock);
        if (blob_sync(b) < 0)
                log_debug("%.12s: not synced when closed", b->etag);
        lock_take(&t->lock);
        b->busy = false;
        pthread_cond_broadcast(&t->settled);
        if (b->refs == 0) {
                HASH_DEL(t->by_id, b);
                lock_drop(&t->lock); /* closing a file that was removed may take long */
                blob_free(b);
                lock_take(&t->lock);
        }
}

struct blob *blob_unref(struct blob *b)
{
        struct blobs *t;

        if (!b)
                return NULL;
        t = b->table;
        lock_take(&t->lock);
        assert(b->refs > 0);
        if (--b->refs == 0) {
                if (b->open_result != 0) {
                        HASH_DEL(t->by_id, b);
                        blob_free(b);
                } else if (!blob_owes(b)) { /* N3 */
                        list_push(&t->idle, &b->idle);
                        t->idle_count++;
                }
        }
        while (t->idle_count > IDLE_MAX)
                close_oldest_locked(t);
        lock_drop(&t->lock);
        return NULL;
}

/* ---- reading ---- */

int64_t blob_id(const struct blob *b)
{
        return b->id;
}

uint64_t blob_size(const struct blob *b)
{
        return b->size;
}

const char *blob_etag(const struct blob *b)
{
        return b->etag;
}

enum blob_state blob_state(struct blob *b)
{
        enum blob_state state;

        lock_take(&b->lock);
        state = b->state;
        lock_drop(&b->lock);
        return state;
}

uint32_t blob_incarnation(struct blob *b)
{
        uint32_t incarnation;

        lock_take(&b->lock);
        incarnation = b->incarnation;
        lock_drop(&b->lock);
        return incarnation;
}

bool blob_holds(struct blob *b, uint64_t start, uint64_t end)
{
        bool held;

        lock_take(&b->lock);
        held = blob_state_whole(b->state) || rangeset_covers(&b->extents, start, min_u64(end, b->size));
        lock_drop(&b->lock);
        return held;
}

uint64_t blob_held_bytes(struct blob *b)
{
        uint64_t held;

        lock_take(&b->lock);
        held = blob_state_whole(b->state) ? b->size : b->extents.total;
        lock_drop(&b->lock);
        return held;
}

bool blob_next_hole(struct blob *b, uint64_t from, uint64_t limit, struct range *ret)
{
        bool found;

        lock_take(&b->lock);
        found = !blob_state_whole(b->state) &&
                rangeset_next_hole(&b->extents, from, min_u64(limit, b->size), ret);
        lock_drop(&b->lock);
        return found;
}

uint64_t blob_run_end(struct blob *b, uint64_t offset)
{
        uint64_t end;

        lock_take(&b->lock);
        end = blob_state_whole(b->state) ? max_u64(offset, b->size) : rangeset_run_end(&b->extents, offset);
        lock_drop(&b->lock);
        return end;
}

int blob_fd(struct blob *b)
{
        int fd;

        lock_take(&b->lock);
        fd = b->fd >= 0 ? b->fd : -ENODATA;
        lock_drop(&b->lock);
        return fd;
}

ssize_t blob_read(struct blob *b, void *buf, size_t len, uint64_t offset)
{
        int fd;

        if (offset >= b->size)
                return 0;
        fd = blob_fd(b);
        if (fd < 0)
                return fd;
        return pread_all(fd, buf, (size_t)min_u64(len, b->size - offset), offset);
}
