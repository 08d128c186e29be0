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
#include <string.h>
#include <sys/stat.h>

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

struct piece {
        uint64_t start, end;
        int fd;
};

/* The next piece of the run, claimed: a writer who comes to it from now on ends the era. False: there
 * is none, or the era has ended. */
static bool claim(struct blob *b, struct piece *ret)
{
        bool there = false;

        lock_take(&b->lock);
        if (b->era == b->hash_era) {
                ret->fd = b->fd;
                ret->start = b->hashed;
                ret->end = min_u64(rangeset_run_end(&b->extents, b->hashed), b->hashed + HASH_PIECE);
                there = ret->end > ret->start;
                b->hashed = ret->end;
        }
        lock_drop(&b->lock);
        return there;
}

/* Hashes one piece; @ret_len is 0 when there is none. */
static int step(struct blob *b, char *buf, size_t *ret_len)
{
        struct piece p;
        ssize_t n;
        int r = begin(b);

        *ret_len = 0;
        if (r < 0 || !claim(b, &p))
                return r;
        n = FAULT("blob.hash") ? -EIO : pread_all(p.fd, buf, (size_t)(p.end - p.start), p.start);
        if (n < 0)
                r = (int)n;
        else if ((uint64_t)n < p.end - p.start)
                r = -EIO; /* the file was cut */
        else
                r = hash_update(b->hash, buf, (size_t)n);
        if (r < 0)
                forget(b);
        else
                *ret_len = (size_t)n;
        return r;
}

static bool is_finishing(struct blob *b)
{
        bool finishing;

        lock_take(&b->lock);
        finishing = b->finishing;
        lock_drop(&b->lock);
        return finishing;
}

int blob_hash_ahead(struct blob *b, uint64_t max, const atomic_bool *cancel)
{
        CLEANUP_FREE char *buf = malloc(HASH_PIECE);
        size_t n = 1;
        int r = 0;

        if (!buf)
                return -ENOMEM;
        lock_take(&b->hashing);
        for (uint64_t done = 0; r == 0 && n > 0 && done < max && !is_finishing(b); done += n) {
                if (cancel && *cancel)
                        r = -ECANCELED;
                else if (blob_hash_left(b) > 0)
                        r = step(b, buf, &n);
                else
                        n = 0;
        }
        lock_drop(&b->hashing);
        return r;
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
        if (r == 0)
                *ret_match = strcmp(hex, b->etag) == 0;
        return r;
}

static int hash_rest(struct blob *b, const atomic_bool *cancel, bool *ret_match)
{
        CLEANUP_FREE char *buf = malloc(HASH_PIECE);
        size_t n;
        int r;

        if (!buf)
                return -ENOMEM;
        do {
                if (cancel && *cancel)
                        return -ECANCELED;
                r = step(b, buf, &n);
        } while (r == 0 && n > 0);
        return r < 0 ? r : compare(b, ret_match);
}

int blob_hash_rest(struct blob *b, const atomic_bool *cancel, bool *ret_match, uint64_t *ret_era)
{
        struct stat st;
        int r = 0;

        lock_take(&b->hashing);
        if (fstat(blob_fd(b), &st) < 0)
                r = -errno;
        else if ((uint64_t)st.st_size != b->size)
                *ret_match = false; /* somebody cut or extended it */
        else
                r = hash_rest(b, cancel, ret_match);
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
