/*
 * A hub in a process of its own, whose one repo "org/name" has the files that it is given. What it
 * answers is right; what goes wrong is made to by shim.h, on the other side.
 */
#pragma once

#include "base/names.h"

#include <stdint.h>

#define SMALL_HUB_SHA "1111111111111111111111111111111111111111"

struct small_file {
        const char *path;
        uint64_t size;
        char sha256[SHA256_HEX + 1]; /* each file is an LFS one */
        unsigned char *data;
};

/* Starts it; it ends with this process. The port. */
unsigned small_hub_start(const struct small_file *files, unsigned count);
