/*
 * Rechecking of names: what in STORE/hub leads to blobs, and would mislead a client that uses it without a daemon.
 * Refs hold 40 hex digits of a commit that is there; links of snapshots lead to the blob that the listing says;
 * trees/<commit>.json parses and agrees with the listing in the catalogue. Whether a blob is there and right is
 * recheck.h's matter: a right link to a missing one is no finding here.
 *
 * What others keep there and no listing knows is left alone, as are files in place of links (caches made where
 * links are impossible) and what is absolute and leads to the right blob of the repo.
 *
 * Errors     0 or negative errno.
 * Ownership  The list owns its findings; they stay where they are.
 * Threads    One at a time for a list.
 */
#pragma once

#include "index/index.h"

#include <stdatomic.h>

enum recheck_name_kind { RECHECK_NAME_REF, RECHECK_NAME_LINK, RECHECK_NAME_LISTING };

enum recheck_name_fault {
        RECHECK_NAME_RIGHT,
        RECHECK_NAME_MISSING,    /* known, and not there; a link only where its blob is complete */
        RECHECK_NAME_BROKEN,     /* no ref, no link, no listing is there, but something else */
        RECHECK_NAME_WRONG,      /* a ref: of a commit that is not here; others: not what the catalogue says */
        RECHECK_NAME_UNREADABLE, /* error says why */
};

struct recheck_name; /* one finding; opaque but for: */
enum recheck_name_kind recheck_name_kind(const struct recheck_name *n);
enum recheck_name_fault recheck_name_fault(const struct recheck_name *n);
int recheck_name_error(const struct recheck_name *n); /* RECHECK_NAME_UNREADABLE: negative errno */
const struct repo *recheck_name_repo(const struct recheck_name *n);
/* Below the repo's folder: "refs/main", "snapshots/<commit>/a/b", "trees/<commit>.json". */
const char *recheck_name_path(const struct recheck_name *n);

struct recheck_names {
        struct recheck_name *first; /* uthash, in the order in which they were found */
        uint64_t looked;            /* at so many names */
};
void recheck_names_done(struct recheck_names *l);
const struct recheck_name *recheck_names_next(const struct recheck_names *l, const struct recheck_name *after);

/* Looks at the names in a repo's folder. A repo of which the store has no folder has none. Also -ECANCELED. */
int recheck_names_repo(struct recheck_names *l, struct index *ix, const struct repo *repo, const atomic_bool *cancel);

/*
 * Makes a name what the catalogue says, and looks at it again. 0, also when it was right by now; -ENODATA: the
 * catalogue does not know what it should be; -ENXIO: a link whose blob is not held; -EEXIST: what is in its place
 * could not be replaced; others.
 */
int recheck_name_mend(struct index *ix, const struct recheck_name *n);
