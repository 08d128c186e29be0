/*
 * Who opened a complete blob, remembered so that they can be named when a recheck finds its file damaged. The
 * kernel may read such a file alone, so an open is all that is known of its readers.
 *
 * An open costs a look into two small tables. What a process is called is looked up in /proc later, on another
 * thread, and is known for a while for all that this thread of it opens.
 *
 *   O1  Memory is bounded: the last BLOB_READERS_MAX openers of each of the last BLOBS_MAX blobs, the last
 *       THREADS threads, PENDING names to be looked up. Beyond that a process has its number alone.
 */
#include "index/blob_internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define BLOBS_MAX 1024
#define THREADS 256
#define PENDING 64
#define THREAD_KNOWN_MS 10000 /* then its number may be another's */

struct opener {
        pid_t tid;
        struct blob_reader who; /* pid is tid until it is named */
};

struct opened {
        UT_hash_handle hh;
        struct list node; /* in openers->recent */
        int64_t blob;
        struct opener at[BLOB_READERS_MAX]; /* the last one first */
        size_t count;
        unsigned more;
};

struct thread {
        pid_t tid; /* 0: free */
        uint64_t known_ms;
        struct blob_reader who;
};

struct openers {
        struct lock lock; /* for all that follows */
        struct opened *by_blob; /* uthash */
        struct list recent;     /* oldest first */
        struct thread threads[THREADS];
        struct {
                int64_t blob;
                pid_t tid;
                uid_t uid;
        } pending[PENDING];
        size_t pending_count;
        bool asked; /* somebody was told to name them, and has not begun */
};

struct openers *openers_new(void)
{
        struct openers *o = calloc(1, sizeof(*o));

        if (o) {
                lock_init(&o->lock);
                list_init(&o->recent);
        }
        return o;
}

static void forget_locked(struct openers *o, struct opened *l) REQUIRES(o->lock)
{
        HASH_DEL(o->by_blob, l);
        list_remove(&l->node);
        free(l);
}

struct openers *openers_free(struct openers *o)
{
        struct opened *l, *next;

        if (!o)
                return NULL;
        HASH_ITER(hh, o->by_blob, l, next) {
                HASH_DEL(o->by_blob, l);
                free(l);
        }
        lock_done(&o->lock);
        free(o);
        return NULL;
}

static struct opened *find_locked(struct openers *o, int64_t blob) REQUIRES(o->lock)
{
        struct opened *l;

        HASH_FIND(hh, o->by_blob, &blob, sizeof(blob), l);
        return l;
}

/* The openers of a blob, as the most recent one. NULL without memory. */
static struct opened *touch_locked(struct openers *o, int64_t blob) REQUIRES(o->lock)
{
        struct opened *l = find_locked(o, blob);

        if (l) {
                list_remove(&l->node);
                list_push(&o->recent, &l->node);
                return l;
        }
        l = calloc(1, sizeof(*l));
        if (!l)
                return NULL;
        l->blob = blob;
        HASH_ADD(hh, o->by_blob, blob, sizeof(l->blob), l);
        if (!HASH_ADDED(l)) {
                free(l);
                return NULL;
        }
        list_push(&o->recent, &l->node);
        if (HASH_COUNT(o->by_blob) > BLOBS_MAX)
                forget_locked(o, CONTAINER_OF(o->recent.next, struct opened, node));
        return l;
}

static void remove_at(struct opened *l, size_t i)
{
        memmove(&l->at[i], &l->at[i + 1], (l->count - i - 1) * sizeof(l->at[0]));
        l->count--;
}

/* Puts an opener first; the same process is there once. */
static void put_first(struct opened *l, const struct opener *op)
{
        for (size_t i = 0; i < l->count; i++)
                if (l->at[i].who.pid == op->who.pid && l->at[i].who.uid == op->who.uid) {
                        remove_at(l, i);
                        break;
                }
        if (l->count == BLOB_READERS_MAX) {
                l->count--;
                l->more++;
        }
        memmove(&l->at[1], &l->at[0], l->count * sizeof(l->at[0]));
        l->at[0] = *op;
        l->count++;
}

/* True when it was there already, by the thread: its time is that of its last open. */
static bool again(struct opened *l, pid_t tid, uid_t uid, int64_t at)
{
        for (size_t i = 0; i < l->count; i++)
                if (l->at[i].tid == tid && l->at[i].who.uid == uid) {
                        l->at[i].who.at = at;
                        return true;
                }
        return false;
}

static const struct blob_reader *known_locked(const struct openers *o, pid_t tid, uid_t uid) REQUIRES(o->lock)
{
        const struct thread *t = &o->threads[(unsigned)tid % THREADS];

        return t->tid == tid && t->who.uid == uid && clock_ms() - t->known_ms < THREAD_KNOWN_MS ? &t->who : NULL;
}

/* True when somebody is to be told to name what is pending. */
static bool add_locked(struct openers *o, int64_t blob, pid_t tid, uid_t uid) REQUIRES(o->lock)
{
        struct opened *l = touch_locked(o, blob);
        struct opener op = { .tid = tid, .who = { .pid = tid, .uid = uid } };
        const struct blob_reader *known;
        int64_t now = clock_wall_s();

        if (!l || again(l, tid, uid, now))
                return false;
        known = known_locked(o, tid, uid);
        if (known)
                op.who = *known;
        op.who.at = now;
        put_first(l, &op);
        if (known || tid <= 0 || o->pending_count == PENDING)
                return false;
        o->pending[o->pending_count].blob = blob;
        o->pending[o->pending_count].tid = tid;
        o->pending[o->pending_count++].uid = uid;
        if (o->asked)
                return false;
        o->asked = true;
        return true;
}

bool blob_note_opener(struct blob *b, pid_t tid, uid_t uid)
{
        struct openers *o = b->table->openers;
        bool ask;

        lock_take(&o->lock);
        ask = add_locked(o, b->id, tid, uid);
        lock_drop(&o->lock);
        return ask;
}

static void name_locked(struct openers *o, int64_t blob, pid_t tid, const struct blob_reader *who) REQUIRES(o->lock)
{
        struct opened *l = find_locked(o, blob);
        struct opener op;

        for (size_t i = 0; l && i < l->count; i++)
                if (l->at[i].tid == tid && l->at[i].who.uid == who->uid) {
                        op = l->at[i];
                        op.who.pid = who->pid;
                        memcpy(op.who.comm, who->comm, sizeof(op.who.comm));
                        remove_at(l, i);
                        put_first(l, &op); /* the process once, by whichever of its threads */
                        return;
                }
}

void blobs_name_openers(struct blobs *t)
{
        struct openers *o = t->openers;

        lock_take(&o->lock);
        o->asked = false;
        while (o->pending_count > 0) {
                __typeof__(o->pending[0]) p = o->pending[--o->pending_count];
                const struct blob_reader *known = known_locked(o, p.tid, p.uid);
                struct blob_reader who;

                if (known) {
                        who = *known;
                } else {
                        lock_drop(&o->lock);
                        who = blob_reader_of(p.tid, p.uid);
                        lock_take(&o->lock);
                        o->threads[(unsigned)p.tid % THREADS] = (struct thread){ p.tid, clock_ms(), who };
                }
                name_locked(o, p.blob, p.tid, &who);
        }
        lock_drop(&o->lock);
}

void blob_get_openers(struct blob *b, struct blob_readers *ret)
{
        struct openers *o = b->table->openers;
        const struct opened *l;

        *ret = (struct blob_readers){};
        lock_take(&o->lock);
        l = find_locked(o, b->id);
        for (size_t i = 0; l && i < l->count; i++)
                ret->at[ret->count++] = l->at[i].who;
        ret->more = l ? l->more : 0;
        lock_drop(&o->lock);
}

void blob_forget_openers(struct blob *b)
{
        struct openers *o = b->table->openers;
        struct opened *l;

        lock_take(&o->lock);
        l = find_locked(o, b->id);
        if (l)
                forget_locked(o, l);
        lock_drop(&o->lock);
}
