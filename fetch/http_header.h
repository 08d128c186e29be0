/*
 * HTTP answers: the status and those header fields that the hub client acts on, read line by line.
 *
 * Sources    RFC 9110 (ETag, Content-Range, Retry-After), RFC 8288 (Link), the draft "RateLimit
 *            header fields for HTTP" (RateLimit: "api";r=499;t=172); huggingface_hub file_download.py
 *            and utils/_http.py (X-Linked-*, X-Error-*).
 * Malformed  A field that cannot be read counts as absent, except Content-Range and Content-Length,
 *            where a lie would corrupt data: they are marked as bad.
 * Threads    Everything here is pure.
 */
#pragma once

#include "base/names.h"

#include <stdint.h>

#define HTTP_LOCATION_MAX 16384 /* bytes of a Location or a link; longer ones count as absent */

struct http_range {
        uint64_t start, end; /* half open, unlike on the wire */
        uint64_t total;      /* UINT64_MAX: "*" */
        bool unsatisfied;    /* "bytes N/TOTAL" with "*" for the range */
};

struct http_limit {         /* RateLimit */
        char policy[24];    /* "api", "resolvers"; "" when there was none */
        uint32_t remaining; /* requests left in the window */
        uint32_t reset_s;   /* seconds until the window ends */
};

struct http_answer {
        unsigned status; /* 0: nothing came */
        bool headers_ended;
        int64_t length; /* Content-Length; -1: not said, -2: bad */
        bool has_range, bad_range;
        struct http_range range;
        bool encoded;                                       /* Content-Encoding other than identity */
        bool json;                                          /* Content-Type: application/json */
        char etag[ETAG_MAX + 1], linked_etag[ETAG_MAX + 1]; /* etag_valid(), or "" */
        int64_t linked_size;                                /* X-Linked-Size; -1: not said */
        char error_code[40], error_message[120];
        int64_t retry_after; /* seconds; -1: not said */
        int64_t date;        /* seconds since the epoch; 0: not said */
        struct http_limit limit;
        char *location, *next; /* heap; next: the target of Link rel="next" */
};

void http_answer_init(struct http_answer *a);
void http_answer_done(struct http_answer *a); /* frees; usable after another init */

/* Takes one header line, CR LF included, as libcurl hands it out. A status line starts anew (an
 * interim answer, 1xx, is forgotten); the empty line ends the fields. -ENOMEM. */
int http_answer_line(struct http_answer *a, const char *line, size_t len);

/* The parsers below read @text to its end; false: malformed. */
bool http_parse_u64(const char *text, uint64_t *ret);
bool http_parse_content_range(const char *text, struct http_range *ret);
bool http_parse_limit(const char *text, struct http_limit *ret);
/* Strips W/ and quotes; @ret holds ETAG_MAX + 1 bytes; false unless etag_valid(). */
bool http_parse_etag(const char *text, char *ret);
/* The target of the first link with relation "next", as a heap string; NULL in @ret: none. -ENOMEM. */
int http_parse_next(const char *text, char **ret);
/* Seconds from @now (epoch) on; a day at most. */
bool http_parse_retry_after(const char *text, int64_t now, int64_t *ret);
