/*
 * What the files of fs/ share: the file system object and a request under way.
 */
#pragma once

#define FUSE_USE_VERSION 314

#include "fs/errno.h"
#include "fs/fs.h"
#include "fs/node.h"
#include "fs/passthrough.h"

#include "base/lock.h"
#include "base/log.h"
#include "base/workq.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* How long the kernel may trust a name or attributes, in seconds. */
#define FOREVER 1e9 /* what cannot change */
#define MOMENT 1.0  /* what can, or what an offline switch hides */

struct notifier;
struct interrupts;
struct waiter_ops;

struct fs {
        struct fs_options options; /* strings owned */
        char *mountpoint, *source, *mount_options;
        struct catalog *catalog;
        struct store *store;
        struct blobs *blobs;
        struct fetch *fetch;     /* set before the session starts */
        struct fuse_session *se; /* from fs_mount() */
        struct workq *replies;   /* answers what was parked: disk I/O and SQLite reads */
        struct work naming;      /* blobs_name_openers() */
        struct interrupts *interrupts;
        struct notifier *notifier;
        struct passthrough *passthrough;
        int64_t *declared; /* rows of the declared repos */
        size_t declared_count;
        uint64_t generation;
        struct timespec born;       /* mtime of what never changes and has no date of its own */
        _Atomic int64_t changed_ns; /* mtime of folders whose listing may change, beside the catalogue's */
        _Atomic uint64_t requests, errors;
        _Atomic unsigned parked;
        bool epochs; /* the kernel can forget all names at once (notify.c); from INIT on */
        atomic_bool unmounted;
        pthread_rwlock_t serving; /* shared: a parked request is taken up again; exclusive: unmounted is
                                   * set, after which none is and fetch/ may go */
};

/* The kernel's number of the request that this session thread is serving (session.c). */
extern _Thread_local uint64_t request_unique;

/* ---- requests (request.c) ---- */

enum request_op { OP_LOOKUP, OP_OPEN, OP_READ };

/* The questions that a request may ask on its way; each is asked once. */
enum question_kind { ASK_REPO, ASK_REVISION, ASK_OPEN, ASK_READ };
#define ASK_COUNT 4

/*
 * A request under way. It begins on the stack of a session thread; when it has to wait for fetch/
 * it moves to the heap (request_park()), and its handler runs anew from the start when the answer
 * is there: what was unknown is then in the catalogue, or @answers says why not.
 */
struct request {
        struct fs *fs;
        fuse_req_t req;
        uint64_t unique; /* OP_OPEN, OP_READ: the kernel's number of the request */
        enum request_op op;
        struct node node;
        const char *name; /* OP_LOOKUP; owned when parked */
        size_t size;      /* OP_READ */
        uint64_t offset;  /* OP_READ */
        struct fuse_file_info fi;
        bool asked[ASK_COUNT];
        int answers[ASK_COUNT]; /* meaningful where asked */
};

extern const struct waiter_ops request_waiter_ops; /* of what waits (interrupt.h) */

/* Answers a request, now or later. Called on session threads and on reply threads. */
void request_run(struct request *rq);

/*
 * Ask fetch/ on behalf of a request. 0: go on, it is known now. FETCH_PENDING: the request was
 * parked; the caller returns FETCH_PENDING and touches @rq no more. Others: the outcome. A
 * question that was asked before is answered with what came back then.
 */
int ask_repo(struct request *rq, enum repo_type type, const char *name);
int ask_revision(struct request *rq, int64_t repo, const char *revision);
int ask_open(struct request *rq, struct blob *b);
int ask_read(struct request *rq, struct blob *b, uint64_t start, uint64_t end);

/* ---- names (lookup.c, tree.c) ---- */

struct found {
        struct node node;
        struct stat attr;
        double entry_timeout, attr_timeout;
        double negative_timeout; /* with -ENOENT: how long the absence may be trusted; 0: not */
};

/* Looks @name up in folder @dir. 0; FETCH_PENDING; a positive FETCH_E_*; a negative errno. */
int lookup_name(struct request *rq, struct node dir, const char *name, struct found *ret);

/* The folder that holds @n, for "..". -ESTALE when it cannot be told. */
int tree_parent(struct fs *fs, struct node n, struct node *ret);

/* Attributes of a node; @ret_timeout may be NULL. -ESTALE when the catalogue does not know it. */
int tree_attr(struct fs *fs, struct node n, struct stat *ret, double *ret_timeout);
/* The same where the row is at hand. */
void tree_attr_dir(struct fs *fs, struct node n, int64_t mtime, struct stat *ret);
void tree_attr_entry(struct fs *fs, struct node n, const struct entry *e, int64_t mtime, struct stat *ret);
void tree_attr_blob(struct fs *fs, const struct blob_row *row, struct stat *ret);

/* The target of a link. @ret holds SNAP_LINK_MAX bytes. */
#define SNAP_LINK_MAX (3 * ENTRY_PATH_MAX + ETAG_MAX + 16)
int tree_link_target(struct fs *fs, struct node n, char *ret);

/* What may be shown: everything online; offline only what is held. */
bool show_entry(struct fs *fs, const struct entry *e);
bool show_blob(struct fs *fs, const struct blob_row *row);
int show_commit(struct fs *fs, int64_t commit, bool *ret);
/* The same for the commit that @ref stands for; offline that may be the one before, and @ref says so then. 1: it was
 * replaced meanwhile. */
int show_ref(struct fs *fs, struct ref *ref, bool *ret);
int show_repo(struct fs *fs, const struct repo *repo, bool *ret);

/* The node that a listing's entry has in the view of which @dir is a folder. */
struct node entry_node(struct node dir, const struct entry *e);
bool node_is_plain(struct node n);
/* How long the kernel may keep the name of an entry, which is @n. */
double entry_keep(struct fs *fs, struct node n, const struct entry *e);

enum node_fixed fixed_of_type(enum repo_type type);
bool fixed_type(enum node_fixed fixed, enum repo_type *ret);
extern const char *const ref_common_paths[REF_COMMON_COUNT];

/* ---- folders (readdir.c) and files (file.c) ---- */

/* Whether a listing that is opened now may be kept by the kernel; it is then read @whole (readdir.c, D1). */
bool dir_open_whole(struct fs *fs, struct node dir);
void dir_read(struct fs *fs, fuse_req_t req, struct node dir, size_t size, off_t offset, bool plus, bool whole);
int file_open(struct request *rq);
int file_read(struct request *rq);
void file_release(struct fs *fs, struct node n);

/* ---- the rest ---- */

extern const struct fuse_lowlevel_ops fs_ops; /* ops.c */

/* Says that listings changed now though the catalogue did not. */
void fs_touch(struct fs *fs);

int notifier_new(struct fs *fs, struct notifier **ret); /* notify.c */
struct notifier *notifier_free(struct notifier *n);
void notifier_blob(struct notifier *n, int64_t blob);
void notifier_epoch(struct notifier *n);
