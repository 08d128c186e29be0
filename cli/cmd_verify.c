/*
 * weightfs verify: through the daemon that has the state folder, or alone.
 */
#include "cli/commands.h"

#include "base/clock.h"
#include "cli/alone.h"
#include "cli/jsonio.h"
#include "cli/pull_view.h"
#include "cli/show.h"
#include "cli/verify.h"
#include "cli/verify_view.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* An event of our own engine. */
static int view_own(void *arg, json_t *event)
{
        verify_view_event(arg, event, clock_ms());
        json_decref(event);
        return 0;
}

/* An event of a daemon's. */
static int view_remote(void *arg, const json_t *event)
{
        verify_view_event(arg, event, clock_ms());
        return interrupted ? -EINTR : 0;
}

static int verify_by_daemon(const struct verify_request *q, struct client *c, struct verify_view *view,
                            json_t **ret, struct errmsg *err)
{
        json_t *repos = json_array();
        int r;

        for (size_t i = 0; i < q->repos.count; i++)
                json_array_append_new(repos, json_string(q->repos.items[i]));
        r = client_ask(c,
                       json_pack("{s:s, s:o, s:b, s:b}", "command", "verify", "repos", repos, "repair", q->repair,
                                 "all", q->all),
                       0, view_remote, view, ret, err);
        if (r == -EINTR)
                return errmsg_set(err, r, "interrupted; the same command goes on");
        return r;
}

static int verify_alone(struct options *o, const struct verify_request *q, struct verify_view *view, json_t **ret,
                        struct errmsg *err)
{
        CLEANUP(alone_close) struct alone alone = {};
        int r = store_must_exist(o, err);

        if (r == 0)
                r = alone_open(o, q->repair, &alone, err);
        return r < 0 ? r : verify_run(&alone.service, q, view_own, view, &interrupted, ret, err);
}

/* ---- what it found ---- */

static void print_damaged(const json_t *one)
{
        static const struct {
                const char *what, *text;
        } texts[] = {
                { "changed", "its bytes are not what they should be" },
                { "cut", "it is shorter than it should be" },
                { "grown", "it is longer than it should be" },
                { "missing", "it is gone from the store" },
                { "link", "a link that leads elsewhere stands in its place" },
                { "no file", "something that is no file stands in its place" },
                { "unreadable", "it cannot be read" },
                { "mode", "it is right, but others may write to it, or its owner may not read it" },
                { "quarantined", "not held: what came was wrong twice" },
                { "ref missing", "the ref is known, and gone from the store" },
                { "ref broken", "the ref does not hold the 40 digits of a commit" },
                { "ref unknown", "the ref is of a commit that is not here" },
                { "ref unreadable", "the ref cannot be read" },
                { "link missing", "the link to a complete file is gone" },
                { "link broken", "something that is no link stands in its place" },
                { "link wrong", "the link leads elsewhere than to the file that the listing says" },
                { "link unreadable", "the link cannot be read" },
                { "listing missing", "the listing is known, and gone from the store" },
                { "listing broken", "it is no listing" },
                { "listing wrong", "the listing is not the one that is known" },
                { "listing unreadable", "the listing cannot be read" },
        };
        const char *what = json_get_text(one, "what"), *note = json_get_text(one, "note");

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                if (strcmp(texts[i].what, what) == 0)
                        what = texts[i].text;
        printf("%s: %s: %s%s%s", json_get_text(one, "repo"), json_get_text(one, "path"), what,
               note[0] != '\0' ? "; " : "", note);
        show_readers(stdout, one, "opened");
        putchar('\n');
}

static void print_result(const json_t *result, bool repair)
{
        const json_t *damaged = json_object_get(result, "damaged"), *one;
        uint64_t left = json_get_u64(result, "left"), skipped = json_get_u64(result, "skipped");
        char files[FORMAT_MAX], names[FORMAT_MAX], size[FORMAT_MAX], time[FORMAT_MAX];
        size_t i, count = json_array_size(damaged);

        json_array_foreach((json_t *)damaged, i, one) print_damaged(one);
        format_duration(json_number_value(json_object_get(result, "seconds")), time);
        printf("%s, %s, %s read in %s", format_count(json_get_u64(result, "files"), "file", files),
               format_count(json_get_u64(result, "names"), "name", names),
               format_size(json_get_u64(result, "size"), size), time);
        if (skipped > 0)
                printf(", %" PRIu64 " found right before", skipped);
        if (count == 0)
                printf(": all right\n");
        else if (left == 0)
                printf(": %zu damaged, all repaired\n", count);
        else
                printf(": %zu damaged, %" PRIu64 " of them still%s\n", count, left,
                       repair ? "" : "; 'weightfs verify --repair' repairs them");
}

static int take_repos(struct verify_request *q, const struct strings *words)
{
        char name[REPO_NAME_MAX + 1], revision[REVISION_MAX + 1];
        enum repo_type type;
        int r = 0;

        for (size_t i = 0; i < words->count && r == 0; i++) {
                if (!repo_parse(words->items[i], &type, name, revision) || revision[0] != '\0')
                        return complain_usage(COMMAND_VERIFY,
                                              "'%s' is not a repo; write Org/Name, datasets/Org/Name or "
                                              "spaces/Org/Name, without a revision",
                                              words->items[i]);
                r = strings_add(&q->repos, words->items[i]);
        }
        return r;
}

int command_verify(struct options *o, const struct strings *words)
{
        struct verify_request q = { .repair = o->repair, .all = o->all };
        struct verify_view view = { .out = stderr, .bars = view_wants_bars(stderr) };
        struct client c = { .fd = -1, .pidfd = -1 };
        struct errmsg err = {};
        json_t *result = NULL;
        uint64_t left = 0;
        int r = take_repos(&q, words);

        if (r > 0) {
                strings_done(&q.repos);
                return r;
        }
        if (r == 0)
                r = find_and_connect(o, NULL, &c, NULL, &err);
        interrupt_watch();
        if (r == 0)
                r = verify_by_daemon(&q, &c, &view, &result, &err);
        else if (r > 0)
                r = verify_alone(o, &q, &view, &result, &err);
        client_close(&c);
        verify_view_end(&view);
        if (r == 0) {
                left = json_get_u64(result, "left");
                if (o->json)
                        show_json(stdout, result);
                else
                        print_result(result, q.repair);
        }
        json_decref(result);
        strings_done(&q.repos);
        return r < 0 ? complain(&err, r) : left > 0;
}
