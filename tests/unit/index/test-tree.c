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

START_TEST(round_trip)
{
        struct tree t = {}, back = {};
        struct tree_file f = { .path = (char *)"b/wei\"ghts \xc3\xa9.bin", .size = 1ull << 40, .oid = OID,
                               .sha256 = SHA, .xet_hash = SHA };
        struct tree_file g = { .path = (char *)"a.json", .size = 0, .oid = OID };
        char *json;
        size_t len;

        ASSERT_OK(tree_add(&t, &f));
        ASSERT_OK(tree_add(&t, &g));
        ASSERT_OK(tree_to_json(&t, &json, &len));
        ck_assert_uint_eq(len, strlen(json));
        ck_assert_str_eq(json,
                         "{\"files\":{\"a.json\":{\"blob_id\":\"" OID "\",\"size\":0},"
                         "\"b/wei\\\"ghts \xc3\xa9.bin\":{\"blob_id\":\"" OID "\",\"lfs_sha256\":\"" SHA "\","
                         "\"lfs_size\":1099511627776,\"size\":1099511627776,\"xet_hash\":\"" SHA "\"}},"
                         "\"format_version\":1}");
        ASSERT_OK(tree_from_json(json, len, &back));
        ck_assert_uint_eq(back.count, 2);
        for (size_t i = 0; i < 2; i++) {
                const struct tree_file *x = &back.files[i], *y = strcmp(x->path, g.path) == 0 ? &g : &f;

                ck_assert_str_eq(x->path, y->path);
                ck_assert_uint_eq(x->size, y->size);
                ck_assert_str_eq(x->oid, y->oid);
                ck_assert_str_eq(x->xet_hash, y->xet_hash);
                ck_assert_str_eq(tree_file_etag(x), y == &f ? SHA : OID);
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
        ck_assert_str_eq(tree_file_etag(&t.files[0]), OID);
        tree_done(&t);
        ck_assert_uint_eq(t.count, 0);
}
END_TEST

START_TEST(add_refuses)
{
        struct tree t = {};
        struct tree_file f = { .path = (char *)"../x", .oid = OID };

        ck_assert_int_eq(tree_add(&t, &f), -EINVAL);
        f.path = (char *)"x";
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

int main(void)
{
        Suite *s = suite_create("index/tree_json");
        TCase *t = tcase_create("tree");

        tcase_add_test(t, round_trip);
        tcase_add_test(t, refused);
        tcase_add_test(t, left_out);
        tcase_add_test(t, add_refuses);
        suite_add_tcase(s, t);
        return run_suite(s);
}
