/*
 * trees/<commit>.json, as huggingface_hub >= 1.22 keeps it (huggingface_hub, _snapshot_download.py
 * and file_download.py): {"format_version":1,"files":{path:{"size","blob_id"[,"lfs_sha256",
 * "lfs_size"][,"xet_hash"]}}}. blob_id is the git sha1 of the file (of its pointer for LFS ones).
 *
 * A listing may have a hundred thousand files and more, so it is kept tightly, and read and written
 * file by file.
 */
#pragma once

#include "index/catalog.h"

#include <stdio.h>

#define TREE_FILE_MAX (256u << 20) /* bytes of a document: about a million files; a larger one is not read */

struct tree_file {                      /* one file, in full */
        const char *path;
        uint64_t size;
        char oid[COMMIT_HEX + 1];       /* git sha1 */
        char sha256[SHA256_HEX + 1];    /* "" unless LFS */
        char xet_hash[SHA256_HEX + 1];  /* "" where unknown */
};

struct tree {
        struct listed_file *files; /* heap; what the catalogue wants to know of them: the etag is the sha256
                                    * where there is one, else the git sha1 */
        size_t count, capacity;
        size_t bytes;           /* of memory that all of it takes */
        struct tree_room *room; /* holds the strings of @files and the other hashes */
};

void tree_done(struct tree *t);
/* Appends a copy. -ENOMEM; -EINVAL for an invalid path or hash: the file is refused. */
int tree_add(struct tree *t, const struct tree_file *file);
/* File @at in full; its path is borrowed. */
void tree_file_at(const struct tree *t, size_t at, struct tree_file *ret);
/* -EEXIST where a path is there twice. */
int tree_check(const struct tree *t);
/* Writes the document. -ENOMEM, or what writing to @f failed with. */
int tree_write(const struct tree *t, FILE *f);
/* Reads the document. -EBADMSG for what is no such one (unknown format_version, a path twice). */
int tree_read(int fd, struct tree *ret);
int tree_from_json(const char *json, size_t len, struct tree *ret);
