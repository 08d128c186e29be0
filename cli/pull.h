/*
 * Pulling a repo: makes the hub's answer known, then fills all files that match, several at once.
 * Runs in the daemon for a client, or in the client itself; either way it tells by events.
 *
 * Events     {"kind": "plan", "repo", "commit", "files": [[path, size, held, duplicate], …]}
 *            {"kind": "progress", "files": [[index, held, state], …]}, state 0: waits, 1: runs,
 *            2: done, 3: failed; only what changed
 *            {"kind": "failed", "file": index, "error": sentence}
 * Result     {"repo", "commit", "files", "bytes", "already", "seconds"}
 * Threads    Any; a pull stays on the thread that called.
 */
#pragma once

#include "cli/service.h"

#include <jansson.h>

struct pull_request {
        enum repo_type type;
        char name[REPO_NAME_MAX + 1];
        char revision[REVISION_MAX + 1]; /* "": main */
        struct strings include, exclude;
};
void pull_request_done(struct pull_request *q);

/* Nonzero ends the pull with that result. Takes @event over. */
typedef int (*pull_event_fn)(void *arg, json_t *event);

/*
 * 0 and the result, which the caller owns. Negative errno with a sentence: nothing that arrived is
 * lost. -ECANCELED after *@cancel became true.
 */
int pull_run(struct service *s, const struct pull_request *q, pull_event_fn emit, void *arg,
             const atomic_bool *cancel, json_t **ret, struct errmsg *err);

/* True for a path that --include and --exclude let through. "folder/" means all below it. */
bool pull_matches(const struct pull_request *q, const char *path);
