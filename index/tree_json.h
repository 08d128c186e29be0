/*
 * trees/<commit>.json, as huggingface_hub >= 1.22 keeps it (huggingface_hub, _snapshot_download.py
 * and file_download.py): {"format_version":1,"files":{path:{"size","blob_id"[,"lfs_sha256",
 * "lfs_size"][,"xet_hash"]}}}. blob_id is the git sha1 of the file (of its pointer for LFS ones).
 */
#pragma once

#include "index/catalog.h"

struct tree_file {
        char *path;                     /* heap */
        uint64_t size;
        char oid[COMMIT_HEX + 1];       /* git sha1 */
        char sha256[SHA256_HEX + 1];    /* "" unless LFS */
        char xet_hash[SHA256_HEX + 1];  /* "" where unknown */
};

struct tree {
        struct tree_file *files; /* heap */
        size_t count, capacity;
};

void tree_done(struct tree *t);
/* Appends a copy. -ENOMEM; -EINVAL for an invalid path or hash: the file is refused. */
int tree_add(struct tree *t, const struct tree_file *file);
/* The etag that names the file's blob: sha256 where there is one, else the git sha1. */
const char *tree_file_etag(const struct tree_file *f);
/* @ret is a heap string. */
int tree_to_json(const struct tree *t, char **ret, size_t *ret_len);
/* -EBADMSG for what is no such document (unknown format_version included). */
int tree_from_json(const char *json, size_t len, struct tree *ret);
