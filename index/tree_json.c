/*
 * Implementation of tree_json.h on jansson.
 *
 * Reading is strict about what would change the meaning of a listing (sizes, hashes, the format's
 * version, a path twice) and refuses the document; a file whose path cannot be shown safely
 * (entry_path_valid()) is left out, as it is when the hub lists it. null counts as absent.
 *
 * A file is kept in a room as: path, NUL, etag, NUL, then a byte that says which hashes follow, in
 * 20 or 32 bytes each: the oid where the etag is the sha256, the hash of Xet.
 */
#include "index/tree_json.h"

#include "index/json_cut.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#define FORMAT_VERSION 1
#define ROOM_BYTES (256u << 10)

#define HAS_OID 1
#define HAS_XET 2

DEFINE_CLEANUP(json_t *, json, json_decref)

struct tree_room {
        struct tree_room *before;
        size_t used;
        char bytes[];
};

void tree_done(struct tree *t)
{
        while (t->room) {
                struct tree_room *before = t->room->before;

                free(t->room);
                t->room = before;
        }
        free(t->files);
        *t = (struct tree){};
}

static bool file_valid(const struct tree_file *f)
{
        return f->path && entry_path_valid(f->path) && hex_valid(f->oid, COMMIT_HEX) &&
               (f->sha256[0] == '\0' || hex_valid(f->sha256, SHA256_HEX)) &&
               (f->xet_hash[0] == '\0' || hex_valid(f->xet_hash, SHA256_HEX)) && f->size <= INT64_MAX;
}

/* ---- keeping ---- */

/* @len bytes that stay where they are; NULL: no memory. */
static char *room_take(struct tree *t, size_t len)
{
        char *at;

        if (!t->room || ROOM_BYTES - t->room->used < len) {
                struct tree_room *room = malloc(sizeof(*room) + ROOM_BYTES);

                if (!room)
                        return NULL;
                *room = (struct tree_room){ .before = t->room };
                t->room = room;
                t->bytes += sizeof(*room) + ROOM_BYTES;
        }
        at = t->room->bytes + t->room->used;
        t->room->used += len;
        return at;
}

static unsigned hex_digit(char c)
{
        return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

static char *pack_hex(char *to, const char *hex)
{
        for (; *hex; hex += 2)
                *to++ = (char)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
        return to;
}

static const char *unpack_hex(const char *from, size_t digits, char *ret)
{
        for (size_t i = 0; i < digits; i++) {
                unsigned byte = (unsigned char)from[i / 2];

                ret[i] = "0123456789abcdef"[i % 2 ? byte & 15 : byte >> 4];
        }
        ret[digits] = '\0';
        return from + digits / 2;
}

static int files_grow(struct tree *t)
{
        size_t capacity = t->capacity ? 2 * t->capacity : 16;
        struct listed_file *grown = reallocarray(t->files, capacity, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        t->files = grown;
        t->bytes += (capacity - t->capacity) * sizeof(*grown);
        t->capacity = capacity;
        return 0;
}

int tree_add(struct tree *t, const struct tree_file *file)
{
        bool lfs = file->sha256[0] != '\0', xet = file->xet_hash[0] != '\0';
        const char *etag = lfs ? file->sha256 : file->oid;
        char *at, *path;

        if (!file_valid(file))
                return -EINVAL;
        if (t->count == t->capacity && files_grow(t) < 0)
                return -ENOMEM;
        path = room_take(t, strlen(file->path) + strlen(etag) + 3 + (lfs ? COMMIT_HEX / 2 : 0) +
                                    (xet ? SHA256_HEX / 2 : 0));
        if (!path)
                return -ENOMEM;
        at = stpcpy(path, file->path) + 1;
        t->files[t->count++] = (struct listed_file){ .path = path, .etag = at, .size = file->size };
        at = stpcpy(at, etag) + 1;
        *at++ = (char)((lfs ? HAS_OID : 0) | (xet ? HAS_XET : 0));
        if (lfs)
                at = pack_hex(at, file->oid);
        if (xet)
                pack_hex(at, file->xet_hash);
        return 0;
}

void tree_file_at(const struct tree *t, size_t at, struct tree_file *ret)
{
        const struct listed_file *f = &t->files[at];
        const char *more = f->etag + strlen(f->etag) + 1;
        char has = *more++;

        *ret = (struct tree_file){ .path = f->path, .size = f->size };
        strcpy(has & HAS_OID ? ret->sha256 : ret->oid, f->etag);
        if (has & HAS_OID)
                more = unpack_hex(more, COMMIT_HEX, ret->oid);
        if (has & HAS_XET)
                unpack_hex(more, SHA256_HEX, ret->xet_hash);
}

static int by_path(const void *a, const void *b)
{
        return strcmp((*(const struct listed_file *const *)a)->path, (*(const struct listed_file *const *)b)->path);
}

int tree_check(const struct tree *t)
{
        CLEANUP_FREE const struct listed_file **sorted = NULL;

        if (t->count < 2)
                return 0;
        sorted = malloc(t->count * sizeof(struct listed_file *));
        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < t->count; i++)
                sorted[i] = &t->files[i];
        qsort(sorted, t->count, sizeof(*sorted), by_path);
        for (size_t i = 1; i < t->count; i++)
                if (strcmp(sorted[i - 1]->path, sorted[i]->path) == 0)
                        return -EEXIST;
        return 0;
}

/* ---- writing ---- */

static int write_file(const struct tree_file *f, FILE *to)
{
        CLEANUP(cleanup_json) json_t *path = json_string(f->path);

        if (!path || (json_dumpf(path, to, JSON_ENCODE_ANY) < 0 && !ferror(to)))
                return -ENOMEM;
        fprintf(to, ":{\"blob_id\":\"%s\"", f->oid);
        if (f->sha256[0] != '\0')
                fprintf(to, ",\"lfs_sha256\":\"%s\",\"lfs_size\":%" PRIu64, f->sha256, f->size);
        fprintf(to, ",\"size\":%" PRIu64, f->size);
        if (f->xet_hash[0] != '\0')
                fprintf(to, ",\"xet_hash\":\"%s\"", f->xet_hash);
        fputc('}', to);
        return ferror(to) ? errno ? -errno : -EIO : 0;
}

int tree_write(const struct tree *t, FILE *f)
{
        int r = 0;

        errno = 0;
        fputs("{\"files\":{", f);
        for (size_t i = 0; i < t->count && r == 0; i++) {
                struct tree_file file;

                if (i > 0)
                        fputc(',', f);
                tree_file_at(t, i, &file);
                r = write_file(&file, f);
        }
        if (r == 0) {
                fprintf(f, "},\"format_version\":%d}", FORMAT_VERSION);
                fflush(f);
        }
        return r == 0 && ferror(f) ? errno ? -errno : -EIO : r;
}

/* ---- reading ---- */

/* A string member of exactly @digits hex digits. @required: its absence is an error too. */
static int get_hex(const json_t *o, const char *key, size_t digits, bool required, char *ret)
{
        const json_t *v = json_object_get(o, key);

        ret[0] = '\0';
        if (!v || json_is_null(v))
                return required ? -EBADMSG : 0;
        if (!json_is_string(v) || json_string_length(v) != digits || !hex_valid(json_string_value(v), digits))
                return -EBADMSG;
        strcpy(ret, json_string_value(v));
        return 0;
}

static int get_size(const json_t *o, const char *key, bool required, uint64_t *ret)
{
        const json_t *v = json_object_get(o, key);

        if (!v || json_is_null(v))
                return required ? -EBADMSG : 0;
        if (!json_is_integer(v) || json_integer_value(v) < 0)
                return -EBADMSG;
        *ret = (uint64_t)json_integer_value(v);
        return 0;
}

static int file_from_json(const char *path, const json_t *o, struct tree_file *ret)
{
        uint64_t lfs_size;
        int r;

        *ret = (struct tree_file){ .path = path };
        if (!json_is_object(o))
                return -EBADMSG;
        r = get_size(o, "size", true, &ret->size);
        if (r == 0)
                r = get_hex(o, "blob_id", COMMIT_HEX, true, ret->oid);
        if (r == 0)
                r = get_hex(o, "lfs_sha256", SHA256_HEX, false, ret->sha256);
        if (r == 0)
                r = get_hex(o, "xet_hash", SHA256_HEX, false, ret->xet_hash);
        lfs_size = ret->size;
        if (r == 0)
                r = get_size(o, "lfs_size", false, &lfs_size);
        if (r == 0 && ret->sha256[0] != '\0')
                ret->size = lfs_size; /* that of the content, whatever "size" speaks of */
        return r;
}

static int read_file(struct json_cut *cut, const char *path, struct tree *t)
{
        CLEANUP(cleanup_json) json_t *value = NULL;
        struct tree_file f;
        int r = json_cut_parse(cut, JSON_CUT_VALUE_MAX, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &value);

        if (r == 0)
                r = file_from_json(path, value, &f);
        if (r == 0 && entry_path_valid(path))
                r = tree_add(t, &f);
        return r == -EINVAL ? -EBADMSG : r;
}

static int read_files(struct json_cut *cut, struct tree *t)
{
        int r = json_cut_enter(cut);

        while (r == 0) {
                CLEANUP_FREE char *path = NULL;

                r = json_cut_member(cut, &path);
                if (r == 0)
                        r = read_file(cut, path, t);
        }
        if (r == 1)
                r = tree_check(t);
        return r == -EEXIST ? -EBADMSG : r;
}

/* A member of the document that is not "files": the version, or what later clients may add. */
static int read_other(struct json_cut *cut, const char *key, bool *version)
{
        CLEANUP(cleanup_json) json_t *value = NULL;
        int r = json_cut_parse(cut, JSON_CUT_VALUE_MAX, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &value);

        if (r < 0)
                return r;
        if (strcmp(key, "format_version") != 0)
                return 0;
        if (*version || !json_is_integer(value) || json_integer_value(value) != FORMAT_VERSION)
                return -EBADMSG;
        *version = true;
        return 0;
}

static int read_document(struct json_cut *cut, struct tree *ret)
{
        CLEANUP(tree_done) struct tree t = {};
        bool version = false, files = false;
        int r = json_cut_enter(cut);

        while (r == 0) {
                CLEANUP_FREE char *key = NULL;

                r = json_cut_member(cut, &key);
                if (r != 0)
                        break;
                if (strcmp(key, "files") != 0) {
                        r = read_other(cut, key, &version);
                        continue;
                }
                r = files ? -EBADMSG : read_files(cut, &t);
                files = true;
        }
        if (r == 1)
                r = json_cut_end(cut);
        if (r == 0 && (!version || !files))
                r = -EBADMSG;
        if (r < 0)
                return r;
        *ret = t;
        t = (struct tree){};
        return 0;
}

int tree_read(int fd, struct tree *ret)
{
        CLEANUP(json_cut_done) struct json_cut cut;

        json_cut_file(&cut, fd);
        return read_document(&cut, ret);
}

int tree_from_json(const char *json, size_t len, struct tree *ret)
{
        CLEANUP(json_cut_done) struct json_cut cut;

        json_cut_text(&cut, json, len);
        return read_document(&cut, ret);
}
