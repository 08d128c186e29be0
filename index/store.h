/*
 * Store: the directory that holds the bytes. STORE/hub is an ordinary Hugging Face cache
 * (huggingface_hub docs, "Understand caching"; file_download.py _create_symlink): complete blobs
 * only, their links, refs and trees. What is being filled lies in STORE/partial/INSTANCE.
 *
 * Invariants
 *   S1  A file in STORE/hub/…/blobs that weightfs put there has the content that its name says.
 *   S2  A final name appears by link(2) or rename(2) after the data were fsynced; folders are
 *       fsynced after.
 *   S3  Nothing outside STORE is ever written, nor read through a link found in STORE. A blob may be
 *       a link into STORE/hub/blobs (shared blobs of huggingface_hub >= 1.32); any other link in
 *       place of a blob, a ref or a tree is refused with -ELOOP.
 *   S4  Several daemons may share STORE; names decide (link, rename), never locks.
 *
 * Errors     0: done, or negative errno. -ENOSPC and -EDQUOT are passed up unchanged.
 * Threads    Any thread; all state is in the file system.
 */
#pragma once

#include "base/errmsg.h"
#include "base/names.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/statvfs.h>

struct store;

/*
 * Opens, creating what is missing. @instance names this daemon's folder in partial/ (hex; a
 * deterministic name, so that a daemon whose catalogue was lost finds its partial blobs again).
 * -EACCES, -EROFS, -ENOSPC, -ENOTDIR with @err naming the path and the remedy. @read_only: nothing
 * is created or written, and every writing function answers -EROFS (an offline daemon on a
 * read-only disk).
 */
int store_open(const char *path, const char *instance, bool read_only, struct store **ret,
               struct errmsg *err);
struct store *store_close(struct store *s);

const char *store_path(const struct store *s);     /* absolute */
int store_hub_fd(const struct store *s);           /* of STORE/hub, borrowed */
int store_partial_fd(const struct store *s);       /* of STORE/partial/INSTANCE, borrowed; -1 read-only */
int store_statfs(const struct store *s, struct statvfs *ret);

/* Opens a complete blob read-only. -ENOENT when absent; -ELOOP, -EINVAL when it is not a regular
 * file (S3). */
int store_blob_open(const struct store *s, enum repo_type type, const char *name, const char *etag,
                    int *ret_fd, uint64_t *ret_size);

/*
 * Gives the file at partial/@partial_name its final name in a repo's blobs/ (S2). The caller has
 * verified and fsynced it. An existing final file is kept and counts as success. The partial name
 * stays (the caller unlinks it when all repos are served). Mode 0644 (umask ignored), so that
 * other users read it.
 */
int store_blob_publish(const struct store *s, const char *partial_name, enum repo_type type,
                       const char *name, const char *etag);

/* The same blob for another repo: a hard link (a copy where links cannot be made) of the file that is open as @fd,
 * which the source has. An existing final file is kept and counts as success. -ENOENT, -ESTALE when the source has
 * none, or another one. */
int store_blob_share(const struct store *s, int fd, enum repo_type type, const char *from_name,
                     enum repo_type to_type, const char *to_name, const char *etag);

/* Moves a blob that failed its hash out of sight, to quarantine/<etag>.<time>. */
int store_blob_quarantine(const struct store *s, enum repo_type type, const char *name, const char *etag);
/* The same for whatever has the name there: a link that leads elsewhere, a folder. -ENOENT: nothing. */
int store_blob_set_aside(const struct store *s, enum repo_type type, const char *name, const char *etag);
/* Gives a blob the mode that it should have, 0644. */
int store_blob_set_mode(const struct store *s, enum repo_type type, const char *name, const char *etag);
int store_partial_quarantine(const struct store *s, const char *partial_name);

/* snapshots/<sha>/<path> -> ../../blobs/<etag>, with the folders it needs. An equal link is left,
 * another is replaced. */
int store_link_put(const struct store *s, enum repo_type type, const char *name, const char *sha,
                   const char *path, const char *etag);

/* refs/<ref> holding @sha, 40 bytes, no newline; by a temporary name and rename. Also makes
 * snapshots/<sha>/, so that no tool calls the cache corrupted. */
int store_ref_put(const struct store *s, enum repo_type type, const char *name, const char *ref,
                  const char *sha);
int store_ref_remove(const struct store *s, enum repo_type type, const char *name, const char *ref);

/* trees/<sha>.json, whose content @write writes; by a temporary name and rename. */
int store_tree_put(const struct store *s, enum repo_type type, const char *name, const char *sha,
                   int (*write)(const void *arg, FILE *to), const void *arg);
int store_tree_open(const struct store *s, enum repo_type type, const char *name, const char *sha,
                    int *ret_fd, uint64_t *ret_size);

/* models--Old -> models--New, so that a plain cache finds a renamed repo under both names. */
int store_alias_put(const struct store *s, enum repo_type type, const char *name, const char *hub_name);
