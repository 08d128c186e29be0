/*
 * Tests of the resolver (fetch/resolve*.c) over a fake hub, with the real index. Time passes only where a test says so.
 */
#include "fetch/fetch.c" /* struct fetch: what the resolver has come to is waited for, not slept for */
#include "fetch/resolve_internal.h"

#include "fixture.h"

#include <fcntl.h>
#include <sys/syscall.h>

#define OTHER_SHA "3333333333333333333333333333333333333333"

static _Atomic uint64_t skipped_ms;

/* In place of the C library's. It is behind the kernel's: who sleeps until a moment of this one does not sleep. */
int clock_gettime(clockid_t id, struct timespec *ret)
{
        uint64_t ms = 1000 + skipped_ms;

        if (id != CLOCK_MONOTONIC)
                return (int)syscall(SYS_clock_gettime, id, ret);
        *ret = (struct timespec){ (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };
        return 0;
}

static void skip(uint64_t ms)
{
        skipped_ms += ms;
}

static bool store_has(const char *path)
{
        return faccessat(store_hub_fd(ix.store), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static uint64_t tell_number(void *arg)
{
        return (uint64_t)*(int *)arg;
}

/* Makes the ref look as if it was confirmed long ago. */
static void age_ref(int64_t repo, const char *name)
{
        struct ref ref;

        ck_assert_int_eq(catalog_ref_find(ix.catalog, repo, name, &ref), 0);
        ck_assert_int_eq(catalog_ref_set(ix.catalog, repo, name, ref.commit, 1000, &ref), 0);
}

START_TEST(a_repo_becomes_known_once)
{
        struct repo repo;

        ck_assert_int_eq(ask_repo("Org/Name"), 0);
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "Org/Name", &repo), 0);
        ck_assert(repo.resolved);
        ck_assert_int_eq(ask_repo("Org/Name"), 0);
        ck_assert_uint_eq(FAKE_GET(infos), 1);
}
END_TEST

START_TEST(absent_is_remembered)
{
        struct repo repo;

        ck_assert_int_eq(ask_repo("No/Such"), FETCH_E_ABSENT);
        ck_assert_int_eq(ask_repo("No/Such"), FETCH_E_ABSENT);
        ck_assert_uint_eq(FAKE_GET(infos), 1);
        ck_assert_int_eq(ask_repo("no--id"), FETCH_E_ABSENT);
        ck_assert_uint_eq(FAKE_GET(infos), 1);
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "No/Such", &repo), CATALOG_E_NONE);
}
END_TEST

START_TEST(forbidden_is_remembered)
{
        FAKE_SET(info_result, HUB_E_FORBIDDEN);
        ck_assert_int_eq(ask_repo("Org/Name"), FETCH_E_FORBIDDEN);
        ck_assert_int_eq(ask_repo("Org/Name"), FETCH_E_FORBIDDEN);
        ck_assert_uint_eq(FAKE_GET(infos), 1);
}
END_TEST

START_TEST(unreachable_is_not_remembered)
{
        FAKE_SET(info_result, _i == 0 ? HUB_E_UNREACHABLE : HUB_E_MALFORMED);
        ck_assert_int_eq(ask_repo("Org/Name"), FETCH_E_UNREACHABLE);
        FAKE_SET(info_result, 0);
        ck_assert_int_eq(ask_repo("Org/Name"), 0);
}
END_TEST

START_TEST(a_renamed_repo_keeps_the_name_asked_for)
{
        struct repo repo;

        FAKE_COPY(renamed, "New/Name");
        ck_assert_int_eq(ask_repo("Old/Name"), 0);
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "Old/Name", &repo), 0);
        ck_assert_str_eq(repo.hub_name, "New/Name");
        ck_assert_int_eq(ask_revision(repo.id, "main"), 0);
        ck_assert(store_has("models--New--Name/refs/main"));
        ck_assert(store_has("models--Old--Name"));
}
END_TEST

START_TEST(policy_comes_first)
{
        static const char *const deny[] = { "Org/*", "New/*", NULL };
        struct repo repo = know_main();
        unsigned infos;

        options.deny = deny;
        reopen();
        infos = FAKE_GET(infos);
        ck_assert_int_eq(ask_repo("Org/Name"), FETCH_E_POLICY);
        ck_assert_int_eq(ask_revision(repo.id, "main"), FETCH_E_POLICY);
        ck_assert_int_eq(ask_repo("Org/Other"), FETCH_E_POLICY);
        ck_assert_uint_eq(FAKE_GET(infos), infos);
        FAKE_COPY(renamed, "New/Name");
        ck_assert_int_eq(ask_repo("Old/Name"), FETCH_E_POLICY);
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "Old/Name", &repo), CATALOG_E_NONE);
        ck_assert(!fetch_policy_allows(fetch, REPO_MODEL, "Org/X"));
        ck_assert(fetch_policy_allows(fetch, REPO_DATASET, "Org/X"));
}
END_TEST

START_TEST(a_revision_brings_its_listing)
{
        struct repo repo = know_main();
        struct commit commit;
        struct ref ref;

        ck_assert_int_eq(catalog_ref_find(ix.catalog, repo.id, "main", &ref), 0);
        ck_assert_str_eq(ref.sha, FAKE_SHA);
        ck_assert_int_eq(catalog_commit_get(ix.catalog, ref.commit, &commit), 0);
        ck_assert(commit.whole_listing);
        ck_assert_uint_eq(commit.files, FAKE_FILES);
        ck_assert_int_eq(commit.mtime, 1700000000);
        ck_assert(store_has("models--Org--Name/trees/" FAKE_SHA ".json"));
        ck_assert(store_has("models--Org--Name/refs/main"));
        ck_assert_uint_eq(FAKE_GET(infos), 1); /* the repo's own answer told the commit */
        ck_assert_int_eq(ask_revision(repo.id, "main"), 0);
        ck_assert_int_eq(ask_revision(repo.id, FAKE_SHA), 0);
        ck_assert_uint_eq(FAKE_GET(infos), 1);
        ck_assert_uint_eq(FAKE_GET(trees), 1);
}
END_TEST

START_TEST(an_old_ref_is_confirmed)
{
        struct repo repo = know_main();
        struct ref ref;
        int64_t changed;

        age_ref(repo.id, "main");
        changed = catalog_changed_ns(ix.catalog);
        ck_assert_int_eq(ask_revision(repo.id, "main"), 0);
        ck_assert_uint_eq(FAKE_GET(infos), 2);
        ck_assert_uint_eq(FAKE_GET(trees), 1);
        ck_assert_int_eq(catalog_ref_find(ix.catalog, repo.id, "main", &ref), 0);
        ck_assert_int_gt(ref.checked, 1000);
        ck_assert_int_eq(catalog_changed_ns(ix.catalog), changed); /* listings are as they were */
        age_ref(repo.id, "main");
        FAKE_COPY(sha, OTHER_SHA);
        ck_assert_int_eq(ask_revision(repo.id, "main"), 0);
        ck_assert_int_eq(catalog_ref_find(ix.catalog, repo.id, "main", &ref), 0);
        ck_assert_str_eq(ref.sha, OTHER_SHA);
        ck_assert_int_gt(catalog_changed_ns(ix.catalog), changed);
}
END_TEST

START_TEST(what_is_held_answers_for_a_hub_that_is_down)
{
        struct repo repo = know_main();

        age_ref(repo.id, "main");
        FAKE_SET(info_result, HUB_E_UNREACHABLE);
        ck_assert_int_eq(ask_revision(repo.id, "main"), 0);
        ck_assert_int_eq(ask_revision(repo.id, "v1"), FETCH_E_UNREACHABLE);
        ck_assert_int_eq(ask_revision(repo.id, OTHER_SHA), FETCH_E_UNREACHABLE);
}
END_TEST

/* ---- R5: a hub that fails, or is slow ---- */

/* main and refs/pr/1, both confirmed long ago. */
static int64_t know_two_old_refs(void)
{
        int64_t repo = know_main().id;

        ck_assert_int_eq(ask_revision(repo, "refs/pr/1"), 0);
        age_ref(repo, "main");
        age_ref(repo, "refs/pr/1");
        return repo;
}

/* What is held answers, with no wait at all. */
static void assert_at_once(int64_t repo, const char *revision)
{
        struct answer a = ANSWER_INIT;

        ck_assert_int_eq(fetch_revision(fetch, repo, revision, NULL, answered, &a, &a.wait), 0);
}

/* No flight is left, and what the last one learnt of the hub is noted. */
static void await_quiet(void)
{
        AWAIT(resolver_is_idle(fetch->resolver));
}

/* A question waits at the hub, which holds them. */
static void await_held(void)
{
        AWAIT(FAKE_GET(held) == 1);
}

/* A copy of something of the resolver's. */
#define RESOLVER_GET(expression)                       \
        ({                                             \
                struct resolver *rs = fetch->resolver; \
                __typeof__(expression) v_;             \
                lock_take(&rs->lock);                  \
                v_ = (expression);                     \
                lock_drop(&rs->lock);                  \
                v_;                                    \
        })

static bool ref_is_at(int64_t repo, const char *name, const char *sha)
{
        struct ref ref;

        ck_assert_int_eq(catalog_ref_find(ix.catalog, repo, name, &ref), 0);
        return strcmp(ref.sha, sha) == 0;
}

static void await_ref_at(int64_t repo, const char *name, const char *sha)
{
        AWAIT(ref_is_at(repo, name, sha));
}

/* The first one's flight fails, and goes on aside; nobody waits for it, nor for what comes after it. */
START_TEST(a_hub_that_fails_is_waited_for_once)
{
        int64_t repo = know_two_old_refs();
        unsigned infos = FAKE_GET(infos);

        FAKE_SET(info_result, HUB_E_UNREACHABLE);
        ck_assert_int_eq(ask_revision(repo, "main"), 0);
        await_quiet();
        ck_assert_uint_eq(FAKE_GET(infos), infos + 2);
        FAKE_SET(hold_names, true);
        assert_at_once(repo, "main");
        assert_at_once(repo, "refs/pr/1");
        ck_assert(resolver_is_idle(fetch->resolver)); /* a pause */
        skip(RESOLVE_ASIDE_MS);
        assert_at_once(repo, "refs/pr/1"); /* the only one that is asked for now */
        assert_at_once(repo, "main");
        await_held();
        FAKE_COPY(sha, OTHER_SHA);
        FAKE_SET(info_result, 0);
        FAKE_SET(hold_names, false);
        await_ref_at(repo, "refs/pr/1", OTHER_SHA);
        ck_assert_uint_eq(FAKE_GET(infos), infos + 3);
        ck_assert(ref_is_at(repo, "main", FAKE_SHA));
        ck_assert_int_eq(ask_revision(repo, "main"), 0); /* that answer ended it: a lookup sees what moved */
        ck_assert(ref_is_at(repo, "main", OTHER_SHA));
}
END_TEST

START_TEST(a_slow_hub_is_asked_on_with_nobody_waiting)
{
        struct answer a = ANSWER_INIT;
        int64_t repo = know_two_old_refs();

        FAKE_SET(info_failures, 1); /* the time is over */
        FAKE_SET(hold_names, true);
        ck_assert_int_eq(fetch_revision(fetch, repo, "main", NULL, answered, &a, &a.wait), FETCH_PENDING);
        await_held();
        ck_assert_int_eq(answer_count(&a), 0); /* a hub that seemed well is waited for */
        FAKE_COPY(sha, OTHER_SHA);
        FAKE_SET(hold_names, false);
        ck_assert_int_eq(await(&a, FETCH_PENDING), 0);
        await_ref_at(repo, "main", OTHER_SHA);
}
END_TEST

/* The hub fails for one repo, which is asked for all the time: that does not take all turns aside. */
START_TEST(a_repo_that_fails_does_not_hide_what_moved_in_another)
{
        struct fetch_asker container = { tell_number, &(int){ 1 } };
        int64_t bad = know_main().id, good;
        static struct answer a = ANSWER_INIT;
        struct repo repo;
        bool seen = false;

        ck_assert_int_eq(ask_repo("Many/r1"), 0);
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "Many/r1", &repo), 0);
        good = repo.id;
        ck_assert_int_eq(ask_revision(good, "main"), 0);
        age_ref(bad, "main");
        age_ref(good, "main");
        FAKE_COPY(sha, OTHER_SHA);
        FAKE_COPY(failing, "Org/Name");
        ck_assert_int_eq(ask_revision(bad, "main"), 0);
        for (int i = 0; i < 1000 && !seen; i++) { /* 10 s, in which an answer takes no time */
                await_quiet();
                skip(10);
                (void)fetch_revision(fetch, bad, "main", &container, answered, &a, NULL);
                if (i % 50 == 49)
                        (void)fetch_revision(fetch, good, "main", &container, answered, &a, NULL);
                seen = ref_is_at(good, "main", OTHER_SHA);
        }
        ck_assert(seen);
}
END_TEST

/* A flight aside does not hold up a switch or the end, and none begins then. */
START_TEST(a_flight_aside_ends_with_the_network)
{
        struct answer off = ANSWER_INIT;
        int64_t repo = know_two_old_refs();

        FAKE_SET(info_failures, 2);
        ck_assert_int_eq(ask_revision(repo, "main"), 0);
        await_quiet();
        skip(RESOLVE_ASIDE_MS);
        FAKE_SET(hold_names, true);
        assert_at_once(repo, "main");
        await_held();
        if (_i == 0) { /* else the end of the test is the end */
                ck_assert_int_eq(await(&off, fetch_set_offline(fetch, true, false, answered, &off)), 0);
                assert_at_once(repo, "main");
                ck_assert_uint_eq(FAKE_GET(held), 0);
        }
}
END_TEST

/* Who asks for himself, or goes online, is not told what was held when the hub failed. */
START_TEST(a_failure_is_forgotten_by_who_asks_anew)
{
        struct answer a = ANSWER_INIT;
        int64_t repo = know_two_old_refs();

        FAKE_SET(info_failures, 2);
        ck_assert_int_eq(ask_revision(repo, "main"), 0);
        await_quiet();
        FAKE_COPY(sha, OTHER_SHA);
        if (_i == 0) {
                fetch_ask_anew(fetch);
        } else {
                ck_assert_int_eq(await(&a, fetch_set_offline(fetch, true, false, answered, &a)), 0);
                a = (struct answer)ANSWER_INIT;
                ck_assert_int_eq(await(&a, fetch_set_offline(fetch, false, false, answered, &a)), 0);
        }
        ck_assert_int_eq(ask_revision(repo, "refs/pr/1"), 0);
        ck_assert(ref_is_at(repo, "refs/pr/1", OTHER_SHA));
}
END_TEST

/* A flight that is aside answers containers at once, and a person when it is over. */
START_TEST(who_asks_anew_waits_for_a_flight_aside)
{
        struct answer mine = ANSWER_INIT, other = ANSWER_INIT;
        struct fetch_asker container = { tell_number, &(int){ 1 } };
        int64_t repo = know_two_old_refs();

        FAKE_SET(info_failures, 2);
        ck_assert_int_eq(ask_revision(repo, "main"), 0);
        await_quiet();
        skip(RESOLVE_ASIDE_MS);
        FAKE_SET(hold_names, true);
        assert_at_once(repo, "main");
        fetch_ask_anew(fetch);
        ck_assert_int_eq(fetch_revision(fetch, repo, "main", &container, answered, &other, NULL), 0);
        ck_assert_int_eq(fetch_revision(fetch, repo, "main", NULL, answered, &mine, &mine.wait), FETCH_PENDING);
        FAKE_COPY(sha, OTHER_SHA);
        FAKE_SET(hold_names, false);
        ck_assert_int_eq(await(&mine, FETCH_PENDING), 0);
        ck_assert(ref_is_at(repo, "main", OTHER_SHA));
}
END_TEST

START_TEST(a_ref_that_is_gone_is_removed)
{
        struct repo repo = know_main();
        struct ref ref;

        ck_assert_int_eq(ask_revision(repo.id, "refs/pr/1"), 0);
        age_ref(repo.id, "refs/pr/1");
        FAKE_SET(revision_result, HUB_E_ABSENT);
        ck_assert_int_eq(ask_revision(repo.id, "refs/pr/1"), FETCH_E_ABSENT);
        ck_assert_int_eq(catalog_ref_find(ix.catalog, repo.id, "refs/pr/1", &ref), CATALOG_E_NONE);
        ck_assert(!store_has("models--Org--Name/refs/refs/pr/1"));
        ck_assert(store_has("models--Org--Name/refs/main"));
        ck_assert_int_eq(ask_revision(repo.id, OTHER_SHA), FETCH_E_ABSENT);
        ck_assert_int_eq(ask_revision(repo.id, "bad..name"), FETCH_E_ABSENT);
}
END_TEST

START_TEST(the_folder_of_a_ref_becomes_known)
{
        struct repo repo = know_main();
        struct ref_dir folder;
        struct ref ref;

        FAKE_SET(revision_result, HUB_E_ABSENT);
        pthread_mutex_lock(&fake.lock);
        strcpy(fake.nested_ref, "feature/x");
        pthread_mutex_unlock(&fake.lock);
        ck_assert_int_eq(ask_revision(repo.id, "feature"), FETCH_E_ABSENT);
        ck_assert_int_eq(catalog_ref_find(ix.catalog, repo.id, "feature", &ref), CATALOG_E_NONE);
        ck_assert_int_eq(catalog_ref_dir_find(ix.catalog, repo.id, "feature", &folder), 0);
        ck_assert_int_eq(catalog_ref_find(ix.catalog, repo.id, "feature/x", &ref), 0);
        ck_assert(store_has("models--Org--Name/refs/feature/x"));
}
END_TEST

START_TEST(a_repo_that_seems_gone_loses_nothing)
{
        struct repo repo = know_main();
        struct ref ref;

        age_ref(repo.id, "main");
        FAKE_SET(info_result, HUB_E_ABSENT);
        FAKE_SET(revision_result, HUB_E_ABSENT);
        ck_assert_int_eq(ask_revision(repo.id, "main"), FETCH_E_ABSENT);
        ck_assert_int_eq(catalog_ref_find(ix.catalog, repo.id, "main", &ref), 0);
        ck_assert(store_has("models--Org--Name/refs/main"));
}
END_TEST

START_TEST(equal_questions_share_a_flight)
{
        static struct answer answers[50];
        int results[50];

        FAKE_SET(hold_names, true);
        for (int i = 0; i < 50; i++) {
                answers[i] = (struct answer)ANSWER_INIT;
                results[i] = fetch_repo(fetch, REPO_MODEL, "Org/Name", NULL, answered, &answers[i],
                                        &answers[i].wait);
                ck_assert_int_eq(results[i], FETCH_PENDING);
        }
        fetch_cancel(answers[7].wait);
        ck_assert_int_eq(answers[7].result, -ECANCELED);
        FAKE_SET(hold_names, false);
        for (int i = 0; i < 50; i++) {
                ck_assert_int_eq(await(&answers[i], results[i]), i == 7 ? -ECANCELED : 0);
                ck_assert_int_eq(answer_count(&answers[i]), 1);
        }
        ck_assert_uint_eq(FAKE_GET(infos), 1);
}
END_TEST

/* R6, with 2 s for a lookup: two join when 1.4 s are over, and the hub is well at the next question. */
START_TEST(who_joins_late_does_not_inherit_a_failure)
{
        struct answer early = ANSWER_INIT, late[2] = { ANSWER_INIT, ANSWER_INIT };
        const char *name = _i == 0 ? "Org/Name" : "Many/r1";

        options.lookup_deadline_s = 2;
        reopen();
        FAKE_SET(info_failures, _i == 0 ? 1 : 9);
        FAKE_SET(hold_names, true);
        ck_assert_int_eq(fetch_repo(fetch, REPO_MODEL, name, NULL, answered, &early, &early.wait), FETCH_PENDING);
        skip(1400);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(fetch_repo(fetch, REPO_MODEL, name, NULL, answered, &late[i], &late[i].wait),
                                 FETCH_PENDING);
        FAKE_SET(hold_names, false);
        ck_assert_int_eq(await(&early, FETCH_PENDING), FETCH_E_UNREACHABLE);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(await(&late[i], FETCH_PENDING), _i == 0 ? 0 : FETCH_E_UNREACHABLE);
        ck_assert_uint_eq(FAKE_GET(infos), 2); /* once, and one for both */
}
END_TEST

/* What fails at once is not asked for again at once. */
START_TEST(who_joins_early_shares_the_failure)
{
        struct answer a[2] = { ANSWER_INIT, ANSWER_INIT };

        FAKE_SET(info_result, HUB_E_UNREACHABLE);
        FAKE_SET(hold_names, true);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(fetch_repo(fetch, REPO_MODEL, "Org/Name", NULL, answered, &a[i], &a[i].wait),
                                 FETCH_PENDING);
        FAKE_SET(hold_names, false);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(await(&a[i], FETCH_PENDING), FETCH_E_UNREACHABLE);
        ck_assert_uint_eq(FAKE_GET(infos), 1);
}
END_TEST

START_TEST(a_flood_is_paced_and_never_absent)
{
        static struct answer answers[200];
        unsigned served = 0, refused = 0;
        char name[32];
        int results[200];

        for (int i = 0; i < 200; i++) {
                answers[i] = (struct answer)ANSWER_INIT;
                snprintf(name, sizeof(name), "Many/r%d", i);
                results[i] = fetch_repo(fetch, REPO_MODEL, name, NULL, answered, &answers[i], &answers[i].wait);
        }
        for (int i = 0; i < 200; i++) {
                int r = await(&answers[i], results[i]);

                ck_assert(r == 0 || r == FETCH_E_UNREACHABLE);
                served += r == 0;
                refused += r != 0;
        }
        ck_assert_uint_ge(served, MEMORY_BURST);
        ck_assert_uint_ge(refused, 100);
}
END_TEST

/* Names of revisions that somebody makes up, while what is known stays within reach. */
START_TEST(a_flood_of_revisions_is_paced_too)
{
        static struct answer answers[200];
        unsigned absent = 0, refused = 0, infos;
        struct fetch_status status;
        int64_t repo = know_main().id;
        int results[200];
        char name[32];

        infos = FAKE_GET(infos);
        FAKE_SET(revision_result, HUB_E_ABSENT);
        for (int i = 0; i < 200; i++) {
                answers[i] = (struct answer)ANSWER_INIT;
                snprintf(name, sizeof(name), "made-up-%d", i);
                results[i] = fetch_revision(fetch, repo, name, NULL, answered, &answers[i], &answers[i].wait);
        }
        for (int i = 0; i < 200; i++) {
                int r = await(&answers[i], results[i]);

                ck_assert(r == FETCH_E_ABSENT || r == FETCH_E_UNREACHABLE);
                absent += r == FETCH_E_ABSENT;
                refused += r == FETCH_E_UNREACHABLE;
        }
        ck_assert_uint_ge(absent, MEMORY_BURST);
        ck_assert_uint_ge(refused, 100);
        ck_assert_uint_eq(FAKE_GET(infos) - infos, absent);
        fetch_get_status(fetch, &status);
        ck_assert_uint_eq(status.not_asked, refused);
        FAKE_SET(revision_result, 0);
        age_ref(repo, "main");
        infos = FAKE_GET(infos);
        ck_assert_int_eq(ask_revision(repo, "main"), 0);
        ck_assert_uint_eq(FAKE_GET(infos), infos + 1);
}
END_TEST

START_TEST(strangers_leave_the_last_requests_to_what_is_known)
{
        int64_t repo = know_main().id;

        FAKE_SET(scarce, true);
        ck_assert_int_eq(ask_revision(repo, "made-up"), FETCH_E_UNREACHABLE);
        ck_assert_int_eq(ask_repo("Many/stranger"), FETCH_E_UNREACHABLE);
        age_ref(repo, "main");
        ck_assert_int_eq(ask_revision(repo, "main"), 0);
}
END_TEST

START_TEST(offline_what_is_held_is_all)
{
        struct repo repo = know_main();
        unsigned infos;

        age_ref(repo.id, "main");
        options.offline = true;
        reopen();
        infos = FAKE_GET(infos);
        ck_assert_int_eq(ask_repo("Org/Name"), 0);
        ck_assert_int_eq(ask_repo("Org/Other"), FETCH_E_OFFLINE);
        ck_assert_int_eq(ask_revision(repo.id, "main"), 0);
        ck_assert_int_eq(ask_revision(repo.id, "v1"), FETCH_E_OFFLINE);
        ck_assert_int_eq(ask_revision(repo.id, OTHER_SHA), FETCH_E_OFFLINE);
        ck_assert_uint_eq(FAKE_GET(infos), infos);
}
END_TEST

START_TEST(a_lost_catalogue_comes_back_by_adoption)
{
        char path[128];
        struct repo repo;

        know_main();
        close_all();
        snprintf(path, sizeof(path), "%s/state", dir);
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        options.offline = true;
        open_all();
        ck_assert_int_eq(ask_repo("Org/Name"), 0);
        ck_assert_int_eq(catalog_repo_find(ix.catalog, REPO_MODEL, "Org/Name", &repo), 0);
        ck_assert_int_eq(ask_revision(repo.id, "main"), 0);
        ck_assert_int_eq(ask_revision(repo.id, FAKE_SHA), 0);
}
END_TEST

START_TEST(the_end_cancels_flights)
{
        struct answer a = ANSWER_INIT;

        FAKE_SET(hold_names, true);
        ck_assert_int_eq(fetch_repo(fetch, REPO_MODEL, "Org/Name", NULL, answered, &a, &a.wait), FETCH_PENDING);
        fetch = fetch_free(fetch);
        ck_assert_int_eq(await(&a, FETCH_PENDING), -ECANCELED);
}
END_TEST

START_TEST(a_switch_ends_flights_as_offline)
{
        struct answer a = ANSWER_INIT, off = ANSWER_INIT;

        FAKE_SET(hold_names, true);
        ck_assert_int_eq(fetch_repo(fetch, REPO_MODEL, "Org/Name", NULL, answered, &a, &a.wait), FETCH_PENDING);
        ck_assert_int_eq(await(&off, fetch_set_offline(fetch, true, false, answered, &off)), 0);
        ck_assert_int_eq(await(&a, FETCH_PENDING), FETCH_E_OFFLINE);
}
END_TEST

/* ---- options ---- */

START_TEST(wrong_options_are_said)
{
        static const char *const globs[] = { "Org/[a", NULL };
        static const char *const urls[] = {
                "",           "hub.example",   "ftp://hub.example", "https://",
                "https://a/", "https://u:p@h", "https://h?q",       "https://h/a b",
                "https://:80"
        };
        struct errmsg err = {};
        struct fetch *f;

        for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
                struct fetch_options o = { .endpoint = urls[i] };

                err.text[0] = '\0';
                ck_assert_int_eq(fetch_new(&o, &ix, &f, &err), -EINVAL);
                ck_assert_str_ne(err.text, "");
        }
        options = (struct fetch_options){ .endpoint = "https://h", .deny = globs };
        ck_assert_int_eq(fetch_new(&options, &ix, &f, &err), -EINVAL);
        options = (struct fetch_options){ .endpoint = "http://h.example:80", .token = "t" };
        ck_assert_int_eq(fetch_new(&options, &ix, &f, &err), -EINVAL);
        ck_assert_ptr_nonnull(strstr(err.text, "plain http"));
}
END_TEST

/* ---- memory ---- */

START_TEST(memory_forgets)
{
        char sha[COMMIT_HEX + 1], key[32];
        struct memory m;
        int64_t modified;

        memory_init(&m, 1000);
        memory_refuse(&m, "a", FETCH_E_ABSENT, 1000);
        ck_assert_int_eq(memory_refused(&m, "a", 1000 + MEMORY_REFUSED_MS - 1), FETCH_E_ABSENT);
        ck_assert_int_eq(memory_refused(&m, "a", 1000 + MEMORY_REFUSED_MS), 0);
        for (int i = 0; i <= MEMORY_REFUSED_MAX; i++) {
                snprintf(key, sizeof(key), "k%d", i);
                memory_refuse(&m, key, FETCH_E_FORBIDDEN, 2000);
        }
        ck_assert_int_eq(memory_refused(&m, "k0", 2000), 0);
        ck_assert_int_eq(memory_refused(&m, "k1", 2000), FETCH_E_FORBIDDEN);
        memory_hint_put(&m, 5, FAKE_SHA, 7, 2000);
        ck_assert(!memory_hint_take(&m, 6, 2000, sha, &modified));
        ck_assert(memory_hint_take(&m, 5, 2000, sha, &modified));
        ck_assert_str_eq(sha, FAKE_SHA);
        ck_assert(!memory_hint_take(&m, 5, 2000, sha, &modified));
        memory_hint_put(&m, 5, FAKE_SHA, 7, 2000);
        ck_assert(!memory_hint_take(&m, 5, 2000 + MEMORY_HINT_MS, sha, &modified));
        for (int i = 0; i < MEMORY_BURST; i++)
                ck_assert(memory_may_ask(&m, MEMORY_REPO, 7, 2000));
        ck_assert(!memory_may_ask(&m, MEMORY_REPO, 7, 2000));
        ck_assert(memory_may_ask(&m, MEMORY_REVISION, 7, 2000));
        ck_assert(memory_may_ask(&m, MEMORY_REPO, 7, 3000));
        memory_done(&m);
}
END_TEST

static unsigned count_asked(struct memory *m, uint64_t asker, unsigned tries, uint64_t now)
{
        unsigned n = 0;

        while (tries-- > 0)
                n += memory_may_ask(m, MEMORY_REPO, asker, now) != MEMORY_REFUSED;
        return n;
}

START_TEST(memory_is_fair)
{
        struct memory m;

        memory_init(&m, 1000);
        ck_assert_int_eq(memory_may_ask(&m, MEMORY_REPO, 1, 1000), MEMORY_WITHIN);
        ck_assert_uint_eq(count_asked(&m, 1, 1000, 1000), MEMORY_BURST - 1); /* alone: all but the reserve */
        ck_assert_int_eq(memory_may_ask(&m, MEMORY_REPO, 2, 1000), MEMORY_WITHIN);
        ck_assert_uint_eq(count_asked(&m, 2, 1000, 1000), MEMORY_BURST / MEMORY_SHARE - 1);
        ck_assert_uint_eq(count_asked(&m, 1, 1000, 1000), 0);
        for (uint64_t now = 1000; now < 61000; now += 10) /* alone at it for a minute */
                count_asked(&m, 1, 1, now);
        ck_assert_uint_eq(count_asked(&m, 3, 1000, 61000), MEMORY_BURST / MEMORY_SHARE);
        ck_assert_uint_le(count_asked(&m, 1, 1000, 71000), 10 * MEMORY_PER_SECOND - 10); /* the reserve comes first */
        for (uint64_t asker = 100; asker < 100 + 4 * MEMORY_SOURCES_MAX; asker++) /* no end of askers */
                count_asked(&m, asker, 1, 71000);
        ck_assert_uint_eq(count_asked(&m, 4, 1000, 71000), 0);
        memory_done(&m);
        memory_init(&m, 1000);
        ck_assert_uint_eq(count_asked(&m, 1, 20, 1000), 20);
        for (uint64_t asker = 100; asker < 100 + MEMORY_SOURCES_MAX; asker++)
                count_asked(&m, asker, 1, 1000);
        ck_assert_int_eq(memory_may_ask(&m, MEMORY_REPO, 1, 1300), MEMORY_WITHIN); /* what it used is forgotten */
        memory_done(&m);
}
END_TEST

static atomic_uint infos_then; /* how many the hub had answered */

static void remember_infos(void *arg, int result)
{
        (void)arg;
        if (result == 0)
                infos_then = FAKE_GET(infos);
}

/* A container's loop asks for 200; who comes then is looked up before what of those has no turn yet. */
START_TEST(a_flood_of_one_leaves_room_for_another)
{
        static struct answer answers[200];
        int results[200];
        char name[32];

        FAKE_SET(hold_names, true);
        for (int i = 0; i < 200; i++) {
                answers[i] = (struct answer)ANSWER_INIT;
                snprintf(name, sizeof(name), "Many/r%d", i);
                results[i] = fetch_repo(fetch, REPO_MODEL, name, &(struct fetch_asker){ tell_number, &(int){ 1 } },
                                        answered, &answers[i], &answers[i].wait);
        }
        ck_assert_int_eq(results[199], FETCH_PENDING);
        ck_assert_int_eq(await(&answers[199], results[199]), FETCH_E_UNREACHABLE);
        ck_assert_uint_eq(FAKE_GET(infos), 0);
        results[199] = fetch_repo(fetch, REPO_MODEL, "Org/Name", &(struct fetch_asker){ tell_number, &(int){ 2 } },
                                  remember_infos, &answers[199], NULL);
        ck_assert_int_eq(results[199], FETCH_PENDING);
        AWAIT(RESOLVER_GET(!list_empty(&rs->queued)));
        FAKE_SET(hold_names, false);
        for (int i = 0; i < 199; i++)
                await(&answers[i], results[i]);
        AWAIT(infos_then > 0);
        ck_assert_uint_le(infos_then, 2 * RESOLVE_LOOKUPS_MAX + 5);
}
END_TEST

static atomic_uint answered_before;

static void count_answer(void *arg, int result)
{
        answered_before++;
        answered(arg, result);
}

/* One beyond its share whose time is over ends with the first turn, however many within theirs go on asking. */
START_TEST(who_is_beyond_his_share_is_answered_too)
{
        static struct answer answers[50];
        struct answer late = ANSWER_INIT;
        char name[32];

        options.lookup_deadline_s = 2;
        reopen();
        FAKE_SET(hold_names, true);
        for (int i = 0; i < 50; i++) {
                struct fetch_asker asker = { tell_number, &(int){ i < RESOLVE_LOOKUPS_MAX ? 1 : 2 + i % 2 } };

                if (i == RESOLVE_LOOKUPS_MAX) {
                        AWAIT(RESOLVER_GET(rs->lookups) == RESOLVE_LOOKUPS_MAX); /* those before have all turns */
                        ck_assert_int_eq(fetch_repo(fetch, REPO_MODEL, "Org/Name",
                                                    &(struct fetch_asker){ tell_number, &(int){ 1 } },
                                                    answered, &late, &late.wait),
                                         FETCH_PENDING);
                        AWAIT(RESOLVER_GET(!list_empty(&rs->late)));
                        skip(2100);
                }
                answers[i] = (struct answer)ANSWER_INIT;
                snprintf(name, sizeof(name), "Many/r%d", i);
                ck_assert_int_eq(fetch_repo(fetch, REPO_MODEL, name, &asker,
                                            i < RESOLVE_LOOKUPS_MAX ? answered : count_answer, &answers[i],
                                            &answers[i].wait),
                                 FETCH_PENDING);
        }
        FAKE_SET(let_go, 1);
        ck_assert_int_eq(await(&late, FETCH_PENDING), FETCH_E_UNREACHABLE);
        ck_assert_uint_eq(answered_before, 0);
        FAKE_SET(hold_names, false);
        for (int i = 0; i < 50; i++)
                await(&answers[i], FETCH_PENDING);
        ck_assert_uint_eq(answered_before, 50 - RESOLVE_LOOKUPS_MAX);
}
END_TEST

int main(void)
{
        Suite *s = suite_create("resolve");
        TCase *t = tcase_create("resolve");
        SRunner *r;
        int failed;

        tcase_add_checked_fixture(t, setup, teardown);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, a_repo_becomes_known_once);
        tcase_add_test(t, absent_is_remembered);
        tcase_add_test(t, forbidden_is_remembered);
        tcase_add_loop_test(t, unreachable_is_not_remembered, 0, 2);
        tcase_add_test(t, a_renamed_repo_keeps_the_name_asked_for);
        tcase_add_test(t, policy_comes_first);
        tcase_add_test(t, a_revision_brings_its_listing);
        tcase_add_test(t, an_old_ref_is_confirmed);
        tcase_add_test(t, what_is_held_answers_for_a_hub_that_is_down);
        tcase_add_test(t, a_hub_that_fails_is_waited_for_once);
        tcase_add_test(t, a_slow_hub_is_asked_on_with_nobody_waiting);
        tcase_add_test(t, a_repo_that_fails_does_not_hide_what_moved_in_another);
        tcase_add_loop_test(t, a_flight_aside_ends_with_the_network, 0, 2);
        tcase_add_loop_test(t, a_failure_is_forgotten_by_who_asks_anew, 0, 2);
        tcase_add_test(t, who_asks_anew_waits_for_a_flight_aside);
        tcase_add_test(t, a_ref_that_is_gone_is_removed);
        tcase_add_test(t, the_folder_of_a_ref_becomes_known);
        tcase_add_test(t, a_repo_that_seems_gone_loses_nothing);
        tcase_add_test(t, equal_questions_share_a_flight);
        tcase_add_loop_test(t, who_joins_late_does_not_inherit_a_failure, 0, 2);
        tcase_add_test(t, who_joins_early_shares_the_failure);
        tcase_add_test(t, a_flood_is_paced_and_never_absent);
        tcase_add_test(t, a_flood_of_revisions_is_paced_too);
        tcase_add_test(t, strangers_leave_the_last_requests_to_what_is_known);
        tcase_add_test(t, offline_what_is_held_is_all);
        tcase_add_test(t, a_lost_catalogue_comes_back_by_adoption);
        tcase_add_test(t, the_end_cancels_flights);
        tcase_add_test(t, a_switch_ends_flights_as_offline);
        tcase_add_test(t, wrong_options_are_said);
        tcase_add_test(t, memory_forgets);
        tcase_add_test(t, memory_is_fair);
        tcase_add_test(t, a_flood_of_one_leaves_room_for_another);
        tcase_add_test(t, who_is_beyond_his_share_is_answered_too);
        suite_add_tcase(s, t);
        r = srunner_create(s);
        srunner_run_all(r, CK_ENV);
        failed = srunner_ntests_failed(r);
        srunner_free(r);
        return failed == 0 ? 0 : 1;
}
