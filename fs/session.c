/*
 * The session with the kernel: mounting, INIT, the loop that reads requests, unmounting.
 *
 * The loop is our own. Requests are read into memory that is locked and touched beforehand: a
 * process killed inside read(2) on a page that is not there would give EIO to the application. Each
 * thread has one slot, so that a successor can find what was read but not answered. No clone_fd:
 * its descriptors die with the daemon.
 */
#define LOG_COMPONENT "fs"

#include "fs/internal.h"
#include "fs/interrupt.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SESSION_THREADS 8
#define READAHEAD_KB 1024u /* one request: libfuse's max_write also bounds reads */
#define SLOT_SIZE 8192u /* FUSE_MIN_READ_BUFFER: the largest request of a read-only mount fits */
/* The kernel insists on room for a write of max_write; the rest of the mapping is never touched. */
#define SLOT_MAPPING (SLOT_SIZE + (2u << 20))

/* ---- mounting ---- */

static struct errmsg mount_error; /* what libfuse said last; mounting happens once, on one thread */

static void collect_libfuse_message(enum fuse_log_level level, const char *fmt, va_list ap)
{
        if (level > FUSE_LOG_ERR)
                return;
        vsnprintf(mount_error.text, sizeof(mount_error.text), fmt, ap);
        mount_error.text[strcspn(mount_error.text, "\n")] = '\0';
}

static void log_libfuse_message(enum fuse_log_level level, const char *fmt, va_list ap)
{
        char text[512];

        vsnprintf(text, sizeof(text), fmt, ap);
        text[strcspn(text, "\n")] = '\0';
        if (level <= FUSE_LOG_ERR)
                log_warn("libfuse: %s", text);
        else
                log_debug("libfuse: %s", text);
}

/* Appends "name=value" with what libfuse's option parser needs escaped. */
static void append_escaped(char *out, size_t room, const char *name, const char *value)
{
        size_t n = strlen(out);

        n += (size_t)snprintf(out + n, room - n, ",%s=", name);
        for (; *value && n + 3 < room; value++) {
                if (*value == ',' || *value == '\\')
                        out[n++] = '\\';
                out[n++] = *value;
        }
        out[n] = '\0';
}

static struct fuse_session *session_new(struct fs *fs)
{
        char options[2 * PATH_MAX + 512] = "ro,nosuid,nodev,default_permissions,subtype=weightfs";
        char *argv[] = { "weightfs", "-o", options, NULL };
        struct fuse_args args = FUSE_ARGS_INIT(3, argv);
        struct fuse_session *se;
        size_t n;

        append_escaped(options, sizeof(options), "fsname", fs->source);
        n = strlen(options);
        snprintf(options + n, sizeof(options) - n, "%s%s%s", fs->options.allow_other ? ",allow_other" : "",
                 fs->mount_options ? "," : "", fs->mount_options ? fs->mount_options : "");
        se = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), fs);
        fuse_opt_free_args(&args);
        return se;
}

static int mount_failed(struct fs *fs, struct errmsg *err)
{
        int r = errno ? -errno : -EIO;

        if (access("/dev/fuse", F_OK) < 0)
                return errmsg_set(err, -ENODEV,
                                  "/dev/fuse is not there: load the module (modprobe fuse), or give the container "
                                  "--device /dev/fuse");
        if (access("/dev/fuse", R_OK | W_OK) < 0)
                return errmsg_set(err, -errno,
                                  "/dev/fuse may not be used: %s; open it to all (chmod 666 /dev/fuse, as is usual), or "
                                  "mount as root",
                                  strerror(errno));
        if (strstr(mount_error.text, "allow_other"))
                return errmsg_set(err, -EPERM,
                                  "mounting %s with allow_other is refused: put a line user_allow_other into "
                                  "/etc/fuse.conf, or mount as root", fs->mountpoint);
        return errmsg_set(err, r, "mounting on %s failed: %s", fs->mountpoint,
                          mount_error.text[0] ? mount_error.text : strerror(-r));
}

struct init_question {
        struct fuse_in_header header;
        struct fuse_init_in init;
};

struct init_answer {
        struct fuse_out_header header;
        struct fuse_init_out init;
        char room[256]; /* for a libfuse that says more */
};

/* What libfuse answers to INIT comes out of @out, and nothing goes to the kernel. After an error (no memory) the
 * kernel would refuse whatever the mount is asked. */
static ssize_t take_answer(struct fuse_session *se, struct fuse_buf *question, int in, int out,
                           struct init_answer *ret)
{
        ssize_t n;

        if (dup3(in, fuse_session_fd(se), O_CLOEXEC) < 0)
                return -errno;
        fuse_session_process_buf(se, question);
        n = read(out, ret, sizeof(*ret));
        if (n < 0)
                return -errno;
        return (size_t)n >= sizeof(ret->header) && ret->header.error < 0 ? ret->header.error : n;
}

/* Passthrough takes place on top of the store's file system: 1 for an ordinary one. */
static unsigned stack_depth(struct fs *fs)
{
        struct statfs st;

        return statfs(store_path(fs->store), &st) == 0 && st.f_type == OVERLAYFS_SUPER_MAGIC ? 2 : 1;
}

/*
 * Lets libfuse answer INIT, and adds to the answer what not every libfuse passes on: passthrough
 * (3.17), and FUSE_PARALLEL_DIROPS, a wish that 3.14 takes and drops. Without that one lookup that
 * waits for the hub holds up all others in its folder. So libfuse's descriptor is a pipe meanwhile.
 */
static int answer_init(struct fs *fs, struct fuse_buf *question)
{
        struct fuse_session *se = fs->se;
        CLEANUP_FD int device = fcntl(fuse_session_fd(se), F_DUPFD_CLOEXEC, 0);
        CLEANUP_FD int out = -1, in = -1;
        struct init_answer answer = {};
        struct init_question asked = {};
        int ends[2];
        ssize_t n;

        if (device < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        out = ends[0];
        in = ends[1];
        n = take_answer(se, question, in, out, &answer);
        if (dup3(device, fuse_session_fd(se), O_CLOEXEC) < 0)
                return -errno;
        if (n < 0)
                return (int)n;
        memcpy(&asked, question->mem, min_u64(question->size, sizeof(asked)));
        if ((size_t)n >= offsetof(struct init_answer, init.max_background))
                answer.init.flags |= asked.init.flags & FUSE_PARALLEL_DIROPS;
        passthrough_negotiate(fs->passthrough, question->mem, question->size, &answer, (size_t)n, stack_depth(fs));
        return write(device, &answer, (size_t)n) == n ? 0 : -EIO;
}

/* Reads and answers INIT, which the kernel sent with the mount. */
static int serve_init(struct fs *fs)
{
        struct fuse_buf buf = {};
        int r;

        do
                r = fuse_session_receive_buf(fs->se, &buf);
        while (r == -EINTR);
        if (r == 0)
                r = -EIO;
        if (r > 0)
                r = answer_init(fs, &buf);
        free(buf.mem);
        return r;
}

/*
 * Lets the kernel read ahead in requests of READAHEAD_KB, as large as it makes them: with its
 * default of 128 KiB a sequential read takes a third more processor time, and a walk through an
 * mmap eight times the round trips. FUSE_INIT can only lower it, so this needs a writable /sys.
 */
static void raise_readahead(struct fs *fs)
{
        char path[64], value[16];
        struct statx st;
        CLEANUP_FD int fd = -1;
        int n = snprintf(value, sizeof(value), "%u\n", READAHEAD_KB);

        /* nobody serves yet: asks for nothing that the kernel would ask us for */
        if (statx(AT_FDCWD, fs->mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &st) < 0)
                return;
        snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", st.stx_dev_major, st.stx_dev_minor);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, value, (size_t)n) != n)
                log_debug("the kernel's readahead stays as it is: %s: %s", path, strerror(errno));
}

int fs_mount(struct fs *fs, struct errmsg *err)
{
        int r;

        fuse_set_log_func(collect_libfuse_message);
        errno = 0;
        fs->se = session_new(fs);
        if (!fs->se)
                return mount_failed(fs, err);
        errno = 0;
        if (fuse_session_mount(fs->se, fs->mountpoint) < 0)
                return mount_failed(fs, err);
        fuse_set_log_func(log_libfuse_message);
        r = serve_init(fs);
        if (r < 0)
                return errmsg_set(err, r, "the kernel did not greet the mount on %s: %s", fs->mountpoint,
                                  strerror(-r));
        raise_readahead(fs);
        return 0;
}

/* ---- serving ---- */

_Thread_local uint64_t request_unique;

struct session_thread {
        pthread_t thread;
        struct fs *fs;
        char *slot;
        int result;
};

static int slot_new(char **ret)
{
        char *slot = mmap(NULL, SLOT_MAPPING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                          -1, 0);

        if (slot == MAP_FAILED)
                return -errno;
        memset(slot, 0, SLOT_SIZE);
        if (mlock(slot, SLOT_SIZE) < 0)
                log_debug("request slots are not locked: %s", strerror(errno));
        *ret = slot;
        return 0;
}

static void *serve(void *arg)
{
        struct session_thread *t = arg;
        struct fuse_session *se = t->fs->se;

        pthread_setname_np(pthread_self(), "wfs-session");
        for (;;) {
                ssize_t n = read(fuse_session_fd(se), t->slot, SLOT_MAPPING);
                struct fuse_buf buf = { .mem = t->slot };

                if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
                        continue; /* ENOENT: the request was interrupted before it was read */
                if (n < 0) { /* ECONNABORTED: the mount went when a request was just to be given out */
                        t->result = errno == ENODEV || errno == ECONNABORTED ? 0 : -errno;
                        return NULL;
                }
                if ((size_t)n < sizeof(struct fuse_in_header))
                        continue;
                buf.size = (size_t)n;
                request_unique = ((struct fuse_in_header *)t->slot)->unique;
                fuse_session_process_buf(se, &buf);
        }
}

int fs_run(struct fs *fs)
{
        struct session_thread threads[SESSION_THREADS] = {};
        unsigned count = 0;
        int r = 0;

        for (; count < SESSION_THREADS && r == 0; count++) {
                struct session_thread *t = &threads[count];

                t->fs = fs;
                r = slot_new(&t->slot);
                if (r == 0)
                        r = -pthread_create(&t->thread, NULL, serve, t);
                if (r < 0)
                        break;
        }
        if (r < 0 && count > 0)
                log_warn("serving with %u of %u threads: %s", count, SESSION_THREADS, strerror(-r));
        if (count > 0)
                r = 0;
        for (unsigned i = 0; i < count; i++) {
                pthread_join(threads[i].thread, NULL);
                if (threads[i].result < 0)
                        r = threads[i].result;
        }
        for (unsigned i = 0; i < SESSION_THREADS; i++)
                if (threads[i].slot)
                        munmap(threads[i].slot, SLOT_MAPPING);
        pthread_rwlock_wrlock(&fs->serving); /* Q4 */
        fs->unmounted = true;
        pthread_rwlock_unlock(&fs->serving);
        interrupts_end(fs->interrupts);
        return r;
}

/* ---- unmounting ---- */

int fs_unmount(struct fs *fs, bool lazy)
{
        if (fs->unmounted)
                return 0;
        if (umount2(fs->mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0 || errno == EINVAL)
                return 0; /* EINVAL: someone was faster */
        return -errno;
}
