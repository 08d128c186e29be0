/*
 * Implementation of client.h.
 */
#include "cli/client.h"

#include "cli/jsonio.h"
#include "cli/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANSWER_MAX (1u << 30) /* a listing of a very large repo */
#define PROBE_MS 3000

static int open_socket(const char *state, int *ret_fd)
{
        CLEANUP_FD int fd = -1, dirfd = -1;
        struct sockaddr_un address;
        int r = control_address(state, &address, &dirfd);

        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        *ret_fd = take_fd(&fd);
        return 0;
}

int client_connect(const char *state, struct client *ret, struct errmsg *err)
{
        struct client c = { .fd = -1, .pidfd = -1 };
        struct ucred peer;
        socklen_t len = sizeof(peer);
        int r = open_socket(state, &c.fd);

        if (r == -EACCES || r == -EPERM)
                return errmsg_set(err, r,
                                  "the state folder %s belongs to another user, as its daemon would; ask as "
                                  "that user or as root, or use a --store of your own",
                                  state);
        if (r == -ENOENT || r == -ENOTDIR || r == -ECONNREFUSED)
                return r == -ENOTDIR ? -ENOENT : r;
        if (r < 0)
                return errmsg_set(err, r, "the daemon of %s cannot be asked: %s", state, strerror(-r));
        if (getsockopt(c.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0) {
                c.pid = peer.pid;
                c.pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
        }
        c.reader = line_reader_new(c.fd, ANSWER_MAX);
        if (!c.reader) {
                client_close(&c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

void client_close(struct client *c)
{
        cleanup_fd(&c->fd);
        cleanup_fd(&c->pidfd);
        line_reader_free(c->reader);
        *c = (struct client){ .fd = -1, .pidfd = -1 };
}

static int lost(const struct client *c, int r, struct errmsg *err)
{
        if (r == -ETIMEDOUT)
                return errmsg_set(err, r, "the daemon (pid %d) does not answer", (int)c->pid);
        if (r == -ENODATA || r == -EPIPE || r == -ECONNRESET)
                return errmsg_set(err, -ECONNRESET, "the daemon (pid %d) ended before it answered",
                                  (int)c->pid);
        if (r == -EBADMSG || r == -EFBIG)
                return errmsg_set(err, r,
                                  "the daemon (pid %d) answers in a way this weightfs does not understand",
                                  (int)c->pid);
        return r;
}

int client_ask(struct client *c, json_t *request, unsigned timeout_ms, client_event_fn event, void *arg,
               json_t **ret, struct errmsg *err)
{
        int r = line_write(c->fd, request);

        if (r < 0)
                return lost(c, r, err);
        for (;;) {
                json_t *answer, *part;

                r = line_read(c->reader, timeout_ms, &answer);
                if (r < 0)
                        return lost(c, r, err);
                if ((part = json_object_get(answer, "event")))
                        r = event ? event(arg, part) : 0;
                else if ((part = json_object_get(answer, "result")))
                        *ret = json_incref(part);
                else
                        r = errmsg_set(err,
                                       json_get_u64(answer, "errno") != 0
                                               ? -(int)json_get_u64(answer, "errno")
                                               : -EIO,
                                       "%s", json_get_text(answer, "error"));
                part = json_object_get(answer, "event");
                json_decref(answer);
                if (!part || r != 0)
                        return r;
        }
}

/* True when a process holds STATE/lock (index.h); the attempt holds it for an instant. */
static bool lock_held(const char *state)
{
        char path[PATH_MAX];
        CLEANUP_FD int fd = -1;

        if (snprintf(path, sizeof(path), "%s/lock", state) >= (int)sizeof(path))
                return false;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

enum client_answer client_probe(const char *state, pid_t *ret_pid)
{
        struct client c;
        json_t *answer = NULL;
        int r = client_connect(state, &c, NULL);

        if (r == -ENOENT || r == -ECONNREFUSED)
                return lock_held(state) ? CLIENT_SILENT : CLIENT_DEAD;
        if (r < 0)
                return CLIENT_SILENT;
        *ret_pid = c.pid;
        r = client_ask(&c, json_pack("{s:s}", "command", "ping"), PROBE_MS, NULL, NULL, &answer, NULL);
        json_decref(answer);
        client_close(&c);
        return r < 0 ? CLIENT_SILENT : CLIENT_ALIVE;
}

static int not_ours(const struct mount_table *mounts, const char *point, struct errmsg *err)
{
        char list[600] = "";
        size_t len = 0;

        for (size_t i = 0; i < mounts->count && len < sizeof(list) - 1; i++)
                if (mount_is_weightfs(&mounts->entries[i]))
                        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len > 0 ? ", " : "",
                                                mounts->entries[i].point);
        if (point)
                return errmsg_set(err, -ENOENT, "%s is not a weightfs mount; %s%s", point,
                                  len > 0 ? "there are: " : "there is none", list);
        return errmsg_set(err, -ENOENT, "there are several weightfs mounts (%s); name one", list);
}

/* The only weightfs mount that we may ask, or NULL; @ret_count says how many there are. */
static const struct mount_entry *only_mount(const struct mount_table *mounts, size_t *ret_count)
{
        const struct mount_entry *found = NULL;

        *ret_count = 0;
        for (size_t i = 0; i < mounts->count; i++)
                if (mount_is_weightfs(&mounts->entries[i])) {
                        if (access(mounts->entries[i].source, X_OK) < 0)
                                continue; /* another user's, or of another root folder */
                        /* a bind mount of the same daemon is not another one */
                        if (found && strcmp(found->source, mounts->entries[i].source) == 0)
                                continue;
                        found = &mounts->entries[i];
                        ++*ret_count;
                }
        return *ret_count == 1 ? found : NULL;
}

static int take_mount(struct options *o, const struct mount_entry *m, char **ret_point)
{
        char *state = strdup(m->source), *point = strdup(m->point);

        if (!state || !point) {
                free(state);
                free(point);
                return -ENOMEM;
        }
        free(o->state);
        o->state = state;
        *ret_point = point;
        return 0;
}

/* By a path that a person gave: what is mounted there must be ours. */
static int find_by_point(struct options *o, const struct mount_table *mounts, const char *path, bool must,
                         char **ret_point, struct errmsg *err)
{
        CLEANUP_FREE char *point = NULL;
        const struct mount_entry *m;
        int r = path_of_mount(path, mounts, &point);

        if (r < 0)
                return errmsg_set(err, r, "%s cannot be looked at: %s", path, strerror(-r));
        m = mount_table_at(mounts, point);
        if (m && mount_is_weightfs(m))
                return take_mount(o, m, ret_point);
        if (must)
                return not_ours(mounts, point, err);
        *ret_point = NULL;
        return 0;
}

int client_find(struct options *o, const char *mnt, char **ret_point, struct errmsg *err)
{
        CLEANUP(mount_table_done) struct mount_table mounts = {};
        CLEANUP_FREE char *absolute = NULL;
        const struct mount_entry *m, *only = NULL;
        size_t count;
        int r = mount_table_read(&mounts);

        if (r < 0)
                return errmsg_set(err, r, "/proc/self/mountinfo cannot be read: %s", strerror(-r));
        *ret_point = NULL;
        if (mnt && mnt[0] != '/') {
                char cwd[PATH_MAX];

                if (!getcwd(cwd, sizeof(cwd)) || asprintf(&absolute, "%s/%s", cwd, mnt) < 0)
                        return errmsg_set(err, -ENOENT,
                                          "%s: the working directory is gone; give an absolute path", mnt);
                mnt = absolute;
        }
        if (mnt || o->source[OPTION_MOUNT_POINT] == FROM_COMMAND_LINE)
                return find_by_point(o, &mounts, mnt ? mnt : o->mount_point, true, ret_point, err);
        if (o->mount_point) {
                r = find_by_point(o, &mounts, o->mount_point, false, ret_point, err);
                if (r < 0 || *ret_point)
                        return r;
        }
        m = only_mount(&mounts, &count);
        if (!option_given(o, OPTION_STATE) && !option_given(o, OPTION_STORE) && !o->mount_point) {
                if (m && o->command != COMMAND_UNMOUNT)
                        return take_mount(o, m, ret_point);
                if (count > 1)
                        return not_ours(&mounts, NULL, err);
                only = m;
        }
        r = paths_of_store(o, err);
        m = r == 0 ? mount_table_by_state(&mounts, o->state) : NULL;
        if (r == 0 && !m && only) /* others may be served from it: it is not taken away on a guess */
                return errmsg_set(err, -ENOENT,
                                  "the only weightfs mount is %s, and not of the usual store %s; "
                                  "'weightfs unmount %s' if that is meant",
                                  only->point, o->store, only->point);
        return m ? take_mount(o, m, ret_point) : r;
}
