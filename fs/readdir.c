/*
 * Listings: what the catalogue knows now; a listing never asks the hub.
 *
 * Each kind of folder has a function that yields the entry after a cookie, so a listing resumes at
 * any offset without state, also in another process. Cookies are what orders the folder: positions
 * in a commit, row ids elsewhere, indices in the small ones; + COOKIE_BASE, after "." and "..". What
 * comes or goes meanwhile moves no other cookie. refs/ and its folders are in readdir_refs.c.
 *
 *   D1  The kernel keeps the listings of folders below a commit, opened online: they never change, so
 *       that they are shown whole to their end, also when an offline switch comes in between. Opened
 *       offline they hide what is not held, and are not kept.
 *   D2  It keeps no other listing: a client that lists snapshots/ after it has learned of a commit must
 *       find it.
 */
#define LOG_COMPONENT "fs"

#include "fs/readdir.h"

#define COOKIE_BASE 2

static bool is_listing(struct node dir)
{
        return dir.kind == NODE_SNAP_DIR || node_is_plain(dir);
}

bool dir_open_whole(struct fs *fs, struct node dir)
{
        return is_listing(dir) && !fetch_is_offline(fs->fetch);
}

/* 0: a step; 1: the end; negative errno. */
typedef int (*next_fn)(struct fs *fs, struct node dir, struct step *s);

int step_dir(struct fs *fs, struct step *s, uint64_t cookie, const char *name, struct node n)
{
        s->cookie = cookie;
        s->node = n;
        s->entry_timeout = MOMENT;
        snprintf(s->name, sizeof(s->name), "%s", name);
        return tree_attr(fs, n, &s->attr, &s->attr_timeout);
}

static int next_fixed_root(struct fs *fs, struct node dir, struct step *s)
{
        static const struct {
                const char *name;
                enum node_fixed fixed;
        } entries[] = {
                { "hub", FIXED_HUB }, { "models", FIXED_MODELS },
                { "datasets", FIXED_DATASETS }, { "spaces", FIXED_SPACES },
        };

        (void)dir;
        if (s->cookie >= ARRAY_SIZE(entries))
                return 1;
        return step_dir(fs, s, s->cookie + 1, entries[s->cookie].name,
                        node_of(NODE_FIXED, 0, entries[s->cookie].fixed));
}

/* Declared repos that were not looked up yet, after all others; only online can they be had. */
static int next_declared(struct fs *fs, uint64_t *cookie, struct repo *ret)
{
        uint64_t index = *cookie >> 33 < REPO_TYPE_COUNT ? 0 : *cookie & UINT32_MAX;

        while (!fetch_is_offline(fs->fetch) && index < fs->declared_count) {
                int r = catalog_repo_get(fs->catalog, fs->declared[index++], ret);

                if (r < 0)
                        return r;
                if (r == 0 && !ret->resolved && fetch_policy_allows(fs->fetch, ret->type, ret->name)) {
                        *cookie = (uint64_t)REPO_TYPE_COUNT << 33 | index;
                        return 0;
                }
        }
        return 1;
}

/* The next repo of any type that may be shown. Cookie: type << 33 | id; past the types, declared. */
static int next_shown_repo(struct fs *fs, uint64_t *cookie, struct repo *ret)
{
        uint64_t type = *cookie >> 33, id = *cookie & UINT32_MAX;

        while (type < REPO_TYPE_COUNT) {
                bool show;
                int r = catalog_repo_next(fs->catalog, (enum repo_type)type, (int64_t)id, ret);

                if (r > 0) {
                        type++;
                        id = 0;
                        continue;
                }
                if (r == 0)
                        r = show_repo(fs, ret, &show);
                if (r < 0)
                        return r;
                id = (uint64_t)ret->id;
                if (show) {
                        *cookie = type << 33 | id;
                        return 0;
                }
        }
        return next_declared(fs, cookie, ret);
}

static int next_hub(struct fs *fs, struct node dir, struct step *s)
{
        struct repo repo;
        bool locks = dir.low == FIXED_LOCKS;
        uint64_t cookie = s->cookie;
        int r;

        if (!locks && cookie == 0) /* ".locks" first; the cookie 1 is before all repos */
                return step_dir(fs, s, 1, ".locks", node_of(NODE_FIXED, 0, FIXED_LOCKS));
        if (cookie == 1)
                cookie = 0;
        else if (cookie > 1)
                cookie -= 1;
        r = next_shown_repo(fs, &cookie, &repo);
        if (r != 0)
                return r;
        s->cookie = cookie + 1;
        s->node = node_of(locks ? NODE_LOCKS : NODE_REPO, repo.id, 0);
        s->entry_timeout = s->attr_timeout = MOMENT;
        repo_to_folder(repo.type, repo.name, s->name);
        tree_attr_dir(fs, s->node, 0, &s->attr);
        return 0;
}

/*
 * A repo in the plain view. Where its main is not known yet, only the name is listed: which commit
 * it shows is for a lookup to ask. 1: it is not shown.
 */
static int step_view(struct fs *fs, struct step *s, uint64_t cookie, const struct repo *repo, const char *name)
{
        struct ref ref;
        bool show;
        int r = catalog_ref_find(fs->catalog, repo->id, "main", &ref);

        if (r < 0)
                return r;
        if (r > 0) {
                if (fetch_is_offline(fs->fetch))
                        return 1;
                s->name_only = true;
                return step_dir(fs, s, cookie, name, node_of(NODE_REPO, repo->id, 0));
        }
        r = show_ref(fs, &ref, &show);
        if (r != 0)
                return r;
        return show ? step_dir(fs, s, cookie, name, node_of(NODE_PLAIN_DEFAULT, ref.commit, 0)) : 1;
}

/* The next repo of an Org that may be shown, as a step. */
static int step_in_org(struct fs *fs, struct step *s, enum repo_type type, const char *org, int64_t after)
{
        struct repo repo = { .id = after };
        bool show;
        int r;

        do {
                r = catalog_repo_next_in_org(fs->catalog, type, org, repo.id, &repo);
                if (r == 0)
                        r = show_repo(fs, &repo, &show);
                if (r != 0)
                        return r;
                r = show ? step_view(fs, s, (uint64_t)repo.id, &repo, repo.name + strlen(org) + 1) : 1;
        } while (r > 0);
        return r;
}

#define CANONICAL (UINT64_C(1) << 33) /* in a cookie: past the Orgs, the id is of a repo without one */

static int next_canonical(struct fs *fs, enum repo_type type, struct step *s)
{
        struct repo repo = { .id = (int64_t)(s->cookie & UINT32_MAX) };
        bool show;
        int r;

        do {
                r = catalog_repo_next(fs->catalog, type, repo.id, &repo);
                if (r == 0)
                        r = show_repo(fs, &repo, &show);
                if (r != 0)
                        return r;
                r = show && !strchr(repo.name, '/') ?
                            step_view(fs, s, CANONICAL | (uint64_t)repo.id, &repo, repo.name) :
                            1;
        } while (r > 0);
        return r;
}

/* models/: the Orgs of which something is shown, then the repos that have none. */
static int next_type(struct fs *fs, struct node dir, struct step *s)
{
        enum repo_type type;
        char org[REPO_NAME_MAX + 1];
        int64_t id = (int64_t)s->cookie;
        int r;

        if (!fixed_type((enum node_fixed)dir.low, &type))
                return 1;
        while (!(s->cookie & CANONICAL)) {
                r = catalog_org_next(fs->catalog, type, id, &id, org);
                if (r < 0)
                        return r;
                if (r > 0) {
                        s->cookie = CANONICAL;
                        break;
                }
                r = step_in_org(fs, s, type, org, 0);
                s->name_only = false;
                if (r < 0)
                        return r;
                if (r == 0) /* something of it is shown */
                        return step_dir(fs, s, (uint64_t)id, org, node_of(NODE_ORG, id, 0));
        }
        return next_canonical(fs, type, s);
}

static int next_org(struct fs *fs, struct node dir, struct step *s)
{
        enum repo_type type;
        char org[REPO_NAME_MAX + 1];
        int r = catalog_org_get(fs->catalog, dir.id, &type, org);

        if (r != 0)
                return r > 0 ? -ESTALE : r;
        return step_in_org(fs, s, type, org, (int64_t)s->cookie);
}

static int next_repo_part(struct fs *fs, struct node dir, struct step *s)
{
        static const struct {
                const char *name;
                enum node_kind kind;
        } parts[] = {
                { "blobs", NODE_BLOBS }, { "refs", NODE_REFS }, { "snapshots", NODE_SNAPSHOTS },
                { "trees", NODE_TREES },
        };

        if (s->cookie >= ARRAY_SIZE(parts))
                return 1;
        return step_dir(fs, s, s->cookie + 1, parts[s->cookie].name, node_of(parts[s->cookie].kind, dir.id, 0));
}

static int next_snapshot(struct fs *fs, struct node dir, struct step *s)
{
        struct commit commit = { .id = (int64_t)s->cookie };
        bool show = false;
        int r;

        do {
                r = catalog_commit_next(fs->catalog, dir.id, commit.id, &commit);
                if (r == 0)
                        r = show_commit(fs, commit.id, &show);
                if (r != 0)
                        return r;
        } while (!show);
        if (dir.kind == NODE_SNAPSHOTS)
                return step_dir(fs, s, (uint64_t)commit.id, commit.sha, node_of(NODE_SNAP_DIR, commit.id, 0));
        return 1;
}

static int next_tree_json(struct fs *fs, struct node dir, struct step *s)
{
        struct commit commit = { .id = (int64_t)s->cookie };
        char name[COMMIT_HEX + 6];
        bool show;
        int r;

        for (;;) {
                r = catalog_commit_next(fs->catalog, dir.id, commit.id, &commit);
                if (r == 0)
                        r = show_commit(fs, commit.id, &show);
                if (r != 0)
                        return r;
                if (!show)
                        continue;
                snprintf(name, sizeof(name), "%s.json", commit.sha);
                r = step_dir(fs, s, (uint64_t)commit.id, name, node_of(NODE_TREE, commit.id, 0));
                if (r != -ESTALE) /* adopted without a tree */
                        return r;
        }
}

static int next_blob(struct fs *fs, struct node dir, struct step *s)
{
        struct blob_row row;
        int r = s->rows ? 0 : catalog_blobs_in_repo(fs->catalog, dir.id, (int64_t)s->cookie, &s->rows);

        do {
                if (r == 0)
                        r = catalog_rows_next(s->rows, &row);
                if (r != 0)
                        return r;
        } while (!show_blob(fs, &row));
        s->cookie = (uint64_t)row.id;
        s->node = node_of(NODE_BLOB, row.id, row.incarnation);
        s->entry_timeout = blob_state_whole(row.state) ? FOREVER : MOMENT;
        s->attr_timeout = FOREVER;
        strcpy(s->name, row.etag);
        tree_attr_blob(fs, &row, &s->attr);
        return 0;
}

static int begin_listed(struct fs *fs, struct node dir, struct step *s)
{
        struct commit commit;
        int r = catalog_commit_get(fs->catalog, dir.id, &commit);

        if (r != 0)
                return r > 0 ? -ESTALE : r;
        s->mtime = commit.mtime ? commit.mtime : fs->born.tv_sec;
        return catalog_entries(fs->catalog, dir.id, dir.low, (uint32_t)s->cookie, &s->rows);
}

static int next_listed(struct fs *fs, struct node dir, struct step *s)
{
        struct entry entry;
        bool shown;
        int r = s->rows ? 0 : begin_listed(fs, dir, s);

        do {
                if (r == 0)
                        r = catalog_rows_next(s->rows, &entry);
                if (r != 0)
                        return r;
                shown = show_entry(fs, &entry);
        } while (!s->whole && !shown);
        s->cookie = entry.pos;
        s->name_only = !shown; /* D1: it is there only by name */
        s->node = entry_node(dir, &entry);
        s->entry_timeout = entry_keep(fs, s->node, &entry);
        s->attr_timeout = FOREVER;
        snprintf(s->name, sizeof(s->name), "%s", entry.name);
        tree_attr_entry(fs, s->node, &entry, s->mtime, &s->attr);
        return 0;
}

static int next_none(struct fs *fs, struct node dir, struct step *s)
{
        (void)fs;
        (void)dir;
        (void)s;
        return 1;
}

static next_fn next_of(struct node dir)
{
        switch (dir.kind) {
        case NODE_FIXED:
                return dir.low == FIXED_ROOT                               ? next_fixed_root :
                       dir.low == FIXED_HUB || dir.low == FIXED_LOCKS ? next_hub :
                                                                             next_type;
        case NODE_REPO:
                return next_repo_part;
        case NODE_REFS:
        case NODE_REF_COMMON:
        case NODE_REF_DIR:
                return next_ref;
        case NODE_SNAPSHOTS:
                return next_snapshot;
        case NODE_TREES:
                return next_tree_json;
        case NODE_BLOBS:
                return next_blob;
        case NODE_ORG:
                return next_org;
        case NODE_SNAP_DIR:
        case NODE_PLAIN_DEFAULT:
        case NODE_PLAIN_COMMIT:
                return next_listed;
        default:
                return next_none; /* .locks/<repo>, .no_exist: there by lookup only */
        }
}

static int next_dot(struct fs *fs, struct node dir, off_t offset, struct step *s)
{
        struct node n = dir;

        if (offset == 1 && tree_parent(fs, dir, &n) != 0)
                n = dir;
        strcpy(s->name, offset == 0 ? "." : "..");
        s->node = n;
        return tree_attr(fs, n, &s->attr, &s->attr_timeout);
}

static size_t add_entry(struct fs *fs, fuse_req_t req, char *buf, size_t room, const struct step *s,
                        off_t next_offset, bool plus)
{
        struct fuse_entry_param e = {
                /* 0: no lookup of "." and "..", nor of what is a name only */
                .ino = next_offset > COOKIE_BASE && !s->name_only ? node_pack(s->node) : 0,
                .generation = fs->generation,
                .attr = s->attr,
                .attr_timeout = s->attr_timeout,
                .entry_timeout = s->entry_timeout,
        };

        if (plus)
                return fuse_add_direntry_plus(req, buf, room, s->name, &e, next_offset);
        return fuse_add_direntry(req, buf, room, s->name, &s->attr, next_offset);
}

/* As many entries from @offset on as fit. 1: the end; negative errno. */
static int fill_buffer(struct fs *fs, fuse_req_t req, struct node dir, off_t offset, bool plus, struct step *s,
                       char *buf, size_t size, size_t *ret_used)
{
        for (;;) {
                size_t n;
                int r;

                if (offset < COOKIE_BASE) {
                        r = next_dot(fs, dir, offset, s);
                        offset++;
                } else {
                        s->cookie = (uint64_t)(offset - COOKIE_BASE);
                        s->name_only = false;
                        r = next_of(dir)(fs, dir, s);
                        offset = (off_t)s->cookie + COOKIE_BASE;
                }
                if (r != 0)
                        return r;
                n = add_entry(fs, req, buf + *ret_used, size - *ret_used, s, offset, plus);
                if (n > size - *ret_used)
                        return 0;
                *ret_used += n;
        }
}

void dir_read(struct fs *fs, fuse_req_t req, struct node dir, size_t size, off_t offset, bool plus, bool whole)
{
        CLEANUP_FREE char *buf = malloc(size);
        CLEANUP_FREE struct step *s = calloc(1, sizeof(*s));
        size_t used = 0;
        int r = -ENOMEM;

        if (buf && s) {
                s->whole = whole;
                r = fill_buffer(fs, req, dir, offset, plus, s, buf, size, &used);
                catalog_rows_free(s->rows); /* before the reply: what it brings may need a reader too */
        }
        if (r < 0 && used == 0)
                fuse_reply_err(req, errno_of(r));
        else
                fuse_reply_buf(req, buf, used);
}
