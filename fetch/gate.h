/*
 * The gate: whether the network may be used, and how the hub was when last asked.
 *
 *      ONLINE --close--> CLOSING --shut--> OFFLINE --open--> OPENING --opened--> ONLINE
 *                           `------------ open -------------^
 *                        OPENING --close--> CLOSING
 *      FOR_GOOD: started offline; no way leads out.
 *
 * gate_close() and gate_open() say what is wanted; the filler's thread does it (it alone calls
 * hub_suspend() and hub_resume()) and reports with gate_shut() and gate_opened(). Everything but
 * ONLINE is offline to those who ask; while CLOSING, only what is being read goes on.
 *
 * Threads    Any thread. The mode is read without the lock; it changes under it.
 */
#pragma once

#include "fetch/wait.h"

enum gate_mode { GATE_ONLINE, GATE_CLOSING, GATE_OFFLINE, GATE_OPENING, GATE_FOR_GOOD };

struct gate {
        struct lock lock;
        _Atomic enum gate_mode mode; /* written under lock */
        atomic_bool parks;           /* reads wait for the way back, as asked with @now; under lock */
        struct list askers;          /* of the switch that goes on; protected by lock */
        _Atomic uint64_t reached_ms; /* clock_ms() when the hub last answered; 0: never */
        _Atomic uint64_t failed_ms;  /* ... when it last did not; 0: never, or it has answered since */
};

void gate_init(struct gate *g, bool for_good);
void gate_done(struct gate *g); /* the askers were answered */

bool gate_is_offline(const struct gate *g);
enum gate_mode gate_mode(const struct gate *g);
/* True when a read of what is not held waits instead of failing. */
bool gate_parks(struct gate *g);

/* Asks for a switch. 0: it is so already; -EPERM: for good; -ENOMEM; or FETCH_PENDING. Askers of the
 * opposite that still wait get -ECANCELED. @done may be NULL. */
int gate_close(struct gate *g, bool now, fetch_done_fn done, void *arg);
int gate_open(struct gate *g, fetch_done_fn done, void *arg);

/* The filler's reports. The askers are answered. False when the opposite was asked meanwhile. */
bool gate_shut(struct gate *g);
bool gate_opened(struct gate *g);
/* Answers whoever waits with -ECANCELED, at the end. */
void gate_abandon(struct gate *g);

/* ---- how the hub was ---- */

void gate_note_reached(struct gate *g);
void gate_note_failed(struct gate *g);
/* What failed before says nothing of what will be: somebody asks for the hub himself. So does gate_opened(). */
void gate_forget_failed(struct gate *g);
/* The hub answered within the last @ms, and nothing failed since. */
bool gate_reached_within(struct gate *g, uint64_t ms);
bool gate_failed_within(struct gate *g, uint64_t ms);
