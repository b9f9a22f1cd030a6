#include "common/json/json_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void schema_value(struct buf *b, const struct json_field *field);
static void schema_table(struct buf *b, const struct json_table *table);

static void put_string(struct buf *b, const char *s)
{
    json_write_string(b, s, strlen(s));
}

/* ,"<key>": */
static void put_key(struct buf *b, const char *key)
{
    buf_putc(b, ',');
    put_string(b, key);
    buf_putc(b, ':');
}

static void put_number(struct buf *b, const char *key, double value)
{
    put_key(b, key);
    buf_put_number(b, value);
}

static void put_text(struct buf *b, const char *key, const char *text)
{
    if (text == NULL)
        return;
    put_key(b, key);
    put_string(b, text);
}

static void schema_bounds(struct buf *b, const struct json_field *field, const char *min_key,
                          const char *max_key)
{
    if (json_has_min(field))
        put_number(b, min_key, field->min);
    if (json_has_max(field))
        put_number(b, max_key, field->max);
}

static void schema_string(struct buf *b, const struct json_field *field)
{
    /* A schema counts characters, a table bytes, of which a character takes at most four. */
    buf_puts(b, "\"type\":\"string\"");
    if (field->min > 0)
        put_number(b, "minLength", ceil(field->min / 4));
    put_number(b, "maxLength", field->max > 0 ? field->max : JSON_STRING_MAX);
}

static void schema_enum(struct buf *b, const struct json_enum *values)
{
    const char *separator = "";
    buf_puts(b, "\"enum\":[");
    for (size_t i = 0; i < values->count; i++) {
        if (values->names[i] == NULL)
            continue;
        buf_puts(b, separator);
        put_string(b, values->names[i]);
        separator = ",";
    }
    buf_putc(b, ']');
}

static void schema_array(struct buf *b, const struct json_field *field)
{
    buf_puts(b, "\"type\":\"array\",\"items\":");
    json_schema_field(b, field->item);
    schema_bounds(b, field, "minItems", "maxItems");
}

static void schema_default(struct buf *b, const struct json_field *field)
{
    if ((field->flags & JSON_HAS_DEFAULT) == 0)
        return;
    put_key(b, "default");
    if (field->type == JSON_BOOL)
        buf_puts(b, field->fallback != 0 ? "true" : "false");
    else if (field->type == JSON_ENUM)
        put_string(b, field->values->names[(size_t)field->fallback]);
    else
        buf_put_number(b, field->fallback);
}

/* A custom value's schema is an object's text: its members, without the braces. */
static void schema_custom(struct buf *b, const char *schema)
{
    size_t len = strlen(schema);
    assert(len > 2 && schema[0] == '{' && schema[len - 1] == '}');
    buf_append(b, schema + 1, len - 2);
}

static void schema_seconds(struct buf *b, const struct json_field *field)
{
    bool text_too = (field->flags & JSON_SECONDS_TEXT) != 0;
    buf_puts(b, text_too ? "\"anyOf\":[{" : "");
    buf_puts(b, "\"type\":\"number\"");
    schema_bounds(b, field, "minimum", "maximum");
    buf_puts(b, text_too ? "},{\"type\":\"string\"}]" : "");
}

/* The members that say what the value is; at least one. */
static void schema_value(struct buf *b, const struct json_field *field)
{
    switch (field->type) {
    case JSON_BOOL:
        buf_puts(b, "\"type\":\"boolean\"");
        break;
    case JSON_INT:
        buf_puts(b, "\"type\":\"integer\"");
        schema_bounds(b, field, "minimum", "maximum");
        break;
    case JSON_NUMBER:
        buf_puts(b, "\"type\":\"number\"");
        schema_bounds(b, field, "minimum", "maximum");
        break;
    case JSON_SECONDS:
        schema_seconds(b, field);
        break;
    case JSON_STRING:
        schema_string(b, field);
        break;
    case JSON_ENUM:
        schema_enum(b, field->values);
        break;
    case JSON_OBJECT:
        schema_table(b, field->table);
        break;
    case JSON_ARRAY:
        schema_array(b, field);
        break;
    case JSON_RAW:
        buf_puts(
            b, (field->flags & JSON_RAW_OBJECT) != 0
                   ? "\"type\":\"object\""
                   : "\"type\":[\"null\",\"boolean\",\"number\",\"string\",\"array\",\"object\"]");
        break;
    case JSON_CUSTOM:
        schema_custom(b, field->custom->schema);
        break;
    }
}

static void schema_required(struct buf *b, const struct json_table *table)
{
    const char *separator = "";
    put_key(b, "required");
    buf_putc(b, '[');
    for (size_t i = 0; i < table->count; i++) {
        if ((table->fields[i].flags & JSON_REQUIRED) == 0)
            continue;
        buf_puts(b, separator);
        put_string(b, table->fields[i].name);
        separator = ",";
    }
    buf_putc(b, ']');
}

/* The members of a table's schema, but for its description. */
static void schema_table(struct buf *b, const struct json_table *table)
{
    buf_puts(b, "\"type\":\"object\"");
    put_text(b, "title", table->name);
    put_key(b, "properties");
    buf_putc(b, '{');
    for (size_t i = 0; i < table->count; i++) {
        if (i > 0)
            buf_putc(b, ',');
        put_string(b, table->fields[i].name);
        buf_putc(b, ':');
        json_schema_field(b, &table->fields[i]);
    }
    buf_putc(b, '}');
    schema_required(b, table);
    put_key(b, "additionalProperties");
    buf_puts(b, table->open ? "true" : "false");
}

void json_schema(struct buf *b, const struct json_table *table)
{
    buf_puts(b, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",");
    schema_table(b, table);
    put_text(b, "description", table->doc);
    buf_putc(b, '}');
}

void json_schema_field(struct buf *b, const struct json_field *field)
{
    const char *doc = field->doc;
    if (doc == NULL && field->type == JSON_OBJECT)
        doc = field->table->doc;
    buf_putc(b, '{');
    schema_value(b, field);
    put_text(b, "description", doc);
    schema_default(b, field);
    if ((field->flags & JSON_SECRETS) != 0)
        buf_puts(b, ",\"x-secrets\":true");
    buf_putc(b, '}');
}
