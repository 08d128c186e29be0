/*
 * Preloaded into weightfs: writes down, in order, all that a process does to the files of one file system, and
 * makes calls fail.
 *
 *   CRASH_LOG    the record's file; appended to. Its format is read by powerloss.py: a struct entry, then two
 *                names and data, each as long as it says.
 *   CRASH_DEV    a folder on the file system of which the record is kept
 *   CRASH_FAIL   what fails: rules.h
 *   CRASH_KILL   "before N" or "after N": kill -9 at the Nth of the calls that are recorded, right before or
 *                right after it
 *
 * A call and its entry are one step, under one lock, so that the order of the record is the order of things.
 * What the C library writes by itself (a FILE) is recorded as a whole when the FILE is closed. Shared memory
 * that is mapped (SQLite's -shm) is not recorded: nothing of it counts after a power loss.
 */
#include "rules.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum op { OP_CREATE = 1, OP_WRITE, OP_TRUNC, OP_SYNC, OP_RENAME, OP_LINK, OP_UNLINK, OP_MKDIR, OP_SYMLINK };

struct entry {
        uint32_t op, name, other, data; /* lengths of what follows */
        uint64_t a, b, c;
};

static pthread_mutex_t step = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static dev_t dev;
static unsigned long kill_at, calls; /* 0: no kill; how many calls were begun, under step */
static bool kill_after;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
        void *f = dlsym(RTLD_NEXT, name);

        if (!f)
                abort();
        return f;
}

__attribute__((constructor)) static void begin(void)
{
        const char *log = getenv("CRASH_LOG"), *folder = getenv("CRASH_DEV"), *rule = getenv("CRASH_KILL");
        struct stat st;
        char when[8];

        if (!log || !folder || stat(folder, &st) < 0)
                return;
        dev = st.st_dev;
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (rule && sscanf(rule, "%7s %lu", when, &kill_at) != 2)
                abort();
        kill_after = rule && strcmp(when, "after") == 0;
}

/* ---- killing ---- */

static void kill_if(bool now)
{
        int saved = errno;

        if (now)
                syscall(SYS_kill, getpid(), SIGKILL);
        errno = saved;
}

/* Around each call that changes something of ours, under step. */
static void call_begins(bool ours)
{
        calls += ours;
        kill_if(ours && calls == kill_at && !kill_after);
}

static void call_ends(bool ours)
{
        kill_if(ours && calls == kill_at && kill_after);
}

/* ---- the record ---- */

static void record(enum op op, uint64_t a, uint64_t b, uint64_t c, const char *name, const char *other,
                   const void *data, size_t len)
{
        struct entry e = { op, (uint32_t)strlen(name), (uint32_t)strlen(other), (uint32_t)len, a, b, c };
        struct iovec iov[] = {
                { &e, sizeof(e) }, { (char *)name, e.name }, { (char *)other, e.other }, { (void *)data, len },
        };
        int saved = errno;

        if (writev(log_fd, iov, 4) != (ssize_t)(sizeof(e) + e.name + e.other + len))
                abort();
        errno = saved;
}

/* The folder that @path is in, and its name there. False: not on our file system. */
static bool place(int dirfd, const char *path, uint64_t *ret_dir, char ret_name[NAME_MAX + 1])
{
        char copy[PATH_MAX], copy2[PATH_MAX];
        struct stat st;

        if (log_fd < 0)
                return false;
        snprintf(copy, sizeof(copy), "%s", path);
        snprintf(copy2, sizeof(copy2), "%s", path);
        if (fstatat(dirfd, dirname(copy), &st, 0) < 0 || st.st_dev != dev)
                return false;
        *ret_dir = st.st_ino;
        snprintf(ret_name, NAME_MAX + 1, "%s", basename(copy2));
        return true;
}

static uint64_t inode(int dirfd, const char *path)
{
        struct stat st;

        return fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

/* 0: not on our file system. */
static uint64_t inode_of(int fd)
{
        struct stat st;

        return log_fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == dev && !S_ISSOCK(st.st_mode) && !S_ISFIFO(st.st_mode)
                       ? st.st_ino
                       : 0;
}

/* ---- files ---- */

static int open_step(int dirfd, const char *path, int flags, mode_t mode)
{
        char name[NAME_MAX + 1];
        bool ours, there;
        uint64_t dir;
        int fd;

        if (rules_say("open", dirfd, path))
                return -1;
        if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE)
                return (int)syscall(SYS_openat, dirfd, path, flags, mode);
        pthread_mutex_lock(&step);
        ours = place(dirfd, path, &dir, name);
        there = ours && inode(dirfd, path) != 0;
        ours = ours && (!there || flags & O_TRUNC);
        call_begins(ours);
        fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
        call_ends(ours);
        if (fd >= 0 && ours && !there)
                record(OP_CREATE, dir, inode_of(fd), 0, name, "", NULL, 0);
        if (fd >= 0 && ours && there)
                record(OP_TRUNC, inode_of(fd), 0, 0, "", "", NULL, 0);
        pthread_mutex_unlock(&step);
        return fd;
}

#define OPEN_MODE(mode)                                                                                      \
        mode_t mode = 0;                                                                                     \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                 \
                va_list ap;                                                                                  \
                va_start(ap, flags);                                                                         \
                mode = va_arg(ap, mode_t);                                                                   \
                va_end(ap);                                                                                  \
        }

#define OPENS(name)                                                                                          \
        int name(const char *path, int flags, ...)                                                           \
        {                                                                                                    \
                OPEN_MODE(mode)                                                                              \
                return open_step(AT_FDCWD, path, flags, mode);                                               \
        }
#define OPENS_AT(name)                                                                                       \
        int name(int dirfd, const char *path, int flags, ...)                                                \
        {                                                                                                    \
                OPEN_MODE(mode)                                                                              \
                return open_step(dirfd, path, flags, mode);                                                  \
        }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

/* openat2(2), which has no wrapper. It makes no files, so nothing is recorded. */
long syscall(long number, ...)
{
        static long (*next)(long, ...);
        long a[6];
        va_list ap;

        va_start(ap, number);
        for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++)
                a[i] = va_arg(ap, long);
        va_end(ap);
        if (!next)
                next = REAL(syscall);
        if (number == SYS_openat2 && rules_say("open", (int)a[0], (const char *)a[1]))
                return -1;
        return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static ssize_t write_step(int fd, const void *buf, size_t len, off_t at)
{
        uint64_t file;
        ssize_t n;

        if (rules_say("write", fd, ""))
                return -1;
        pthread_mutex_lock(&step);
        file = inode_of(fd);
        if (at < 0 && file != 0)
                at = lseek(fd, 0, SEEK_CUR);
        call_begins(file != 0);
        n = at < 0 ? syscall(SYS_write, fd, buf, len) : syscall(SYS_pwrite64, fd, buf, len, at);
        call_ends(file != 0);
        if (at >= 0 && file != 0 && n > 0) {
                int saved = errno;

                if (lseek(fd, 0, SEEK_CUR) == at)
                        lseek(fd, n, SEEK_CUR);
                errno = saved;
                record(OP_WRITE, file, (uint64_t)at, 0, "", "", buf, (size_t)n);
        }
        pthread_mutex_unlock(&step);
        return n;
}

ssize_t write(int fd, const void *buf, size_t len)
{
        return write_step(fd, buf, len, -1);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t at)
{
        return write_step(fd, buf, len, at);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t at)
{
        return write_step(fd, buf, len, at);
}

static ssize_t read_step(int fd, void *buf, size_t len, off_t at)
{
        return rules_say("read", fd, "") ? -1 : syscall(SYS_pread64, fd, buf, len, at);
}

ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
        return read_step(fd, buf, len, at);
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t at)
{
        return read_step(fd, buf, len, at);
}

static int truncate_step(int fd, off_t size)
{
        uint64_t file;
        int r;

        if (rules_say("truncate", fd, ""))
                return -1;
        pthread_mutex_lock(&step);
        file = inode_of(fd);
        call_begins(file != 0);
        r = (int)syscall(SYS_ftruncate, fd, size);
        call_ends(file != 0);
        if (r == 0 && file != 0)
                record(OP_TRUNC, file, (uint64_t)size, 0, "", "", NULL, 0);
        pthread_mutex_unlock(&step);
        return r;
}

int ftruncate(int fd, off_t size)
{
        return truncate_step(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
        return truncate_step(fd, size);
}

static int sync_step(int fd, long call)
{
        uint64_t file;
        int r;

        if (rules_say("fsync", fd, ""))
                return -1;
        pthread_mutex_lock(&step);
        file = inode_of(fd);
        call_begins(file != 0);
        r = (int)syscall(call, fd);
        call_ends(file != 0);
        if (r == 0 && file != 0)
                record(OP_SYNC, file, 0, 0, "", "", NULL, 0);
        pthread_mutex_unlock(&step);
        return r;
}

int fsync(int fd)
{
        return sync_step(fd, SYS_fsync);
}

int fdatasync(int fd)
{
        return sync_step(fd, SYS_fdatasync);
}

/* Whatever the stream wrote. */
static void record_whole(int fd)
{
        char self[32];
        struct stat st;
        char *data;
        int again;

        if (inode_of(fd) == 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return;
        snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
        again = (int)syscall(SYS_openat, AT_FDCWD, self, O_RDONLY | O_CLOEXEC, 0);
        data = malloc((size_t)st.st_size + 1);
        if (again < 0 || !data || syscall(SYS_pread64, again, data, (size_t)st.st_size, 0) != st.st_size)
                abort();
        record(OP_WRITE, st.st_ino, 0, 0, "", "", data, (size_t)st.st_size);
        free(data);
        close(again);
}

int fclose(FILE *f)
{
        int fd = fileno(f);

        if (fd >= 0 && inode_of(fd) != 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) {
                if (rules_say("write", fd, "")) {
                        int saved = errno;

                        REAL(fclose)(f);
                        errno = saved;
                        return EOF;
                }
                pthread_mutex_lock(&step);
                call_begins(true);
                if (fflush(f) == 0)
                        record_whole(fd);
                call_ends(true);
                pthread_mutex_unlock(&step);
        }
        return REAL(fclose)(f);
}

/* ---- names ---- */

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
        char name[NAME_MAX + 1], other[NAME_MAX + 1];
        uint64_t a, b;
        bool ours;
        int r;

        if (rules_say("rename", to_dir, to))
                return -1;
        pthread_mutex_lock(&step);
        ours = place(from_dir, from, &a, name) && place(to_dir, to, &b, other);
        ours = ours && inode(from_dir, from) != inode(to_dir, to); /* else it does nothing */
        call_begins(ours);
        r = (int)syscall(SYS_renameat, from_dir, from, to_dir, to);
        call_ends(ours);
        if (r == 0 && ours)
                record(OP_RENAME, a, b, 0, name, other, NULL, 0);
        pthread_mutex_unlock(&step);
        return r;
}

int rename(const char *from, const char *to)
{
        return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
        char name[NAME_MAX + 1], other[NAME_MAX + 1];
        uint64_t a, b;
        bool ours;
        int r;

        if (rules_say("link", to_dir, to))
                return -1;
        pthread_mutex_lock(&step);
        ours = place(from_dir, from, &a, name) && place(to_dir, to, &b, other);
        call_begins(ours);
        r = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
        call_ends(ours);
        if (r == 0 && ours)
                record(OP_LINK, a, b, 0, name, other, NULL, 0);
        pthread_mutex_unlock(&step);
        return r;
}

int unlinkat(int dirfd, const char *path, int flags)
{
        char name[NAME_MAX + 1];
        uint64_t dir;
        bool ours;
        int r;

        pthread_mutex_lock(&step);
        ours = place(dirfd, path, &dir, name);
        call_begins(ours);
        r = (int)syscall(SYS_unlinkat, dirfd, path, flags);
        call_ends(ours);
        if (r == 0 && ours)
                record(OP_UNLINK, dir, 0, 0, name, "", NULL, 0);
        pthread_mutex_unlock(&step);
        return r;
}

int unlink(const char *path)
{
        return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
        char name[NAME_MAX + 1];
        uint64_t dir;
        bool ours;
        int r;

        if (rules_say("mkdir", dirfd, path))
                return -1;
        pthread_mutex_lock(&step);
        ours = place(dirfd, path, &dir, name);
        call_begins(ours);
        r = (int)syscall(SYS_mkdirat, dirfd, path, mode);
        call_ends(ours);
        if (r == 0 && ours)
                record(OP_MKDIR, dir, inode(dirfd, path), 0, name, "", NULL, 0);
        pthread_mutex_unlock(&step);
        return r;
}

int mkdir(const char *path, mode_t mode)
{
        return mkdirat(AT_FDCWD, path, mode);
}

int symlinkat(const char *target, int dirfd, const char *path)
{
        char name[NAME_MAX + 1];
        uint64_t dir;
        bool ours;
        int r;

        if (rules_say("symlink", dirfd, path))
                return -1;
        pthread_mutex_lock(&step);
        ours = place(dirfd, path, &dir, name);
        call_begins(ours);
        r = (int)syscall(SYS_symlinkat, target, dirfd, path);
        call_ends(ours);
        if (r == 0 && ours)
                record(OP_SYMLINK, dir, inode(dirfd, path), 0, name, target, NULL, 0);
        pthread_mutex_unlock(&step);
        return r;
}
