/*
 * The running hash of a blob that is being filled. What is held in one run from the beginning is
 * hashed while the rest still comes, so that little is left to do after the last byte. It is read
 * back from the partial file, mostly out of the page cache: what is verified is what was stored.
 *
 * States of b->hash: NULL (not begun); running, of the first `hashed` bytes; stale (hash_era is not
 * the era: replaced at the next step). Some 500 bytes each, until the blob is whole or closed. A
 * restart knows nothing of it: it begins anew from the file.
 *
 * Invariants
 *   H1  The running hash is that of bytes [0, hashed) as the file will have them when the blob
 *       becomes whole. Whatever gives up held bytes (a drop, a failed sync, another file) or writes
 *       to held ones (two writers of one hole) ends the era, under the blob's lock and before others
 *       may fill the hole; a hash of another era is never gone on with.
 *   H2  At most one per blob, and one thread at a time goes on with it (the lock hashing).
 *   H3  What it says of the content counts while its era lasts: who makes the blob whole looks
 *       again, after the data are synced.
 */
#include "index/blob_internal.h"

#include "base/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PART (1u << 20) /* claimed at once */

void blob_end_era_locked(struct blob *b)
{
        b->era++;
        b->hashed = 0;
}

uint64_t blob_hash_left(struct blob *b)
{
        uint64_t left;

        lock_take(&b->lock);
        left = blob_state_whole(b->state) ? 0 : rangeset_run_end(&b->extents, b->hashed) - b->hashed;
        lock_drop(&b->lock);
        return left;
}

/* The caller holds hashing, as for all that follows. */
static void forget(struct blob *b)
{
        b->hash = hash_free(b->hash);
        lock_take(&b->lock);
        b->hashed = 0;
        lock_drop(&b->lock);
}

/* Begins a hash for this era unless one runs. */
static int begin(struct blob *b)
{
        uint64_t era;

        lock_take(&b->lock);
        era = b->era;
        lock_drop(&b->lock);
        if (b->hash && b->hash_era == era)
                return 0;
        forget(b);
        b->hash_era = era;
        return hash_new(b->etag, b->size, &b->hash);
}

/* A part of the run that was claimed: a writer who comes to it from now on ends the era. */
struct part {
        uint64_t at, end;
        int fd;
};

/* Claims up to @max bytes. False: there are none, the era has ended, or (@ahead) somebody makes the
 * blob whole and goes on himself. */
static bool claim(struct blob *b, uint64_t max, bool ahead, struct part *ret)
{
        bool there = false;

        lock_take(&b->lock);
        if (b->era == b->hash_era && !(ahead && b->finishing)) {
                ret->fd = b->fd;
                ret->at = b->hashed;
                ret->end = min_u64(rangeset_run_end(&b->extents, b->hashed), b->hashed + max);
                there = ret->end > ret->at;
                b->hashed = ret->end;
        }
        lock_drop(&b->lock);
        return there;
}

/* Gives back what was claimed and not hashed. */
static void unclaim(struct blob *b, const struct part *p)
{
        lock_take(&b->lock);
        if (b->era == b->hash_era)
                b->hashed = p->at;
        lock_drop(&b->lock);
}

static int hash_piece(struct blob *b, char *buf, struct part *p)
{
        uint64_t len = min_u64(HASH_PIECE, p->end - p->at);
        ssize_t n = FAULT("blob.hash") ? -EIO : pread_all(p->fd, buf, (size_t)len, p->at);

        if (n < 0)
                return (int)n;
        if ((uint64_t)n < len)
                return -EIO; /* the file was cut */
        p->at += len;
        return hash_update(b->hash, buf, (size_t)n);
}

/* Hashes a part, unless it is to stop. Without the blob's lock, which others would wait for long if
 * this thread, of low priority, were put off while it has it. */
static int hash_part(struct blob *b, char *buf, struct part *p, const atomic_bool *cancel, bool ahead)
{
        int r = 0;

        while (p->at < p->end && r == 0) {
                if (cancel && *cancel)
                        r = -ECANCELED;
                else if (ahead && b->hash_wanted)
                        break;
                else
                        r = hash_piece(b, buf, p);
        }
        if (r < 0 && r != -ECANCELED)
                forget(b);
        else if (p->at < p->end)
                unclaim(b, p);
        return r;
}

/* Hashes up to @max bytes of what is there. */
static int hash_on(struct blob *b, uint64_t max, const atomic_bool *cancel, bool ahead)
{
        CLEANUP_FREE char *buf = malloc(HASH_PIECE);
        struct part p;
        int r = buf ? begin(b) : -ENOMEM;

        for (uint64_t left = max; left > 0 && r == 0; left -= min_u64(left, PART)) {
                if (cancel && *cancel)
                        return -ECANCELED;
                if (!claim(b, min_u64(left, PART), ahead, &p))
                        return 0;
                r = hash_part(b, buf, &p, cancel, ahead);
        }
        return r;
}

int blob_hash_ahead(struct blob *b, uint64_t max, const atomic_bool *cancel)
{
        int r = 0;

        lock_take(&b->hashing);
        if (blob_hash_left(b) > 0)
                r = hash_on(b, max, cancel, true);
        lock_drop(&b->hashing);
        return r;
}

void blob_note_wrong(struct blob *b, const char *hex)
{
        lock_take(&b->lock);
        snprintf(b->wrong, sizeof(b->wrong), "%s", hex);
        lock_drop(&b->lock);
}

void blob_wrong_hash(struct blob *b, char *ret)
{
        lock_take(&b->lock);
        strcpy(ret, b->wrong);
        lock_drop(&b->lock);
}

/* All is hashed: compares. */
static int compare(struct blob *b, bool *ret_match)
{
        char hex[ETAG_MAX + 1];
        bool all;
        int r;

        lock_take(&b->lock);
        all = b->era == b->hash_era && b->hashed == b->size;
        lock_drop(&b->lock);
        if (!all)
                return -ENODATA;
        r = hash_get(b->hash, hex);
        if (r < 0)
                return r;
        *ret_match = strcmp(hex, b->etag) == 0;
        if (!*ret_match)
                blob_note_wrong(b, hex);
        return 0;
}

int blob_hash_rest(struct blob *b, const atomic_bool *cancel, bool *ret_match, uint64_t *ret_era)
{
        struct stat st;
        int r = 0;

        b->hash_wanted = true;
        lock_take(&b->hashing);
        b->hash_wanted = false;
        if (fstat(blob_fd(b), &st) < 0) {
                r = -errno;
        } else if ((uint64_t)st.st_size != b->size) {
                *ret_match = false; /* somebody cut or extended it */
                blob_note_wrong(b, "");
        } else {
                r = hash_on(b, UINT64_MAX, cancel, false);
                if (r == 0)
                        r = compare(b, ret_match);
        }
        *ret_era = b->hash_era;
        lock_drop(&b->hashing);
        return r;
}

void blob_hash_drop(struct blob *b)
{
        lock_take(&b->hashing);
        forget(b);
        lock_drop(&b->hashing);
}
