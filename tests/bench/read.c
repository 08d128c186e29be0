/*
 * The measuring loops of the benchmark: they read as programs read, and cost next to nothing themselves.
 *
 *   read whole FILE             1 MiB at a time, from the first byte to the last
 *   read threads FILE N         N threads on one descriptor, each its own part, 1 MiB at a time
 *   read mmap FILE...           one byte of each page of each file, in order: all the faults of a loader
 *   read random FILE COUNT      COUNT reads of 4 KiB at random pages, the same ones each time
 *   read byte FILE OFFSET       open, and a single byte
 *   read head FILE BYTES        the first bytes
 *   read walk DIR               the status of everything below, links followed
 *
 * Prints one line of JSON: seconds from before the first open to after the last byte, CPU seconds of
 * this process over the same time, and how much there was (bytes; for a walk, entries).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (1u << 20)
#define PAGE 4096u
#define THREADS_MAX 64

struct part { /* of a file, for one thread */
        pthread_t thread;
        int fd;
        uint64_t start, end, got;
};

static uint64_t walked; /* nftw() carries no argument */

static void die(const char *what)
{
        fprintf(stderr, "read: %s: %s\n", what, strerror(errno));
        exit(1);
}

static double now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
        struct rusage u;

        getrusage(RUSAGE_SELF, &u);
        return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int open_file(const char *path, uint64_t *ret_size)
{
        struct stat st;
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || fstat(fd, &st) < 0)
                die(path);
        *ret_size = (uint64_t)st.st_size;
        return fd;
}

static void *read_part(void *argument)
{
        struct part *p = argument;
        char *buffer = malloc(BLOCK);

        if (!buffer)
                die("memory");
        while (p->start < p->end) {
                uint64_t want = p->end - p->start < BLOCK ? p->end - p->start : BLOCK;
                ssize_t n = pread(p->fd, buffer, want, (off_t)p->start);

                if (n <= 0)
                        die(n < 0 ? "pread" : "the file is shorter than its size");
                p->start += (uint64_t)n;
                p->got += (uint64_t)n;
        }
        free(buffer);
        return NULL;
}

static uint64_t read_in_parts(const char *path, unsigned count)
{
        struct part parts[THREADS_MAX] = {0};
        uint64_t size, each, got = 0;
        int fd = open_file(path, &size);

        each = (size / count + BLOCK - 1) / BLOCK * BLOCK;
        for (unsigned i = 0; i < count; i++) {
                parts[i].fd = fd;
                parts[i].start = i * each < size ? i * each : size;
                parts[i].end = (i + 1) * each < size ? (i + 1) * each : size;
                if (i + 1 == count)
                        read_part(&parts[i]);
                else if (pthread_create(&parts[i].thread, NULL, read_part, &parts[i]) != 0)
                        die("pthread_create");
        }
        for (unsigned i = 0; i < count; i++) {
                if (i + 1 < count)
                        pthread_join(parts[i].thread, NULL);
                got += parts[i].got;
        }
        close(fd);
        return got;
}

static uint64_t touch_pages(const char *path)
{
        uint64_t size, sum = 0;
        int fd = open_file(path, &size);
        const unsigned char *map = size > 0 ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;

        if (map == MAP_FAILED)
                die("mmap");
        for (uint64_t at = 0; at < size; at += PAGE)
                sum += *(const volatile unsigned char *)(map + at);
        if (map)
                munmap((void *)map, size);
        close(fd);
        return sum == UINT64_MAX ? 0 : size;
}

static uint64_t read_random(const char *path, unsigned long count)
{
        char buffer[PAGE];
        uint64_t size, state = 88172645463325252u;
        int fd = open_file(path, &size);

        for (unsigned long i = 0; i < count; i++) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                if (pread(fd, buffer, PAGE, (off_t)(state % (size / PAGE) * PAGE)) != PAGE)
                        die("pread");
        }
        close(fd);
        return count * (uint64_t)PAGE;
}

static uint64_t read_at(const char *path, uint64_t start, uint64_t length)
{
        struct part p = {.start = start, .end = start + length};
        uint64_t size;

        p.fd = open_file(path, &size);
        read_part(&p);
        close(p.fd);
        return p.got;
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        struct stat target;

        (void)st;
        (void)ftw;
        if (type == FTW_DNR || type == FTW_NS)
                die(path);
        if (type == FTW_SL && stat(path, &target) < 0)
                die(path);
        walked++;
        return 0;
}

static uint64_t walk(const char *dir)
{
        if (nftw(dir, visit, 64, FTW_PHYS) < 0)
                die(dir);
        return walked;
}

int main(int argc, char **argv)
{
        const char *verb = argc > 2 ? argv[1] : "";
        unsigned long number = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
        double start = now(), cpu_start = cpu();
        uint64_t count = 0;

        if (strcmp(verb, "whole") == 0) {
                count = read_in_parts(argv[2], 1);
        } else if (strcmp(verb, "threads") == 0 && number > 0 && number <= THREADS_MAX) {
                count = read_in_parts(argv[2], (unsigned)number);
        } else if (strcmp(verb, "mmap") == 0) {
                for (int i = 2; i < argc; i++)
                        count += touch_pages(argv[i]);
        } else if (strcmp(verb, "random") == 0 && number > 0) {
                count = read_random(argv[2], number);
        } else if (strcmp(verb, "byte") == 0) {
                count = read_at(argv[2], number, 1);
        } else if (strcmp(verb, "head") == 0) {
                count = read_at(argv[2], 0, number);
        } else if (strcmp(verb, "walk") == 0) {
                count = walk(argv[2]);
        } else {
                fputs("usage: read whole|threads|mmap|random|byte|head|walk PATH [NUMBER]\n", stderr);
                return 2;
        }
        printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"count\": %llu}\n", now() - start, cpu() - cpu_start,
               (unsigned long long)count);
        return 0;
}
