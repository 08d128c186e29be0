/*
 * From a list of files to a listing: folders are made of the paths, every node gets its position.
 *
 *   L1  Positions follow the bytes of the path; the root, whose path is empty, has position 0.
 *   L2  A folder comes before what is in it, but not right before: "a", "a.b", "a/c".
 *   L3  Children of one folder are ordered by name (their paths differ in nothing else).
 *
 * Sorting twice makes it O(n log n): files first, so that each new folder shows as a prefix that
 * the file before does not have; then files and folders together.
 */
#include "index/catalog_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int node_compare(const void *a, const void *b)
{
        const struct node *x = a, *y = b;
        int r = memcmp(x->path, y->path, x->len < y->len ? x->len : y->len);

        if (r != 0)
                return r;
        return (x->len > y->len) - (x->len < y->len);
}

/* Bytes that both have at the beginning. */
static uint32_t common_prefix(const struct node *a, const struct node *b)
{
        uint32_t n = 0;

        while (n < a->len && n < b->len && a->path[n] == b->path[n])
                n++;
        return n;
}

/*
 * Calls for each folder that no earlier file of the sorted @files lies in, i.e. each folder once;
 * writes them to @ret unless that is NULL. Returns their number.
 */
static size_t folders_of(const struct node *files, size_t count, struct node *ret)
{
        size_t n = 0;

        for (size_t i = 0; i < count; i++) {
                uint32_t known = i > 0 ? common_prefix(&files[i - 1], &files[i]) : 0;

                for (uint32_t at = known; at < files[i].len; at++) {
                        if (files[i].path[at] != '/')
                                continue;
                        if (ret)
                                ret[n] = (struct node){ .path = files[i].path, .len = at };
                        n++;
                }
        }
        return n;
}

static int files_check(const struct listed_file *files, size_t count)
{
        if (count >= CATALOG_POS_MAX)
                return CATALOG_E_LIMIT;
        for (size_t i = 0; i < count; i++) {
                if (!entry_path_valid(files[i].path) || !etag_valid(files[i].etag))
                        return -EINVAL;
                if (files[i].size > INT64_MAX)
                        return CATALOG_E_LIMIT;
        }
        return 0;
}

/* The position of the folder with the first @len bytes of @path. It exists: it was made so. */
static uint32_t folder_at(const struct listing *l, const char *path, uint32_t len)
{
        struct node key = { .path = path, .len = len };
        const struct node *found = bsearch(&key, l->nodes, l->count, sizeof(key), node_compare);

        return (uint32_t)(found - l->nodes);
}

static void node_place(struct listing *l, size_t at)
{
        struct node *n = &l->nodes[at];
        const struct node *before = &l->nodes[at - 1];
        uint32_t len = n->len;

        for (uint32_t i = 0; i < n->len; i++)
                n->depth += n->path[i] == '/';
        while (len > 0 && n->path[len - 1] != '/')
                len--;
        if (len == 0)
                n->parent = 0;
        else if (before->len > len && before->depth == n->depth && memcmp(before->path, n->path, len) == 0)
                n->parent = before->parent; /* its neighbour: the usual case, no search */
        else
                n->parent = folder_at(l, n->path, len - 1);
}

/* Parents, depths, sums, and which files come along: in order of position, as many as fit. */
static int nodes_place(struct listing *l)
{
        uint64_t along = 0;

        for (size_t i = 1; i < l->count; i++) {
                struct node *n = &l->nodes[i];

                if (node_compare(n - 1, n) == 0)
                        return CATALOG_E_LIMIT; /* twice, or both a file and a folder */
                node_place(l, i);
                if (!n->file)
                        continue;
                l->files++;
                if (__builtin_add_overflow(l->size, n->file->size, &l->size) || l->size > INT64_MAX)
                        return CATALOG_E_LIMIT;
                n->along = n->file->size <= ALONG_FILE_MAX && along + n->file->size <= ALONG_COMMIT_MAX;
                if (n->along)
                        along += n->file->size;
        }
        return 0;
}

int listing_make(const struct listed_file *files, size_t count, struct listing *ret)
{
        CLEANUP(listing_done) struct listing l = {};
        CLEANUP_FREE struct node *sorted = NULL;
        size_t folders;
        int r;

        r = files_check(files, count);
        if (r != 0)
                return r;
        sorted = calloc(count + 1, sizeof(*sorted));
        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++)
                sorted[i] = (struct node){ .path = files[i].path,
                                           .len = (uint32_t)strlen(files[i].path),
                                           .file = &files[i] };
        qsort(sorted, count, sizeof(*sorted), node_compare);

        folders = folders_of(sorted, count, NULL);
        if (1 + count + folders > CATALOG_POS_MAX)
                return CATALOG_E_LIMIT;
        l.nodes = calloc(1 + count + folders, sizeof(*l.nodes));
        if (!l.nodes)
                return -ENOMEM;
        l.count = 1 + count + folders;
        l.nodes[0].path = "";
        if (count > 0)
                memcpy(l.nodes + 1, sorted, count * sizeof(*sorted));
        folders_of(sorted, count, l.nodes + 1 + count);
        free(take_ptr(sorted)); /* the second sorting needs room too */
        qsort(l.nodes, l.count, sizeof(*l.nodes), node_compare);
        r = nodes_place(&l);
        if (r != 0)
                return r;
        *ret = l;
        l.nodes = NULL;
        return 0;
}

void listing_done(struct listing *l)
{
        free(l->nodes);
        *l = (struct listing){};
}
