/*
 * Implementation of node.h.
 */
#include "fs/node.h"

uint64_t node_pack(struct node n)
{
        return (uint64_t)n.kind << 58 | (uint64_t)n.id << NODE_LOW_BITS | n.low;
}

bool node_unpack(uint64_t id, struct node *ret)
{
        struct node n = {
                .kind = (enum node_kind)(id >> 58),
                .id = (uint32_t)(id >> NODE_LOW_BITS),
                .low = (uint32_t)id & NODE_LOW_MAX,
        };

        if (n.kind >= NODE_KIND_COUNT)
                return false;
        if (n.kind == NODE_FIXED && (n.id != 0 || n.low < FIXED_ROOT || n.low >= FIXED_END))
                return false;
        if (n.kind == NODE_REF_COMMON && n.low >= REF_COMMON_COUNT)
                return false;
        *ret = n;
        return true;
}

uint64_t node_ino(struct node n)
{
        if (n.kind == NODE_BLOB)
                n.low = 0;
        return node_pack(n);
}

struct node node_absent(bool dir, uint64_t hash)
{
        return node_of(dir ? NODE_ABSENT_DIR : NODE_ABSENT_FILE, (int64_t)(uint32_t)(hash >> NODE_LOW_BITS),
                       (uint32_t)hash & NODE_LOW_MAX);
}

uint64_t node_hash(struct node n)
{
        return (uint64_t)n.id << NODE_LOW_BITS | n.low;
}

uint64_t node_hash_name(uint64_t seed, const char *name)
{
        uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

        for (; *name; name++)
                h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
        h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
        h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
        return (h ^ h >> 33) & NODE_HASH_MASK;
}

bool node_is_dir(struct node n)
{
        switch (n.kind) {
        case NODE_REF:
        case NODE_PLAIN_LINK:
        case NODE_TREE:
        case NODE_SNAP_LINK:
        case NODE_ABSENT_FILE:
        case NODE_BLOB:
                return false;
        default:
                return true;
        }
}
