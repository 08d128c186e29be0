/*
 * Implementation of engine_easy.h.
 */
#include "fetch/engine_easy.h"

#include "base/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECT_MS 5000L               /* name, TCP and TLS; a broken IPv6 costs minutes else */
#define BULK_BUFFER ((long)STAGE_SIZE) /* libcurl's largest: one recv(2) takes that much */
#define IDLE_CONNECTION_S 50L          /* hubs and proxies close at 60 s; a stale one costs a round trip */

static void note_came(struct transfer *t, size_t len)
{
        t->came += len;
        if (t->came < t->idle_least)
                return;
        t->came = 0;
        t->progress = clock_ms();
}

static size_t on_header(char *buf, size_t size, size_t count, void *arg)
{
        struct transfer *t = arg;

        note_came(t, size * count);
        t->verdict = t->ops->header(t, buf, size * count);
        return t->verdict == 0 ? size * count : 0;
}

static size_t on_data(char *buf, size_t size, size_t count, void *arg)
{
        struct transfer *t = arg;

        note_came(t, size * count);
        t->verdict = t->ops->data(t, buf, size * count);
        t->position += size * count;
        return t->verdict == 0 ? size * count : 0;
}

/* ---- staging ---- */

/* Hands what is staged to its owner, whose verdict then stands in t->verdict. */
static void flush_stage(struct transfer *t)
{
        size_t len = t->staged;

        if (len == 0)
                return;
        t->staged = 0;
        t->position += len;
        if (t->verdict == 0)
                t->verdict = t->ops->data(t, t->stage, len);
}

uint64_t easy_stage_look(struct transfer *t, uint64_t now)
{
        if (t->staged == 0)
                return ENGINE_NEVER;
        if (now - t->staged_ms < STAGE_MS && !(t->ops->awaited && t->ops->awaited(t, t->staged)))
                return t->staged_ms + STAGE_MS;
        flush_stage(t);
        return ENGINE_NEVER;
}

void easy_stage_end(struct easy_pool *p, struct transfer *t)
{
        flush_stage(t);
        if (t->stage && p->stage_count < STAGE_FREE_MAX)
                p->stages[p->stage_count++] = take_ptr(t->stage);
        free(take_ptr(t->stage));
}

static bool stage_begin(struct transfer *t)
{
        struct easy_pool *p = t->pool;

        if (!t->stage)
                t->stage = p->stage_count > 0 ? p->stages[--p->stage_count] : malloc(STAGE_SIZE);
        t->staged_ms = clock_ms();
        return t->stage != NULL;
}

static size_t on_bulk_data(char *buf, size_t size, size_t count, void *arg)
{
        struct transfer *t = arg;
        size_t len = size * count;

        note_came(t, len);
        for (size_t done = 0, n; done < len && t->verdict == 0; done += n) {
                /* to the next multiple in the file: the store then writes large aligned pieces */
                size_t room = STAGE_SIZE - t->position % STAGE_SIZE - t->staged;

                if (t->staged == 0 && !stage_begin(t))
                        return on_data(buf + done, 1, len - done, arg) == 0 ? 0 : len;
                n = min_u64(room, len - done);
                memcpy(t->stage + t->staged, buf + done, n);
                t->staged += n;
                if (n == room)
                        flush_stage(t);
        }
        return t->verdict == 0 ? len : 0;
}

/* ---- addresses ---- */

static unsigned near_of_v4(uint32_t a)
{
        return a >> 24 == 127 || a >> 24 == 0 ? ENGINE_NEAR_SELF : a >> 16 == 0xa9fe ? ENGINE_NEAR_LINK : 0;
}

static unsigned near_of(const struct sockaddr *sa)
{
        struct in6_addr a;

        if (sa->sa_family == AF_INET)
                return near_of_v4(ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr));
        if (sa->sa_family != AF_INET6)
                return 0;
        a = ((const struct sockaddr_in6 *)sa)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&a) || IN6_IS_ADDR_V4COMPAT(&a)) /* ::1 and :: are 0.0.0.x */
                return near_of_v4(ntohl(a.s6_addr32[3]));
        return IN6_IS_ADDR_LOOPBACK(&a) || IN6_IS_ADDR_UNSPECIFIED(&a) ? ENGINE_NEAR_SELF
               : IN6_IS_ADDR_LINKLOCAL(&a)                             ? ENGINE_NEAR_LINK
                                                                       : 0;
}

/* A hub that is somewhere else sends nobody to this machine, nor to what is next to it: what answers there
 * (a metadata service) was not meant to be read through a mount. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
        struct transfer *t = arg;
        const struct easy_pool *p = t->pool;
        unsigned near = near_of(&address->addr);

        (void)purpose;
        if (!t->foreign && near != 0)
                atomic_fetch_or(p->near, near);
        /* A proxy may be on this machine. One that is link-local was noted with the endpoint's transfers; other than
         * these, what a proxy is set for may still be reached without it (no_proxy). */
        if (t->foreign && (near & ~atomic_load(p->near) & (p->proxied ? ENGINE_NEAR_LINK : ~0u)) != 0) {
                t->too_near = true;
                return CURL_SOCKET_BAD;
        }
        return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static bool proxy_is_set(void)
{
        static const char *const names[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" };

        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                const char *value = getenv(names[i]);

                if (value && value[0] != '\0')
                        return true;
        }
        return false;
}

/* ---- the pool ---- */

int easy_pool_init(struct easy_pool *p, const struct engine_options *o)
{
        *p = (struct easy_pool){
                .capacity = o->limit, .bulk = o->bulk, .ca_file = o->ca_file, .user_agent = o->user_agent,
                .near = o->near, .proxied = proxy_is_set()
        };
        p->idle = calloc(p->capacity, sizeof(*p->idle));
        p->share = curl_share_init();
        if (!p->idle || !p->share)
                return -ENOMEM;
        curl_share_setopt(p->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
        return 0;
}

void easy_pool_done(struct easy_pool *p)
{
        while (p->count > 0)
                curl_easy_cleanup(p->idle[--p->count]);
        if (p->share)
                curl_share_cleanup(p->share);
        while (p->stage_count > 0)
                free(p->stages[--p->stage_count]);
        free(p->idle);
}

/* Sets an option unless one before it failed: a handle that lacks one (its write function, its headers)
 * must not be used. */
#define SET(option, value) (code = code != CURLE_OK ? code : curl_easy_setopt(easy, option, value))

static bool set_callbacks(CURL *easy, struct transfer *t)
{
        CURLcode code = CURLE_OK;

        SET(CURLOPT_PRIVATE, t);
        SET(CURLOPT_HEADERFUNCTION, on_header);
        SET(CURLOPT_HEADERDATA, t);
        SET(CURLOPT_WRITEFUNCTION, t->pool->bulk ? on_bulk_data : on_data);
        SET(CURLOPT_WRITEDATA, t);
        SET(CURLOPT_ERRORBUFFER, t->error);
        SET(CURLOPT_OPENSOCKETFUNCTION, on_socket);
        SET(CURLOPT_OPENSOCKETDATA, t);
        return code == CURLE_OK;
}

/*
 * What to ask for, as it stands in @url. Left to itself, libcurl 7.88 asks without the query where it has no memory
 * for a copy of it, and says nothing: the answer to another question would be taken for that to ours. NULL: as
 * libcurl has it, where it must write more than this (for a proxy), or less.
 */
static const char *target_of(const struct easy_pool *p, const char *url)
{
        const char *host = strstr(url, "://"), *path = host ? strpbrk(host + 3, "/?#") : NULL;

        return p->proxied || !path || *path != '/' || strchr(path, '#') ? NULL : path;
}

static bool set_request(CURL *easy, const struct transfer *t)
{
        CURLcode code = CURLE_OK;

        SET(CURLOPT_URL, t->url);
        SET(CURLOPT_REQUEST_TARGET, target_of(t->pool, t->url));
        SET(CURLOPT_PROTOCOLS_STR, "http,https");
        SET(CURLOPT_PATH_AS_IS, 1L); /* a signature covers the path as it is */
        SET(CURLOPT_HTTPHEADER, t->headers);
        SET(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
        SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's answer is not the hub's */
        SET(CURLOPT_NOBODY, t->head ? 1L : 0L);
        SET(CURLOPT_FRESH_CONNECT, t->fresh ? 1L : 0L);
        SET(CURLOPT_FOLLOWLOCATION, 0L);
        if (t->pool->bulk)
                SET(CURLOPT_BUFFERSIZE, BULK_BUFFER);
        return code == CURLE_OK;
}

static bool set_connection(CURL *easy, const struct easy_pool *p)
{
        CURLcode code = CURLE_OK;

        SET(CURLOPT_NOSIGNAL, 1L);
        SET(CURLOPT_QUICK_EXIT, 1L); /* a cancel never waits for the name resolver */
        SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
        SET(CURLOPT_MAXAGE_CONN, IDLE_CONNECTION_S);
        SET(CURLOPT_TCP_KEEPALIVE, 1L);
        SET(CURLOPT_SHARE, p->share);
        SET(CURLOPT_USERAGENT, p->user_agent);
        if (p->ca_file)
                SET(CURLOPT_CAINFO, p->ca_file);
        return code == CURLE_OK;
}

CURL *easy_pool_get(struct easy_pool *p, struct transfer *t)
{
        CURL *easy = p->count > 0 ? p->idle[--p->count] : curl_easy_init();

        if (!easy)
                return NULL;
        t->pool = p;
        t->too_near = false;
        if (!set_connection(easy, p) || !set_request(easy, t) || !set_callbacks(easy, t)) {
                easy_pool_put(p, easy);
                return NULL;
        }
        return easy;
}

void easy_pool_put(struct easy_pool *p, CURL *easy)
{
        if (p->count == p->capacity) {
                curl_easy_cleanup(easy);
                return;
        }
        curl_easy_reset(easy); /* drops the borrowed pointers; caches stay */
        p->idle[p->count++] = easy;
}

CURLM *easy_multi_new(unsigned connections)
{
        CURLM *multi = curl_multi_init();

        if (!multi)
                return NULL;
        curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)connections);
        curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)connections);
        return multi;
}

int easy_result(const struct transfer *t, CURLcode code)
{
        long status = 0;

        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        switch (code) {
        case CURLE_OK:
                return 0;
        case CURLE_OUT_OF_MEMORY: /* that is also what it says of a header line over 100 KiB */
                return status != 0 ? ENGINE_E_FAILED : -ENOMEM;
        case CURLE_PARTIAL_FILE:
        case CURLE_GOT_NOTHING:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
        case CURLE_OPERATION_TIMEDOUT: /* of connecting: there is no other limit of libcurl's */
                return status != 0 ? ENGINE_E_CUT : ENGINE_E_CONNECT;
        case CURLE_COULDNT_CONNECT:
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_PROXY:
                return ENGINE_E_CONNECT;
        default:
                return ENGINE_E_FAILED;
        }
}

const char *easy_why(const struct transfer *t, int result)
{
        switch (result) {
        case ENGINE_E_STALLED:
                return "nothing came for too long";
        case ENGINE_E_DEADLINE:
                return "no answer in time";
        case ENGINE_E_REFUSED:
                return "the answer was not as it should be";
        default:
                if (t->too_near)
                        return "its address is on this machine or next to it, where the hub is not";
                return t->error[0] != '\0' ? t->error
                       : result < 0        ? strerror(-result)
                                           : "the transfer failed";
        }
}
