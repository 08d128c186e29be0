/*
 * Extent map: the file beside a partial blob that says which of its ranges are held.
 *
 * A header (magic, version, etag, size, repo, boot id) is followed by records of 32 bytes. Records
 * and header carry checksums; a record's is bound to its header's. Numbers are little-endian.
 *
 * Invariants
 *   X1  Synced records come first; only a whole new map, under a temporary name, has them added.
 *       A record that is changed in place is an unsynced one, so a torn write never costs synced
 *       ones.
 *   X2  Reading stops at the first record that does not fit. A header that does not fit: no map.
 *   X3  Records that are not synced count only in the boot that wrote them.
 *
 * Errors     0 or negative errno.
 * Threads    None of its own: the owner serialises calls on one map; extent_begin() may run
 *            beside extent_append(), as it writes another file.
 */
#pragma once

#include "index/store.h"

#include "base/rangeset.h"

#define BOOT_ID_MAX 36
#define EXTENT_TAILS 8 /* runs that grow at a time: about the transfers of one blob */

struct extent_tail {
        struct range range;
        uint64_t offset; /* of the record in the file */
};

struct extent_map {
        const struct store *store;  /* borrowed */
        const char *boot;           /* borrowed; "" where there is none: nothing unsynced counts */
        char etag[ETAG_MAX + 1];
        uint64_t size;
        char repo[REPO_NAME_MAX + 12]; /* "models/Org/Name": for people and tools that rebuild */
        int fd;                     /* -1 until the map was written by us */
        uint64_t end;               /* where the next record goes */
        uint64_t seed;              /* the header's checksum */
        struct extent_tail tails[EXTENT_TAILS]; /* X1: unsynced records that may be extended */
        unsigned next_tail;
};

/* A map that is being written under a temporary name. */
struct extent_draft {
        int fd;
        char tmp[80];
        uint64_t end, seed;
};

/* The id of the running boot: BOOT_ID_MAX + 1 bytes; "" when it cannot be known. */
void boot_id_read(char *ret);

void extent_init(struct extent_map *m, const struct store *s, const char *boot, const char *etag,
                 uint64_t size);
void extent_done(struct extent_map *m);

/* The file's name in partial/INSTANCE; @ret holds ETAG_MAX + 5 bytes. */
void extent_name(const char *etag, char *ret);

/* Reads the map: @ret_held are all ranges that count, @ret_synced those that are durable (both
 * empty before). -ENOENT: no map; -EBADMSG: not one of this blob. Changes no file. */
int extent_load(const struct extent_map *m, struct rangeset *ret_held, struct rangeset *ret_synced);

/* Adds an unsynced record, or lets the one that it continues grow. The map was written before. */
int extent_append(struct extent_map *m, uint64_t start, uint64_t end);

/* A new map in two steps: extent_begin() writes @synced (durably when @durable); extent_commit()
 * adds @unsynced and gives it its name. Either removes the draft when it fails. */
int extent_begin(const struct extent_map *m, const struct rangeset *synced, bool durable,
                 struct extent_draft *ret);
int extent_commit(struct extent_map *m, struct extent_draft *d, const struct rangeset *unsynced);

/* Removes the file; absent is fine. */
int extent_remove(struct extent_map *m);
