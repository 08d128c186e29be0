/*
 * Implementation of wait.h.
 */
#include "fetch/wait.h"

#include <errno.h>

struct fetch_wait *wait_new(struct lock *lock, fetch_done_fn done, void *arg)
{
        struct fetch_wait *w = calloc(1, sizeof(*w));

        if (!w)
                return NULL;
        list_init(&w->node);
        list_init(&w->queue);
        w->lock = lock;
        w->refs = 1;
        w->done = done;
        w->arg = arg;
        return w;
}

void wait_hand_out(struct fetch_wait *w, struct fetch_wait **ret_wait)
{
        if (!ret_wait)
                return;
        atomic_fetch_add(&w->refs, 1);
        *ret_wait = w;
}

void fetch_wait_unref(struct fetch_wait *w)
{
        if (w && atomic_fetch_sub(&w->refs, 1) == 1)
                free(w);
}

void wait_enlist(struct fetch_wait *w, int result, struct list *answers)
{
        list_remove(&w->node);
        list_remove(&w->queue);
        w->result = result;
        atomic_store(&w->decided, true);
        list_push(answers, &w->node);
}

void waits_enlist(struct list *waits, int result, struct list *answers)
{
        LIST_FOREACH(node, waits)
                wait_enlist(LIST_OWNER(node, struct fetch_wait, node), result, answers);
}

void waits_answer(struct list *answers)
{
        struct list *node;

        while ((node = list_pop(answers))) {
                struct fetch_wait *w = LIST_OWNER(node, struct fetch_wait, node);

                w->done(w->arg, w->result);
                fetch_wait_unref(w);
        }
}

void fetch_cancel(struct fetch_wait *w)
{
        if (!w || atomic_load(&w->decided)) /* W3: the owner and its lock may be gone */
                return;
        lock_take(w->lock);
        if (atomic_load(&w->decided)) {
                lock_drop(w->lock);
                return;
        }
        list_remove(&w->node);
        list_remove(&w->queue);
        atomic_store(&w->decided, true);
        lock_drop(w->lock);
        w->done(w->arg, -ECANCELED);
        fetch_wait_unref(w);
}
