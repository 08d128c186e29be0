/*
 * Implementation of limit.h.
 */
#include "fetch/limit.h"

#include "base/table.h"
#include "base/util.h"

#include <stdlib.h>

struct limit_repo {
        UT_hash_handle hh;
        int64_t repo;
        uint64_t until_ms, bytes, refused;
};

void limit_init(struct limit *l, uint64_t max)
{
        *l = (struct limit){ .max = max };
}

static void drop(struct limit *l, struct limit_repo *r)
{
        HASH_DEL(l->repos, r);
        free(r);
}

void limit_done(struct limit *l)
{
        while (l->repos)
                drop(l, l->repos);
}

/* NULL: its hour has not begun. */
static struct limit_repo *find(struct limit *l, int64_t repo, uint64_t now_ms)
{
        struct limit_repo *r;

        HASH_FIND(hh, l->repos, &repo, sizeof(repo), r);
        if (!r || now_ms < r->until_ms)
                return r;
        drop(l, r);
        return NULL;
}

/* NULL: no memory, and then it is not counted. */
static struct limit_repo *get(struct limit *l, int64_t repo, uint64_t now_ms)
{
        struct limit_repo *r = find(l, repo, now_ms);

        if (r)
                return r;
        while (l->repos && (HASH_COUNT(l->repos) >= LIMIT_REPOS_MAX || l->repos->until_ms <= now_ms))
                drop(l, l->repos);
        r = calloc(1, sizeof(*r));
        if (!r)
                return NULL;
        r->repo = repo;
        r->until_ms = now_ms + LIMIT_HOUR_MS;
        HASH_ADD(hh, l->repos, repo, sizeof(r->repo), r);
        if (HASH_ADDED(r))
                return r;
        free(r);
        return NULL;
}

void limit_charge(struct limit *l, int64_t repo, uint64_t bytes, uint64_t now_ms)
{
        struct limit_repo *r = l->max > 0 ? get(l, repo, now_ms) : NULL;

        if (r)
                r->bytes += bytes;
}

void limit_refuse(struct limit *l, int64_t repo, uint64_t now_ms)
{
        struct limit_repo *r = get(l, repo, now_ms);

        if (r)
                r->refused++;
}

uint64_t limit_left(struct limit *l, int64_t repo, uint64_t now_ms)
{
        const struct limit_repo *r;

        if (l->max == 0)
                return UINT64_MAX;
        r = find(l, repo, now_ms);
        return r ? l->max - min_u64(r->bytes, l->max) : l->max;
}

size_t limit_report(struct limit *l, uint64_t now_ms, struct limit_report *ret, size_t max)
{
        struct limit_repo *r, *next;
        size_t n = 0;

        HASH_ITER(hh, l->repos, r, next)
                if (n < max && r->refused > 0 && now_ms < r->until_ms)
                        ret[n++] = (struct limit_report){ r->repo, r->bytes, r->refused, r->until_ms - now_ms };
        return n;
}
