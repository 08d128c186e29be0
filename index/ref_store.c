/*
 * Implementation of ref_store.h.
 */
#include "index/ref_store.h"

#include "index/blob_internal.h"

#include <errno.h>
#include <string.h>

/* Several threads may be here for one ref. So each asks once more when it has written: whatever was overwritten
 * with what had been true before, the last one to write sees what is true now. */
int ref_store(struct catalog *c, const struct store *s, const struct repo *repo, const char *name)
{
        char put[COMMIT_HEX + 1] = "";
        struct commit commit;
        struct ref now;
        int r;

        for (;;) {
                r = catalog_ref_find(c, repo->id, name, &now);
                if (r == 0)
                        r = catalog_ref_stands_for(c, &now, &commit);
                if (r != 0)
                        return r < 0 ? r : 0;
                if (strcmp(put, commit.sha) == 0)
                        break;
                strcpy(put, commit.sha);
                r = store_ref_put(s, repo->type, repo->hub_name, now.name, put);
                if (r < 0)
                        return r;
        }
        return now.kept != 0 && commit.id == now.commit ? catalog_ref_settle(c, &now) : 0;
}

static int store_refs_of(struct blob *b, const struct place_walk *w)
{
        struct catalog *c = b->table->catalog;
        struct ref ref = {};
        int r;

        while ((r = catalog_ref_keeping_next(c, w->commit.id, ref.name, &ref)) == 0) {
                r = ref_store(c, b->table->store, &w->repo, ref.name);
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
