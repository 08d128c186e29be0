/*
 * Implementation of extent.h. Appending is one pwrite(2) of 32 bytes that never crosses a page,
 * into the page cache: it survives the daemon, not the machine.
 */
#include "index/extent.h"

#include "index/store_dir.h"

#include "base/fault.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAP_MAGIC "WFSEXTS\n"
#define MAP_VERSION 1
#define MAP_FILE_MAX (64u << 20) /* a map is compacted long before */
#define RECORD_SYNCED 1u
#define BATCH 128 /* records written at a time */

struct header {
        char magic[8];
        uint64_t version, size;
        char etag[72];
        char repo[224];
        char boot[40];
        char reserved[144];
        uint64_t sum;
};

struct record {
        uint64_t start, end, flags, sum;
};

static_assert(sizeof(struct header) == 512, "records are aligned to their size");
static_assert(sizeof(struct record) == 32, "records never cross a page");
static_assert(sizeof(((struct extent_draft *)0)->tmp) == STORE_TMP_MAX, "the draft's name fits");

/* FNV-1a: against torn writes and rot, not against an enemy (the blob's hash is). */
static uint64_t checksum(uint64_t seed, const void *data, size_t len)
{
        const unsigned char *p = data;
        uint64_t sum = seed ^ 0xcbf29ce484222325u;

        for (size_t i = 0; i < len; i++)
                sum = (sum ^ p[i]) * 0x100000001b3u;
        return sum;
}

static uint64_t record_sum(uint64_t seed, const struct record *rec)
{
        return checksum(seed, rec, offsetof(struct record, sum));
}

static void record_make(uint64_t seed, uint64_t start, uint64_t end, uint64_t flags, struct record *ret)
{
        *ret = (struct record){ .start = htole64(start), .end = htole64(end), .flags = htole64(flags) };
        ret->sum = htole64(record_sum(seed, ret));
}

void boot_id_read(char *ret)
{
        CLEANUP_FREE char *text = NULL;
        size_t len;

        ret[0] = '\0';
        if (read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 256, &text, &len) < 0)
                return;
        len = strcspn(text, "\n");
        if (len == BOOT_ID_MAX) {
                memcpy(ret, text, len);
                ret[len] = '\0';
        }
}

void extent_init(struct extent_map *m, const struct store *s, const char *boot, const char *etag,
                 uint64_t size)
{
        *m = (struct extent_map){ .store = s, .boot = boot, .size = size, .fd = -1 };
        strcpy(m->etag, etag);
}

void extent_done(struct extent_map *m)
{
        cleanup_fd(&m->fd);
        m->fd = -1;
}

void extent_name(const char *etag, char *ret)
{
        snprintf(ret, ETAG_MAX + 5, "%s.map", etag);
}

static void header_make(const struct extent_map *m, struct header *ret)
{
        *ret = (struct header){ .version = htole64(MAP_VERSION), .size = htole64(m->size) };
        memcpy(ret->magic, MAP_MAGIC, sizeof(ret->magic));
        strcpy(ret->etag, m->etag);
        strcpy(ret->repo, m->repo);
        strcpy(ret->boot, m->boot);
        ret->sum = htole64(checksum(0, ret, offsetof(struct header, sum)));
}

/* B3. @ret_same_boot: unsynced records count. */
static bool header_fits(const struct extent_map *m, const struct header *h, bool *ret_same_boot)
{
        if (memcmp(h->magic, MAP_MAGIC, sizeof(h->magic)) != 0 || le64toh(h->version) != MAP_VERSION ||
            le64toh(h->sum) != checksum(0, h, offsetof(struct header, sum)))
                return false;
        if (le64toh(h->size) != m->size || strncmp(h->etag, m->etag, sizeof(h->etag)) != 0)
                return false;
        *ret_same_boot = m->boot[0] != '\0' && strncmp(h->boot, m->boot, sizeof(h->boot)) == 0;
        return true;
}

/* Reads the file and checks its header. */
static int load_file(const struct extent_map *m, char **ret, size_t *ret_len, bool *ret_same_boot)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FD int fd = -1;
        char name[ETAG_MAX + 5];
        struct header h;
        struct stat st;
        int r;

        extent_name(m->etag, name);
        r = dir_open_regular(store_partial_fd(m->store), name, &fd, &st);
        if (r < 0)
                return r == -ELOOP || r == -EINVAL ? -EBADMSG : r;
        if (st.st_size < (off_t)sizeof(h) || st.st_size > MAP_FILE_MAX)
                return -EBADMSG;
        text = malloc((size_t)st.st_size);
        if (!text)
                return -ENOMEM;
        if (pread_all(fd, text, (size_t)st.st_size, 0) != st.st_size)
                return -EBADMSG;
        memcpy(&h, text, sizeof(h));
        if (!header_fits(m, &h, ret_same_boot))
                return -EBADMSG;
        *ret_len = (size_t)st.st_size;
        *ret = take_ptr(text);
        return 0;
}

/* False: the list ends here (X2). */
static bool record_read(const struct extent_map *m, uint64_t seed, const char *at, struct range *ret,
                        bool *ret_synced)
{
        struct record rec;
        uint64_t flags;

        memcpy(&rec, at, sizeof(rec));
        flags = le64toh(rec.flags);
        *ret = (struct range){ le64toh(rec.start), le64toh(rec.end) };
        *ret_synced = flags & RECORD_SYNCED;
        return le64toh(rec.sum) == record_sum(seed, &rec) && ret->start < ret->end && ret->end <= m->size &&
               flags <= RECORD_SYNCED;
}

int extent_load(const struct extent_map *m, struct rangeset *ret_held, struct rangeset *ret_synced)
{
        CLEANUP_FREE char *text = NULL;
        bool same_boot, synced;
        struct range range;
        struct header h;
        size_t len;
        int r;

        r = load_file(m, &text, &len, &same_boot);
        if (r < 0)
                return r;
        memcpy(&h, text, sizeof(h));
        for (size_t at = sizeof(h); at + sizeof(struct record) <= len; at += sizeof(struct record)) {
                if (!record_read(m, le64toh(h.sum), text + at, &range, &synced))
                        break;
                if (synced)
                        r = rangeset_add(ret_synced, range.start, range.end);
                if (r == 0 && (same_boot || synced)) /* X3 */
                        r = rangeset_add(ret_held, range.start, range.end);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The unsynced record that [start, end) continues. */
static struct extent_tail *tail_find(struct extent_map *m, uint64_t start)
{
        for (size_t i = 0; i < ARRAY_SIZE(m->tails); i++)
                if (m->tails[i].offset != 0 && m->tails[i].range.end == start)
                        return &m->tails[i];
        return NULL;
}

int extent_append(struct extent_map *m, uint64_t start, uint64_t end)
{
        struct extent_tail *tail = tail_find(m, start);
        struct extent_tail next = { .range = { start, end }, .offset = m->end };
        struct record rec;
        int r;

        if (tail)
                next = (struct extent_tail){ .range = { tail->range.start, end }, .offset = tail->offset };
        record_make(m->seed, next.range.start, end, 0, &rec);
        if (FAULT("extent.append"))
                return -ENOSPC;
        r = pwrite_all(m->fd, &rec, sizeof(rec), next.offset);
        if (r < 0)
                return r;
        if (!tail) {
                tail = &m->tails[m->next_tail++ % EXTENT_TAILS];
                m->end += sizeof(rec);
        }
        *tail = next;
        return 0;
}

static int write_records(int fd, const struct rangeset *set, uint64_t flags, uint64_t seed, uint64_t *end)
{
        struct record batch[BATCH];

        for (size_t done = 0; done < set->count;) {
                size_t n = 0;
                int r;

                for (; n < BATCH && done + n < set->count; n++)
                        record_make(seed, set->ranges[done + n].start, set->ranges[done + n].end, flags,
                                    &batch[n]);
                r = FAULT("extent.write") ? -ENOSPC : pwrite_all(fd, batch, n * sizeof(*batch), *end);
                if (r < 0)
                        return r;
                *end += n * sizeof(*batch);
                done += n;
        }
        return 0;
}

static int draft_drop(const struct extent_map *m, struct extent_draft *d, int r)
{
        unlinkat(store_partial_fd(m->store), d->tmp, 0);
        cleanup_fd(&d->fd);
        d->fd = -1;
        return r;
}

int extent_begin(const struct extent_map *m, const struct rangeset *synced, bool durable,
                 struct extent_draft *ret)
{
        struct extent_draft d = { .fd = -1, .end = sizeof(struct header) };
        struct header h;
        int r;

        store_tmp_name(m->store, d.tmp);
        if (FAULT("extent.create"))
                return -ENOSPC;
        d.fd = openat(store_partial_fd(m->store), d.tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                      0600);
        if (d.fd < 0)
                return -errno;
        header_make(m, &h);
        d.seed = le64toh(h.sum);
        r = pwrite_all(d.fd, &h, sizeof(h), 0);
        if (r == 0)
                r = write_records(d.fd, synced, RECORD_SYNCED, d.seed, &d.end);
        if (r == 0 && durable)
                r = dir_sync(d.fd);
        if (r < 0)
                return draft_drop(m, &d, r);
        *ret = d;
        return 0;
}

int extent_commit(struct extent_map *m, struct extent_draft *d, const struct rangeset *unsynced)
{
        char name[ETAG_MAX + 5];
        int r;

        extent_name(m->etag, name);
        r = write_records(d->fd, unsynced, 0, d->seed, &d->end);
        if (r == 0 && FAULT("extent.rename"))
                r = -EIO;
        if (r == 0 && renameat(store_partial_fd(m->store), d->tmp, store_partial_fd(m->store), name) < 0)
                r = -errno;
        if (r < 0)
                return draft_drop(m, d, r);
        cleanup_fd(&m->fd);
        m->fd = take_fd(&d->fd);
        m->end = d->end;
        m->seed = d->seed;
        memset(m->tails, 0, sizeof(m->tails));
        return 0;
}

int extent_remove(struct extent_map *m)
{
        char name[ETAG_MAX + 5];

        extent_done(m);
        extent_name(m->etag, name);
        if (unlinkat(store_partial_fd(m->store), name, 0) < 0 && errno != ENOENT)
                return -errno;
        return 0;
}
