/*
 * Implementation of show.h.
 */
#include "cli/show.h"

#include "cli/format.h"
#include "cli/jsonio.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define NAME_COLUMNS_MIN 24
#define NAME_COLUMNS_MAX 72 /* longer names are shown whole and push the rest of their line */

static bool is_true(const json_t *object, const char *key)
{
        return json_is_true(json_object_get(object, key));
}

/* The column that fits the members called @key. */
static size_t widest(const json_t *list, const char *key)
{
        size_t most = NAME_COLUMNS_MIN, i;
        json_t *one;

        json_array_foreach((json_t *)list, i, one)
        {
                size_t n = text_columns(json_get_text(one, key));

                if (n > most && n <= NAME_COLUMNS_MAX)
                        most = n;
        }
        return most;
}

static void print_padded(FILE *out, const char *text, size_t columns)
{
        size_t have = text_columns(text);

        fprintf(out, "%s%*s", text, (int)(have < columns ? columns - have : 0), "");
}

void show_json(FILE *out, const json_t *report)
{
        json_dumpf(report, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        fputc('\n', out);
}

#define REVISION_COLUMNS_MIN 20

static const char *revision_text(const json_t *revision, char *ret, size_t len)
{
        const char *name = json_get_text(revision, "name");
        const char *offline = json_get_text(revision, "offline");

        snprintf(ret, len, "%.80s %.8s%s%.8s", name[0] != '\0' ? name : "-", json_get_text(revision, "commit"),
                 offline[0] != '\0' ? ", offline " : "", offline);
        return ret;
}

/* The column that fits all revisions. */
static size_t widest_revision(const json_t *repos)
{
        size_t most = REVISION_COLUMNS_MIN, i, n;
        const json_t *one, *revision;
        char line[128];

        json_array_foreach((json_t *)repos, i, one)
                json_array_foreach(json_object_get(one, "revisions"), n, revision)
        {
                size_t columns = text_columns(revision_text(revision, line, sizeof(line)));

                most = columns > most ? columns : most;
        }
        return most;
}

void show_repos(FILE *out, const json_t *report)
{
        const json_t *repos = json_object_get(report, "repos"), *one;
        size_t width = widest(repos, "repo"), revision_width = widest_revision(repos), i;

        if (json_array_size(repos) == 0) {
                fputs("nothing is known yet; look a repo up below the mount, or 'weightfs pull Org/Name'\n",
                      out);
                return;
        }
        print_padded(out, "REPO", width);
        fprintf(out, "  %-*s %8s %10s %5s\n", (int)revision_width, "REVISION", "FILES", "SIZE", "HELD");
        json_array_foreach((json_t *)repos, i, one)
        {
                const json_t *revisions = json_object_get(one, "revisions");
                uint64_t size = json_get_u64(one, "size"), held = json_get_u64(one, "held");
                char text[FORMAT_MAX], line[128];

                print_padded(out, json_get_text(one, "repo"), width);
                fputs("  ", out);
                print_padded(out, revision_text(json_array_get(revisions, 0), line, sizeof(line)),
                             revision_width);
                fprintf(out, " %8" PRIu64 " %10s %4u%%\n", json_get_u64(one, "files"),
                        format_size(size, text),
                        json_get_u64(one, "files") > 0 ? format_percent(held, size) : 0);
                for (size_t n = 1; n < json_array_size(revisions); n++) {
                        print_padded(out, "", width);
                        fprintf(out, "  %s\n",
                                revision_text(json_array_get(revisions, n), line, sizeof(line)));
                }
        }
}

void show_files(FILE *out, const json_t *report)
{
        const json_t *files = json_object_get(report, "files"), *one;
        size_t width = widest(files, "path"), i;
        uint64_t total = 0, held = 0;
        char size_text[FORMAT_MAX], held_text[FORMAT_MAX], files_text[FORMAT_MAX];

        fprintf(out, "%s, %s at %s%s\n", json_get_text(report, "repo"), json_get_text(report, "revision"),
                json_get_text(report, "commit"),
                is_true(report, "whole")
                        ? ""
                        : " (only what an adopted cache held; the whole listing is unknown)");
        print_padded(out, "FILE", width);
        fprintf(out, "  %10s %5s  %s\n", "SIZE", "HELD", "STATE");
        json_array_foreach((json_t *)files, i, one)
        {
                uint64_t size = json_get_u64(one, "size"), h = json_get_u64(one, "held");
                const char *state = json_get_text(one, "state");

                print_padded(out, json_get_text(one, "path"), width);
                fprintf(out, "  %10s %4u%%  %s\n", format_size(size, size_text),
                        strcmp(state, "absent") == 0 ? 0 : format_percent(h, size), state);
                total += size;
                held += h;
        }
        fprintf(out, "%s, %s, %s held\n", format_count(json_array_size(files), "file", files_text),
                format_size(total, size_text), format_size(held, held_text));
}

void show_incomplete(FILE *out, const json_t *list)
{
        char held[FORMAT_MAX], size[FORMAT_MAX];
        const json_t *one;
        size_t i;

        if (json_array_size(list) == 0)
                return;
        fprintf(out, "incomplete in the store, and absent while offline:\n");
        json_array_foreach((json_t *)list, i, one) fprintf(
                out, "  %s %s: %s of %s%s\n", json_get_text(one, "repo"), json_get_text(one, "path"),
                format_size(json_get_u64(one, "held"), held), format_size(json_get_u64(one, "size"), size),
                json_get_u64(one, "held") == json_get_u64(one, "size") ? ", to be verified: while a daemon runs, also "
                                                                         "offline" : "");
}

static void show_limits(FILE *out, const json_t *hub)
{
        const json_t *limits = json_object_get(hub, "limits"), *one;
        char max[FORMAT_MAX], bytes[FORMAT_MAX], left[FORMAT_MAX], opens[FORMAT_MAX];
        size_t i;

        json_array_foreach((json_t *)limits, i, one) fprintf(
                out,
                "             %s brought %s in this hour, of %s (--max-fetch): %s refused; a new hour begins in %s\n",
                json_get_text(one, "repo"), format_size(json_get_u64(one, "bytes"), bytes),
                format_size(json_get_u64(hub, "max_fetch"), max),
                format_count(json_get_u64(one, "refused"), "open", opens),
                format_duration((double)json_get_u64(one, "seconds_left"), left));
}

static void show_hub(FILE *out, const json_t *hub)
{
        char since[FORMAT_MAX], bytes[FORMAT_MAX], pause[FORMAT_MAX];
        const char *error = json_get_text(hub, "last_error");
        bool offline = is_true(hub, "offline");

        fprintf(out, "hub          %s\n", json_get_text(hub, "endpoint"));
        fprintf(out, "network      %s since %s%s\n", offline ? "offline" : "online",
                format_time((int64_t)json_get_u64(hub, "mode_since"), since),
                is_true(hub, "offline_for_good") ? ", for good (started so)" : "");
        if (!offline && !is_true(hub, "reachable"))
                fprintf(out, "             NOT REACHABLE since %s: %s\n",
                        format_time((int64_t)json_get_u64(hub, "unreachable_since"), since), error);
        else if (error[0] != '\0')
                fprintf(out, "             last error: %s\n", error);
        if (json_get_u64(hub, "paused_ms") > 0)
                fprintf(out, "             rate limit: the next request goes in %s\n",
                        format_duration((double)json_get_u64(hub, "paused_ms") / 1000, pause));
        if (json_get_u64(hub, "not_asked") > 0)
                fprintf(out,
                        "             %" PRIu64 " lookups of unknown names were too many and did not go to the hub: the "
                        "log says whose; --allow limits them\n",
                        json_get_u64(hub, "not_asked"));
        show_limits(out, hub);
        fprintf(out,
                "fetched      %s in %" PRIu64 " requests; %" PRIu64 " transfers now, %" PRIu64
                " reads wait\n",
                format_size(json_get_u64(hub, "bytes"), bytes), json_get_u64(hub, "requests"),
                json_get_u64(hub, "transfers"), json_get_u64(hub, "waiting_reads"));
}

static void show_fills(FILE *out, const json_t *fills)
{
        char held[FORMAT_MAX], size[FORMAT_MAX];
        const json_t *one;
        size_t i;

        if (json_array_size(fills) == 0)
                return;
        fputs("filling\n", out);
        json_array_foreach((json_t *)fills, i, one) fprintf(
                out, "  %s %s: %s of %s (%u%%), %" PRIu64 " transfers, %" PRIu64 " readers%s\n",
                json_get_text(one, "repo"), json_get_text(one, "path"),
                format_size(json_get_u64(one, "held"), held), format_size(json_get_u64(one, "size"), size),
                format_percent(json_get_u64(one, "held"), json_get_u64(one, "size")),
                json_get_u64(one, "transfers"), json_get_u64(one, "readers"),
                is_true(one, "verifying") ? ", verifying" : "");
}

static void show_quarantined(FILE *out, const json_t *list)
{
        char size[FORMAT_MAX];
        const json_t *one;
        size_t i;

        if (json_array_size(list) == 0)
                return;
        fputs("quarantined (what came did not fit its hash, twice; 'weightfs verify --repair' or 'weightfs pull REPO' "
              "tries again)\n",
              out);
        json_array_foreach((json_t *)list, i, one)
                fprintf(out, "  %s %s: %s\n", json_get_text(one, "repo"), json_get_text(one, "path"),
                        format_size(json_get_u64(one, "size"), size));
}

/* What came of it then; the present is in the list of what is quarantined. */
static const char *outcome_text(const char *outcome)
{
        static const struct {
                const char *outcome, *text;
        } texts[] = {
                { "fetched again", "being fetched once more" },
                { "mended", "right the second time" },
                { "quarantined", "wrong twice" },
                { "rejected", "moved out of the store" },
                { "found", "damaged in the store, not repaired yet" },
        };

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
                if (strcmp(texts[i].outcome, outcome) == 0)
                        return texts[i].text;
        return outcome;
}

void show_readers(FILE *out, const json_t *one, const char *did)
{
        const json_t *readers = json_object_get(one, "readers"), *who;
        size_t i;

        json_array_foreach((json_t *)readers, i, who)
        {
                const char *name = json_get_text(who, "name");

                if (i == 0)
                        fprintf(out, "; %s before that by", did);
                fprintf(out, "%s %s[%" PRIu64 "] (uid %" PRIu64 ")", i == 0 ? "" : ",",
                        name[0] != '\0' ? name : "process", json_get_u64(who, "pid"), json_get_u64(who, "uid"));
        }
        if (json_get_u64(one, "more_readers") > 0)
                fprintf(out, " and %" PRIu64 " more", json_get_u64(one, "more_readers"));
}

static void show_verdicts(FILE *out, const json_t *list)
{
        char when[FORMAT_MAX];
        const json_t *one;
        size_t i;

        if (json_array_size(list) == 0)
                return;
        fputs("wrong bytes since the start\n", out);
        json_array_foreach((json_t *)list, i, one)
        {
                const char *outcome = json_get_text(one, "outcome");
                bool stored = strcmp(outcome, "rejected") == 0 || strcmp(outcome, "found") == 0;

                fprintf(out, "  %s %s: %s, %s", json_get_text(one, "repo"), json_get_text(one, "path"),
                        outcome_text(outcome), format_time((int64_t)json_get_u64(one, "at"), when));
                show_readers(out, one, stored ? "opened" : "read");
                fputc('\n', out);
        }
}

void show_status(FILE *out, const json_t *report)
{
        const json_t *mount = json_object_get(report, "mount"), *store = json_object_get(report, "store");
        const char *reason = json_get_text(mount, "passthrough_reason");
        char text[FORMAT_MAX], total[FORMAT_MAX];

        fprintf(out, "mount        %s\n", json_get_text(mount, "point"));
        fprintf(out, "daemon       pid %" PRIu64 ", version %s, since %s\n", json_get_u64(report, "pid"),
                json_get_text(report, "version"),
                format_time((int64_t)json_get_u64(report, "started"), text));
        show_hub(out, json_object_get(report, "hub"));
        fprintf(out, "store        %s%s, %s of %s free", json_get_text(store, "path"),
                is_true(store, "read_only") ? " (read-only)" : "",
                format_size(json_get_u64(store, "free"), text),
                format_size(json_get_u64(store, "total"), total));
        if (json_get_u64(store, "keep_free") > 0)
                fprintf(out, ", %s kept so (--keep-free)%s", format_size(json_get_u64(store, "keep_free"), text),
                        is_true(store, "short_of_space") ? ": NOTHING IS FETCHED until there is more" : "");
        fputc('\n', out);
        fprintf(out, "verify       %s\n", json_get_text(store, "verify"));
        fprintf(out, "state        %s%s\n", json_get_text(store, "state"),
                is_true(store, "catalogue_damaged") ? " (the catalogue is damaged; the next start makes it anew)" :
               is_true(store, "catalogue_rebuilt") ? " (the catalogue is new since this start)" : "");
        fprintf(out, "requests     %" PRIu64 ", %" PRIu64 " failed, %" PRIu64 " waiting for the network\n",
                json_get_u64(mount, "requests"), json_get_u64(mount, "errors"),
                json_get_u64(mount, "parked"));
        if (is_true(mount, "passthrough"))
                fputs("passthrough  yes\n", out);
        else
                fprintf(out, "passthrough  no%s%s\n", reason[0] != '\0' ? ": " : "", reason);
        show_fills(out, json_object_get(report, "fills"));
        show_quarantined(out, json_object_get(report, "quarantined"));
        show_verdicts(out, json_object_get(report, "verdicts"));
}
