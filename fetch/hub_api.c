/*
 * Questions about names, answered in JSON: a repo and a revision, a listing, the references.
 */
#include "fetch/hub_call.h"
#include "fetch/hub_json.h"

#define LOG_COMPONENT "hub"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BODY_MAX ((size_t)64 << 20) /* a repo's info lists all its files too */
#define PAGES_MAX 65536             /* of 1000 entries: CATALOG_POS_MAX */
#define EMPTY_MAX 8                     /* pages of nothing, one after the other */
#define LISTING_MAX ((size_t)256 << 20) /* bytes of memory: some two million files */
#define LISTING_MAX_MS 3600000          /* a hub may bring page after page for ever */

char *hub_url_api(const struct hub *h, enum repo_type type, const char *name, const char *tail)
{
        CLEANUP_FREE char *quoted = http_url_quote(name, true);
        char *url;

        if (!quoted ||
            asprintf(&url, "%s/api/%s/%s%s", h->endpoint, repo_type_plural(type), quoted, tail) < 0)
                return NULL;
        return url;
}

/* ---- hub_repo_info() ---- */

static int repo_answered(struct hub_call *c)
{
        return hub_json_repo(c->body, c->body_len, c->repo.asked, &c->repo.info);
}

static void repo_deliver(struct hub_call *c, int result)
{
        c->repo.done(c->arg, result, result == 0 ? &c->repo.info : NULL);
}

static const struct call_kind repo_kind = {
        .word = "repo info",
        .body_max = BODY_MAX,
        .answered = repo_answered,
        .deliver = repo_deliver,
};

int hub_repo_info(struct hub *h, enum repo_type type, const char *name, const char *revision,
                  uint64_t deadline, hub_repo_fn done, void *arg, struct hub_call **ret_call)
{
        CLEANUP_FREE char *tail = NULL, *quoted = NULL;
        struct hub_call *c;
        int r;

        if (!repo_name_valid(name) || (revision && !revision_valid(revision)))
                return -EINVAL;
        if (revision) {
                quoted = http_url_quote(revision, false);
                if (!quoted || asprintf(&tail, "/revision/%s", quoted) < 0)
                        return -ENOMEM;
        }
        r = call_new(h, &repo_kind, hub_url_api(h, type, name, tail ? tail : ""), &c);
        if (r < 0)
                return r;
        c->repo.done = done;
        c->arg = arg;
        strcpy(c->repo.asked, name);
        return call_start_name(c, deadline, ret_call);
}

/* ---- hub_tree() ---- */

static uint64_t hash_text(const char *text) /* FNV-1a */
{
        uint64_t hash = 0xcbf29ce484222325;

        for (; *text != '\0'; text++)
                hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
        return hash;
}

/* Notes the URL of a page; HUB_E_MALFORMED where that page was read before, or there are too many. */
static int note_page(struct hub_call *c)
{
        uint64_t hash = hash_text(c->url);

        for (size_t i = 0; i < c->tree.pages; i++)
                if (c->tree.seen[i] == hash)
                        return HUB_E_MALFORMED;
        if (c->tree.pages == PAGES_MAX)
                return HUB_E_MALFORMED;
        if ((c->tree.pages & (c->tree.pages - 1)) == 0) { /* full at each power of two */
                size_t capacity = c->tree.pages ? 2 * c->tree.pages : 1;
                uint64_t *grown = reallocarray(c->tree.seen, capacity, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                c->tree.seen = grown;
        }
        c->tree.seen[c->tree.pages++] = hash;
        return 0;
}

static int next_page(struct hub_call *c)
{
        struct http_origin origin = {};
        char *url;
        int r;

        r = note_page(c);
        if (r == 0)
                r = http_url_resolve(c->url, c->answer.next, &url);
        if (r != 0)
                return r < 0 ? r : HUB_E_MALFORMED;
        free(c->url);
        c->url = url;
        r = http_url_origin(url, &origin);
        if (r == 0 && !http_origin_equal(&origin, &c->hub->origin))
                r = HUB_E_MALFORMED; /* the token would go along */
        http_origin_done(&origin);
        if (r != 0)
                return r < 0 ? r : HUB_E_MALFORMED;
        c->attempts = c->redirects = 0;
        c->furthest = 0;
        c->transfer.deadline = min_u64(clock_ms() + c->idle_ms, c->latest);
        return CALL_AGAIN;
}

static int tree_answered(struct hub_call *c)
{
        struct hub_listed *listed = &c->tree.listed;
        size_t entries = listed->entries, bytes = c->tree.tree.bytes;
        int r = hub_json_tree(c->body, c->body_len, &c->tree.tree, listed);

        if (r == 0)
                r = call_hold(c, c->tree.tree.bytes - bytes);
        if (r != 0)
                return r;
        if (listed->entries > CATALOG_POS_MAX || c->tree.tree.bytes > LISTING_MAX)
                return HUB_E_MALFORMED;
        c->tree.empty = listed->entries > entries ? 0 : c->tree.empty + 1;
        if (c->answer.next)
                return c->tree.empty <= EMPTY_MAX ? next_page(c) : HUB_E_MALFORMED;
        if (listed->left_out > 0)
                log_debug("listing: %zu files with unsafe names are left out", listed->left_out);
        return hub_tree_check(&c->tree.tree, listed);
}

static void tree_deliver(struct hub_call *c, int result)
{
        c->tree.done(c->arg, result, result == 0 ? &c->tree.tree : NULL);
}

static void tree_release(struct hub_call *c)
{
        tree_done(&c->tree.tree);
        free(c->tree.seen);
}

static const struct call_kind tree_kind = {
        .word = "listing",
        .body_max = BODY_MAX,
        .answered = tree_answered,
        .deliver = tree_deliver,
        .release = tree_release,
};

int hub_tree(struct hub *h, enum repo_type type, const char *name, const char *sha, unsigned idle_ms,
             hub_tree_fn done, void *arg, struct hub_call **ret_call)
{
        char tail[COMMIT_HEX + 32];
        struct hub_call *c;
        int r;

        if (!repo_name_valid(name) || !hex_valid(sha, COMMIT_HEX) || idle_ms == 0)
                return -EINVAL;
        snprintf(tail, sizeof(tail), "/tree/%s?recursive=true", sha);
        r = call_new(h, &tree_kind, hub_url_api(h, type, name, tail), &c);
        if (r < 0)
                return r;
        c->tree.done = done;
        c->arg = arg;
        c->idle_ms = idle_ms;
        c->latest = clock_ms() + LISTING_MAX_MS;
        return call_start_name(c, clock_ms() + idle_ms, ret_call);
}

/* ---- hub_refs() ---- */

static int refs_answered(struct hub_call *c)
{
        return hub_json_refs(c->body, c->body_len, &c->refs.refs, &c->refs.count);
}

static void refs_deliver(struct hub_call *c, int result)
{
        c->refs.done(c->arg, result, result == 0 ? c->refs.refs : NULL, result == 0 ? c->refs.count : 0);
}

static void refs_release(struct hub_call *c)
{
        free(c->refs.refs);
}

static const struct call_kind refs_kind = {
        .word = "references",
        .body_max = BODY_MAX,
        .answered = refs_answered,
        .deliver = refs_deliver,
        .release = refs_release,
};

int hub_refs(struct hub *h, enum repo_type type, const char *name, uint64_t deadline, hub_refs_fn done,
             void *arg, struct hub_call **ret_call)
{
        struct hub_call *c;
        int r;

        if (!repo_name_valid(name))
                return -EINVAL;
        r = call_new(h, &refs_kind, hub_url_api(h, type, name, "/refs?include_prs=1"), &c);
        if (r < 0)
                return r;
        c->refs.done = done;
        c->arg = arg;
        return call_start_name(c, deadline, ret_call);
}
