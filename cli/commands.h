/*
 * The subcommands. Each gets options that are complete (environment and configuration file read)
 * and the words that are none, and returns the exit status: 0, 1 for a failure, 2 for wrong usage.
 */
#pragma once

#include "cli/client.h"
#include "cli/options.h"

#include <stdatomic.h>

int command_mount(struct options *o, const struct strings *words);
int command_unmount(struct options *o, const struct strings *words);
int command_pull(struct options *o, const struct strings *words);
int command_ls(struct options *o, const struct strings *words);
int command_status(struct options *o, const struct strings *words);
int command_verify(struct options *o, const struct strings *words);
int command_offline(struct options *o, const struct strings *words);

/* `mount.weightfs SOURCE MNT [-sfnv] [-o OPTIONS] …`, as mount(8) calls its helpers. */
int mount_helper(int argc, char **argv);

/* "weightfs: sentence" on standard error; returns 1, or 2 for usage. */
int complain(const struct errmsg *err, int r);
int complain_usage(enum command command, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * Finds the daemon that is meant and connects. 0; 1 when none runs: o->store and o->state are then
 * filled in; negative errno with a sentence, also for a mount whose daemon is dead, unless the
 * command can do without and the store was named.
 */
int find_and_connect(struct options *o, const char *mnt, struct client *ret, char **ret_point,
                     struct errmsg *err);

/* The level and the components that --verbose and --log ask for. */
void set_log(const struct options *o, enum command command);

/* Set by SIGINT and SIGTERM after interrupt_watch(). */
extern atomic_bool interrupted;
void interrupt_watch(void);
