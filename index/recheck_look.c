/*
 * What can be wrong with one name (recheck_names.h). Nothing is read through a link that is found in the store.
 */
#include "index/recheck_internal.h"

#include "index/store_dir.h"
#include "index/tree_json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool name_passing(int r)
{
        return r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EINTR;
}

/* What an open says of a name; negative: it could not be looked at. */
static int judge_open(int r, struct name_verdict *ret)
{
        if (r >= 0 || name_passing(r))
                return r;
        ret->error = r;
        if (r == -ENOENT)
                ret->fault = RECHECK_NAME_MISSING;
        else if (r == -ELOOP || r == -EINVAL || r == -ENOTDIR || r == -EISDIR)
                ret->fault = RECHECK_NAME_BROKEN;
        else
                ret->fault = RECHECK_NAME_UNREADABLE;
        return 0;
}

/* A commit is there when its listing is known, or the store has one, or a snapshot of it. */
static int commit_is_there(const struct name_look *x, const char *sha, bool *ret)
{
        char path[sizeof("snapshots/.json") + COMMIT_HEX];
        struct commit commit;
        int r = catalog_commit_find(x->ix->catalog, x->repo->id, sha, &commit);

        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "trees/%s.json", sha);
        *ret = r == 0 || faccessat(x->dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        snprintf(path, sizeof(path), "snapshots/%s", sha);
        *ret = *ret || faccessat(x->dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        return 0;
}

int name_look_ref(const struct name_look *x, const char *path, struct name_verdict *ret)
{
        char sha[COMMIT_HEX + 2];
        CLEANUP_FD int fd = -1;
        struct stat st;
        ssize_t n;
        bool there;
        int r;

        *ret = (struct name_verdict){ RECHECK_NAME_RIGHT, 0 };
        r = judge_open(dir_open_regular(x->dir, path, &fd, &st), ret);
        if (r < 0 || ret->fault != RECHECK_NAME_RIGHT)
                return r;
        n = pread_all(fd, sha, sizeof(sha), 0);
        if (n < 0)
                return judge_open((int)n, ret);
        if (n == COMMIT_HEX + 1 && sha[COMMIT_HEX] == '\n') /* forgiven, as by clients */
                n--;
        sha[n < COMMIT_HEX ? n : COMMIT_HEX] = '\0';
        if (n != COMMIT_HEX || !hex_valid(sha, COMMIT_HEX)) {
                ret->fault = RECHECK_NAME_BROKEN;
                return 0;
        }
        r = commit_is_there(x, sha, &there);
        if (r == 0 && !there)
                ret->fault = RECHECK_NAME_WRONG;
        return r;
}

/* True for a link to the right blob: relative, or absolute as clients make it in odd places. */
static bool target_is_right(const struct repo *repo, const struct entry *e, const char *target)
{
        char right[REPO_FOLDER_MAX + sizeof("//blobs/") + ETAG_MAX], folder[REPO_FOLDER_MAX + 1];
        size_t len = strlen(target), n;

        if (target[0] != '/') {
                for (uint32_t i = 0; i < e->depth + 2; i++, target += 3)
                        if (strncmp(target, "../", 3) != 0)
                                return false;
                return strncmp(target, "blobs/", 6) == 0 && strcmp(target + 6, e->etag) == 0;
        }
        repo_to_folder(repo->type, repo->hub_name, folder);
        n = (size_t)snprintf(right, sizeof(right), "/%s/blobs/%s", folder, e->etag);
        return len > n && strcmp(target + len - n, right) == 0;
}

int name_open_folder(const struct name_look *x, const char *path, int *ret_dir)
{
        CLEANUP_FREE char *folder = strndup(path, (size_t)(strrchr(path, '/') - path));

        return folder ? dir_open(x->dir, folder, O_RDONLY | O_DIRECTORY, 0, ret_dir) : -ENOMEM;
}

int name_look_link(const struct name_look *x, const struct entry *e, int dir, struct name_verdict *ret)
{
        char target[PATH_MAX];
        struct stat st;
        ssize_t n = dir < 0 ? dir : readlinkat(dir, e->name, target, sizeof(target) - 1);
        int r;

        *ret = (struct name_verdict){ RECHECK_NAME_RIGHT, 0 };
        if (n >= 0) {
                target[n] = '\0';
                ret->fault = target_is_right(x->repo, e, target) ? RECHECK_NAME_RIGHT : RECHECK_NAME_WRONG;
                return 0;
        }
        r = dir < 0 ? dir : -errno;
        if (r == -EINVAL && fstatat(dir, e->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
                return 0;
        r = judge_open(r, ret);
        /* a link comes with the last byte, or the hash; into a read-only store never */
        if (ret->fault == RECHECK_NAME_MISSING && (e->state != BLOB_COMPLETE || x->ix->store->read_only))
                ret->fault = RECHECK_NAME_RIGHT;
        return r;
}

static int by_path(const void *a, const void *b)
{
        return strcmp(((const struct listed_file *)a)->path, ((const struct listed_file *)b)->path);
}

/* Whether the catalogue has the same files. */
static int agrees(const struct name_look *x, const struct commit *commit, struct tree *t, bool *ret)
{
        CLEANUP_FREE struct entry *e = calloc(1, sizeof(*e));
        uint64_t same = 0;
        int r = e ? 0 : -ENOMEM;

        if (t->count > 1)
                qsort(t->files, t->count, sizeof(*t->files), by_path);
        while (r == 0 && (r = catalog_entry_walk(x->ix->catalog, commit->id, e->pos, e)) == 0) {
                const struct listed_file key = { .path = e->path }, *f;

                if (e->is_dir)
                        continue;
                f = t->count ? bsearch(&key, t->files, t->count, sizeof(key), by_path) : NULL;
                same += f && f->size == e->size && strcmp(f->etag, e->etag) == 0;
        }
        *ret = same == commit->files && t->count == commit->files;
        return r < 0 ? r : 0;
}

int name_look_listing(const struct name_look *x, const struct commit *commit, struct name_verdict *ret)
{
        CLEANUP(tree_done) struct tree t = {};
        CLEANUP_FD int fd = -1;
        uint64_t size;
        bool same = true;
        int r;

        *ret = (struct name_verdict){ RECHECK_NAME_RIGHT, 0 };
        r = judge_open(store_tree_open(x->ix->store, x->repo->type, x->repo->hub_name, commit->sha, &fd, &size), ret);
        if (r < 0 || ret->fault != RECHECK_NAME_RIGHT)
                return r;
        r = size > TREE_FILE_MAX ? -EBADMSG : tree_read(fd, &t);
        if (r == -EBADMSG)
                ret->fault = RECHECK_NAME_BROKEN;
        if (r < 0)
                return r == -EBADMSG ? 0 : judge_open(r, ret);
        if (commit->id != 0 && commit->whole_listing)
                r = agrees(x, commit, &t, &same);
        if (!same)
                ret->fault = RECHECK_NAME_WRONG;
        return r;
}
