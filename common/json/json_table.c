#include "common/json/json_internal.h"

#include "common/base/alloc.h"
#include "common/base/text.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void json_excerpt(const char *s, char ret[JSON_EXCERPT_MAX])
{
    /* Kept back for what closes an excerpt that was cut. */
    static const char cut_mark[] = "...\"";
    const size_t room = JSON_EXCERPT_MAX - sizeof(cut_mark);
    size_t len = strlen(s);
    size_t used = 0;
    size_t at = 0;
    ret[used++] = '"';
    while (at < len) {
        bool valid;
        char escape[TEXT_ESCAPE_MAX];
        size_t next = text_utf8_next(s + at, len - at, &valid);
        size_t escape_len = valid ? text_escape(s + at, next, escape) : 0;
        const char *shown = escape_len > 0 ? escape : s + at;
        size_t shown_len = escape_len > 0 ? escape_len : next;
        if (!valid) {
            shown = TEXT_REPLACEMENT;
            shown_len = strlen(TEXT_REPLACEMENT);
        }
        if (used + shown_len > room)
            break;
        memcpy(ret + used, shown, shown_len);
        used += shown_len;
        at += next;
    }
    const char *end = at < len ? cut_mark : "\"";
    memcpy(ret + used, end, strlen(end) + 1);
}

/* "one of \"a\", \"b\"", cut when the list is long. */
static void expected_names(const struct json_enum *values, char ret[JSON_EXPECTED_MAX])
{
    size_t used = (size_t)snprintf(ret, JSON_EXPECTED_MAX, "one of ");
    const char *separator = "";
    for (size_t i = 0; i < values->count; i++) {
        if (values->names[i] == NULL)
            continue;
        size_t needed = strlen(separator) + strlen(values->names[i]) + 2;
        if (used + needed + strlen(", ...") >= JSON_EXPECTED_MAX) {
            (void)snprintf(ret + used, JSON_EXPECTED_MAX - used, ", ...");
            return;
        }
        used += (size_t)snprintf(ret + used, JSON_EXPECTED_MAX - used, "%s\"%s\"", separator,
                                 values->names[i]);
        separator = ", ";
    }
}

void json_expected(const struct json_field *field, char ret[JSON_EXPECTED_MAX])
{
    const char *text = NULL;
    switch (field->type) {
    case JSON_BOOL:
        text = "true or false";
        break;
    case JSON_INT:
        text = "a whole number";
        break;
    case JSON_NUMBER:
        text = "a number";
        break;
    case JSON_SECONDS:
        text = (field->flags & JSON_SECONDS_TEXT) != 0
                   ? "a number of seconds or a text such as \"1m30s\""
                   : "a number of seconds";
        break;
    case JSON_STRING:
        text = "a string";
        break;
    case JSON_ENUM:
        expected_names(field->values, ret);
        return;
    case JSON_OBJECT:
        text = "an object";
        break;
    case JSON_ARRAY:
        text = "an array";
        break;
    case JSON_RAW:
        text = (field->flags & JSON_RAW_OBJECT) != 0 ? "an object" : "a value";
        break;
    case JSON_CUSTOM:
        text = "a value";
        break;
    }
    assert(text != NULL);
    (void)snprintf(ret, JSON_EXPECTED_MAX, "%s", text);
}

size_t json_value_size(const struct json_field *field)
{
    switch (field->type) {
    case JSON_BOOL:
        return sizeof(bool);
    case JSON_INT:
    case JSON_SECONDS:
        return sizeof(int64_t);
    case JSON_NUMBER:
        return sizeof(double);
    case JSON_STRING:
    case JSON_RAW:
        return sizeof(char *);
    case JSON_ENUM:
        return sizeof(int);
    case JSON_OBJECT:
        return field->table->size;
    case JSON_ARRAY:
        return sizeof(struct array);
    case JSON_CUSTOM:
        return field->custom->size;
    }
    return 0;
}

bool json_has_max(const struct json_field *field)
{
    return field->max > 0 || field->min < 0;
}

bool json_has_min(const struct json_field *field)
{
    return field->min > 0 || json_has_max(field);
}

/* ---- Release --------------------------------------------------------------------------------- */

static void release_fields(const struct json_table *table, void *object);

static void release_value(const struct json_field *field, void *value)
{
    switch (field->type) {
    case JSON_BOOL:
    case JSON_INT:
    case JSON_NUMBER:
    case JSON_SECONDS:
    case JSON_ENUM:
        break;
    case JSON_STRING:
    case JSON_RAW:
        mem_free(*(char **)value);
        break;
    case JSON_OBJECT:
        release_fields(field->table, value);
        break;
    case JSON_ARRAY: {
        struct array *array = value;
        size_t size = json_value_size(field->item);
        for (size_t i = 0; i < array->count; i++)
            release_value(field->item, json_field_at(array->items, i * size));
        mem_free(array->items);
        break;
    }
    case JSON_CUSTOM:
        if (field->custom->release != NULL)
            field->custom->release(value);
        break;
    }
}

static void release_fields(const struct json_table *table, void *object)
{
    for (size_t i = 0; i < table->count; i++)
        release_value(&table->fields[i], json_field_at(object, table->fields[i].offset));
}

void json_release(const struct json_table *table, void *object)
{
    release_fields(table, object);
    memset(object, 0, table->size);
}
