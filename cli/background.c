/*
 * Implementation of background.h. One byte goes through the pipe: "R" when ready. A child that
 * dies says nothing, which the parent sees as the end of the file.
 */
#include "cli/background.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The parent: waits, and ends as the child says. */
static _Noreturn void follow(int pipe_fd, pid_t child)
{
        char byte = 0;
        ssize_t n;
        int status;

        do
                n = read(pipe_fd, &byte, 1);
        while (n < 0 && errno == EINTR);
        if (n == 1)
                _exit(byte == 'R' ? 0 : 1);
        if (waitpid(child, &status, 0) == child && WIFSIGNALED(status))
                fprintf(stderr,
                        "weightfs: the daemon was killed by signal %d (%s) before the mount was ready\n",
                        WTERMSIG(status), strsignal(WTERMSIG(status)));
        _exit(1);
}

static int detach(void)
{
        CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (null < 0 || setsid() < 0 || chdir("/") < 0)
                return -errno;
        /* standard error follows when the log has a place (logsink.h) */
        if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
                return -errno;
        return 0;
}

int background_begin(struct background *b, bool foreground, struct errmsg *err)
{
        int fds[2], r;
        pid_t pid;

        /* a daemon must not keep alive what the shell that started it happened to have open */
        if (!foreground && !getenv("LISTEN_FDS"))
                syscall(SYS_close_range, 3u, ~0u, 0u);
        *b = (struct background){ .pipe = -1, .say = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3) };
        if (foreground)
                return chdir("/") < 0 ? -errno : 0;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return errmsg_set(err, -errno, "no pipe can be made: %s", strerror(errno));
        fflush(NULL);
        pid = fork();
        if (pid < 0)
                return errmsg_set(err, -errno, "no process can be made: %s", strerror(errno));
        if (pid > 0) {
                close(fds[1]);
                follow(fds[0], pid);
        }
        close(fds[0]);
        b->pipe = fds[1];
        r = detach();
        return r < 0 ? errmsg_set(err, r, "the background cannot be reached: %s", strerror(-r)) : 0;
}

void background_say(struct background *b, const char *fmt, ...)
{
        char line[2048];
        va_list ap;
        size_t len;

        if (b->say < 0)
                return;
        va_start(ap, fmt);
        vsnprintf(line, sizeof(line) - 1, fmt, ap);
        va_end(ap);
        len = strlen(line);
        line[len++] = '\n';
        if (write(b->say, line, len) < 0)
                errno = 0; /* nobody looks any more */
}

static void tell(struct background *b, char byte)
{
        if (b->pipe >= 0 && write(b->pipe, &byte, 1) < 0)
                errno = 0; /* the parent was killed: nobody waits */
        cleanup_fd(&b->pipe);
        cleanup_fd(&b->say);
        b->pipe = b->say = -1;
}

void background_ready(struct background *b)
{
        tell(b, 'R');
}

void background_failed(struct background *b)
{
        tell(b, 'F');
}
