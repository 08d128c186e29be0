/*
 * Node ids: what the kernel, and NFS clients for weeks, know our files by.
 *
 * An id is made of a kind and of row ids of the catalogue, so that any process can tell what it
 * means: nothing is kept per node, an id unknown to this process is as good as any other, and
 * none is ever reused (row ids are not; the generation is the catalogue's epoch).
 *
 *   63      58 57                           26 25              0
 *   [ kind:6 ][ id:32                          ][ low:26         ]
 *
 * Invariants
 *   N1  A folder has one name only: views of the same commit are of different kinds, and refs,
 *       of which several may name it, are links to one of them (the VFS allows no aliases of
 *       folders; d_splice_alias() would move them about).
 *   N2  A blob's id carries its incarnation. Even: it is served through the daemon and cached by
 *       the kernel; odd: complete. The mode of one id never changes (FUSE passthrough and cached
 *       opens of one inode cannot mix). st_ino leaves the incarnation out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum node_kind {
        NODE_FIXED, /* id 0, low: enum node_fixed */
        /* id: repo row */
        NODE_REPO,
        NODE_REFS,
        NODE_SNAPSHOTS,
        NODE_BLOBS,
        NODE_NO_EXIST,
        NODE_TREES,
        NODE_LOCKS, /* .locks/<repo> */
        NODE_REF_COMMON, /* a folder of refs/ that every repo has; low: enum node_ref_common */
        NODE_REF_DIR, /* id: ref_dir row */
        /* id: commit row */
        NODE_REF,           /* refs/<name>, refs/<sha>: a node for each value, which never goes */
        NODE_PLAIN_LINK,    /* models/Org/Name@ref, to Name@sha (N1) */
        NODE_TREE,          /* trees/<sha>.json */
        NODE_SNAP_DIR,      /* low: position, as in all that follow */
        NODE_SNAP_LINK,
        NODE_NO_EXIST_DIR,
        NODE_PLAIN_DEFAULT, /* models/Org/Name/… */
        NODE_PLAIN_COMMIT,  /* models/Org/Name@sha/… */
        /* id and low: 58 bits of a hash of the path; needs no row */
        NODE_ABSENT_DIR,
        NODE_ABSENT_FILE,
        /* others */
        NODE_ORG,  /* id: org row */
        NODE_BLOB, /* id: blob row, low: incarnation */
        NODE_KIND_COUNT
};

enum node_fixed { FIXED_ROOT = 1, FIXED_HUB, FIXED_LOCKS, FIXED_MODELS, FIXED_DATASETS, FIXED_SPACES, FIXED_END };

enum node_ref_common { REF_COMMON_REFS, REF_COMMON_PR, REF_COMMON_CONVERT, REF_COMMON_COUNT };

struct node {
        enum node_kind kind;
        uint32_t id;
        uint32_t low; /* below 2^26 */
};

#define NODE_LOW_BITS 26
#define NODE_LOW_MAX ((1u << NODE_LOW_BITS) - 1)
#define NODE_HASH_MASK ((UINT64_C(1) << 58) - 1)

/* The 64-bit id; FIXED_ROOT gives 1, as FUSE wants. */
uint64_t node_pack(struct node n);
/* False for an id that no version of this file makes. */
bool node_unpack(uint64_t id, struct node *ret);

/* The inode number shown: the id, without the incarnation of a blob. */
uint64_t node_ino(struct node n);

/* A node that stands for something absent, named by 58 bits of hash. */
struct node node_absent(bool dir, uint64_t hash);
uint64_t node_hash(struct node n);
/* Folds a name into a hash (64-bit FNV-1a with a finaliser). */
uint64_t node_hash_name(uint64_t seed, const char *name);

bool node_is_dir(struct node n);

static inline struct node node_of(enum node_kind kind, int64_t id, uint32_t low)
{
        return (struct node){ kind, (uint32_t)id, low };
}
