/*
 * Operations: the thin layer between libfuse's table and lookup.c, readdir.c, file.c.
 *
 * FORGET means nothing to us (no state is kept per node), and handles carry nothing; RELEASE counts
 * the opens that are passed through.
 * FLUSH is not implemented on purpose: a process that dies while no daemon lives must not hang in it.
 * The handle of a folder says only how it was opened (readdir.c, D1), and lives in the kernel alone.
 */
#define LOG_COMPONENT "fs"

#include "fs/internal.h"

#include <fcntl.h>

#define EPOCH_MINOR 44 /* the protocol in which FUSE_NOTIFY_INC_EPOCH came, Linux 6.16 */
#define OPENED_WHOLE 1 /* the handle of a folder whose listing the kernel keeps */

static struct fs *fs_of(fuse_req_t req)
{
        struct fs *fs = fuse_req_userdata(req);

        atomic_fetch_add(&fs->requests, 1);
        return fs;
}

/* A node of the request, or an answer and false: an id that was never ours is stale. */
static bool take_node(fuse_req_t req, fuse_ino_t ino, struct node *ret)
{
        if (node_unpack(ino, ret))
                return true;
        fuse_reply_err(req, ESTALE);
        return false;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
        struct fs *fs = userdata;
        static const unsigned wanted[] = {
                FUSE_CAP_ASYNC_READ,    FUSE_CAP_PARALLEL_DIROPS,  FUSE_CAP_EXPORT_SUPPORT,
                FUSE_CAP_CACHE_SYMLINKS, FUSE_CAP_READDIRPLUS,     FUSE_CAP_READDIRPLUS_AUTO,
        };
        static const unsigned unwanted[] = {
                FUSE_CAP_SPLICE_READ, FUSE_CAP_SPLICE_WRITE, FUSE_CAP_SPLICE_MOVE, FUSE_CAP_WRITEBACK_CACHE,
                FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_FLOCK_LOCKS, FUSE_CAP_POSIX_LOCKS,
                FUSE_CAP_ASYNC_DIO, /* who waits for such a read cannot be killed */
        };

        fs->epochs = conn->proto_major == 7 && conn->proto_minor >= EPOCH_MINOR;
        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
                conn->want |= conn->capable & wanted[i];
        for (size_t i = 0; i < ARRAY_SIZE(unwanted); i++)
                conn->want &= ~unwanted[i];
        /* Reads that wait for the network count as background requests: with the default of 12, one
         * stalled blob would stop every other file. */
        conn->max_background = UINT16_MAX;
        conn->congestion_threshold = UINT16_MAX;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        struct request rq = { .fs = fs_of(req), .req = req, .op = OP_LOOKUP, .name = name };

        if (strlen(name) > ENTRY_NAME_MAX)
                fuse_reply_err(req, ENAMETOOLONG);
        else if (take_node(req, parent, &rq.node))
                request_run(&rq);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct fs *fs = fs_of(req);
        struct node n;
        struct stat st;
        double timeout;
        int r;

        (void)fi;
        if (!take_node(req, ino, &n))
                return;
        r = tree_attr(fs, n, &st, &timeout);
        if (r != 0)
                fuse_reply_err(req, errno_of(r));
        else
                fuse_reply_attr(req, &st, timeout);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
        struct fs *fs = fs_of(req);
        char target[SNAP_LINK_MAX];
        struct node n;
        int r;

        if (!take_node(req, ino, &n))
                return;
        r = tree_link_target(fs, n, target);
        if (r != 0)
                fuse_reply_err(req, errno_of(r));
        else
                fuse_reply_readlink(req, target);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct request rq = { .fs = fs_of(req), .req = req, .op = OP_OPEN, .unique = request_unique, .fi = *fi };

        if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC))
                fuse_reply_err(req, EROFS);
        else if (take_node(req, ino, &rq.node))
                request_run(&rq);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
        struct request rq = {
                .fs = fs_of(req),
                .req = req,
                .op = OP_READ,
                .unique = request_unique,
                .size = size,
                .offset = (uint64_t)offset,
        };

        (void)fi;
        if (take_node(req, ino, &rq.node))
                request_run(&rq);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct fs *fs = fs_of(req);
        struct node n;

        (void)fi;
        if (node_unpack(ino, &n))
                file_release(fs, n);
        fuse_reply_err(req, 0);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct fs *fs = fs_of(req);
        struct node n;

        if (!take_node(req, ino, &n))
                return;
        if (dir_open_whole(fs, n)) {
                fi->fh = OPENED_WHOLE;
                fi->cache_readdir = 1;
                fi->keep_cache = 1;
        }
        fuse_reply_open(req, fi);
}

static void read_folder(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus,
                        const struct fuse_file_info *fi)
{
        struct fs *fs = fs_of(req);
        struct node n;

        if (!take_node(req, ino, &n))
                return;
        if (!node_is_dir(n))
                fuse_reply_err(req, ENOTDIR);
        else
                dir_read(fs, req, n, size, offset, plus, fi && fi->fh == OPENED_WHOLE);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
        read_folder(req, ino, size, offset, false, fi);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
        read_folder(req, ino, size, offset, true, fi);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
        (void)ino;
        (void)count;
        fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
        (void)count;
        (void)forgets;
        fuse_reply_none(req);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
        struct fs *fs = fs_of(req);
        struct statvfs st;
        int r = store_statfs(fs->store, &st);

        (void)ino;
        if (r < 0) {
                fuse_reply_err(req, errno_of(r));
                return;
        }
        st.f_namemax = ENTRY_NAME_MAX;
        fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops fs_ops = {
        .init = op_init,
        .lookup = op_lookup,
        .forget = op_forget,
        .forget_multi = op_forget_multi,
        .getattr = op_getattr,
        .readlink = op_readlink,
        .open = op_open,
        .read = op_read,
        .release = op_release,
        .opendir = op_opendir,
        .readdir = op_readdir,
        .readdirplus = op_readdirplus,
        .statfs = op_statfs,
};
