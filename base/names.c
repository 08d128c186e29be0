/*
 * Implementation of names.h.
 */
#include "base/names.h"

#include "base/util.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define OF "-of-"
#define SERIES_DIGITS_MAX 9 /* an unsigned holds them */

static const char *const type_words[REPO_TYPE_COUNT] = { "model", "dataset", "space" };
static const char *const type_plurals[REPO_TYPE_COUNT] = { "models", "datasets", "spaces" };

const char *repo_type_word(enum repo_type type)
{
        return type_words[type];
}

const char *repo_type_plural(enum repo_type type)
{
        return type_plurals[type];
}

bool repo_type_from_plural(const char *word, enum repo_type *ret)
{
        for (int i = 0; i < REPO_TYPE_COUNT; i++)
                if (strcmp(word, type_plurals[i]) == 0) {
                        *ret = (enum repo_type)i;
                        return true;
                }
        return false;
}

static bool part_valid(const char *part, size_t len)
{
        if (len == 0 || len > 96 || strchr("-.", part[0]) || strchr("-.", part[len - 1]))
                return false;
        for (size_t i = 0; i < len; i++) {
                if (!isascii((unsigned char)part[i]) ||
                    !(isalnum((unsigned char)part[i]) || strchr("-._", part[i])))
                        return false;
                if (i > 0 && strchr("-.", part[i]) && part[i] == part[i - 1])
                        return false;
        }
        return true;
}

static bool ends_with(const char *text, const char *suffix)
{
        size_t len = strlen(text), n = strlen(suffix);

        return len >= n && strcmp(text + len - n, suffix) == 0;
}

bool repo_name_valid(const char *name)
{
        const char *slash = strchr(name, '/');

        if (ends_with(name, ".git") || ends_with(name, ".ipynb"))
                return false;
        if (!slash)
                return part_valid(name, strlen(name));
        return part_valid(name, (size_t)(slash - name)) && part_valid(slash + 1, strlen(slash + 1));
}

void repo_to_folder(enum repo_type type, const char *name, char *ret_folder)
{
        const char *slash = strchr(name, '/');

        if (slash)
                snprintf(ret_folder, REPO_FOLDER_MAX + 1, "%s--%.*s--%s", type_plurals[type],
                         (int)(slash - name), name, slash + 1);
        else
                snprintf(ret_folder, REPO_FOLDER_MAX + 1, "%s--%s", type_plurals[type], name);
}

bool repo_from_folder(const char *folder, enum repo_type *ret_type, char *ret_name)
{
        const char *rest = strstr(folder, "--"), *sep;
        char word[16], name[REPO_NAME_MAX + 2];
        enum repo_type type;

        if (!rest || (size_t)(rest - folder) >= sizeof(word))
                return false;
        memcpy(word, folder, (size_t)(rest - folder));
        word[rest - folder] = '\0';
        rest += 2;
        if (!repo_type_from_plural(word, &type) || strlen(rest) > REPO_NAME_MAX + 1 || strchr(rest, '/'))
                return false;
        sep = strstr(rest, "--");
        if (sep)
                snprintf(name, sizeof(name), "%.*s/%s", (int)(sep - rest), rest, sep + 2);
        else
                snprintf(name, sizeof(name), "%s", rest);
        if (!repo_name_valid(name))
                return false;
        *ret_type = type;
        strcpy(ret_name, name);
        return true;
}

bool repo_parse(const char *text, enum repo_type *ret_type, char *ret_name, char *ret_revision)
{
        const char *at = strchr(text, '@'), *name = text;
        char id[REPO_NAME_MAX + 16];
        size_t len = at ? (size_t)(at - text) : strlen(text);
        enum repo_type type = REPO_MODEL;

        if (len >= sizeof(id))
                return false;
        memcpy(id, text, len);
        id[len] = '\0';
        name = id;
        for (int i = 0; i < REPO_TYPE_COUNT; i++) {
                size_t n = strlen(type_plurals[i]);

                /* "datasets/squad" is a dataset, but so might an Org be called: the type wins */
                if (strncmp(id, type_plurals[i], n) == 0 && id[n] == '/') {
                        type = (enum repo_type)i;
                        name = id + n + 1;
                }
        }
        if (!repo_name_valid(name) || (at && !revision_valid(at + 1)))
                return false;
        *ret_type = type;
        strcpy(ret_name, name);
        strcpy(ret_revision, at ? at + 1 : "");
        return true;
}

bool hex_valid(const char *text, size_t digits)
{
        for (size_t i = 0; i < digits; i++)
                if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
                        return false;
        return text[digits] == '\0';
}

void hex_encode(const unsigned char *bytes, size_t len, char *ret)
{
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < len; i++) {
                ret[2 * i] = digits[bytes[i] >> 4];
                ret[2 * i + 1] = digits[bytes[i] & 15];
        }
        ret[2 * len] = '\0';
}

bool etag_valid(const char *etag)
{
        return hex_valid(etag, COMMIT_HEX) || hex_valid(etag, SHA256_HEX);
}

bool revision_valid(const char *revision)
{
        size_t len = strlen(revision);

        if (len == 0 || len > REVISION_MAX || revision[0] == '/' || revision[0] == '-' ||
            revision[0] == '.' || strchr("/.", revision[len - 1]))
                return false;
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)revision[i];

                if (c <= ' ' || c == 0x7f || strchr("~^:?*[\\", c))
                        return false;
        }
        return !strstr(revision, "..") && !strstr(revision, "//") && !strstr(revision, "/.") &&
               !strstr(revision, "@{") && !strstr(revision, ".lock/") && !ends_with(revision, ".lock") &&
               strcmp(revision, "@") != 0;
}

/* The length of the UTF-8 sequence at @s, 0 when it is not well-formed (RFC 3629). */
static size_t utf8_length(const unsigned char *s)
{
        size_t n;
        uint32_t c;

        if (s[0] < 0x80)
                return 1;
        n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
        if (s[0] < 0xc2 || s[0] > 0xf4)
                return 0;
        c = s[0] & (0xffu >> (n + 1));
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        if ((n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) ||
            (c >= 0xd800 && c <= 0xdfff))
                return 0;
        return n;
}

bool entry_name_valid(const char *name)
{
        return name[0] != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
               !strchr(name, '/') && strlen(name) <= ENTRY_NAME_MAX;
}

static bool component_valid(const char *part, size_t len)
{
        if (len == 0 || len > ENTRY_NAME_MAX)
                return false;
        return !(part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.')));
}

bool entry_path_valid(const char *path)
{
        size_t start = 0, i = 0;

        while (path[i] != '\0') {
                size_t n = utf8_length((const unsigned char *)path + i);

                if (n == 0 || (unsigned char)path[i] < ' ' || path[i] == 0x7f)
                        return false;
                if (path[i] == '/') {
                        if (!component_valid(path + start, i - start))
                                return false;
                        start = i + 1;
                }
                i += n;
                if (i > ENTRY_PATH_MAX)
                        return false;
        }
        return component_valid(path + start, i - start);
}

bool glob_match(const char *pattern, const char *text)
{
        return fnmatch(pattern, text, 0) == 0;
}

bool word_is_true(const char *word)
{
        return word && (strcmp(word, "1") == 0 || strcasecmp(word, "true") == 0 ||
                        strcasecmp(word, "yes") == 0 || strcasecmp(word, "on") == 0);
}

/* ---- series ---- */

/* The number of @len digits at @text; false for none, or more than fit. */
static bool digits_value(const char *text, size_t len, unsigned *ret)
{
        unsigned value = 0;

        if (len < 1 || len > SERIES_DIGITS_MAX)
                return false;
        for (size_t i = 0; i < len; i++) {
                if (text[i] < '0' || text[i] > '9')
                        return false;
                value = value * 10 + (unsigned)(text[i] - '0');
        }
        *ret = value;
        return true;
}

/* The last "-of-" in @name, or NULL. */
static const char *last_of(const char *name)
{
        const char *found = NULL;

        for (const char *at = name; (at = strstr(at, OF)); at++)
                found = at;
        return found;
}

bool name_of_next_part(const char *name, char *ret, size_t size)
{
        const char *of = last_of(name), *first = of;
        unsigned number, count;
        int n;

        if (!of)
                return false;
        while (first > name && first[-1] >= '0' && first[-1] <= '9')
                first--;
        if (first == name || first[-1] != '-' || !digits_value(first, (size_t)(of - first), &number) ||
            !digits_value(of + strlen(OF), strspn(of + strlen(OF), "0123456789"), &count) || number >= count)
                return false;
        n = snprintf(ret, size, "%.*s%0*u%s", (int)(first - name), name, (int)(of - first), number + 1, of);
        return n > 0 && (size_t)n < size;
}
