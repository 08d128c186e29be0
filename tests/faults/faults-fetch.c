/*
 * Faults below fetch/: a repo, its listing and its files come from a hub that is all right, while what
 * weightfs calls on its own side fails.
 *
 * What holds whatever fails
 *   G1  Every question is answered, in time; fetch_free() ends.
 *   G2  A failure of the machine is never "absent", nor takes bytes for wrong.
 *   G3  What counts as held has the right bytes; what was answered with 0 is there when all is opened again.
 *   G4  Once nothing fails, all succeeds.
 */
#include "faults/small_hub.h"
#include "faults/sweep.h"

#include "fetch/fetch.h"

#include "base/util.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define FILES 3

static struct small_file files[FILES] = {
        { .path = "model.safetensors", .size = 700001 },
        { .path = "config.json", .size = 700 },
        { .path = "sub/tokenizer.json", .size = 100000 },
};
static char endpoint[64];
static bool strict, finished[FILES], listed;

static void make_files(void)
{
        for (unsigned i = 0; i < FILES; i++) {
                unsigned char md[EVP_MAX_MD_SIZE];
                unsigned len;

                files[i].data = malloc(files[i].size);
                for (uint64_t at = 0; at < files[i].size; at++)
                        files[i].data[at] = (unsigned char)(at * 31 + (at >> 8) * 7 + i);
                EVP_Digest(files[i].data, files[i].size, md, &len, EVP_sha256(), NULL);
                hex_encode(md, len, files[i].sha256);
        }
}

static void prepare(void)
{
}

/* ---- questions ---- */

struct question {
        pthread_mutex_t lock;
        pthread_cond_t answered;
        bool is_answered;
        int result;
        struct fetch_wait *wait;
};

#define QUESTION { .lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER }

static void on_answer(void *arg, int result)
{
        struct question *q = arg;

        pthread_mutex_lock(&q->lock);
        SWEEP_ASSERT(!q->is_answered);
        q->is_answered = true;
        q->result = result;
        pthread_cond_signal(&q->answered);
        pthread_mutex_unlock(&q->lock);
}

static bool answered(struct question *q, int r, const char *what)
{
        if (r == FETCH_PENDING) {
                pthread_mutex_lock(&q->lock);
                while (!q->is_answered)
                        pthread_cond_wait(&q->answered, &q->lock);
                r = q->result;
                pthread_mutex_unlock(&q->lock);
                fetch_wait_unref(q->wait);
        }
        if (r == FETCH_E_ABSENT || r == FETCH_E_CORRUPT || r == FETCH_E_FORBIDDEN || (strict && r != 0))
                sweep_fail(__FILE__, __LINE__, "%s: %d", what, r); /* G2, G4 */
        return r == 0;
}
#define ASK(call)                                                    \
        ({                                                           \
                struct question q = QUESTION;                        \
                answered(&q, call, #call);                           \
        })

/* ---- what is done ---- */

static bool open_index(struct index *ix)
{
        struct index_options o = { .store = sweep_at("store"), .state = sweep_at("state") };
        struct errmsg err = {};
        int r;

        shim_exempt(true); /* faults-index.c sweeps it */
        r = index_open(&o, ix, &err);
        shim_exempt(false);
        return r == 0;
}

static void close_index(struct index *ix)
{
        shim_exempt(true);
        index_close(ix);
        shim_exempt(false);
}

static void check_bytes(struct blob *b, const struct small_file *f)
{
        unsigned char *buf = malloc(f->size);

        for (uint64_t at = 0, end; buf && at < f->size; at = end + 1) {
                end = blob_run_end(b, at);
                if (end > at && blob_read(b, buf, end - at, at) == (ssize_t)(end - at) &&
                    memcmp(buf, f->data + at, end - at) != 0)
                        sweep_fail(__FILE__, __LINE__, "%s: wrong bytes in [%llu, %llu)", f->path,
                                   (unsigned long long)at, (unsigned long long)end);
        }
        free(buf);
}

static void bring(struct fetch *f, struct index *ix, unsigned i)
{
        struct blob *b = NULL;
        struct blob_row row;
        int r = catalog_blob_find(ix->catalog, files[i].sha256, files[i].size, &row);

        if (strict)
                SWEEP_OK(r);
        if (r != 0 || blobs_get(ix->blobs, row.id, &b) != 0)
                return;
        if (ASK(fetch_open(f, b, on_answer, &q, &q.wait)) &&
            ASK(fetch_read(f, b, files[i].size / 2, files[i].size / 2 + 100, on_answer, &q, &q.wait)) &&
            ASK(fetch_whole(f, b, on_answer, &q, &q.wait)))
                finished[i] = true;
        check_bytes(b, &files[i]);
        blob_unref(b);
}

static void use(struct fetch *f, struct index *ix)
{
        struct fetch_fill_info *fills = NULL;
        struct fetch_status status;
        struct repo repo;
        size_t count;

        if (ASK(fetch_repo(f, REPO_MODEL, "org/name", NULL, on_answer, &q, &q.wait)) &&
            catalog_repo_find(ix->catalog, REPO_MODEL, "org/name", &repo) == 0 &&
            ASK(fetch_revision(f, repo.id, "main", NULL, on_answer, &q, &q.wait)))
                listed = true;
        for (unsigned i = 0; i < FILES; i++)
                bring(f, ix, i);
        if (fetch_get_fills(f, &fills, &count) == 0)
                free(fills);
        fetch_get_status(f, &status);
}

static void act(bool faultless)
{
        /* where nothing may fail, the machine may be as slow as it likes */
        struct fetch_options o = { .endpoint = endpoint, .lookup_deadline_s = faultless ? 60 : 2,
                                   .read_deadline_s = faultless ? 60 : 3, .connections = 2 };
        struct errmsg err = {};
        struct fetch *f = NULL;
        struct index ix;
        int r;

        strict = faultless;
        SWEEP_ASSERT(open_index(&ix));
        r = fetch_new(&o, &ix, &f, &err);
        if (strict && r != 0)
                sweep_fail(__FILE__, __LINE__, "fetch_new: %d %s", r, err.text);
        if (r == 0)
                use(f, &ix);
        fetch_free(f);
        close_index(&ix);
}

static void check(void)
{
        struct index ix;
        struct commit commit;
        struct repo repo;
        struct ref ref;

        SWEEP_ASSERT(open_index(&ix));
        SWEEP_ASSERT(!ix.rebuilt);
        if (listed) {
                SWEEP_OK(catalog_repo_find(ix.catalog, REPO_MODEL, "org/name", &repo));
                SWEEP_OK(catalog_commit_find(ix.catalog, repo.id, SMALL_HUB_SHA, &commit));
                SWEEP_OK(catalog_ref_find(ix.catalog, repo.id, "main", &ref));
                SWEEP_ASSERT(commit.files == FILES && commit.whole_listing);
        }
        for (unsigned i = 0; i < FILES; i++) {
                struct blob *b = NULL;
                struct blob_row row;

                if (catalog_blob_find(ix.catalog, files[i].sha256, files[i].size, &row) != 0) {
                        SWEEP_ASSERT(!listed);
                        continue;
                }
                SWEEP_OK(blobs_get(ix.blobs, row.id, &b));
                check_bytes(b, &files[i]); /* G3 */
                SWEEP_ASSERT(!finished[i] || blob_state_whole(blob_state(b)));
                SWEEP_ASSERT(blob_state(b) != BLOB_QUARANTINED); /* G2 */
                blob_unref(b);
        }
        close_index(&ix);
        sweep_check_hashes(sweep_at("store/hub"), "");
}

int main(int argc, char **argv)
{
        static const enum shim_kind kinds[] = { SHIM_MEMORY, SHIM_FILE, SHIM_SPACE, SHIM_EINTR, SHIM_SHORT,
                                                SHIM_SQLITE_FILE, SHIM_CURL, SHIM_TRANSFER };
        static const struct scenario s = { .name = "fetch", .prepare = prepare, .act = act, .check = check,
                                           .kinds = kinds, .kinds_count = ARRAY_SIZE(kinds), .jobs = 16,
                                           .seconds = 600 };

        make_files();
        snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", small_hub_start(files, FILES));
        return sweep_main(&s, argc, argv);
}
