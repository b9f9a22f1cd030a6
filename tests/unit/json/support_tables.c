#include "unit/json/support_tables.h"

#include "common/base/cleanup.h"

#include <stdlib.h>
#include <string.h>

static const char *const color_names[] = {
    [COLOR_RED] = "red", [COLOR_GREEN] = "green", [COLOR_BLUE] = NULL};
static const struct json_enum colors = {color_names, ARRAY_LEN(color_names)};

static const struct json_field limits_fields[] = {
    {.name = "attempts",
     .type = JSON_INT,
     JSON_AT(struct limits, attempts),
     .flags = JSON_HAS_DEFAULT,
     .min = 1,
     .max = 10,
     .fallback = 3,
     .doc = "Attempts."},
    {.name = "factor",
     .type = JSON_NUMBER,
     JSON_AT(struct limits, factor),
     .flags = JSON_HAS_DEFAULT,
     .min = 1,
     .fallback = 2.5},
};
const struct json_table limits_table =
    JSON_TABLE("limits", struct limits, limits_fields, "What is allowed.");

static const struct json_field part_fields[] = {
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct part, name),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = 16},
    {.name = "weight",
     .type = JSON_INT,
     JSON_AT(struct part, weight),
     .flags = JSON_HAS_DEFAULT | JSON_OMIT_EMPTY,
     .fallback = 7},
    {.name = "spare", .type = JSON_BOOL, JSON_AT(struct part, spare), .flags = JSON_OMIT_EMPTY},
};
const struct json_table part_table = {.name = "part",
                                      .size = sizeof(struct part),
                                      .fields = part_fields,
                                      .count = ARRAY_LEN(part_fields),
                                      .doc = "A part.",
                                      .noun = "property"};

static void share_decode(const struct json_value *v, const char *path, void *field,
                         struct problems *ps)
{
    struct share *share = field;
    const char *text = json_kind(v) == JSON_IS_STRING ? json_string(v) : "";
    char *end = NULL;
    long percent = strtol(text, &end, 10);
    if (end == text || strcmp(end, "%") != 0)
        problems_add(ps, path, "must be a share such as \"10%%\"");
    else
        share->percent = percent;
}

static void share_encode(struct buf *b, const void *field)
{
    const struct share *share = field;
    buf_printf(b, "\"%d%%\"", (int)share->percent);
}

static bool share_empty(const void *field)
{
    return ((const struct share *)field)->percent == 0;
}

static const struct json_custom share_custom = {
    .decode = share_decode,
    .encode = share_encode,
    .empty = share_empty,
    .schema = "{\"type\":\"string\",\"pattern\":\"^[0-9]+%$\"}",
    .size = sizeof(struct share),
};

static const char *tag_check(const char *s)
{
    return strchr(s, ' ') == NULL ? NULL : "a word";
}

static const struct json_field part_item = {.type = JSON_OBJECT, .table = &part_table};
static const struct json_field tag_item = {
    .type = JSON_STRING, .min = 1, .max = 64, .check = tag_check};
static const struct json_field cell_item = {.type = JSON_INT};
static const struct json_field row_item = {.type = JSON_ARRAY, .item = &cell_item};
static const struct json_field share_item = {.type = JSON_CUSTOM, .custom = &share_custom};

static const struct json_field thing_fields[] = {
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct thing, name),
     .flags = JSON_REQUIRED,
     .max = 32,
     .doc = "What it is \"called\"."},
    {.name = "on",
     .type = JSON_BOOL,
     JSON_AT(struct thing, on),
     .flags = JSON_HAS_DEFAULT,
     .fallback = 1},
    {.name = "count", .type = JSON_INT, JSON_AT(struct thing, count), .min = -5, .max = 100},
    {.name = "ratio", .type = JSON_NUMBER, JSON_AT(struct thing, ratio)},
    {.name = "delaySeconds",
     .type = JSON_SECONDS,
     JSON_AT(struct thing, delay_ms),
     .flags = JSON_HAS_DEFAULT,
     .max = 3600,
     .fallback = 1.5},
    {.name = "color",
     .type = JSON_ENUM,
     JSON_AT(struct thing, color),
     .values = &colors,
     .flags = JSON_HAS_DEFAULT,
     .fallback = COLOR_GREEN},
    {.name = "limits", .type = JSON_OBJECT, JSON_AT(struct thing, limits), .table = &limits_table},
    {.name = "parts",
     .type = JSON_ARRAY,
     JSON_AT(struct thing, parts),
     .item = &part_item,
     .min = 1,
     .max = 3},
    {.name = "tags", .type = JSON_ARRAY, JSON_AT(struct thing, tags), .item = &tag_item},
    {.name = "grid",
     .type = JSON_ARRAY,
     JSON_AT(struct thing, grid),
     .item = &row_item,
     .flags = JSON_OMIT_EMPTY},
    {.name = "shares",
     .type = JSON_ARRAY,
     JSON_AT(struct thing, shares),
     .item = &share_item,
     .flags = JSON_OMIT_EMPTY},
    {.name = "extra", .type = JSON_RAW, JSON_AT(struct thing, extra)},
    {.name = "options", .type = JSON_RAW, JSON_AT(struct thing, options), .flags = JSON_RAW_OBJECT},
    {.name = "share",
     .type = JSON_CUSTOM,
     JSON_AT(struct thing, share),
     .custom = &share_custom,
     .flags = JSON_OMIT_EMPTY},
    {.name = "code",
     .type = JSON_INT,
     JSON_AT(struct thing, code),
     JSON_HAS(struct thing, has_code),
     .flags = JSON_OMIT_EMPTY},
};
const struct json_table thing_table =
    JSON_TABLE("thing", struct thing, thing_fields, "A thing of every kind.");

const char thing_full[] =
    "{\"name\":\"caf\xC3\xA9 \\\"x\\\"\\n\",\"on\":false,\"count\":-5,\"ratio\":0.25,"
    "\"delaySeconds\":0.007,\"color\":\"red\",\"limits\":{\"attempts\":2,\"factor\":1.5},"
    "\"parts\":[{\"name\":\"a\",\"weight\":1,\"spare\":true},{\"name\":\"b\",\"weight\":9}],"
    "\"tags\":[\"one\",\"two\"],\"grid\":[[1,2],[],[3]],\"shares\":[\"10%\",\"50%\"],"
    "\"extra\":[1,{\"k\":null}],\"options\":{\"deep\":{\"x\":[true]}},\"share\":\"5%\","
    "\"code\":0}";
