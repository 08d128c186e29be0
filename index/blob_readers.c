/*
 * Who got bytes of a blob before its hash was known: remembered so that they can be named if it is wrong.
 * A bounded number by process; further ones are counted. A thread that was seen costs a look into a small
 * table, a new one a look into /proc.
 */
#include "index/blob_internal.h"

#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define SEEN 64 /* threads, by their number; one that was pushed out is looked up anew */

struct reader_notes {
        struct blob_readers who;
        pid_t seen[SEEN];
};

/* The value of a line of /proc/PID/status, cut at its end. */
static bool status_value(char *text, const char *key, char *ret, size_t size)
{
        char *at = strstr(text, key);
        size_t n;

        if (!at)
                return false;
        at += strlen(key);
        at += strspn(at, " \t");
        n = min_u64(strcspn(at, "\n"), size - 1);
        memcpy(ret, at, n);
        ret[n] = '\0';
        return true;
}

struct blob_reader blob_reader_of(pid_t tid, uid_t uid)
{
        struct blob_reader who = { .pid = tid, .uid = uid, .at = clock_wall_s() };
        CLEANUP_FREE char *text = NULL;
        char path[64], tgid[16];
        int n;

        snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
        if (tid <= 0 || read_file_at(AT_FDCWD, path, 65536, &text, NULL) < 0)
                return who;
        if (status_value(text, "\nTgid:", tgid, sizeof(tgid)) && sscanf(tgid, "%d", &n) == 1)
                who.pid = n;
        snprintf(path, sizeof(path), "/proc/%d/comm", (int)who.pid);
        free(take_ptr(text));
        if (read_file_at(AT_FDCWD, path, 65536, &text, NULL) == 0)
                snprintf(who.comm, sizeof(who.comm), "%.*s", (int)strcspn(text, "\n"), text);
        for (char *p = who.comm; *p != '\0'; p++) /* a process may call itself anything */
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        *p = '?';
        return who;
}

static void add_locked(struct blob *b, const struct blob_reader *who) REQUIRES(b->lock)
{
        struct blob_readers *l = &b->readers->who;

        for (size_t i = 0; i < l->count; i++)
                if (l->at[i].pid == who->pid && l->at[i].uid == who->uid)
                        return;
        if (l->count < BLOB_READERS_MAX)
                l->at[l->count++] = *who;
        else
                l->more++;
}

/* True when the thread is to be looked up. Without memory nobody is. */
static bool is_new_locked(struct blob *b, pid_t tid) REQUIRES(b->lock)
{
        pid_t *slot;

        if (!b->readers)
                b->readers = calloc(1, sizeof(*b->readers));
        if (!b->readers)
                return false;
        slot = &b->readers->seen[(unsigned)tid % SEEN];
        if (*slot == tid && tid != 0)
                return false;
        *slot = tid;
        return true;
}

void blob_note_reader(struct blob *b, pid_t tid, uid_t uid)
{
        struct blob_reader who;
        bool fresh;

        lock_take(&b->lock);
        fresh = b->state != BLOB_COMPLETE && is_new_locked(b, tid);
        lock_drop(&b->lock);
        if (!fresh)
                return;
        who = blob_reader_of(tid, uid);
        lock_take(&b->lock);
        if (b->readers)
                add_locked(b, &who);
        lock_drop(&b->lock);
}

void blob_take_readers(struct blob *b, struct blob_readers *ret)
{
        lock_take(&b->lock);
        *ret = b->readers ? b->readers->who : (struct blob_readers){};
        blob_forget_readers_locked(b);
        lock_drop(&b->lock);
}

void blob_forget_readers_locked(struct blob *b)
{
        free(b->readers);
        b->readers = NULL;
}
