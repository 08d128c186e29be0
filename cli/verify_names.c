/*
 * Implementation of verify_names.h.
 */
#include "cli/verify_names.h"

#include "cli/jsonio.h"
#include "cli/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOG_COMPONENT "verify"
#include "base/log.h"

#define NOTE_MAX 512

static const char *const words[][5] = {
        [RECHECK_NAME_REF] = { "", "ref missing", "ref broken", "ref unknown", "ref unreadable" },
        [RECHECK_NAME_LINK] = { "", "link missing", "link broken", "link wrong", "link unreadable" },
        [RECHECK_NAME_LISTING] = { "", "listing missing", "listing broken", "listing wrong", "listing unreadable" },
};

static const char *word_of(const struct recheck_name *n)
{
        return words[recheck_name_kind(n)][recheck_name_fault(n)];
}

/* What becomes of it, in @ret. 0: it is right now. */
static int mend(struct repair *p, const struct recheck_name *n, const char *label, char ret[NOTE_MAX])
{
        int r = recheck_name_mend(&p->service->index, n);

        switch (r) {
        case 0:
                snprintf(ret, NOTE_MAX, "written anew");
                break;
        case -ENODATA:
                snprintf(ret, NOTE_MAX,
                         "nothing that is known says what it should be; remove it, and 'weightfs pull %s' brings what "
                         "the hub has",
                         label);
                break;
        case -ENXIO:
                snprintf(ret, NOTE_MAX, "its file is not held; 'weightfs pull %s' brings both", label);
                break;
        case -EEXIST:
                snprintf(ret, NOTE_MAX, "what is in its place cannot be replaced; move it away, and verify again");
                break;
        default:
                snprintf(ret, NOTE_MAX, "it cannot be written: %s",
                         r == -EROFS ? "the store is read-only" : strerror(-r));
        }
        return r;
}

static json_t *report(const struct recheck_name *n, const char *label, const char *note, bool repaired)
{
        json_t *one = json_object();

        json_set_text(one, "repo", label);
        json_set_text(one, "path", recheck_name_path(n));
        json_set_text(one, "etag", "");
        json_set_u64(one, "size", 0);
        json_set_text(one, "what", word_of(n));
        json_set_text(one, "got", "");
        json_object_set_new(one, "repaired", json_boolean(repaired));
        json_set_text(one, "note", note);
        json_object_set_new(one, "readers", json_array());
        json_set_u64(one, "more_readers", 0);
        return one;
}

int repair_name(struct repair *p, const struct recheck_name *n, pull_event_fn emit, void *arg)
{
        const struct repo *repo = recheck_name_repo(n);
        char label[REPO_NAME_MAX + 12], note[NOTE_MAX] = "";
        int r = -ENODATA, told = 0;

        repo_label(repo->type, repo->name, label);
        log_warn("%s: %s: %s in the store", label, recheck_name_path(n), word_of(n));
        if (recheck_name_fault(n) == RECHECK_NAME_UNREADABLE)
                snprintf(note, sizeof(note), "%s", strerror(-recheck_name_error(n)));
        if (p->wanted) {
                told = emit(arg, json_pack("{s:s, s:s, s:s}", "kind", "repair", "repo", label, "path",
                                           recheck_name_path(n)));
                r = told != 0 ? told : mend(p, n, label, note);
        }
        if (r == 0)
                log_info("%s: %s: %s", label, recheck_name_path(n), note);
        else
                p->left++;
        json_array_append_new(p->damaged, report(n, label, note, r == 0));
        return told;
}
