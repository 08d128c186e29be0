/*
 * trees/<commit>.json of an adopted cache: whatever it holds, what is taken from it is valid, and
 * survives being written and read again.
 */
#include "index/tree_json.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct tree tree = {}, again = {};
        char *json = NULL;
        size_t len;
        FILE *f;

        if (tree_from_json((const char *)data, size, &tree) != 0)
                return 0;
        for (size_t i = 0; i < tree.count; i++) {
                assert(entry_path_valid(tree.files[i].path));
                assert(etag_valid(tree.files[i].etag));
        }
        f = open_memstream(&json, &len);
        assert(f && tree_write(&tree, f) == 0 && fclose(f) == 0);
        assert(tree_from_json(json, len, &again) == 0);
        assert(again.count == tree.count);
        free(json);
        tree_done(&tree);
        tree_done(&again);
        return 0;
}
