/*
 * Implementation of http_url.h, on libcurl's URL parser.
 */
#include "fetch/http_url.h"

#include "fetch/http_header.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

DEFINE_CLEANUP(CURLU *, url, curl_url_cleanup)
DEFINE_CLEANUP(char *, curl, curl_free)

void http_origin_done(struct http_origin *o)
{
        free(o->host);
        o->host = NULL;
}

bool http_origin_secure(const struct http_origin *o)
{
        return strcmp(o->scheme, "https") == 0;
}

bool http_origin_loopback(const struct http_origin *o)
{
        size_t len = strlen(o->host);
        unsigned a, b, c, d;
        int end = 0;

        if (strcmp(o->host, "localhost") == 0 || strcmp(o->host, "[::1]") == 0)
                return true;
        if (len > 10 && strcmp(o->host + len - 10, ".localhost") == 0)
                return true;
        /* %n: all of it was the address ("127.0.0.1.example.com" is not) */
        return sscanf(o->host, "%3u.%3u.%3u.%3u%n", &a, &b, &c, &d, &end) == 4 && a == 127 &&
               o->host[end] == '\0';
}

bool http_origin_equal(const struct http_origin *a, const struct http_origin *b)
{
        return strcmp(a->scheme, b->scheme) == 0 && strcmp(a->host, b->host) == 0 &&
               strcmp(a->port, b->port) == 0;
}

static int from_curl(CURLUcode code)
{
        return code == CURLUE_OK ? 0 : code == CURLUE_OUT_OF_MEMORY ? -ENOMEM : HTTP_E_URL;
}

static int origin_of(CURLU *u, struct http_origin *ret)
{
        CLEANUP(cleanup_curl) char *scheme = NULL, *host = NULL, *port = NULL;
        struct http_origin o = {};
        int r;

        r = from_curl(curl_url_get(u, CURLUPART_SCHEME, &scheme, 0));
        if (r == 0)
                r = from_curl(curl_url_get(u, CURLUPART_HOST, &host, 0));
        if (r == 0)
                r = from_curl(curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT));
        if (r != 0)
                return r;
        if (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
                return HTTP_E_URL;
        o.host = strdup(host);
        if (!o.host)
                return -ENOMEM;
        for (char *p = o.host; *p != '\0'; p++)
                *p = (char)tolower((unsigned char)*p);
        snprintf(o.scheme, sizeof(o.scheme), "%s", strcasecmp(scheme, "https") == 0 ? "https" : "http");
        snprintf(o.port, sizeof(o.port), "%s", port);
        *ret = o;
        return 0;
}

/* True when the URL has @part. */
static bool has_part(CURLU *u, CURLUPart part)
{
        CLEANUP(cleanup_curl) char *value = NULL;

        return curl_url_get(u, part, &value, 0) == CURLUE_OK;
}

int http_url_origin(const char *url, struct http_origin *ret)
{
        CLEANUP(cleanup_url) CURLU *u = curl_url();
        int r;

        if (!u)
                return -ENOMEM;
        r = from_curl(curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS));
        if (r == 0 && has_part(u, CURLUPART_USER))
                r = HTTP_E_URL;
        return r == 0 ? origin_of(u, ret) : r;
}

int http_url_endpoint(const char *text, char **ret, struct http_origin *ret_origin, struct errmsg *err)
{
        CLEANUP(cleanup_url) CURLU *u = curl_url();
        size_t len = strlen(text);
        char *copy;
        int r;

        if (!u)
                return -ENOMEM;
        if (curl_url_set(u, CURLUPART_URL, text, CURLU_PATH_AS_IS) != CURLUE_OK)
                return errmsg_set(err, -EINVAL,
                                  "the endpoint is not a URL; it should look like https://huggingface.co");
        if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD))
                return errmsg_set(
                        err, -EINVAL,
                        "the endpoint has a user name or password in it; a token is what the hub takes");
        if (has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT) || strpbrk(text, "?#"))
                return errmsg_set(err, -EINVAL, "the endpoint %s has a query or fragment in it", text);
        r = origin_of(u, ret_origin);
        if (r == HTTP_E_URL)
                return errmsg_set(err, -EINVAL, "the endpoint %s is neither http:// nor https://", text);
        if (r < 0)
                return r;
        while (len > 0 && text[len - 1] == '/')
                len--;
        copy = strndup(text, len);
        if (!copy) {
                http_origin_done(ret_origin);
                return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

int http_url_resolve(const char *base, const char *target, char **ret)
{
        CLEANUP(cleanup_url) CURLU *u = curl_url();
        CLEANUP(cleanup_curl) char *url = NULL;
        struct http_origin origin = {};
        int r;

        if (!u)
                return -ENOMEM;
        r = from_curl(curl_url_set(u, CURLUPART_URL, base, CURLU_PATH_AS_IS));
        if (r == 0)
                r = from_curl(curl_url_set(u, CURLUPART_URL, target, CURLU_PATH_AS_IS));
        if (r == 0 && has_part(u, CURLUPART_USER))
                r = HTTP_E_URL;
        if (r == 0)
                r = origin_of(u, &origin);
        http_origin_done(&origin);
        if (r == 0)
                r = from_curl(curl_url_get(u, CURLUPART_URL, &url, 0));
        if (r != 0)
                return r;
        /* A signature covers the bytes of the URL: the parser's spelling will not do. */
        if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0)
                *ret = strdup(target);
        else
                *ret = strdup(url);
        return *ret ? 0 : -ENOMEM;
}

char *http_url_quote(const char *text, bool path)
{
        static const char hex[] = "0123456789ABCDEF";
        char *quoted = malloc(3 * strlen(text) + 1), *p = quoted;

        if (!quoted)
                return NULL;
        for (; *text != '\0'; text++) {
                unsigned char c = (unsigned char)*text;

                if ((isascii(c) && isalnum(c)) || strchr("-._~", c) || (path && c == '/')) {
                        *p++ = (char)c;
                } else {
                        *p++ = '%';
                        *p++ = hex[c >> 4];
                        *p++ = hex[c & 15];
                }
        }
        *p = '\0';
        return quoted;
}

void http_url_shown(const char *url, char *buf, size_t size)
{
        const char *start = strstr(url, "://");
        size_t n = 0;

        start = start ? start + 3 : url;
        for (; *start != '\0' && !strchr("?#", *start) && n + 1 < size; start++)
                if (isprint((unsigned char)*start))
                        buf[n++] = *start;
        buf[n] = '\0';
}

/* The value of query parameter @name (any case), digits and letters only, into @buf. */
static bool query_value(const char *url, const char *name, char *buf, size_t size)
{
        const char *p = strchr(url, '?');
        size_t len = strlen(name);

        while (p && *p != '\0') {
                p++;
                if (strncasecmp(p, name, len) == 0 && p[len] == '=') {
                        size_t n = strcspn(p + len + 1, "&#");

                        if (n == 0 || n >= size)
                                return false;
                        memcpy(buf, p + len + 1, n);
                        buf[n] = '\0';
                        return true;
                }
                p = strpbrk(p, "&#");
                if (p && *p == '#')
                        return false;
        }
        return false;
}

int64_t http_url_lifetime(const char *url, int64_t now)
{
        static const char *const vendors[] = { "X-Amz-", "X-Goog-" };
        char value[32], name[32];
        uint64_t n;

        for (size_t i = 0; i < ARRAY_SIZE(vendors); i++) {
                struct tm tm = {};
                const char *end;

                snprintf(name, sizeof(name), "%sDate", vendors[i]);
                if (!query_value(url, name, value, sizeof(value)))
                        continue;
                end = strptime(value, "%Y%m%dT%H%M%SZ", &tm);
                snprintf(name, sizeof(name), "%sExpires", vendors[i]);
                if (!end || *end != '\0' || !query_value(url, name, value, sizeof(value)) ||
                    !http_parse_u64(value, &n) || n > UINT32_MAX)
                        continue;
                return (int64_t)max_u64((uint64_t)timegm(&tm) + n, (uint64_t)now) - now;
        }
        if (query_value(url, "Expires", value, sizeof(value)) && http_parse_u64(value, &n) &&
            n <= INT64_MAX && n > 1000000000) /* an epoch, not a number of seconds */
                return (int64_t)n > now ? (int64_t)n - now : 0;
        return -1;
}
