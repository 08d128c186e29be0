/*
 * Faults below index/: adoption, listings, filling, finishing, wrong hashes, refs, opening again.
 *
 * What holds whatever fails
 *   F1  No file with a final name has another hash, and no range counts as held with other bytes.
 *   F2  What was answered with 0 is there when all is opened again.
 *   F3  A failure of the machine never costs the catalogue: it is not moved aside.
 *   F4  Once nothing fails, all succeeds, and no temporary file is left (but where removing it failed).
 */
#include "faults/sweep.h"

#include "index/index.h"
#include "index/tree_json.h"

#include "base/util.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHA_A "1111111111111111111111111111111111111111"
#define SHA_B "2222222222222222222222222222222222222222"
#define SHA_C "3333333333333333333333333333333333333333"
#define ADOPTED "store/hub/models--c--three"
#define PIECE 65536u

enum { LARGE, SMALL, EMPTY, WRONG, KEPT, SPOILT, FILES };

static struct file {
        const char *path;
        uint64_t size;
        char etag[ETAG_MAX + 1];
        unsigned char *data;
        /* what was promised */
        bool known, finished;
        uint64_t synced; /* this much from the beginning */
} files[FILES] = {
        [LARGE] = { .path = "dir/model.bin", .size = 200000 },
        [SMALL] = { .path = "small.txt", .size = 6 },
        [EMPTY] = { .path = "empty", .size = 0 },
        [WRONG] = { .path = "wrong.bin", .size = 70000 },
        [KEPT] = { .path = "kept.bin", .size = 5000 },
        [SPOILT] = { .path = "spoilt.bin", .size = 4000 },
};
static bool has_catalogue, ref_set, ref_gone, repo_known;

static void make_file(struct file *f, unsigned seed)
{
        unsigned char md[EVP_MAX_MD_SIZE], header[32];
        EVP_MD_CTX *c = EVP_MD_CTX_new();
        unsigned len;
        int n = snprintf((char *)header, sizeof(header), "blob %llu", (unsigned long long)f->size);
        bool git = f->size < 10;

        f->data = calloc(1, f->size + 1);
        for (uint64_t i = 0; i < f->size; i++)
                f->data[i] = (unsigned char)(i * 31 + (i >> 8) * 7 + seed);
        EVP_DigestInit_ex(c, git ? EVP_sha1() : EVP_sha256(), NULL);
        if (git)
                EVP_DigestUpdate(c, header, (size_t)n + 1);
        EVP_DigestUpdate(c, f->data, f->size);
        EVP_DigestFinal_ex(c, md, &len);
        EVP_MD_CTX_free(c);
        hex_encode(md, len, f->etag);
}

static void prepare(void)
{
        char text[1024];

        for (unsigned i = 0; i < FILES; i++)
                make_file(&files[i], i);
        sweep_put(sweep_at(ADOPTED "/blobs/%s", files[KEPT].etag), files[KEPT].data, files[KEPT].size);
        files[SPOILT].data[77] ^= 1;
        sweep_put(sweep_at(ADOPTED "/blobs/%s", files[SPOILT].etag), files[SPOILT].data, files[SPOILT].size);
        files[SPOILT].data[77] ^= 1;
        snprintf(text, sizeof(text),
                 "{\"format_version\":1,\"files\":{\"kept.bin\":{\"size\":5000,\"blob_id\":\"" SHA_A
                 "\",\"lfs_sha256\":\"%s\",\"lfs_size\":5000},\"spoilt.bin\":{\"size\":4000,\"blob_id\":\"" SHA_B
                 "\",\"lfs_sha256\":\"%s\",\"lfs_size\":4000}}}",
                 files[KEPT].etag, files[SPOILT].etag);
        sweep_put(sweep_at(ADOPTED "/trees/" SHA_C ".json"), text, strlen(text));
        sweep_put(sweep_at(ADOPTED "/refs/main"), SHA_C, 40);
        sweep_put(sweep_at("store/hub/models--d--four/snapshots/" SHA_C "/odd"), "x", 1);
}

/* ---- what is done ---- */

static bool strict;

/* Whether a step succeeded; where nothing fails it must. */
static bool done(int r, const char *what)
{
        if (strict && r != 0)
                sweep_fail(__FILE__, __LINE__, "%s: %d", what, r);
        if (r == -EUCLEAN || r == -EBADMSG)
                sweep_fail(__FILE__, __LINE__, "%s takes a failure for damage: %d", what, r);
        return r == 0;
}
#define DONE(call) done(call, #call)

static int open_index(struct index *ix)
{
        struct index_options o = { .store = sweep_at("store"), .state = sweep_at("state") };
        struct errmsg err = {};

        return index_open(&o, ix, &err);
}

static int write_tree(const void *arg, FILE *to)
{
        return tree_write(arg, to);
}

static void put_listing(struct index *ix, const struct repo *repo, const char *sha, unsigned count)
{
        struct tree tree = {};
        struct commit commit;
        struct ref ref;
        bool ok = true;

        for (unsigned i = 0; i < count && ok; i++) {
                struct tree_file f = { .path = files[i].path, .size = files[i].size };
                bool lfs = strlen(files[i].etag) == SHA256_HEX;

                strcpy(f.oid, lfs ? SHA_B : files[i].etag);
                if (lfs)
                        strcpy(f.sha256, files[i].etag);
                ok = DONE(tree_add(&tree, &f));
        }
        ok = ok && DONE(tree_check(&tree)) &&
             DONE(store_tree_put(ix->store, repo->type, repo->hub_name, sha, write_tree, &tree)) &&
             DONE(catalog_commit_put(ix->catalog, repo->id, sha, 1700000000, true, tree.files, tree.count, &commit));
        if (ok)
                for (unsigned i = 0; i < count; i++)
                        files[i].known = true;
        if (ok && DONE(catalog_ref_set(ix->catalog, repo->id, "refs/pr/1", commit.id, 1700000000, &ref)) &&
            DONE(catalog_ref_set(ix->catalog, repo->id, "main", commit.id, 1700000000, &ref)) &&
            repo->type == REPO_MODEL)
                ref_set = true;
        if (ok)
                DONE(store_ref_put(ix->store, repo->type, repo->hub_name, "main", sha));
        tree_done(&tree);
}

static void know(struct index *ix)
{
        const struct repo_name many[] = { { REPO_SPACE, "e/five", "e/five", true }, { REPO_SPACE, "e/six", "e/six", true } };
        struct repo one, two;
        int64_t org;

        if (DONE(catalog_repo_put(ix->catalog, REPO_MODEL, "a/one", "a/one", true, &one))) {
                repo_known = true;
                put_listing(ix, &one, SHA_A, 4);
        }
        if (DONE(catalog_repo_put(ix->catalog, REPO_DATASET, "b/two", "b/deux", true, &two))) {
                put_listing(ix, &two, SHA_B, 1);
                DONE(store_alias_put(ix->store, REPO_DATASET, "b/two", "b/deux"));
        }
        DONE(catalog_repos_put(ix->catalog, many, 2));
        DONE(catalog_org_put(ix->catalog, REPO_MODEL, "a", &org));
}

static bool get_blob(struct index *ix, const struct file *f, struct blob **ret)
{
        struct blob_row row;

        return DONE(catalog_blob_find(ix->catalog, f->etag, f->size, &row)) && DONE(blobs_get(ix->blobs, row.id, ret));
}

/* Writes what is not held of [0, end). */
static bool fill(struct blob *b, const unsigned char *data, uint64_t end)
{
        struct range hole;

        while (blob_next_hole(b, 0, end, &hole)) {
                uint64_t n = min_u64(hole.end - hole.start, PIECE);

                if (!DONE(blob_write(b, data + hole.start, n, hole.start)))
                        return false;
        }
        return true;
}

static void check_bytes(struct blob *b, const struct file *f)
{
        unsigned char *buf = malloc(f->size + 1);

        for (uint64_t at = 0, end; buf && at < f->size; at = end + 1) {
                end = blob_run_end(b, at);
                if (end == at)
                        continue;
                if (blob_read(b, buf, end - at, at) == (ssize_t)(end - at) && memcmp(buf, f->data + at, end - at) != 0)
                        sweep_fail(__FILE__, __LINE__, "%s: wrong bytes in [%llu, %llu)", f->path,
                                   (unsigned long long)at, (unsigned long long)end);
        }
        free(buf);
}

static void bring(struct index *ix, struct file *f, uint64_t end)
{
        struct blob *b = NULL;

        if (!get_blob(ix, f, &b))
                return;
        if (!blob_state_whole(blob_state(b)) && fill(b, f->data, end)) {
                if (DONE(blob_sync(b)))
                        f->synced = end;
                DONE(blob_hash_ahead(b, UINT64_MAX, NULL));
        }
        check_bytes(b, f);
        if (end == f->size && DONE(blob_finish(b, NULL)))
                f->finished = true;
        if (f->finished)
                DONE(blob_link_places(b, NULL));
        blob_unref(b);
}

/* Wrong twice: dropped, then quarantined. */
static void bring_wrong(struct index *ix, const struct file *f)
{
        unsigned char *zeros = calloc(1, f->size);
        struct blob *b = NULL;
        int r;

        if (zeros && get_blob(ix, f, &b) && !blob_state_whole(blob_state(b))) {
                DONE(blob_readmit(b));
                for (unsigned i = 0; i < 2 && fill(b, zeros, f->size); i++) {
                        r = blob_finish(b, NULL);
                        if (strict && r != BLOB_E_HASH)
                                sweep_fail(__FILE__, __LINE__, "a wrong blob: %d", r);
                        SWEEP_ASSERT(r != 0);
                        if (i == 0 ? !DONE(blob_drop(b, 0, UINT64_MAX)) : r == BLOB_E_HASH && !DONE(blob_quarantine(b)))
                                break;
                }
                DONE(blob_drop(b, 0, UINT64_MAX)); /* check() expects right bytes of what is held */
        }
        blob_unref(b);
        free(zeros);
}

static void adopt(struct index *ix)
{
        struct blob *b = NULL;
        struct repo repo;
        bool found;
        int r;

        DONE(adopt_names(ix->catalog, ix->store));
        if (!DONE(catalog_repo_put(ix->catalog, REPO_MODEL, "c/three", "c/three", false, &repo)) ||
            !DONE(adopt_repo(ix->catalog, ix->store, repo.id, &found)))
                return;
        if (strict)
                SWEEP_ASSERT(found);
        if (get_blob(ix, &files[KEPT], &b) && DONE(blob_verify_adopted(b, NULL)))
                files[KEPT].finished = true;
        b = blob_unref(b);
        if (!get_blob(ix, &files[SPOILT], &b))
                return;
        r = blob_verify_adopted(b, NULL);
        SWEEP_ASSERT(r != 0);
        blob_unref(b);
}

/* What listings and lookups ask. */
static void look(struct index *ix)
{
        struct catalog_rows *rows = NULL;
        struct repo_totals totals;
        struct blob_row *begun = NULL;
        struct commit commit;
        struct entry entry;
        struct repo repo;
        size_t count;
        bool usable;

        if (!DONE(catalog_repo_find(ix->catalog, REPO_MODEL, "a/one", &repo)))
                return;
        DONE(catalog_repo_totals(ix->catalog, repo.id, &totals));
        if (!DONE(catalog_commit_find(ix->catalog, repo.id, SHA_A, &commit)))
                return;
        DONE(catalog_commit_usable_offline(ix->catalog, commit.id, &usable));
        DONE(catalog_entry_lookup(ix->catalog, commit.id, 0, "dir", &entry));
        if (DONE(catalog_entries(ix->catalog, commit.id, 0, 0, &rows)))
                while (catalog_rows_next(rows, &entry) == 0)
                        ;
        catalog_rows_free(rows);
        if (DONE(blobs_begun(ix->blobs, &begun, &count)))
                free(begun);
}

static void drop_ref(struct index *ix)
{
        struct repo repo;

        if (DONE(catalog_repo_find(ix->catalog, REPO_MODEL, "a/one", &repo)) &&
            DONE(catalog_ref_remove(ix->catalog, repo.id, "refs/pr/1")))
                ref_gone = true;
        DONE(store_ref_remove(ix->store, REPO_MODEL, "a/one", "refs/pr/1"));
}

static void act(bool faultless)
{
        struct index ix = { .lock_fd = -1 };

        strict = faultless;
        ref_gone = false;
        if (DONE(open_index(&ix))) {
                has_catalogue = true;
                adopt(&ix);
                know(&ix);
                bring(&ix, &files[LARGE], files[LARGE].size / 2);
                index_close(&ix);
        }
        ix = (struct index){ .lock_fd = -1 };
        if (!DONE(open_index(&ix)))
                return;
        for (unsigned i = LARGE; i <= EMPTY; i++)
                bring(&ix, &files[i], files[i].size);
        bring_wrong(&ix, &files[WRONG]);
        look(&ix);
        drop_ref(&ix);
        index_close(&ix);
}

/* ---- what must hold ---- */

static int find_odd(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st, (void)type;
        if (strstr(path + ftw->base, ".damaged-")) /* F3 */
                sweep_fail(__FILE__, __LINE__, "%s: the catalogue was moved aside", path);
        if (strict && shim_fired() <= 1 && strncmp(path + ftw->base, ".weightfs-", 10) == 0)
                sweep_fail(__FILE__, __LINE__, "%s was left", path);
        return 0;
}

static void check_promises(struct index *ix, struct file *f)
{
        struct blob *b = NULL;
        struct blob_row row;
        int r = catalog_blob_find(ix->catalog, f->etag, f->size, &row);

        if (r != 0) {
                SWEEP_ASSERT(!f->known && !f->finished && !strict);
                return;
        }
        SWEEP_OK(blobs_get(ix->blobs, row.id, &b));
        check_bytes(b, f); /* F1 */
        if (f->finished && !blob_state_whole(blob_state(b)))
                sweep_fail(__FILE__, __LINE__, "%s was finished, and is not whole", f->path);
        if (!blob_holds(b, 0, f->synced))
                sweep_fail(__FILE__, __LINE__, "%s was synced up to %llu", f->path, (unsigned long long)f->synced);
        blob_unref(b);
}

static void check(void)
{
        struct index ix = { .lock_fd = -1 };
        bool had = has_catalogue;
        struct repo repo;
        struct ref ref;

        SWEEP_OK(open_index(&ix));
        SWEEP_ASSERT(!had || !ix.rebuilt); /* F3 */
        for (unsigned i = 0; i < FILES; i++)
                if (i != WRONG && i != SPOILT)
                        check_promises(&ix, &files[i]); /* F2 */
        if (repo_known)
                SWEEP_OK(catalog_repo_find(ix.catalog, REPO_MODEL, "a/one", &repo));
        if (ref_set) {
                SWEEP_OK(catalog_ref_find(ix.catalog, repo.id, "main", &ref));
                SWEEP_ASSERT(strcmp(ref.sha, SHA_A) == 0);
        }
        if (ref_gone)
                SWEEP_ASSERT(catalog_ref_find(ix.catalog, repo.id, "refs/pr/1", &ref) == CATALOG_E_NONE);
        index_close(&ix);
        sweep_check_hashes(sweep_at("store/hub"), strict ? "" : files[SPOILT].etag); /* F1 */
        nftw(sweep_at("."), find_odd, 32, FTW_PHYS);
}

int main(int argc, char **argv)
{
        static const enum shim_kind kinds[] = { SHIM_MEMORY, SHIM_FILE, SHIM_SPACE, SHIM_EINTR, SHIM_SHORT,
                                                SHIM_SQLITE_MEMORY, SHIM_SQLITE_FILE, SHIM_SQLITE_FULL };
        static const struct scenario s = { .name = "index", .prepare = prepare, .act = act, .check = check,
                                           .kinds = kinds, .kinds_count = ARRAY_SIZE(kinds), .seconds = 600 };

        return sweep_main(&s, argc, argv);
}
