/*
 * Adoption: what an existing Hugging Face cache in STORE/hub holds becomes known to the catalogue,
 * one repo at a time, when it is looked up. Also how a lost catalogue is rebuilt.
 *
 * Foreign writers are tolerated: what does not parse is passed over, never deleted.
 *
 * Threads    Any thread; two adoptions of one repo do no harm.
 */
#pragma once

#include "index/blob.h"

/* Adds a row (not scanned) for each repo folder in STORE/hub. Cheap: one readdir. */
int adopt_names(struct catalog *c, struct store *s);

/*
 * Scans one repo's folder: refs, commits (whole listing where trees/<sha>.json is there and valid,
 * else what snapshots/<sha> shows), blobs (complete ones, also through shared-blob links; size
 * must fit the listing). Marks the repo as scanned. 0 also when the folder does not exist;
 * @ret_found says whether anything was found (the repo is then resolved).
 */
int adopt_repo(struct catalog *c, struct store *s, int64_t repo, bool *ret_found);
