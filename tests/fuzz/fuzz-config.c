/*
 * The configuration file, options of mount(8) and the token's file: all are a person's, or a program's.
 * The first byte chooses which.
 */
#include "cli/options.h"
#include "fetch/token.h"

#include "scratch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_config(const uint8_t *data, size_t size)
{
        struct errmsg err = {};
        struct options o;
        int r;

        scratch_put(scratch_at("config"), data, size);
        options_init(&o);
        r = options_read_config(&o, scratch_at("config"), &err);
        assert(r == 0 || err.text[0] != '\0');
        options_done(&o);
}

static void try_mount_options(const uint8_t *data, size_t size)
{
        char *text = strndup((const char *)data, size);
        struct errmsg err = {};
        struct options o;
        int r;

        if (!text)
                return;
        options_init(&o);
        r = options_read_mount_options(&o, text, &err);
        assert(r == 0 || err.text[0] != '\0');
        options_done(&o);
        free(text);
}

static void try_token(const uint8_t *data, size_t size)
{
        struct errmsg err = {};
        struct token *t = NULL;
        char *value = NULL;

        scratch_put(scratch_at("token"), data, size);
        if (token_new(NULL, scratch_at("token"), &t, &err) == 0 && token_get(t, false, &value) == 0 && value)
                for (const char *p = value; *p != '\0'; p++)
                        assert(*p > ' ' && *p < 0x7f); /* it becomes part of a header */
        token_wipe(value);
        token_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (scratch[0] == '\0')
                scratch_begin();
        if (size < 1)
                return 0;
        if (data[0] % 3 == 0)
                try_config(data + 1, size - 1);
        else if (data[0] % 3 == 1)
                try_mount_options(data + 1, size - 1);
        else
                try_token(data + 1, size - 1);
        return 0;
}
