/*
 * Implementation of strings.h.
 */
#include "cli/strings.h"

#include <errno.h>
#include <string.h>

#define WORD_MAX 63 /* longer words are never near to anything */

int strings_add(struct strings *s, const char *text)
{
        char **grown = realloc(s->items, (s->count + 2) * sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        s->items = grown;
        s->items[s->count] = strdup(text);
        if (!s->items[s->count])
                return -ENOMEM;
        s->items[++s->count] = NULL;
        return 0;
}

int strings_add_words(struct strings *s, const char *text)
{
        CLEANUP_FREE char *copy = strdup(text);
        char *rest = NULL;
        int r = 0;

        if (!copy)
                return -ENOMEM;
        for (char *w = strtok_r(copy, ", \t\n", &rest); w && r == 0; w = strtok_r(NULL, ", \t\n", &rest))
                r = strings_add(s, w);
        return r;
}

void strings_done(struct strings *s)
{
        for (size_t i = 0; i < s->count; i++)
                free(s->items[i]);
        free(s->items);
        *s = (struct strings){};
}

static char folded(char c)
{
        return c == '_' ? '-' : c;
}

static unsigned least(unsigned a, unsigned b)
{
        return a < b ? a : b;
}

/* Optimal string alignment distance over three rows. */
unsigned word_distance(const char *a, const char *b)
{
        unsigned rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2];
        size_t na = strlen(a), nb = strlen(b);

        if (na > WORD_MAX || nb > WORD_MAX)
                return WORD_MAX;
        for (size_t j = 0; j <= nb; j++)
                last[j] = (unsigned)j;
        for (size_t i = 1; i <= na; i++) {
                unsigned *reused = before;

                row[0] = (unsigned)i;
                for (size_t j = 1; j <= nb; j++) {
                        unsigned cost = folded(a[i - 1]) != folded(b[j - 1]);

                        row[j] = least(least(last[j] + 1, row[j - 1] + 1), last[j - 1] + cost);
                        if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) &&
                            folded(a[i - 2]) == folded(b[j - 1]))
                                row[j] = least(row[j], before[j - 2] + 1);
                }
                before = last;
                last = row;
                row = reused;
        }
        return last[nb];
}

void suggestion_try(struct suggestion *s, const char *typed, const char *word)
{
        unsigned distance = word_distance(typed, word);

        /* less than half of what was typed may be wrong: "-x" must not become "-v" */
        if (distance >= s->distance || (size_t)distance * 2 >= strlen(typed))
                return;
        s->word = word;
        s->distance = distance;
}
