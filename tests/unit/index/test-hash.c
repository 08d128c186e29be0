/*
 * Tests of index/hash.h against known values.
 */
#include "index/hash.h"

#include "scratch.h"

static const char git_hello[] = "ce013625030ba8dba906f756967f9e9ca394464a"; /* git hash-object: "hello\n" */
static const char sha_hello[] = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
static const char git_empty[] = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";

static void check_text(const char *etag, const char *text)
{
        struct hash *h;
        char hex[ETAG_MAX + 1];

        ASSERT_OK(hash_new(etag, strlen(text), &h));
        for (const char *p = text; *p != '\0'; p++) {
                ASSERT_OK(hash_get(h, hex)); /* and it goes on */
                ck_assert_str_ne(hex, etag);
                ASSERT_OK(hash_update(h, p, 1));
        }
        ASSERT_OK(hash_get(h, hex));
        ck_assert_str_eq(hex, etag);
        ck_assert_ptr_null(hash_free(h));
}

START_TEST(known_values)
{
        struct hash *h;
        char hex[SHA256_HEX + 1];

        check_text(git_hello, "hello\n");
        check_text(sha_hello, "hello\n");
        check_text(git_empty, "");
        ASSERT_OK(hash_text("hello\n", hex));
        ck_assert_str_eq(hex, sha_hello);
        ck_assert_int_eq(hash_new("", 0, &h), -EINVAL);
        ck_assert_int_eq(hash_new("ABC", 0, &h), -EINVAL);
        ck_assert_ptr_null(hash_free(NULL));
}
END_TEST

static bool file_matches(const char *etag, uint64_t size, const atomic_bool *cancel, int expect)
{
        int fd = open(at("file"), O_RDONLY);
        bool match = false;

        ck_assert_int_eq(hash_file(fd, etag, size, cancel, &match), expect);
        close(fd);
        return match;
}

START_TEST(files)
{
        const atomic_bool yes = true, no = false;
        size_t len = (3u << 20) + 17;
        char *data = malloc(len), etag[ETAG_MAX + 1];

        put_text(at("file"), "hello\n");
        ck_assert(file_matches(git_hello, 6, NULL, 0));
        ck_assert(file_matches(sha_hello, 6, &no, 0));
        ck_assert(!file_matches(sha_hello, 7, NULL, 0));
        ck_assert(!file_matches(sha_hello, 5, NULL, 0));
        ck_assert(!file_matches(git_empty, 6, NULL, 0));
        file_matches(sha_hello, 6, &yes, -ECANCELED);
        for (size_t i = 0; i < len; i++)
                data[i] = (char)(i * 7);
        put_file(at("file"), data, len);
        sha256_of(data, len, etag);
        ck_assert(file_matches(etag, len, &no, 0));
        data[len - 1] ^= 1;
        put_file(at("file"), data, len);
        ck_assert(!file_matches(etag, len, &no, 0));
        put_text(at("file"), "");
        ck_assert(file_matches(git_empty, 0, NULL, 0));
        free(data);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("index/hash");
        TCase *t = tcase_create("hash");

        tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
        tcase_add_test(t, known_values);
        tcase_add_test(t, files);
        suite_add_tcase(s, t);
        return run_suite(s);
}
