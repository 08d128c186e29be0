/*
 * Implementation of shim.h: what is armed, and the wrapped calls of the C library, libcrypto and threads.
 */
#include "faults/shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/openat2.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const char __executable_start;

const char *const shim_names[SHIM_KINDS] = {
        [SHIM_NONE] = "none",
        [SHIM_MEMORY] = "memory",
        [SHIM_FILE] = "file",
        [SHIM_SPACE] = "space",
        [SHIM_EINTR] = "eintr",
        [SHIM_SHORT] = "short",
        [SHIM_SQLITE_MEMORY] = "sqlite-memory",
        [SHIM_SQLITE_FILE] = "sqlite-file",
        [SHIM_SQLITE_FULL] = "sqlite-full",
        [SHIM_CURL] = "curl",
        [SHIM_TRANSFER] = "transfer",
};

static _Atomic enum shim_kind armed;
static _Atomic enum shim_how armed_how;
static _Atomic uint64_t armed_n, passes, fired;
static struct shim_site first; /* written by the pass that made fired 1 */
static _Thread_local bool exempt;

void shim_sqlite_init(void);

void shim_init(void)
{
        shim_sqlite_init();
}

void shim_arm(enum shim_kind kind, enum shim_how how, uint64_t n)
{
        passes = fired = 0;
        first = (struct shim_site){};
        armed_how = how;
        armed_n = n;
        armed = kind;
}

void shim_disarm(void)
{
        armed = SHIM_NONE;
}

uint64_t shim_passes(void)
{
        return passes;
}

uint64_t shim_fired(void)
{
        return fired;
}

struct shim_site shim_first(void)
{
        return first;
}

void shim_exempt(bool is_exempt)
{
        exempt = is_exempt;
}

bool shim_pass(enum shim_kind kind, const char *call, const void *caller)
{
        enum shim_how how = armed_how;
        uint64_t n = armed_n, pass;

        if (kind != armed || exempt)
                return false;
        pass = ++passes;
        if (n == 0 || (how == SHIM_ONCE ? pass != n : how == SHIM_FROM ? pass < n : pass % n != 0))
                return false;
        if (fired++ == 0) {
                strncpy(first.call, call, sizeof(first.call) - 1);
                first.caller = (uintptr_t)caller - (uintptr_t)&__executable_start;
        }
        return true;
}

/* Defines the wrapper of a call that answers @bad, with errno for memory. */
#define WRAP_MEMORY(type, name, params, args, bad)         \
        type __real_##name params;                         \
        type __wrap_##name params;                         \
        type __wrap_##name params                          \
        {                                                  \
                if (SHIM_FAILS(SHIM_MEMORY, #name)) {      \
                        errno = ENOMEM;                    \
                        return bad;                        \
                }                                          \
                return __real_##name args;                 \
        }

WRAP_MEMORY(void *, malloc, (size_t size), (size), NULL)
WRAP_MEMORY(void *, calloc, (size_t n, size_t size), (n, size), NULL)
WRAP_MEMORY(void *, realloc, (void *p, size_t size), (p, size), NULL)
WRAP_MEMORY(void *, reallocarray, (void *p, size_t n, size_t size), (p, n, size), NULL)
WRAP_MEMORY(char *, strdup, (const char *s), (s), NULL)
WRAP_MEMORY(char *, strndup, (const char *s, size_t n), (s, n), NULL)
WRAP_MEMORY(char *, realpath, (const char *path, char *to), (path, to), NULL)
WRAP_MEMORY(DIR *, fdopendir, (int fd), (fd), NULL)
WRAP_MEMORY(FILE *, fdopen, (int fd, const char *mode), (fd, mode), NULL)
WRAP_MEMORY(EVP_MD_CTX *, EVP_MD_CTX_new, (void), (), NULL)
WRAP_MEMORY(int, EVP_DigestInit_ex, (EVP_MD_CTX *c, const EVP_MD *md, ENGINE *e), (c, md, e), 0)
WRAP_MEMORY(int, EVP_DigestUpdate, (EVP_MD_CTX *c, const void *data, size_t len), (c, data, len), 0)
WRAP_MEMORY(int, EVP_DigestFinal_ex, (EVP_MD_CTX *c, unsigned char *md, unsigned *len), (c, md, len), 0)
WRAP_MEMORY(int, EVP_MD_CTX_copy_ex, (EVP_MD_CTX *to, const EVP_MD_CTX *from), (to, from), 0)

/* Of jansson only what it answers fails: some allocations within make it abort. */
WRAP_MEMORY(json_t *, json_object, (void), (), NULL)
WRAP_MEMORY(json_t *, json_array, (void), (), NULL)
WRAP_MEMORY(json_t *, json_string, (const char *s), (s), NULL)
WRAP_MEMORY(json_t *, json_integer, (json_int_t n), (n), NULL)
WRAP_MEMORY(int, json_dumpf, (const json_t *v, FILE *to, size_t flags), (v, to, flags), -1)
WRAP_MEMORY(char *, json_dumps, (const json_t *v, size_t flags), (v, flags), NULL)

json_t *__real_json_loadb(const char *text, size_t len, size_t flags, json_error_t *e);
json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *e);
json_t *__wrap_json_loadb(const char *text, size_t len, size_t flags, json_error_t *e)
{
        if (!SHIM_FAILS(SHIM_MEMORY, "json_loadb"))
                return __real_json_loadb(text, len, flags, e);
        if (e)
                *e = (json_error_t){ .position = 0 }; /* as where an object could not be made */
        return NULL;
}

int __wrap_asprintf(char **ret, const char *fmt, ...);
int __wrap_asprintf(char **ret, const char *fmt, ...)
{
        va_list ap;
        int n;

        if (SHIM_FAILS(SHIM_MEMORY, "asprintf")) {
                *ret = (char *)1; /* what it leaves is undefined, says its manual page */
                errno = ENOMEM;
                return -1;
        }
        va_start(ap, fmt);
        n = vasprintf(ret, fmt, ap);
        va_end(ap);
        return n;
}

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
        return SHIM_FAILS(SHIM_MEMORY, "pthread_create") ? EAGAIN : __real_pthread_create(t, a, run, arg);
}

/* Thousands of failures would be told. */
void __wrap_log_write(int level, const char *component, const char *fmt, ...);
void __wrap_log_write(int level, const char *component, const char *fmt, ...)
{
        (void)level, (void)component, (void)fmt;
}

/* ---- files ---- */

static bool file_fails(enum shim_kind second, int error, const char *call, const void *caller)
{
        if (shim_pass(SHIM_FILE, call, caller)) {
                errno = EIO;
                return true;
        }
        if (second != SHIM_NONE && shim_pass(second, call, caller)) {
                errno = error;
                return true;
        }
        return false;
}

#define CALLER __builtin_return_address(0)
#define READS(call) file_fails(SHIM_NONE, 0, call, CALLER)
#define WRITES(call) file_fails(SHIM_SPACE, ENOSPC, call, CALLER)
#define OPENS(call, flags) file_fails(SHIM_SPACE, (flags) & O_CREAT ? ENOSPC : EMFILE, call, CALLER)

#define WRAP_FILE(fails, type, name, params, args, bad) \
        type __real_##name params;                      \
        type __wrap_##name params;                      \
        type __wrap_##name params                       \
        {                                               \
                if (fails(#name))                       \
                        return bad;                     \
                return __real_##name args;              \
        }

WRAP_FILE(WRITES, int, fsync, (int fd), (fd), -1)
WRAP_FILE(WRITES, int, fdatasync, (int fd), (fd), -1)
WRAP_FILE(WRITES, int, ftruncate64, (int fd, off_t len), (fd, len), -1)
WRAP_FILE(WRITES, int, renameat, (int d, const char *from, int e, const char *to), (d, from, e, to), -1)
WRAP_FILE(WRITES, int, rename, (const char *from, const char *to), (from, to), -1)
WRAP_FILE(WRITES, int, linkat, (int d, const char *from, int e, const char *to, int f), (d, from, e, to, f), -1)
WRAP_FILE(WRITES, int, symlinkat, (const char *target, int d, const char *name), (target, d, name), -1)
WRAP_FILE(WRITES, int, mkdirat, (int d, const char *name, mode_t mode), (d, name, mode), -1)
WRAP_FILE(READS, int, unlinkat, (int d, const char *name, int flags), (d, name, flags), -1)
WRAP_FILE(READS, int, fchmod, (int fd, mode_t mode), (fd, mode), -1)
WRAP_FILE(READS, int, chmod, (const char *path, mode_t mode), (path, mode), -1)
WRAP_FILE(READS, int, fstat64, (int fd, struct stat *st), (fd, st), -1)
WRAP_FILE(READS, int, stat64, (const char *path, struct stat *st), (path, st), -1)
WRAP_FILE(READS, int, fstatat64, (int d, const char *name, struct stat *st, int f), (d, name, st, f), -1)
WRAP_FILE(READS, ssize_t, readlinkat, (int d, const char *name, char *to, size_t len), (d, name, to, len), -1)
WRAP_FILE(READS, struct dirent *, readdir64, (DIR *d), (d), NULL)
WRAP_FILE(WRITES, int, fflush, (FILE *f), (f), EOF)
WRAP_FILE(READS, int, flock, (int fd, int how), (fd, how), -1)

/* The four ways in which a read or a write goes wrong; @len is cut for a short one. */
#define WRAP_BYTES(fails, name, pointer)                                             \
        ssize_t __real_##name(int fd, pointer buf, size_t len, off_t at);            \
        ssize_t __wrap_##name(int fd, pointer buf, size_t len, off_t at);            \
        ssize_t __wrap_##name(int fd, pointer buf, size_t len, off_t at)             \
        {                                                                            \
                if (fails(#name))                                                    \
                        return -1;                                                   \
                if (SHIM_FAILS(SHIM_EINTR, #name)) {                                 \
                        errno = EINTR;                                               \
                        return -1;                                                   \
                }                                                                    \
                if (len > 1 && SHIM_FAILS(SHIM_SHORT, #name))                        \
                        len /= 2;                                                    \
                return __real_##name(fd, buf, len, at);                              \
        }

WRAP_BYTES(READS, pread64, void *)
WRAP_BYTES(WRITES, pwrite64, const void *)

int __wrap_fclose(FILE *f);
int __real_fclose(FILE *f);
int __wrap_fclose(FILE *f)
{
        bool fails = WRITES("fclose");
        int r = __real_fclose(f);

        if (fails)
                errno = EIO;
        return fails ? EOF : r;
}

int __wrap_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...)
{
        mode_t mode = 0;
        va_list ap;

        if (flags & O_CREAT) {
                va_start(ap, flags);
                mode = va_arg(ap, mode_t);
                va_end(ap);
        }
        return OPENS("openat", flags) ? -1 : (int)syscall(SYS_openat, dir, path, flags, mode);
}

int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
        mode_t mode = 0;
        va_list ap;

        if (flags & O_CREAT) {
                va_start(ap, flags);
                mode = va_arg(ap, mode_t);
                va_end(ap);
        }
        return OPENS("open", flags) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* Only openat2(2) is called in this way. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, int dir, const char *path, struct open_how *how, size_t size);
long __wrap_syscall(long number, int dir, const char *path, struct open_how *how, size_t size)
{
        if (number == SYS_openat2 && OPENS("openat2", (int)how->flags))
                return -1;
        return __real_syscall(number, dir, path, how, size);
}
