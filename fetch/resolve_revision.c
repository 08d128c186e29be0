/*
 * The way a revision becomes known: what is held, then the hub's word on where it points, then the
 * commit's listing where that is not known yet.
 *
 *      begin --> (hint) ----------------------> have_commit --> [tree --> record] --> end
 *            `-> info --> judged --------------^
 *                             |- absent, was held --> confirm (is the repo itself there?) --> removed, end
 *                             `- absent --> refs (is it the folder of one?) --> info of that one
 *
 * A name that is only the beginning of refs ("feature" of "feature/x") is absent as a revision; but
 * one of those refs is made known on the way, and with it the folder that it is in.
 */
#include "fetch/resolve_internal.h"

#define LOG_COMPONENT "resolve"
#include "base/clock.h"
#include "base/log.h"
#include "index/ref_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum held { HELD_NOTHING, HELD_OLD, HELD_FRESH };

static bool is_commit(const char *revision)
{
        return hex_valid(revision, COMMIT_HEX);
}

/* What the catalogue has of @revision: HELD_FRESH needs no question; HELD_OLD answers when none can
 * be asked (a partial listing, a ref confirmed longer ago). */
static int look_held(struct resolver *rs, int64_t repo, const char *revision, enum held *ret)
{
        struct catalog *c = rs->o.index->catalog;
        struct commit commit;
        struct ref ref = {};
        int64_t age;
        int r;

        *ret = HELD_NOTHING;
        if (is_commit(revision)) {
                r = catalog_commit_find(c, repo, revision, &commit);
                if (r == 0)
                        *ret = commit.whole_listing ? HELD_FRESH : HELD_OLD;
                return r < 0 ? r : 0;
        }
        r = catalog_ref_find(c, repo, revision, &ref);
        if (r == 0)
                r = catalog_commit_get(c, ref.commit, &commit);
        if (r != 0)
                return r < 0 ? r : 0;
        age = clock_wall_s() - ref.checked; /* negative after the clock was set back: then it is old */
        *ret = commit.whole_listing && age >= 0 && age < RESOLVE_REF_LIFE_S ? HELD_FRESH : HELD_OLD;
        return 0;
}

/* The end of a flight that found a commit: for a folder of refs the answer is still that the name
 * itself is none. */
static void end_known(struct flight *f, int r)
{
        flight_end(f, r == 0 && f->folder ? FETCH_E_ABSENT : r);
}

static void revision_ask(struct flight *f);

/* What is held answers where the hub did not help. A hub that was only slow is asked on. */
static void end_with_held(struct flight *f, int otherwise)
{
        enum held held;
        int r = look_held(f->rs, f->repo.id, f->revision, &held);

        if (r == 0 && held != HELD_NOTHING && f->hasty && f->hub_result == HUB_E_UNREACHABLE && flight_go_aside(f))
                revision_ask(f);
        else
                flight_end(f, r < 0 ? r : held != HELD_NOTHING ? 0 : otherwise);
}

/* The hub has answered with something other than the thing asked for. */
static void end_judged(struct flight *f, int r)
{
        if (r == FETCH_E_ABSENT || r == FETCH_E_FORBIDDEN)
                flight_end(f, r);
        else if ((r == -ECANCELED || r == -ENETDOWN) && gate_is_offline(f->rs->o.gate))
                end_with_held(f, FETCH_E_OFFLINE);
        else
                end_with_held(f, r);
}

/* ---- recording ---- */

/* R3: called when the listing is known. In the store it stands for what was held before until as much is held of the
 * new commit. */
static int record_ref(struct flight *f, const struct commit *commit)
{
        struct index *ix = f->rs->o.index;
        struct ref ref;
        int r;

        if (is_commit(f->revision))
                return 0;
        r = catalog_ref_set(ix->catalog, f->repo.id, f->revision, commit->id, clock_wall_s(), &ref);
        if (r != 0)
                return r > 0 ? -EIO : r;
        r = ref_store(ix->catalog, ix->store, &f->repo, f->revision);
        if (r < 0 && r != -EROFS)
                log_ratelimited(LOG_LEVEL_WARN, "%s/%s: the ref %s cannot be stored: %s",
                                repo_type_plural(f->type), f->repo.name, f->revision, errmsg_get(NULL, r));
        return 0;
}

static int write_tree(const void *arg, FILE *to)
{
        return tree_write(arg, to);
}

static int put_tree(struct flight *f)
{
        int r = store_tree_put(f->rs->o.index->store, f->type, f->repo.hub_name, f->sha, write_tree, &f->tree);

        if (r == -EROFS || r == 0)
                return 0;
        /* Served all the same: only a plain cache, or a catalogue made anew, will lack the listing. */
        log_ratelimited(LOG_LEVEL_WARN, "%s/%s: the listing of %.12s cannot be stored: %s",
                        repo_type_plural(f->type), f->repo.name, f->sha, errmsg_get(NULL, r));
        return r == -ENOMEM ? r : 0;
}

static int put_commit(struct flight *f, struct commit *ret)
{
        int64_t mtime = f->last_modified > 0 ? f->last_modified : clock_wall_s();
        int r;

        r = catalog_commit_put(f->rs->o.index->catalog, f->repo.id, f->sha, mtime, true, f->tree.files, f->tree.count,
                               ret);
        if (r == CATALOG_E_LIMIT)
                log_ratelimited(LOG_LEVEL_ERROR,
                                "%s/%s: the listing of %.12s is refused: too large, or a path twice",
                                repo_type_plural(f->type), f->repo.name, f->sha);
        return r;
}

static void tree_step(struct flight *f)
{
        struct commit commit;
        int r = flight_judge(f, f->hub_result);

        if (r != 0) {
                end_judged(f, r);
                return;
        }
        r = put_tree(f);
        if (r == 0)
                r = put_commit(f, &commit);
        if (r == CATALOG_E_LIMIT) {
                end_with_held(f, FETCH_E_UNREACHABLE);
                return;
        }
        if (r == 0)
                r = record_ref(f, &commit);
        if (r == 0)
                filler_new_listing(f->rs->o.filler, commit.id);
        end_known(f, r);
}

static void tree_came(void *arg, int result, struct tree *tree)
{
        struct flight *f = arg;

        f->hub_result = result;
        if (result == 0) {
                f->tree = *tree;
                *tree = (struct tree){};
        }
        flight_step(f, tree_step);
}

/* The hub has said which commit: f->sha. */
static void have_commit(struct flight *f)
{
        struct resolver *rs = f->rs;
        struct hub_call *call = NULL;
        struct commit commit;
        int r;

        r = catalog_commit_find(rs->o.index->catalog, f->repo.id, f->sha, &commit);
        if (r < 0) {
                flight_end(f, r);
                return;
        }
        if (r == 0 && commit.whole_listing) {
                end_known(f, record_ref(f, &commit));
                return;
        }
        r = hub_tree(rs->o.hub, f->type, f->repo.hub_name, f->sha,
                     f->hasty ? RESOLVE_HELD_MS : rs->o.deadline_s * 1000, tree_came, f, &call);
        if (r == 0)
                hub_call_unref(call); /* f may be gone already */
        else
                tree_came(f, r, NULL);
}

/* ---- absent ---- */

static void remove_ref(struct flight *f)
{
        struct index *ix = f->rs->o.index;
        struct ref ref;
        int r;

        if (is_commit(f->revision) || catalog_ref_find(ix->catalog, f->repo.id, f->revision, &ref) != 0)
                return;
        r = catalog_ref_remove(ix->catalog, f->repo.id, f->revision);
        if (r == 0)
                r = store_ref_remove(ix->store, f->type, f->repo.hub_name, f->revision);
        if (r < 0 && r != -EROFS && r != -ENOENT)
                log_warn("%s/%s: the ref %s, gone from the hub, cannot be removed: %s",
                         repo_type_plural(f->type), f->repo.name, f->revision, errmsg_get(NULL, r));
}

/* R4: the repo itself was asked for. */
static void confirmed_step(struct flight *f)
{
        int r = flight_judge(f, f->hub_result);

        if (r == 0) {
                remove_ref(f);
                flight_end(f, FETCH_E_ABSENT);
                return;
        }
        end_judged(f, r);
}

/* ---- the folder of a ref ---- */

static void info_step(struct flight *f);

static void refs_step(struct flight *f)
{
        int r = flight_judge(f, f->hub_result);

        if (r != 0 || f->below[0] == '\0') {
                end_judged(f, r == 0 ? FETCH_E_ABSENT : r);
                return;
        }
        f->folder = true;
        strcpy(f->revision, f->below);
        flight_ask_info(f, f->repo.hub_name, f->revision, info_step);
}

static void refs_came(void *arg, int result, const struct hub_ref *refs, size_t count)
{
        struct flight *f = arg;
        size_t len = strlen(f->revision);

        f->hub_result = result;
        for (size_t i = 0; result == 0 && i < count; i++)
                if (strncmp(refs[i].name, f->revision, len) == 0 && refs[i].name[len] == '/') {
                        strcpy(f->below, refs[i].name);
                        break;
                }
        flight_step(f, refs_step);
}

static void ask_refs(struct flight *f)
{
        struct hub_call *call = NULL;
        int r = hub_refs(f->rs->o.hub, f->type, f->repo.hub_name, f->deadline, refs_came, f, &call);

        if (r == 0)
                hub_call_unref(call); /* f may be gone already */
        else
                refs_came(f, r, NULL, 0);
}

/* ---- the beginning ---- */

static void info_step(struct flight *f)
{
        int r = flight_judge(f, f->hub_result);
        enum held held;

        if (r == FETCH_E_ABSENT && !is_commit(f->revision) &&
            look_held(f->rs, f->repo.id, f->revision, &held) == 0 && held != HELD_NOTHING) {
                flight_ask_info(f, f->repo.hub_name, NULL, confirmed_step);
                return;
        }
        if (r == FETCH_E_ABSENT && !is_commit(f->revision) && !f->folder) {
                ask_refs(f);
                return;
        }
        if (r != 0) {
                end_judged(f, r);
                return;
        }
        if (!hex_valid(f->info.sha, COMMIT_HEX) ||
            (is_commit(f->revision) && strcmp(f->info.sha, f->revision) != 0)) {
                end_judged(f, flight_judge(f, HUB_E_MALFORMED));
                return;
        }
        strcpy(f->sha, f->info.sha);
        f->last_modified = f->info.last_modified;
        have_commit(f);
}

static int adopt_if_new(struct flight *f)
{
        struct index *ix = f->rs->o.index;
        bool found;
        int r;

        r = catalog_repo_get(ix->catalog, f->repo.id, &f->repo);
        if (r != 0)
                return r < 0 ? r : FETCH_E_ABSENT;
        f->type = f->repo.type;
        strcpy(f->name, f->repo.name);
        return f->repo.scanned ? 0 : adopt_repo(ix->catalog, ix->store, f->repo.id, &found);
}

static void revision_ask(struct flight *f)
{
        flight_ask_info(f, f->repo.hub_name, f->revision, info_step);
}

static void revision_begin(struct flight *f)
{
        struct resolver *rs = f->rs;
        enum held held;
        int r;

        r = adopt_if_new(f);
        if (r == 0)
                r = look_held(rs, f->repo.id, f->revision, &held);
        if (r != 0) {
                flight_end(f, r);
                return;
        }
        if (held == HELD_FRESH) {
                flight_end(f, 0);
                return;
        }
        if (gate_is_offline(rs->o.gate)) {
                end_with_held(f, FETCH_E_OFFLINE);
                return;
        }
        f->hasty = held == HELD_OLD && !flight_is_aside(f);
        if (f->hasty)
                f->deadline = min_u64(f->deadline, clock_ms() + RESOLVE_HELD_MS);
        lock_take(&rs->lock);
        f->hinted = strcmp(f->revision, "main") == 0 &&
                    memory_hint_take(&rs->memory, f->repo.id, clock_ms(), f->sha, &f->last_modified);
        lock_drop(&rs->lock);
        if (f->hinted)
                have_commit(f);
        else if (held == HELD_NOTHING && strcmp(f->revision, "main") != 0) /* a repo has one main only */
                flight_take_turn(f, MEMORY_REVISION, revision_ask);
        else
                revision_ask(f);
}

/* What can be answered without waiting for a flight; FETCH_PENDING: nothing. */
static int answer_now(struct resolver *rs, const struct repo *repo, const struct flight *wanted)
{
        bool offline = gate_is_offline(rs->o.gate);
        enum held held;
        int r;

        r = look_held(rs, repo->id, wanted->revision, &held);
        if (r < 0)
                return r;
        if (held == HELD_FRESH || (held == HELD_OLD && offline))
                return 0;
        if (held == HELD_OLD && gate_failed_within(rs->o.gate, RESOLVE_FAILED_MS)) {
                flight_begin_aside(rs, wanted, revision_begin);
                return 0;
        }
        if (offline)
                return repo->scanned ? FETCH_E_OFFLINE : FETCH_PENDING;
        lock_take(&rs->lock);
        r = memory_refused(&rs->memory, wanted->key, clock_ms());
        lock_drop(&rs->lock);
        return r != 0 ? r : FETCH_PENDING;
}

int resolver_revision(struct resolver *rs, int64_t repo_id, const char *revision,
                      const struct fetch_asker *asker, fetch_done_fn done, void *arg,
                      struct fetch_wait **ret_wait)
{
        struct flight wanted = {};
        struct repo repo;
        int r;

        if (!revision_valid(revision))
                return FETCH_E_ABSENT;
        r = catalog_repo_get(rs->o.index->catalog, repo_id, &repo);
        if (r != 0)
                return r < 0 ? r : FETCH_E_ABSENT;
        if (!policy_allows(rs->o.policy, repo.type, repo.name) ||
            policy_denies(rs->o.policy, repo.type, repo.hub_name))
                return FETCH_E_POLICY;
        snprintf(wanted.key, sizeof(wanted.key), "#%" PRId64 "@%s", repo_id, revision);
        snprintf(wanted.revision, sizeof(wanted.revision), "%s", revision);
        wanted.repo.id = repo_id;
        r = answer_now(rs, &repo, &wanted);
        if (r != FETCH_PENDING)
                return r;
        wanted.asker = resolver_asker(asker);
        return flight_join(rs, &wanted, revision_begin, done, arg, ret_wait);
}
