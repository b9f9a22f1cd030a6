/*
 * json: field tables. One table per message or document drives decoding, validation, encoding, the
 * freeing of what was decoded, and the JSON Schema that documents it. cJSON is used in this folder
 * alone; nobody else sees it.
 *
 *     static const struct json_field fields[] = {
 *         {.name = "message", .type = JSON_STRING, JSON_AT(struct echo_params, message),
 *          .flags = JSON_REQUIRED, .max = 65536, .doc = "Text to print."},
 *     };
 *     const struct json_table echo_table = JSON_TABLE("echo", struct echo_params, fields, "…");
 *
 * Decoding fills a zeroed struct: strings, arrays and raw texts are owned by it and freed by
 * json_release(). All faults are collected in `problems`, with paths and, for a misspelt name, the
 * closest one that is known. An unknown field is a fault unless the table says JSON_OPEN.
 *
 * Threading: no shared state after the first call. I/O: none.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/base/problems.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Parsed text ------------------------------------------------------------------------- */

struct json_doc;   /* a parsed text, owns its values */
struct json_value; /* one value in a json_doc; borrowed until json_free */

enum {
    JSON_DEPTH_MAX = 64,               /* nested brackets */
    JSON_VALUES_MAX = 4 * 1024 * 1024, /* values in a text: each takes far more memory than bytes */
    JSON_NUMBER_MAX = 63               /* characters in a number */
};
#define JSON_INT_MAX INT64_C(9007199254740991) /* 2^53 - 1: what a JSON number carries exactly */

/* Checks and parses. Refused, with the line and column: what is not JSON (RFC 8259), invalid UTF-8,
 * a NUL (\u0000 too), more than JSON_DEPTH_MAX nested brackets or JSON_VALUES_MAX values
 * (ERR_LIMIT), duplicate names in an object, numbers that are not finite, anything after the value,
 * a text longer than max_bytes (ERR_LIMIT). A byte order mark at the start is passed over. */
enum error_code json_parse(const char *text, size_t len, size_t max_bytes,
                           struct json_doc **ret_doc, struct error *err) MUST_CHECK;
void json_free(struct json_doc *doc);
const struct json_value *json_root(const struct json_doc *doc);

enum json_kind {
    JSON_IS_NULL,
    JSON_IS_BOOL,
    JSON_IS_NUMBER,
    JSON_IS_STRING,
    JSON_IS_ARRAY,
    JSON_IS_OBJECT
};
enum json_kind json_kind(const struct json_value *v);
const char *json_kind_name(enum json_kind kind); /* "a number", "an object", ... for messages */
/* Of a value of another kind: false, 0, NULL. */
bool json_bool(const struct json_value *v);
double json_number(const struct json_value *v);
const char *json_string(const struct json_value *v);             /* borrowed */
size_t json_count(const struct json_value *v);                   /* of an array or object */
const struct json_value *json_first(const struct json_value *v); /* first child, or NULL */
const struct json_value *json_next(const struct json_value *v);  /* next sibling, or NULL */
const char *json_name(const struct json_value *v);               /* member name, or NULL */
const struct json_value *json_get(const struct json_value *object, const char *name);
/* Appends the value as compact JSON text. */
void json_write_value(struct buf *b, const struct json_value *v);
/* Appends the value indented by two spaces a level. */
void json_write_pretty(struct buf *b, const struct json_value *v);
/* Appends a quoted, escaped JSON string. A byte that is not UTF-8, and a NUL, become U+FFFD: what
 * is written can always be read. */
void json_write_string(struct buf *b, const char *s, size_t len);

/* ---- Tables ------------------------------------------------------------------------------ */

enum json_type {
    JSON_BOOL,    /* bool */
    JSON_INT,     /* int64_t; min..max; at most 2^53 - 1 either way */
    JSON_NUMBER,  /* double; min..max */
    JSON_SECONDS, /* int64_t milliseconds; a number of seconds, fractions kept; min..max seconds */
    JSON_STRING,  /* char *, owned; length min..max bytes (max 0: JSON_STRING_MAX) */
    JSON_ENUM,    /* int (an enum); one of `values` */
    JSON_OBJECT,  /* the struct embedded in place; `table` */
    JSON_ARRAY,   /* struct array, owned; count min..max; each item as `item` says */
    JSON_RAW,   /* char *, owned: any value as compact JSON text; with JSON_RAW_OBJECT an object */
    JSON_CUSTOM /* whatever `custom` makes of it */
};

enum {
    JSON_REQUIRED = 1 << 0,    /* must be there */
    JSON_OMIT_EMPTY = 1 << 1,  /* encode: left out when false, 0, NULL, or an empty array */
    JSON_RAW_OBJECT = 1 << 2,  /* JSON_RAW: must be an object */
    JSON_HAS_DEFAULT = 1 << 3, /* absent: `fallback` (numbers, seconds, bool, enum) is stored; in an
                                  object that is absent itself, too */
    JSON_SECONDS_TEXT = 1 << 4, /* JSON_SECONDS: a text such as "1m30s" too (duration_parse) */
    JSON_SECRETS = 1 << 5 /* of step params: its texts may name secrets (common/values/value.h) */
};

enum { JSON_STRING_MAX = 1024 * 1024 };

struct json_enum {
    const char *const *names; /* index = enum value; a NULL name is no value */
    size_t count;
};

struct json_custom {
    /* Adds to problems under `path` and leaves the field zero when the value is not right. */
    void (*decode)(const struct json_value *v, const char *path, void *field, struct problems *ps);
    void (*encode)(struct buf *b, const void *field);
    bool (*empty)(const void *field); /* for JSON_OMIT_EMPTY; NULL: never empty */
    void (*release)(void *field);     /* NULL: nothing owned */
    const char *schema;               /* JSON Schema text of the value, an object */
    size_t size;                      /* of the field in the struct; needed for an array's items */
};

/* An int64_t: milliseconds since 1970 UTC, as "2026-11-21T06:25:56.123Z". */
extern const struct json_custom json_time_custom;

struct json_table;
struct json_field {
    const char *name;
    enum json_type type;
    unsigned flags;
    size_t offset;     /* JSON_AT */
    size_t has_offset; /* JSON_HAS: a bool that says whether the field was there; 0: none. Encoding
                          leaves the field out when it is false (unless JSON_REQUIRED), and writes
                          it when it is true, even one that is JSON_OMIT_EMPTY and empty */
    double min, max;   /* see json_type; both 0: no bound beyond the type's; max 0 with min > 0: no
                          upper one */
    double fallback;
    const struct json_enum *values;
    const struct json_table *table;
    const struct json_field *item; /* JSON_ARRAY: type, bounds, table of one item; offset unused */
    const struct json_custom *custom;
    /* Further rule for a string: returns NULL, or what would be right ("a name of ..."). */
    const char *(*check)(const char *s);
    const char *doc;
};
#define JSON_AT(type_, member) .offset = offsetof(type_, member)
#define JSON_HAS(type_, member) .has_offset = offsetof(type_, member)

struct json_table {
    const char *name; /* for messages and the schema's title */
    size_t size;      /* of the struct */
    const struct json_field *fields;
    size_t count; /* at most JSON_FIELDS_MAX */
    bool open;    /* JSON_OPEN: unknown fields are passed over (wire messages of newer peers) */
    const char *doc;
    const char *noun; /* what a field is called in messages ("parameter"); NULL: "field" */
};
enum { JSON_FIELDS_MAX = 64 };
#define JSON_TABLE(name_, type_, fields_, doc_)                                                    \
    {                                                                                              \
        .name = (name_), .size = sizeof(type_), .fields = (fields_),                               \
        .count = sizeof(fields_) / sizeof((fields_)[0]), .open = false, .doc = (doc_)              \
    }
#define JSON_TABLE_OPEN(name_, type_, fields_, doc_)                                               \
    {                                                                                              \
        .name = (name_), .size = sizeof(type_), .fields = (fields_),                               \
        .count = sizeof(fields_) / sizeof((fields_)[0]), .open = true, .doc = (doc_)               \
    }

/* Decodes into *ret (of table->size bytes, zeroed here first). `path` is the path of v itself ("").
 * Problems are added; what could not be decoded stays zero (or its fallback). null counts as absent
 * where a field is not JSON_REQUIRED. The caller always calls json_release afterwards, faults or
 * not. When memory runs out, ps->no_memory says so. */
void json_decode(const struct json_value *v, const struct json_table *table, const char *path,
                 void *ret, struct problems *ps);
/* Parses and decodes in one go; ERR_INVALID with the first problem. On failure *ret is released. */
enum error_code json_read(const char *text, size_t len, size_t max_bytes,
                          const struct json_table *table, void *ret, struct error *err) MUST_CHECK;
/* Appends the struct as compact JSON, straight into the buffer, fields in table order. NULL strings
 * that are not JSON_OMIT_EMPTY are written as "". */
void json_encode(struct buf *b, const struct json_table *table, const void *object);
/* The members alone, each with a comma before it when `*first` is false: for objects put together
 * from several tables. */
void json_encode_members(struct buf *b, const struct json_table *table, const void *object,
                         bool *first);
/* Frees what the fields own and zeroes the struct; the struct itself is the caller's. */
void json_release(const struct json_table *table, void *object);
/* Appends a JSON Schema (draft 2020-12) object for the table: type, properties with descriptions,
 * bounds and defaults, required, additionalProperties. */
void json_schema(struct buf *b, const struct json_table *table);
/* The schema of a single field's value. */
void json_schema_field(struct buf *b, const struct json_field *field);
