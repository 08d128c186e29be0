/*
 * Cuts JSON into pieces, so that a document of very many members is never held parsed as a whole:
 * objects are gone through member by member, arrays item by item, and only a value that is of interest is
 * given to jansson, which takes up to a hundred bytes of memory for one of text.
 *
 * What is passed over is only seen to be balanced; what is cut out is for the caller to parse. The
 * document may lie in memory or come from a file, of which only a window is held.
 *
 * Errors     -EBADMSG: no JSON, or a value too large to be one of ours; -ENOMEM; those of read(2).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define JSON_CUT_VALUE_MAX (1u << 20) /* bytes of one value that comes from a file */
#define JSON_CUT_KEY_MAX (64u << 10)  /* bytes of a key, as it is written */

struct json_cut {
        int fd;            /* what follows the window; -1: nothing */
        char *window;      /* heap where there is a file, else the caller's */
        size_t at, len, capacity;
        bool first;        /* no member of the object, or item of the array, was seen yet */
};

void json_cut_text(struct json_cut *c, const char *text, size_t len); /* borrowed until the end */
void json_cut_file(struct json_cut *c, int fd);                       /* borrowed, read from where it is */
void json_cut_done(struct json_cut *c);

/* Goes into an object. */
int json_cut_enter(struct json_cut *c);
/* Goes to the next member's value; @ret_key is on the heap. 1: there is none, and the object is left. */
int json_cut_member(struct json_cut *c, char **ret_key);
/* Goes into an array. */
int json_cut_enter_array(struct json_cut *c);
/* Goes to the next item, a value. 1: there is none, and the array is left. */
int json_cut_item(struct json_cut *c);
/* Passes one value; it is in @ret, not ended by NUL, until the next call. */
int json_cut_value(struct json_cut *c, const char **ret, size_t *ret_len);
/* Passes one value of up to @most bytes of text (-EBADMSG beyond) and parses it with jansson's @flags; the
 * caller's to json_decref(). */
int json_cut_parse(struct json_cut *c, size_t most, size_t flags, json_t **ret);
/* Nothing but white space may follow. */
int json_cut_end(struct json_cut *c);
