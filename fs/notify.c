/*
 * Notifications: names that the kernel should look up anew. Data are never invalidated: that can
 * deadlock with a read in flight, and what a node holds never changes anyway.
 *
 * The kernel takes a folder's lock for an invalidation, and may hold it for a lookup that waits for
 * us; so notifications have a thread of their own, and none is ever waited for. One that fails or
 * is late costs a moment: what may change is cached for a second only. While one waits for the lock
 * nobody else gets it, so folders in which a lookup may wait for the network (refs/, hub/) get none.
 */
#define LOG_COMPONENT "fs"

#include "fs/internal.h"

#include <sys/uio.h>
#include <unistd.h>

#define NOTIFY_INC_EPOCH 8 /* linux/fuse.h FUSE_NOTIFY_INC_EPOCH, kernel 6.16 */

struct notifier {
        struct fs *fs;
        struct workq *queue;
};

struct note {
        struct work work;
        struct fs *fs;
        enum { NOTE_BLOB, NOTE_EPOCH } kind;
        int64_t blob; /* NOTE_BLOB */
};

static void forget_name(struct fs *fs, struct node parent, const char *name)
{
        int r = fuse_lowlevel_notify_inval_entry(fs->se, node_pack(parent), name, strlen(name));

        if (r < 0 && r != -ENOENT && r != -ENODEV && r != -ENOTDIR)
                log_debug("invalidating %s: %s", name, strerror(-r));
}

/* Every name of a blob: in blobs/ of its repos, as a link, in the plain views. */
static void forget_blob(struct fs *fs, int64_t blob)
{
        static const enum node_kind views[] = {
                NODE_SNAP_DIR, NODE_PLAIN_DEFAULT, NODE_PLAIN_COMMIT,
        };
        struct commit commit = {};
        struct entry entry = {};
        struct repo repo;

        while (catalog_blob_place_next(fs->catalog, blob, commit.id, entry.pos, &repo, &commit, &entry) == 0) {
                forget_name(fs, node_of(NODE_BLOBS, repo.id, 0), entry.etag);
                for (size_t i = 0; i < ARRAY_SIZE(views); i++)
                        forget_name(fs, node_of(views[i], commit.id, entry.parent), entry.name);
        }
}

/* All names at once, where the kernel can; elsewhere the cached moments pass. */
static void new_epoch(struct fs *fs)
{
        struct {
                uint32_t len;
                int32_t error;
                uint64_t unique;
        } header = { .len = sizeof(header), .error = NOTIFY_INC_EPOCH };

        if (write(fuse_session_fd(fs->se), &header, sizeof(header)) < 0)
                log_debug("no epoch in this kernel: %s", strerror(errno));
}

static void deliver(struct work *w)
{
        struct note *note = CONTAINER_OF(w, struct note, work);

        if (!note->fs->unmounted && note->fs->se) {
                if (note->kind == NOTE_BLOB)
                        forget_blob(note->fs, note->blob);
                else
                        new_epoch(note->fs);
        }
        free(note);
}

static void send_note(struct notifier *n, const struct note *what)
{
        struct note *note = malloc(sizeof(*note));

        if (!note)
                return; /* late by a second at most */
        *note = *what;
        note->fs = n->fs;
        workq_push(n->queue, &note->work, deliver);
}

void notifier_blob(struct notifier *n, int64_t blob)
{
        send_note(n, &(struct note){ .kind = NOTE_BLOB, .blob = blob });
}

void notifier_epoch(struct notifier *n)
{
        send_note(n, &(struct note){ .kind = NOTE_EPOCH });
}

int notifier_new(struct fs *fs, struct notifier **ret)
{
        struct notifier *n = calloc(1, sizeof(*n));
        int r;

        if (!n)
                return -ENOMEM;
        n->fs = fs;
        r = workq_new("wfs-notify", 1, &n->queue);
        if (r < 0) {
                free(n);
                return r;
        }
        *ret = n;
        return 0;
}

struct notifier *notifier_free(struct notifier *n)
{
        if (n)
                workq_free(n->queue);
        free(n);
        return NULL;
}
