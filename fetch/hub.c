/*
 * The hub client itself: checking the options, starting and ending its threads, suspending.
 */
#include "fetch/hub_call.h"

#include "fetch/wiped.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS_DEFAULT 16
#define CONNECTIONS_MAX 256
#define NAME_TRANSFERS 8 /* requests for names at once, beside as many lookups of files as connections */
#define WORKERS 2

/* A token may go over https, or to this machine, or where the person insists. */
static int check_token(struct hub *h, const struct hub_options *o, struct errmsg *err)
{
        char *value;
        int r = token_new(o->token, o->token_file, &h->token, err);

        if (r < 0)
                return r;
        h->token_allowed =
                http_origin_secure(&h->origin) || http_origin_loopback(&h->origin) || o->insecure_token;
        if (h->token_allowed)
                return 0;
        r = token_get(h->token, false, &value);
        if (r < 0)
                return r;
        if (value) {
                token_wipe(value);
                return errmsg_set(err, -EPERM,
                                  "a token would go to %s unencrypted; use https, or allow it with "
                                  "--insecure-token",
                                  h->origin.host);
        }
        return 0; /* one that appears in the file later is not sent */
}

static int check_ca_file(struct hub *h, const struct hub_options *o, struct errmsg *err)
{
        if (!o->ca_file)
                return 0;
        if (access(o->ca_file, R_OK) < 0)
                return errmsg_set(err, -errno, "cannot read the CA file %s: %s", o->ca_file, strerror(errno));
        h->ca_file = strdup(o->ca_file);
        return h->ca_file ? 0 : -ENOMEM;
}

static int start_threads(struct hub *h, const struct hub_options *o, struct errmsg *err)
{
        unsigned connections = o->connections ? o->connections : CONNECTIONS_DEFAULT;
        struct engine_options names = {
                .limit = NAME_TRANSFERS + connections, .ca_file = h->ca_file, .user_agent = h->user_agent,
                .near = &h->near
        };
        struct engine_options bulk = names;
        int r;

        if (connections > CONNECTIONS_MAX)
                return errmsg_set(err, -EINVAL, "at most %d connections", CONNECTIONS_MAX);
        snprintf(h->user_agent, sizeof(h->user_agent), "weightfs/" WEIGHTFS_VERSION "; libcurl/%s",
                 curl_version_info(CURLVERSION_NOW)->version);
        r = workq_new("wfs-hub", WORKERS, &h->workers);
        if (r == 0)
                r = engine_new(&names, &h->names);
        bulk.limit = connections;
        bulk.bulk = true;
        if (r == 0)
                r = engine_new(&bulk, &h->bulk);
        return r;
}

int hub_new(const struct hub_options *o, struct hub **ret, struct errmsg *err)
{
        struct hub *h;
        int r;

        if (wiped_curl_init() < 0)
                return errmsg_set(err, -ENOSYS, "libcurl cannot be initialised");
        h = calloc(1, sizeof(*h));
        if (!h) {
                curl_global_cleanup();
                return -ENOMEM;
        }
        lock_init(&h->lock);
        list_init(&h->calls);
        h->status.reachable = true; /* until told otherwise */
        r = http_url_endpoint(o->endpoint, &h->endpoint, &h->origin, err);
        if (r == 0 && http_origin_loopback(&h->origin))
                h->near = ENGINE_NEAR_SELF;
        if (r == 0)
                r = check_ca_file(h, o, err);
        if (r == 0)
                r = check_token(h, o, err);
        if (r == 0)
                r = start_threads(h, o, err);
        if (r < 0) {
                hub_free(h);
                return r;
        }
        *ret = h;
        return 0;
}

struct hub *hub_free(struct hub *h)
{
        if (!h)
                return NULL;
        hub_suspend(h);
        if (h->names)
                engine_stop(h->names);
        if (h->bulk)
                engine_stop(h->bulk);
        workq_free(h->workers); /* what the engines ended is with them now */
        engine_free(h->names);
        engine_free(h->bulk);
        token_free(h->token);
        http_origin_done(&h->origin);
        free(h->endpoint);
        free(h->ca_file);
        lock_done(&h->lock);
        free(h);
        curl_global_cleanup();
        return NULL;
}

void hub_suspend(struct hub *h)
{
        lock_take(&h->lock);
        h->suspended = true;
        LIST_FOREACH(node, &h->calls)
        LIST_OWNER(node, struct hub_call, node)->transfer.cancel = true;
        lock_drop(&h->lock);
        if (h->names)
                engine_flush(h->names);
        if (h->bulk)
                engine_flush(h->bulk);
}

void hub_resume(struct hub *h)
{
        lock_take(&h->lock);
        h->suspended = false;
        lock_drop(&h->lock);
}
