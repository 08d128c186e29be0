/*
 * Implementation of explain.h.
 */
#include "cli/explain.h"

#include <errno.h>
#include <string.h>

static int explain_absent(const struct explain *x, struct errmsg *err)
{
        if (x->revision)
                return errmsg_set(err, -ENOENT,
                                  "the hub at %s does not know %s: the repo is there, the revision is not",
                                  x->endpoint, x->what);
        return errmsg_set(err, -ENOENT, "the hub at %s does not know %s; check the name%s", x->endpoint,
                          x->what,
                          x->token ? "" : " (a private repo needs a token: HF_TOKEN or --token-file)");
}

static int explain_errno(int r, const struct explain *x, struct errmsg *err)
{
        switch (-r) {
        case ENOSPC:
        case EDQUOT:
                if (x->kept)
                        return errmsg_set(err, r,
                                          "%s: the store %s has no more free than --keep-free keeps; free some, keep "
                                          "less, or use another with --store; what arrived is kept",
                                          x->what, x->store);
                return errmsg_set(err, r,
                                  "%s: no space is left in the store %s; free some, or use another with "
                                  "--store; what arrived is kept",
                                  x->what, x->store);
        case EROFS:
        case EACCES:
                return errmsg_set(err, r, "%s: the store %s cannot be written: %s", x->what, x->store,
                                  strerror(-r));
        case ECANCELED:
                return errmsg_set(err, r, "%s: interrupted; what arrived is kept", x->what);
        default:
                return errmsg_set(err, r, "%s: %s", x->what, strerror(-r));
        }
}

int explain_fetch(int result, const struct explain *x, struct errmsg *err)
{
        bool why = x->last_error && x->last_error[0] != '\0';

        switch (result) {
        case FETCH_E_ABSENT:
                return explain_absent(x, err);
        case FETCH_E_POLICY:
                return errmsg_set(
                        err, -EPERM,
                        "%s is forbidden by the allow and deny settings; change --allow or --deny, or "
                        "[hub] allow and deny in the configuration file",
                        x->what);
        case FETCH_E_FORBIDDEN:
                return errmsg_set(
                        err, -EACCES,
                        "the hub at %s does not give out %s: it is gated, private or "
                        "disabled; %s",
                        x->endpoint, x->what,
                        x->token ? "check the token, whose owner must have accepted the terms on its page"
                                 : "accept its terms on its page and give a token: HF_TOKEN or "
                                   "--token-file");
        case FETCH_E_UNREACHABLE:
                return errmsg_set(err, -EHOSTUNREACH,
                                  why ? "%s: the hub at %s does not answer (%s); check the network and "
                                        "--endpoint, or try again later"
                                      : "%s: %s does not answer as a hub should; check --endpoint, or try "
                                        "again later",
                                  x->what, x->endpoint, x->last_error);
        case FETCH_E_OFFLINE:
                return errmsg_set(
                        err, -ENETDOWN,
                        "weightfs is offline and the store %s does not hold all of %s; go online first "
                        "('weightfs offline off', or start with --online)",
                        x->store, x->what);
        case FETCH_E_CORRUPT:
                return errmsg_set(err, -EBADMSG,
                                  "%s: the bytes that came twice did not fit their hash and are in "
                                  "%s/quarantine; to try again, pull again",
                                  x->what, x->store);
        default:
                return explain_errno(result, x, err);
        }
}
