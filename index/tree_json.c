/*
 * Implementation of tree_json.h on jansson.
 *
 * Reading is strict about what would change the meaning of a listing (sizes, hashes, the format's
 * version, a path twice) and refuses the document; a file whose path cannot be shown safely
 * (entry_path_valid()) is left out, as it is when the hub lists it. null counts as absent.
 */
#include "index/tree_json.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#define FORMAT_VERSION 1

DEFINE_CLEANUP(json_t *, json, json_decref)

void tree_done(struct tree *t)
{
        for (size_t i = 0; i < t->count; i++)
                free(t->files[i].path);
        free(t->files);
        *t = (struct tree){};
}

static bool file_valid(const struct tree_file *f)
{
        return f->path && entry_path_valid(f->path) && hex_valid(f->oid, COMMIT_HEX) &&
               (f->sha256[0] == '\0' || hex_valid(f->sha256, SHA256_HEX)) &&
               (f->xet_hash[0] == '\0' || hex_valid(f->xet_hash, SHA256_HEX)) && f->size <= INT64_MAX;
}

int tree_add(struct tree *t, const struct tree_file *file)
{
        struct tree_file copy = *file;

        if (!file_valid(file))
                return -EINVAL;
        if (t->count == t->capacity) {
                size_t capacity = t->capacity ? 2 * t->capacity : 16;
                struct tree_file *grown = reallocarray(t->files, capacity, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                t->files = grown;
                t->capacity = capacity;
        }
        copy.path = strdup(file->path);
        if (!copy.path)
                return -ENOMEM;
        t->files[t->count++] = copy;
        return 0;
}

const char *tree_file_etag(const struct tree_file *f)
{
        return f->sha256[0] != '\0' ? f->sha256 : f->oid;
}

/* A new reference, or NULL when memory is out. */
static json_t *file_to_json(const struct tree_file *f)
{
        CLEANUP(cleanup_json) json_t *o = json_object();
        int r;

        if (!o)
                return NULL;
        r = json_object_set_new(o, "size", json_integer((json_int_t)f->size));
        r |= json_object_set_new(o, "blob_id", json_string(f->oid));
        if (f->sha256[0] != '\0') {
                r |= json_object_set_new(o, "lfs_sha256", json_string(f->sha256));
                r |= json_object_set_new(o, "lfs_size", json_integer((json_int_t)f->size));
        }
        if (f->xet_hash[0] != '\0')
                r |= json_object_set_new(o, "xet_hash", json_string(f->xet_hash));
        return r == 0 ? take_ptr(o) : NULL;
}

int tree_to_json(const struct tree *t, char **ret, size_t *ret_len)
{
        CLEANUP(cleanup_json) json_t *root = json_object();
        json_t *files = json_object();
        char *text;

        /* set_new takes the reference also when it fails */
        if (json_object_set_new(root, "files", files) < 0 ||
            json_object_set_new(root, "format_version", json_integer(FORMAT_VERSION)) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < t->count; i++)
                if (json_object_set_new(files, t->files[i].path, file_to_json(&t->files[i])) < 0)
                        return -ENOMEM;
        text = json_dumps(root, JSON_SORT_KEYS | JSON_COMPACT);
        if (!text)
                return -ENOMEM;
        *ret_len = strlen(text);
        *ret = text;
        return 0;
}

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

        *ret = (struct tree_file){ .path = (char *)path };
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

int tree_from_json(const char *json, size_t len, struct tree *ret)
{
        CLEANUP(tree_done) struct tree t = {};
        CLEANUP(cleanup_json) json_t *root = NULL;
        const json_t *version, *value;
        json_t *files;
        const char *path;

        root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
        version = json_object_get(root, "format_version");
        files = json_object_get(root, "files");
        if (!json_is_integer(version) || json_integer_value(version) != FORMAT_VERSION ||
            !json_is_object(files))
                return -EBADMSG;
        json_object_foreach(files, path, value) {
                struct tree_file f;
                int r = file_from_json(path, value, &f);

                if (r == 0 && entry_path_valid(path))
                        r = tree_add(&t, &f);
                if (r < 0)
                        return r == -EINVAL ? -EBADMSG : r;
        }
        *ret = t;
        t = (struct tree){};
        return 0;
}
