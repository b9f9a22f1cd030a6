/* json_internal: what the files of this folder share, cJSON among it. For this folder alone. */
#pragma once

#include "common/json/json.h"

#include <cjson/cJSON.h>

/* ---- json_scan.c --------------------------------------------------------------------------- */

/* One pass over a text: is it JSON (RFC 8259), and how much is in it? */
struct json_scan {
    const char *text;
    size_t len;
    size_t wanted; /* number (from 0, in order of appearance) of a value to find; SIZE_MAX: none */

    size_t pos;          /* when the scan fails: where */
    size_t values;       /* seen, all levels */
    size_t strings;      /* seen, names too */
    size_t string_bytes; /* between their quotes */
    size_t name_pos;     /* of the last member name */
    size_t found_value;  /* where the wanted value is, and the name before it */
    size_t found_name;
    enum error_code code; /* when the scan fails: why */
    const char *fault;
};

/* False with pos, code and fault set when the text is refused. */
bool json_scan(struct json_scan *s) MUST_CHECK;

/* ---- json_parse.c -------------------------------------------------------------------------- */

/* struct json_value is a cJSON node by another name, which keeps cJSON.h out of json.h. */
static inline const cJSON *json_node(const struct json_value *v)
{
    return (const cJSON *)(const void *)v;
}
static inline const struct json_value *json_value_of(const cJSON *node)
{
    return (const struct json_value *)(const void *)node;
}
static inline bool json_node_is(const cJSON *node, int type)
{
    return (node->type & 0xFF) == type;
}

/* ---- json_table.c -------------------------------------------------------------------------- */

enum { JSON_EXCERPT_MAX = 64, JSON_EXPECTED_MAX = 224 };

/* A text in quotes, for a message: escaped, and cut when long. */
void json_excerpt(const char *s, char ret[JSON_EXCERPT_MAX]);
/* What a field takes: "a whole number", "one of \"a\", \"b\"", ... */
void json_expected(const struct json_field *field, char ret[JSON_EXPECTED_MAX]);
/* Bytes that one value of the field takes in a struct or an array. */
size_t json_value_size(const struct json_field *field);
bool json_has_min(const struct json_field *field);
bool json_has_max(const struct json_field *field);

/* ---- json_fault.c -------------------------------------------------------------------------- */

/* Where a value is. Kept as a chain on the stack and written out only for a message: most documents
 * are right. */
struct json_path {
    const struct json_path *parent;
    const char *name; /* of a member; of the root, the text that all paths begin with; NULL: item */
    size_t index;     /* of an item */
};

/* One value's place: where it is, what it should be, and who hears of faults. */
struct json_place {
    const struct json_path *path;
    const struct json_field *field;
    struct problems *ps;
};

void json_path_write(const struct json_path *path, char ret[PROBLEM_PATH_MAX]);
/* True when another fault would only be counted, so that nothing need be worked out for it: a large
 * document can be wrong in a million places. */
static inline bool json_only_counted(const struct json_place *at)
{
    return at->ps->count >= PROBLEMS_MAX;
}
void json_fault(const struct json_place *at, const char *fmt, ...) PRINTF_LIKE(2, 3);
void json_fault_kind(const struct json_place *at, const cJSON *v);
void json_fault_memory(const struct json_place *at);
/* A member that the table does not know; `at` is the member's own place. */
void json_fault_unknown(const struct json_place *at, const struct json_table *table);
/* A string that is no value of the enum. */
void json_fault_enum(const struct json_place *at, const char *s);
/* Each says whether the value keeps the field's bounds, and adds a fault when it does not. `unit`
 * ("" or " seconds") ends the bounds in the message. */
bool json_check_number(const struct json_place *at, double d, const char *unit) MUST_CHECK;
bool json_check_length(const struct json_place *at, size_t len) MUST_CHECK;
bool json_check_count(const struct json_place *at, size_t count) MUST_CHECK;

/* ---- Fields -------------------------------------------------------------------------------- */

static inline void *json_field_at(void *object, size_t offset)
{
    return (char *)object + offset;
}
static inline const void *json_field_in(const void *object, size_t offset)
{
    return (const char *)object + offset;
}
