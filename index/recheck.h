/*
 * Rechecking: what lies in STORE/hub under the name of a blob is looked at and hashed, whoever put it there,
 * and what the catalogue believes to be held is looked for. Nothing in the store is changed or set aside here; an
 * adopted file that turns out to be right gets the names that it lacks.
 *
 * Bytes are read past the page cache where the file system can do that: what is hashed is what the disk
 * has, and what readers have in memory stays there.
 *
 * Errors     0 or negative errno.
 * Ownership  The plan owns its items; they stay where they are once the plan is made.
 * Threads    A plan is made by one thread. recheck_examine() from any, for different items.
 */
#pragma once

#include "index/index.h"

#include <stdatomic.h>

enum recheck_kind {
        RECHECK_RIGHT,
        RECHECK_CHANGED,     /* the hash is not what the name says */
        RECHECK_CUT,         /* shorter than the listing says */
        RECHECK_GROWN,       /* longer */
        RECHECK_MISSING,     /* believed to be held, and not there */
        RECHECK_LINK,        /* a link that leads elsewhere */
        RECHECK_NO_FILE,     /* neither a file nor a link */
        RECHECK_UNREADABLE,  /* error says why */
        RECHECK_MODE,        /* right, but others may write to it, or its owner may not read it */
        RECHECK_QUARANTINED, /* what came was wrong twice: not held */
};

struct recheck_item {
        enum repo_type type;
        const char *hub_name; /* of the repo, as the store has it */
        int64_t repo, blob;   /* rows; blob 0: no listing that is known names it */
        uint64_t size;        /* as listed; of what no listing names, the file's */
        char etag[ETAG_MAX + 1];
        int64_t verified; /* struct blob_row's */
        size_t same_as;   /* the item that is the same file, or its own index */
        /* by recheck_examine() */
        enum recheck_kind kind;
        char got[ETAG_MAX + 1]; /* RECHECK_CHANGED: the hash that it has */
        int error;              /* RECHECK_UNREADABLE: negative errno */
};

struct recheck_repo; /* inside */
struct recheck_file;

struct recheck_plan {
        struct recheck_item *items; /* heap */
        size_t count, capacity;
        struct recheck_repo *repos; /* uthash: those planned */
        struct recheck_file *files; /* uthash: by device and inode */
};

/* Adds what a repo's folder holds, and what it lists and should hold. A folder that was planned already (two
 * names of one repo) adds nothing. Items of kind RECHECK_MISSING and RECHECK_QUARANTINED need no examining. */
int recheck_plan_repo(struct recheck_plan *p, struct index *ix, const struct repo *repo);
void recheck_plan_done(struct recheck_plan *p);

/*
 * Looks at one item and sets its kind. @read (may be NULL) grows with the bytes that were hashed. An adopted
 * blob that is right is complete from then on, as is one that was put there by hand. 0; -ECANCELED.
 */
int recheck_examine(struct index *ix, struct recheck_item *item, const atomic_bool *cancel,
                    _Atomic uint64_t *read);
