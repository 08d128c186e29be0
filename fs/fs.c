/*
 * The file system object: its life, and what fetch/ tells it.
 */
#define LOG_COMPONENT "fs"

#include "fs/internal.h"
#include "fs/interrupt.h"

#include "base/clock.h"

#include <fcntl.h>

#define REPLY_THREADS 4

static int64_t timespec_ns(struct timespec t)
{
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void fs_touch(struct fs *fs)
{
        fs->changed_ns = clock_wall_ns();
}

/* The dates of folders must not be "now" at each start, or every NFS client would look anew: they
 * go on from when the catalogue was last written. */
static void restore_times(struct fs *fs)
{
        static const char *const files[] = { "catalogue.sqlite", "catalogue.sqlite-wal" };
        char path[PATH_MAX];
        struct stat st;

        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                snprintf(path, sizeof(path), "%s/%s", fs->source, files[i]);
                if (stat(path, &st) == 0 && timespec_ns(st.st_mtim) > fs->changed_ns)
                        fs->changed_ns = timespec_ns(st.st_mtim);
        }
        if (fs->changed_ns == 0)
                fs_touch(fs);
}

/* Blobs and refs are shared by commits, so they have no date of their own; they get the day on which
 * this catalogue was made: first seen. */
static void restore_birth(struct fs *fs)
{
        char path[PATH_MAX];
        struct statx st;

        snprintf(path, sizeof(path), "%s/catalogue.sqlite", fs->source);
        if (statx(AT_FDCWD, path, 0, STATX_BTIME | STATX_CTIME, &st) == 0)
                fs->born.tv_sec = st.stx_mask & STATX_BTIME ? st.stx_btime.tv_sec : st.stx_ctime.tv_sec;
}

/* Gives the declared repos rows, so that a listing can name them before they were looked up. */
static int declare(struct fs *fs, const char *const *names, struct errmsg *err)
{
        size_t count = 0;

        while (names && names[count])
                count++;
        fs->declared = calloc(count + 1, sizeof(*fs->declared));
        if (!fs->declared)
                return errmsg_set(err, -ENOMEM, "out of memory");
        for (size_t i = 0; i < count; i++) {
                char name[REPO_NAME_MAX + 1], revision[REVISION_MAX + 1];
                enum repo_type type;
                struct repo repo;
                int r;

                if (!repo_parse(names[i], &type, name, revision) || revision[0])
                        return errmsg_set(err, -EINVAL,
                                          "declared repo \"%s\" is no repo id: write Org/Name or datasets/Org/Name",
                                          names[i]);
                r = catalog_repo_find(fs->catalog, type, name, &repo);
                if (r > 0)
                        r = catalog_repo_put(fs->catalog, type, name, name, false, &repo);
                if (r != 0)
                        return errmsg_set(err, r, "recording declared repo %s: %s", names[i], strerror(-r));
                fs->declared[fs->declared_count++] = repo.id;
        }
        return 0;
}

int fs_new(const struct fs_options *o, struct index *ix, struct fs **ret, struct errmsg *err)
{
        struct fs *fs = calloc(1, sizeof(*fs));
        int r = -ENOMEM;

        if (!fs)
                return errmsg_set(err, r, "out of memory");
        pthread_rwlock_init(&fs->serving, NULL);
        list_init(&fs->naming.node);
        fs->options = *o;
        fs->catalog = ix->catalog;
        fs->store = ix->store;
        fs->blobs = ix->blobs;
        fs->generation = catalog_epoch(ix->catalog);
        fs->mountpoint = strdup(o->mountpoint);
        fs->source = strdup(o->source);
        fs->mount_options = o->mount_options ? strdup(o->mount_options) : NULL;
        if (fs->mountpoint && fs->source && (fs->mount_options || !o->mount_options))
                r = workq_new("wfs-reply", REPLY_THREADS, &fs->replies);
        if (r == 0)
                r = interrupts_new(&request_waiter_ops, &fs->interrupts);
        if (r == 0)
                r = notifier_new(fs, &fs->notifier);
        fs->passthrough = passthrough_new();
        if (r == 0 && !fs->passthrough)
                r = -ENOMEM;
        if (r < 0) {
                fs_free(fs);
                return errmsg_set(err, r, "starting threads failed: %s", strerror(-r));
        }
        r = declare(fs, o->declared, err);
        if (r < 0) {
                fs_free(fs);
                return r;
        }
        restore_times(fs);
        restore_birth(fs);
        *ret = fs;
        return 0;
}

struct fs *fs_free(struct fs *fs)
{
        if (!fs)
                return NULL;
        workq_free(fs->replies); /* after which nothing waits */
        interrupts_free(fs->interrupts);
        notifier_free(fs->notifier);
        if (fs->se) {
                fuse_session_unmount(fs->se); /* it is: this only gives up the descriptor and the path */
                fuse_session_destroy(fs->se);
        }
        passthrough_free(fs->passthrough);
        free(fs->mountpoint);
        free(fs->source);
        free(fs->mount_options);
        free(fs->declared);
        pthread_rwlock_destroy(&fs->serving);
        free(fs);
        return NULL;
}

void fs_set_fetch(struct fs *fs, struct fetch *f)
{
        fs->fetch = f;
}

static void on_blob(void *arg, int64_t blob)
{
        struct fs *fs = arg;

        notifier_blob(fs->notifier, blob);
}

static void on_mode(void *arg, bool offline)
{
        struct fs *fs = arg;

        (void)offline;
        fs_touch(fs);
        notifier_epoch(fs->notifier);
}

struct fetch_events fs_events(struct fs *fs)
{
        return (struct fetch_events){
                .blob_whole = on_blob,
                .blob_filling = on_blob,
                .mode_changed = on_mode,
                .arg = fs,
        };
}

void fs_get_status(struct fs *fs, struct fs_status *ret)
{
        *ret = (struct fs_status){
                .requests = fs->requests,
                .errors = fs->errors,
                .parked = fs->parked,
        };
        snprintf(ret->mountpoint, sizeof(ret->mountpoint), "%s", fs->mountpoint);
        ret->passthrough =
                passthrough_works(fs->passthrough, ret->passthrough_reason, sizeof(ret->passthrough_reason));
}
