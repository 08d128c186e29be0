/*
 * Calls: their life, the verdict on an attempt, retries, redirects, a token that changed.
 *
 * Invariants
 *  H1  A call's function is called exactly once, by call_finish(), unless the start failed.
 *  H2  The token is in a request only when that goes to the endpoint's origin.
 *  H3  Trouble is never turned into HUB_E_ABSENT. Only what the hub itself says is: an X-Error-Code,
 *      or 404, 410 or (asked without a token) 401 with JSON or an X-Error-Message. A bare 404 is
 *      what gateways and captive portals answer, too.
 *  H4  A call for names ends by its deadline, also on a host that swallows everything: the engine
 *      watches the deadline, and no wait is begun that ends after it.
 */
#include "fetch/hub_call.h"

#define LOG_COMPONENT "hub"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define REDIRECTS_MAX 5
#define BACKOFF_FIRST_MS 300
#define BACKOFF_MAX_MS 5000
#define ATTEMPT_IDLE_MIN_MS 3000
#define ATTEMPT_IDLE_LEAST 256         /* bytes: an answer's head, or some of its body */
#define PROGRESS_LEAST 4096            /* bytes of a body that move the deadline */
#define HEADERS_MAX (256u << 10)       /* bytes of an answer's header, interim ones included */
#define HELD_MAX ((size_t)512 << 20)   /* bytes of memory of all answers together: a hub may be hostile */
#define SKIP_MAX (64u << 10) /* bytes of an error's body that are read to keep the connection */

/* ---- life ---- */

int call_new(struct hub *h, const struct call_kind *kind, char *url, struct hub_call **ret)
{
        struct hub_call *c = url ? calloc(1, sizeof(*c)) : NULL;

        if (!c) {
                free(url);
                return -ENOMEM;
        }
        c->hub = h;
        c->kind = kind;
        c->url = url;
        c->own = true;
        c->owners = 1;
        list_init(&c->node);
        http_answer_init(&c->answer);
        *ret = c;
        return 0;
}

static void free_headers(struct hub_call *c)
{
        for (struct curl_slist *s = c->transfer.headers; s; s = s->next)
                explicit_bzero(s->data, strlen(s->data)); /* the token is in one of them */
        curl_slist_free_all(c->transfer.headers);
        c->transfer.headers = NULL;
}

void hub_call_unref(struct hub_call *c)
{
        if (!c || atomic_fetch_sub(&c->owners, 1) != 1)
                return;
        if (c->kind->release)
                c->kind->release(c);
        free_headers(c);
        token_wipe(c->token);
        http_answer_done(&c->answer);
        free(c->body);
        free(c->url);
        free(c);
}

static struct engine *engine_of(const struct hub_call *c)
{
        return c->kind->bulk ? c->hub->bulk : c->hub->names;
}

void hub_cancel(struct hub_call *c)
{
        struct hub *h = c->hub;

        if (c->finished) /* then the hub itself may be gone */
                return;
        lock_take(&h->lock);
        if (!c->finished)
                engine_cancel(engine_of(c), &c->transfer);
        lock_drop(&h->lock);
}

static int add_header(struct hub_call *c, const char *line)
{
        struct curl_slist *grown = curl_slist_append(c->transfer.headers, line);

        if (!grown)
                return -ENOMEM;
        c->transfer.headers = grown;
        return 0;
}

static int add_authorization(struct hub_call *c)
{
        static const char name[] = "Authorization: Bearer ";
        char line[sizeof(name) + TOKEN_MAX];
        int r;

        snprintf(line, sizeof(line), "%s%s", name, c->token);
        r = add_header(c, line);
        explicit_bzero(line, sizeof(line));
        return r;
}

/* Sets up the headers of what is to be sent next. */
static int authorize(struct hub_call *c, bool again)
{
        char range[80];
        int r = 0;

        free_headers(c);
        token_wipe(take_ptr(c->token));
        if (c->own && c->hub->token_allowed) /* H2 */
                r = token_get(c->hub->token, again, &c->token);
        if (r == 0 && c->token)
                r = add_authorization(c);
        if (r == 0)
                r = add_header(c, "Accept-Encoding: identity");
        if (r == 0 && c->anew)
                r = add_header(c, "Cache-Control: no-cache");
        if (r == 0 && c->kind->bulk) {
                snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, c->range.start,
                         c->range.end - 1);
                r = add_header(c, range);
        }
        return r;
}

int call_renew_token(struct hub_call *c, bool *ret_changed)
{
        char *before = take_ptr(c->token);
        int r = authorize(c, true);

        c->token_retried = true;
        if (r == 0)
                *ret_changed = before && c->token ? strcmp(before, c->token) != 0 : before != c->token;
        token_wipe(before);
        return r;
}

int call_start(struct hub_call *c, const struct transfer_ops *ops, struct hub_call **ret_call)
{
        struct hub *h = c->hub;
        int r = authorize(c, false);

        c->transfer.ops = ops;
        c->transfer.url = c->url;
        c->transfer.foreign = !c->own;
        c->transfer.head = c->kind->head;
        lock_take(&h->lock);
        if (r == 0 && h->suspended)
                r = -ENETDOWN;
        if (r == 0) {
                list_push(&h->calls, &c->node);
                if (ret_call) {
                        c->owners++;
                        *ret_call = c; /* before the first thing can happen to it */
                }
                r = engine_submit(engine_of(c), &c->transfer);
                if (r < 0) {
                        list_remove(&c->node);
                        if (ret_call) {
                                c->owners--;
                                *ret_call = NULL;
                        }
                }
        }
        lock_drop(&h->lock);
        if (r < 0)
                hub_call_unref(c);
        return r;
}

void call_finish(struct hub_call *c, int result)
{
        struct hub *h = c->hub;

        lock_take(&h->lock);
        list_remove(&c->node);
        if (c->transfer.cancel)
                result = -ECANCELED;
        c->finished = true; /* hub_cancel() is without effect from here on */
        lock_drop(&h->lock);
        free(take_ptr(c->body)); /* what counts was taken out of it */
        atomic_fetch_sub(&h->held, c->held);
        c->kind->deliver(c, result);
        hub_call_unref(c);
}

static void run_work(struct work *w)
{
        struct hub_call *c = LIST_OWNER(w, struct hub_call, work);

        c->next(c);
}

void call_to_worker(struct hub_call *c, void (*next)(struct hub_call *c))
{
        c->next = next;
        workq_push(c->hub->workers, &c->work, run_work);
}

int call_hold(struct hub_call *c, size_t bytes)
{
        if (atomic_fetch_add(&c->hub->held, bytes) + bytes > HELD_MAX) {
                atomic_fetch_sub(&c->hub->held, bytes);
                log_debug("%s: all answers together are too large", c->kind->word);
                return HUB_E_UNREACHABLE;
        }
        c->held += bytes;
        return 0;
}

int call_header(struct hub_call *c, const char *line, size_t len)
{
        c->header_len += len;
        return c->header_len > HEADERS_MAX ? HUB_E_MALFORMED : http_answer_line(&c->answer, line, len);
}

void call_reset_answer(struct hub_call *c)
{
        http_answer_done(&c->answer);
        http_answer_init(&c->answer);
        c->body_len = c->skipped = c->header_len = 0;
        c->failed = 0;
}

void call_again(struct hub_call *c)
{
        int r;

        call_reset_answer(c);
        c->transfer.url = c->url;
        c->transfer.foreign = !c->own;
        r = engine_submit(engine_of(c), &c->transfer);
        if (r < 0)
                call_finish(c, r);
}

/* ---- the engine's callbacks for names ---- */

static uint64_t name_when(struct transfer *t, uint64_t now)
{
        struct hub_call *c = LIST_OWNER(t, struct hub_call, transfer);
        uint64_t when;

        if (c->not_before > now)
                return c->not_before;
        when = call_pace(c, now);
        if (when > now)
                return when;
        /* One attempt may not use up all the time: a connection can be dead without a word. */
        t->idle_ms = max_u64((t->deadline - now) / 2, ATTEMPT_IDLE_MIN_MS);
        t->idle_least = ATTEMPT_IDLE_LEAST;
        return now;
}

static int name_header(struct transfer *t, const char *line, size_t len)
{
        struct hub_call *c = LIST_OWNER(t, struct hub_call, transfer);

        c->failed = call_header(c, line, len);
        return c->failed;
}

static int keep_body(struct hub_call *c, const void *buf, size_t len)
{
        if (len > c->kind->body_max - c->body_len)
                return HUB_E_MALFORMED;
        if (c->body_len + len > c->body_capacity) {
                size_t capacity = max_u64(2 * c->body_capacity, c->body_len + len);
                char *grown;
                int r;

                capacity = min_u64(capacity, c->kind->body_max);
                r = call_hold(c, capacity - c->body_capacity);
                if (r != 0)
                        return r;
                grown = realloc(c->body, capacity);
                if (!grown)
                        return -ENOMEM;
                c->body = grown;
                c->body_capacity = capacity;
        }
        memcpy(c->body + c->body_len, buf, len);
        c->body_len += len;
        return 0;
}

static int name_data(struct transfer *t, const void *buf, size_t len)
{
        struct hub_call *c = LIST_OWNER(t, struct hub_call, transfer);

        c->hub->bytes += len;
        if (c->answer.status != 200) {
                c->skipped += len;
                return c->skipped > SKIP_MAX; /* the status says it all */
        }
        c->failed = keep_body(c, buf, len);
        if (c->idle_ms && c->body_len >= c->furthest + PROGRESS_LEAST) { /* the same bytes again are no progress */
                c->furthest = c->body_len;
                t->deadline = clock_ms() + c->idle_ms;
                if (c->latest != 0)
                        t->deadline = min_u64(t->deadline, c->latest);
        }
        return c->failed;
}

/* ---- the verdict ---- */

enum verdict { VERDICT_RESULT, VERDICT_ANSWER, VERDICT_RETRY, VERDICT_REDIRECT, VERDICT_TOKEN };

/* What a status that is no success means; see H3. Sources: huggingface_hub hf_raise_for_status(). */
static enum verdict judge_refusal(struct hub_call *c)
{
        const struct http_answer *a = &c->answer;
        bool by_hub = a->json || a->error_message[0] != '\0';

        c->result = HUB_E_MALFORMED; /* 400 and other things that the API does not promise */
        if (a->status == 408 || a->status == 429 || a->status >= 500)
                return VERDICT_RETRY;
        if (a->status == 407) {
                c->result = HUB_E_UNREACHABLE;
                return VERDICT_RESULT;
        }
        if (a->status == 401 && !c->token_retried)
                return VERDICT_TOKEN;
        if (strcmp(a->error_code, "GatedRepo") == 0)
                c->result = HUB_E_FORBIDDEN;
        else if (strcmp(a->error_code, "RepoNotFound") == 0 || strcmp(a->error_code, "EntryNotFound") == 0 ||
                 strcmp(a->error_code, "RevisionNotFound") == 0)
                c->result = HUB_E_ABSENT;
        else if (a->status == 403 || a->status == 451 || (a->status == 401 && c->token))
                c->result = HUB_E_FORBIDDEN;
        else if (by_hub && (a->status == 401 || a->status == 404 || a->status == 410))
                c->result = HUB_E_ABSENT; /* H3 */
        return VERDICT_RESULT;
}

static enum verdict judge_status(struct hub_call *c)
{
        switch (c->answer.status) {
        case 200:
                c->result = HUB_E_MALFORMED;
                return c->answer.encoded || c->answer.length == -2 ? VERDICT_RESULT : VERDICT_ANSWER;
        case 301:
        case 302:
        case 303:
        case 307:
        case 308:
                return VERDICT_REDIRECT;
        default:
                if (c->answer.status >= 400)
                        return judge_refusal(c);
                c->result = HUB_E_MALFORMED;
                return VERDICT_RESULT;
        }
}

static enum verdict judge(struct hub_call *c, int end)
{
        if (end < 0 || c->failed != 0) {
                c->result = end < 0 ? end : c->failed;
                return VERDICT_RESULT;
        }
        if (c->answer.headers_ended && (end == 0 || c->answer.status != 200))
                return judge_status(c);
        if (end == ENGINE_E_DEADLINE) {
                c->result = HUB_E_UNREACHABLE;
                return VERDICT_RESULT;
        }
        return VERDICT_RETRY;
}

/* ---- what follows from it ---- */

static void deliver_result(struct hub_call *c)
{
        call_finish(c, c->result);
}

static void end_name(struct hub_call *c, int result)
{
        c->result = result;
        call_to_worker(c, deliver_result); /* callers' functions never run on the engine's thread */
}

/* Worker: the answer is whole. */
static void take_answer(struct hub_call *c)
{
        int r = c->kind->answered(c);

        if (r != CALL_AGAIN) {
                call_finish(c, r);
                return;
        }
        c->transfer.fresh = c->anew;
        call_again(c);
}

/* Worker: a 401. A token that was rewritten on disk (or appeared there) is tried once. */
static void try_new_token(struct hub_call *c)
{
        bool changed;
        int r = call_renew_token(c, &changed);

        if (r != 0) {
                call_finish(c, r);
        } else if (changed) {
                log_debug("%s: the token changed; once more", c->kind->word);
                call_again(c);
        } else {
                judge_refusal(c);
                call_finish(c, c->result);
        }
}

/* Full jitter: up to twice as much after each attempt. */
static uint64_t backoff_ms(unsigned attempts)
{
        uint64_t limit = min_u64((uint64_t)BACKOFF_FIRST_MS << min_u64(attempts, 8), BACKOFF_MAX_MS);
        uint32_t random = 0;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
                random = UINT32_MAX / 2;
        return limit * random / UINT32_MAX;
}

/* Engine's thread. */
static void retry(struct hub_call *c)
{
        uint64_t now = clock_ms(), when = now + backoff_ms(c->attempts++);

        when = max_u64(when, pace_when(&c->hub->pace[c->bucket], now));
        if (when >= c->transfer.deadline) { /* H4 */
                end_name(c, HUB_E_UNREACHABLE);
                return;
        }
        log_debug("%s: again in %" PRIu64 " ms", c->kind->word, when - now);
        c->not_before = when;
        c->transfer.fresh = c->anew || c->answer.status == 0; /* it heard nothing: not on that path again */
        call_again(c);
}

/* Engine's thread. A target on the endpoint's own origin is followed; another is an answer to
 * those that ask for one, and else trouble (a captive portal). */
static void redirect(struct hub_call *c)
{
        CLEANUP_FREE char *url = NULL;
        struct http_origin origin = {};
        bool own;
        int r = c->answer.location ? http_url_resolve(c->url, c->answer.location, &url) : HTTP_E_URL;

        if (r == 0)
                r = http_url_origin(url, &origin);
        own = r == 0 && http_origin_equal(&origin, &c->hub->origin);
        /* from https to plain http: not a step that an honest hub asks for */
        if (r == 0 && !own &&
            (!c->kind->leaves || (http_origin_secure(&c->hub->origin) && !http_origin_secure(&origin))))
                r = HTTP_E_URL;
        http_origin_done(&origin);
        if (r == 0 && (++c->redirects > REDIRECTS_MAX || strcmp(url, c->url) == 0))
                r = HTTP_E_URL;
        if (r != 0) {
                end_name(c, r < 0 ? r : HUB_E_MALFORMED);
                return;
        }
        free(c->url);
        c->url = take_ptr(url);
        c->own = own;
        if (c->kind->leaves)
                call_to_worker(c, take_answer);
        else
                call_again(c);
}

static void name_done(struct transfer *t, int end, const char *why)
{
        struct hub_call *c = LIST_OWNER(t, struct hub_call, transfer);

        call_note(c, end, why);
        switch (judge(c, end)) {
        case VERDICT_RESULT:
                end_name(c, c->result);
                break;
        case VERDICT_ANSWER:
                call_to_worker(c, take_answer);
                break;
        case VERDICT_RETRY:
                retry(c);
                break;
        case VERDICT_REDIRECT:
                redirect(c);
                break;
        case VERDICT_TOKEN:
                call_to_worker(c, try_new_token);
                break;
        }
}

static const struct transfer_ops name_ops = {
        .when = name_when,
        .header = name_header,
        .data = name_data,
        .done = name_done,
};

int call_start_name(struct hub_call *c, uint64_t deadline, struct hub_call **ret_call)
{
        c->transfer.deadline = deadline;
        return call_start(c, &name_ops, ret_call);
}
