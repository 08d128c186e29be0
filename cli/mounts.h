/*
 * The mount table of this process, from /proc/self/mountinfo: nothing here touches a mount, so
 * that dead ones cannot hang us (proc(5)).
 *
 * Ownership  A table owns its entries.
 */
#pragma once

#include "base/util.h"

#include <stdbool.h>

#define MOUNT_TYPE "fuse.weightfs"

struct mount_entry {
        char *point;           /* where it is mounted */
        char *source;          /* of a weightfs mount: its state folder */
        char *type;            /* "fuse.weightfs" */
        unsigned device_minor; /* names a FUSE connection in /sys/fs/fuse/connections */
};

struct mount_table {
        struct mount_entry *entries; /* in mount order: the last of a point is the one on top */
        size_t count;
};

int mount_table_parse(const char *mountinfo, struct mount_table *ret); /* 0 or -ENOMEM */
int mount_table_read(struct mount_table *ret);
void mount_table_done(struct mount_table *t);

static inline bool mount_is_weightfs(const struct mount_entry *m)
{
        return __builtin_strcmp(m->type, MOUNT_TYPE) == 0;
}

/* The mount on top at exactly this point, or NULL. */
const struct mount_entry *mount_table_at(const struct mount_table *t, const char *point);
/* The weightfs mount whose state folder this is, or NULL. */
const struct mount_entry *mount_table_by_state(const struct mount_table *t, const char *state);

/* Makes every request of the FUSE connection fail, so that nobody waits for ever, and ends the
 * daemon's session. Best effort: 0 or negative errno. */
int mount_abort(unsigned device_minor);
