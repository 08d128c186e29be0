/*
 * Transfer engine: one thread that owns all connections (libcurl's multi handle) and runs HTTP
 * requests for others.
 *
 * Model      A transfer is embedded in its owner. engine_submit() gives it to the engine; exactly one
 *            ops->done() gives it back. In between only the engine touches it, except for
 *            engine_cancel(). It may be submitted again, also from inside done().
 * Kinds      An engine is for small requests (names) or for bulk (ranges of files). Who has both has two,
 *            so that the former never wait behind the latter.
 * Order      By priority, 0 first, then by age; one that may not go yet (ops->when)
 *            holds nobody up.
 * Results    0; a positive ENGINE_E_*; negative errno (-ECANCELED, -ENOMEM).
 * Threads    All ops are called on the engine's thread, without a lock held. They must not wait.
 */
#pragma once

#include "base/list.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>

struct engine;
struct transfer;

#define ENGINE_NEVER UINT64_MAX

enum {
        ENGINE_E_CONNECT = 1, /* no connection, or it broke before an answer: nothing was heard */
        ENGINE_E_CUT,         /* it broke within the answer */
        ENGINE_E_STALLED,     /* nothing, or less than idle_least, came for idle_ms */
        ENGINE_E_DEADLINE,    /* the deadline passed, or ops->when said ENGINE_NEVER */
        ENGINE_E_REFUSED,     /* ops->header or ops->data ended it */
        ENGINE_E_FAILED,      /* not HTTP, or something of libcurl's own */
};

struct transfer_ops {
        /* When the transfer may go: at or before @now, it goes now (and counts as gone); later: asked
         * again then; ENGINE_NEVER. NULL: at once. */
        uint64_t (*when)(struct transfer *t, uint64_t now);
        /* One header line with its CR LF, status and empty line included. Nonzero ends the transfer. */
        int (*header)(struct transfer *t, const char *line, size_t len);
        /* Bytes of the body; on a bulk engine gathered to pieces of up to 512 KiB. Nonzero ends the
         * transfer. */
        int (*data)(struct transfer *t, const void *buf, size_t len);
        /* Whether somebody waits for what was gathered, @len bytes: else that goes on for up to 20 ms.
         * NULL: nobody does. */
        bool (*awaited)(struct transfer *t, size_t len);
        /* @why: a sentence part for a person where @result says it failed, without URL or secrets. */
        void (*done)(struct transfer *t, int result, const char *why);
};

struct transfer {
        /* set by the owner before each engine_submit() */
        const struct transfer_ops *ops;
        unsigned priority;
        bool head;                  /* HEAD, else GET */
        bool fresh;                 /* on a new connection */
        bool foreign;               /* to a host that an answer named: see engine_options.near */
        const char *url;            /* borrowed until done */
        struct curl_slist *headers; /* borrowed until done */
        uint64_t position;          /* bulk: where in its file the body begins; is counted on */
        uint64_t deadline;          /* clock_ms(); 0: none. May be moved by ops */
        uint64_t idle_ms;           /* 0: no limit */
        size_t idle_least;          /* less than this in idle_ms is nothing: a byte now and then is no progress */
        atomic_bool cancel;         /* set by engine_cancel() */
        /* the engine's own */
        struct list node;
        CURL *easy; /* NULL: queued */
        struct easy_pool *pool;
        char *stage; /* heap; NULL: none yet */
        size_t staged;
        uint64_t staged_ms; /* when the first of them came */
        uint64_t progress, asked;
        size_t came; /* since progress was noted */
        int verdict;
        bool too_near; /* its address was refused */
        char error[CURL_ERROR_SIZE];
};

/* Where addresses are that mean something else on every machine. */
#define ENGINE_NEAR_SELF 1u /* loopback */
#define ENGINE_NEAR_LINK 2u /* link-local: a cloud's metadata service, for one */

struct engine_options {
        unsigned limit;                 /* concurrent transfers */
        bool bulk;                      /* they bring ranges of files: large buffers, gathered pieces */
        const char *ca_file;            /* borrowed for the engine's life; NULL: the system's */
        const char *user_agent;         /* borrowed */
        /* Borrowed; ENGINE_NEAR_*: where transfers that are not foreign went. Foreign ones go nowhere near but
         * there, whatever name and redirect brought them (not known where a proxy resolves names). */
        atomic_uint *near;
};

/* curl_global_init() was called before. 0 or negative errno. */
int engine_new(const struct engine_options *o, struct engine **ret);

/* Ends all transfers with -ECANCELED, then the thread; from then on engine_submit() gives
 * -ECANCELED. Not from the engine's thread. */
void engine_stop(struct engine *e);

/* Frees a stopped engine. NULL is allowed; returns NULL. */
struct engine *engine_free(struct engine *e);

/* 0, or -ECANCELED when the engine is stopping (done is then not called). */
int engine_submit(struct engine *e, struct transfer *t);

/* Has the transfer end with -ECANCELED soon, if the engine has it. The caller keeps @t alive. */
void engine_cancel(struct engine *e, struct transfer *t);

/*
 * Ends everything that was submitted with -ECANCELED and closes all connections. Returns when that
 * is done, except on the engine's own thread, where it happens right after the current callback.
 */
void engine_flush(struct engine *e);

unsigned engine_active(const struct engine *e);
