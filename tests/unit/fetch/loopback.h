/*
 * A small HTTP server on the loopback for the tests of fetch/: one thread per connection, answers
 * written by a function of the test.
 *
 * Threads    The answering function is called from the connections' threads.
 */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOPBACK_CONNECTIONS 256

struct loopback {
        int fd;
        unsigned port;
        pthread_t thread;
        char url[64];         /* "http://127.0.0.1:PORT" */
        pthread_mutex_t lock; /* for what the test and its answering function share */
        /* Answers one request (its head, ending in an empty line); false: hang up afterwards.
         * Protected by lock; see loopback_set(). */
        bool (*answer)(struct loopback *l, int fd, const char *request);
        void *arg;
        atomic_uint requests, connections;
        pthread_t threads[LOOPBACK_CONNECTIONS];
        int fds[LOOPBACK_CONNECTIONS];
};

struct loopback_connection {
        struct loopback *l;
        unsigned number;
};

static inline void loopback_send(int fd, const void *buf, size_t len)
{
        const char *p = buf;

        while (len > 0) {
                ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

                if (n <= 0)
                        return;
                p += n;
                len -= (size_t)n;
        }
}

/* An answer with Content-Length; @headers: lines that end in CR LF. */
static inline void loopback_reply(int fd, const char *status, const char *headers, const char *body)
{
        char *text;
        int n = asprintf(&text, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
                         strlen(body), body);

        if (n < 0)
                return;
        loopback_send(fd, text, (size_t)n);
        free(text);
}

/* The same to a HEAD request: without a body, @length told. */
static inline void loopback_reply_head(int fd, const char *status, const char *headers, size_t length)
{
        char text[2048];
        int n = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n", status, headers,
                         length);

        loopback_send(fd, text, (size_t)n);
}

/* The value of header @name in @request, into @buf; false when it is not there. */
static inline bool loopback_header(const char *request, const char *name, char *buf, size_t size)
{
        size_t len = strlen(name);

        for (const char *line = strstr(request, "\r\n"); line; line = strstr(line + 2, "\r\n"))
                if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':') {
                        const char *value = line + 3 + len;

                        value += strspn(value, " ");
                        snprintf(buf, size, "%.*s", (int)strcspn(value, "\r"), value);
                        return true;
                }
        return false;
}

static inline void *loopback_serve(void *arg)
{
        struct loopback_connection *c = arg;
        struct loopback *l = c->l;
        int fd = l->fds[c->number];
        char request[16384];
        size_t len = 0;

        free(c);
        for (;;) {
                bool (*answer)(struct loopback *, int, const char *);
                ssize_t n = recv(fd, request + len, sizeof(request) - 1 - len, 0);

                if (n <= 0)
                        break;
                len += (size_t)n;
                request[len] = '\0';
                if (!strstr(request, "\r\n\r\n"))
                        continue;
                l->requests++;
                len = 0; /* the client sends no body and does not pipeline */
                pthread_mutex_lock(&l->lock);
                answer = l->answer;
                pthread_mutex_unlock(&l->lock);
                if (!answer(l, fd, request))
                        break;
        }
        shutdown(fd, SHUT_RDWR);
        return NULL;
}

static inline void *loopback_accept(void *arg)
{
        struct loopback *l = arg;

        for (;;) {
                struct loopback_connection *c;
                int fd = accept(l->fd, NULL, NULL);

                if (fd < 0 || l->connections == LOOPBACK_CONNECTIONS)
                        return NULL;
                c = malloc(sizeof(*c));
                if (!c)
                        abort();
                c->l = l;
                c->number = l->connections++; /* before it can answer */
                l->fds[c->number] = fd;
                if (pthread_create(&l->threads[c->number], NULL, loopback_serve, c) != 0)
                        abort();
        }
}

/* Changes how requests are answered from now on. */
static inline void loopback_set(struct loopback *l, bool (*answer)(struct loopback *, int, const char *))
{
        pthread_mutex_lock(&l->lock);
        l->answer = answer;
        pthread_mutex_unlock(&l->lock);
}

static inline void loopback_start(struct loopback *l, bool (*answer)(struct loopback *, int, const char *),
                                  void *arg)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(a);

        memset(l, 0, sizeof(*l));
        pthread_mutex_init(&l->lock, NULL);
        l->answer = answer;
        l->arg = arg;
        l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(l->fd, 64) < 0 ||
            getsockname(l->fd, (struct sockaddr *)&a, &len) < 0)
                abort();
        l->port = ntohs(a.sin_port);
        snprintf(l->url, sizeof(l->url), "http://127.0.0.1:%u", l->port);
        if (pthread_create(&l->thread, NULL, loopback_accept, l) != 0)
                abort();
}

/* Stops listening: the next connection is refused. Those that are open stay. */
static inline void loopback_stop(struct loopback *l)
{
        shutdown(l->fd, SHUT_RDWR);
        pthread_join(l->thread, NULL);
        close(l->fd);
        for (unsigned i = 0; i < l->connections; i++) {
                shutdown(l->fds[i], SHUT_RDWR);
                pthread_join(l->threads[i], NULL);
                close(l->fds[i]);
        }
}
