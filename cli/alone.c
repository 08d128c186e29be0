/*
 * Implementation of alone.h.
 */
#include "cli/alone.h"

#include "cli/paths.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* What comes with a success; @warning is empty again. */
static void say_warning(struct errmsg *warning)
{
        if (warning->text[0] != '\0')
                fprintf(stderr, "weightfs: warning: %s\n", warning->text);
        warning->text[0] = '\0';
}

static int open_hub(struct options *o, struct alone *a, struct errmsg *err)
{
        struct fetch_options fetch = service_fetch_options(o);
        int r = fetch_new(&fetch, &a->service.index, &a->service.fetch, err);

        if (r == 0)
                say_warning(err);
        return r;
}

int alone_open(struct options *o, bool hub, struct alone *ret, struct errmsg *err)
{
        struct index_options index = { .store = o->store, .state = o->state };
        struct errmsg warning = {};
        int r = path_check_store(o, err);

        *ret = (struct alone){ .service.options = o };
        if (r == 0 && hub)
                r = path_of_token(o, NULL, &warning, err);
        if (r == 0 && hub)
                r = path_check_ca(o, err);
        if (r < 0)
                return r;
        say_warning(&warning);
        r = index_open(&index, &ret->service.index, err);
        if (r < 0)
                return r;
        ret->open = true;
        return hub ? open_hub(o, ret, err) : 0;
}

void alone_close(struct alone *a)
{
        if (!a->open)
                return;
        fetch_free(a->service.fetch);
        index_close(&a->service.index);
        a->open = false;
}

int store_must_exist(const struct options *o, struct errmsg *err)
{
        char hub[PATH_MAX + 8];

        snprintf(hub, sizeof(hub), "%s/hub", o->store);
        if (access(hub, F_OK) == 0)
                return 0;
        return errmsg_set(err, -errno, "there is no store in %s%s%s; say --store DIR, or mount or pull first",
                          o->store, errno == ENOENT ? "" : ": ", errno == ENOENT ? "" : strerror(errno));
}
