/*
 * Requests that wait for fetch/ without holding a thread.
 *
 * A handler asks a question; if the answer is not known now, the request is copied to the heap
 * with two references: one for the answer, one for the asking thread, which has yet to store the
 * wait handle. The answer queues the request on the reply threads, where its handler runs again.
 *
 * Invariants
 *   Q1  Every request is answered exactly once, by the thread that runs its handler to an end.
 *   Q2  An INTERRUPT (interrupt.c) only cancels the wait; the answer (-ECANCELED) comes the ordinary way.
 *       libfuse calls on_interrupt() with the request's lock held, so the reply thread first takes the
 *       function back (fuse_req_interrupt_func(NULL) waits for that lock), and only then replies.
 *   Q3  No lock of ours is held while fetch/ or libfuse is called, except fs.serving, shared: who
 *       takes it exclusively is the last of the session.
 *   Q4  Once the session has ended no handler runs, and no wait is cancelled: fetch/ goes before the reply
 *       threads do, since its end answers what is still parked.
 */
#define LOG_COMPONENT "fs"

#include "fs/asker.h"
#include "fs/internal.h"
#include "fs/interrupt.h"

struct parked {
        struct request rq;
        struct work work;
        struct waiter waiter;
        enum question_kind kind; /* that is being asked */
        struct lock lock;
        struct fetch_wait *wait; /* protected by lock; NULL until stored */
        bool cancelled;          /* protected by lock */
        atomic_uint refs;
};

static void parked_unref(struct parked *p)
{
        if (atomic_fetch_sub(&p->refs, 1) != 1)
                return;
        fetch_wait_unref(p->wait);
        lock_done(&p->lock);
        free((char *)p->rq.name);
        free(p);
}

static void hold_waiter(struct waiter *w)
{
        atomic_fetch_add(&CONTAINER_OF(w, struct parked, waiter)->refs, 1);
}

static void drop_waiter(struct waiter *w)
{
        parked_unref(CONTAINER_OF(w, struct parked, waiter));
}

static void cancel_waiter(struct waiter *w)
{
        struct parked *p = CONTAINER_OF(w, struct parked, waiter);
        struct fetch_wait *wait;

        lock_take(&p->lock);
        p->cancelled = true;
        wait = p->wait;
        lock_drop(&p->lock);
        if (wait)
                fetch_cancel(wait);
}

const struct waiter_ops request_waiter_ops = {
        .hold = hold_waiter,
        .drop = drop_waiter,
        .cancel = cancel_waiter,
};

static void on_interrupt(fuse_req_t req, void *data)
{
        struct parked *p = data;

        interrupts_came(p->rq.fs->interrupts, &p->waiter, fuse_req_ctx(req)->pid);
}

/* No INTERRUPT is heard any more: the request is about to be answered. */
static void stop_interrupts(struct parked *p)
{
        fuse_req_interrupt_func(p->rq.req, NULL, NULL);
        interrupts_forget(p->rq.fs->interrupts, &p->waiter);
}

/* On a reply thread: the question was answered; the handler runs again. */
static void resume(struct work *w)
{
        struct parked *p = CONTAINER_OF(w, struct parked, work);

        struct fs *fs = p->rq.fs;

        stop_interrupts(p);
        atomic_fetch_sub(&fs->parked, 1);
        pthread_rwlock_rdlock(&fs->serving);
        if (fs->unmounted)
                fuse_reply_err(p->rq.req, ENODEV); /* nobody waits any longer, and fetch/ may be gone */
        else
                request_run(&p->rq);
        pthread_rwlock_unlock(&fs->serving);
        parked_unref(p);
}

static void on_answer(void *arg, int result)
{
        struct parked *p = arg;

        p->rq.answers[p->kind] = result;
        workq_push(p->rq.fs->replies, &p->work, resume);
}

/* A heap copy that may outlive the session thread's stack, with both references. */
static struct parked *parked_new(const struct request *rq)
{
        struct parked *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        p->rq = *rq;
        if (rq->name) {
                p->rq.name = strdup(rq->name);
                if (!p->rq.name) {
                        free(p);
                        return NULL;
                }
        }
        lock_init(&p->lock);
        list_init(&p->work.node);
        list_init(&p->waiter.node);
        p->refs = 2;
        return p;
}

/* Stores the wait handle; what was cancelled before it came is so now. */
static int parked_settle(struct parked *p, struct fetch_wait *wait)
{
        bool cancelled;

        lock_take(&p->lock);
        p->wait = wait;
        cancelled = p->cancelled;
        lock_drop(&p->lock);
        if (cancelled)
                fetch_cancel(wait);
        parked_unref(p);
        return FETCH_PENDING;
}

struct question {
        enum question_kind kind;
        enum repo_type type; /* ASK_REPO */
        const char *text;    /* repo name or revision */
        int64_t repo;        /* ASK_REVISION */
        struct blob *blob;   /* ASK_OPEN, ASK_READ */
        uint64_t start, end; /* ASK_READ */
};

static uint64_t tell_asker(void *arg)
{
        const struct fuse_ctx *who = fuse_req_ctx(arg);

        return asker_of(who->pid, who->uid);
}

static int put_question(struct fs *fs, const struct question *q, struct parked *p, struct fetch_wait **ret)
{
        struct fetch_asker asker = { .tell = tell_asker, .arg = p->rq.req };

        switch (q->kind) {
        case ASK_REPO:
                return fetch_repo(fs->fetch, q->type, q->text, &asker, on_answer, p, ret);
        case ASK_REVISION:
                return fetch_revision(fs->fetch, q->repo, q->text, &asker, on_answer, p, ret);
        case ASK_OPEN:
                return fetch_open(fs->fetch, q->blob, on_answer, p, ret);
        case ASK_READ:
                return fetch_read(fs->fetch, q->blob, q->start, q->end, on_answer, p, ret);
        }
        return -EINVAL;
}

static int ask(struct request *rq, const struct question *q)
{
        struct fs *fs = rq->fs;
        struct fetch_wait *wait = NULL;
        struct parked *p;
        int r;

        if (rq->asked[q->kind])
                return rq->answers[q->kind]; /* a question comes once; later ones build on it */
        p = parked_new(rq);
        if (!p)
                return -ENOMEM;
        p->kind = q->kind;
        p->rq.asked[q->kind] = true;
        atomic_fetch_add(&fs->parked, 1);
        fuse_req_interrupt_func(rq->req, on_interrupt, p);
        r = put_question(fs, q, p, &wait);
        if (r == FETCH_PENDING)
                return parked_settle(p, wait);
        stop_interrupts(p);
        atomic_fetch_sub(&fs->parked, 1);
        rq->asked[q->kind] = true;
        rq->answers[q->kind] = r;
        parked_unref(p);
        parked_unref(p);
        return r;
}

int ask_repo(struct request *rq, enum repo_type type, const char *name)
{
        return ask(rq, &(struct question){ .kind = ASK_REPO, .type = type, .text = name });
}

int ask_revision(struct request *rq, int64_t repo, const char *revision)
{
        return ask(rq, &(struct question){ .kind = ASK_REVISION, .repo = repo, .text = revision });
}

int ask_open(struct request *rq, struct blob *b)
{
        return ask(rq, &(struct question){ .kind = ASK_OPEN, .blob = b });
}

int ask_read(struct request *rq, struct blob *b, uint64_t start, uint64_t end)
{
        return ask(rq, &(struct question){ .kind = ASK_READ, .blob = b, .start = start, .end = end });
}

/* What an errno does not tell, for people; empty where it says all there is. */
static const char *reason(int r)
{
        switch (r) {
        case FETCH_E_FORBIDDEN:
                return "the hub does not give it out: gated, private or disabled, or it refuses the token";
        case FETCH_E_UNREACHABLE:
                return "the hub could not be asked, or failed, and nothing held answers";
        case FETCH_E_CORRUPT:
                return "it is in the quarantine; 'weightfs verify --repair' tries again";
        case FETCH_E_LIMIT:
                return "its repo may bring no more in this hour (--max-fetch)";
        case -ENOSPC:
                return "what is missing of it does not fit the store, or needs what --keep-free keeps";
        default:
                return "";
        }
}

/* "models/Org/Name: path", by the first place that lists the blob; empty where none is known. */
static void name_file(struct request *rq, char *ret, size_t size)
{
        struct commit commit;
        struct entry entry;
        struct repo repo;

        ret[0] = '\0';
        if (rq->node.kind == NODE_BLOB &&
            catalog_blob_place_next(rq->fs->catalog, rq->node.id, 0, 0, &repo, &commit, &entry) == 0)
                snprintf(ret, size, "%s/%s: %s", repo_type_plural(repo.type), repo.name, entry.path);
}

static void log_failure(struct request *rq, int r)
{
        static struct log_ratelimit limit;
        char file[REPO_NAME_MAX + ENTRY_PATH_MAX + 16] = "";
        const char *why = reason(r);

        if (!log_wanted(LOG_LEVEL_WARN, LOG_COMPONENT) ||
            !log_ratelimit_ok(&limit, LOG_LEVEL_WARN, LOG_COMPONENT))
                return;
        if (rq->op != OP_LOOKUP)
                name_file(rq, file, sizeof(file));
        log_warn("%s answered with %s (asked by pid %d, uid %u)%s%s%s%s",
                 rq->op == OP_LOOKUP ? rq->name : rq->op == OP_OPEN ? "open" : "read", strerror(errno_of(r)),
                 (int)fuse_req_ctx(rq->req)->pid, (unsigned)fuse_req_ctx(rq->req)->uid, file[0] ? ": " : "", file,
                 why[0] ? ": " : "", why);
}

static void reply_failure(struct request *rq, int r)
{
        int e = errno_of(r);

        if (e != ENOENT && e != EINTR) {
                atomic_fetch_add(&rq->fs->errors, 1);
                log_failure(rq, r);
        }
        fuse_reply_err(rq->req, e);
}

static int run_lookup(struct request *rq)
{
        struct found found = {};
        int r = lookup_name(rq, rq->node, rq->name, &found);
        struct fuse_entry_param e = {};

        if (r == FETCH_PENDING)
                return r;
        if (r == 0) {
                e.ino = node_pack(found.node);
                e.attr = found.attr;
                e.attr_timeout = found.attr_timeout;
                e.entry_timeout = found.entry_timeout;
        } else if (errno_of(r) == ENOENT && found.negative_timeout > 0) {
                e.entry_timeout = found.negative_timeout; /* ino 0: a cached absence */
        } else {
                return r;
        }
        e.generation = rq->fs->generation;
        fuse_reply_entry(rq->req, &e);
        return 0;
}

void request_run(struct request *rq)
{
        int r = -EINVAL;

        switch (rq->op) {
        case OP_LOOKUP:
                r = run_lookup(rq);
                break;
        case OP_OPEN:
                r = file_open(rq);
                break;
        case OP_READ:
                r = file_read(rq);
                break;
        }
        if (r != 0 && r != FETCH_PENDING)
                reply_failure(rq, r);
}
