/*
 * Tests of index/extent.h: what survives which kind of restart, torn and foreign maps, and random
 * operations against a plain array of bytes.
 */
#include "index/extent.h"

#include "base/fault.h"

#include "scratch.h"

#define INSTANCE "0123456789abcdef"
#define ETAG "ce013625030ba8dba906f756967f9e9ca394464a"
#define BOOT_A "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
#define BOOT_B "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
#define SIZE 4096u
#define MAP "store/partial/" INSTANCE "/" ETAG ".map"

static struct store *s;
static struct extent_map m;

static void setup(void)
{
        scratch_setup();
        ASSERT_OK(store_open(at("store"), INSTANCE, false, &s, NULL));
        extent_init(&m, s, BOOT_A, ETAG, SIZE);
        strcpy(m.repo, "models/a/b");
}

static void teardown(void)
{
        extent_done(&m);
        s = store_close(s);
        scratch_teardown();
}

static void write_map(const struct rangeset *synced, const struct rangeset *unsynced)
{
        struct extent_draft d;

        ASSERT_OK(extent_begin(&m, synced, true, &d));
        ASSERT_OK(extent_commit(&m, &d, unsynced));
}

/* Loads as a daemon started in @boot does. */
static int load(const char *boot, struct rangeset *held, struct rangeset *synced)
{
        struct extent_map fresh;

        extent_init(&fresh, s, boot, ETAG, SIZE);
        rangeset_done(held);
        rangeset_done(synced);
        return extent_load(&fresh, held, synced);
}

static void expect(const char *boot, uint64_t held_bytes, uint64_t synced_bytes)
{
        struct rangeset held = {}, synced = {};

        ASSERT_OK(load(boot, &held, &synced));
        ck_assert_uint_eq(held.total, held_bytes);
        ck_assert_uint_eq(synced.total, synced_bytes);
        rangeset_done(&held);
        rangeset_done(&synced);
}

START_TEST(boots)
{
        struct rangeset synced = {}, none = {};

        ASSERT_OK(rangeset_add(&synced, 0, 100));
        write_map(&synced, &none);
        ASSERT_OK(extent_append(&m, 200, 300));
        ASSERT_OK(extent_append(&m, 300, 350)); /* grows in place */
        ASSERT_OK(extent_append(&m, 1000, 1001));
        ASSERT_OK(extent_append(&m, 350, 400));
        expect(BOOT_A, 301, 100);
        expect(BOOT_B, 100, 100);
        expect("", 100, 100); /* no boot id: nothing unsynced is trusted */
        ck_assert_uint_eq(m.end, 512 + 3 * 32);
        rangeset_done(&synced);
}
END_TEST

START_TEST(nothing_there)
{
        struct rangeset held = {}, synced = {};

        ck_assert_int_eq(load(BOOT_A, &held, &synced), -ENOENT);
        ASSERT_OK(extent_remove(&m));
        write_map(&held, &held);
        ASSERT_OK(extent_remove(&m));
        ck_assert_int_eq(load(BOOT_A, &held, &synced), -ENOENT);
        put_link(at(MAP), "/etc/passwd");
        ck_assert_int_eq(load(BOOT_A, &held, &synced), -EBADMSG);
}
END_TEST

/* Every byte of a map, flipped: never more than was held, never an error that is none. */
START_TEST(flipped)
{
        struct rangeset synced = {}, held = {}, got = {};
        unsigned char image[1024];
        ssize_t n;

        ASSERT_OK(rangeset_add(&synced, 0, 100));
        ASSERT_OK(rangeset_add(&held, 500, 600));
        write_map(&synced, &held);
        ASSERT_OK(rangeset_add(&held, 0, 100));
        n = get_file(at(MAP), image, sizeof(image));
        ck_assert_int_eq(n, 512 + 64);
        for (ssize_t i = 0; i < n; i++) {
                int r;

                image[i] ^= 0x10;
                put_file(at(MAP), image, (size_t)n);
                image[i] ^= 0x10;
                r = load(BOOT_A, &got, &synced);
                ck_assert_msg(r == 0 || r == -EBADMSG, "byte %zd: %d", i, r);
                for (size_t k = 0; k < got.count; k++)
                        ck_assert(rangeset_covers(&held, got.ranges[k].start, got.ranges[k].end));
                if (r == 0)
                        ck_assert_uint_eq(got.total, i < 512 + 32 ? 0 : 100);
        }
        for (ssize_t len = 0; len < n; len++) {
                put_file(at(MAP), image, (size_t)len);
                if (len < 512)
                        ck_assert_int_eq(load(BOOT_A, &got, &synced), -EBADMSG);
                else
                        ASSERT_OK(load(BOOT_A, &got, &synced));
        }
        rangeset_done(&synced);
        rangeset_done(&held);
        rangeset_done(&got);
}
END_TEST

START_TEST(another_blob)
{
        struct rangeset set = {}, other = {};
        struct extent_map bigger;

        ASSERT_OK(rangeset_add(&set, 0, 100));
        write_map(&set, &other);
        extent_init(&bigger, s, BOOT_A, ETAG, SIZE + 1);
        ck_assert_int_eq(extent_load(&bigger, &other, &other), -EBADMSG);
        rename(at(MAP), at("store/partial/" INSTANCE "/1111111111111111111111111111111111111111.map"));
        extent_init(&bigger, s, BOOT_A, "1111111111111111111111111111111111111111", SIZE);
        ck_assert_int_eq(extent_load(&bigger, &other, &other), -EBADMSG);
        rangeset_done(&set);
}
END_TEST

/* A failed rewrite leaves the old map as it was, and one can go on appending to it. */
START_TEST(failures)
{
        struct rangeset a = {}, none = {};
        struct extent_draft d;

#ifndef WEIGHTFS_FAULTS
        printf("SKIP failures: built without fault points\n");
        return;
#endif
        ASSERT_OK(rangeset_add(&a, 0, 100));
        write_map(&a, &none);
        ASSERT_OK(rangeset_add(&a, 200, 300));
        for (uint64_t nth = 1;; nth++) {
                int r;

                fault_arm(nth);
                r = extent_begin(&m, &a, true, &d);
                if (r == 0)
                        r = extent_commit(&m, &d, &a);
                if (!fault_fired()) {
                        ASSERT_OK(r);
                        ck_assert_uint_gt(nth, 3);
                        break;
                }
                ck_assert_int_lt(r, 0);
                expect(BOOT_A, 100, 100);
                ck_assert_int_eq(count_leftovers(), 0);
        }
        expect(BOOT_A, 200, 200);
        fault_arm(1);
        ck_assert_int_eq(extent_append(&m, 400, 500), -ENOSPC);
        expect(BOOT_A, 200, 200);
        ASSERT_OK(extent_append(&m, 400, 500));
        expect(BOOT_A, 300, 200);
        rangeset_done(&a);
}
END_TEST

static void check_oracle(const struct rangeset *set, const char *oracle)
{
        uint64_t total = 0;

        for (uint64_t i = 0; i < SIZE; i++) {
                ck_assert_int_eq(rangeset_covers(set, i, i + 1), oracle[i]);
                total += (uint64_t)oracle[i];
        }
        ck_assert_uint_eq(set->total, total);
}

START_TEST(random_against_oracle)
{
        static char held[SIZE], durable[SIZE];
        struct rangeset set = {}, rest = {}, got = {}, synced = {};

        srand(7);
        write_map(&set, &rest);
        for (int i = 0; i < 3000; i++) {
                uint64_t start = (uint64_t)rand() % SIZE;
                uint64_t end = min_u64(SIZE, start + 1 + (uint64_t)rand() % 64);

                if (rand() % 40 == 0) { /* a sync */
                        write_map(&set, &rest);
                        memcpy(durable, held, SIZE);
                } else if (rand() % 100 == 0) { /* all given up */
                        rangeset_done(&set);
                        memset(held, 0, SIZE);
                        memset(durable, 0, SIZE);
                        write_map(&set, &rest);
                } else {
                        ASSERT_OK(extent_append(&m, start, end));
                        ASSERT_OK(rangeset_add(&set, start, end));
                        memset(held + start, 1, end - start);
                }
                if (i % 50 == 0) {
                        ASSERT_OK(load(BOOT_A, &got, &synced));
                        check_oracle(&got, held);
                        check_oracle(&synced, durable);
                        ASSERT_OK(load(BOOT_B, &got, &synced));
                        check_oracle(&got, durable);
                }
        }
        rangeset_done(&set);
        rangeset_done(&got);
        rangeset_done(&synced);
}
END_TEST

START_TEST(boot_ids)
{
        char boot[BOOT_ID_MAX + 1];

        boot_id_read(boot);
        ck_assert(strlen(boot) == BOOT_ID_MAX || boot[0] == '\0');
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/extent");
        TCase *t = tcase_create("extent");

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, boots);
        tcase_add_test(t, nothing_there);
        tcase_add_test(t, flipped);
        tcase_add_test(t, another_blob);
        tcase_add_test(t, failures);
        tcase_add_test(t, random_against_oracle);
        tcase_add_test(t, boot_ids);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
