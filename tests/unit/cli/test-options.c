/*
 * Tests of cli/options.c, optparse.c, config.c and environ.c: who wins (O1, O2), and that each
 * mistake is named.
 */
#include "cli/options.h"

#include "fetch/fetch.h"

#include <check.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct options o;
static struct strings words;
static struct errmsg err;

static void setup(void)
{
        static const char *const variables[] = { "HF_ENDPOINT",          "HF_TOKEN",
                                                 "HF_TOKEN_PATH",        "HF_HUB_OFFLINE",
                                                 "TRANSFORMERS_OFFLINE", "SSL_CERT_FILE" };

        for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
                unsetenv(variables[i]);
        options_init(&o);
        words = (struct strings){};
        err.text[0] = '\0';
}

static void teardown(void)
{
        options_done(&o);
        strings_done(&words);
}

#define ARGS(command, ...)                                                                                   \
        ({                                                                                                   \
                char *args_[] = { __VA_ARGS__ };                                                             \
                options_read_args(&o, command, (int)ARRAY_SIZE(args_), args_, &words, &err);                 \
        })

static int read_config(const char *text)
{
        char path[] = "/tmp/weightfs-test-XXXXXX";
        int fd = mkstemp(path), r;

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(pwrite_all(fd, text, strlen(text), 0), 0);
        close(fd);
        r = options_read_config(&o, path, &err);
        unlink(path);
        return r;
}

static void assert_said(const char *part)
{
        ck_assert_msg(strstr(err.text, part) != NULL, "'%s' does not say '%s'", err.text, part);
}

START_TEST(test_command_line)
{
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "-fvv", "--store=/s", "--state", "/t", "/mnt", "--allow",
                              "a/* b/*", "--allow=c/*", "--complete=never", "--uid", "7",
                              "-oendpoint=http://h/"),
                         0);
        ck_assert(o.foreground);
        ck_assert_uint_eq(o.verbose, 2);
        ck_assert_str_eq(o.store, "/s");
        ck_assert_str_eq(o.state, "/t");
        ck_assert_str_eq(o.endpoint, "http://h");
        ck_assert_uint_eq(o.allow.count, 3);
        ck_assert_str_eq(o.allow.items[2], "c/*");
        ck_assert_uint_eq(o.complete, COMPLETE_NEVER);
        ck_assert_int_eq(o.uid, 7);
        ck_assert_uint_eq(words.count, 1);
        ck_assert_str_eq(words.items[0], "/mnt");
}
END_TEST

START_TEST(test_dashes_end_options)
{
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--", "--store"), 0);
        ck_assert_str_eq(words.items[0], "--store");
}
END_TEST

START_TEST(test_mistakes_are_named)
{
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--ofline"), -EINVAL);
        assert_said("did you mean --offline?");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--store"), -EINVAL);
        assert_said("--store needs a value: DIR");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--now"), -EINVAL);
        assert_said("--now is not an option of 'weightfs mount'");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--complete=sometimes"), -EINVAL);
        assert_said("touched, read, never");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--endpoint=huggingface.co"), -EINVAL);
        assert_said("'huggingface.co' is not a URL");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--uid=no-such-user-here"), -EINVAL);
        assert_said("no user 'no-such-user-here'");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--connections=0"), -EINVAL);
        assert_said("--connections");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--declare=a/b/c"), -EINVAL);
        assert_said("'a/b/c' is not a repo");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--token=hf_x"), -EINVAL);
        assert_said("HF_TOKEN");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "-x"), -EINVAL);
        assert_said("-x is not an option");
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--offline=perhaps"), -EINVAL);
        assert_said("neither yes nor no");
}
END_TEST

START_TEST(test_sizes)
{
        static const char *const wrong[] = {
                "",    "x",    "-1",   "1.5G", "5 %", "100%", "%",        "G",
                "1Q",  "1GG",  "1MiX", "10 G", "0x10", "1e9",  "9999999P", "99999999999999999999",
        };
        static const struct {
                const char *text;
                uint64_t bytes;
        } right[] = { { "0", 0 },           { "4096", 4096 },      { "3k", 3 << 10 },
                      { "500M", 500 << 20 }, { "20GiB", UINT64_C(20) << 30 }, { "1TB", UINT64_C(1) << 40 },
                      { "8191P", UINT64_C(8191) << 50 } };
        char text[64];

        ck_assert_uint_eq(o.keep_free.percent, 5);
        ck_assert_uint_eq(o.keep_free.bytes, UINT64_C(1) << 30);
        for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
                snprintf(text, sizeof(text), "--max-fetch=%s", right[i].text);
                ck_assert_int_eq(ARGS(COMMAND_MOUNT, text), 0);
                ck_assert_uint_eq(o.max_fetch, right[i].bytes);
                snprintf(text, sizeof(text), "--keep-free=%s", right[i].text);
                ck_assert_int_eq(ARGS(COMMAND_PULL, text), 0);
                ck_assert_uint_eq(o.keep_free.bytes, right[i].bytes);
                ck_assert_uint_eq(o.keep_free.percent, 100); /* the bytes alone */
        }
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
                snprintf(text, sizeof(text), "--max-fetch=%s", wrong[i]);
                ck_assert_int_eq(ARGS(COMMAND_MOUNT, text), -EINVAL);
                assert_said("is not a size; write 0, 500M, 20G or 1T");
                snprintf(text, sizeof(text), "--keep-free=%s", wrong[i]);
                ck_assert_int_eq(ARGS(COMMAND_MOUNT, text), -EINVAL);
                assert_said("is neither a size nor a part; write 0, 500M, 20G or 5%");
        }
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--max-fetch=5%"), -EINVAL);
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--keep-free=7%"), 0);
        ck_assert_uint_eq(o.keep_free.percent, 7);
        ck_assert_uint_ge(o.keep_free.bytes, INT64_MAX); /* the part alone */
        ck_assert_int_eq(ARGS(COMMAND_PULL, "--max-fetch=1G"), -EINVAL);
        assert_said("--max-fetch is not an option of 'weightfs pull'");
}
END_TEST

START_TEST(test_mount_options)
{
        ck_assert_int_eq(
                options_read_mount_options(&o,
                                           "_netdev,nofail,x-systemd.automount,ro,allow_other=no,noexec,"
                                           "store=/a\\,b,,token_file=/t",
                                           &err),
                0);
        ck_assert(!o.allow_other);
        ck_assert_str_eq(o.store, "/a,b");
        ck_assert_str_eq(o.token_file, "/t");
        ck_assert_uint_eq(o.kernel.count, 1);
        ck_assert_str_eq(o.kernel.items[0], "noexec");
        ck_assert_int_eq(options_read_mount_options(&o, "rw", &err), -EINVAL);
        assert_said("read-only");
        o.helper = true; /* mount(8) says it unasked */
        ck_assert_int_eq(options_read_mount_options(&o, "rw", &err), 0);
        ck_assert_int_eq(options_read_mount_options(&o, "sotre=/x", &err), -EINVAL);
        assert_said("did you mean -o store?");
        ck_assert_int_eq(options_read_mount_options(&o, "json", &err), -EINVAL);
        assert_said("-o json");
}
END_TEST

START_TEST(test_who_wins)
{
        setenv("HF_ENDPOINT", "https://environment", 1);
        setenv("HF_TOKEN_PATH", "/environment", 1);
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--endpoint=https://line", "--deny=line/*"), 0);
        ck_assert_int_eq(options_read_environment(&o, &err), 0);
        ck_assert_int_eq(read_config("[hub]\nendpoint = https://file\ntoken_file=/file\nca_file=/file\n"
                                     "deny = file/*\nallow = a/*, b/*\nallow = c/*\n"),
                         0);
        ck_assert_str_eq(o.endpoint, "https://line");
        ck_assert_str_eq(o.token_file, "/environment");
        ck_assert_str_eq(o.ca_file, "/file");
        ck_assert_uint_eq(o.deny.count, 1); /* O2 */
        ck_assert_str_eq(o.deny.items[0], "line/*");
        ck_assert_uint_eq(o.allow.count, 3);
}
END_TEST

START_TEST(test_offline_words)
{
        setenv("TRANSFORMERS_OFFLINE", "YES", 1);
        ck_assert_int_eq(options_read_environment(&o, &err), 0);
        ck_assert(o.offline);
        ck_assert(option_given(&o, OPTION_OFFLINE));
}
END_TEST

START_TEST(test_first_offline_variable_decides)
{
        setenv("HF_HUB_OFFLINE", "0", 1);
        setenv("TRANSFORMERS_OFFLINE", "1", 1);
        ck_assert_int_eq(options_read_environment(&o, &err), 0);
        ck_assert(!o.offline);
        /* and a false value does not undo what the file says */
        ck_assert_int_eq(read_config("[hub]\noffline = yes\n"), 0);
        ck_assert(o.offline);
}
END_TEST

START_TEST(test_online_overrides)
{
        setenv("HF_HUB_OFFLINE", "1", 1);
        ck_assert_int_eq(ARGS(COMMAND_MOUNT, "--online"), 0);
        ck_assert_int_eq(options_read_environment(&o, &err), 0);
        ck_assert_int_eq(read_config("[hub]\noffline = yes\n"), 0);
        ck_assert(!o.offline);
}
END_TEST

START_TEST(test_token_is_taken)
{
        char *value;

        setenv("HF_TOKEN", " hf_secret\n", 1);
        value = getenv("HF_TOKEN");
        ck_assert_int_eq(options_read_environment(&o, &err), 0);
        ck_assert_str_eq(o.token, "hf_secret");
        ck_assert_ptr_null(getenv("HF_TOKEN"));
        ck_assert_ptr_null(strstr(value, "secret"));
}
END_TEST

START_TEST(test_config_mistakes)
{
        char long_line[400] = "[hub]\nallow = ";

        ck_assert_int_eq(read_config("[hub]\n\nendpont = https://x\n"), -EINVAL);
        assert_said(":3: there is no key 'endpont' in section [hub]; did you mean 'endpoint'?");
        ck_assert_int_eq(read_config("[huub]\nendpoint = https://x\n"), -EINVAL);
        assert_said(":2: there is no section [huub]; did you mean [hub]?");
        ck_assert_int_eq(read_config("[hub]\npath = /x\n"), -EINVAL);
        assert_said("'path' belongs in section [store]");
        ck_assert_int_eq(read_config("endpoint = https://x\n"), -EINVAL);
        assert_said("write [hub] above it");
        ck_assert_int_eq(read_config("[hub]\ntoken = hf_x\n"), -EINVAL);
        assert_said("token_file");
        ck_assert_int_eq(read_config("[store]\npath = relative\n"), -EINVAL);
        assert_said("not an absolute path");
        ck_assert_int_eq(read_config("[hub]\nnonsense\n"), -EINVAL);
        assert_said(":2: neither");
        memset(long_line + strlen(long_line), 'x', 300);
        ck_assert_int_eq(read_config(long_line), -EINVAL);
        assert_said(":2: the line is longer");
        ck_assert_int_eq(options_read_config(&o, "/nonexistent/x.conf", &err), -ENOENT);
        assert_said("/nonexistent/x.conf");
        ck_assert_int_eq(options_read_config(&o, "/tmp", &err), -EISDIR);
}
END_TEST

START_TEST(test_table_is_whole)
{
        for (size_t i = 0; i < OPTION_COUNT; i++) {
                ck_assert_ptr_nonnull(option_table[i].name);
                ck_assert_ptr_nonnull(option_table[i].help);
                ck_assert_ptr_eq(option_find(option_table[i].name), &option_table[i]);
                ck_assert(!option_table[i].section == !option_table[i].key);
                ck_assert_uint_ne(option_table[i].commands, 0);
        }
        ck_assert_ptr_null(option_find("stor"));
        ck_assert_ptr_eq(option_find("token_file"), &option_table[OPTION_TOKEN_FILE]);
        ck_assert_str_eq(command_suggest("stauts"), "status");
        ck_assert_ptr_null(command_suggest("xyzzy"));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("options");
        TCase *t = tcase_create("options");
        SRunner *runner;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, test_command_line);
        tcase_add_test(t, test_dashes_end_options);
        tcase_add_test(t, test_mistakes_are_named);
        tcase_add_test(t, test_sizes);
        tcase_add_test(t, test_mount_options);
        tcase_add_test(t, test_who_wins);
        tcase_add_test(t, test_offline_words);
        tcase_add_test(t, test_first_offline_variable_decides);
        tcase_add_test(t, test_online_overrides);
        tcase_add_test(t, test_token_is_taken);
        tcase_add_test(t, test_config_mistakes);
        tcase_add_test(t, test_table_is_whole);
        suite_add_tcase(s, t);
        runner = srunner_create(s);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed > 0;
}
