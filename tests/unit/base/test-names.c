/*
 * Tests of base/names.h: what may come in, and what may not.
 */
#include "base/names.h"

#include "base/util.h"

#include <check.h>
#include <string.h>

#define A16 "aaaaaaaaaaaaaaaa"
#define A96 A16 A16 A16 A16 A16 A16
#define HEX40 "0123456789abcdef0123456789abcdef01234567"
#define HEX64 HEX40 "0123456789abcdef01234567"

START_TEST(repo_names)
{
        static const char *const good[] = { "gpt2",      "a/b", "Org-1/Name_2.3", "_x/y_",
                                            A96 "/" A96, "0/1", "a.b/c" };
        static const char *const bad[] = {
                "",        "/",         "a/",         "/b",    "a/b/c",      "a//b",
                ".",       "..",        "a/..",       "../b",  "-a/b",       "a-/b",
                "a/b-",    ".a/b",      "a/b.",       "a--b",  "a..b/c",     "x.git",
                "a/x.git", "a/x.ipynb", "a b",        "a\n",   "a/b\\c",     "a%2fb",
                "a@b",     "a:b",       "\xc3\xa9/b", A96 "a", "a/" A96 "a", "https://h/a/b",
                "a/b?c",   "a/b#c",     "~a/b",       "a/b*",
        };

        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                ck_assert_msg(repo_name_valid(good[i]), "refused: %s", good[i]);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                ck_assert_msg(!repo_name_valid(bad[i]), "accepted: %s", bad[i]);
}
END_TEST

START_TEST(folders)
{
        static const char *const names[] = { "gpt2", "Org/Name", "a-b/c.d_e", A96 "/" A96 };
        static const char *const bad[] = {
                "",
                "models",
                "models-",
                "models--",
                "models--a--",
                "models----b",
                "models--a--b--c",
                "kernels--a--b",
                "model--a",
                "Models--a",
                "models--../x",
                "models--a/b",
                "models--.hidden",
                "averyveryverylongword--a",
                "models--" A96 "a",
                "models--a--" A96 "a",
                "models--" A96 "--" A96 "aa",
                "--a--b",
                ".locks",
                "blobs",
        };
        char folder[REPO_FOLDER_MAX + 1], name[REPO_NAME_MAX + 1];
        enum repo_type type;

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                for (int t = 0; t < REPO_TYPE_COUNT; t++) {
                        repo_to_folder((enum repo_type)t, names[i], folder);
                        ck_assert(repo_from_folder(folder, &type, name));
                        ck_assert_int_eq(type, t);
                        ck_assert_str_eq(name, names[i]);
                }
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                ck_assert_msg(!repo_from_folder(bad[i], &type, name), "accepted: %s", bad[i]);
        repo_to_folder(REPO_DATASET, "Org/Name", folder);
        ck_assert_str_eq(folder, "datasets--Org--Name");
}
END_TEST

START_TEST(written_by_people)
{
        static const char *const bad[] = {
                "",          "@main",
                "a/b@",      "a/b@x..y",
                "a/b@-x",    "https://huggingface.co/a/b",
                "datasets/", "models/a/b/c",
                "models//b", A96 "/" A96 "/" A96,
                "a/b@ ",
        };
        char name[REPO_NAME_MAX + 1], rev[REVISION_MAX + 1], longest[REVISION_MAX + 8];
        enum repo_type type;

        ck_assert(repo_parse("Org/Name", &type, name, rev));
        ck_assert(type == REPO_MODEL && strcmp(name, "Org/Name") == 0 && rev[0] == '\0');
        ck_assert(repo_parse("datasets/Org/Name@refs/pr/1", &type, name, rev));
        ck_assert(type == REPO_DATASET && strcmp(name, "Org/Name") == 0 && strcmp(rev, "refs/pr/1") == 0);
        ck_assert(repo_parse("datasets/squad", &type, name, rev));
        ck_assert(type == REPO_DATASET && strcmp(name, "squad") == 0);
        ck_assert(repo_parse("spaces/" A96 "/" A96, &type, name, rev));
        ck_assert(repo_parse("gpt2@v1@x", &type, name, rev));
        ck_assert_str_eq(rev, "v1@x");
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                ck_assert_msg(!repo_parse(bad[i], &type, name, rev), "accepted: %s", bad[i]);
        strcpy(longest, "a/b@");
        memset(longest + 4, 'x', REVISION_MAX);
        longest[4 + REVISION_MAX] = '\0';
        ck_assert(repo_parse(longest, &type, name, rev));
        strcat(longest, "x");
        ck_assert(!repo_parse(longest, &type, name, rev));
}
END_TEST

START_TEST(hex)
{
        const unsigned char bytes[] = { 0x00, 0x7f, 0xff };
        char text[7];

        hex_encode(bytes, 3, text);
        ck_assert_str_eq(text, "007fff");
        hex_encode(bytes, 0, text);
        ck_assert_str_eq(text, "");
        ck_assert(hex_valid(HEX40, 40) && !hex_valid(HEX40, 39) && !hex_valid(HEX40, 41));
        ck_assert(!hex_valid("ABCDEF", 6) && !hex_valid("", 1) && hex_valid("", 0));
        ck_assert(etag_valid(HEX40) && etag_valid(HEX64));
        ck_assert(!etag_valid("") && !etag_valid(HEX40 "0") && !etag_valid(HEX64 "0"));
        ck_assert(!etag_valid("W/\"" HEX40 "\"") && !etag_valid("../" HEX40));
}
END_TEST

START_TEST(revisions)
{
        static const char *const good[] = { "main",        "v1.0", "refs/pr/1", HEX40,
                                            "feature/x-y", "a@b",  "\xc3\xa9" };
        static const char *const bad[] = {
                "",       "/main",
                "main/",  "a//b",
                "..",     "a..b",
                ".a",     "a/.b",
                "a.",     "-x",
                "a b",    "a\tb",
                "a\nb",   "a\x7f",
                "a~1",    "a^",
                "a:b",    "a?",
                "a*",     "a[b",
                "a\\b",   "a@{1}",
                "a.lock", "a.lock/b",
                "@",      "../../etc/passwd",
        };
        char longest[REVISION_MAX + 2];

        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                ck_assert_msg(revision_valid(good[i]), "refused: %s", good[i]);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                ck_assert_msg(!revision_valid(bad[i]), "accepted: %s", bad[i]);
        memset(longest, 'x', sizeof(longest));
        longest[REVISION_MAX] = '\0';
        ck_assert(revision_valid(longest));
        longest[REVISION_MAX] = 'x';
        longest[REVISION_MAX + 1] = '\0';
        ck_assert(!revision_valid(longest));
}
END_TEST

START_TEST(paths)
{
        static const char *const good[] = {
                "a",
                "a/b/c",
                ".gitattributes",
                "a/.b",
                "...",
                "..a",
                "a..",
                "with space",
                "\xc3\xa9",
                "\xe2\x82\xac",
                "\xf0\x9f\xa4\x97.txt",
                "a\\b",
                "\xf4\x8f\xbf\xbf",
                "\xed\x9f\xbf",
                "-x",
        };
        static const char *const bad[] = {
                "",
                "/",
                "/a",
                "a/",
                "a//b",
                ".",
                "..",
                "a/..",
                "../a",
                "a/../b",
                "./a",
                "a/.",
                "a\nb",
                "a\tb",
                "\x01",
                "a\x7f",
                "\x80",
                "\xc0\xaf",
                "\xc1\xbf",
                "\xe0\x80\xaf",
                "\xed\xa0\x80",
                "\xf4\x90\x80\x80",
                "\xf8\x88\x80\x80\x80",
                "\xc3",
                "a\xe2\x82",
                "\xf0\x9f\xa4",
                "\xff",
                "\xc3/a",
        };
        char text[ENTRY_PATH_MAX + 2];

        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                ck_assert_msg(entry_path_valid(good[i]), "refused: %s", good[i]);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                ck_assert_msg(!entry_path_valid(bad[i]), "accepted: %s", bad[i]);
        memset(text, 'x', sizeof(text));
        text[ENTRY_NAME_MAX] = '\0';
        ck_assert(entry_path_valid(text) && entry_name_valid(text));
        text[ENTRY_NAME_MAX] = 'x';
        text[ENTRY_NAME_MAX + 1] = '\0';
        ck_assert(!entry_path_valid(text) && !entry_name_valid(text));
        for (size_t i = 0; i <= ENTRY_PATH_MAX; i++)
                text[i] = i % 100 == 50 ? '/' : 'x';
        text[ENTRY_PATH_MAX] = '\0';
        ck_assert(entry_path_valid(text));
        text[ENTRY_PATH_MAX] = 'x';
        text[ENTRY_PATH_MAX + 1] = '\0';
        ck_assert(!entry_path_valid(text));
        ck_assert(entry_name_valid("...") && entry_name_valid("\xff"));
        ck_assert(!entry_name_valid("") && !entry_name_valid(".") && !entry_name_valid("..") &&
                  !entry_name_valid("a/b"));
}
END_TEST

START_TEST(words)
{
        enum repo_type type;

        for (int i = 0; i < REPO_TYPE_COUNT; i++) {
                ck_assert(repo_type_from_plural(repo_type_plural((enum repo_type)i), &type));
                ck_assert_int_eq(type, i);
        }
        ck_assert_str_eq(repo_type_word(REPO_SPACE), "space");
        ck_assert(!repo_type_from_plural("model", &type) && !repo_type_from_plural("", &type));
        ck_assert(glob_match("Org/*", "Org/Name") && glob_match("*", "a/b/.c") && glob_match("a?c", "abc"));
        ck_assert(!glob_match("Org/*", "Other/Name") && !glob_match("", "a"));
        ck_assert(word_is_true("1") && word_is_true("TRUE") && word_is_true("Yes") && word_is_true("on"));
        ck_assert(!word_is_true("0") && !word_is_true("") && !word_is_true(NULL) && !word_is_true("2"));
}
END_TEST

static bool next_is(const char *name, const char *want)
{
        char got[ENTRY_NAME_MAX + 1];

        return name_of_next_part(name, got, sizeof(got)) && strcmp(got, want) == 0;
}

START_TEST(series)
{
        static const char *const none[] = {
                "model.safetensors", "model-00004-of-00004.safetensors", "model-5-of-4.bin", "1-of-2",
                "-of-", "a-of-2", "model-1-of-", "model-1-of-x", "model_1-of-2", "model--of-2", "",
                "model-9999999999-of-99999999999.bin", "model-1-of-2-of-2",
        };
        char small[8];

        ck_assert(next_is("model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors"));
        ck_assert(next_is("model-00009-of-00010.bin", "model-00010-of-00010.bin"));
        ck_assert(next_is("q8-9-of-10.gguf", "q8-10-of-10.gguf"));
        ck_assert(next_is("best-1-of-3-0-of-2", "best-1-of-3-1-of-2"));
        for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
                char got[ENTRY_NAME_MAX + 1];

                ck_assert_msg(!name_of_next_part(none[i], got, sizeof(got)), "%s", none[i]);
        }
        ck_assert(!name_of_next_part("a-1-of-2", small, sizeof(small)));
        ck_assert(name_of_next_part("-1-of-2", small, sizeof(small)));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("base/names");
        TCase *t = tcase_create("names");
        SRunner *runner;
        int failed;

        tcase_add_test(t, repo_names);
        tcase_add_test(t, folders);
        tcase_add_test(t, written_by_people);
        tcase_add_test(t, hex);
        tcase_add_test(t, revisions);
        tcase_add_test(t, paths);
        tcase_add_test(t, words);
        tcase_add_test(t, series);
        suite_add_tcase(suite, t);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
