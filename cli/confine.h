/*
 * Confinement: what the process gives up for good.
 *
 * A daemon reads what a hub sends and what a store holds, and answers containers: a bug in it or in a library
 * must find as little as possible to do. It keeps the capabilities that passthrough, unmounting and stores
 * of any owner need, makes no processes and no mounts, and opens sockets of few families; one that was
 * started offline opens none that reach the internet.
 *
 * The kernel wants no_new_privs for a filter, unless one has CAP_SYS_ADMIN (seccomp(2)); that takes the setuid
 * bit from fusermount3, so who needs it has a small process without the filter, forked before, to unmount.
 *
 * Order      confine_dumps(); unmount_helper_new() where confine_is_privileged() says no;
 *            confine_privileges(), confine_sockets(); mounting; confine_calls(). All but the last belong before
 *            the first thread.
 */
#pragma once

#include "base/errmsg.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>

#define CONFINE_CAP(cap) (UINT64_C(1) << (cap))
/* Passthrough and unmounting; stores and tokens of any owner. */
#define CONFINE_KEPT                                                                                 \
        (CONFINE_CAP(CAP_SYS_ADMIN) | CONFINE_CAP(CAP_DAC_OVERRIDE) | CONFINE_CAP(CAP_DAC_READ_SEARCH) | \
         CONFINE_CAP(CAP_FOWNER) | CONFINE_CAP(CAP_CHOWN))

/* No core dumps, no reading of our memory by others: it holds the token. */
void confine_dumps(void);

/* True when this process may install a filter without no_new_privs. */
bool confine_is_privileged(void);

/* Drops all capabilities but CONFINE_KEPT, and the way to new ones, as far as the process may. Where it
 * may unmount by itself, no_new_privs is set too. */
void confine_privileges(void);

/*
 * Filters of system calls, for all threads. 0; -ENOSYS where the kernel has no seccomp; negative errno.
 * _sockets: none but AF_UNIX. _calls: no processes, mounts, other identities and capabilities, tracing, kernel
 * modules, ... (the list is in confine_calls.c), and no sockets but for the hub, names and the machine itself.
 */
int confine_sockets(struct errmsg *err);
int confine_calls(struct errmsg *err);

struct unmount_helper;

/* Forks the helper. Call before the first thread starts. 0 or negative errno. */
int unmount_helper_new(const char *mount_point, struct unmount_helper **ret);
struct unmount_helper *unmount_helper_free(struct unmount_helper *h); /* NULL is fine; returns NULL */

/* Any thread, one at a time. 0; -EBUSY when in use; -EIO when fusermount3 failed otherwise. */
int unmount_helper_ask(struct unmount_helper *h, bool lazy);

/* umount(2) for root, fusermount3(1) for others, from this process. 0, -EBUSY, negative errno. */
int unmount_directly(const char *mount_point, bool lazy);
