/*
 * Implementation of resolve_memory.h.
 */
#include "fetch/resolve_memory.h"

#include "base/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct memory_refused {
        UT_hash_handle hh;
        uint64_t until_ms;
        int result;
        char key[MEMORY_KEY_MAX];
};

struct memory_hint {
        UT_hash_handle hh;
        int64_t repo;
        uint64_t until_ms;
        int64_t last_modified;
        char sha[COMMIT_HEX + 1];
};

struct memory_source {
        UT_hash_handle hh;
        uint64_t asker;
        struct memory_bucket buckets[MEMORY_STRANGERS];
};

void memory_init(struct memory *m, uint64_t now_ms)
{
        *m = (struct memory){};
        for (int i = 0; i < MEMORY_STRANGERS; i++) {
                m->buckets[i].tokens = MEMORY_BURST + MEMORY_RESERVE;
                m->buckets[i].filled_ms = now_ms;
        }
}

static void drop_refused(struct memory *m, struct memory_refused *r)
{
        HASH_DEL(m->refused, r);
        free(r);
}

static void drop_hint(struct memory *m, struct memory_hint *h)
{
        HASH_DEL(m->hints, h);
        free(h);
}

static void drop_source(struct memory *m, struct memory_source *s)
{
        HASH_DEL(m->sources, s);
        free(s);
}

void memory_forget(struct memory *m)
{
        while (m->refused)
                drop_refused(m, m->refused);
}

void memory_done(struct memory *m)
{
        memory_forget(m);
        while (m->hints)
                drop_hint(m, m->hints);
        while (m->sources)
                drop_source(m, m->sources);
}

void memory_refuse(struct memory *m, const char *key, int result, uint64_t now_ms)
{
        struct memory_refused *r;

        HASH_FIND_STR(m->refused, key, r);
        if (r)
                drop_refused(m, r);
        /* uthash keeps the order of insertion: the first is the oldest. */
        while (m->refused &&
               (HASH_COUNT(m->refused) >= MEMORY_REFUSED_MAX || m->refused->until_ms <= now_ms))
                drop_refused(m, m->refused);
        r = calloc(1, sizeof(*r));
        if (!r)
                return; /* then it is asked once more */
        snprintf(r->key, sizeof(r->key), "%s", key);
        r->result = result;
        r->until_ms = now_ms + MEMORY_REFUSED_MS;
        HASH_ADD_STR(m->refused, key, r);
        if (!HASH_ADDED(r))
                free(r);
}

int memory_refused(struct memory *m, const char *key, uint64_t now_ms)
{
        struct memory_refused *r;

        HASH_FIND_STR(m->refused, key, r);
        if (!r)
                return 0;
        if (r->until_ms > now_ms)
                return r->result;
        drop_refused(m, r);
        return 0;
}

void memory_hint_put(struct memory *m, int64_t repo, const char *sha, int64_t last_modified, uint64_t now_ms)
{
        struct memory_hint *h;

        HASH_FIND(hh, m->hints, &repo, sizeof(repo), h);
        if (h)
                drop_hint(m, h);
        while (m->hints && HASH_COUNT(m->hints) >= MEMORY_HINTS_MAX)
                drop_hint(m, m->hints);
        h = calloc(1, sizeof(*h));
        if (!h)
                return;
        h->repo = repo;
        h->until_ms = now_ms + MEMORY_HINT_MS;
        h->last_modified = last_modified;
        snprintf(h->sha, sizeof(h->sha), "%s", sha);
        HASH_ADD(hh, m->hints, repo, sizeof(h->repo), h);
        if (!HASH_ADDED(h))
                free(h);
}

bool memory_hint_take(struct memory *m, int64_t repo, uint64_t now_ms, char *ret_sha,
                      int64_t *ret_last_modified)
{
        struct memory_hint *h;
        bool ok;

        HASH_FIND(hh, m->hints, &repo, sizeof(repo), h);
        if (!h)
                return false;
        ok = h->until_ms > now_ms;
        if (ok) {
                strcpy(ret_sha, h->sha);
                *ret_last_modified = h->last_modified;
        }
        drop_hint(m, h);
        return ok;
}

/* ---- strangers ---- */

static void refill(struct memory_bucket *b, uint64_t now_ms, unsigned most, unsigned share)
{
        b->tokens += (double)(now_ms - b->filled_ms) * MEMORY_PER_SECOND / 1000 / share;
        if (b->tokens > most)
                b->tokens = most;
        b->filled_ms = now_ms;
}

/* The source's entry, now the last. NULL: no memory. */
static struct memory_source *touch_source(struct memory *m, uint64_t asker, uint64_t now_ms)
{
        struct memory_source *s;

        HASH_FIND(hh, m->sources, &asker, sizeof(asker), s);
        if (s) {
                HASH_DEL(m->sources, s);
        } else {
                s = calloc(1, sizeof(*s));
                if (!s)
                        return NULL;
                s->asker = asker;
                for (int i = 0; i < MEMORY_STRANGERS; i++)
                        s->buckets[i] = (struct memory_bucket){ (double)MEMORY_BURST / MEMORY_SHARE, now_ms };
        }
        while (m->sources && HASH_COUNT(m->sources) >= MEMORY_SOURCES_MAX)
                drop_source(m, m->sources);
        HASH_ADD(hh, m->sources, asker, sizeof(s->asker), s);
        if (HASH_ADDED(s))
                return s;
        free(s);
        return NULL;
}

enum memory_may memory_may_ask(struct memory *m, enum memory_stranger kind, uint64_t asker, uint64_t now_ms)
{
        struct memory_source *s = touch_source(m, asker, now_ms);
        struct memory_bucket *all = &m->buckets[kind], *own = s ? &s->buckets[kind] : NULL;
        bool within = false;

        refill(all, now_ms, MEMORY_BURST + MEMORY_RESERVE, 1);
        if (own) {
                refill(own, now_ms, MEMORY_BURST / MEMORY_SHARE, MEMORY_SHARE);
                within = own->tokens >= 1;
        }
        if (all->tokens < (within ? 1 : 1 + MEMORY_RESERVE))
                return MEMORY_REFUSED;
        all->tokens -= 1;
        if (within)
                own->tokens -= 1;
        return within ? MEMORY_WITHIN : MEMORY_BEYOND;
}
