/*
 * Implementation of fault.h. Counters are atomic; arming is for single tests, not for races.
 */
#include "base/fault.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t passes, armed;
static atomic_bool fired;

void fault_arm(uint64_t nth)
{
        passes = 0;
        fired = false;
        armed = nth;
}

uint64_t fault_passes(void)
{
        return passes;
}

bool fault_fired(void)
{
        return fired;
}

#ifdef WEIGHTFS_FAULTS
static bool named_hit(const char *site)
{
        static _Atomic uint64_t named_passes;
        const char *want = getenv("WEIGHTFS_FAULT"), *colon;

        colon = want ? strchr(want, ':') : NULL;
        if (!colon || strlen(site) != (size_t)(colon - want) || strncmp(want, site, strlen(site)) != 0)
                return false;
        return ++named_passes == strtoull(colon + 1, NULL, 10);
}

bool fault_hit(const char *site)
{
        uint64_t n = ++passes;

        if ((armed != 0 && n == armed) || named_hit(site)) {
                fired = true;
                return true;
        }
        return false;
}
#endif
