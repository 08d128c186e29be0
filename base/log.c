/*
 * Implementation of log.h. The level and the component list are set once, before threads start;
 * rate limits are protected by ratelimit_lock.
 */
#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum log_level max_level = LOG_LEVEL_INFO;
static char components[256];
static pthread_mutex_t ratelimit_lock = PTHREAD_MUTEX_INITIALIZER;

void log_set_level(enum log_level level)
{
        max_level = level;
}

void log_set_components(const char *list)
{
        snprintf(components, sizeof(components), ",%s,", list ? list : "");
}

static bool component_on(const char *component)
{
        char needle[64];

        if (components[0] == '\0')
                return false;
        snprintf(needle, sizeof(needle), ",%s,", component);
        return strstr(components, needle) || strstr(components, ",all,");
}

bool log_wanted(enum log_level level, const char *component)
{
        return level <= max_level || (level == LOG_LEVEL_DEBUG && component_on(component));
}

void log_write(enum log_level level, const char *component, const char *fmt, ...)
{
        static const char *const words[] = { "error", "warning", "info", "debug" };
        static const int priorities[] = { 3, 4, 6, 7 };
        char line[2048];
        int saved = errno, n;
        size_t len;
        va_list ap;

        if (getenv("JOURNAL_STREAM")) {
                n = snprintf(line, sizeof(line), "<%d>%s: ", priorities[level], component);
        } else {
                struct timespec now;
                struct tm tm;

                clock_gettime(CLOCK_REALTIME, &now);
                localtime_r(&now.tv_sec, &tm);
                n = snprintf(line, sizeof(line), "%02d:%02d:%02d.%03ld %s %s: ", tm.tm_hour, tm.tm_min,
                             tm.tm_sec, now.tv_nsec / 1000000, words[level], component);
        }
        va_start(ap, fmt);
        vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
        va_end(ap);
        len = strlen(line);
        for (size_t i = 0; i < len; i++) /* a name from outside must not forge a line */
                if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
                        line[i] = '?';
        line[len++] = '\n';
        if (write(STDERR_FILENO, line, len) < 0)
                errno = 0; /* nowhere is left to complain */
        errno = saved;
}

bool log_ratelimit_ok(struct log_ratelimit *limit, enum log_level level, const char *component)
{
        uint64_t now = clock_ms();
        unsigned suppressed = 0;
        bool ok;

        pthread_mutex_lock(&ratelimit_lock);
        if (limit->window_start_ms == 0 || now - limit->window_start_ms > 10000) {
                suppressed = limit->suppressed;
                *limit = (struct log_ratelimit){ .window_start_ms = now };
        }
        ok = limit->written < 10;
        if (ok)
                limit->written++;
        else
                limit->suppressed++;
        pthread_mutex_unlock(&ratelimit_lock);
        if (suppressed > 0)
                log_write(level, component, "%u lines like the next were left out", suppressed);
        return ok;
}
