/*
 * The near end of the control socket: finding the daemon that is meant, and asking it.
 *
 * Protocol   One JSON object per line. A request has "command"; an answer is {"result": …} or
 *            {"error": "sentence", "errno": N}, and before it any number of {"event": …}.
 * Errors     0; negative errno with a sentence.
 * Threads    None of its own.
 */
#pragma once

#include "cli/mounts.h"
#include "cli/options.h"

#include <jansson.h>

enum client_answer {
        CLIENT_ALIVE,  /* it answered */
        CLIENT_SILENT, /* somebody has the state folder, but did not answer within seconds */
        CLIENT_DEAD,   /* nobody is there */
};
/* Asks the daemon of a state folder whether it lives; its pid where it does. */
enum client_answer client_probe(const char *state, pid_t *ret_pid);

struct client {
        int fd;    /* -1: not connected */
        int pidfd; /* of the daemon, to wait for its end; -1: unknown */
        pid_t pid;
        struct line_reader *reader;
};

/*
 * Connects to the daemon of @state. -ENOENT, -ECONNREFUSED: none runs (@err stays as it is);
 * others, e.g. -EACCES for another user's daemon, with a sentence.
 */
int client_connect(const char *state, struct client *ret, struct errmsg *err);
void client_close(struct client *c);

/* Called for each event before the answer; nonzero ends the wait with that result. */
typedef int (*client_event_fn)(void *arg, const json_t *event);

/* Sends @request (taken over) and waits for the answer: 0 and its "result", which the caller owns;
 * or negative errno with the daemon's sentence. @timeout_ms for each line, 0: none. */
int client_ask(struct client *c, json_t *request, unsigned timeout_ms, client_event_fn event, void *arg,
               json_t **ret, struct errmsg *err);

/*
 * Which daemon is meant: @mnt, else mount_point, else state or store where somebody said one, else
 * the only weightfs mount, else the default state folder; to unmount, the only one is not taken
 * unless it has the default state folder. Sets o->state (and o->store where it
 * follows), both real. @ret_point: the mount's point, NULL where nothing is mounted; caller's.
 */
int client_find(struct options *o, const char *mnt, char **ret_point, struct errmsg *err);
