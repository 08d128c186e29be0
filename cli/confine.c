/*
 * Implementation of confine.h.
 *
 * Invariants
 *   K2  The helper holds no descriptor but its own pipe, so that it keeps nothing alive.
 */
#include "cli/confine.h"

#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct unmount_helper {
        struct lock lock; /* one question at a time */
        int fd;
        pid_t pid;
};

void confine_dumps(void)
{
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        prctl(PR_SET_DUMPABLE, 0);
}

bool confine_is_privileged(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = {};

        if (syscall(SYS_capget, &header, data) < 0)
                return false;
        return data[CAP_SYS_ADMIN / 32].effective & (1u << (CAP_SYS_ADMIN % 32));
}

static void drop_from_bounds(void)
{
        for (int cap = 0; cap <= 63; cap++)
                if (!(CONFINE_KEPT & CONFINE_CAP(cap)))
                        prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* without CAP_SETPCAP there is no way to them anyway */
}

void confine_privileges(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = {};

        drop_from_bounds();
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if (syscall(SYS_capget, &header, data) == 0) {
                for (int i = 0; i < 2; i++) {
                        data[i].permitted &= (uint32_t)(CONFINE_KEPT >> (32 * i));
                        data[i].effective &= data[i].permitted;
                        data[i].inheritable = 0;
                }
                syscall(SYS_capset, &header, data);
        }
        if (confine_is_privileged())
                prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Runs fusermount3 -u; 0, or -EBUSY where that is its reason, else -EIO. */
static int run_fusermount(const char *mount_point, bool lazy)
{
        char *argv[] = { "fusermount3", "-u", lazy ? "-qz" : "-q", "--", (char *)mount_point, NULL };
        int status = 0, r;
        pid_t pid;

        r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
        if (r != 0)
                return -r;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        /* it has one exit status for all reasons; being in use is the usual one */
        return lazy ? -EIO : -EBUSY;
}

int unmount_directly(const char *mount_point, bool lazy)
{
        if (geteuid() != 0)
                return run_fusermount(mount_point, lazy);
        if (umount2(mount_point, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0)
                return -errno;
        return 0;
}

static _Noreturn void helper_main(int fd, const char *mount_point)
{
        int null = open("/dev/null", O_RDWR);
        char lazy;

        /* K2: also not the terminal, nor a pipe that somebody reads to its end */
        if (fd < 3 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 ||
            dup2(fd, 3) < 0 || fcntl(3, F_SETFD, FD_CLOEXEC) < 0)
                _exit(1);
        syscall(SYS_close_range, 4u, ~0u, 0u);
        setsid(); /* a signal to the whole process group is the daemon's business */
        signal(SIGPIPE, SIG_IGN);
        while (read(3, &lazy, 1) == 1) {
                int r = run_fusermount(mount_point, lazy == 'z');

                if (write(3, &r, sizeof(r)) != (ssize_t)sizeof(r))
                        break;
        }
        _exit(0);
}

int unmount_helper_new(const char *mount_point, struct unmount_helper **ret)
{
        struct unmount_helper *h = calloc(1, sizeof(*h));
        int fds[2];

        if (!h)
                return -ENOMEM;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
                free(h);
                return -errno;
        }
        h->pid = fork();
        if (h->pid == 0) {
                close(fds[0]); /* K2, also where close_range(2) is refused: our own end would never end */
                helper_main(fds[1], mount_point);
        }
        close(fds[1]);
        if (h->pid < 0) {
                int r = -errno;

                close(fds[0]);
                free(h);
                return r;
        }
        lock_init(&h->lock);
        h->fd = fds[0];
        *ret = h;
        return 0;
}

struct unmount_helper *unmount_helper_free(struct unmount_helper *h)
{
        if (!h)
                return NULL;
        close(h->fd);
        while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        lock_done(&h->lock);
        free(h);
        return NULL;
}

int unmount_helper_ask(struct unmount_helper *h, bool lazy)
{
        int answer = -EIO;
        ssize_t n = -1;

        lock_take(&h->lock);
        if (send(h->fd, lazy ? "z" : "u", 1, MSG_NOSIGNAL) == 1)
                do
                        n = recv(h->fd, &answer, sizeof(answer), MSG_WAITALL);
                while (n < 0 && errno == EINTR);
        lock_drop(&h->lock);
        return n == (ssize_t)sizeof(answer) ? answer : -EIO;
}
