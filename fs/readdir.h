/*
 * What the files of listings share: a step, which is an entry or leads to one. readdir.c begins them all.
 */
#pragma once

#include "fs/internal.h"

/* One step of a listing. */
struct step {
        uint64_t cookie; /* in: of the entry before (0: none); out: of this one, at least 1 */
        char name[ENTRY_PATH_MAX + 1];
        struct node node;
        struct stat attr;
        double entry_timeout, attr_timeout;
        bool name_only; /* listed, but which node it is shows only a lookup */
        bool whole;     /* in: nothing is hidden (D1) */
        struct catalog_rows *rows; /* of the listing, from its second step on */
        int64_t mtime;             /* of the commit, beside rows */
};

/* The entry of refs/ or of one of its folders after s->cookie. 0: a step; 1: the end; negative errno. */
int next_ref(struct fs *fs, struct node dir, struct step *s);

/* Makes @n, a folder or what tree_attr() knows, the step. */
int step_dir(struct fs *fs, struct step *s, uint64_t cookie, const char *name, struct node n);
