/*
 * Implementation of options.h: the table, the parsers of values, and who wins.
 *
 * Invariants
 *   O1  source[id] is the strongest source that set the option; a weaker one never changes it.
 *   O2  A list holds values of one source only: a stronger one replaces, an equal one adds.
 */
#include "cli/options.h"

#include "base/names.h"
#include "fetch/fetch.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static int set_text(char **field, const char *value)
{
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

static int parse_text(void *field, const char *value, const char *label, struct errmsg *err)
{
        if (value[0] == '\0')
                return errmsg_set(err, -EINVAL, "%s needs a value", label);
        return set_text(field, value);
}

/* A URL without the slash at its end, which people like to write. */
static int parse_url(void *field, const char *value, const char *label, struct errmsg *err)
{
        bool tls = strncasecmp(value, "https://", 8) == 0;
        const char *host = value + (tls ? 8 : 7);
        char *url;
        size_t len;
        int r;

        if ((!tls && strncasecmp(value, "http://", 7) != 0) || strcspn(host, "/:") == 0)
                return errmsg_set(err, -EINVAL, "%s: '%s' is not a URL; write https://HOST[:PORT][/PREFIX]",
                                  label, value);
        if (strpbrk(host, "@?# \t"))
                return errmsg_set(err, -EINVAL,
                                  "%s: the URL of a hub has no user, query or blank; write "
                                  "https://HOST[:PORT][/PREFIX]",
                                  label);
        r = set_text(field, value);
        if (r < 0)
                return r;
        url = *(char **)field;
        for (len = strlen(url); len > 0 && url[len - 1] == '/'; len--)
                url[len - 1] = '\0';
        return 0;
}

/* A path is made absolute at once: the daemon's working directory is "/". */
static int parse_path(void *field, const char *value, const char *label, struct errmsg *err)
{
        char cwd[PATH_MAX], joined[2 * PATH_MAX];
        const char *home = getenv("HOME");

        if (value[0] == '\0')
                return errmsg_set(err, -EINVAL, "%s needs a path", label);
        if (strlen(value) >= PATH_MAX)
                return errmsg_set(err, -ENAMETOOLONG, "%s: the path is too long", label);
        if (value[0] == '/')
                return set_text(field, value);
        if (value[0] == '~' && value[1] == '/' && home && strlen(home) < PATH_MAX)
                snprintf(joined, sizeof(joined), "%s%s", home, value + 1);
        else if (getcwd(cwd, sizeof(cwd)))
                snprintf(joined, sizeof(joined), "%s/%s", cwd, value);
        else
                return errmsg_set(err, -errno, "%s: the working directory is gone; give an absolute path",
                                  label);
        return set_text(field, joined);
}

/* Where no working directory is meant: in a configuration file. */
static bool path_is_anchored(const char *value)
{
        return value[0] == '/' || (value[0] == '~' && value[1] == '/');
}

static int parse_switch(void *field, const char *value, const char *label, struct errmsg *err)
{
        static const char *const no[] = { "0", "false", "no", "off" };

        if (word_is_true(value)) {
                *(bool *)field = true;
                return 0;
        }
        for (size_t i = 0; i < ARRAY_SIZE(no); i++)
                if (strcasecmp(value, no[i]) == 0) {
                        *(bool *)field = false;
                        return 0;
                }
        return errmsg_set(err, -EINVAL, "%s: '%s' is neither yes nor no", label, value);
}

static int parse_online(void *field, const char *value, const char *label, struct errmsg *err)
{
        bool online;
        int r = parse_switch(&online, value, label, err);

        if (r == 0)
                *(bool *)field = !online;
        return r;
}

static int number(const char *value, unsigned long max, unsigned long *ret)
{
        char *end;

        errno = 0;
        if (!isdigit((unsigned char)value[0]))
                return -EINVAL;
        *ret = strtoul(value, &end, 10);
        return *end != '\0' || errno != 0 || *ret > max ? -EINVAL : 0;
}

static int parse_number(void *field, const char *value, const char *label, struct errmsg *err)
{
        unsigned long n;

        if (number(value, 1000000, &n) < 0 || n == 0)
                return errmsg_set(err, -EINVAL, "%s: '%s' is not a number from 1 to 1000000", label, value);
        *(unsigned *)field = (unsigned)n;
        return 0;
}

/* A whole number, with a unit of 1024, of the square of that, ...: "4096", "500M", "20GiB". */
static int size(const char *value, uint64_t *ret)
{
        static const char units[] = "KMGTP";
        unsigned long n, shift = 0;
        const char *unit;
        char *end;

        errno = 0;
        if (!isdigit((unsigned char)value[0]))
                return -EINVAL;
        n = strtoul(value, &end, 10);
        unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
        if (unit) {
                shift = 10 * (unsigned long)(unit - units + 1);
                end++;
                if (strcasecmp(end, "iB") == 0 || strcasecmp(end, "B") == 0)
                        end += strlen(end);
        }
        if (*end != '\0' || errno != 0 || n > (uint64_t)INT64_MAX >> shift)
                return -EINVAL;
        *ret = (uint64_t)n << shift;
        return 0;
}

static int parse_size(void *field, const char *value, const char *label, struct errmsg *err)
{
        if (size(value, field) == 0)
                return 0;
        return errmsg_set(err, -EINVAL, "%s: '%s' is not a size; write 0, 500M, 20G or 1T", label, value);
}

static int parse_keep_free(void *field, const char *value, const char *label, struct errmsg *err)
{
        struct keep_free keep = { .percent = 100, .bytes = INT64_MAX };
        size_t len = strlen(value);
        char digits[4] = "";
        unsigned long n;

        if (len > 1 && len <= sizeof(digits) && value[len - 1] == '%') {
                memcpy(digits, value, len - 1);
                if (number(digits, 99, &n) == 0) {
                        keep.percent = (unsigned)n;
                        *(struct keep_free *)field = keep;
                        return 0;
                }
        } else if (size(value, &keep.bytes) == 0) {
                *(struct keep_free *)field = keep;
                return 0;
        }
        return errmsg_set(err, -EINVAL, "%s: '%s' is neither a size nor a part; write 0, 500M, 20G or 5%%", label,
                          value);
}

/* A bare -v counts up; verbose = 2 in the file says it at once. */
static int parse_verbose(void *field, const char *value, const char *label, struct errmsg *err)
{
        unsigned long n;

        if (strcmp(value, "yes") == 0) {
                (*(unsigned *)field)++;
                return 0;
        }
        if (number(value, 9, &n) < 0)
                return errmsg_set(err, -EINVAL, "%s: '%s' is not a number from 0 to 9", label, value);
        *(unsigned *)field = (unsigned)n;
        return 0;
}

static int parse_words(void *field, const char *value, const char *label, struct errmsg *err)
{
        struct strings *s = field;
        size_t before = s->count;
        int r = strings_add_words(s, value);

        if (r == 0 && s->count == before)
                return errmsg_set(err, -EINVAL, "%s needs a value", label);
        return r;
}

/* File names may have spaces and commas, so these take one glob each. */
static int parse_glob(void *field, const char *value, const char *label, struct errmsg *err)
{
        if (value[0] == '\0')
                return errmsg_set(err, -EINVAL, "%s needs a glob such as '*.safetensors'", label);
        return strings_add(field, value);
}

static int parse_repos(void *field, const char *value, const char *label, struct errmsg *err)
{
        struct strings *s = field;
        size_t before = s->count;
        int r = parse_words(field, value, label, err);

        for (size_t i = before; r == 0 && i < s->count; i++) {
                char name[REPO_NAME_MAX + 1], revision[REVISION_MAX + 1];
                enum repo_type type;

                if (!repo_parse(s->items[i], &type, name, revision) || revision[0] != '\0')
                        r = errmsg_set(err, -EINVAL,
                                       "%s: '%s' is not a repo; write Org/Name, datasets/Org/Name or "
                                       "spaces/Org/Name",
                                       label, s->items[i]);
        }
        return r;
}

static int parse_uid(void *field, const char *value, const char *label, struct errmsg *err)
{
        struct passwd *user;
        unsigned long n;

        if (number(value, UINT32_MAX - 1, &n) == 0) {
                *(int64_t *)field = (int64_t)n;
                return 0;
        }
        user = getpwnam(value);
        if (!user)
                return errmsg_set(err, -EINVAL, "%s: there is no user '%s'", label, value);
        *(int64_t *)field = user->pw_uid;
        return 0;
}

static int parse_gid(void *field, const char *value, const char *label, struct errmsg *err)
{
        struct group *group;
        unsigned long n;

        if (number(value, UINT32_MAX - 1, &n) == 0) {
                *(int64_t *)field = (int64_t)n;
                return 0;
        }
        group = getgrnam(value);
        if (!group)
                return errmsg_set(err, -EINVAL, "%s: there is no group '%s'", label, value);
        *(int64_t *)field = group->gr_gid;
        return 0;
}

static int parse_complete(void *field, const char *value, const char *label, struct errmsg *err)
{
        static const struct {
                const char *word;
                enum fetch_complete complete;
        } words[] = { { "read", COMPLETE_READ },
                      { "touched", COMPLETE_TOUCHED },
                      { "never", COMPLETE_NEVER } };

        for (size_t i = 0; i < ARRAY_SIZE(words); i++)
                if (strcmp(value, words[i].word) == 0) {
                        *(unsigned *)field = words[i].complete;
                        return 0;
                }
        return errmsg_set(err, -EINVAL, "%s: '%s' is none of touched, read, never", label, value);
}

static int parse_verify(void *field, const char *value, const char *label, struct errmsg *err)
{
        *(bool *)field = strcmp(value, "strict") == 0;
        if (*(bool *)field || strcmp(value, "background") == 0)
                return 0;
        return errmsg_set(err, -EINVAL, "%s: '%s' is neither background nor strict", label, value);
}

#define ALL                                                                                           \
        (COMMAND_MOUNT | COMMAND_UNMOUNT | COMMAND_PULL | COMMAND_LS | COMMAND_VERIFY | COMMAND_STATUS | \
         COMMAND_OFFLINE)
#define HUB (COMMAND_MOUNT | COMMAND_PULL | COMMAND_VERIFY)
#define FIELD(name) offsetof(struct options, name)

const struct option_spec option_table[OPTION_COUNT] = {
        [OPTION_CONFIG] = { "config", 0, "FILE", "read this configuration file", NULL, NULL, NULL, ALL,
                            FIELD(config), parse_path, false },
        [OPTION_STORE] = { "store", 0, "DIR",
                           "where the bytes are kept (/var/lib/weightfs for root, else "
                           "$XDG_DATA_HOME/weightfs)",
                           "store", "path", NULL, ALL, FIELD(store), parse_path, false },
        [OPTION_STATE] = { "state", 0, "DIR",
                           "catalogue and control socket, on a local disk (default STORE/state, or a "
                           "local folder if the store is remote)",
                           "store", "state", NULL, ALL, FIELD(state), parse_path, false },
        [OPTION_READ_ONLY_STORE] = { "read-only-store", 0, NULL,
                                     "serve what the store holds and write nothing into it; implies "
                                     "--offline",
                                     "store", "read_only", NULL, COMMAND_MOUNT, FIELD(read_only_store),
                                     parse_switch, false },
        [OPTION_ENDPOINT] = { "endpoint", 0, "URL", "the hub (default https://huggingface.co)", "hub",
                              "endpoint", "HF_ENDPOINT", HUB, FIELD(endpoint), parse_url, false },
        [OPTION_TOKEN_FILE] = { "token-file", 0, "FILE",
                                "the file that holds the hub token (default $HF_HOME/token)", "hub",
                                "token_file", "HF_TOKEN_PATH", HUB, FIELD(token_file), parse_path, false },
        [OPTION_CA_FILE] = { "ca-file", 0, "FILE", "trust the certificates in this PEM file", "hub",
                             "ca_file", "SSL_CERT_FILE", HUB, FIELD(ca_file), parse_path, false },
        [OPTION_INSECURE_TOKEN] = { "insecure-token", 0, NULL,
                                    "send the token over plain http, where others can read it", "hub",
                                    "insecure_token", NULL, HUB, FIELD(insecure_token), parse_switch, false },
        [OPTION_OFFLINE] = { "offline", 0, NULL, "never open an internet socket; show what the store holds",
                             "hub", "offline", "HF_HUB_OFFLINE", HUB, FIELD(offline), parse_switch, false },
        [OPTION_ONLINE] = { "online", 0, NULL, "be online although the environment or the file says offline",
                            NULL, NULL, NULL, HUB, FIELD(offline), parse_online, false },
        [OPTION_ALLOW] = { "allow", 0, "GLOB", "ask the hub for these repos only (may be repeated)", "hub",
                           "allow", NULL, HUB, FIELD(allow), parse_words, true },
        [OPTION_DENY] = { "deny", 0, "GLOB", "never ask the hub for these repos; wins over --allow", "hub",
                          "deny", NULL, HUB, FIELD(deny), parse_words, true },
        [OPTION_COMPLETE] = { "complete", 0, "WHICH",
                              "which files are filled to the end in the background: touched, read "
                              "(default: those being loaded), never",
                              "hub", "complete", NULL, COMMAND_MOUNT, FIELD(complete), parse_complete,
                              false },
        [OPTION_KEEP_FREE] = { "keep-free", 0, "SIZE|PERCENT",
                               "fetch nothing that leaves less space in the store's file system (default: the lesser "
                               "of 5% and 1G; 0: use all)",
                               "store", "keep_free", NULL, HUB, FIELD(keep_free), parse_keep_free, false },
        [OPTION_MAX_FETCH] = { "max-fetch", 0, "SIZE",
                               "what each repo may bring in an hour, pulls not counted (default 0: no limit)", "hub",
                               "max_fetch", NULL, COMMAND_MOUNT, FIELD(max_fetch), parse_size, false },
        [OPTION_VERIFY] = { "verify", 0, "WHEN",
                            "background (default: bytes are served as they come, and verified once the file is "
                            "complete) or strict (none is served before its file is verified)",
                            "store", "verify", NULL, COMMAND_MOUNT, FIELD(strict), parse_verify, false },
        [OPTION_CONNECTIONS] = { "connections", 0, "N", "parallel transfers at most (default 16)", "hub",
                                 "connections", NULL, HUB, FIELD(connections), parse_number, false },
        [OPTION_LOOKUP_DEADLINE] = { "lookup-deadline", 0, "SECONDS",
                                     "how long a lookup or open may wait for the hub (default 10)", "hub",
                                     "lookup_deadline", NULL, HUB, FIELD(lookup_deadline), parse_number,
                                     false },
        [OPTION_READ_DEADLINE] = { "read-deadline", 0, "SECONDS",
                                   "how long a read may wait for the hub (default 900)", "hub",
                                   "read_deadline", NULL, HUB, FIELD(read_deadline), parse_number, false },
        [OPTION_MOUNT_POINT] = { "mount-point", 0, "DIR", "the mount that is meant, instead of an argument",
                                 "mount", "point", NULL, ALL, FIELD(mount_point), parse_path, false },
        [OPTION_UID] = { "uid", 0, "USER", "owner shown for everything (default: yourself)", "mount", "uid",
                         NULL, COMMAND_MOUNT, FIELD(uid), parse_uid, false },
        [OPTION_GID] = { "gid", 0, "GROUP", "group shown for everything (default: your own)", "mount", "gid",
                         NULL, COMMAND_MOUNT, FIELD(gid), parse_gid, false },
        [OPTION_ALLOW_OTHER] = { "allow-other", 0, NULL,
                                 "let other users in (default for root; others need user_allow_other "
                                 "in /etc/fuse.conf)",
                                 "mount", "allow_other", NULL, COMMAND_MOUNT, FIELD(allow_other),
                                 parse_switch, false },
        [OPTION_DECLARE] = { "declare", 0, "REPO", "list this repo although nobody looked it up yet", "mount",
                             "declare", NULL, COMMAND_MOUNT, FIELD(declare), parse_repos, true },
        [OPTION_MOUNT_OPTIONS] = { "options", 'o', "NAME[=VALUE],...",
                                   "any option of this list, and those of fstab(5)", NULL, NULL, NULL,
                                   COMMAND_MOUNT, 0, NULL, true },
        [OPTION_FOREGROUND] = { "foreground", 'f', NULL, "stay in front; tell systemd when ready", NULL, NULL,
                                NULL, COMMAND_MOUNT, FIELD(foreground), parse_switch, false },
        [OPTION_INCLUDE] = { "include", 0, "GLOB", "only files that match (may be repeated)", NULL, NULL,
                             NULL, COMMAND_PULL, FIELD(include), parse_glob, true },
        [OPTION_EXCLUDE] = { "exclude", 0, "GLOB", "no files that match (may be repeated)", NULL, NULL, NULL,
                             COMMAND_PULL, FIELD(exclude), parse_glob, true },
        [OPTION_REPAIR] = { "repair", 0, NULL,
                            "move what is wrong to the quarantine, and fetch it again if online", NULL, NULL,
                            NULL, COMMAND_VERIFY, FIELD(repair), parse_switch, false },
        [OPTION_ALL] = { "all", 0, NULL, "begin anew where an interrupted run would be gone on with", NULL, NULL,
                         NULL, COMMAND_VERIFY, FIELD(all), parse_switch, false },
        [OPTION_JSON] = { "json", 0, NULL, "print JSON", NULL, NULL, NULL,
                          COMMAND_LS | COMMAND_VERIFY | COMMAND_STATUS, FIELD(json), parse_switch, false },
        [OPTION_NOW] = { "now", 0, NULL, "do not complete first what is being read", NULL, NULL, NULL,
                         COMMAND_OFFLINE, FIELD(now), parse_switch, false },
        [OPTION_LAZY] = { "lazy", 'l', NULL, "detach a mount that is in use", NULL, NULL, NULL,
                          COMMAND_UNMOUNT, FIELD(lazy), parse_switch, false },
        [OPTION_VERBOSE] = { "verbose", 'v', NULL, "say more (may be repeated)", "log", "verbose", NULL, ALL,
                             FIELD(verbose), parse_verbose, true },
        [OPTION_LOG] = { "log", 0, "COMPONENTS", "debug lines of these components, or of all", "log",
                         "components", NULL, HUB, FIELD(log), parse_text, false },
        [OPTION_HELP] = { "help", 'h', NULL, "show this text", NULL, NULL, NULL,
                          ALL | COMMAND_VERSION | COMMAND_HELP, FIELD(help), parse_switch, false },
};

void options_init(struct options *o)
{
        *o = (struct options){
                .uid = -1, .gid = -1, .complete = COMPLETE_READ, .allow_other = geteuid() == 0, .command = ~0u,
                .keep_free = { .percent = 5, .bytes = UINT64_C(1) << 30 },
        };
}

void options_done(struct options *o)
{
        char *texts[] = { o->config,     o->store,   o->state,       o->endpoint,
                          o->token_file, o->ca_file, o->mount_point, o->log };
        struct strings *lists[] = { &o->allow, &o->deny, &o->declare, &o->include, &o->exclude, &o->kernel };

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                free(texts[i]);
        for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
                strings_done(lists[i]);
        if (o->token)
                explicit_bzero(o->token, strlen(o->token));
        free(o->token);
        *o = (struct options){};
}

const struct option_spec *option_find(const char *name)
{
        for (size_t i = 0; i < OPTION_COUNT; i++)
                if (strlen(name) == strlen(option_table[i].name) &&
                    word_distance(name, option_table[i].name) == 0)
                        return &option_table[i];
        return NULL;
}

/* O2: what a weaker source said of a list goes. */
static void forget_weaker(void *field, const struct option_spec *spec)
{
        if (spec->parse == parse_verbose)
                *(unsigned *)field = 0;
        else if (spec->list)
                strings_done(field);
}

int option_set(struct options *o, const struct option_spec *spec, const char *value,
               enum option_source source, const char *label, struct errmsg *err)
{
        size_t slot = (size_t)(spec - option_table);
        void *field = (char *)o + spec->offset;
        int r;

        if (slot == OPTION_ONLINE)
                slot = OPTION_OFFLINE;
        if (!value && spec->metavar)
                return errmsg_set(err, -EINVAL, "%s needs a value: %s", label, spec->metavar);
        if (source == FROM_CONFIG && spec->parse == parse_path && !path_is_anchored(value))
                return errmsg_set(err, -EINVAL, "%s: '%s' is not an absolute path", label, value);
        if (source < o->source[slot])
                return 0; /* O1 */
        if (source > o->source[slot])
                forget_weaker(field, spec);
        r = spec->parse(field, value ? value : "yes", label, err);
        if (r == 0)
                o->source[slot] = source;
        return r;
}
