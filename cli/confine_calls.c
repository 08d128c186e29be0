/*
 * The filters of confine.h, by libseccomp.
 *
 * Invariants
 *   K1  With confine_sockets(), socket(2) makes AF_UNIX sockets only, by any ABI: libseccomp kills calls
 *       of a foreign architecture. io_uring, whose requests no filter sees, is refused.
 *   K3  With confine_calls() there is no new process and no new program: what a bug gains stays within
 *       this one, its mounts, its identity and its capabilities.
 *
 * What is refused is listed, not what is allowed: name services, TLS and allocators of other systems make calls
 * that no list of ours would have, and a daemon that stops working for one of them helps nobody. A refused call
 * fails with an errno; only those that a C library tries first and does without say ENOSYS.
 */
#include "cli/confine.h"

#include "base/util.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

/* Those that this libseccomp does not know are passed over: the kernel of its time has none of them. */
static const char *const refused[] = {
        /* processes, programs, and reaching into others */
        "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise",
        "pidfd_getfd", "kcmp",
        /* mounts and namespaces; umount2 stays */
        "mount", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "pivot_root",
        "chroot", "unshare", "setns",
        /* identities and capabilities */
        "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups",
        "capset",
        /* the kernel itself */
        "bpf", "perf_event_open", "userfaultfd", "init_module", "finit_module", "delete_module", "kexec_load",
        "kexec_file_load", "reboot", "swapon", "swapoff", "acct", "syslog", "quotactl", "quotactl_fd", "iopl",
        "ioperm", "modify_ldt", "vm86", "vm86old", "personality", "lookup_dcookie", "nfsservctl",
        /* the machine's name and time */
        "sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_settime64", "clock_adjtime",
        "clock_adjtime64", "adjtimex", "stime",
        /* keys, devices, files by handles or of everybody */
        "keyctl", "add_key", "request_key", "mknod", "mknodat", "open_by_handle_at",
        "fanotify_init",
};

/* The C library does without. */
static const char *const missing[] = { "io_uring_setup", "io_uring_enter", "io_uring_register", "clone3" };

/* Local sockets, the hub's, and what getaddrinfo(3) asks the kernel about addresses. */
static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };

DEFINE_CLEANUP(scmp_filter_ctx, filter, seccomp_release)

static int add_named(scmp_filter_ctx filter, const char *const *names, size_t count, int error)
{
        int r = 0;

        for (size_t i = 0; i < count && r == 0; i++) {
                int call = seccomp_syscall_resolve_name(names[i]);

                if (call != __NR_SCMP_ERROR)
                        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), call, 0);
                if (r == -EDOM) /* not a call of this architecture */
                        r = 0;
        }
        return r;
}

/* Sockets whose family is as @op says of @than. */
static int add_socket(scmp_filter_ctx filter, enum scmp_compare op, int than)
{
        const struct scmp_arg_cmp family = { .arg = 0, .op = op, .datum_a = (scmp_datum_t)than };

        return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, &family);
}

static bool is_used(int family)
{
        for (size_t i = 0; i < ARRAY_SIZE(families); i++)
                if (families[i] == family)
                        return true;
        return false;
}

static int add_families(scmp_filter_ctx filter)
{
        int r = add_socket(filter, SCMP_CMP_GE, AF_MAX);

        for (int family = 0; family < AF_MAX && r == 0; family++)
                if (!is_used(family))
                        r = add_socket(filter, SCMP_CMP_EQ, family);
        return r;
}

/* Threads are made, nothing else. */
static int add_clone(scmp_filter_ctx filter)
{
        const struct scmp_arg_cmp no_thread = {
                .arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = CLONE_THREAD, .datum_b = 0
        };

        return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, &no_thread);
}

static int filter_new(scmp_filter_ctx *ret)
{
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        int r;

        if (!filter)
                return -ENOMEM;
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, confine_is_privileged() ? 0 : 1);
        if (r == 0) /* threads of libraries may run already */
                r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (r == 0) /* else all that the kernel says is -ECANCELED */
                r = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
        *ret = filter;
        return r;
}

static int filter_load(scmp_filter_ctx filter, int r, struct errmsg *err, const char *what)
{
        if (r == 0)
                r = seccomp_load(filter);
        if (r == -EINVAL || r == -EOPNOTSUPP)
                r = -ENOSYS;
        if (r < 0)
                return errmsg_set(err, r, "the kernel does not let weightfs give up %s: %s", what, strerror(-r));
        return 0;
}

int confine_sockets(struct errmsg *err)
{
        CLEANUP(cleanup_filter) scmp_filter_ctx filter = NULL;
        int r = filter_new(&filter);

        if (r == 0)
                r = add_socket(filter, SCMP_CMP_NE, AF_UNIX);
        if (r == 0)
                r = add_named(filter, missing, 1, ENOSYS);
        return filter_load(filter, r, err, "internet sockets");
}

int confine_calls(struct errmsg *err)
{
        CLEANUP(cleanup_filter) scmp_filter_ctx filter = NULL;
        int r = filter_new(&filter);

        prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); /* since Linux 6.3 */
        if (r == 0)
                r = add_named(filter, refused, ARRAY_SIZE(refused), EPERM);
        if (r == 0)
                r = add_named(filter, missing, ARRAY_SIZE(missing), ENOSYS);
        if (r == 0)
                r = add_clone(filter);
        if (r == 0)
                r = add_families(filter);
        return filter_load(filter, r, err, "system calls that it does not need");
}
