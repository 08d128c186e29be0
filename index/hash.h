/*
 * The hash that an etag is: sha256 of the content for 64 hex digits, the git blob sha1
 * (of "blob N\0" and the content) for 40.
 *
 * Errors     0 or negative errno.
 * Threads    None of its own; one hash is used by one thread at a time.
 */
#pragma once

#include "base/names.h"
#include "base/util.h"

#include <stdatomic.h>
#include <stdbool.h>

struct hash;

#define HASH_PIECE (128u << 10) /* what is read at once: it is still in the CPU's cache when it is hashed */

/* Begins the hash that @etag is written in; @size goes into the git header. -EINVAL: no etag. */
int hash_new(const char *etag, uint64_t size, struct hash **ret);
struct hash *hash_free(struct hash *h); /* NULL is allowed; returns NULL */
int hash_update(struct hash *h, const void *buf, size_t len);
/* Of what came so far (more may follow): lower-case hex into @ret_hex, which holds ETAG_MAX + 1 bytes. */
int hash_get(const struct hash *h, char *ret_hex);
DEFINE_CLEANUP(struct hash *, hash, hash_free)

/*
 * Says in @ret_match whether the file has @size bytes and the content that @etag says. Reads all
 * of it; -ECANCELED once @cancel (may be NULL) is true, looked at between pieces.
 */
int hash_file(int fd, const char *etag, uint64_t size, const atomic_bool *cancel, bool *ret_match);

/* The same; what its hash is instead of a verdict: "" where it does not have that size. @ret_hex holds
 * ETAG_MAX + 1 bytes. */
int hash_file_hex(int fd, const char *etag, uint64_t size, const atomic_bool *cancel, char *ret_hex);

/* The sha256 of a short text, as SHA256_HEX digits and a NUL. */
int hash_text(const char *text, char *ret_hex);
