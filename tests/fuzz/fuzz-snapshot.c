/*
 * A repo's folder as others may have left it: the input's lines make files ("f PATH CONTENT"), links
 * ("l PATH TARGET") and folders ("d PATH") in it; then it is adopted. What is known after that is valid.
 */
#include "index/index.h"

#include "base/util.h"

#include "scratch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINES_MAX 64
#define RUNS_MAX 256 /* of one catalogue: making one takes far longer than a run */

static struct index ix;
static unsigned runs;
static char name[REPO_NAME_MAX + 1];

/* Below the repo's folder, and nowhere else. */
static bool path_is_safe(const char *path)
{
        return path[0] != '\0' && path[0] != '/' && !strstr(path, "..") && strlen(path) < 300;
}

static void make_parents(char *path)
{
        for (char *p = path + strlen(scratch) + 1; (p = strchr(p, '/')); p++) {
                *p = '\0';
                mkdir(path, 0700);
                *p = '/';
        }
}

static void make_one(char *line)
{
        char path[512], *entry, *rest, *save = NULL;
        int fd;

        if (line[0] == '\0' || line[1] != ' ' || !(entry = strtok_r(line + 2, " ", &save)) || !path_is_safe(entry))
                return;
        rest = strtok_r(NULL, "", &save);
        snprintf(path, sizeof(path), "%s/store/hub/models--a--%s/%s", scratch, name + 2, entry);
        make_parents(path);
        if (line[0] == 'd')
                mkdir(path, 0700);
        else if (line[0] == 'l')
                (void)!symlink(rest ? rest : "x", path);
        else if (line[0] == 'f' && (fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600)) >= 0) {
                (void)!write(fd, rest ? rest : "", rest ? strlen(rest) : 0);
                close(fd);
        }
}

static void check(int64_t repo)
{
        struct commit commit = { .id = 0 };
        struct ref ref = {};
        struct entry e;

        while (catalog_commit_next(ix.catalog, repo, commit.id, &commit) == 0) {
                assert(hex_valid(commit.sha, COMMIT_HEX));
                e.pos = 0;
                while (catalog_entry_walk(ix.catalog, commit.id, e.pos, &e) == 0)
                        assert(entry_path_valid(e.path) && (e.is_dir || etag_valid(e.etag)));
        }
        while (catalog_ref_next(ix.catalog, repo, ref.name, &ref) == 0)
                assert(revision_valid(ref.name) && hex_valid(ref.sha, COMMIT_HEX));
}

/* A new index from time to time, and a repo of its own for each run. */
static void prepare(void)
{
        struct index_options io;
        struct errmsg err = {};

        if (scratch[0] == '\0')
                scratch_begin();
        io = (struct index_options){ .store = scratch_at("store"), .state = scratch_at("state") };
        if (runs % RUNS_MAX == 0) {
                if (runs > 0)
                        index_close(&ix);
                scratch_remove(io.state);
                scratch_remove(io.store);
                assert(index_open(&io, &ix, &err) == 0);
        }
        snprintf(name, sizeof(name), "a/r%u", runs++ % RUNS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text = strndup((const char *)data, size), *rest = text, *line;
        struct repo repo;
        bool found;

        if (!text)
                return 0;
        prepare();
        for (unsigned i = 0; i < LINES_MAX && (line = strsep(&rest, "\n")); i++)
                make_one(line);
        assert(adopt_names(ix.catalog, ix.store) == 0);
        assert(catalog_repo_put(ix.catalog, REPO_MODEL, name, name, false, &repo) == 0);
        assert(adopt_repo(ix.catalog, ix.store, repo.id, &found) == 0);
        check(repo.id);
        scratch_remove(scratch_at("store/hub/models--a--%s", name + 2));
        free(text);
        return 0;
}
