/*
 * Listings of refs/ and of its folders: the refs right in it, then the folders. A branch "a/b" makes the
 * folder "a"; both go by row ids.
 */
#define LOG_COMPONENT "fs"

#include "fs/readdir.h"

/* The folder of refs in the given row, as a step. */
static int step_ref_dir(struct fs *fs, struct step *s, uint64_t cookie, const struct ref_dir *row, const char *name)
{
        for (uint32_t i = 0; i < REF_COMMON_COUNT; i++)
                if (strcmp(row->path, ref_common_paths[i]) == 0)
                        return step_dir(fs, s, cookie, name, node_of(NODE_REF_COMMON, row->repo, i));
        return step_dir(fs, s, cookie, name, node_of(NODE_REF_DIR, row->id, 0));
}

/* What remains of @path after the folder @prefix ("" or ending in "/"), if it is right in it. */
static const char *component_in(const char *path, const char *prefix)
{
        size_t len = strlen(prefix);

        return strncmp(path, prefix, len) == 0 && !strchr(path + len, '/') ? path + len : NULL;
}

/* Whether one of the refs below a folder may be shown: the first where all may. */
static int show_ref_dir(struct fs *fs, const struct ref_dir *row, bool *ret)
{
        char after[REVISION_MAX + 2];
        struct ref ref;
        size_t len = strlen(row->path);
        int r;

        *ret = false;
        snprintf(after, sizeof(after), "%s/", row->path);
        while (!*ret) {
                r = catalog_ref_next(fs->catalog, row->repo, after, &ref);
                if (r != 0)
                        return r < 0 ? r : 0;
                if (strncmp(ref.name, row->path, len) != 0 || ref.name[len] != '/')
                        return 0;
                strcpy(after, ref.name);
                r = show_ref(fs, &ref, ret);
                if (r < 0)
                        return r;
                if (r > 0)
                        *ret = false; /* replaced meanwhile */
        }
        return 0;
}

#define REF_DIRS (UINT64_C(1) << 33) /* in a cookie: past the refs, the id is of a folder of refs */

static int next_plain_ref(struct fs *fs, int64_t repo, const char *prefix, struct step *s)
{
        struct ref ref;
        int r = s->rows ? 0 : catalog_refs(fs->catalog, repo, (int64_t)s->cookie, &s->rows);

        while (r == 0 && (r = catalog_rows_next(s->rows, &ref)) == 0) {
                const char *name = component_in(ref.name, prefix);
                bool show = false;

                if (name)
                        r = show_ref(fs, &ref, &show);
                if (r > 0) /* the commit was replaced, and the ref with it */
                        r = 0;
                else if (r == 0 && show)
                        return step_dir(fs, s, (uint64_t)ref.id, name, node_of(NODE_REF, ref.commit, 0));
        }
        return r;
}

static int next_ref_dir(struct fs *fs, int64_t repo, const char *prefix, struct step *s)
{
        struct ref_dir row;
        int r = s->rows ? 0 : catalog_ref_dirs(fs->catalog, repo, (int64_t)(s->cookie & UINT32_MAX), &s->rows);

        while (r == 0 && (r = catalog_rows_next(s->rows, &row)) == 0) {
                const char *name = component_in(row.path, prefix);
                bool show = false;

                if (name)
                        r = show_ref_dir(fs, &row, &show);
                if (r == 0 && show)
                        return step_ref_dir(fs, s, REF_DIRS | (uint64_t)row.id, &row, name);
        }
        return r;
}

int next_ref(struct fs *fs, struct node dir, struct step *s)
{
        char prefix[REVISION_MAX + 2] = "";
        struct ref_dir row;
        int64_t repo = dir.id;
        int r;

        if (dir.kind == NODE_REF_COMMON) {
                snprintf(prefix, sizeof(prefix), "%s/", ref_common_paths[dir.low]);
        } else if (dir.kind == NODE_REF_DIR) {
                r = catalog_ref_dir_get(fs->catalog, dir.id, &row);
                if (r != 0)
                        return r > 0 ? -ESTALE : r;
                repo = row.repo;
                snprintf(prefix, sizeof(prefix), "%s/", row.path);
        }
        if (!(s->cookie & REF_DIRS)) {
                r = next_plain_ref(fs, repo, prefix, s);
                if (r <= 0)
                        return r;
                s->cookie = REF_DIRS;
                s->rows = catalog_rows_free(s->rows);
        }
        return next_ref_dir(fs, repo, prefix, s);
}
