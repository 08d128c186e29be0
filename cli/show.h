/*
 * Prints the reports of cli/report.h for people.
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

void show_repos(FILE *out, const json_t *report);
void show_files(FILE *out, const json_t *report);
void show_status(FILE *out, const json_t *report);

/* One line for each incomplete blob after a heading; nothing where there is none. */
void show_incomplete(FILE *out, const json_t *list);

/* "; opened before that by python3[12] (uid 0) and 3 more", from the members readers and more_readers of @one;
 * nothing where nobody did. @did: what they did. */
void show_readers(FILE *out, const json_t *one, const char *did);

/* As JSON, for programs. */
void show_json(FILE *out, const json_t *report);
