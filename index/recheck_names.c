/*
 * Implementation of recheck_names.h: findings, and the walk over all names of a repo.
 */
#include "index/recheck_internal.h"

#include "index/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REF_DEPTH_MAX 16

/* ---- findings ---- */

enum recheck_name_kind recheck_name_kind(const struct recheck_name *n)
{
        return n->kind;
}

enum recheck_name_fault recheck_name_fault(const struct recheck_name *n)
{
        return n->fault;
}

int recheck_name_error(const struct recheck_name *n)
{
        return n->error;
}

const struct repo *recheck_name_repo(const struct recheck_name *n)
{
        return &n->repo;
}

const char *recheck_name_path(const struct recheck_name *n)
{
        return n->path;
}

const struct recheck_name *recheck_names_next(const struct recheck_names *l, const struct recheck_name *after)
{
        return after ? after->hh.next : l->first;
}

void recheck_names_done(struct recheck_names *l)
{
        struct recheck_name *n, *next;

        HASH_ITER(hh, l->first, n, next) {
                HASH_DEL(l->first, n);
                free(n);
        }
        *l = (struct recheck_names){};
}

/* Takes one name in, of which a verdict was made. */
static int add(struct name_look *x, enum recheck_name_kind kind, const struct name_verdict *v,
               const struct commit *commit, uint32_t pos, const char *path)
{
        const char *plural = repo_type_plural(x->repo->type);
        size_t before = strlen(plural) + strlen(x->repo->hub_name) + 2, len = before + strlen(path);
        struct recheck_name *n, *known;

        x->list->looked++;
        if (v->fault == RECHECK_NAME_RIGHT)
                return 0;
        n = calloc(1, sizeof(*n) + len + 1);
        if (!n)
                return -ENOMEM;
        n->kind = kind;
        n->fault = v->fault;
        n->error = v->error;
        n->repo = *x->repo;
        n->pos = pos;
        if (commit)
                n->commit = *commit;
        snprintf(n->key, len + 1, "%s/%s/%s", plural, x->repo->hub_name, path);
        n->path = n->key + before;
        HASH_FIND_STR(x->list->first, n->key, known);
        if (!known)
                HASH_ADD_STR(x->list->first, key, n);
        if (known || !HASH_ADDED(n)) {
                free(n);
                return known ? 0 : -ENOMEM;
        }
        return 0;
}

/* ---- walks ---- */

static bool is_canceled(const struct name_look *x)
{
        return x->cancel && *x->cancel;
}

static int take_ref(struct name_look *x, const char *path)
{
        struct name_verdict v;
        int r = name_look_ref(x, path, &v);

        return r < 0 ? r : add(x, RECHECK_NAME_REF, &v, NULL, 0, path);
}

/* The refs that are there, in @folder ("refs", "refs/pr") and below. */
static int walk_refs(struct name_look *x, const char *folder, unsigned depth)
{
        CLEANUP_DIR DIR *d = NULL;
        const struct dirent *e;
        int r = dir_list(x->dir, folder, &d);

        if (r < 0)
                return name_passing(r) ? r : 0;
        while (r == 0 && !is_canceled(x) && (errno = 0, e = readdir(d))) {
                char path[REVISION_MAX + sizeof("refs/")];
                struct stat st;
                int n = snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);

                if (e->d_name[0] == '.' || (size_t)n >= sizeof(path) || !revision_valid(path + 5) ||
                    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                if (!S_ISDIR(st.st_mode))
                        r = take_ref(x, path);
                else if (depth < REF_DEPTH_MAX)
                        r = walk_refs(x, path, depth + 1);
        }
        return r;
}

/* And those that should be. */
static int walk_known_refs(struct name_look *x)
{
        char path[REVISION_MAX + sizeof("refs/")];
        struct ref ref = {};
        struct name_verdict v;
        int r = 0;

        while (r == 0 && !is_canceled(x) &&
               (r = catalog_ref_next(x->ix->catalog, x->repo->id, ref.name, &ref)) == 0) {
                snprintf(path, sizeof(path), "refs/%s", ref.name);
                r = name_look_ref(x, path, &v);
                /* those that are there were taken in, but for a folder of the name */
                if (r == 0 && (v.fault == RECHECK_NAME_MISSING || v.fault == RECHECK_NAME_BROKEN))
                        r = add(x, RECHECK_NAME_REF, &v, NULL, 0, path);
        }
        return r < 0 ? r : 0;
}

static int walk_links(struct name_look *x, const struct commit *commit)
{
        CLEANUP_FREE struct entry *e = calloc(1, sizeof(*e));
        CLEANUP_FD int dir = -1;
        uint32_t folder = UINT32_MAX;
        int r = e ? 0 : -ENOMEM, opened = -ENOENT;

        while (r == 0 && !is_canceled(x) &&
               (r = catalog_entry_walk(x->ix->catalog, commit->id, e->pos, e)) == 0) {
                char path[sizeof("snapshots//") + COMMIT_HEX + ENTRY_PATH_MAX];
                struct name_verdict v;

                if (e->is_dir)
                        continue;
                snprintf(path, sizeof(path), "snapshots/%s/%s", commit->sha, e->path);
                if (e->parent != folder) { /* most have that of the one before */
                        cleanup_fd(&dir);
                        opened = name_open_folder(x, path, &dir);
                        folder = e->parent;
                }
                r = name_look_link(x, e, opened < 0 ? opened : dir, &v);
                if (r == 0)
                        r = add(x, RECHECK_NAME_LINK, &v, commit, e->pos, path);
        }
        return r < 0 ? r : 0;
}

static int take_listing(struct name_look *x, const struct commit *commit)
{
        char path[sizeof("trees/.json") + COMMIT_HEX];
        struct name_verdict v;
        int r = name_look_listing(x, commit, &v);

        snprintf(path, sizeof(path), "trees/%s.json", commit->sha);
        return r < 0 ? r : add(x, RECHECK_NAME_LISTING, &v, commit, 0, path);
}

static int walk_commits(struct name_look *x)
{
        struct commit commit = {};
        int r = 0;

        while (r == 0 && !is_canceled(x) &&
               (r = catalog_commit_next(x->ix->catalog, x->repo->id, commit.id, &commit)) == 0) {
                if (commit.whole_listing)
                        r = take_listing(x, &commit);
                if (r == 0)
                        r = walk_links(x, &commit);
        }
        return r < 0 ? r : 0;
}

/* Listings of commits that are not known, or not as a whole: such a file is why. */
static int walk_listings(struct name_look *x)
{
        CLEANUP_DIR DIR *d = NULL;
        const struct dirent *e;
        int r = dir_list(x->dir, "trees", &d);

        if (r < 0)
                return name_passing(r) ? r : 0;
        while (r == 0 && !is_canceled(x) && (errno = 0, e = readdir(d))) {
                struct commit commit, known = {};

                snprintf(commit.sha, sizeof(commit.sha), "%.*s", COMMIT_HEX, e->d_name);
                if (strlen(e->d_name) != COMMIT_HEX + 5 || strcmp(e->d_name + COMMIT_HEX, ".json") != 0 ||
                    !hex_valid(commit.sha, COMMIT_HEX))
                        continue;
                r = catalog_commit_find(x->ix->catalog, x->repo->id, commit.sha, &known);
                if (r == CATALOG_E_NONE)
                        strcpy(known.sha, commit.sha);
                if (r >= 0)
                        r = known.whole_listing ? 0 : take_listing(x, &known);
        }
        return r;
}

int recheck_names_repo(struct recheck_names *l, struct index *ix, const struct repo *repo, const atomic_bool *cancel)
{
        CLEANUP_FD int dir = -1;
        struct name_look x = { .list = l, .ix = ix, .repo = repo, .cancel = cancel };
        int r = store_repo_open(ix->store, repo->type, repo->hub_name, false, &dir);

        if (r < 0)
                return name_passing(r) ? r : 0;
        x.dir = dir;
        r = walk_refs(&x, "refs", 0);
        if (r == 0)
                r = walk_known_refs(&x);
        if (r == 0)
                r = walk_commits(&x);
        if (r == 0)
                r = walk_listings(&x);
        return r == 0 && is_canceled(&x) ? -ECANCELED : r;
}
