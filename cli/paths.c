/*
 * Implementation of paths.h.
 */
#include "cli/paths.h"

#include "cli/client.h"
#include "index/index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40

static bool has_dotdot(const char *path)
{
        for (const char *p = strstr(path, ".."); p; p = strstr(p + 2, ".."))
                if ((p == path || p[-1] == '/') && (p[2] == '\0' || p[2] == '/'))
                        return true;
        return false;
}

int path_real(const char *path, char **ret)
{
        struct stat st;
        CLEANUP_FREE char *head = strdup(path);
        CLEANUP_FREE char *real = NULL;
        size_t len;

        if (!head)
                return -ENOMEM;
        len = strlen(head);
        for (;;) {
                real = realpath(len > 0 ? head : "/", NULL);
                if (real || (errno != ENOENT && errno != ENOTDIR))
                        break;
                if (lstat(head, &st) == 0 && S_ISLNK(st.st_mode))
                        return -ENOENT; /* a link that dangles could lead anywhere later */
                while (len > 0 && head[len - 1] == '/')
                        head[--len] = '\0';
                while (len > 0 && head[len - 1] != '/')
                        head[--len] = '\0';
                if (len == 0)
                        return -ENOENT; /* relative, and the working directory is gone */
                if (len > 1)
                        head[--len] = '\0';
        }
        if (!real)
                return -errno;
        path += len;
        path += strspn(path, "/");
        if (has_dotdot(path))
                return -ENOENT; /* what is not there has no parent */
        if (*path == '\0') {
                *ret = take_ptr(real);
                return 0;
        }
        return asprintf(ret, "%s/%s", strcmp(real, "/") == 0 ? "" : real, path) < 0 ? -ENOMEM : 0;
}

/* The real parent and the last name, joined. */
static int real_parent(const char *path, char **ret)
{
        CLEANUP_FREE char *copy = strdup(path);
        CLEANUP_FREE char *parent = NULL;
        char *slash;
        size_t len;
        int r;

        if (!copy)
                return -ENOMEM;
        for (len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
                copy[len - 1] = '\0';
        slash = strrchr(copy, '/');
        if (!slash || slash[1] == '\0' || strcmp(slash + 1, ".") == 0 || strcmp(slash + 1, "..") == 0)
                return path_real(copy, ret);
        *slash = '\0';
        r = path_real(copy[0] != '\0' ? copy : "/", &parent);
        if (r < 0)
                return r;
        return asprintf(ret, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash + 1) < 0 ? -ENOMEM : 0;
}

int path_of_mount(const char *path, const struct mount_table *mounts, char **ret)
{
        CLEANUP_FREE char *at = NULL;
        int r = real_parent(path, &at);

        for (int links = 0; r == 0 && !mount_table_at(mounts, at); links++) {
                char target[PATH_MAX], joined[2 * PATH_MAX];
                ssize_t n = readlink(at, target, sizeof(target) - 1);

                if (n < 0)
                        break; /* no link: that is it */
                if (links >= LINKS_MAX)
                        return -ELOOP;
                target[n] = '\0';
                *strrchr(at, '/') = '\0';
                if (target[0] == '/')
                        snprintf(joined, sizeof(joined), "%s", target);
                else
                        snprintf(joined, sizeof(joined), "%s/%s", at, target);
                free(take_ptr(at));
                r = real_parent(joined, &at);
        }
        if (r == 0)
                *ret = take_ptr(at);
        return r;
}

bool path_inside(const char *path, const char *dir)
{
        size_t len = strlen(dir);

        if (strcmp(dir, "/") == 0)
                return true;
        return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static int set_real(char **field)
{
        char *real;
        int r = path_real(*field, &real);

        if (r < 0)
                return r;
        free(*field);
        *field = real;
        return 0;
}

/* $VARIABLE/@tail, else $HOME/@below_home/@tail. -ENOENT without either. */
static int user_path(const char *variable, const char *below_home, const char *tail, char **ret)
{
        const char *base = getenv(variable), *home = getenv("HOME");
        int r;

        if (base && base[0] == '/')
                r = asprintf(ret, "%s/%s", base, tail);
        else if (home && home[0] == '/')
                r = asprintf(ret, "%s/%s/%s", home, below_home, tail);
        else
                return -ENOENT;
        return r < 0 ? -ENOMEM : 0;
}

/* FNV-1a, so that each remote store has a local state folder of its own. */
static uint32_t name_hash(const char *text)
{
        uint32_t h = 2166136261u;

        for (; *text != '\0'; text++)
                h = (h ^ (unsigned char)*text) * 16777619u;
        return h;
}

static int default_state(struct options *o, struct errmsg *err)
{
        char tail[64];
        int r;

        if (!path_is_remote(o->store) && !o->read_only_store)
                return asprintf(&o->state, "%s/state", o->store) < 0 ? -ENOMEM : 0;
        snprintf(tail, sizeof(tail), "weightfs/state-%08x", name_hash(o->store));
        if (geteuid() == 0)
                return asprintf(&o->state, "/var/lib/%s", tail) < 0 ? -ENOMEM : 0;
        r = user_path("XDG_STATE_HOME", ".local/state", tail, &o->state);
        if (r == -ENOENT)
                return errmsg_set(err, r,
                                  "no local place for the state is known without HOME; say --state DIR");
        return r;
}

/* What exists of @path: itself or the nearest parent. */
static void cut_to_existing(char *path)
{
        while (access(path, F_OK) < 0 && errno == ENOENT && strcmp(path, "/") != 0) {
                char *slash = strrchr(path, '/');

                slash[slash == path ? 1 : 0] = '\0';
        }
}

int path_check_store(const struct options *o, struct errmsg *err)
{
        CLEANUP_FREE char *at = NULL;
        struct stat st;
        int r;

        if (stat(o->store, &st) == 0 && !S_ISDIR(st.st_mode))
                return errmsg_set(err, -ENOTDIR, "the store %s is not a folder; say --store DIR", o->store);
        /* a state folder elsewhere, and what lies in the store, say it themselves (index/) */
        if (o->read_only_store || !path_inside(o->state, o->store))
                return 0;
        at = strdup(o->state);
        if (!at)
                return -ENOMEM;
        cut_to_existing(at);
        if (access(at, W_OK | X_OK) == 0)
                return 0;
        r = -errno;
        return errmsg_set(err, r, "the store %s cannot be written: %s: %s; use another with --store%s",
                          o->store, at, strerror(-r),
                          o->command == COMMAND_MOUNT
                                  ? ", or mount with --read-only-store to serve what it holds"
                                  : "");
}

int paths_of_store(struct options *o, struct errmsg *err)
{
        int r = 0;

        if (!o->store && o->state) /* a state folder alone says which store is meant, once it was used */
                (void)index_store_of(o->state, &o->store);
        if (!o->store && geteuid() == 0)
                r = (o->store = strdup("/var/lib/weightfs")) ? 0 : -ENOMEM;
        else if (!o->store)
                r = user_path("XDG_DATA_HOME", ".local/share", "weightfs", &o->store);
        if (r == -ENOENT)
                return errmsg_set(err, r, "no place for the store is known without HOME; say --store DIR");
        if (r == 0)
                r = set_real(&o->store);
        if (r < 0)
                return errmsg_set(err, r, "the store %s cannot be reached: %s", o->store ? o->store : "",
                                  strerror(-r));
        if (!o->state)
                r = default_state(o, err);
        if (r == 0)
                r = set_real(&o->state);
        if (r < 0 && o->state)
                return errmsg_set(err, r, "the state folder %s cannot be reached: %s", o->state,
                                  strerror(-r));
        return r;
}

/* Where clients keep it: $HF_HOME/token, else $XDG_CACHE_HOME/huggingface/token (constants.py). */
static int default_token(char **ret)
{
        const char *hf_home = getenv("HF_HOME");

        if (hf_home && hf_home[0] == '/')
                return asprintf(ret, "%s/token", hf_home) < 0 ? -ENOMEM : 0;
        return user_path("XDG_CACHE_HOME", ".cache", "huggingface/token", ret);
}

int path_of_token(struct options *o, const char *mount_point, struct errmsg *warn, struct errmsg *err)
{
        CLEANUP_FREE char *implied = NULL;
        CLEANUP_FREE char *parent = NULL;
        int r;

        if (o->token_file) {
                r = set_real(&o->token_file);
                if (r < 0)
                        return errmsg_set(err, r, "the token file %s cannot be reached: %s", o->token_file,
                                          strerror(-r));
                if (!o->token && !(mount_point && path_inside(o->token_file, mount_point)) &&
                    access(o->token_file, F_OK) < 0 && errno == ENOENT)
                        errmsg_set(warn, 0, "the token file %s does not exist; it is used once it does",
                                   o->token_file);
                return 0;
        }
        r = default_token(&implied);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        /* the parents first: the file itself must not be touched where it lies in the mount */
        if (mount_point && real_parent(implied, &parent) == 0 && path_inside(parent, mount_point)) {
                errmsg_set(
                        warn, 0,
                        "the token file %s lies inside the mount and is not used; say --token-file FILE if "
                        "private repos are needed",
                        implied);
                return 0;
        }
        r = path_real(implied, &o->token_file);
        if (r == 0 && mount_point && path_inside(o->token_file, mount_point)) {
                errmsg_set(warn, 0, "the token file %s leads into the mount and is not used", implied);
                free(take_ptr(o->token_file));
        }
        return r == -ENOMEM ? r : 0; /* what nobody asked for may be out of reach */
}

int path_check_ca(struct options *o, struct errmsg *err)
{
        int r;

        if (!o->ca_file || o->offline) /* offline, nobody reads it */
                return 0;
        r = set_real(&o->ca_file);
        if (r == 0 && access(o->ca_file, R_OK) < 0)
                r = -errno;
        if (r == 0)
                return 0;
        return errmsg_set(err, r, "the CA file %s cannot be read: %s; say --ca-file FILE%s", o->ca_file,
                          strerror(-r),
                          o->source[OPTION_CA_FILE] == FROM_ENVIRONMENT ? ", or unset SSL_CERT_FILE" : "");
}

static int refuse_mounted(const struct mount_entry *m, struct errmsg *err)
{
        pid_t pid;

        if (!mount_is_weightfs(m))
                return 0; /* a mount may lie on another */
        switch (client_probe(m->source, &pid)) {
        case CLIENT_ALIVE:
                return errmsg_set(
                        err, -EBUSY,
                        "%s is a weightfs mount already, served by pid %d; 'weightfs unmount %s' ends it",
                        m->point, (int)pid, m->point);
        case CLIENT_SILENT:
                return errmsg_set(err, -EBUSY,
                                  "%s is a weightfs mount already, whose daemon does not answer; "
                                  "'weightfs unmount --lazy %s' takes it away",
                                  m->point, m->point);
        default:
                return errmsg_set(
                        err, -ENOTCONN,
                        "%s is a dead weightfs mount: its daemon is gone; 'weightfs unmount %s' clears "
                        "it, then mount again",
                        m->point, m->point);
        }
}

static int check_point(const char *point, struct errmsg *warn, struct errmsg *err)
{
        struct dirent *de;
        struct stat st;
        DIR *dir;

        if (stat(point, &st) < 0 && errno == ENOENT)
                return errmsg_set(err, -ENOENT, "the mount point %s does not exist; create it: mkdir -p %s",
                                  point, point);
        if (stat(point, &st) < 0 && errno == ENOTCONN)
                return errmsg_set(err, -ENOTCONN,
                                  "the mount point %s is a dead FUSE mount; clear it: umount -l %s", point,
                                  point);
        if (stat(point, &st) < 0)
                return errmsg_set(err, -errno, "the mount point %s cannot be used: %s", point,
                                  strerror(errno));
        if (!S_ISDIR(st.st_mode))
                return errmsg_set(err, -ENOTDIR, "the mount point %s is not a directory", point);
        if (geteuid() != 0 && access(point, W_OK) < 0) /* fusermount3 says no more than "not permitted" */
                return errmsg_set(
                        err, -EACCES,
                        "the mount point %s may not be written by you, which fusermount3 wants; choose "
                        "a folder of your own, or mount as root",
                        point);
        dir = opendir(point);
        if (!dir)
                return 0;
        while ((de = readdir(dir)))
                if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0) {
                        errmsg_set(warn, 0, "%s is not empty: its files are hidden while it is mounted",
                                   point);
                        break;
                }
        closedir(dir);
        return 0;
}

static int refuse_inside(const char *what, const char *path, const char *point, const char *remedy,
                         struct errmsg *err)
{
        if (!path || !path_inside(path, point))
                return 0;
        return errmsg_set(err, -EINVAL,
                          "the %s %s lies inside the mount point %s, so the daemon would wait for itself; %s",
                          what, path, point, remedy);
}

/* The other way round: a mount over what the daemon and other tools read by name. */
static int refuse_over_store(const struct options *o, const char *point, struct errmsg *err)
{
        static const char *const folders[] = { "hub", "partial", "quarantine" };
        char path[PATH_MAX + 16];

        for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
                snprintf(path, sizeof(path), "%s/%s", o->store, folders[i]);
                if (path_inside(point, path))
                        return errmsg_set(err, -EINVAL,
                                          "the mount point %s lies inside the store %s; mount somewhere else",
                                          point, o->store);
        }
        if (path_inside(point, o->state))
                return errmsg_set(err, -EINVAL,
                                  "the mount point %s lies inside the state folder %s; mount somewhere else",
                                  point, o->state);
        return 0;
}

static int check_inside(struct options *o, struct errmsg *err)
{
        const char *point = o->mount_point;
        int r = path_check_ca(o, err);

        if (r == 0 && o->config)
                r = set_real(&o->config);
        if (r == 0)
                r = refuse_inside("store", o->store, point, "say --store DIR elsewhere", err);
        if (r == 0)
                r = refuse_inside("state folder", o->state, point, "say --state DIR elsewhere", err);
        if (r == 0)
                r = refuse_inside("token file", o->token_file, point,
                                  "unset HF_TOKEN_PATH for this command or say --token-file FILE elsewhere",
                                  err);
        if (r == 0)
                r = refuse_inside("CA file", o->ca_file, point, "say --ca-file FILE elsewhere", err);
        if (r == 0)
                r = refuse_inside("configuration file", o->config, point, "move it elsewhere", err);
        return r == 0 ? refuse_over_store(o, point, err) : r;
}

/* fusermount3 refuses it with a bare "not permitted". */
static int check_allow_other(const struct options *o, struct errmsg *err)
{
        CLEANUP_FREE char *text = NULL;

        if (!o->allow_other || geteuid() == 0)
                return 0;
        if (read_file_at(AT_FDCWD, "/etc/fuse.conf", 1 << 20, &text, NULL) == 0)
                for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
                        if (strncmp(line + strspn(line, " \t"), "user_allow_other", 16) == 0)
                                return 0;
        return errmsg_set(
                err, -EPERM,
                "allow_other is for root, unless /etc/fuse.conf has a line user_allow_other; add it, or "
                "mount without allow_other");
}

int paths_check_mount(struct options *o, struct errmsg *warn, struct errmsg *err)
{
        CLEANUP(mount_table_done) struct mount_table mounts = {};
        const struct mount_entry *there;
        char *point;
        int r = mount_table_read(&mounts);

        if (r < 0)
                return errmsg_set(err, r, "/proc/self/mountinfo cannot be read: %s", strerror(-r));
        r = path_of_mount(o->mount_point, &mounts, &point);
        if (r < 0)
                return errmsg_set(err, r, "the mount point %s cannot be used: %s", o->mount_point,
                                  strerror(-r));
        free(o->mount_point);
        o->mount_point = point;
        there = mount_table_at(&mounts, point);
        r = there ? refuse_mounted(there, err) : 0;
        if (r == 0)
                r = check_point(point, warn, err);
        if (r == 0)
                r = check_allow_other(o, err);
        if (r == 0)
                r = paths_of_store(o, err);
        if (r == 0)
                r = path_of_token(o, point, warn, err);
        if (r == 0)
                r = check_inside(o, err);
        return r == 0 ? path_check_store(o, err) : r;
}
