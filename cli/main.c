/*
 * weightfs: the command. Finds the subcommand, completes the options, and runs it.
 */
#include "cli/commands.h"

#include <errno.h>
#include <locale.h>
#include <string.h>

static const struct {
        enum command command;
        int (*run)(struct options *o, const struct strings *words);
} runners[] = {
        { COMMAND_MOUNT, command_mount },   { COMMAND_UNMOUNT, command_unmount },
        { COMMAND_PULL, command_pull },     { COMMAND_LS, command_ls },
        { COMMAND_STATUS, command_status }, { COMMAND_OFFLINE, command_offline },
        { COMMAND_VERIFY, command_verify },
};

static int usage_error(const struct errmsg *err, int r)
{
        complain(err, r);
        return r == -ENOMEM ? 1 : 2;
}

static int help(const char *topic)
{
        struct errmsg err = {};
        int r = help_print(stdout, topic, &err);

        return r < 0 ? usage_error(&err, r) : 0;
}

static int version(void)
{
        printf("weightfs %s\n", WEIGHTFS_VERSION);
        return 0;
}

static int run(enum command command, struct options *o, const struct strings *words)
{
        struct errmsg err = {};
        int r = 0;

        if (command == COMMAND_VERSION)
                return words->count > 0 ? complain_usage(command, "version takes no '%s'", words->items[0])
                                        : version();
        if (command == COMMAND_HELP && words->count > 1)
                return complain_usage(command, "one topic at a time");
        if (command == COMMAND_HELP)
                return help(words->count > 0 ? words->items[0] : NULL);
        /* a mount that is named must be removable whatever the configuration file says */
        if (command != COMMAND_UNMOUNT || words->count == 0 || o->config)
                r = options_complete(o, &err);
        if (r < 0) /* what is written wrong stays wrong: systemd is not to try again */
                return usage_error(&err, r);
        set_log(o, command);
        for (size_t i = 0; i < ARRAY_SIZE(runners); i++)
                if (runners[i].command == command)
                        return runners[i].run(o, words);
        return 1;
}

static int unknown_command(const char *word)
{
        const char *near = command_suggest(word);

        if (near)
                fprintf(stderr, "weightfs: there is no command '%s'; did you mean '%s'?\n", word, near);
        else
                fprintf(stderr, "weightfs: there is no command '%s'; see 'weightfs help'\n", word);
        return 2;
}

int main(int argc, char **argv)
{
        CLEANUP(options_done) struct options o = {};
        CLEANUP(strings_done) struct strings words = {};
        const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
        struct errmsg err = {};
        enum command command;
        int r;

        setlocale(LC_CTYPE, "");
        if (strcmp(name, "mount.weightfs") == 0 || strcmp(name, "mount.fuse.weightfs") == 0)
                return mount_helper(argc, argv);
        options_init(&o);
        if (argc < 2) {
                help_print(stderr, NULL, NULL);
                return 2;
        }
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
                return help(NULL);
        if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
                return version();
        if (!command_find(argv[1], &command))
                return unknown_command(argv[1]);
        o.command = command;
        r = options_read_args(&o, command, argc - 2, argv + 2, &words, &err);
        if (r < 0)
                return usage_error(&err, r);
        if (o.help)
                return help(command_word(command));
        return run(command, &o, &words);
}
