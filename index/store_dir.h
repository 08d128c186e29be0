/*
 * Inside of the store: opening names beneath a directory without following links (S3), making
 * folders, temporary files and their final names (S2). For index/ alone.
 *
 * A store may be a cache that somebody else filled: every name in it is foreign input.
 *
 * Errors     0 or negative errno. -ELOOP: a symbolic link stands where none may.
 * Threads    Any thread; all state is in the file system.
 */
#pragma once

#include "index/store.h"

#include "base/util.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#define STORE_TMP_MAX 80     /* bytes of a temporary name, its NUL included */
#define STORE_INSTANCE_MAX 32

struct store {
        char *path; /* absolute */
        int root_fd, hub_fd;
        int partial_fd, quarantine_fd; /* -1 when read-only */
        bool read_only;
        char instance[STORE_INSTANCE_MAX + 1];
        uint32_t run; /* random: tells this process's temporary files from a dead one's */
        atomic_uint tmp_count;
};

/* Where the bytes of a complete blob are: blobs/<etag> of the repo, or a file of the shared store
 * that a link in its place names. */
struct blob_place {
        int dir; /* owned */
        char name[ETAG_MAX + 1];
        bool shared;
};

/* ---- beneath a directory ---- */

/* openat(2) that never leaves @dirfd nor follows a link. O_CLOEXEC is implied. */
int dir_open(int dirfd, const char *path, int flags, mode_t mode, int *ret_fd);
/* A regular file, read-only. -EINVAL for anything else; never blocks on a FIFO. */
int dir_open_regular(int dirfd, const char *path, int *ret_fd, struct stat *ret);
/* A folder, made with its parents where missing (@mode, umask ignored), each durable. */
int dir_ensure(int dirfd, const char *path, mode_t mode, int *ret_fd);
/* True when the name is that of the file that is open. */
bool file_is_named(int fd, int dir, const char *name);
/* The names in a folder, for readdir(3). */
int dir_list(int dirfd, const char *path, DIR **ret);
DEFINE_CLEANUP(DIR *, dir, closedir)
#define CLEANUP_DIR CLEANUP(cleanup_dir)
int dir_sync(int fd);

/* ---- temporary names ---- */

void store_tmp_name(const struct store *s, char *ret); /* holds STORE_TMP_MAX bytes */
/* True for a temporary name that a dead process of this instance has left. */
bool store_tmp_stale(const struct store *s, const char *name);
/* What writes a file's content: 0 or negative errno. */
typedef int (*store_write_fn)(const void *arg, FILE *to);
/* A file: temporary name, fsync, rename over @name, fsync of the folder (S2). */
int store_file_write(const struct store *s, int dir, const char *name, store_write_fn write, const void *arg,
                     mode_t mode);
/* The same for a small one. */
int store_file_put(const struct store *s, int dir, const char *name, const void *data, size_t len,
                   mode_t mode);
/* A symbolic link, replacing another link; what is no link stays and counts as success. */
int store_symlink_put(const struct store *s, int dir, const char *name, const char *target);
/* Gives @from_dir/@from the name @to_dir/@to: a hard link; where none can be made a rename if
 * @may_move, else a copy. What had the name (only unfit things reach here) is replaced. */
int store_place(const struct store *s, int from_dir, const char *from, int to_dir, const char *to,
                bool may_move);
/* The same for the file that is open as @fd and has the name @from: that one and no other, whatever happens to
 * the name. -ESTALE: another one has it. */
int store_place_file(const struct store *s, int fd, int from_dir, const char *from, int to_dir, const char *to);
/* Moves a file to quarantine/<name>.<time>. */
int store_set_aside(const struct store *s, int dir, const char *file, const char *name);

/* ---- repos ---- */

/* The repo's folder, through an alias link of one component; made when @create. */
int store_repo_open(const struct store *s, enum repo_type type, const char *name, bool create,
                    int *ret_fd);
/* -ENOENT when absent; -ELOOP, -EINVAL (S3). The file itself may turn out to be missing. */
int store_blob_locate(const struct store *s, enum repo_type type, const char *name, const char *etag,
                      struct blob_place *ret);
void blob_place_done(struct blob_place *p);
