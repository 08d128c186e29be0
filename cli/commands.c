/*
 * What the subcommands share.
 */
#include "cli/commands.h"

#include "cli/paths.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

#define LOG_COMPONENT "cli"
#include "base/log.h"

atomic_bool interrupted;

int complain(const struct errmsg *err, int r)
{
        fprintf(stderr, "weightfs: %s\n", errmsg_get(err, r));
        return 1;
}

int complain_usage(enum command command, const char *fmt, ...)
{
        va_list ap;

        fputs("weightfs: ", stderr);
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
        fprintf(stderr, "; see 'weightfs help %s'\n", command_word(command));
        return 2;
}

/* What works on a store needs no daemon, also while the mount of one that died is still there. The store must have
 * led to that mount: from a mount point only the state folder is known, which may be another store's. */
static bool works_alone(const struct options *o)
{
        return (o->command == COMMAND_LS || o->command == COMMAND_PULL || o->command == COMMAND_VERIFY) &&
               option_given(o, OPTION_STORE) && !o->mount_point;
}

int find_and_connect(struct options *o, const char *mnt, struct client *ret, char **ret_point,
                     struct errmsg *err)
{
        CLEANUP_FREE char *point = NULL;
        int r = client_find(o, mnt, &point, err);

        if (r < 0)
                return r;
        r = client_connect(o->state, ret, err);
        if (r == -ENOENT || r == -ECONNREFUSED) {
                if (!point)
                        return 1;
                if (works_alone(o)) {
                        r = paths_of_store(o, err);
                        return r < 0 ? r : 1;
                }
                return errmsg_set(
                        err, -ENOTCONN,
                        "the daemon of the mount %s is gone; 'weightfs unmount %s' clears the mount", point,
                        point);
        }
        if (r < 0)
                return r;
        if (ret_point)
                *ret_point = take_ptr(point);
        return 0;
}

void set_log(const struct options *o, enum command command)
{
        int level = (command == COMMAND_MOUNT ? LOG_LEVEL_INFO : LOG_LEVEL_WARN) + (int)o->verbose;

        log_set_level(level > LOG_LEVEL_DEBUG ? LOG_LEVEL_DEBUG : (enum log_level)level);
        log_set_components(o->log);
}

static void note_interrupt(int sig)
{
        (void)sig;
        interrupted = true;
}

void interrupt_watch(void)
{
        struct sigaction action = { .sa_handler = note_interrupt, .sa_flags = (int)SA_RESETHAND };

        /* the second one ends us at once; no SA_RESTART, so that waits notice the first */
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        signal(SIGPIPE, SIG_IGN);
}
