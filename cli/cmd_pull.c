/*
 * weightfs pull: through the daemon that has the state folder, or alone.
 */
#include "cli/commands.h"

#include "base/clock.h"
#include "cli/alone.h"
#include "cli/jsonio.h"
#include "cli/pull.h"
#include "cli/pull_view.h"

#include <errno.h>
#include <string.h>

/* An event of our own engine. */
static int view_own(void *arg, json_t *event)
{
        pull_view_event(arg, event, clock_ms());
        json_decref(event);
        return 0;
}

/* An event of a daemon's. */
static int view_remote(void *arg, const json_t *event)
{
        pull_view_event(arg, event, clock_ms());
        return interrupted ? -EINTR : 0;
}

static json_t *globs(const struct strings *s)
{
        json_t *list = json_array();

        for (size_t i = 0; i < s->count; i++)
                json_array_append_new(list, json_string(s->items[i]));
        return list;
}

/* What was said here and does not count, since the daemon works with its own settings: where it is the very thing that
 * the sentence for @r asks for. The hub, it names itself. */
static void name_unused(const struct options *o, const struct client *c, int r, struct errmsg *err)
{
        static const struct {
                int error;
                enum option_id id;
        } asked[] = {
                { -ENOENT, OPTION_TOKEN_FILE }, { -EACCES, OPTION_TOKEN_FILE },    { -EPERM, OPTION_ALLOW },
                { -EPERM, OPTION_DENY },        { -EHOSTUNREACH, OPTION_CA_FILE }, { -ENOSPC, OPTION_KEEP_FREE },
        };
        char said[120] = "";
        size_t len = 0;

        for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
                if (asked[i].error == r && o->source[asked[i].id] == FROM_COMMAND_LINE)
                        len += (size_t)snprintf(said + len, sizeof(said) - len, "%s--%s", len > 0 ? ", " : "",
                                                option_table[asked[i].id].name);
        if (o->token && (r == -ENOENT || r == -EACCES))
                snprintf(said + len, sizeof(said) - len, "%sHF_TOKEN", len > 0 ? ", " : "");
        len = strlen(err->text);
        if (said[0] != '\0')
                snprintf(err->text + len, sizeof(err->text) - len,
                         ". The daemon (pid %d) works with its own settings; not used: %s. 'weightfs mount' takes them",
                         (int)c->pid, said);
}

static int pull_by_daemon(struct options *o, struct client *c, const char *repo, struct pull_view *view,
                          json_t **ret, struct errmsg *err)
{
        json_t *request = json_pack("{s:s, s:s, s:o, s:o}", "command", "pull", "repo", repo, "include",
                                    globs(&o->include), "exclude", globs(&o->exclude));
        int r;

        if (!request)
                return errmsg_set(err, -EINVAL, "a glob is not valid UTF-8");
        r = client_ask(c, request, 0, view_remote, view, ret, err);
        if (r == -EINTR)
                return errmsg_set(err, r, "interrupted; what arrived is kept, the same command goes on");
        if (r < 0)
                name_unused(o, c, r, err);
        return r;
}

static int pull_alone(struct options *o, struct pull_request *q, struct pull_view *view, json_t **ret,
                      struct errmsg *err)
{
        CLEANUP(alone_close) struct alone alone = {};
        int r = alone_open(o, true, &alone, err);

        return r < 0 ? r : pull_run(&alone.service, q, view_own, view, &interrupted, ret, err);
}

static void print_result(const json_t *result)
{
        uint64_t bytes = json_get_u64(result, "bytes"), already = json_get_u64(result, "already");
        double seconds = json_number_value(json_object_get(result, "seconds"));
        char files[FORMAT_MAX], all[FORMAT_MAX], had[FORMAT_MAX], rate[FORMAT_MAX], time[FORMAT_MAX];

        format_duration(seconds, time);
        format_rate(seconds > 0 ? (double)(bytes - already) / seconds : 0, rate);
        printf("%s at %.12s: %s, %s", json_get_text(result, "repo"), json_get_text(result, "commit"),
               format_count(json_get_u64(result, "files"), "file", files), format_size(bytes, all));
        if (already >= bytes)
                printf(", all of it in the store already\n");
        else if (already == 0)
                printf(", fetched in %s (%s)\n", time, rate);
        else
                printf("; %s in the store already, the rest fetched in %s (%s)\n", format_size(already, had),
                       time, rate);
}

static int pull(struct options *o, struct pull_request *q, const char *repo, struct errmsg *err)
{
        struct pull_view *view = pull_view_new(stderr, view_wants_bars(stderr), view_wants_colour(stderr));
        struct client c = { .fd = -1, .pidfd = -1 };
        json_t *result = NULL;
        int r = view ? 0 : -ENOMEM;

        if (r == 0)
                r = find_and_connect(o, NULL, &c, NULL, err);
        interrupt_watch();
        if (r == 0)
                r = pull_by_daemon(o, &c, repo, view, &result, err);
        else if (r > 0)
                r = pull_alone(o, q, view, &result, err);
        client_close(&c);
        if (view)
                pull_view_end(view);
        if (r == 0)
                print_result(result);
        json_decref(result);
        pull_view_free(view);
        return r;
}

static int take_globs(struct pull_request *q, const struct options *o)
{
        int r = 0;

        for (size_t i = 0; i < o->include.count && r == 0; i++)
                r = strings_add(&q->include, o->include.items[i]);
        for (size_t i = 0; i < o->exclude.count && r == 0; i++)
                r = strings_add(&q->exclude, o->exclude.items[i]);
        return r;
}

int command_pull(struct options *o, const struct strings *words)
{
        CLEANUP(pull_request_done) struct pull_request q = {};
        struct errmsg err = {};
        int r;

        if (words->count != 1)
                return complain_usage(COMMAND_PULL, words->count == 0 ? "name a repo" : "one repo at a time");
        if (!repo_parse(words->items[0], &q.type, q.name, q.revision))
                return complain_usage(
                        COMMAND_PULL,
                        "'%s' is not a repo; write Org/Name, datasets/Org/Name or spaces/Org/Name, "
                        "with @REVISION if need be",
                        words->items[0]);
        r = take_globs(&q, o);
        if (r == 0)
                r = pull(o, &q, words->items[0], &err);
        return r < 0 ? complain(&err, r) : 0;
}
