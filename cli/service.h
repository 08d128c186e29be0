/*
 * What a running daemon consists of, for those who report on it and steer it.
 *
 * Threads    The pointers are set before the first other thread starts and stay; mode_since is
 *            atomic.
 */
#pragma once

#include "cli/options.h"
#include "fetch/fetch.h"
#include "fs/fs.h"

#include <stdatomic.h>

struct unmount_helper;

struct service {
        const struct options *options; /* paths real, defaults filled in */
        struct index index;
        struct fetch *fetch;
        struct fs *fs;
        struct unmount_helper *helper; /* confine.h; NULL where none is needed */
        int64_t started;               /* wall seconds */
        _Atomic int64_t mode_since;    /* wall seconds: online or offline since */
};

/* The hub that the options mean. */
const char *service_endpoint(const struct options *o);

/* True when a token was given, or the file that may hold one is there. */
bool service_has_token(const struct options *o);

/* fetch_new()'s options from ours; what they point to is @o's. */
struct fetch_options service_fetch_options(const struct options *o);

/* Takes the mount away, by the helper where this process may not. 0, -EBUSY, or negative errno. */
int service_unmount(struct service *s, bool lazy);
