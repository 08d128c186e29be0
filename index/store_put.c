/*
 * What the store takes in: blobs under their final names, links, refs, trees, aliases.
 *
 * Every function can be repeated: what is there already and fits is kept, and a step that failed
 * leaves nothing but a state from which the next call goes on.
 */
#include "index/store_dir.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Opens (and makes) a folder of the repo. */
static int repo_folder(const struct store *s, enum repo_type type, const char *name, const char *sub,
                       int *ret_fd)
{
        CLEANUP_FD int repo = -1;
        int r = store_repo_open(s, type, name, true, &repo);

        return r < 0 ? r : dir_ensure(repo, sub, 0755, ret_fd);
}

/* 0 when the repo has a usable file for the blob, -ENOENT when it has none or something unfit. */
static int blob_present(const struct store *s, enum repo_type type, const char *name, const char *etag)
{
        CLEANUP_FD int fd = -1;
        uint64_t size;
        int r = store_blob_open(s, type, name, etag, &fd, &size);

        return r == -ELOOP || r == -EINVAL ? -ENOENT : r;
}

int store_blob_publish(const struct store *s, const char *partial_name, enum repo_type type,
                       const char *name, const char *etag)
{
        CLEANUP_FD int blobs = -1, fd = -1;
        struct stat st;
        int r;

        if (s->read_only)
                return -EROFS;
        if (!etag_valid(etag))
                return -EINVAL;
        r = repo_folder(s, type, name, "blobs", &blobs);
        if (r < 0)
                return r;
        r = blob_present(s, type, name, etag);
        if (r == 0)
                return dir_sync(blobs); /* perhaps an earlier try ended just before this */
        if (r != -ENOENT)
                return r;
        r = dir_open_regular(s->partial_fd, partial_name, &fd, &st);
        if (r < 0)
                return r;
        if ((st.st_mode & 07777) != 0644) {
                if (fchmod(fd, 0644) < 0)
                        return -errno;
                r = dir_sync(fd);
                if (r < 0)
                        return r;
        }
        return store_place(s, s->partial_fd, partial_name, blobs, etag, true);
}

int store_blob_share(const struct store *s, int fd, enum repo_type type, const char *from_name,
                     enum repo_type to_type, const char *to_name, const char *etag)
{
        CLEANUP(blob_place_done) struct blob_place at = { .dir = -1 };
        CLEANUP_FD int blobs = -1;
        int r;

        if (s->read_only)
                return -EROFS;
        r = store_blob_locate(s, type, from_name, etag, &at);
        if (r < 0)
                return r;
        if (!file_is_named(fd, at.dir, at.name))
                return -ESTALE;
        r = repo_folder(s, to_type, to_name, "blobs", &blobs);
        if (r < 0)
                return r;
        r = blob_present(s, to_type, to_name, etag);
        if (r == 0)
                return dir_sync(blobs);
        if (r != -ENOENT)
                return r;
        /* also of a shared blob: huggingface_hub counts only its own links when it collects them */
        return store_place_file(s, fd, at.dir, at.name, blobs, etag);
}

int store_blob_quarantine(const struct store *s, enum repo_type type, const char *name, const char *etag)
{
        CLEANUP(blob_place_done) struct blob_place at = { .dir = -1 };
        CLEANUP_FD int repo = -1, blobs = -1;
        int r;

        if (s->read_only)
                return -EROFS;
        r = store_blob_locate(s, type, name, etag, &at);
        if (r < 0)
                return r;
        r = store_set_aside(s, at.dir, at.name, etag);
        if (!at.shared || (r < 0 && r != -ENOENT))
                return r;
        /* the link that is left names nothing now */
        r = store_repo_open(s, type, name, false, &repo);
        if (r == 0)
                r = dir_open(repo, "blobs", O_RDONLY | O_DIRECTORY, 0, &blobs);
        if (r < 0)
                return r;
        if (unlinkat(blobs, etag, 0) < 0 && errno != ENOENT)
                return -errno;
        return dir_sync(blobs);
}

int store_blob_set_aside(const struct store *s, enum repo_type type, const char *name, const char *etag)
{
        CLEANUP_FD int repo = -1, blobs = -1;
        int r = store_blob_quarantine(s, type, name, etag);

        if (r != -ELOOP && r != -EINVAL && r != -ENOENT)
                return r;
        if (!etag_valid(etag))
                return -EINVAL;
        /* no file of ours: the name alone goes, and what it may lead to stays */
        r = store_repo_open(s, type, name, false, &repo);
        if (r == 0)
                r = dir_open(repo, "blobs", O_RDONLY | O_DIRECTORY, 0, &blobs);
        return r < 0 ? r : store_set_aside(s, blobs, etag, etag);
}

int store_blob_set_mode(const struct store *s, enum repo_type type, const char *name, const char *etag)
{
        CLEANUP_FD int fd = -1;
        uint64_t size;
        int r;

        if (s->read_only)
                return -EROFS;
        r = store_blob_open(s, type, name, etag, &fd, &size);
        if (r < 0)
                return r;
        return fchmod(fd, 0644) < 0 ? -errno : dir_sync(fd);
}

int store_partial_quarantine(const struct store *s, const char *partial_name)
{
        if (s->read_only)
                return -EROFS;
        if (!etag_valid(partial_name))
                return -EINVAL;
        return store_set_aside(s, s->partial_fd, partial_name, partial_name);
}

int store_link_put(const struct store *s, enum repo_type type, const char *name, const char *sha,
                   const char *path, const char *etag)
{
        char folder[sizeof("snapshots//") + COMMIT_HEX + ENTRY_PATH_MAX], target[PATH_MAX];
        const char *slash = strrchr(path, '/');
        CLEANUP_FD int dir = -1;
        size_t n = 0;
        int r;

        if (!entry_path_valid(path) || !etag_valid(etag) || !hex_valid(sha, COMMIT_HEX))
                return -EINVAL;
        snprintf(folder, sizeof(folder), "snapshots/%s%s%.*s", sha, slash ? "/" : "",
                 slash ? (int)(slash - path) : 0, path);
        r = repo_folder(s, type, name, folder, &dir);
        if (r < 0)
                return r;
        for (const char *p = path; p; p = strchr(p, '/'), p = p ? p + 1 : NULL)
                n += (size_t)snprintf(target + n, sizeof(target) - n, "../");
        snprintf(target + n, sizeof(target) - n, "../blobs/%s", etag);
        return store_symlink_put(s, dir, slash ? slash + 1 : path, target);
}

static bool file_says(int dir, const char *name, const char *text)
{
        CLEANUP_FD int fd = -1;
        char buf[COMMIT_HEX + 1];
        struct stat st;

        return dir_open_regular(dir, name, &fd, &st) == 0 &&
               pread_all(fd, buf, sizeof(buf), 0) == (ssize_t)strlen(text) &&
               memcmp(buf, text, strlen(text)) == 0;
}

/* Splits "refs/" + @ref into its folder and its last component. */
static int ref_split(const char *ref, char ret_folder[REVISION_MAX + 6], const char **ret_name)
{
        const char *slash = strrchr(ref, '/');

        if (!revision_valid(ref))
                return -EINVAL;
        snprintf(ret_folder, REVISION_MAX + 6, "refs%s%.*s", slash ? "/" : "",
                 slash ? (int)(slash - ref) : 0, ref);
        *ret_name = slash ? slash + 1 : ref;
        return 0;
}

int store_ref_put(const struct store *s, enum repo_type type, const char *name, const char *ref,
                  const char *sha)
{
        char folder[REVISION_MAX + 6], snapshot[sizeof("snapshots/") + COMMIT_HEX];
        CLEANUP_FD int dir = -1, snap = -1;
        const char *last;
        int r;

        if (!hex_valid(sha, COMMIT_HEX))
                return -EINVAL;
        r = ref_split(ref, folder, &last);
        if (r < 0)
                return r;
        /* the snapshot first: a ref whose commit is not there is "corrupted" to other tools */
        snprintf(snapshot, sizeof(snapshot), "snapshots/%s", sha);
        r = repo_folder(s, type, name, snapshot, &snap);
        if (r == 0)
                r = repo_folder(s, type, name, folder, &dir);
        if (r < 0 || file_says(dir, last, sha))
                return r;
        return store_file_put(s, dir, last, sha, COMMIT_HEX, 0644);
}

/* A folder that is empty now would hide a ref of its name. False: it stays. */
static bool remove_folder(int repo, const char *parent, const char *name)
{
        CLEANUP_FD int dir = -1;

        return dir_open(repo, parent, O_RDONLY | O_DIRECTORY, 0, &dir) == 0 && unlinkat(dir, name, AT_REMOVEDIR) == 0;
}

int store_ref_remove(const struct store *s, enum repo_type type, const char *name, const char *ref)
{
        char folder[REVISION_MAX + 6];
        CLEANUP_FD int repo = -1, dir = -1;
        const char *last;
        char *slash;
        int r;

        if (s->read_only)
                return -EROFS;
        r = ref_split(ref, folder, &last);
        if (r < 0)
                return r;
        r = store_repo_open(s, type, name, false, &repo);
        if (r == 0)
                r = dir_open(repo, folder, O_RDONLY | O_DIRECTORY, 0, &dir);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        if (FAULT("store.unlink"))
                return -EIO;
        if (unlinkat(dir, last, 0) < 0 && errno != ENOENT)
                return -errno;
        r = dir_sync(dir);
        while (r == 0 && (slash = strrchr(folder, '/'))) {
                *slash = '\0';
                if (!remove_folder(repo, folder, slash + 1))
                        break;
        }
        return r;
}

int store_tree_put(const struct store *s, enum repo_type type, const char *name, const char *sha,
                   store_write_fn write, const void *arg)
{
        char file[COMMIT_HEX + sizeof(".json")];
        CLEANUP_FD int dir = -1;
        int r;

        if (!hex_valid(sha, COMMIT_HEX))
                return -EINVAL;
        r = repo_folder(s, type, name, "trees", &dir);
        if (r < 0)
                return r;
        snprintf(file, sizeof(file), "%s.json", sha);
        return store_file_write(s, dir, file, write, arg, 0644);
}

int store_alias_put(const struct store *s, enum repo_type type, const char *name, const char *hub_name)
{
        char folder[REPO_FOLDER_MAX + 1], target[REPO_FOLDER_MAX + 1];
        CLEANUP_FD int dir = -1;
        struct stat st;
        int r;

        if (s->read_only)
                return -EROFS;
        if (!repo_name_valid(name) || !repo_name_valid(hub_name) || strcmp(name, hub_name) == 0)
                return -EINVAL;
        repo_to_folder(type, name, folder);
        repo_to_folder(type, hub_name, target);
        if (fstatat(s->hub_fd, folder, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
                return 0; /* a cache filled before the repo got its new name; it stays as it is */
        r = dir_ensure(s->hub_fd, target, 0755, &dir); /* a link to nothing is of no use */
        return r < 0 ? r : store_symlink_put(s, s->hub_fd, folder, target);
}
