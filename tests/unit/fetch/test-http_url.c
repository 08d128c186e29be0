/*
 * Tests of fetch/http_url.c.
 */
#include "fetch/http_url.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int endpoint(const char *text, char **ret)
{
        struct http_origin o = {};
        struct errmsg err = {};
        int r = http_url_endpoint(text, ret, &o, &err);

        http_origin_done(&o);
        ck_assert(r >= 0 || err.text[0] != '\0');
        ck_assert_ptr_null(strstr(err.text, "secret"));
        return r;
}

START_TEST(endpoints)
{
        static const char *const bad[] = { "",
                                           "huggingface.co/x",
                                           "ftp://h",
                                           "file:///etc/passwd",
                                           "https://user:secret@h",
                                           "https://user@h",
                                           "https://h?x=1",
                                           "https://h/#f",
                                           "https://h/?",
                                           "https://",
                                           "https://h:99999" };
        char *url;

        ck_assert_int_eq(endpoint("https://huggingface.co/", &url), 0);
        ck_assert_str_eq(url, "https://huggingface.co");
        free(url);
        ck_assert_int_eq(endpoint("http://10.0.0.1:8080/a/hub//", &url), 0);
        ck_assert_str_eq(url, "http://10.0.0.1:8080/a/hub");
        free(url);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                ck_assert_msg(endpoint(bad[i], &url) == -EINVAL, "%s", bad[i]);
}
END_TEST

static bool same_origin(const char *a, const char *b)
{
        struct http_origin x, y;
        bool same;

        ck_assert_int_eq(http_url_origin(a, &x), 0);
        ck_assert_int_eq(http_url_origin(b, &y), 0);
        same = http_origin_equal(&x, &y);
        http_origin_done(&x);
        http_origin_done(&y);
        return same;
}

START_TEST(origins)
{
        ck_assert(same_origin("https://Hub.example/a", "HTTPS://hub.example:443/b?c"));
        ck_assert(!same_origin("https://hub.example", "http://hub.example"));
        ck_assert(!same_origin("https://hub.example", "https://hub.example:444"));
        ck_assert(!same_origin("https://hub.example", "https://hub.example.org"));
}
END_TEST

START_TEST(loopback)
{
        static const struct {
                const char *url;
                bool is;
        } cases[] = {
                { "http://localhost:1", true },        { "http://a.localhost", true },
                { "http://127.0.0.1", true },          { "http://127.1.2.3:80", true },
                { "http://[::1]:80", true },           { "http://127.0.0.1.example.com", false },
                { "http://localhost.example", false }, { "http://10.0.0.1", false },
                { "http://notlocalhost", false },
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct http_origin o;

                ck_assert_int_eq(http_url_origin(cases[i].url, &o), 0);
                ck_assert_msg(http_origin_loopback(&o) == cases[i].is, "%s", cases[i].url);
                http_origin_done(&o);
        }
}
END_TEST

START_TEST(resolve)
{
        static const char base[] = "https://h.example/a/b?x=1";
        static const struct {
                const char *target, *want;
        } cases[] = {
                { "/api/resolve-cache/m/x?etag=%22a%22&%2Fb=",
                  "https://h.example/api/resolve-cache/m/x?etag=%22a%22&%2Fb=" },
                { "https://cdn/x/../y?Signature=a~b_&Policy=c%3D",
                  "https://cdn/x/../y?Signature=a~b_&Policy=c%3D" },
                { "HTTPS://CDN/x", "HTTPS://CDN/x" },
                { "//other/x", "https://other/x" },
                { "c?y=2", "https://h.example/a/c?y=2" },
        };
        char *url;

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                ck_assert_msg(http_url_resolve(base, cases[i].target, &url) == 0, "%s", cases[i].target);
                ck_assert_str_eq(url, cases[i].want);
                free(url);
        }
        ck_assert_int_eq(http_url_resolve(base, "file:///etc/passwd", &url), HTTP_E_URL);
        ck_assert_int_eq(http_url_resolve(base, "https://user:pw@h/", &url), HTTP_E_URL);
        ck_assert_int_eq(http_url_resolve(base, "javascript:alert(1)", &url), HTTP_E_URL);
}
END_TEST

START_TEST(quote)
{
        char *q = http_url_quote("a b/\xc3\xa9%41?#~._-", true);

        ck_assert_str_eq(q, "a%20b/%C3%A9%2541%3F%23~._-");
        free(q);
        q = http_url_quote("refs/pr/1", false);
        ck_assert_str_eq(q, "refs%2Fpr%2F1");
        free(q);
}
END_TEST

START_TEST(shown)
{
        char buf[16];

        http_url_shown("https://cdn/x?Signature=secret", buf, sizeof(buf));
        ck_assert_str_eq(buf, "cdn/x");
        http_url_shown("https://a-host-with-a-long-name/x", buf, sizeof(buf));
        ck_assert_str_eq(buf, "a-host-with-a-l");
}
END_TEST

START_TEST(lifetime)
{
        /* 2024-01-01T00:00:00Z is 1704067200 */
        ck_assert_int_eq(http_url_lifetime("https://c/x?X-Amz-Date=20240101T000000Z&X-Amz-Expires=3600",
                                           1704067200 + 600),
                         3000);
        ck_assert_int_eq(http_url_lifetime("https://c/x?x-amz-expires=3600&a=b&X-Amz-Date=20240101T000000Z",
                                           1704067200 + 7200),
                         0);
        ck_assert_int_eq(http_url_lifetime("https://c/x?Expires=1704070800&Policy=x", 1704067200), 3600);
        ck_assert_int_eq(http_url_lifetime("https://c/x?Expires=1704070800", 1800000000), 0);
        ck_assert_int_eq(http_url_lifetime("https://c/x?X-Amz-Date=yesterday&X-Amz-Expires=3600", 0), -1);
        ck_assert_int_eq(http_url_lifetime("https://c/x?Expires=60", 0), -1);
        ck_assert_int_eq(http_url_lifetime("https://c/x", 0), -1);
        ck_assert_int_eq(http_url_lifetime("https://c/Expires=1704070800#?Expires=1", 0), -1);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("http_url");
        TCase *t = tcase_create("all");
        SRunner *r;
        int failed;

        tcase_add_test(t, endpoints);
        tcase_add_test(t, origins);
        tcase_add_test(t, loopback);
        tcase_add_test(t, resolve);
        tcase_add_test(t, quote);
        tcase_add_test(t, shown);
        tcase_add_test(t, lifetime);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed != 0;
}
