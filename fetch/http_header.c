/*
 * Implementation of http_header.h.
 */
#include "fetch/http_header.h"

#include "base/clock.h"
#include "base/util.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define RETRY_AFTER_MAX 86400

void http_answer_init(struct http_answer *a)
{
        *a = (struct http_answer){ .length = -1, .linked_size = -1, .retry_after = -1 };
}

void http_answer_done(struct http_answer *a)
{
        free(a->location);
        free(a->next);
        a->location = a->next = NULL;
}

/* Digits from *@p on, which moves behind them. No sign, no space, no overflow. */
static bool take_u64(const char **p, uint64_t *ret)
{
        uint64_t value = 0;
        const char *s = *p;

        if (!isdigit((unsigned char)*s))
                return false;
        for (; isdigit((unsigned char)*s); s++) {
                unsigned digit = (unsigned)(*s - '0');

                if (value > (UINT64_MAX - digit) / 10)
                        return false;
                value = value * 10 + digit;
        }
        *p = s;
        *ret = value;
        return true;
}

bool http_parse_u64(const char *text, uint64_t *ret)
{
        uint64_t value;

        if (!take_u64(&text, &value) || *text != '\0')
                return false;
        *ret = value;
        return true;
}

bool http_parse_content_range(const char *text, struct http_range *ret)
{
        struct http_range r = { .total = UINT64_MAX };
        uint64_t last;

        if (strncasecmp(text, "bytes", 5) != 0 || text[5] != ' ')
                return false;
        for (text += 5; *text == ' '; text++)
                ;
        if (*text == '*') {
                r.unsatisfied = true;
                text++;
        } else {
                if (!take_u64(&text, &r.start) || *text++ != '-' || !take_u64(&text, &last))
                        return false;
                if (last < r.start || last == UINT64_MAX)
                        return false;
                r.end = last + 1;
        }
        if (*text++ != '/')
                return false;
        if (text[0] == '*' && text[1] == '\0') {
                *ret = r;
                return !r.unsatisfied; /* nothing at all was said */
        }
        if (!http_parse_u64(text, &r.total) || r.end > r.total)
                return false;
        *ret = r;
        return true;
}

bool http_parse_etag(const char *text, char *ret)
{
        char etag[ETAG_MAX + 1];
        size_t len;

        if (strncmp(text, "W/", 2) == 0)
                text += 2;
        len = strlen(text);
        if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
                text++;
                len -= 2;
        }
        if (len > ETAG_MAX)
                return false;
        memcpy(etag, text, len);
        etag[len] = '\0';
        if (!etag_valid(etag))
                return false;
        memcpy(ret, etag, len + 1);
        return true;
}

/* Parameters of one item: ;r=N;t=N, in any order, others ignored. */
static bool parse_limit_params(const char *p, struct http_limit *l)
{
        bool has_r = false, has_t = false;

        while (*p == ';') {
                uint64_t value;
                char key;

                for (p++; *p == ' '; p++)
                        ;
                key = (char)tolower((unsigned char)*p);
                if (*p != '\0' && p[1] == '=' && (key == 'r' || key == 't')) {
                        p += 2;
                        if (!take_u64(&p, &value))
                                return false;
                        if (value > UINT32_MAX)
                                value = UINT32_MAX;
                        if (key == 'r')
                                l->remaining = (uint32_t)value;
                        else
                                l->reset_s = (uint32_t)value;
                        has_r |= key == 'r';
                        has_t |= key == 't';
                }
                p += strcspn(p, ";,"); /* the rest of an unknown parameter */
        }
        return has_r && has_t;
}

bool http_parse_limit(const char *text, struct http_limit *ret)
{
        struct http_limit l = {};
        const char *name = text;
        size_t len;

        if (*text == '"') {
                name = text + 1;
                len = strcspn(name, "\"");
                if (name[len] != '"')
                        return false;
                text = name + len + 1;
        } else {
                len = strcspn(name, ";, ");
                text = name + len;
        }
        text += strspn(text, " ");
        if (len == 0 || len >= sizeof(l.policy) || !parse_limit_params(text, &l))
                return false;
        memcpy(l.policy, name, len);
        *ret = l;
        return true;
}

/* True when the link parameters [p, end) say rel=next, quoted or not, alone or among others. */
static bool params_say_next(const char *p, const char *end)
{
        while (p < end) {
                const char *word, *stop;

                p += strspn(p, "; \t");
                if (p + 4 > end || strncasecmp(p, "rel=", 4) != 0) {
                        for (bool quoted = false; p < end && (quoted || *p != ';'); p++)
                                quoted ^= *p == '"';
                        continue;
                }
                word = p + 4;
                if (*word == '"') {
                        word++;
                        stop = memchr(word, '"', (size_t)(end - word));
                } else {
                        stop = word + strcspn(word, "; \t,");
                }
                if (!stop || stop > end)
                        stop = end;
                while (word < stop) {
                        size_t len = strcspn(word, " \";,");

                        if (len > (size_t)(stop - word))
                                len = (size_t)(stop - word);
                        if (len == 4 && strncasecmp(word, "next", 4) == 0)
                                return true;
                        word += len + 1;
                }
                return false; /* RFC 8288: a second rel is to be ignored */
        }
        return false;
}

int http_parse_next(const char *text, char **ret)
{
        *ret = NULL;
        while ((text = strchr(text, '<'))) {
                const char *url = text + 1, *close = strchr(url, '>'), *end;

                if (!close)
                        return 0;
                end = close + 1;
                for (bool quoted = false; *end != '\0' && (quoted || *end != ','); end++)
                        quoted ^= *end == '"';
                if (close - url <= HTTP_LOCATION_MAX && params_say_next(close + 1, end)) {
                        *ret = strndup(url, (size_t)(close - url));
                        return *ret ? 0 : -ENOMEM;
                }
                text = end;
        }
        return 0;
}

bool http_parse_retry_after(const char *text, int64_t now, int64_t *ret)
{
        uint64_t seconds;
        time_t when;

        if (http_parse_u64(text, &seconds)) {
                *ret = (int64_t)min_u64(seconds, RETRY_AFTER_MAX);
                return true;
        }
        when = curl_getdate(text, NULL);
        if (when < 0)
                return false;
        *ret = when > now ? (int64_t)min_u64((uint64_t)(when - now), RETRY_AFTER_MAX) : 0;
        return true;
}

/* ---- fields ---- */

static int on_length(struct http_answer *a, const char *value)
{
        uint64_t n;

        if (!http_parse_u64(value, &n) || n > INT64_MAX || (a->length >= 0 && (uint64_t)a->length != n))
                a->length = -2;
        else if (a->length != -2)
                a->length = (int64_t)n;
        return 0;
}

static int on_content_range(struct http_answer *a, const char *value)
{
        if (a->has_range || !http_parse_content_range(value, &a->range))
                a->bad_range = true;
        a->has_range = true;
        return 0;
}

static int on_encoding(struct http_answer *a, const char *value)
{
        a->encoded = *value != '\0' && strcasecmp(value, "identity") != 0;
        return 0;
}

static int on_type(struct http_answer *a, const char *value)
{
        static const char json[] = "application/json";
        size_t len = sizeof(json) - 1;

        a->json = strncasecmp(value, json, len) == 0 && (value[len] == '\0' || strchr("; \t", value[len]));
        return 0;
}

static int on_etag(struct http_answer *a, const char *value)
{
        http_parse_etag(value, a->etag);
        return 0;
}

static int on_linked_etag(struct http_answer *a, const char *value)
{
        http_parse_etag(value, a->linked_etag);
        return 0;
}

static int on_linked_size(struct http_answer *a, const char *value)
{
        uint64_t n;

        if (http_parse_u64(value, &n) && n <= INT64_MAX)
                a->linked_size = (int64_t)n;
        return 0;
}

/* Text from outside that may reach a log line: what is not printable ASCII is left out. */
static void copy_printable(char *to, size_t size, const char *from)
{
        size_t n = 0;

        for (; *from != '\0' && n + 1 < size; from++)
                if (isprint((unsigned char)*from) && isascii((unsigned char)*from))
                        to[n++] = *from;
        to[n] = '\0';
}

static int on_error_code(struct http_answer *a, const char *value)
{
        copy_printable(a->error_code, sizeof(a->error_code), value);
        return 0;
}

static int on_error_message(struct http_answer *a, const char *value)
{
        copy_printable(a->error_message, sizeof(a->error_message), value);
        return 0;
}

static int on_retry_after(struct http_answer *a, const char *value)
{
        http_parse_retry_after(value, a->date ? a->date : clock_wall_s(), &a->retry_after);
        return 0;
}

static int on_date(struct http_answer *a, const char *value)
{
        time_t when = curl_getdate(value, NULL);

        a->date = when > 0 ? when : 0;
        return 0;
}

static int on_limit(struct http_answer *a, const char *value)
{
        http_parse_limit(value, &a->limit);
        return 0;
}

static int on_location(struct http_answer *a, const char *value)
{
        size_t len = strlen(value);

        free(take_ptr(a->location));
        if (len == 0 || len > HTTP_LOCATION_MAX)
                return 0;
        for (const char *p = value; *p != '\0'; p++)
                if (iscntrl((unsigned char)*p))
                        return 0;
        a->location = strdup(value);
        return a->location ? 0 : -ENOMEM;
}

static int on_link(struct http_answer *a, const char *value)
{
        return a->next ? 0 : http_parse_next(value, &a->next);
}

static const struct {
        const char *name;
        int (*take)(struct http_answer *a, const char *value);
} fields[] = {
        { "Content-Length", on_length },
        { "Content-Range", on_content_range },
        { "Content-Encoding", on_encoding },
        { "Content-Type", on_type },
        { "ETag", on_etag },
        { "X-Linked-ETag", on_linked_etag },
        { "X-Linked-Size", on_linked_size },
        { "X-Error-Code", on_error_code },
        { "X-Error-Message", on_error_message },
        { "Retry-After", on_retry_after },
        { "Date", on_date },
        { "RateLimit", on_limit },
        { "Location", on_location },
        { "Link", on_link },
};

/* "HTTP/1.1 206 Partial Content": 206; 0 for what is no status line. */
static unsigned parse_status(const char *line)
{
        const char *p = strchr(line, ' ');
        uint64_t status;

        if (!p)
                return 0;
        p += strspn(p, " ");
        return take_u64(&p, &status) && status >= 100 && status <= 999 ? (unsigned)status : 0;
}

static int take_field(struct http_answer *a, char *text)
{
        char *colon = strchr(text, ':'), *value;
        size_t len;

        if (!colon)
                return 0;
        *colon = '\0';
        value = colon + 1 + strspn(colon + 1, " \t");
        for (len = strlen(value); len > 0 && strchr(" \t", value[len - 1]); len--)
                value[len - 1] = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
                if (strcasecmp(text, fields[i].name) == 0)
                        return fields[i].take(a, value);
        return 0;
}

int http_answer_line(struct http_answer *a, const char *line, size_t len)
{
        CLEANUP_FREE char *text = NULL;

        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
                len--;
        if (len == 0) {
                a->headers_ended = a->status >= 200;
                return 0;
        }
        text = strndup(line, len);
        if (!text)
                return -ENOMEM;
        if (strncmp(text, "HTTP/", 5) == 0) {
                http_answer_done(a);
                http_answer_init(a);
                a->status = parse_status(text);
                return 0;
        }
        if (a->headers_ended)
                return 0; /* trailers of a chunked body say nothing that is acted on */
        return take_field(a, text);
}
