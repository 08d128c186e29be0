/*
 * Who asks, as a number that is the same for all processes of one container: fetch/ is fair between those.
 *
 * A container is told by its mount namespace, and that by the id of the first mount that the process sees:
 * mount ids are the kernel's, and a namespace has its own copies. The link /proc/PID/ns/mnt would say it plainly,
 * but is closed to a daemon without CAP_SYS_PTRACE; mountinfo is open to all. One that cannot be looked at
 * (gone, hidden, of another pid namespace) is told by its uid.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

uint64_t asker_of(pid_t pid, uid_t uid);
