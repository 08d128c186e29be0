/*
 * SQLite wants for memory, now and then: a change fails, or is made, as a whole, and the next one, once there is
 * memory, finds nothing in its way. (That each single allocation fails is in tests/faults.)
 */
#include "test-catalog.h"

#include <stdatomic.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const struct listed_file files[] = { { "a", A, 1 }, { "b/c", B, 2 }, { "b/d/e", A, 1 } };

static sqlite3_mem_methods memory;
static unsigned first, every; /* 0: nothing fails */
static _Atomic unsigned passes, fired;

static bool fails(void)
{
        unsigned pass = ++passes;

        if (first == 0 || pass < first || (pass - first) % every != 0)
                return false;
        fired++;
        return true;
}

static void *get(int size)
{
        return fails() ? NULL : memory.xMalloc(size);
}

static void *change(void *p, int size)
{
        return fails() ? NULL : memory.xRealloc(p, size);
}

/* Before SQLite is used for the first time. */
static bool hook(void)
{
        static sqlite3_mem_methods ours;

        sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory);
        ours = memory;
        ours.xMalloc = get;
        ours.xRealloc = change;
        return sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) == SQLITE_OK &&
               sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK;
}

/* With a catalogue that was just opened: its statements are made while memory is short. */
static unsigned change_with(unsigned from, unsigned step, int64_t repo, unsigned sha)
{
        struct commit commit;
        int r;

        reopen();
        passes = fired = 0;
        every = step;
        first = from;
        r = catalog_commit_put(cat, repo, sha_of(sha), 7, true, files, ARRAY_SIZE(files), &commit);
        first = 0;
        ck_assert_msg(r == 0 || r == -ENOMEM, "from %u, each %u: %d", from, step, r);
        ck_assert_int_eq(catalog_commit_find(cat, repo, sha_of(sha), &commit), r == 0 ? 0 : CATALOG_E_NONE);
        r = catalog_repo_set_scanned(cat, repo);
        ck_assert_msg(r == 0, "after from %u, each %u: %d", from, step, r);
        return fired;
}

START_TEST(now_and_then)
{
        struct repo repo = make_repo("o/r");
        unsigned step = (unsigned)_i, from = 1;

        while (change_with(from, step, repo.id, from) > 0)
                from += 3;
        ck_assert_uint_gt(from, 100);
        check_invariants();
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("catalog-memory");
        TCase *tcase = tcase_create("catalog-memory");
        SRunner *runner;
        int failed;

        if (!hook())
                return 2;
        tcase_set_timeout(tcase, 100);
        tcase_add_checked_fixture(tcase, cat_setup, dir_teardown);
        tcase_add_loop_test(tcase, now_and_then, 1, 6);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? 0 : 1;
}
