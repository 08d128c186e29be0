/*
 * Confinement: what the process gives up for good.
 *
 * A daemon that was started offline must be unable to reach the internet, whatever a bug in it or
 * in a library does: a seccomp filter leaves socket(2) AF_UNIX alone. Without CAP_SYS_ADMIN the
 * kernel wants no_new_privs for that (seccomp(2)), which takes the setuid bit from fusermount3; so
 * a small process without the filter, forked before, stays to unmount.
 */
#pragma once

#include "base/errmsg.h"

#include <stdbool.h>

/* No core dumps, no reading of our memory by others: it holds the token. */
void confine_dumps(void);

/* True when this process may install a filter without no_new_privs. */
bool confine_is_privileged(void);

/*
 * Installs the filter on all threads. 0; -ENOSYS where the kernel has no seccomp; negative errno.
 */
int confine_sockets(struct errmsg *err);

struct unmount_helper;

/* Forks the helper. Call before the first thread starts. 0 or negative errno. */
int unmount_helper_new(const char *mount_point, struct unmount_helper **ret);
struct unmount_helper *unmount_helper_free(struct unmount_helper *h); /* NULL is fine; returns NULL */

/* Any thread, one at a time. 0; -EBUSY when in use; -EIO when fusermount3 failed otherwise. */
int unmount_helper_ask(struct unmount_helper *h, bool lazy);

/* umount(2) for root, fusermount3(1) for others, from this process. 0, -EBUSY, negative errno. */
int unmount_directly(const char *mount_point, bool lazy);
