/*
 * The configuration file: INI by inih, whose limits (199 bytes a line) become errors here instead
 * of surprises. Each key is an option of the table; values of lists add up over lines.
 */
#include "cli/options.h"

#include <errno.h>
#include <ini.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct reading {
        struct options *options;
        FILE *file;
        const char *path;
        unsigned line; /* last line read; inih calls back after each */
        char *text;    /* heap: it */
        size_t capacity;
        int result; /* of the first error; later lines are not looked at */
        struct errmsg *err;
};

/* The next line, for inih; it would take the rest of a longer one for a line of its own. */
static char *next_line(char *buf, int size, void *arg)
{
        struct reading *rd = arg;
        ssize_t len = rd->result < 0 ? -1 : getline(&rd->text, &rd->capacity, rd->file);
        const char *first;

        if (len < 0)
                return NULL;
        rd->line++;
        first = rd->text + strspn(rd->text, " \t");
        if (memchr(rd->text, '\0', (size_t)len))
                rd->result = errmsg_set(rd->err, -EINVAL, "%s:%u: this is no text", rd->path, rd->line);
        else if (len > size - 1)
                rd->result = errmsg_set(rd->err, -EINVAL, "%s:%u: the line is longer than %d bytes", rd->path,
                                        rd->line, size - 2);
        else if (*first == '[' && !strchr(first, ']'))
                rd->result = errmsg_set(rd->err, -EINVAL, "%s:%u: the ']' of the section is missing",
                                        rd->path, rd->line);
        return rd->result < 0 ? NULL : strcpy(buf, rd->text);
}

static bool section_known(const char *section, struct suggestion *near)
{
        for (size_t i = 0; i < OPTION_COUNT; i++) {
                if (!option_table[i].section)
                        continue;
                if (strcmp(option_table[i].section, section) == 0)
                        return true;
                suggestion_try(near, section, option_table[i].section);
        }
        return false;
}

static const struct option_spec *find_key(const char *section, const char *key, struct suggestion *near)
{
        for (size_t i = 0; i < OPTION_COUNT; i++) {
                const struct option_spec *spec = &option_table[i];

                if (!spec->section || strcmp(spec->section, section) != 0)
                        continue;
                if (strlen(key) == strlen(spec->key) && word_distance(key, spec->key) == 0)
                        return spec;
                suggestion_try(near, key, spec->key);
        }
        return NULL;
}

/* The section where a key that stands in the wrong one belongs, or NULL. */
static const char *section_of(const char *key)
{
        for (size_t i = 0; i < OPTION_COUNT; i++)
                if (option_table[i].key && strlen(key) == strlen(option_table[i].key) &&
                    word_distance(key, option_table[i].key) == 0)
                        return option_table[i].section;
        return NULL;
}

static int unknown_key(const struct reading *rd, const char *section, const char *key)
{
        struct suggestion near = { .distance = 3 };
        const char *elsewhere = section_of(key);

        if (strcmp(key, "token") == 0)
                return errmsg_set(
                        rd->err, -EINVAL,
                        "%s:%u: a token does not belong in this file, which others may read; put it "
                        "into a file of mode 0600 and name that with token_file",
                        rd->path, rd->line);
        if (section[0] == '\0')
                return errmsg_set(rd->err, -EINVAL, "%s:%u: '%s' stands before any section%s%s%s", rd->path,
                                  rd->line, key, elsewhere ? "; write [" : "", elsewhere ? elsewhere : "",
                                  elsewhere ? "] above it" : "");
        if (!section_known(section, &near))
                return errmsg_set(rd->err, -EINVAL, "%s:%u: there is no section [%s]%s%s%s", rd->path,
                                  rd->line, section, near.word ? "; did you mean [" : "",
                                  near.word ? near.word : "", near.word ? "]?" : "");
        near = (struct suggestion){ .distance = 3 };
        find_key(section, key, &near);
        if (elsewhere)
                return errmsg_set(rd->err, -EINVAL, "%s:%u: '%s' belongs in section [%s]", rd->path, rd->line,
                                  key, elsewhere);
        return errmsg_set(rd->err, -EINVAL, "%s:%u: there is no key '%s' in section [%s]%s%s%s", rd->path,
                          rd->line, key, section, near.word ? "; did you mean '" : "",
                          near.word ? near.word : "", near.word ? "'?" : "; see weightfs.conf(5)");
}

static int one_value(void *arg, const char *section, const char *key, const char *value)
{
        struct reading *rd = arg;
        struct suggestion near = { .distance = 3 };
        const struct option_spec *spec;
        char label[4200];

        if (rd->result < 0)
                return 1;
        spec = find_key(section, key, &near);
        if (!spec) {
                rd->result = unknown_key(rd, section, key);
                return 1;
        }
        snprintf(label, sizeof(label), "%s:%u: %s", rd->path, rd->line, key);
        rd->result = option_set(rd->options, spec, value, FROM_CONFIG, label, rd->err);
        return 1;
}

int options_read_config(struct options *o, const char *path, struct errmsg *err)
{
        struct reading rd = { .options = o, .path = path, .err = err };
        struct stat st;
        int bad;

        rd.file = fopen(path, "re");
        if (!rd.file)
                return errmsg_set(err, -errno, "the configuration file %s cannot be read: %s", path,
                                  strerror(errno));
        if (fstat(fileno(rd.file), &st) == 0 && S_ISDIR(st.st_mode)) {
                fclose(rd.file);
                return errmsg_set(err, -EISDIR, "the configuration file %s is a directory", path);
        }
        bad = ini_parse_stream(next_line, &rd, one_value, &rd);
        fclose(rd.file);
        free(rd.text);
        if (rd.result < 0)
                return rd.result;
        if (bad != 0)
                return errmsg_set(err, -EINVAL, "%s:%d: neither a [section] nor key = value", path,
                                  bad > 0 ? bad : 1);
        return 0;
}

char *options_default_config(void)
{
        const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        char *path = NULL;
        int r = -1;

        if (geteuid() == 0)
                return strdup("/etc/weightfs/weightfs.conf");
        if (base && base[0] == '/')
                r = asprintf(&path, "%s/weightfs/weightfs.conf", base);
        else if (home && home[0] == '/')
                r = asprintf(&path, "%s/.config/weightfs/weightfs.conf", home);
        return r < 0 ? NULL : path;
}

int options_complete(struct options *o, struct errmsg *err)
{
        int r = options_read_environment(o, err);

        if (r < 0)
                return r;
        if (!o->config) {
                o->config = options_default_config();
                if (o->config && access(o->config, F_OK) < 0) {
                        free(o->config);
                        o->config = NULL;
                }
        }
        if (o->config)
                r = options_read_config(o, o->config, err);
        if (r == 0 && o->read_only_store)
                o->offline = true; /* nothing that comes could be kept */
        return r;
}
