/*
 * Opening the store and finding things in it; what is written is in store_put.c, how names are
 * opened safely in store_dir.c.
 *
 * STORE/hub, STORE/partial and STORE/quarantine may not be links: what is below them is opened
 * beneath descriptors that are held as long as the store is (S3).
 */
#include "index/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

DEFINE_CLEANUP(struct store *, store, store_close)

static const char tag_text[] =
        "Signature: 8a477f597d28d172789f06886806bc55\n"
        "# This file marks a folder whose contents can be downloaded again.\n"
        "# Backup tools pass over it: https://bford.info/cachedir/\n";

static int say(struct errmsg *err, int r, const char *path, const char *sub)
{
        const char *sep = sub[0] == '\0' ? "" : "/";

        switch (r) {
        case -EACCES:
        case -EPERM:
                return errmsg_set(err, r,
                                  "cannot write to %s%s%s: permission denied; give it to the user "
                                  "that the daemon runs as, or choose another --store",
                                  path, sep, sub);
        case -EROFS:
                return errmsg_set(err, r, "%s%s%s is on a read-only file system; choose another --store, or "
                                          "mount with --read-only-store to serve what it holds", path, sep, sub);
        case -ENOSPC:
        case -EDQUOT:
                return errmsg_set(err, r, "no space left for %s%s%s; free some, or choose another --store",
                                  path, sep, sub);
        case -ENOTDIR:
                return errmsg_set(err, r, "%s%s%s is not a folder; move it away, or choose another --store",
                                  path, sep, sub);
        case -ELOOP:
                return errmsg_set(err, r,
                                  "%s%s%s is a symbolic link; give the folder it points to as --store", path,
                                  sep, sub);
        case -ENOENT:
                return errmsg_set(err, r, "%s%s%s does not exist, and nothing can be created in a read-only "
                                          "store", path, sep, sub);
        default:
                return errmsg_set(err, r, "cannot open the store %s%s%s: %s", path, sep, sub, strerror(-r));
        }
}

static int open_root(struct store *s, const char *path, struct errmsg *err)
{
        int r;

        if (!s->read_only) {
                r = mkdir_parents_at(AT_FDCWD, path, 0755);
                /* a parent on a read-only disk says EROFS or EACCES though it is there */
                if (r < 0 && faccessat(AT_FDCWD, path, F_OK, 0) < 0)
                        return say(err, r, path, "");
        }
        s->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->root_fd < 0)
                return say(err, -errno, path, "");
        s->path = realpath(path, NULL);
        return s->path ? 0 : say(err, -errno, path, "");
}

/* A folder of the store that must take new files. A full disk is found out at the first write. */
static int open_writable(struct store *s, const char *sub, mode_t mode, int *ret_fd, struct errmsg *err)
{
        int r = dir_ensure(s->root_fd, sub, mode, ret_fd);

        if (r == 0 && faccessat(*ret_fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
                r = -errno;
        return r < 0 ? say(err, r, s->path, sub) : 0;
}

static int open_folders(struct store *s, struct errmsg *err)
{
        char partial[sizeof("partial/") + STORE_INSTANCE_MAX];
        int r;

        if (s->read_only) {
                r = dir_open(s->root_fd, "hub", O_RDONLY | O_DIRECTORY, 0, &s->hub_fd);
                return r < 0 ? say(err, r, s->path, "hub") : 0;
        }
        snprintf(partial, sizeof(partial), "partial/%s", s->instance);
        r = open_writable(s, "hub", 0755, &s->hub_fd, err);
        if (r == 0)
                r = open_writable(s, partial, 0700, &s->partial_fd, err);
        /* what an earlier process, perhaps killed, has removed there stays so (F3 of blob_fill.c) */
        if (r == 0)
                (void)dir_sync(s->partial_fd);
        if (r == 0)
                r = open_writable(s, "quarantine", 0700, &s->quarantine_fd, err);
        return r;
}

/* Tells backup tools to pass over the cache, as huggingface_hub does; not worth an error. */
static void tag(const struct store *s)
{
        if (faccessat(s->hub_fd, "CACHEDIR.TAG", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
                (void)store_file_put(s, s->hub_fd, "CACHEDIR.TAG", tag_text, strlen(tag_text), 0644);
}

int store_open(const char *path, const char *instance, bool read_only, struct store **ret,
               struct errmsg *err)
{
        CLEANUP(cleanup_store) struct store *s = calloc(1, sizeof(*s));
        size_t len = strlen(instance);
        int r;

        if (!s)
                return -ENOMEM;
        s->root_fd = s->hub_fd = s->partial_fd = s->quarantine_fd = -1;
        s->read_only = read_only;
        if (len > STORE_INSTANCE_MAX || len == 0 || !hex_valid(instance, len))
                return errmsg_set(err, -EINVAL, "\"%s\" cannot name a folder of partial files", instance);
        strcpy(s->instance, instance);
        if (getrandom(&s->run, sizeof(s->run), 0) != sizeof(s->run))
                return -EIO;
        r = open_root(s, path, err);
        if (r == 0)
                r = open_folders(s, err);
        if (r < 0)
                return r;
        if (!read_only)
                tag(s);
        *ret = take_ptr(s);
        return 0;
}

struct store *store_close(struct store *s)
{
        if (!s)
                return NULL;
        cleanup_fd(&s->quarantine_fd);
        cleanup_fd(&s->partial_fd);
        cleanup_fd(&s->hub_fd);
        cleanup_fd(&s->root_fd);
        free(s->path);
        free(s);
        return NULL;
}

const char *store_path(const struct store *s)
{
        return s->path;
}

int store_hub_fd(const struct store *s)
{
        return s->hub_fd;
}

int store_partial_fd(const struct store *s)
{
        return s->partial_fd;
}

int store_statfs(const struct store *s, struct statvfs *ret)
{
        return fstatvfs(s->root_fd, ret) < 0 ? -errno : 0;
}

/* The folder that an alias link stands for: one component, of the same type of repo. */
static int open_alias(const struct store *s, enum repo_type type, const char *folder, int *ret_fd)
{
        char target[REPO_FOLDER_MAX + 2], name[REPO_NAME_MAX + 1];
        ssize_t n = readlinkat(s->hub_fd, folder, target, sizeof(target) - 1);
        enum repo_type target_type;

        if (n < 0)
                return -ELOOP;
        target[n] = '\0';
        if (!repo_from_folder(target, &target_type, name) || target_type != type)
                return -ELOOP;
        return dir_open(s->hub_fd, target, O_RDONLY | O_DIRECTORY, 0, ret_fd);
}

int store_repo_open(const struct store *s, enum repo_type type, const char *name, bool create, int *ret_fd)
{
        char folder[REPO_FOLDER_MAX + 1];
        int r;

        if (!repo_name_valid(name))
                return -EINVAL;
        repo_to_folder(type, name, folder);
        if (create && s->read_only)
                return -EROFS;
        if (create)
                r = dir_ensure(s->hub_fd, folder, 0755, ret_fd);
        else
                r = dir_open(s->hub_fd, folder, O_RDONLY | O_DIRECTORY, 0, ret_fd);
        return r == -ELOOP ? open_alias(s, type, folder, ret_fd) : r;
}

void blob_place_done(struct blob_place *p)
{
        cleanup_fd(&p->dir);
        p->dir = -1;
}

/* A link in place of a blob: "../../blobs/<xx>/<hash>", the shared store of huggingface_hub, where
 * <xx> begins <hash>; nothing else (S3). */
static int locate_shared(const struct store *s, int blobs, const char *etag, struct blob_place *ret)
{
        static const char prefix[] = "../../blobs/";
        char target[sizeof(prefix) + SHA256_HEX + 4], folder[sizeof("blobs/xx")];
        ssize_t n = readlinkat(blobs, etag, target, sizeof(target) - 1);
        const char *xx = target + strlen(prefix), *hash = xx + 3;

        if (n != (ssize_t)strlen(prefix) + 3 + SHA256_HEX)
                return -ELOOP;
        target[n] = '\0';
        if (strncmp(target, prefix, strlen(prefix)) != 0 || xx[2] != '/' || !hex_valid(hash, SHA256_HEX) ||
            strncmp(xx, hash, 2) != 0)
                return -ELOOP;
        snprintf(folder, sizeof(folder), "blobs/%.2s", hash);
        *ret = (struct blob_place){ .dir = -1, .shared = true };
        strcpy(ret->name, hash);
        return dir_open(s->hub_fd, folder, O_RDONLY | O_DIRECTORY, 0, &ret->dir);
}

int store_blob_locate(const struct store *s, enum repo_type type, const char *name, const char *etag,
                      struct blob_place *ret)
{
        CLEANUP_FD int repo = -1, blobs = -1;
        struct stat st;
        int r;

        if (!etag_valid(etag))
                return -EINVAL;
        r = store_repo_open(s, type, name, false, &repo);
        if (r < 0)
                return r;
        r = dir_open(repo, "blobs", O_RDONLY | O_DIRECTORY, 0, &blobs);
        if (r < 0)
                return r;
        if (fstatat(blobs, etag, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISLNK(st.st_mode))
                return locate_shared(s, blobs, etag, ret);
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        *ret = (struct blob_place){ .dir = take_fd(&blobs) };
        strcpy(ret->name, etag);
        return 0;
}

int store_blob_open(const struct store *s, enum repo_type type, const char *name, const char *etag,
                    int *ret_fd, uint64_t *ret_size)
{
        CLEANUP(blob_place_done) struct blob_place at = { .dir = -1 };
        struct stat st;
        int r;

        r = store_blob_locate(s, type, name, etag, &at);
        if (r < 0)
                return r;
        r = dir_open_regular(at.dir, at.name, ret_fd, &st);
        if (r < 0)
                return r;
        *ret_size = (uint64_t)st.st_size;
        return 0;
}

int store_tree_open(const struct store *s, enum repo_type type, const char *name, const char *sha,
                    int *ret_fd, uint64_t *ret_size)
{
        CLEANUP_FD int repo = -1;
        char path[sizeof("trees/.json") + COMMIT_HEX];
        struct stat st;
        int r;

        if (!hex_valid(sha, COMMIT_HEX))
                return -EINVAL;
        r = store_repo_open(s, type, name, false, &repo);
        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "trees/%s.json", sha);
        r = dir_open_regular(repo, path, ret_fd, &st);
        if (r < 0)
                return r;
        *ret_size = (uint64_t)st.st_size;
        return 0;
}
