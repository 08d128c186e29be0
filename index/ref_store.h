/*
 * Refs in STORE/hub: what they stand for there (catalog_ref_stands_for()).
 *
 * Errors as catalog.h. Any thread may call.
 */
#pragma once

#include "index/catalog.h"
#include "index/store.h"

struct blob;

/*
 * ref_store() - write what the ref called @name stands for now into the repo's folder
 *
 * Once that is its own commit, nothing else is kept for it. What is there already is not written again.
 * Return: 0 also where the ref is gone, or its commit was replaced meanwhile; -EROFS or another negative errno.
 */
int ref_store(struct catalog *c, const struct store *s, const struct repo *repo, const char *name);

/* The same for all refs that still stand for another commit than theirs, which lists @b: it has just become whole. */
int blob_store_refs(struct blob *b);
