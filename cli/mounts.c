/*
 * Implementation of mounts.h.
 */
#include "cli/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOUNTINFO_MAX (64u << 20)

/* Undoes the kernel's \040 and the like (seq_path: space, tab, newline, backslash, "#"), in place. */
static void unescape(char *text)
{
        char *to = text;

        for (const char *from = text; *from != '\0';) {
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
                    from[3] >= '0' && from[3] <= '7') {
                        *to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
                        from += 4;
                } else {
                        *to++ = *from++;
                }
        }
        *to = '\0';
}

/* "36 35 0:53 / /mnt rw,… shared:1 - fuse.weightfs /state rw,…"; false for a line that is none. */
static bool parse_line(char *line, struct mount_entry *ret)
{
        char *fields[5], *rest = NULL, *sep = strstr(line, " - "), *type, *source, *tail = NULL;
        unsigned major;

        if (!sep)
                return false;
        *sep = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
                fields[i] = strtok_r(i == 0 ? line : NULL, " ", &rest);
                if (!fields[i])
                        return false;
        }
        /* not strtok for the source: it may be empty ("none" is customary, but not the rule) */
        type = strtok_r(sep + 3, " ", &tail);
        source = tail ? strsep(&tail, " ") : NULL;
        if (!type || !source || sscanf(fields[2], "%u:%u", &major, &ret->device_minor) != 2)
                return false;
        unescape(fields[4]);
        unescape(type);
        unescape(source);
        ret->point = strdup(fields[4]);
        ret->type = strdup(type);
        ret->source = strdup(source);
        return true;
}

int mount_table_parse(const char *mountinfo, struct mount_table *ret)
{
        CLEANUP_FREE char *copy = strdup(mountinfo);
        struct mount_table t = {};
        char *rest = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                struct mount_entry *grown = realloc(t.entries, (t.count + 1) * sizeof(*grown)), m = {};

                if (!grown) {
                        mount_table_done(&t);
                        return -ENOMEM;
                }
                t.entries = grown;
                if (!parse_line(line, &m))
                        continue;
                t.entries[t.count++] = m;
                if (!m.point || !m.type || !m.source) {
                        mount_table_done(&t);
                        return -ENOMEM;
                }
        }
        *ret = t;
        return 0;
}

int mount_table_read(struct mount_table *ret)
{
        CLEANUP_FREE char *text = NULL;
        int r = read_file_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL);

        return r < 0 ? r : mount_table_parse(text, ret);
}

void mount_table_done(struct mount_table *t)
{
        for (size_t i = 0; i < t->count; i++) {
                free(t->entries[i].point);
                free(t->entries[i].source);
                free(t->entries[i].type);
        }
        free(t->entries);
        *t = (struct mount_table){};
}

const struct mount_entry *mount_table_at(const struct mount_table *t, const char *point)
{
        for (size_t i = t->count; i-- > 0;)
                if (strcmp(t->entries[i].point, point) == 0)
                        return &t->entries[i];
        return NULL;
}

const struct mount_entry *mount_table_by_state(const struct mount_table *t, const char *state)
{
        for (size_t i = t->count; i-- > 0;)
                if (mount_is_weightfs(&t->entries[i]) && strcmp(t->entries[i].source, state) == 0)
                        return &t->entries[i];
        return NULL;
}

int mount_abort(unsigned device_minor)
{
        CLEANUP_FD int fd = -1;
        char path[80];

        snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", device_minor);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "1", 1) < 0)
                return -errno;
        return 0;
}
