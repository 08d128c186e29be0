/*
 * Pacing: when the next request of a class may go, by what the hub said about its limits.
 *
 * One bucket per class of requests that the hub counts ("api", "resolvers"). Without news requests
 * go at once. While plenty are left in the window they go at once too; the last PACE_LOW ones are
 * spread over the rest of it, and with none left the next one goes a second after its end.
 *
 * Times      clock_ms(), passed in.
 * Threads    None of its own: calls for one bucket are serialised by its owner.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PACE_LOW 50          /* requests left from which on they are spread out */
#define PACE_WINDOW_MAX 3600 /* seconds; the hub's windows are 300 */

struct pace {
        uint64_t reset;     /* when the known window ends; 0: nothing is known */
        uint64_t last;      /* when the last request went */
        uint64_t blocked;   /* nothing goes before this */
        uint32_t remaining; /* requests left until reset, those under way taken off */
        uint32_t most;      /* that were left in this window, as far as was heard */
};

/* When a request may go; at or before @now: now. Changes nothing. */
uint64_t pace_when(const struct pace *p, uint64_t now);

/* The same for a request that the hub does not count. */
uint64_t pace_blocked(const struct pace *p);

/* True when only a fifth of the window's requests is left: what is not urgent leaves them to others. */
bool pace_scarce(const struct pace *p, uint64_t now);

/* A request goes. */
void pace_take(struct pace *p, uint64_t now);

/* An answer said that @remaining requests are left for the next @reset_s seconds. */
void pace_feed(struct pace *p, uint64_t now, uint32_t remaining, uint32_t reset_s);

/* The hub asked to send nothing before @until. */
void pace_block(struct pace *p, uint64_t until);
