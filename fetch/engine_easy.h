/*
 * The engine's easy handles: a pool of them, their options, and what libcurl's codes mean.
 *
 * Staging    libcurl hands bodies over in pieces of 16 KiB at most, and many connections bring little each
 *            at a time. What bulk transfers bring is gathered per transfer, so that their owners see (and
 *            store) large pieces, aligned in the file. Staged bytes are handed over when they are 512 KiB,
 *            when their owner says that somebody waits for them, after 20 ms, and before the transfer is
 *            given back.
 *
 * Threads    Only the engine's thread, except easy_pool_init() and easy_pool_done().
 */
#pragma once

#include "fetch/engine.h"

#define STAGE_SIZE (512u << 10) /* also what one recv(2) brings at most, see BULK_BUFFER */
#define STAGE_MS 20
#define STAGE_FREE_MAX 4 /* buffers kept for later */

struct easy_pool {
        CURLSH *share; /* TLS sessions, so that parallel connections resume instead of starting over */
        CURL **idle;   /* heap */
        size_t count, capacity;
        bool bulk;
        char *stages[STAGE_FREE_MAX]; /* heap, free buffers */
        size_t stage_count;
        const char *ca_file, *user_agent;
        atomic_uint *near;
        bool proxied; /* a proxy may be set: its address is not the one that was named */
};

int easy_pool_init(struct easy_pool *p, const struct engine_options *o);
void easy_pool_done(struct easy_pool *p);

/* A handle set up for @t, or NULL: no memory. */
CURL *easy_pool_get(struct easy_pool *p, struct transfer *t);
void easy_pool_put(struct easy_pool *p, CURL *easy);

/* Hands what is staged of @t to its owner, whose verdict then stands in t->verdict, where it is time;
 * returns when to look again. */
uint64_t easy_stage_look(struct transfer *t, uint64_t now);
/* The same at the end of a transfer, in any case; it gives its buffer up. */
void easy_stage_end(struct easy_pool *p, struct transfer *t);

/* A multi handle that keeps @connections connections at most. */
CURLM *easy_multi_new(unsigned connections);

/* The one place where CURLcode is translated: 0, ENGINE_E_*, -ENOMEM. */
int easy_result(const struct transfer *t, CURLcode code);

/* What happened, for a person. */
const char *easy_why(const struct transfer *t, int result);
