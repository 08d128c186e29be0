/*
 * Verdicts: what becomes known of wrong bytes, who had read them, and what was done. Said in the log, and
 * kept for `status`: the last VERDICTS_MAX blobs that were wrong since the start.
 */
#include "fetch/fill_internal.h"

#define LOG_COMPONENT "fill"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VERDICTS_MAX 16
#define READERS_TEXT 512

struct verdict {
        struct list node;
        struct fetch_verdict said;
};

/* ---- sentences ---- */

static bool is_of_the_store(enum fetch_outcome outcome)
{
        return outcome == FETCH_VERDICT_REJECTED || outcome == FETCH_VERDICT_FOUND;
}

/* ", read before that by python3[123] (uid 1000), ..."; "" when nobody did. */
static const char *readers_text(const struct fetch_verdict *v, char *ret)
{
        const char *did = is_of_the_store(v->outcome) ? ", opened before that by " : ", read before that by ";
        const struct blob_readers *l = &v->readers;
        size_t n = 0;

        ret[0] = '\0';
        for (size_t i = 0; i < l->count && n < READERS_TEXT; i++) {
                const struct blob_reader *who = &l->at[i];

                n += (size_t)snprintf(ret + n, READERS_TEXT - n, "%s%s[%d] (uid %u)",
                                      i == 0 ? did : ", ",
                                      who->comm[0] != '\0' ? who->comm : "process", (int)who->pid,
                                      (unsigned)who->uid);
        }
        if (l->more > 0 && n < READERS_TEXT)
                snprintf(ret + n, READERS_TEXT - n, " and %u more", l->more);
        return ret;
}

static const char *ranges_text(const struct blob_differs *d, char *ret, size_t size)
{
        size_t n = 0;

        ret[0] = '\0';
        for (size_t i = 0; i < d->count && n < size; i++)
                n += (size_t)snprintf(ret + n, size - n, "%s%" PRIu64 "-%" PRIu64, i == 0 ? "" : ", ",
                                      d->ranges[i].start, d->ranges[i].end - 1);
        if (d->more && n < size)
                snprintf(ret + n, size - n, ", ...");
        return ret;
}

static const char *got_text(const struct fetch_verdict *v)
{
        return v->got[0] != '\0' ? v->got : "another size";
}

static void say(const struct fetch_verdict *v)
{
        char readers[READERS_TEXT], ranges[400];

        readers_text(v, readers);
        ranges_text(&v->differs, ranges, sizeof(ranges));
        switch (v->outcome) {
        case FETCH_VERDICT_AGAIN:
                log_warn("%s: %s: what came is wrong: its hash should be %s and is %s; all of it is fetched once more, "
                         "from a new location%s",
                         v->repo, v->path, v->etag, got_text(v), readers);
                return;
        case FETCH_VERDICT_MENDED:
                log_warn("%s: %s: right the second time; %" PRIu64 " bytes had been wrong%s%s", v->repo, v->path,
                         v->differs.bytes, ranges[0] != '\0' ? ", at " : "", ranges);
                return;
        case FETCH_VERDICT_QUARANTINED:
                log_error("%s: %s: wrong twice: its hash should be %s and is %s; kept in the quarantine, reads fail "
                          "with EIO; 'weightfs pull %s' or 'weightfs verify --repair' tries again (%" PRIu64
                          " bytes were not the same both times%s%s)%s",
                          v->repo, v->path, v->etag, got_text(v), v->repo, v->differs.bytes,
                          ranges[0] != '\0' ? ": " : "", ranges, readers);
                return;
        case FETCH_VERDICT_REJECTED:
                log_error("%s: %s: the file in the store is wrong: its hash should be %s and is %s; moved to the "
                          "quarantine%s",
                          v->repo, v->path, v->etag, got_text(v), readers);
                return;
        case FETCH_VERDICT_FOUND:
                log_error("%s: %s: the file in the store is wrong: its hash should be %s and is %s; 'weightfs verify "
                          "--repair' replaces it%s",
                          v->repo, v->path, v->etag, got_text(v), readers);
                return;
        }
}

/* ---- the list ---- */

static void name_place(struct filler *fl, struct fetch_verdict *v)
{
        if (fill_name_place(fl, v->blob, v->repo, v->path))
                return;
        snprintf(v->repo, sizeof(v->repo), "blob");
        snprintf(v->path, sizeof(v->path), "%s", v->etag);
}

/* Readers of before stay named when the same blob comes to its end. */
static void keep_readers(struct fetch_verdict *v, const struct fetch_verdict *before)
{
        for (size_t i = 0; i < before->readers.count; i++) {
                if (v->readers.count < BLOB_READERS_MAX)
                        v->readers.at[v->readers.count++] = before->readers.at[i];
                else
                        v->readers.more++;
        }
        v->readers.more += before->readers.more;
        if (v->outcome == FETCH_VERDICT_MENDED)
                strcpy(v->got, before->got);
}

/* An incident of the same blob that has come to its end now is part of @v. */
static bool is_before(const struct fetch_verdict *before, const struct fetch_verdict *v)
{
        return before->blob == v->blob && (before->outcome == FETCH_VERDICT_AGAIN ||
                                           (before->outcome == FETCH_VERDICT_FOUND && is_of_the_store(v->outcome)));
}

/* Who opened a file that was found wrong before is named anew. */
static void take_readers_locked(struct filler *fl, struct fetch_verdict *v) REQUIRES(fl->lock)
{
        LIST_FOREACH(node, &fl->verdicts) {
                const struct fetch_verdict *before = &LIST_OWNER(node, struct verdict, node)->said;

                if (is_before(before, v) && before->outcome == FETCH_VERDICT_AGAIN)
                        keep_readers(v, before);
        }
}

static void drop_before_locked(struct filler *fl, const struct fetch_verdict *v) REQUIRES(fl->lock)
{
        LIST_FOREACH(node, &fl->verdicts) {
                struct verdict *before = LIST_OWNER(node, struct verdict, node);

                if (!is_before(&before->said, v))
                        continue;
                list_remove(&before->node);
                free(before);
        }
}

static void keep_locked(struct filler *fl, struct verdict *v) REQUIRES(fl->lock)
{
        unsigned count = 0;

        list_push(&fl->verdicts, &v->node);
        LIST_FOREACH(node, &fl->verdicts)
                count++;
        if (count > VERDICTS_MAX)
                free(LIST_OWNER(list_pop(&fl->verdicts), struct verdict, node));
}

/* NULL without memory. */
static struct verdict *verdict_new(struct filler *fl, struct blob *b, enum fetch_outcome outcome)
{
        struct verdict *v = calloc(1, sizeof(*v));

        if (!v) {
                log_error("blob %.12s: wrong bytes came (outcome %d)", blob_etag(b), (int)outcome);
                return NULL;
        }
        v->said = (struct fetch_verdict){
                .outcome = outcome, .blob = blob_id(b), .size = blob_size(b), .at = clock_wall_s()
        };
        snprintf(v->said.etag, sizeof(v->said.etag), "%s", blob_etag(b));
        name_place(fl, &v->said);
        blob_wrong_hash(b, v->said.got);
        return v;
}

static void tell(struct filler *fl, struct verdict *v)
{
        lock_take(&fl->lock);
        take_readers_locked(fl, &v->said);
        lock_drop(&fl->lock);
        say(&v->said); /* `status` lists the incident as it was meanwhile */
        lock_take(&fl->lock);
        drop_before_locked(fl, &v->said);
        keep_locked(fl, v);
        lock_drop(&fl->lock);
}

/* Of a file that was in the store: who read it while it was adopted, and who opened it when it was complete. */
static void take_openers(struct blob *b, struct fetch_verdict *v)
{
        struct fetch_verdict before = *v;

        blob_get_openers(b, &v->readers);
        keep_readers(v, &before);
}

void filler_verdict(struct filler *fl, struct blob *b, enum fetch_outcome outcome)
{
        struct verdict *v = verdict_new(fl, b, outcome);

        if (!v)
                return;
        if (outcome == FETCH_VERDICT_MENDED || outcome == FETCH_VERDICT_QUARANTINED)
                blob_get_differs(b, &v->said.differs);
        if (outcome != FETCH_VERDICT_MENDED)
                blob_take_readers(b, &v->said.readers);
        if (outcome == FETCH_VERDICT_REJECTED) {
                take_openers(b, &v->said);
                blob_forget_openers(b);
        }
        tell(fl, v);
        if (blob_owes(b))
                log_ratelimited(LOG_LEVEL_ERROR, "blob %.12s: the catalogue cannot be written, so it cannot be opened; "
                                "once it can (free space, or mend the disk of the state folder) the next open goes on",
                                blob_etag(b));
}

void filler_found_wrong(struct filler *fl, struct blob *b, const char *got)
{
        struct verdict *v = verdict_new(fl, b, FETCH_VERDICT_FOUND);

        if (!v)
                return;
        snprintf(v->said.got, sizeof(v->said.got), "%s", got);
        blob_get_openers(b, &v->said.readers);
        tell(fl, v);
}

int filler_verdicts(struct filler *fl, struct fetch_verdict **ret, size_t *ret_count)
{
        struct fetch_verdict *all = calloc(VERDICTS_MAX, sizeof(*all));
        size_t count = 0;

        if (!all)
                return -ENOMEM;
        lock_take(&fl->lock);
        LIST_FOREACH(node, &fl->verdicts)
                all[count++] = LIST_OWNER(node, struct verdict, node)->said;
        lock_drop(&fl->lock);
        *ret = all;
        *ret_count = count;
        return 0;
}

void verdicts_done(struct filler *fl)
{
        struct list *node;

        while ((node = list_pop(&fl->verdicts)))
                free(LIST_OWNER(node, struct verdict, node));
}
