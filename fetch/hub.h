/*
 * Hub client: one asynchronous call per thing that the hub's HTTP API answers. Requests run on the
 * transfer engine; JSON is parsed on a worker thread, never on the engine's.
 *
 * Sources     huggingface_hub hf_api.py, file_download.py, utils/_http.py; hub documentation
 *             (API endpoints, rate limits); RFC 9110 (ranges, Retry-After), RFC 8288 (Link).
 * Results     0, a positive HUB_E_*, or a negative errno. An answer is given to @done exactly once,
 *             from a thread of fetch/ (for ranges: the engine's thread).
 * Retries     Calls for names retry 408, 429, 5xx and network failures by themselves, with jitter,
 *             pacing and Retry-After, until @deadline. A range is tried once: the filler decides.
 * Memory      All answers that are not delivered yet share 512 MiB; beyond that a call ends with
 *             HUB_E_UNREACHABLE. A header that does not end within 256 KiB is HUB_E_MALFORMED (HUB_E_RANGE).
 * Token       Sent to the endpoint's own origin only, never to where a redirect leads elsewhere.
 */
#pragma once

#include "index/tree_json.h"

struct hub;
struct hub_call;

enum {
        HUB_E_ABSENT = 1,    /* RepoNotFound (also 401 without a token), RevisionNotFound, EntryNotFound, or
                              * 404 with JSON or X-Error-Message (a bare one is HUB_E_MALFORMED) */
        HUB_E_FORBIDDEN,     /* GatedRepo, disabled, 401/403 with a token */
        HUB_E_UNREACHABLE,   /* no connection, time-out, 5xx, 429 at the deadline */
        HUB_E_MALFORMED,     /* an answer that is not what the API promises */
        HUB_E_EXPIRED,       /* a range: the signed URL is no longer good (401, 403, 404, 410 of a CDN) */
        HUB_E_RANGE,         /* a range: status, Content-Range or length were not as asked; nothing was
                              * delivered, or the whole range where more than that was sent */
        HUB_E_STALLED,       /* a range: nothing, or less than 4 KiB, came for 15 s */
        HUB_E_CUT,           /* a range: the connection ended early; what was delivered is good */
};

struct hub_options {
        const char *endpoint, *token, *token_file, *ca_file;
        bool insecure_token;
        unsigned connections;
};

/* libcurl is initialised here. @connections: ranges at once, 0: 16. With 0, @err may hold a warning
 * (others can read the token file). -EINVAL, -EPERM (a token over plain http), -EACCES, ... with a
 * sentence in @err. */
int hub_new(const struct hub_options *o, struct hub **ret, struct errmsg *err);
struct hub *hub_free(struct hub *h); /* calls still running end with -ECANCELED first */

/* Ends a call: its @done gets -ECANCELED unless another result was first, always from a thread of
 * fetch/, never from within. The handle is the caller's reference; hub_call_unref() gives it up, also
 * after hub_free(). It is set before @done can be called; @ret_call may be NULL for no reference. */
void hub_cancel(struct hub_call *c);
void hub_call_unref(struct hub_call *c);

struct hub_repo_info {
        char name[REPO_NAME_MAX + 1]; /* its present id: differs from the one asked when renamed */
        char sha[COMMIT_HEX + 1];     /* of the revision asked for */
        int64_t last_modified;        /* 0 when not said */
        bool gated, is_private, disabled;
};
typedef void (*hub_repo_fn)(void *arg, int result, const struct hub_repo_info *info);
/* GET /api/{type}s/{name}[/revision/{rev}]; @revision NULL: the default branch. @deadline in
 * clock_ms(). */
int hub_repo_info(struct hub *h, enum repo_type type, const char *name, const char *revision,
                  uint64_t deadline, hub_repo_fn done, void *arg, struct hub_call **ret_call);

/* @tree may be taken over (and is then to be left zeroed); NULL unless @result is 0. */
typedef void (*hub_tree_fn)(void *arg, int result, struct tree *tree);
/* GET …/tree/{sha}?recursive=true, all pages. @idle_ms: the deadline counts anew at each progress.
 * Entries with unsafe names are left out and counted. HUB_E_MALFORMED: a page over 64 MiB, one that was read
 * before, many of nothing in a row, over CATALOG_POS_MAX entries or 256 MiB of memory in all.
 * However much comes, an hour is all it gets. */
int hub_tree(struct hub *h, enum repo_type type, const char *name, const char *sha, unsigned idle_ms,
             hub_tree_fn done, void *arg, struct hub_call **ret_call);

struct hub_ref {
        char name[REVISION_MAX + 1]; /* "main", "v1.0", "refs/pr/1", "refs/convert/parquet" */
        char sha[COMMIT_HEX + 1];
};
typedef void (*hub_refs_fn)(void *arg, int result, const struct hub_ref *refs, size_t count);
int hub_refs(struct hub *h, enum repo_type type, const char *name, uint64_t deadline, hub_refs_fn done,
             void *arg, struct hub_call **ret_call);

#define HUB_SIZE_UNSAID UINT64_MAX

/* Where the bytes of an entry are, or the bytes themselves. */
struct hub_location {
        char *url;           /* heap; signed: never logged */
        bool own_origin;     /* on the endpoint's origin: the token goes along */
        bool anew;           /* asked for with HUB_LOCATE_ANEW: so are its ranges */
        uint64_t expires_ms; /* clock_ms() after which it is resolved anew */
        uint64_t size;       /* HUB_SIZE_UNSAID: with HUB_LOCATE_SHORT only */
        char etag[ETAG_MAX + 1];
        void *bytes; /* heap: all @size bytes (HUB_LOCATE_TAKE); NULL: they are to be had at @url */
};
void hub_location_done(struct hub_location *l);
/* @location may be taken over (and is then to be left zeroed); NULL unless @result is 0. */
typedef void (*hub_locate_fn)(void *arg, int result, struct hub_location *location);
#define HUB_TAKE_MAX (UINT64_C(64) << 10) /* on a slow line too it is there before an open() gives up */
enum hub_locate_how {
        HUB_LOCATE_FULL,  /* HEAD, to where the file is */
        HUB_LOCATE_SHORT, /* HEAD, as far as the first answer that names the file: where that is a redirect
                           * within the hub, what it leads to may turn out to be another redirect */
        HUB_LOCATE_TAKE,  /* GET: a file of up to HUB_TAKE_MAX comes along where the hub itself has it; a
                           * larger one is HUB_E_MALFORMED. The deadline counts anew at each progress */
        HUB_LOCATE_ANEW = 8, /* with one of the others: over new connections and past the caches of proxies, as
                              * what came before was wrong */
};
/* /{type}s/{name}/resolve/{sha}/{path}: redirects within the hub are followed, one that leaves it is
 * the location. */
int hub_locate(struct hub *h, enum repo_type type, const char *name, const char *sha, const char *path,
               enum hub_locate_how how, uint64_t deadline, hub_locate_fn done, void *arg,
               struct hub_call **ret_call);

struct hub_sink {
        /* Bytes at @offset, in order. On the engine's thread: must not wait. Nonzero ends the
         * transfer with that result. */
        int (*data)(void *arg, uint64_t offset, const void *buf, size_t len);
        /* Whether somebody waits for @len bytes at @offset, which are here but not yet handed over: else they
         * may be gathered to larger pieces, for up to 20 ms. The same thread; NULL: nobody. */
        bool (*awaited)(void *arg, uint64_t offset, size_t len);
        /* @retry_after_ms: how long the hub asked to wait, 0: not said. */
        void (*done)(void *arg, int result, uint64_t retry_after_ms);
        void *arg;
        unsigned priority; /* above the connection limit: 0 goes first, equal ones by age */
};
/* GET with Range: bytes=start-(end-1). Status 206 and Content-Range are checked before the first
 * byte is delivered (a 200 is taken only when it is the whole file that was asked for), the length
 * at the end. @total: the size that the blob has. */
int hub_range(struct hub *h, const struct hub_location *l, uint64_t start, uint64_t end, uint64_t total,
              const struct hub_sink *sink, struct hub_call **ret_call);

/* ---- state ---- */

/* Refuses new calls with -ENETDOWN until hub_resume(); running ones end with -ECANCELED; closes all
 * connections. Returns when they are closed, except when called by a sink (on the engine's thread): no
 * lock may be held that a sink takes. */
void hub_suspend(struct hub *h);
void hub_resume(struct hub *h);

struct hub_status {
        uint64_t requests, bytes;
        unsigned transfers;        /* ranges under way */
        bool reachable;            /* the endpoint, by the last attempt; true before the first */
        int64_t unreachable_since; /* wall seconds; 0 when reachable */
        char last_error[256];      /* a sentence: which host and what; "" once that host answered again */
        uint64_t paused_ms; /* from now until pacing lets the next request go; 0: it is not paused */
};
void hub_get_status(struct hub *h, struct hub_status *ret);

/* True while the hub takes few questions about names any more in this window of its rate limit. */
bool hub_is_scarce(struct hub *h);
