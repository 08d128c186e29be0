/*
 * Inside the resolver. resolve_flight.c: flights; resolve.c: repos; resolve_revision.c: revisions.
 *
 * A flight runs in steps on the names pool (flight_step()); between two steps a call of hub.h may be
 * under way, whose answer brings the next step. It ends once, with flight_end().
 *
 * Invariants
 *   R1  At most one flight per key; a question joins it or begins it, under the resolver's lock.
 *   R2  "Unreachable" is never remembered as a name that does not exist, nor given as one.
 *   R3  A ref is set after its commit's whole listing is in the store and the catalogue.
 *   R4  A ref is removed only when the hub knows the repo and not the ref: a repo that seems to be
 *       gone (perhaps the token is) loses nothing that is held.
 *   R5  Who could be answered with what is held waits at most RESOLVE_HELD_MS for an answer, and not at all
 *       while the last word on the hub is that it fails: then one flight at a time asks it aside, with nobody
 *       waiting, until it answers.
 *   R6  Who joins a flight in its second half does not inherit that the hub could not be reached: what made it
 *       fail may have been over by then. All of those share one more flight, which ends within their time.
 */
#pragma once

#include "fetch/resolve.h"
#include "fetch/resolve_memory.h"

#include "base/table.h"

#include <pthread.h>

#define RESOLVE_LOOKUPS_MAX 20   /* lookups of strangers under way; others wait their turn */
#define RESOLVE_REF_LIFE_S 60
#define RESOLVE_HELD_MS 2000     /* how long the hub is waited for where something held answers too */
#define RESOLVE_FAILED_MS 600000 /* an older failure, after which nobody asked, says nothing of the hub now */
#define RESOLVE_ASIDE_MS 3000    /* between the end of a flight aside and the next one of the same name */
#define RESOLVE_ASIDE_SOONER_MS 1500 /* so much sooner comes one of another name */

struct resolver {
        struct resolver_options o;

        struct lock lock;
        pthread_cond_t quiet;
        struct flight *flights; /* uthash by key; protected by lock, as all that follows */
        struct memory memory;
        struct list queued, late; /* struct flight.turn: wait for a lookup to end; late: beyond their asker's share */
        unsigned lookups;
        uint64_t not_asked;     /* strangers that were not looked up: too many */
        unsigned flying;        /* flights, those included that are just ending */
        bool aside;             /* a flight is aside */
        uint64_t aside_ms;      /* none begins before this; of another name than aside_key, somewhat earlier */
        char aside_key[MEMORY_KEY_MAX]; /* of the last one */
        bool stopping;
};

struct flight {
        UT_hash_handle hh;
        struct resolver *rs;
        struct list waits; /* protected by rs->lock */
        struct list turn;  /* in rs->queued or rs->late; protected by rs->lock */
        bool has_turn;     /* counts in rs->lookups; protected by rs->lock */
        bool aside;        /* nobody waits for it, since what is held has answered; protected by rs->lock */
        char key[MEMORY_KEY_MAX];

        /* the flight's own: one step at a time touches them */
        struct work work;
        void (*first)(struct flight *f);
        void (*next)(struct flight *f);
        void (*after_turn)(struct flight *f);
        uint64_t began_ms, deadline;
        uint64_t asker; /* who asked first, as struct fetch_asker tells; 0: this process, for a person */
        enum repo_type type;
        char name[REPO_NAME_MAX + 1];
        char revision[REVISION_MAX + 1];
        struct repo repo;
        bool hasty;           /* something held answers at the deadline, which is near */
        bool hinted;          /* the commit is known from the lookup of the repo */
        bool folder;          /* no ref has the name asked for, but one below it was found: revision */
        char below[REVISION_MAX + 1]; /* that ref, as the hub's list of refs gave it */
        char sha[COMMIT_HEX + 1];
        int64_t last_modified;
        int hub_result;       /* of the call that has ended */
        struct hub_repo_info info;
        struct tree tree;
};

/* What @asker tells; it takes a look at /proc, so only where a flight is needed. */
uint64_t resolver_asker(const struct fetch_asker *asker);
/* Joins the flight of @wanted's key or begins one; @wanted is copied. FETCH_PENDING or an errno. */
int flight_join(struct resolver *rs, const struct flight *wanted, void (*first)(struct flight *f),
                fetch_done_fn done, void *arg, struct fetch_wait **ret_wait);
/* The same with nobody waiting, for what is held: not while another flight is aside, or was a moment ago. */
void flight_begin_aside(struct resolver *rs, const struct flight *wanted, void (*first)(struct flight *f));
/* Puts a hasty flight that failed aside, with all its time: who waited gets what is held. False: not now. */
bool flight_go_aside(struct flight *f);
/* True when it is not for those who could be answered with what is held. */
bool flight_is_aside(struct flight *f);
/* Runs @next on the names pool. */
void flight_step(struct flight *f, void (*next)(struct flight *f));
/* Answers who waits, and remembers a refusal for a while. */
void flight_end(struct flight *f, int result);
/* Asks the hub about the repo, at @revision or NULL; @next finds hub_result and info. */
void flight_ask_info(struct flight *f, const char *name, const char *revision,
                     void (*next)(struct flight *f));
/* One more stranger, which costs requests though perhaps nobody but a container's loop wants it: @next is run
 * now, later, or never, and then the flight has ended as unreachable. */
void flight_take_turn(struct flight *f, enum memory_stranger kind, void (*next)(struct flight *f));
/* Notes how the hub was, and translates. */
int flight_judge(struct flight *f, int hub_result);
