/*
 * Inside of a blob at run time, shared by blob.c (table, reading), blob_place.c (where it is listed),
 * blob_fill.c (writing, extents), blob_again.c (bytes in doubt), blob_hash.c (the running hash),
 * blob_finish.c (becoming whole), blob_renew.c (states in the catalogue, new incarnations), blob_reject.c (what
 * was found out of it from outside), blob_readers.c (who read before that), blob_openers.c (who opened it
 * later) and blob_begun.c (what partial/ holds).
 *
 * Lock order: the table's lock; a blob's finish, hashing, lock; finish, io, noting, lock. The table's and a
 * blob's lock are never held over more than a small write to the extent map's page cache, or its rename. Under
 * right_lock nothing else is done.
 */
#pragma once

#include "index/blob.h"
#include "index/extent.h"
#include "index/hash.h"
#include "index/store_dir.h"

#include "base/list.h"
#include "base/lock.h"
#include "base/table.h"


/* A file that was hashed and is what blob @blob says: not the one that is open, one of a repo's own. */
struct right_file {
        int64_t blob; /* 0: none */
        dev_t dev;
        ino_t ino;
        struct timespec changed; /* ctime: another one, and it is hashed anew */
};
#define RIGHT_FILES_MAX 1024

struct blobs {
        struct catalog *catalog;
        struct store *store;
        char boot[BOOT_ID_MAX + 1];
        struct lock lock;
        pthread_cond_t settled; /* some blob is no longer busy */
        struct blob *by_id;     /* uthash; protected by lock */
        struct list idle;       /* without references, oldest first; protected by lock */
        size_t idle_count;      /* protected by lock */
        struct openers *openers; /* has a lock of its own */
        struct lock right_lock;
        struct right_file right[RIGHT_FILES_MAX]; /* by inode; protected by right_lock */
};

struct blob {
        UT_hash_handle hh;
        struct list idle;
        struct blobs *table;
        int64_t id;
        uint64_t size;
        char etag[ETAG_MAX + 1];
        unsigned refs; /* protected by table->lock */
        bool busy;     /* being opened or closed by one thread; protected by table->lock */
        int open_result; /* what opening gave; protected by table->lock */

        struct lock finish; /* one thread makes it whole, quarantines it, or changes its file */
        struct lock hashing; /* one thread goes on with the running hash */
        struct hash *hash;   /* of [0, hashed), in hash_era; NULL: not begun; protected by hashing */
        uint64_t hash_era;   /* protected by hashing */
        atomic_bool hash_wanted; /* who makes it whole waits for hashing */
        struct lock io;     /* one thread creates, syncs or rewrites the partial file and its map */
        bool removed;       /* F3: a map was removed, perhaps not durably; protected by io */
        struct lock noting; /* one thread changes the row, and the state with it */
        struct lock lock;   /* for what follows */
        enum blob_state state;
        uint32_t incarnation;
        bool owes;              /* N1: the incarnation is of bytes that were wrong */
        bool finishing;         /* a thread is in blob_finish(), perhaps for minutes */
        int fd;                 /* of what is read; -1: nothing yet */
        struct timespec looked; /* ctime of a whole file when it was seen under one of its names */
        int *retired;           /* earlier descriptors, kept open: readers may have them */
        size_t retired_count;
        struct rangeset extents; /* held; empty once whole */
        struct rangeset synced;  /* the part of it that the map on disk promises */
        uint64_t new_bytes;      /* written since the last sync */
        uint64_t new_since;      /* clock_ms() of the first of them */
        bool map_stale;          /* the map says more than is held: it must be rewritten */
        uint64_t era;            /* H1: counts what ends the running hash */
        uint64_t hashed;         /* bytes that the running hash has, or is just given */
        struct {
                bool on;         /* what is written is compared first (blob_again.c) */
                struct blob_differs found; /* also when it is over */
        } doubt;
        char wrong[ETAG_MAX + 1]; /* blob_wrong_hash() */
        struct reader_notes *readers; /* heap; NULL: nobody read before the hash was known */
        struct extent_map map;   /* fd >= 0: takes records; replaced under io and lock */
};

/* ---- places (blob_place.c) ---- */

/* Walks the places that list a blob, saying which repos come for the first time. */
struct place_walk {
        int64_t commit_id;
        uint32_t pos;
        int64_t *seen; /* repos */
        size_t seen_count;
        struct repo repo;
        struct commit commit;
        struct entry entry;
        bool new_repo;
};
void place_walk_done(struct place_walk *w);
/* 0, CATALOG_E_NONE at the end, or negative errno. */
int place_walk_next(struct blob *b, struct place_walk *w);

/* True for errors that speak of one place (a link, a file in the way), not of the store. */
bool place_is_odd(int r);

/* Opens the blob's file in the first repo that has one of the right size. -ENOENT: none. -EACCES, -EPERM:
 * what is there may not be read. */
int blob_find_whole(struct blob *b, int *ret_fd);
/* Whether the file has the content of the blob: it is hashed, unless that was done before (L2). 0; -ECANCELED;
 * others. */
int blob_is_right_file(struct blob *b, int fd, const atomic_bool *cancel, bool *ret);
/* @fd was hashed and is right; what fstat(2) said of it before. */
void blob_note_right_file(struct blob *b, const struct stat *st);
/* Whether the file that is open, and all that repos have of their own, were hashed and are right (L2). */
int blob_places_known(struct blob *b, bool *ret);
/* The first repo that has the file which is open as @fd (L1). -ENOENT: none. */
int blob_find_named(struct blob *b, int fd, struct repo *ret);

/* ---- state (blob.c) ---- */

/* Puts the descriptor aside, to be closed with the blob; the era ends. -ENOMEM. */
int blob_retire_fd_locked(struct blob *b) REQUIRES(b->lock);
/* Makes @fd what is read from now on, and takes it over. -ENOMEM. */
int blob_switch_fd(struct blob *b, int *fd);
/* Looks anew at what the store has of it (T3); the caller holds b->finish and b->io. */
int blob_settle(struct blob *b);

/* ---- states in the catalogue (blob_renew.c) ---- */

/* Catalogue and memory; the caller holds b->finish. What is owed is paid first, or nothing is changed. */
int blob_set_state(struct blob *b, enum blob_state state);
/* What was given out is wrong, or of a file that is gone: from now on the blob is of @state (FILLING, QUARANTINED)
 * in a new incarnation, which it owes where the catalogue cannot be written (N1). A whole one holds nothing any
 * longer. The caller holds b->finish. 0 or -ENOMEM. */
int blob_renew(struct blob *b, enum blob_state state);
/* The same of what is being filled; a whole one stays as it is. */
int blob_renew_filling(struct blob *b);
/* Of a blob that is being opened, whose row is @row: pays what an earlier run owed. 0 and the row as it is then;
 * CATALOG_E_NONE; negative errno. */
int blob_renew_marked(struct blob *b, struct blob_row *row);

/* ---- the running hash (blob_hash.c) ---- */

/* H1: bytes that were held are given up, or may have changed; the running hash begins anew. */
void blob_end_era_locked(struct blob *b) REQUIRES(b->lock);
/* Hashes what is left and says whether the content is what the etag says. The caller holds finish.
 * -ENODATA: not all is held; -ECANCELED. @ret_era: of which era that is said (H3). */
int blob_hash_rest(struct blob *b, const atomic_bool *cancel, bool *ret_match, uint64_t *ret_era);
/* Forgets the running hash. */
void blob_hash_drop(struct blob *b);
/* What blob_wrong_hash() is to say. */
void blob_note_wrong(struct blob *b, const char *hex);

/* ---- bytes in doubt (blob_again.c) ---- */

void blob_doubt_begin_locked(struct blob *b) REQUIRES(b->lock);
void blob_doubt_end_locked(struct blob *b) REQUIRES(b->lock);
/* pwrite(2) of what differs from the file. */
int blob_write_compared(struct blob *b, int fd, const char *buf, uint64_t len, uint64_t offset);

/* ---- readers before the verdict (blob_readers.c) ---- */

void blob_forget_readers_locked(struct blob *b) REQUIRES(b->lock);
/* The process of a thread, as it calls itself: it reads /proc. One that is gone already keeps its number alone. */
struct blob_reader blob_reader_of(pid_t tid, uid_t uid);

/* ---- who opened what is complete (blob_openers.c) ---- */

struct openers *openers_new(void);
struct openers *openers_free(struct openers *o);

/* ---- becoming whole (blob_finish.c) ---- */

bool blob_same_file(int a, int b);
/* The file of an adopted blob that is open is right: its links, and complete, once what other repos have of their
 * own was hashed too. -ENODATA: that file has no name any longer; the blob is what the store has now. The caller
 * holds finish. */
int blob_complete_adopted(struct blob *b, const atomic_bool *cancel);
/* Sets aside the file that is open, under every name it has; another file of the name stays. */
int blob_quarantine_whole(struct blob *b);

/* ---- seen from outside (blob_reject.c) ---- */

/* Goes on with what the store has of a whole blob, in a new incarnation, where no repo has the file any longer
 * that is open. */
int blob_find_again(struct blob *b);
/* The same where the caller holds finish and io. */
int blob_find_other(struct blob *b);
/* A complete blob, by @row, whose file was written to after it was verified is adopted from now on: it is hashed
 * anew. The caller holds finish, or has the blob alone. */
void blob_doubt_written(struct blob *b, const struct blob_row *row);

/* ---- filling (blob_fill.c) ---- */

/* Writes into a partial file: 0, -ENOSPC or another of write(2)'s. */
int blob_put(int fd, const char *buf, uint64_t len, uint64_t offset);
/* Loads what partial/INSTANCE holds of the blob; nothing there is fine. */
int blob_load_partial(struct blob *b);
/* Makes sure that there is a partial file and a map. 0 also when the blob is whole. */
int blob_prepare(struct blob *b);
/* Removes the partial file and its map. */
void blob_remove_partial(struct blob *b);
/* Holds nothing of the partial file any longer; it stays open for who reads it. */
int blob_forget_extents(struct blob *b);
/* The same in memory alone, where the descriptor stays. */
void blob_forget_extents_locked(struct blob *b) REQUIRES(b->lock);
/* fdatasync of the partial file; when that fails, what was not synced before is given up. */
int blob_sync_data(struct blob *b);
