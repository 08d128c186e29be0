/*
 * Files of the store under temporary and final names: the second part of store_dir.h.
 *
 * Only link(2), rename(2), O_EXCL and fsync(2) are relied on: NFS has neither O_TMPFILE nor
 * RENAME_NOREPLACE. Temporary names are .weightfs-<instance>-<run><count>.tmp, in the folder of
 * the final name; a failure removes them, and those of a dead process are known by their run.
 */
#include "index/store_dir.h"

#include "base/clock.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COPY_PIECE (1u << 20)

void store_tmp_name(const struct store *s, char *ret)
{
        unsigned n = atomic_fetch_add(&((struct store *)s)->tmp_count, 1);

        snprintf(ret, STORE_TMP_MAX, ".weightfs-%s-%08" PRIx32 "%08x.tmp", s->instance, s->run, n);
}

bool store_tmp_stale(const struct store *s, const char *name)
{
        char ours[STORE_TMP_MAX];
        int prefix = snprintf(ours, sizeof(ours), ".weightfs-%s-", s->instance);
        size_t len = strlen(name);

        snprintf(ours + prefix, sizeof(ours) - (size_t)prefix, "%08" PRIx32, s->run);
        return strncmp(name, ours, (size_t)prefix) == 0 && len > 4 && strcmp(name + len - 4, ".tmp") == 0 &&
               strncmp(name, ours, strlen(ours)) != 0;
}

static int rename_sync(int from_dir, const char *from, int to_dir, const char *to)
{
        if (FAULT("store.rename"))
                return -EIO;
        if (renameat(from_dir, from, to_dir, to) < 0)
                return -errno;
        return dir_sync(to_dir);
}

static int file_sync(int fd)
{
        if (FAULT("store.fsync"))
                return -EIO;
        return fsync(fd) < 0 ? -errno : 0;
}

/* A temporary file with @mode, whatever the umask says. */
static int tmp_create(const struct store *s, int dir, mode_t mode, char *ret_name, int *ret_fd)
{
        CLEANUP_FD int fd = -1;

        store_tmp_name(s, ret_name);
        if (FAULT("store.create"))
                return -ENOSPC;
        fd = openat(dir, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        if (fchmod(fd, mode) < 0) {
                int r = -errno;

                unlinkat(dir, ret_name, 0);
                return r;
        }
        *ret_fd = take_fd(&fd);
        return 0;
}

static int write_and_sync(int fd, store_write_fn write, const void *arg)
{
        CLEANUP_FD int again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        FILE *to = again < 0 ? NULL : fdopen(again, "w");
        int r;

        if (!to)
                return -errno;
        again = -1; /* the stream's */
        errno = 0;
        r = FAULT("store.write") ? -ENOSPC : write(arg, to);
        if (fclose(to) != 0 && r == 0)
                r = errno ? -errno : -EIO;
        return r < 0 ? r : file_sync(fd);
}

int store_file_write(const struct store *s, int dir, const char *name, store_write_fn write, const void *arg,
                     mode_t mode)
{
        CLEANUP_FD int fd = -1;
        char tmp[STORE_TMP_MAX];
        int r;

        r = tmp_create(s, dir, mode, tmp, &fd);
        if (r < 0)
                return r;
        r = write_and_sync(fd, write, arg);
        if (r == 0)
                r = rename_sync(dir, tmp, dir, name);
        if (r < 0)
                unlinkat(dir, tmp, 0);
        return r;
}

struct span {
        const void *data;
        size_t len;
};

static int write_span(const void *arg, FILE *to)
{
        const struct span *span = arg;

        return fwrite(span->data, 1, span->len, to) == span->len ? 0 : errno ? -errno : -EIO;
}

int store_file_put(const struct store *s, int dir, const char *name, const void *data, size_t len,
                   mode_t mode)
{
        return store_file_write(s, dir, name, write_span, &(struct span){ data, len }, mode);
}

int store_symlink_put(const struct store *s, int dir, const char *name, const char *target)
{
        char tmp[STORE_TMP_MAX], now[PATH_MAX];
        ssize_t n = readlinkat(dir, name, now, sizeof(now));
        int r;

        if (n >= 0 && (size_t)n == strlen(target) && memcmp(now, target, (size_t)n) == 0)
                return 0;
        if (n < 0 && errno == EINVAL)
                return 0; /* a file: caches made where links are impossible have them */
        if (n < 0 && errno != ENOENT)
                return -errno;
        store_tmp_name(s, tmp);
        if (FAULT("store.symlink"))
                return -ENOSPC;
        if (symlinkat(target, dir, tmp) < 0)
                return -errno;
        r = rename_sync(dir, tmp, dir, name);
        if (r < 0)
                unlinkat(dir, tmp, 0);
        return r;
}

static int copy_bytes(int from, int to)
{
        CLEANUP_FREE char *buf = malloc(COPY_PIECE);
        uint64_t offset = 0;
        ssize_t n;

        if (!buf)
                return -ENOMEM;
        while ((n = pread_all(from, buf, COPY_PIECE, offset)) > 0) {
                int r = FAULT("store.write") ? -ENOSPC : pwrite_all(to, buf, (size_t)n, offset);

                if (r < 0)
                        return r;
                offset += (uint64_t)n;
        }
        return n < 0 ? (int)n : file_sync(to);
}

static int place_copy_of(const struct store *s, int in, int to_dir, const char *to)
{
        CLEANUP_FD int out = -1;
        char tmp[STORE_TMP_MAX];
        int r;

        r = tmp_create(s, to_dir, 0644, tmp, &out);
        if (r < 0)
                return r;
        r = copy_bytes(in, out);
        if (r == 0)
                r = rename_sync(to_dir, tmp, to_dir, to);
        if (r < 0)
                unlinkat(to_dir, tmp, 0);
        return r;
}

static int place_copy(const struct store *s, int from_dir, const char *from, int to_dir, const char *to)
{
        CLEANUP_FD int in = -1;
        struct stat st;
        int r = dir_open_regular(from_dir, from, &in, &st);

        return r < 0 ? r : place_copy_of(s, in, to_dir, to);
}

static int link_at(int from_dir, const char *from, int to_dir, const char *to)
{
        if (FAULT("store.link"))
                return -EIO;
        return linkat(from_dir, from, to_dir, to, 0) < 0 ? -errno : 0;
}

bool file_is_named(int fd, int dir, const char *name)
{
        struct stat open, there;

        return fstat(fd, &open) == 0 && fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
               there.st_ino == open.st_ino && there.st_dev == open.st_dev;
}

/* A link over something unfit: under a temporary name first, then renamed. Of the file of @fd alone, unless it
 * is -1: what is seen under @from may be replaced at any moment, what has the temporary name is not. */
static int place_over(const struct store *s, int fd, int from_dir, const char *from, int to_dir, const char *to)
{
        char tmp[STORE_TMP_MAX];
        int r;

        store_tmp_name(s, tmp);
        r = link_at(from_dir, from, to_dir, tmp);
        if (r < 0)
                return r;
        r = fd < 0 || file_is_named(fd, to_dir, tmp) ? rename_sync(to_dir, tmp, to_dir, to) : -ESTALE;
        unlinkat(to_dir, tmp, 0); /* rename(2) does nothing when both are one file already */
        return r;
}

static bool links_impossible(int r)
{
        /* the simulated failure names itself, so that tests reach the fallbacks */
        return r == -EPERM || r == -EMLINK || r == -EXDEV || r == -EOPNOTSUPP || r == -ENOSYS;
}

int store_place(const struct store *s, int from_dir, const char *from, int to_dir, const char *to,
                bool may_move)
{
        int r = FAULT("store.nolinks") ? -EPERM : link_at(from_dir, from, to_dir, to);

        if (r == 0)
                return dir_sync(to_dir);
        if (r == -EEXIST)
                r = place_over(s, -1, from_dir, from, to_dir, to);
        if (!links_impossible(r))
                return r;
        if (may_move) {
                r = rename_sync(from_dir, from, to_dir, to);
                if (r != -EXDEV)
                        return r;
        }
        return place_copy(s, from_dir, from, to_dir, to);
}

int store_place_file(const struct store *s, int fd, int from_dir, const char *from, int to_dir, const char *to)
{
        int r = FAULT("store.nolinks") ? -EPERM : place_over(s, fd, from_dir, from, to_dir, to);

        return links_impossible(r) ? place_copy_of(s, fd, to_dir, to) : r;
}

int store_set_aside(const struct store *s, int dir, const char *file, const char *name)
{
        char to[ETAG_MAX + 48];
        int64_t now = clock_wall_s();
        int n = snprintf(to, sizeof(to), "%s.%" PRId64, name, now), r;

        if (s->read_only)
                return -EROFS;
        for (int i = 1; faccessat(s->quarantine_fd, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && i < 1000; i++)
                snprintf(to + n, sizeof(to) - (size_t)n, "-%d", i);
        r = rename_sync(dir, file, s->quarantine_fd, to);
        if (r == -EXDEV) {
                r = place_copy(s, dir, file, s->quarantine_fd, to);
                if (r == 0 && unlinkat(dir, file, 0) < 0)
                        r = -errno;
        }
        return r < 0 ? r : dir_sync(dir);
}
