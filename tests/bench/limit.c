/*
 * The least that a daemon can do for the benchmark's rows, to see what of a figure is ours and what is the machine's:
 *
 *   limit fetch HOST PORT TARGET SIZE STORE MOUNTPOINT   one file of SIZE bytes, that comes by GET TARGET from HOST:PORT
 *   limit held FILE MOUNTPOINT                           one file, which the kernel reads from FILE (passthrough)
 *
 * fetch: at the first read it asks, over one connection of plain HTTP; one thread receives and writes to STORE.part;
 * others answer reads with what has come, out of a mapping of that file; what has come whole is hashed (SHA-256, the
 * result is not looked at) and renamed to STORE. It plans nothing, checks nothing, syncs nothing, keeps no record of
 * what it has, and ends at the first error. Whatever name is looked up is the file. As root; ends with its mount.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECE (512u << 10) /* received at once */
#define WRITE_PIECE (64u << 10) /* as weightfs does: see PUT_PIECE in index/blob_fill.c */
#define THREADS 4
#define FILE_NODE 2
#define REQUEST_MAX (64u << 10)

/* linux/fuse.h of kernel 6.9; older headers lack them. */
#define INIT_EXT (1u << 30)
#define INIT2_PASSTHROUGH (1u << 5)
#define OPEN_PASSTHROUGH (1u << 7)
struct backing_map {
        int32_t fd;
        uint32_t flags;
        uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)
struct init_out { /* struct fuse_init_out of 7.40 */
        uint32_t major, minor, max_readahead, flags;
        uint16_t max_background, congestion_threshold;
        uint32_t max_write, time_gran;
        uint16_t max_pages, map_alignment;
        uint32_t flags2, max_stack_depth, unused[6];
};

static int device, file;
static bool held; /* the file is complete: passthrough */
static uint64_t size;
static char *map; /* of the file */
static const char *host, *port, *target, *store;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t came = PTHREAD_COND_INITIALIZER;
static uint64_t have; /* bytes from the beginning; protected by lock, as begun */
static bool begun;

static void die(const char *what)
{
        fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
        exit(1);
}

/* ---- what comes ---- */

static int ask(void)
{
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
        char text[8192];
        int s, n;

        if (getaddrinfo(host, port, &hints, &found) != 0)
                die(host);
        s = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (s < 0 || connect(s, found->ai_addr, found->ai_addrlen) < 0)
                die(host);
        freeaddrinfo(found);
        n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s:%s\r\n\r\n", target, host, port);
        if (write(s, text, (size_t)n) != n)
                die("request");
        return s;
}

static void store_piece(const char *data, size_t len)
{
        for (size_t done = 0, n; done < len; done += n) {
                n = len - done < WRITE_PIECE ? len - done : WRITE_PIECE;
                if (pwrite(file, data + done, n, (off_t)(have + done)) != (ssize_t)n) /* have: only this thread's */
                        die(store);
        }
        pthread_mutex_lock(&lock);
        have += len;
        pthread_cond_broadcast(&came);
        pthread_mutex_unlock(&lock);
}

/* Returns the length of the answer's head in @data. */
static size_t skip_head(int s, char *data, size_t *len)
{
        char *end;

        while (!(end = memmem(data, *len, "\r\n\r\n", 4))) {
                ssize_t n = recv(s, data + *len, PIECE - *len, 0);

                if (n <= 0)
                        die("answer");
                *len += (size_t)n;
        }
        if (strncmp(data, "HTTP/1.1 200", 12) != 0) {
                fprintf(stderr, "limit: %.40s\n", data);
                exit(1);
        }
        return (size_t)(end + 4 - data);
}

static void verify(void)
{
        unsigned char md[EVP_MAX_MD_SIZE];
        char part[4096];

        if (!EVP_Digest(map, size, md, NULL, EVP_sha256(), NULL))
                die("SHA-256");
        snprintf(part, sizeof(part), "%s.part", store);
        if (rename(part, store) < 0)
                die(store);
}

static void *receive(void *argument)
{
        char *data = malloc(PIECE);
        int s = ask();
        size_t len = 0, head;

        (void)argument;
        if (!data)
                die("memory");
        head = skip_head(s, data, &len);
        store_piece(data + head, len - head);
        while (have < size) {
                ssize_t n = recv(s, data, PIECE, 0);

                if (n <= 0)
                        die("body");
                store_piece(data, (size_t)n);
        }
        close(s);
        free(data);
        verify();
        return NULL;
}

static void await(uint64_t end)
{
        pthread_t thread;

        pthread_mutex_lock(&lock);
        if (!begun) {
                begun = true;
                if (pthread_create(&thread, NULL, receive, NULL) != 0)
                        die("pthread_create");
                pthread_detach(thread);
        }
        while (have < end)
                pthread_cond_wait(&came, &lock);
        pthread_mutex_unlock(&lock);
}

/* ---- what is asked ---- */

static void answer(uint64_t unique, int error, void *data, size_t len)
{
        struct fuse_out_header header = {.len = (uint32_t)(sizeof(header) + len), .error = error, .unique = unique};
        struct iovec iov[2] = {{&header, sizeof(header)}, {data, len}};

        if (writev(device, iov, len > 0 ? 2 : 1) < 0 && errno != ENOENT)
                die("answer to the kernel");
}

static struct fuse_attr attributes(uint64_t node)
{
        struct fuse_attr a = {.ino = node, .mode = S_IFDIR | 0555, .nlink = 2, .blksize = 4096};

        if (node == FILE_NODE) {
                a.mode = S_IFREG | 0444;
                a.nlink = 1;
                a.size = size;
                a.blocks = (size + 511) / 512;
        }
        return a;
}

static void answer_init(uint64_t unique, const struct fuse_init_in *in)
{
        struct init_out out = {
                .major = FUSE_KERNEL_VERSION, .minor = in->minor < 40 ? in->minor : 40,
                .max_readahead = in->max_readahead, .flags = in->flags & (FUSE_ASYNC_READ | FUSE_MAX_PAGES),
                .max_background = 64, .congestion_threshold = 48, .max_write = 4096, .max_pages = 256, .time_gran = 1,
        };

        if (held) {
                out.flags |= INIT_EXT;
                out.flags2 = INIT2_PASSTHROUGH;
                out.max_stack_depth = 1;
        }
        answer(unique, 0, &out, sizeof(out));
}

static void answer_open(uint64_t unique)
{
        struct fuse_open_out out = {.open_flags = FOPEN_KEEP_CACHE};
        static int id; /* opens come one after the other here; the kernel wants one id while one lives */
        struct backing_map backing = {.fd = file};

        if (held && id == 0)
                id = ioctl(device, BACKING_OPEN, &backing);
        if (id < 0)
                die("passthrough");
        if (held) {
                out.open_flags = OPEN_PASSTHROUGH;
                memcpy((char *)&out + 12, &id, sizeof(id)); /* backing_id, once padding */
        }
        answer(unique, 0, &out, sizeof(out));
}

static void answer_read(uint64_t unique, const struct fuse_read_in *in)
{
        uint64_t end = in->offset + in->size < size ? in->offset + in->size : size;

        if (in->offset >= end) {
                answer(unique, 0, NULL, 0);
                return;
        }
        if (!held)
                await(end);
        madvise(map + (in->offset & ~4095ul), end - (in->offset & ~4095ul), MADV_POPULATE_READ); /* else by faults */
        answer(unique, 0, map + in->offset, end - in->offset);
}

static void serve_one(const struct fuse_in_header *h)
{
        struct fuse_entry_out entry = {.nodeid = FILE_NODE, .entry_valid = 3600, .attr_valid = 3600,
                                       .attr = attributes(FILE_NODE)};
        struct fuse_attr_out attr = {.attr_valid = 3600, .attr = attributes(h->nodeid)};

        switch (h->opcode) {
        case FUSE_INIT:
                answer_init(h->unique, (const void *)(h + 1));
                break;
        case FUSE_LOOKUP:
                answer(h->unique, 0, &entry, sizeof(entry));
                break;
        case FUSE_GETATTR:
                answer(h->unique, 0, &attr, sizeof(attr));
                break;
        case FUSE_OPEN:
                answer_open(h->unique);
                break;
        case FUSE_READ:
                answer_read(h->unique, (const void *)(h + 1));
                break;
        case FUSE_RELEASE:
                answer(h->unique, 0, NULL, 0);
                break;
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
        case FUSE_INTERRUPT:
                break;
        default:
                answer(h->unique, -ENOSYS, NULL, 0);
        }
}

/* False: the mount is gone. */
static bool serve_next(void)
{
        _Alignas(8) char request[REQUEST_MAX];
        ssize_t n = read(device, request, sizeof(request));

        if (n >= (ssize_t)sizeof(struct fuse_in_header))
                serve_one((const void *)request);
        return n >= 0 || errno != ENODEV;
}

static void *serve(void *argument)
{
        while (serve_next())
                ;
        return argument;
}

/* ---- the mount ---- */

/* As weightfs does it. */
static void raise_readahead(const char *mountpoint)
{
        struct statx st;
        char path[64];
        int fd;

        if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &st) < 0)
                die(mountpoint);
        snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", st.stx_dev_major, st.stx_dev_minor);
        fd = open(path, O_WRONLY);
        if (fd < 0 || write(fd, "1024\n", 5) != 5)
                die(path);
        close(fd);
}

static void run(const char *mountpoint)
{
        pthread_t threads[THREADS];
        char options[128];

        map = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
        device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (map == MAP_FAILED || device < 0)
                die("/dev/fuse");
        snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
        if (mount("limit", mountpoint, "fuse.limit", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0)
                die(mountpoint);
        serve_next(); /* INIT */
        raise_readahead(mountpoint);
        for (int i = 0; i < THREADS; i++)
                if (pthread_create(&threads[i], NULL, serve, NULL) != 0)
                        die("pthread_create");
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
        if (argc == 8 && strcmp(argv[1], "fetch") == 0) {
                char part[4096];

                host = argv[2];
                port = argv[3];
                target = argv[4];
                size = strtoull(argv[5], NULL, 10);
                store = argv[6];
                snprintf(part, sizeof(part), "%s.part", store);
                file = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
                if (file < 0 || ftruncate(file, (off_t)size) < 0)
                        die(part);
        } else if (argc == 4 && strcmp(argv[1], "held") == 0) {
                struct stat st;

                held = true;
                file = open(argv[2], O_RDONLY | O_CLOEXEC);
                if (file < 0 || fstat(file, &st) < 0)
                        die(argv[2]);
                size = (uint64_t)st.st_size;
        } else {
                fputs("usage: limit fetch HOST PORT TARGET SIZE STORE MOUNTPOINT | limit held FILE MOUNTPOINT\n", stderr);
                return 2;
        }
        run(argv[argc - 1]);
        return 0;
}
