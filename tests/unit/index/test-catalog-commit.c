/*
 * Tests of catalog_listing.c, catalog_commit.c, catalog_blob.c.
 */
#include "test-catalog.h"

#include <sys/resource.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define MANY 100000

static const struct listed_file sample[] = {
        { "onnx/model.onnx", C, 5ull << 30 },
        { "config.json", A, 10 },
        { "onnx/deep/x", B, 0 },
        { "onnx.txt", A, 10 },
        { "a", B, 0 },
        { "onnx/a.b/c", A, 10 },
};

/* In byte order: "onnx" and "onnx.txt" come before "onnx/...". */
static const struct {
        const char *path, *name;
        uint32_t parent, depth;
        bool is_dir, along;
} sample_nodes[] = {
        { "", "", 0, 0, true, false },
        { "a", "a", 0, 0, false, true },
        { "config.json", "config.json", 0, 0, false, true },
        { "onnx", "onnx", 0, 0, true, false },
        { "onnx.txt", "onnx.txt", 0, 0, false, true },
        { "onnx/a.b", "a.b", 3, 1, true, false },
        { "onnx/a.b/c", "c", 5, 2, false, true },
        { "onnx/deep", "deep", 3, 1, true, false },
        { "onnx/deep/x", "x", 7, 2, false, true },
        { "onnx/model.onnx", "model.onnx", 3, 1, false, false },
};

START_TEST(listing_positions)
{
        struct repo repo = make_repo("o/r");
        struct commit commit = put_files(repo.id, 1, true, sample, ARRAY_SIZE(sample)), again;
        struct entry e;

        ck_assert_int_eq(commit.nodes, ARRAY_SIZE(sample_nodes));
        ck_assert_int_eq(commit.files, ARRAY_SIZE(sample));
        ck_assert_uint_eq(commit.size, (5ull << 30) + 30);
        ck_assert(commit.whole_listing);
        ck_assert_int_eq(commit.mtime, 1700000000);
        ck_assert_int_eq(commit.repo, repo.id);
        ck_assert_str_eq(commit.sha, sha_of(1));
        for (uint32_t i = 0; i < commit.nodes; i++) {
                ck_assert_int_eq(catalog_entry_at(cat, commit.id, i, &e), 0);
                ck_assert_int_eq(e.pos, i);
                ck_assert_str_eq(e.path, sample_nodes[i].path);
                ck_assert_str_eq(e.name, sample_nodes[i].name);
                ck_assert(e.name >= e.path && e.name <= e.path + ENTRY_PATH_MAX);
                ck_assert_int_eq(e.parent, sample_nodes[i].parent);
                ck_assert_int_eq(e.depth, sample_nodes[i].depth);
                ck_assert(e.is_dir == sample_nodes[i].is_dir);
                ck_assert(e.along == sample_nodes[i].along);
                ck_assert((e.blob != 0) == !e.is_dir);
        }
        ck_assert_str_eq(e.etag, C);
        ck_assert_uint_eq(e.size, 5ull << 30);
        ck_assert_int_eq(e.state, BLOB_FILLING);
        ck_assert_int_eq(catalog_entry_at(cat, commit.id, commit.nodes, &e), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_entry_at(cat, commit.id + 1, 0, &e), CATALOG_E_NONE);

        again = put_files(repo.id, 1, true, sample, 1); /* K2 */
        ck_assert_int_eq(again.id, commit.id);
        ck_assert_int_eq(again.files, commit.files);
        ck_assert_int_eq(catalog_commit_find(cat, repo.id, sha_of(1), &again), 0);
        ck_assert_int_eq(again.id, commit.id);
        ck_assert_int_eq(catalog_commit_get(cat, commit.id, &again), 0);
        ck_assert_str_eq(again.sha, commit.sha);
        check_invariants();
}
END_TEST

START_TEST(lookup_and_readdir)
{
        struct repo repo = make_repo("o/r");
        struct commit commit = put_files(repo.id, 1, true, sample, ARRAY_SIZE(sample));
        struct entry e;
        unsigned found = 0;

        for (uint32_t i = 1; i < commit.nodes; i++) {
                ck_assert_int_eq(catalog_entry_lookup(cat, commit.id, sample_nodes[i].parent,
                                                      sample_nodes[i].name, &e),
                                 0);
                ck_assert_int_eq(e.pos, i);
        }
        ck_assert_int_eq(catalog_entry_lookup(cat, commit.id, 0, "model.onnx", &e), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_entry_lookup(cat, commit.id, 0, "", &e), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_entry_lookup(cat, commit.id, 0, "..", &e), CATALOG_E_NONE);

        for (uint32_t parent = 0; parent < commit.nodes; parent++) {
                uint32_t after = 0;

                while (entry_next(commit.id, parent, after, &e) == 0) {
                        ck_assert_int_gt(e.pos, after);
                        ck_assert_int_eq(sample_nodes[e.pos].parent, parent);
                        after = e.pos;
                        found++;
                }
        }
        ck_assert_int_eq(found, commit.nodes - 1);
        for (uint32_t i = 1; i < commit.nodes; i++) {
                ck_assert_int_eq(catalog_entry_walk(cat, commit.id, i - 1, &e), 0);
                ck_assert_int_eq(e.pos, i);
        }
        ck_assert_int_eq(catalog_entry_walk(cat, commit.id, commit.nodes - 1, &e), CATALOG_E_NONE);
}
END_TEST

START_TEST(listing_refused)
{
        static const struct listed_file twice[] = { { "x", A, 1 }, { "y", A, 1 }, { "x", B, 2 } };
        static const struct listed_file both[] = { { "x", A, 1 }, { "x.y", A, 1 }, { "x/y", B, 2 } };
        static const struct listed_file huge[] = { { "x", A, UINT64_MAX } };
        static const struct listed_file sum[] = { { "x", A, INT64_MAX }, { "y", B, INT64_MAX } };
        static const struct listed_file climbs[] = { { "../x", A, 1 } };
        static const struct listed_file no_etag[] = { { "x", "abc", 1 } };
        struct repo repo = make_repo("o/r");
        struct commit commit;

#define PUT(f) catalog_commit_put(cat, repo.id, sha_of(1), 0, true, f, ARRAY_SIZE(f), &commit)
        ck_assert_int_eq(PUT(twice), CATALOG_E_LIMIT);
        ck_assert_int_eq(PUT(both), CATALOG_E_LIMIT);
        ck_assert_int_eq(PUT(huge), CATALOG_E_LIMIT);
        ck_assert_int_eq(PUT(sum), CATALOG_E_LIMIT);
        ck_assert_int_eq(PUT(climbs), -EINVAL);
        ck_assert_int_eq(PUT(no_etag), -EINVAL);
#undef PUT
        ck_assert_int_eq(catalog_commit_put(cat, repo.id, "main", 0, true, NULL, 0, &commit), -EINVAL);
        ck_assert_int_eq(catalog_commit_put(cat, repo.id + 1, sha_of(1), 0, true, NULL, 0, &commit), -EINVAL);
        ck_assert_int_eq(catalog_commit_put(cat, repo.id, sha_of(1), 0, true, sample,
                                            (size_t)CATALOG_POS_MAX + 1, &commit),
                         CATALOG_E_LIMIT);
        ck_assert_int_eq(catalog_commit_find(cat, repo.id, sha_of(1), &commit), CATALOG_E_NONE);
        check_invariants();
}
END_TEST

START_TEST(empty_listing)
{
        struct repo repo = make_repo("o/r");
        struct commit commit;
        struct entry e;
        bool usable = false;

        ck_assert_int_eq(catalog_commit_put(cat, repo.id, sha_of(1), 0, true, NULL, 0, &commit), 0);
        ck_assert_int_eq(commit.nodes, 1);
        ck_assert_int_gt(commit.mtime, 1700000000); /* not known: now */
        ck_assert_int_eq(catalog_entry_at(cat, commit.id, 0, &e), 0);
        ck_assert(e.is_dir && e.path[0] == '\0' && e.name[0] == '\0');
        ck_assert_int_eq(entry_next(commit.id, 0, 0, &e), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_commit_usable_offline(cat, commit.id, &usable), 0);
        ck_assert(usable);
        ck_assert_int_eq(catalog_commit_usable_offline(cat, commit.id + 1, &usable), CATALOG_E_NONE);
}
END_TEST

START_TEST(longest_path)
{
        char path[ENTRY_PATH_MAX + 1], name[ENTRY_NAME_MAX + 1];
        struct listed_file file = { path, A, 1 };
        struct repo repo = make_repo("o/r");
        struct commit commit;
        struct entry e;

        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        for (size_t i = ENTRY_NAME_MAX; i < 3 * (ENTRY_NAME_MAX + 1); i += ENTRY_NAME_MAX + 1)
                path[i] = '/';
        path[900] = '/';
        commit = put_files(repo.id, 1, true, &file, 1);
        ck_assert_int_eq(catalog_entry_at(cat, commit.id, commit.nodes - 1, &e), 0);
        ck_assert_str_eq(e.path, path);
        strcpy(name, e.name);
        ck_assert_int_eq(catalog_entry_lookup(cat, commit.id, e.parent, name, &e), 0);
        ck_assert_int_eq(e.pos, commit.nodes - 1);
}
END_TEST

START_TEST(partial_is_replaced)
{
        static const struct listed_file wrong[] = { { "config.json", B, 99 } };
        struct repo repo = make_repo("o/r");
        struct commit one = put_files(repo.id, 1, false, wrong, 1), two, three, c;
        struct ref before, after, other;
        struct blob_row blob;
        struct entry e;

        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "refs/pr/1", one.id, 5, &before), 0);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 7, &other), 0);
        c = put_files(repo.id, 1, false, sample, 1); /* not larger */
        ck_assert_int_eq(c.id, one.id);
        two = put_files(repo.id, 1, false, sample, 3);
        ck_assert_int_gt(two.id, one.id);
        ck_assert(!two.whole_listing);
        three = put_files(repo.id, 1, true, sample, 2); /* whole is more than any part */
        ck_assert_int_gt(three.id, two.id);
        ck_assert_int_eq(three.files, 2);

        ck_assert_int_eq(catalog_commit_get(cat, one.id, &c), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_entry_at(cat, one.id, 0, &e), CATALOG_E_NONE);
        ck_assert_int_eq(ref_above(repo.id, before.id - 1, &after), 0);
        ck_assert_int_gt(after.id, other.id); /* both have new ids */
        ck_assert_int_eq(catalog_ref_find(cat, repo.id, "refs/pr/1", &after), 0);
        ck_assert_int_gt(after.id, other.id);
        ck_assert_int_eq(after.commit, three.id);
        ck_assert_int_eq(after.checked, 5);
        ck_assert_int_eq(catalog_ref_find(cat, repo.id, "main", &after), 0);
        ck_assert_int_eq(after.commit, three.id);
        /* the blob that only the first had is no longer the repo's, but its row is kept */
        ck_assert_int_eq(catalog_blob_in_repo(cat, repo.id, B, &blob), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_blob_find(cat, B, 99, &blob), 0);
        ck_assert_int_eq(catalog_blob_in_repo(cat, repo.id, A, &blob), 0);
        check_invariants();
}
END_TEST

START_TEST(along_up_to_a_limit)
{
        static struct listed_file files[70];
        static char paths[70][8];
        struct repo repo = make_repo("o/r");
        struct commit commit;
        struct entry e;
        uint64_t sum = 0;

        for (unsigned i = 0; i < 70; i++) {
                snprintf(paths[i], sizeof(paths[i]), "f%02u", i);
                files[i] = (struct listed_file){ paths[i], sha_of(i), ALONG_FILE_MAX };
        }
        files[3].size++;    /* too large by a byte */
        files[69].size = 0; /* nothing always fits */
        commit = put_files(repo.id, 1, true, files, 70);
        for (uint32_t pos = 1; pos <= 70; pos++) {
                ck_assert_int_eq(catalog_entry_at(cat, commit.id, pos, &e), 0);
                ck_assert(e.along == (pos == 70 || (pos != 4 && pos <= 65)));
                sum += e.along ? e.size : 0;
        }
        ck_assert_uint_eq(sum, ALONG_COMMIT_MAX);
}
END_TEST

static bool usable(int64_t commit)
{
        bool yes;

        ck_assert_int_eq(catalog_commit_usable_offline(cat, commit, &yes), 0);
        return yes;
}

static struct blob_row set_state(const char *etag, uint64_t size, enum blob_state state)
{
        struct blob_row row;

        ck_assert_int_eq(catalog_blob_find(cat, etag, size, &row), 0);
        ck_assert_int_eq(catalog_blob_set_state(cat, row.id, state, &row), 0);
        ck_assert_int_eq(row.state, state);
        return row;
}

START_TEST(usable_offline_follows_blobs)
{
        struct repo repo = make_repo("o/r"), twin = make_repo("o/s");
        struct commit one = put_files(repo.id, 1, true, sample, ARRAY_SIZE(sample)), two;

        ck_assert(!usable(one.id));
        set_state(A, 10, BLOB_ADOPTED);
        ck_assert(!usable(one.id));
        set_state(B, 0, BLOB_COMPLETE);
        ck_assert(usable(one.id)); /* the large one is not needed */
        set_state(A, 10, BLOB_COMPLETE);
        ck_assert(usable(one.id));
        two = put_files(twin.id, 1, true, sample, ARRAY_SIZE(sample));
        ck_assert(usable(two.id));
        set_state(B, 0, BLOB_QUARANTINED);
        ck_assert(!usable(one.id) && !usable(two.id));
        set_state(B, 0, BLOB_FILLING);
        ck_assert(!usable(one.id));
        check_invariants();
        set_state(B, 0, BLOB_COMPLETE);
        reopen();
        ck_assert(usable(one.id) && usable(two.id));
        check_invariants();
}
END_TEST

START_TEST(listings_whose_files_are_linked_later)
{
        struct repo repo = make_repo("o/r"), twin = make_repo("o/s");
        struct commit one = put_files(repo.id, 1, true, sample, ARRAY_SIZE(sample)), two, three, found;

        ck_assert_int_eq(catalog_commit_next_unlinked(cat, 0, &found), CATALOG_E_NONE); /* nothing was held */
        set_state(A, 10, BLOB_COMPLETE);
        ck_assert_int_eq(catalog_commit_next_unlinked(cat, 0, &found), CATALOG_E_NONE); /* its links came along */
        two = put_files(twin.id, 1, true, sample, ARRAY_SIZE(sample));
        three = put_files(twin.id, 2, true, sample, ARRAY_SIZE(sample));
        reopen();
        ck_assert_int_eq(catalog_commit_next_unlinked(cat, one.id, &found), 0);
        ck_assert_int_eq(found.id, two.id);
        ck_assert_int_eq(catalog_commits_set_linked(cat, two.id, two.id), 0);
        ck_assert_int_eq(catalog_commit_next_unlinked(cat, 0, &found), 0);
        ck_assert_int_eq(found.id, three.id);
        ck_assert_int_eq(catalog_commits_set_linked(cat, one.id, three.id), 0);
        ck_assert_int_eq(catalog_commit_next_unlinked(cat, 0, &found), CATALOG_E_NONE);
        check_invariants();
}
END_TEST

START_TEST(incarnation_parity)
{
        static const struct {
                enum blob_state state;
                uint32_t incarnation;
        } steps[] = {
                { BLOB_FILLING, 0 },     { BLOB_ADOPTED, 1 }, { BLOB_COMPLETE, 1 }, { BLOB_COMPLETE, 1 },
                { BLOB_QUARANTINED, 2 }, { BLOB_FILLING, 2 }, { BLOB_COMPLETE, 3 }, { BLOB_FILLING, 4 },
        };
        struct repo repo = make_repo("o/r");
        struct commit commit = put_files(repo.id, 1, true, sample, ARRAY_SIZE(sample));
        struct blob_row row;
        struct entry e;

        for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
                row = set_state(C, 5ull << 30, steps[i].state);
                ck_assert_int_eq(row.incarnation, steps[i].incarnation);
                ck_assert_int_eq(catalog_entry_at(cat, commit.id, 9, &e), 0);
                ck_assert_int_eq(e.state, steps[i].state);
                ck_assert_int_eq(e.incarnation, steps[i].incarnation);
        }
        raw_sql(test_path, "UPDATE blob SET incarnation = 16777215, state = 2");
        ck_assert_int_eq(catalog_blob_set_state(cat, row.id, BLOB_FILLING, &row), -EOVERFLOW);
        ck_assert_int_eq(catalog_blob_set_state(cat, row.id, BLOB_ADOPTED, &row), 0);
        ck_assert_int_eq(catalog_blob_set_state(cat, 999, BLOB_COMPLETE, &row), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_blob_set_state(cat, row.id, 17, &row), -EINVAL);
}
END_TEST

START_TEST(blobs_and_places)
{
        struct repo repo = make_repo("o/r"), twin = make_repo("o/s"), at_repo;
        struct commit one = put_files(repo.id, 1, true, sample, ARRAY_SIZE(sample)), at_commit = {};
        struct commit two = put_files(twin.id, 2, true, sample, 2);
        struct blob_row row, next;
        struct entry e = {};
        int64_t after = 0;
        unsigned places = 0, blobs = 0;

        ck_assert_int_eq(catalog_blob_find(cat, A, 10, &row), 0);
        ck_assert_int_eq(catalog_blob_get(cat, row.id, &next), 0);
        ck_assert_str_eq(next.etag, A);
        ck_assert_int_eq(catalog_blob_find(cat, A, 11, &next), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_blob_find(cat, A, UINT64_MAX, &next), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_blob_next_of_etag(cat, A, -1, &next), 0);
        ck_assert_int_eq(next.id, row.id);
        ck_assert_int_eq(catalog_blob_next_of_etag(cat, A, 10, &next), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_blob_in_repo(cat, twin.id, A, &next), 0);
        ck_assert_int_eq(next.id, row.id); /* equal etag and size: the same blob */
        ck_assert_int_eq(catalog_blob_in_repo(cat, twin.id, B, &next), CATALOG_E_NONE);

        while (catalog_blob_place_next(cat, row.id, at_commit.id, e.pos, &at_repo, &at_commit, &e) == 0) {
                ck_assert_int_eq(e.blob, row.id);
                ck_assert_int_eq(at_repo.id, places < 3 ? repo.id : twin.id);
                ck_assert_int_eq(at_commit.id, places < 3 ? one.id : two.id);
                places++;
        }
        ck_assert_int_eq(places, 4);
        while (blob_next(twin.id, after, &next) == 0) {
                ck_assert_int_gt(next.id, after);
                after = next.id;
                blobs++;
        }
        ck_assert_int_eq(blobs, 2);

        set_state(A, 10, BLOB_ADOPTED);
        ck_assert_int_eq(catalog_blob_next_in_state(cat, BLOB_ADOPTED, 0, &next), 0);
        ck_assert_int_eq(next.id, row.id);
        ck_assert_int_eq(catalog_blob_next_in_state(cat, BLOB_ADOPTED, next.id, &next), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_blob_next_in_state(cat, BLOB_FILLING, 0, &next), -EINVAL);
}
END_TEST

START_TEST(totals)
{
        struct repo repo = make_repo("o/r");
        struct repo_totals t;

        ck_assert_int_eq(catalog_repo_totals(cat, repo.id, &t), 0);
        ck_assert(t.commits == 0 && t.files == 0 && t.bytes == 0 && t.held_files == 0 && t.held_bytes == 0);
        put_files(repo.id, 1, true, sample, ARRAY_SIZE(sample));
        put_files(repo.id, 2, true, sample, 2);
        set_state(A, 10, BLOB_COMPLETE);
        ck_assert_int_eq(catalog_repo_totals(cat, repo.id, &t), 0);
        ck_assert_uint_eq(t.commits, 2);
        ck_assert_uint_eq(t.files, 3);
        ck_assert_uint_eq(t.bytes, (5ull << 30) + 10);
        ck_assert_uint_eq(t.held_files, 1);
        ck_assert_uint_eq(t.held_bytes, 10);
}
END_TEST

START_TEST(commits_in_order)
{
        struct repo repo = make_repo("o/r"), other = make_repo("o/s");
        struct commit c = { .id = 0 };

        for (unsigned i = 0; i < 5; i++) {
                put_files(repo.id, 100 - i, true, sample, 1);
                put_files(other.id, 100 - i, true, sample, 1);
        }
        for (unsigned i = 0; i < 5; i++) {
                ck_assert_int_eq(catalog_commit_next(cat, repo.id, c.id, &c), 0);
                ck_assert_str_eq(c.sha, sha_of(100 - i));
        }
        ck_assert_int_eq(catalog_commit_next(cat, repo.id, c.id, &c), CATALOG_E_NONE);
}
END_TEST

/* ---- size ---- */

static struct listed_file *many_files(void)
{
        struct listed_file *files = calloc(MANY, sizeof(*files));
        char path[64], etag[SHA256_HEX + 1];

        for (unsigned i = 0; i < MANY; i++) {
                /* spread etags as hashes are; half of the files in the root, the others in folders */
                snprintf(etag, sizeof(etag), "%08x%056x", i * 2654435761u, i);
                if (i % 2)
                        snprintf(path, sizeof(path), "file-%06u.bin", i);
                else
                        snprintf(path, sizeof(path), "d%03u/file-%06u.bin", i % 200, i);
                files[i] = (struct listed_file){ strdup(path), strdup(etag), i };
        }
        return files;
}

/* Work done, in steps of SQLite's machine: does not depend on this computer. */
static int steps_of_reader(void)
{
        struct reader rd = {};
        int steps = 0;

        ck_assert_int_eq(reader_take(cat, &rd), 0);
        for (size_t i = 0; i < STATEMENTS_MAX; i++)
                if (rd.conn->statements[i].st)
                        steps += sqlite3_stmt_status(rd.conn->statements[i].st, SQLITE_STMTSTATUS_VM_STEP, 1);
        reader_give(&rd);
        return steps;
}

static void measure(const struct commit *c, const char *name, int ret_steps[6])
{
        struct commit at_commit;
        struct repo at_repo;
        struct entry e;
        bool yes;

        steps_of_reader();
        ck_assert_int_eq(catalog_entry_lookup(cat, c->id, 0, name, &e), 0);
        ret_steps[0] = steps_of_reader();
        ck_assert_int_eq(entry_next(c->id, 0, e.pos, &e), 0);
        ret_steps[1] = steps_of_reader();
        ck_assert_int_eq(catalog_entry_walk(cat, c->id, c->nodes / 2, &e), 0);
        ret_steps[2] = steps_of_reader();
        ck_assert_int_eq(catalog_entry_lookup(cat, c->id, 0, "absent", &e), CATALOG_E_NONE);
        ret_steps[3] = steps_of_reader();
        ck_assert_int_eq(catalog_commit_usable_offline(cat, c->id, &yes), 0);
        ret_steps[4] = steps_of_reader();
        ck_assert_int_eq(catalog_entry_at(cat, c->id, c->nodes - 1, &e), 0);
        steps_of_reader();
        ck_assert_int_eq(catalog_blob_place_next(cat, e.blob, 0, 0, &at_repo, &at_commit, &e), 0);
        ret_steps[5] = steps_of_reader();
}

START_TEST(many_entries_are_as_quick_as_few)
{
        struct listed_file *files = many_files();
        struct repo repo = make_repo("o/r");
        struct commit few, many;
        int a[6], b[6];
        struct rusage before, after;
        uint32_t pos = 0, seen = 0;
        struct entry e;

        few = put_files(repo.id, 1, true, files, 10);
        getrusage(RUSAGE_SELF, &before);
        many = put_files(repo.id, 2, true, files, MANY);
        getrusage(RUSAGE_SELF, &after);
        ck_assert_int_eq(many.nodes, MANY + 1 + 100);
#ifndef SANITIZED                                                        /* they add to it */
        ck_assert_int_lt(after.ru_maxrss - before.ru_maxrss, 32 * 1024); /* KiB */
#endif
        measure(&few, "file-000007.bin", a);
        measure(&many, "file-050007.bin", b);
        for (unsigned i = 0; i < ARRAY_SIZE(a); i++)
                ck_assert_msg(b[i] <= a[i] + 10, "query %u: %d steps among few, %d among many", i, a[i],
                              b[i]);
        while (entry_next(many.id, 0, pos, &e) == 0) {
                pos = e.pos;
                seen++;
        }
        ck_assert_int_eq(seen, MANY / 2 + 100);
        for (unsigned i = 0; i < MANY; i++) {
                free((char *)files[i].path);
                free((char *)files[i].etag);
        }
        free(files);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = {
                listing_positions,
                lookup_and_readdir,
                listing_refused,
                empty_listing,
                longest_path,
                partial_is_replaced,
                along_up_to_a_limit,
                usable_offline_follows_blobs,
                listings_whose_files_are_linked_later,
                incarnation_parity,
                blobs_and_places,
                totals,
                commits_in_order,
                many_entries_are_as_quick_as_few,
        };

        return run_cases("catalog-commit", tests, ARRAY_SIZE(tests), cat_setup);
}
