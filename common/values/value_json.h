/*
 * value_json: sets of values as JSON objects.
 *
 * Read: {"os":{"id":"debian"},"disks":["sda"]} and {"os.id":"debian",...} are the same; null is no
 * value. Written: the second form, by name.
 *
 * Threading: as value_set.h. I/O: none.
 */
#pragma once

#include "common/base/buf.h"
#include "common/json/json.h"
#include "common/values/value_set.h"

/* Adds what the object has. ERR_INVALID names the member; what came before it stays added. */
enum error_code value_set_put_json(struct value_set *set, const struct json_value *object,
                                   struct error *err) MUST_CHECK;
/* Appends the set as a JSON object; NULL: an empty one. */
void value_set_write_json(const struct value_set *set, struct buf *out);
/* A field (char *, owned) that holds a set as such a text; NULL: there is none in it. */
extern const struct json_custom value_set_custom;
/* Makes a set of such a text; NULL: an empty one. ERR_INVALID. Caller owns. */
enum error_code value_set_read_json(const char *text, struct value_set **ret_set,
                                    struct error *err) MUST_CHECK;
/* Appends one value as JSON. */
void value_write_json(const struct value *v, struct buf *out);
