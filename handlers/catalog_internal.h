/* catalog_internal: what the catalog's files share. For the files catalog*.c alone. */
#pragma once

#include "handlers/catalog.h"

#include "common/base/cleanup.h"
#include "common/base/error.h"

enum {
    PATH_BYTES_MAX = 4095,  /* PATH_MAX without the NUL */
    ARG_BYTES_MAX = 131071, /* the most Linux takes as one argument, without the NUL */
    ARGS_MAX = 1024,
    OWNER_BYTES_MAX = 256
};

#define PARAMS_TABLE(name_, type_, fields_, doc_)                                                  \
    {                                                                                              \
        .name = (name_), .size = sizeof(type_), .fields = (fields_), .count = ARRAY_LEN(fields_),  \
        .doc = (doc_), .noun = "parameter"                                                         \
    }

/* Rules for strings, as json_field.check has them. */
const char *catalog_check_file_path(const char *s);
const char *catalog_check_folder_path(const char *s);
const char *catalog_check_owner(const char *s);
const char *catalog_check_mode(const char *s);
const char *catalog_check_url(const char *s);
const char *catalog_check_host(const char *s);
const char *catalog_check_place(const char *s); /* HOST or HOST:PORT */
const char *catalog_check_regex(const char *s);

/* One argument of a program, and the rule for all of them. */
extern const struct json_field catalog_arg_item;
void catalog_check_args(const struct array *args, const char *path, struct problems *ps);

extern const struct json_custom catalog_size_custom;     /* int64_t bytes; at least 1M */
extern const struct json_custom catalog_statuses_custom; /* struct http_statuses */
extern const struct json_custom catalog_headers_custom;  /* struct array of struct http_header */
