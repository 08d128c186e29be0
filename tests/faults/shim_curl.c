/*
 * Faults of libcurl: its calls fail, and transfers that are done have failed, each time in another way.
 */
#include "faults/shim.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdatomic.h>

#define WRAP(type, name, params, args, bad)                         \
        type __real_##name params;                                  \
        type __wrap_##name params;                                  \
        type __wrap_##name params                                   \
        {                                                           \
                return SHIM_FAILS(SHIM_CURL, #name) ? bad : __real_##name args; \
        }

WRAP(CURLcode, curl_global_init, (long flags), (flags), CURLE_FAILED_INIT)
WRAP(CURL *, curl_easy_init, (void), (), NULL)
WRAP(CURLM *, curl_multi_init, (void), (), NULL)
WRAP(CURLSH *, curl_share_init, (void), (), NULL)
WRAP(CURLU *, curl_url, (void), (), NULL)
WRAP(struct curl_slist *, curl_slist_append, (struct curl_slist *l, const char *s), (l, s), NULL)
WRAP(CURLUcode, curl_url_set, (CURLU *u, CURLUPart part, const char *s, unsigned flags), (u, part, s, flags),
     CURLUE_OUT_OF_MEMORY)
WRAP(CURLUcode, curl_url_get, (const CURLU *u, CURLUPart part, char **s, unsigned flags), (u, part, s, flags),
     CURLUE_OUT_OF_MEMORY)
WRAP(CURLMcode, curl_multi_add_handle, (CURLM *m, CURL *e), (m, e), CURLM_OUT_OF_MEMORY)
WRAP(CURLMcode, curl_multi_perform, (CURLM *m, int *running), (m, running), CURLM_OUT_OF_MEMORY)

typedef CURLMcode poll_fn(CURLM *m, struct curl_waitfd *fds, unsigned count, int ms, int *ret);
poll_fn __real_curl_multi_poll, __wrap_curl_multi_poll;
CURLMcode __wrap_curl_multi_poll(CURLM *m, struct curl_waitfd *fds, unsigned count, int ms, int *ret)
{
        return SHIM_FAILS(SHIM_CURL, "curl_multi_poll") ? CURLM_OUT_OF_MEMORY :
                                                          __real_curl_multi_poll(m, fds, count, ms, ret);
}

/* What comes after the option has the width of a register, whatever it is. */
#define WRAP_OPTION(type, name, handle, option, bad)                            \
        type __real_##name(handle h, option o, ...);                            \
        type __wrap_##name(handle h, option o, ...);                            \
        type __wrap_##name(handle h, option o, ...)                             \
        {                                                                       \
                va_list ap;                                                     \
                void *value;                                                    \
                                                                                \
                va_start(ap, o);                                                \
                value = va_arg(ap, void *);                                     \
                va_end(ap);                                                     \
                return SHIM_FAILS(SHIM_CURL, #name) ? bad : __real_##name(h, o, value); \
        }

WRAP_OPTION(CURLcode, curl_easy_setopt, CURL *, CURLoption, CURLE_OUT_OF_MEMORY)
WRAP_OPTION(CURLMcode, curl_multi_setopt, CURLM *, CURLMoption, CURLM_OUT_OF_MEMORY)
WRAP_OPTION(CURLSHcode, curl_share_setopt, CURLSH *, CURLSHoption, CURLSHE_NOMEM)

CURLMsg *__real_curl_multi_info_read(CURLM *m, int *left);
CURLMsg *__wrap_curl_multi_info_read(CURLM *m, int *left);
CURLMsg *__wrap_curl_multi_info_read(CURLM *m, int *left)
{
        static const CURLcode ways[] = {
                CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT, CURLE_PARTIAL_FILE,
                CURLE_OPERATION_TIMEDOUT, CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR,
                CURLE_OUT_OF_MEMORY, CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION,
                CURLE_WEIRD_SERVER_REPLY,
        };
        static atomic_uint way;
        CURLMsg *msg = __real_curl_multi_info_read(m, left);

        if (msg && msg->msg == CURLMSG_DONE && SHIM_FAILS(SHIM_TRANSFER, "transfer"))
                msg->data.result = ways[way++ % (sizeof(ways) / sizeof(ways[0]))];
        return msg;
}
