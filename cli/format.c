/*
 * Implementation of format.h.
 */
#include "cli/format.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define METER_S 3.0 /* the time constant of a meter */
#define BAR_MIN 10
#define COLUMNS_MIN 40
#define COLUMNS_MAX 300

const char *format_size(uint64_t bytes, char *ret)
{
        static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        double n = (double)bytes / 1024;
        size_t unit = 0;

        if (bytes < 1024) {
                snprintf(ret, FORMAT_MAX, "%u B", (unsigned)bytes);
                return ret;
        }
        while (n >= 999.95 && unit + 1 < ARRAY_SIZE(units)) {
                n /= 1024;
                unit++;
        }
        snprintf(ret, FORMAT_MAX, n < 99.95 ? "%.1f %s" : "%.0f %s", n, units[unit]);
        return ret;
}

const char *format_count(uint64_t n, const char *thing, char *ret)
{
        snprintf(ret, FORMAT_MAX, "%" PRIu64 " %s%s", n, thing, n == 1 ? "" : "s");
        return ret;
}

const char *format_rate(double bytes_per_s, char *ret)
{
        char size[FORMAT_MAX];

        if (!(bytes_per_s >= 1))
                return strcpy(ret, "-");
        snprintf(ret, FORMAT_MAX, "%.20s/s", format_size((uint64_t)bytes_per_s, size));
        return ret;
}

const char *format_duration(double seconds, char *ret)
{
        unsigned long s;

        if (!(seconds >= 0) || seconds > 1e9)
                return strcpy(ret, "-");
        s = (unsigned long)(seconds + 0.5);
        if (s < 3600)
                snprintf(ret, FORMAT_MAX, "%lu:%02lu", s / 60, s % 60);
        else if (s < 86400)
                snprintf(ret, FORMAT_MAX, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
        else
                snprintf(ret, FORMAT_MAX, "%lud %02luh", s / 86400, s / 3600 % 24);
        return ret;
}

const char *format_time(int64_t wall_s, char *ret)
{
        time_t t = (time_t)wall_s;
        struct tm tm;

        if (!localtime_r(&t, &tm) || strftime(ret, FORMAT_MAX, "%Y-%m-%d %H:%M:%S", &tm) == 0)
                strcpy(ret, "-");
        return ret;
}

unsigned format_percent(uint64_t held, uint64_t size)
{
        unsigned percent;

        if (held >= size)
                return 100;
        percent = (unsigned)((double)held / (double)size * 100);
        return percent > 99 ? 99 : percent;
}

/* The next character's bytes; malformed ones count as one each. */
static size_t char_bytes(const char *text)
{
        unsigned char c = (unsigned char)text[0];
        size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;

        for (size_t i = 1; i < n; i++)
                if (((unsigned char)text[i] & 0xc0) != 0x80)
                        return 1;
        return n;
}

/* Two columns for East Asian scripts and emoji, one for the rest: near enough for a bar, and the
 * same in every locale. */
static size_t char_columns(const char *text, size_t bytes)
{
        uint32_t c = (unsigned char)text[0] & (bytes == 4 ? 0x07u : bytes == 3 ? 0x0fu : 0x1fu);

        if (bytes < 3)
                return 1;
        for (size_t i = 1; i < bytes; i++)
                c = c << 6 | ((unsigned char)text[i] & 0x3f);
        return (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) || (c >= 0xac00 && c <= 0xd7a3) ||
                               (c >= 0xf900 && c <= 0xfaff) || (c >= 0xfe30 && c <= 0xfe6f) ||
                               (c >= 0xff00 && c <= 0xff60) || (c >= 0x1f300 && c <= 0x3fffd)
                       ? 2
                       : 1;
}

size_t text_columns(const char *text)
{
        size_t columns = 0;

        while (*text != '\0') {
                size_t n = char_bytes(text);

                columns += char_columns(text, n);
                text += n;
        }
        return columns;
}

const char *text_fit(const char *text, size_t columns, char *ret)
{
        size_t have = text_columns(text), len = 0;

        if (have > columns && columns >= 3) {
                memcpy(ret, "...", 3);
                len = 3;
        }
        while (*text != '\0' && have + len > columns) { /* len: the dots' columns */
                size_t n = char_bytes(text);

                have -= char_columns(text, n);
                text += n;
        }
        have += len;
        memcpy(ret + len, text, strlen(text));
        len += strlen(text);
        for (; have < columns; have++)
                ret[len++] = ' ';
        ret[len] = '\0';
        return ret;
}

static size_t draw_bar(char *to, size_t columns, unsigned percent)
{
        size_t full = (columns - 2) * percent / 100;

        to[0] = '[';
        memset(to + 1, '#', full);
        memset(to + 1 + full, '.', columns - 2 - full);
        to[columns - 1] = ']';
        return columns;
}

const char *progress_format(const struct progress_line *l, size_t columns, char *ret)
{
        char held[FORMAT_MAX], size[FORMAT_MAX], rate[FORMAT_MAX], left[FORMAT_MAX], right[128],
                fitted[4 * 128];
        unsigned percent = format_percent(l->held, l->size);
        size_t name, bar, len, width;

        columns = columns < COLUMNS_MIN ? COLUMNS_MIN : columns > COLUMNS_MAX ? COLUMNS_MAX : columns;
        if (columns < 72) /* a narrow terminal: what counts most */
                snprintf(right, sizeof(right), " %3u%% %12s", percent,
                         l->note ? l->note : format_rate(l->rate, rate));
        else if (l->note)
                snprintf(right, sizeof(right), " %3u%% %9s of %-9s %20s", percent, format_size(l->held, held),
                         format_size(l->size, size), l->note);
        else
                snprintf(right, sizeof(right), " %3u%% %9s of %-9s %11s %8s", percent,
                         format_size(l->held, held), format_size(l->size, size), format_rate(l->rate, rate),
                         format_duration(l->left, left));
        width = strlen(right);
        bar = columns - width > 48 ? (columns - width - 24) / 2 : 0;
        bar = bar > 30 ? 30 : bar < BAR_MIN ? 0 : bar;
        name = columns - width - bar - (bar > 0 ? 1 : 0);
        if (name > 100)
                name = 100; /* longer ones are rare, and the eye wants the numbers near */
        len = strlen(strcpy(ret, text_fit(l->name, name, fitted)));
        if (bar > 0) {
                ret[len++] = ' ';
                len += draw_bar(ret + len, bar, percent);
        }
        strcpy(ret + len, right);
        return ret;
}

void meter_add(struct meter *m, uint64_t now_ms, uint64_t bytes)
{
        double seconds = (double)(now_ms - m->last_ms) / 1000, weight;

        if (m->last_ms == 0 || bytes < m->last_bytes) {
                *m = (struct meter){ .last_ms = now_ms, .last_bytes = bytes, .rate = m->rate };
                return;
        }
        if (seconds < 0.05)
                return;
        weight = m->rate > 0 ? 1 - exp(-seconds / METER_S) : 1;
        m->rate += weight * ((double)(bytes - m->last_bytes) / seconds - m->rate);
        m->last_ms = now_ms;
        m->last_bytes = bytes;
}

double meter_left(const struct meter *m, uint64_t left)
{
        if (left == 0)
                return 0;
        return m->rate >= 1 ? (double)left / m->rate : -1;
}
