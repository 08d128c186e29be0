/*
 * The rules for names that come from outside: containers, the hub, store contents, people.
 *
 * Sources: huggingface_hub utils/_validators.py (repo ids), file_download.py repo_folder_name()
 * (folder names); git check-ref-format(1) for revisions.
 *
 * Threads    Everything here is pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum repo_type { REPO_MODEL, REPO_DATASET, REPO_SPACE };
#define REPO_TYPE_COUNT 3

#define REPO_NAME_MAX 193   /* 96 "/" 96 */
#define REPO_FOLDER_MAX 206 /* "datasets--" + name with "--" for "/" */
#define REVISION_MAX 255
#define ENTRY_PATH_MAX 1024 /* bytes of a path in a listing */
#define ENTRY_NAME_MAX 255  /* bytes of one component: NAME_MAX */
#define COMMIT_HEX 40       /* a commit, and a git blob sha1 */
#define SHA256_HEX 64
#define ETAG_MAX SHA256_HEX

/* "model", "dataset", "space". */
const char *repo_type_word(enum repo_type type);

/* "models", "datasets", "spaces": the folder of the plain view and the hub's API segment. */
const char *repo_type_plural(enum repo_type type);

/* Parses the plural; false when @word is none. */
bool repo_type_from_plural(const char *word, enum repo_type *ret);

/* True for an id that the hub could know: [Org/]Name of [A-Za-z0-9._-], parts of 1 to 96 bytes
 * that neither begin nor end with "-" or ".", no "--" or "..", no ".git" or ".ipynb" at the end. */
bool repo_name_valid(const char *name);

/* "models--Org--Name" <-> type and "Org/Name". @ret_folder holds REPO_FOLDER_MAX + 1 bytes. */
void repo_to_folder(enum repo_type type, const char *name, char *ret_folder);

/* False when the folder name is not one of a valid id; @ret_name holds REPO_NAME_MAX + 1 bytes. */
bool repo_from_folder(const char *folder, enum repo_type *ret_type, char *ret_name);

/*
 * Parses what a person writes: "Org/Name", "models/Org/Name", "datasets/Org/Name@rev", an
 * "https://host/Org/Name" is refused. The revision is "" when none was given.
 * @ret_name: REPO_NAME_MAX + 1 bytes; @ret_revision: REVISION_MAX + 1 bytes.
 */
bool repo_parse(const char *text, enum repo_type *ret_type, char *ret_name, char *ret_revision);

/* True when @text is exactly @digits lower-case hex digits. */
bool hex_valid(const char *text, size_t digits);

/* Lower-case hex of @len bytes into @ret, which holds 2 * @len + 1 bytes. */
void hex_encode(const unsigned char *bytes, size_t len, char *ret);

/* An etag as it names a blob: 40 or 64 lower-case hex digits. */
bool etag_valid(const char *etag);

/* A branch, tag, "refs/pr/N" or commit that may be asked of the hub: git's rules for ref names,
 * 1 to REVISION_MAX bytes, no control characters. */
bool revision_valid(const char *revision);

/* A path in a listing that is safe to show and to store: relative, no empty, "." or ".."
 * component, no component over ENTRY_NAME_MAX, no control character, at most ENTRY_PATH_MAX,
 * valid UTF-8. */
bool entry_path_valid(const char *path);

/* True when a component of a path may be looked up at all (not empty, ".", "..", no "/"). */
bool entry_name_valid(const char *name);

/* Shell glob over a repo id or an entry path: "*" also matches "/". */
bool glob_match(const char *pattern, const char *text);

/* "1", "true", "yes", "on" in any case (huggingface_hub constants.py, ENV_VARS_TRUE_VALUES). */
bool word_is_true(const char *word);

/* The part that follows in a series: "model-00001-of-00004.safetensors" -> "model-00002-of-00004.safetensors".
 * The last "-N-of-M" of @name counts. False: it is of no series, its last part, or does not fit @size bytes. */
bool name_of_next_part(const char *name, char *ret, size_t size);
