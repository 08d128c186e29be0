/*
 * weightfs unmount: by the daemon where it lives, else without it.
 */
#include "cli/commands.h"

#include "cli/confine.h"
#include "cli/show.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define ANSWER_MS 60000
#define END_MS 60000 /* syncing what is half filled takes its time */
#define LAZY_MS 2000 /* who uses a detached mount may do so for long */

/* A dead or hung daemon must leave nobody waiting. Should this fail, the detaching that follows is
 * what counts. */
static void abort_at(const char *point)
{
        CLEANUP(mount_table_done) struct mount_table mounts = {};
        const struct mount_entry *m = NULL;

        if (mount_table_read(&mounts) == 0)
                m = mount_table_at(&mounts, point);
        if (m && mount_is_weightfs(m))
                mount_abort(m->device_minor);
}

static int without_daemon(const char *point, bool lazy, enum client_answer state, struct errmsg *err)
{
        int r;

        if (state == CLIENT_SILENT && !lazy)
                return errmsg_set(
                        err, -ETIMEDOUT,
                        "the daemon of %s does not answer; 'weightfs unmount --lazy %s' detaches the mount "
                        "and ends what waits for it",
                        point, point);
        abort_at(point);
        r = unmount_directly(point, true);
        if (r < 0)
                return errmsg_set(err, r, "%s cannot be unmounted: %s", point, strerror(-r));
        fprintf(stderr, "weightfs: the daemon of %s %s; the mount is cleared\n", point,
                state == CLIENT_DEAD ? "was gone" : "did not answer");
        return 0;
}

static int wait_for_end(const struct client *c, const char *point, bool lazy)
{
        struct pollfd p = { .fd = c->pidfd, .events = POLLIN };

        if (c->pidfd >= 0 && poll(&p, 1, lazy ? LAZY_MS : END_MS) == 0)
                fprintf(stderr, "weightfs: %s is %s; the daemon (pid %d) %s\n", point,
                        lazy ? "detached" : "unmounted", (int)c->pid,
                        lazy ? "ends with its last user" : "still finishes its work");
        return 0;
}

static int by_daemon(struct client *c, const char *point, bool lazy, struct errmsg *err)
{
        json_t *incomplete = NULL, *answer = NULL;
        int r = client_ask(c, json_pack("{s:s}", "command", "incomplete"), ANSWER_MS, NULL, NULL, &incomplete,
                           err);

        if (r == -ETIMEDOUT)
                return without_daemon(point, lazy, CLIENT_SILENT, err);
        if (r == 0)
                r = client_ask(c, json_pack("{s:s, s:b}", "command", "unmount", "lazy", lazy), ANSWER_MS,
                               NULL, NULL, &answer, err);
        /* a confined daemon may lack the right that we have */
        if (r == -EPERM || r == -EIO || r == -EACCES)
                r = unmount_directly(point, lazy);
        /* the daemon may have been gone before its answer was written: then it did as told */
        if (r == -ECONNRESET && incomplete)
                r = 0;
        if (r == 0)
                show_incomplete(stdout, incomplete);
        json_decref(incomplete);
        json_decref(answer);
        return r < 0 ? r : wait_for_end(c, point, lazy);
}

static int unmount(struct options *o, const char *mnt, struct errmsg *err)
{
        CLEANUP_FREE char *point = NULL;
        struct client c = { .fd = -1, .pidfd = -1 };
        pid_t pid;
        int r = client_find(o, mnt, &point, err);

        if (r < 0)
                return r;
        if (!point)
                return errmsg_set(err, -ENOENT, "no weightfs is mounted whose state folder is %s", o->state);
        r = client_connect(o->state, &c, err);
        if (r == -ENOENT || r == -ECONNREFUSED)
                return without_daemon(point, o->lazy, client_probe(o->state, &pid), err);
        if (r == 0)
                r = by_daemon(&c, point, o->lazy, err);
        client_close(&c);
        return r;
}

int command_unmount(struct options *o, const struct strings *words)
{
        struct errmsg err = {};
        int r;

        if (words->count > 1)
                return complain_usage(COMMAND_UNMOUNT, "unmount takes one mount point, not also '%s'",
                                      words->items[1]);
        r = unmount(o, words->count > 0 ? words->items[0] : NULL, &err);
        return r < 0 ? complain(&err, r) : 0;
}
