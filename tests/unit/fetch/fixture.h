/*
 * A fetch over the fake hub with a store of its own, and waiting for answers.
 */
#pragma once

#include "fake_hub.h"

#include "fetch/fetch.h"

#include <ftw.h>
#include <stdatomic.h>

static struct index ix;
static struct fetch *fetch;
static char dir[64];
static struct fetch_options options;
static atomic_int events_whole, events_mode;

struct answer {
        pthread_mutex_t lock;
        pthread_cond_t came;
        int count, result;
        struct fetch_wait *wait;
};
#define ANSWER_INIT { .lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER }

static void answered(void *arg, int result)
{
        struct answer *a = arg;

        pthread_mutex_lock(&a->lock);
        a->count++;
        a->result = result;
        pthread_cond_broadcast(&a->came);
        pthread_mutex_unlock(&a->lock);
}

static int answer_count(struct answer *a)
{
        int n;

        pthread_mutex_lock(&a->lock);
        n = a->count;
        pthread_mutex_unlock(&a->lock);
        return n;
}

/* The final result of a question that returned @r. */
static int await(struct answer *a, int r)
{
        if (r != FETCH_PENDING) {
                ck_assert_ptr_null(a->wait);
                return r;
        }
        pthread_mutex_lock(&a->lock);
        while (a->count == 0)
                pthread_cond_wait(&a->came, &a->lock);
        r = a->result;
        pthread_mutex_unlock(&a->lock);
        fetch_wait_unref(a->wait);
        a->wait = NULL;
        return r;
}

static void on_whole(void *arg, int64_t blob)
{
        (void)arg, (void)blob;
        events_whole++;
}

static void on_mode(void *arg, bool offline)
{
        (void)arg, (void)offline;
        events_mode++;
}

/* Waits until it holds; far longer than it takes on any machine. */
#define AWAIT(condition)                                          \
        do {                                                      \
                for (int i_ = 0; i_ < 6000 && !(condition); i_++) \
                        usleep(10000);                            \
                ck_assert(condition);                             \
        } while (0)

/* In place of the C library's, and refused: a machine that is busy would never come to what is idle. */
int pthread_setschedparam(pthread_t thread, int policy, const struct sched_param *param)
{
        (void)thread, (void)policy, (void)param;
        return EPERM;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
        (void)st, (void)flag, (void)ftw;
        return remove(path);
}

static void open_all(void)
{
        struct index_options io = {};
        char store[96], state[96];
        struct errmsg err = {};
        int r;

        snprintf(store, sizeof(store), "%s/store", dir);
        snprintf(state, sizeof(state), "%s/state", dir);
        io.store = store;
        io.state = state;
        r = index_open(&io, &ix, &err);
        ck_assert_msg(r == 0, "index_open: %d %s", r, err.text);
        options.endpoint = "https://hub.example";
        options.events = (struct fetch_events){ .blob_whole = on_whole, .mode_changed = on_mode };
        r = fetch_new(&options, &ix, &fetch, &err);
        ck_assert_msg(r == 0, "fetch_new: %d %s", r, err.text);
}

static void close_all(void)
{
        fetch = fetch_free(fetch);
        index_close(&ix);
}

static void setup(void)
{
        const char *tmp = getenv("TMPDIR");

        fake_reset();
        options = (struct fetch_options){};
        events_whole = events_mode = 0;
        snprintf(dir, sizeof(dir), "%s/weightfs-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
        ck_assert_ptr_nonnull(mkdtemp(dir));
        open_all();
}

static void teardown(void)
{
        close_all();
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Opens anew, with the present options. */
__attribute__((unused)) static void reopen(void)
{
        close_all();
        FAKE_SET(suspended, false);
        open_all();
}

static int ask_repo(const char *name)
{
        struct answer a = ANSWER_INIT;

        return await(&a, fetch_repo(fetch, REPO_MODEL, name, NULL, answered, &a, &a.wait));
}

static int ask_revision(int64_t repo, const char *revision)
{
        struct answer a = ANSWER_INIT;

        return await(&a, fetch_revision(fetch, repo, revision, NULL, answered, &a, &a.wait));
}

/* The repo "Org/Name" with its main. */
static struct repo know_main(void)
{
        struct repo repo;

        ck_assert_int_eq(ask_repo("Org/Name"), 0);
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "Org/Name", &repo), 0);
        ck_assert_int_eq(ask_revision(repo.id, "main"), 0);
        return repo;
}
