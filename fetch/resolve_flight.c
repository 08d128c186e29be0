/*
 * Flights: joined or begun by questions, run in steps, ended once; and the turns that strangers take.
 * Invariants: resolve_internal.h.
 */
#include "fetch/resolve_internal.h"

#define LOG_COMPONENT "resolve"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>

static void run_step(struct work *w)
{
        struct flight *f = CONTAINER_OF(w, struct flight, work);

        f->next(f);
}

void flight_step(struct flight *f, void (*next)(struct flight *f))
{
        f->next = next;
        workq_push(f->rs->o.names, &f->work, run_step);
}

static uint64_t usual_ms(const struct resolver *rs)
{
        return (uint64_t)rs->o.deadline_s * 1000;
}

/* Makes a flight, and has it begin. NULL: no memory. */
static struct flight *flight_new_locked(struct resolver *rs, const struct flight *wanted,
                                        void (*first)(struct flight *f), uint64_t ms) REQUIRES(rs->lock)
{
        struct flight *f = calloc(1, sizeof(*f));

        if (!f)
                return NULL;
        *f = *wanted;
        f->rs = rs;
        f->first = first;
        f->began_ms = clock_ms();
        f->deadline = f->began_ms + ms;
        list_init(&f->waits);
        list_init(&f->turn);
        HASH_ADD_STR(rs->flights, key, f);
        if (!HASH_ADDED(f)) {
                free(f);
                return NULL;
        }
        rs->flying++;
        flight_step(f, first);
        return f;
}

static int join_locked(struct resolver *rs, const struct flight *wanted, void (*first)(struct flight *f),
                       struct fetch_wait *w) REQUIRES(rs->lock)
{
        struct flight *f;

        if (rs->stopping)
                return -ECANCELED;
        HASH_FIND_STR(rs->flights, wanted->key, f);
        if (f && f->aside && wanted->asker != 0)
                return 0; /* R5; but who asks for himself has come for the hub's word */
        if (!f)
                f = flight_new_locked(rs, wanted, first, usual_ms(rs));
        if (!f)
                return -ENOMEM;
        w->deadline = clock_ms() + usual_ms(rs);
        list_push(&f->waits, &w->node);
        return FETCH_PENDING;
}

int flight_join(struct resolver *rs, const struct flight *wanted, void (*first)(struct flight *f),
                fetch_done_fn done, void *arg, struct fetch_wait **ret_wait)
{
        struct fetch_wait *w = wait_new(&rs->lock, done, arg);
        int r;

        if (!w)
                return -ENOMEM;
        lock_take(&rs->lock);
        r = join_locked(rs, wanted, first, w);
        if (r == FETCH_PENDING)
                wait_hand_out(w, ret_wait);
        lock_drop(&rs->lock);
        if (r != FETCH_PENDING)
                fetch_wait_unref(w);
        return r;
}

/* ---- aside ---- */

/* The name that failed last leaves others some of the time: it alone may be what the hub fails for. */
static bool may_go_aside_locked(const struct resolver *rs, const char *key) REQUIRES(rs->lock)
{
        uint64_t sooner = strcmp(key, rs->aside_key) != 0 ? RESOLVE_ASIDE_SOONER_MS : 0;

        return !rs->stopping && !rs->aside && clock_ms() + sooner >= rs->aside_ms;
}

static void put_aside_locked(struct resolver *rs, struct flight *f) REQUIRES(rs->lock)
{
        f->aside = rs->aside = true;
        strcpy(rs->aside_key, f->key);
}

void flight_begin_aside(struct resolver *rs, const struct flight *wanted, void (*first)(struct flight *f))
{
        struct flight *f;

        lock_take(&rs->lock);
        HASH_FIND_STR(rs->flights, wanted->key, f);
        f = !f && may_go_aside_locked(rs, wanted->key) ? flight_new_locked(rs, wanted, first, usual_ms(rs)) : NULL;
        if (f)
                put_aside_locked(rs, f);
        lock_drop(&rs->lock);
}

bool flight_go_aside(struct flight *f)
{
        struct list answers = LIST_INIT(answers);
        struct resolver *rs = f->rs;
        bool ok;

        lock_take(&rs->lock);
        ok = may_go_aside_locked(rs, f->key);
        if (ok) {
                put_aside_locked(rs, f);
                f->hasty = false;
                f->deadline = clock_ms() + usual_ms(rs);
                waits_enlist(&f->waits, 0, &answers);
        }
        lock_drop(&rs->lock);
        waits_answer(&answers);
        return ok;
}

bool flight_is_aside(struct flight *f)
{
        bool aside;

        lock_take(&f->rs->lock);
        aside = f->aside;
        lock_drop(&f->rs->lock);
        return aside;
}

/* ---- the end, and turns ---- */

/* Beyond their share they come last; but where their time is over they only end, and do not wait for that until
 * nobody asks within his. */
static struct list *next_turn_locked(struct resolver *rs) REQUIRES(rs->lock)
{
        bool over = !list_empty(&rs->late) && clock_ms() >= LIST_OWNER(rs->late.next, struct flight, turn)->deadline;

        return list_pop(over || list_empty(&rs->queued) ? &rs->late : &rs->queued);
}

/* Lets the next lookup go that waits for its turn. */
static void pass_turn_locked(struct resolver *rs) REQUIRES(rs->lock)
{
        struct list *node = next_turn_locked(rs);
        struct flight *f;

        if (!node) {
                rs->lookups--;
                return;
        }
        f = LIST_OWNER(node, struct flight, turn);
        f->has_turn = true;
        workq_push(rs->o.names, &f->work, run_step);
}

/* R6: a flight for those who joined @f late. Their first steps, not what @f has learnt. */
static void fly_again_locked(struct resolver *rs, struct flight *f) REQUIRES(rs->lock)
{
        uint64_t half = usual_ms(rs) / 2, middle = f->began_ms + (f->deadline - f->began_ms) / 2;
        struct flight wanted = { .type = f->type, .repo.id = f->repo.id, .asker = f->asker };
        struct flight *again;
        struct list late = LIST_INIT(late);

        LIST_FOREACH(node, &f->waits) {
                struct fetch_wait *w = LIST_OWNER(node, struct fetch_wait, node);

                if (w->deadline < middle + 2 * half || w->deadline < clock_ms() + half)
                        continue;
                list_remove(&w->node);
                list_push(&late, &w->node);
        }
        if (list_empty(&late))
                return;
        strcpy(wanted.key, f->key);
        strcpy(wanted.name, f->name);
        strcpy(wanted.revision, f->revision);
        again = flight_new_locked(rs, &wanted, f->first, half);
        list_splice(again ? &again->waits : &f->waits, &late);
}

void flight_end(struct flight *f, int result)
{
        struct list answers = LIST_INIT(answers);
        struct resolver *rs = f->rs;

        if ((result == -ECANCELED || result == -ENETDOWN) && gate_is_offline(rs->o.gate))
                result = FETCH_E_OFFLINE;
        log_debug("%s: %d", f->key, result);
        lock_take(&rs->lock);
        HASH_DEL(rs->flights, f);
        if (f->has_turn)
                pass_turn_locked(rs);
        if (f->aside) {
                rs->aside = false;
                rs->aside_ms = clock_ms() + RESOLVE_ASIDE_MS;
        }
        if (result == FETCH_E_UNREACHABLE && !f->folder) /* which has another revision than was asked for */
                fly_again_locked(rs, f);
        if (result == FETCH_E_ABSENT || result == FETCH_E_FORBIDDEN)
                memory_refuse(&rs->memory, f->key, result, clock_ms());
        waits_enlist(&f->waits, result, &answers);
        lock_drop(&rs->lock);
        waits_answer(&answers);
        tree_done(&f->tree);
        free(f);
        lock_take(&rs->lock);
        rs->flying--;
        pthread_cond_broadcast(&rs->quiet);
        lock_drop(&rs->lock);
}

static void turn_came(struct flight *f)
{
        if (clock_ms() >= f->deadline) /* waited too long for it */
                flight_end(f, FETCH_E_UNREACHABLE);
        else
                f->after_turn(f);
}

void flight_take_turn(struct flight *f, enum memory_stranger kind, void (*next)(struct flight *f))
{
        struct resolver *rs = f->rs;
        bool scarce = hub_is_scarce(rs->o.hub);
        enum memory_may may = MEMORY_REFUSED;
        int r = 0;

        lock_take(&rs->lock);
        if (!scarce && !rs->stopping)
                may = memory_may_ask(&rs->memory, kind, f->asker, clock_ms());
        if (rs->stopping) {
                r = -ECANCELED;
        } else if (may == MEMORY_REFUSED) {
                r = FETCH_E_UNREACHABLE; /* R2: nobody has said that it does not exist */
                rs->not_asked++;
        } else if (rs->lookups < RESOLVE_LOOKUPS_MAX) {
                rs->lookups++;
                f->has_turn = true;
        } else {
                f->next = turn_came;
                f->after_turn = next;
                list_push(may == MEMORY_WITHIN ? &rs->queued : &rs->late, &f->turn);
                r = FETCH_PENDING;
        }
        lock_drop(&rs->lock);
        if (r == FETCH_E_UNREACHABLE)
                log_ratelimited(LOG_LEVEL_WARN, "%s/%s%s%s: too many unknown names are asked for; not looked up%s",
                                repo_type_plural(f->type), f->name, f->revision[0] ? "@" : "", f->revision,
                                scarce ? ", since the hub's rate limit is nearly used up" : "");
        if (r == 0)
                next(f);
        else if (r != FETCH_PENDING)
                flight_end(f, r);
}

static void info_came(void *arg, int result, const struct hub_repo_info *info)
{
        struct flight *f = arg;

        f->hub_result = result;
        if (result == 0)
                f->info = *info;
        flight_step(f, f->next);
}

void flight_ask_info(struct flight *f, const char *name, const char *revision, void (*next)(struct flight *f))
{
        struct resolver *rs = f->rs;
        struct hub_call *call = NULL;
        int r;

        f->next = next;
        r = hub_repo_info(rs->o.hub, f->type, name, revision, f->deadline, info_came, f, &call);
        if (r == 0)
                hub_call_unref(call); /* f may be gone already */
        else
                info_came(f, r, NULL);
}

int flight_judge(struct flight *f, int hub_result)
{
        struct resolver *rs = f->rs;
        int r = fetch_result(hub_result);

        if (r == 0 || r == FETCH_E_ABSENT || r == FETCH_E_FORBIDDEN)
                gate_note_reached(rs->o.gate);
        else if (r == FETCH_E_UNREACHABLE)
                gate_note_failed(rs->o.gate);
        if (hub_result == HUB_E_MALFORMED)
                log_ratelimited(LOG_LEVEL_ERROR, "%s/%s: the hub's answer is not what its API promises",
                                repo_type_plural(f->type), f->name);
        return r;
}
