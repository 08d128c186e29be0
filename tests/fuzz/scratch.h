/*
 * For targets that need files: a folder in memory that is removed at the end.
 */
#pragma once

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[64];

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st, (void)type, (void)ftw;
        return remove(path);
}

static inline void scratch_remove(const char *path)
{
        nftw(path, scratch_remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

static inline void scratch_end(void)
{
        scratch_remove(scratch);
}

static inline void scratch_begin(void)
{
        snprintf(scratch, sizeof(scratch), "%s/weightfs-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        assert(mkdtemp(scratch));
        atexit(scratch_end);
}

__attribute__((format(printf, 1, 2))) static inline const char *scratch_at(const char *fmt, ...)
{
        static char paths[8][512];
        static unsigned next;
        char *p = paths[next++ % 8];
        int n = snprintf(p, 512, "%s/", scratch);
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(p + n, 512 - (size_t)n, fmt, ap);
        va_end(ap);
        return p;
}

static inline void scratch_put(const char *path, const void *data, size_t len)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        assert(fd >= 0 && write(fd, data, len) == (ssize_t)len);
        close(fd);
}
