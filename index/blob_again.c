/*
 * Bytes in doubt: the first hash was wrong, and all of the blob comes once more. The file stays; what comes
 * is compared with what it holds there, and only what differs is written. So it is known afterwards which
 * bytes had been wrong, and no second copy needs space.
 *
 * Invariants
 *   A1  Nothing of a file in doubt counts as held, also after a crash: the map says so before anything is
 *       written to the file again. A restart knows nothing of the doubt: all is written then.
 *   A2  What equals the page cache is left out only while every sync succeeded: after one that failed the
 *       disk may hold something else (the doubt ends with keep_synced_only()).
 */
#include "index/blob_internal.h"

#include <errno.h>
#include <string.h>

#define PIECE (32u << 10) /* compared at once, on the stack; one difference is noted in each */

void blob_doubt_begin_locked(struct blob *b)
{
        b->doubt.on = b->fd >= 0;
        b->doubt.found = (struct blob_differs){};
}

void blob_doubt_end_locked(struct blob *b)
{
        b->doubt.on = false;
}

/* Adds to the last difference where they touch. */
static void note_range(struct blob_differs *d, uint64_t start, uint64_t end)
{
        for (size_t i = 0; i < d->count; i++) {
                struct range *r = &d->ranges[i];

                if (start <= r->end && end >= r->start) {
                        *r = (struct range){ min_u64(r->start, start), max_u64(r->end, end) };
                        return;
                }
        }
        if (d->count < BLOB_DIFFERS_MAX)
                d->ranges[d->count++] = (struct range){ start, end };
        else
                d->more = true;
}

static void note_differing(struct blob *b, const char *old, const char *new, size_t len, uint64_t offset)
{
        size_t first = SIZE_MAX, last = 0, count = 0;

        for (size_t i = 0; i < len; i++)
                if (old[i] != new[i]) {
                        first = first == SIZE_MAX ? i : first;
                        last = i;
                        count++;
                }
        lock_take(&b->lock);
        b->doubt.found.bytes += count;
        note_range(&b->doubt.found, offset + first, offset + last + 1);
        lock_drop(&b->lock);
}

int blob_write_compared(struct blob *b, int fd, const char *buf, uint64_t len, uint64_t offset)
{
        char old[PIECE];
        int r = 0;

        for (uint64_t done = 0, n; done < len && r == 0; done += n) {
                n = min_u64(len - done, sizeof(old));
                /* what cannot be read is written */
                if (pread_all(fd, old, n, offset + done) == (ssize_t)n) {
                        if (memcmp(old, buf + done, n) == 0)
                                continue;
                        note_differing(b, old, buf + done, n, offset + done);
                }
                r = blob_put(fd, buf + done, n, offset + done);
        }
        return r;
}

void blob_get_differs(struct blob *b, struct blob_differs *ret)
{
        lock_take(&b->lock);
        *ret = b->doubt.found;
        lock_drop(&b->lock);
}
