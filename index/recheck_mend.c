/*
 * Mending of names (recheck_names.h): refs, links and listings are written anew from the catalogue. Of a listing that
 * leaves out what the catalogue does not keep, the hashes of Xet; those of the pointers of LFS follow from the rest.
 */
#include "index/recheck_internal.h"

#include "index/hash.h"
#include "index/ref_store.h"
#include "index/store_dir.h"
#include "index/tree_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The git hash of the pointer that stands in the repo for a file of LFS. */
static int pointer_oid(const char *sha256, uint64_t size, char ret[COMMIT_HEX + 1])
{
        static const char any_sha1[] = "0000000000000000000000000000000000000000";
        CLEANUP(cleanup_hash) struct hash *h = NULL;
        char text[160 + SHA256_HEX], hex[ETAG_MAX + 1];
        int n = snprintf(text, sizeof(text), "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %ju\n",
                         sha256, (uintmax_t)size);
        int r = hash_new(any_sha1, (uint64_t)n, &h);

        if (r == 0)
                r = hash_update(h, text, (size_t)n);
        if (r == 0)
                r = hash_get(h, hex);
        if (r == 0)
                memcpy(ret, hex, COMMIT_HEX + 1);
        return r;
}

static int add_entry(struct tree *t, const struct entry *e)
{
        struct tree_file f = { .path = e->path, .size = e->size };
        int r = 0;

        if (strlen(e->etag) == SHA256_HEX) {
                memcpy(f.sha256, e->etag, SHA256_HEX + 1);
                r = pointer_oid(e->etag, e->size, f.oid);
        } else {
                memcpy(f.oid, e->etag, COMMIT_HEX + 1);
        }
        return r < 0 ? r : tree_add(t, &f);
}

static int write_tree(const void *arg, FILE *to)
{
        return tree_write(arg, to);
}

static int put_listing(struct index *ix, const struct recheck_name *n)
{
        CLEANUP_FREE struct entry *e = calloc(1, sizeof(*e));
        CLEANUP(tree_done) struct tree t = {};
        int r = e ? 0 : -ENOMEM;

        if (n->commit.id == 0 || !n->commit.whole_listing)
                return -ENODATA;
        while (r == 0 && (r = catalog_entry_walk(ix->catalog, n->commit.id, e->pos, e)) == 0)
                r = e->is_dir ? 0 : add_entry(&t, e);
        return r < 0 ? r : store_tree_put(ix->store, n->repo.type, n->repo.hub_name, n->commit.sha, write_tree, &t);
}

static int put_link(struct index *ix, const struct recheck_name *n)
{
        CLEANUP_FREE struct entry *e = calloc(1, sizeof(*e));
        int r = e ? catalog_entry_at(ix->catalog, n->commit.id, n->pos, e) : -ENOMEM;

        if (r != 0)
                return r < 0 ? r : -ENODATA;
        if (!blob_state_whole(e->state))
                return -ENXIO;
        return store_link_put(ix->store, n->repo.type, n->repo.hub_name, n->commit.sha, e->path, e->etag);
}

static int put_ref(struct index *ix, const struct recheck_name *n)
{
        const char *name = n->path + strlen("refs/");
        struct ref ref;
        int r = catalog_ref_find(ix->catalog, n->repo.id, name, &ref);

        if (r != 0)
                return r < 0 ? r : -ENODATA;
        return ref_store(ix->catalog, ix->store, &n->repo, name);
}

static int look_link_again(const struct name_look *x, const struct recheck_name *n, struct name_verdict *ret)
{
        CLEANUP_FREE struct entry *e = calloc(1, sizeof(*e));
        CLEANUP_FD int dir = -1;
        int r = e ? catalog_entry_at(x->ix->catalog, n->commit.id, n->pos, e) : -ENOMEM, opened;

        if (r != 0)
                return r < 0 ? r : -ENODATA;
        opened = name_open_folder(x, n->path, &dir);
        return name_look_link(x, e, opened < 0 ? opened : dir, ret);
}

static int look_again(struct index *ix, const struct recheck_name *n, bool *ret_right)
{
        CLEANUP_FD int dir = -1;
        struct name_look x = { .ix = ix, .repo = &n->repo };
        struct name_verdict v = {};
        int r = store_repo_open(ix->store, n->repo.type, n->repo.hub_name, false, &dir);

        if (r < 0)
                return r;
        x.dir = dir;
        r = n->kind == RECHECK_NAME_REF  ? name_look_ref(&x, n->path, &v) :
            n->kind == RECHECK_NAME_LINK ? look_link_again(&x, n, &v) :
                                           name_look_listing(&x, &n->commit, &v);
        *ret_right = v.fault == RECHECK_NAME_RIGHT;
        return r;
}

int recheck_name_mend(struct index *ix, const struct recheck_name *n)
{
        bool right;
        int r = look_again(ix, n, &right);

        if (r < 0 || right)
                return r;
        r = n->kind == RECHECK_NAME_REF  ? put_ref(ix, n) :
            n->kind == RECHECK_NAME_LINK ? put_link(ix, n) :
                                           put_listing(ix, n);
        if (r == 0)
                r = look_again(ix, n, &right);
        return r < 0 ? r : right ? 0 : -EEXIST;
}
