/*
 * Catalogue: what is known of repos, refs, commits, their listings, and of blobs. One SQLite
 * file on a local disk (WAL). All of it can be had again from the store and the hub; what can not
 * is the meaning of node ids, hence the epoch: a catalogue made anew has another one.
 *
 * Ids        Row ids are positive, at most CATALOG_ID_MAX, and never reused, also after a power
 *            loss (AUTOINCREMENT, synchronous=FULL). They are what node ids are made of.
 * Units      Sizes are bytes; times are seconds since the epoch.
 * Errors     0: done. Negative errno: the machine failed (-EUCLEAN: the file is damaged); pass it
 *            up unchanged. Positive CATALOG_E_*: an answer listed at the function.
 * Ownership  Arguments are borrowed for the call. ret_ parameters are written on success only.
 * Threads    Any thread may call. Writers are serialised by one lock, held over disk I/O and never
 *            over the network; readers have connections of their own and never wait for a writer.
 *            No callbacks.
 */
#pragma once

#include "base/errmsg.h"
#include "base/names.h"

#include <stdint.h>

struct catalog; /* opaque; lives from catalog_open() to catalog_close() */

#define CATALOG_ID_MAX UINT32_MAX     /* row ids fit 32 bits (fs/ packs them into node ids) */
#define CATALOG_POS_MAX ((1u << 26) - 1) /* positions in a listing fit 26 bits */

/* A listing's small files that come along once one file of the commit is read. */
#define ALONG_FILE_MAX (1u << 20)   /* bytes of one */
#define ALONG_COMMIT_MAX (64u << 20) /* bytes of all of one commit */

enum {
        CATALOG_E_NONE = 1, /* no such row */
        CATALOG_E_LIMIT,    /* too many entries or too long a name: the listing is refused */
};

/* The state of a blob. Even: being filled; odd: complete. It follows the incarnation's parity. */
enum blob_state {
        BLOB_FILLING,     /* not all of it is held (perhaps nothing) */
        BLOB_ADOPTED,     /* complete, found in a cache that others filled, not hashed yet */
        BLOB_COMPLETE,    /* complete, hash verified */
        BLOB_QUARANTINED, /* its hash was wrong twice; counts as being filled */
};

static inline bool blob_state_whole(enum blob_state s)
{
        return s == BLOB_ADOPTED || s == BLOB_COMPLETE;
}

struct repo {
        int64_t id;
        enum repo_type type;
        char name[REPO_NAME_MAX + 1];     /* as asked for: what the tree shows */
        char hub_name[REPO_NAME_MAX + 1]; /* its present name on the hub and in the store; differs
                                           * from name for a renamed repo */
        bool scanned;                     /* STORE/hub was looked at for this repo (adopt.h) */
        bool resolved; /* the hub knows it, or the store holds something of it: it is listed */
};

struct ref {
        int64_t id; /* a new one for each value */
        int64_t repo;
        char name[REVISION_MAX + 1]; /* "main", "v1.0", "refs/pr/1" */
        int64_t commit;
        char sha[COMMIT_HEX + 1];
        int64_t kept;    /* the commit that it stood for before, while that may be the one to show offline; 0: none */
        int64_t checked; /* when the hub last said so; 0: never (adopted) */
};

struct ref_dir { /* a folder of refs/: "refs", "refs/pr", "feature" */
        int64_t id;
        int64_t repo;
        char path[REVISION_MAX + 1]; /* without a slash at the end */
};

struct commit {
        int64_t id; /* a new one when a partial listing is replaced by the whole one */
        int64_t repo;
        char sha[COMMIT_HEX + 1];
        int64_t mtime;       /* the commit's date, else when first seen */
        uint32_t nodes;      /* positions in use: files and folders, the root included */
        uint32_t files;
        uint64_t size;       /* bytes of all files */
        bool whole_listing;  /* false: adopted from a snapshot folder without trees/<commit>.json */
};

struct entry { /* a file or folder of a commit's listing */
        uint32_t pos;    /* position among all nodes sorted by path bytes, 0: the root folder */
        uint32_t parent; /* position of the folder it is in; 0 for the root itself */
        uint32_t depth;  /* folders above it: 0 for a file at the root */
        bool is_dir;
        bool along;  /* one of the small files that come along */
        int64_t blob; /* files only, as what follows */
        uint64_t size;
        enum blob_state state;
        uint32_t incarnation;
        char etag[ETAG_MAX + 1];
        const char *name; /* last component; points into path */
        char path[ENTRY_PATH_MAX + 1];
};

struct blob_row {
        int64_t id;
        char etag[ETAG_MAX + 1]; /* 64 hex: sha256; 40: git blob sha1 */
        uint64_t size;
        enum blob_state state;
        uint32_t incarnation; /* grows by one at each change between filling and complete, by two when
                               * what is filled begins anew; parity 0: filling, 1: complete; at most
                               * 24 bits */
        int64_t verified; /* when its hash was last found right, in seconds; 0: not known */
};

struct listed_file { /* input of catalog_commit_put() */
        const char *path; /* entry_path_valid() */
        const char *etag; /* etag_valid() */
        uint64_t size;
};

/* ---- opening ---- */

/*
 * catalog_open() - open the catalogue at @path, creating it when absent, migrating it when older
 * Return: 0 and a catalogue the caller owns. -EUCLEAN: damaged (left as found; see index.h).
 * -EPROTO: written by a newer weightfs. -EREMOTE: on a network file system. -EEXIST: the SQLite
 * file of another program, or no file (left alone). Others. @err says more.
 */
int catalog_open(const char *path, struct catalog **ret, struct errmsg *err);
struct catalog *catalog_close(struct catalog *c); /* NULL is allowed; returns NULL */

/* The random epoch that this catalogue was created with; never 0. */
uint64_t catalog_epoch(const struct catalog *c);
/* True when catalog_open() made it: the file was absent or empty. */
bool catalog_is_new(const struct catalog *c);

/* When something that listings show was last recorded by this process (a repo, ref or commit, a blob's state):
 * nanoseconds since the epoch, later with each change; 0: not yet. */
int64_t catalog_changed_ns(const struct catalog *c);

/* ---- rows under way ---- */

/*
 * Rows that are gone through one by one, from one moment's state of the catalogue: a listing that is
 * read out. They hold one of the readers, so they are for one short call and one thread; whoever has
 * them may ask the catalogue other things meanwhile, but must not go through further rows.
 */
struct catalog_rows;
/* The next row, into the struct that the function which gave @rows names. 0 or CATALOG_E_NONE. */
int catalog_rows_next(struct catalog_rows *rows, void *ret);
struct catalog_rows *catalog_rows_free(struct catalog_rows *rows); /* NULL is allowed; returns NULL */

/* ---- repos ---- */

int catalog_repo_find(struct catalog *c, enum repo_type type, const char *name, struct repo *ret);
int catalog_repo_get(struct catalog *c, int64_t id, struct repo *ret);
/* The listed (resolved) repo of @type with the lowest id above @after. All: 0 or CATALOG_E_NONE. */
int catalog_repo_next(struct catalog *c, enum repo_type type, int64_t after, struct repo *ret);
/* Adds the repo or updates its hub_name; sets resolved when @resolved (never clears it). */
int catalog_repo_put(struct catalog *c, enum repo_type type, const char *name, const char *hub_name,
                     bool resolved, struct repo *ret);
struct repo_name {
        enum repo_type type;
        char name[REPO_NAME_MAX + 1], hub_name[REPO_NAME_MAX + 1];
        bool resolved;
};
/* The same for many that were just found, in one transaction; of those that are resolved by now more is
 * known already: they stay as they are. */
int catalog_repos_put(struct catalog *c, const struct repo_name *repos, size_t count);
int catalog_repo_set_scanned(struct catalog *c, int64_t id);

/* The first part of ids ("Org"): a folder of the plain view. Rows are made for what is asked. */
int catalog_org_put(struct catalog *c, enum repo_type type, const char *org, int64_t *ret_id);
/* @ret_org holds REPO_NAME_MAX + 1 bytes. 0 or CATALOG_E_NONE. */
int catalog_org_get(struct catalog *c, int64_t id, enum repo_type *ret_type, char *ret_org);

/* The org with the lowest id above @after of which a resolved repo is known. */
int catalog_org_next(struct catalog *c, enum repo_type type, int64_t after, int64_t *ret_id, char *ret_org);
/* The resolved repo of @org with the lowest id above @after. */
int catalog_repo_next_in_org(struct catalog *c, enum repo_type type, const char *org, int64_t after,
                             struct repo *ret);

/* ---- refs ---- */

int catalog_ref_find(struct catalog *c, int64_t repo, const char *name, struct ref *ret);
/* struct ref: those of @repo with ids above @after, by id. */
int catalog_refs(struct catalog *c, int64_t repo, int64_t after, struct catalog_rows **ret);
/* The ref of @repo with the smallest name above @after ("": the first). */
int catalog_ref_next(struct catalog *c, int64_t repo, const char *after, struct ref *ret);
/* Sets or confirms a ref. Same value: only checked changes. Another: a row with a new id. The
 * folders of its name become rows too. CATALOG_E_NONE: no such commit. */
int catalog_ref_set(struct catalog *c, int64_t repo, const char *name, int64_t commit, int64_t checked,
                    struct ref *ret);
/*
 * The commit that @ref stands for where only what is held counts (offline, in a plain cache): its own, unless the one
 * before (kept) can be loaded and its own lacks a file that was held of that, or weights in the place of those (H4 of
 * catalog_ref_kept.c). @ref as it was read. 0, CATALOG_E_NONE: the commit was replaced meanwhile.
 */
int catalog_ref_stands_for(struct catalog *c, const struct ref *ref, struct commit *ret);
/* The ref with the smallest name above @after ("": the first) that names @commit and still keeps another. */
int catalog_ref_keeping_next(struct catalog *c, int64_t commit, const char *after, struct ref *ret);
/* Its own commit it is from now on: nothing is kept any more. */
int catalog_ref_settle(struct catalog *c, const struct ref *ref);
int catalog_ref_remove(struct catalog *c, int64_t repo, const char *name); /* absent is fine */
int catalog_ref_dir_find(struct catalog *c, int64_t repo, const char *path, struct ref_dir *ret);
int catalog_ref_dir_get(struct catalog *c, int64_t id, struct ref_dir *ret);
/* struct ref_dir: those of @repo with ids above @after, by id. */
int catalog_ref_dirs(struct catalog *c, int64_t repo, int64_t after, struct catalog_rows **ret);

/* ---- commits and their listings ---- */

int catalog_commit_find(struct catalog *c, int64_t repo, const char *sha, struct commit *ret);
int catalog_commit_get(struct catalog *c, int64_t id, struct commit *ret);
int catalog_commit_next(struct catalog *c, int64_t repo, int64_t after, struct commit *ret);
/*
 * catalog_commit_put() - record a commit with its listing, in one transaction
 *
 * Files may come in any order; folders are made of their paths. A whole listing is never replaced
 * (the known commit is returned); a partial one is replaced, under a new id, by anything larger,
 * and refs follow. Blobs are made as needed, filling, incarnation 0. Equal (etag, size) is the
 * same blob, in whatever repo. @mtime 0: not known, the time of the first call is kept.
 * Return: 0; CATALOG_E_LIMIT when the listing has over CATALOG_POS_MAX nodes, a path twice, or a
 * path that is both file and folder; negative errno.
 */
int catalog_commit_put(struct catalog *c, int64_t repo, const char *sha, int64_t mtime, bool whole,
                       const struct listed_file *files, size_t count, struct commit *ret);
/* True in @ret when all small files that come along are held: the commit may be shown offline. */
int catalog_commit_usable_offline(struct catalog *c, int64_t commit, bool *ret);

/*
 * Links in the store: a listing that has files which are whole already is recorded first and linked then,
 * so a crash may come between. catalog_commit_next_unlinked() gives the lowest such commit above @after (0 or
 * CATALOG_E_NONE), catalog_commits_set_linked() says that those from @first to @last have all their links.
 * A file that becomes whole later brings its links along.
 */
int catalog_commit_next_unlinked(struct catalog *c, int64_t after, struct commit *ret);
int catalog_commits_set_linked(struct catalog *c, int64_t first, int64_t last);

int catalog_entry_at(struct catalog *c, int64_t commit, uint32_t pos, struct entry *ret);
int catalog_entry_lookup(struct catalog *c, int64_t commit, uint32_t parent, const char *name,
                         struct entry *ret);
/* struct entry: what folder @parent holds, by position, after the entry at @after (0: all of it). */
int catalog_entries(struct catalog *c, int64_t commit, uint32_t parent, uint32_t after,
                    struct catalog_rows **ret);
/* Any entry of the commit with the lowest position above @after, files and folders. */
int catalog_entry_walk(struct catalog *c, int64_t commit, uint32_t after, struct entry *ret);

/* ---- blobs ---- */

int catalog_blob_get(struct catalog *c, int64_t id, struct blob_row *ret);
int catalog_blob_find(struct catalog *c, const char *etag, uint64_t size, struct blob_row *ret);
int catalog_blob_in_repo(struct catalog *c, int64_t repo, const char *etag, struct blob_row *ret);
/* struct blob_row: those that @repo lists, with ids above @after, by id. */
int catalog_blobs_in_repo(struct catalog *c, int64_t repo, int64_t after, struct catalog_rows **ret);
/* Changes the state; the incarnation grows when that changes between filling and complete. */
int catalog_blob_set_state(struct catalog *c, int64_t id, enum blob_state state, struct blob_row *ret);
/* Notes that the complete ones of @ids were found right once more, @at. */
int catalog_blobs_verified(struct catalog *c, const int64_t *ids, size_t count, int64_t at);
/* Those of @ids that are being filled are adopted: one transaction, whose sync to the disk costs more than
 * many changes. All or nothing; CATALOG_E_NONE: one of them is not known. */
int catalog_blobs_adopt(struct catalog *c, const int64_t *ids, size_t count);
/* The bytes of a blob were wrong, or its file is gone: it is of @state (BLOB_FILLING or BLOB_QUARANTINED) in its
 * next incarnation, so that who cached them does not take them for the new ones. -EINVAL: another state. */
int catalog_blob_renew(struct catalog *c, int64_t id, enum blob_state state, struct blob_row *ret);
/* A place that lists the blob: the entry with the lowest (commit, position) above the given one.
 * (0, 0) for the first. Used for the URL to fetch from and for the links to make. */
int catalog_blob_place_next(struct catalog *c, int64_t blob, int64_t after_commit, uint32_t after_pos,
                            struct repo *ret_repo, struct commit *ret_commit, struct entry *ret_entry);
/* The blob of @etag with the smallest size above @above (-1: the first): one etag may come in several. */
int catalog_blob_next_of_etag(struct catalog *c, const char *etag, int64_t above, struct blob_row *ret);
/* The lowest blob id above @after in @state, any repo: what to verify, what is quarantined. -EINVAL for
 * BLOB_FILLING, in which nearly all are: see blobs_begun(). */
int catalog_blob_next_in_state(struct catalog *c, enum blob_state state, int64_t after,
                               struct blob_row *ret);

/* ---- rechecking ---- */

/* When the recheck that goes on began, in seconds; 0: none does. */
int catalog_recheck_began(struct catalog *c, int64_t *ret);
int catalog_recheck_set_began(struct catalog *c, int64_t began);

/* ---- totals for people ---- */

struct repo_totals {
        uint64_t commits, files, bytes; /* distinct blobs of all known commits */
        uint64_t held_files, held_bytes; /* of these, complete ones */
};
int catalog_repo_totals(struct catalog *c, int64_t repo, struct repo_totals *ret);
