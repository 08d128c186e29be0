/*
 * The engine's easy handles: a pool of them, their options, and what libcurl's codes mean.
 *
 * Staging    libcurl hands bodies over in pieces of 16 KiB at most, whatever it received at once. Those of
 *            bulk transfers are gathered here, so that their owners see (and store) large pieces. Staged
 *            bytes never outlive a round of the engine, so nobody waits for a piece to become full.
 *
 * Threads    Only the engine's thread, except easy_pool_init() and easy_pool_done().
 */
#pragma once

#include "fetch/engine.h"

#define STAGE_SIZE (512u << 10) /* what one recv(2) brings at most, see BULK_BUFFER */

struct easy_stage {
        struct transfer *owner; /* of the staged bytes; NULL: none are */
        size_t len;
        char *bytes; /* heap, STAGE_SIZE */
};

struct easy_pool {
        struct easy_stage stage;
        CURLSH *share; /* TLS sessions, so that parallel connections resume instead of starting over */
        CURL **idle;   /* heap */
        size_t count, capacity;
        const char *ca_file, *user_agent;
};

int easy_pool_init(struct easy_pool *p, const struct engine_options *o);
void easy_pool_done(struct easy_pool *p);

/* A handle set up for @t, or NULL: no memory. */
CURL *easy_pool_get(struct easy_pool *p, struct transfer *t);
void easy_pool_put(struct easy_pool *p, CURL *easy);

/* Hands staged bytes to their owner, whose verdict then stands in transfer.verdict. */
void easy_stage_flush(struct easy_stage *s);

/* A multi handle that keeps @connections connections at most. */
CURLM *easy_multi_new(unsigned connections);

/* The one place where CURLcode is translated: 0, ENGINE_E_*, -ENOMEM. */
int easy_result(const struct transfer *t, CURLcode code);

/* What happened, for a person. */
const char *easy_why(const struct transfer *t, int result);
