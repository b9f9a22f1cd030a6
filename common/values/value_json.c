#include "common/values/value_json.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>

/* ---- Writing -----------------------------------------------------------------------------------
 */

void value_write_json(const struct value *v, struct buf *out)
{
    switch (v->kind) {
    case VALUE_TEXT:
        json_write_string(out, v->text, strlen(v->text));
        return;
    case VALUE_NUMBER:
        buf_put_number(out, v->number);
        return;
    case VALUE_BOOL:
        buf_puts(out, v->yes ? "true" : "false");
        return;
    case VALUE_LIST:
        for (size_t i = 0; i < v->count; i++) {
            buf_putc(out, i == 0 ? '[' : ',');
            value_write_json(&v->items[i], out);
        }
        buf_puts(out, v->count == 0 ? "[]" : "]");
        return;
    case VALUE_KIND_COUNT:
        return;
    }
}

void value_set_write_json(const struct value_set *set, struct buf *out)
{
    size_t count = set ? value_set_count(set) : 0;
    buf_putc(out, '{');
    for (size_t i = 0; i < count; i++) {
        struct value v;
        const char *name = value_set_at(set, i, &v);
        if (i > 0)
            buf_putc(out, ',');
        json_write_string(out, name, strlen(name));
        buf_putc(out, ':');
        value_write_json(&v, out);
    }
    buf_putc(out, '}');
}

/* ---- Reading -----------------------------------------------------------------------------------
 */

static bool scalar_read(const struct json_value *json, struct value *ret)
{
    switch (json_kind(json)) {
    case JSON_IS_STRING:
        *ret = (struct value){.kind = VALUE_TEXT, .text = json_string(json)};
        return true;
    case JSON_IS_NUMBER:
        *ret = (struct value){.kind = VALUE_NUMBER, .number = json_number(json)};
        return true;
    case JSON_IS_BOOL:
        *ret = (struct value){.kind = VALUE_BOOL, .yes = json_bool(json)};
        return true;
    case JSON_IS_NULL:
    case JSON_IS_ARRAY:
    case JSON_IS_OBJECT:
        break;
    }
    return false;
}

static enum error_code put_list(struct value_set *set, const char *name,
                                const struct json_value *json, struct error *err)
{
    size_t count = json_count(json);
    if (count > VALUE_LIST_MAX)
        return error_set(err, ERR_LIMIT, "%.100s: a list of more than %d items", name,
                         VALUE_LIST_MAX);
    AUTO_FREE struct value *items = mem_array(count, sizeof(*items));
    size_t n = 0;
    if (!items)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (const struct json_value *c = json_first(json); c; c = json_next(c)) {
        if (!scalar_read(c, &items[n++]))
            return error_set(err, ERR_INVALID, "%.100s[%zu]: %s cannot stand in a list", name,
                             n - 1, json_kind_name(json_kind(c)));
    }
    const struct value v = {.kind = VALUE_LIST, .items = items, .count = n};
    return value_set_put(set, name, &v, err);
}

static enum error_code put_object(struct value_set *set, char name[VALUE_NAME_MAX + 1], size_t len,
                                  const struct json_value *object, struct error *err);

static enum error_code put_member(struct value_set *set, char name[VALUE_NAME_MAX + 1], size_t len,
                                  const struct json_value *json, struct error *err)
{
    struct value v;
    enum json_kind kind = json_kind(json);
    if (kind == JSON_IS_NULL)
        return ERR_OK;
    if (kind == JSON_IS_OBJECT)
        return put_object(set, name, len, json, err);
    if (kind == JSON_IS_ARRAY)
        return put_list(set, name, json, err);
    return scalar_read(json, &v) ? value_set_put(set, name, &v, err)
                                 : error_set(err, ERR_INTERNAL, NULL);
}

/* `name` has `len` bytes of the names above, and room for more. */
static enum error_code put_object(struct value_set *set, char name[VALUE_NAME_MAX + 1], size_t len,
                                  const struct json_value *object, struct error *err)
{
    for (const struct json_value *c = json_first(object); c; c = json_next(c)) {
        int more = snprintf(name + len, VALUE_NAME_MAX + 1 - len, "%s%s", len > 0 ? "." : "",
                            json_name(c));
        if (more < 0 || (size_t)more > VALUE_NAME_MAX - len)
            return error_set(err, ERR_LIMIT, "%.60s...: a name of more than %d bytes", name,
                             VALUE_NAME_MAX);
        enum error_code code = put_member(set, name, len + (size_t)more, c, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum error_code value_set_put_json(struct value_set *set, const struct json_value *object,
                                   struct error *err)
{
    char name[VALUE_NAME_MAX + 1] = "";
    if (json_kind(object) != JSON_IS_OBJECT)
        return error_set(err, ERR_INVALID, "expected an object, and it is %s",
                         json_kind_name(json_kind(object)));
    return put_object(set, name, 0, object, err);
}

/* ---- As a field --------------------------------------------------------------------------------
 */

DEFINE_CLEANUP(json_free, struct json_doc)
DEFINE_CLEANUP(value_set_free, struct value_set)

enum { SET_TEXT_MAX = 8 * VALUE_SET_BYTES_MAX }; /* written out, each byte is at most six */

enum error_code value_set_read_json(const char *text, struct value_set **ret_set, struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    AUTO(value_set_free) struct value_set *set = NULL;
    enum error_code code = value_set_new(&set, err);
    if (code == ERR_OK && text)
        code = json_parse(text, strlen(text), SET_TEXT_MAX, &doc, err);
    if (code == ERR_OK && doc)
        code = value_set_put_json(set, json_root(doc), err);
    if (code == ERR_OK)
        *ret_set = TAKE(set);
    return code;
}

static void field_decode(const struct json_value *v, const char *path, void *field,
                         struct problems *ps)
{
    AUTO(value_set_free) struct value_set *set = NULL;
    AUTO_BUF struct buf text = BUF_INIT;
    struct error err = {0};
    enum error_code code = value_set_new(&set, &err);
    if (code == ERR_OK)
        code = value_set_put_json(set, v, &err);
    if (code == ERR_OK && value_set_count(set) > 0) {
        value_set_write_json(set, &text);
        code = buf_check(&text, &err);
    }
    if (code == ERR_NO_MEMORY)
        ps->no_memory = true;
    else if (code != ERR_OK)
        problems_add(ps, path, "%s", err.message);
    else if (text.len > 0)
        *(char **)field = buf_take(&text, NULL);
}

static void field_encode(struct buf *b, const void *field)
{
    const char *text = *(char *const *)field;
    buf_puts(b, text ? text : "{}");
}

static bool field_empty(const void *field)
{
    return *(char *const *)field == NULL;
}

static void field_release(void *field)
{
    mem_free(*(char **)field);
}

const struct json_custom value_set_custom = {
    .decode = field_decode,
    .encode = field_encode,
    .empty = field_empty,
    .release = field_release,
    .schema = "{\"type\":\"object\"}",
    .size = sizeof(char *),
};
