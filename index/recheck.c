/*
 * Implementation of recheck.h.
 */
#include "index/recheck.h"

#include "index/hash.h"
#include "index/store_dir.h"

#include "base/table.h"

#define LOG_COMPONENT "recheck"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIECE (1u << 20) /* read at once */
#define ALIGNMENT 4096   /* O_DIRECT: of memory and offsets; enough for any disk */

struct recheck_repo {
        UT_hash_handle hh;
        enum repo_type type;
        char key[]; /* plural/hub_name */
};

struct recheck_file {
        UT_hash_handle hh;
        struct {
                dev_t dev;
                ino_t ino;
        } key;
        size_t item;
};

/* ---- planning ---- */

void recheck_plan_done(struct recheck_plan *p)
{
        struct recheck_repo *repo, *next_repo;
        struct recheck_file *file, *next_file;

        HASH_ITER(hh, p->repos, repo, next_repo) {
                HASH_DEL(p->repos, repo);
                free(repo);
        }
        HASH_ITER(hh, p->files, file, next_file) {
                HASH_DEL(p->files, file);
                free(file);
        }
        free(p->items);
        *p = (struct recheck_plan){};
}

/* The name that items of the repo's folder point to; NULL: planned already. */
static int add_repo(struct recheck_plan *p, const struct repo *repo, const char **ret_name)
{
        const char *plural = repo_type_plural(repo->type);
        size_t len = strlen(plural) + 1 + strlen(repo->hub_name);
        struct recheck_repo *known, *r = calloc(1, sizeof(*r) + len + 1);

        if (!r)
                return -ENOMEM;
        r->type = repo->type;
        snprintf(r->key, len + 1, "%s/%s", plural, repo->hub_name);
        HASH_FIND_STR(p->repos, r->key, known);
        *ret_name = NULL;
        if (known) {
                free(r);
                return 0;
        }
        HASH_ADD_STR(p->repos, key, r);
        if (!HASH_ADDED(r)) {
                free(r);
                return -ENOMEM;
        }
        *ret_name = r->key + strlen(plural) + 1;
        return 0;
}

static int add_item(struct recheck_plan *p, const struct recheck_item *item)
{
        if (p->count == p->capacity) {
                size_t capacity = p->capacity ? 2 * p->capacity : 64;
                struct recheck_item *grown = reallocarray(p->items, capacity, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                p->items = grown;
                p->capacity = capacity;
        }
        p->items[p->count] = *item;
        p->items[p->count].same_as = p->count;
        p->count++;
        return 0;
}

/* A file with several names (a hard link for each repo) is hashed once. */
static int note_file(struct recheck_plan *p, const struct stat *st)
{
        struct recheck_file *file, *known;

        file = calloc(1, sizeof(*file));
        if (!file)
                return -ENOMEM;
        file->key.dev = st->st_dev;
        file->key.ino = st->st_ino;
        file->item = p->count - 1;
        HASH_FIND(hh, p->files, &file->key, sizeof(file->key), known);
        /* under two hashes at most one can be right: each is looked at */
        if (known && strcmp(p->items[known->item].etag, p->items[p->count - 1].etag) == 0) {
                p->items[p->count - 1].same_as = known->item;
                free(file);
        } else if (known) {
                free(file);
        } else {
                HASH_ADD(hh, p->files, key, sizeof(file->key), file);
                if (!HASH_ADDED(file)) {
                        free(file);
                        return -ENOMEM;
                }
        }
        return 0;
}

static int add_file(struct recheck_plan *p, struct index *ix, struct recheck_item *item)
{
        CLEANUP_FD int fd = -1;
        struct blob_row row;
        uint64_t size = 0;
        struct stat st;
        int r = catalog_blob_in_repo(ix->catalog, item->repo, item->etag, &row);
        bool listed = r == 0, opened;

        if (r < 0)
                return r;
        opened = store_blob_open(ix->store, item->type, item->hub_name, item->etag, &fd, &size) == 0;
        item->blob = listed ? row.id : 0;
        item->size = listed ? row.size : size;
        item->verified = listed ? row.verified : 0;
        r = add_item(p, item);
        return r == 0 && opened && fstat(fd, &st) == 0 ? note_file(p, &st) : r;
}

static int plan_folder(struct recheck_plan *p, struct index *ix, const struct repo *repo, const char *hub_name)
{
        CLEANUP_FD int dir = -1;
        CLEANUP_DIR DIR *d = NULL;
        struct dirent *e;
        int r;

        r = store_repo_open(ix->store, repo->type, hub_name, false, &dir);
        if (r == 0)
                r = dir_list(dir, "blobs", &d);
        if (r < 0)
                return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
        while (r == 0 && (errno = 0, e = readdir(d))) {
                struct recheck_item item = { .type = repo->type, .hub_name = hub_name, .repo = repo->id };

                if (!etag_valid(e->d_name))
                        continue;
                strcpy(item.etag, e->d_name);
                r = add_file(p, ix, &item);
        }
        return r < 0 ? r : -errno;
}

/* True when some repo that lists the blob has something of its name. */
static int is_somewhere(struct index *ix, const struct blob_row *row, bool *ret)
{
        CLEANUP_FREE struct entry *entry = calloc(1, sizeof(*entry));
        struct commit commit = {};
        struct repo repo = {};
        int64_t last = 0;
        int r = entry ? 0 : -ENOMEM;

        *ret = false;
        while (r == 0 && !*ret &&
               (r = catalog_blob_place_next(ix->catalog, row->id, commit.id, entry->pos, &repo, &commit,
                                            entry)) == 0) {
                CLEANUP(blob_place_done) struct blob_place at = { .dir = -1 };

                if (repo.id != last)
                        *ret = store_blob_locate(ix->store, repo.type, repo.hub_name, row->etag, &at) != -ENOENT;
                last = repo.id;
        }
        return r < 0 ? r : 0;
}

static int plan_row(struct recheck_plan *p, struct index *ix, const struct repo *repo, const char *hub_name,
                    const struct blob_row *row)
{
        CLEANUP(blob_place_done) struct blob_place at = { .dir = -1 };
        struct recheck_item item = {
                .type = repo->type, .hub_name = hub_name, .repo = repo->id, .blob = row->id, .size = row->size
        };
        bool somewhere;
        int r;

        if (row->state == BLOB_FILLING ||
            store_blob_locate(ix->store, repo->type, hub_name, row->etag, &at) != -ENOENT)
                return 0;
        r = is_somewhere(ix, row, &somewhere);
        if (r < 0 || somewhere)
                return r;
        strcpy(item.etag, row->etag);
        item.kind = row->state == BLOB_QUARANTINED ? RECHECK_QUARANTINED : RECHECK_MISSING;
        return add_item(p, &item);
}

static int plan_rows(struct recheck_plan *p, struct index *ix, const struct repo *repo, const char *hub_name)
{
        struct catalog_rows *rows = NULL;
        struct blob_row row;
        int r = catalog_blobs_in_repo(ix->catalog, repo->id, 0, &rows);

        while (r == 0 && (r = catalog_rows_next(rows, &row)) == 0)
                r = plan_row(p, ix, repo, hub_name, &row);
        catalog_rows_free(rows);
        return r < 0 ? r : 0;
}

int recheck_plan_repo(struct recheck_plan *p, struct index *ix, const struct repo *repo)
{
        const char *hub_name;
        int r = add_repo(p, repo, &hub_name);

        if (r < 0 || !hub_name)
                return r;
        r = plan_folder(p, ix, repo, hub_name);
        return r < 0 ? r : plan_rows(p, ix, repo, hub_name);
}

/* ---- examining ---- */

static void set_direct(int fd, bool direct)
{
        int flags = fcntl(fd, F_GETFL);

        if (flags >= 0) /* where it cannot be had the first read says so, or this does */
                (void)fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT);
}

static ssize_t read_piece(int fd, void *buf, uint64_t at)
{
        ssize_t n;

        do
                n = pread(fd, buf, PIECE, (off_t)at);
        while (n < 0 && errno == EINTR);
        if (n >= 0 || errno != EINVAL)
                return n < 0 ? -errno : n;
        set_direct(fd, false);
        return pread_all(fd, buf, PIECE, at);
}

/* The hash of @size bytes, @ret_hex "" when there are fewer. */
static int hash_disk(int fd, const struct recheck_item *item, uint64_t size, const atomic_bool *cancel,
                     _Atomic uint64_t *read, char *ret_hex)
{
        CLEANUP(cleanup_hash) struct hash *h = NULL;
        CLEANUP_FREE void *buf = aligned_alloc(ALIGNMENT, PIECE);
        int r = buf ? hash_new(item->etag, size, &h) : -ENOMEM;

        ret_hex[0] = '\0';
        set_direct(fd, true);
        for (uint64_t at = 0; at < size && r == 0;) {
                ssize_t n;

                if (cancel && *cancel)
                        return -ECANCELED;
                n = read_piece(fd, buf, at);
                if (n <= 0)
                        return (int)n;
                n = (ssize_t)min_u64((uint64_t)n, size - at);
                r = hash_update(h, buf, (size_t)n);
                at += (uint64_t)n;
                if (read)
                        *read += (uint64_t)n;
        }
        return r < 0 ? r : hash_get(h, ret_hex);
}

static bool mode_is_odd(mode_t mode)
{
        return (mode & (S_IWOTH | S_ISUID | S_ISGID)) || !(mode & S_IRUSR);
}

/* The catalogue follows: what was adopted, or put there by hand, is complete. */
static int confirm(struct index *ix, const struct recheck_item *item, const struct stat *st)
{
        struct blob_row row;
        struct blob *b;
        int r;

        if (item->blob == 0)
                return 0;
        r = catalog_blob_get(ix->catalog, item->blob, &row);
        if (r != 0 || row.state == BLOB_COMPLETE || row.state == BLOB_QUARANTINED)
                return r < 0 ? r : 0;
        r = blobs_get(ix->blobs, item->blob, &b);
        if (r != 0)
                return r < 0 ? r : 0;
        r = blob_confirm(b, st);
        blob_unref(b);
        return r;
}

static int unfit(struct recheck_item *item, int r)
{
        item->kind = r == -ENOENT ? RECHECK_MISSING :
                     r == -ELOOP  ? RECHECK_LINK :
                     r == -EINVAL ? RECHECK_NO_FILE :
                                    RECHECK_UNREADABLE;
        item->error = r;
        return 0;
}

int recheck_examine(struct index *ix, struct recheck_item *item, const atomic_bool *cancel,
                    _Atomic uint64_t *read)
{
        CLEANUP_FD int fd = -1;
        struct stat st;
        uint64_t size;
        int r;

        r = store_blob_open(ix->store, item->type, item->hub_name, item->etag, &fd, &size);
        if (r == 0 && fstat(fd, &st) < 0)
                r = -errno;
        if (r < 0)
                return unfit(item, r);
        if (item->blob != 0 && size != item->size) {
                item->kind = size < item->size ? RECHECK_CUT : RECHECK_GROWN;
                return 0;
        }
        r = hash_disk(fd, item, size, cancel, read, item->got);
        if (r == -ECANCELED)
                return r;
        if (r < 0) {
                item->kind = RECHECK_UNREADABLE;
                item->error = r;
                return 0;
        }
        if (strcmp(item->got, item->etag) != 0) {
                item->kind = RECHECK_CHANGED;
                return 0;
        }
        item->got[0] = '\0';
        item->kind = mode_is_odd(st.st_mode) ? RECHECK_MODE : RECHECK_RIGHT;
        r = confirm(ix, item, &st);
        if (r < 0)
                log_debug("%.12s: right, and not noted: %s", item->etag, strerror(-r));
        return 0;
}
