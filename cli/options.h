/*
 * Options: one table drives long options, -o NAME=VALUE, the configuration file, the environment,
 * and the help texts. What is said on the command line wins over the environment, that over the
 * configuration file, that over the default; the order in which they are read does not matter.
 *
 * Errors     0; or negative errno with a sentence that names the option, where it was set, and
 *            what would be right. Nothing is printed here.
 * Ownership  struct options is embedded by the caller; options_done() frees what it holds.
 * Threads    None of its own: options are read before any thread starts.
 */
#pragma once

#include "base/errmsg.h"
#include "cli/strings.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum command { /* bits: which commands an option belongs to */
               COMMAND_MOUNT = 1,
               COMMAND_UNMOUNT = 2,
               COMMAND_PULL = 4,
               COMMAND_LS = 8,
               COMMAND_STATUS = 16,
               COMMAND_OFFLINE = 32,
               COMMAND_VERSION = 64,
               COMMAND_HELP = 128,
               COMMAND_VERIFY = 256,
};

enum option_source { FROM_DEFAULT, FROM_CONFIG, FROM_ENVIRONMENT, FROM_COMMAND_LINE };

enum option_id {
        OPTION_CONFIG,
        OPTION_STORE,
        OPTION_STATE,
        OPTION_READ_ONLY_STORE,
        OPTION_ENDPOINT,
        OPTION_TOKEN_FILE,
        OPTION_CA_FILE,
        OPTION_INSECURE_TOKEN,
        OPTION_OFFLINE, /* --online shares its slot */
        OPTION_ONLINE,
        OPTION_ALLOW,
        OPTION_DENY,
        OPTION_COMPLETE,
        OPTION_KEEP_FREE,
        OPTION_MAX_FETCH,
        OPTION_VERIFY,
        OPTION_CONNECTIONS,
        OPTION_LOOKUP_DEADLINE,
        OPTION_READ_DEADLINE,
        OPTION_MOUNT_POINT,
        OPTION_UID,
        OPTION_GID,
        OPTION_ALLOW_OTHER,
        OPTION_DECLARE,
        OPTION_MOUNT_OPTIONS,
        OPTION_FOREGROUND,
        OPTION_INCLUDE,
        OPTION_EXCLUDE,
        OPTION_REPAIR,
        OPTION_ALL,
        OPTION_JSON,
        OPTION_NOW,
        OPTION_LAZY,
        OPTION_VERBOSE,
        OPTION_LOG,
        OPTION_HELP,
        OPTION_COUNT,
};

struct keep_free { /* --keep-free: the lesser of the two */
        unsigned percent;
        uint64_t bytes;
};

struct options {
        char *config, *store, *state, *endpoint, *token_file, *ca_file, *mount_point, *log;
        char *token; /* of HF_TOKEN; never from a file or a command line */
        struct strings allow, deny, declare, include, exclude;
        struct strings kernel; /* -o options that the kernel understands: noexec, noatime … */
        int64_t uid, gid;      /* -1: not said */
        unsigned connections, lookup_deadline, read_deadline, verbose;
        unsigned complete; /* enum fetch_complete */
        bool strict;       /* --verify=strict */
        struct keep_free keep_free;
        uint64_t max_fetch; /* bytes; 0: no limit */
        bool offline, read_only_store, insecure_token, allow_other, foreground, json, now, lazy, help;
        bool repair, all;
        bool helper;      /* called by mount(8), which says "rw" unasked */
        unsigned command; /* enum command: variables that do not concern it are not looked at */
        enum option_source source[OPTION_COUNT];
};

struct option_spec {
        const char *name;    /* long option, -o name */
        char letter;         /* short option, 0: none */
        const char *metavar; /* NULL: a switch, which also takes =yes or =no */
        const char *help;
        const char *section, *key; /* in the configuration file; NULL: not there */
        const char *environment;   /* the variable that sets it; NULL: none */
        unsigned commands;         /* enum command bits */
        size_t offset;             /* of the field in struct options */
        /* Sets the field. @label says where the value stands, for the message. */
        int (*parse)(void *field, const char *value, const char *label, struct errmsg *err);
        bool list; /* values add up */
};

extern const struct option_spec option_table[OPTION_COUNT];

void options_init(struct options *o);
void options_done(struct options *o);

/* The option of this name ("-" equals "_"), or NULL. */
const struct option_spec *option_find(const char *name);

/* Sets one option unless a stronger source has; @value NULL for a bare switch. */
int option_set(struct options *o, const struct option_spec *spec, const char *value,
               enum option_source source, const char *label, struct errmsg *err);

/* True when somebody said it; false when it is a default. */
static inline bool option_given(const struct options *o, enum option_id id)
{
        return o->source[id] != FROM_DEFAULT;
}

/*
 * Reads the words after the subcommand's name (optparse.c). Other words than options go to
 * @positional. -EINVAL for wrong usage.
 */
int options_read_args(struct options *o, enum command command, int argc, char *const *argv,
                      struct strings *positional, struct errmsg *err);

/* Reads one -o argument: comma-separated, "\," is a comma in a value; what fstab(5) needs but no
 * file system is passed over. */
int options_read_mount_options(struct options *o, const char *text, struct errmsg *err);

/* Reads the configuration file (config.c). -ENOENT where there is none. */
int options_read_config(struct options *o, const char *path, struct errmsg *err);

/* Reads the environment (environ.c), and wipes HF_TOKEN from it. */
int options_read_environment(struct options *o, struct errmsg *err);

/* The usual file, absolute; NULL where it cannot be said (no HOME). The caller frees. */
char *options_default_config(void);

/* The environment and the configuration file that is to be read: --config, else the usual one if
 * it exists. */
int options_complete(struct options *o, struct errmsg *err);

/* The help texts (help.c). */
int help_print(FILE *out, const char *topic, struct errmsg *err); /* NULL: the overview */
const char *command_word(enum command command);
bool command_find(const char *word, enum command *ret);
/* The command nearest to @word, or NULL. */
const char *command_suggest(const char *word);
