/*
 * The file system: node ids, names, operations, and the session with the kernel.
 *
 * It shows what the catalogue knows and asks fetch/ for what it does not. Only here is the errno
 * chosen that a user sees (fs/errno.c holds the one table).
 *
 * Threads     fs_run() serves on threads of its own until unmounted. The others from any thread.
 */
#pragma once

#include "fetch/fetch.h"

struct fs;

struct fs_options {
        const char *mountpoint; /* absolute */
        const char *source;     /* shown by mount(8) as the source: the state folder, where the
                                 * control socket is found */
        uid_t uid;              /* owner shown */
        gid_t gid;
        bool allow_other;
        const char *const *declared; /* "Org/Name", "datasets/Org/Name": listed although not looked
                                      * up yet; NULL-ended, may be NULL */
        const char *mount_options;   /* further -o options for the kernel; may be NULL */
};

/* Ownership: everything passed in outlives the fs. */
int fs_new(const struct fs_options *o, struct index *ix, struct fs **ret, struct errmsg *err);
struct fs *fs_free(struct fs *fs);

/* What fetch/ is to tell; pass it in fetch_options.events, then connect with fs_set_fetch(). */
struct fetch_events fs_events(struct fs *fs);
void fs_set_fetch(struct fs *fs, struct fetch *f);

/* Mounts and answers INIT, so that the mount works when fs_run() is called. @err: no /dev/fuse,
 * not permitted (allow_other and /etc/fuse.conf), mount point missing, not a folder, busy. */
int fs_mount(struct fs *fs, struct errmsg *err);

/* Serves until the mount is gone (fs_unmount(), umount(8)). 0, or negative errno. */
int fs_run(struct fs *fs);

/* Takes the mount away, for who may unmount by himself; fs_run() returns. -EBUSY when in use and not @lazy. */
int fs_unmount(struct fs *fs, bool lazy);

struct fs_status {
        char mountpoint[4096];
        bool passthrough;               /* complete blobs are served by the kernel alone */
        char passthrough_reason[128];   /* why not; "" when they are */
        uint64_t requests, errors;      /* since start */
        unsigned parked;                /* requests waiting for the network */
};
void fs_get_status(struct fs *fs, struct fs_status *ret);
