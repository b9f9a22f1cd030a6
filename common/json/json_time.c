#include "common/base/clock.h"
#include "common/json/json.h"

static void time_decode(const struct json_value *v, const char *path, void *field,
                        struct problems *ps)
{
    if (json_kind(v) != JSON_IS_STRING || !clock_parse(json_string(v), field))
        problems_add(ps, path, "must be a time like \"2026-11-21T06:25:56.123Z\"");
}

static void time_encode(struct buf *b, const void *field)
{
    char text[CLOCK_TEXT_MAX];
    clock_format(*(const int64_t *)field, text);
    buf_putc(b, '"');
    buf_puts(b, text);
    buf_putc(b, '"');
}

static bool time_empty(const void *field)
{
    return *(const int64_t *)field == 0;
}

const struct json_custom json_time_custom = {
    .decode = time_decode,
    .encode = time_encode,
    .empty = time_empty,
    .schema = "{\"type\":\"string\",\"format\":\"date-time\"}",
    .size = sizeof(int64_t),
};
