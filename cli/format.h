/*
 * Numbers and lines for people. Everything here is pure.
 */
#pragma once

#include "base/util.h"

#define FORMAT_MAX 32 /* bytes that every short format fits, the NUL included */

/* "0 B", "999 B", "1.2 KiB", "12.3 GiB", "123 GiB": four characters of number at most. */
const char *format_size(uint64_t bytes, char *ret);
const char *format_count(uint64_t n, const char *thing, char *ret); /* "1 file", "2 files" */
/* "12.3 MiB/s"; "-" for nothing. */
const char *format_rate(double bytes_per_s, char *ret);
/* "0:07", "12:34", "1:02:03", "3d 04h"; "-" for what is not known (negative). */
const char *format_duration(double seconds, char *ret);
/* "2026-11-22 20:58:01", local time. */
const char *format_time(int64_t wall_s, char *ret);
/* 0 to 100; 100 only when all is held. Nothing of nothing is all. */
unsigned format_percent(uint64_t held, uint64_t size);

/* Columns that UTF-8 text takes on a terminal. */
size_t text_columns(const char *text);
/* @text in exactly @columns: padded at the right, or with its beginning cut and "..." in place. The
 * end of a path says more. @ret holds 4 * @columns + 1 bytes. */
const char *text_fit(const char *text, size_t columns, char *ret);

struct progress_line {
        const char *name;
        uint64_t held, size;
        double rate;      /* bytes/s */
        double left;      /* seconds; negative: unknown */
        const char *note; /* in place of rate and time: "verifying"; NULL: none */
};
/* One line of at most @columns (40 at least, 300 at most) with a bar where there is room. @ret
 * holds PROGRESS_MAX bytes. */
#define PROGRESS_MAX 1024
const char *progress_format(const struct progress_line *l, size_t columns, char *ret);

/* A rate that follows the last seconds, not the average since the beginning. */
struct meter {
        uint64_t last_ms, last_bytes;
        double rate;
};
void meter_add(struct meter *m, uint64_t now_ms, uint64_t bytes);
/* Seconds until @left bytes are in; negative: unknown. */
double meter_left(const struct meter *m, uint64_t left);
