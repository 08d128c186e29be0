/*
 * Tests of index/catalog_vfs.c: whatever becomes of the file, what is read from it is what was written, or an
 * error. CATALOG_FLIPS: how many bits are flipped, one after the other (400); CATALOG_SEED repeats them.
 */
#include "test-catalog.h"

#include "base/util.h"
#include "index/index.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>

static char *file;
static size_t file_len;
static char *right;

static void put(const char *bytes, size_t len)
{
        int fd = open(test_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(pwrite_all(fd, bytes, len, 0), 0);
        close(fd);
}

static void remove_beside(void)
{
        static const char *const suffixes[] = { "-wal", "-shm", "-journal", CATALOG_MARK };
        char path[160];

        for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
                snprintf(path, sizeof(path), "%s%s", test_path, suffixes[i]);
                unlink(path);
        }
}

static bool is_marked(void)
{
        char path[160];

        snprintf(path, sizeof(path), "%s" CATALOG_MARK, test_path);
        return access(path, F_OK) == 0;
}

/* All that a reader of the mount could come to see. 0 or negative errno. */
static int dump_commit(FILE *f, int64_t repo)
{
        struct commit commit = {};
        struct entry e;
        struct ref ref = {};
        int r;

        while ((r = catalog_commit_next(cat, repo, commit.id, &commit)) == 0) {
                fprintf(f, "commit %s %" PRIi64 " %u %d\n", commit.sha, commit.mtime, commit.nodes,
                        commit.whole_listing);
                e.pos = 0;
                while ((r = catalog_entry_walk(cat, commit.id, e.pos, &e)) == 0)
                        fprintf(f, "%u %u %s %s %" PRIu64 " %d\n", e.pos, e.parent, e.path,
                                e.is_dir ? "" : e.etag, e.is_dir ? 0 : e.size, e.is_dir ? 0 : (int)e.state);
                if (r < 0)
                        return r;
        }
        while (r > 0 && (r = catalog_ref_next(cat, repo, ref.name, &ref)) == 0)
                fprintf(f, "ref %s %s\n", ref.name, ref.sha);
        return r < 0 ? r : 0;
}

static int dump(char **ret)
{
        struct repo repo = {};
        size_t len;
        FILE *f = open_memstream(ret, &len);
        int r;

        while ((r = catalog_repo_next(cat, REPO_MODEL, repo.id, &repo)) == 0) {
                fprintf(f, "repo %s %s\n", repo.name, repo.hub_name);
                r = dump_commit(f, repo.id);
                if (r < 0)
                        break;
        }
        fclose(f);
        return r < 0 ? r : 0;
}

static void setup(void)
{
        static struct listed_file files[300];
        static char paths[300][32];
        struct commit commit;
        struct blob_row blob;
        struct ref ref;
        struct repo repo;

        cat_setup();
        for (unsigned n = 1; n <= 3; n++) {
                char name[8];

                snprintf(name, sizeof(name), "o/r%u", n);
                repo = make_repo(name);
                for (unsigned i = 0; i < 300; i++) {
                        snprintf(paths[i], sizeof(paths[i]), "folder-%u/file-%u", i % 7, i);
                        files[i] = (struct listed_file){ paths[i], sha_of(i * n), i };
                }
                commit = put_files(repo.id, n, true, files, 300);
                ck_assert_int_eq(catalog_ref_set(cat, repo.id, "main", commit.id, 1, &ref), 0);
        }
        for (int64_t id = 1; id < 100; id += 3)
                ck_assert_int_eq(catalog_blob_set_state(cat, id, BLOB_COMPLETE, &blob), 0);
        ck_assert_int_eq(dump(&right), 0);
        cat = catalog_close(cat);
        ck_assert_int_eq(read_file_at(AT_FDCWD, test_path, 64 << 20, &file, &file_len), 0);
}

/* The file is opened and read: it is damaged, or all is right. Says which. */
static bool is_noticed(const char *what, size_t at)
{
        struct errmsg err = {};
        char *seen = NULL;
        int r;

        remove_beside();
        r = catalog_open(test_path, &cat, &err);
        if (r == 0) {
                r = dump(&seen);
                ck_assert_msg(r != 0 || strcmp(seen, right) == 0, "%s at %zu: something else is read", what, at);
                ck_assert_msg(r == 0 || is_marked(), "%s at %zu: %d, and not marked", what, at, r);
                remove_beside();
        }
        ck_assert_msg(r == 0 || r == -EUCLEAN, "%s at %zu: %d %s", what, at, r, err.text);
        free(seen);
        cat = catalog_close(cat);
        return r != 0;
}

START_TEST(flipped_bits)
{
        const char *flips = getenv("CATALOG_FLIPS"), *given = getenv("CATALOG_SEED");
        unsigned count = flips ? (unsigned)atoi(flips) : 400, noticed = 0;
        unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : 1; /* the same in each run */

        printf("CATALOG_SEED=%u\n", seed);
        srand(seed);
        for (unsigned i = 0; i < count; i++) {
                size_t at = (size_t)rand() % (i % 4 == 0 ? 100 : file_len); /* the header often */
                char bit = (char)(1 << rand() % 8);

                file[at] ^= bit;
                put(file, file_len);
                noticed += is_noticed("a bit flipped", at);
                file[at] ^= bit;
        }
        printf("%u of %u flips were noticed\n", noticed, count);
        ck_assert_uint_gt(noticed, count / 4); /* many are in pages that nobody reads here */
        put(file, file_len);
        ck_assert(!is_noticed("nothing", 0));
}
END_TEST

START_TEST(cut_short)
{
        for (size_t page = 0; page * 4096 < file_len; page++) {
                static const int around[] = { -1, 0, 1, 100, 512 };

                for (size_t i = 0; i < ARRAY_SIZE(around); i++) {
                        size_t len = page * 4096 + (size_t)around[i];

                        if ((page == 0 && around[i] <= 0) || len >= file_len)
                                continue; /* an empty one is new */
                        put(file, len);
                        ck_assert_msg(is_noticed("cut", len), "cut to %zu", len);
                }
        }
}
END_TEST

/* What happens to the file while the catalogue is open. */
static void check_under(void (*damage)(size_t at), size_t at)
{
        struct errmsg err = {};
        char *seen = NULL;
        int r;

        remove_beside();
        put(file, file_len);
        ck_assert_int_eq(catalog_open(test_path, &cat, &err), 0);
        damage(at);
        r = dump(&seen);
        ck_assert_msg(r != 0 || strcmp(seen, right) == 0, "at %zu: something else is read", at);
        free(seen);
        cat = catalog_close(cat);
}

static void cut(size_t at)
{
        ck_assert_int_eq(truncate(test_path, (off_t)at), 0);
}

/* SQLite takes what is behind the end for zeros. */
START_TEST(cut_while_open)
{
        for (size_t at = 4096; at < file_len; at += 4096) {
                check_under(cut, at + 4070);
                check_under(cut, at + 4086);
        }
}
END_TEST

/* The header says that pages have checksums, and is itself in one of these pages. */
static void take_seal_away(size_t at)
{
        int fd = open(test_path, O_RDWR);
        char byte = 0;

        ck_assert_int_eq(pwrite_all(fd, &byte, 1, 20), 0);
        byte = (char)(file[at] ^ 1);
        ck_assert_int_eq(pwrite_all(fd, &byte, 1, at), 0);
        close(fd);
}

START_TEST(seal_taken_away)
{
        for (size_t at = 4096; at < file_len; at += 4096)
                check_under(take_seal_away, at + 3500);
}
END_TEST

/* Pages that are good, each for itself, in each other's places. */
static void swap_pages(size_t a, size_t b)
{
        char page[4096];

        memcpy(page, file + a * 4096, 4096);
        memcpy(file + a * 4096, file + b * 4096, 4096);
        memcpy(file + b * 4096, page, 4096);
}

START_TEST(swapped_pages)
{
        size_t pages = file_len / 4096, swapped = 0, noticed = 0; /* some are never read here */

        for (size_t a = 1; a + 1 < pages; a += 3) {
                swap_pages(a, a + 1);
                put(file, file_len);
                noticed += is_noticed("swapped", a);
                swapped++;
                swap_pages(a, a + 1);
        }
        ck_assert_uint_gt(noticed, swapped / 2);
}
END_TEST

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

/* What was met in use is mended by the next start: index_open() makes a new one, with another epoch. */
START_TEST(made_anew_by_the_next_start)
{
        char store[160], state[96];
        struct index_options o = { .store = store, .state = state };
        struct errmsg err = {};
        struct index ix;
        char *seen = NULL;
        uint64_t epoch;

        strcpy(state, test_dir);
        snprintf(store, sizeof(store), "%s/store", test_dir);
        ck_assert_int_eq(index_open(&o, &ix, &err), 0);
        epoch = catalog_epoch(ix.catalog);
        index_close(&ix);
        memset(file + file_len / 4096 / 2 * 4096 + 100, 0x55, 4096 * 3);
        put(file, file_len);
        ck_assert_int_eq(index_open(&o, &ix, &err), 0);
        ck_assert(!ix.rebuilt); /* a clean end: not looked through */
        cat = ix.catalog;
        ck_assert_int_eq(dump(&seen), -EUCLEAN);
        cat = NULL;
        ck_assert(is_marked());
        index_close(&ix);
        ck_assert_int_eq(index_open(&o, &ix, &err), 0);
        ck_assert(ix.rebuilt);
        ck_assert(!is_marked());
        ck_assert_uint_ne(catalog_epoch(ix.catalog), epoch);
        index_close(&ix);
        ck_assert_int_eq(index_open(&o, &ix, &err), 0);
        ck_assert(!ix.rebuilt);
        index_close(&ix);
        free(seen);
        nftw(test_dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}
END_TEST

int main(void)
{
        const TTest *const tests[] = { flipped_bits,  cut_short,     cut_while_open, seal_taken_away,
                                        swapped_pages, made_anew_by_the_next_start };

        return run_cases("catalog_vfs", tests, ARRAY_SIZE(tests), setup);
}
