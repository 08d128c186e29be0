/*
 * Tests of fetch/http_header.c.
 */
#include "fetch/http_header.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define SHA1 "2dc08b204b59d95a436248b89b5bcd028b4a89a3"
#define SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

START_TEST(content_range)
{
        static const char *const bad[] = { "",
                                           "bytes",
                                           "bytes ",
                                           "items 0-1/2",
                                           "bytes 1-0/2",
                                           "bytes 0-1/1",
                                           "bytes 0-1",
                                           "bytes -1/2",
                                           "bytes 0-/2",
                                           "bytes 0-1/2 ",
                                           "bytes 0-1/2, 3-4/5",
                                           "bytes */*",
                                           "bytes +0-1/2",
                                           "bytes 0-18446744073709551615/*",
                                           "bytes 99999999999999999999-1/2" };
        struct http_range r;

        ck_assert(http_parse_content_range("bytes 0-99/1000", &r));
        ck_assert(r.start == 0 && r.end == 100 && r.total == 1000 && !r.unsatisfied);
        ck_assert(http_parse_content_range("Bytes 5-5/*", &r));
        ck_assert(r.start == 5 && r.end == 6 && r.total == UINT64_MAX);
        ck_assert(http_parse_content_range("bytes */1000", &r));
        ck_assert(r.unsatisfied && r.total == 1000);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                ck_assert_msg(!http_parse_content_range(bad[i], &r), "%s", bad[i]);
}
END_TEST

START_TEST(etag)
{
        char e[ETAG_MAX + 1];

        ck_assert(http_parse_etag("\"" SHA1 "\"", e));
        ck_assert_str_eq(e, SHA1);
        ck_assert(http_parse_etag("W/\"" SHA256 "\"", e));
        ck_assert_str_eq(e, SHA256);
        ck_assert(http_parse_etag(SHA1, e));
        ck_assert(!http_parse_etag("", e));
        ck_assert(!http_parse_etag("\"", e));
        ck_assert(!http_parse_etag("\"../../etc/passwd\"", e));
        ck_assert(!http_parse_etag("\"" SHA256 "0\"", e));
        ck_assert(!http_parse_etag("\"d41d8cd98f00b204e9800998ecf8427e-5\"", e));
}
END_TEST

START_TEST(limit)
{
        struct http_limit l;

        ck_assert(http_parse_limit("\"resolvers\";r=2999;t=172", &l));
        ck_assert_str_eq(l.policy, "resolvers");
        ck_assert(l.remaining == 2999 && l.reset_s == 172);
        ck_assert(http_parse_limit("\"api\"; t=0; x=\"a\"; r=0, \"other\";r=1;t=2", &l));
        ck_assert_str_eq(l.policy, "api");
        ck_assert(l.remaining == 0 && l.reset_s == 0);
        ck_assert(http_parse_limit("api;r=99999999999;t=1", &l));
        ck_assert(l.remaining == UINT32_MAX);
        ck_assert(!http_parse_limit("", &l));
        ck_assert(!http_parse_limit("\"api", &l));
        ck_assert(!http_parse_limit("\"api\";r=1", &l));
        ck_assert(!http_parse_limit("\"api\";r=-1;t=5", &l));
        ck_assert(!http_parse_limit("\"a-name-that-is-much-too-long-for-this\";r=1;t=5", &l));
        ck_assert(!http_parse_limit("limit=100, remaining=50, reset=5", &l));
}
END_TEST

static void expect_next(const char *text, const char *want)
{
        char *got;

        ck_assert_int_eq(http_parse_next(text, &got), 0);
        if (want)
                ck_assert_str_eq(got, want);
        else
                ck_assert_ptr_null(got);
        free(got);
}

START_TEST(link_next)
{
        expect_next("<https://h/a?cursor=x%3D&b=c>; rel=\"next\"", "https://h/a?cursor=x%3D&b=c");
        expect_next("<https://h/1>; rel=prev, <https://h/2>; title=\"a, b; rel=next\"; rel=next",
                    "https://h/2");
        expect_next("<https://h/1>;REL=\"first Next\"", "https://h/1");
        expect_next("</a,b>;rel=next", "/a,b");
        expect_next("<https://h/1>; rel=\"nextish\"", NULL);
        expect_next("<https://h/1>; rel=\"prev\"; rel=\"next\"", NULL);
        expect_next("<https://h/1", NULL);
        expect_next("<https://h/1>; rel=\"next", "https://h/1");
        expect_next("<https://h/1>; rel=", NULL);
        expect_next("<https://h/1>; title=\"open", NULL);
        expect_next("", NULL);
}
END_TEST

START_TEST(retry_after)
{
        int64_t s;

        ck_assert(http_parse_retry_after("120", 0, &s));
        ck_assert_int_eq(s, 120);
        ck_assert(http_parse_retry_after("99999999999", 0, &s));
        ck_assert_int_eq(s, 86400);
        ck_assert(http_parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 20, &s));
        ck_assert_int_eq(s, 40);
        ck_assert(http_parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 100, &s));
        ck_assert_int_eq(s, 0);
        ck_assert(!http_parse_retry_after("soon", 0, &s));
        ck_assert(!http_parse_retry_after("", 0, &s));
}
END_TEST

static void feed(struct http_answer *a, const char *const *lines)
{
        for (; *lines; lines++)
                ck_assert_int_eq(http_answer_line(a, *lines, strlen(*lines)), 0);
}

START_TEST(answer)
{
        static const char *const lines[] = { "HTTP/1.1 103 Early Hints\r\n",
                                             "Location: /early\r\n",
                                             "\r\n",
                                             "HTTP/1.1 206 Partial Content\r\n",
                                             "content-length:  100 \r\n",
                                             "Content-Range: bytes 0-99/1000\r\n",
                                             "ETag: \"" SHA1 "\"\r\n",
                                             "X-Linked-Etag: \"" SHA256 "\"\r\n",
                                             "X-Linked-Size: 1000\r\n",
                                             "no colon\r\n",
                                             ": empty\r\n",
                                             "X-Error-Message: a\x1b[31mb\r\n",
                                             "Content-Encoding: identity\r\n",
                                             NULL };
        static const char *const end[] = { "\r\n", "Location: /trailer\r\n", NULL };
        struct http_answer a;

        http_answer_init(&a);
        feed(&a, lines);
        ck_assert(!a.headers_ended);
        feed(&a, end);
        ck_assert(a.headers_ended && a.status == 206 && a.length == 100 && a.linked_size == 1000);
        ck_assert(a.has_range && !a.bad_range && a.range.end == 100 && !a.encoded);
        ck_assert_str_eq(a.etag, SHA1);
        ck_assert_str_eq(a.linked_etag, SHA256);
        ck_assert_str_eq(a.error_message, "a[31mb");
        ck_assert_ptr_null(a.location);
        http_answer_done(&a);
}
END_TEST

START_TEST(contradictions)
{
        static const char *const lines[] = { "HTTP/1.1 200 OK\r\n",        "Content-Length: 5\r\n",
                                             "Content-Length: 6\r\n",      "Content-Length: 6\r\n",
                                             "Content-Range: bytes 0-1/2", "Content-Range: bytes 0-1/2",
                                             "Content-Encoding: br\r\n",   "Location: /a\tb\r\n",
                                             "X-Linked-Size: -5\r\n",      NULL };
        struct http_answer a;

        http_answer_init(&a);
        feed(&a, lines);
        ck_assert_int_eq(a.length, -2);
        ck_assert(a.bad_range && a.encoded);
        ck_assert_ptr_null(a.location);
        ck_assert_int_eq(a.linked_size, -1);
        http_answer_done(&a);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("http_header");
        TCase *t = tcase_create("all");
        SRunner *r;
        int failed;

        tcase_add_test(t, content_range);
        tcase_add_test(t, etag);
        tcase_add_test(t, limit);
        tcase_add_test(t, link_next);
        tcase_add_test(t, retry_after);
        tcase_add_test(t, answer);
        tcase_add_test(t, contradictions);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed != 0;
}
