/*
 * Tests of fetch/token.c.
 */
#include "fetch/token.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[80];

static void setup(void)
{
        strcpy(dir, "/tmp/test-token-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/token", dir);
}

static void teardown(void)
{
        unlink(path);
        rmdir(dir);
}

static void put(const char *text, size_t len, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
        ck_assert_int_eq(fchmod(fd, mode), 0);
        close(fd);
}

static void expect(struct token *t, bool again, const char *want)
{
        char *value;

        ck_assert_int_eq(token_get(t, again, &value), 0);
        if (want)
                ck_assert_str_eq(value, want);
        else
                ck_assert_ptr_null(value);
        token_wipe(value);
}

START_TEST(literal)
{
        struct token *t;

        ck_assert_int_eq(token_new(" hf_abc\n", path, &t, NULL), 0);
        expect(t, false, "hf_abc"); /* wins over the file */
        expect(t, true, "hf_abc");
        token_free(t);
        ck_assert_int_eq(token_new(NULL, NULL, &t, NULL), 0);
        expect(t, true, NULL);
        token_free(t);
}
END_TEST

START_TEST(refused)
{
        static const char *const bad[] = { "a b", "a\nb", "a\r\nX-Evil: 1", "a\x01", "\xc3\xa9" };
        char big[TOKEN_MAX + 512];
        struct errmsg err;
        struct token *t;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                err.text[0] = '\0';
                ck_assert_int_eq(token_new(bad[i], NULL, &t, &err), -EINVAL);
                ck_assert_ptr_null(strstr(err.text, bad[i]));
                put(bad[i], strlen(bad[i]), 0600);
                ck_assert_int_eq(token_new(NULL, path, &t, &err), -EINVAL);
                ck_assert_ptr_nonnull(strstr(err.text, path));
        }
        put("a\0b", 3, 0600);
        ck_assert_int_eq(token_new(NULL, path, &t, &err), -EINVAL);
        memset(big, 'x', sizeof(big));
        put(big, sizeof(big), 0600);
        ck_assert_int_eq(token_new(NULL, path, &t, &err), -EFBIG);
        ck_assert_int_eq(token_new(NULL, dir, &t, &err), -EINVAL);
}
END_TEST

START_TEST(file_changes)
{
        struct token *t;

        ck_assert_int_eq(token_new(NULL, path, &t, NULL), 0);
        expect(t, true, NULL);
        put("one\n", 4, 0600);
        expect(t, true, "one");
        put("two two", 7, 0600); /* half-written, say */
        expect(t, true, "one");
        put("\n", 1, 0600);
        expect(t, true, NULL);
        put("three", 5, 0600);
        usleep(1100 * 1000);
        expect(t, false, "three"); /* by its mtime */
        unlink(path);
        expect(t, true, NULL);
        token_free(t);
}
END_TEST

START_TEST(warning)
{
        struct errmsg err = {};
        struct token *t;

        put("x", 1, 0600);
        ck_assert_int_eq(token_new(NULL, path, &t, &err), 0);
        ck_assert_str_eq(err.text, "");
        token_free(t);
        put("x", 1, 0644);
        ck_assert_int_eq(token_new(NULL, path, &t, &err), 0);
        ck_assert_ptr_nonnull(strstr(err.text, path));
        token_free(t);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("token");
        TCase *t = tcase_create("all");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, literal);
        tcase_add_test(t, refused);
        tcase_add_test(t, file_changes);
        tcase_add_test(t, warning);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed != 0;
}
