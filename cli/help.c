/*
 * The help texts, made from the tables of commands and options.
 */
#include "cli/options.h"

#include <errno.h>
#include <string.h>

static const struct {
        const char *word;
        enum command command;
        const char *usage, *summary, *text;
} commands[] = {
        { "mount", COMMAND_MOUNT, "mount [OPTION]... [MNT]", "mount the hub at MNT",
          "Returns when the mount is ready; with -f it stays in front instead. MNT is an\n"
          "HF_HOME in which every model is already there: bind MNT/hub as a container's\n"
          "HF_HOME/hub." },
        { "unmount", COMMAND_UNMOUNT, "unmount [OPTION]... [MNT]", "take the mount away, end the daemon",
          "Names what is incomplete in the store, waits until the daemon is gone, and\n"
          "clears a mount whose daemon died." },
        { "pull", COMMAND_PULL, "pull [OPTION]... REPO[@REVISION]", "bring a repo into the store",
          "REPO is Org/Name, datasets/Org/Name or spaces/Org/Name. Works through the\n"
          "daemon that has the state folder, or alone. What arrived is kept, whatever\n"
          "ends it." },
        { "ls", COMMAND_LS, "ls [OPTION]... [REPO[@REVISION]]", "list repos, or the files of one",
          "Shows revisions, sizes, and how much the store holds. Needs no daemon." },
        { "verify", COMMAND_VERIFY, "verify [OPTION]... [REPO]...", "recheck what the store holds",
          "Hashes every file in the store, or of the repos that are named, also those that\n"
          "others put there, at idle priority. Interrupted, the same command goes on. With\n"
          "--repair what is wrong goes to the quarantine, and is fetched again if online.\n"
          "Works through the daemon that has the state folder, or alone. Exits with 1 when\n"
          "damage is left." },
        { "status", COMMAND_STATUS, "status [OPTION]... [MNT]", "say what the daemon is doing", NULL },
        { "offline", COMMAND_OFFLINE, "offline [OPTION]... on|off [MNT]",
          "leave the network, or return to it",
          "What is being read is completed first; with --now it waits until online again.\n"
          "A daemon that was started offline stays so. Names what is incomplete." },
        { "version", COMMAND_VERSION, "version", "print the version", NULL },
        { "help", COMMAND_HELP, "help [COMMAND | config]", "explain a command, or the configuration file",
          NULL },
};

const char *command_word(enum command command)
{
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
                if (commands[i].command == command)
                        return commands[i].word;
        return "";
}

bool command_find(const char *word, enum command *ret)
{
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
                if (strcmp(commands[i].word, word) == 0) {
                        *ret = commands[i].command;
                        return true;
                }
        if (strcmp(word, "umount") != 0)
                return false;
        *ret = COMMAND_UNMOUNT; /* everybody's fingers know this one */
        return true;
}

const char *command_suggest(const char *word)
{
        struct suggestion near = { .distance = 3 };

        for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
                suggestion_try(&near, word, commands[i].word);
        return near.word;
}

/* Prints @text wrapped between the columns @indent and 79; the cursor is at @column. */
static void print_wrapped(FILE *out, const char *text, int column, int indent)
{
        if (column >= indent) {
                fputc('\n', out);
                column = 0;
        }
        fprintf(out, "%*s", indent - column, "");
        column = indent;
        while (*text != '\0') {
                int len = (int)strcspn(text, " ");

                if (column > indent && column + 1 + len > 79) {
                        fprintf(out, "\n%*s", indent, "");
                        column = indent;
                } else if (column > indent) {
                        fputc(' ', out);
                        column++;
                }
                fprintf(out, "%.*s", len, text);
                column += len;
                text += len;
                text += strspn(text, " ");
        }
        fputc('\n', out);
}

static void print_options(FILE *out, enum command command)
{
        fputs("\nOptions:\n", out);
        for (size_t i = 0; i < OPTION_COUNT; i++) {
                const struct option_spec *spec = &option_table[i];
                char letter[8] = "    ", left[80];

                if (!(spec->commands & command))
                        continue;
                if (spec->letter)
                        snprintf(letter, sizeof(letter), "-%c, ", spec->letter);
                snprintf(left, sizeof(left), "  %s--%s%s%s", letter, spec->name, spec->metavar ? " " : "",
                         spec->metavar ? spec->metavar : "");
                fputs(left, out);
                print_wrapped(out, spec->help, (int)strlen(left), 32);
        }
}

static void print_command(FILE *out, size_t i)
{
        fprintf(out, "Usage: weightfs %s\n\n", commands[i].usage);
        fprintf(out, "%c%s.\n", commands[i].summary[0] - 'a' + 'A', commands[i].summary + 1);
        if (commands[i].text)
                fprintf(out, "%s\n", commands[i].text);
        print_options(out, commands[i].command);
        if (commands[i].command & (COMMAND_MOUNT | COMMAND_PULL))
                fputs("\nHF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_OFFLINE,\n"
                      "TRANSFORMERS_OFFLINE and SSL_CERT_FILE are honoured. The command line wins over\n"
                      "the environment, that over the configuration file ('weightfs help config').\n",
                      out);
}

static void print_config(FILE *out)
{
        static const char *const sections[] = { "hub", "store", "mount", "log" };

        fputs("The configuration file: --config, else /etc/weightfs/weightfs.conf for root and\n"
              "$XDG_CONFIG_HOME/weightfs/weightfs.conf for others. Lists are separated by spaces\n"
              "or commas and may be continued in further lines of the same key.\n",
              out);
        for (size_t s = 0; s < ARRAY_SIZE(sections); s++) {
                fprintf(out, "\n[%s]\n", sections[s]);
                for (size_t i = 0; i < OPTION_COUNT; i++) {
                        const struct option_spec *spec = &option_table[i];
                        char left[80];

                        if (!spec->section || strcmp(spec->section, sections[s]) != 0)
                                continue;
                        snprintf(left, sizeof(left), "%s = %s", spec->key,
                                 spec->metavar         ? spec->metavar
                                 : i == OPTION_VERBOSE ? "N"
                                                       : "yes | no");
                        fputs(left, out);
                        print_wrapped(out, spec->help, (int)strlen(left), 32);
                }
        }
}

static void print_overview(FILE *out)
{
        fputs("Usage: weightfs COMMAND [OPTION]... [ARGUMENT]...\n\n"
              "A Hugging Face cache in which every model is already there.\n\nCommands:\n",
              out);
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
                fprintf(out, "  %-12s%s\n", commands[i].word, commands[i].summary);
        fputs("\n'weightfs help COMMAND' explains one; 'weightfs help config' the configuration file.\n",
              out);
}

int help_print(FILE *out, const char *topic, struct errmsg *err)
{
        enum command command;
        const char *near;

        if (!topic) {
                print_overview(out);
                return 0;
        }
        if (strcmp(topic, "config") == 0) {
                print_config(out);
                return 0;
        }
        if (command_find(topic, &command))
                for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
                        if (commands[i].command == command) {
                                print_command(out, i);
                                return 0;
                        }
        near = command_suggest(topic);
        return errmsg_set(err, -EINVAL, "there is no command '%s'%s%s%s", topic,
                          near ? "; did you mean '" : "", near ? near : "",
                          near ? "'?" : "; see 'weightfs help'");
}
