/*
 * Tests of index/blob.h: filling, restarts, completion, wrong hashes, every failure in turn.
 */
#include "index/blob.h"
#include "index/extent.h"

#include "base/fault.h"
#include "base/util.h"

#include "cache.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define SIZE (300000u)

static char data[SIZE], etag[ETAG_MAX + 1], small_etag[ETAG_MAX + 1], empty_etag[ETAG_MAX + 1];
static int64_t repo_a, repo_b;
static const atomic_bool cancelled = true;

static const char *hub(const char *repo, const char *tag)
{
        return at("store/hub/%s/blobs/%s", repo, tag);
}

static const char *partial(const char *suffix)
{
        struct dirent *e;
        DIR *d = opendir(at("store/partial"));
        char name[64] = "";

        while ((e = readdir(d)))
                if (e->d_name[0] != '.')
                        snprintf(name, sizeof(name), "%.60s", e->d_name);
        closedir(d);
        return at("store/partial/%s/%s%s", name, etag, suffix);
}

static void add_listings(void)
{
        const struct listed_file files[] = {
                { "dir/model.bin", etag, SIZE }, { "same.bin", etag, SIZE }, { "small.txt", small_etag, 6 },
                { "empty", empty_etag, 0 },
        };

        repo_a = add_repo(REPO_MODEL, "a/one");
        repo_b = add_repo(REPO_DATASET, "b/two");
        add_commit(repo_a, COMMIT_A, files, 4);
        add_commit(repo_b, COMMIT_B, files, 1);
}

static void setup(void)
{
        index_setup();
        srand(3);
        for (size_t i = 0; i < SIZE; i++)
                data[i] = (char)rand();
        sha256_of(data, SIZE, etag);
        git_sha1_of("hello\n", 6, small_etag);
        git_sha1_of("", 0, empty_etag);
        add_listings();
}

static void fill(struct blob *b, uint64_t start, uint64_t end)
{
        ASSERT_OK(blob_write(b, data + start, end - start, start));
}

static void check_bytes(struct blob *b, uint64_t start, uint64_t end)
{
        char *buf = malloc(end - start + 1);

        ck_assert(blob_holds(b, start, end));
        ck_assert_int_eq(blob_read(b, buf, end - start, start), (ssize_t)(end - start));
        ck_assert_int_eq(memcmp(buf, data + start, end - start), 0);
        free(buf);
}

static void check_whole(void)
{
        static const char *const repos[] = { "models--a--one", "datasets--b--two" };
        char *buf = malloc(SIZE + 1);

        for (size_t i = 0; i < 2; i++) {
                ck_assert_int_eq(get_file(hub(repos[i], etag), buf, SIZE + 1), SIZE);
                ck_assert_int_eq(memcmp(buf, data, SIZE), 0);
        }
        ck_assert_int_eq(
                get_file(at("store/hub/models--a--one/snapshots/" COMMIT_A "/dir/model.bin"), buf, SIZE),
                SIZE);
        ck_assert_int_eq(get_file(at("store/hub/models--a--one/snapshots/" COMMIT_A "/same.bin"), buf, SIZE),
                         SIZE);
        ck_assert_int_eq(
                get_file(at("store/hub/datasets--b--two/snapshots/" COMMIT_B "/dir/model.bin"), buf, SIZE),
                SIZE);
        free(buf);
}

START_TEST(life_of_a_blob)
{
        struct blob *b = open_blob(etag, SIZE), *again;
        struct range hole;
        struct stat x, y;
        int fd;

        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_uint_eq(blob_size(b), SIZE);
        ck_assert_str_eq(blob_etag(b), etag);
        ck_assert_int_eq(blob_fd(b), -ENODATA);
        ck_assert(!blob_holds(b, 0, 1));
        ck_assert(blob_next_hole(b, 10, UINT64_MAX, &hole));
        ck_assert_uint_eq(hole.end, SIZE);
        ck_assert_int_eq(blob_finish(b, NULL), -ENODATA);
        fill(b, 1000, 2000);
        fill(b, 1500, 3000);
        ck_assert_uint_eq(blob_held_bytes(b), 2000);
        ck_assert_uint_eq(blob_run_end(b, 1000), 3000);
        ck_assert_uint_eq(blob_run_end(b, 999), 999);
        check_bytes(b, 1000, 3000);
        ck_assert(blob_holds(b, 5, 5));
        ck_assert_int_eq(blob_write(b, data, 2, SIZE - 1), -EINVAL);
        ck_assert_int_eq(blob_write(b, data, 1, UINT64_MAX), -EINVAL);
        ASSERT_OK(blob_write(b, data, 0, SIZE));
        fd = blob_fd(b);
        fill(b, 0, SIZE);
        ck_assert_int_eq(blob_finish(b, &cancelled), -ECANCELED);
        ASSERT_OK(blob_finish(b, NULL));
        ASSERT_OK(blob_finish(b, NULL));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ck_assert_uint_eq(blob_incarnation(b), 1);
        ck_assert_int_eq(blob_fd(b), fd); /* completion keeps the descriptor */
        ASSERT_OK(fstat(fd, &x));
        ASSERT_OK(stat(hub("models--a--one", etag), &y));
        ck_assert_uint_eq(x.st_ino, y.st_ino);
        ck_assert_uint_eq(y.st_nlink, 2);
        check_bytes(b, 0, SIZE);
        ck_assert_int_eq(blob_read(b, &(char){ 0 }, 1, SIZE), 0);
        ck_assert(!blob_next_hole(b, 0, SIZE, &hole));
        ASSERT_OK(blob_write(b, "x", 1, 0)); /* held: not written */
        check_bytes(b, 0, SIZE);
        check_whole();
        ck_assert(!exists(partial("")) && !exists(partial(".map")));
        ck_assert_int_eq(count_leftovers(), 0);
        ASSERT_OK(blobs_get(ix.blobs, blob_id(b), &again));
        ck_assert_ptr_eq(again, b);
        blob_unref(again);
        ck_assert_ptr_null(blob_unref(b));
        ck_assert_ptr_null(blob_unref(NULL));
        index_restart();
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        check_bytes(b, 0, SIZE);
        blob_unref(b);
        ck_assert_int_eq(blobs_get(ix.blobs, 99999, &b), BLOB_E_NONE);
        ck_assert_int_eq(blobs_get(ix.blobs, 99999, &b), BLOB_E_NONE);
}
END_TEST

START_TEST(small_and_empty)
{
        struct blob *b = open_blob(empty_etag, 0);
        struct stat st;

        ck_assert(blob_holds(b, 0, 0));
        ASSERT_OK(blob_finish(b, NULL));
        ASSERT_OK(stat(hub("models--a--one", empty_etag), &st));
        ck_assert_uint_eq(st.st_size, 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0644);
        blob_unref(b);
        b = open_blob(small_etag, 6);
        ASSERT_OK(blob_write(b, "hello\n", 6, 0));
        ASSERT_OK(blob_finish(b, NULL));
        ck_assert(exists(hub("models--a--one", small_etag)));
        blob_unref(b);
}
END_TEST

/* B1: what counts after kill -9 (the map as it lies there), and after a reboot. */
START_TEST(restarts)
{
        struct blob *b = open_blob(etag, SIZE);
        struct rangeset all = {}, synced = {}, none = {};
        struct extent_map m;
        struct extent_draft d;

        fill(b, 0, 1000);
        ASSERT_OK(blob_sync(b));
        ASSERT_OK(blob_sync(b));
        fill(b, 5000, 6000);
        ck_assert(!blob_sync_due(b));
        extent_init(&m, ix.store, "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb", etag, SIZE);
        ASSERT_OK(extent_load(&m, &all, &synced)); /* as after a reboot now */
        ck_assert_uint_eq(all.total, 1000);
        rangeset_done(&all);
        rangeset_done(&synced);
        strcpy(m.repo, "models/a/one");
        blob_unref(b);
        index_restart(); /* closing syncs */
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), 2000);
        check_bytes(b, 5000, 6000);
        blob_unref(b);
        index_close(&ix);

        ck_assert(exists(partial(".map"))); /* the map of another boot, with one synced range */
        index_start();
        ASSERT_OK(rangeset_add(&synced, 0, 1000));
        ASSERT_OK(rangeset_add(&all, 5000, 7000));
        m.store = ix.store;
        ASSERT_OK(extent_begin(&m, &synced, false, &d));
        ASSERT_OK(extent_commit(&m, &d, &all));
        extent_done(&m);
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), 1000);
        check_bytes(b, 0, 1000);
        fill(b, 500, SIZE); /* and it goes on from there */
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
        rangeset_done(&all);
        rangeset_done(&synced);
        rangeset_done(&none);
}
END_TEST

/* B3: without its map, or with another size, data are nothing. */
START_TEST(maps_that_do_not_fit)
{
        struct blob *b = open_blob(etag, SIZE);

        fill(b, 0, 1000);
        blob_unref(b);
        index_close(&ix);
        ASSERT_OK(unlink(partial(".map")));
        index_start();
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        fill(b, 5, 1000);
        blob_unref(b);
        index_close(&ix);
        ASSERT_OK(truncate(partial(""), SIZE - 1));
        index_start();
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
}
END_TEST

/* Of all that is being filled, what somebody began. */
START_TEST(begun)
{
        const struct listed_file cut = { "cut.bin", etag, SIZE - 1 };
        struct blob_row *rows = NULL;
        struct blob *b, *small, *whole;
        size_t count = 9;

        ASSERT_OK(blobs_begun(ix.blobs, &rows, &count));
        ck_assert_uint_eq(count, 0);
        free(rows);
        add_commit(repo_a, COMMIT_B, &cut, 1); /* the same etag in another size */
        small = open_blob(small_etag, 6);
        ASSERT_OK(blob_write(small, "he", 2, 0));
        b = open_blob(etag, SIZE);
        fill(b, 0, 10);
        whole = open_blob(empty_etag, 0);
        ASSERT_OK(blob_finish(whole, NULL));
        put_text(partial(".odd"), "no blob's");
        ASSERT_OK(blobs_begun(ix.blobs, &rows, &count));
        ck_assert_uint_eq(count, 3);
        ck_assert_int_eq(rows[0].id, blob_id(b));
        ck_assert_str_eq(rows[0].etag, etag);
        ck_assert_int_eq(rows[1].id, blob_id(small));
        ck_assert_uint_eq(rows[2].size, SIZE - 1);
        free(rows);
        blob_unref(small);
        blob_unref(b);
        blob_unref(whole);
}
END_TEST

START_TEST(wrong_hash)
{
        struct blob *b = open_blob(etag, SIZE);
        char wrong = (char)(data[77] + 1);

        fill(b, 0, 77);
        ASSERT_OK(blob_write(b, &wrong, 1, 77));
        fill(b, 78, SIZE);
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert(!exists(hub("models--a--one", etag)));
        ASSERT_OK(blob_drop(b, 50, 100));
        ck_assert_uint_eq(blob_held_bytes(b), SIZE - 50);
        blob_unref(b);
        index_restart(); /* what was dropped does not come back */
        b = open_blob(etag, SIZE);
        ck_assert_uint_eq(blob_held_bytes(b), SIZE - 50);
        fill(b, 50, 100);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        blob_unref(b);
}
END_TEST

START_TEST(quarantined)
{
        struct blob *b = open_blob(etag, SIZE);
        char *zeros = calloc(1, SIZE);

        ASSERT_OK(blob_write(b, zeros, SIZE, 0));
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ASSERT_OK(blob_drop(b, 0, UINT64_MAX));
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        ck_assert_uint_eq(blob_incarnation(b), 2); /* what was wrong may be cached under the old one */
        ck_assert(!exists(partial("")));
        ASSERT_OK(blob_write(b, zeros, SIZE, 0));
        ck_assert_int_eq(blob_finish(b, NULL), BLOB_E_HASH);
        ASSERT_OK(blob_quarantine(b));
        ck_assert_int_eq(blob_state(b), BLOB_QUARANTINED);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        ck_assert_uint_eq(blob_incarnation(b), 4);
        ck_assert_uint_eq(row_of(etag, SIZE).incarnation, 4);
        ck_assert(!exists(partial("")) && !exists(partial(".map")));
        ck_assert_uint_eq(row_of(etag, SIZE).state, BLOB_QUARANTINED);
        fill(b, 0, SIZE); /* a third try is the caller's choice */
        ASSERT_OK(blob_finish(b, NULL));
        ck_assert_int_eq(blob_quarantine(b), -EINVAL);
        check_whole();
        blob_unref(b);
        free(zeros);
}
END_TEST

START_TEST(vanished)
{
        struct blob *b = open_blob(etag, SIZE);

        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        ASSERT_OK(unlink(hub("models--a--one", etag)));
        blob_unref(b);
        b = open_blob(etag, SIZE); /* the other repo still has it */
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ASSERT_OK(unlink(hub("datasets--b--two", etag)));
        check_bytes(b, 0, SIZE); /* who has it open reads on */
        blob_unref(b);
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING);
        ck_assert_uint_eq(blob_incarnation(b), 2);
        ck_assert_uint_eq(blob_held_bytes(b), 0);
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        ck_assert_uint_eq(blob_incarnation(b), 3);
        check_whole();
        blob_unref(b);
}
END_TEST

/* A foreign writer has put something under the final name meanwhile. */
START_TEST(foreign_writer)
{
        struct blob *b = open_blob(etag, SIZE);
        char *bad = calloc(1, SIZE);
        struct stat st;

        fill(b, 0, SIZE);
        put_file(hub("models--a--one", etag), bad, SIZE);
        put_file(hub("datasets--b--two", etag), data, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        check_whole();
        ASSERT_OK(stat(hub("datasets--b--two", etag), &st));
        ck_assert_uint_eq(st.st_nlink, 1); /* a good one is kept */
        blob_unref(b);
        free(bad);
}
END_TEST

START_TEST(adopted)
{
        struct blob *b, *other;
        char *bad = calloc(1, SIZE);

        put_file(hub("models--a--one", etag), data, SIZE);
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        check_bytes(b, 0, SIZE);
        ck_assert_int_eq(blob_verify_adopted(b, &cancelled), -ECANCELED);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        ck_assert_uint_eq(blob_incarnation(b), 1);
        ASSERT_OK(blob_link_places(b));
        check_whole();
        blob_unref(b);

        put_text(hub("models--a--one", small_etag), "wrong!");
        other = open_blob(small_etag, 6);
        ck_assert_int_eq(blob_state(other), BLOB_ADOPTED);
        ck_assert_int_eq(blob_verify_adopted(other, NULL), BLOB_E_HASH);
        ck_assert_int_eq(blob_state(other), BLOB_FILLING);
        ck_assert_uint_eq(blob_held_bytes(other), 0);
        ck_assert(!exists(hub("models--a--one", small_etag)));
        ASSERT_OK(blob_write(other, "hello\n", 6, 0));
        ASSERT_OK(blob_finish(other, NULL));
        blob_unref(other);
        free(bad);
}
END_TEST

/* The final file appears while a struct blob is filling, and adoption tells the catalogue. */
START_TEST(adopted_while_filling)
{
        struct blob *b = open_blob(etag, SIZE), *again;
        struct blob_row row;

        fill(b, 0, 1000);
        put_file(hub("models--a--one", etag), data, SIZE);
        ASSERT_OK(catalog_blob_set_state(ix.catalog, blob_id(b), BLOB_ADOPTED, &row));
        ASSERT_OK(blobs_get(ix.blobs, blob_id(b), &again));
        ck_assert_int_eq(blob_state(b), BLOB_ADOPTED);
        check_bytes(b, 0, SIZE);
        ASSERT_OK(blob_write(b, "x", 1, 5000)); /* too late, and harmless */
        check_bytes(b, 0, SIZE);
        ASSERT_OK(blob_verify_adopted(b, NULL));
        ck_assert(!exists(partial("")));
        blob_unref(again);
        blob_unref(b);
}
END_TEST

START_TEST(read_only)
{
        struct index_options o = { .store = at("store"), .state = at("state"), .read_only_store = true };
        struct blob *b;

        put_file(hub("models--a--one", etag), data, SIZE - 1);
        put_text(hub("models--a--one", small_etag), "wrong!");
        index_close(&ix);
        ASSERT_OK(index_open(&o, &ix, NULL));
        b = open_blob(etag, SIZE);
        ck_assert_int_eq(blob_state(b), BLOB_FILLING); /* not its size */
        ck_assert_int_eq(blob_write(b, data, 1, 0), -EROFS);
        blob_unref(b);
        b = open_blob(small_etag, 6);
        ck_assert_int_eq(blob_verify_adopted(b, NULL), BLOB_E_HASH);
        ck_assert_int_eq(blob_state(b), BLOB_QUARANTINED);
        blob_unref(b);
        index_close(&ix);
        ASSERT_OK(index_open(&o, &ix, NULL));
        b = open_blob(small_etag, 6);
        ck_assert_int_eq(blob_state(b), BLOB_QUARANTINED); /* and it stays out of sight */
        ck_assert(!blob_holds(b, 0, 1));
        blob_unref(b);
}
END_TEST

/* ---- failures ---- */

/* One life, as far as it gets. */
static int live(void)
{
        struct blob *b = NULL;
        int r = blobs_get(ix.blobs, row_of(etag, SIZE).id, &b);

        for (uint64_t i = 0; i < SIZE && r == 0; i += 100000)
                r = blob_write(b, data + i, 100000, i);
        if (r == 0)
                r = blob_sync(b);
        if (r == 0)
                r = blob_drop(b, 10, 20);
        if (r == 0)
                r = blob_write(b, data, 30, 0);
        if (r == 0)
                r = blob_finish(b, NULL);
        if (r == 0)
                r = blob_link_places(b);
        blob_unref(b);
        return r;
}

/* S1, B2, B1: final names have their content, whole means complete, held bytes are right. */
static void check_invariants(void)
{
        static const char *const repos[] = { "models--a--one", "datasets--b--two" };
        char *buf = malloc(SIZE + 1);
        struct blob *b;
        bool published = false;

        for (size_t i = 0; i < 2; i++) {
                ssize_t n = get_file(hub(repos[i], etag), buf, SIZE + 1);

                ck_assert(n == -1 || (n == SIZE && memcmp(buf, data, SIZE) == 0));
                published |= n == SIZE;
        }
        free(buf);
        b = open_blob(etag, SIZE);
        if (blob_state_whole(blob_state(b)))
                ck_assert(published);
        for (uint64_t at_ = 0; at_ < SIZE;) {
                uint64_t end = min_u64(blob_run_end(b, at_), SIZE);

                if (end > at_)
                        check_bytes(b, at_, end);
                at_ = end > at_ ? end : at_ + 1;
        }
        blob_unref(b);
}

static void retry_succeeds(void)
{
        struct blob *b = open_blob(etag, SIZE);

        fill(b, 0, SIZE);
        ASSERT_OK(blob_state(b) == BLOB_ADOPTED ? blob_verify_adopted(b, NULL) : blob_finish(b, NULL));
        ASSERT_OK(blob_link_places(b));
        ck_assert_int_eq(blob_state(b), BLOB_COMPLETE);
        blob_unref(b);
        index_restart(); /* what a failure at the very end left is removed at the next opening */
        blob_unref(open_blob(etag, SIZE));
        check_whole();
        ck_assert(!exists(partial("")) && !exists(partial(".map")));
        ck_assert_int_eq(count_leftovers(), 0);
}

START_TEST(every_failure)
{
#ifndef WEIGHTFS_FAULTS
        printf("SKIP every_failure: built without fault points\n");
        return;
#endif
        for (uint64_t nth = 1;; nth++) {
                fault_arm(nth);
                (void)live();
                if (!fault_fired())
                        break;
                fault_arm(0);
                if (nth % 2)
                        index_restart();
                check_invariants();
                retry_succeeds();
                index_teardown();
                setup();
        }
        ck_assert_uint_gt(fault_passes(), 20);
        fault_arm(0);
        check_whole();
}
END_TEST

/* kill -9 at any moment. */
START_TEST(killed)
{
        const struct timespec moment = { .tv_nsec = 1 };

        for (int i = 0; i < 30; i++) {
                struct timespec wait = moment;
                pid_t pid;

                index_close(&ix);
                pid = fork();
                if (pid == 0) {
                        index_start();
                        for (;;) {
                                struct blob *b;

                                (void)live();
                                b = open_blob(etag, SIZE); /* and over again */
                                if (blob_state(b) == BLOB_ADOPTED)
                                        (void)blob_verify_adopted(b, NULL);
                                blob_unref(b);
                                unlink(hub("models--a--one", etag));
                                unlink(hub("datasets--b--two", etag));
                        }
                }
                wait.tv_nsec = (rand() % 60) * 1000000L + 1;
                nanosleep(&wait, NULL);
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
                index_start();
                check_invariants();
        }
}
END_TEST

START_TEST(disk_full)
{
        struct index_options o = { .store = at("small/store"), .state = at("state") };
        struct blob *b;
        uint64_t held;
        int r = 0;

        index_close(&ix);
        mkdir(at("small"), 0755);
        if (geteuid() != 0 || mount("tmpfs", at("small"), "tmpfs", 0, "size=256k") < 0) {
                printf("SKIP disk_full: cannot mount a tmpfs\n");
                index_start();
                return;
        }
        ASSERT_OK(index_open(&o, &ix, NULL));
        b = open_blob(etag, SIZE);
        for (uint64_t i = 0; i < SIZE && r == 0; i += 10000)
                r = blob_write(b, data + i, 10000, i);
        ck_assert_int_eq(r, -ENOSPC);
        held = blob_held_bytes(b);
        ck_assert_uint_gt(held, 0);
        check_bytes(b, 0, held); /* nothing lost */
        ASSERT_OK(mount("tmpfs", at("small"), "tmpfs", MS_REMOUNT, "size=2m"));
        fill(b, 0, SIZE);
        ASSERT_OK(blob_finish(b, NULL));
        check_bytes(b, 0, SIZE);
        blob_unref(b);
        index_close(&ix);
        umount2(at("small"), MNT_DETACH);
        index_start();
}
END_TEST

/* ---- many at once ---- */

static void *write_parts(void *arg)
{
        struct blob *b = arg;
        unsigned seed = (unsigned)(uintptr_t)pthread_self();

        while (blob_held_bytes(b) < SIZE) {
                uint64_t start = (uint64_t)rand_r(&seed) % SIZE;
                struct range hole;

                if (!blob_next_hole(b, start, SIZE, &hole) && !blob_next_hole(b, 0, SIZE, &hole))
                        break;
                fill(b, hole.start, min_u64(hole.end, hole.start + 777));
        }
        return NULL;
}

static void *sync_and_read(void *arg)
{
        struct blob *b = arg;
        char buf[4096];

        while (!blob_state_whole(blob_state(b))) {
                uint64_t end = blob_run_end(b, 0);

                if (end >= sizeof(buf)) {
                        ck_assert_int_eq(blob_read(b, buf, sizeof(buf), end - sizeof(buf)), sizeof(buf));
                        ck_assert_int_eq(memcmp(buf, data + end - sizeof(buf), sizeof(buf)), 0);
                }
                ASSERT_OK(blob_sync(b));
        }
        return NULL;
}

static void *open_and_close(void *arg)
{
        int64_t id = *(int64_t *)arg;

        for (int i = 0; i < 300; i++) {
                struct blob *b;

                ASSERT_OK(blobs_get(ix.blobs, id, &b));
                blob_ref(b);
                blob_unref(b);
                blob_unref(b);
        }
        return NULL;
}

START_TEST(threads)
{
        struct blob *b = open_blob(etag, SIZE);
        int64_t id = blob_id(b);
        pthread_t writers[3], reader, openers[2];

        for (int i = 0; i < 3; i++)
                pthread_create(&writers[i], NULL, write_parts, b);
        pthread_create(&reader, NULL, sync_and_read, b);
        for (int i = 0; i < 2; i++)
                pthread_create(&openers[i], NULL, open_and_close, &id);
        for (int i = 0; i < 3; i++)
                pthread_join(writers[i], NULL);
        ASSERT_OK(blob_finish(b, NULL));
        pthread_join(reader, NULL);
        for (int i = 0; i < 2; i++)
                pthread_join(openers[i], NULL);
        check_bytes(b, 0, SIZE);
        check_whole();
        blob_unref(b);
}
END_TEST

/* More blobs than are kept open. */
START_TEST(many_blobs)
{
        struct listed_file files[150];
        char tags[150][ETAG_MAX + 1], paths[150][16], text[16];

        for (int i = 0; i < 150; i++) {
                snprintf(paths[i], sizeof(paths[i]), "f%d", i);
                git_sha1_of(paths[i], strlen(paths[i]), tags[i]);
                files[i] = (struct listed_file){ paths[i], tags[i], strlen(paths[i]) };
        }
        add_commit(repo_a, COMMIT_B, files, 150);
        for (int round = 0; round < 2; round++)
                for (int i = 0; i < 150; i++) {
                        struct blob *b = open_blob(tags[i], strlen(paths[i]));

                        if (round == 0)
                                ASSERT_OK(blob_write(b, paths[i], strlen(paths[i]), 0));
                        else
                                ASSERT_OK(blob_finish(b, NULL));
                        ck_assert_int_eq(blob_read(b, text, sizeof(text), 0), (int)strlen(paths[i]));
                        blob_unref(b);
                }
        ck_assert(exists(hub("models--a--one", tags[149])));
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("index/blob");
        TCase *t = tcase_create("blob");

        tcase_add_checked_fixture(t, setup, index_teardown);
        tcase_set_timeout(t, 110);
        tcase_add_test(t, life_of_a_blob);
        tcase_add_test(t, small_and_empty);
        tcase_add_test(t, restarts);
        tcase_add_test(t, maps_that_do_not_fit);
        tcase_add_test(t, begun);
        tcase_add_test(t, wrong_hash);
        tcase_add_test(t, quarantined);
        tcase_add_test(t, vanished);
        tcase_add_test(t, foreign_writer);
        tcase_add_test(t, adopted);
        tcase_add_test(t, adopted_while_filling);
        tcase_add_test(t, read_only);
        tcase_add_test(t, every_failure);
        tcase_add_test(t, killed);
        tcase_add_test(t, disk_full);
        tcase_add_test(t, threads);
        tcase_add_test(t, many_blobs);
        suite_add_tcase(suite, t);
        return run_suite(suite);
}
