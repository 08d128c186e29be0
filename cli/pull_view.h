/*
 * Shows a pull's events to a person: on a terminal a bar for each file under way and one for all;
 * elsewhere plain lines.
 *
 * Threads    None of its own.
 */
#pragma once

#include "cli/format.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct pull_view;

/* @out: where to; @bars: it is a terminal that understands escapes; @colour: SGR may be used. */
struct pull_view *pull_view_new(FILE *out, bool bars, bool colour); /* NULL: no memory */
struct pull_view *pull_view_free(struct pull_view *v);

/* Takes one event in and draws what is due. @now_ms: clock_ms(). Events that make no sense are
 * passed over. */
void pull_view_event(struct pull_view *v, const json_t *event, uint64_t now_ms);

/* The last frame is wiped, so that other output can follow. */
void pull_view_end(struct pull_view *v);

/* Columns that a line on @out may have. */
size_t view_columns(FILE *out);
/* True when @out is a terminal with cursor movements; NO_COLOR (no-color.org) decides on colour. */
bool view_wants_bars(FILE *out);
bool view_wants_colour(FILE *out);
