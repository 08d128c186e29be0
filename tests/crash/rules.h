/*
 * Which calls are to fail: CRASH_FAIL names a file of rules, looked at anew for every call. A line of it is
 * "CALL ERRNO TEXT [N]", e.g. "fsync 5 /hub/": calls on paths that contain the text fail, or each Nth of them.
 */
#pragma once

#include <stdbool.h>

/* True, and errno: the @call on @path, below @dirfd, is to fail. "": on @dirfd itself. */
bool rules_say(const char *call, int dirfd, const char *path);
