/*
 * Implementation of pull_view.h.
 *
 * On a terminal a frame is drawn over the last one: `drawn` lines up, each line cleared. Lines that
 * stay (a file is done, one failed) are written above the frame and scroll away.
 */
#include "cli/pull_view.h"

#include "cli/jsonio.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BARS_MAX 8     /* files shown at once */
#define PLAIN_MS 10000 /* between two plain lines about the whole */
#define BAR_MS 100

struct shown {
        char *path; /* heap */
        uint64_t size, held, began_held;
        int state; /* pull.h: 0 waits, 1 runs, 2 done, 3 failed */
        bool duplicate;
        struct meter meter;
};

struct pull_view {
        FILE *out;
        bool bars, colour;
        struct shown *files; /* heap */
        size_t count, done;
        char *label; /* heap */
        uint64_t size, held, drawn_ms;
        struct meter meter;
        unsigned drawn; /* lines of the last frame */
};

bool view_wants_bars(FILE *out)
{
        const char *term = getenv("TERM");

        return isatty(fileno(out)) && term && strcmp(term, "dumb") != 0;
}

bool view_wants_colour(FILE *out)
{
        const char *no = getenv("NO_COLOR");

        return view_wants_bars(out) && !(no && no[0] != '\0');
}

struct pull_view *pull_view_new(FILE *out, bool bars, bool colour)
{
        struct pull_view *v = calloc(1, sizeof(*v));

        if (v)
                *v = (struct pull_view){ .out = out, .bars = bars, .colour = colour };
        return v;
}

static void forget_files(struct pull_view *v)
{
        for (size_t i = 0; i < v->count; i++)
                free(v->files[i].path);
        free(v->files);
        free(v->label);
        v->files = NULL;
        v->label = NULL;
        v->count = 0;
}

struct pull_view *pull_view_free(struct pull_view *v)
{
        if (v)
                forget_files(v);
        free(v);
        return NULL;
}

size_t view_columns(FILE *out)
{
        struct winsize size;

        if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
                return size.ws_col - 1u; /* a full line would wrap on some terminals */
        return 79;
}

static unsigned bars_that_fit(const struct pull_view *v)
{
        struct winsize size;

        if (ioctl(fileno(v->out), TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_row < BARS_MAX + 3)
                return size.ws_row > 4 ? size.ws_row - 3u : 1;
        return BARS_MAX;
}

static void wipe_frame(struct pull_view *v)
{
        for (; v->drawn > 0; v->drawn--)
                fputs("\033[A\033[2K", v->out);
}

static void draw_line(struct pull_view *v, const struct progress_line *l, const char *style)
{
        char line[PROGRESS_MAX];

        progress_format(l, view_columns(v->out), line);
        if (v->colour && style)
                fprintf(v->out, "%s%s\033[0m\n", style, line);
        else
                fprintf(v->out, "%s\n", line);
        v->drawn++;
}

static void draw_frame(struct pull_view *v, uint64_t now_ms)
{
        unsigned room = bars_that_fit(v);
        char name[64];

        meter_add(&v->meter, now_ms, v->held);
        wipe_frame(v);
        for (size_t i = 0; i < v->count && room > 0; i++) {
                struct shown *f = &v->files[i];

                if (f->state != 1)
                        continue;
                meter_add(&f->meter, now_ms, f->held);
                draw_line(v,
                          &(struct progress_line){ .name = f->path,
                                                   .held = f->held,
                                                   .size = f->size,
                                                   .rate = f->meter.rate,
                                                   .left = meter_left(&f->meter, f->size - f->held),
                                                   .note = f->held >= f->size ? "verifying" : NULL },
                          NULL);
                room--;
        }
        snprintf(name, sizeof(name), "Total: %zu of %zu files", v->done, v->count);
        draw_line(v,
                  &(struct progress_line){ .name = name,
                                           .held = v->held,
                                           .size = v->size,
                                           .rate = v->meter.rate,
                                           .left = meter_left(&v->meter, v->size - v->held) },
                  "\033[1m");
        fflush(v->out);
}

static void plain_total(struct pull_view *v, uint64_t now_ms)
{
        char held[FORMAT_MAX], size[FORMAT_MAX], rate[FORMAT_MAX], left[FORMAT_MAX];

        meter_add(&v->meter, now_ms, v->held);
        fprintf(v->out, "%s: %zu of %zu files, %s of %s (%u%%), %s, %s left\n", v->label, v->done, v->count,
                format_size(v->held, held), format_size(v->size, size), format_percent(v->held, v->size),
                format_rate(v->meter.rate, rate),
                format_duration(meter_left(&v->meter, v->size - v->held), left));
        fflush(v->out);
}

/* A line that stays. */
static void file_done(struct pull_view *v, const struct shown *f)
{
        char size[FORMAT_MAX];

        if (f->began_held >= f->size)
                return; /* nothing had to come; the result counts it */
        if (v->bars)
                wipe_frame(v);
        fprintf(v->out, "%s%s  %s\n", v->colour ? "\033[32mdone\033[0m  " : "done  ", f->path,
                format_size(f->size, size));
}

static void take_plan(struct pull_view *v, const json_t *event, uint64_t now_ms)
{
        const json_t *files = json_object_get(event, "files"), *one;
        char held[FORMAT_MAX], size[FORMAT_MAX], files_text[FORMAT_MAX];
        size_t i;

        forget_files(v);
        v->files = calloc(json_array_size(files) + 1, sizeof(*v->files));
        v->label = strdup(json_get_text(event, "repo"));
        if (!v->files || !v->label)
                return;
        json_array_foreach((json_t *)files, i, one)
        {
                struct shown *f = &v->files[v->count];
                const char *path = json_string_value(json_array_get(one, 0));

                f->path = strdup(path ? path : "");
                if (!f->path)
                        return;
                f->size = (uint64_t)json_integer_value(json_array_get(one, 1));
                f->held = min_u64((uint64_t)json_integer_value(json_array_get(one, 2)), f->size);
                f->began_held = f->held;
                f->duplicate = json_is_true(json_array_get(one, 3));
                if (!f->duplicate) {
                        v->size += f->size;
                        v->held += f->held;
                }
                v->count++;
        }
        meter_add(&v->meter, now_ms, v->held);
        fprintf(v->out, "%s at %.12s: %s, %s, %s of it in the store\n", v->label,
                json_get_text(event, "commit"), format_count(v->count, "file", files_text),
                format_size(v->size, size), format_size(v->held, held));
        fflush(v->out);
        v->drawn_ms = now_ms;
}

static void take_progress(struct pull_view *v, const json_t *event)
{
        const json_t *files = json_object_get(event, "files"), *one;
        size_t i;

        json_array_foreach((json_t *)files, i, one)
        {
                size_t index = (size_t)json_integer_value(json_array_get(one, 0));
                uint64_t held = (uint64_t)json_integer_value(json_array_get(one, 1));
                int state = (int)json_integer_value(json_array_get(one, 2));
                struct shown *f;

                if (index >= v->count)
                        continue;
                f = &v->files[index];
                held = min_u64(held, f->size);
                if (!f->duplicate)
                        v->held = v->held - f->held + held;
                f->held = held;
                if (state == 2 && f->state != 2) {
                        v->done++;
                        file_done(v, f);
                }
                f->state = state;
        }
}

static void take_failure(struct pull_view *v, const json_t *event)
{
        if (v->bars)
                wipe_frame(v);
        fprintf(v->out, "%sfailed%s  %s\n", v->colour ? "\033[31m" : "", v->colour ? "\033[0m" : "",
                json_get_text(event, "error"));
        fflush(v->out);
}

void pull_view_event(struct pull_view *v, const json_t *event, uint64_t now_ms)
{
        const char *kind = json_get_text(event, "kind");

        if (strcmp(kind, "plan") == 0)
                take_plan(v, event, now_ms);
        else if (strcmp(kind, "failed") == 0)
                take_failure(v, event);
        else if (strcmp(kind, "progress") == 0 && v->files)
                take_progress(v, event);
        if (!v->files || now_ms - v->drawn_ms < (v->bars ? BAR_MS : PLAIN_MS))
                return;
        if (v->bars)
                draw_frame(v, now_ms);
        else
                plain_total(v, now_ms);
        v->drawn_ms = now_ms;
}

void pull_view_end(struct pull_view *v)
{
        wipe_frame(v);
        fflush(v->out);
}
