/*
 * Implementation of hub_json.h.
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

DEFINE_CLEANUP(json_t *, json, json_decref)

static int parse(const char *json, size_t len, json_t **ret)
{
        json_error_t error;
        json_t *root = json_loadb(json, len, 0, &error);

        if (!root && json_error_code(&error) == json_error_out_of_memory)
                return -ENOMEM;
        if (!root) {
                log_debug("not JSON at byte %d: %s", error.position, error.text);
                return HUB_E_MALFORMED;
        }
        *ret = root;
        return 0;
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
                return json_cut_value(cut, &text, &len);
        r = json_cut_parse(cut, JSON_DECODE_ANY, &value);
        if (r < 0)
                return r;
        return json_object_set_new(root, key, value) < 0 ? -ENOMEM : 0;
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
        r = json_cut_enter(&cut);
        while (r == 0) {
                CLEANUP_FREE char *key = NULL;

                r = json_cut_member(&cut, &key);
                if (r == 0)
                        r = take_member(&cut, key, root);
        }
        if (r == 1)
                r = json_cut_end(&cut);
        if (r < 0)
                return r == -EBADMSG ? HUB_E_MALFORMED : r;
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

static int take_file(const json_t *entry, struct tree *tree, size_t *left_out)
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
                ++*left_out;
                return 0;
        }
        file.path = path;
        r = tree_add(tree, &file);
        return r == -EINVAL ? HUB_E_MALFORMED : r;
}

int hub_json_tree(const char *json, size_t len, struct tree *tree, size_t *left_out, size_t *ret_entries)
{
        CLEANUP(cleanup_json) json_t *root = NULL;
        json_t *entry;
        size_t i;
        int r;

        r = parse(json, len, &root);
        if (r != 0)
                return r;
        if (!json_is_array(root))
                return HUB_E_MALFORMED;
        json_array_foreach(root, i, entry)
        {
                const char *type = json_string_value(json_object_get(entry, "type"));

                if (!type)
                        return HUB_E_MALFORMED;
                if (strcmp(type, "file") != 0)
                        continue; /* folders follow from the paths */
                r = take_file(entry, tree, left_out);
                if (r != 0)
                        return r;
        }
        *ret_entries = json_array_size(root);
        return 0;
}

int hub_tree_check(const struct tree *tree)
{
        int r = tree_check(tree);

        return r == -EEXIST ? HUB_E_MALFORMED : r;
}

/* ---- references ---- */

static bool ref_known(const struct hub_ref *refs, size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(refs[i].name, name) == 0)
                        return true;
        return false;
}

/* Takes one reference into *@ret. Branches and tags go by their short name, the rest in full. */
static int take_ref(const json_t *entry, const char *key, struct hub_ref *ret, bool *ret_usable)
{
        const char *name = json_string_value(json_object_get(entry, key));

        if (!name || !take_hex(json_object_get(entry, "targetCommit"), COMMIT_HEX, ret->sha))
                return HUB_E_MALFORMED;
        *ret_usable = strlen(name) <= REVISION_MAX && revision_valid(name);
        if (*ret_usable)
                strcpy(ret->name, name);
        return 0;
}

static const struct {
        const char *group, *key;
} ref_groups[] = {
        { "branches", "name" },
        { "tags", "name" },
        { "converts", "ref" },
        { "pullRequests", "ref" },
};

/* Appends the references of one group that have no namesake in the groups before it. */
static int take_refs(const json_t *group, const char *key, struct hub_ref *refs, size_t *count)
{
        size_t i, before = *count;
        json_t *entry;

        json_array_foreach(group, i, entry)
        {
                bool usable;
                int r = take_ref(entry, key, &refs[*count], &usable);

                if (r != 0)
                        return r;
                if (usable && !ref_known(refs, before, refs[*count].name)) /* git keeps a group's apart */
                        ++*count;
        }
        return 0;
}

int hub_json_refs(const char *json, size_t len, struct hub_ref **ret, size_t *ret_count)
{
        CLEANUP(cleanup_json) json_t *root = NULL;
        CLEANUP_FREE struct hub_ref *refs = NULL;
        size_t count = 0, total = 0;
        int r;

        r = parse(json, len, &root);
        if (r != 0)
                return r;
        if (!json_is_object(root) || !json_is_array(json_object_get(root, "branches")))
                return HUB_E_MALFORMED;
        for (size_t g = 0; g < ARRAY_SIZE(ref_groups); g++)
                total += json_array_size(json_object_get(root, ref_groups[g].group));
        if (total > REFS_MAX)
                return HUB_E_MALFORMED;
        refs = calloc(total + 1, sizeof(*refs));
        if (!refs)
                return -ENOMEM;
        for (size_t g = 0; g < ARRAY_SIZE(ref_groups); g++) {
                r = take_refs(json_object_get(root, ref_groups[g].group), ref_groups[g].key, refs, &count);
                if (r != 0)
                        return r;
        }
        *ret = take_ptr(refs);
        *ret_count = count;
        return 0;
}
