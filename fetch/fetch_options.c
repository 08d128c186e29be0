/*
 * Implementation of fetch_options.h.
 */
#include "fetch/fetch_options.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct endpoint { /* points into the URL */
        const char *host;
        size_t host_len;
        bool plain; /* http, without TLS */
};

/* Splits "scheme://host[:port][/prefix]". */
static int parse_endpoint(const char *url, struct endpoint *ret, struct errmsg *err)
{
        size_t len = strlen(url);
        const char *p;

        if (strncasecmp(url, "https://", 8) == 0)
                *ret = (struct endpoint){ .host = url + 8 };
        else if (strncasecmp(url, "http://", 7) == 0)
                *ret = (struct endpoint){ .host = url + 7, .plain = true };
        else
                return errmsg_set(err, -EINVAL, "the endpoint \"%s\" is not an http:// or https:// URL", url);
        for (p = url; *p; p++)
                if (*p <= ' ' || *p == 0x7f || strchr("?#@\\\"", *p))
                        return errmsg_set(
                                err, -EINVAL,
                                "the endpoint must be a plain URL, without a user, a query or blanks");
        if (url[len - 1] == '/')
                return errmsg_set(err, -EINVAL, "the endpoint \"%s\" must not end with \"/\"", url);
        if (ret->host[0] == '[')
                ret->host_len = strcspn(ret->host, "]") + 1;
        else
                ret->host_len = strcspn(ret->host, ":/");
        if (ret->host_len == 0 || ret->host_len > strlen(ret->host))
                return errmsg_set(err, -EINVAL, "the endpoint \"%s\" names no host", url);
        return 0;
}

static bool is_loopback(const struct endpoint *e)
{
        static const char *const names[] = { "localhost", "[::1]" };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (e->host_len == strlen(names[i]) && strncasecmp(e->host, names[i], e->host_len) == 0)
                        return true;
        return e->host_len > 4 && strncmp(e->host, "127.", 4) == 0 &&
               strspn(e->host, "0123456789.") >= e->host_len;
}

/* The place where a token may appear later counts for nothing: such a one is not sent (hub.c). */
static bool has_token(const struct fetch_options *o)
{
        return o->token || (o->token_file && access(o->token_file, F_OK) == 0);
}

int fetch_options_check(const struct fetch_options *o, struct errmsg *err)
{
        struct endpoint e = {};
        int r;

        if (!o->endpoint || o->endpoint[0] == '\0')
                return errmsg_set(err, -EINVAL, "no endpoint is given");
        r = parse_endpoint(o->endpoint, &e, err);
        if (r < 0)
                return r;
        if (e.plain && !is_loopback(&e) && has_token(o) && !o->insecure_token && !o->offline)
                return errmsg_set(
                        err, -EINVAL,
                        "the token would go over plain http to %.*s; use https, or allow it with --insecure-token",
                        (int)e.host_len, e.host);
        return 0;
}
