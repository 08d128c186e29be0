/*
 * JSON, one document per line, over a stream socket.
 *
 * Threads    None of its own; one thread reads, one writes.
 */
#pragma once

#include "base/util.h"

#include <jansson.h>
#include <sys/un.h>

struct line_reader;

/* @max: bytes of one line, more is -EFBIG. The descriptor is borrowed. */
struct line_reader *line_reader_new(int fd, size_t max); /* NULL: no memory */
struct line_reader *line_reader_free(struct line_reader *r);

/*
 * The next document. 0; -ENODATA at the end; -ETIMEDOUT after @timeout_ms without a whole line (0:
 * waits for ever); -EBADMSG for what is not JSON; other negative errno.
 */
int line_read(struct line_reader *r, unsigned timeout_ms, json_t **ret);

/* Writes the document and a newline; consumes the reference. 0 or negative errno. */
int line_write(int fd, json_t *doc);

/* json_object_set_new() that may be handed a string of any encoding: what is not UTF-8 is replaced. */
void json_set_text(json_t *object, const char *key, const char *text);
void json_set_u64(json_t *object, const char *key, uint64_t value);

/* The members, with a default for what is absent or of another type. */
const char *json_get_text(const json_t *object, const char *key); /* "" */
uint64_t json_get_u64(const json_t *object, const char *key);     /* 0 */

/* The address of STATE/control.sock. A path too long for sun_path goes through *ret_dirfd, which
 * the caller closes after use (-1: not needed). */
int control_address(const char *state, struct sockaddr_un *ret, int *ret_dirfd);
