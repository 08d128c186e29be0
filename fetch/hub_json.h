/*
 * The JSON of the hub's API, parsed into ours. Nothing in it is trusted.
 *
 * Sources    huggingface_hub hf_api.py: ModelInfo, RepoFile, RepoFolder, GitRefs.
 * Results    0; HUB_E_MALFORMED; -ENOMEM. ret_ parameters are written on success only.
 * Threads    Everything here is pure.
 */
#pragma once

#include "fetch/hub.h"

/* Answer of /api/{type}s/{name}[/revision/{rev}]. A renamed repo has another id than was @asked;
 * an answer without one is about the name asked for. HUB_E_FORBIDDEN: disabled, and no commit said. */
int hub_json_repo(const char *json, size_t len, const char *asked, struct hub_repo_info *ret);

/* What was gone through of a listing, files that were taken apart. */
struct hub_listed {
        size_t entries; /* of any kind, these too */
        size_t folders;
        size_t left_out; /* files with unsafe names */
};

/* Appends the files of one page of /tree, and adds to @listed. Files with unsafe names are left out; what
 * else is wrong refuses the page. */
int hub_json_tree(const char *json, size_t len, struct tree *tree, struct hub_listed *listed);

/* HUB_E_MALFORMED where a path is there twice, or folders are but nothing in any of them: git has no empty
 * ones, so the listing is that of the top folder alone. */
int hub_tree_check(const struct tree *tree, const struct hub_listed *listed);

/* Answer of /refs; @ret is a heap array. References with names that are none are left out; of equal
 * names (a branch and a tag) the first counts, as the hub resolves them. */
int hub_json_refs(const char *json, size_t len, struct hub_ref **ret, size_t *ret_count);
