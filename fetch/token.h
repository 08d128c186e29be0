/*
 * The access token: given literally, or read from a file that others rewrite (OAuth).
 *
 * Sources    huggingface_hub utils/_auth.py: HF_TOKEN, then the file HF_TOKEN_PATH.
 * Secrets    A token never enters a message. Its memory is wiped before it is freed.
 * Threads    Any thread may call. One lock, held over reading the file.
 */
#pragma once

#include "base/errmsg.h"

#include <stdbool.h>

#define TOKEN_MAX 4096 /* bytes; the file may hold white space around it */

struct token;

/*
 * token_new() - take a literal token, or else one from @file; both NULL: there is none
 *
 * A file that does not exist (yet) is no error. Return: 0, perhaps with a warning in @err (others
 * can read the file); -EINVAL: not a token; -EFBIG; another negative errno: the file cannot be read.
 */
int token_new(const char *literal, const char *file, struct token **ret, struct errmsg *err);
struct token *token_free(struct token *t); /* NULL is allowed; returns NULL */

/* The token as a heap string for token_wipe(), or NULL where there is none; the file is looked at
 * again when its identity or mtime changed (at most once a second, or at once with @again). A file
 * that went bad leaves the last good token. -ENOMEM. */
int token_get(struct token *t, bool again, char **ret);

/* Wipes and frees a string; NULL is allowed. */
void token_wipe(char *value);
