/*
 * The daemon: from checked options to a mount that serves, and back.
 *
 * Order      confinement, index, log, fs, fetch, mount, control socket, READY, adoption in the
 *            background, serving; torn down the other way round.
 * Signals    SIGTERM and SIGINT unmount and end; SIGHUP is noted (the token file is re-read by
 *            itself). All are blocked in every thread but one, which waits for them.
 */
#pragma once

#include "cli/options.h"

/*
 * Mounts and serves as @o says; its paths were made real by paths_check_mount(). Returns the exit
 * status of the process. Not in front: the calling process ends when the mount is ready, and this
 * returns in a child.
 */
int daemon_run(struct options *o);
