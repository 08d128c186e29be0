/*
 * Implementation of hub_json.h.
 *
 * Answers are gone through piece by piece, and only pieces of the size that they should have are parsed:
 * jansson needs up to a hundred times the memory of a text that is made for it ("[[],[],...").
 */
#include "fetch/hub_json.h"

#include "index/json_cut.h"

#define LOG_COMPONENT "hub"
#include "base/log.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define SIZE_LIMIT (INT64_C(1) << 62)
#define REFS_MAX 20000 /* each is looked for among those before it */
#define VALUE_MAX 4096 /* bytes of text of a value in an info that is looked at */
#define ENTRY_MAX (64u << 10) /* and of an entry of a listing: a path of 1024 bytes, and what else is said */

DEFINE_CLEANUP(json_t *, json, json_decref)

/* What json_cut gives, as a result of ours. */
static int cut_result(int r)
{
        return r == -EBADMSG ? HUB_E_MALFORMED : r;
}

/* The next value, of up to @most bytes of text. */
static int take_value(struct json_cut *cut, size_t most, json_t **ret)
{
        return cut_result(json_cut_parse(cut, most, JSON_DECODE_ANY, ret));
}

/* "2024-01-31T10:00:00.000Z"; 0 for what is no such date. */
static int64_t parse_date(const char *text)
{
        struct tm tm = {};

        if (!text || !strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
                return 0;
        return timegm(&tm) > 0 ? timegm(&tm) : 0;
}

/* What of a repo's info is looked at. It also names every file of the repo, which may be very many: that
 * is never parsed. */
static const char *const info_keys[] = { "id", "sha", "gated", "private", "disabled", "lastModified" };

static bool info_wanted(const char *key)
{
        for (size_t i = 0; i < ARRAY_SIZE(info_keys); i++)
                if (strcmp(key, info_keys[i]) == 0)
                        return true;
        return false;
}

static int take_member(struct json_cut *cut, const char *key, json_t *root)
{
        const char *text;
        size_t len;
        json_t *value;
        int r;

        if (!info_wanted(key))
                return cut_result(json_cut_value(cut, &text, &len));
        r = take_value(cut, VALUE_MAX, &value);
        if (r == 0 && json_object_set_new(root, key, value) < 0)
                r = -ENOMEM;
        return r;
}

/* The members of an info that are wanted, as an object of their own. */
static int parse_info(const char *json, size_t len, json_t **ret)
{
        CLEANUP(json_cut_done) struct json_cut cut;
        CLEANUP(cleanup_json) json_t *root = json_object();
        int r;

        if (!root)
                return -ENOMEM;
        json_cut_text(&cut, json, len);
        r = cut_result(json_cut_enter(&cut));
        while (r == 0) {
                CLEANUP_FREE char *key = NULL;

                r = json_cut_member(&cut, &key);
                if (r == 1)
                        break;
                r = r < 0 ? cut_result(r) : take_member(&cut, key, root);
        }
        if (r == 1)
                r = cut_result(json_cut_end(&cut));
        if (r != 0)
                return r;
        *ret = take_ptr(root);
        return 0;
}

int hub_json_repo(const char *json, size_t len, const char *asked, struct hub_repo_info *ret)
{
        CLEANUP(cleanup_json) json_t *root = NULL;
        struct hub_repo_info info = {};
        const json_t *gated;
        const char *id, *sha;
        int r;

        r = parse_info(json, len, &root);
        if (r != 0)
                return r;
        id = json_string_value(json_object_get(root, "id"));
        if (!id)
                id = asked;
        if (strlen(id) > REPO_NAME_MAX || !repo_name_valid(id))
                return HUB_E_MALFORMED;
        strcpy(info.name, id);
        gated = json_object_get(root, "gated"); /* false, true, "auto", "manual" */
        info.gated = json_is_true(gated) || json_is_string(gated);
        info.is_private = json_is_true(json_object_get(root, "private"));
        info.disabled = json_is_true(json_object_get(root, "disabled"));
        info.last_modified = parse_date(json_string_value(json_object_get(root, "lastModified")));
        sha = json_string_value(json_object_get(root, "sha"));
        if (!sha || !hex_valid(sha, COMMIT_HEX))
                return info.disabled ? HUB_E_FORBIDDEN : HUB_E_MALFORMED;
        strcpy(info.sha, sha);
        *ret = info;
        return 0;
}

/* ---- listings ---- */

static bool take_size(const json_t *value, uint64_t *ret)
{
        json_int_t n = json_integer_value(value);

        if (!json_is_integer(value) || n < 0 || n >= SIZE_LIMIT)
                return false;
        *ret = (uint64_t)n;
        return true;
}

static bool take_hex(const json_t *value, size_t digits, char *ret)
{
        const char *text = json_string_value(value);

        if (!text || !hex_valid(text, digits))
                return false;
        memcpy(ret, text, digits + 1);
        return true;
}

static int take_file(const json_t *entry, struct tree *tree, struct hub_listed *listed)
{
        const json_t *lfs = json_object_get(entry, "lfs");
        const char *path = json_string_value(json_object_get(entry, "path"));
        struct tree_file file = {};
        int r;

        if (!path || !take_size(json_object_get(entry, "size"), &file.size) ||
            !take_hex(json_object_get(entry, "oid"), COMMIT_HEX, file.oid))
                return HUB_E_MALFORMED;
        if (lfs && !json_is_null(lfs)) {
                if (!take_hex(json_object_get(lfs, "oid"), SHA256_HEX, file.sha256) ||
                    !take_size(json_object_get(lfs, "size"), &file.size))
                        return HUB_E_MALFORMED;
                take_hex(json_object_get(entry, "xetHash"), SHA256_HEX, file.xet_hash);
        }
        if (!entry_path_valid(path)) {
                log_debug("a file is left out: its name is not safe (%zu bytes)", strlen(path));
                listed->left_out++;
                return 0;
        }
        file.path = path;
        r = tree_add(tree, &file);
        return r == -EINVAL ? HUB_E_MALFORMED : r;
}

static int take_entry(struct json_cut *cut, struct tree *tree, struct hub_listed *listed)
{
        CLEANUP(cleanup_json) json_t *entry = NULL;
        const char *type;
        int r = take_value(cut, ENTRY_MAX, &entry);

        if (r != 0)
                return r;
        type = json_string_value(json_object_get(entry, "type"));
        if (!type)
                return HUB_E_MALFORMED;
        listed->entries++;
        listed->folders += strcmp(type, "directory") == 0; /* they follow from the paths */
        return strcmp(type, "file") == 0 ? take_file(entry, tree, listed) : 0;
}

int hub_json_tree(const char *json, size_t len, struct tree *tree, struct hub_listed *listed)
{
        CLEANUP(json_cut_done) struct json_cut cut;
        int r;

        json_cut_text(&cut, json, len);
        r = cut_result(json_cut_enter_array(&cut));
        while (r == 0) {
                r = json_cut_item(&cut);
                if (r == 1)
                        break;
                r = r < 0 ? cut_result(r) : take_entry(&cut, tree, listed);
        }
        return r == 1 ? cut_result(json_cut_end(&cut)) : r;
}

static bool is_top_alone(const struct tree *tree)
{
        for (size_t i = 0; i < tree->count; i++)
                if (strchr(tree->files[i].path, '/'))
                        return false;
        return true;
}

int hub_tree_check(const struct tree *tree, const struct hub_listed *listed)
{
        int r = tree_check(tree);

        if (r == 0 && listed->folders > 0 && listed->left_out == 0 && is_top_alone(tree))
                return HUB_E_MALFORMED;
        return r == -EEXIST ? HUB_E_MALFORMED : r;
}

/* ---- references ---- */

struct refs {
        struct hub_ref *at; /* heap */
        size_t count, seen, capacity;
};

static bool ref_known(const struct refs *refs, size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(refs->at[i].name, name) == 0)
                        return true;
        return false;
}

static int refs_grow(struct refs *refs)
{
        size_t capacity = refs->capacity ? 2 * refs->capacity : 16;
        struct hub_ref *grown = reallocarray(refs->at, capacity, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        refs->at = grown;
        refs->capacity = capacity;
        return 0;
}

/* Takes one reference that has no namesake among the first @before. Branches and tags go by their short
 * name, the rest in full. */
static int take_ref(struct json_cut *cut, const char *key, struct refs *refs, size_t before)
{
        CLEANUP(cleanup_json) json_t *entry = NULL;
        struct hub_ref *ref;
        const char *name;
        int r = take_value(cut, ENTRY_MAX, &entry);

        if (r == 0 && refs->count == refs->capacity)
                r = refs_grow(refs);
        if (r != 0)
                return r;
        ref = &refs->at[refs->count];
        name = json_string_value(json_object_get(entry, key));
        if (!name || !take_hex(json_object_get(entry, "targetCommit"), COMMIT_HEX, ref->sha) ||
            ++refs->seen > REFS_MAX)
                return HUB_E_MALFORMED;
        if (strlen(name) > REVISION_MAX || !revision_valid(name))
                return 0;
        strcpy(ref->name, name);
        if (!ref_known(refs, before, name)) /* git keeps a group's apart */
                refs->count++;
        return 0;
}

/* The hub resolves a name that is in several groups as that of the first. */
static const struct {
        const char *group, *key;
} ref_groups[] = {
        { "branches", "name" },
        { "tags", "name" },
        { "converts", "ref" },
        { "pullRequests", "ref" },
};

static int take_group(const char *json, size_t len, const char *key, struct refs *refs)
{
        CLEANUP(json_cut_done) struct json_cut cut;
        size_t before = refs->count;
        int r;

        json_cut_text(&cut, json, len);
        r = cut_result(json_cut_enter_array(&cut));
        while (r == 0) {
                r = json_cut_item(&cut);
                if (r == 1)
                        break;
                r = r < 0 ? cut_result(r) : take_ref(&cut, key, refs, before);
        }
        return r == 1 ? 0 : r;
}

/* Goes through the document for one group: they may stand in any order, and an earlier one counts more. */
static int find_group(const char *json, size_t len, size_t group, struct refs *refs)
{
        CLEANUP(json_cut_done) struct json_cut cut;
        bool seen = false;
        int r;

        json_cut_text(&cut, json, len);
        r = cut_result(json_cut_enter(&cut));
        while (r == 0) {
                CLEANUP_FREE char *key = NULL;
                const char *text;
                size_t n;

                r = json_cut_member(&cut, &key);
                if (r == 1)
                        break;
                if (r == 0)
                        r = json_cut_value(&cut, &text, &n);
                if (r == 0 && !seen && strcmp(key, ref_groups[group].group) == 0 && text[0] == '[') {
                        seen = true;
                        r = take_group(text, n, ref_groups[group].key, refs);
                }
                r = cut_result(r);
        }
        if (r == 1)
                r = cut_result(json_cut_end(&cut));
        return r == 0 && !seen && group == 0 ? HUB_E_MALFORMED : r;
}

int hub_json_refs(const char *json, size_t len, struct hub_ref **ret, size_t *ret_count)
{
        struct refs refs = {};
        int r = refs_grow(&refs);

        for (size_t g = 0; g < ARRAY_SIZE(ref_groups) && r == 0; g++)
                r = find_group(json, len, g, &refs);
        if (r != 0) {
                free(refs.at);
                return r;
        }
        *ret = refs.at;
        *ret_count = refs.count;
        return 0;
}
