/*
 * The places that list a blob, over all repos, and its file in one of them.
 */
#include "index/blob_internal.h"

#include <errno.h>
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

int blob_find_whole(struct blob *b, struct repo *ret_repo, int *ret_fd)
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
                        *ret_repo = w.repo;
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
