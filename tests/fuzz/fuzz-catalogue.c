/*
 * A catalogue with wrong bytes: a good one is made, then each 8 bytes of the input put 5 of them at an
 * offset that the first 3 choose. Where its first bit is set, the seals of the pages are made to fit, so that
 * what lies behind them is reached. Whatever opens is read through.
 */
#include "index/catalog.h"

#include "base/util.h"

#include "scratch.h"

#include <sqlite3.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PATCH 8
#define PAGE 4096
#define WALK_MAX 200 /* a loop among wrong rows must end all the same, but not here */

static char *good;
static size_t good_len;

static void fill(struct catalog *c)
{
        const struct listed_file files[] = {
                { "a/b/model.bin", "a6bf1ec52dc91af5432d4b5a2ccfc3e618a0473427c404d0b2d1a5f40b2e5cbf", 4096 },
                { "a/config.json", "9e26dfeeb6e641a33dae4961196235bdb965b21b", 2 },
        };
        struct commit commit;
        struct blob_row row;
        struct repo repo;
        struct ref ref;
        int64_t org;

        assert(catalog_repo_put(c, REPO_MODEL, "a/one", "a/two", true, &repo) == 0);
        assert(catalog_commit_put(c, repo.id, "1111111111111111111111111111111111111111", 1, true, files, 2, &commit) == 0);
        assert(catalog_ref_set(c, repo.id, "refs/pr/1", commit.id, 1, &ref) == 0);
        assert(catalog_org_put(c, REPO_MODEL, "a", &org) == 0);
        assert(catalog_blob_find(c, files[1].etag, 2, &row) == 0);
        assert(catalog_blob_set_state(c, row.id, BLOB_COMPLETE, &row) == 0);
}

static void begin(void)
{
        struct errmsg err = {};
        struct catalog *c;
        struct stat st;
        FILE *f;

        scratch_begin();
        assert(catalog_open(scratch_at("catalogue.sqlite"), &c, &err) == 0);
        fill(c);
        catalog_close(c);
        f = fopen(scratch_at("catalogue.sqlite"), "r");
        assert(f && fstat(fileno(f), &st) == 0);
        good_len = (size_t)st.st_size;
        good = malloc(good_len);
        assert(good && fread(good, 1, good_len, f) == good_len);
        fclose(f);
}

static void read_commit(struct catalog *c, const struct commit *commit)
{
        struct catalog_rows *rows = NULL;
        struct commit place_commit;
        struct entry e = {}, place;
        struct blob_row row;
        struct repo repo;
        bool usable;

        catalog_commit_usable_offline(c, commit->id, &usable);
        catalog_entry_lookup(c, commit->id, 0, "a", &e);
        if (catalog_entries(c, commit->id, 0, 0, &rows) == 0)
                for (unsigned i = 0; i < WALK_MAX && catalog_rows_next(rows, &e) == 0; i++)
                        ;
        catalog_rows_free(rows);
        e.pos = 0;
        for (unsigned i = 0; i < WALK_MAX && catalog_entry_walk(c, commit->id, e.pos, &e) == 0; i++) {
                if (e.is_dir || catalog_blob_get(c, e.blob, &row) != 0)
                        continue;
                assert(etag_valid(row.etag) || strlen(row.etag) <= ETAG_MAX);
                catalog_blob_place_next(c, e.blob, 0, 0, &repo, &place_commit, &place);
        }
}

static void read_all(struct catalog *c)
{
        struct repo_totals totals;
        struct commit commit;
        struct ref ref = {};
        struct repo repo = { .id = 0 };

        for (unsigned i = 0; i < WALK_MAX && catalog_repo_next(c, REPO_MODEL, repo.id, &repo) == 0; i++) {
                assert(strlen(repo.name) <= REPO_NAME_MAX && strlen(repo.hub_name) <= REPO_NAME_MAX);
                catalog_repo_totals(c, repo.id, &totals);
                commit.id = 0;
                for (unsigned k = 0; k < WALK_MAX && catalog_commit_next(c, repo.id, commit.id, &commit) == 0; k++)
                        read_commit(c, &commit);
                ref.name[0] = '\0';
                for (unsigned k = 0; k < WALK_MAX && catalog_ref_next(c, repo.id, ref.name, &ref) == 0; k++)
                        ;
        }
}

static void change(struct catalog *c)
{
        const struct listed_file file = { "x", "9e26dfeeb6e641a33dae4961196235bdb965b21b", 2 };
        struct commit commit;
        struct repo repo;
        struct ref ref;

        if (catalog_repo_put(c, REPO_MODEL, "b/new", "b/new", true, &repo) == 0 &&
            catalog_commit_put(c, repo.id, "2222222222222222222222222222222222222222", 1, true, &file, 1, &commit) == 0)
                catalog_ref_set(c, repo.id, "main", commit.id, 1, &ref);
}

/* The format of index/catalog_vfs.c, written independently of it. */
static void make_fit(char *bytes, size_t len)
{
        for (size_t at = 0; at + PAGE <= len; at += PAGE) {
                uint64_t a = at ^ 0x9e3779b97f4a7c15u, b = 1, word;

                for (size_t i = 0; i + 8 < PAGE; i += 8) {
                        memcpy(&word, bytes + at + i, 8);
                        a += word;
                        b += a;
                }
                word = a ^ (b << 32 | b >> 32);
                memcpy(bytes + at + PAGE - 8, &word, 8);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct errmsg err = {};
        struct catalog *c = NULL;
        char *bytes;
        int r;

        if (!good)
                begin();
        bytes = malloc(good_len);
        if (!bytes)
                return 0;
        memcpy(bytes, good, good_len);
        for (size_t at = 0; at + PATCH <= size; at += PATCH)
                memcpy(bytes + (data[at] | (size_t)data[at + 1] << 8 | (size_t)data[at + 2] << 16) % (good_len - 5),
                       data + at + 3, 5);
        if (size > 0 && data[0] & 1)
                make_fit(bytes, good_len);
        scratch_put(scratch_at("catalogue.sqlite"), bytes, good_len);
        free(bytes);
        unlink(scratch_at("catalogue.sqlite-wal"));
        unlink(scratch_at("catalogue.sqlite-shm"));
        unlink(scratch_at("catalogue.sqlite.damaged")); /* or nothing is opened any more */
        r = catalog_open(scratch_at("catalogue.sqlite"), &c, &err);
        assert(r == 0 || err.text[0] != '\0');
        if (r == 0) {
                read_all(c);
                change(c);
                catalog_close(c);
        }
        return 0;
}
