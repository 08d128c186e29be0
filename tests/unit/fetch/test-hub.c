/*
 * Tests of fetch/hub.c, hub_call.c, hub_api.c and hub_locate.c: questions about names, against a
 * server on the loopback.
 */
#include "fetch/hub_wait.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#define JSON "Content-Type: application/json; charset=utf-8\r\n"
#define INFO "{\"id\":\"org/name\",\"sha\":\"" SHA "\"}"

static struct loopback server, other;
static struct answer a;

static bool not_expected(struct loopback *l, int fd, const char *request)
{
        (void)l;
        (void)request;
        loopback_reply(fd, "500 Not expected", "", "");
        return true;
}

static void setup(void)
{
        answer_init(&a);
        loopback_start(&other, not_expected, NULL);
}

static void teardown(void)
{
        answer_done(&a);
        loopback_stop(&other);
}

/* Answers with the @arg'th part of a script: "status|headers|body" for each request in turn, the
 * last one again and again. "{other}" and "{self}" stand for the servers' addresses. */
static bool by_script(struct loopback *l, int fd, const char *request)
{
        const char *const *script = l->arg, *line = script[0];
        char status[128], headers[1024] = "", body[2048];
        const char *bar, *bar2, *mark;

        for (unsigned i = 1; i < l->requests && script[i]; i++)
                line = script[i];
        bar = strchr(line, '|');
        bar2 = strchr(bar + 1, '|');
        snprintf(status, sizeof(status), "%.*s", (int)(bar - line), line);
        mark = strstr(bar, "{other}");
        if (!mark || mark > bar2)
                mark = strstr(bar, "{self}");
        if (mark && mark < bar2)
                snprintf(headers, sizeof(headers), "%.*s%s%.*s", (int)(mark - bar - 1), bar + 1,
                         mark[1] == 'o' ? other.url : l->url, (int)(bar2 - strchr(mark, '}') - 1),
                         strchr(mark, '}') + 1);
        else
                snprintf(headers, sizeof(headers), "%.*s", (int)(bar2 - bar - 1), bar + 1);
        snprintf(body, sizeof(body), "%s", bar2 + 1);
        if (strncmp(request, "HEAD ", 5) == 0)
                loopback_reply_head(fd, status, headers, strlen(body));
        else
                loopback_reply(fd, status, headers, body);
        return true;
}

/* Result of asking for org/name where the server follows @script. */
static int repo_by(const char *const *script, unsigned deadline_ms)
{
        struct hub *h;
        int r;

        loopback_start(&server, by_script, (void *)script);
        h = hub_for(server.url, NULL);
        r = ask_repo(h, NULL, deadline_ms, &a);
        hub_free(h);
        loopback_stop(&server);
        return r;
}

#define SCRIPT(...) ((const char *const[]){ __VA_ARGS__, NULL })

START_TEST(verdicts)
{
        static const struct {
                const char *line;
                int result;
        } cases[] = {
                { "200 OK||" INFO, 0 },
                { "401 Unauthorized|X-Error-Code: RepoNotFound\r\n|{}", HUB_E_ABSENT },
                { "401 Unauthorized|" JSON "|{}", HUB_E_ABSENT },
                { "401 Unauthorized||", HUB_E_MALFORMED },
                { "401 Unauthorized|X-Error-Code: GatedRepo\r\n|{}", HUB_E_FORBIDDEN },
                { "403 Forbidden||{}", HUB_E_FORBIDDEN },
                { "403 Forbidden|X-Error-Code: GatedRepo\r\n|{}", HUB_E_FORBIDDEN },
                { "404 Not Found|X-Error-Code: RevisionNotFound\r\n|{}", HUB_E_ABSENT },
                { "404 Not Found|" JSON "|{}", HUB_E_ABSENT },
                { "404 Not Found||", HUB_E_MALFORMED }, /* a gateway's? */
                { "404 Not Found|Content-Type: text/html\r\n|", HUB_E_MALFORMED },
                { "400 Bad Request||{}", HUB_E_MALFORMED },
                { "418 Teapot||", HUB_E_MALFORMED },
                { "204 No Content||", HUB_E_MALFORMED },
                { "304 Not Modified||", HUB_E_MALFORMED },
                { "307 Temporary Redirect||", HUB_E_MALFORMED },
                { "200 OK||<!DOCTYPE html>", HUB_E_MALFORMED },
                { "200 OK|Content-Encoding: gzip\r\n|" INFO, HUB_E_MALFORMED },
                { "302 Found|Location: {other}/login\r\n|", HUB_E_MALFORMED },
                { "302 Found|Location: file:///etc/passwd\r\n|", HUB_E_MALFORMED },
                { "307 Temporary Redirect|Location: /loop\r\n|", HUB_E_MALFORMED },
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
                ck_assert_msg(repo_by(SCRIPT(cases[i].line), PATIENT_MS) == cases[i].result, "%s", cases[i].line);
        ck_assert_uint_eq(other.requests, 0);
}
END_TEST

START_TEST(renamed)
{
        ck_assert_int_eq(repo_by(SCRIPT("307 Temporary Redirect|Location: /api/models/org/new\r\n|",
                                        "307 Temporary Redirect|Location: {self}/api/models/org/newer\r\n|",
                                        "200 OK||{\"id\":\"org/newer\",\"sha\":\"" SHA "\"}"),
                                 PATIENT_MS),
                         0);
        ck_assert_str_eq(a.info.name, "org/newer");
}
END_TEST

START_TEST(retried)
{
        uint64_t start = clock_ms();

        ck_assert_int_eq(
                repo_by(SCRIPT("503 Unavailable||", "429 Slow|Retry-After: 1\r\n|", "200 OK||" INFO), PATIENT_MS),
                0);
        ck_assert_uint_ge(clock_ms() - start, 1000); /* as it was told */
}
END_TEST

START_TEST(asked_to_wait_too_long)
{
        uint64_t start = clock_ms();

        ck_assert_int_eq(repo_by(SCRIPT("429 Slow|Retry-After: 90\r\n|"), PATIENT_MS), HUB_E_UNREACHABLE);
        ck_assert_int_eq(repo_by(SCRIPT("429 Slow|RateLimit: \"api\";r=0;t=90\r\n|"), PATIENT_MS),
                         HUB_E_UNREACHABLE);
        ck_assert_uint_lt(clock_ms() - start, PATIENT_MS); /* no use in waiting for it */
}
END_TEST

START_TEST(paced)
{
        struct hub_status status;
        struct hub *h;

        loopback_start(&server, by_script,
                       (void *)SCRIPT("200 OK|RateLimit: \"api\";r=0;t=4\r\n|" INFO, "200 OK||" INFO));
        h = hub_for(server.url, NULL);
        ck_assert_int_eq(ask_repo(h, NULL, PATIENT_MS, &a), 0);
        ck_assert_int_eq(ask_repo(h, NULL, 500, &a), HUB_E_UNREACHABLE);
        hub_get_status(h, &status);
        ck_assert_uint_gt(status.paused_ms, 0);
        ck_assert_int_eq(ask_repo(h, NULL, PATIENT_MS, &a), 0);
        hub_get_status(h, &status);
        ck_assert_uint_eq(status.requests, 2);
        ck_assert_uint_eq(status.paused_ms, 0);
        hub_free(h);
        loopback_stop(&server);
}
END_TEST

static bool silent(struct loopback *l, int fd, const char *request)
{
        char byte;

        (void)l;
        (void)request;
        return recv(fd, &byte, 1, 0) > 0; /* until the client gives up */
}

START_TEST(unreachable)
{
        struct hub_status status;
        uint64_t start, took;
        struct hub *h;

        loopback_start(&server, silent, NULL);
        h = hub_for(server.url, NULL);
        for (int i = 0; i < 5; i++) { /* a busy machine may be late, but not always */
                start = clock_ms();
                ck_assert_int_eq(ask_repo(h, NULL, 700, &a), HUB_E_UNREACHABLE);
                took = clock_ms() - start;
                ck_assert_uint_ge(took, 600);
                if (took <= 2000)
                        break;
        }
        ck_assert_uint_le(took, 2000);
        loopback_stop(&server);
        ck_assert_int_eq(ask_repo(h, NULL, 2000, &a), HUB_E_UNREACHABLE); /* refused now */
        hub_get_status(h, &status);
        ck_assert(!status.reachable && status.unreachable_since > 0);
        ck_assert_ptr_nonnull(strstr(status.last_error, "127.0.0.1"));
        hub_free(h);
}
END_TEST

static bool failing_then_silent(struct loopback *l, int fd, const char *request)
{
        if (l->requests > 1)
                return silent(l, fd, request);
        loopback_reply(fd, "503 Unavailable", "", "");
        return true;
}

/* The attempt that the deadline cuts short does not hide why the one before it failed. (A machine that stands still
 * for so long that there is no second one shows nothing.) */
START_TEST(why_unreachable)
{
        struct hub_status status;
        struct hub *h;

        loopback_start(&server, failing_then_silent, NULL);
        h = hub_for(server.url, NULL);
        ck_assert_int_eq(ask_repo(h, NULL, 2000, &a), HUB_E_UNREACHABLE);
        hub_get_status(h, &status);
        ck_assert(!status.reachable);
        ck_assert_ptr_nonnull(strstr(status.last_error, "answered 503"));
        hub_free(h);
        loopback_stop(&server);
}
END_TEST

START_TEST(refused_arguments)
{
        struct hub *h = hub_for("http://127.0.0.1:1", NULL);

        ck_assert_int_eq(hub_repo_info(h, REPO_MODEL, "../x", NULL, 1, on_repo, &a, NULL), -EINVAL);
        ck_assert_int_eq(hub_repo_info(h, REPO_MODEL, "a/b", "x y", 1, on_repo, &a, NULL), -EINVAL);
        ck_assert_int_eq(hub_tree(h, REPO_MODEL, "a/b", "main", 1, on_tree, &a, NULL), -EINVAL);
        ck_assert_int_eq(hub_locate(h, REPO_MODEL, "a/b", SHA, "../x", HUB_LOCATE_FULL, 1, on_location, &a, NULL), -EINVAL);
        hub_free(h);
}
END_TEST

/* ---- the token ---- */

static char token_path[64];

static void put_token(const char *text)
{
        FILE *f = fopen(token_path, "we");

        ck_assert_ptr_nonnull(f);
        fputs(text, f);
        fclose(f);
}

/* Only the token "new" is good; one that is refused is replaced in the file meanwhile. */
static bool wants_new_token(struct loopback *l, int fd, const char *request)
{
        char got[64] = "";

        loopback_header(request, "Authorization", got, sizeof(got));
        if (strcmp(got, "Bearer new") == 0) {
                loopback_reply(fd, "200 OK", "", INFO);
        } else {
                if (l->arg)
                        put_token(l->arg);
                loopback_reply(fd, "401 Unauthorized", JSON "X-Error-Message: Invalid credentials\r\n", "{}");
        }
        return true;
}

static int repo_with_token(const char *token, const char *rewritten)
{
        struct hub *h;
        int r;

        strcpy(token_path, "/tmp/test-hub-token-XXXXXX");
        close(mkstemp(token_path));
        put_token(token);
        loopback_start(&server, wants_new_token, (void *)rewritten);
        h = hub_for(server.url, token_path);
        r = ask_repo(h, NULL, PATIENT_MS, &a);
        hub_free(h);
        loopback_stop(&server);
        unlink(token_path);
        return r;
}

START_TEST(token)
{
        ck_assert_int_eq(repo_with_token("new", NULL), 0);
        ck_assert_int_eq(repo_with_token("old", "new\n"), 0);
        ck_assert_uint_eq(server.requests, 2);
        ck_assert_int_eq(repo_with_token("old", NULL), HUB_E_FORBIDDEN);
        ck_assert_uint_eq(server.requests, 1);
        ck_assert_int_eq(repo_with_token("old", "older"), HUB_E_FORBIDDEN);
        ck_assert_uint_eq(server.requests, 2);
        ck_assert_int_eq(repo_with_token("", "new"), 0);           /* logged in meanwhile */
        ck_assert_int_eq(repo_with_token("", NULL), HUB_E_ABSENT); /* it does not say which */
}
END_TEST

START_TEST(token_in_the_clear)
{
        struct hub_options o = { .endpoint = "http://hub.example", .token = "hf_secret" };
        struct errmsg err = {};
        struct hub *h;

        ck_assert_int_eq(hub_new(&o, &h, &err), -EPERM);
        ck_assert_ptr_null(strstr(err.text, "hf_secret"));
        o.insecure_token = true;
        ck_assert_int_eq(hub_new(&o, &h, &err), 0);
        hub_free(h);
        o = (struct hub_options){ .endpoint = "https://hub.example", .token = "hf_secret" };
        ck_assert_int_eq(hub_new(&o, &h, &err), 0);
        hub_free(h);
}
END_TEST

/* ---- listings ---- */

#define FILE_(path) "{\"type\":\"file\",\"oid\":\"" SHA "\",\"size\":1,\"path\":\"" path "\"}"

static int tree_by(const char *const *script)
{
        struct hub *h;
        int r;

        answer_done(&a);
        loopback_start(&server, by_script, (void *)script);
        h = hub_for(server.url, NULL);
        ck_assert_int_eq(hub_tree(h, REPO_DATASET, "org/name", SHA, PATIENT_MS, on_tree, &a, NULL), 0);
        r = answer_wait(&a);
        hub_free(h);
        loopback_stop(&server);
        return r;
}

START_TEST(tree_pages)
{
        ck_assert_int_eq(tree_by(SCRIPT("200 OK|Link: <{self}/p?cursor=2>; rel=\"next\"\r\n|[" FILE_("a") "]",
                                        "503 Unavailable||", "200 OK|Link: </p?cursor=3>; rel=next\r\n|[]",
                                        "200 OK||[" FILE_("b") "," FILE_("../c") "]")),
                         0);
        ck_assert_uint_eq(a.tree.count, 2);
        ck_assert_uint_eq(server.requests, 4);
        ck_assert_str_eq(a.tree.files[1].path, "b");
}
END_TEST

START_TEST(tree_traps)
{
        ck_assert_int_eq(tree_by(SCRIPT("200 OK|Link: <{other}/p>; rel=next\r\n|[]")), HUB_E_MALFORMED);
        ck_assert_int_eq(tree_by(SCRIPT("200 OK|Link: </p>; rel=next\r\n|[]")), HUB_E_MALFORMED);
        ck_assert_int_eq(tree_by(SCRIPT("200 OK|Link: </p>; rel=next\r\n|[" FILE_("a") "]",
                                        "200 OK||[" FILE_("a") "]")),
                         HUB_E_MALFORMED);
        ck_assert_uint_eq(other.requests, 0);
        ck_assert_int_eq(tree_by(SCRIPT("200 OK|Link: </p1>; rel=next\r\n|[]", "200 OK|Link: </p2>; rel=next\r\n|[]",
                                        "200 OK|Link: </p3>; rel=next\r\n|[]", "200 OK|Link: </p4>; rel=next\r\n|[]",
                                        "200 OK|Link: </p5>; rel=next\r\n|[]", "200 OK|Link: </p6>; rel=next\r\n|[]",
                                        "200 OK|Link: </p7>; rel=next\r\n|[]", "200 OK|Link: </p8>; rel=next\r\n|[]",
                                        "200 OK|Link: </p9>; rel=next\r\n|[]", "200 OK||[]")),
                         HUB_E_MALFORMED);
        ck_assert_uint_eq(server.requests, 9);
        ck_assert_int_eq(tree_by(SCRIPT("200 OK|Content-Length: 99999999999999999999\r\n|[]")), HUB_E_MALFORMED);
}
END_TEST

/* ---- locations ---- */

static int locate_how(enum hub_locate_how how, const char *const *script)
{
        struct hub *h;
        int r;

        answer_done(&a);
        loopback_start(&server, by_script, (void *)script);
        h = hub_for(server.url, NULL);
        ck_assert_int_eq(hub_locate(h, REPO_MODEL, "org/name", SHA, "a b.bin", how, clock_ms() + PATIENT_MS,
                                    on_location, &a, NULL),
                         0);
        r = answer_wait(&a);
        hub_free(h);
        loopback_stop(&server);
        return r;
}

static int locate_by(const char *const *script)
{
        return locate_how(HUB_LOCATE_FULL, script);
}

START_TEST(locate_elsewhere)
{
        uint64_t now = clock_ms();

        ck_assert_int_eq(locate_how(HUB_LOCATE_FULL | HUB_LOCATE_ANEW,
                                    SCRIPT("302 Found|X-Linked-ETag: \"" SHA256 "\"\r\nX-Linked-Size: 123\r\n"
                                           "Location: {other}/x\r\n|")),
                         0);
        ck_assert(a.location.anew);
        hub_location_done(&a.location);

        ck_assert_int_eq(
                locate_by(SCRIPT("302 Found|X-Linked-ETag: \"" SHA256 "\"\r\nX-Linked-Size: 123\r\n"
                                 "Location: {other}/x?Signature=a~b\r\nETag: \"" SHA "\"\r\n|redirecting")),
                0);
        ck_assert_uint_eq(a.location.size, 123);
        ck_assert_str_eq(a.location.etag, SHA256);
        ck_assert(!a.location.own_origin);
        ck_assert_ptr_nonnull(strstr(a.location.url, "/x?Signature=a~b"));
        ck_assert_uint_ge(a.location.expires_ms, now + 40 * 60 * 1000);
        ck_assert_uint_eq(other.requests, 0);
}
END_TEST

START_TEST(locate_small)
{
        ck_assert_int_eq(locate_by(SCRIPT("307 Temporary Redirect|X-Linked-ETag: \"" SHA "\"\r\n"
                                          "Location: /api/resolve-cache/x?etag=%22a%22\r\n|redirecting",
                                          "200 OK|ETag: W/\"" SHA "\"\r\n|12345")),
                         0);
        ck_assert_uint_eq(a.location.size, 5);
        ck_assert_str_eq(a.location.etag, SHA);
        ck_assert(a.location.own_origin);
        ck_assert_ptr_nonnull(strstr(a.location.url, "/api/resolve-cache/x?etag=%22a%22"));
}
END_TEST

/* What the hub answers for a small file, and for one whose repo has another name now. */
#define NAMED_ "307 Temporary Redirect|X-Linked-ETag: \"" SHA "\"\r\nLocation: /api/resolve-cache/x?etag=%22a%22\r\n|"
#define MOVED_ "307 Temporary Redirect|Location: /org/new/resolve/" SHA "/a\r\n|"

START_TEST(locate_short)
{
        ck_assert_int_eq(locate_how(HUB_LOCATE_SHORT, SCRIPT(MOVED_, NAMED_)), 0);
        ck_assert_uint_eq(server.requests, 2);
        ck_assert_uint_eq(a.location.size, HUB_SIZE_UNSAID);
        ck_assert_str_eq(a.location.etag, SHA);
        ck_assert(a.location.own_origin);
        ck_assert_ptr_nonnull(strstr(a.location.url, "/api/resolve-cache/x?etag=%22a%22"));
        ck_assert_ptr_null(a.location.bytes);
        ck_assert_int_eq(locate_how(HUB_LOCATE_SHORT,
                                    SCRIPT("307 Temporary Redirect|X-Linked-ETag: \"" SHA "\"\r\n"
                                           "X-Linked-Size: 7\r\nLocation: /lfs/x\r\n|")),
                         0);
        ck_assert_uint_eq(a.location.size, 7);
        ck_assert_int_eq(locate_how(HUB_LOCATE_SHORT, SCRIPT("302 Found|X-Linked-ETag: \"" SHA256 "\"\r\n"
                                                             "Location: {other}/x\r\n|")),
                         HUB_E_MALFORMED);
}
END_TEST

START_TEST(take_small)
{
        ck_assert_int_eq(locate_how(HUB_LOCATE_TAKE, SCRIPT(MOVED_, NAMED_, "200 OK|ETag: \"" SHA "\"\r\n|12345")),
                         0);
        ck_assert_uint_eq(server.requests, 3);
        ck_assert_uint_eq(a.location.size, 5);
        ck_assert_str_eq(a.location.etag, SHA);
        ck_assert_mem_eq(a.location.bytes, "12345", 5);
        ck_assert_int_eq(locate_how(HUB_LOCATE_TAKE, SCRIPT("200 OK|ETag: \"" SHA "\"\r\n|12345")), 0);
        ck_assert_uint_eq(server.requests, 1);
        ck_assert_mem_eq(a.location.bytes, "12345", 5);
        ck_assert_int_eq(locate_how(HUB_LOCATE_TAKE,
                                    SCRIPT("503 Unavailable||12345", "200 OK|ETag: \"" SHA "\"\r\n|12345")),
                         0);
        ck_assert_mem_eq(a.location.bytes, "12345", 5);
}
END_TEST

START_TEST(take_elsewhere)
{
        ck_assert_int_eq(locate_how(HUB_LOCATE_TAKE,
                                    SCRIPT("302 Found|X-Linked-ETag: \"" SHA256 "\"\r\nX-Linked-Size: 123\r\n"
                                           "Location: {other}/x?Signature=a~b\r\n|redirecting")),
                         0);
        ck_assert_ptr_null(a.location.bytes);
        ck_assert_uint_eq(a.location.size, 123);
        ck_assert(!a.location.own_origin);
        ck_assert_ptr_nonnull(strstr(a.location.url, "/x?Signature=a~b"));
        ck_assert_uint_eq(other.requests, 0);
}
END_TEST

START_TEST(take_traps)
{
        ck_assert_int_eq(locate_how(HUB_LOCATE_TAKE, SCRIPT("200 OK||12345")), HUB_E_MALFORMED);
        ck_assert_int_eq(locate_how(HUB_LOCATE_TAKE, SCRIPT("200 OK|ETag: \"" SHA "\"\r\n"
                                                            "Content-Encoding: gzip\r\n|12345")),
                         HUB_E_MALFORMED);
        ck_assert_int_eq(locate_how(HUB_LOCATE_TAKE, SCRIPT("200 OK|X-Linked-ETag: \"" SHA "\"\r\n"
                                                            "X-Linked-Size: 6\r\n|12345")),
                         HUB_E_MALFORMED);
        ck_assert_int_eq(locate_how(HUB_LOCATE_TAKE, SCRIPT("307 Temporary Redirect|Location: /a\r\n|",
                                                            "307 Temporary Redirect|Location: /a\r\n|")),
                         HUB_E_MALFORMED);
        ck_assert_int_eq(locate_how(HUB_LOCATE_TAKE, SCRIPT("403 Forbidden|X-Error-Code: GatedRepo\r\n|{}")),
                         HUB_E_FORBIDDEN);
}
END_TEST

START_TEST(locate_traps)
{
        ck_assert_int_eq(locate_by(SCRIPT("302 Found|Location: {other}/login\r\n|")), HUB_E_MALFORMED);
        ck_assert_int_eq(locate_by(SCRIPT("200 OK||12345")), HUB_E_MALFORMED);
        ck_assert_int_eq(locate_by(SCRIPT("404 Not Found|X-Error-Code: EntryNotFound\r\n|")), HUB_E_ABSENT);
        ck_assert_int_eq(locate_by(SCRIPT("307 Temporary Redirect|Location: /a\r\n|",
                                          "307 Temporary Redirect|Location: /b\r\n|",
                                          "307 Temporary Redirect|Location: /a\r\n|",
                                          "307 Temporary Redirect|Location: /b\r\n|",
                                          "307 Temporary Redirect|Location: /a\r\n|",
                                          "307 Temporary Redirect|Location: /b\r\n|")),
                         HUB_E_MALFORMED);
        ck_assert_uint_le(server.requests, 6);
}
END_TEST

/* ---- cancelling, suspending ---- */

/* Sockets of the internet families that this process has open to @port. */
static unsigned count_connections(unsigned port)
{
        DIR *d = opendir("/proc/self/fd");
        const struct dirent *e;
        unsigned count = 0;

        ck_assert_ptr_nonnull(d);
        while ((e = readdir(d))) {
                struct sockaddr_in peer;
                socklen_t len = sizeof(peer);

                if (e->d_name[0] != '.' &&
                    getpeername(atoi(e->d_name), (struct sockaddr *)&peer, &len) == 0 &&
                    peer.sin_family == AF_INET && ntohs(peer.sin_port) == port)
                        count++;
        }
        closedir(d);
        return count;
}

START_TEST(suspend)
{
        struct hub_call *call;
        struct hub *h;

        loopback_start(&server, by_script, (void *)SCRIPT("200 OK||" INFO));
        h = hub_for(server.url, NULL);
        ck_assert_int_eq(ask_repo(h, NULL, PATIENT_MS, &a), 0);
        ck_assert_uint_eq(count_connections(server.port), 1);
        loopback_set(&server, silent);
        ck_assert_int_eq(
                hub_repo_info(h, REPO_MODEL, "org/name", NULL, clock_ms() + 60000, on_repo, &a, &call), 0);
        usleep(50000);
        hub_suspend(h);
        ck_assert_uint_eq(count_connections(server.port), 0);
        ck_assert_int_eq(answer_wait(&a), -ECANCELED);
        hub_cancel(call); /* harmless */
        hub_call_unref(call);
        ck_assert_int_eq(hub_repo_info(h, REPO_MODEL, "org/name", NULL, 1, on_repo, &a, NULL), -ENETDOWN);
        loopback_set(&server, by_script);
        hub_resume(h);
        ck_assert_int_eq(ask_repo(h, NULL, PATIENT_MS, &a), 0);
        hub_free(h);
        loopback_stop(&server);
}
END_TEST

START_TEST(cancel)
{
        struct hub_call *call;
        struct hub *h;

        loopback_start(&server, silent, NULL);
        h = hub_for(server.url, NULL);
        for (int i = 0; i < 20; i++) {
                ck_assert_int_eq(hub_repo_info(h, REPO_MODEL, "org/name", NULL, clock_ms() + 60000, on_repo,
                                               &a, &call),
                                 0);
                usleep((unsigned)i * 200);
                hub_cancel(call);
                hub_cancel(call);
                ck_assert_int_eq(answer_wait(&a), -ECANCELED);
                hub_call_unref(call);
        }
        ck_assert_int_eq(
                hub_repo_info(h, REPO_MODEL, "org/name", NULL, clock_ms() + 60000, on_repo, &a, &call), 0);
        hub_free(h);
        ck_assert_int_eq(answer_wait(&a), -ECANCELED);
        hub_cancel(call);
        hub_call_unref(call);
        loopback_stop(&server);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("hub");
        TCase *t = tcase_create("all");
        SRunner *r;
        int failed;

        tcase_set_timeout(t, 60);
        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, verdicts);
        tcase_add_test(t, renamed);
        tcase_add_test(t, retried);
        tcase_add_test(t, asked_to_wait_too_long);
        tcase_add_test(t, paced);
        tcase_add_test(t, unreachable);
        tcase_add_test(t, why_unreachable);
        tcase_add_test(t, refused_arguments);
        tcase_add_test(t, token);
        tcase_add_test(t, token_in_the_clear);
        tcase_add_test(t, tree_pages);
        tcase_add_test(t, tree_traps);
        tcase_add_test(t, locate_elsewhere);
        tcase_add_test(t, locate_small);
        tcase_add_test(t, locate_short);
        tcase_add_test(t, locate_traps);
        tcase_add_test(t, take_small);
        tcase_add_test(t, take_elsewhere);
        tcase_add_test(t, take_traps);
        tcase_add_test(t, suspend);
        tcase_add_test(t, cancel);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed != 0;
}
