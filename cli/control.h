/*
 * The far end of the control socket, STATE/control.sock: answers the commands of client.h's
 * protocol for the daemon's own user and root.
 *
 * Commands   ping, status, ls, incomplete, pull, verify, offline, unmount.
 * Threads    One accepts; each connection has one of its own, at most CONTROL_CONNECTIONS.
 */
#pragma once

#include "cli/service.h"

#define CONTROL_CONNECTIONS 32

struct control;

/* Binds the socket and starts to answer. A socket left by a dead daemon is replaced: the caller
 * holds the lock of STATE. 0; negative errno with a sentence. */
int control_new(struct service *s, struct control **ret, struct errmsg *err);

/* Ends what runs (pulls are cancelled), lets answers under way be written, removes the socket.
 * NULL is fine; returns NULL. */
struct control *control_free(struct control *c);
