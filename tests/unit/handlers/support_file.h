/* support_file: file_write run in a bed, on the file "f" there, and how that file looks. */
#pragma once

#include "unit/handlers/support_run.h"

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* All that must be the same after an undo. */
struct look {
    char *bytes; /* NULL: not there */
    struct stat st;
    char attribute[64];
    ssize_t attribute_len;
};

struct look look_at(const char *path);
void assert_same_look(struct look *before, struct look *after);
/* The folder holds the undo folder and these many others. */
void assert_file_count(const struct bed *bed, size_t expected);
void assert_file_text(const char *path, const char *expected);
/* Params for the file "f" of the bed. */
const char *write_params(const struct bed *bed, const char *content, const char *more);
void write_ok(struct bed *bed, enum handler_operation operation, const char *params);
void write_fails(struct bed *bed, enum handler_operation operation, const char *params,
                 const char *text);
void write_said(const struct bed *bed, const char *text);
/* A file with marks of its own in every respect. */
void make_original(const char *path);
