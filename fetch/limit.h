/*
 * What each repo has brought in its hour, for who limits that. The hour of a repo begins with its first byte, or
 * refusal, after the one before.
 *
 * Bounds      LIMIT_REPOS_MAX repos; the one that began longest ago goes, and is forgotten.
 * Threads     None of its own; the filler's lock protects it. Time is passed in.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LIMIT_HOUR_MS 3600000
#define LIMIT_REPOS_MAX 4096

struct limit_repo;

struct limit {
        uint64_t max;             /* bytes; 0: no limit, and nothing is counted */
        struct limit_repo *repos; /* uthash, in the order in which their hours began */
};

void limit_init(struct limit *l, uint64_t max);
void limit_done(struct limit *l);

void limit_charge(struct limit *l, int64_t repo, uint64_t bytes, uint64_t now_ms);
/* Something of it was not fetched since too little is left. */
void limit_refuse(struct limit *l, int64_t repo, uint64_t now_ms);
/* What it may still bring; UINT64_MAX without a limit. */
uint64_t limit_left(struct limit *l, int64_t repo, uint64_t now_ms);

struct limit_report {
        int64_t repo;
        uint64_t bytes, refused, left_ms; /* of its hour */
};
/* The repos of which something was refused, @max at most; returns how many. */
size_t limit_report(struct limit *l, uint64_t now_ms, struct limit_report *ret, size_t max);
