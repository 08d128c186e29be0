/*
 * What a node is: its attributes, its parent, what of it may be shown.
 *
 * Everything is read from the catalogue; a node whose row is gone is stale. Modes are 0555 for
 * folders, 0444 for files, 0777 for links. st_blocks follows the size also for what is not held:
 * with 0, tar -S archives zeros.
 */
#define LOG_COMPONENT "fs"

#include "fs/internal.h"

const char *const ref_common_paths[REF_COMMON_COUNT] = { "refs", "refs/pr", "refs/convert" };

static const enum node_fixed type_fixed[REPO_TYPE_COUNT] = { FIXED_MODELS, FIXED_DATASETS, FIXED_SPACES };

enum node_fixed fixed_of_type(enum repo_type type)
{
        return type_fixed[type];
}

bool fixed_type(enum node_fixed fixed, enum repo_type *ret)
{
        for (int i = 0; i < REPO_TYPE_COUNT; i++)
                if (type_fixed[i] == fixed) {
                        *ret = (enum repo_type)i;
                        return true;
                }
        return false;
}

bool node_is_plain(struct node n)
{
        return n.kind == NODE_PLAIN_DEFAULT || n.kind == NODE_PLAIN_COMMIT;
}

/* CATALOG_E_NONE for a row that a node id names means that the node is from another time. */
static int stale(int r)
{
        return r > 0 ? -ESTALE : r;
}

/* ---- attributes ---- */

static void attr_base(struct fs *fs, struct node n, struct stat *ret)
{
        *ret = (struct stat){
                .st_ino = node_ino(n),
                .st_uid = fs->options.uid,
                .st_gid = fs->options.gid,
                .st_blksize = 4096,
                .st_nlink = 1,
        };
}

static void attr_time(struct stat *st, struct timespec t)
{
        st->st_atim = st->st_mtim = st->st_ctim = t;
}

static void attr_size(struct stat *st, uint64_t size)
{
        st->st_size = (off_t)size;
        st->st_blocks = (blkcnt_t)((size + 511) / 512);
}

/* A folder. @mtime 0: its listing may change; the time of the last change of any is shown, so that NFS clients
 * look again. It is the catalogue's: much of what appears was asked for by nobody here (a pull, adoption). */
void tree_attr_dir(struct fs *fs, struct node n, int64_t mtime, struct stat *ret)
{
        int64_t changed = (int64_t)max_u64((uint64_t)fs->changed_ns, (uint64_t)catalog_changed_ns(fs->catalog));
        struct timespec t = { .tv_sec = mtime };

        if (mtime == 0)
                t = (struct timespec){ changed / 1000000000, changed % 1000000000 };
        attr_base(fs, n, ret);
        ret->st_mode = S_IFDIR | 0555;
        ret->st_nlink = 2;
        attr_size(ret, 4096);
        attr_time(ret, t);
}

static void attr_file(struct fs *fs, struct node n, uint64_t size, int64_t mtime, struct stat *ret)
{
        attr_base(fs, n, ret);
        ret->st_mode = S_IFREG | 0444;
        attr_size(ret, size);
        attr_time(ret, mtime ? (struct timespec){ .tv_sec = mtime } : fs->born);
}

static void attr_link(struct fs *fs, struct node n, size_t len, int64_t mtime, struct stat *ret)
{
        attr_base(fs, n, ret);
        ret->st_mode = S_IFLNK | 0777;
        ret->st_size = (off_t)len;
        attr_time(ret, (struct timespec){ .tv_sec = mtime });
}

/* A blob is shared by commits and repos, so it has no date of its own. */
void tree_attr_blob(struct fs *fs, const struct blob_row *row, struct stat *ret)
{
        attr_file(fs, node_of(NODE_BLOB, row->id, row->incarnation), row->size, 0, ret);
}

static size_t link_target_format(const struct entry *e, char *ret)
{
        char *p = ret;

        for (uint32_t i = 0; i < e->depth + 2; i++)
                p = stpcpy(p, "../");
        p = stpcpy(p, "blobs/");
        p = stpcpy(p, e->etag);
        return (size_t)(p - ret);
}

void tree_attr_entry(struct fs *fs, struct node n, const struct entry *e, int64_t mtime, struct stat *ret)
{
        if (n.kind == NODE_BLOB) {
                attr_file(fs, n, e->size, 0, ret);
        } else if (n.kind == NODE_SNAP_LINK) {
                char target[SNAP_LINK_MAX];

                attr_link(fs, n, link_target_format(e, target), mtime, ret);
        } else {
                tree_attr_dir(fs, n, mtime, ret);
        }
}

/* Nodes made of a commit and a position. */
static int attr_listed(struct fs *fs, struct node n, struct stat *ret)
{
        struct commit commit;
        struct entry entry;
        int r = catalog_commit_get(fs->catalog, n.id, &commit);

        if (r == 0)
                r = catalog_entry_at(fs->catalog, n.id, n.low, &entry);
        if (r != 0)
                return stale(r);
        tree_attr_entry(fs, n, &entry, commit.mtime ? commit.mtime : fs->born.tv_sec, ret);
        return 0;
}

/* "Name@sha" */
static int plain_link_target(struct fs *fs, struct node n, struct commit *ret_commit, char *ret)
{
        const char *slash;
        struct repo repo;
        int r = catalog_commit_get(fs->catalog, n.id, ret_commit);

        if (r == 0)
                r = catalog_repo_get(fs->catalog, ret_commit->repo, &repo);
        if (r != 0)
                return stale(r);
        slash = strchr(repo.name, '/');
        snprintf(ret, SNAP_LINK_MAX, "%s@%s", slash ? slash + 1 : repo.name, ret_commit->sha);
        return 0;
}

static int attr_plain_link(struct fs *fs, struct node n, struct stat *ret)
{
        char target[SNAP_LINK_MAX];
        struct commit commit;
        int r = plain_link_target(fs, n, &commit, target);

        if (r == 0)
                attr_link(fs, n, strlen(target), commit.mtime ? commit.mtime : fs->born.tv_sec, ret);
        return r;
}

static int attr_tree_json(struct fs *fs, struct node n, struct stat *ret)
{
        struct commit commit;
        struct repo repo;
        uint64_t size;
        int fd, r = catalog_commit_get(fs->catalog, n.id, &commit);

        if (r == 0)
                r = catalog_repo_get(fs->catalog, commit.repo, &repo);
        if (r == 0)
                r = store_tree_open(fs->store, repo.type, repo.hub_name, commit.sha, &fd, &size);
        if (r != 0)
                return stale(r == -ENOENT ? 1 : r);
        cleanup_fd(&fd);
        attr_file(fs, n, size, commit.mtime, ret);
        return 0;
}

/* Folders and files named by one row. */
static int attr_row(struct fs *fs, struct node n, struct stat *ret)
{
        struct repo repo;
        struct ref_dir ref_dir;
        struct commit commit;
        enum repo_type type;
        char org[REPO_NAME_MAX + 1];
        int r;

        switch (n.kind) {
        case NODE_REF:
                r = catalog_commit_get(fs->catalog, n.id, &commit);
                if (r == 0)
                        attr_file(fs, n, COMMIT_HEX, commit.mtime, ret);
                return stale(r);
        case NODE_REF_DIR:
                r = catalog_ref_dir_get(fs->catalog, n.id, &ref_dir);
                break;
        case NODE_ORG:
                r = catalog_org_get(fs->catalog, n.id, &type, org);
                break;
        default:
                r = catalog_repo_get(fs->catalog, n.id, &repo);
                break;
        }
        if (r == 0)
                tree_attr_dir(fs, n, 0, ret);
        return stale(r);
}

static int attr_blob(struct fs *fs, struct node n, struct stat *ret)
{
        struct blob_row row;
        int r = catalog_blob_get(fs->catalog, n.id, &row);

        if (r != 0)
                return stale(r);
        tree_attr_blob(fs, &row, ret);
        return 0;
}

int tree_attr(struct fs *fs, struct node n, struct stat *ret, double *ret_timeout)
{
        double timeout = FOREVER;
        int r = 0;

        switch (n.kind) {
        case NODE_FIXED:
                tree_attr_dir(fs, n, 0, ret);
                timeout = MOMENT;
                break;
        case NODE_SNAP_DIR:
        case NODE_SNAP_LINK:
        case NODE_NO_EXIST_DIR:
        case NODE_PLAIN_DEFAULT:
        case NODE_PLAIN_COMMIT:
                r = attr_listed(fs, n, ret);
                break;
        case NODE_TREE:
                r = attr_tree_json(fs, n, ret);
                break;
        case NODE_PLAIN_LINK:
                r = attr_plain_link(fs, n, ret);
                break;
        case NODE_ABSENT_DIR:
                tree_attr_dir(fs, n, fs->born.tv_sec, ret);
                break;
        case NODE_ABSENT_FILE:
                attr_file(fs, n, 0, 0, ret);
                break;
        case NODE_BLOB:
                r = attr_blob(fs, n, ret);
                break;
        default:
                r = attr_row(fs, n, ret);
                timeout = node_is_dir(n) ? MOMENT : FOREVER;
                break;
        }
        if (ret_timeout)
                *ret_timeout = timeout;
        return r;
}

int tree_link_target(struct fs *fs, struct node n, char *ret)
{
        struct commit commit;
        struct entry entry;
        int r;

        if (n.kind == NODE_PLAIN_LINK)
                return plain_link_target(fs, n, &commit, ret);
        if (n.kind != NODE_SNAP_LINK)
                return -EINVAL;
        r = catalog_entry_at(fs->catalog, n.id, n.low, &entry);
        if (r != 0)
                return stale(r);
        if (entry.is_dir)
                return -EINVAL;
        link_target_format(&entry, ret);
        return 0;
}

/* ---- parents ---- */

static int parent_of_ref_dir(struct fs *fs, struct node n, struct node *ret)
{
        struct ref_dir dir, above;
        char *slash;
        int r = catalog_ref_dir_get(fs->catalog, n.id, &dir);

        if (r != 0)
                return stale(r);
        *ret = node_of(NODE_REFS, dir.repo, 0);
        slash = strrchr(dir.path, '/');
        if (!slash)
                return 0;
        *slash = '\0';
        for (uint32_t i = 0; i < REF_COMMON_COUNT; i++)
                if (strcmp(dir.path, ref_common_paths[i]) == 0) {
                        *ret = node_of(NODE_REF_COMMON, dir.repo, i);
                        return 0;
                }
        r = catalog_ref_dir_find(fs->catalog, dir.repo, dir.path, &above);
        if (r == 0)
                *ret = node_of(NODE_REF_DIR, above.id, 0);
        return stale(r);
}

/* The folder above the root folder of a commit's view. */
static int parent_of_view(struct fs *fs, struct node n, struct node *ret)
{
        struct commit commit;
        struct repo repo;
        char *slash;
        int64_t org;
        int r = catalog_commit_get(fs->catalog, n.id, &commit);

        if (r == 0)
                r = catalog_repo_get(fs->catalog, commit.repo, &repo);
        if (r != 0)
                return stale(r);
        if (!node_is_plain(n)) {
                *ret = node_of(n.kind == NODE_SNAP_DIR ? NODE_SNAPSHOTS : NODE_NO_EXIST, repo.id, 0);
                return 0;
        }
        slash = strchr(repo.name, '/');
        if (!slash) {
                *ret = node_of(NODE_FIXED, 0, fixed_of_type(repo.type));
                return 0;
        }
        *slash = '\0';
        r = catalog_org_put(fs->catalog, repo.type, repo.name, &org);
        if (r == 0)
                *ret = node_of(NODE_ORG, org, 0);
        return stale(r);
}

static int parent_in_view(struct fs *fs, struct node n, struct node *ret)
{
        struct entry entry;
        int r;

        if (n.low == 0)
                return parent_of_view(fs, n, ret);
        r = catalog_entry_at(fs->catalog, n.id, n.low, &entry);
        if (r == 0)
                *ret = node_of(n.kind, n.id, entry.parent);
        return stale(r);
}

int tree_parent(struct fs *fs, struct node n, struct node *ret)
{
        enum repo_type type;
        char org[REPO_NAME_MAX + 1];
        int r;

        switch (n.kind) {
        case NODE_FIXED:
                *ret = node_of(NODE_FIXED, 0, n.low == FIXED_LOCKS ? FIXED_HUB : FIXED_ROOT);
                return 0;
        case NODE_REPO:
                *ret = node_of(NODE_FIXED, 0, FIXED_HUB);
                return 0;
        case NODE_LOCKS:
                *ret = node_of(NODE_FIXED, 0, FIXED_LOCKS);
                return 0;
        case NODE_REFS:
        case NODE_SNAPSHOTS:
        case NODE_BLOBS:
        case NODE_NO_EXIST:
        case NODE_TREES:
                *ret = node_of(NODE_REPO, n.id, 0);
                return 0;
        case NODE_REF_COMMON:
                *ret = n.low == REF_COMMON_REFS ? node_of(NODE_REFS, n.id, 0) :
                                                  node_of(NODE_REF_COMMON, n.id, REF_COMMON_REFS);
                return 0;
        case NODE_REF_DIR:
                return parent_of_ref_dir(fs, n, ret);
        case NODE_ORG:
                r = catalog_org_get(fs->catalog, n.id, &type, org);
                if (r == 0)
                        *ret = node_of(NODE_FIXED, 0, fixed_of_type(type));
                return stale(r);
        case NODE_SNAP_DIR:
        case NODE_NO_EXIST_DIR:
        case NODE_PLAIN_DEFAULT:
        case NODE_PLAIN_COMMIT:
                return parent_in_view(fs, n, ret);
        default:
                return -ESTALE; /* files have several, absent folders have none that is known */
        }
}

/* ---- what may be shown ---- */

bool show_entry(struct fs *fs, const struct entry *e)
{
        return e->is_dir || blob_state_whole(e->state) || !fetch_is_offline(fs->fetch);
}

bool show_blob(struct fs *fs, const struct blob_row *row)
{
        return blob_state_whole(row->state) || !fetch_is_offline(fs->fetch);
}

int show_commit(struct fs *fs, int64_t commit, bool *ret)
{
        *ret = true;
        if (!fetch_is_offline(fs->fetch))
                return 0;
        return catalog_commit_usable_offline(fs->catalog, commit, ret);
}

int show_ref(struct fs *fs, struct ref *ref, bool *ret)
{
        struct commit commit;
        int r;

        *ret = true;
        if (!fetch_is_offline(fs->fetch))
                return 0;
        r = catalog_ref_stands_for(fs->catalog, ref, &commit);
        if (r != 0)
                return r;
        ref->commit = commit.id;
        memcpy(ref->sha, commit.sha, sizeof(ref->sha));
        return show_commit(fs, ref->commit, ret);
}

/* A repo is shown offline when one of its commits is, or when nobody has looked at its folder yet. */
int show_repo(struct fs *fs, const struct repo *repo, bool *ret)
{
        struct commit commit = {};
        int r;

        *ret = fetch_policy_allows(fs->fetch, repo->type, repo->name);
        if (!*ret || !fetch_is_offline(fs->fetch) || !repo->scanned)
                return 0;
        for (;;) {
                r = catalog_commit_next(fs->catalog, repo->id, commit.id, &commit);
                if (r != 0)
                        break;
                r = catalog_commit_usable_offline(fs->catalog, commit.id, ret);
                if (r != 0 || *ret)
                        return r;
        }
        *ret = false;
        return r > 0 ? 0 : r;
}

struct node entry_node(struct node dir, const struct entry *e)
{
        if (e->is_dir || dir.kind == NODE_NO_EXIST_DIR)
                return node_of(dir.kind, dir.id, e->pos);
        if (dir.kind == NODE_SNAP_DIR)
                return node_of(NODE_SNAP_LINK, dir.id, e->pos);
        return node_of(NODE_BLOB, e->blob, e->incarnation);
}

/* A folder or a link stays what it is whatever becomes of its blob; only an offline switch hides the
 * link, for which there are epochs. Another blob's node changes with its incarnation. */
double entry_keep(struct fs *fs, struct node n, const struct entry *e)
{
        if (e->is_dir || blob_state_whole(e->state))
                return FOREVER;
        return n.kind == NODE_SNAP_LINK && fs->epochs ? FOREVER : MOMENT;
}
