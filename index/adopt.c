/*
 * Implementation of adopt.h.
 *
 * What is understood, and what is passed over:
 *   refs/<name>             40 hex digits (a newline after them is forgiven); nested names
 *   trees/<sha>.json        the whole listing
 *   snapshots/<sha>/…       without a tree: a partial listing of the links that name a blob that is
 *                           there. Regular files (caches made where links are impossible) are passed
 *                           over: nothing says what their hash should be.
 *   blobs/<etag>            complete when its size is the listing's; also through shared-blob links
 * Everything else (*.incomplete, *.lock, .no_exist, temporary names, names that are no etag) is
 * passed over and left alone; only temporary files of this instance's dead processes are removed.
 */
#include "index/adopt.h"

#include "index/store_dir.h"
#include "index/tree_json.h"

#define LOG_COMPONENT "adopt"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BATCH 256             /* rows in one transaction */
#define REF_DEPTH_MAX 16
#define SNAPSHOT_DEPTH_MAX 64 /* each level holds a descriptor */

struct scan {
        struct catalog *catalog;
        struct store *store;
        struct repo repo;
        int dir;    /* the repo's folder */
        bool found; /* something that is worth showing */
};

struct listing {
        struct listed_file *files; /* strings on the heap */
        size_t count, capacity;
};

static void listing_done(struct listing *l)
{
        for (size_t i = 0; i < l->count; i++) {
                free((char *)l->files[i].path);
                free((char *)l->files[i].etag);
        }
        free(l->files);
}

static int listing_add(struct listing *l, const char *path, const char *etag, uint64_t size)
{
        struct listed_file f = { .path = strdup(path), .etag = strdup(etag), .size = size };

        if (l->count == l->capacity) {
                size_t capacity = l->capacity ? 2 * l->capacity : 64;
                struct listed_file *grown = reallocarray(l->files, capacity, sizeof(*grown));

                if (grown) {
                        l->files = grown;
                        l->capacity = capacity;
                }
        }
        if (!f.path || !f.etag || l->count == l->capacity) {
                free((char *)f.path);
                free((char *)f.etag);
                return -ENOMEM;
        }
        l->files[l->count++] = f;
        return 0;
}

/* True for what a foreign store may well contain in place of what we look for. */
static bool passed_over(int r)
{
        return r == -ENOENT || r == -ELOOP || r == -ENOTDIR || r == -EINVAL || r == -EACCES || r == -EPERM ||
               r == -EBADMSG || r == -EFBIG || r == -ENAMETOOLONG;
}

/* The next name that is not hidden, or NULL: at the end with 0 in @ret_r. */
static const struct dirent *next_name(DIR *d, int *ret_r)
{
        const struct dirent *e;

        do {
                errno = 0;
                e = readdir(d);
        } while (e && e->d_name[0] == '.');
        *ret_r = e ? 0 : -errno;
        return e;
}

/* ---- names of repos ---- */

/* Names that are not recorded yet: each transaction waits for the disk. */
struct names {
        struct repo_name at[BATCH];
        size_t count;
};

static int names_flush(struct catalog *c, struct names *names)
{
        int r = catalog_repos_put(c, names->at, names->count);

        names->count = 0;
        return r;
}

static int adopt_name(struct catalog *c, struct store *s, const char *folder, struct names *names)
{
        struct repo_name *n = &names->at[names->count];
        char target[REPO_FOLDER_MAX + 1];
        enum repo_type target_type;
        CLEANUP_FD int dir = -1;
        struct repo known;
        ssize_t len;
        int r;

        if (!repo_from_folder(folder, &n->type, n->name))
                return 0;
        r = catalog_repo_find(c, n->type, n->name, &known);
        if (r < 0 || (r == 0 && known.resolved))
                return r;
        if (store_repo_open(s, n->type, n->name, false, &dir) < 0)
                return 0;
        strcpy(n->hub_name, n->name);
        len = readlinkat(store_hub_fd(s), folder, target, sizeof(target) - 1);
        if (len >= 0) { /* store_repo_open() has found it to be an alias */
                target[len] = '\0';
                if (!repo_from_folder(target, &target_type, n->hub_name))
                        return 0;
        }
        n->resolved = faccessat(dir, "snapshots", F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
                      faccessat(dir, "refs", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        return ++names->count == BATCH ? names_flush(c, names) : 0;
}

int adopt_names(struct catalog *c, struct store *s)
{
        CLEANUP_FREE struct names *names = calloc(1, sizeof(*names));
        CLEANUP_DIR DIR *d = NULL;
        const struct dirent *e;
        int r = names ? dir_list(store_hub_fd(s), ".", &d) : -ENOMEM;

        while (r == 0 && (e = next_name(d, &r)))
                r = adopt_name(c, s, e->d_name, names);
        return r == 0 ? names_flush(c, names) : r;
}

/* ---- commits ---- */

/* "../" once per folder from the link up to the repo, then "blobs/<etag>". */
static const char *link_etag(const char *target, unsigned depth)
{
        for (unsigned i = 0; i < depth + 2; i++, target += 3)
                if (strncmp(target, "../", 3) != 0)
                        return NULL;
        if (strncmp(target, "blobs/", 6) != 0 || !etag_valid(target + 6))
                return NULL;
        return target + 6;
}

static int add_link(const struct scan *x, int dir, const char *name, const char *path, unsigned depth,
                    struct listing *l)
{
        CLEANUP_FD int fd = -1;
        char target[ENTRY_PATH_MAX * 3];
        ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
        const char *etag;
        uint64_t size;
        int r;

        if (n < 0)
                return 0;
        target[n] = '\0';
        etag = link_etag(target, depth);
        if (!etag)
                return 0;
        r = store_blob_open(x->store, x->repo.type, x->repo.hub_name, etag, &fd, &size);
        if (r < 0)
                return passed_over(r) ? 0 : r; /* without its size it cannot be listed */
        return listing_add(l, path, etag, size);
}

/* Walks a snapshot's folder; @path is a buffer of ENTRY_PATH_MAX + 1 bytes, @len of it in use. */
static int walk_snapshot(const struct scan *x, int parent, const char *folder, char *path, size_t len,
                         unsigned depth, struct listing *l)
{
        CLEANUP_DIR DIR *d = NULL;
        struct dirent *e;
        int r = dir_list(parent, folder, &d);

        if (r < 0)
                return passed_over(r) ? 0 : r;
        while (r == 0 && (errno = 0, e = readdir(d))) {
                size_t n = strlen(e->d_name);
                struct stat st;

                if (!entry_name_valid(e->d_name) || len + n > ENTRY_PATH_MAX ||
                    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                memcpy(path + len, e->d_name, n + 1);
                if (!entry_path_valid(path))
                        continue;
                if (S_ISLNK(st.st_mode))
                        r = add_link(x, dirfd(d), e->d_name, path, depth, l);
                if (S_ISDIR(st.st_mode) && len + n < ENTRY_PATH_MAX && depth < SNAPSHOT_DEPTH_MAX) {
                        path[len + n] = '/';
                        path[len + n + 1] = '\0';
                        r = walk_snapshot(x, dirfd(d), e->d_name, path, len + n + 1, depth + 1, l);
                }
        }
        return r < 0 ? r : -errno;
}

static int read_tree(const struct scan *x, const char *sha, struct tree *ret, int64_t *ret_mtime)
{
        CLEANUP_FD int fd = -1;
        struct stat st;
        uint64_t size;
        int r;

        r = store_tree_open(x->store, x->repo.type, x->repo.hub_name, sha, &fd, &size);
        if (r < 0)
                return r;
        if (size > TREE_FILE_MAX)
                return -EFBIG;
        if (fstat(fd, &st) < 0)
                return -errno;
        r = tree_read(fd, ret);
        if (r == 0)
                *ret_mtime = st.st_mtime;
        return r;
}

static int list_from_snapshot(const struct scan *x, const char *sha, struct listing *ret, int64_t *ret_mtime)
{
        char folder[sizeof("snapshots/") + COMMIT_HEX], path[ENTRY_PATH_MAX + 2] = "";
        struct stat st;

        snprintf(folder, sizeof(folder), "snapshots/%s", sha);
        if (fstatat(x->dir, folder, &st, AT_SYMLINK_NOFOLLOW) == 0)
                *ret_mtime = st.st_mtime;
        return walk_snapshot(x, x->dir, folder, path, 0, 0, ret);
}

static int adopt_commit(struct scan *x, const char *sha)
{
        CLEANUP(listing_done) struct listing l = {};
        CLEANUP(tree_done) struct tree t = {};
        struct commit commit;
        int64_t mtime = 0;
        bool whole;
        int r;

        r = catalog_commit_find(x->catalog, x->repo.id, sha, &commit);
        if (r < 0 || (r == 0 && commit.whole_listing)) {
                x->found |= r == 0;
                return r;
        }
        r = read_tree(x, sha, &t, &mtime);
        whole = r == 0;
        if (r < 0 && passed_over(r))
                r = list_from_snapshot(x, sha, &l, &mtime);
        if (r < 0 || (!whole && l.count == 0))
                return r;
        r = catalog_commit_put(x->catalog, x->repo.id, sha, mtime, whole, whole ? t.files : l.files,
                               whole ? t.count : l.count, &commit);
        if (r == 0)
                x->found = true;
        return r > 0 ? 0 : r; /* too large a listing is passed over */
}

/* Commits are known from their snapshot's folder, from their tree, or both. */
static int adopt_commits(struct scan *x, const char *folder, const char *suffix)
{
        CLEANUP_DIR DIR *d = NULL;
        const struct dirent *e;
        int r = dir_list(x->dir, folder, &d);

        if (r < 0)
                return passed_over(r) ? 0 : r;
        while (r == 0 && (e = next_name(d, &r))) {
                char sha[COMMIT_HEX + 1];

                if (strlen(e->d_name) != COMMIT_HEX + strlen(suffix) ||
                    strcmp(e->d_name + COMMIT_HEX, suffix) != 0)
                        continue;
                memcpy(sha, e->d_name, COMMIT_HEX);
                sha[COMMIT_HEX] = '\0';
                if (hex_valid(sha, COMMIT_HEX))
                        r = adopt_commit(x, sha);
        }
        return r;
}

/* ---- refs ---- */

static int adopt_ref(struct scan *x, int dir, const char *file, const char *name)
{
        CLEANUP_FD int fd = -1;
        char sha[COMMIT_HEX + 2];
        struct commit commit;
        struct stat st;
        struct ref ref;
        ssize_t n;
        int r;

        if (dir_open_regular(dir, file, &fd, &st) < 0)
                return 0;
        n = pread_all(fd, sha, sizeof(sha), 0);
        if (n == COMMIT_HEX + 1 && sha[COMMIT_HEX] == '\n')
                n--;
        if (n != COMMIT_HEX)
                return 0;
        sha[n] = '\0';
        if (!hex_valid(sha, COMMIT_HEX))
                return 0;
        r = catalog_commit_find(x->catalog, x->repo.id, sha, &commit);
        if (r != 0)
                return r < 0 ? r : 0; /* nothing is known of its commit */
        r = catalog_ref_find(x->catalog, x->repo.id, name, &ref);
        if (r < 0 || (r == 0 && ref.checked != 0))
                return r; /* the hub has spoken */
        r = catalog_ref_set(x->catalog, x->repo.id, name, commit.id, 0, &ref);
        return r > 0 ? 0 : r;
}

static int walk_refs(struct scan *x, int parent, const char *folder, const char *prefix, unsigned depth)
{
        CLEANUP_DIR DIR *d = NULL;
        const struct dirent *e;
        int r = dir_list(parent, folder, &d);

        if (r < 0 || depth > REF_DEPTH_MAX)
                return r < 0 && !passed_over(r) ? r : 0;
        while (r == 0 && (e = next_name(d, &r))) {
                char name[REVISION_MAX + 1];
                struct stat st;
                int n = snprintf(name, sizeof(name), "%s%s%s", prefix, prefix[0] ? "/" : "", e->d_name);

                if (n > REVISION_MAX || !revision_valid(name) ||
                    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                if (S_ISREG(st.st_mode))
                        r = adopt_ref(x, dirfd(d), e->d_name, name);
                if (S_ISDIR(st.st_mode))
                        r = walk_refs(x, dirfd(d), e->d_name, name, depth + 1);
        }
        return r;
}

/* ---- blobs ---- */

/* The row of a blob that the repo lists and the store has whole, in @ret; 0: it is none. */
static int find_blob(struct scan *x, const char *etag, int64_t *ret)
{
        CLEANUP_FD int fd = -1;
        struct blob_row row;
        uint64_t size;
        int r;

        *ret = 0;
        r = catalog_blob_in_repo(x->catalog, x->repo.id, etag, &row);
        if (r != 0 || row.state != BLOB_FILLING)
                return r < 0 ? r : 0;
        r = store_blob_open(x->store, x->repo.type, x->repo.hub_name, etag, &fd, &size);
        if (r < 0)
                return passed_over(r) ? 0 : r;
        if (size == row.size)
                *ret = row.id;
        return 0;
}

static int adopt_blob(struct scan *x, const char *etag, int64_t ids[BATCH], size_t *count)
{
        int r = find_blob(x, etag, &ids[*count]);

        if (r < 0 || ids[*count] == 0 || ++*count < BATCH)
                return r;
        *count = 0;
        return catalog_blobs_adopt(x->catalog, ids, BATCH);
}

static int adopt_blobs(struct scan *x)
{
        CLEANUP_DIR DIR *d = NULL;
        const struct dirent *e;
        int64_t ids[BATCH];
        size_t count = 0;
        int r = dir_list(x->dir, "blobs", &d);

        if (r < 0)
                return passed_over(r) ? 0 : r;
        while (r == 0 && (errno = 0, e = readdir(d))) {
                if (etag_valid(e->d_name))
                        r = adopt_blob(x, e->d_name, ids, &count);
                else if (!x->store->read_only && store_tmp_stale(x->store, e->d_name))
                        unlinkat(dirfd(d), e->d_name, 0);
        }
        if (r == 0)
                r = -errno;
        return r == 0 ? catalog_blobs_adopt(x->catalog, ids, count) : r;
}

int adopt_repo(struct catalog *c, struct store *s, int64_t repo, bool *ret_found)
{
        struct scan x = { .catalog = c, .store = s, .dir = -1 };
        int r;

        r = catalog_repo_get(c, repo, &x.repo);
        if (r != 0)
                return r > 0 ? -ENOENT : r;
        r = store_repo_open(s, x.repo.type, x.repo.hub_name, false, &x.dir);
        if (r == 0) {
                r = adopt_commits(&x, "trees", ".json");
                if (r == 0)
                        r = adopt_commits(&x, "snapshots", "");
                if (r == 0)
                        r = walk_refs(&x, x.dir, "refs", "", 0);
                if (r == 0)
                        r = adopt_blobs(&x);
                cleanup_fd(&x.dir);
        } else if (passed_over(r)) {
                r = 0;
        }
        if (r == 0 && x.found && !x.repo.resolved)
                r = catalog_repo_put(c, x.repo.type, x.repo.name, x.repo.hub_name, true, &x.repo);
        if (r == 0)
                r = catalog_repo_set_scanned(c, repo);
        if (r != 0)
                return r > 0 ? -ENOENT : r;
        log_debug("%s: %s", x.repo.name, x.found ? "adopted" : "nothing in the store");
        *ret_found = x.found;
        return 0;
}
