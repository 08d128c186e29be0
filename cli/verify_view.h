/*
 * Shows a recheck's events to a person: on a terminal one bar; elsewhere a plain line now and then.
 *
 * Threads    None of its own.
 */
#pragma once

#include "cli/format.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct verify_view {
        FILE *out;
        bool bars; /* it is a terminal that understands escapes */
        bool drawn;
        uint64_t files, size, drawn_ms;
        struct meter meter;
};

/* Takes one event in and draws what is due. @now_ms: clock_ms(). */
void verify_view_event(struct verify_view *v, const json_t *event, uint64_t now_ms);

/* The bar is wiped, so that other output can follow. */
void verify_view_end(struct verify_view *v);
