/*
 * Implementation of report.h.
 */
#include "cli/report.h"

#include "cli/jsonio.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void repo_label(enum repo_type type, const char *name, char *ret)
{
        snprintf(ret, REPO_NAME_MAX + 12, "%s/%s", repo_type_plural(type), name);
}

uint64_t held_of(struct index *ix, int64_t blob, enum blob_state state, uint64_t size, const char *etag)
{
        int partial = store_partial_fd(ix->store);
        struct blob *b;
        uint64_t held;

        if (blob_state_whole(state))
                return size;
        if (partial < 0 || faccessat(partial, etag, F_OK, 0) < 0 || blobs_get(ix->blobs, blob, &b) != 0)
                return 0;
        held = blob_held_bytes(b);
        blob_unref(b);
        return held;
}

int commit_of_revision(struct catalog *c, int64_t repo, const char *revision, struct commit *ret)
{
        struct ref ref;
        int r;

        if (hex_valid(revision, COMMIT_HEX))
                return catalog_commit_find(c, repo, revision, ret);
        r = catalog_ref_find(c, repo, revision[0] != '\0' ? revision : "main", &ref);
        return r == 0 ? catalog_commit_get(c, ref.commit, ret) : r;
}

/* What other tools put into the store counts too; a repo is looked at once. */
static int adopt_if_new(struct index *ix, const struct repo *repo)
{
        bool found;

        return repo->scanned ? 0 : adopt_repo(ix->catalog, ix->store, repo->id, &found);
}

static json_t *revisions_of(struct catalog *c, int64_t repo)
{
        json_t *list = json_array();
        struct commit held;
        struct ref ref = {};

        while (catalog_ref_next(c, repo, ref.name, &ref) == 0) {
                json_t *one = json_object();

                json_set_text(one, "name", ref.name);
                json_set_text(one, "commit", ref.sha);
                if (catalog_ref_stands_for(c, &ref, &held) == 0 && held.id != ref.commit)
                        json_set_text(one, "offline", held.sha);
                json_array_append_new(list, one);
        }
        return list;
}

static int report_repo(struct index *ix, const struct repo *repo, json_t *list)
{
        char label[REPO_NAME_MAX + 12];
        struct repo_totals totals;
        json_t *one;
        int r = adopt_if_new(ix, repo);

        if (r == 0)
                r = catalog_repo_totals(ix->catalog, repo->id, &totals);
        if (r != 0)
                return r < 0 ? r : 0;
        one = json_object();
        repo_label(repo->type, repo->name, label);
        json_set_text(one, "repo", label);
        json_object_set_new(one, "revisions", revisions_of(ix->catalog, repo->id));
        json_set_u64(one, "commits", totals.commits);
        json_set_u64(one, "files", totals.files);
        json_set_u64(one, "size", totals.bytes);
        json_set_u64(one, "held_files", totals.held_files);
        json_set_u64(one, "held", totals.held_bytes);
        return json_array_append_new(list, one) < 0 ? -ENOMEM : 0;
}

int report_repos(struct index *ix, json_t **ret, struct errmsg *err)
{
        json_t *list = json_array();
        int r = 0;

        for (int type = 0; type < REPO_TYPE_COUNT && r >= 0; type++) {
                struct repo repo = {};

                while (r >= 0 &&
                       (r = catalog_repo_next(ix->catalog, (enum repo_type)type, repo.id, &repo)) == 0)
                        r = report_repo(ix, &repo, list);
        }
        if (r < 0) {
                json_decref(list);
                return errmsg_set(err, r, "the catalogue cannot be read: %s", strerror(-r));
        }
        *ret = json_pack("{s:o}", "repos", list);
        return *ret ? 0 : -ENOMEM;
}

static const char *state_word(enum blob_state state, uint64_t held)
{
        switch (state) {
        case BLOB_COMPLETE:
                return "complete";
        case BLOB_ADOPTED:
                return "adopted";
        case BLOB_QUARANTINED:
                return "quarantined";
        default:
                return held > 0 ? "partial" : "absent";
        }
}

static int list_files(struct index *ix, int64_t commit, json_t *files)
{
        CLEANUP_FREE struct entry *e = calloc(1, sizeof(*e));
        int r;

        if (!e)
                return -ENOMEM;
        while ((r = catalog_entry_walk(ix->catalog, commit, e->pos, e)) == 0) {
                uint64_t held;
                json_t *one;

                if (e->is_dir)
                        continue;
                held = held_of(ix, e->blob, e->state, e->size, e->etag);
                one = json_object();
                json_set_text(one, "path", e->path);
                json_set_u64(one, "size", e->size);
                json_set_u64(one, "held", held);
                json_set_text(one, "state", state_word(e->state, held));
                json_array_append_new(files, one);
        }
        return r < 0 ? r : 0;
}

static int not_known(const char *label, const char *revision, struct errmsg *err)
{
        const char *at = revision[0] != '\0' ? "@" : "";

        return errmsg_set(err, -ENOENT,
                          "%s%s%s is not known here: nobody looked it up and the store holds nothing of it; "
                          "'weightfs pull %s%s%s' brings it",
                          label, at, revision, label, at, revision);
}

int report_files(struct index *ix, enum repo_type type, const char *name, const char *revision, json_t **ret,
                 struct errmsg *err)
{
        char label[REPO_NAME_MAX + 12];
        struct commit commit;
        struct repo repo;
        json_t *files;
        int r;

        repo_label(type, name, label);
        r = catalog_repo_find(ix->catalog, type, name, &repo);
        if (r == 0)
                r = adopt_if_new(ix, &repo);
        if (r == 0)
                r = commit_of_revision(ix->catalog, repo.id, revision, &commit);
        if (r > 0)
                return not_known(label, revision, err);
        if (r < 0)
                return errmsg_set(err, r, "the catalogue cannot be read: %s", strerror(-r));
        files = json_array();
        r = list_files(ix, commit.id, files);
        if (r < 0) {
                json_decref(files);
                return errmsg_set(err, r, "the catalogue cannot be read: %s", strerror(-r));
        }
        *ret = json_pack("{s:s, s:s, s:s, s:b, s:o}", "repo", label, "revision",
                         revision[0] != '\0' ? revision : "main", "commit", commit.sha, "whole",
                         commit.whole_listing, "files", files);
        return *ret ? 0 : -ENOMEM;
}

/* One line for a blob: the first place that lists it stands for all. */
static void add_blob(struct index *ix, const struct blob_row *row, uint64_t held, json_t *list)
{
        CLEANUP_FREE struct entry *e = calloc(1, sizeof(*e));
        char label[REPO_NAME_MAX + 12] = "";
        struct commit commit;
        struct repo repo;
        json_t *one;

        if (!e)
                return;
        if (catalog_blob_place_next(ix->catalog, row->id, 0, 0, &repo, &commit, e) == 0)
                repo_label(repo.type, repo.name, label);
        one = json_object();
        json_set_text(one, "repo", label);
        json_set_text(one, "path", label[0] != '\0' ? e->path : row->etag);
        json_set_text(one, "etag", row->etag);
        json_set_u64(one, "size", row->size);
        json_set_u64(one, "held", held);
        json_array_append_new(list, one);
}

int report_incomplete(struct index *ix, json_t **ret)
{
        CLEANUP_FREE struct blob_row *rows = NULL;
        json_t *list;
        size_t count;
        int r;

        r = blobs_begun(ix->blobs, &rows, &count);
        if (r < 0)
                return r;
        list = json_array();
        for (size_t i = 0; i < count; i++) {
                uint64_t held = held_of(ix, rows[i].id, rows[i].state, rows[i].size, rows[i].etag);

                if (held > 0)
                        add_blob(ix, &rows[i], held, list);
        }
        *ret = list;
        return 0;
}

static int report_quarantined(struct index *ix, json_t **ret)
{
        struct blob_row row = {};
        json_t *list = json_array();
        int r;

        while ((r = catalog_blob_next_in_state(ix->catalog, BLOB_QUARANTINED, row.id, &row)) == 0)
                add_blob(ix, &row, held_of(ix, row.id, row.state, row.size, row.etag), list);
        if (r < 0) {
                json_decref(list);
                return r;
        }
        *ret = list;
        return 0;
}

static json_t *report_fills(struct fetch *f)
{
        struct fetch_fill_info *fills = NULL;
        json_t *list = json_array();
        size_t count = 0;

        if (fetch_get_fills(f, &fills, &count) < 0)
                count = 0;
        for (size_t i = 0; i < count; i++) {
                json_t *one = json_object();

                json_set_text(one, "repo", fills[i].repo);
                json_set_text(one, "path", fills[i].path);
                json_set_u64(one, "size", fills[i].size);
                json_set_u64(one, "held", fills[i].held);
                json_set_u64(one, "transfers", fills[i].transfers);
                json_set_u64(one, "readers", fills[i].readers);
                json_object_set_new(one, "verifying", json_boolean(fills[i].verifying));
                json_array_append_new(list, one);
        }
        free(fills);
        return list;
}

json_t *report_readers(const struct blob_readers *readers)
{
        json_t *list = json_array();

        for (size_t i = 0; i < readers->count; i++) {
                json_t *one = json_object();

                json_set_u64(one, "pid", (uint64_t)readers->at[i].pid);
                json_set_u64(one, "uid", readers->at[i].uid);
                json_set_text(one, "name", readers->at[i].comm);
                json_set_u64(one, "at", (uint64_t)readers->at[i].at);
                json_array_append_new(list, one);
        }
        return list;
}

/* What was wrong since the start, and what became of it. */
static json_t *report_verdicts(struct fetch *f)
{
        static const char *const words[] = { "fetched again", "mended", "quarantined", "rejected", "found" };
        CLEANUP_FREE struct fetch_verdict *verdicts = NULL;
        json_t *list = json_array();
        size_t count = 0;

        if (fetch_get_verdicts(f, &verdicts, &count) < 0)
                count = 0;
        for (size_t i = 0; i < count; i++) {
                const struct fetch_verdict *v = &verdicts[i];
                json_t *one = json_object();

                json_set_u64(one, "at", (uint64_t)v->at);
                json_set_text(one, "outcome", words[v->outcome]);
                json_set_text(one, "repo", v->repo);
                json_set_text(one, "path", v->path);
                json_set_u64(one, "size", v->size);
                json_set_text(one, "etag", v->etag);
                json_set_text(one, "got", v->got);
                json_set_u64(one, "differed", v->differs.bytes);
                json_object_set_new(one, "readers", report_readers(&v->readers));
                json_set_u64(one, "more_readers", v->readers.more);
                json_array_append_new(list, one);
        }
        return list;
}

/* Repos of which something was not opened, since it was more than they may bring. */
static json_t *report_limits(struct fetch *f)
{
        CLEANUP_FREE struct fetch_limit *limits = NULL;
        json_t *list = json_array();
        size_t count = 0;

        if (fetch_get_limits(f, &limits, &count) < 0)
                count = 0;
        for (size_t i = 0; i < count; i++) {
                json_t *one = json_object();

                json_set_text(one, "repo", limits[i].repo);
                json_set_u64(one, "bytes", limits[i].bytes);
                json_set_u64(one, "refused", limits[i].refused);
                json_set_u64(one, "seconds_left", limits[i].left_s);
                json_array_append_new(list, one);
        }
        return list;
}

static json_t *report_hub(struct service *s, const struct fetch_status *st)
{
        json_t *hub = json_object();

        json_set_text(hub, "endpoint", service_endpoint(s->options));
        json_object_set_new(hub, "offline", json_boolean(st->offline));
        json_object_set_new(hub, "offline_for_good", json_boolean(st->offline_for_good));
        json_set_u64(hub, "mode_since", (uint64_t)s->mode_since);
        json_object_set_new(hub, "reachable", json_boolean(st->hub_reachable));
        json_set_u64(hub, "unreachable_since", (uint64_t)st->unreachable_since);
        json_set_text(hub, "last_error", st->last_error);
        json_set_u64(hub, "requests", st->requests);
        json_set_u64(hub, "bytes", st->bytes);
        json_set_u64(hub, "transfers", st->transfers);
        json_set_u64(hub, "waiting_reads", st->waiting_reads);
        json_set_u64(hub, "paused_ms", st->paused_ms);
        json_set_u64(hub, "not_asked", st->not_asked);
        json_set_u64(hub, "max_fetch", st->max_fetch);
        json_object_set_new(hub, "limits", report_limits(s->fetch));
        return hub;
}

static json_t *report_store(struct service *s, const struct fetch_status *fetch, bool damaged)
{
        json_t *store = json_object();
        struct statvfs st;

        json_set_text(store, "path", store_path(s->index.store));
        json_set_text(store, "state", s->options->state);
        json_object_set_new(store, "read_only", json_boolean(s->options->read_only_store));
        json_set_text(store, "verify", s->options->strict ? "strict" : "background");
        json_object_set_new(store, "catalogue_rebuilt", json_boolean(s->index.rebuilt));
        json_object_set_new(store, "catalogue_damaged", json_boolean(damaged));
        json_set_u64(store, "keep_free", fetch->keep_free);
        json_object_set_new(store, "short_of_space", json_boolean(fetch->short_of_space));
        if (store_statfs(s->index.store, &st) == 0) {
                json_set_u64(store, "free", (uint64_t)st.f_bavail * st.f_frsize);
                json_set_u64(store, "total", (uint64_t)st.f_blocks * st.f_frsize);
        }
        return store;
}

int report_status(struct service *s, json_t **ret)
{
        CLEANUP_FREE struct fs_status *fs = calloc(1, sizeof(*fs));
        struct fetch_status fetch;
        json_t *mount, *quarantined;
        int r = fs ? report_quarantined(&s->index, &quarantined) : -ENOMEM;
        bool damaged = r == -EUCLEAN; /* then status is wanted most */

        if (damaged)
                quarantined = json_array();
        else if (r < 0)
                return r;
        mount = json_object();
        fetch_get_status(s->fetch, &fetch);
        fs_get_status(s->fs, fs);
        json_set_text(mount, "point", fs->mountpoint);
        json_set_u64(mount, "requests", fs->requests);
        json_set_u64(mount, "errors", fs->errors);
        json_set_u64(mount, "parked", fs->parked);
        json_object_set_new(mount, "passthrough", json_boolean(fs->passthrough));
        json_set_text(mount, "passthrough_reason", fs->passthrough_reason);
        *ret = json_pack("{s:b, s:i, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "running", 1, "pid", (int)getpid(),
                         "version", WEIGHTFS_VERSION, "started", (json_int_t)s->started, "mount", mount,
                         "hub", report_hub(s, &fetch), "store", report_store(s, &fetch, damaged), "fills",
                         report_fills(s->fetch), "quarantined", quarantined, "verdicts", report_verdicts(s->fetch));
        return *ret ? 0 : -ENOMEM;
}
