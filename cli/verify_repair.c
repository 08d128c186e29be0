/*
 * Implementation of verify_repair.h.
 */
#include "cli/verify_repair.h"

#include "cli/await.h"
#include "cli/explain.h"
#include "cli/jsonio.h"
#include "cli/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOG_COMPONENT "verify"
#include "base/log.h"

#define PLACES_MAX 256 /* looked at for the name of one in its repo */

static const char *const words[] = {
        [RECHECK_RIGHT] = "right",
        [RECHECK_CHANGED] = "changed",
        [RECHECK_CUT] = "cut",
        [RECHECK_GROWN] = "grown",
        [RECHECK_MISSING] = "missing",
        [RECHECK_LINK] = "link",
        [RECHECK_NO_FILE] = "no file",
        [RECHECK_UNREADABLE] = "unreadable",
        [RECHECK_MODE] = "mode",
        [RECHECK_QUARANTINED] = "quarantined",
};

struct named {
        char label[REPO_NAME_MAX + 12];
        char path[ENTRY_PATH_MAX + 1]; /* the etag where no listing names it */
        struct blob_readers openers;   /* who opened it, as far as the daemon knows */
        char *note;                    /* heap; what is to be said of it */
};

static void name_item(struct repair *p, const struct recheck_item *item, struct named *n)
{
        CLEANUP_FREE struct entry *e = calloc(1, sizeof(*e));
        struct catalog *c = p->service->index.catalog;
        struct commit commit = {};
        struct repo repo;

        repo_label(item->type, item->hub_name, n->label);
        snprintf(n->path, sizeof(n->path), "%s", item->etag);
        if (catalog_repo_get(c, item->repo, &repo) == 0)
                repo_label(repo.type, repo.name, n->label);
        for (int i = 0; e && item->blob != 0 && i < PLACES_MAX; i++) {
                if (catalog_blob_place_next(c, item->blob, commit.id, e->pos, &repo, &commit, e) != 0)
                        return;
                if (repo.id == item->repo) {
                        snprintf(n->path, sizeof(n->path), "%s", e->path);
                        return;
                }
        }
}

static int note(struct named *n, int r, const char *fmt, ...) PRINTF_LIKE(3, 4);

static int note(struct named *n, int r, const char *fmt, ...)
{
        va_list ap;

        free(n->note);
        va_start(ap, fmt);
        if (vasprintf(&n->note, fmt, ap) < 0)
                n->note = NULL;
        va_end(ap);
        return r;
}

/* The hash of what was wrong, as fetch_reject() takes it. */
static const char *wrong_hash(const struct recheck_item *item)
{
        if (item->kind == RECHECK_CHANGED)
                return item->got;
        return item->kind == RECHECK_CUT || item->kind == RECHECK_GROWN ? "" : NULL;
}

/* Who may have got wrong bytes: for `verify` itself and, while nothing is repaired, for the log and `status`. */
static void name_openers(struct repair *p, const struct recheck_item *item, struct named *n)
{
        const char *got = wrong_hash(item);
        struct blob *b;

        if (!got || item->blob == 0 || blobs_get(p->service->index.blobs, item->blob, &b) != 0)
                return;
        blob_get_openers(b, &n->openers);
        if (!p->wanted && p->service->fetch)
                fetch_found_wrong(p->service->fetch, b, got);
        blob_unref(b);
}

/* ---- repairing ---- */

static int set_mode(struct repair *p, const struct recheck_item *item, struct named *n)
{
        int r = store_blob_set_mode(p->service->index.store, item->type, item->hub_name, item->etag);

        return r < 0 ? note(n, r, "its mode cannot be set: %s", strerror(-r)) : note(n, 0, "mode set to 0644");
}

static int set_aside(struct repair *p, const struct recheck_item *item, struct named *n)
{
        int r = store_blob_set_aside(p->service->index.store, item->type, item->hub_name, item->etag);

        if (r < 0 && r != -ENOENT)
                return note(n, r, "it cannot be moved to the quarantine: %s", strerror(-r));
        return note(n, 0, "moved to the quarantine; no listing that is known names it");
}

static int explain(struct repair *p, int result, struct named *n)
{
        const struct options *o = p->service->options;
        char what[sizeof(n->label) + sizeof(n->path) + 2];
        struct errmsg err = {};
        struct fetch_status st;

        fetch_get_status(p->service->fetch, &st);
        snprintf(what, sizeof(what), "%s: %s", n->label, n->path);
        result = explain_fetch(result,
                               &(struct explain){ .what = what,
                                                  .endpoint = service_endpoint(o),
                                                  .store = o->store,
                                                  .last_error = st.last_error,
                                                  .kept = st.short_of_space && st.keep_free > 0,
                                                  .token = service_has_token(o) },
                               &err);
        return note(n, result, "not held any longer, and not fetched: %s", err.text);
}

static int fetch_again(struct repair *p, struct blob *b, struct named *n)
{
        struct fetch *f = p->service->fetch;
        struct await *a;
        int r;

        if (blob_state_whole(blob_state(b))) { /* another repo has a file of its own, perhaps as wrong */
                r = blob_verify_adopted(b, p->cancel);
                if (r == 0)
                        r = blob_link_places(b, p->cancel);
                if (r < 0)
                        return note(n, r, "it cannot be taken from another repo: %s", strerror(-r));
                if (r == 0)
                        return note(n, 0, "taken from another repo");
        }
        if (fetch_is_offline(f))
                return note(n, -ENETDOWN, "not held any longer; offline: 'weightfs pull %s' brings it once online",
                            n->label);
        r = blob_readmit(b);
        a = r == 0 ? await_new() : NULL;
        if (!a)
                return note(n, r < 0 ? r : -ENOMEM, "it cannot be fetched: %s", strerror(r < 0 ? -r : ENOMEM));
        r = await_end(a, fetch_whole(f, b, await_answer, a, await_slot(a)), p->cancel);
        if (r == -ECANCELED)
                return r;
        return r == 0 ? note(n, 0, "fetched again") : explain(p, r, n);
}

/* Another daemon, or this one, may have replaced it since: what is right by now stays. */
static int look_once_more(struct repair *p, struct recheck_item *item)
{
        return item->kind == RECHECK_QUARANTINED ?
                       0 :
                       recheck_examine(&p->service->index, item, p->cancel, NULL);
}

static int reject_and_fetch(struct repair *p, const struct recheck_item *item, struct blob *b, struct named *n)
{
        int r = fetch_reject(p->service->fetch, b, item->type, item->hub_name, wrong_hash(item));

        if (r < 0)
                return note(n, r, "it cannot be moved to the quarantine: %s",
                            r == -EROFS ? "the store is read-only" : strerror(-r));
        return fetch_again(p, b, n);
}

/* It says something of this process, and nothing of the file. */
static bool is_passing(int error)
{
        return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EINTR;
}

static int replace(struct repair *p, const struct recheck_item *item, struct named *n)
{
        struct recheck_item now = *item;
        struct blob *b;
        int r = blobs_get(p->service->index.blobs, item->blob, &b);

        if (r != 0)
                return note(n, r < 0 ? r : -ESTALE, "it is not listed any longer");
        r = look_once_more(p, &now);
        if (r == 0 && (now.kind == RECHECK_RIGHT || now.kind == RECHECK_MODE))
                r = note(n, 0, "replaced meanwhile");
        else if (r == 0 && now.kind == RECHECK_UNREADABLE && is_passing(now.error))
                r = note(n, now.error, "it could not be looked at now: %s", strerror(-now.error));
        else if (r == 0 && now.kind != RECHECK_QUARANTINED)
                r = reject_and_fetch(p, &now, b, n);
        else if (r == 0)
                r = fetch_again(p, b, n);
        blob_unref(b);
        return r;
}

static int repair_one(struct repair *p, const struct recheck_item *item, struct named *n)
{
        if (item->kind == RECHECK_UNREADABLE && is_passing(item->error))
                return note(n, item->error, "it could not be looked at now: %s", strerror(-item->error));
        if (item->kind == RECHECK_MODE)
                return set_mode(p, item, n);
        return item->blob == 0 ? set_aside(p, item, n) : replace(p, item, n);
}

static json_t *report(const struct recheck_item *item, const struct named *n, bool repaired)
{
        json_t *one = json_object();

        json_set_text(one, "repo", n->label);
        json_set_text(one, "path", n->path);
        json_set_text(one, "etag", item->etag);
        json_set_u64(one, "size", item->size);
        json_set_text(one, "what", words[item->kind]);
        json_set_text(one, "got", item->kind == RECHECK_CHANGED ? item->got : "");
        json_object_set_new(one, "repaired", json_boolean(repaired));
        json_set_text(one, "note", n->note ? n->note : "");
        json_object_set_new(one, "readers", report_readers(&n->openers));
        json_set_u64(one, "more_readers", n->openers.more);
        return one;
}

int repair_item(struct repair *p, const struct recheck_item *item, pull_event_fn emit, void *arg)
{
        CLEANUP_FREE struct named *n = calloc(1, sizeof(*n));
        int r = -ENODATA, told = 0;

        if (!n)
                return -ENOMEM;
        name_item(p, item, n);
        name_openers(p, item, n);
        log_warn("%s: %s: %s in the store (%s)", n->label, n->path, words[item->kind], item->etag);
        if (item->kind == RECHECK_UNREADABLE)
                note(n, 0, "%s", strerror(-item->error));
        if (p->wanted) {
                told = emit(arg, json_pack("{s:s, s:s, s:s}", "kind", "repair", "repo", n->label, "path", n->path));
                r = told != 0 ? told : repair_one(p, item, n);
        }
        if (r == 0)
                log_info("%s: %s: %s", n->label, n->path, n->note ? n->note : "");
        else
                p->left++;
        json_array_append_new(p->damaged, report(item, n, r == 0));
        free(n->note);
        return told != 0 ? told : r == -ECANCELED ? r : 0;
}
