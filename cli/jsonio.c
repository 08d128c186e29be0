/*
 * Implementation of jsonio.h.
 */
#include "cli/jsonio.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct line_reader {
        int fd;
        size_t max, len, capacity;
        char *buf; /* heap; [0, len) was read and not yet handed out */
};

struct line_reader *line_reader_new(int fd, size_t max)
{
        struct line_reader *r = calloc(1, sizeof(*r));

        if (r)
                *r = (struct line_reader){ .fd = fd, .max = max };
        return r;
}

struct line_reader *line_reader_free(struct line_reader *r)
{
        if (r)
                free(r->buf);
        free(r);
        return NULL;
}

static int wait_readable(int fd, uint64_t deadline)
{
        for (;;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                uint64_t now = clock_ms();
                int n;

                if (deadline != 0 && now >= deadline)
                        return -ETIMEDOUT;
                n = poll(&p, 1, deadline != 0 ? (int)(deadline - now) : -1);
                if (n > 0)
                        return 0;
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n < 0)
                        return -EINTR; /* a signal that has a handler wants to be seen */
        }
}

static int read_more(struct line_reader *r)
{
        ssize_t n;

        if (r->capacity - r->len < 4096) {
                size_t capacity = r->capacity * 2 + 8192;
                char *grown = realloc(r->buf, capacity);

                if (!grown)
                        return -ENOMEM;
                r->buf = grown;
                r->capacity = capacity;
        }
        n = read(r->fd, r->buf + r->len, r->capacity - r->len);
        if (n < 0)
                return errno == EAGAIN ? 0 : -errno;
        if (n == 0)
                return -ENODATA;
        r->len += (size_t)n;
        return 0;
}

int line_read(struct line_reader *r, unsigned timeout_ms, json_t **ret)
{
        uint64_t deadline = timeout_ms != 0 ? clock_ms() + timeout_ms : 0;
        size_t seen = 0;

        for (;;) {
                char *end = r->len > seen ? memchr(r->buf + seen, '\n', r->len - seen) : NULL;
                size_t line;
                int err;

                if (end) {
                        line = (size_t)(end - r->buf);
                        *ret = json_loadb(r->buf, line, JSON_REJECT_DUPLICATES, NULL);
                        memmove(r->buf, end + 1, r->len - line - 1);
                        r->len -= line + 1;
                        return *ret ? 0 : -EBADMSG;
                }
                seen = r->len;
                if (r->len > r->max)
                        return -EFBIG;
                err = wait_readable(r->fd, deadline);
                if (err == 0)
                        err = read_more(r);
                if (err < 0)
                        return err;
        }
}

int line_write(int fd, json_t *doc)
{
        CLEANUP_FREE char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
        size_t len, done = 0;

        json_decref(doc);
        if (!text)
                return -ENOMEM;
        len = strlen(text);
        text[len++] = '\n'; /* in place of the NUL */
        while (done < len) {
                ssize_t n = send(fd, text + done, len - done, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                done += (size_t)n;
        }
        return 0;
}

void json_set_text(json_t *object, const char *key, const char *text)
{
        json_t *value = json_string(text);
        CLEANUP_FREE char *ascii = NULL;

        if (!value && (ascii = strdup(text))) {
                for (char *p = ascii; *p != '\0'; p++)
                        if ((unsigned char)*p >= 0x80)
                                *p = '?';
                value = json_string(ascii);
        }
        json_object_set_new(object, key, value);
}

void json_set_u64(json_t *object, const char *key, uint64_t value)
{
        json_object_set_new(object, key, json_integer((json_int_t)value));
}

const char *json_get_text(const json_t *object, const char *key)
{
        const char *text = json_string_value(json_object_get(object, key));

        return text ? text : "";
}

uint64_t json_get_u64(const json_t *object, const char *key)
{
        json_int_t n = json_integer_value(json_object_get(object, key));

        return n < 0 ? 0 : (uint64_t)n;
}

int control_address(const char *state, struct sockaddr_un *ret, int *ret_dirfd)
{
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        *ret_dirfd = -1;
        if (snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/control.sock", state) <
            (int)sizeof(ret->sun_path))
                return 0;
        *ret_dirfd = open(state, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (*ret_dirfd < 0)
                return -errno;
        snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/control.sock", *ret_dirfd);
        return 0;
}
