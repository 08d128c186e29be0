/*
 * Fetch: everything that comes from the hub, behind one gate. What fs/ and cli/ use.
 *
 * Questions   fetch_repo(), fetch_revision(): make the catalogue know something; the answer is then
 *             read there. fetch_open(), fetch_read(), fetch_whole(): make the store hold something.
 * Answers     Each returns at once: 0, a positive FETCH_E_*, or a negative errno when it is known
 *             now (@done is then never called and *@ret_wait is not set); or FETCH_PENDING, and
 *             @done is called exactly once, later or before the call returns, from a thread of
 *             fetch/. One flight per question: equal questions share it.
 * Offline     The gate is asked here and nowhere else. Offline, what is not held is FETCH_E_OFFLINE.
 * Threads     Any thread may call, also from inside @done. @done must not wait for anything.
 * Ownership   The catalogue, store and blobs outlive the fetch. A blob passed in is referenced for
 *             as long as needed.
 */
#pragma once

#include "index/index.h"

struct fetch;
struct fetch_wait; /* one pending question of one asker */

enum {
        FETCH_PENDING = 1,
        FETCH_E_ABSENT,      /* the hub says: no such repo, revision or entry */
        FETCH_E_POLICY,      /* allow/deny forbids it */
        FETCH_E_FORBIDDEN,   /* gated, disabled, or the token is refused */
        FETCH_E_UNREACHABLE, /* the hub cannot be reached, or fails, and nothing held answers */
        FETCH_E_OFFLINE,     /* offline, and not held */
        FETCH_E_CORRUPT,     /* the blob's hash was wrong twice */
        FETCH_E_LIMIT,       /* the repo would bring more than max_fetch in this hour */
};

enum fetch_complete {   /* --complete: which blobs are filled to the end in the background */
        COMPLETE_READ,  /* those being loaded rather than peeked at (default) */
        COMPLETE_TOUCHED, /* those opened and read at all */
        COMPLETE_NEVER,
};

/* What is kept free in the file system of the store: the lesser of a part of it and so many bytes. Where either is
 * 0, nothing is. */
struct fetch_keep {
        unsigned percent;
        uint64_t bytes;
};

/* Told about what changed, so that names can be invalidated. From threads of fetch/; must not wait
 * for anything nor call into the kernel's file system. Every member may be NULL. */
struct fetch_events {
        void (*blob_whole)(void *arg, int64_t blob);       /* a new incarnation: complete */
        void (*blob_filling)(void *arg, int64_t blob);     /* a new incarnation: no longer complete */
        void (*mode_changed)(void *arg, bool offline);
        void *arg;
};

struct fetch_options {
        const char *endpoint;       /* "https://huggingface.co", may have a path prefix; no "/" at the end */
        const char *token;          /* NULL: none given */
        const char *token_file;     /* NULL: none; re-read when its mtime changes and on a 401 */
        const char *ca_file;        /* NULL: the system's */
        const char *const *allow;   /* globs of "Org/Name" or "datasets/Org/Name"; NULL-ended; NULL: all */
        const char *const *deny;    /* wins over allow */
        bool offline;               /* for good: libcurl is never initialised */
        bool insecure_token;        /* send the token over plain http to a host that is not loopback */
        enum fetch_complete complete;
        bool strict;                /* reads of a blob are answered, and adopted ones opened, once it is verified */
        struct fetch_keep keep_free;
        uint64_t max_fetch;         /* bytes that a repo brings in an hour, pulls not counted; 0: no limit */
        unsigned connections;       /* parallel transfers at most; 0: default (16) */
        unsigned lookup_deadline_s; /* 0: 10; for questions of names, and fetch_open() */
        unsigned read_deadline_s;   /* 0: 900; for reads */
        struct fetch_events events;
};

/* Checks the options (URL, globs, token over http) with a sentence in @err, starts the threads.
 * Opens no socket. */
int fetch_new(const struct fetch_options *o, struct index *ix, struct fetch **ret, struct errmsg *err);
/* Ends transfers (waiters get -ECANCELED), syncs what is filling, joins the threads. NULL is fine. */
struct fetch *fetch_free(struct fetch *f);

typedef void (*fetch_done_fn)(void *arg, int result); /* 0, FETCH_E_*, negative errno */

/* Ends a wait early: its @done is called with -ECANCELED, on the calling thread, unless another
 * result was first. The flight goes on for others. Not during or after fetch_free(). */
void fetch_cancel(struct fetch_wait *w);
/* Gives up the reference from *ret_wait (written before @done can be called); needed after every
 * FETCH_PENDING whose @ret_wait was not NULL. NULL is allowed. */
void fetch_wait_unref(struct fetch_wait *w);

/* Who asks, so that one who asks for names without end does not use up what the hub is asked for all. */
struct fetch_asker {
        /* A number, not 0, that stays the same for who asks. Called before the question returns, at most once, and only
         * where neither the catalogue nor what is remembered answers. */
        uint64_t (*tell)(void *arg);
        void *arg;
};

/*
 * Makes a repo known: catalogue, then STORE/hub (adoption), then the hub. 0: catalog_repo_find()
 * finds it, resolved. A name already known and resolved needs no network. @asker NULL: this process.
 */
int fetch_repo(struct fetch *f, enum repo_type type, const char *name, const struct fetch_asker *asker,
               fetch_done_fn done, void *arg, struct fetch_wait **ret_wait);

/*
 * Makes a revision of a known repo known: a ref ("main", "v1", "refs/pr/1") confirmed within the
 * last 60 s, or a commit (40 hex), each with its commit's whole listing in the catalogue and the
 * store. 0: catalog_ref_find() (or catalog_commit_find()) finds it. A ref that the hub did not
 * confirm within 2 s but that is known answers 0, and at once while the hub is known to fail; offline
 * likewise. A ref gone from the hub is removed: FETCH_E_ABSENT.
 */
int fetch_revision(struct fetch *f, int64_t repo, const char *revision, const struct fetch_asker *asker,
                   fetch_done_fn done, void *arg, struct fetch_wait **ret_wait);

/* Forgets which names the hub did not know or refused a moment ago, and that it failed: before a person's own
 * request. */
void fetch_ask_anew(struct fetch *f);

/*
 * Asked at open(2) of a blob: 0 when it is whole, or when the hub serves it (so that a later read
 * can be expected to succeed; the signed URL is resolved on the way). FETCH_E_CORRUPT for a
 * quarantined one, -ENOSPC when its rest cannot fit the store (keep_free left), FETCH_E_LIMIT when it is more
 * than its repo may bring. Strict: an adopted one is hashed now; 0 also
 * when that went wrong: who asks looks at the blob's state again.
 */
int fetch_open(struct fetch *f, struct blob *b, fetch_done_fn done, void *arg, struct fetch_wait **ret_wait);

/*
 * Wants [start, end) of a blob for a reader: 0 when held now, else demand; done as soon as those
 * bytes are held (strict: as soon as all of it is verified, or was found wrong in the store). Feeds
 * readahead, and brings along the small files of the commits that list it.
 * Fails only after read_deadline_s without success.
 */
int fetch_read(struct fetch *f, struct blob *b, uint64_t start, uint64_t end, fetch_done_fn done, void *arg,
               struct fetch_wait **ret_wait);

/* Wants all of a blob, verified: done when it is whole. At pull priority (below readers). */
int fetch_whole(struct fetch *f, struct blob *b, fetch_done_fn done, void *arg,
                struct fetch_wait **ret_wait);

/* Queues the hashing of an adopted blob, at the lowest priority. */
void fetch_verify(struct fetch *f, struct blob *b);
/* For the start: makes whole what was held and not verified yet when the last daemon ended, also offline, where it
 * would stay hidden. Hashes all that was adopted, one blob after the other, behind what fetch_verify() queued; strict:
 * nothing of that, since each is hashed when it is opened. */
void fetch_verify_all(struct fetch *f);

/*
 * A file of the store under the blob's name was found to be wrong, from outside: blob_reject(), told to all who
 * must know. @got: its hash; "": not even the size was right; NULL: it was not the bytes. Not from a thread of
 * fetch/. 0 or negative errno.
 */
int fetch_reject(struct fetch *f, struct blob *b, enum repo_type type, const char *hub_name, const char *got);
/* The same was found, and the file stays where it is: that is told, with who opened it. @got is no NULL. */
void fetch_found_wrong(struct fetch *f, struct blob *b, const char *got);

bool fetch_is_strict(const struct fetch *f);

bool fetch_policy_allows(const struct fetch *f, enum repo_type type, const char *name);

/* ---- the gate ---- */

bool fetch_is_offline(const struct fetch *f); /* cheap; asked at every lookup */

/*
 * Switches at run time. To offline: blobs with waiting readers are completed first; with @now,
 * waiting reads stay parked until online again. @done is called when the last connection is
 * closed. -EPERM: started offline, which is for good. 0: it was so already. Or FETCH_PENDING.
 */
int fetch_set_offline(struct fetch *f, bool offline, bool now, fetch_done_fn done, void *arg);

/* ---- what it is doing ---- */

struct fetch_status {
        bool offline, offline_for_good;
        bool hub_reachable;            /* as far as known; true before the first request */
        int64_t unreachable_since;     /* wall seconds; 0 when reachable */
        char last_error[256];          /* a sentence: what and which host; "" for none */
        uint64_t requests, bytes;      /* since start */
        unsigned transfers, waiting_reads;
        uint64_t not_asked;            /* lookups of unknown names that did not go to the hub: too many */
        uint64_t keep_free;            /* bytes; 0: none */
        bool short_of_space;           /* less than that is free: nothing is fetched */
        uint64_t max_fetch;
        uint64_t paused_ms;            /* > 0: pacing (rate limit) lets the next request go then */
};
void fetch_get_status(struct fetch *f, struct fetch_status *ret);

/* How many bytes may be filled now; UINT64_MAX where that cannot be told. */
uint64_t fetch_room(struct fetch *f);

#define FETCH_REPO_TEXT (REPO_NAME_MAX + 12) /* "models/Org/Name" */

struct fetch_fill_info {
        int64_t blob;
        char etag[ETAG_MAX + 1];
        char repo[FETCH_REPO_TEXT];
        char path[ENTRY_PATH_MAX + 1];
        uint64_t size, held;
        unsigned transfers, readers;
        bool verifying;
};
#define FETCH_LIMITS_MAX 64
struct fetch_limit { /* a repo of which something was refused by max_fetch, in its hour */
        char repo[FETCH_REPO_TEXT];
        uint64_t bytes, refused; /* that came; opens that failed */
        uint64_t left_s;         /* until its hour is over */
};
/* FETCH_LIMITS_MAX of them at most. @ret is a heap array of @ret_count. */
int fetch_get_limits(struct fetch *f, struct fetch_limit **ret, size_t *ret_count);

/* Blobs being filled now. @ret is a heap array of @ret_count. */
int fetch_get_fills(struct fetch *f, struct fetch_fill_info **ret, size_t *ret_count);

/* ---- what turned out to be wrong ---- */

enum fetch_outcome {
        FETCH_VERDICT_AGAIN,       /* what the hub sent was wrong, once: it is fetched once more */
        FETCH_VERDICT_MENDED,      /* right the second time */
        FETCH_VERDICT_QUARANTINED, /* wrong twice */
        FETCH_VERDICT_REJECTED,    /* a file that was in the store: moved to the quarantine */
        FETCH_VERDICT_FOUND,       /* a file in the store, found from outside: it is still there */
};

struct fetch_verdict {
        enum fetch_outcome outcome;
        int64_t at; /* wall seconds */
        int64_t blob;
        char repo[FETCH_REPO_TEXT];
        char path[ENTRY_PATH_MAX + 1];
        char etag[ETAG_MAX + 1];
        char got[ETAG_MAX + 1]; /* the wrong hash; "": not even the size was right */
        uint64_t size;
        struct blob_differs differs;  /* between what came first and what came then */
        struct blob_readers readers;  /* who may have read what was wrong, or opened it */
};
/* The last ones since the start, oldest first, one for each time that a blob was wrong. @ret is a heap
 * array of @ret_count. */
int fetch_get_verdicts(struct fetch *f, struct fetch_verdict **ret, size_t *ret_count);
