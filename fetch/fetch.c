/*
 * Implementation of fetch.h: puts gate, policy, resolver, filler and hub together.
 *
 * The end, in order: nothing new begins and waiters are answered (resolver_stop(), filler_stop());
 * hub_suspend() ends what runs; the last flights and transfers are awaited; only then does the hub go.
 */
#include "fetch/fetch.h"

#include "fetch/fetch_options.h"
#include "fetch/fill.h"
#include "fetch/resolve.h"

#include <errno.h>
#include <string.h>

#define CONNECTIONS 16
#define CONNECTIONS_MAX 64
#define LOOKUP_DEADLINE_S 10
#define READ_DEADLINE_S 900
#define NAMES_THREADS 2

struct fetch {
        struct gate gate;
        struct policy policy;
        struct workq *names;
        struct hub *hub; /* NULL: offline for good */
        struct resolver *resolver;
        struct filler *filler;
        bool strict;
        uint64_t max_fetch;
};

static int start_hub(struct fetch *f, const struct fetch_options *o, unsigned connections, struct errmsg *err)
{
        struct hub_options ho = {
                .endpoint = o->endpoint,
                .token = o->token,
                .token_file = o->token_file,
                .ca_file = o->ca_file,
                .insecure_token = o->insecure_token,
                .connections =
                        2 * connections, /* the filler goes beyond the limit for blobs that have none */
        };

        return o->offline ? 0 : hub_new(&ho, &f->hub, err);
}

static int start_resolver(struct fetch *f, const struct fetch_options *o, struct index *ix)
{
        struct resolver_options ro = {
                .index = ix,
                .hub = f->hub,
                .gate = &f->gate,
                .policy = &f->policy,
                .names = f->names,
                .deadline_s = o->lookup_deadline_s ? o->lookup_deadline_s : LOOKUP_DEADLINE_S,
        };

        return resolver_new(&ro, &f->resolver);
}

static int start_filler(struct fetch *f, const struct fetch_options *o, struct index *ix,
                        unsigned connections)
{
        struct filler_options fo = {
                .index = ix,
                .hub = f->hub,
                .gate = &f->gate,
                .policy = &f->policy,
                .names = f->names,
                .resolver_idle = resolver_is_idle,
                .resolver_arg = f->resolver,
                .complete = o->complete,
                .strict = o->strict,
                .keep_free = o->keep_free,
                .max_fetch = o->max_fetch,
                .connections = connections,
                .lookup_deadline_s = o->lookup_deadline_s ? o->lookup_deadline_s : LOOKUP_DEADLINE_S,
                .read_deadline_s = o->read_deadline_s ? o->read_deadline_s : READ_DEADLINE_S,
                .events = o->events,
        };
        int r = filler_new(&fo, &f->filler);

        if (r == 0)
                resolver_set_filler(f->resolver, f->filler);
        return r;
}

int fetch_new(const struct fetch_options *o, struct index *ix, struct fetch **ret, struct errmsg *err)
{
        unsigned connections = o->connections ? min_u64(o->connections, CONNECTIONS_MAX) : CONNECTIONS;
        struct fetch *f;
        int r;

        r = fetch_options_check(o, err);
        if (r < 0)
                return r;
        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        f->strict = o->strict;
        f->max_fetch = o->max_fetch;
        gate_init(&f->gate, o->offline);
        r = policy_init(&f->policy, o->allow, o->deny, err);
        if (r == 0)
                r = workq_new("wfs-names", NAMES_THREADS, &f->names);
        if (r == 0)
                r = start_hub(f, o, connections, err);
        if (r == 0)
                r = start_resolver(f, o, ix);
        if (r == 0)
                r = start_filler(f, o, ix, connections);
        if (r < 0) {
                fetch_free(f);
                return r;
        }
        *ret = f;
        return 0;
}

struct fetch *fetch_free(struct fetch *f)
{
        if (!f)
                return NULL;
        if (f->resolver)
                resolver_stop(f->resolver);
        if (f->filler)
                filler_stop(f->filler);
        if (f->hub)
                hub_suspend(f->hub);
        gate_abandon(&f->gate);
        resolver_free(f->resolver); /* its last flights still use the filler and the names pool */
        filler_free(f->filler);
        workq_free(f->names);
        hub_free(f->hub);
        policy_done(&f->policy);
        gate_done(&f->gate);
        free(f);
        return NULL;
}

int fetch_repo(struct fetch *f, enum repo_type type, const char *name, const struct fetch_asker *asker,
               fetch_done_fn done, void *arg, struct fetch_wait **ret_wait)
{
        return resolver_repo(f->resolver, type, name, asker, done, arg, ret_wait);
}

void fetch_ask_anew(struct fetch *f)
{
        resolver_ask_anew(f->resolver);
}

int fetch_revision(struct fetch *f, int64_t repo, const char *revision, const struct fetch_asker *asker,
                   fetch_done_fn done, void *arg, struct fetch_wait **ret_wait)
{
        return resolver_revision(f->resolver, repo, revision, asker, done, arg, ret_wait);
}

int fetch_open(struct fetch *f, struct blob *b, fetch_done_fn done, void *arg, struct fetch_wait **ret_wait)
{
        return filler_open(f->filler, b, done, arg, ret_wait);
}

int fetch_read(struct fetch *f, struct blob *b, uint64_t start, uint64_t end, fetch_done_fn done, void *arg,
               struct fetch_wait **ret_wait)
{
        return filler_read(f->filler, b, start, end, done, arg, ret_wait);
}

int fetch_whole(struct fetch *f, struct blob *b, fetch_done_fn done, void *arg, struct fetch_wait **ret_wait)
{
        return filler_whole(f->filler, b, done, arg, ret_wait);
}

void fetch_verify(struct fetch *f, struct blob *b)
{
        filler_verify(f->filler, b);
}

void fetch_verify_all(struct fetch *f)
{
        filler_finish_held(f->filler);
        filler_link_all(f->filler);
        filler_verify_all(f->filler);
}

int fetch_reject(struct fetch *f, struct blob *b, enum repo_type type, const char *hub_name, const char *got)
{
        return filler_reject(f->filler, b, type, hub_name, got);
}

void fetch_found_wrong(struct fetch *f, struct blob *b, const char *got)
{
        filler_found_wrong(f->filler, b, got);
}

bool fetch_is_strict(const struct fetch *f)
{
        return f->strict;
}

bool fetch_policy_allows(const struct fetch *f, enum repo_type type, const char *name)
{
        return policy_allows(&f->policy, type, name);
}

bool fetch_is_offline(const struct fetch *f)
{
        return gate_is_offline(&f->gate);
}

int fetch_set_offline(struct fetch *f, bool offline, bool now, fetch_done_fn done, void *arg)
{
        int r = offline ? gate_close(&f->gate, now, done, arg) : gate_open(&f->gate, done, arg);

        filler_poke(f->filler);
        return r;
}

void fetch_get_status(struct fetch *f, struct fetch_status *ret)
{
        struct fill_space space = filler_space(f->filler);
        struct hub_status hub = { .reachable = true };
        unsigned waiting, transfers;

        if (f->hub)
                hub_get_status(f->hub, &hub);
        filler_counts(f->filler, &transfers, &waiting);
        *ret = (struct fetch_status){
                .offline = gate_is_offline(&f->gate),
                .offline_for_good = gate_mode(&f->gate) == GATE_FOR_GOOD,
                .hub_reachable = hub.reachable,
                .unreachable_since = hub.unreachable_since,
                .requests = hub.requests,
                .bytes = hub.bytes,
                .transfers = transfers,
                .waiting_reads = waiting,
                .keep_free = space.keep,
                .short_of_space = space.room == 0,
                .max_fetch = f->max_fetch,
                .paused_ms = hub.paused_ms,
                .not_asked = resolver_not_asked(f->resolver),
        };
        _Static_assert(sizeof(ret->last_error) == sizeof(hub.last_error), "copied whole");
        memcpy(ret->last_error, hub.last_error, sizeof(ret->last_error));
}

uint64_t fetch_room(struct fetch *f)
{
        return filler_space(f->filler).room;
}

int fetch_get_limits(struct fetch *f, struct fetch_limit **ret, size_t *ret_count)
{
        return filler_limits(f->filler, ret, ret_count);
}

int fetch_get_fills(struct fetch *f, struct fetch_fill_info **ret, size_t *ret_count)
{
        return filler_fills(f->filler, ret, ret_count);
}

int fetch_get_verdicts(struct fetch *f, struct fetch_verdict **ret, size_t *ret_count)
{
        return filler_verdicts(f->filler, ret, ret_count);
}
