/*
 * Options of the command line and of -o. Not getopt: messages name what was meant.
 */
#include "cli/options.h"

#include <errno.h>
#include <string.h>

struct args {
        enum command command;
        int argc, next; /* argv[next] is the word to be read */
        char *const *argv;
};

static const struct option_spec *find_letter(char letter)
{
        for (size_t i = 0; i < OPTION_COUNT; i++)
                if (option_table[i].letter != 0 && option_table[i].letter == letter)
                        return &option_table[i];
        return NULL;
}

static int unknown_option(const struct args *a, const char *dashes, const char *name, struct errmsg *err)
{
        struct suggestion near = { .distance = 3 };

        for (size_t i = 0; i < OPTION_COUNT; i++)
                if (option_table[i].commands & a->command)
                        suggestion_try(&near, name, option_table[i].name);
        if (strcmp(name, "token") == 0)
                return errmsg_set(
                        err, -EINVAL,
                        "%s%s: a token on the command line can be read by everybody with ps(1); put "
                        "it into HF_TOKEN, or into a file of mode 0600 and name that with "
                        "--token-file",
                        dashes, name);
        if (near.word)
                return errmsg_set(err, -EINVAL, "%s%s is not an option; did you mean %s%s?", dashes, name,
                                  dashes, near.word);
        return errmsg_set(err, -EINVAL, "%s%s is not an option; see 'weightfs help %s'", dashes, name,
                          command_word(a->command));
}

static int apply(struct options *o, struct args *a, const struct option_spec *spec, const char *value,
                 const char *label, struct errmsg *err)
{
        if (!(spec->commands & a->command))
                return errmsg_set(err, -EINVAL,
                                  "%s is not an option of 'weightfs %s'; see 'weightfs help %s'", label,
                                  command_word(a->command), command_word(a->command));
        if (spec->metavar && !value) {
                if (a->next >= a->argc)
                        return errmsg_set(err, -EINVAL, "%s needs a value: %s", label, spec->metavar);
                value = a->argv[a->next++];
        }
        if (spec == &option_table[OPTION_MOUNT_OPTIONS])
                return options_read_mount_options(o, value, err);
        return option_set(o, spec, value, FROM_COMMAND_LINE, label, err);
}

static int read_long(struct options *o, struct args *a, const char *word, struct errmsg *err)
{
        CLEANUP_FREE char *name = strdup(word + 2);
        const struct option_spec *spec;
        char label[80], *value;

        if (!name)
                return -ENOMEM;
        value = strchr(name, '=');
        if (value)
                *value++ = '\0';
        spec = option_find(name);
        if (!spec)
                return unknown_option(a, "--", name, err);
        snprintf(label, sizeof(label), "--%s", spec->name);
        return apply(o, a, spec, value, label, err);
}

/* "-fv", "-oNAME", "-o NAME". */
static int read_short(struct options *o, struct args *a, const char *word, struct errmsg *err)
{
        int r = 0;

        for (const char *p = word + 1; *p != '\0' && r == 0; p++) {
                const struct option_spec *spec = find_letter(*p);
                char name[2] = { *p, '\0' }, label[3] = { '-', *p, '\0' };
                const char *value = NULL;

                if (!spec)
                        return unknown_option(a, "-", name, err);
                if (spec->metavar && p[1] != '\0') {
                        value = p + 1;
                        p += strlen(p) - 1;
                }
                r = apply(o, a, spec, value, label, err);
        }
        return r;
}

int options_read_args(struct options *o, enum command command, int argc, char *const *argv,
                      struct strings *positional, struct errmsg *err)
{
        struct args a = { .command = command, .argc = argc, .argv = argv };
        bool only_words = false;
        int r = 0;

        while (a.next < argc && r == 0) {
                const char *word = argv[a.next++];

                if (only_words || word[0] != '-' || word[1] == '\0')
                        r = strings_add(positional, word);
                else if (strcmp(word, "--") == 0)
                        only_words = true;
                else if (word[1] == '-')
                        r = read_long(o, &a, word, err);
                else
                        r = read_short(o, &a, word, err);
        }
        return r;
}

static bool is_one_of(const char *name, const char *const *words)
{
        for (; *words; words++)
                if (strcmp(name, *words) == 0)
                        return true;
        return false;
}

/* What fstab(5) lines carry for others: the boot, other tools, mount(8) itself. */
static bool fstab_only(const struct options *o, const char *name)
{
        static const char *const words[] = { "_netdev", "nofail", "noauto",  "auto",     "defaults",
                                             "user",    "users",  "nouser",  "owner",    "group",
                                             "ro",      "async",  "sync",    "suid",     "dev",
                                             "exec",    "atime",  "comment", "dirsync",  "silent",
                                             "loud",    "mand",   "nomand",  "diratime", NULL };

        /* mount(8) hands "rw" to its helpers unasked; a person who writes it wants what cannot be */
        return is_one_of(name, words) || strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0 ||
               (o->helper && strcmp(name, "rw") == 0);
}

static bool for_the_kernel(const char *name)
{
        static const char *const words[] = { "noexec",     "nosuid",     "nodev",       "noatime",
                                             "nodiratime", "relatime",   "norelatime",  "context",
                                             "fscontext",  "defcontext", "rootcontext", "strictatime",
                                             NULL };

        return is_one_of(name, words);
}

static int read_mount_option(struct options *o, char *text, struct errmsg *err)
{
        CLEANUP_FREE char *whole = strdup(text);
        const struct option_spec *spec;
        struct args a = { .command = COMMAND_MOUNT };
        char label[80], *value = strchr(text, '=');

        if (!whole)
                return -ENOMEM;
        if (value)
                *value++ = '\0';
        if (fstab_only(o, text))
                return 0;
        if (for_the_kernel(text))
                return strings_add(&o->kernel, whole);
        if (strcmp(text, "rw") == 0)
                return errmsg_set(err, -EINVAL,
                                  "-o rw: the file system is read-only; models are changed on the hub");
        spec = option_find(text);
        if (!spec || !(spec->commands & COMMAND_MOUNT) || !spec->parse)
                return unknown_option(&a, "-o ", text, err);
        snprintf(label, sizeof(label), "-o %s", spec->name);
        return option_set(o, spec, value, FROM_COMMAND_LINE, label, err);
}

int options_read_mount_options(struct options *o, const char *text, struct errmsg *err)
{
        CLEANUP_FREE char *one = malloc(strlen(text) + 1);
        size_t len = 0;
        int r = 0;

        if (!one)
                return -ENOMEM;
        for (const char *p = text; r == 0; p++) {
                if (*p == '\\' && p[1] == ',') {
                        one[len++] = *++p;
                        continue;
                }
                if (*p != ',' && *p != '\0') {
                        one[len++] = *p;
                        continue;
                }
                one[len] = '\0';
                if (len > 0)
                        r = read_mount_option(o, one, err);
                len = 0;
                if (*p == '\0')
                        break;
        }
        return r;
}
