/*
 * Implementation of small_hub.h: a thread for each connection, answers as the real hub gives them.
 */
#include "faults/small_hub.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HUB_JSON "Content-Type: application/json\r\n"

static const struct small_file *all;
static unsigned all_count;

static void put(int fd, const void *data, size_t len)
{
        const char *p = data;

        for (ssize_t n; len > 0; p += n, len -= (size_t)n)
                if ((n = send(fd, p, len, MSG_NOSIGNAL)) <= 0)
                        return;
}

__attribute__((format(printf, 5, 6))) static void answer(int fd, const char *status, const void *body, size_t len,
                                                         const char *headers, ...)
{
        char head[2048];
        va_list ap;
        int n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n", status, len);

        va_start(ap, headers);
        n += vsnprintf(head + n, sizeof(head) - (size_t)n, headers, ap);
        va_end(ap);
        n += snprintf(head + n, sizeof(head) - (size_t)n, "\r\n");
        put(fd, head, (size_t)n);
        if (body)
                put(fd, body, len);
}

static void answer_tree(int fd)
{
        char text[4096] = "[";
        size_t n = 1;

        for (unsigned i = 0; i < all_count; i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n,
                                      "%s{\"type\":\"file\",\"path\":\"%s\",\"size\":%llu,\"oid\":\"" SMALL_HUB_SHA
                                      "\",\"lfs\":{\"oid\":\"%s\",\"size\":%llu}}",
                                      i ? "," : "", all[i].path, (unsigned long long)all[i].size, all[i].sha256,
                                      (unsigned long long)all[i].size);
        n += (size_t)snprintf(text + n, sizeof(text) - n, "]");
        answer(fd, "200 OK", text, n, HUB_JSON);
}

static const struct small_file *file_of(const char *path)
{
        for (unsigned i = 0; i < all_count; i++)
                if (strcmp(all[i].path, path) == 0)
                        return &all[i];
        return NULL;
}

static void answer_bytes(int fd, const struct small_file *f, const char *request)
{
        const char *range = strcasestr(request, "\r\nrange: bytes=");
        unsigned long long start = 0, end = f->size - 1;

        if (!range || sscanf(range + 15, "%llu-%llu", &start, &end) != 2 || start > end || end >= f->size)
                answer(fd, "200 OK", f->data, f->size, "ETag: \"%s\"\r\n", f->sha256);
        else
                answer(fd, "206 Partial Content", f->data + start, end - start + 1,
                       "Content-Range: bytes %llu-%llu/%llu\r\n", start, end, (unsigned long long)f->size);
}

static void serve_one(int fd, const char *request)
{
        static const char info[] = "{\"id\":\"org/name\",\"sha\":\"" SMALL_HUB_SHA "\"}";
        static const char refs[] = "{\"branches\":[{\"name\":\"main\",\"ref\":\"refs/heads/main\",\"targetCommit\":\""
                                   SMALL_HUB_SHA "\"}],\"tags\":[],\"converts\":[]}";
        const struct small_file *f;
        char method[8], path[512];

        if (sscanf(request, "%7s %511s", method, path) != 2)
                return;
        path[strcspn(path, "?")] = '\0';
        if (strstr(path, "/tree/"))
                answer_tree(fd);
        else if (strcmp(path, "/api/models/org/name/refs") == 0)
                answer(fd, "200 OK", refs, strlen(refs), HUB_JSON);
        else if (strncmp(path, "/api/models/org/name", 20) == 0)
                answer(fd, "200 OK", info, strlen(info), HUB_JSON);
        else if (strncmp(path, "/cdn/", 5) == 0 && (f = file_of(path + 5)))
                answer_bytes(fd, f, request);
        else if (strncmp(path, "/org/name/resolve/", 18) == 0 && (f = file_of(strchr(path + 18, '/') + 1)))
                answer(fd, "302 Found", NULL, 0,
                       "Location: /cdn/%s\r\nX-Repo-Commit: " SMALL_HUB_SHA
                       "\r\nX-Linked-Size: %llu\r\nX-Linked-Etag: \"%s\"\r\n",
                       f->path, (unsigned long long)f->size, f->sha256);
        else
                answer(fd, "404 Not Found", NULL, 0, "X-Error-Code: EntryNotFound\r\n");
}

static void *serve(void *arg)
{
        int fd = (int)(intptr_t)arg;
        char request[16384];
        size_t len = 0;
        ssize_t n;

        while ((n = recv(fd, request + len, sizeof(request) - 1 - len, 0)) > 0) {
                len += (size_t)n;
                request[len] = '\0';
                if (!strstr(request, "\r\n\r\n"))
                        continue;
                serve_one(fd, request);
                len = 0;
        }
        close(fd);
        return NULL;
}

static void run(int fd)
{
        pthread_attr_t attr;
        pthread_t thread;

        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        for (;;) {
                int one = accept(fd, NULL, NULL);

                if (one >= 0 && pthread_create(&thread, &attr, serve, (void *)(intptr_t)one) != 0)
                        close(one);
        }
}

unsigned small_hub_start(const struct small_file *files, unsigned count)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t len = sizeof(a);
        pid_t parent = getpid();

        if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 512) < 0 ||
            getsockname(fd, (struct sockaddr *)&a, &len) < 0) {
                perror("small hub");
                exit(2);
        }
        all = files;
        all_count = count;
        if (fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() == parent)
                        run(fd);
                _exit(0);
        }
        close(fd);
        return ntohs(a.sin_port);
}
