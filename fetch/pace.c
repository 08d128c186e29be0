/*
 * Implementation of pace.h.
 *
 * Answers arrive out of order, and those under way are not in the count that the hub sends. So
 * within a window the lower of the two counts holds, ours (all that went) and the hub's (which has
 * other users of the same credential in it); a window that ends later than the known one is new.
 */
#include "fetch/pace.h"

#define SAME_WINDOW_MS 2000 /* the reset comes in whole seconds, and answers take a while */

uint64_t pace_when(const struct pace *p, uint64_t now)
{
        uint64_t when = p->blocked, spread;

        if (p->reset == 0 || now > p->reset + 1000 || p->remaining > PACE_LOW)
                return when;
        if (p->remaining == 0)
                spread = p->reset + 1000;
        else if (now >= p->reset)
                return when;
        else
                spread = p->last + (p->reset - now) / p->remaining;
        return spread > when ? spread : when;
}

uint64_t pace_blocked(const struct pace *p)
{
        return p->blocked;
}

bool pace_scarce(const struct pace *p, uint64_t now)
{
        return p->reset != 0 && now <= p->reset && p->remaining <= p->most / 5;
}

void pace_take(struct pace *p, uint64_t now)
{
        p->last = now;
        if (p->remaining > 0)
                p->remaining--;
}

void pace_feed(struct pace *p, uint64_t now, uint32_t remaining, uint32_t reset_s)
{
        uint64_t reset = now + (uint64_t)(reset_s < PACE_WINDOW_MAX ? reset_s : PACE_WINDOW_MAX) * 1000;

        bool fresh = p->reset == 0 || now > p->reset || reset > p->reset + SAME_WINDOW_MS;

        if (fresh || remaining < p->remaining)
                p->remaining = remaining;
        if (fresh || remaining > p->most)
                p->most = remaining;
        p->reset = reset;
}

void pace_block(struct pace *p, uint64_t until)
{
        if (until > p->blocked)
                p->blocked = until;
}
