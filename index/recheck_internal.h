/*
 * Inside of recheck_names.h: recheck_names.c (findings, the walk over all names), recheck_look.c (what can be wrong
 * with one) and recheck_mend.c.
 */
#pragma once

#include "index/recheck_names.h"

#include "base/table.h"

struct recheck_name {
        UT_hash_handle hh;
        enum recheck_name_kind kind;
        enum recheck_name_fault fault;
        int error;
        struct repo repo;
        struct commit commit; /* links and listings; id 0: the catalogue does not know it */
        uint32_t pos;         /* links: the entry */
        const char *path;     /* points into key */
        char key[];           /* plural/hub_name/path: a folder may be that of two repos, one of them renamed */
};

/* A repo whose names are looked at. */
struct name_look {
        struct recheck_names *list; /* NULL: one name is looked at again */
        struct index *ix;
        const struct repo *repo;
        int dir; /* the repo's folder */
        const atomic_bool *cancel;
};

struct name_verdict {
        enum recheck_name_fault fault;
        int error;
};

/* True for an error that says something of this process, and nothing of the name. */
bool name_passing(int r);
/* Each sets @ret; a negative errno: it could not be looked at. @path: "refs/main". */
int name_look_ref(const struct name_look *x, const char *path, struct name_verdict *ret);
/* @dir: the folder of the entry in the snapshot, or what opening it gave. */
int name_look_link(const struct name_look *x, const struct entry *e, int dir, struct name_verdict *ret);
/* @commit->id 0, or not whole: it is only to be a listing. */
int name_look_listing(const struct name_look *x, const struct commit *commit, struct name_verdict *ret);
/* The folder in which @path ("snapshots/<commit>/a/b") is, without following links. */
int name_open_folder(const struct name_look *x, const char *path, int *ret_dir);
