/*
 * fs/node.c: ids are bijective, bounded, and blobs keep their inode number over incarnations.
 */
#include "fs/node.h"

#include <check.h>
#include <stdlib.h>

START_TEST(root_is_one)
{
        ck_assert_uint_eq(node_pack(node_of(NODE_FIXED, 0, FIXED_ROOT)), 1);
}
END_TEST

START_TEST(ids_survive_a_round_trip)
{
        static const uint32_t ids[] = { 1, 2, 0x12345, UINT32_MAX };
        static const uint32_t lows[] = { 0, 1, 0x54321, NODE_LOW_MAX };

        for (int kind = NODE_REPO; kind < NODE_KIND_COUNT; kind++)
                for (int i = 0; i < 4; i++)
                        for (int j = 0; j < 4; j++) {
                                struct node n = node_of((enum node_kind)kind, ids[i], lows[j]), back;

                                if (kind == NODE_REF_COMMON && lows[j] >= REF_COMMON_COUNT)
                                        continue;
                                ck_assert(node_unpack(node_pack(n), &back));
                                ck_assert_int_eq(back.kind, n.kind);
                                ck_assert_uint_eq(back.id, n.id);
                                ck_assert_uint_eq(back.low, n.low);
                                ck_assert(node_pack(n) >> 63 == 0);
                        }
}
END_TEST

START_TEST(foreign_ids_are_refused)
{
        static const uint64_t foreign[] = { 0, 7, UINT64_MAX, (uint64_t)NODE_KIND_COUNT << 58 | 1, 1u << 26 };
        struct node n;

        for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
                ck_assert_msg(!node_unpack(foreign[i], &n), "id %lx was taken", (unsigned long)foreign[i]);
}
END_TEST

START_TEST(inode_number_leaves_the_incarnation_out)
{
        struct node filling = node_of(NODE_BLOB, 7, 0), whole = node_of(NODE_BLOB, 7, 1);

        ck_assert_uint_ne(node_pack(filling), node_pack(whole));
        ck_assert_uint_eq(node_ino(filling), node_ino(whole));
        ck_assert_uint_ne(node_ino(filling), node_ino(node_of(NODE_BLOB, 8, 0)));
}
END_TEST

START_TEST(absent_names_differ)
{
        uint64_t a = node_hash_name(1, "adapter_config.json"), b = node_hash_name(1, "added_tokens.json");
        struct node n = node_absent(false, a);

        ck_assert_uint_ne(a, b);
        ck_assert_uint_ne(a, node_hash_name(2, "adapter_config.json"));
        ck_assert_uint_eq(node_hash(n), a);
        ck_assert(!node_is_dir(n));
        ck_assert(node_is_dir(node_absent(true, a)));
}
END_TEST

int main(void)
{
        Suite *s = suite_create("node");
        TCase *t = tcase_create("ids");
        SRunner *runner;
        int failed;

        tcase_add_test(t, root_is_one);
        tcase_add_test(t, ids_survive_a_round_trip);
        tcase_add_test(t, foreign_ids_are_refused);
        tcase_add_test(t, inode_number_leaves_the_incarnation_out);
        tcase_add_test(t, absent_names_differ);
        suite_add_tcase(s, t);
        runner = srunner_create(s);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
