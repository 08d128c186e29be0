/*
 * Tests of fetch/hub_json.c.
 */
#include "fetch/hub_json.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define SHA "2dc08b204b59d95a436248b89b5bcd028b4a89a3"
#define SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static int repo(const char *json, struct hub_repo_info *info)
{
        return hub_json_repo(json, strlen(json), "org/asked", info);
}

START_TEST(repo_info)
{
        struct hub_repo_info i;

        ck_assert_int_eq(repo("{\"id\":\"org/name\",\"sha\":\"" SHA
                              "\",\"lastModified\":\"2024-01-01T00:00:05.000Z\","
                              "\"gated\":\"manual\",\"private\":true,\"disabled\":false,\"siblings\":[]}",
                              &i),
                         0);
        ck_assert_str_eq(i.name, "org/name");
        ck_assert_str_eq(i.sha, SHA);
        ck_assert_int_eq(i.last_modified, 1704067205);
        ck_assert(i.gated && i.is_private && !i.disabled);
        ck_assert_int_eq(repo("{\"sha\":\"" SHA "\",\"gated\":false,\"lastModified\":5}", &i), 0);
        ck_assert_str_eq(i.name, "org/asked");
        ck_assert(!i.gated && !i.is_private && i.last_modified == 0);
        ck_assert_int_eq(repo("{\"id\":\"org/name\",\"disabled\":true}", &i), HUB_E_FORBIDDEN);
}
END_TEST

START_TEST(repo_malformed)
{
        static const char *const bad[] = {
                "",
                "[]",
                "null",
                "{",
                "{}",
                "<!DOCTYPE html>",
                "{\"sha\":\"main\"}",
                "{\"sha\":5}",
                "{\"id\":\"../../etc\",\"sha\":\"" SHA "\"}",
                "{\"id\":\"a/b/c\",\"sha\":\"" SHA "\"}",
                "{\"sha\":\"2DC08B204B59D95A436248B89B5BCD028B4A89A3\"}",
                "{\"sha\":\"" SHA "\"} x",
        };
        struct hub_repo_info i;

        for (size_t n = 0; n < ARRAY_SIZE(bad); n++)
                ck_assert_msg(repo(bad[n], &i) == HUB_E_MALFORMED, "%s", bad[n]);
}
END_TEST

static int page(const char *json, struct tree *t, struct hub_listed *listed)
{
        return hub_json_tree(json, strlen(json), t, listed);
}

#define FOLDER_(path) "{\"type\":\"directory\",\"oid\":\"" SHA "\",\"size\":0,\"path\":\"" path "\"}"
#define FILE_(path, size) "{\"type\":\"file\",\"oid\":\"" SHA "\",\"size\":" size ",\"path\":\"" path "\"}"

START_TEST(tree_page)
{
        struct tree t = {};
        struct tree_file lfs;
        struct hub_listed listed = {};

        ck_assert_int_eq(page("[{\"type\":\"directory\",\"oid\":\"" SHA
                              "\",\"size\":0,\"path\":\"d\"}," FILE_(
                                      "d/a", "5") ",{\"type\":\"file\",\"oid\":\"" SHA
                                                  "\",\"size\":130,\"lfs\":{\"oid\":\"" SHA256
                                                  "\",\"size\":7,\"pointerSize\":130},\"xetHash\":\"" SHA256
                                                  "\",\"path\":\"w\"}]",
                              &t, &listed),
                         0);
        ck_assert_uint_eq(t.count, 2);
        ck_assert_str_eq(t.files[0].path, "d/a");
        ck_assert_str_eq(t.files[0].etag, SHA);
        ck_assert_uint_eq(t.files[0].size, 5);
        ck_assert_str_eq(t.files[1].etag, SHA256);
        ck_assert_uint_eq(t.files[1].size, 7);
        tree_file_at(&t, 1, &lfs);
        ck_assert_str_eq(lfs.xet_hash, SHA256);
        ck_assert_int_eq(hub_tree_check(&t, &listed), 0);
        ck_assert_int_eq(page("[" FILE_("d/a", "5") "]", &t, &listed), 0);
        ck_assert_int_eq(hub_tree_check(&t, &listed), HUB_E_MALFORMED);
        ck_assert_uint_eq(listed.left_out, 0);
        tree_done(&t);
}
END_TEST

/* What a hub answers that does not go down, or whose question has lost its query. */
START_TEST(tree_of_the_top)
{
        struct tree t = {};
        struct hub_listed listed = {};

        ck_assert_int_eq(page("[" FOLDER_("d") "]", &t, &listed), 0);
        ck_assert_int_eq(page("[" FILE_("w", "5") "]", &t, &listed), 0);
        ck_assert_uint_eq(listed.folders, 1);
        ck_assert_int_eq(hub_tree_check(&t, &listed), HUB_E_MALFORMED);
        ck_assert_int_eq(page("[" FILE_("d/a", "5") "]", &t, &listed), 0);
        ck_assert_int_eq(hub_tree_check(&t, &listed), 0);
        ck_assert_uint_eq(listed.entries, 3);
        tree_done(&t);
        /* what was in it has no name that may be shown */
        listed = (struct hub_listed){};
        t = (struct tree){};
        ck_assert_int_eq(page("[" FOLDER_("d") "," FILE_("d/\\u0007", "1") "]", &t, &listed), 0);
        ck_assert_int_eq(hub_tree_check(&t, &listed), 0);
        tree_done(&t);
}
END_TEST

START_TEST(tree_unsafe_names)
{
        struct tree t = {};
        struct hub_listed listed = {};

        ck_assert_int_eq(
                page("[" FILE_("../x", "1") "," FILE_("/etc/passwd", "1") "," FILE_("a//b", "1") "," FILE_(
                             "a/\\u0007", "1") "," FILE_("", "1") "," FILE_("ok", "1") "]",
                     &t, &listed),
                0);
        ck_assert_uint_eq(t.count, 1);
        ck_assert_uint_eq(listed.left_out, 5);
        tree_done(&t);
}
END_TEST

START_TEST(tree_malformed)
{
        static const char *const bad[] = {
                "{}",
                "[1]",
                "[null]",
                "[{}]",
                "[[]]",
                "[" FILE_("a", "-1") "]",
                "[" FILE_("a", "1.5") "]",
                "[" FILE_("a", "4611686018427387904") "]",
                "[" FILE_("a", "99999999999999999999") "]",
                "[{\"type\":\"file\",\"oid\":\"" SHA "\",\"size\":1}]",
                "[{\"type\":\"file\",\"oid\":\"x\",\"size\":1,\"path\":\"a\"}]",
                "[{\"type\":\"file\",\"oid\":\"" SHA "\",\"size\":1,\"path\":\"a\",\"lfs\":{}}]",
                "[{\"type\":\"file\",\"oid\":\"" SHA "\",\"size\":1,\"path\":\"a\",\"lfs\":5}]",
                "[" FILE_("a", "1"),
        };

        for (size_t n = 0; n < ARRAY_SIZE(bad); n++) {
                struct tree t = {};
                struct hub_listed listed = {};

                ck_assert_msg(page(bad[n], &t, &listed) == HUB_E_MALFORMED, "%s", bad[n]);
                tree_done(&t);
        }
}
END_TEST

START_TEST(tree_deep)
{
        struct hub_listed listed = {};
        size_t n = 200000;
        char *deep = malloc(2 * n);
        struct tree t = {};

        memset(deep, '[', n);
        memset(deep + n, ']', n);
        ck_assert_int_eq(hub_json_tree(deep, 2 * n, &t, &listed), HUB_E_MALFORMED);
        free(deep);
}
END_TEST

/* Text that would take a hundred times its size once parsed is never parsed as a whole. */
START_TEST(pieces_too_large)
{
        static const char *const frames[][2] = {
                { "[{\"type\":\"file\",\"x\":[", "0]}]" },
                { "{\"branches\":[{\"name\":\"main\",\"x\":[", "0]}]}" },
                { "{\"sha\":[", "0]}" },
        };
        struct hub_listed listed = {};
        size_t n = 1 << 20, count;
        char *text = malloc(n + 100);
        struct hub_repo_info info;
        struct tree t = {};
        struct hub_ref *r;

        for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
                size_t len = strlen(strcpy(text, frames[i][0]));

                for (size_t k = 0; k < n / 2; k++)
                        len += strlen(strcpy(text + len, "0,"));
                len += strlen(strcpy(text + len, frames[i][1]));
                ck_assert_int_eq(i == 0   ? hub_json_tree(text, len, &t, &listed)
                                 : i == 1 ? hub_json_refs(text, len, &r, &count)
                                          : hub_json_repo(text, len, "org/asked", &info),
                                 HUB_E_MALFORMED);
        }
        tree_done(&t);
        free(text);
}
END_TEST

START_TEST(refs)
{
        static const char json[] =
                "{\"branches\":[{\"name\":\"main\",\"ref\":\"refs/heads/main\",\"targetCommit\":\"" SHA "\"},"
                "{\"name\":\"a..b\",\"ref\":\"x\",\"targetCommit\":\"" SHA "\"}],"
                "\"tags\":[{\"name\":\"main\",\"targetCommit\":\"" SHA
                "\"},{\"name\":\"v1\",\"targetCommit\":\"" SHA "\"}],"
                "\"converts\":[{\"name\":\"parquet\",\"ref\":\"refs/convert/parquet\",\"targetCommit\":\"" SHA
                "\"}],"
                "\"pullRequests\":[{\"name\":\"1\",\"ref\":\"refs/pr/1\",\"targetCommit\":\"" SHA "\"}]}";
        static const char *const want[] = { "main", "v1", "refs/convert/parquet", "refs/pr/1" };
        struct hub_ref *r;
        size_t count;

        ck_assert_int_eq(hub_json_refs(json, sizeof(json) - 1, &r, &count), 0);
        ck_assert_uint_eq(count, ARRAY_SIZE(want));
        for (size_t i = 0; i < count; i++) {
                ck_assert_str_eq(r[i].name, want[i]);
                ck_assert_str_eq(r[i].sha, SHA);
        }
        free(r);
        ck_assert_int_eq(hub_json_refs("{}", 2, &r, &count), HUB_E_MALFORMED);
        ck_assert_int_eq(hub_json_refs("{\"branches\":[{}]}", 17, &r, &count), HUB_E_MALFORMED);
        ck_assert_int_eq(hub_json_refs("{\"branches\":{}}", 15, &r, &count), HUB_E_MALFORMED);
        ck_assert_int_eq(hub_json_refs("{\"branches\":[]} x", 17, &r, &count), HUB_E_MALFORMED);
        ck_assert_int_eq(hub_json_refs("{\"branches\":[]}", 15, &r, &count), 0);
        ck_assert_uint_eq(count, 0);
        free(r);
        ck_assert_int_eq(hub_json_refs("{\"tags\":null,\"branches\":[]}", 27, &r, &count), 0);
        free(r);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("hub_json");
        TCase *t = tcase_create("all");
        SRunner *r;
        int failed;

        tcase_add_test(t, repo_info);
        tcase_add_test(t, repo_malformed);
        tcase_add_test(t, tree_page);
        tcase_add_test(t, tree_of_the_top);
        tcase_add_test(t, tree_unsafe_names);
        tcase_add_test(t, tree_malformed);
        tcase_add_test(t, tree_deep);
        tcase_add_test(t, pieces_too_large);
        tcase_add_test(t, refs);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed != 0;
}
