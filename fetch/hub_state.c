/*
 * What attempts teach the hub client: how fast it may ask, and whether the hub can be reached.
 */
#include "fetch/hub_call.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const policies[BUCKET_COUNT] = { "api", "resolvers" };

/* ---- pacing ---- */

/* Source: the hub's "Rate limits" page: resolvers are "all the URLs that contain a /resolve/ segment in
 * their path". What they redirect to within the hub does not count, and its answers tell no limit. */
static bool is_counted(const struct hub_call *c)
{
        const char *segment = strstr(c->url, "/resolve/");

        return c->bucket != BUCKET_RESOLVERS || (segment && segment < c->url + strcspn(c->url, "?"));
}

static uint64_t pace_locked(struct hub_call *c, uint64_t now) REQUIRES(c->hub->lock)
{
        struct hub *h = c->hub;
        struct pace *pace = &h->pace[c->bucket];
        bool counted = c->own && is_counted(c);
        uint64_t when = now;

        if (counted) {
                when = pace_when(pace, now);
                h->paused[c->bucket] = when > now ? when : 0;
        } else if (c->own) {
                when = pace_blocked(pace);
        }
        if (when > now)
                return when;
        if (counted)
                pace_take(pace, now);
        h->requests++;
        return now;
}

uint64_t call_pace(struct hub_call *c, uint64_t now)
{
        uint64_t when;

        lock_take(&c->hub->lock);
        when = pace_locked(c, now);
        lock_drop(&c->hub->lock);
        return when;
}

uint64_t call_asked_ms(const struct http_answer *a)
{
        if (a->status != 408 && a->status != 429 && a->status < 500)
                return 0;
        if (a->status == 429 && a->limit.policy[0] != '\0' && a->limit.remaining == 0)
                return ((uint64_t)a->limit.reset_s + 1) * 1000;
        return a->retry_after > 0 ? (uint64_t)a->retry_after * 1000 : 0;
}

static void feed_pace_locked(struct hub *h, const struct hub_call *c, uint64_t now) REQUIRES(h->lock)
{
        const struct http_answer *a = &c->answer;
        struct pace *pace = &h->pace[c->bucket];
        uint64_t asked = call_asked_ms(a);

        for (int i = 0; i < BUCKET_COUNT; i++)
                if (strcmp(a->limit.policy, policies[i]) == 0)
                        pace = &h->pace[i];
        if (a->limit.policy[0] != '\0')
                pace_feed(pace, now, a->limit.remaining, a->limit.reset_s);
        if (asked > 0)
                pace_block(pace, now + asked);
}

/* ---- what hub_get_status() says ---- */

static void say_error_locked(struct hub *h, const struct hub_call *c, int end, const char *why)
        REQUIRES(h->lock)
{
        struct hub_status *s = &h->status;
        uint64_t asked = call_asked_ms(&c->answer);
        char host[128];

        http_url_shown(c->url, host, sizeof(host));
        host[strcspn(host, "/")] = '\0';
        if (c->answer.status == 0)
                snprintf(s->last_error, sizeof(s->last_error), "%s cannot be reached: %s", host, why);
        else if (end != 0 && c->answer.status < 400)
                snprintf(s->last_error, sizeof(s->last_error), "the answer of %s broke off: %s", host, why);
        else if (asked > 0)
                snprintf(s->last_error, sizeof(s->last_error),
                         "%s answered %u and asks to wait %" PRIu64 " s", host, c->answer.status,
                         (asked + 999) / 1000);
        else
                snprintf(s->last_error, sizeof(s->last_error), "%s answered %u", host, c->answer.status);
        h->error_own = c->own;
}

static void set_reachable_locked(struct hub *h, bool reachable) REQUIRES(h->lock)
{
        if (reachable)
                h->status.unreachable_since = 0;
        else if (h->status.reachable)
                h->status.unreachable_since = clock_wall_s();
        h->status.reachable = reachable;
}

void call_note(struct hub_call *c, int end, const char *why)
{
        const struct http_answer *a = &c->answer;
        struct hub *h = c->hub;
        bool broken = end > 0 && end != ENGINE_E_REFUSED;
        /* A further attempt that was left too little time: why the one before failed says more. */
        bool cut = end == ENGINE_E_DEADLINE && a->status == 0 && c->attempts > 0;

        if (end < 0)
                return;
        lock_take(&h->lock);
        if (c->own)
                feed_pace_locked(h, c, clock_ms());
        if (broken || a->status >= 500 || a->status == 429) {
                if (!cut || h->status.last_error[0] == '\0')
                        say_error_locked(h, c, end, why);
        } else if (h->error_own == c->own) {
                h->status.last_error[0] = '\0';
        }
        /* The endpoint is what "the hub" means: a CDN that fails is another trouble. */
        if (c->own && a->status != 0)
                set_reachable_locked(h, a->status < 500);
        else if (c->own && broken)
                set_reachable_locked(h, false);
        lock_drop(&h->lock);
}

void hub_get_status(struct hub *h, struct hub_status *ret)
{
        uint64_t now = clock_ms(), paused = 0;

        lock_take(&h->lock);
        *ret = h->status;
        lock_drop(&h->lock);
        ret->requests = h->requests;
        ret->bytes = h->bytes;
        ret->transfers = engine_active(h->bulk);
        for (int i = 0; i < BUCKET_COUNT; i++)
                paused = max_u64(paused, h->paused[i]);
        ret->paused_ms = paused > now ? paused - now : 0;
}

bool hub_is_scarce(struct hub *h)
{
        bool scarce;

        lock_take(&h->lock);
        scarce = pace_scarce(&h->pace[BUCKET_API], clock_ms());
        lock_drop(&h->lock);
        return scarce;
}
