#include "common/json/json_internal.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void decode_value(const struct json_place *at, const cJSON *v, void *ret);

/* ---- Scalars --------------------------------------------------------------------------------- */

static void decode_bool(const struct json_place *at, const cJSON *v, bool *ret)
{
    if (json_kind(json_value_of(v)) == JSON_IS_BOOL)
        *ret = json_node_is(v, cJSON_True);
    else
        json_fault_kind(at, v);
}

static void decode_int(const struct json_place *at, const cJSON *v, int64_t *ret)
{
    if (!json_node_is(v, cJSON_Number)) {
        json_fault_kind(at, v);
        return;
    }
    double d = v->valuedouble;
    if (trunc(d) != d) {
        json_fault(at, "must be a whole number, not %.16g", d);
        return;
    }
    if (!json_check_number(at, d, ""))
        return;
    if (fabs(d) > (double)JSON_INT_MAX) {
        json_fault(at, "must be between -%lld and %lld, not %.16g", (long long)JSON_INT_MAX,
                   (long long)JSON_INT_MAX, d);
        return;
    }
    *ret = (int64_t)d;
}

static void decode_number(const struct json_place *at, const cJSON *v, double *ret)
{
    if (!json_node_is(v, cJSON_Number))
        json_fault_kind(at, v);
    else if (json_check_number(at, v->valuedouble, ""))
        *ret = v->valuedouble;
}

/* A text such as "1m30s". */
static void decode_duration(const struct json_place *at, const cJSON *v, int64_t *ret_ms)
{
    struct error err;
    int64_t ms;
    if (duration_parse(v->valuestring, &ms, &err) != ERR_OK)
        json_fault(at, "%s", err.message);
    else if (json_check_number(at, (double)ms / 1000, " seconds"))
        *ret_ms = ms;
}

static void decode_seconds(const struct json_place *at, const cJSON *v, int64_t *ret_ms)
{
    static const double seconds_max = (double)(JSON_INT_MAX / 1000);
    if ((at->field->flags & JSON_SECONDS_TEXT) != 0 && json_node_is(v, cJSON_String)) {
        decode_duration(at, v, ret_ms);
        return;
    }
    if (!json_node_is(v, cJSON_Number)) {
        json_fault_kind(at, v);
        return;
    }
    double seconds = v->valuedouble;
    if (!json_check_number(at, seconds, " seconds"))
        return;
    if (fabs(seconds) > seconds_max) {
        json_fault(at, "must be between -%.0f and %.0f seconds, not %.16g", seconds_max,
                   seconds_max, seconds);
        return;
    }
    *ret_ms = (int64_t)llround(seconds * 1000);
}

static void decode_string(const struct json_place *at, const cJSON *v, char **ret)
{
    if (!json_node_is(v, cJSON_String)) {
        json_fault_kind(at, v);
        return;
    }
    const char *s = v->valuestring;
    size_t len = strlen(s);
    if (!json_check_length(at, len))
        return;
    const char *right = at->field->check != NULL ? at->field->check(s) : NULL;
    if (right != NULL) {
        char excerpt[JSON_EXCERPT_MAX];
        json_excerpt(s, excerpt);
        json_fault(at, "must be %s, not %s", right, excerpt);
        return;
    }
    *ret = mem_strndup(s, len);
    if (*ret == NULL)
        json_fault_memory(at);
}

static void decode_enum(const struct json_place *at, const cJSON *v, int *ret)
{
    const struct json_enum *values = at->field->values;
    if (!json_node_is(v, cJSON_String)) {
        json_fault_kind(at, v);
        return;
    }
    for (size_t i = 0; i < values->count; i++) {
        if (values->names[i] != NULL && strcmp(values->names[i], v->valuestring) == 0) {
            *ret = (int)i;
            return;
        }
    }
    json_fault_enum(at, v->valuestring);
}

static void decode_raw(const struct json_place *at, const cJSON *v, char **ret)
{
    if ((at->field->flags & JSON_RAW_OBJECT) != 0 && !json_node_is(v, cJSON_Object)) {
        json_fault_kind(at, v);
        return;
    }
    AUTO_BUF struct buf text = BUF_INIT;
    json_write_value(&text, json_value_of(v));
    *ret = buf_take(&text, NULL);
    if (*ret == NULL)
        json_fault_memory(at);
}

static void decode_custom(const struct json_place *at, const cJSON *v, void *ret)
{
    char path[PROBLEM_PATH_MAX];
    json_path_write(at->path, path);
    at->field->custom->decode(json_value_of(v), path, ret, at->ps);
}

/* ---- Objects and arrays ---------------------------------------------------------------------- */

/* Fallbacks first: what a faulty member leaves behind is its fallback too. */
static void store_fallbacks(const struct json_table *table, void *object)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct json_field *field = &table->fields[i];
        void *value = json_field_at(object, field->offset);
        if (field->type == JSON_OBJECT)
            store_fallbacks(field->table, value);
        if ((field->flags & JSON_HAS_DEFAULT) == 0)
            continue;
        switch (field->type) {
        case JSON_BOOL:
            *(bool *)value = field->fallback != 0;
            break;
        case JSON_INT:
            *(int64_t *)value = (int64_t)field->fallback;
            break;
        case JSON_NUMBER:
            *(double *)value = field->fallback;
            break;
        case JSON_SECONDS:
            *(int64_t *)value = (int64_t)llround(field->fallback * 1000);
            break;
        case JSON_ENUM:
            *(int *)value = (int)field->fallback;
            break;
        case JSON_STRING:
        case JSON_OBJECT:
        case JSON_ARRAY:
        case JSON_RAW:
        case JSON_CUSTOM:
            assert(false); /* the table is wrong: these cannot have one */
        }
    }
}

/* The field's place in the table, table->count when there is none. What was encoded from a table
 * comes in its order, so the search begins behind the field that came last. */
static size_t field_find(const struct json_table *table, const char *name, size_t first)
{
    for (size_t n = 0; n < table->count; n++) {
        size_t i = first + n < table->count ? first + n : first + n - table->count;
        const char *known = table->fields[i].name;
        if (known[0] == name[0] && strcmp(known, name) == 0)
            return i;
    }
    return table->count;
}

static void report_missing(const struct json_table *table, uint64_t seen,
                           const struct json_path *path, struct problems *ps)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct json_field *field = &table->fields[i];
        if ((seen & (UINT64_C(1) << i)) != 0 || (field->flags & JSON_REQUIRED) == 0)
            continue;
        struct json_path member_path = {.parent = path, .name = field->name};
        struct json_place at = {.path = &member_path, .field = field, .ps = ps};
        char expected[JSON_EXPECTED_MAX];
        json_expected(field, expected);
        json_fault(&at, "is required (%s)", expected);
    }
}

/* Into a zeroed struct. */
static void decode_object(const cJSON *v, const struct json_table *table,
                          const struct json_path *path, void *ret, struct problems *ps)
{
    uint64_t seen = 0;
    size_t next = 0;
    assert(table->count <= JSON_FIELDS_MAX);
    for (const cJSON *member = v->child; member != NULL; member = member->next) {
        struct json_path member_path = {.parent = path, .name = member->string};
        size_t i = field_find(table, member->string, next);
        if (i == table->count) {
            struct json_place at = {.path = &member_path, .field = NULL, .ps = ps};
            if (!table->open)
                json_fault_unknown(&at, table);
            continue;
        }
        next = i + 1;
        const struct json_field *field = &table->fields[i];
        if (json_node_is(member, cJSON_NULL) && (field->flags & JSON_REQUIRED) == 0)
            continue;
        seen |= UINT64_C(1) << i;
        if (field->has_offset != 0)
            *(bool *)json_field_at(ret, field->has_offset) = true;
        struct json_place at = {.path = &member_path, .field = field, .ps = ps};
        decode_value(&at, member, json_field_at(ret, field->offset));
    }
    report_missing(table, seen, path, ps);
}

static void decode_array(const struct json_place *at, const cJSON *v, struct array *ret)
{
    const struct json_field *item = at->field->item;
    if (!json_node_is(v, cJSON_Array)) {
        json_fault_kind(at, v);
        return;
    }
    size_t count = json_count(json_value_of(v));
    if (!json_check_count(at, count) || count == 0)
        return;
    size_t size = json_value_size(item);
    assert(size > 0);
    ret->items = mem_array(count, size);
    if (ret->items == NULL) {
        json_fault_memory(at);
        return;
    }
    ret->count = count;
    size_t i = 0;
    for (const cJSON *child = v->child; child != NULL; child = child->next, i++) {
        struct json_path item_path = {.parent = at->path, .index = i};
        struct json_place item_at = {.path = &item_path, .field = item, .ps = at->ps};
        void *value = json_field_at(ret->items, i * size);
        if (item->type == JSON_OBJECT)
            store_fallbacks(item->table, value);
        decode_value(&item_at, child, value);
    }
}

static void decode_value(const struct json_place *at, const cJSON *v, void *ret)
{
    switch (at->field->type) {
    case JSON_BOOL:
        decode_bool(at, v, ret);
        break;
    case JSON_INT:
        decode_int(at, v, ret);
        break;
    case JSON_NUMBER:
        decode_number(at, v, ret);
        break;
    case JSON_SECONDS:
        decode_seconds(at, v, ret);
        break;
    case JSON_STRING:
        decode_string(at, v, ret);
        break;
    case JSON_ENUM:
        decode_enum(at, v, ret);
        break;
    case JSON_OBJECT:
        if (json_node_is(v, cJSON_Object))
            decode_object(v, at->field->table, at->path, ret, at->ps);
        else
            json_fault_kind(at, v);
        break;
    case JSON_ARRAY:
        decode_array(at, v, ret);
        break;
    case JSON_RAW:
        decode_raw(at, v, ret);
        break;
    case JSON_CUSTOM:
        decode_custom(at, v, ret);
        break;
    }
}

void json_decode(const struct json_value *v, const struct json_table *table, const char *path,
                 void *ret, struct problems *ps)
{
    const struct json_field whole = {.type = JSON_OBJECT, .table = table};
    const struct json_path root = {.name = path};
    const struct json_place at = {.path = &root, .field = &whole, .ps = ps};
    memset(ret, 0, table->size);
    store_fallbacks(table, ret);
    decode_value(&at, json_node(v), ret);
}

enum error_code json_read(const char *text, size_t len, size_t max_bytes,
                          const struct json_table *table, void *ret, struct error *err)
{
    struct json_doc *doc;
    struct problems ps = {0};
    memset(ret, 0, table->size);
    enum error_code code = json_parse(text, len, max_bytes, &doc, err);
    if (code != ERR_OK)
        return code;
    json_decode(json_root(doc), table, "", ret, &ps);
    json_free(doc);
    code = problems_check(&ps, err);
    problems_done(&ps);
    if (code != ERR_OK)
        json_release(table, ret);
    return code;
}
