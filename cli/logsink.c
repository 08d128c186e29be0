/*
 * Implementation of logsink.h.
 */
#include "cli/logsink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

/* systemd.exec(5): JOURNAL_STREAM holds device and inode of the stream; it is inherited by
 * processes whose standard error is something else by now, and must not be believed then. */
static void check_journal_stream(void)
{
        const char *value = getenv("JOURNAL_STREAM");
        unsigned long device, inode;
        struct stat st;

        if (value && (sscanf(value, "%lu:%lu", &device, &inode) != 2 || fstat(STDERR_FILENO, &st) < 0 ||
                      st.st_dev != device || st.st_ino != inode))
                unsetenv("JOURNAL_STREAM");
}

static int point_to_journal(void)
{
        CLEANUP_FD int fd = sd_journal_stream_fd("weightfs", 6 /* info */, 1);
        char value[64];
        struct stat st;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0 || dup2(fd, STDERR_FILENO) < 0)
                return -errno;
        snprintf(value, sizeof(value), "%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
        return setenv("JOURNAL_STREAM", value, 1) < 0 ? -errno : 0;
}

static int point_to_file(const char *path)
{
        /* a pipe without a reader is no log, nor is anything else that came with a store */
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
                                 0600);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        return dup2(fd, STDERR_FILENO) < 0 ? -errno : 0;
}

int logsink_open(struct logsink *l, const char *state, bool foreground, struct errmsg *err)
{
        int r;

        *l = (struct logsink){};
        check_journal_stream();
        if (foreground || point_to_journal() == 0)
                return 0;
        unsetenv("JOURNAL_STREAM");
        if (asprintf(&l->path, "%s/weightfs.log", state) < 0)
                return -ENOMEM;
        r = point_to_file(l->path);
        if (r < 0)
                return errmsg_set(err, r, "the log %s cannot be written: %s", l->path, strerror(-r));
        logsink_turn(l);
        return 0;
}

void logsink_done(struct logsink *l)
{
        free(l->path);
        *l = (struct logsink){};
}

void logsink_turn(struct logsink *l)
{
        CLEANUP_FREE char *older = NULL;
        struct stat st;

        if (!l->path || fstat(STDERR_FILENO, &st) < 0 || st.st_size <= LOGSINK_MAX)
                return;
        if (asprintf(&older, "%s.1", l->path) < 0)
                return;
        /* without the rename the file would only grow: then it is cut */
        if (rename(l->path, older) < 0 && ftruncate(STDERR_FILENO, 0) < 0)
                return;
        point_to_file(l->path);
}
