/*
 * A sweep: a scenario is run again and again, each time in a process and a folder of its own, with
 * the 1st, 2nd, ... pass failing, until a run ends in which none did.
 *
 * One run of a scenario
 *   prepare   without faults: what is there beforehand
 *   act       with faults: does all it can, whatever fails, and remembers what it was promised
 *   (descriptors and memory: none is lost)
 *   check     without faults: opens anew; what was promised is there, nothing is wrong
 *   act       once more, without faults: all succeeds now
 *   check
 */
#pragma once

#include "faults/shim.h"

#include <stddef.h>

struct scenario {
        const char *name;
        void (*prepare)(void);
        void (*act)(bool faultless); /* faultless: a failure is fatal */
        void (*check)(void);
        const enum shim_kind *kinds;
        size_t kinds_count;
        unsigned jobs;    /* runs side by side; 0: one for each processor */
        unsigned seconds; /* that one run may take */
};

/* Ends this run as failed. */
__attribute__((noreturn, format(printf, 3, 4))) void sweep_fail(const char *file, int line, const char *fmt, ...);
#define SWEEP_ASSERT(cond)                                                       \
        do {                                                                     \
                if (!(cond))                                                     \
                        sweep_fail(__FILE__, __LINE__, "%s does not hold", #cond); \
        } while (0)
#define SWEEP_OK(call)                                                                  \
        do {                                                                            \
                int r_ = (call);                                                        \
                if (r_ != 0)                                                            \
                        sweep_fail(__FILE__, __LINE__, "%s: %d", #call, r_);            \
        } while (0)

/* A path below this run's folder, in one of a few static buffers. */
__attribute__((format(printf, 1, 2))) const char *sweep_at(const char *fmt, ...);
void sweep_put(const char *path, const void *data, size_t len); /* with the folders above it */

/* Every file below hub's blobs/ folders has the hash that its name says, but for one named @except. */
void sweep_check_hashes(const char *hub, const char *except);

int sweep_main(const struct scenario *s, int argc, char **argv);
