/*
 * Faults from below: the calls that weightfs makes into the C library, SQLite and libcurl are
 * wrapped by the linker (--wrap), so that any one of them can be made to fail. What those libraries
 * do by themselves is left alone, but for SQLite's memory and files, which go through hooks of its own.
 *
 * A pass is a call that the armed kind and way apply to. The nth pass fails, or (SHIM_FROM) that one
 * and all after it, or (SHIM_EVERY) each nth.
 *
 * Threads    Passes of all threads are counted together, but for those of a thread that is exempt.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum shim_kind {
        SHIM_NONE,
        SHIM_MEMORY, /* malloc(3) and what stands on it, hash contexts, threads */
        SHIM_FILE,   /* EIO from anything on files */
        SHIM_SPACE,  /* ENOSPC from what writes, EMFILE from what opens */
        SHIM_EINTR,  /* a read or a write is interrupted: nobody should notice */
        SHIM_SHORT,  /* a read or a write does half: nobody should notice */
        SHIM_SQLITE_MEMORY,
        SHIM_SQLITE_FILE, /* I/O errors below SQLite */
        SHIM_SQLITE_FULL, /* no space below SQLite */
        SHIM_CURL,        /* calls of libcurl */
        SHIM_TRANSFER,    /* transfers that libcurl calls done have failed */
        SHIM_KINDS,
};

enum shim_how { SHIM_ONCE, SHIM_FROM, SHIM_EVERY };

/* What the first fault hit. */
struct shim_site {
        char call[32];
        uintptr_t caller; /* within the executable's file, for addr2line(1) */
};

extern const char *const shim_names[SHIM_KINDS];

/* Hooks SQLite; once, before it is used. */
void shim_init(void);
void shim_arm(enum shim_kind kind, enum shim_how how, uint64_t n);
void shim_disarm(void);
uint64_t shim_passes(void);
/* How many faults have fired since shim_arm(). */
uint64_t shim_fired(void);
struct shim_site shim_first(void);

/* While @exempt nothing fails in this thread, nor is counted. */
void shim_exempt(bool exempt);

/* For the wrappers: whether this pass fails. */
bool shim_pass(enum shim_kind kind, const char *call, const void *caller);
#define SHIM_FAILS(kind, call) shim_pass(kind, call, __builtin_return_address(0))
