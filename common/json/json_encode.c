#include "common/json/json_internal.h"

#include <assert.h>
#include <string.h>

static void encode_value(struct buf *b, const struct json_field *field, const void *value);

static void encode_seconds(struct buf *b, int64_t ms)
{
    /* By digits, not as a double: what is read back is the same number of milliseconds. */
    int rest = (int)(ms % 1000);
    if (ms < 0) {
        buf_putc(b, '-');
        rest = -rest;
    }
    int64_t whole = ms / 1000;
    buf_put_int(b, whole < 0 ? -whole : whole);
    if (rest == 0)
        return;
    char digits[4] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                      (char)('0' + rest % 10)};
    size_t len = sizeof(digits);
    while (digits[len - 1] == '0')
        len--;
    buf_append(b, digits, len);
}

static void encode_enum(struct buf *b, const struct json_enum *values, int value)
{
    assert(value >= 0 && (size_t)value < values->count && values->names[value] != NULL);
    const char *name = values->names[value];
    json_write_string(b, name, strlen(name));
}

static void encode_array(struct buf *b, const struct json_field *item, const struct array *array)
{
    size_t size = json_value_size(item);
    buf_putc(b, '[');
    for (size_t i = 0; i < array->count; i++) {
        if (i > 0)
            buf_putc(b, ',');
        encode_value(b, item, json_field_in(array->items, i * size));
    }
    buf_putc(b, ']');
}

static void encode_string(struct buf *b, const char *s)
{
    json_write_string(b, s != NULL ? s : "", s != NULL ? strlen(s) : 0);
}

static void encode_raw(struct buf *b, const struct json_field *field, const char *text)
{
    if (text == NULL)
        text = (field->flags & JSON_RAW_OBJECT) != 0 ? "{}" : "null";
    buf_puts(b, text);
}

static void encode_value(struct buf *b, const struct json_field *field, const void *value)
{
    switch (field->type) {
    case JSON_BOOL:
        buf_puts(b, *(const bool *)value ? "true" : "false");
        break;
    case JSON_INT:
        buf_put_int(b, *(const int64_t *)value);
        break;
    case JSON_NUMBER:
        buf_put_number(b, *(const double *)value);
        break;
    case JSON_SECONDS:
        encode_seconds(b, *(const int64_t *)value);
        break;
    case JSON_STRING:
        encode_string(b, *(char *const *)value);
        break;
    case JSON_ENUM:
        encode_enum(b, field->values, *(const int *)value);
        break;
    case JSON_OBJECT:
        json_encode(b, field->table, value);
        break;
    case JSON_ARRAY:
        encode_array(b, field->item, value);
        break;
    case JSON_RAW:
        encode_raw(b, field, *(char *const *)value);
        break;
    case JSON_CUSTOM:
        field->custom->encode(b, value);
        break;
    }
}

static bool is_empty(const struct json_field *field, const void *value)
{
    switch (field->type) {
    case JSON_BOOL:
        return !*(const bool *)value;
    case JSON_INT:
    case JSON_SECONDS:
        return *(const int64_t *)value == 0;
    case JSON_NUMBER:
        return *(const double *)value == 0;
    case JSON_STRING:
    case JSON_RAW:
        return *(char *const *)value == NULL;
    case JSON_ENUM:
        return *(const int *)value == 0;
    case JSON_OBJECT:
        return false;
    case JSON_ARRAY:
        return ((const struct array *)value)->count == 0;
    case JSON_CUSTOM:
        return field->custom->empty != NULL && field->custom->empty(value);
    }
    return false;
}

static bool is_left_out(const struct json_field *field, const void *object)
{
    if (field->has_offset != 0 && (field->flags & JSON_REQUIRED) == 0)
        return !*(const bool *)json_field_in(object, field->has_offset);
    return (field->flags & JSON_OMIT_EMPTY) != 0 &&
           is_empty(field, json_field_in(object, field->offset));
}

void json_encode_members(struct buf *b, const struct json_table *table, const void *object,
                         bool *first)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct json_field *field = &table->fields[i];
        if (is_left_out(field, object))
            continue;
        if (!*first)
            buf_putc(b, ',');
        *first = false;
        encode_string(b, field->name);
        buf_putc(b, ':');
        encode_value(b, field, json_field_in(object, field->offset));
    }
}

void json_encode(struct buf *b, const struct json_table *table, const void *object)
{
    bool first = true;
    buf_putc(b, '{');
    json_encode_members(b, table, object, &first);
    buf_putc(b, '}');
}
