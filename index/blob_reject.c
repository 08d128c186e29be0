/*
 * Files in the store that somebody looked at from outside (recheck.h): one that is right is confirmed, one
 * that is wrong is taken out of sight, also while it is open and read. And those that were written to.
 *
 *   R1  Who has the wrong file open goes on reading it: the descriptor stays (T2). Whoever opens the blob from
 *       then on gets another incarnation.
 */
#include "index/blob_internal.h"

#define LOG_COMPONENT "blob"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int blob_confirm(struct blob *b, const struct stat *st)
{
        bool known = false;
        int r = 0;

        lock_take(&b->finish);
        blob_note_right_file(b, st);
        if (blob_state(b) == BLOB_ADOPTED)
                r = blob_places_known(b, &known);
        if (r == 0 && known)
                r = blob_complete_adopted(b, NULL);
        lock_drop(&b->finish);
        return r;
}

int blob_find_other(struct blob *b)
{
        struct repo repo;
        int r;

        if (!blob_state_whole(blob_state(b)))
                return 0;
        r = blob_find_named(b, b->fd, &repo);
        if (r != -ENOENT)
                return r;
        r = blob_renew(b, BLOB_FILLING);
        /* the row of what owes does not say yet that its file is gone */
        return r < 0 || blob_owes(b) ? r : blob_settle(b);
}

/* By seconds, as the catalogue has them. A time that is still to come is that of another clock. */
static bool is_written_since(int fd, const struct blob_row *row)
{
        struct stat st;

        return row->state == BLOB_COMPLETE && row->verified > 0 && fstat(fd, &st) == 0 &&
               st.st_mtim.tv_sec > row->verified && st.st_mtim.tv_sec <= clock_wall_s();
}

void blob_doubt_written(struct blob *b, const struct blob_row *row)
{
        int r;

        if (!is_written_since(b->fd, row))
                return;
        log_ratelimited(LOG_LEVEL_WARN, "blob %.12s: its file was written to after it was verified: it is hashed anew",
                        b->etag);
        lock_take(&b->lock);
        b->state = BLOB_ADOPTED; /* whatever the catalogue can be told */
        lock_drop(&b->lock);
        r = blob_set_state(b, BLOB_ADOPTED);
        if (r < 0)
                log_debug("%.12s: the catalogue does not know yet: %s", b->etag, strerror(-r));
}

static int find_again(struct blob *b)
{
        struct blob_row row;
        int r = blob_find_other(b);

        if (r < 0 || !blob_state_whole(blob_state(b)))
                return r;
        r = catalog_blob_get(b->table->catalog, b->id, &row);
        if (r == 0)
                blob_doubt_written(b, &row);
        return r < 0 ? r : 0;
}

int blob_find_again(struct blob *b)
{
        int r;

        lock_take(&b->finish);
        lock_take(&b->io);
        r = find_again(b);
        lock_drop(&b->io);
        lock_drop(&b->finish);
        return r;
}

/* The caller holds finish and io. */
static int reject(struct blob *b, enum repo_type type, const char *hub_name)
{
        struct store *s = b->table->store;
        bool whole = blob_state_whole(blob_state(b));
        CLEANUP_FD int there = -1;
        uint64_t size;
        int r;

        if (s->read_only)
                return -EROFS;
        r = store_blob_open(s, type, hub_name, b->etag, &there, &size);
        if (r == 0 && whole && blob_same_file(there, b->fd))
                r = blob_quarantine_whole(b);
        else if (r != -ENOENT)
                r = store_blob_set_aside(s, type, hub_name, b->etag);
        return r < 0 && r != -ENOENT ? r : blob_find_other(b);
}

int blob_reject(struct blob *b, enum repo_type type, const char *hub_name, const char *got)
{
        int r;

        if (got)
                blob_note_wrong(b, got);

        lock_take(&b->finish);
        lock_take(&b->io);
        r = reject(b, type, hub_name);
        lock_drop(&b->io);
        lock_drop(&b->finish);
        return r;
}
