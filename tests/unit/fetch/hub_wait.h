/*
 * Waiting for answers of the hub client in tests.
 */
#pragma once

#include "base/clock.h"
#include "fetch/hub.h"
#include "fetch/loopback.h" /* of the tests */

#include <check.h>

#define SHA "2dc08b204b59d95a436248b89b5bcd028b4a89a3"
#define SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

#define PATIENT_MS 60000 /* for what is answered at once, by machines that are busy too */

struct answer {
        pthread_mutex_t lock;
        pthread_cond_t cond;
        int calls, result; /* protected by lock, as what follows */
        struct hub_repo_info info;
        struct tree tree;
        struct hub_location location;
        uint64_t retry_after_ms;
        char bytes[4096];
        uint64_t first, got;
        int refuse; /* what the sink's data function returns */
};

static inline void answer_init(struct answer *a)
{
        memset(a, 0, sizeof(*a));
        pthread_mutex_init(&a->lock, NULL);
        pthread_cond_init(&a->cond, NULL);
}

static inline void answer_done(struct answer *a)
{
        tree_done(&a->tree);
        hub_location_done(&a->location);
}

static inline void answer_set(struct answer *a, int result)
{
        pthread_mutex_lock(&a->lock);
        a->result = result;
        a->calls++;
        pthread_cond_signal(&a->cond);
        pthread_mutex_unlock(&a->lock);
}

static inline int answer_wait(struct answer *a)
{
        int r;

        pthread_mutex_lock(&a->lock);
        while (a->calls == 0)
                pthread_cond_wait(&a->cond, &a->lock);
        r = a->result;
        ck_assert_int_eq(a->calls, 1);
        a->calls = 0;
        pthread_mutex_unlock(&a->lock);
        return r;
}

static inline void on_repo(void *arg, int result, const struct hub_repo_info *info)
{
        struct answer *a = arg;

        if (result == 0)
                a->info = *info;
        answer_set(a, result);
}

static inline void on_tree(void *arg, int result, struct tree *tree)
{
        struct answer *a = arg;

        if (result == 0) {
                a->tree = *tree;
                *tree = (struct tree){};
        }
        answer_set(a, result);
}

static inline void on_location(void *arg, int result, struct hub_location *location)
{
        struct answer *a = arg;

        if (result == 0) {
                a->location = *location;
                *location = (struct hub_location){};
        }
        answer_set(a, result);
}

static inline int on_bytes(void *arg, uint64_t offset, const void *buf, size_t len)
{
        struct answer *a = arg;

        if (a->refuse)
                return a->refuse;
        if (a->got == 0)
                a->first = offset;
        ck_assert_uint_eq(offset, a->first + a->got);
        if (a->got + len <= sizeof(a->bytes))
                memcpy(a->bytes + a->got, buf, len);
        a->got += len;
        return 0;
}

static inline void on_range_done(void *arg, int result, uint64_t retry_after_ms)
{
        struct answer *a = arg;

        a->retry_after_ms = retry_after_ms;
        answer_set(a, result);
}

static inline struct hub *hub_for(const char *url, const char *token_file)
{
        struct hub_options o = { .endpoint = url, .token_file = token_file, .connections = 4 };
        struct errmsg err = {};
        struct hub *h;

        ck_assert_msg(hub_new(&o, &h, &err) == 0, "%s", err.text);
        return h;
}

/* Asks for the repo org/name and waits. */
static inline int ask_repo(struct hub *h, const char *revision, unsigned deadline_ms, struct answer *a)
{
        ck_assert_int_eq(hub_repo_info(h, REPO_MODEL, "org/name", revision, clock_ms() + deadline_ms, on_repo,
                                       a, NULL),
                         0);
        return answer_wait(a);
}
