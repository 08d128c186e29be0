/*
 * Tests of fetch/hub_range.c against a server on the loopback: nothing but the range that was asked
 * for may reach the sink.
 */
#include "fetch/hub_wait.h"

#include <errno.h>

#define TOTAL 1000

static struct loopback server, cdn;
static struct answer a;
static struct hub *hub;
static char content[TOTAL + 1];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
        const char *headers, *status;
        size_t start, len; /* of the body, in content */
        bool hang_up;
} next;                         /* protected by lock */
static char last_request[4096]; /* protected by lock */

static bool serve(struct loopback *l, int fd, const char *request)
{
        char head[1024];
        size_t start, len;
        bool hang_up;
        int n;

        (void)l;
        pthread_mutex_lock(&lock);
        n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\n%s\r\n", next.status, next.headers);
        start = next.start;
        len = next.len;
        hang_up = next.hang_up;
        snprintf(last_request, sizeof(last_request), "%s", request);
        pthread_mutex_unlock(&lock);
        loopback_send(fd, head, (size_t)n);
        loopback_send(fd, content + start, len);
        return !hang_up;
}

/* The value of a header of the last request; "" when it had none. */
static const char *sent(const char *name)
{
        static char value[128];

        value[0] = '\0';
        pthread_mutex_lock(&lock);
        loopback_header(last_request, name, value, sizeof(value));
        pthread_mutex_unlock(&lock);
        return value;
}

static void setup(void)
{
        for (size_t i = 0; i < TOTAL; i++)
                content[i] = (char)('a' + i % 26);
        answer_init(&a);
        loopback_start(&server, serve, NULL);
        loopback_start(&cdn, serve, NULL);
        hub = hub_for(server.url, NULL);
}

static void teardown(void)
{
        hub_free(hub);
        loopback_stop(&server);
        loopback_stop(&cdn);
        answer_done(&a);
}

static bool anew; /* of range_of()'s location */

static int range_of(bool own, uint64_t start, uint64_t end)
{
        char url[128];
        struct hub_location l = { .url = url, .own_origin = own, .anew = anew };
        struct hub_sink sink = { .data = on_bytes, .done = on_range_done, .arg = &a };

        a.got = a.first = 0;
        snprintf(url, sizeof(url), "%s/blob?Signature=secret", own ? server.url : cdn.url);
        ck_assert_int_eq(hub_range(hub, &l, start, end, TOTAL, &sink, NULL), 0);
        return answer_wait(&a);
}

/* The server's next answers: body bytes [start, start + len). */
static void answers(const char *status, const char *fields, size_t start, size_t len, bool close)
{
        pthread_mutex_lock(&lock);
        next.status = status;
        next.headers = fields;
        next.start = start;
        next.len = len;
        next.hang_up = close;
        pthread_mutex_unlock(&lock);
}

#define PARTIAL "206 Partial Content"

START_TEST(good)
{
        answers(PARTIAL, "Content-Range: bytes 100-299/1000\r\nContent-Length: 200\r\n", 100, 200, false);
        ck_assert_int_eq(range_of(false, 100, 300), 0);
        ck_assert_uint_eq(a.first, 100);
        ck_assert_uint_eq(a.got, 200);
        ck_assert_mem_eq(a.bytes, content + 100, 200);
        ck_assert_str_eq(sent("Range"), "bytes=100-299");
        ck_assert_str_eq(sent("Accept-Encoding"), "identity");
        ck_assert_int_eq(range_of(false, 100, 300), 0);
        ck_assert_uint_eq(cdn.connections, 1);                          /* kept */
        answers(PARTIAL, "Content-Range: bytes 0-0/*\r\n", 0, 1, true); /* length by the connection's end */
        ck_assert_int_eq(range_of(false, 0, 1), 0);
        answers("200 OK", "Content-Length: 1000\r\n", 0, 1000, false);
        ck_assert_int_eq(range_of(false, 0, TOTAL), 0);
        ck_assert_uint_eq(a.got, TOTAL);
}
END_TEST

/* What was wrong does not come over the same connection, nor out of a proxy's cache, once more. */
START_TEST(asked_anew)
{
        answers(PARTIAL, "Content-Range: bytes 100-299/1000\r\nContent-Length: 200\r\n", 100, 200, false);
        ck_assert_int_eq(range_of(false, 100, 300), 0);
        ck_assert_int_eq(range_of(false, 100, 300), 0);
        ck_assert_uint_eq(cdn.connections, 1);
        ck_assert_str_eq(sent("Cache-Control"), "");
        anew = true;
        ck_assert_int_eq(range_of(false, 100, 300), 0);
        anew = false;
        ck_assert_uint_eq(cdn.connections, 2);
        ck_assert_str_eq(sent("Cache-Control"), "no-cache");
}
END_TEST

START_TEST(not_as_asked)
{
        static const struct {
                const char *status, *headers;
        } cases[] = {
                { "200 OK", "Content-Length: 1000\r\n" },
                { "200 OK", "" },
                { "200 OK", "Content-Length: 200\r\n" },
                { PARTIAL, "Content-Length: 200\r\n" },
                { PARTIAL, "Content-Range: bytes 101-300/1000\r\nContent-Length: 200\r\n" },
                { PARTIAL, "Content-Range: bytes 100-298/1000\r\n" },
                { PARTIAL, "Content-Range: bytes 100-299/1001\r\nContent-Length: 200\r\n" },
                { PARTIAL, "Content-Range: bytes 100-299/1000\r\nContent-Length: 201\r\n" },
                { PARTIAL,
                  "Content-Range: bytes 100-299/1000\r\nContent-Encoding: gzip\r\nContent-Length: 200\r\n" },
                { PARTIAL, "Content-Range: bytes 100-299\r\nContent-Length: 200\r\n" },
                { PARTIAL, "Content-Range: bytes */1000\r\nContent-Length: 200\r\n" },
                { PARTIAL, "Content-Type: multipart/byteranges; boundary=x\r\nContent-Length: 200\r\n" },
                { "204 No Content", "" },
                { "416 Range Not Satisfiable", "Content-Range: bytes */1000\r\nContent-Length: 200\r\n" },
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                answers(cases[i].status, cases[i].headers, 100, 200, true);
                ck_assert_msg(range_of(false, 100, 300) == HUB_E_RANGE, "%s\n%s", cases[i].status,
                              cases[i].headers);
                ck_assert_uint_eq(a.got, 0);
        }
}
END_TEST

START_TEST(wrong_length)
{
        answers(PARTIAL, "Content-Range: bytes 100-299/1000\r\n", 100, 300, true);
        ck_assert_int_eq(range_of(false, 100, 300), HUB_E_RANGE);
        ck_assert_uint_eq(a.got, 200);
        answers(PARTIAL, "Content-Range: bytes 100-299/1000\r\n", 100, 150, true);
        ck_assert_int_eq(range_of(false, 100, 300), HUB_E_CUT);
        ck_assert_uint_eq(a.got, 150);
        answers(PARTIAL, "Content-Range: bytes 100-299/1000\r\nContent-Length: 200\r\n", 100, 150, true);
        ck_assert_int_eq(range_of(false, 100, 300), HUB_E_CUT);
        ck_assert_mem_eq(a.bytes, content + 100, 150);
        answers(PARTIAL, "Content-Range: bytes 100-299/1000\r\nContent-Length: 200\r\n", 100, 0, true);
        ck_assert_int_eq(range_of(false, 100, 300), HUB_E_CUT);
}
END_TEST

START_TEST(refusals)
{
        static const struct {
                const char *status;
                int of_cdn, of_hub;
        } cases[] = {
                { "401 Unauthorized", HUB_E_EXPIRED, HUB_E_FORBIDDEN },
                { "403 Forbidden", HUB_E_EXPIRED, HUB_E_FORBIDDEN },
                { "404 Not Found", HUB_E_EXPIRED, HUB_E_ABSENT },
                { "410 Gone", HUB_E_EXPIRED, HUB_E_ABSENT },
                { "400 Bad Request", HUB_E_EXPIRED, HUB_E_MALFORMED },
                { "302 Found", HUB_E_EXPIRED, HUB_E_EXPIRED },
                { "500 Oops", HUB_E_UNREACHABLE, HUB_E_UNREACHABLE },
                { "408 Request Timeout", HUB_E_UNREACHABLE, HUB_E_UNREACHABLE },
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                answers(cases[i].status, "Content-Length: 10\r\nLocation: /x\r\n", 0, 10, false);
                ck_assert_msg(range_of(false, 100, 300) == cases[i].of_cdn, "%s", cases[i].status);
                ck_assert_msg(range_of(true, 100, 300) == cases[i].of_hub, "%s", cases[i].status);
                ck_assert_uint_eq(a.got, 0);
        }
        ck_assert_uint_eq(cdn.connections, 1);
        answers("429 Too Many Requests", "Retry-After: 600\r\nContent-Length: 0\r\n", 0, 0, false);
        ck_assert_int_eq(range_of(true, 100, 300), HUB_E_UNREACHABLE);
        ck_assert_uint_eq(a.retry_after_ms, 600000);
        ck_assert_int_eq(range_of(true, 100, 300), HUB_E_UNREACHABLE); /* by the pacing, unasked */
        ck_assert_uint_gt(a.retry_after_ms, 500000);
        ck_assert_uint_eq(server.requests, ARRAY_SIZE(cases) + 1);
}
END_TEST

START_TEST(sink_refuses)
{
        answers(PARTIAL, "Content-Range: bytes 100-299/1000\r\nContent-Length: 200\r\n", 100, 200, false);
        a.refuse = -ENOSPC;
        ck_assert_int_eq(range_of(false, 100, 300), -ENOSPC);
        a.refuse = 77;
        ck_assert_int_eq(range_of(false, 100, 300), 77);
}
END_TEST

START_TEST(no_connection)
{
        struct hub_status status;

        loopback_stop(&cdn);
        ck_assert_int_eq(range_of(false, 100, 300), HUB_E_UNREACHABLE);
        hub_get_status(hub, &status);
        ck_assert_ptr_nonnull(strstr(status.last_error, "127.0.0.1"));
        ck_assert_ptr_null(strstr(status.last_error, "secret"));
        ck_assert(status.reachable); /* it is the hub that this speaks of */
        loopback_start(&cdn, serve, NULL);
}
END_TEST

/* A hub elsewhere sends nobody to this machine, by whatever spelling, nor to the link's own addresses. */
START_TEST(not_near_unless_the_hub_is)
{
        static const char *const links[] = { "http://169.254.169.254/x", "http://2852039166/x",
                                             "http://[::ffff:169.254.169.254]/x" };
        struct hub_sink sink = { .data = on_bytes, .done = on_range_done, .arg = &a };
        struct hub_status status;

        answers(PARTIAL, "Content-Range: bytes 100-299/1000\r\nContent-Length: 200\r\n", 100, 200, false);
        for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
                struct hub_location l = { .url = (char *)links[i] };

                ck_assert_int_eq(hub_range(hub, &l, 100, 300, TOTAL, &sink, NULL), 0);
                ck_assert_int_eq(answer_wait(&a), HUB_E_UNREACHABLE);
                hub_get_status(hub, &status);
                ck_assert_ptr_nonnull(strstr(status.last_error, "where the hub is not"));
        }
        hub_free(hub);
        hub = hub_for("http://192.0.2.1", NULL);
        ck_assert_int_eq(range_of(false, 100, 300), HUB_E_UNREACHABLE);
        ck_assert_uint_eq(cdn.requests, 0);
}
END_TEST

START_TEST(token_stays_home)
{
        struct hub_options o = { .endpoint = server.url, .token = "hf_secret" };

        hub_free(hub);
        ck_assert_int_eq(hub_new(&o, &hub, NULL), 0);
        answers(PARTIAL, "Content-Range: bytes 100-299/1000\r\nContent-Length: 200\r\n", 100, 200, false);
        ck_assert_int_eq(range_of(false, 100, 300), 0);
        ck_assert_str_eq(sent("Authorization"), "");
        ck_assert_int_eq(range_of(true, 100, 300), 0);
        ck_assert_str_eq(sent("Authorization"), "Bearer hf_secret");
        ck_assert_int_eq(strncmp(sent("User-Agent"), "weightfs/", 9), 0);
}
END_TEST

/* ---- many at once ---- */

static bool hold(struct loopback *l, int fd, const char *request)
{
        char byte;

        if (strncmp(request, "GET /api/", 9) == 0) {
                loopback_reply(fd, "200 OK", "", "{\"sha\":\"" SHA "\"}");
                return true;
        }
        (void)l;
        return recv(fd, &byte, 1, 0) > 0;
}

START_TEST(names_overtake_ranges)
{
        struct hub_call *calls[40];
        struct answer many[40], name;
        char url[128];
        struct hub_location l = { .url = url, .own_origin = true };

        loopback_set(&server, hold);
        snprintf(url, sizeof(url), "%s/blob", server.url);
        for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
                struct hub_sink sink = { .data = on_bytes, .done = on_range_done, .arg = &many[i] };

                answer_init(&many[i]);
                ck_assert_int_eq(hub_range(hub, &l, 0, 10, TOTAL, &sink, &calls[i]), 0);
        }
        answer_init(&name);
        ck_assert_int_eq(ask_repo(hub, NULL, PATIENT_MS, &name), 0);
        ck_assert_uint_le(server.connections, 5); /* four ranges, one name */
        for (size_t i = 0; i < ARRAY_SIZE(many); i++)
                hub_cancel(calls[i]);
        for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
                ck_assert_int_eq(answer_wait(&many[i]), -ECANCELED);
                hub_call_unref(calls[i]);
        }
}
END_TEST

int main(void)
{
        Suite *s = suite_create("hub_range");
        TCase *t = tcase_create("all");
        SRunner *r;
        int failed;

        tcase_set_timeout(t, 60);
        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, good);
        tcase_add_test(t, asked_anew);
        tcase_add_test(t, not_as_asked);
        tcase_add_test(t, wrong_length);
        tcase_add_test(t, refusals);
        tcase_add_test(t, sink_refuses);
        tcase_add_test(t, no_connection);
        tcase_add_test(t, not_near_unless_the_hub_is);
        tcase_add_test(t, token_stays_home);
        tcase_add_test(t, names_overtake_ranges);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed != 0;
}
