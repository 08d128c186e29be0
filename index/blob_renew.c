/*
 * States in the catalogue, and renewal: what was given out of a blob turns out to be wrong, or its file is gone.
 * From then on it is of another incarnation, under which the kernel knows none of its pages.
 *
 * Invariants
 *   N1  What was wrong is not opened again under its incarnation, nor does a later state follow from it (the
 *       complete incarnation after a filling one counts as the same bytes): while the catalogue cannot be
 *       written the blob owes its renewal. It is tried again at each open and before each change of the state.
 *   N2  In memory it is at once what it is then to be: nothing that was wrong counts as held.
 *   N3  A blob that owes is never closed, and partial/ has <etag>.<size>.renew, so that a restart owes it
 *       too: NFS clients keep pages over one. (Of one etag there may be two sizes, one of a file that was cut.)
 */
#include "index/blob_internal.h"

#define LOG_COMPONENT "blob"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- the mark for a restart (N3) ---- */

#define MARK_MAX (ETAG_MAX + sizeof(".18446744073709551615.renew"))

static int partial_dir(const struct blob *b)
{
        return store_partial_fd(b->table->store);
}

static void mark_name(const struct blob *b, char ret[MARK_MAX])
{
        snprintf(ret, MARK_MAX, "%s.%" PRIu64 ".renew", b->etag, b->size);
}

/* As far as it may: the disk that has no room for the catalogue may have none for this. */
static void mark(struct blob *b)
{
        CLEANUP_FD int fd = -1;
        char name[MARK_MAX];

        mark_name(b, name);
        if (partial_dir(b) < 0)
                return;
        fd = openat(partial_dir(b), name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 || dir_sync(partial_dir(b)) < 0)
                log_debug("%.12s: a restart will not know that its bytes were wrong", b->etag);
}

static void unmark(struct blob *b)
{
        char name[MARK_MAX];

        mark_name(b, name);
        if (partial_dir(b) >= 0)
                unlinkat(partial_dir(b), name, 0);
}

static bool is_marked(const struct blob *b)
{
        char name[MARK_MAX];

        mark_name(b, name);
        return partial_dir(b) >= 0 && faccessat(partial_dir(b), name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- renewal ---- */

static int renew_noting(struct blob *b) REQUIRES(b->noting)
{
        struct blob_row row;
        bool owes;
        int r;

        lock_take(&b->lock);
        owes = b->owes;
        row.state = b->state;
        lock_drop(&b->lock);
        if (!owes)
                return 0;
        r = catalog_blob_renew(b->table->catalog, b->id, row.state, &row);
        if (r != 0) {
                log_debug("%.12s: owes its renewal: %s", b->etag, r < 0 ? strerror(-r) : "no row");
                return r < 0 ? r : -ENOENT;
        }
        unmark(b);
        lock_take(&b->lock);
        b->incarnation = row.incarnation;
        b->owes = false;
        lock_drop(&b->lock);
        log_debug("%.12s: state %d, incarnation %" PRIu32 " anew", b->etag, (int)row.state, row.incarnation);
        return 0;
}

int blob_renew(struct blob *b, enum blob_state state)
{
        int r = 0;

        lock_take(&b->noting);
        lock_take(&b->lock);
        if (blob_state_whole(b->state)) {
                r = blob_retire_fd_locked(b);
                if (r == 0)
                        blob_forget_extents_locked(b);
        }
        if (r == 0) {
                b->state = state; /* N2 */
                b->owes = true;
        }
        lock_drop(&b->lock);
        if (r == 0 && renew_noting(b) < 0)
                mark(b);
        lock_drop(&b->noting);
        return r;
}

int blob_renew_filling(struct blob *b)
{
        enum blob_state state = blob_state(b);

        return blob_state_whole(state) ? 0 : blob_renew(b, state);
}

bool blob_owes(struct blob *b)
{
        bool owes;

        lock_take(&b->lock);
        owes = b->owes;
        lock_drop(&b->lock);
        return owes;
}

int blob_may_open(struct blob *b)
{
        int r;

        if (!blob_owes(b))
                return 0;
        lock_take(&b->noting);
        r = renew_noting(b);
        lock_drop(&b->noting);
        return r;
}

int blob_renew_marked(struct blob *b, struct blob_row *row)
{
        int r;

        if (!is_marked(b))
                return 0;
        r = catalog_blob_renew(b->table->catalog, b->id,
                               row->state == BLOB_QUARANTINED ? BLOB_QUARANTINED : BLOB_FILLING, row);
        if (r == 0)
                unmark(b);
        return r;
}

/* ---- states ---- */

static int set_state_noting(struct blob *b, enum blob_state state) REQUIRES(b->noting)
{
        struct blob_row row;
        int r;

        r = renew_noting(b); /* N1 */
        if (r < 0)
                return r;
        r = catalog_blob_set_state(b->table->catalog, b->id, state, &row);
        if (r != 0)
                return r == CATALOG_E_NONE ? -ENOENT : r;
        lock_take(&b->lock);
        b->state = row.state;
        b->incarnation = row.incarnation;
        if (blob_state_whole(b->state))
                blob_forget_extents_locked(b);
        if (b->state == BLOB_COMPLETE)
                blob_forget_readers_locked(b);
        lock_drop(&b->lock);
        log_debug("%.12s: state %d, incarnation %" PRIu32, b->etag, (int)row.state, row.incarnation);
        return 0;
}

int blob_set_state(struct blob *b, enum blob_state state)
{
        int r;

        lock_take(&b->noting);
        r = set_state_noting(b, state);
        lock_drop(&b->noting);
        return r;
}
