/*
 * Implementation of verify_view.h.
 */
#include "cli/verify_view.h"

#include "cli/jsonio.h"
#include "cli/pull_view.h"

#include <inttypes.h>
#include <string.h>

#define BAR_MS 100
#define PLAIN_MS 10000

void verify_view_end(struct verify_view *v)
{
        if (v->drawn)
                fputs("\033[A\033[2K", v->out);
        v->drawn = false;
        fflush(v->out);
}

static void take_plan(struct verify_view *v, const json_t *event, uint64_t now_ms)
{
        char files[FORMAT_MAX], size[FORMAT_MAX], when[FORMAT_MAX];

        v->files = json_get_u64(event, "files");
        v->size = json_get_u64(event, "size");
        v->drawn_ms = now_ms;
        fprintf(v->out, "%s, %s to read", format_count(v->files, "file", files), format_size(v->size, size));
        if (json_get_u64(event, "began") > 0)
                fprintf(v->out,
                        "; goes on with the run of %s, which found %" PRIu64 " right ('--all' reads them again)",
                        format_time((int64_t)json_get_u64(event, "began"), when),
                        json_get_u64(event, "skipped"));
        fputc('\n', v->out);
}

static void draw(struct verify_view *v, const json_t *event, uint64_t now_ms)
{
        uint64_t read = min_u64(json_get_u64(event, "read"), v->size), damaged = json_get_u64(event, "damaged");
        char name[96], line[PROGRESS_MAX];

        meter_add(&v->meter, now_ms, read);
        snprintf(name, sizeof(name), "Verified: %" PRIu64 " of %" PRIu64 " files", json_get_u64(event, "files"),
                 v->files);
        if (damaged > 0)
                snprintf(name + strlen(name), sizeof(name) - strlen(name), ", %" PRIu64 " damaged", damaged);
        progress_format(&(struct progress_line){ .name = name,
                                                 .held = read,
                                                 .size = v->size,
                                                 .rate = v->meter.rate,
                                                 .left = meter_left(&v->meter, v->size - read) },
                        view_columns(v->out), line);
        if (v->bars)
                verify_view_end(v);
        fprintf(v->out, "%s\n", line);
        v->drawn = v->bars;
        v->drawn_ms = now_ms;
        fflush(v->out);
}

void verify_view_event(struct verify_view *v, const json_t *event, uint64_t now_ms)
{
        const char *kind = json_get_text(event, "kind");

        if (strcmp(kind, "plan") == 0) {
                take_plan(v, event, now_ms);
        } else if (strcmp(kind, "repair") == 0) {
                verify_view_end(v);
                fprintf(v->out, "repairing %s: %s\n", json_get_text(event, "repo"), json_get_text(event, "path"));
                fflush(v->out);
        } else if (strcmp(kind, "progress") == 0 && now_ms - v->drawn_ms >= (v->bars ? BAR_MS : PLAIN_MS)) {
                draw(v, event, now_ms);
        }
}
