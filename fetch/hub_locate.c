/*
 * Where the bytes of an entry are: its resolve URL, through redirects, to the hub's own storage (small
 * files) or to a signed URL elsewhere (LFS files). Each request on the way is one that the hub counts
 * and one round trip, so a small file is asked for by GET, which ends with its bytes, and the HEAD for a
 * larger one stops as soon as the hub has named the file.
 *
 * The size and etag that count are those that the hub itself says of the file (X-Linked-*), on
 * whichever answer of its own; Content-Length and ETag only of the answer that has the file.
 */
#include "fetch/hub_call.h"

#define LOG_COMPONENT "hub"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LIFETIME_MS (UINT64_C(50) * 60 * 1000) /* where the URL does not say; signed ones live about an hour */
#define LIFETIME_MAX_S 43200

void hub_location_done(struct hub_location *l)
{
        free(l->url);
        free(l->bytes);
        *l = (struct hub_location){};
}

/* An early renewal costs one request, a late one a failed range: a twelfth is kept as a margin. */
static uint64_t lifetime_ms(const struct hub_call *c)
{
        int64_t now = c->answer.date ? c->answer.date : clock_wall_s();
        int64_t seconds = c->own ? -1 : http_url_lifetime(c->url, now);

        if (seconds < 0)
                return LIFETIME_MS;
        return min_u64((uint64_t)seconds, LIFETIME_MAX_S) * 1000 / 12 * 11;
}

static void take_linked(struct hub_call *c)
{
        struct hub_location *l = &c->locate.location;

        if (c->answer.linked_etag[0] != '\0')
                strcpy(l->etag, c->answer.linked_etag);
        if (c->answer.linked_size >= 0) {
                l->size = (uint64_t)c->answer.linked_size;
                c->locate.sized = true;
        }
}

/* The redirect leads to the file, not to another name of the repo. */
static bool is_named(const struct hub_call *c)
{
        return c->locate.how == HUB_LOCATE_SHORT && c->answer.linked_etag[0] != '\0';
}

/* The answer has the file: what it says of it counts unless a redirect has said it. */
static void take_plain(struct hub_call *c)
{
        struct hub_location *l = &c->locate.location;
        bool whole = c->locate.how == HUB_LOCATE_TAKE;

        if (l->etag[0] == '\0')
                strcpy(l->etag, c->answer.etag);
        if (!c->locate.sized && (whole || c->answer.length >= 0)) {
                l->size = whole ? c->body_len : (uint64_t)c->answer.length;
                c->locate.sized = true;
        }
        if (whole && c->locate.sized && c->body_len == l->size)
                l->bytes = take_ptr(c->body);
}

static int locate_answered(struct hub_call *c)
{
        struct hub_location *l = &c->locate.location;
        bool redirected = c->answer.status != 200;

        take_linked(c);
        if (c->own && redirected && !is_named(c))
                return CALL_AGAIN;
        if (c->own && !redirected)
                take_plain(c);
        if (!c->locate.sized && c->own && redirected)
                l->size = HUB_SIZE_UNSAID;
        else if (!c->locate.sized)
                return HUB_E_MALFORMED;
        /* without an etag: the network's log-in page, for one */
        if (l->etag[0] == '\0' || (c->own && !redirected && c->locate.how == HUB_LOCATE_TAKE && !l->bytes))
                return HUB_E_MALFORMED;
        l->expires_ms = clock_ms() + lifetime_ms(c);
        l->own_origin = c->own;
        l->anew = c->anew;
        l->url = take_ptr(c->url);
        return 0;
}

static void locate_deliver(struct hub_call *c, int result)
{
        c->locate.done(c->arg, result, result == 0 ? &c->locate.location : NULL);
}

static void locate_release(struct hub_call *c)
{
        hub_location_done(&c->locate.location);
}

static const struct call_kind locate_kind = {
        .word = "location",
        .head = true,
        .leaves = true,
        .answered = locate_answered,
        .deliver = locate_deliver,
        .release = locate_release,
};

#define TAKE_PATIENCE 5 /* deadlines more for 64 KiB that keep coming; a byte now and then is no progress */

static const struct call_kind take_kind = {
        .word = "small file",
        .leaves = true,
        .body_max = HUB_TAKE_MAX,
        .answered = locate_answered,
        .deliver = locate_deliver,
        .release = locate_release,
};

int hub_locate(struct hub *h, enum repo_type type, const char *name, const char *sha, const char *path,
               enum hub_locate_how how, uint64_t deadline, hub_locate_fn done, void *arg,
               struct hub_call **ret_call)
{
        static const char *const folders[REPO_TYPE_COUNT] = { "", "datasets/", "spaces/" };
        CLEANUP_FREE char *quoted = NULL;
        struct hub_call *c;
        char *url;
        bool anew;
        int r;

        if (!repo_name_valid(name) || !hex_valid(sha, COMMIT_HEX) || !entry_path_valid(path))
                return -EINVAL;
        quoted = http_url_quote(path, true);
        if (!quoted ||
            asprintf(&url, "%s/%s%s/resolve/%s/%s", h->endpoint, folders[type], name, sha, quoted) < 0)
                return -ENOMEM;
        anew = how & HUB_LOCATE_ANEW;
        how &= ~(unsigned)HUB_LOCATE_ANEW;
        r = call_new(h, how == HUB_LOCATE_TAKE ? &take_kind : &locate_kind, url, &c);
        if (r < 0)
                return r;
        c->bucket = BUCKET_RESOLVERS;
        c->anew = c->transfer.fresh = anew;
        c->locate.how = how;
        if (how == HUB_LOCATE_TAKE) {
                c->idle_ms = (unsigned)(deadline - min_u64(deadline, clock_ms()));
                c->latest = deadline + TAKE_PATIENCE * (uint64_t)c->idle_ms;
        }
        c->locate.done = done;
        c->arg = arg;
        return call_start_name(c, deadline, ret_call);
}
