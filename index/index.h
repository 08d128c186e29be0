/*
 * Index: the catalogue, the store and the table of blobs, opened together.
 *
 * STATE (catalogue.sqlite, lock, store: whose it is) is locked by one daemon or one `pull` at a time; STORE is not.
 * A damaged catalogue is moved aside (catalogue.sqlite.damaged-<time>) and made anew; the store's
 * contents come back by adoption.
 */
#pragma once

#include "index/adopt.h"
#include "index/blob.h"
#include "index/catalog.h"
#include "index/store.h"

struct index_options {
        const char *store; /* directory; created */
        const char *state; /* directory on a local disk; created with mode 0700 */
        bool read_only_store;
};

struct index {
        struct catalog *catalog;
        struct store *store;
        struct blobs *blobs;
        int lock_fd;  /* flock on STATE/lock */
        bool rebuilt; /* the catalogue was damaged or missing and is new */
};

/* Scans nothing: adopt_names() is for the caller, once the mount is ready; it is needed when @rebuilt
 * is set, and finds what others put into STORE/hub since otherwise.
 * -EBUSY: another process has STATE (the message says which pid); -EREMOTE: STATE is on a network
 * file system; others as store_open() and catalog_open(). The store being remote is fine. */
int index_open(const struct index_options *o, struct index *ret, struct errmsg *err);
void index_close(struct index *ix);

/* The store that was last used with a state folder, an absolute path that the caller frees. 0 or negative errno:
 * -ENOENT where that is not known. */
int index_store_of(const char *state, char **ret);

/* True when @path (or its nearest existing parent) is on NFS, SMB, FUSE or another remote fs. */
bool path_is_remote(const char *path);
