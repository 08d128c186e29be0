/*
 * Implementation of verify.h.
 *
 * Invariants
 *   V1  Nothing in the store is replaced while it is looked at; repairs come afterwards, one by one.
 *   V2  What is noted as verified was read to its end in this run.
 */
#include "cli/verify.h"

#include "base/clock.h"
#include "base/lock.h"
#include "cli/jsonio.h"
#include "cli/report.h"
#include "cli/verify_names.h"
#include "cli/verify_repair.h"
#include "index/recheck.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_COMPONENT "verify"
#include "base/log.h"

#define WORKERS_MAX 8
#define LOOK_MS 125
#define NOTE_MS 2000 /* between two notes of what was verified: each waits for the disk */
#define RESUME_S (INT64_C(7) * 86400) /* an interrupted run that is older is not gone on with */

struct verify {
        struct service *service;
        const struct verify_request *request;
        struct recheck_plan plan;
        int64_t *repos; /* heap: rows of those planned */
        size_t repo_count;
        struct recheck_names names;
        uint64_t size;    /* bytes to be read */
        size_t skipped;
        int64_t began;    /* of the run that this one is, or goes on with */
        bool resumed;
        atomic_bool cancel;
        atomic_size_t next, done, damaged;
        _Atomic uint64_t read;
        struct lock lock;
        int64_t *verified;     /* heap; protected by lock */
        size_t verified_count; /* protected by lock */
};

/* ---- the plan ---- */

static int add_repo(struct verify *v, int64_t id)
{
        int64_t *grown = reallocarray(v->repos, v->repo_count + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        v->repos = grown;
        v->repos[v->repo_count++] = id;
        return 0;
}

/* CATALOG_E_NONE: its row is gone meanwhile. */
static int plan_repo(struct verify *v, const struct repo *repo)
{
        struct index *ix = &v->service->index;
        bool found;
        int r = repo->scanned ? 0 : adopt_repo(ix->catalog, ix->store, repo->id, &found);

        if (r == 0)
                r = add_repo(v, repo->id);
        return r == 0 ? recheck_plan_repo(&v->plan, ix, repo) : r;
}

static int plan_one(struct verify *v, const char *name, struct errmsg *err)
{
        char repo_name[REPO_NAME_MAX + 1], revision[REVISION_MAX + 1];
        struct index *ix = &v->service->index;
        enum repo_type type;
        struct repo repo;
        int r;

        if (!repo_parse(name, &type, repo_name, revision) || revision[0] != '\0')
                return errmsg_set(err, -EINVAL,
                                  "'%s' is not a repo; write Org/Name, datasets/Org/Name or spaces/Org/Name",
                                  name);
        r = catalog_repo_find(ix->catalog, type, repo_name, &repo);
        if (r == 0)
                r = plan_repo(v, &repo);
        if (r > 0)
                return errmsg_set(err, -ENOENT, "%s is not known here: the store holds nothing of it", name);
        return r;
}

static int plan_all(struct verify *v)
{
        struct index *ix = &v->service->index;
        int r = 0;

        for (int type = 0; type < REPO_TYPE_COUNT && r >= 0; type++) {
                struct repo repo = {};

                while (r >= 0 && !v->cancel &&
                       (r = catalog_repo_next(ix->catalog, (enum repo_type)type, repo.id, &repo)) == 0)
                        r = plan_repo(v, &repo);
        }
        return r < 0 ? r : 0;
}

static bool is_to_read(const struct verify *v, size_t i)
{
        const struct recheck_item *item = &v->plan.items[i];

        return item->same_as == i && item->kind == RECHECK_RIGHT &&
               !(v->resumed && item->blob != 0 && item->verified >= v->began);
}

/* Goes on with a run that was interrupted, or begins one. */
static int find_began(struct verify *v)
{
        struct catalog *c = v->service->index.catalog;
        int64_t now = clock_wall_s();
        int r = catalog_recheck_began(c, &v->began);

        if (r < 0)
                return r;
        v->resumed = !v->request->all && v->began > 0 && v->began <= now && now - v->began < RESUME_S;
        if (v->resumed)
                return 0;
        v->began = now;
        return catalog_recheck_set_began(c, now);
}

static int make_plan(struct verify *v, struct errmsg *err)
{
        struct index *ix = &v->service->index;
        int r = adopt_names(ix->catalog, ix->store);

        for (size_t i = 0; r == 0 && i < v->request->repos.count; i++)
                r = plan_one(v, v->request->repos.items[i], err);
        if (r == 0 && v->request->repos.count == 0)
                r = plan_all(v);
        if (r == 0)
                r = find_began(v);
        if (r < 0 && err->text[0] == '\0')
                return errmsg_set(err, r, "the store or the catalogue cannot be read: %s", strerror(-r));
        for (size_t i = 0; r == 0 && i < v->plan.count; i++) {
                if (is_to_read(v, i))
                        v->size += v->plan.items[i].size;
                else if (v->plan.items[i].same_as == i && v->plan.items[i].kind == RECHECK_RIGHT)
                        v->skipped++;
        }
        return r;
}

/* ---- looking ---- */

static void note_verified(struct verify *v, int64_t blob)
{
        lock_take(&v->lock);
        v->verified[v->verified_count++] = blob; /* there is room for all */
        lock_drop(&v->lock);
}

/* What was verified counts from now on, whatever ends the run. */
static void flush_verified(struct verify *v)
{
        size_t count;
        int r;

        lock_take(&v->lock);
        count = v->verified_count;
        lock_drop(&v->lock);
        r = catalog_blobs_verified(v->service->index.catalog, v->verified, count, clock_wall_s());
        if (r < 0) {
                log_ratelimited(LOG_LEVEL_WARN, "what was verified cannot be noted: %s", strerror(-r));
                return;
        }
        lock_take(&v->lock);
        v->verified_count -= count;
        memmove(v->verified, v->verified + count, v->verified_count * sizeof(*v->verified));
        lock_drop(&v->lock);
}

/* Readers come first: for the processors, and for the disk (ioprio_set(2), the class idle). */
static void become_idle(void)
{
        struct sched_param param = {};

        pthread_setschedparam(pthread_self(), SCHED_IDLE, &param); /* refused is fine, as below */
        (void)syscall(SYS_ioprio_set, 1, 0, 3 << 13);
}

static void *worker(void *arg)
{
        struct verify *v = arg;

        pthread_setname_np(pthread_self(), "wfs-recheck");
        become_idle();
        for (size_t i; (i = atomic_fetch_add(&v->next, 1)) < v->plan.count && !v->cancel;) {
                struct recheck_item *item = &v->plan.items[i];

                if (is_to_read(v, i)) {
                        if (recheck_examine(&v->service->index, item, &v->cancel, &v->read) < 0)
                                break;
                        if (item->blob != 0 && (item->kind == RECHECK_RIGHT || item->kind == RECHECK_MODE))
                                note_verified(v, item->blob); /* V2 */
                }
                v->damaged += item->kind != RECHECK_RIGHT;
                v->done++;
        }
        return NULL;
}

static int tell_plan(struct verify *v, pull_event_fn emit, void *arg)
{
        return emit(arg, json_pack("{s:s, s:I, s:I, s:I, s:I}", "kind", "plan", "files",
                                   (json_int_t)v->plan.count, "size", (json_int_t)v->size, "skipped",
                                   (json_int_t)v->skipped, "began", (json_int_t)(v->resumed ? v->began : 0)));
}

static int tell_progress(struct verify *v, pull_event_fn emit, void *arg)
{
        return emit(arg, json_pack("{s:s, s:I, s:I, s:I}", "kind", "progress", "files", (json_int_t)v->done,
                                   "read", (json_int_t)v->read, "damaged", (json_int_t)v->damaged));
}

/* Tells and notes while the workers run. */
static int attend(struct verify *v, pull_event_fn emit, void *arg, const atomic_bool *cancel)
{
        uint64_t noted_ms = clock_ms();
        int r = 0;

        while (v->done < v->plan.count && !v->cancel) {
                usleep(LOOK_MS * 1000);
                r = tell_progress(v, emit, arg);
                v->cancel = r != 0 || (cancel && *cancel);
                if (clock_ms() - noted_ms >= NOTE_MS) {
                        flush_verified(v);
                        noted_ms = clock_ms();
                }
        }
        return r;
}

static unsigned worker_count(const struct verify *v)
{
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        uint64_t n = min_u64(cpus > 0 ? (uint64_t)cpus : 1, WORKERS_MAX);

        return (unsigned)min_u64(n, v->plan.count);
}

static int look(struct verify *v, pull_event_fn emit, void *arg, const atomic_bool *cancel)
{
        pthread_t threads[WORKERS_MAX];
        unsigned wanted = worker_count(v), n = 0;
        int r = 0, told;

        v->verified = calloc(v->plan.count + 1, sizeof(*v->verified));
        if (!v->verified)
                return -ENOMEM;
        while (n < wanted && (r = -pthread_create(&threads[n], NULL, worker, v)) == 0)
                n++;
        if (n == 0 && wanted > 0)
                return r;
        told = attend(v, emit, arg, cancel);
        for (unsigned i = 0; i < n; i++)
                pthread_join(threads[i], NULL);
        flush_verified(v);
        if (told != 0)
                return told;
        return v->cancel ? -ECANCELED : tell_progress(v, emit, arg);
}

/* Refs, links and listings: cheap, so they are looked at in each run, and all of them. */
static int look_at_names(struct verify *v, pull_event_fn emit, void *arg, const atomic_bool *cancel, struct errmsg *err)
{
        struct index *ix = &v->service->index;
        uint64_t told_ms = clock_ms();
        struct repo repo;
        int r = 0;

        for (size_t i = 0; i < v->repo_count && r == 0; i++) {
                r = catalog_repo_get(ix->catalog, v->repos[i], &repo);
                if (r == 0)
                        r = recheck_names_repo(&v->names, ix, &repo, cancel);
                if (r < 0 && r != -ECANCELED)
                        return errmsg_set(err, r, "refs, links and listings cannot be looked at: %s", strerror(-r));
                if (r == CATALOG_E_NONE)
                        r = 0;
                if (r == 0 && clock_ms() - told_ms >= LOOK_MS) {
                        r = tell_progress(v, emit, arg);
                        told_ms = clock_ms();
                }
        }
        return r;
}

/* ---- the end ---- */

/* A run over all, or one that began itself, is over; one over some repos leaves an earlier one to go on. */
static void end_run(struct verify *v)
{
        if (v->resumed && v->request->repos.count > 0)
                return;
        if (catalog_recheck_set_began(v->service->index.catalog, 0) < 0)
                log_debug("the next run goes on with this one");
}

static int conclude(struct verify *v, pull_event_fn emit, void *arg, uint64_t began_ms, const atomic_bool *cancel,
                    json_t **ret)
{
        struct repair repair = {
                .service = v->service, .cancel = cancel, .wanted = v->request->repair, .damaged = json_array()
        };
        int r = 0;

        for (size_t i = 0; i < v->plan.count && r == 0; i++) {
                struct recheck_item *item = &v->plan.items[i];
                const struct recheck_item *same = &v->plan.items[item->same_as];

                item->kind = same->kind;
                item->error = same->error;
                memcpy(item->got, same->got, sizeof(item->got));
                if (item->kind != RECHECK_RIGHT)
                        r = repair_item(&repair, item, emit, arg);
        }
        for (const struct recheck_name *n = NULL; r == 0 && (n = recheck_names_next(&v->names, n));)
                r = repair_name(&repair, n, emit, arg); /* after the files: those bring their links along */
        if (r != 0) {
                json_decref(repair.damaged);
                return r;
        }
        end_run(v);
        *ret = json_pack("{s:I, s:I, s:I, s:I, s:f, s:o, s:I}", "files", (json_int_t)v->plan.count, "names",
                         (json_int_t)v->names.looked, "size", (json_int_t)v->read, "skipped", (json_int_t)v->skipped,
                         "seconds", (double)(clock_ms() - began_ms) / 1000, "damaged", repair.damaged, "left",
                         (json_int_t)repair.left);
        return *ret ? 0 : -ENOMEM;
}

static void verify_done(struct verify *v)
{
        recheck_plan_done(&v->plan);
        recheck_names_done(&v->names);
        free(v->repos);
        free(v->verified);
        lock_done(&v->lock);
}

int verify_run(struct service *s, const struct verify_request *q, pull_event_fn emit, void *arg,
               const atomic_bool *cancel, json_t **ret, struct errmsg *err)
{
        CLEANUP(verify_done) struct verify v = { .service = s, .request = q };
        uint64_t began_ms = clock_ms();
        int r;

        lock_init(&v.lock);
        r = make_plan(&v, err);
        if (r == 0)
                r = tell_plan(&v, emit, arg);
        if (r == 0)
                r = look(&v, emit, arg, cancel);
        if (r == 0)
                r = look_at_names(&v, emit, arg, cancel, err);
        if (r == 0)
                r = conclude(&v, emit, arg, began_ms, cancel, ret);
        if (r == -ECANCELED)
                return errmsg_set(err, r, "interrupted with %zu of %zu files looked at; the same command goes on",
                                  (size_t)v.done, v.plan.count);
        return r;
}
