/*
 * Implementation of sweep.h.
 *
 * The parent runs nothing of weightfs. A child says how it went through shared memory; one that
 * crashes, hangs or reports (AddressSanitizer, LeakSanitizer) has failed. The first failures of a
 * kind are shown, with the command that repeats it, and the others are counted.
 *
 * Environment  WEIGHTFS_FAULT_STEP: only each so manieth pass fails (1); WEIGHTFS_FAULT_SQLITE_STEP: and of those in
 *              which SQLite wants for memory again only each so manieth (61); WEIGHTFS_FAULT_JOBS: runs at a time.
 * Arguments    none: all kinds; KIND: that one; KIND once|from|every N: one run.
 */
#include "faults/sweep.h"

#include "base/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define LEAKS() __lsan_do_recoverable_leak_check()
#else
#define LEAKS() 0
#endif

#define JOBS_MAX 64
#define SITES_MAX 1024
#define FAILURES_SHOWN 5

struct run { /* shared with the child */
        uint64_t n, passes, fired;
        struct shim_site site;
        char said[512];
        pid_t pid; /* the parent's */
};

struct sweep {
        const struct scenario *scenario;
        enum shim_kind kind;
        enum shim_how how;
        struct run *runs; /* one per job */
        unsigned jobs;
        uint64_t step;
        uint64_t next, end; /* the next n; the first for which none fired */
        unsigned count, failed, sites;
        struct shim_site seen[SITES_MAX];
};

static char folder[64];
static struct run *mine;
static const char *program;

void sweep_fail(const char *file, int line, const char *fmt, ...)
{
        va_list ap;
        int n;

        shim_disarm();
        file = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
        n = snprintf(mine->said, sizeof(mine->said), "%s:%d: ", file, line);
        va_start(ap, fmt);
        vsnprintf(mine->said + n, sizeof(mine->said) - (size_t)n, fmt, ap);
        va_end(ap);
        _exit(1);
}

const char *sweep_at(const char *fmt, ...)
{
        static char paths[16][1024];
        static unsigned next;
        char *p = paths[next++ % 16];
        va_list ap;
        int n = snprintf(p, 1024, "%s/", folder);

        va_start(ap, fmt);
        vsnprintf(p + n, 1024 - (size_t)n, fmt, ap);
        va_end(ap);
        return p;
}

void sweep_put(const char *path, const void *data, size_t len)
{
        char copy[1024];
        FILE *f;

        snprintf(copy, sizeof(copy), "%s", path);
        for (char *p = copy + 1; (p = strchr(p, '/')); p++) {
                *p = '\0';
                mkdir(copy, 0755);
                *p = '/';
        }
        f = fopen(path, "w");
        SWEEP_ASSERT(f && fwrite(data, 1, len, f) == len && fclose(f) == 0);
}

/* ---- what holds after every run ---- */

static void hash_of(const char *path, const struct stat *st, const EVP_MD *md, char *ret)
{
        unsigned char buf[65536], digest[EVP_MAX_MD_SIZE];
        EVP_MD_CTX *c = EVP_MD_CTX_new();
        FILE *f = fopen(path, "r");
        unsigned len;
        size_t n;
        int header = snprintf((char *)buf, sizeof(buf), "blob %lld", (long long)st->st_size);

        SWEEP_ASSERT(f);
        EVP_DigestInit_ex(c, md, NULL);
        if (EVP_MD_size(md) == 20)
                EVP_DigestUpdate(c, buf, (size_t)header + 1);
        while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
                EVP_DigestUpdate(c, buf, n);
        EVP_DigestFinal_ex(c, digest, &len);
        hex_encode(digest, len, ret);
        EVP_MD_CTX_free(c);
        fclose(f);
}

static const char *unchecked;

static int check_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        const char *name = path + ftw->base;
        char hex[2 * EVP_MAX_MD_SIZE + 1];

        if (type != FTW_F || !S_ISREG(st->st_mode) || !etag_valid(name) || !strstr(path, "/blobs/") ||
            strcmp(name, unchecked) == 0)
                return 0;
        hash_of(path, st, strlen(name) == SHA256_HEX ? EVP_sha256() : EVP_sha1(), hex);
        if (strcmp(hex, name) != 0)
                sweep_fail(__FILE__, __LINE__, "%s has another hash", path);
        return 0;
}

void sweep_check_hashes(const char *hub, const char *except)
{
        unchecked = except;
        nftw(hub, check_file, 32, FTW_PHYS);
}

/* How many descriptors are open; says which into @ret. */
static unsigned descriptors(char *ret, size_t size)
{
        DIR *d = opendir("/proc/self/fd");
        struct dirent *e;
        unsigned count = 0;
        size_t at = 0;

        ret[0] = '\0';
        while ((e = readdir(d))) {
                char target[128] = "";

                if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(d))
                        continue;
                count++;
                if (readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1) > 0 && at < size)
                        at += (size_t)snprintf(ret + at, size - at, " %s=%s", e->d_name, target);
        }
        closedir(d);
        return count;
}

static void run_faulty(const struct sweep *w)
{
        char before[400], after[400];
        unsigned count = descriptors(before, sizeof(before));

        shim_arm(w->kind, w->how, mine->n);
        w->scenario->act(mine->n == 0 || w->kind == SHIM_EINTR || w->kind == SHIM_SHORT);
        shim_disarm();
        mine->passes = shim_passes();
        mine->fired = shim_fired();
        mine->site = shim_first();
        if (descriptors(after, sizeof(after)) != count)
                sweep_fail(__FILE__, __LINE__, "descriptors:%s, before:%s", after, before);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st, (void)type, (void)ftw;
        return remove(path);
}

static void child(const struct sweep *w)
{
        const char *tmp = getenv("TMPDIR");

        alarm(w->scenario->seconds);
        if (!tmp)
                tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(folder, sizeof(folder), "%.40s/weightfs-XXXXXX", tmp);
        SWEEP_ASSERT(mkdtemp(folder));
        w->scenario->prepare();
        run_faulty(w);
        w->scenario->check();
        w->scenario->act(true);
        w->scenario->check();
        nftw(folder, remove_one, 32, FTW_DEPTH | FTW_PHYS);
        if (LEAKS())
                sweep_fail(__FILE__, __LINE__, "memory is lost (above)");
        _exit(0);
}

/* ---- the parent ---- */

static const char *how_name(enum shim_how how)
{
        return how == SHIM_ONCE ? "once" : how == SHIM_FROM ? "from" : "every";
}

static void note_site(struct sweep *w, const struct shim_site *s)
{
        for (unsigned i = 0; i < w->sites; i++)
                if (w->seen[i].caller == s->caller && strcmp(w->seen[i].call, s->call) == 0)
                        return;
        if (w->sites < SITES_MAX)
                w->seen[w->sites++] = *s;
}

static void complain(struct sweep *w, const struct run *r, int status)
{
        if (++w->failed > FAILURES_SHOWN)
                return;
        printf("FAILED: %s %s %s %llu: %s%s (%s at 0x%llx)\n", program, shim_names[w->kind], how_name(w->how),
               (unsigned long long)r->n, r->said,
               r->said[0]                                             ? "" :
               WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM     ? "does not end" :
               WIFSIGNALED(status)                                    ? strsignal(WTERMSIG(status)) :
                                                                        "ends early",
               r->site.call[0] ? r->site.call : "see above", (unsigned long long)r->site.caller);
        fflush(stdout);
}

static void start(struct sweep *w, struct run *r)
{
        pid_t pid;

        *r = (struct run){ .n = w->next };
        w->next += w->step;
        fflush(stdout);
        pid = fork();
        if (pid < 0) {
                perror("fork");
                exit(2);
        }
        if (pid == 0) {
                mine = r;
                child(w);
        }
        r->pid = pid;
}

static void ended(struct sweep *w, struct run *r, int status)
{
        r->pid = 0;
        w->count++;
        if (status != 0)
                complain(w, r, status);
        else if (r->fired == 0 && r->n < w->end)
                w->end = r->n;
        if (r->fired > 0)
                note_site(w, &r->site);
}

static void await_one(struct sweep *w)
{
        int status;
        pid_t pid = wait(&status);

        for (unsigned i = 0; i < w->jobs; i++)
                if (pid > 0 && w->runs[i].pid == pid)
                        ended(w, &w->runs[i], status);
}

/* A run that hangs or dies before anything fired would be followed by others for ever. */
#define PASSES_MAX 1000000

static void sweep_one(struct sweep *w)
{
        unsigned busy;

        w->end = PASSES_MAX;
        do {
                busy = 0;
                for (unsigned i = 0; i < w->jobs; i++) {
                        if (w->runs[i].pid == 0 && w->next < w->end && w->failed < 50)
                                start(w, &w->runs[i]);
                        busy += w->runs[i].pid != 0;
                }
                if (busy > 0)
                        await_one(w);
        } while (busy > 0);
        printf("%-14s %-6s %5u runs, %3u sites, %u failed\n", shim_names[w->kind], how_name(w->how), w->count,
               w->sites, w->failed);
        fflush(stdout);
}

static unsigned number_of(const char *variable, unsigned otherwise)
{
        const char *text = getenv(variable);

        return text && atoi(text) > 0 ? (unsigned)atoi(text) : otherwise;
}

static unsigned sweep_kind(struct sweep *w, enum shim_kind kind)
{
        bool quiet = kind == SHIM_EINTR || kind == SHIM_SHORT;
        const enum shim_how hows[] = { SHIM_ONCE, quiet ? SHIM_EVERY : SHIM_FROM };
        unsigned failed = 0;

        for (size_t i = 0; i < 2; i++) {
                struct sweep one = { .scenario = w->scenario, .kind = kind, .how = hows[i], .runs = w->runs,
                                     .jobs = w->jobs, .step = w->step };

                /* SQLite asks for memory so often, and in so few ways, that some of it will do */
                if (kind == SHIM_SQLITE_MEMORY)
                        one.step *= number_of("WEIGHTFS_FAULT_SQLITE_STEP", 61);
                one.next = 1 + (uint64_t)time(NULL) % one.step; /* another part of them each time */
                if (hows[i] == SHIM_EVERY)
                        one.next++;
                sweep_one(&one);
                failed += one.failed;
        }
        return failed;
}

static enum shim_kind kind_of(const char *name)
{
        for (enum shim_kind k = 1; k < SHIM_KINDS; k++)
                if (strcmp(shim_names[k], name) == 0)
                        return k;
        fprintf(stderr, "no kind is called %s\n", name);
        exit(2);
}

static int repeat(struct sweep *w, char **argv)
{
        w->kind = kind_of(argv[1]);
        w->how = argv[2][0] == 'o' ? SHIM_ONCE : argv[2][0] == 'f' ? SHIM_FROM : SHIM_EVERY;
        mine = w->runs;
        mine->n = strtoull(argv[3], NULL, 10);
        if (fork() == 0)
                child(w);
        wait(NULL);
        printf("%llu passes, %llu faults, the first in %s at 0x%llx; %s\n", (unsigned long long)mine->passes,
               (unsigned long long)mine->fired, mine->site.call, (unsigned long long)mine->site.caller,
               mine->said);
        return mine->said[0] != '\0';
}

int sweep_main(const struct scenario *s, int argc, char **argv)
{
        struct sweep w = { .scenario = s, .step = number_of("WEIGHTFS_FAULT_STEP", 1) };
        unsigned failed = 0;

        program = argv[0];
        shim_init();
        w.jobs = number_of("WEIGHTFS_FAULT_JOBS",
                           s->jobs ? s->jobs : (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
        w.jobs = w.jobs < JOBS_MAX ? w.jobs : JOBS_MAX;
        w.runs = mmap(NULL, JOBS_MAX * sizeof(*w.runs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (w.runs == MAP_FAILED)
                return 2;
        if (argc == 4)
                return repeat(&w, argv);
        for (size_t i = 0; i < s->kinds_count; i++)
                if (argc < 2 || kind_of(argv[1]) == s->kinds[i])
                        failed += sweep_kind(&w, s->kinds[i]);
        return failed > 0;
}
