/*
 * A hub for tests, linked in place of the real one: it has one model, "Org/Name", whose files are made
 * of a seed, and does as it is told. One thread plays the engine, so that a test is deterministic
 * but for the order of its own threads.
 */
#pragma once

#include "fetch/hub.h"

#include "base/clock.h"
#include "base/workq.h"

#include <check.h>
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FAKE_SHA "1111111111111111111111111111111111111111"
#define FAKE_FILES 4
#define FAKE_CHUNK 16384

struct fake_file {
        const char *path;
        uint64_t size;
        char etag[SHA256_HEX + 1];
};

static struct fake {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct workq *engine;
        struct fake_file files[FAKE_FILES];
        /* what it is to do; protected by lock, as all */
        int info_result, tree_result, locate_result;
        int revision_result;   /* of an info that asks for a revision */
        unsigned info_failures; /* so many infos are answered with HUB_E_UNREACHABLE first */
        char failing[REPO_NAME_MAX + 1]; /* infos of this one are answered with HUB_E_UNREACHABLE */
        char gone[REPO_NAME_MAX + 1];    /* this one's files are answered with HUB_E_ABSENT */
        char renamed[REPO_NAME_MAX + 1];
        char nested_ref[REVISION_MAX + 1]; /* listed among the refs, besides main */
        char sha[COMMIT_HEX + 1];
        int range_result;      /* of the next range_failures ranges of files[0] */
        unsigned range_failures;
        uint64_t range_cut;    /* bytes that such a range delivers first */
        unsigned corrupt;      /* so many ranges of files[0] have a wrong first byte */
        uint64_t corrupt_at;   /* of files[0]: this byte is wrong when it is sent next */
        uint64_t lie;          /* added to the size that a location tells */
        bool elsewhere;        /* small files do not come with their location */
        bool own, unsaid;      /* a short lookup ends at the hub itself; it does not tell the size */
        bool hold;             /* ranges wait before their first byte */
        uint64_t hold_at;      /* ranges of files[0] wait before this byte, and behind it */
        bool hold_names;       /* infos wait */
        unsigned let_go;       /* of those that wait */
        bool suspended;
        bool scarce;           /* few questions are left in the window */
        /* what it was asked */
        unsigned infos, trees, locates, taken, full, anew, held;
        unsigned ranges; /* of files[0] */
        uint64_t bytes;
        unsigned char *sent;   /* of files[0]: how often each 4 KiB page was sent */
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

enum fake_kind { FAKE_INFO, FAKE_TREE, FAKE_REFS, FAKE_LOCATE, FAKE_RANGE };

struct fake_call {
        struct work work;
        enum fake_kind kind;
        void *arg;
        hub_repo_fn info;
        hub_tree_fn tree;
        hub_refs_fn refs;
        hub_locate_fn locate;
        enum hub_locate_how how;
        struct hub_sink sink;
        char name[REPO_NAME_MAX + 1];
        bool with_revision;
        size_t file;
        uint64_t start, end;
};

static unsigned char fake_byte(uint64_t at)
{
        return (unsigned char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static void fake_fill(unsigned char *buf, uint64_t at, size_t len)
{
        for (size_t i = 0; i < len; i++)
                buf[i] = fake_byte(at + i);
}

static void fake_add_file(size_t i, const char *path, uint64_t size)
{
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        unsigned char buf[4096], md[EVP_MAX_MD_SIZE];
        unsigned len;

        EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
        for (uint64_t at = 0; at < size; at += sizeof(buf)) {
                size_t n = min_u64(sizeof(buf), size - at);

                fake_fill(buf, at, n);
                EVP_DigestUpdate(ctx, buf, n);
        }
        EVP_DigestFinal_ex(ctx, md, &len);
        EVP_MD_CTX_free(ctx);
        fake.files[i] = (struct fake_file){ .path = path, .size = size };
        hex_encode(md, len, fake.files[i].etag);
}

static void fake_reset(void)
{
        struct fake fresh = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

        free(fake.sent);
        fake = fresh;
        strcpy(fake.sha, FAKE_SHA);
        fake.hold_at = fake.corrupt_at = UINT64_MAX;
        fake_add_file(0, "model.safetensors", (12 << 20) + 5);
        fake_add_file(1, "config.json", 700);
        fake_add_file(2, "sub/tokenizer.json", 300000);
        fake_add_file(3, "empty", 0);
        fake.sent = calloc((fake.files[0].size >> 12) + 1, 1);
}

/* A copy of one of the numbers. */
#define FAKE_GET(field)                           \
        ({                                        \
                __typeof__(fake.field) v_;        \
                pthread_mutex_lock(&fake.lock);   \
                v_ = fake.field;                  \
                pthread_mutex_unlock(&fake.lock); \
                v_;                               \
        })
#define FAKE_SET(field, value)                         \
        do {                                           \
                pthread_mutex_lock(&fake.lock);        \
                fake.field = (value);                  \
                pthread_cond_broadcast(&fake.changed); \
                pthread_mutex_unlock(&fake.lock);      \
        } while (0)

#define FAKE_COPY(field, text)                 \
        do {                                   \
                pthread_mutex_lock(&fake.lock); \
                strcpy(fake.field, text);      \
                pthread_mutex_unlock(&fake.lock); \
        } while (0)

/* Waits while @hold points at true; true when it was suspended meanwhile. */
static bool fake_wait(const bool *hold)
{
        bool suspended;

        pthread_mutex_lock(&fake.lock);
        fake.held++;
        while (*hold && !fake.suspended && fake.let_go == 0)
                pthread_cond_wait(&fake.changed, &fake.lock);
        if (*hold && fake.let_go > 0)
                fake.let_go--;
        fake.held--;
        suspended = fake.suspended;
        pthread_mutex_unlock(&fake.lock);
        return suspended;
}

static void fake_answer_info(struct fake_call *c)
{
        struct hub_repo_info info = { .last_modified = 1700000000 };
        int r;

        if (fake_wait(&fake.hold_names)) {
                c->info(c->arg, -ECANCELED, NULL);
                return;
        }
        pthread_mutex_lock(&fake.lock);
        fake.infos++;
        r = c->with_revision && fake.revision_result ? fake.revision_result : fake.info_result;
        if (strcmp(c->name, fake.failing) == 0)
                r = HUB_E_UNREACHABLE;
        if (fake.info_failures > 0) {
                fake.info_failures--;
                r = HUB_E_UNREACHABLE;
        }
        if (r == 0 && strcmp(c->name, "Org/Name") != 0 && strcmp(c->name, fake.renamed) != 0 &&
            strncmp(c->name, "Many/", 5) != 0 && strcmp(c->name, "Old/Name") != 0)
                r = HUB_E_ABSENT;
        strcpy(info.name, fake.renamed[0] ? fake.renamed : c->name);
        strcpy(info.sha, fake.sha);
        pthread_mutex_unlock(&fake.lock);
        c->info(c->arg, r, r == 0 ? &info : NULL);
}

/* main, and whatever the test put below a folder. */
static void fake_answer_refs(struct fake_call *c)
{
        struct hub_ref refs[2] = { { .name = "main" } };
        size_t count = 1;

        pthread_mutex_lock(&fake.lock);
        if (fake.nested_ref[0]) {
                strcpy(refs[count].name, fake.nested_ref);
                strcpy(refs[count++].sha, fake.sha);
                fake.revision_result = 0; /* the next question is for that one */
        }
        strcpy(refs[0].sha, fake.sha);
        pthread_mutex_unlock(&fake.lock);
        c->refs(c->arg, 0, refs, count);
}

static void fake_answer_tree(struct fake_call *c)
{
        struct tree tree = {};
        int r;

        for (size_t i = 0; i < FAKE_FILES; i++) {
                struct tree_file f = { .path = fake.files[i].path, .size = fake.files[i].size };

                memset(f.oid, '2', COMMIT_HEX);
                strcpy(f.sha256, fake.files[i].etag);
                ck_assert_int_eq(tree_add(&tree, &f), 0);
        }
        pthread_mutex_lock(&fake.lock);
        fake.trees++;
        r = fake.tree_result;
        pthread_mutex_unlock(&fake.lock);
        c->tree(c->arg, r, r == 0 ? &tree : NULL);
        tree_done(&tree);
}

static void fake_answer_locate(struct fake_call *c)
{
        struct hub_location at = { .url = strdup("fake"), .expires_ms = clock_ms() + 3600000 };
        int r;

        pthread_mutex_lock(&fake.lock);
        fake.locates++;
        fake.full += c->how == HUB_LOCATE_FULL;
        r = fake.suspended ? -ECANCELED : strcmp(c->name, fake.gone) == 0 ? HUB_E_ABSENT : fake.locate_result;
        at.size = fake.files[c->file].size + fake.lie;
        strcpy(at.etag, fake.files[c->file].etag);
        free(at.url);
        at.url = strdup(fake.files[c->file].path);
        if (c->how == HUB_LOCATE_TAKE && !fake.elsewhere) {
                at.bytes = calloc(1, at.size + 1);
                fake_fill(at.bytes, 0, fake.files[c->file].size);
                fake.taken++;
                fake.bytes += at.size;
        } else if (c->how == HUB_LOCATE_SHORT && fake.own) {
                at.own_origin = true;
                if (fake.unsaid)
                        at.size = HUB_SIZE_UNSAID;
        }
        pthread_mutex_unlock(&fake.lock);
        c->locate(c->arg, r, r == 0 ? &at : NULL);
        hub_location_done(&at);
}

static int fake_send(struct fake_call *c, uint64_t end, bool corrupt)
{
        unsigned char buf[FAKE_CHUNK];
        int r = 0;

        for (uint64_t at = c->start; at < end && r == 0;) {
                size_t n = min_u64(sizeof(buf), end - at);

                fake_fill(buf, at, n);
                if (corrupt && at == c->start)
                        buf[0] ^= 1;
                pthread_mutex_lock(&fake.lock);
                while (c->file == 0 && at + n > fake.hold_at && !fake.suspended)
                        pthread_cond_wait(&fake.changed, &fake.lock);
                if (c->file == 0 && fake.corrupt_at >= at && fake.corrupt_at - at < n) {
                        buf[fake.corrupt_at - at] ^= 1;
                        fake.corrupt_at = UINT64_MAX;
                }
                r = fake.suspended ? -ECANCELED : 0;
                if (r == 0) {
                        fake.bytes += n;
                        for (uint64_t p = at >> 12; c->file == 0 && p <= (at + n - 1) >> 12; p++)
                                fake.sent[p]++;
                }
                pthread_mutex_unlock(&fake.lock);
                if (r == 0)
                        r = c->sink.data(c->sink.arg, at, buf, n);
                at += n;
        }
        return r;
}

static void fake_answer_range(struct fake_call *c)
{
        uint64_t end = c->end;
        bool corrupt;
        int r = 0, sent;

        if (fake_wait(&fake.hold)) {
                c->sink.done(c->sink.arg, -ECANCELED, 0);
                return;
        }
        pthread_mutex_lock(&fake.lock);
        fake.ranges += c->file == 0;
        if (c->file == 0 && fake.range_failures > 0) {
                fake.range_failures--;
                r = fake.range_result;
                end = min_u64(end, c->start + fake.range_cut);
        }
        corrupt = c->file == 0 && fake.corrupt > 0;
        if (corrupt)
                fake.corrupt--;
        pthread_mutex_unlock(&fake.lock);
        sent = fake_send(c, end, corrupt);
        c->sink.done(c->sink.arg, sent ? sent : r, 0);
}

static void fake_run(struct work *w)
{
        struct fake_call *c = CONTAINER_OF(w, struct fake_call, work);

        if (c->kind == FAKE_INFO)
                fake_answer_info(c);
        else if (c->kind == FAKE_TREE)
                fake_answer_tree(c);
        else if (c->kind == FAKE_REFS)
                fake_answer_refs(c);
        else if (c->kind == FAKE_LOCATE)
                fake_answer_locate(c);
        else
                fake_answer_range(c);
        free(c);
}

static int fake_submit(const struct fake_call *call)
{
        struct fake_call *c;

        if (FAKE_GET(suspended))
                return -ENETDOWN;
        c = malloc(sizeof(*c));
        *c = *call;
        workq_push(fake.engine, &c->work, fake_run);
        return 0;
}

/* ---- hub.h ---- */

int hub_new(const struct hub_options *o, struct hub **ret, struct errmsg *err)
{
        (void)o;
        (void)err;
        *ret = (struct hub *)&fake;
        return workq_new("fake-hub", 1, &fake.engine);
}

struct hub *hub_free(struct hub *h)
{
        if (h)
                workq_free(fake.engine);
        return NULL;
}

void hub_cancel(struct hub_call *c)
{
        (void)c;
}

void hub_call_unref(struct hub_call *c)
{
        (void)c;
}

int hub_repo_info(struct hub *h, enum repo_type type, const char *name, const char *revision,
                  uint64_t deadline, hub_repo_fn done, void *arg, struct hub_call **ret_call)
{
        struct fake_call c = {
                .kind = FAKE_INFO, .info = done, .arg = arg, .with_revision = revision != NULL
        };

        (void)h, (void)type, (void)deadline, (void)ret_call;
        strcpy(c.name, name);
        return fake_submit(&c);
}

int hub_tree(struct hub *h, enum repo_type type, const char *name, const char *sha, unsigned idle_ms,
             hub_tree_fn done, void *arg, struct hub_call **ret_call)
{
        struct fake_call c = { .kind = FAKE_TREE, .tree = done, .arg = arg };

        (void)h, (void)type, (void)name, (void)sha, (void)idle_ms, (void)ret_call;
        return fake_submit(&c);
}

int hub_refs(struct hub *h, enum repo_type type, const char *name, uint64_t deadline, hub_refs_fn done,
             void *arg, struct hub_call **ret_call)
{
        struct fake_call c = { .kind = FAKE_REFS, .refs = done, .arg = arg };

        (void)h, (void)type, (void)name, (void)deadline, (void)ret_call;
        return fake_submit(&c);
}

void hub_location_done(struct hub_location *l)
{
        free(l->url);
        free(l->bytes);
        *l = (struct hub_location){};
}

static size_t fake_find(const char *path)
{
        for (size_t i = 0; i < FAKE_FILES; i++)
                if (strcmp(fake.files[i].path, path) == 0)
                        return i;
        ck_abort_msg("%s is not a file of the fake", path);
}

int hub_locate(struct hub *h, enum repo_type type, const char *name, const char *sha, const char *path,
               enum hub_locate_how how, uint64_t deadline, hub_locate_fn done, void *arg,
               struct hub_call **ret_call)
{
        struct fake_call c = { .kind = FAKE_LOCATE, .how = how & ~(unsigned)HUB_LOCATE_ANEW, .locate = done,
                               .arg = arg, .file = fake_find(path) };

        if (how & HUB_LOCATE_ANEW) {
                pthread_mutex_lock(&fake.lock);
                fake.anew++;
                pthread_mutex_unlock(&fake.lock);
        }
        (void)h, (void)type, (void)sha, (void)deadline, (void)ret_call;
        strcpy(c.name, name);
        return fake_submit(&c);
}

int hub_range(struct hub *h, const struct hub_location *l, uint64_t start, uint64_t end, uint64_t total,
              const struct hub_sink *sink, struct hub_call **ret_call)
{
        struct fake_call c = { .kind = FAKE_RANGE, .sink = *sink, .file = fake_find(l->url), .start = start,
                               .end = end };

        (void)h, (void)ret_call;
        ck_assert_uint_lt(start, end);
        ck_assert_uint_le(end, total);
        return fake_submit(&c);
}

void hub_suspend(struct hub *h)
{
        (void)h;
        FAKE_SET(suspended, true);
}

void hub_resume(struct hub *h)
{
        (void)h;
        FAKE_SET(suspended, false);
}

void hub_get_status(struct hub *h, struct hub_status *ret)
{
        (void)h;
        *ret = (struct hub_status){ .reachable = true };
}

bool hub_is_scarce(struct hub *h)
{
        (void)h;
        return FAKE_GET(scarce);
}
