/*
 * Tests of what is said: cli/jsonio.c (lines), explain.c (sentences), pull.c (globs) and
 * pull_view.c (plain lines).
 */
#include "cli/explain.h"
#include "cli/jsonio.h"
#include "cli/pull.h"
#include "cli/pull_view.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2];

static void setup(void)
{
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
}

static void teardown(void)
{
        close(pair[0]);
        close(pair[1]);
}

static void put(const char *text)
{
        ck_assert_int_eq((int)write(pair[0], text, strlen(text)), (int)strlen(text));
}

START_TEST(test_lines)
{
        struct line_reader *r = line_reader_new(pair[1], 4096);
        json_t *doc;

        ck_assert_int_eq(line_write(pair[0], json_pack("{s:s}", "a", "x\ny")), 0);
        put("{\"b\":2}\n{\"c\"");
        ck_assert_int_eq(line_read(r, 1000, &doc), 0);
        ck_assert_str_eq(json_get_text(doc, "a"), "x\ny");
        json_decref(doc);
        ck_assert_int_eq(line_read(r, 1000, &doc), 0);
        ck_assert_uint_eq(json_get_u64(doc, "b"), 2);
        ck_assert_uint_eq(json_get_u64(doc, "none"), 0);
        ck_assert_str_eq(json_get_text(doc, "none"), "");
        json_decref(doc);
        ck_assert_int_eq(line_read(r, 50, &doc), -ETIMEDOUT);
        put(":-1}\nnonsense\n");
        ck_assert_int_eq(line_read(r, 1000, &doc), 0);
        ck_assert_uint_eq(json_get_u64(doc, "c"), 0);
        json_decref(doc);
        ck_assert_int_eq(line_read(r, 1000, &doc), -EBADMSG);
        shutdown(pair[0], SHUT_WR);
        ck_assert_int_eq(line_read(r, 1000, &doc), -ENODATA);
        line_reader_free(r);
}
END_TEST

START_TEST(test_long_lines_end)
{
        struct line_reader *r = line_reader_new(pair[1], 10);
        json_t *doc;

        put("{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        ck_assert_int_eq(line_read(r, 1000, &doc), -EFBIG);
        line_reader_free(r);
}
END_TEST

START_TEST(test_text_of_any_encoding)
{
        json_t *o = json_object();

        json_set_text(o, "k",
                      "a\xff"
                      "b");
        ck_assert_str_eq(json_get_text(o, "k"), "a?b");
        json_decref(o);
}
END_TEST

START_TEST(test_long_state_paths)
{
        struct sockaddr_un address;
        int dirfd;

        ck_assert_int_eq(control_address("/s", &address, &dirfd), 0);
        ck_assert_str_eq(address.sun_path, "/s/control.sock");
        ck_assert_int_eq(dirfd, -1);
        ck_assert_int_eq(
                control_address("/././././././././././././././././././././././././././././././././././././."
                                "/././././././././././././././././././././././././././tmp",
                                &address, &dirfd),
                0);
        ck_assert_int_ge(dirfd, 0);
        ck_assert_int_eq(strncmp(address.sun_path, "/proc/self/fd/", 14), 0);
        close(dirfd);
}
END_TEST

START_TEST(test_sentences)
{
        static const struct {
                int result, r;
                const char *part;
        } cases[] = {
                { FETCH_E_ABSENT, -ENOENT, "check the name" },
                { FETCH_E_POLICY, -EPERM, "--allow or --deny" },
                { FETCH_E_FORBIDDEN, -EACCES, "HF_TOKEN" },
                { FETCH_E_UNREACHABLE, -EHOSTUNREACH, "connection refused" },
                { FETCH_E_OFFLINE, -ENETDOWN, "weightfs offline off" },
                { FETCH_E_CORRUPT, -EBADMSG, "/store/quarantine" },
                { -ENOSPC, -ENOSPC, "/store" },
                { -ECANCELED, -ECANCELED, "kept" },
                { -EIO, -EIO, "Input/output error" },
        };
        struct explain x = { .what = "models/o/n",
                             .endpoint = "https://hub",
                             .store = "/store",
                             .last_error = "connection refused" };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct errmsg err = {};

                ck_assert_int_eq(explain_fetch(cases[i].result, &x, &err), cases[i].r);
                ck_assert_msg(strstr(err.text, cases[i].part) != NULL, "%s", err.text);
                ck_assert_msg(strstr(err.text, "models/o/n") != NULL, "%s", err.text);
        }
}
END_TEST

START_TEST(test_globs)
{
        struct pull_request q = {};

        ck_assert(pull_matches(&q, "a/b.bin"));
        strings_add(&q.include, "*.json");
        strings_add(&q.include, "sub/");
        ck_assert(pull_matches(&q, "x/config.json"));
        ck_assert(pull_matches(&q, "sub/deep/model.bin"));
        ck_assert(!pull_matches(&q, "model.bin"));
        strings_add(&q.exclude, "sub/*.json");
        ck_assert(!pull_matches(&q, "sub/deep/x.json"));
        ck_assert(pull_matches(&q, "config.json"));
        pull_request_done(&q);
}
END_TEST

static void show(struct pull_view *v, const char *json, uint64_t now_ms)
{
        json_t *event = json_loads(json, 0, NULL);

        ck_assert_ptr_nonnull(event);
        pull_view_event(v, event, now_ms);
        json_decref(event);
}

START_TEST(test_plain_view)
{
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);
        struct pull_view *v = pull_view_new(out, false, false);

        show(v, "{\"kind\":\"progress\",\"files\":[[0,1,1]]}", 1); /* before the plan: passed over */
        show(v,
             "{\"kind\":\"plan\",\"repo\":\"models/o/n\",\"commit\":\"0123456789abcdef\","
             "\"files\":[[\"a.bin\",2048,0,false],[\"b.bin\",2048,0,true],[\"c\",10,10,false]]}",
             1000);
        show(v, "{\"kind\":\"progress\",\"files\":[[0,1024,1],[7,1,1],[\"x\"]]}", 2000);
        show(v, "{\"kind\":\"failed\",\"file\":1,\"error\":\"it broke\"}", 2100);
        show(v, "{\"kind\":\"progress\",\"files\":[[0,2048,2],[2,10,2]]}", 20000);
        pull_view_end(v);
        pull_view_free(v);
        fclose(out);
        ck_assert_ptr_nonnull(
                strstr(text, "models/o/n at 0123456789ab: 3 files, 2.0 KiB, 10 B of it in the store\n"));
        ck_assert_ptr_nonnull(strstr(text, "failed  it broke\n"));
        ck_assert_ptr_nonnull(strstr(text, "done  a.bin  2.0 KiB\n"));
        ck_assert_ptr_null(strstr(text, "done  c")); /* nothing happened to it */
        ck_assert_ptr_nonnull(strstr(text, "models/o/n: 2 of 3 files, 2.0 KiB of 2.0 KiB (100%)"));
        ck_assert_ptr_null(strchr(text, '\033'));
        free(text);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("talk");
        TCase *t = tcase_create("talk");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, test_lines);
        tcase_add_test(t, test_long_lines_end);
        tcase_add_test(t, test_text_of_any_encoding);
        tcase_add_test(t, test_long_state_paths);
        tcase_add_test(t, test_sentences);
        tcase_add_test(t, test_globs);
        tcase_add_test(t, test_plain_view);
        suite_add_tcase(s, t);
        runner = srunner_create(s);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed > 0;
}
