/*
 * Implementation of asker.h.
 */
#include "fs/asker.h"

#include "base/util.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_MAX 65536

/* The number at the beginning of mountinfo; 0: none. So little is read that the kernel makes one line only. */
static uint64_t first_mount(pid_t pid)
{
        char path[32], line[32];
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        n = read(fd, line, sizeof(line) - 1);
        close(fd);
        if (n <= 0)
                return 0;
        line[n] = '\0';
        return strtoul(line, NULL, 10);
}

uint64_t asker_of(pid_t pid, uid_t uid)
{
        uint64_t mount = pid > 0 ? first_mount(pid) : 0;

        return mount != 0 ? mount << 1 : (uint64_t)uid << 1 | 1;
}

/* A set of signals, in the line of /proc/PID/status that begins with @key. */
static bool signals_of(const char *status, const char *key, uint64_t *ret)
{
        const char *at = strstr(status, key);

        return at && sscanf(at + strlen(key), "%" SCNx64, ret) == 1;
}

static uint64_t only_telling(void)
{
        static const int signals[] = { SIGSTOP,  SIGTSTP, SIGTTIN,   SIGTTOU, SIGCONT, SIGCHLD, SIGURG,
                                       SIGWINCH, SIGPROF, SIGVTALRM, SIGIO,   SIGPWR };
        uint64_t set = 0;

        for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
                set |= UINT64_C(1) << (signals[i] - 1);
        return set;
}

bool asker_breaks_off(pid_t tid)
{
        uint64_t own, shared, blocked;
        CLEANUP_FREE char *status = NULL;
        char path[32];

        snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
        if (tid <= 0 || read_file_at(AT_FDCWD, path, STATUS_MAX, &status, NULL) < 0)
                return true;
        if (!signals_of(status, "\nSigPnd:", &own) || !signals_of(status, "\nShdPnd:", &shared) ||
            !signals_of(status, "\nSigBlk:", &blocked))
                return true;
        return ((own | shared) & ~blocked & ~only_telling()) != 0;
}
