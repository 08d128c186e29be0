/*
 * weightfs status and weightfs offline.
 */
#include "cli/commands.h"

#include "cli/jsonio.h"
#include "cli/show.h"

#include <errno.h>
#include <string.h>

#define ANSWER_MS 30000

static int nobody(const struct options *o)
{
        json_t *report = o->json ? json_pack("{s:b, s:s}", "running", 0, "state", o->state) : NULL;

        if (report)
                show_json(stdout, report);
        else
                fprintf(stderr,
                        "weightfs: no daemon runs on the state folder %s; 'weightfs mount MNT' starts one\n",
                        o->state);
        json_decref(report);
        return 1;
}

int command_status(struct options *o, const struct strings *words)
{
        struct client c = { .fd = -1, .pidfd = -1 };
        struct errmsg err = {};
        json_t *report = NULL;
        int r;

        if (words->count > 1)
                return complain_usage(COMMAND_STATUS, "status takes one mount point, not also '%s'",
                                      words->items[1]);
        r = find_and_connect(o, words->count > 0 ? words->items[0] : NULL, &c, NULL, &err);
        if (r > 0)
                return nobody(o);
        if (r == 0)
                r = client_ask(&c, json_pack("{s:s}", "command", "status"), ANSWER_MS, NULL, NULL, &report,
                               &err);
        client_close(&c);
        if (r < 0)
                return complain(&err, r);
        if (o->json)
                show_json(stdout, report);
        else
                show_status(stdout, report);
        json_decref(report);
        return 0;
}

static void print_switched(const json_t *answer)
{
        if (json_is_true(json_object_get(answer, "offline")))
                printf("offline: no connection to the hub is open\n");
        else
                printf("online\n");
        show_incomplete(stdout, json_object_get(answer, "incomplete"));
}

int command_offline(struct options *o, const struct strings *words)
{
        const char *mode = words->count > 0 ? words->items[0] : "";
        struct client c = { .fd = -1, .pidfd = -1 };
        struct errmsg err = {};
        json_t *answer = NULL;
        bool on = strcmp(mode, "on") == 0;
        int r;

        if (words->count > 2 || (!on && strcmp(mode, "off") != 0))
                return complain_usage(COMMAND_OFFLINE,
                                      "write 'weightfs offline on' or 'weightfs offline off'");
        if (o->now && !on)
                return complain_usage(COMMAND_OFFLINE, "--now belongs to 'offline on'");
        r = find_and_connect(o, words->count > 1 ? words->items[1] : NULL, &c, NULL, &err);
        if (r > 0)
                return nobody(o);
        if (r == 0) /* without a limit: what is being read may be large */
                r = client_ask(
                        &c, json_pack("{s:s, s:b, s:b}", "command", "offline", "offline", on, "now", o->now),
                        0, NULL, NULL, &answer, &err);
        client_close(&c);
        if (r < 0)
                return complain(&err, r);
        print_switched(answer);
        json_decref(answer);
        return 0;
}
