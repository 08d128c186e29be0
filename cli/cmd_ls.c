/*
 * weightfs ls: from the daemon, or from the catalogue where none runs.
 */
#include "cli/commands.h"

#include "cli/alone.h"
#include "cli/report.h"
#include "cli/show.h"

#include <errno.h>
#include <string.h>

#define ANSWER_MS 600000 /* the first look into a large store takes a while */

static int ls_alone(struct options *o, enum repo_type type, const char *name, const char *revision,
                    json_t **ret, struct errmsg *err)
{
        struct index_options options = { .store = o->store, .state = o->state };
        struct index ix;
        int r = store_must_exist(o, err); /* listing must not make one */

        if (r == 0)
                r = index_open(&options, &ix, err);
        if (r < 0)
                return r;
        r = adopt_names(ix.catalog, ix.store);
        if (r == 0)
                r = name[0] != '\0' ? report_files(&ix, type, name, revision, ret, err)
                                    : report_repos(&ix, ret, err);
        index_close(&ix);
        return r;
}

int command_ls(struct options *o, const struct strings *words)
{
        char name[REPO_NAME_MAX + 1] = "", revision[REVISION_MAX + 1] = "";
        const char *repo = words->count > 0 ? words->items[0] : "";
        struct client c = { .fd = -1, .pidfd = -1 };
        enum repo_type type = REPO_MODEL;
        struct errmsg err = {};
        json_t *report = NULL;
        int r;

        if (words->count > 1)
                return complain_usage(COMMAND_LS, "one repo at a time");
        if (repo[0] != '\0' && !repo_parse(repo, &type, name, revision))
                return complain_usage(COMMAND_LS,
                                      "'%s' is not a repo; write Org/Name, datasets/Org/Name or "
                                      "spaces/Org/Name, with @REVISION if need be",
                                      repo);
        r = find_and_connect(o, NULL, &c, NULL, &err);
        if (r == 0)
                r = client_ask(&c, json_pack("{s:s, s:s}", "command", "ls", "repo", repo), ANSWER_MS, NULL,
                               NULL, &report, &err);
        else if (r > 0)
                r = ls_alone(o, type, name, revision, &report, &err);
        client_close(&c);
        if (r < 0)
                return complain(&err, r);
        if (o->json)
                show_json(stdout, report);
        else if (name[0] != '\0')
                show_files(stdout, report);
        else
                show_repos(stdout, report);
        json_decref(report);
        return 0;
}
