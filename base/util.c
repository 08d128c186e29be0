/*
 * Implementation of util.h: file helpers that resume after short transfers and EINTR.
 */
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void cleanup_fd(const int *fd)
{
        int saved = errno;

        if (*fd >= 0)
                close(*fd);
        errno = saved;
}

int pwrite_all(int fd, const void *buf, size_t len, uint64_t offset)
{
        const char *p = buf;

        while (len > 0) {
                ssize_t n = pwrite(fd, p, len, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EIO;
                p += n;
                len -= (size_t)n;
                offset += (uint64_t)n;
        }
        return 0;
}

ssize_t pread_all(int fd, void *buf, size_t len, uint64_t offset)
{
        char *p = buf;
        size_t done = 0;

        while (done < len) {
                ssize_t n = pread(fd, p + done, len - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                done += (size_t)n;
        }
        return (ssize_t)done;
}

int read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
        CLEANUP_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        CLEANUP_FREE char *buf = NULL;
        size_t capacity = 4096, len = 0;

        if (fd < 0)
                return -errno;
        for (;;) {
                char *grown = realloc(buf, capacity + 1);
                ssize_t n;

                if (!grown)
                        return -ENOMEM;
                buf = grown;
                n = pread_all(fd, buf + len, capacity - len, len);
                if (n < 0)
                        return (int)n;
                len += (size_t)n;
                if (len > max)
                        return -EFBIG;
                if (len < capacity)
                        break;
                capacity *= 2;
        }
        buf[len] = '\0';
        if (ret_len)
                *ret_len = len;
        *ret = take_ptr(buf);
        return 0;
}

/* Makes the name of a new folder durable: by syncing the folder that it is in. */
static int sync_parent(int dirfd, const char *path)
{
        const char *slash = strrchr(path, '/');
        char parent[PATH_MAX];
        CLEANUP_FD int fd = -1;
        size_t len = !slash ? 1 : slash == path ? 1 : (size_t)(slash - path);

        memcpy(parent, slash ? path : ".", len);
        parent[len] = '\0';
        fd = openat(dirfd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == EACCES ? 0 : -errno; /* one may write to it and not read it */
        return fsync(fd) < 0 && errno != EINVAL ? -errno : 0; /* EINVAL: no such thing on some network file systems */
}

int mkdir_parents_at(int dirfd, const char *path, mode_t mode)
{
        char partial[PATH_MAX];
        size_t len = strlen(path);
        struct stat st;
        int r;

        if (len == 0 || len >= sizeof(partial))
                return len == 0 ? -EINVAL : -ENAMETOOLONG;
        memcpy(partial, path, len + 1);
        for (char *p = partial + 1;; p++) {
                char saved = *p;

                if (saved != '/' && saved != '\0')
                        continue;
                *p = '\0';
                r = mkdirat(dirfd, partial, mode) == 0 ? sync_parent(dirfd, partial) : errno == EEXIST ? 0 : -errno;
                if (r < 0)
                        return r;
                *p = saved;
                if (saved == '\0') /* EEXIST may have spoken of a file */
                        return fstatat(dirfd, path, &st, 0) < 0 ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
        }
}
