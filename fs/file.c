/*
 * Files: blobs, refs, trees, and the empty ones that say that a path does not exist.
 *
 * Handles carry no state: every request names its node, so a daemon that takes a live mount over
 * can go on. Reads of bytes that are held are answered by the session thread at once; others wait
 * in fetch/ without a thread.
 */
#define LOG_COMPONENT "fs"

#include "fs/internal.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_MAX (1u << 20) /* libfuse's max_write, which also bounds reads */
#define MAPPED_MIN (128u << 10) /* what is read at once for less is copied faster than it is mapped */

/* A buffer per thread that ever read, freed with the thread: no malloc of a megabyte per request. */
static pthread_key_t buffer_key;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;

static void make_buffer_key(void)
{
        pthread_key_create(&buffer_key, free);
}

static char *read_buffer(void)
{
        char *buffer;

        pthread_once(&buffer_once, make_buffer_key);
        buffer = pthread_getspecific(buffer_key);
        if (!buffer) {
                buffer = malloc(READ_MAX);
                if (buffer && pthread_setspecific(buffer_key, buffer) != 0) {
                        free(buffer);
                        buffer = NULL;
                }
        }
        return buffer;
}

/* The blob of a node; -ESTALE when the catalogue does not know it. */
static int node_blob(struct fs *fs, struct node n, struct blob **ret)
{
        int r = blobs_get(fs->blobs, n.id, ret);

        return r > 0 ? -ESTALE : r;
}

DEFINE_CLEANUP(struct blob *, blob, blob_unref)

/* Who gets bytes of it now is named if its hash turns out to be wrong. */
static void note_reader(struct request *rq, struct blob *b)
{
        const struct fuse_ctx *who = fuse_req_ctx(rq->req);

        blob_note_reader(b, who->pid, who->uid);
}

static void name_openers(struct work *w)
{
        blobs_name_openers(CONTAINER_OF(w, struct fs, naming)->blobs);
}

/* Who opens what is verified is named if its file turns out to be damaged later. */
static void note_opener(struct request *rq, struct blob *b)
{
        const struct fuse_ctx *who = fuse_req_ctx(rq->req);

        if (blob_note_opener(b, who->pid, who->uid))
                workq_push(rq->fs->replies, &rq->fs->naming, name_openers);
}

/* N2: complete incarnations are odd. */
static bool is_complete(struct node n)
{
        return n.kind == NODE_BLOB && (n.low & 1);
}

/* Strict: bytes are given away only once all of them are verified. */
static bool may_read(struct request *rq, struct blob *b, uint64_t end)
{
        if (fetch_is_strict(rq->fs->fetch))
                return blob_state(b) == BLOB_COMPLETE;
        return blob_holds(b, rq->offset, end);
}

/* A complete blob: read by the kernel from the store's file, where that is possible. */
static int open_complete(struct request *rq, struct blob *b)
{
        struct fs *fs = rq->fs;
        uint64_t node = node_pack(rq->node);
        int fd = blob_fd(b), r;
        int32_t id;

        if (fd < 0)
                return fd;
        if (blob_state(b) == BLOB_ADOPTED) {
                fetch_verify(fs->fetch, b);
                note_reader(rq, b); /* the kernel reads alone from here on */
        } else {
                note_opener(rq, b);
        }
        id = passthrough_open(fs->passthrough, fs->se, node, fd);
        if (id > 0)
                r = passthrough_reply(fs->se, rq->req, rq->unique, id);
        else
                r = fuse_reply_open(rq->req, &rq->fi);
        if (r < 0) /* nobody waits for it any more: there will be no RELEASE */
                passthrough_close(fs->passthrough, fs->se, node);
        return 0;
}

static int open_filling(struct request *rq, struct blob *b)
{
        int r = blob_state_whole(blob_state(b)) ? 0 : ask_open(rq, b);

        if (r != 0)
                return r;
        if (blob_state(b) == BLOB_COMPLETE)
                note_opener(rq, b);
        else if (blob_held_bytes(b) > 0) /* of which the kernel may hold pages */
                note_reader(rq, b);
        fuse_reply_open(rq->req, &rq->fi);
        return 0;
}

static int open_blob(struct request *rq)
{
        CLEANUP(cleanup_blob) struct blob *b = NULL;
        int r = node_blob(rq->fs, rq->node, &b);
        uint32_t now;

        if (r == 0)
                r = blob_may_open(b);
        if (r != 0)
                return r;
        now = blob_incarnation(b);
        /* A node of an incarnation that is no more must not be opened again: what the kernel holds of it was
         * wrong, or is of a file that is gone. The kernel then looks its path up anew. What was being filled
         * and became complete is the same bytes. */
        if (now != rq->node.low && (is_complete(rq->node) || now != rq->node.low + 1))
                return -ESTALE;
        if (!is_complete(rq->node))
                return open_filling(rq, b);
        if (blob_state(b) == BLOB_ADOPTED && fetch_is_strict(rq->fs->fetch)) {
                r = ask_open(rq, b);
                if (r == 0 && blob_state(b) != BLOB_COMPLETE) /* it was wrong: there is another node by now */
                        r = -ESTALE;
        }
        return r == 0 ? open_complete(rq, b) : r;
}

int file_open(struct request *rq)
{
        struct stat st;
        int r;

        if (node_is_dir(rq->node))
                return -EISDIR;
        if (rq->node.kind == NODE_SNAP_LINK || rq->node.kind == NODE_PLAIN_LINK)
                return -ELOOP;
        rq->fi.fh = 0;
        rq->fi.keep_cache = 1; /* what a node holds never changes */
        rq->fi.noflush = 1;
        if (rq->node.kind == NODE_BLOB)
                return open_blob(rq);
        r = tree_attr(rq->fs, rq->node, &st, NULL);
        if (r == 0)
                fuse_reply_open(rq->req, &rq->fi);
        return r;
}

void file_release(struct fs *fs, struct node n)
{
        if (is_complete(n))
                passthrough_close(fs->passthrough, fs->se, node_pack(n));
}

static int reply_slice(struct request *rq, const char *data, size_t len)
{
        if (rq->offset >= len)
                fuse_reply_buf(rq->req, NULL, 0);
        else
                fuse_reply_buf(rq->req, data + rq->offset, min_u64(rq->size, len - rq->offset));
        return 0;
}

static int read_ref(struct request *rq)
{
        struct commit commit;
        int r = catalog_commit_get(rq->fs->catalog, rq->node.id, &commit);

        return r == 0 ? reply_slice(rq, commit.sha, COMMIT_HEX) : r > 0 ? -ESTALE : r;
}

static int reply_fd(struct request *rq, int fd)
{
        char *buffer = read_buffer();
        ssize_t n;

        if (!buffer)
                return -ENOMEM;
        n = pread_all(fd, buffer, min_u64(rq->size, READ_MAX), rq->offset);
        if (n < 0)
                return (int)n;
        fuse_reply_buf(rq->req, buffer, (size_t)n);
        return 0;
}

static int read_tree(struct request *rq)
{
        CLEANUP_FD int fd = -1;
        struct commit commit;
        struct repo repo;
        uint64_t size;
        int r = catalog_commit_get(rq->fs->catalog, rq->node.id, &commit);

        if (r == 0)
                r = catalog_repo_get(rq->fs->catalog, commit.repo, &repo);
        if (r == 0)
                r = store_tree_open(rq->fs->store, repo.type, repo.hub_name, commit.sha, &fd, &size);
        if (r != 0)
                return r > 0 ? -ESTALE : r;
        return reply_fd(rq, fd);
}

/* Reads a range once it is held. It may be given up at any moment (a wrong hash): what was read then
 * is not used, and the question is asked anew. */
static int read_held(struct request *rq, struct blob *b, char *buffer, uint64_t end)
{
        for (int tries = 0; tries < 3; tries++) {
                uint32_t before = blob_incarnation(b);
                ssize_t n = -ENODATA;
                int r = ask_read(rq, b, rq->offset, end);

                if (r != 0)
                        return r;
                note_reader(rq, b);
                if (may_read(rq, b, end))
                        n = blob_read(b, buffer, end - rq->offset, rq->offset);
                if (may_read(rq, b, end) && (before | 1) == (blob_incarnation(b) | 1)) {
                        if (n >= 0 && (uint64_t)n < end - rq->offset)
                                return -EIO; /* somebody has cut the file short: not the end of it */
                        return n < 0 ? (int)n : 0;
                }
                rq->asked[ASK_READ] = false;
        }
        return -EIO;
}

/* Writes the answer to a read, @len bytes at @data. False: the kernel could not copy them (the file was
 * cut, the disk failed); to who waits it has said EIO then. */
static bool write_answer(struct request *rq, void *data, size_t len)
{
        struct fuse_out_header header = { .len = (uint32_t)(sizeof(header) + len), .unique = rq->unique };
        struct iovec iov[2] = { { &header, sizeof(header) }, { data, len } };

        /* -1 with another error: nobody waits for it any more */
        return writev(fuse_session_fd(rq->fs->se), iov, 2) >= 0 || (errno != EFAULT && errno != ENOMEM);
}

/*
 * Answers straight out of the page cache of the store's file: the kernel copies from a mapping of it,
 * which spares a copy into a buffer. libfuse would give the request up where that fails, so the answer
 * is written here. What is given up meanwhile (see read_held()) is not sent: the range is looked at
 * once the pages of the file that was then the blob's are there. False: not answered.
 */
static bool reply_mapped(struct request *rq, struct blob *b, uint64_t end)
{
        uint64_t from = rq->offset & ~((uint64_t)sysconf(_SC_PAGESIZE) - 1);
        uint32_t before = blob_incarnation(b);
        int fd = blob_fd(b);
        struct stat st;
        void *map;
        bool answered;

        if (fd < 0)
                return false;
        map = mmap(NULL, end - from, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, (off_t)from);
        if (map == MAP_FAILED)
                return false;
        note_reader(rq, b);
        answered = may_read(rq, b, end) && (before | 1) == (blob_incarnation(b) | 1) &&
                   fstat(fd, &st) == 0 && (uint64_t)st.st_size >= end && /* else zeros, in its last page */
                   write_answer(rq, (char *)map + (rq->offset - from), end - rq->offset);
        munmap(map, end - from);
        if (answered)
                fuse_reply_none(rq->req); /* sends nothing, gives up the request */
        return answered;
}

static int read_large(struct request *rq, struct blob *b, uint64_t end)
{
        int r = ask_read(rq, b, rq->offset, end);

        if (r != 0)
                return r;
        return reply_mapped(rq, b, end) ? 0 : -EAGAIN;
}

static int read_small(struct request *rq, struct blob *b, uint64_t end)
{
        char *buffer = read_buffer();
        int r = buffer ? read_held(rq, b, buffer, end) : -ENOMEM;

        if (r == 0)
                fuse_reply_buf(rq->req, buffer, end - rq->offset);
        return r;
}

static int read_blob(struct request *rq)
{
        CLEANUP(cleanup_blob) struct blob *b = NULL;
        uint64_t end;
        int r = node_blob(rq->fs, rq->node, &b);

        if (r != 0)
                return r;
        if (rq->offset >= blob_size(b))
                return reply_slice(rq, NULL, 0);
        end = min_u64(rq->offset + min_u64(rq->size, READ_MAX), blob_size(b));
        r = end - rq->offset >= MAPPED_MIN ? read_large(rq, b, end) : -EAGAIN;
        return r == -EAGAIN ? read_small(rq, b, end) : r;
}

int file_read(struct request *rq)
{
        switch (rq->node.kind) {
        case NODE_BLOB:
                return read_blob(rq);
        case NODE_REF:
                return read_ref(rq);
        case NODE_TREE:
                return read_tree(rq);
        case NODE_ABSENT_FILE:
                return reply_slice(rq, NULL, 0);
        default:
                return -EINVAL;
        }
}
