/*
 * Options from the environment: the variables that Hugging Face clients know.
 */
#include "cli/options.h"

#include "base/names.h"

#include <errno.h>
#include <string.h>

/*
 * huggingface_hub constants.py: the first of the two that is not empty decides. A false value only
 * says nothing: it must not open the network that a configuration file closed.
 */
static int read_offline(struct options *o, struct errmsg *err)
{
        const char *name = "HF_HUB_OFFLINE", *value = getenv(name);

        if (!value || value[0] == '\0') {
                name = "TRANSFORMERS_OFFLINE";
                value = getenv(name);
        }
        if (!word_is_true(value))
                return 0;
        return option_set(o, &option_table[OPTION_OFFLINE], "yes", FROM_ENVIRONMENT, name, err);
}

/*
 * The token leaves the environment, so that neither children nor /proc/PID/environ show it. Clients
 * strip white space around it, and so do we.
 */
static int read_token(struct options *o)
{
        char *value = getenv("HF_TOKEN");
        size_t len;

        if (!value)
                return 0;
        value += strspn(value, " \t\r\n");
        len = strcspn(value, " \t\r\n");
        if (len > 0) {
                o->token = strndup(value, len);
                if (!o->token)
                        return -ENOMEM;
        }
        explicit_bzero(value, strlen(value));
        unsetenv("HF_TOKEN");
        return 0;
}

int options_read_environment(struct options *o, struct errmsg *err)
{
        int r = read_token(o);

        for (size_t i = 0; i < OPTION_COUNT && r == 0; i++) {
                const struct option_spec *spec = &option_table[i];
                const char *value = spec->environment ? getenv(spec->environment) : NULL;

                if (i == OPTION_OFFLINE || !(spec->commands & o->command) || !value || value[0] == '\0')
                        continue;
                r = option_set(o, spec, value, FROM_ENVIRONMENT, spec->environment, err);
        }
        return r == 0 ? read_offline(o, err) : r;
}
