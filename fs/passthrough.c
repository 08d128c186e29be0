/*
 * Implementation of passthrough.h.
 *
 * Ids are kept when the last open of a node ends, up to IDLE_MAX of them: the next open then costs
 * no system call. All fields of struct passthrough are protected by its lock.
 */
#define LOG_COMPONENT "fs"

#include "fs/internal.h"

#include "base/table.h"

#include <linux/fuse.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define IDLE_MAX 1024

/* linux/fuse.h of kernel 6.9; older headers lack them. */
#define INIT_EXT (1u << 30)            /* FUSE_INIT_EXT: flags2 is meant */
#define INIT2_PASSTHROUGH (1u << 5)    /* FUSE_PASSTHROUGH, bit 37 */
#define OPEN_PASSTHROUGH (1u << 7)     /* FOPEN_PASSTHROUGH */
#define OPEN_NOFLUSH (1u << 5)         /* FOPEN_NOFLUSH */

struct backing_map { /* struct fuse_backing_map */
        int32_t fd;
        uint32_t flags;
        uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

struct init_out { /* struct fuse_init_out of 7.40 */
        uint32_t major, minor, max_readahead, flags;
        uint16_t max_background, congestion_threshold;
        uint32_t max_write, time_gran;
        uint16_t max_pages, map_alignment;
        uint32_t flags2, max_stack_depth, unused[6];
};

struct open_out { /* struct fuse_open_out */
        uint64_t fh;
        uint32_t open_flags;
        int32_t backing_id;
};

struct backing {
        UT_hash_handle hh;
        uint64_t node;
        int32_t id;       /* 0: this node is read through the daemon while an open of it lives */
        unsigned opens;
        struct list idle; /* in p->idle while opens is 0 */
};

struct passthrough {
        struct lock lock;
        bool works;
        char reason[128];
        struct backing *backings; /* uthash by node */
        struct list idle;         /* longest idle first */
        unsigned idle_count;
};

struct passthrough *passthrough_new(void)
{
        struct passthrough *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        lock_init(&p->lock);
        list_init(&p->idle);
        snprintf(p->reason, sizeof(p->reason), "not mounted yet");
        return p;
}

struct passthrough *passthrough_free(struct passthrough *p)
{
        struct backing *b, *next;

        if (!p)
                return NULL;
        HASH_ITER (hh, p->backings, b, next) { /* the kernel closed the ids with the connection */
                HASH_DEL(p->backings, b);
                free(b);
        }
        lock_done(&p->lock);
        free(p);
        return NULL;
}

static void gives_up_locked(struct passthrough *p, const char *reason) REQUIRES(p->lock)
{
        p->works = false;
        snprintf(p->reason, sizeof(p->reason), "%s", reason);
}

/* ---- INIT ---- */

static bool is_offered(const void *init, size_t len)
{
        struct {
                struct fuse_in_header header;
                uint32_t major, minor, max_readahead, flags, flags2;
        } in;

        if (len < sizeof(in))
                return false;
        memcpy(&in, init, sizeof(in));
        return (in.flags & INIT_EXT) && (in.flags2 & INIT2_PASSTHROUGH);
}

void passthrough_negotiate(struct passthrough *p, const void *question, size_t question_len, void *answer,
                           size_t answer_len, unsigned depth)
{
        struct {
                struct fuse_out_header header;
                struct init_out init;
        } *a = answer;
        bool offered = is_offered(question, question_len) && answer_len >= sizeof(*a) && a->header.error == 0;

        if (offered) {
                a->init.flags |= INIT_EXT;
                a->init.flags2 |= INIT2_PASSTHROUGH;
                a->init.max_stack_depth = depth;
        }
        lock_take(&p->lock);
        p->works = offered;
        snprintf(p->reason, sizeof(p->reason), "%s", offered ? "" : "the kernel has none (it came with Linux 6.9)");
        lock_drop(&p->lock);
}

/* ---- opens ---- */

static int32_t make_id_locked(struct passthrough *p, struct fuse_session *se, int fd) REQUIRES(p->lock)
{
        struct backing_map map = { .fd = fd };
        char reason[128];
        int id;

        if (!p->works)
                return 0;
        id = ioctl(fuse_session_fd(se), BACKING_OPEN, &map);
        if (id > 0)
                return id;
        if (errno == EPERM)
                snprintf(reason, sizeof(reason), "it needs CAP_SYS_ADMIN (run as root)");
        else if (errno == ELOOP)
                snprintf(reason, sizeof(reason), "the store is on a file system that is stacked too deep");
        else
                snprintf(reason, sizeof(reason), "the store's file system: %s", strerror(errno));
        gives_up_locked(p, reason);
        log_info("complete files are read through the daemon, not by the kernel alone: %s", reason);
        return 0;
}

static void drop_backing_locked(struct passthrough *p, struct fuse_session *se, struct backing *b) REQUIRES(p->lock)
{
        uint32_t id = (uint32_t)b->id;

        if (b->id > 0)
                ioctl(fuse_session_fd(se), BACKING_CLOSE, &id);
        HASH_DEL(p->backings, b);
        free(b);
}

int32_t passthrough_open(struct passthrough *p, struct fuse_session *se, uint64_t node, int fd)
{
        struct backing *b;
        int32_t id = 0;

        lock_take(&p->lock);
        HASH_FIND(hh, p->backings, &node, sizeof(node), b);
        if (b && b->opens == 0) {
                list_remove(&b->idle);
                p->idle_count--;
        } else if (!b && (b = calloc(1, sizeof(*b)))) {
                b->node = node;
                list_init(&b->idle);
                HASH_ADD(hh, p->backings, node, sizeof(b->node), b);
                if (HASH_ADDED(b)) {
                        b->id = make_id_locked(p, se, fd);
                } else {
                        free(b);
                        b = NULL;
                }
        }
        if (b) {
                b->opens++;
                id = b->id;
        }
        lock_drop(&p->lock);
        return id;
}

void passthrough_close(struct passthrough *p, struct fuse_session *se, uint64_t node)
{
        struct backing *b;

        lock_take(&p->lock);
        HASH_FIND(hh, p->backings, &node, sizeof(node), b);
        if (b && --b->opens == 0) {
                if (b->id == 0) { /* perhaps it can be passed through next time */
                        drop_backing_locked(p, se, b);
                } else {
                        list_push(&p->idle, &b->idle);
                        p->idle_count++;
                }
        }
        if (p->idle_count > IDLE_MAX) {
                p->idle_count--;
                drop_backing_locked(p, se, LIST_OWNER(list_pop(&p->idle), struct backing, idle));
        }
        lock_drop(&p->lock);
}

int passthrough_reply(struct fuse_session *se, fuse_req_t req, uint64_t unique, int32_t id)
{
        struct {
                struct fuse_out_header header;
                struct open_out out;
        } answer = {
                .header = { .len = sizeof(answer), .unique = unique },
                .out = { .open_flags = OPEN_PASSTHROUGH | OPEN_NOFLUSH, .backing_id = id },
        };
        ssize_t n = write(fuse_session_fd(se), &answer, sizeof(answer));
        int r = n == sizeof(answer) ? 0 : -errno;

        fuse_reply_none(req); /* sends nothing, gives up the request */
        return r;
}

bool passthrough_works(struct passthrough *p, char *reason, size_t size)
{
        bool works;

        lock_take(&p->lock);
        works = p->works;
        if (size > 0)
                snprintf(reason, size, "%s", p->reason);
        lock_drop(&p->lock);
        return works;
}
