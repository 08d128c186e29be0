/*
 * INTERRUPTs of requests that wait: who is to break off is cancelled, now or when such a signal comes.
 *
 * Threads    Any. The functions of waiter_ops are called from any thread; cancel() and drop() with no lock held,
 *            hold() under one.
 */
#pragma once

#include "base/list.h"

#include <sys/types.h>

struct interrupts;

/* Embedded in what waits. */
struct waiter {
        struct list node; /* list_init() before the first call */
        pid_t tid;        /* of the thread that asks */
};

struct waiter_ops {
        void (*hold)(struct waiter *w); /* it must not go before drop() */
        void (*drop)(struct waiter *w);
        void (*cancel)(struct waiter *w); /* it will be answered EINTR, unless its answer is there */
};

/* 0 or negative errno. */
int interrupts_new(const struct waiter_ops *ops, struct interrupts **ret);
/* All waiters are forgotten. NULL is allowed; returns NULL. */
struct interrupts *interrupts_free(struct interrupts *x);

/* The session is over, and no INTERRUPT comes any more: once this returns nobody is looked at, or being cancelled. */
void interrupts_end(struct interrupts *x);

/* An INTERRUPT came for @w, of thread @tid. */
void interrupts_came(struct interrupts *x, struct waiter *w, pid_t tid);
/* @w is being answered. An INTERRUPT that comes now must not be told any more. */
void interrupts_forget(struct interrupts *x, struct waiter *w);
