/*
 * Policy: which repos may be asked for at all.
 *
 * A glob is matched against "Org/Name" for models (and "models/Org/Name"), against
 * "datasets/Org/Name" and "spaces/Org/Name" for the others; "*" matches "/" too. A repo is allowed
 * when no deny glob matches and, where there are allow globs, one of them does.
 *
 * Threads    A policy never changes once made.
 */
#pragma once

#include "base/errmsg.h"
#include "base/names.h"

#define POLICY_GLOB_MAX 256

struct policy {
        char **allow, **deny; /* heap, NULL-ended; NULL: none given */
};

/* Copies the globs (NULL-ended lists; NULL: none). -EINVAL with a sentence for one that cannot be
 * meant; -ENOMEM. */
int policy_init(struct policy *p, const char *const *allow, const char *const *deny, struct errmsg *err);
void policy_done(struct policy *p);

bool policy_allows(const struct policy *p, enum repo_type type, const char *name);
/* True when a deny glob matches: asked also for the present name of a repo asked for by an old one. */
bool policy_denies(const struct policy *p, enum repo_type type, const char *name);
