/*
 * Implementation of wiped.h.
 */
#include "fetch/wiped.h"

#include "base/util.h"

#include <curl/curl.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static void wiped_free(void *at)
{
        if (!at)
                return;
        explicit_bzero(at, malloc_usable_size(at));
        free(at);
}

/* Never in place: realloc(3) would give the old memory back as it is. */
static void *wiped_realloc(void *at, size_t size)
{
        void *grown = malloc(size);

        if (!grown || !at)
                return grown;
        memcpy(grown, at, min_u64(size, malloc_usable_size(at)));
        wiped_free(at);
        return grown;
}

int wiped_curl_init(void)
{
        return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiped_free, wiped_realloc, strdup, calloc) == CURLE_OK
                       ? 0
                       : -ENOSYS;
}
