/*
 * Implementation of json_cut.h.
 *
 * The window holds [at, len) of what is not passed yet. A value that does not end in it is looked at
 * again from its start once more was read: the window grows by doubling, so that costs no more than
 * reading it twice.
 */
#include "index/json_cut.h"

#include "base/util.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_FIRST (64u << 10)

DEFINE_CLEANUP(json_t *, json, json_decref)

void json_cut_text(struct json_cut *c, const char *text, size_t len)
{
        *c = (struct json_cut){ .fd = -1, .window = (char *)text, .len = len };
}

void json_cut_file(struct json_cut *c, int fd)
{
        *c = (struct json_cut){ .fd = fd };
}

void json_cut_done(struct json_cut *c)
{
        if (c->capacity > 0)
                free(c->window);
        *c = (struct json_cut){ .fd = -1 };
}

/* 1: there is more in the window than before; 0: there is no more. */
static int read_on(struct json_cut *c)
{
        ssize_t n;

        if (c->fd < 0)
                return 0;
        if (c->at > 0)
                memmove(c->window, c->window + c->at, c->len - c->at);
        c->len -= c->at;
        c->at = 0;
        if (c->len == c->capacity) {
                size_t capacity = c->capacity ? 2 * c->capacity : WINDOW_FIRST;
                char *grown = capacity <= JSON_CUT_VALUE_MAX ? realloc(c->window, capacity) : NULL;

                if (!grown)
                        return capacity <= JSON_CUT_VALUE_MAX ? -ENOMEM : -EBADMSG;
                c->window = grown;
                c->capacity = capacity;
        }
        do
                n = read(c->fd, c->window + c->len, c->capacity - c->len);
        while (n < 0 && errno == EINTR);
        if (n <= 0)
                return n < 0 ? -errno : 0;
        c->len += (size_t)n;
        return 1;
}

/* The next byte that is no white space, which stays; '\0' at the end. */
static int peek(struct json_cut *c, char *ret)
{
        for (;;) {
                int r;

                while (c->at < c->len && strchr(" \t\r\n", c->window[c->at]) && c->window[c->at] != '\0')
                        c->at++;
                if (c->at < c->len) {
                        *ret = c->window[c->at];
                        return *ret == '\0' ? -EBADMSG : 0;
                }
                r = read_on(c);
                if (r <= 0) {
                        *ret = '\0';
                        return r;
                }
        }
}

static int expect(struct json_cut *c, char wanted)
{
        char seen;
        int r = peek(c, &seen);

        if (r == 0 && seen != wanted)
                r = -EBADMSG;
        if (r == 0)
                c->at++;
        return r;
}

/* Where the value at the beginning of @text ends; 0: not in these @len bytes. @last: there are no more. */
static size_t value_end(const char *text, size_t len, bool last)
{
        bool quoted = false;
        size_t depth = 0;

        for (size_t i = 0; i < len; i++) {
                char b = text[i];

                if (quoted) {
                        if (b == '\\')
                                i++;
                        else if (b == '"')
                                quoted = false;
                        if (!quoted && depth == 0)
                                return i + 1;
                        continue;
                }
                if (b == '"')
                        quoted = true;
                else if (b == '{' || b == '[')
                        depth++;
                else if (depth > 0 && (b == '}' || b == ']') && --depth == 0)
                        return i + 1;
                else if (depth == 0 && strchr(",:]} \t\r\n", b)) /* a number or a word ends before it */
                        return i;
        }
        return last && !quoted && depth == 0 ? len : 0;
}

int json_cut_value(struct json_cut *c, const char **ret, size_t *ret_len)
{
        size_t end;
        char first;
        int more = 1, r = peek(c, &first);

        if (r < 0)
                return r;
        while ((end = value_end(c->window + c->at, c->len - c->at, more == 0)) == 0) {
                if (more == 0)
                        return -EBADMSG;
                more = read_on(c);
                if (more < 0)
                        return more;
        }
        *ret = c->window + c->at;
        *ret_len = end;
        c->at += end;
        return 0;
}

int json_cut_parse(struct json_cut *c, size_t most, size_t flags, json_t **ret)
{
        json_error_t error;
        const char *text;
        size_t len;
        int r = json_cut_value(c, &text, &len);

        if (r < 0)
                return r;
        if (len > most)
                return -EBADMSG;
        *ret = json_loadb(text, len, flags, &error);
        if (*ret)
                return 0;
        /* where there was no memory for an object or an array, jansson says nothing at all */
        return json_error_code(&error) == json_error_out_of_memory || error.text[0] == '\0' ? -ENOMEM : -EBADMSG;
}

int json_cut_enter(struct json_cut *c)
{
        c->first = true;
        return expect(c, '{');
}

static int take_key(struct json_cut *c, char **ret_key)
{
        CLEANUP(cleanup_json) json_t *key = NULL;
        int r = json_cut_parse(c, JSON_CUT_KEY_MAX, JSON_DECODE_ANY, &key);

        if (r < 0)
                return r;
        if (!json_is_string(key))
                return -EBADMSG;
        *ret_key = strdup(json_string_value(key));
        return *ret_key ? 0 : -ENOMEM;
}

int json_cut_member(struct json_cut *c, char **ret_key)
{
        CLEANUP_FREE char *key = NULL;
        char next;
        int r = peek(c, &next);

        if (r == 0 && next == '}') {
                c->first = false; /* it was a value of the object around it */
                c->at++;
                return 1;
        }
        if (r == 0 && !c->first)
                r = expect(c, ',');
        if (r == 0)
                r = take_key(c, &key);
        if (r == 0)
                r = expect(c, ':');
        if (r < 0)
                return r;
        c->first = false;
        *ret_key = take_ptr(key);
        return 0;
}

int json_cut_enter_array(struct json_cut *c)
{
        c->first = true;
        return expect(c, '[');
}

int json_cut_item(struct json_cut *c)
{
        char next;
        int r = peek(c, &next);

        if (r == 0 && next == ']') {
                c->first = false; /* it was a value of what is around it */
                c->at++;
                return 1;
        }
        if (r == 0 && !c->first)
                r = expect(c, ',');
        c->first = false;
        return r;
}

int json_cut_end(struct json_cut *c)
{
        char next;
        int r = peek(c, &next);

        return r == 0 && next != '\0' ? -EBADMSG : r;
}
