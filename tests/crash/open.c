/*
 * Opens a store as a daemon does and looks at all of it, without a mount: crash-open STORE STATE EXPECTED [finish]
 *
 * EXPECTED/<etag> is the content of each blob. What is whole or held must be that; with "finish" what is missing
 * is filled from there and must become whole. CRASH_BOOT_ID: the boot that is pretended (a reboot, if it is not
 * the one in which the store was written). CRASH_WRONG=ETAG:OFFSET: the hub has sent this byte wrong once. Prints "whole ETAG" and "held ETAG BYTES"; the exit status is 1, and
 * a line says why, when something is wrong.
 */
#include "index/index.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *expected;
static int wrong;

__attribute__((format(printf, 1, 2))) static void say_wrong(const char *fmt, ...)
{
        va_list ap;

        wrong = 1;
        printf("WRONG ");
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
        printf("\n");
}

/* index/ learns the boot's id from a file: this one, where the environment names another boot. */
int openat64(int dirfd, const char *path, int flags, ...)
{
        const char *boot = getenv("CRASH_BOOT_ID");
        mode_t mode = 0;
        va_list ap;

        va_start(ap, flags);
        if (flags & (O_CREAT | O_TMPFILE))
                mode = va_arg(ap, mode_t);
        va_end(ap);
        if (boot && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
                path = boot;
        return (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

static char *content_of(const struct blob *b)
{
        char *path = NULL, *data = NULL;
        size_t len;

        if (asprintf(&path, "%s/%s", expected, blob_etag(b)) < 0 ||
            read_file_at(AT_FDCWD, path, SIZE_MAX / 2, &data, &len) < 0)
                data = NULL;
        free(path);
        return data && len == blob_size(b) ? data : NULL;
}

/* Mends the byte that the hub has sent wrong: to hold it is right until the hash is known. */
static bool mend(const struct blob *b, char *buf, const char *right, uint64_t at, uint64_t end)
{
        const char *odd = getenv("CRASH_WRONG"), *colon = odd ? strchr(odd, ':') : NULL;
        uint64_t offset = colon ? strtoull(colon + 1, NULL, 10) : 0;

        if (!colon || strncmp(odd, blob_etag(b), (size_t)(colon - odd)) != 0)
                return false;
        if (offset >= at && offset < end && buf[offset - at] == (char)(right[offset] ^ 0xff))
                buf[offset - at] = right[offset];
        return true;
}

/* All ranges that are held. */
static void compare(struct blob *b, const char *right)
{
        char *buf = malloc(blob_size(b) + 1);
        struct range hole = {};

        for (uint64_t at = 0; at < blob_size(b); at = hole.end) {
                uint64_t end = blob_run_end(b, at);

                if (end > at && blob_read(b, buf, end - at, at) != (ssize_t)(end - at))
                        say_wrong("%s: [%" PRIu64 ", %" PRIu64 ") cannot be read", blob_etag(b), at, end);
                if (end > at)
                        mend(b, buf, right, at, end);
                if (end > at && memcmp(buf, right + at, end - at) != 0)
                        say_wrong("%s: [%" PRIu64 ", %" PRIu64 ") is held and not right", blob_etag(b), at, end);
                if (!blob_next_hole(b, end, UINT64_MAX, &hole))
                        break;
                if (hole.start > end) /* held again: look from there */
                        hole.end = hole.start;
        }
        free(buf);
}

static int fill_and_finish(struct blob *b, const char *right)
{
        struct range hole;
        int r = 0;

        while (r == 0 && blob_next_hole(b, 0, UINT64_MAX, &hole))
                r = blob_write(b, right + hole.start, hole.end - hole.start, hole.start);
        if (r != 0)
                return r;
        return blob_state(b) == BLOB_ADOPTED ? blob_verify_adopted(b, NULL) : blob_finish(b, NULL);
}

static void finish(struct blob *b, const char *right)
{
        char none;
        int r = fill_and_finish(b, right);

        if (r == BLOB_E_HASH && mend(b, &none, right, 0, 0)) {
                r = blob_drop(b, 0, UINT64_MAX);
                if (r == 0)
                        r = fill_and_finish(b, right);
        }
        if (r != 0 || !blob_state_whole(blob_state(b)))
                say_wrong("%s: cannot be made whole: %d", blob_etag(b), r);
}

static void look_at_blob(struct index *ix, int64_t id, bool fill)
{
        struct blob *b;
        char *right;
        int r = blobs_get(ix->blobs, id, &b);

        if (r != 0) {
                say_wrong("blob %" PRId64 " cannot be opened: %d", id, r);
                return;
        }
        right = content_of(b);
        if (!right)
                say_wrong("%s, of %" PRIu64 " bytes: the hub has no such", blob_etag(b), blob_size(b));
        else
                compare(b, right);
        if (blob_state_whole(blob_state(b)))
                printf("whole %s\n", blob_etag(b));
        else
                printf("held %s %" PRIu64 "\n", blob_etag(b), blob_held_bytes(b));
        if (right && fill)
                finish(b, right);
        free(right);
        blob_unref(b);
}

static void look_at_repo(struct index *ix, const struct repo *repo, bool fill)
{
        struct commit commit = {};
        struct entry *e = calloc(1, sizeof(*e));
        bool found;
        int r = adopt_repo(ix->catalog, ix->store, repo->id, &found);

        if (r < 0)
                say_wrong("%s cannot be adopted: %d", repo->name, r);
        while (r == 0 && (r = catalog_commit_next(ix->catalog, repo->id, commit.id, &commit)) == 0) {
                e->pos = 0;
                while (catalog_entry_walk(ix->catalog, commit.id, e->pos, e) == 0)
                        if (!e->is_dir)
                                look_at_blob(ix, e->blob, fill);
        }
        free(e);
}

int main(int argc, char **argv)
{
        struct index_options o = { .store = argv[1], .state = argc > 3 ? argv[2] : NULL };
        bool fill = argc > 4;
        struct errmsg err = {};
        struct repo repo = {};
        struct index ix;
        int r;

        if (argc < 4)
                return 2;
        expected = argv[3];
        r = index_open(&o, &ix, &err);
        if (r < 0) {
                printf("WRONG the daemon would not start: %s\n", errmsg_get(&err, r));
                return 1;
        }
        if (ix.rebuilt)
                printf("rebuilt\n");
        r = blobs_settle_begun(ix.blobs);
        if (r == 0)
                r = adopt_names(ix.catalog, ix.store);
        if (r < 0)
                say_wrong("the store cannot be looked at: %d", r);
        while (catalog_repo_next(ix.catalog, REPO_MODEL, repo.id, &repo) == 0)
                look_at_repo(&ix, &repo, fill);
        index_close(&ix);
        return wrong;
}
