/*
 * The way a repo becomes known, and the resolver's life. Invariants: resolve_internal.h.
 */
#include "fetch/resolve_internal.h"

#define LOG_COMPONENT "resolve"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int fetch_result(int hub_result)
{
        switch (hub_result) {
        case HUB_E_ABSENT:
                return FETCH_E_ABSENT;
        case HUB_E_FORBIDDEN:
                return FETCH_E_FORBIDDEN;
        default: /* R2: whatever else went wrong out there */
                return hub_result > 0 ? FETCH_E_UNREACHABLE : hub_result;
        }
}

/* ---- repos ---- */

static int allowed(const struct resolver *rs, enum repo_type type, const char *name, const char *hub_name)
{
        if (policy_allows(rs->o.policy, type, name) && !policy_denies(rs->o.policy, type, hub_name))
                return 0;
        log_ratelimited(LOG_LEVEL_INFO, "%s/%s: not allowed by allow/deny", repo_type_plural(type), name);
        return FETCH_E_POLICY;
}

/* The repo is known to the hub. */
static int record_repo(struct flight *f)
{
        struct resolver *rs = f->rs;
        int r;

        r = allowed(rs, f->type, f->name, f->info.name);
        if (r != 0)
                return r;
        r = catalog_repo_put(rs->o.index->catalog, f->type, f->name, f->info.name, true, &f->repo);
        if (r != 0)
                return r;
        if (strcmp(f->name, f->info.name) != 0) {
                r = store_alias_put(rs->o.index->store, f->type, f->name, f->info.name);
                if (r < 0 && r != -EROFS) /* a convenience for plain caches: its lack hurts nobody here */
                        log_ratelimited(LOG_LEVEL_WARN, "%s/%s: no alias in the store: %s",
                                        repo_type_plural(f->type), f->name, errmsg_get(NULL, r));
        }
        if (f->info.sha[0] != '\0') {
                lock_take(&rs->lock);
                memory_hint_put(&rs->memory, f->repo.id, f->info.sha, f->info.last_modified, clock_ms());
                lock_drop(&rs->lock);
        }
        return 0;
}

static void repo_answered(struct flight *f)
{
        int r = flight_judge(f, f->hub_result);

        if (r == 0)
                r = record_repo(f);
        flight_end(f, r);
}

static void repo_ask(struct flight *f)
{
        flight_ask_info(f, f->name, NULL, repo_answered);
}

/* True when the store has a folder for the repo, so that a row is worth making. */
static bool store_has_folder(const struct resolver *rs, const struct flight *f)
{
        char folder[REPO_FOLDER_MAX + 1];

        repo_to_folder(f->type, f->name, folder);
        return faccessat(store_hub_fd(rs->o.index->store), folder, F_OK, 0) == 0;
}

/* What the catalogue or, by adoption, the store knows. 0: resolved; CATALOG_E_NONE; negative errno. */
static int find_locally(struct flight *f)
{
        struct resolver *rs = f->rs;
        struct catalog *c = rs->o.index->catalog;
        bool found = false;
        int r;

        r = catalog_repo_find(c, f->type, f->name, &f->repo);
        if (r == 0 && f->repo.resolved && f->repo.scanned)
                return 0;
        if (r == CATALOG_E_NONE && store_has_folder(rs, f))
                r = catalog_repo_put(c, f->type, f->name, f->name, false, &f->repo);
        if (r != 0)
                return r;
        if (!f->repo.scanned)
                r = adopt_repo(c, rs->o.index->store, f->repo.id, &found);
        if (r != 0)
                return r;
        return found || f->repo.resolved ? 0 : CATALOG_E_NONE;
}

static void repo_begin(struct flight *f)
{
        int r = find_locally(f);

        if (r != CATALOG_E_NONE) {
                flight_end(f, r);
                return;
        }
        if (gate_is_offline(f->rs->o.gate)) {
                flight_end(f, FETCH_E_OFFLINE);
                return;
        }
        flight_take_turn(f, MEMORY_REPO, repo_ask);
}

void resolver_ask_anew(struct resolver *rs)
{
        lock_take(&rs->lock);
        memory_forget(&rs->memory);
        lock_drop(&rs->lock);
        gate_forget_failed(rs->o.gate);
}

uint64_t resolver_asker(const struct fetch_asker *asker)
{
        return asker ? asker->tell(asker->arg) : 0;
}

int resolver_repo(struct resolver *rs, enum repo_type type, const char *name, const struct fetch_asker *asker,
                  fetch_done_fn done, void *arg, struct fetch_wait **ret_wait)
{
        struct flight wanted = { .type = type };
        struct repo repo;
        int r;

        if (!repo_name_valid(name))
                return FETCH_E_ABSENT;
        if (!policy_allows(rs->o.policy, type, name))
                return allowed(rs, type, name, name);
        r = catalog_repo_find(rs->o.index->catalog, type, name, &repo);
        if (r == 0 && repo.resolved && repo.scanned)
                return allowed(rs, type, name, repo.hub_name);
        if (r < 0)
                return r;
        snprintf(wanted.key, sizeof(wanted.key), "%s/%s", repo_type_plural(type), name);
        snprintf(wanted.name, sizeof(wanted.name), "%s", name);
        lock_take(&rs->lock);
        r = memory_refused(&rs->memory, wanted.key, clock_ms());
        lock_drop(&rs->lock);
        if (r != 0 && !gate_is_offline(rs->o.gate))
                return r;
        wanted.asker = resolver_asker(asker);
        return flight_join(rs, &wanted, repo_begin, done, arg, ret_wait);
}

/* ---- life ---- */

int resolver_new(const struct resolver_options *o, struct resolver **ret)
{
        struct resolver *rs = calloc(1, sizeof(*rs));

        if (!rs)
                return -ENOMEM;
        rs->o = *o;
        lock_init(&rs->lock);
        pthread_cond_init(&rs->quiet, NULL);
        list_init(&rs->queued);
        list_init(&rs->late);
        memory_init(&rs->memory, clock_ms());
        *ret = rs;
        return 0;
}

void resolver_set_filler(struct resolver *rs, struct filler *fl)
{
        rs->o.filler = fl;
}

void resolver_stop(struct resolver *rs)
{
        struct list answers = LIST_INIT(answers);
        struct flight *f, *next;
        struct list *node;

        lock_take(&rs->lock);
        rs->stopping = true;
        HASH_ITER(hh, rs->flights, f, next)
                waits_enlist(&f->waits, -ECANCELED, &answers);
        list_splice(&rs->queued, &rs->late);
        while ((node = list_pop(&rs->queued))) { /* their turn: the hub refuses them */
                rs->lookups++;
                f = LIST_OWNER(node, struct flight, turn);
                f->has_turn = true;
                f->deadline = 0;
                flight_step(f, f->next);
        }
        lock_drop(&rs->lock);
        waits_answer(&answers);
}

uint64_t resolver_not_asked(struct resolver *rs)
{
        uint64_t n;

        lock_take(&rs->lock);
        n = rs->not_asked;
        lock_drop(&rs->lock);
        return n;
}

struct resolver *resolver_free(struct resolver *rs)
{
        if (!rs)
                return NULL;
        lock_take(&rs->lock);
        while (rs->flying > 0)
                lock_wait(&rs->lock, &rs->quiet);
        lock_drop(&rs->lock);
        memory_done(&rs->memory);
        pthread_cond_destroy(&rs->quiet);
        lock_done(&rs->lock);
        free(rs);
        return NULL;
}

bool resolver_is_idle(void *arg)
{
        struct resolver *rs = arg;
        bool idle;

        lock_take(&rs->lock);
        idle = rs->flying == 0;
        lock_drop(&rs->lock);
        return idle;
}
