/*
 * Implementation of rules.h.
 */
#include "rules.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool rule_says(const char *rule, const char *call, const char *path)
{
        static _Atomic unsigned long passes;
        char name[32], text[256];
        unsigned long every = 1;
        int number;

        if (sscanf(rule, "%31s %d %255s %lu", name, &number, text, &every) < 3 || strcmp(name, call) != 0 ||
            !strstr(path, text) || ++passes % every != 0)
                return false;
        errno = number;
        return true;
}

bool rules_say(const char *call, int dirfd, const char *path)
{
        const char *rules = getenv("CRASH_FAIL");
        char link[32], full[2 * PATH_MAX] = "", text[4096];
        ssize_t n;
        int fd;

        if (!rules)
                return false;
        fd = (int)syscall(SYS_openat, AT_FDCWD, rules, O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0)
                return false;
        n = read(fd, text, sizeof(text) - 1);
        close(fd);
        if (n <= 0)
                return false;
        text[n] = '\0';
        if (dirfd != AT_FDCWD) {
                snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
                n = readlink(link, full, PATH_MAX);
                full[n < 0 ? 0 : n] = '\0';
        }
        strcat(full, "/");
        strncat(full, path, PATH_MAX);
        for (char *save, *rule = strtok_r(text, "\n", &save); rule; rule = strtok_r(NULL, "\n", &save))
                if (rule_says(rule, call, full))
                        return true;
        return false;
}
