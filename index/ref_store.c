/*
 * Implementation of ref_store.h.
 */
#include "index/ref_store.h"

#include "index/blob_internal.h"

#include <errno.h>
#include <string.h>

int ref_store(struct catalog *c, const struct store *s, const struct repo *repo, const struct ref *ref)
{
        struct commit commit;
        int r = catalog_ref_stands_for(c, ref, &commit);

        if (r != 0)
                return r < 0 ? r : 0;
        r = store_ref_put(s, repo->type, repo->hub_name, ref->name, commit.sha);
        if (r == 0 && ref->kept != 0 && commit.id == ref->commit)
                r = catalog_ref_settle(c, ref);
        return r;
}

static int store_refs_of(struct blob *b, const struct place_walk *w)
{
        struct catalog *c = b->table->catalog;
        struct ref ref = {};
        int r;

        while ((r = catalog_ref_keeping_next(c, w->commit.id, ref.name, &ref)) == 0) {
                r = ref_store(c, b->table->store, &w->repo, &ref);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : 0;
}

int blob_store_refs(struct blob *b)
{
        CLEANUP(place_walk_done) struct place_walk w = {};
        int64_t done = 0;
        int r;

        while ((r = place_walk_next(b, &w)) == 0) {
                if (w.commit.id == done) /* lists it more than once */
                        continue;
                done = w.commit.id;
                r = store_refs_of(b, &w);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : 0;
}
