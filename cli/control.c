/*
 * Implementation of control.h.
 *
 * Invariants
 *   X1  control_free() returns only when no thread of a connection runs.
 *   X2  A request comes from the daemon's own user or from root (SO_PEERCRED), whatever the modes.
 */
#include "cli/control.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/lock.h"
#include "cli/await.h"
#include "cli/jsonio.h"
#include "cli/pull.h"
#include "cli/report.h"
#include "cli/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_COMPONENT "control"
#include "base/log.h"

#define REQUEST_MAX (1u << 20)

struct control {
        struct service *service;
        int listen_fd, stop_fd;
        pthread_t acceptor;
        atomic_bool stopping;
        struct lock lock;
        pthread_cond_t fewer;
        struct list connections; /* protected by lock */
        unsigned count;          /* protected by lock */
};

struct connection {
        struct list node; /* protected by control->lock */
        struct control *control;
        int fd;
};

typedef int (*command_fn)(struct connection *n, const json_t *request, json_t **ret, struct errmsg *err);

static int answer_ping(struct connection *n, const json_t *request, json_t **ret, struct errmsg *err)
{
        (void)n;
        (void)request;
        (void)err;
        *ret = json_pack("{s:i, s:s}", "pid", (int)getpid(), "version", WEIGHTFS_VERSION);
        return *ret ? 0 : -ENOMEM;
}

static int answer_status(struct connection *n, const json_t *request, json_t **ret, struct errmsg *err)
{
        (void)request;
        (void)err;
        return report_status(n->control->service, ret);
}

static int parse_repo(const json_t *request, enum repo_type *type, char *name, char *revision,
                      struct errmsg *err)
{
        if (repo_parse(json_get_text(request, "repo"), type, name, revision))
                return 0;
        return errmsg_set(err, -EINVAL,
                          "'%s' is not a repo; write Org/Name, datasets/Org/Name or "
                          "spaces/Org/Name, with @REVISION if need be",
                          json_get_text(request, "repo"));
}

static int answer_ls(struct connection *n, const json_t *request, json_t **ret, struct errmsg *err)
{
        char name[REPO_NAME_MAX + 1], revision[REVISION_MAX + 1];
        struct index *ix = &n->control->service->index;
        enum repo_type type;
        int r;

        if (json_get_text(request, "repo")[0] == '\0')
                return report_repos(ix, ret, err);
        r = parse_repo(request, &type, name, revision, err);
        return r == 0 ? report_files(ix, type, name, revision, ret, err) : r;
}

static int answer_incomplete(struct connection *n, const json_t *request, json_t **ret, struct errmsg *err)
{
        (void)request;
        (void)err;
        return report_incomplete(&n->control->service->index, ret);
}

static int send_event(void *arg, json_t *event)
{
        struct connection *n = arg;

        return line_write(n->fd, json_pack("{s:o}", "event", event));
}

static int take_texts(const json_t *list, struct strings *to)
{
        json_t *one;
        size_t i;
        int r = 0;

        json_array_foreach((json_t *)list, i, one)
        {
                if (r == 0 && json_is_string(one))
                        r = strings_add(to, json_string_value(one));
        }
        return r;
}

static int answer_pull(struct connection *n, const json_t *request, json_t **ret, struct errmsg *err)
{
        CLEANUP(pull_request_done) struct pull_request q = {};
        int r = parse_repo(request, &q.type, q.name, q.revision, err);

        if (r == 0)
                r = take_texts(json_object_get(request, "include"), &q.include);
        if (r == 0)
                r = take_texts(json_object_get(request, "exclude"), &q.exclude);
        if (r < 0)
                return r;
        log_info("pull of %s/%s was asked for", repo_type_plural(q.type), q.name);
        return pull_run(n->control->service, &q, send_event, n, &n->control->stopping, ret, err);
}

static int answer_verify(struct connection *n, const json_t *request, json_t **ret, struct errmsg *err)
{
        struct verify_request q = { .repair = json_is_true(json_object_get(request, "repair")),
                                    .all = json_is_true(json_object_get(request, "all")) };
        int r = take_texts(json_object_get(request, "repos"), &q.repos);

        log_info("verify%s was asked for", q.repair ? " --repair" : "");
        if (r == 0)
                r = verify_run(n->control->service, &q, send_event, n, &n->control->stopping, ret, err);
        strings_done(&q.repos);
        return r;
}

static int switch_mode(struct connection *n, bool offline, bool now, struct errmsg *err)
{
        struct service *s = n->control->service;
        bool before = fetch_is_offline(s->fetch);
        struct await *a = await_new();
        int r;

        if (!a)
                return -ENOMEM;
        r = await_end(a, fetch_set_offline(s->fetch, offline, now, await_answer, a), &n->control->stopping);
        if (r == -EPERM)
                return errmsg_set(
                        err, r,
                        "this daemon was started offline, which is for good; unmount, and mount again "
                        "without --offline");
        if (r != 0)
                return errmsg_set(err, r < 0 ? r : -EIO, "the switch was not finished: %s",
                                  strerror(r < 0 ? -r : EIO));
        if (before != offline) {
                s->mode_since = clock_wall_s();
                log_info("%s by command", offline ? "offline" : "online");
        }
        return 0;
}

static int answer_offline(struct connection *n, const json_t *request, json_t **ret, struct errmsg *err)
{
        bool offline = json_is_true(json_object_get(request, "offline"));
        json_t *incomplete = NULL;
        int r = switch_mode(n, offline, json_is_true(json_object_get(request, "now")), err);

        if (r == 0 && offline)
                r = report_incomplete(&n->control->service->index, &incomplete);
        if (r < 0)
                return r;
        *ret = json_pack("{s:b, s:o}", "offline", offline, "incomplete",
                         incomplete ? incomplete : json_array());
        return *ret ? 0 : -ENOMEM;
}

static int answer_unmount(struct connection *n, const json_t *request, json_t **ret, struct errmsg *err)
{
        struct service *s = n->control->service;
        const char *point = s->options->mount_point;
        int r = service_unmount(s, json_is_true(json_object_get(request, "lazy")));

        if (r == -EBUSY)
                return errmsg_set(
                        err, r,
                        "%s is in use; 'fuser -vm %s' says by whom. 'weightfs unmount --lazy %s' detaches it "
                        "all the same",
                        point, point, point);
        if (r < 0)
                return errmsg_set(err, r, "%s cannot be unmounted: %s", point, strerror(-r));
        *ret = json_object();
        return 0;
}

static const struct {
        const char *word;
        command_fn run;
} commands[] = {
        { "ping", answer_ping },       { "status", answer_status },   { "ls", answer_ls },
        { "pull", answer_pull },       { "offline", answer_offline }, { "incomplete", answer_incomplete },
        { "unmount", answer_unmount }, { "verify", answer_verify },
};

static int answer(struct connection *n, const json_t *request)
{
        const char *word = json_get_text(request, "command");
        json_t *result = NULL;
        struct errmsg err = {};
        int r = errmsg_set(&err, -ENOSYS, "the daemon (version %s) does not know the command '%s'",
                           WEIGHTFS_VERSION, word);

        for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
                if (strcmp(commands[i].word, word) == 0) {
                        err.text[0] = '\0';
                        r = commands[i].run(n, request, &result, &err);
                        break;
                }
        if (r == 0)
                return line_write(n->fd, json_pack("{s:o}", "result", result));
        return line_write(n->fd, json_pack("{s:s, s:i}", "error", errmsg_get(&err, r), "errno", -r));
}

static bool peer_allowed(int fd)
{
        struct ucred peer;
        socklen_t len = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return false;
        return peer.uid == 0 || peer.uid == geteuid(); /* X2 */
}

static void serve(struct connection *n)
{
        struct timeval patience = { .tv_sec = 20 }; /* with a client that does not read (X1) */
        struct line_reader *reader = line_reader_new(n->fd, REQUEST_MAX);
        int r = reader ? 0 : -ENOMEM;

        if (setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
                r = -errno;
        if (!peer_allowed(n->fd))
                r = line_write(n->fd, json_pack("{s:s, s:i}", "error", "this daemon belongs to another user",
                                                "errno", EACCES)) < 0
                            ? -EIO
                            : -EACCES;
        while (r == 0 && !n->control->stopping) {
                json_t *request;

                r = line_read(reader, 0, &request);
                if (r == 0) {
                        r = answer(n, request);
                        json_decref(request);
                }
        }
        line_reader_free(reader);
}

static void *connection_thread(void *arg)
{
        struct connection *n = arg;
        struct control *c = n->control;

        pthread_setname_np(pthread_self(), "control-conn");
        serve(n);
        lock_take(&c->lock);
        list_remove(&n->node);
        close(n->fd); /* under the lock: control_free() shuts down the descriptors on the list */
        c->count--;
        pthread_cond_signal(&c->fewer);
        lock_drop(&c->lock);
        free(n);
        return NULL;
}

/* Takes the descriptor over. */
static int start_connection(struct control *c, int fd)
{
        struct connection *n = calloc(1, sizeof(*n));
        pthread_attr_t attr;
        pthread_t thread;
        int r = n ? 0 : -ENOMEM;

        lock_take(&c->lock);
        if (r == 0 && c->count >= CONTROL_CONNECTIONS)
                r = -EMFILE;
        if (r == 0) {
                *n = (struct connection){ .control = c, .fd = fd };
                pthread_attr_init(&attr);
                pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
                list_push(&c->connections, &n->node);
                c->count++;
                r = -pthread_create(&thread, &attr, connection_thread, n);
                pthread_attr_destroy(&attr);
                if (r < 0) {
                        list_remove(&n->node);
                        c->count--;
                }
        }
        lock_drop(&c->lock);
        if (r < 0) {
                free(n);
                close(fd);
        }
        return r;
}

static void *acceptor_thread(void *arg)
{
        struct control *c = arg;
        struct pollfd fds[] = { { .fd = c->listen_fd, .events = POLLIN },
                                { .fd = c->stop_fd, .events = POLLIN } };

        pthread_setname_np(pthread_self(), "control");
        while (!c->stopping) {
                int fd, r;

                if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
                        break;
                if (!(fds[0].revents & POLLIN))
                        continue;
                fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
                r = fd < 0 ? -errno : start_connection(c, fd);
                if (r < 0 && r != -EAGAIN && r != -ECONNABORTED) {
                        log_ratelimited(LOG_LEVEL_WARN, "a client was turned away: %s", strerror(-r));
                        poll(&fds[1], 1, 100); /* out of descriptors: not in a tight loop */
                }
        }
        return NULL;
}

static int bind_socket(struct control *c, const char *state, struct errmsg *err)
{
        CLEANUP_FD int dirfd = -1;
        struct sockaddr_un address;
        int r = control_address(state, &address, &dirfd);

        c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (r == 0 && c->listen_fd < 0)
                r = -errno;
        if (r == 0 && unlink(address.sun_path) < 0 && errno != ENOENT)
                r = -errno;
        if (r == 0 && bind(c->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                r = -errno;
        if (r == 0 && chmod(address.sun_path, 0600) < 0)
                r = -errno;
        if (r == 0 && listen(c->listen_fd, 16) < 0)
                r = -errno;
        if (r < 0)
                return errmsg_set(err, r,
                                  "the control socket %s/control.sock cannot be made: %s; say --state DIR on "
                                  "a local disk",
                                  state, strerror(-r));
        return 0;
}

static void control_release(struct control *c)
{
        cleanup_fd(&c->listen_fd);
        cleanup_fd(&c->stop_fd);
        pthread_cond_destroy(&c->fewer);
        lock_done(&c->lock);
        free(c);
}

int control_new(struct service *s, struct control **ret, struct errmsg *err)
{
        struct control *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        *c = (struct control){ .service = s, .listen_fd = -1 };
        c->stop_fd = eventfd(0, EFD_CLOEXEC);
        lock_init(&c->lock);
        pthread_cond_init(&c->fewer, NULL);
        list_init(&c->connections);
        r = c->stop_fd < 0 ? -errno : bind_socket(c, s->options->state, err);
        if (r == 0)
                r = -pthread_create(&c->acceptor, NULL, acceptor_thread, c);
        if (r < 0) {
                control_release(c);
                return r;
        }
        *ret = c;
        return 0;
}

struct control *control_free(struct control *c)
{
        CLEANUP_FD int dirfd = -1;
        struct sockaddr_un address;

        if (!c)
                return NULL;
        c->stopping = true;
        if (eventfd_write(c->stop_fd, 1) < 0)
                log_warn("the control socket does not stop: %s", strerror(errno));
        pthread_join(c->acceptor, NULL);
        lock_take(&c->lock);
        LIST_FOREACH(node, &c->connections) /* idle ones end; answers may still be written */
        shutdown(LIST_OWNER(node, struct connection, node)->fd, SHUT_RD);
        while (c->count > 0)
                lock_wait(&c->lock, &c->fewer); /* X1 */
        lock_drop(&c->lock);
        if (control_address(c->service->options->state, &address, &dirfd) == 0)
                unlink(address.sun_path);
        control_release(c);
        return NULL;
}
