/*
 * Log: one line per event to standard error, with a level and a component.
 *
 * A file defines LOG_COMPONENT before it includes this header. Debug lines are written only
 * for components that were switched on, or for all at level debug. Under systemd (JOURNAL_STREAM
 * set) lines carry the <N> prefixes of sd-daemon(3); else a time stamp.
 * index/ and fetch/ log at debug level only; a failure is logged once, where it stops travelling.
 * Tokens and signed URLs never enter a message.
 *
 * Threads    Any thread may log; lines are written whole.
 */
#pragma once

#include "base/util.h"

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);

/* Comma-separated components whose debug lines are wanted, "all" for every one; NULL: none. */
void log_set_components(const char *list);

bool log_wanted(enum log_level level, const char *component);
void log_write(enum log_level level, const char *component, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define log_at(level, ...)                                              \
        do {                                                            \
                if (log_wanted((level), LOG_COMPONENT))                 \
                        log_write((level), LOG_COMPONENT, __VA_ARGS__); \
        } while (0)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* A budget of lines for one place in the code: at most 10 in 10 s; the rest is counted. */
struct log_ratelimit {
        uint64_t window_start_ms;
        unsigned written, suppressed;
};

/* True when a line may be written now; says first how many were left out since the last one. */
bool log_ratelimit_ok(struct log_ratelimit *limit, enum log_level level, const char *component);

#define log_ratelimited(level, ...)                                                   \
        do {                                                                          \
                static struct log_ratelimit limit_;                                   \
                if (log_wanted((level), LOG_COMPONENT) &&                             \
                    log_ratelimit_ok(&limit_, (level), LOG_COMPONENT))                \
                        log_write((level), LOG_COMPONENT, __VA_ARGS__);               \
        } while (0)
