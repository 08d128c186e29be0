/*
 * Implementation of errmsg.h.
 */
#include "base/errmsg.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int errmsg_set(struct errmsg *e, int r, const char *fmt, ...)
{
        va_list ap;

        if (!e)
                return r;
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
        return r;
}

const char *errmsg_get(const struct errmsg *e, int r)
{
        if (e && e->text[0] != '\0')
                return e->text;
        return strerror(r < 0 ? -r : r);
}
