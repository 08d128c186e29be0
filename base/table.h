/*
 * Hash tables: uthash, which by itself ends the process when there is no memory for a table. Here
 * HASH_ADD() then leaves the table as it was, and HASH_ADDED() says so.
 */
#pragma once

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* Whether the last HASH_ADD() of @element put it into its table; to be asked after each. */
#define HASH_ADDED(element) ((element)->hh.tbl != NULL)
