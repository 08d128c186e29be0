/*
 * Small helpers that every folder uses: scope-bound cleanup, ownership transfer, arithmetic.
 *
 * Threads    Everything here is pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Runs @fn(&variable) when the variable leaves its scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define CLEANUP_FREE CLEANUP(cleanup_free)
#define CLEANUP_FD CLEANUP(cleanup_fd)

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Defines cleanup_@name(), which passes a variable of @type to @destroy unless it is NULL. */
#define DEFINE_CLEANUP(type, name, destroy)                       \
        static inline void cleanup_##name(type *p)                \
        {                                                         \
                if (*p)                                           \
                        destroy(*p);                              \
        }

static inline void cleanup_free(void *p)
{
        free(*(void **)p);
}

/* close(2) that keeps errno; a negative descriptor is ignored. */
void cleanup_fd(const int *fd);

/* Hands the pointer over: returns it and leaves NULL behind, so that CLEANUP does nothing. */
#define take_ptr(p)                       \
        ({                                \
                __auto_type p_ = &(p);    \
                __auto_type v_ = *p_;     \
                *p_ = NULL;               \
                v_;                       \
        })

/* The same for a descriptor: leaves -1 behind. */
static inline int take_fd(int *fd)
{
        int v = *fd;

        *fd = -1;
        return v;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
        return a > b ? a : b;
}

/* Writes all @len bytes at @offset, resuming after short writes and EINTR. 0 or negative errno. */
int pwrite_all(int fd, const void *buf, size_t len, uint64_t offset);

/* Reads until @len bytes or the end of file. Returns the count read or negative errno. */
ssize_t pread_all(int fd, void *buf, size_t len, uint64_t offset);

/*
 * Reads the whole of a small file into a heap string that ends in NUL. Returns 0 and the string
 * (and its length when @ret_len is not NULL), -EFBIG above @max bytes, or negative errno.
 */
int read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);

/* mkdir -p below @dirfd with @mode; what is made is durable. 0 or negative errno; -ENOTDIR: something else has
 * the name. */
int mkdir_parents_at(int dirfd, const char *path, mode_t mode);
