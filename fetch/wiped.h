/*
 * Memory of libcurl, wiped when it is given back: the requests that it puts together have the token in them.
 *
 * Threads    Any.
 */
#pragma once

/* curl_global_init() with an allocator that wipes. 0, or -ENOSYS where libcurl cannot be initialised. */
int wiped_curl_init(void);
