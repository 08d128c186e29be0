/*
 * Header lines of an HTTP answer, as libcurl hands them out, one per line of the input.
 */
#include "fetch/http_header.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *p = (const char *)data, *end = p + size;
        struct http_answer a;

        http_answer_init(&a);
        while (p < end) {
                const char *newline = memchr(p, '\n', (size_t)(end - p));
                const char *next = newline ? newline + 1 : end;

                assert(http_answer_line(&a, p, (size_t)(next - p)) == 0);
                p = next;
        }
        assert(a.etag[0] == '\0' || etag_valid(a.etag));
        assert(a.linked_etag[0] == '\0' || etag_valid(a.linked_etag));
        assert(!a.has_range || a.bad_range || a.range.unsatisfied || a.range.start < a.range.end);
        assert(!a.location || strlen(a.location) <= HTTP_LOCATION_MAX);
        http_answer_done(&a);
        return 0;
}
