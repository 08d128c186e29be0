/*
 * Rechecking what the store holds, files and the names that lead to them, and repairing it. Runs in the daemon for a
 * client, or in the client itself; either way it tells by events.
 *
 * A run that ends early is gone on with by the next one: the catalogue knows when it began, and when each file
 * was last found to be right.
 *
 * Events     {"kind": "plan", "files", "size", "skipped", "began"}: skipped were found right since an earlier
 *            run began (wall seconds; 0: this is a new one)
 *            {"kind": "progress", "files", "read", "damaged"}: so far; read: bytes
 *            {"kind": "repair", "repo", "path"}: begins with this one
 * Result     {"files", "names", "size", "skipped", "seconds", "damaged": [{"repo", "path", "etag", "size", "what",
 *            "got", "repaired", "note", "readers", "more_readers"}], "left"}: left are those of damaged that were
 *            not repaired; readers is report_readers(), of those who opened it in the daemon's time
 * Threads    Any; it has workers of its own, at idle priority.
 */
#pragma once

#include "cli/pull.h"

struct verify_request {
        struct strings repos; /* as repo_parse() takes them, without revisions; none: all */
        bool repair, all;     /* all: also what an interrupted run has found right */
};

/* 0 and the result, which the caller owns. -ECANCELED after *@cancel became true; others with a sentence. */
int verify_run(struct service *s, const struct verify_request *q, pull_event_fn emit, void *arg,
               const atomic_bool *cancel, json_t **ret, struct errmsg *err);
