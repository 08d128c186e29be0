/*
 * The places that list a blob, over all repos, and its file in one of them.
 *
 *   L1  Under a size and a name there may be another file than the one that was hashed: foreign writers replace
 *       files. What is given to other repos is the file that is open (device and inode are compared), and a file
 *       that is not that one is hashed itself before the blob counts as complete.
 *   L2  Such a file is hashed once, as long as nobody changes it: each listing that comes and each pull looks at all
 *       places again. Which ones were right is known in memory, for a bounded number of files.
 */
#include "index/blob_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

void place_walk_done(struct place_walk *w)
{
        free(w->seen);
}

int place_walk_next(struct blob *b, struct place_walk *w)
{
        int64_t *grown;
        int r;

        r = catalog_blob_place_next(b->table->catalog, b->id, w->commit_id, w->pos, &w->repo, &w->commit,
                                    &w->entry);
        if (r != 0)
                return r;
        w->commit_id = w->commit.id;
        w->pos = w->entry.pos;
        w->new_repo = false;
        for (size_t i = 0; i < w->seen_count; i++)
                if (w->seen[i] == w->repo.id)
                        return 0;
        grown = reallocarray(w->seen, w->seen_count + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        w->seen = grown;
        w->seen[w->seen_count++] = w->repo.id;
        w->new_repo = true;
        return 0;
}

bool place_is_odd(int r)
{
        return r == -ENOENT || r == -ELOOP || r == -EINVAL || r == -ENOTDIR || r == -EISDIR || r == -EEXIST ||
               r == -ENAMETOOLONG || r == -ESTALE || r == -EACCES || r == -EPERM;
}

int blob_find_whole(struct blob *b, int *ret_fd)
{
        CLEANUP(place_walk_done) struct place_walk w = {};
        int result = -ENOENT, r;

        while ((r = place_walk_next(b, &w)) == 0) {
                CLEANUP_FD int fd = -1;
                uint64_t size;

                if (!w.new_repo)
                        continue;
                r = store_blob_open(b->table->store, w.repo.type, w.repo.hub_name, b->etag, &fd, &size);
                if (r == 0 && size == b->size) {
                        *ret_fd = take_fd(&fd);
                        return 0;
                }
                if (r < 0 && !place_is_odd(r))
                        return r;
                if (r == -EACCES || r == -EPERM)
                        result = r; /* it is there: not to be fetched again */
        }
        return r < 0 ? r : result;
}

/* Whether a repo has the file that is open. What cannot be looked at for want of something is an error:
 * a file that is there would be fetched again. */
static int is_named_in(struct blob *b, int fd, const struct repo *repo, bool *ret)
{
        CLEANUP(blob_place_done) struct blob_place at = { .dir = -1 };
        struct stat there, open;
        int r = store_blob_locate(b->table->store, repo->type, repo->hub_name, b->etag, &at);

        *ret = false;
        if (r < 0)
                return place_is_odd(r) ? 0 : r;
        /* of a file that another host has removed NFS says ESTALE */
        if (fstatat(at.dir, at.name, &there, AT_SYMLINK_NOFOLLOW) < 0 || fstat(fd, &open) < 0)
                return place_is_odd(-errno) ? 0 : -errno;
        *ret = there.st_ino == open.st_ino && there.st_dev == open.st_dev;
        return 0;
}

static bool is_same(const struct right_file *a, const struct right_file *b)
{
        return a->blob == b->blob && a->dev == b->dev && a->ino == b->ino &&
               timespec_equal(a->changed, b->changed);
}

static struct right_file right_file_of(const struct blob *b, const struct stat *st)
{
        return (struct right_file){ .blob = b->id, .dev = st->st_dev, .ino = st->st_ino, .changed = st->st_ctim };
}

static bool is_known(struct blob *b, const struct stat *st)
{
        struct right_file file = right_file_of(b, st);
        bool known;

        lock_take(&b->table->right_lock);
        known = is_same(&b->table->right[st->st_ino % RIGHT_FILES_MAX], &file);
        lock_drop(&b->table->right_lock);
        return known;
}

void blob_note_right_file(struct blob *b, const struct stat *st)
{
        lock_take(&b->table->right_lock);
        b->table->right[st->st_ino % RIGHT_FILES_MAX] = right_file_of(b, st);
        lock_drop(&b->table->right_lock);
}

int blob_is_right_file(struct blob *b, int fd, const atomic_bool *cancel, bool *ret)
{
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        *ret = is_known(b, &st);
        if (*ret)
                return 0;
        r = hash_file(fd, b->etag, b->size, cancel, ret);
        if (r == 0 && *ret)
                blob_note_right_file(b, &st);
        return r;
}

static int is_known_file(struct blob *b, int fd, bool *ret)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        *ret = is_known(b, &st);
        return 0;
}

static int is_known_in(struct blob *b, const struct repo *repo, bool *ret)
{
        CLEANUP_FD int there = -1;
        uint64_t size;
        int r = store_blob_open(b->table->store, repo->type, repo->hub_name, b->etag, &there, &size);

        if (r < 0)
                return place_is_odd(r) ? 0 : r;
        return is_known_file(b, there, ret);
}

int blob_places_known(struct blob *b, bool *ret)
{
        CLEANUP(place_walk_done) struct place_walk w = {};
        bool known = false;
        int r = is_known_file(b, b->fd, &known);

        while (r == 0 && known && (r = place_walk_next(b, &w)) == 0)
                if (w.new_repo)
                        r = is_known_in(b, &w.repo, &known);
        *ret = known;
        return r < 0 ? r : 0;
}

int blob_find_named(struct blob *b, int fd, struct repo *ret)
{
        CLEANUP(place_walk_done) struct place_walk w = {};
        bool named = false;
        int r;

        while ((r = place_walk_next(b, &w)) == 0) {
                r = w.new_repo ? is_named_in(b, fd, &w.repo, &named) : 0;
                if (r < 0)
                        return r;
                if (named) {
                        *ret = w.repo;
                        return 0;
                }
        }
        return r < 0 ? r : -ENOENT;
}
