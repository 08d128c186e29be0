/*
 * Paths that the daemon will need: made real before anything is mounted, and kept out of the mount.
 *
 * Errors     0; negative errno with a sentence that names the path and the remedy.
 * Ownership  Returned strings are the caller's.
 */
#pragma once

#include "cli/mounts.h"
#include "cli/options.h"

/*
 * The absolute path without links, "." and "..". What does not exist yet is kept as written behind
 * the nearest parent that does. 0 or negative errno.
 */
int path_real(const char *path, char **ret);

/*
 * The same for a mount point, of which only the parents are looked at as long as something is
 * mounted there: a dead or hung mount must not be touched.
 */
int path_of_mount(const char *path, const struct mount_table *mounts, char **ret);

/* True when @path is @dir or lies below it; both real. */
bool path_inside(const char *path, const char *dir);

/* Store and state: the defaults where nothing was said, both made real. */
int paths_of_store(struct options *o, struct errmsg *err);

/* What can be told before anything is made: the store is a folder, and may be written where it must.
 * After paths_of_store(). */
int path_check_store(const struct options *o, struct errmsg *err);

/* The token file: as said, else the clients' own place where that holds one; made real. The place
 * that HF_HOME implies is passed over when it lies inside @mount_point. @warn says so, or that the
 * file that was said is not there. */
int path_of_token(struct options *o, const char *mount_point, struct errmsg *warn, struct errmsg *err);

/* The CA file can be read, if one was said and the network is wanted; made real. */
int path_check_ca(struct options *o, struct errmsg *err);

/*
 * All checks before a mount: the point exists, is a folder, carries no weightfs; nothing the daemon
 * needs lies inside. Fills in the real paths. @warn: what is odd but no error.
 */
int paths_check_mount(struct options *o, struct errmsg *warn, struct errmsg *err);
