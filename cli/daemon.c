/*
 * Implementation of daemon.h.
 */
#include "cli/daemon.h"

#include "base/clock.h"
#include "cli/await.h"
#include "cli/background.h"
#include "cli/confine.h"
#include "cli/control.h"
#include "cli/logsink.h"
#include "cli/mounts.h"
#include "cli/report.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define LOG_COMPONENT "daemon"
#include "base/log.h"

#define TICK_MS 60000  /* how often the size of the log is looked at */
#define GRACE_MS 10000 /* who still uses the mount when we are told to end has this long */

struct daemon {
        struct options *options;
        struct service service;
        struct background background;
        struct logsink log;
        struct control *control;
        char *mount_options;   /* heap */
        unsigned device_minor; /* of the mount, for mount_abort() */
        bool index_open, mounted, signals_run, adoption_runs;
        atomic_bool ending; /* the signal thread is to end */
        pthread_t signals, adoption;
};

static void signal_set(sigset_t *set)
{
        sigemptyset(set);
        sigaddset(set, SIGTERM);
        sigaddset(set, SIGINT);
        sigaddset(set, SIGHUP);
        sigaddset(set, SIGUSR1); /* from ourselves: the daemon ends */
}

static void log_incomplete(struct service *s)
{
        json_t *list = NULL, *one;
        size_t i;

        if (report_incomplete(&s->index, &list) < 0)
                return;
        json_array_foreach(list, i, one) log_info("incomplete: %s %s, %lld of %lld bytes held",
                                                  json_string_value(json_object_get(one, "repo")),
                                                  json_string_value(json_object_get(one, "path")),
                                                  json_integer_value(json_object_get(one, "held")),
                                                  json_integer_value(json_object_get(one, "size")));
        json_decref(list);
}

/* Whether the mount is what lies at the mount point. Once it was taken away, that may be a disk, or another mount. */
static bool is_there(const struct daemon *d)
{
        CLEANUP(mount_table_done) struct mount_table mounts = {};
        const struct mount_entry *m;

        if (d->device_minor == 0 || mount_table_read(&mounts) < 0)
                return true; /* not known */
        m = mount_table_at(&mounts, d->options->mount_point);
        return m && m->device_minor == d->device_minor;
}

/* On a signal the mount goes, whoever uses it: the alternative is a kill that leaves it dead. */
static void end_mount(struct daemon *d)
{
        struct service *s = &d->service;
        int r;

        sd_notify(0, "STOPPING=1\nSTATUS=Unmounting");
        log_incomplete(s);
        if (!is_there(d))
                return;
        r = service_unmount(s, false);
        if (r == -EBUSY) {
                log_warn("%s is in use and is detached", s->options->mount_point);
                r = service_unmount(s, true);
        }
        if (r < 0)
                log_error("%s cannot be unmounted: %s", s->options->mount_point, strerror(-r));
}

/* The next signal, 0 when the time has come first or something else was in between. */
static int next_signal(const sigset_t *set, uint64_t until_ms)
{
        uint64_t now = clock_ms(), left = until_ms > now ? until_ms - now : 0;
        struct timespec wait = { .tv_sec = (time_t)(left / 1000), .tv_nsec = (long)(left % 1000) * 1000000 };
        int sig = sigtimedwait(set, NULL, &wait);

        return sig < 0 ? 0 : sig;
}

static void *signal_thread(void *arg)
{
        struct daemon *d = arg;
        uint64_t cut_off_ms = UINT64_MAX; /* when who still uses the mount is cut off: perhaps in a namespace */
        sigset_t set;

        pthread_setname_np(pthread_self(), "signals");
        signal_set(&set);
        for (;;) {
                int sig = next_signal(&set, min_u64(cut_off_ms, clock_ms() + TICK_MS));

                if (d->ending)
                        return NULL;
                if (sig == SIGTERM || sig == SIGINT) {
                        log_info("ending on %s", sig == SIGTERM ? "SIGTERM" : "SIGINT");
                        end_mount(d);
                        cut_off_ms = min_u64(cut_off_ms, clock_ms() + GRACE_MS);
                } else if (clock_ms() >= cut_off_ms) { /* counted from the first signal, whatever comes in between */
                        log_warn("the mount is still in use, or a container has it: its users get errors now");
                        /* Where nobody mounted fusectl only the end of the process cuts them off;
                         * store and catalogue are made to bear it. */
                        if (mount_abort(d->device_minor) < 0)
                                _exit(EXIT_SUCCESS);
                        cut_off_ms = UINT64_MAX;
                } else if (sig == SIGHUP) {
                        log_info("SIGHUP: nothing to do; a changed token file is noticed by itself");
                }
                logsink_turn(&d->log);
        }
}

/* Looks at the repos of one type that were found in the store, one after the other. */
static void adopt_found(struct daemon *d, enum repo_type type)
{
        struct repo repo = {};

        while (!d->ending && catalog_repo_next(d->service.index.catalog, type, repo.id, &repo) == 0) {
                struct await *a = repo.scanned ? NULL : await_new();

                if (a)
                        await_end(
                                a,
                                fetch_repo(d->service.fetch, type, repo.name, NULL, await_answer, a, await_slot(a)),
                                &d->ending);
        }
}

/* What others filled becomes known after the mount is ready, and never before: a store may be large,
 * and a lookup adopts what it needs by itself. */
static void *adoption_thread(void *arg)
{
        struct daemon *d = arg;
        int r;

        pthread_setname_np(pthread_self(), "adoption");
        r = blobs_settle_begun(d->service.index.blobs);
        if (r < 0)
                log_warn("what is begun in the store %s could not be looked at: %s", d->options->store,
                         strerror(-r));
        r = adopt_names(d->service.index.catalog, d->service.index.store);
        if (r < 0)
                log_warn("the repos in the store %s could not be listed: %s", d->options->store,
                         strerror(-r));
        for (int type = 0; type < REPO_TYPE_COUNT; type++)
                adopt_found(d, (enum repo_type)type);
        fetch_verify_all(d->service.fetch);
        return NULL;
}

/* Asks the mount table, not the mount: nothing serves it yet. */
static void note_device(struct daemon *d)
{
        CLEANUP(mount_table_done) struct mount_table mounts = {};
        const struct mount_entry *m = NULL;

        if (mount_table_read(&mounts) == 0)
                m = mount_table_at(&mounts, d->options->mount_point);
        d->device_minor = m ? m->device_minor : 0;
}

static int join_mount_options(struct daemon *d)
{
        const struct strings *kernel = &d->options->kernel;
        size_t len = 1;

        if (kernel->count == 0)
                return 0;
        for (size_t i = 0; i < kernel->count; i++)
                len += strlen(kernel->items[i]) + 1;
        d->mount_options = calloc(1, len);
        if (!d->mount_options)
                return -ENOMEM;
        for (size_t i = 0; i < kernel->count; i++) {
                strcat(d->mount_options, i > 0 ? "," : "");
                strcat(d->mount_options, kernel->items[i]);
        }
        return 0;
}

/* Without filters in the kernel the daemon works all the same (and offline, the gate in fetch/ holds); that
 * is worth a warning only. */
static int bear_no_filters(int r, struct errmsg *err)
{
        if (r != -ENOSYS)
                return r;
        log_warn("%s; it does not make use of them", err->text);
        err->text[0] = '\0';
        return 0;
}

/* What must happen while there is one thread. */
static int prepare_process(struct daemon *d, struct errmsg *err)
{
        bool privileged = confine_is_privileged();
        sigset_t set;
        int r = 0;

        umask(022);
        signal(SIGPIPE, SIG_IGN);
        signal_set(&set);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        confine_dumps();
        if (!privileged)
                r = unmount_helper_new(d->options->mount_point, &d->service.helper);
        if (r < 0)
                return errmsg_set(err, r, "no helper process can be made: %s", strerror(-r));
        confine_privileges();
        return privileged && d->options->offline ? bear_no_filters(confine_sockets(err), err) : 0;
}

/* What is not needed once there is a mount: fusermount3, for one, mounts by its setuid bit. */
static int confine(const struct daemon *d, struct errmsg *err)
{
        int r = 0;

        if (d->service.helper && d->options->offline)
                r = bear_no_filters(confine_sockets(err), err);
        return r == 0 ? bear_no_filters(confine_calls(err), err) : r;
}

/* A success that comes with a sentence; @err is empty again. */
static void say_warning(struct daemon *d, struct errmsg *err)
{
        if (err->text[0] == '\0')
                return;
        log_warn("%s", err->text);
        if (!d->options->foreground) /* there the log is where we would say it */
                background_say(&d->background, "weightfs: warning: %s", err->text);
        err->text[0] = '\0';
}

static int open_all(struct daemon *d, struct errmsg *err)
{
        struct options *o = d->options;
        struct service *s = &d->service;
        struct index_options index = { .store = o->store,
                                       .state = o->state,
                                       .read_only_store = o->read_only_store };
        struct fs_options fs = { .mountpoint = o->mount_point,
                                 .source = o->state,
                                 .uid = o->uid >= 0 ? (uid_t)o->uid : geteuid(),
                                 .gid = o->gid >= 0 ? (gid_t)o->gid : getegid(),
                                 .allow_other = o->allow_other,
                                 .declared = strings_array(&o->declare),
                                 .mount_options = d->mount_options };
        struct fetch_options fetch = service_fetch_options(o);
        int r = index_open(&index, &s->index, err);

        if (r < 0)
                return r;
        d->index_open = true;
        r = logsink_open(&d->log, o->state, o->foreground, err);
        if (r == 0)
                r = fs_new(&fs, &s->index, &s->fs, err);
        if (r < 0)
                return r;
        fetch.events = fs_events(s->fs);
        r = fetch_new(&fetch, &s->index, &s->fetch, err);
        if (r < 0)
                return r;
        say_warning(d, err);
        fs_set_fetch(s->fs, s->fetch);
        if (s->index.rebuilt)
                log_info("the catalogue in %s is new; what the store holds is found again when it is looked "
                         "up",
                         o->state);
        return 0;
}

static int start(struct daemon *d, struct errmsg *err)
{
        int r = prepare_process(d, err);

        if (r == 0)
                r = join_mount_options(d);
        if (r == 0)
                r = open_all(d, err);
        if (r == 0)
                r = fs_mount(d->service.fs, err);
        if (r < 0)
                return r;
        d->mounted = true;
        note_device(d);
        r = confine(d, err);
        d->service.started = clock_wall_s();
        d->service.mode_since = d->service.started;
        if (r == 0)
                r = control_new(&d->service, &d->control, err);
        if (r == 0) {
                r = -pthread_create(&d->signals, NULL, signal_thread, d);
                d->signals_run = r == 0;
        }
        if (r == 0)
                d->adoption_runs = pthread_create(&d->adoption, NULL, adoption_thread, d) == 0;
        return r;
}

static void stop(struct daemon *d)
{
        if (d->signals_run) {
                d->ending = true;
                pthread_kill(d->signals, SIGUSR1);
                pthread_join(d->signals, NULL);
        }
        control_free(d->control);
        if (d->adoption_runs)
                pthread_join(d->adoption, NULL);
        fetch_free(d->service.fetch);
        fs_free(d->service.fs);
        if (d->index_open)
                index_close(&d->service.index);
        unmount_helper_free(d->service.helper);
        logsink_done(&d->log);
        free(d->mount_options);
}

static int serve(struct daemon *d)
{
        const char *point = d->options->mount_point;
        int r;

        log_info("serving %s from %s, %s", point, d->options->store,
                 d->options->offline ? "offline" : service_endpoint(d->options));
        sd_notifyf(0, "READY=1\nSTATUS=Serving %s%s", point, d->options->offline ? " (offline)" : "");
        background_ready(&d->background);
        r = fs_run(d->service.fs);
        if (r < 0)
                log_error("serving %s ended: %s", point, strerror(-r));
        else
                log_info("%s is unmounted", point);
        sd_notify(0, "STOPPING=1");
        return r;
}

int daemon_run(struct options *o)
{
        struct daemon d = { .options = o, .service = { .options = o } };
        struct errmsg err = {};
        int r = background_begin(&d.background, o->foreground, &err);

        if (r == 0)
                r = start(&d, &err);
        if (r < 0) {
                background_say(&d.background, "weightfs: %s", errmsg_get(&err, r));
                if (d.mounted)
                        service_unmount(&d.service, true);
        } else {
                r = serve(&d);
        }
        stop(&d);
        background_failed(&d.background); /* nothing to tell when it was ready once */
        return r < 0 ? 1 : 0;
}
