/*
 * What the files of the hub client share: the hub itself, and a call from its start to its answer.
 *
 * Life of a call for names
 *      started (caller's thread) -> engine: waits, runs -> verdict (engine's thread) -> either engine
 *      again (retry, redirect), or a worker: new token and engine again; body parsed and engine again
 *      (next page); answer delivered.
 * Life of a range
 *      started -> engine -> delivered on the engine's thread; with a refused token by way of a worker.
 *
 * Threads    A call's fields belong to the stage that has it; hand-overs go through the engine's and
 *            the workers' locks. References, cancel and finished are atomic.
 * Lock order hub->lock is a leaf but for the engine's and the token's; no callback under it.
 */
#pragma once

#include "fetch/engine.h"
#include "fetch/http_header.h"
#include "fetch/http_url.h"
#include "fetch/hub.h"
#include "fetch/hub_json.h"
#include "fetch/pace.h"
#include "fetch/token.h"

#include "base/lock.h"
#include "base/workq.h"

enum hub_bucket { BUCKET_API, BUCKET_RESOLVERS, BUCKET_COUNT };

struct hub {
        struct lock lock;
        char *endpoint, *ca_file; /* heap */
        struct http_origin origin;
        char user_agent[96];
        struct token *token;
        bool token_allowed; /* https, this machine, or insecure_token */
        struct engine *names, *bulk; /* a store that ranges are slowly written to holds up no name */
        struct workq *workers;
        struct list calls;        /* protected by lock */
        bool suspended;           /* protected by lock */
        struct hub_status status; /* protected by lock; what is not counted below */
        bool error_own;           /* protected by lock; last_error is about the endpoint */
        atomic_ullong requests, bytes;
        atomic_uint near;   /* ENGINE_NEAR_*: where the endpoint is */
        atomic_ullong held; /* bytes of memory that answers have which are not delivered yet */
        atomic_ullong paused[BUCKET_COUNT]; /* clock_ms() until when pacing holds requests back */
        struct pace pace[BUCKET_COUNT];     /* protected by lock */
};

struct call_kind {
        const char *word; /* for debug lines */
        bool head;
        bool bulk;   /* a range: runs on the engine of these */
        bool leaves; /* each redirect is an answer, one to another origin too */
        size_t body_max;
        /* Worker: the answer is here (status 200; where the kind leaves, also a redirect, whose target is
         * in url and own by now). Sets up another request and returns CALL_AGAIN, or a result. */
        int (*answered)(struct hub_call *c);
        /* Gives the result to the caller's function. */
        void (*deliver)(struct hub_call *c, int result);
        /* Frees what the kind has in the call. */
        void (*release)(struct hub_call *c);
};

#define CALL_AGAIN INT32_MAX

struct hub_call {
        struct transfer transfer;
        struct work work;
        struct list node; /* in hub->calls; protected by hub->lock */
        struct hub *hub;
        const struct call_kind *kind;
        atomic_uint owners; /* references */
        atomic_bool finished;
        /* the request */
        char *url;   /* heap */
        char *token; /* for token_wipe(); NULL: sent without */
        bool own;    /* on the endpoint's origin */
        bool token_retried;
        bool anew;   /* over new connections, past the caches of proxies */
        enum hub_bucket bucket;
        unsigned idle_ms; /* progress of the body moves the deadline; 0: fixed */
        uint64_t latest; /* ... but not beyond this; 0: no limit */
        unsigned attempts, redirects;
        uint64_t not_before;
        /* the answer */
        struct http_answer answer;
        char *body; /* heap */
        size_t body_len, body_capacity, skipped;
        size_t header_len;
        size_t held;     /* of hub->held; given back by call_finish() */
        size_t furthest; /* longest body_len of any attempt at this page */
        int failed;      /* set by the engine's callbacks: result that ends the call; 0: none */
        int result;
        void (*next)(struct hub_call *c); /* what the worker does */
        union {
                struct {
                        hub_repo_fn done;
                        char asked[REPO_NAME_MAX + 1];
                        struct hub_repo_info info;
                } repo;
                struct {
                        hub_tree_fn done;
                        struct tree tree;
                        uint64_t *seen; /* heap; hashes of the pages' URLs */
                        struct hub_listed listed;
                        size_t pages, empty;
                } tree;
                struct {
                        hub_refs_fn done;
                        struct hub_ref *refs; /* heap */
                        size_t count;
                } refs;
                struct {
                        hub_locate_fn done;
                        struct hub_location location;
                        enum hub_locate_how how;
                        bool sized; /* location.size is known */
                } locate;
                struct {
                        struct hub_sink sink;
                        uint64_t start, end, total, at, retry_after_ms;
                        bool accepted;
                } range;
        };
        void *arg;
};

/* A call with one reference, the running one. @url is taken over, also on failure. */
int call_new(struct hub *h, const struct call_kind *kind, char *url, struct hub_call **ret);

/* Worker, after a 401: looks at the token's source again. True in @ret_changed: another token than
 * before is set up to be sent. 0 or negative errno. */
int call_renew_token(struct hub_call *c, bool *ret_changed);

/*
 * Hands the call to the engine, on which it then belongs to its stages. @ret_call may be NULL. On
 * failure (-ENETDOWN, -ECANCELED, -ENOMEM) the call is gone and its function never called.
 */
int call_start(struct hub_call *c, const struct transfer_ops *ops, struct hub_call **ret_call);
int call_start_name(struct hub_call *c, uint64_t deadline, struct hub_call **ret_call);

/* Gives the final result and the running reference up. */
void call_finish(struct hub_call *c, int result);

/* Has a worker go on with the call. */
void call_to_worker(struct hub_call *c, void (*next)(struct hub_call *c));

/* Worker: sends the call to the engine again, as set up; ends it where that is refused. */
void call_again(struct hub_call *c);

/* Counts @bytes more of memory to the call's answer. HUB_E_UNREACHABLE: all calls together have too much, and
 * another time there may be room. */
int call_hold(struct hub_call *c, size_t bytes);

/* One more line of the answer's header; HUB_E_MALFORMED where there is no end to them, -ENOMEM. */
int call_header(struct hub_call *c, const char *line, size_t len);

/* Forgets the answer before another request. */
void call_reset_answer(struct hub_call *c);

/* Engine's thread, hub_state.c: when the request may go by the pacing; it counts as gone at @now. */
uint64_t call_pace(struct hub_call *c, uint64_t now);
/* The same, after an attempt: keeps the pacing and what hub_get_status() says up to date. */
void call_note(struct hub_call *c, int end, const char *why);
/* How long the answer asked to wait; 0: it did not. */
uint64_t call_asked_ms(const struct http_answer *a);

/* "{endpoint}/{api/}{type}s/{name}{tail}"; heap, NULL: no memory. */
char *hub_url_api(const struct hub *h, enum repo_type type, const char *name, const char *tail);
