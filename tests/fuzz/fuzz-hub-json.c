/*
 * The hub's JSON: info of a repo, a page of a listing, refs. The first byte chooses which.
 */
#include "fetch/hub_json.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_info(const char *json, size_t len)
{
        struct hub_repo_info info;

        if (hub_json_repo(json, len, "Org/Name", &info) == 0) {
                assert(repo_name_valid(info.name));
                assert(info.sha[0] == '\0' || hex_valid(info.sha, COMMIT_HEX));
        }
}

static void try_tree(const char *json, size_t len)
{
        struct tree tree = {};
        struct hub_listed listed = {};

        if (hub_json_tree(json, len, &tree, &listed) == 0 && hub_tree_check(&tree, &listed) == 0)
                for (size_t i = 0; i < tree.count; i++) {
                        assert(entry_path_valid(tree.files[i].path));
                        assert(etag_valid(tree.files[i].etag));
                }
        tree_done(&tree);
}

static void try_refs(const char *json, size_t len)
{
        struct hub_ref *refs = NULL;
        size_t count = 0;

        if (hub_json_refs(json, len, &refs, &count) == 0)
                for (size_t i = 0; i < count; i++) {
                        assert(revision_valid(refs[i].name));
                        assert(hex_valid(refs[i].sha, COMMIT_HEX));
                }
        free(refs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *json = (const char *)data + 1;

        if (size < 1)
                return 0;
        switch (data[0] % 3) {
        case 0:
                try_info(json, size - 1);
                break;
        case 1:
                try_tree(json, size - 1);
                break;
        default:
                try_refs(json, size - 1);
        }
        return 0;
}
