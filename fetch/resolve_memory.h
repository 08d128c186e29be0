/*
 * What the resolver remembers for seconds: names that the hub does not know or refuses, the commit
 * that a repo's default branch was at when the repo was looked up, and how fast strangers may be asked for, by
 * all and by each who asks.
 *
 * Bounds      Each table has a limit; the oldest goes first.
 * Threads     None of its own; the resolver's lock protects it. Time is passed in.
 */
#pragma once

#include "base/names.h"

#include <stdint.h>

#define MEMORY_KEY_MAX (REVISION_MAX + 32)
#define MEMORY_REFUSED_MAX 4096
#define MEMORY_REFUSED_MS 10000
#define MEMORY_HINTS_MAX 256
#define MEMORY_HINT_MS 60000
#define MEMORY_BURST 60          /* questions about strangers of a kind at once, ... */
#define MEMORY_PER_SECOND 5      /* ... and then so many a second */
#define MEMORY_SHARE 4           /* a source's own part of both is one in so many */
#define MEMORY_RESERVE 20        /* more at once for those who have not used up their share */
#define MEMORY_SOURCES_MAX 256

/* What nobody has confirmed yet, so that anybody can make up any number of them. */
enum memory_stranger { MEMORY_REPO, MEMORY_REVISION, MEMORY_STRANGERS };

enum memory_may {
        MEMORY_REFUSED,
        MEMORY_BEYOND, /* of what others leave */
        MEMORY_WITHIN, /* of the asker's own share */
};

struct memory_refused;
struct memory_hint;
struct memory_source;

struct memory_bucket {
        double tokens;
        uint64_t filled_ms;
};

struct memory {
        struct memory_refused *refused; /* uthash, oldest first */
        struct memory_hint *hints;      /* uthash, oldest first */
        struct memory_source *sources;  /* uthash, the one that asked longest ago first */
        struct memory_bucket buckets[MEMORY_STRANGERS];
};

void memory_init(struct memory *m, uint64_t now_ms);
void memory_done(struct memory *m);

/* A negative answer. It belongs to the credential it was given to: a fetch has one. */
void memory_refuse(struct memory *m, const char *key, int result, uint64_t now_ms);
/* The answer remembered, or 0. */
int memory_refused(struct memory *m, const char *key, uint64_t now_ms);

/* Every one of them, so that the hub is asked anew. */
void memory_forget(struct memory *m);

void memory_hint_put(struct memory *m, int64_t repo, const char *sha, int64_t last_modified, uint64_t now_ms);
/* Once: a hint is taken out. */
bool memory_hint_take(struct memory *m, int64_t repo, uint64_t now_ms, char *ret_sha,
                      int64_t *ret_last_modified);

/*
 * Whether @asker, a source of questions, may ask about one more such stranger now. One source alone gets all;
 * it uses up its share first, and then what others leave, but not the reserve: who comes then is heard at once.
 */
enum memory_may memory_may_ask(struct memory *m, enum memory_stranger kind, uint64_t asker, uint64_t now_ms);
