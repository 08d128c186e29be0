/*
 * A blob at run time: where its bytes are, which ranges are held, how it becomes complete.
 *
 * A blob is *filling* (a sparse file partial/INSTANCE/<etag> and an extent map beside it) or
 * *whole* (a file in STORE/hub). Completion keeps the descriptor: readers of either state use
 * blob_read() and never notice.
 *
 * Invariants
 *   B1  A range is added to the extents after its bytes were written. After kill -9 (same boot)
 *       all written extents count; after a reboot (other boot id) only those synced: data by
 *       fdatasync before the map that names them.
 *   B2  A blob is whole only after its hash held (or it was adopted).
 *   B3  The extent map carries etag, size, repo and boot id; one that does not fit is ignored and
 *       its data dropped.
 *
 * Errors     0, positive BLOB_E_* listed at the function, or negative errno.
 * Ownership  References; blobs_get() gives one, blob_unref() takes it.
 * Threads    Any thread. One lock per blob for its extents, never held over the network.
 */
#pragma once

#include "index/catalog.h"
#include "index/store.h"

#include "base/rangeset.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>

struct blobs; /* the table of blobs in use; at most one struct blob per catalogue row */
struct blob;

enum {
        BLOB_E_NONE = 1, /* no such blob in the catalogue */
        BLOB_E_HASH,     /* the bytes are not what the etag says */
};

int blobs_new(struct catalog *c, struct store *s, struct blobs **ret);
struct blobs *blobs_free(struct blobs *t); /* all references are gone; syncs what is filling */

/* The blob of row @id, opened on first use. A whole blob whose file has vanished from the store
 * becomes filling again, one that was filling and has a final file of the right size becomes
 * adopted, and so does a complete one whose file was written to after it was verified (the catalogue
 * follows). Some blobs without references stay open, so that opening them again is cheap. 0,
 * BLOB_E_NONE, or negative errno. */
int blobs_get(struct blobs *t, int64_t id, struct blob **ret);
struct blob *blob_ref(struct blob *b);
struct blob *blob_unref(struct blob *b); /* NULL is allowed; returns NULL */

/* The rows of blobs that are being filled and have a file in partial/, by id; the caller frees them.
 * How much of one is held, perhaps nothing, blob_held_bytes() says. 0 or negative errno. */
int blobs_begun(struct blobs *t, struct blob_row **ret, size_t *ret_count);

/* Lets the catalogue follow where a crash came between a final name and its row (T3): such a blob has its
 * partial file still. Where it came after the row, that file goes: it would keep the space of one that is
 * removed from the cache. For the start, when all others are as their rows say. 0; negative errno: of the first
 * that could not be looked at, which kept no other from it. */
int blobs_settle_begun(struct blobs *t);

int64_t blob_id(const struct blob *b);
uint64_t blob_size(const struct blob *b);
const char *blob_etag(const struct blob *b);
enum blob_state blob_state(struct blob *b);
uint32_t blob_incarnation(struct blob *b);
/* True while the incarnation is one of bytes that turned out to be wrong: the catalogue could not be written. */
bool blob_owes(struct blob *b);
/* To be asked before the blob is opened, and before its incarnation then. 0; negative errno: it owes another one,
 * and the catalogue still cannot be written. What had been given out under this one was wrong: not to be opened. */
int blob_may_open(struct blob *b);

/* ---- reading ---- */

/* True when all of [start, end) is held; of a whole blob, everything is. */
bool blob_holds(struct blob *b, uint64_t start, uint64_t end);
/* Bytes held. */
uint64_t blob_held_bytes(struct blob *b);
/* The first range in [from, limit) that is not held; false when there is none. */
bool blob_next_hole(struct blob *b, uint64_t from, uint64_t limit, struct range *ret);
/* The end of the held run that begins at @offset (@offset itself if not held). */
uint64_t blob_run_end(struct blob *b, uint64_t offset);
/* Reads held bytes; the caller has asked blob_holds(). Count read (short at the end of the blob)
 * or negative errno. */
ssize_t blob_read(struct blob *b, void *buf, size_t len, uint64_t offset);
/* A descriptor for reads, valid while the reference is (also when the blob goes on in another file);
 * -ENODATA while nothing was written yet. */
int blob_fd(struct blob *b);

/* ---- who read before the hash was known ---- */

#define BLOB_READERS_MAX 8
struct blob_reader {
        pid_t pid; /* 0: of another pid namespace */
        uid_t uid;
        int64_t at;    /* when it was last noted, in wall seconds */
        char comm[16]; /* as the process calls itself, without control characters; "": it was gone */
};
struct blob_readers {
        struct blob_reader at[BLOB_READERS_MAX];
        size_t count;
        unsigned more; /* further ones; one that comes again may be counted again */
};
/* Thread @tid of another process is about to get bytes, or may have got them from the kernel's cache.
 * Nothing is noted for a blob that is verified. Cheap for a thread that was noted. */
void blob_note_reader(struct blob *b, pid_t tid, uid_t uid);
/* Those since the last call; also forgotten when the blob turns out to be right. */
void blob_take_readers(struct blob *b, struct blob_readers *ret);

/* ---- who opened it when it was complete ---- */

/* Thread @tid of another process opens a complete blob, which the kernel may then read alone. Cheap: nothing is
 * looked up. True: blobs_name_openers() is to be called soon, once, from a thread that may wait. */
bool blob_note_opener(struct blob *b, pid_t tid, uid_t uid);
/* Looks up, in /proc, what those processes are called. */
void blobs_name_openers(struct blobs *t);
/* The last ones, the latest first. They are kept in bounds: for as many blobs as were opened last. */
void blob_get_openers(struct blob *b, struct blob_readers *ret);
void blob_forget_openers(struct blob *b);

/* ---- filling ---- */

/* Writes bytes that arrived and adds the range (B1). Bytes already held are not written again.
 * Creates the partial file on the first call (-ENOSPC and the like come from here). */
int blob_write(struct blob *b, const void *buf, size_t len, uint64_t offset);
/* Makes what was written durable (B1). Cheap when nothing is new. When the data cannot be synced,
 * ranges written since the last sync are given up (the kernel may have lost them) and become holes
 * again; the error is returned. */
int blob_sync(struct blob *b);
/* True when 64 MiB or 5 s have passed since the last sync with something new in between. */
bool blob_sync_due(struct blob *b);
/* Bytes held in one run from the beginning that the running hash does not have yet. */
uint64_t blob_hash_left(struct blob *b);
/* Hashes on through that run, at most @max bytes of it, so that little is left for blob_finish(),
 * which it gives way to. Reads what was written back from the file. Harmless at any time: what is
 * given up meanwhile is hashed anew. 0; -ECANCELED; negative errno: it begins anew at the next call. */
int blob_hash_ahead(struct blob *b, uint64_t max, const atomic_bool *cancel);

/* Gives up ranges. All of the blob ([0, UINT64_MAX)): a new incarnation, or blob_owes(). */
int blob_drop(struct blob *b, uint64_t start, uint64_t end);
/* After a wrong hash: nothing is held any longer, a new incarnation (or blob_owes()); but what blob_write() is
 * given from now on replaces only what differs from it in the file. */
int blob_doubt(struct blob *b);

#define BLOB_DIFFERS_MAX 8
struct blob_differs {
        uint64_t bytes; /* that differed, each counted */
        struct range ranges[BLOB_DIFFERS_MAX]; /* from the first to the last of them in some 32 KiB, in the
                                                * order in which they came */
        size_t count;
        bool more; /* than there is room for */
};
/* What differed since blob_doubt(). */
void blob_get_differs(struct blob *b, struct blob_differs *ret);
/* The hash of the content that was wrong last, into @ret, which holds ETAG_MAX + 1 bytes; "" where that
 * was not even of the right size, or none was wrong. */
void blob_wrong_hash(struct blob *b, char *ret);

/*
 * Verifies a blob all of whose bytes are held and makes it whole: hash, sync, publish in every repo
 * that lists it, links, catalogue (B2, S2). Harmless when it is whole already. Reads all that
 * blob_hash_ahead() did not: for worker threads only; @cancel (may be NULL) is looked at between
 * pieces. No blob_write() may be under way meanwhile.
 * A file that somebody else gave the final name meanwhile is kept if its hash holds, else set aside.
 * Return: 0; BLOB_E_HASH (nothing changed: the caller drops ranges or quarantines);
 * -ECANCELED; -ENODATA: not all is held; -ENOENT: no listing has it; negative errno.
 */
int blob_finish(struct blob *b, const atomic_bool *cancel);

/* Hashes an adopted blob: 0 and it is complete from now on, with all its links; BLOB_E_HASH and it is
 * quarantined, and filling again with nothing held (in a read-only store, where it cannot be moved: it stays
 * BLOB_QUARANTINED); -ENODATA: it is not adopted, or what was hashed was replaced meanwhile, and it is what the
 * store has now, in a new incarnation; -EBUSY: somebody writes to the file, it stays adopted; others as
 * blob_finish(). */
int blob_verify_adopted(struct blob *b, const atomic_bool *cancel);

/* After two wrong hashes: the bytes go to quarantine/, the state is BLOB_QUARANTINED. -EINVAL: the
 * blob is whole. It can be filled and finished again all the same. */
int blob_quarantine(struct blob *b);

/* A file was hashed just now and has the content of the blob; @st is what fstat(2) said of it before. If the blob is
 * adopted, it is complete once all files that repos have of it are known to be right: none is hashed or set aside
 * here. -ENODATA: no repo has the one that is open any longer. */
int blob_confirm(struct blob *b, const struct stat *st);

/*
 * What a repo has under the name of the blob is wrong, whatever it is, or gone: it goes to quarantine/. If the
 * blob was read from it, that file goes under all its names, and the blob is of a new incarnation: adopted
 * where another repo has a file of its own, else filling with nothing held. @got is what blob_wrong_hash() is
 * to say; NULL: as it was. -EROFS in a read-only store.
 */
int blob_reject(struct blob *b, enum repo_type type, const char *hub_name, const char *got);

/* Lets a blob whose state is BLOB_QUARANTINED be filled again, because a person asks for it; others
 * are left alone. */
int blob_readmit(struct blob *b);

/* Makes the links and hard links of a whole blob in places that listed it after it was complete. What others put
 * there is kept where its hash holds, else set aside: for worker threads. -ENODATA: it is not whole; -ENOENT: no
 * repo has its file any longer; -ECANCELED. */
int blob_link_places(struct blob *b, const atomic_bool *cancel);
