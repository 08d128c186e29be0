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

/* As JSON, for programs. */
void show_json(FILE *out, const json_t *report);
