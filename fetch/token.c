/*
 * Implementation of token.h. All fields but the path are protected by the lock.
 */
#include "fetch/token.h"

#include "base/clock.h"
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 1000 /* the file's mtime is asked for at most this often */

struct token {
        struct lock lock;
        char *path;       /* heap; NULL: literal, or none */
        char *value;      /* protected by lock; heap; NULL: none */
        struct stat seen; /* protected by lock; the file as it was read last */
        uint64_t looked;  /* protected by lock; when the file was looked at last */
};

void token_wipe(char *value)
{
        if (!value)
                return;
        explicit_bzero(value, strlen(value));
        free(value);
}

/* Cuts white space off both ends of [text, text + len) and copies what is left. */
static int parse(const char *text, size_t len, char **ret)
{
        char *value;

        while (len > 0 && strchr(" \t\r\n", text[len - 1]) && text[len - 1] != '\0')
                len--;
        while (len > 0 && strchr(" \t\r\n", *text) && *text != '\0') {
                text++;
                len--;
        }
        if (len > TOKEN_MAX)
                return -EFBIG;
        for (size_t i = 0; i < len; i++)
                if (text[i] <= ' ' || text[i] > '~')
                        return -EINVAL; /* it becomes a header line: nothing may end that early */
        if (len == 0) {
                *ret = NULL;
                return 0;
        }
        value = strndup(text, len);
        if (!value)
                return -ENOMEM;
        *ret = value;
        return 0;
}

/* Reads the file into @ret (NULL: empty or absent). The stack copy is wiped. */
static int read_token(const char *path, struct stat *ret_seen, char **ret)
{
        CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        char buf[TOKEN_MAX + 256];
        ssize_t n;
        int r;

        memset(ret_seen, 0, sizeof(*ret_seen));
        *ret = NULL;
        if (fd < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
        if (fstat(fd, ret_seen) < 0)
                return -errno;
        if (!S_ISREG(ret_seen->st_mode))
                return -EINVAL;
        n = pread_all(fd, buf, sizeof(buf), 0);
        if (n < 0)
                r = (int)n;
        else
                r = (size_t)n == sizeof(buf) ? -EFBIG : parse(buf, (size_t)n, ret);
        explicit_bzero(buf, sizeof(buf));
        return r;
}

static bool unchanged_locked(const struct token *t, const struct stat *st) REQUIRES(t->lock)
{
        return st->st_ino == t->seen.st_ino && st->st_dev == t->seen.st_dev &&
               st->st_size == t->seen.st_size && timespec_equal(st->st_mtim, t->seen.st_mtim);
}

static void look_locked(struct token *t, bool again) REQUIRES(t->lock)
{
        uint64_t now = clock_ms();
        struct stat st;
        char *value;

        if (!t->path || (!again && now < t->looked + LOOK_MS))
                return;
        t->looked = now;
        if (!again && stat(t->path, &st) == 0 && unchanged_locked(t, &st))
                return;
        /* Half-written or unreadable for a moment: the last good one is the better guess. */
        if (read_token(t->path, &st, &value) < 0)
                return;
        token_wipe(t->value);
        t->value = value;
        t->seen = st;
}

static int explain(struct errmsg *err, const char *path, int r)
{
        const char *what = path ? path : "the token given";

        if (r == -EFBIG)
                return errmsg_set(err, r, "%s holds more than a token: over %d bytes", what, TOKEN_MAX);
        if (r == -EINVAL)
                return errmsg_set(err, r, "%s is not a token: it must be one line of printable characters",
                                  what);
        return errmsg_set(err, r, "cannot read the token file %s: %s", what, strerror(-r));
}

int token_new(const char *literal, const char *file, struct token **ret, struct errmsg *err)
{
        struct token *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        lock_init(&t->lock);
        if (literal) {
                r = parse(literal, strlen(literal), &t->value);
        } else if (file) {
                t->path = strdup(file);
                r = t->path ? read_token(file, &t->seen, &t->value) : -ENOMEM;
                t->looked = clock_ms();
        } else {
                r = 0;
        }
        if (r < 0) {
                explain(err, literal ? NULL : file, r);
                token_free(t);
                return r;
        }
        if (t->path && (t->seen.st_mode & S_IROTH))
                errmsg_set(err, 0, "others can read the token file %s; chmod 600 keeps it private", file);
        *ret = t;
        return 0;
}

struct token *token_free(struct token *t)
{
        if (!t)
                return NULL;
        token_wipe(t->value);
        free(t->path);
        lock_done(&t->lock);
        free(t);
        return NULL;
}

int token_get(struct token *t, bool again, char **ret)
{
        char *copy = NULL;
        int r = 0;

        lock_take(&t->lock);
        look_locked(t, again);
        if (t->value) {
                copy = strdup(t->value);
                r = copy ? 0 : -ENOMEM;
        }
        lock_drop(&t->lock);
        if (r == 0)
                *ret = copy;
        return r;
}
