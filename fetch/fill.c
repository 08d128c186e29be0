/*
 * The table of fills and the questions asked of them. States and invariants: fill_internal.h.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>

#define HUB_FRESH_MS 5000 /* an open trusts a good location when the hub answered so recently */

/* ---- fills ---- */

void filler_poke_locked(struct filler *fl)
{
        fl->poked = true;
        pthread_cond_signal(&fl->wake);
}

void filler_poke(struct filler *fl)
{
        lock_take(&fl->lock);
        filler_poke_locked(fl);
        lock_drop(&fl->lock);
}

static void fill_free(struct fill *f)
{
        blob_unref(f->blob);
        free(f);
}

void filler_leave(struct filler *fl)
{
        struct list answers = LIST_INIT(answers), dead = LIST_INIT(dead), *node;

        list_splice(&answers, &fl->answers);
        list_splice(&dead, &fl->dead);
        lock_drop(&fl->lock);
        waits_answer(&answers);
        while ((node = list_pop(&dead)))
                fill_free(LIST_OWNER(node, struct fill, node));
}

static struct fill *fill_new(struct filler *fl, struct blob *b)
{
        struct fill *f = calloc(1, sizeof(*f));

        if (!f)
                return NULL;
        f->filler = fl;
        f->id = blob_id(b);
        list_init(&f->reads);
        list_init(&f->wholes);
        list_init(&f->opens);
        list_init(&f->transfers);
        return f;
}

struct fill *fill_get_locked(struct filler *fl, struct blob *b)
{
        int64_t id = blob_id(b);
        struct fill *f;

        HASH_FIND(hh, fl->fills, &id, sizeof(id), f);
        if (!f) {
                f = fill_new(fl, b);
                if (!f)
                        return NULL;
                HASH_ADD(hh, fl->fills, id, sizeof(f->id), f);
                if (!HASH_ADDED(f)) {
                        free(f);
                        return NULL;
                }
                f->blob = blob_ref(b);
                list_push(&fl->idle, &f->node);
                fl->idle_count++;
        }
        f->touched_ms = clock_ms();
        return f;
}

void fill_move_locked(struct filler *fl, struct fill *f, enum fill_place place)
{
        struct list *lists[] = {
                [FILL_IDLE] = &fl->idle, [FILL_QUEUED] = &fl->queued, [FILL_ACTIVE] = &fl->active
        };

        if (f->place == place)
                return;
        fl->idle_count += place == FILL_IDLE;
        fl->idle_count -= f->place == FILL_IDLE;
        f->place = place;
        list_remove(&f->node);
        list_push(lists[place], &f->node);
}

bool fill_has_waits(const struct fill *f)
{
        return !list_empty(&f->reads) || !list_empty(&f->wholes) || !list_empty(&f->opens);
}

bool fill_answers(const struct fill *f, uint64_t start, uint64_t end)
{
        return f->filler->o.strict ? blob_state(f->blob) == BLOB_COMPLETE : blob_holds(f->blob, start, end);
}

bool fill_whole_awaited(const struct fill *f)
{
        return !list_empty(&f->wholes) || (f->filler->o.strict && !list_empty(&f->reads));
}

bool fill_all_held(struct fill *f)
{
        return blob_held_bytes(f->blob) == blob_size(f->blob);
}

/* K1: takes it out of the table; it is freed by filler_leave(). */
static void fill_bury_locked(struct filler *fl, struct fill *f) REQUIRES(fl->lock)
{

        fill_drop_location(f);
        HASH_DEL(fl->fills, f);
        list_remove(&f->node);
        if (f->place == FILL_IDLE)
                fl->idle_count--;
        list_push(&fl->dead, &f->node);
}

static void trim_idle_locked(struct filler *fl) REQUIRES(fl->lock)
{
        uint64_t now = clock_ms();

        while (!list_empty(&fl->idle)) {
                struct fill *f = LIST_OWNER(fl->idle.next, struct fill, node);

                if (fl->idle_count <= FILL_IDLE_MAX && now - f->touched_ms < FILL_IDLE_MS)
                        return;
                fill_bury_locked(fl, f);
        }
}

void fill_settle_locked(struct filler *fl, struct fill *f)
{

        if (f->place == FILL_IDLE || f->transfer_count > 0 || f->jobs > 0 || fill_has_waits(f))
                return;
        if (blob_state(f->blob) != BLOB_FILLING) {
                fill_bury_locked(fl, f);
                return;
        }
        if (f->rest || f->along || f->dirty || fill_next_missing(f))
                return;
        f->next_end = 0;
        fill_move_locked(fl, f, FILL_IDLE);
        trim_idle_locked(fl);
}

void fill_fail_opens_locked(struct filler *fl, struct fill *f, int result)
{
        waits_enlist(&f->opens, result, &fl->answers);
}

void fill_give_up_locked(struct filler *fl, struct fill *f)
{
        if (f->along)
                along_forget_locked(fl);
        f->rest = f->along = f->before_shut = false;
        f->next_end = 0;
}

void fill_fail_locked(struct filler *fl, struct fill *f, int result)
{
        waits_enlist(&f->opens, result, &fl->answers);
        waits_enlist(&f->reads, result, &fl->answers);
        waits_enlist(&f->wholes, result, &fl->answers);
        fill_give_up_locked(fl, f);
}

void filler_job_start_locked(struct filler *fl, struct workq *q, int64_t id, void (*run)(struct work *w))
{
        struct filler_job *job = calloc(1, sizeof(*job));

        if (!job)
                return;
        job->filler = fl;
        job->id = id;
        fl->jobs++;
        workq_push(q, &job->work, run);
}

void filler_job_ended_locked(struct filler *fl)
{
        fl->jobs--;
        pthread_cond_broadcast(&fl->quiet);
}

void filler_job_end(struct filler_job *job)
{
        struct filler *fl = job->filler;

        lock_take(&fl->lock);
        filler_job_ended_locked(fl);
        lock_drop(&fl->lock);
        free(job);
}

void fill_job_begin_locked(struct filler *fl, struct fill *f)
{
        f->jobs++;
        fl->jobs++;
}

void fill_job_end_locked(struct filler *fl, struct fill *f)
{
        f->jobs--;
        filler_job_ended_locked(fl);
        filler_poke_locked(fl);
}

/* ---- questions ---- */

static bool reads_are_refused(struct filler *fl, const struct fill *f)
{
        switch (gate_mode(fl->o.gate)) {
        case GATE_ONLINE:
        case GATE_OPENING:
                return false;
        case GATE_CLOSING:
                return !f->before_shut && !gate_parks(fl->o.gate);
        case GATE_OFFLINE:
                return !gate_parks(fl->o.gate);
        default:
                return true;
        }
}

/* Adds a wait to one of the fill's lists. FETCH_PENDING or -ENOMEM. */
static int wait_for_locked(struct filler *fl, struct fill *f, struct list *list, uint64_t deadline,
                           fetch_done_fn done, void *arg, struct fetch_wait **ret_wait,
                           struct fetch_wait **ret) REQUIRES(fl->lock)
{
        struct fetch_wait *w = wait_new(&fl->lock, done, arg);

        if (!w)
                return -ENOMEM;
        w->owner = f;
        w->deadline = deadline;
        wait_hand_out(w, ret_wait);
        list_push(list, &w->node);
        if (ret)
                *ret = w;
        if (list != &f->wholes)
                fill_move_locked(fl, f, FILL_ACTIVE);
        else if (f->place == FILL_IDLE)
                fill_move_locked(fl, f, FILL_QUEUED);
        filler_poke_locked(fl);
        return FETCH_PENDING;
}

/* The blob's fill, for somebody who is about to wait. 0, -ECANCELED or -ENOMEM. */
static int claim_locked(struct filler *fl, struct blob *b, struct fill **ret) REQUIRES(fl->lock)
{
        if (fl->stopping)
                return -ECANCELED;
        *ret = fill_get_locked(fl, b);
        return *ret ? 0 : -ENOMEM;
}

static uint64_t deadline_in(unsigned seconds)
{
        return clock_ms() + (uint64_t)seconds * 1000;
}

void fill_finish_soon(struct filler *fl, struct blob *b)
{
        struct fill *f;

        lock_take(&fl->lock);
        f = fl->stopping ? NULL : fill_get_locked(fl, b);
        if (f) {
                f->rest = true;
                fill_move_locked(fl, f, FILL_ACTIVE);
                filler_poke_locked(fl);
        }
        lock_drop(&fl->lock);
}

static int open_filling(struct filler *fl, struct blob *b, fetch_done_fn done, void *arg,
                        struct fetch_wait **ret_wait)
{
        struct fill *f;
        int r;

        lock_take(&fl->lock);
        r = claim_locked(fl, b, &f);
        if (r == 0 &&
            (!fill_location_good(f, clock_ms()) || !gate_reached_within(fl->o.gate, HUB_FRESH_MS)))
                r = wait_for_locked(fl, f, &f->opens, deadline_in(fl->o.lookup_deadline_s), done, arg,
                                    ret_wait, NULL);
        lock_drop(&fl->lock);
        return r;
}

/* Strict: an adopted blob is hashed before anything of it is served. */
static int await_verdict(struct filler *fl, struct blob *b, fetch_done_fn done, void *arg,
                         struct fetch_wait **ret_wait)
{
        struct fill *f;
        int r;

        lock_take(&fl->lock);
        r = claim_locked(fl, b, &f);
        if (r == 0 && blob_state(b) == BLOB_ADOPTED) /* else just now */
                r = wait_for_locked(fl, f, &f->wholes, deadline_in(fl->o.read_deadline_s), done, arg,
                                    ret_wait, NULL);
        if (r == FETCH_PENDING) /* needs no network, whatever is queued for that */
                fill_move_locked(fl, f, FILL_ACTIVE);
        lock_drop(&fl->lock);
        return r;
}

int filler_open(struct filler *fl, struct blob *b, fetch_done_fn done, void *arg,
                struct fetch_wait **ret_wait)
{
        enum blob_state state = blob_state(b);
        bool offline = gate_is_offline(fl->o.gate);
        int r;

        if (state == BLOB_QUARANTINED)
                return FETCH_E_CORRUPT;
        if (blob_state_whole(state)) {
                filler_along(fl, b);
                return fl->o.strict && state == BLOB_ADOPTED ? await_verdict(fl, b, done, arg, ret_wait) : 0;
        }
        if (blob_held_bytes(b) == blob_size(b)) { /* only to be verified: offline that must be awaited */
                if (offline)
                        return filler_whole(fl, b, done, arg, ret_wait);
                fill_finish_soon(fl, b);
                return 0;
        }
        if (offline)
                return FETCH_E_OFFLINE;
        r = fill_check_space(fl, b);
        if (r == 0)
                r = fill_check_limit(fl, b);
        return r != 0 ? r : open_filling(fl, b, done, arg, ret_wait);
}

/* A read is noted for the streams, also where its bytes are held: they go on with readahead. */
static struct plan_stream *note_read_locked(struct filler *fl, struct fill *f, uint64_t start, uint64_t end,
                                            bool held) REQUIRES(fl->lock)
{
        struct plan_stream *s = plan_note_read(&f->seen, start, end, held, clock_ms());
        bool loaded = fl->o.complete == COMPLETE_TOUCHED ||
                      (fl->o.complete == COMPLETE_READ && plan_is_loaded(&f->seen, blob_size(f->blob)));

        if (fl->o.hub && !f->rest && gate_mode(fl->o.gate) == GATE_ONLINE && (loaded || fill_all_held(f))) {
                f->rest = true;
                fill_move_locked(fl, f, FILL_ACTIVE);
                filler_poke_locked(fl);
        }
        if (fl->o.hub && gate_mode(fl->o.gate) == GATE_ONLINE)
                fill_next_locked(fl, f, end);
        return s;
}

/* The kernel's second try at a read that was given up. */
static bool is_repeat_locked(struct fill *f, uint64_t start)
{
        for (size_t i = 0; i < FILL_GIVEN_UP_MAX; i++) {
                struct fill_given_up *g = &f->given_up[i];

                if (start < g->start || start >= g->end || clock_ms() - g->ms > FILL_GIVEN_UP_MS)
                        continue;
                g->end = 0;
                return true;
        }
        return false;
}

static int read_locked(struct filler *fl, struct fill *f, uint64_t start, uint64_t end, fetch_done_fn done,
                       void *arg, struct fetch_wait **ret_wait) REQUIRES(fl->lock)
{
        bool held = fill_answers(f, start, end); /* K2: under the lock */
        struct plan_stream *s = note_read_locked(fl, f, start, end, held);
        struct fetch_wait *w;
        int r;

        if (held) {
                /* The pump finds out whether it is time to read ahead; it looks by itself when a transfer
                 * ends, and what is completed anyway needs no readahead. */
                if (s->run > PLAN_PEEK && !f->rest && fl->transfers < fl->tune.max) {
                        fill_move_locked(fl, f, FILL_ACTIVE);
                        filler_poke_locked(fl);
                }
                return 0;
        }
        if (blob_state(f->blob) == BLOB_QUARANTINED) /* just now: nobody would answer */
                return FETCH_E_CORRUPT;
        if (reads_are_refused(fl, f) && !fill_all_held(f)) /* what is only to be verified needs no network */
                return FETCH_E_OFFLINE;
        if (is_repeat_locked(f, start))
                return FETCH_E_UNREACHABLE;
        if (list_empty(&f->reads)) /* what failed for others who gave up may be well by now */
                f->retry_ms = min_u64(f->retry_ms, f->told_ms);
        r = wait_for_locked(fl, f, &f->reads, deadline_in(fl->o.read_deadline_s), done, arg, ret_wait, &w);
        if (r == FETCH_PENDING) {
                w->start = start;
                w->end = end;
                w->run = s->run;
                list_push(&fl->demands, &w->queue);
        }
        return r;
}

int filler_read(struct filler *fl, struct blob *b, uint64_t start, uint64_t end, fetch_done_fn done,
                void *arg, struct fetch_wait **ret_wait)
{
        enum blob_state state = blob_state(b);
        struct fill *f;
        int r;

        end = min_u64(end, blob_size(b));
        if (start >= end || state == BLOB_COMPLETE || (state == BLOB_ADOPTED && !fl->o.strict))
                return 0;
        if (state == BLOB_ADOPTED)
                return await_verdict(fl, b, done, arg, ret_wait);
        if (state == BLOB_QUARANTINED)
                return FETCH_E_CORRUPT;
        lock_take(&fl->lock);
        r = claim_locked(fl, b, &f);
        if (r == 0)
                r = read_locked(fl, f, start, end, done, arg, ret_wait);
        lock_drop(&fl->lock);
        if (r == 0 || r == FETCH_PENDING)
                filler_along(fl, b);
        return r;
}

int filler_whole(struct filler *fl, struct blob *b, fetch_done_fn done, void *arg,
                 struct fetch_wait **ret_wait)
{
        enum blob_state state = blob_state(b);
        struct fill *f;
        int r;

        if (blob_state_whole(state))
                return 0;
        if (state == BLOB_QUARANTINED)
                return FETCH_E_CORRUPT;
        if (gate_is_offline(fl->o.gate) && blob_held_bytes(b) < blob_size(b))
                return FETCH_E_OFFLINE;
        r = fill_check_space(fl, b);
        if (r < 0)
                return r;
        lock_take(&fl->lock);
        r = claim_locked(fl, b, &f);
        if (r == 0 && !blob_state_whole(blob_state(b))) /* else just now: nobody would answer */
                r = wait_for_locked(fl, f, &f->wholes, deadline_in(fl->o.read_deadline_s), done, arg,
                                    ret_wait, NULL);
        lock_drop(&fl->lock);
        return r;
}

void fill_want_along(struct filler *fl, struct blob *b)
{
        struct fill *f;

        if (blob_state(b) != BLOB_FILLING)
                return;
        lock_take(&fl->lock);
        f = fl->stopping || gate_is_offline(fl->o.gate) ? NULL : fill_get_locked(fl, b);
        if (f) {
                f->along = true;
                if (f->place == FILL_IDLE)
                        fill_move_locked(fl, f, FILL_QUEUED);
                filler_poke_locked(fl);
        }
        lock_drop(&fl->lock);
}
