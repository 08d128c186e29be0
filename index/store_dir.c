/*
 * Beneath a directory: the first part of store_dir.h.
 *
 * openat2(2) resolves in the kernel; where it is missing or forbidden (old kernels, seccomp
 * profiles of containers answer ENOSYS or EPERM) each component is opened with O_NOFOLLOW.
 */
#include "index/store_dir.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool path_is_plain(const char *path)
{
        if (path[0] == '/' || path[0] == '\0')
                return false;
        for (const char *p = path; *p != '\0';) {
                size_t n = strcspn(p, "/");

                if (n == 0 || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                p += n;
                p += *p == '/';
        }
        return true;
}

/* One component: a descriptor. A link gives -ELOOP, also where a folder was asked for (the kernel: ENOTDIR). */
static int open_component(int dirfd, const char *name, int flags, mode_t mode)
{
        struct stat st;
        int fd = openat(dirfd, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);

        if (fd >= 0)
                return fd;
        if (errno == ENOTDIR && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
                return -ELOOP;
        return -errno;
}

static int open_by_component(int dirfd, const char *path, int flags, mode_t mode, int *ret_fd)
{
        CLEANUP_FD int at = -1;
        char name[NAME_MAX + 1];
        const char *p = path, *slash;
        int fd;

        while ((slash = strchr(p, '/'))) {
                size_t n = (size_t)(slash - p);
                int next;

                if (n > NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, p, n);
                name[n] = '\0';
                next = open_component(at >= 0 ? at : dirfd, name, O_PATH | O_DIRECTORY, 0);
                if (next < 0)
                        return next;
                cleanup_fd(&at);
                at = next;
                p = slash + 1;
        }
        fd = open_component(at >= 0 ? at : dirfd, p, flags, mode);
        if (fd < 0)
                return fd;
        *ret_fd = fd;
        return 0;
}

int dir_open(int dirfd, const char *path, int flags, mode_t mode, int *ret_fd)
{
        struct open_how how = {
                .flags = (unsigned)(flags | O_CLOEXEC),
                .mode = flags & O_CREAT ? mode : 0,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        long fd;

        if (!path_is_plain(path))
                return -EINVAL;
        fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
        if (fd >= 0) {
                *ret_fd = (int)fd;
                return 0;
        }
        if (errno == ENOSYS || errno == EPERM || errno == EAGAIN)
                return open_by_component(dirfd, path, flags, mode, ret_fd);
        return -errno;
}

int dir_open_regular(int dirfd, const char *path, int *ret_fd, struct stat *ret)
{
        CLEANUP_FD int fd = -1;
        struct stat st;
        int r;

        r = dir_open(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &fd);
        if (r < 0)
                return r == -ENXIO ? -EINVAL : r; /* a socket */
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        *ret = st;
        *ret_fd = take_fd(&fd);
        return 0;
}

int dir_list(int dirfd, const char *path, DIR **ret)
{
        CLEANUP_FD int fd = -1;
        int r = dir_open(dirfd, path, O_RDONLY | O_DIRECTORY, 0, &fd);
        DIR *d;

        if (r < 0)
                return r;
        d = fdopendir(fd);
        if (!d)
                return -errno;
        take_fd(&fd); /* it belongs to the listing now */
        *ret = d;
        return 0;
}

int dir_sync(int fd)
{
        if (FAULT("store.fsync"))
                return -EIO;
        /* some network file systems cannot sync a folder; their renames are synchronous */
        if (fsync(fd) < 0 && errno != EINVAL)
                return -errno;
        return 0;
}

/* One folder below @dirfd: a descriptor. */
static int ensure_component(int dirfd, const char *name, mode_t mode)
{
        CLEANUP_FD int fd = -1;
        bool made;
        int r;

        if (FAULT("store.mkdir"))
                return -ENOSPC;
        made = mkdirat(dirfd, name, mode) == 0;
        if (!made && errno != EEXIST) {
                r = -errno;
                /* EROFS and EACCES may come before EEXIST; a folder that is there will do */
                fd = open_component(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
                return fd >= 0 ? take_fd(&fd) : r;
        }
        fd = open_component(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd;
        if (made) {
                if (fchmod(fd, mode) < 0) /* whatever the umask says */
                        return -errno;
                r = dir_sync(dirfd);
                if (r < 0)
                        return r;
        }
        return take_fd(&fd);
}

int dir_ensure(int dirfd, const char *path, mode_t mode, int *ret_fd)
{
        CLEANUP_FD int at = -1;
        char name[NAME_MAX + 1];

        if (!path_is_plain(path))
                return -EINVAL;
        for (const char *p = path; *p != '\0';) {
                size_t n = strcspn(p, "/");
                int next;

                if (n > NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, p, n);
                name[n] = '\0';
                next = ensure_component(at >= 0 ? at : dirfd, name, mode);
                if (next < 0)
                        return next;
                cleanup_fd(&at);
                at = next;
                p += n;
                p += *p == '/';
        }
        *ret_fd = take_fd(&at);
        return 0;
}
