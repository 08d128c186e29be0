/*
 * Fault points: places where a test can make the next step fail.
 *
 *         if (FAULT("store.fsync"))
 *                 return -EIO;
 *
 * A constant false unless built with WEIGHTFS_FAULTS. A test counts sites with fault_arm(0),
 * then arms the 1st, 2nd, ... Nth until none fires. A site may also be given a name and a count
 * by the environment (WEIGHTFS_FAULT=name:N: the Nth pass of that site fails).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef WEIGHTFS_FAULTS
bool fault_hit(const char *site);
#define FAULT(site) fault_hit(site)
#else
#define FAULT(site) (false)
#endif

/* Fail the @nth pass over any site from now on (1: the next); 0: none, only count. */
void fault_arm(uint64_t nth);

/* Passes since fault_arm(). */
uint64_t fault_passes(void);

/* True once an armed fault has fired. */
bool fault_fired(void);
