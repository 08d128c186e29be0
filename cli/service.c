/*
 * Implementation of service.h.
 */
#include "cli/service.h"

#include "cli/confine.h"

#include <unistd.h>

const char *service_endpoint(const struct options *o)
{
        return o->endpoint ? o->endpoint : "https://huggingface.co";
}

bool service_has_token(const struct options *o)
{
        return o->token || (o->token_file && access(o->token_file, R_OK) == 0);
}

struct fetch_options service_fetch_options(const struct options *o)
{
        return (struct fetch_options){
                .endpoint = service_endpoint(o),
                .token = o->token,
                .token_file = o->token_file,
                .ca_file = o->ca_file,
                .allow = strings_array(&o->allow),
                .deny = strings_array(&o->deny),
                .offline = o->offline,
                .insecure_token = o->insecure_token,
                .complete = (enum fetch_complete)o->complete,
                .strict = o->strict,
                .keep_free = { o->keep_free.percent, o->keep_free.bytes },
                .max_fetch = o->max_fetch,
                .connections = o->connections,
                .lookup_deadline_s = o->lookup_deadline,
                .read_deadline_s = o->read_deadline,
        };
}

int service_unmount(struct service *s, bool lazy)
{
        if (s->helper)
                return unmount_helper_ask(s->helper, lazy);
        return fs_unmount(s->fs, lazy);
}
