/*
 * Names: from a folder and a name to a node, asking fetch/ for what the catalogue does not know.
 *
 * A lookup runs from the start each time one of its questions was answered (request.c), so every
 * step first asks the catalogue. Absences are cached by the kernel only where they can not end:
 * names that the layout does not have, names that a whole listing lacks.
 *
 *   L1  Below a commit no lookup needs the network.
 *   L2  .no_exist/<commit>/<path> is there only when the whole listing is known and lacks the path;
 *       never for what is merely not held.
 *   L3  No row is made for a name just because it was asked for, except orgs (bounded) and what
 *       the hub confirms.
 */
#define LOG_COMPONENT "fs"

#include "fs/internal.h"

/* A name that can never come to be here. */
static int never(struct found *ret)
{
        ret->negative_timeout = FOREVER;
        return -ENOENT;
}

static int found_dir(struct request *rq, struct node n, double keep, struct found *ret)
{
        int r;

        ret->node = n;
        ret->entry_timeout = keep;
        r = tree_attr(rq->fs, n, &ret->attr, &ret->attr_timeout);
        return r;
}

static int row_absent(int r)
{
        return r > 0 ? -ENOENT : r;
}

/* ---- repos ---- */

/* Makes a repo known and checks that it may be shown. */
static int need_repo(struct request *rq, enum repo_type type, const char *name, struct repo *ret)
{
        bool show;
        int r = ask_repo(rq, type, name);

        if (r != 0)
                return r;
        r = catalog_repo_find(rq->fs->catalog, type, name, ret);
        if (r != 0)
                return row_absent(r);
        r = show_repo(rq->fs, ret, &show);
        if (r < 0)
                return r;
        return show ? 0 : FETCH_E_OFFLINE;
}

/* Makes a ref known with its commit, and checks that it may be shown. */
static int need_ref(struct request *rq, int64_t repo, const char *name, struct ref *ret)
{
        bool show;
        int r = ask_revision(rq, repo, name);

        if (r != 0)
                return r;
        r = catalog_ref_find(rq->fs->catalog, repo, name, ret);
        if (r != 0)
                return row_absent(r);
        r = show_ref(rq->fs, ret, &show);
        if (r != 0)
                return row_absent(r);
        return show ? 0 : FETCH_E_OFFLINE;
}

static int need_commit(struct request *rq, int64_t repo, const char *sha, struct commit *ret)
{
        bool show;
        int r = catalog_commit_find(rq->fs->catalog, repo, sha, ret);

        if (r < 0)
                return r;
        if (r > 0 || !ret->whole_listing) {
                r = ask_revision(rq, repo, sha);
                if (r != 0)
                        return r;
                r = catalog_commit_find(rq->fs->catalog, repo, sha, ret);
                if (r != 0)
                        return row_absent(r);
        }
        r = show_commit(rq->fs, ret->id, &show);
        if (r < 0)
                return r;
        return show ? 0 : FETCH_E_OFFLINE;
}

/* ---- the fixed folders ---- */

static int lookup_root(struct request *rq, const char *name, struct found *ret)
{
        enum repo_type type;

        if (strcmp(name, "hub") == 0)
                return found_dir(rq, node_of(NODE_FIXED, 0, FIXED_HUB), FOREVER, ret);
        if (repo_type_from_plural(name, &type))
                return found_dir(rq, node_of(NODE_FIXED, 0, fixed_of_type(type)), FOREVER, ret);
        return never(ret);
}

/* hub/<folder> and hub/.locks/<folder>. */
static int lookup_repo_folder(struct request *rq, enum node_kind kind, const char *name, struct found *ret)
{
        enum repo_type type;
        char id[REPO_NAME_MAX + 1];
        struct repo repo;
        int r;

        if (!repo_from_folder(name, &type, id))
                return never(ret);
        r = need_repo(rq, type, id, &repo);
        if (r != 0)
                return r;
        return found_dir(rq, node_of(kind, repo.id, 0), MOMENT, ret);
}

static int lookup_hub(struct request *rq, const char *name, struct found *ret)
{
        if (strcmp(name, ".locks") == 0)
                return found_dir(rq, node_of(NODE_FIXED, 0, FIXED_LOCKS), FOREVER, ret);
        return lookup_repo_folder(rq, NODE_REPO, name, ret);
}

/* ---- the plain view ---- */

/* Splits "Name@revision" and undoes %2F in the revision, whose "/" a file name cannot hold. */
static bool split_revision(const char *text, char *ret_name, char *ret_revision)
{
        const char *at = strchr(text, '@');
        size_t len = at ? (size_t)(at - text) : strlen(text);
        char *p = ret_revision;

        ret_revision[0] = '\0';
        if (len > REPO_NAME_MAX)
                return false;
        memcpy(ret_name, text, len);
        ret_name[len] = '\0';
        if (!at)
                return true;
        for (const char *s = at + 1; *s; s++) {
                if (p - ret_revision >= REVISION_MAX)
                        return false;
                if (strncasecmp(s, "%2F", 3) == 0) {
                        *p++ = '/';
                        s += 2;
                } else {
                        *p++ = *s;
                }
        }
        *p = '\0';
        return revision_valid(ret_revision);
}

/* The root folder of a commit in the plain view. */
static int lookup_view(struct request *rq, const struct repo *repo, const char *revision, struct found *ret)
{
        struct commit commit;
        struct ref ref;
        int r;

        if (hex_valid(revision, COMMIT_HEX)) {
                r = need_commit(rq, repo->id, revision, &commit);
                if (r != 0)
                        return r;
                return found_dir(rq, node_of(NODE_PLAIN_COMMIT, commit.id, 0), MOMENT, ret);
        }
        r = need_ref(rq, repo->id, revision[0] ? revision : "main", &ref);
        if (r != 0)
                return r;
        return found_dir(rq, node_of(revision[0] ? NODE_PLAIN_LINK : NODE_PLAIN_DEFAULT, ref.commit, 0),
                         MOMENT, ret);
}

static int lookup_plain_repo(struct request *rq, enum repo_type type, const char *org, const char *text,
                             struct found *ret)
{
        char part[REPO_NAME_MAX + 1], name[2 * REPO_NAME_MAX + 2], revision[REVISION_MAX + 1];
        struct repo repo;
        int r;

        if (!split_revision(text, part, revision))
                return never(ret);
        snprintf(name, sizeof(name), "%s%s%s", org, org[0] ? "/" : "", part);
        if (!repo_name_valid(name))
                return never(ret);
        r = need_repo(rq, type, name, &repo);
        if (r != 0)
                return r;
        return lookup_view(rq, &repo, revision, ret);
}

static int found_org(struct request *rq, enum repo_type type, const char *org, struct found *ret)
{
        int64_t id;
        int r = catalog_org_put(rq->fs->catalog, type, org, &id);

        if (r != 0)
                return r;
        return found_dir(rq, node_of(NODE_ORG, id, 0), MOMENT, ret);
}

/*
 * models/<name>: the folder of an Org, or a repo without one (canonical). An Org of which a repo is
 * known is one; else the hub is asked whether it knows such a repo, and only then is it an Org:
 * there is no repo to ask for yet.
 */
static int lookup_type(struct request *rq, enum repo_type type, const char *name, struct found *ret)
{
        struct repo known;
        int r;

        if (strchr(name, '@'))
                return lookup_plain_repo(rq, type, "", name, ret);
        if (!repo_name_valid(name))
                return never(ret);
        r = catalog_repo_next_in_org(rq->fs->catalog, type, name, 0, &known);
        if (r < 0)
                return r;
        if (r == 0)
                return found_org(rq, type, name, ret);
        r = lookup_plain_repo(rq, type, "", name, ret);
        if ((r == FETCH_E_ABSENT || r == FETCH_E_POLICY) && !fetch_is_offline(rq->fs->fetch))
                return found_org(rq, type, name, ret);
        return r;
}

static int lookup_org(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        enum repo_type type;
        char org[REPO_NAME_MAX + 1];
        int r = catalog_org_get(rq->fs->catalog, dir.id, &type, org);

        if (r != 0)
                return r > 0 ? -ESTALE : r;
        return lookup_plain_repo(rq, type, org, name, ret);
}

/* ---- inside a repo ---- */

static int lookup_repo(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        static const struct {
                const char *name;
                enum node_kind kind;
        } parts[] = {
                { "refs", NODE_REFS },           { "snapshots", NODE_SNAPSHOTS }, { "blobs", NODE_BLOBS },
                { ".no_exist", NODE_NO_EXIST }, { "trees", NODE_TREES },
        };

        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                if (strcmp(name, parts[i].name) == 0)
                        return found_dir(rq, node_of(parts[i].kind, dir.id, 0), FOREVER, ret);
        return never(ret);
}

/* The name of a ref folder ("" for refs/ itself), and the repo. */
static int ref_prefix(struct fs *fs, struct node dir, int64_t *ret_repo, char *ret_path)
{
        struct ref_dir row;
        int r;

        if (dir.kind == NODE_REFS || dir.kind == NODE_REF_COMMON) {
                *ret_repo = dir.id;
                strcpy(ret_path, dir.kind == NODE_REFS ? "" : ref_common_paths[dir.low]);
                return 0;
        }
        r = catalog_ref_dir_get(fs->catalog, dir.id, &row);
        if (r != 0)
                return r > 0 ? -ESTALE : r;
        *ret_repo = row.repo;
        strcpy(ret_path, row.path);
        return 0;
}

/* A folder of refs/, if @path is known to be one. */
static int lookup_ref_dir(struct request *rq, int64_t repo, const char *path, struct found *ret)
{
        struct ref_dir row;
        int r;

        for (uint32_t i = 0; i < REF_COMMON_COUNT; i++)
                if (strcmp(path, ref_common_paths[i]) == 0)
                        return found_dir(rq, node_of(NODE_REF_COMMON, repo, i), FOREVER, ret);
        r = catalog_ref_dir_find(rq->fs->catalog, repo, path, &row);
        if (r != 0)
                return row_absent(r);
        return found_dir(rq, node_of(NODE_REF_DIR, row.id, 0), MOMENT, ret);
}

static int lookup_ref(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        char path[REVISION_MAX + ENTRY_NAME_MAX + 2], prefix[REVISION_MAX + 1];
        struct commit commit;
        struct ref ref;
        int64_t repo;
        int r = ref_prefix(rq->fs, dir, &repo, prefix);

        if (r != 0)
                return r;
        snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] ? "/" : "", name);
        if (!revision_valid(path))
                return never(ret);
        if (hex_valid(path, COMMIT_HEX)) {
                r = need_commit(rq, repo, path, &commit);
                if (r != 0)
                        return r;
                return found_dir(rq, node_of(NODE_REF, commit.id, 0), MOMENT, ret);
        }
        r = lookup_ref_dir(rq, repo, path, ret);
        if (r != -ENOENT)
                return r;
        r = need_ref(rq, repo, path, &ref);
        if (r == 0)
                return found_dir(rq, node_of(NODE_REF, ref.commit, 0), MOMENT, ret);
        if (r == FETCH_E_ABSENT && lookup_ref_dir(rq, repo, path, ret) == 0)
                return 0; /* the question taught us the names of its refs */
        return r;
}

static int lookup_snapshot(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        struct commit commit;
        int r;

        if (!hex_valid(name, COMMIT_HEX))
                return never(ret);
        r = need_commit(rq, dir.id, name, &commit);
        if (r != 0)
                return r;
        if (dir.kind == NODE_NO_EXIST && !commit.whole_listing)
                return -ENOENT; /* L2 */
        return found_dir(rq, node_of(dir.kind == NODE_NO_EXIST ? NODE_NO_EXIST_DIR : NODE_SNAP_DIR, commit.id, 0),
                         dir.kind == NODE_NO_EXIST ? FOREVER : MOMENT, ret);
}

static int lookup_tree_json(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        char sha[COMMIT_HEX + 1];
        struct commit commit;
        int r;

        if (strlen(name) != COMMIT_HEX + 5 || strcmp(name + COMMIT_HEX, ".json") != 0)
                return never(ret);
        memcpy(sha, name, COMMIT_HEX);
        sha[COMMIT_HEX] = '\0';
        if (!hex_valid(sha, COMMIT_HEX))
                return never(ret);
        r = need_commit(rq, dir.id, sha, &commit);
        if (r != 0)
                return r;
        r = found_dir(rq, node_of(NODE_TREE, commit.id, 0), MOMENT, ret);
        return r == -ESTALE ? -ENOENT : r;
}

static int lookup_blob(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        struct blob_row row;
        int r;

        if (!etag_valid(name))
                return never(ret);
        r = catalog_blob_in_repo(rq->fs->catalog, dir.id, name, &row);
        if (r != 0)
                return row_absent(r);
        if (!show_blob(rq->fs, &row))
                return -ENOENT;
        ret->node = node_of(NODE_BLOB, row.id, row.incarnation);
        ret->entry_timeout = blob_state_whole(row.state) ? FOREVER : MOMENT;
        ret->attr_timeout = FOREVER;
        tree_attr_blob(rq->fs, &row, &ret->attr);
        return 0;
}

/* ---- below a commit ---- */

static int lookup_listed(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        struct fs *fs = rq->fs;
        struct commit commit;
        struct entry entry;
        int r = catalog_commit_get(fs->catalog, dir.id, &commit);

        if (r != 0)
                return r > 0 ? -ESTALE : r;
        r = catalog_entry_lookup(fs->catalog, dir.id, dir.low, name, &entry);
        if (r > 0)
                return commit.whole_listing ? never(ret) : -ENOENT;
        if (r < 0)
                return r;
        if (!show_entry(fs, &entry)) {
                ret->negative_timeout = MOMENT;
                return -ENOENT;
        }
        ret->node = entry_node(dir, &entry);
        ret->entry_timeout = entry_keep(fs, ret->node, &entry);
        ret->attr_timeout = FOREVER;
        tree_attr_entry(fs, ret->node, &entry, commit.mtime ? commit.mtime : fs->born.tv_sec, &ret->attr);
        return 0;
}

static int found_absent(struct request *rq, uint64_t seed, const char *name, struct found *ret)
{
        /* A client asks for files; a name without a dot can only be a folder on the way to one. */
        struct node n = node_absent(!strchr(name, '.'), node_hash_name(seed, name));

        return found_dir(rq, n, FOREVER, ret);
}

static int lookup_no_exist(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        struct entry entry;
        int r = catalog_entry_lookup(rq->fs->catalog, dir.id, dir.low, name, &entry);

        if (r < 0)
                return r;
        if (r > 0)
                return found_absent(rq, node_pack(dir), name, ret);
        if (!entry.is_dir)
                return never(ret); /* it does exist */
        return found_dir(rq, entry_node(dir, &entry), FOREVER, ret);
}

/* ---- */

static int lookup_fixed(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        enum repo_type type;

        switch ((enum node_fixed)dir.low) {
        case FIXED_ROOT:
                return lookup_root(rq, name, ret);
        case FIXED_HUB:
                return lookup_hub(rq, name, ret);
        case FIXED_LOCKS:
                return lookup_repo_folder(rq, NODE_LOCKS, name, ret);
        default:
                return fixed_type((enum node_fixed)dir.low, &type) ? lookup_type(rq, type, name, ret) : -ESTALE;
        }
}

/* "." and "..": asked by NFS servers that found a node by its handle. */
static int lookup_dot(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        struct node n = dir;
        int r = name[1] == '.' ? tree_parent(rq->fs, dir, &n) : 0;

        if (r != 0)
                return r;
        return found_dir(rq, n, MOMENT, ret);
}

/* A listing may have shown a repo's folder before anybody looked at what the store holds of it; what
 * is only half known must not be taken for absent. */
static int need_scanned(struct request *rq, struct node dir)
{
        struct repo repo;
        int r;

        switch (dir.kind) {
        case NODE_REFS:
        case NODE_REF_COMMON:
        case NODE_SNAPSHOTS:
        case NODE_NO_EXIST:
        case NODE_TREES:
        case NODE_BLOBS:
                r = catalog_repo_get(rq->fs->catalog, dir.id, &repo);
                if (r != 0)
                        return r > 0 ? -ESTALE : r;
                return repo.scanned ? 0 : ask_repo(rq, repo.type, repo.name);
        default:
                return 0;
        }
}

int lookup_name(struct request *rq, struct node dir, const char *name, struct found *ret)
{
        int r;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return lookup_dot(rq, dir, name, ret);
        r = need_scanned(rq, dir);
        if (r != 0)
                return r;
        switch (dir.kind) {
        case NODE_FIXED:
                return lookup_fixed(rq, dir, name, ret);
        case NODE_REPO:
                return lookup_repo(rq, dir, name, ret);
        case NODE_REFS:
        case NODE_REF_COMMON:
        case NODE_REF_DIR:
                return lookup_ref(rq, dir, name, ret);
        case NODE_SNAPSHOTS:
        case NODE_NO_EXIST:
                return lookup_snapshot(rq, dir, name, ret);
        case NODE_TREES:
                return lookup_tree_json(rq, dir, name, ret);
        case NODE_BLOBS:
                return lookup_blob(rq, dir, name, ret);
        case NODE_LOCKS:
                return never(ret);
        case NODE_ORG:
                return lookup_org(rq, dir, name, ret);
        case NODE_SNAP_DIR:
        case NODE_PLAIN_DEFAULT:
        case NODE_PLAIN_COMMIT:
                return lookup_listed(rq, dir, name, ret);
        case NODE_NO_EXIST_DIR:
                return lookup_no_exist(rq, dir, name, ret);
        case NODE_ABSENT_DIR:
                return found_absent(rq, node_hash(dir), name, ret);
        default:
                return -ENOTDIR;
        }
}
