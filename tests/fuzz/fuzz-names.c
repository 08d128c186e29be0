/*
 * Names that containers and the hub bring: repo ids and their folders, revisions, entry paths,
 * node ids.
 */
#include "base/names.h"
#include "fs/node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_repo(const char *text)
{
        char name[REPO_NAME_MAX + 1], folder[REPO_FOLDER_MAX + 1], revision[REVISION_MAX + 1];
        enum repo_type type;

        if (repo_from_folder(text, &type, name)) {
                assert(repo_name_valid(name));
                repo_to_folder(type, name, folder);
                assert(strcmp(folder, text) == 0);
        }
        if (repo_parse(text, &type, name, revision)) {
                assert(repo_name_valid(name));
                assert(revision[0] == '\0' || revision_valid(revision));
        }
}

/* A path that leads anywhere but down. */
static bool leads_up(const char *path)
{
        for (const char *p = path; *p != '\0'; p += strcspn(p, "/"), p += *p == '/') {
                size_t n = strcspn(p, "/");

                if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return true;
        }
        return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text = malloc(size + 1);
        struct node n;
        uint64_t id;

        if (!text)
                return 0;
        memcpy(text, data, size);
        text[size] = '\0';
        try_repo(text);
        if (entry_path_valid(text))
                assert(text[0] != '/' && strlen(text) <= ENTRY_PATH_MAX && !strstr(text, "//") && !leads_up(text));
        if (entry_name_valid(text))
                assert(!strchr(text, '/') && strlen(text) <= ENTRY_NAME_MAX && !leads_up(text));
        if (revision_valid(text))
                assert(!strstr(text, "..") && text[0] != '/');
        if (size >= sizeof(id)) {
                memcpy(&id, data, sizeof(id));
                if (node_unpack(id, &n))
                        assert(node_pack(n) == id);
        }
        free(text);
        return 0;
}
