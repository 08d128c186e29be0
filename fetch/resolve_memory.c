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

void memory_init(struct memory *m, uint64_t now_ms)
{
        *m = (struct memory){};
        for (int i = 0; i < MEMORY_STRANGERS; i++) {
                m->buckets[i].tokens = MEMORY_BURST;
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

bool memory_may_ask(struct memory *m, enum memory_stranger kind, uint64_t now_ms)
{
        double *tokens = &m->buckets[kind].tokens;

        *tokens += (double)(now_ms - m->buckets[kind].filled_ms) * MEMORY_PER_SECOND / 1000;
        if (*tokens > MEMORY_BURST)
                *tokens = MEMORY_BURST;
        m->buckets[kind].filled_ms = now_ms;
        if (*tokens < 1)
                return false;
        *tokens -= 1;
        return true;
}
