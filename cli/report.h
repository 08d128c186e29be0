/*
 * Reports as JSON, from what index/, fetch/ and fs/ know. cli/show.h prints them for people.
 *
 * Errors     0 and a document that the caller owns; negative errno with a sentence.
 * Threads    Any.
 */
#pragma once

#include "cli/service.h"

#include <jansson.h>

/*
 * {"repos": [{"repo": "models/Org/Name", "revisions": [{"name", "commit"}], "commits", "files",
 * "size", "held_files", "held"}]}; looks into the store for repos not looked at before.
 */
int report_repos(struct index *ix, json_t **ret, struct errmsg *err);

/* {"repo", "revision", "commit", "whole", "files": [{"path", "size", "held", "state"}]}.
 * @revision "": main. -ENOENT for what is not known here. */
int report_files(struct index *ix, enum repo_type type, const char *name, const char *revision, json_t **ret,
                 struct errmsg *err);

/* [{"repo", "path", "etag", "size", "held"}]: blobs of which a part is held. */
int report_incomplete(struct index *ix, json_t **ret);

/* What the daemon is doing. */
int report_status(struct service *s, json_t **ret);

/* [{"pid", "uid", "name", "at"}]: at is in wall seconds. */
json_t *report_readers(const struct blob_readers *readers);

/* Bytes of an entry's blob that are held; opens the blob only where it has a partial file. */
uint64_t held_of(struct index *ix, int64_t blob, enum blob_state state, uint64_t size, const char *etag);

/* Fills @ret with "models/Org/Name"; it holds REPO_NAME_MAX + 12 bytes. */
void repo_label(enum repo_type type, const char *name, char *ret);

/* The commit that a revision means here. 0, CATALOG_E_NONE or negative errno. */
int commit_of_revision(struct catalog *c, int64_t repo, const char *revision, struct commit *ret);
