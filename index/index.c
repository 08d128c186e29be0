/*
 * Implementation of index.h.
 *
 * The order of opening: both folders (real paths), the lock, the catalogue, the store, the table.
 * Nothing in the store is scanned here: adopt_names() is the caller's, once its mount is ready.
 */
#include "index/index.h"

#include "index/catalog_internal.h"
#include "index/hash.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define CATALOGUE "catalogue.sqlite"
#define STORE_NOTE "store"

static int state_folder(const char *state, char **ret, struct errmsg *err)
{
        struct stat st;
        bool fresh;
        int r;

        if (path_is_remote(state))
                return errmsg_set(err, -EREMOTE,
                                  "%s is on a network file system, where a catalogue is easily "
                                  "damaged; choose a --state on a local disk",
                                  state);
        fresh = stat(state, &st) < 0;
        r = mkdir_parents_at(AT_FDCWD, state, 0755);
        if (r == 0 || !fresh)
                r = stat(state, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
        if (r == 0 && fresh && chmod(state, 0700) < 0)
                r = -errno;
        if (r < 0)
                return errmsg_set(err, r, "cannot create the state folder %s: %s; choose another --state",
                                  state, strerror(-r));
        *ret = realpath(state, NULL);
        return *ret ? 0 : errmsg_set(err, -errno, "cannot resolve %s: %s", state, strerror(errno));
}

/* Who has the lock, as they wrote into it; "another process" when that cannot be read. */
static int say_locked(int fd, const char *state, struct errmsg *err)
{
        char text[16] = "";
        ssize_t n = pread_all(fd, text, sizeof(text) - 1, 0);

        if (n <= 0 || strspn(text, "0123456789") == 0)
                return errmsg_set(err, -EBUSY, "another process uses the state folder %s", state);
        text[strspn(text, "0123456789")] = '\0';
        return errmsg_set(err, -EBUSY, "the process %s uses the state folder %s ('weightfs status --state %s' says for "
                                       "what); end it, or choose another --state", text, state, state);
}

static int take_lock(const char *state, int *ret_fd, struct errmsg *err)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FD int fd = -1;
        char text[16];
        int n;

        if (asprintf(&path, "%s/lock", state) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return errmsg_set(err, -errno, "cannot open %s: %s; choose another --state", path,
                                  strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno == EWOULDBLOCK)
                        return say_locked(fd, state, err);
                return errmsg_set(err, -errno, "cannot lock %s: %s", path, strerror(errno));
        }
        n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
        /* only a message depends on it: a full disk must not keep the daemon from starting */
        if (ftruncate(fd, 0) == 0)
                (void)pwrite_all(fd, text, (size_t)n, 0);
        *ret_fd = take_fd(&fd);
        return 0;
}

static int state_dir(const char *state)
{
        return open(state, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int index_store_of(const char *state, char **ret)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FD int dir = state_dir(state);
        int r = dir < 0 ? -errno : read_file_at(dir, STORE_NOTE, PATH_MAX, &text, NULL);

        if (r < 0)
                return r;
        if (text[0] != '/')
                return -ENOENT;
        *ret = take_ptr(text);
        return 0;
}

/* Nothing but index_store_of() depends on it: a full disk keeps nobody from starting. */
static void note_store(const char *state, const char *store)
{
        CLEANUP_FREE char *known = NULL;
        CLEANUP_FD int dir = -1, fd = -1;

        if (store[0] != '/' || (index_store_of(state, &known) == 0 && strcmp(known, store) == 0))
                return;
        dir = state_dir(state);
        if (dir >= 0)
                fd = openat(dir, STORE_NOTE ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 && pwrite_all(fd, store, strlen(store), 0) == 0)
                (void)renameat(dir, STORE_NOTE ".new", dir, STORE_NOTE);
}

/* Moves a damaged catalogue aside, with what belongs to it: last what says that it is damaged, and the log after
 * the file, which without it might be believed. */
static int move_aside(const char *path, struct errmsg *err)
{
        static const char *const suffixes[] = { "", "-wal", "-shm", CATALOG_MARK };
        int64_t now = clock_wall_s();

        for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
                CLEANUP_FREE char *from = NULL, *to = NULL;

                if (asprintf(&from, "%s%s", path, suffixes[i]) < 0) {
                        from = NULL;
                        return -ENOMEM;
                }
                if (asprintf(&to, "%s.damaged-%" PRId64 "%s", path, now, suffixes[i]) < 0) {
                        to = NULL;
                        return -ENOMEM;
                }
                if (rename(from, to) < 0 && errno != ENOENT)
                        return errmsg_set(err, -errno, "cannot move the damaged %s aside: %s", from,
                                          strerror(errno));
        }
        return 0;
}

static int open_catalogue(const char *state, struct index *ix, struct errmsg *err)
{
        CLEANUP_FREE char *path = NULL;
        int r;

        if (asprintf(&path, "%s/" CATALOGUE, state) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        ix->rebuilt = access(path, F_OK) < 0 && errno == ENOENT;
        r = catalog_open(path, &ix->catalog, err);
        if (r != -EUCLEAN)
                return r;
        r = move_aside(path, err);
        if (r < 0)
                return r;
        ix->rebuilt = true;
        return catalog_open(path, &ix->catalog, err);
}

/* The same for this machine and state folder whenever it starts; another for every other. */
static int instance_name(const char *state, char ret[17])
{
        CLEANUP_FREE char *machine = NULL, *text = NULL;
        char hex[SHA256_HEX + 1], host[HOST_NAME_MAX + 1] = "";
        int r;

        if (read_file_at(AT_FDCWD, "/etc/machine-id", 4096, &machine, NULL) < 0 || machine[0] == '\0')
                if (gethostname(host, sizeof(host) - 1) < 0)
                        return -errno;
        if (asprintf(&text, "%s\n%s\n%s", machine ? machine : "", host, state) < 0) {
                text = NULL;
                return -ENOMEM;
        }
        r = hash_text(text, hex);
        if (r == 0)
                snprintf(ret, 17, "%.16s", hex);
        return r;
}

int index_open(const struct index_options *o, struct index *ret, struct errmsg *err)
{
        CLEANUP(index_close) struct index ix = { .lock_fd = -1 };
        CLEANUP_FREE char *state = NULL;
        char instance[17];
        int r;

        r = state_folder(o->state, &state, err);
        if (r == 0)
                r = take_lock(state, &ix.lock_fd, err);
        if (r == 0)
                r = open_catalogue(state, &ix, err);
        if (r == 0)
                r = instance_name(state, instance);
        if (r == 0)
                r = store_open(o->store, instance, o->read_only_store, &ix.store, err);
        if (r == 0)
                r = blobs_new(ix.catalog, ix.store, &ix.blobs);
        if (r < 0)
                return r;
        note_store(state, o->store);
        *ret = ix;
        ix = (struct index){ .lock_fd = -1 };
        return 0;
}

void index_close(struct index *ix)
{
        ix->blobs = blobs_free(ix->blobs);
        ix->store = store_close(ix->store);
        ix->catalog = catalog_close(ix->catalog);
        cleanup_fd(&ix->lock_fd);
        ix->lock_fd = -1;
}
