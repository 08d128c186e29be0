/*
 * For the tests of index/: a folder that goes away, and files in it.
 */
#pragma once

#include "base/names.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASSERT_OK(call) ck_assert_int_eq((call), 0)

static char scratch[64];

static inline void scratch_setup(void)
{
        strcpy(scratch, "/tmp/weightfs-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(scratch));
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static inline void scratch_teardown(void)
{
        nftw(scratch, scratch_remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

/* A path below the scratch folder, in one of a few static buffers. */
__attribute__((format(printf, 1, 2))) static inline const char *at(const char *fmt, ...)
{
        static char paths[8][2048];
        static unsigned next;
        char *p = paths[next++ % 8];
        va_list ap;
        int n = snprintf(p, 2048, "%s/", scratch);

        va_start(ap, fmt);
        vsnprintf(p + n, 2048 - (size_t)n, fmt, ap);
        va_end(ap);
        return p;
}

static inline void make_parents(const char *path)
{
        char copy[2048];

        strcpy(copy, path);
        for (char *p = copy + 1; (p = strchr(p, '/')); p++) {
                *p = '\0';
                mkdir(copy, 0755);
                *p = '/';
        }
}

static inline void put_file(const char *path, const void *data, size_t len)
{
        int fd;

        make_parents(path);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
        close(fd);
}

static inline void put_text(const char *path, const char *text)
{
        put_file(path, text, strlen(text));
}

static inline void put_link(const char *path, const char *target)
{
        make_parents(path);
        ASSERT_OK(symlink(target, path));
}

/* The file's bytes; -1 when there is none. */
static inline ssize_t get_file(const char *path, void *buf, size_t len)
{
        int fd = open(path, O_RDONLY);
        ssize_t n;

        if (fd < 0)
                return -1;
        n = read(fd, buf, len);
        close(fd);
        return n;
}

static inline bool exists(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

static inline const char *link_of(const char *path)
{
        static char target[2048];
        ssize_t n = readlink(path, target, sizeof(target) - 1);

        target[n < 0 ? 0 : n] = '\0';
        return target;
}

static inline void sha256_of(const void *data, size_t len, char *ret)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned n;

        ck_assert_int_eq(EVP_Digest(data, len, digest, &n, EVP_sha256(), NULL), 1);
        hex_encode(digest, n, ret);
}

static inline void git_sha1_of(const void *data, size_t len, char *ret)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        char header[32];
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        unsigned n;
        int h = snprintf(header, sizeof(header), "blob %zu", len);

        EVP_DigestInit_ex(ctx, EVP_sha1(), NULL);
        EVP_DigestUpdate(ctx, header, (size_t)h + 1);
        EVP_DigestUpdate(ctx, data, len);
        EVP_DigestFinal_ex(ctx, digest, &n);
        EVP_MD_CTX_free(ctx);
        hex_encode(digest, n, ret);
}

/* A temporary file was left somewhere below the folder. */
static int scratch_leftovers;
static inline int scratch_count_tmp(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        scratch_leftovers += strstr(path, ".weightfs-") != NULL;
        return 0;
}

static inline int count_leftovers(void)
{
        scratch_leftovers = 0;
        nftw(scratch, scratch_count_tmp, 32, FTW_PHYS);
        return scratch_leftovers;
}

static inline int run_suite(Suite *s)
{
        SRunner *runner = srunner_create(s);
        int failed;

        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
