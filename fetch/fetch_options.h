/*
 * What can be wrong with the options of a fetch, said in a sentence before anything is started.
 */
#pragma once

#include "fetch/fetch.h"

/* 0 or -EINVAL with @err. The globs are checked by policy_init(). */
int fetch_options_check(const struct fetch_options *o, struct errmsg *err);
