/*
 * weightfs mount, and the helper of mount(8).
 */
#include "cli/commands.h"

#include "cli/daemon.h"
#include "cli/paths.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int take_mount_point(struct options *o, const struct strings *words, struct errmsg *err)
{
        if (words->count == 0)
                return 0;
        return option_set(o, &option_table[OPTION_MOUNT_POINT], words->items[0], FROM_COMMAND_LINE,
                          "the mount point", err);
}

static int check(struct options *o, struct errmsg *err)
{
        struct errmsg warning = {};
        int r = paths_check_mount(o, &warning, err);

        if (r == 0 && warning.text[0] != '\0')
                fprintf(stderr, "weightfs: warning: %s\n", warning.text);
        return r;
}

int command_mount(struct options *o, const struct strings *words)
{
        struct errmsg err = {};
        int r;

        if (words->count > 1)
                return complain_usage(COMMAND_MOUNT, "mount takes one mount point, not also '%s'",
                                      words->items[1]);
        r = take_mount_point(o, words, &err);
        if (r < 0)
                return complain(&err, r);
        if (!o->mount_point)
                return complain_usage(COMMAND_MOUNT,
                                      "name a mount point, or set [mount] point in a configuration file");
        r = check(o, &err);
        return r < 0 ? complain(&err, r) : daemon_run(o);
}

/* mount(8): 1 is wrong usage, 32 a failed mount. */
#define HELPER_USAGE 1
#define HELPER_FAILED 32

/* The first column of fstab(5): "weightfs" or "none" for the usual file, a path, or NAME for
 * /etc/weightfs/NAME.conf. Where the current folder, which is / at boot, holds a folder NAME, such
 * as the mount point /NAME, mount(8) has made a path of it. */
static int take_source(struct options *o, const char *source, struct errmsg *err)
{
        CLEANUP_FREE char *path = NULL;
        struct stat st;

        if (source[0] == '/' && stat(source, &st) == 0 && S_ISDIR(st.st_mode))
                source = strrchr(source, '/') + 1;
        if (strcmp(source, "weightfs") == 0 || strcmp(source, "none") == 0 || source[0] == '\0')
                return 0;
        if (source[0] != '/' && (strchr(source, '/') || strchr(source, ':')))
                return errmsg_set(
                        err, -EINVAL,
                        "'%s' is no source: write weightfs, or NAME for /etc/weightfs/NAME.conf; the hub is "
                        "said with -o endpoint=URL",
                        source);
        if (asprintf(&path, source[0] == '/' ? "%s" : "/etc/weightfs/%s.conf", source) < 0)
                return -ENOMEM;
        return option_set(o, &option_table[OPTION_CONFIG], path, FROM_COMMAND_LINE, "the source", err);
}

struct helper_args {
        const char *source, *point, *options;
        bool fake;
        unsigned verbose;
};

static bool read_helper_args(struct helper_args *a, int argc, char **argv)
{
        for (int i = 1; i < argc; i++) {
                const char *word = argv[i];

                if (word[0] != '-' || word[1] == '\0') {
                        if (a->point)
                                return false;
                        *(a->source ? &a->point : &a->source) = word;
                        continue;
                }
                for (const char *p = word + 1; *p != '\0'; p++) {
                        bool valued = strchr("otN", *p) != NULL;
                        const char *value = p[1] != '\0' ? p + 1 : i + 1 < argc ? argv[i + 1] : NULL;

                        a->fake |= *p == 'f';
                        a->verbose += *p == 'v';
                        if (!valued)
                                continue;
                        if (!value)
                                return false;
                        if (*p == 'o')
                                a->options = value;
                        i += p[1] == '\0';
                        break;
                }
        }
        return a->point != NULL;
}

static int helper_run(struct options *o, const struct helper_args *a)
{
        struct errmsg err = {};
        int r = take_source(o, a->source, &err);

        if (r == 0)
                r = option_set(o, &option_table[OPTION_MOUNT_POINT], a->point, FROM_COMMAND_LINE,
                               "the mount point", &err);
        if (r == 0 && a->options)
                r = options_read_mount_options(o, a->options, &err);
        if (r == 0)
                r = options_complete(o, &err);
        if (r == 0)
                r = check(o, &err);
        if (r < 0) {
                complain(&err, r);
                return HELPER_FAILED;
        }
        o->verbose += a->verbose;
        set_log(o, COMMAND_MOUNT);
        return a->fake || daemon_run(o) == 0 ? 0 : HELPER_FAILED;
}

int mount_helper(int argc, char **argv)
{
        CLEANUP(options_done) struct options o = {};
        struct helper_args a = {};

        options_init(&o);
        o.helper = true;
        o.command = COMMAND_MOUNT;
        if (!read_helper_args(&a, argc, argv)) {
                fprintf(stderr, "Usage: %s SOURCE MNT [-fnsv] [-o OPTIONS]\n", argv[0]);
                return HELPER_USAGE;
        }
        return helper_run(&o, &a);
}
