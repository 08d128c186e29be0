/*
 * FUSE passthrough (kernel >= 6.9): the kernel itself reads a complete blob from the store's file.
 *
 * libfuse knows of it from 3.17 on; ours works with every version, as two messages are written
 * by us: the answer to INIT, which is libfuse's with the two fields added, and the answer to OPEN.
 *
 * Sources    linux/fuse.h (FUSE_PASSTHROUGH, FOPEN_PASSTHROUGH, fuse_backing_map, 7.40);
 *            fs/fuse/inode.c process_init_reply(), fs/fuse/iomode.c, fs/fuse/passthrough.c.
 *
 * Invariants
 *   P1  All opens of one node that overlap in time use one backing id, or none (the kernel answers
 *       EIO otherwise). Only nodes of complete incarnations are passed through (node.h, N2).
 *   P2  An id is closed only while no open of its node lives.
 *
 * Threads    Any thread. One lock, held over the ioctl that makes an id: two opens must not make
 *            two.
 */
#pragma once

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

struct passthrough;

struct passthrough *passthrough_new(void); /* NULL: no memory */
struct passthrough *passthrough_free(struct passthrough *p); /* NULL is allowed; returns NULL */

/*
 * Adds the wish to @answer, libfuse's to INIT (its header included), where the kernel's @question
 * offers it. @depth: 1, or 2 for a store on a stacked file system (overlayfs), on top of which no
 * overlayfs can then be mounted.
 */
void passthrough_negotiate(struct passthrough *p, const void *question, size_t question_len, void *answer,
                           size_t answer_len, unsigned depth);

/* An open of @node, whose bytes are in @fd: a backing id, or 0 for an ordinary cached open. Each call
 * is followed by one passthrough_close(). */
int32_t passthrough_open(struct passthrough *p, struct fuse_session *se, uint64_t node, int fd);
void passthrough_close(struct passthrough *p, struct fuse_session *se, uint64_t node);

/* Answers the OPEN request @unique: the file is read through @id. Frees @req. Negative errno when
 * nobody waits for the answer any more. */
int passthrough_reply(struct fuse_session *se, fuse_req_t req, uint64_t unique, int32_t id);

/* True while opens are passed through; else @reason says why not. */
bool passthrough_works(struct passthrough *p, char *reason, size_t size);
