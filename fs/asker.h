/*
 * Who asks: as a number that is the same for all processes of one container, since fetch/ is fair between those;
 * and whether a thread is to break off.
 *
 * A container is told by its mount namespace, and that by the id of the first mount that the process sees:
 * mount ids are the kernel's, and a namespace has its own copies. The link /proc/PID/ns/mnt would say it plainly,
 * but is closed to a daemon without CAP_SYS_PTRACE; mountinfo is open to all. One that cannot be looked at
 * (gone, hidden, of another pid namespace) is told by its uid.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

uint64_t asker_of(pid_t pid, uid_t uid);

/*
 * Whether a thread whose wait was interrupted is to break it off: a signal is pending for it that ends its process,
 * or for which that may have a handler to do so (SIGINT, SIGALRM, SIGUSR1, ...). False for signals that only tell
 * something (SIGCHLD, SIGWINCH, SIGURG, SIGPROF, ...), for a stop, and where none is pending: it was frozen, is being
 * traced, or another thread has taken the signal (as the kernel lets it while this one has one pending: a SIGINT
 * after a SIGCHLD, of a program with threads, is not seen here). True where it cannot be looked at. proc(5), "SigPnd".
 */
bool asker_breaks_off(pid_t tid);
