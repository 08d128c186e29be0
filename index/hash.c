/*
 * Implementation of hash.h on OpenSSL's EVP.
 */
#include "index/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct hash {
        EVP_MD_CTX *ctx;
};

int hash_new(const char *etag, uint64_t size, struct hash **ret)
{
        CLEANUP(cleanup_hash) struct hash *h = NULL;
        bool git = strlen(etag) == COMMIT_HEX;
        char header[32];
        int n;

        if (!etag_valid(etag))
                return -EINVAL;
        h = calloc(1, sizeof(*h));
        if (!h)
                return -ENOMEM;
        h->ctx = EVP_MD_CTX_new();
        if (!h->ctx)
                return -ENOMEM;
        /* fails where the system's policy forbids sha1 */
        if (EVP_DigestInit_ex(h->ctx, git ? EVP_sha1() : EVP_sha256(), NULL) != 1)
                return -ENOTSUP;
        if (git) {
                n = snprintf(header, sizeof(header), "blob %" PRIu64, size);
                if (EVP_DigestUpdate(h->ctx, header, (size_t)n + 1) != 1) /* the NUL is part of it */
                        return -EIO;
        }
        *ret = take_ptr(h);
        return 0;
}

struct hash *hash_free(struct hash *h)
{
        if (h) {
                EVP_MD_CTX_free(h->ctx);
                free(h);
        }
        return NULL;
}

int hash_update(struct hash *h, const void *buf, size_t len)
{
        return EVP_DigestUpdate(h->ctx, buf, len) == 1 ? 0 : -EIO;
}

int hash_get(const struct hash *h, char *ret_hex)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        EVP_MD_CTX *copy = EVP_MD_CTX_new(); /* getting the digest ends what it is got from */
        unsigned len;
        bool done;

        if (!copy)
                return -ENOMEM;
        done = EVP_MD_CTX_copy_ex(copy, h->ctx) == 1 && EVP_DigestFinal_ex(copy, digest, &len) == 1;
        EVP_MD_CTX_free(copy);
        if (!done)
                return -EIO;
        hex_encode(digest, len, ret_hex);
        return 0;
}

/* Feeds @size bytes of the file; @ret_whole is false when it ends early. */
static int feed(struct hash *h, int fd, uint64_t size, const atomic_bool *cancel, bool *ret_whole)
{
        CLEANUP_FREE char *buf = malloc(HASH_PIECE);
        uint64_t done = 0;

        if (!buf)
                return -ENOMEM;
        while (done < size) {
                size_t want = (size_t)min_u64(size - done, HASH_PIECE);
                ssize_t n;
                int r;

                if (cancel && *cancel)
                        return -ECANCELED;
                n = pread_all(fd, buf, want, done);
                if (n < 0)
                        return (int)n;
                r = hash_update(h, buf, (size_t)n);
                if (r < 0)
                        return r;
                done += (uint64_t)n;
                if ((size_t)n < want)
                        break;
        }
        *ret_whole = done == size;
        return 0;
}

int hash_file_hex(int fd, const char *etag, uint64_t size, const atomic_bool *cancel, char *ret_hex)
{
        CLEANUP(cleanup_hash) struct hash *h = NULL;
        struct stat st;
        bool whole = false;
        int r;

        ret_hex[0] = '\0';
        if (fstat(fd, &st) < 0)
                return -errno;
        if ((uint64_t)st.st_size != size)
                return 0;
        r = hash_new(etag, size, &h);
        if (r < 0)
                return r;
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        r = feed(h, fd, size, cancel, &whole);
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL); /* readers share the descriptor */
        if (r < 0)
                return r;
        return whole ? hash_get(h, ret_hex) : 0;
}

int hash_file(int fd, const char *etag, uint64_t size, const atomic_bool *cancel, bool *ret_match)
{
        char hex[ETAG_MAX + 1];
        int r = hash_file_hex(fd, etag, size, cancel, hex);

        if (r == 0)
                *ret_match = strcmp(hex, etag) == 0;
        return r;
}

int hash_text(const char *text, char *ret_hex)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned len;

        if (EVP_Digest(text, strlen(text), digest, &len, EVP_sha256(), NULL) != 1)
                return -EIO;
        hex_encode(digest, len, ret_hex);
        return 0;
}
