/*
 * Implementation of pull.h.
 *
 * Invariants
 *   P1  Sizes are counted once per blob: a path that lists a blob again is a duplicate.
 *   P2  At most IN_FLIGHT files run, of small ones more: each is a round trip or two. After a failure that
 *       others would share (no space, hub gone, offline, token) no further file is started; what runs is let
 *       finish.
 *   P3  pull_run() returns only when no answer is outstanding: they refer to its files.
 */
#include "cli/pull.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/table.h"
#include "cli/await.h"
#include "cli/explain.h"
#include "cli/format.h"
#include "cli/jsonio.h"
#include "cli/report.h"

#include <errno.h>
#include <string.h>

#define IN_FLIGHT 8
#define IN_FLIGHT_SMALL 32
#define SMALL_FILE (UINT64_C(1) << 20)
#define LOOK_MS 125 /* progress is told eight times a second */

enum file_state { FILE_WAITS, FILE_RUNS, FILE_DONE, FILE_FAILED };

struct pull;

struct pull_file {
        struct pull *pull;
        char *path; /* heap */
        int64_t blob_id;
        uint64_t size, held, told; /* told: the held of the last event */
        enum file_state state, told_state;
        bool duplicate;          /* P1 */
        struct blob *blob;       /* while running */
        struct fetch_wait *wait; /* while running */
        bool answered;           /* protected by pull->lock */
        int result;              /* protected by pull->lock */
};

struct pull {
        struct service *service;
        const struct pull_request *request;
        struct lock lock;
        pthread_cond_t changed;
        struct pull_file *files; /* heap; fixed once the plan is made */
        size_t count, capacity, running;
        size_t base, next; /* files before base are finished and told, those from next on wait */
        struct commit commit;
        char label[REPO_NAME_MAX + REVISION_MAX + 16];
        uint64_t bytes, already;
        bool stopping; /* P2 */
        int first_result;
        struct errmsg first_error;
};

struct seen { /* P1 */
        int64_t blob;
        UT_hash_handle hh;
};

void pull_request_done(struct pull_request *q)
{
        strings_done(&q->include);
        strings_done(&q->exclude);
}

/* huggingface_hub filter_repo_objects(): a pattern that ends in "/" means the folder. */
static bool matches_any(const struct strings *globs, const char *path)
{
        for (size_t i = 0; i < globs->count; i++) {
                const char *glob = globs->items[i];
                size_t len = strlen(glob);

                if (len > 0 && glob[len - 1] == '/' && strncmp(glob, path, len) == 0)
                        return true;
                if (glob_match(glob, path))
                        return true;
        }
        return false;
}

bool pull_matches(const struct pull_request *q, const char *path)
{
        if (q->include.count > 0 && !matches_any(&q->include, path))
                return false;
        return !matches_any(&q->exclude, path);
}

static int explain(struct pull *p, int result, const char *path, bool revision, struct errmsg *err)
{
        char what[sizeof(p->label) + ENTRY_PATH_MAX + 8];
        const struct options *o = p->service->options;
        struct fetch_status st;

        fetch_get_status(p->service->fetch, &st);
        snprintf(what, sizeof(what), "%s%s%s", p->label, path ? ": " : "", path ? path : "");
        return explain_fetch(result,
                             &(struct explain){ .what = what,
                                                .endpoint = service_endpoint(o),
                                                .store = o->store,
                                                .last_error = st.last_error,
                                                .kept = st.short_of_space && st.keep_free > 0,
                                                .token = service_has_token(o),
                                                .revision = revision },
                             err);
}

/* Makes the repo and the revision known. */
static int resolve(struct pull *p, const atomic_bool *cancel, struct repo *ret, struct errmsg *err)
{
        const struct pull_request *q = p->request;
        struct catalog *c = p->service->index.catalog;
        struct fetch *f = p->service->fetch;
        struct await *a = await_new();
        int r;

        if (!a)
                return -ENOMEM;
        fetch_ask_anew(f);
        r = await_end(a, fetch_repo(f, q->type, q->name, NULL, await_answer, a, await_slot(a)), cancel);
        if (r == 0)
                r = catalog_repo_find(c, q->type, q->name, ret) == 0 ? 0 : FETCH_E_ABSENT;
        if (r != 0)
                return explain(p, r, NULL, false, err);
        a = await_new();
        if (!a)
                return -ENOMEM;
        r = await_end(a,
                      fetch_revision(f, ret->id, q->revision[0] != '\0' ? q->revision : "main", NULL,
                                     await_answer, a, await_slot(a)),
                      cancel);
        if (r == 0)
                r = commit_of_revision(c, ret->id, q->revision, &p->commit) == 0 ? 0 : FETCH_E_ABSENT;
        return r != 0 ? explain(p, r, NULL, true, err) : 0;
}

static int add_file(struct pull *p, const struct entry *e, struct seen **seen)
{
        struct pull_file *f;
        struct seen *s;

        if (p->count == p->capacity) {
                size_t capacity = p->capacity * 2 + 64;
                struct pull_file *grown = realloc(p->files, capacity * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                p->files = grown;
                p->capacity = capacity;
        }
        f = &p->files[p->count];
        *f = (struct pull_file){ .pull = p, .path = strdup(e->path), .blob_id = e->blob, .size = e->size };
        if (!f->path)
                return -ENOMEM;
        p->count++;
        f->held = held_of(&p->service->index, e->blob, e->state, e->size, e->etag);
        f->told = f->held;
        HASH_FIND(hh, *seen, &e->blob, sizeof(e->blob), s);
        f->duplicate = s != NULL;
        if (s)
                return 0;
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->blob = e->blob;
        HASH_ADD(hh, *seen, blob, sizeof(s->blob), s);
        if (!HASH_ADDED(s)) {
                free(s);
                return -ENOMEM;
        }
        p->bytes += f->size;
        p->already += f->held;
        return 0;
}

static int make_plan(struct pull *p, struct errmsg *err)
{
        CLEANUP_FREE struct entry *e = calloc(1, sizeof(*e));
        struct seen *seen = NULL, *s, *tmp;
        int r = e ? 0 : -ENOMEM;

        while (r == 0 && (r = catalog_entry_walk(p->service->index.catalog, p->commit.id, e->pos, e)) == 0)
                if (!e->is_dir && pull_matches(p->request, e->path))
                        r = add_file(p, e, &seen);
        HASH_ITER(hh, seen, s, tmp)
        {
                HASH_DEL(seen, s);
                free(s);
        }
        if (r < 0)
                return errmsg_set(err, r, "%s: the listing cannot be read: %s", p->label, strerror(-r));
        if (p->count == 0 && p->commit.files > 0)
                return errmsg_set(
                        err, -ENOENT,
                        "no file of %s matches --include and --exclude; 'weightfs ls %s' lists them",
                        p->label, p->label);
        return 0;
}

/* Better now than after an hour. */
static int check_space(struct pull *p, struct errmsg *err)
{
        uint64_t need = p->bytes - p->already, room = fetch_room(p->service->fetch);
        char need_text[FORMAT_MAX], room_text[FORMAT_MAX], keep_text[FORMAT_MAX];
        struct fetch_status st;

        if (need <= room)
                return 0;
        fetch_get_status(p->service->fetch, &st);
        if (st.keep_free > 0)
                return errmsg_set(err, -ENOSPC,
                                  "%s needs %s more and the store %s has %s free, besides %s that --keep-free keeps; "
                                  "free some, choose files with --include, keep less, or use another --store",
                                  p->label, format_size(need, need_text), p->service->options->store,
                                  format_size(room, room_text), format_size(st.keep_free, keep_text));
        return errmsg_set(err, -ENOSPC,
                          "%s needs %s more and the store %s has %s free; free some, choose files with "
                          "--include, or use another --store",
                          p->label, format_size(need, need_text), p->service->options->store,
                          format_size(room, room_text));
}

static int tell_plan(struct pull *p, pull_event_fn emit, void *arg)
{
        json_t *files = json_array();

        for (size_t i = 0; i < p->count; i++) {
                struct pull_file *f = &p->files[i];

                json_array_append_new(files, json_pack("[s, I, I, b]", f->path, (json_int_t)f->size,
                                                       (json_int_t)f->held, f->duplicate));
        }
        return emit(arg, json_pack("{s:s, s:s, s:s, s:o}", "kind", "plan", "repo", p->label, "commit",
                                   p->commit.sha, "files", files));
}

static void file_answered(void *arg, int result)
{
        struct pull_file *f = arg;
        struct pull *p = f->pull;

        lock_take(&p->lock);
        f->answered = true;
        f->result = result;
        pthread_cond_signal(&p->changed);
        lock_drop(&p->lock);
}

static void start_file(struct pull *p, struct pull_file *f)
{
        int r = blobs_get(p->service->index.blobs, f->blob_id, &f->blob);

        f->state = FILE_RUNS;
        p->running++;
        /* the hub may have mended what was wrong twice; who pulls wants to know */
        if (r == 0 && !fetch_is_offline(p->service->fetch))
                r = blob_readmit(f->blob);
        if (r == 0)
                r = fetch_whole(p->service->fetch, f->blob, file_answered, f, &f->wait);
        else if (r > 0)
                r = -ESTALE; /* the row is gone: the listing was replaced meanwhile */
        if (r == 0) { /* held before this listing came, or another daemon has put it there */
                r = blob_link_places(f->blob, NULL);
                r = r == -EROFS ? 0 : r;
        }
        if (r != FETCH_PENDING)
                file_answered(f, r);
}

/* Takes one answer in. */
static int finish_file(struct pull *p, struct pull_file *f, int result, pull_event_fn emit, void *arg)
{
        struct errmsg e = {};
        int r;

        f->held = result == 0 ? f->size : f->blob ? blob_held_bytes(f->blob) : f->held;
        f->state = result == 0 ? FILE_DONE : FILE_FAILED;
        f->blob = blob_unref(f->blob);
        fetch_wait_unref(f->wait);
        f->wait = NULL;
        p->running--;
        if (result == 0)
                return 0;
        if (result != FETCH_E_CORRUPT)
                p->stopping = true; /* P2 */
        if (result == -ECANCELED)
                return 0; /* by us, who know it */
        r = explain(p, result, f->path, false, &e);
        if (p->first_result == 0) {
                p->first_result = r;
                p->first_error = e;
        }
        if (p->stopping)
                return 0; /* what ended the pull is said once, by conclude() */
        return emit(arg, json_pack("{s:s, s:I, s:s}", "kind", "failed", "file", (json_int_t)(f - p->files),
                                   "error", e.text));
}

static int take_answers(struct pull *p, pull_event_fn emit, void *arg)
{
        int told = 0;

        for (size_t i = p->base; i < p->next; i++) {
                struct pull_file *f = &p->files[i];
                bool answered;
                int result, r;

                if (f->state != FILE_RUNS)
                        continue;
                lock_take(&p->lock);
                answered = f->answered;
                result = f->result;
                lock_drop(&p->lock);
                if (!answered) {
                        f->held = blob_held_bytes(f->blob);
                        continue;
                }
                r = finish_file(p, f, result, emit, arg);
                told = told ? told : r;
        }
        return told;
}

static int tell_progress(struct pull *p, pull_event_fn emit, void *arg)
{
        json_t *files = json_array();

        for (size_t i = p->base; i < p->next; i++) {
                struct pull_file *f = &p->files[i];

                if (f->held == f->told && f->state == f->told_state)
                        continue;
                f->told = f->held;
                f->told_state = f->state;
                json_array_append_new(
                        files, json_pack("[I, I, i]", (json_int_t)i, (json_int_t)f->held, (int)f->state));
        }
        while (p->base < p->next && p->files[p->base].state > FILE_RUNS)
                p->base++;
        return emit(arg, json_pack("{s:s, s:o}", "kind", "progress", "files", files));
}

static bool answer_waits_locked(struct pull *p) REQUIRES(p->lock)
{
        for (size_t i = p->base; i < p->next; i++)
                if (p->files[i].state == FILE_RUNS && p->files[i].answered)
                        return true;
        return false;
}

/* Sleeps until something was answered, or it is time to tell. */
static void look_later(struct pull *p)
{
        struct timespec until;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        lock_take(&p->lock);
        if (!answer_waits_locked(p))
                pthread_cond_timedwait(&p->changed, &p->lock.mutex, &until);
        lock_drop(&p->lock);
}

static void cancel_running(struct pull *p)
{
        p->stopping = true;
        for (size_t i = p->base; i < p->next; i++)
                if (p->files[i].state == FILE_RUNS && p->files[i].wait)
                        fetch_cancel(p->files[i].wait);
}

static bool may_start(const struct pull *p)
{
        if (p->next >= p->count || p->stopping)
                return false;
        return p->running < (p->files[p->next].size <= SMALL_FILE ? IN_FLIGHT_SMALL : IN_FLIGHT);
}

static int fill(struct pull *p, pull_event_fn emit, void *arg, const atomic_bool *cancel)
{
        uint64_t told_ms = 0;
        int told = 0;

        while (p->running > 0 || (p->next < p->count && !p->stopping)) {
                int r;

                while (may_start(p))
                        start_file(p, &p->files[p->next++]);
                look_later(p);
                r = take_answers(p, emit, arg);
                if (r == 0 && clock_ms() - told_ms >= LOOK_MS) {
                        r = tell_progress(p, emit, arg);
                        told_ms = clock_ms();
                }
                told = told ? told : r;
                if ((told != 0 || (cancel && *cancel)) && p->running > 0)
                        cancel_running(p); /* P3: the answers still come */
                else if (told != 0 || (cancel && *cancel))
                        break;
        }
        return told != 0 ? told : tell_progress(p, emit, arg);
}

static int conclude(struct pull *p, uint64_t began_ms, bool cancelled, json_t **ret, struct errmsg *err)
{
        size_t done = 0;

        for (size_t i = 0; i < p->count; i++)
                done += p->files[i].state == FILE_DONE;
        if (done < p->count && (cancelled || p->first_result == 0))
                return errmsg_set(
                        err, -ECANCELED,
                        "interrupted with %zu of %zu files of %s complete; what arrived is kept, the same "
                        "command goes on",
                        done, p->count, p->label);
        if (done < p->count)
                return errmsg_set(err, p->first_result,
                                  "%zu of %zu files are complete; the first that failed: %s", done, p->count,
                                  p->first_error.text);
        *ret = json_pack("{s:s, s:s, s:I, s:I, s:I, s:f}", "repo", p->label, "commit", p->commit.sha, "files",
                         (json_int_t)p->count, "bytes", (json_int_t)p->bytes, "already",
                         (json_int_t)p->already, "seconds", (double)(clock_ms() - began_ms) / 1000);
        return *ret ? 0 : -ENOMEM;
}

static void pull_init(struct pull *p, struct service *s, const struct pull_request *q)
{
        pthread_condattr_t attr;

        *p = (struct pull){ .service = s, .request = q };
        lock_init(&p->lock);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&p->changed, &attr);
        pthread_condattr_destroy(&attr);
        repo_label(q->type, q->name, p->label);
        if (q->revision[0] != '\0') {
                strcat(p->label, "@");
                strcat(p->label, q->revision);
        }
}

static void pull_done(struct pull *p)
{
        for (size_t i = 0; i < p->count; i++)
                free(p->files[i].path);
        free(p->files);
        pthread_cond_destroy(&p->changed);
        lock_done(&p->lock);
}

int pull_run(struct service *s, const struct pull_request *q, pull_event_fn emit, void *arg,
             const atomic_bool *cancel, json_t **ret, struct errmsg *err)
{
        CLEANUP(pull_done) struct pull p;
        uint64_t began_ms = clock_ms();
        struct repo repo;
        int r;

        pull_init(&p, s, q);
        r = resolve(&p, cancel, &repo, err);
        if (r == 0)
                r = make_plan(&p, err);
        if (r == 0)
                r = check_space(&p, err);
        if (r == 0)
                r = tell_plan(&p, emit, arg);
        if (r == 0)
                r = fill(&p, emit, arg, cancel);
        if (r != 0)
                return r;
        return conclude(&p, began_ms, cancel && *cancel, ret, err);
}
