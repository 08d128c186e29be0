/*
 * Which blobs are begun: what partial/ holds, in terms of the catalogue. The catalogue itself does not
 * know: there a blob of which nobody ever read a byte is being filled too.
 */
#include "index/blob_internal.h"

#include <errno.h>
#include <stdlib.h>

struct begun {
        bool left; /* those too that became whole, and whose partial file a crash has left */
        struct blob_row *rows;
        size_t count, capacity;
};

static void begun_done(struct begun *l)
{
        free(l->rows);
}

static int begun_add(struct begun *l, const struct blob_row *row)
{
        if (l->count == l->capacity) {
                size_t capacity = l->capacity ? 2 * l->capacity : 16;
                struct blob_row *grown = reallocarray(l->rows, capacity, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                l->rows = grown;
                l->capacity = capacity;
        }
        l->rows[l->count++] = *row;
        return 0;
}

/* A partial file has the name of its etag alone: the rows differ in size. */
static int add_rows(struct blobs *t, const char *etag, struct begun *l)
{
        struct blob_row row;
        int64_t above = -1;
        int r;

        while ((r = catalog_blob_next_of_etag(t->catalog, etag, above, &row)) == 0) {
                above = (int64_t)row.size;
                if (row.state != BLOB_FILLING && !(l->left && row.state == BLOB_COMPLETE))
                        continue;
                r = begun_add(l, &row);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : 0;
}

static int by_id(const void *a, const void *b)
{
        int64_t x = ((const struct blob_row *)a)->id, y = ((const struct blob_row *)b)->id;

        return (x > y) - (x < y);
}

static int list_begun(struct blobs *t, struct begun *l)
{
        CLEANUP_DIR DIR *d = NULL;
        struct dirent *e;
        int r = 0;

        if (store_partial_fd(t->store) >= 0)
                r = dir_list(store_partial_fd(t->store), ".", &d);
        while (d && r == 0 && (errno = 0, e = readdir(d)))
                if (etag_valid(e->d_name)) /* the maps and drafts beside it are none */
                        r = add_rows(t, e->d_name, l);
        return d && r == 0 ? -errno : r;
}

int blobs_begun(struct blobs *t, struct blob_row **ret, size_t *ret_count)
{
        CLEANUP(begun_done) struct begun l = {};
        int r = list_begun(t, &l);

        if (r < 0)
                return r;
        if (l.count > 1)
                qsort(l.rows, l.count, sizeof(*l.rows), by_id);
        *ret_count = l.count;
        *ret = take_ptr(l.rows);
        return 0;
}

int blobs_settle_begun(struct blobs *t)
{
        CLEANUP(begun_done) struct begun l = { .left = true };
        struct blob *b;
        int r, result = list_begun(t, &l);

        for (size_t i = 0; i < l.count; i++) {
                r = blobs_get(t, l.rows[i].id, &b);
                if (r == 0)
                        blob_unref(b);
                else if (r < 0 && result == 0) /* the others are settled all the same */
                        result = r;
        }
        return result;
}
