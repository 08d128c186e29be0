/*
 * Tests of index/tree_json.h: the form that clients read, and what is refused.
 */
#include "index/tree_json.h"

#include "scratch.h"

#define OID "ce013625030ba8dba906f756967f9e9ca394464a"
#define SHA "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"

static int parse(const char *text, struct tree *t)
{
        return tree_from_json(text, strlen(text), t);
}

/* What tree_write() writes, on the heap. */
static char *written(const struct tree *t)
{
        char *json = NULL;
        size_t len;
        FILE *f = open_memstream(&json, &len);

        ASSERT_OK(tree_write(t, f));
        ck_assert_int_eq(fclose(f), 0);
        return json;
}

START_TEST(round_trip)
{
        struct tree t = {}, back = {};
        struct tree_file f = { .path = "b/wei\"ghts \xc3\xa9.bin", .size = 1ull << 40, .oid = OID,
                               .sha256 = SHA, .xet_hash = SHA };
        struct tree_file g = { .path = "a.json", .size = 0, .oid = OID };
        char *json;
        size_t len;

        ASSERT_OK(tree_add(&t, &f));
        ASSERT_OK(tree_add(&t, &g));
        json = written(&t);
        len = strlen(json);
        ck_assert_str_eq(json,
                         "{\"files\":{\"b/wei\\\"ghts \xc3\xa9.bin\":{\"blob_id\":\"" OID "\",\"lfs_sha256\":\"" SHA
                         "\",\"lfs_size\":1099511627776,\"size\":1099511627776,\"xet_hash\":\"" SHA "\"},"
                         "\"a.json\":{\"blob_id\":\"" OID "\",\"size\":0}},\"format_version\":1}");
        ASSERT_OK(tree_from_json(json, len, &back));
        ck_assert_uint_eq(back.count, 2);
        for (size_t i = 0; i < 2; i++) {
                const struct tree_file *y = i == 0 ? &f : &g;
                struct tree_file x;

                tree_file_at(&back, i, &x);
                ck_assert_str_eq(x.path, y->path);
                ck_assert_uint_eq(x.size, y->size);
                ck_assert_str_eq(x.oid, y->oid);
                ck_assert_str_eq(x.sha256, y->sha256);
                ck_assert_str_eq(x.xet_hash, y->xet_hash);
                ck_assert_str_eq(back.files[i].etag, y == &f ? SHA : OID);
        }
        free(json);
        tree_done(&t);
        tree_done(&back);
}
END_TEST

START_TEST(refused)
{
        static const char *const bad[] = {
                "",
                "[]",
                "null",
                "{",
                "{}",
                "{\"format_version\":1}",
                "{\"files\":{}}",
                "{\"format_version\":2,\"files\":{}}",
                "{\"format_version\":\"1\",\"files\":{}}",
                "{\"format_version\":1,\"files\":[]}",
                "{\"format_version\":1,\"files\":{\"a\":1}}",
                "{\"format_version\":1,\"files\":{\"a\":{\"size\":1}}}",
                "{\"format_version\":1,\"files\":{\"a\":{\"blob_id\":\"" OID "\"}}}",
                "{\"format_version\":1,\"files\":{\"a\":{\"size\":-1,\"blob_id\":\"" OID "\"}}}",
                "{\"format_version\":1,\"files\":{\"a\":{\"size\":1.5,\"blob_id\":\"" OID "\"}}}",
                "{\"format_version\":1,\"files\":{\"a\":{\"size\":99999999999999999999,\"blob_id\":\"" OID
                "\"}}}",
                "{\"format_version\":1,\"files\":{\"a\":{\"size\":1,\"blob_id\":\"xyz\"}}}",
                "{\"format_version\":1,\"files\":{\"a\":{\"size\":1,\"blob_id\":\"" OID
                "\",\"lfs_sha256\":\"q\"}}}",
                "{\"format_version\":1,\"files\":{\"a\":{\"size\":1,\"blob_id\":\"" OID
                "\",\"lfs_size\":-4}}}",
                "{\"format_version\":1,\"files\":{\"a\":{\"size\":1,\"blob_id\":\"" OID "\"},"
                "\"a\":{\"size\":2,\"blob_id\":\"" OID "\"}}}",
                "{\"format_version\":1,\"files\":{}} trailing",
                "{\"format_version\":1,\"files\":{},}",
                "{\"format_version\":1,,\"files\":{}}",
                "{\"format_version\":1 \"files\":{}}",
                "{\"format_version\":1,\"files\":{}",
                "{\"format_version\":1,\"files\":{},\"files\":{}}",
                "{\"format_version\":1,\"files\":{},\"more\":[}",
                "{\"format_version\":1,\"files\":{},\"more\":\"x",
                "{\"format_version\":1,\"files\":{},more:1}",
                "{\"format_version\":1,\"files\":{\"a\":{\"size\":1,\"blob_id\":\"" OID "\"",
        };
        struct tree t = {};

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                ck_assert_msg(parse(bad[i], &t) == -EBADMSG, "accepted: %s", bad[i]);
                ck_assert_uint_eq(t.count, 0);
        }
        ck_assert_int_eq(tree_from_json("{\"format_version\":1\0}", 22, &t), -EBADMSG);
}
END_TEST

/* A path that cannot be shown is left out; the others count. null is absent. */
START_TEST(left_out)
{
        struct tree t = {};

        ASSERT_OK(parse("{\"format_version\":1,\"files\":{"
                        "\"../../etc/passwd\":{\"size\":1,\"blob_id\":\"" OID "\"},"
                        "\"/abs\":{\"size\":1,\"blob_id\":\"" OID "\"},"
                        "\"a//b\":{\"size\":1,\"blob_id\":\"" OID "\"},"
                        "\"\":{\"size\":1,\"blob_id\":\"" OID "\"},"
                        "\"ok\":{\"size\":1,\"blob_id\":\"" OID
                        "\",\"xet_hash\":null,\"lfs_sha256\":null,\"new\":[1]}"
                        "}}",
                        &t));
        ck_assert_uint_eq(t.count, 1);
        ck_assert_str_eq(t.files[0].path, "ok");
        ck_assert_str_eq(t.files[0].etag, OID);
        tree_done(&t);
        ck_assert_uint_eq(t.count, 0);
}
END_TEST

START_TEST(add_refuses)
{
        struct tree t = {};
        struct tree_file f = { .path = "../x", .oid = OID };

        ck_assert_int_eq(tree_add(&t, &f), -EINVAL);
        f.path = "x";
        strcpy(f.oid, "short");
        ck_assert_int_eq(tree_add(&t, &f), -EINVAL);
        strcpy(f.oid, OID);
        strcpy(f.sha256, OID);
        ck_assert_int_eq(tree_add(&t, &f), -EINVAL);
        f.sha256[0] = '\0';
        f.size = UINT64_MAX;
        ck_assert_int_eq(tree_add(&t, &f), -EINVAL);
        f.size = 1;
        ASSERT_OK(tree_add(&t, &f));
        tree_done(&t);
}
END_TEST

/* Every kind of file, many times the window of a reader: what is read from a file is what was written. */
START_TEST(large)
{
        enum { FILES = 5000 };
        struct tree t = {}, back = {};
        FILE *f = tmpfile();

        for (unsigned i = 0; i < FILES; i++) {
                char path[600];
                struct tree_file file = { .path = path, .size = i, .oid = OID };

                snprintf(path, sizeof(path), "d/%0*u", (int)(i % 200) + 4, i);
                if (i % 2)
                        strcpy(file.sha256, SHA);
                if (i % 3 == 0)
                        strcpy(file.xet_hash, SHA);
                ASSERT_OK(tree_add(&t, &file));
        }
        ASSERT_OK(tree_write(&t, f));
        ck_assert_int_gt(ftell(f), 4 * 65536);
        ck_assert_int_eq(lseek(fileno(f), 0, SEEK_SET), 0);
        ASSERT_OK(tree_read(fileno(f), &back));
        ck_assert_uint_eq(back.count, FILES);
        for (unsigned i = 0; i < FILES; i++) {
                struct tree_file x, y;

                tree_file_at(&t, i, &x);
                tree_file_at(&back, i, &y);
                ck_assert_str_eq(x.path, y.path);
                ck_assert_uint_eq(x.size, y.size);
                ck_assert_str_eq(x.oid, y.oid);
                ck_assert_str_eq(x.sha256, y.sha256);
                ck_assert_str_eq(x.xet_hash, y.xet_hash);
        }
        ck_assert_int_eq(ftruncate(fileno(f), 300000), 0); /* in the middle of it */
        ck_assert_int_eq(lseek(fileno(f), 0, SEEK_SET), 0);
        tree_done(&back);
        ck_assert_int_eq(tree_read(fileno(f), &back), -EBADMSG);
        ck_assert_int_eq(fclose(f), 0);
        tree_done(&t);
}
END_TEST

START_TEST(full_disk)
{
        struct tree t = {};
        struct tree_file file = { .path = "x", .oid = OID };
        FILE *f = fopen("/dev/full", "w");

        ASSERT_OK(tree_add(&t, &file));
        ck_assert_ptr_nonnull(f);
        ck_assert_int_eq(tree_write(&t, f), -ENOSPC);
        fclose(f);
        tree_done(&t);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("index/tree_json");
        TCase *t = tcase_create("tree");

        tcase_add_test(t, round_trip);
        tcase_add_test(t, refused);
        tcase_add_test(t, left_out);
        tcase_add_test(t, large);
        tcase_add_test(t, full_disk);
        tcase_add_test(t, add_refuses);
        suite_add_tcase(s, t);
        return run_suite(s);
}
