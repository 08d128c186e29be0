/*
 * URLs: the endpoint's origin, quoting of path parts, redirect targets, lifetimes of signed URLs.
 *
 * Sources    RFC 3986; RFC 6454 (origin: scheme, host, port); query parameters of signed URLs as
 *            the S3, Google and CloudFront documentation name them.
 * Errors     0; HTTP_E_URL; negative errno.
 * Secrets    Signed URLs are never logged whole: http_url_shown() is what may be.
 * Threads    Everything here is pure.
 */
#pragma once

#include "base/errmsg.h"

#include <stdbool.h>

enum {
        HTTP_E_URL = 1, /* not a URL that is acted on */
};

struct http_origin {
        char scheme[6]; /* "http", "https" */
        char *host;     /* heap; lower case */
        char port[6];
};
void http_origin_done(struct http_origin *o);

bool http_origin_secure(const struct http_origin *o);   /* https */
bool http_origin_loopback(const struct http_origin *o); /* this machine, by its name or address */

/* The origin of an absolute http or https URL. 0, HTTP_E_URL, -ENOMEM. */
int http_url_origin(const char *url, struct http_origin *ret);
bool http_origin_equal(const struct http_origin *a, const struct http_origin *b);

/* Checks a hub endpoint: http or https, a host, perhaps a path; no user, query or fragment.
 * @ret: a heap string without a slash at the end. -EINVAL with a sentence in @err; -ENOMEM. */
int http_url_endpoint(const char *text, char **ret, struct http_origin *ret_origin, struct errmsg *err);

/* A redirect's or link's target: an absolute URL is kept byte by byte, another is resolved against
 * @base. @ret is a heap string. 0, HTTP_E_URL (another scheme, a user name in it), -ENOMEM. */
int http_url_resolve(const char *base, const char *target, char **ret);

/* @text percent-encoded but for unreserved characters, and slashes where @path. NULL: no memory. */
char *http_url_quote(const char *text, bool path);

/* "host/path" without query, cut to @size, for debug lines. */
void http_url_shown(const char *url, char *buf, size_t size);

/* Seconds for which a signed URL is good, counted from @now (epoch, best the server's own); -1 where
 * it does not say. */
int64_t http_url_lifetime(const char *url, int64_t now);
