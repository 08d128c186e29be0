/*
 * Tests of catalog_repo.c and catalog_ref.c.
 */
#include "test-catalog.h"

START_TEST(repo_rows)
{
        struct repo a, b, c;

        ck_assert_int_eq(catalog_repo_find(cat, REPO_MODEL, "o/r", &a), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/r", "o/r", false, &a), 0);
        ck_assert_int_gt(a.id, 0);
        ck_assert(!a.resolved && !a.scanned);
        ck_assert_int_eq(catalog_repo_put(cat, REPO_DATASET, "o/r", "o/r", true, &b), 0);
        ck_assert_int_ne(a.id, b.id);
        ck_assert_int_eq(b.type, REPO_DATASET);

        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/r", "new/name", true, &c), 0);
        ck_assert_int_eq(c.id, a.id);
        ck_assert_str_eq(c.name, "o/r");
        ck_assert_str_eq(c.hub_name, "new/name");
        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/r", "new/name", false, &c), 0);
        ck_assert(c.resolved); /* never cleared */

        ck_assert_int_eq(catalog_repo_set_scanned(cat, a.id), 0);
        ck_assert_int_eq(catalog_repo_set_scanned(cat, a.id), 0);
        ck_assert_int_eq(catalog_repo_set_scanned(cat, 77), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_repo_get(cat, a.id, &c), 0);
        ck_assert(c.scanned && c.resolved);
        ck_assert_int_eq(catalog_repo_get(cat, 77, &c), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_repo_find(cat, REPO_SPACE, "o/r", &c), CATALOG_E_NONE);

        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/../r", "o/r", true, &c), -EINVAL);
        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/r", "", true, &c), -EINVAL);
        ck_assert_int_eq(catalog_repo_put(cat, 9, "o/r", "o/r", true, &c), -EINVAL);
}
END_TEST

START_TEST(repos_that_were_found)
{
        static const struct repo_name found[] = {
                { REPO_MODEL, "o/asked", "o/asked", true },
                { REPO_MODEL, "o/new", "o/new", true },
                { REPO_MODEL, "o/renamed", "o/renamed", true }, /* its hub_name came after it was found */
        };
        static const struct repo_name bad[] = { { REPO_MODEL, "o/fine", "o/fine", true }, { REPO_MODEL, "..", "o/r", true } };
        struct repo r;

        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/asked", "o/asked", false, &r), 0);
        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/renamed", "present/name", true, &r), 0);
        ck_assert_int_eq(catalog_repos_put(cat, found, ARRAY_SIZE(found)), 0);
        for (size_t i = 0; i < ARRAY_SIZE(found); i++) {
                ck_assert_int_eq(catalog_repo_find(cat, REPO_MODEL, found[i].name, &r), 0);
                ck_assert(r.resolved);
        }
        ck_assert_str_eq(r.hub_name, "present/name");
        ck_assert_int_eq(catalog_repos_put(cat, bad, ARRAY_SIZE(bad)), -EINVAL);
        ck_assert_int_eq(catalog_repo_find(cat, REPO_MODEL, "o/fine", &r), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_repos_put(cat, NULL, 0), 0);
}
END_TEST

START_TEST(repo_listing)
{
        struct repo r = { .id = 0 };
        unsigned n = 0;

        for (unsigned i = 0; i < 10; i++) {
                char name[16];

                snprintf(name, sizeof(name), "o/r%u", i);
                ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, name, name, i % 2, &r), 0);
        }
        ck_assert_int_eq(catalog_repo_put(cat, REPO_SPACE, "s", "s", true, &r), 0);
        r.id = 0;
        while (catalog_repo_next(cat, REPO_MODEL, r.id, &r) == 0) {
                ck_assert(r.resolved && r.type == REPO_MODEL);
                n++;
        }
        ck_assert_int_eq(n, 5);
        ck_assert_int_eq(catalog_repo_next(cat, REPO_DATASET, 0, &r), CATALOG_E_NONE);
}
END_TEST

START_TEST(orgs)
{
        char org[REPO_NAME_MAX + 1];
        enum repo_type type;
        int64_t a, b, c;

        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "o", &a), 0);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "o", &b), 0);
        ck_assert_int_eq(catalog_org_put(cat, REPO_DATASET, "o", &c), 0);
        ck_assert_int_eq(a, b);
        ck_assert_int_ne(a, c);
        ck_assert_int_eq(catalog_org_get(cat, c, &type, org), 0);
        ck_assert_int_eq(type, REPO_DATASET);
        ck_assert_str_eq(org, "o");
        ck_assert_int_eq(catalog_org_get(cat, 99, &type, org), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "o/r", &c), -EINVAL);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "..", &c), -EINVAL);
        check_invariants();
        make_repo("o/r"); /* after its org: the row is kept */
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "o", &b), 0);
        ck_assert_int_eq(a, b);
        make_repo("p/r"); /* before its org */
        make_repo("q-r");
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "p", &c), 0);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "q", &c), 0);
        check_invariants();
}
END_TEST

START_TEST(org_listing)
{
        static const char *const names[] = { "b/1", "a/1", "c", "b/2", "a-b/1", "b/x-unresolved" };
        char org[REPO_NAME_MAX + 1] = "";
        struct repo r;
        int64_t id = 0;

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, names[i], names[i],
                                                  !strstr(names[i], "unresolved"), &r),
                                 0);
        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "late/1", "late/1", false, &r), 0);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "asked", &id), 0);
        id = 0;
        for (const char *const *want = (const char *const[]){ "b", "a", "a-b", NULL }; *want; want++) {
                ck_assert_int_eq(catalog_org_next(cat, REPO_MODEL, id, &id, org), 0);
                ck_assert_str_eq(org, *want);
        }
        ck_assert_int_eq(catalog_org_next(cat, REPO_MODEL, id, &id, org), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_org_next(cat, REPO_SPACE, 0, &id, org), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "late/1", "late/1", true, &r), 0);
        ck_assert_int_eq(catalog_org_next(cat, REPO_MODEL, id, &id, org), 0);
        ck_assert_str_eq(org, "late");

        ck_assert_int_eq(catalog_repo_next_in_org(cat, REPO_MODEL, "b", 0, &r), 0);
        ck_assert_str_eq(r.name, "b/1");
        ck_assert_int_eq(catalog_repo_next_in_org(cat, REPO_MODEL, "b", r.id, &r), 0);
        ck_assert_str_eq(r.name, "b/2");
        ck_assert_int_eq(catalog_repo_next_in_org(cat, REPO_MODEL, "b", r.id, &r), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_repo_next_in_org(cat, REPO_DATASET, "b", 0, &r), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_repo_next_in_org(cat, REPO_MODEL, "c", 0, &r), CATALOG_E_NONE);
        check_invariants();
}
END_TEST

START_TEST(orgs_are_bounded)
{
        char org[REPO_NAME_MAX + 1];
        int64_t used, asked, first, id;
        enum repo_type type;

        make_repo("used/r");
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "used", &used), 0);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "first", &first), 0);
        raw_sql(test_path, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)"
                           " INSERT INTO org (type, name, used) SELECT 0, 'org' || i, 0 FROM n");
        ck_assert_int_eq(catalog_org_get(cat, first, &type, org), 0);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "one-more", &asked), 0);
        ck_assert_int_eq(catalog_org_get(cat, first, &type, org), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_org_get(cat, used, &type, org), 0);
        ck_assert_int_eq(catalog_org_get(cat, asked, &type, org), 0);
        ck_assert_int_eq(raw_number(test_path, "SELECT count(*) FROM org"), CATALOG_ORGS_UNUSED_MAX + 1);
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "first", &id), 0);
        ck_assert_int_gt(id, asked); /* C1 */
}
END_TEST

START_TEST(ref_values)
{
        struct repo repo = make_repo("o/r"), other = make_repo("o/s");
        struct commit one = put_files(repo.id, 1, true, NULL, 0), two = put_files(repo.id, 2, true, NULL, 0);
        struct ref a, b, c;

        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", 99, 5, &a), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_ref_set(cat, other.id, "main", one.id, 5, &a), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "a..b", one.id, 5, &a), -EINVAL);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 5, &a), 0);
        ck_assert_str_eq(a.sha, sha_of(1));
        ck_assert_int_eq(a.checked, 5);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 9, &b), 0);
        ck_assert_int_eq(b.id, a.id); /* F1: confirmed */
        ck_assert_int_eq(b.checked, 9);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 0, &b), 0);
        ck_assert_int_eq(b.checked, 9); /* what is adopted takes nothing from it */
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", two.id, 10, &b), 0);
        ck_assert_int_gt(b.id, a.id);
        ck_assert_int_eq(ref_above(repo.id, 0, &c), 0);
        ck_assert_int_eq(c.id, b.id); /* the other is gone */
        ck_assert_int_eq(ref_above(repo.id, b.id, &c), CATALOG_E_NONE);
        ck_assert_int_eq(ref_above(repo.id, b.id - 1, &c), 0);
        ck_assert_str_eq(c.sha, sha_of(2));
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 11, &c), 0);
        ck_assert_int_gt(c.id, b.id); /* back to the old value: still a new id */
        ck_assert_int_eq(catalog_ref_find(cat, other.id, "main", &c), CATALOG_E_NONE);
}
END_TEST

static bool changed(void)
{
        static int64_t last;
        int64_t before = last;

        last = catalog_changed_ns(cat);
        ck_assert_int_ge(last, before);
        return last > before;
}

/* What no listing shows, or what was so before, is no change. */
START_TEST(changes_have_a_date)
{
        struct repo repo;
        struct commit one, two;
        struct blob_row blob;
        struct ref ref;
        int64_t org;

        ck_assert_int_eq(catalog_changed_ns(cat), 0);
        repo = make_repo("o/r");
        ck_assert_int_gt(catalog_changed_ns(cat), (int64_t)1700000000 * 1000000000);
        ck_assert(changed());
        make_repo("o/r");
        ck_assert_int_eq(catalog_org_put(cat, REPO_MODEL, "nobody", &org), 0);
        ck_assert(!changed());
        ck_assert_int_eq(catalog_repos_put(cat, &(struct repo_name){ REPO_SPACE, "s", "s", true }, 1), 0);
        ck_assert(changed());
        ck_assert_int_eq(catalog_repo_set_scanned(cat, repo.id), 0);
        ck_assert(changed());
        one = put_files(repo.id, 1, true, &(struct listed_file){ "f", sha_of(9), 1 }, 1);
        ck_assert(changed());
        two = put_files(repo.id, 2, true, NULL, 0);
        ck_assert(changed());
        put_files(repo.id, 2, true, NULL, 0);
        ck_assert(!changed());
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 5, &ref), 0);
        ck_assert(changed());
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 9, &ref), 0);
        ck_assert(!changed());
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", two.id, 9, &ref), 0);
        ck_assert(changed());
        ck_assert_int_eq(catalog_ref_remove(cat, repo.id, "main"), 0);
        ck_assert(changed());
        ck_assert_int_eq(catalog_blob_find(cat, sha_of(9), 1, &blob), 0);
        ck_assert_int_eq(catalog_blob_renew(cat, blob.id, BLOB_FILLING, &blob), 0);
        ck_assert(changed());
        ck_assert_int_eq(catalog_blobs_adopt(cat, &blob.id, 1), 0);
        ck_assert(changed());
        ck_assert_int_eq(catalog_blob_set_state(cat, blob.id, BLOB_ADOPTED, &blob), 0);
        ck_assert(!changed());
        ck_assert_int_eq(catalog_blob_set_state(cat, blob.id, BLOB_COMPLETE, &blob), 0);
        ck_assert(changed());
}
END_TEST

/* C6: each renewal is an incarnation of what is filled. */
START_TEST(renewal)
{
        static const struct {
                enum blob_state from, to;
                uint32_t grows;
        } rows[] = {
                { BLOB_FILLING, BLOB_FILLING, 2 },     { BLOB_FILLING, BLOB_QUARANTINED, 2 },
                { BLOB_QUARANTINED, BLOB_FILLING, 2 }, { BLOB_ADOPTED, BLOB_FILLING, 1 },
                { BLOB_COMPLETE, BLOB_QUARANTINED, 1 },
        };
        struct blob_row blob, now;
        struct repo repo;

        ck_assert_int_eq(catalog_repo_put(cat, REPO_MODEL, "o/r", "o/r", true, &repo), 0);
        put_files(repo.id, 1, true, &(struct listed_file){ "f", sha_of(9), 1 }, 1);
        ck_assert_int_eq(catalog_blob_find(cat, sha_of(9), 1, &blob), 0);
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                ck_assert_int_eq(catalog_blob_set_state(cat, blob.id, rows[i].from, &blob), 0);
                ck_assert_int_eq(catalog_blob_renew(cat, blob.id, rows[i].to, &now), 0);
                ck_assert_int_eq(now.state, rows[i].to);
                ck_assert_uint_eq(now.incarnation, blob.incarnation + rows[i].grows);
                ck_assert_uint_eq(now.incarnation % 2, 0);
                ck_assert_int_eq(catalog_blob_get(cat, blob.id, &blob), 0);
                ck_assert_uint_eq(blob.incarnation, now.incarnation);
                ck_assert_int_eq(blob.state, rows[i].to);
        }
        ck_assert_int_eq(catalog_blob_renew(cat, blob.id, BLOB_COMPLETE, &now), -EINVAL);
        ck_assert_int_eq(catalog_blob_renew(cat, blob.id + 1, BLOB_FILLING, &now), CATALOG_E_NONE);
}
END_TEST

START_TEST(ref_folders)
{
        static const char *const names[] = { "main", "refs/pr/1", "refs/pr/2", "refs-x", "v/1.0" };
        static const char *const sorted[] = { "main", "refs-x", "refs/pr/1", "refs/pr/2", "v/1.0" };
        struct repo repo = make_repo("o/r");
        struct commit one = put_files(repo.id, 1, true, NULL, 0);
        struct ref_dir d, pr;
        struct ref r = { .name = "" };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                ck_assert_int_eq(catalog_ref_set(cat, repo.id, names[i], one.id, 1, &r), 0);
        r.name[0] = '\0';
        for (size_t i = 0; i < ARRAY_SIZE(sorted); i++) {
                ck_assert_int_eq(catalog_ref_next(cat, repo.id, r.name, &r), 0);
                ck_assert_str_eq(r.name, sorted[i]);
        }
        ck_assert_int_eq(catalog_ref_next(cat, repo.id, r.name, &r), CATALOG_E_NONE);
        r.id = 0;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) { /* by id: in the order in which they came */
                ck_assert_int_eq(ref_above(repo.id, r.id, &r), 0);
                ck_assert_str_eq(r.name, names[i]);
        }
        ck_assert_int_eq(ref_above(repo.id, r.id, &r), CATALOG_E_NONE);
        ck_assert_int_eq(ref_dir_above(repo.id, 0, &d), 0);
        ck_assert_str_eq(d.path, "refs");
        ck_assert_int_eq(ref_dir_above(repo.id, d.id, &d), 0);
        ck_assert_str_eq(d.path, "refs/pr");
        ck_assert_int_eq(ref_dir_above(repo.id, d.id, &d), 0);
        ck_assert_str_eq(d.path, "v");
        ck_assert_int_eq(ref_dir_above(repo.id, d.id, &d), CATALOG_E_NONE);

        ck_assert_int_eq(catalog_ref_dir_find(cat, repo.id, "refs", &d), 0);
        ck_assert_int_eq(catalog_ref_dir_find(cat, repo.id, "refs/pr", &pr), 0);
        ck_assert_int_eq(catalog_ref_dir_get(cat, pr.id, &d), 0);
        ck_assert_str_eq(d.path, "refs/pr");
        ck_assert_int_eq(d.repo, repo.id);
        ck_assert_int_eq(catalog_ref_dir_find(cat, repo.id, "main", &d), CATALOG_E_NONE);

        ck_assert_int_eq(catalog_ref_remove(cat, repo.id, "refs/pr/1"), 0);
        ck_assert_int_eq(catalog_ref_dir_get(cat, pr.id, &d), 0);
        ck_assert_int_eq(catalog_ref_remove(cat, repo.id, "refs/pr/2"), 0);
        ck_assert_int_eq(catalog_ref_remove(cat, repo.id, "refs/pr/2"), 0);
        ck_assert_int_eq(catalog_ref_dir_get(cat, pr.id, &d), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_ref_dir_find(cat, repo.id, "refs", &d), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_ref_dir_find(cat, repo.id, "v", &d), 0);
        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "refs/pr/1", one.id, 1, &r), 0);
        ck_assert_int_eq(catalog_ref_dir_find(cat, repo.id, "refs/pr", &d), 0);
        ck_assert_int_gt(d.id, pr.id);
        check_invariants();
}
END_TEST

START_TEST(same_ref_for_same_sha_after_reopen)
{
        struct repo repo = make_repo("o/r");
        struct commit one = put_files(repo.id, 1, true, NULL, 0);
        struct ref a, b;

        ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", one.id, 5, &a), 0);
        reopen();
        ck_assert_int_eq(ref_above(repo.id, a.id - 1, &b), 0);
        ck_assert_int_eq(b.id, a.id);
        ck_assert_str_eq(b.name, "main");
        ck_assert_int_eq(b.commit, one.id);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = { repo_rows,   repo_listing,
                                       repos_that_were_found,
                                       orgs,        orgs_are_bounded,
                                       org_listing, ref_values,
                                       changes_have_a_date,
                                       renewal, ref_folders, same_ref_for_same_sha_after_reopen };

        return run_cases("catalog-repo", tests, ARRAY_SIZE(tests), cat_setup);
}
