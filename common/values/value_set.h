/*
 * value_set: named values that belong together: a server's facts, its labels, a plan's variables,
 * what a step has put out. Names are without the space before them: "os.version", not
 * "facts.os.version".
 *
 * Threading: one thread at a time; a set that no longer changes may be read by several. I/O: none.
 */
#pragma once

#include "common/values/value.h"

enum {
    VALUE_SET_MAX = 1024,             /* values in a set */
    VALUE_SET_BYTES_MAX = 256 * 1024, /* of all names and texts */
};

struct value_set;

enum error_code value_set_new(struct value_set **ret_set, struct error *err) MUST_CHECK;
void value_set_free(struct value_set *set); /* NULL is fine */
/* Adds, or replaces; everything is copied. ERR_INVALID: not words joined by dots, or lists in a
 * list; ERR_LIMIT: too many, too much, or one that is too long. */
enum error_code value_set_put(struct value_set *set, const char *name, const struct value *value,
                              struct error *err) MUST_CHECK;
enum error_code value_set_put_text(struct value_set *set, const char *name, const char *text,
                                   struct error *err) MUST_CHECK;
enum error_code value_set_put_number(struct value_set *set, const char *name, double number,
                                     struct error *err) MUST_CHECK;
/* False: there is none. The value is borrowed until the set changes. */
bool value_set_find(const struct value_set *set, const char *name, struct value *ret_value);
size_t value_set_count(const struct value_set *set);
/* By name; i < value_set_count. Borrowed as above. */
const char *value_set_at(const struct value_set *set, size_t i, struct value *ret_value);
