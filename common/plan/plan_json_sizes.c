/* Numbers of servers in a plan: N or "N%", lists of them, and limits. */
#include "common/base/alloc.h"
#include "common/plan/plan_json_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { PERCENT_DECIMALS = 6 };
static const double percent_unit = PLAN_PERCENT_UNIT;

/* "12.5%": digits, with a fraction of at most six. By hand, since strtod(3) also takes hexadecimal,
 * spaces, infinity and whatever the locale's decimal point is. */
bool plan_percent_parse(const char *text, double *ret_percent)
{
    uint64_t units = 0;
    size_t whole_digits = 0;
    for (; *text >= '0' && *text <= '9' && whole_digits < 4; text++, whole_digits++)
        units = units * 10 + (uint64_t)(*text - '0');
    size_t decimals = 0;
    if (*text == '.') {
        for (text++; *text >= '0' && *text <= '9' && decimals < PERCENT_DECIMALS;
             text++, decimals++)
            units = units * 10 + (uint64_t)(*text - '0');
        if (decimals == 0)
            return false;
    }
    if (whole_digits == 0 || strcmp(text, "%") != 0)
        return false;
    for (; decimals < PERCENT_DECIMALS; decimals++)
        units *= 10;
    *ret_percent = (double)units / percent_unit;
    return *ret_percent <= 100;
}

static void size_write(struct buf *b, const struct plan_size *size)
{
    if (size->percent)
        buf_putc(b, '"');
    buf_put_number(b, size->value);
    if (size->percent)
        buf_puts(b, "%\"");
}

static bool whole_number(double value, double min, double max)
{
    return value >= min && value <= max && value == (double)(int64_t)value;
}

/* ---- batchSize --------------------------------------------------------------------------- */

static bool batch_size_decode(const struct json_value *v, struct plan_size *ret_size)
{
    struct plan_size size = {.percent = json_kind(v) == JSON_IS_STRING};
    if (size.percent) {
        if (!plan_percent_parse(json_string(v), &size.value) || size.value <= 0)
            return false;
    } else {
        if (json_kind(v) != JSON_IS_NUMBER)
            return false;
        size.value = json_number(v);
        if (!whole_number(size.value, 1, PLAN_MAX_SERVERS))
            return false;
    }
    *ret_size = size;
    return true;
}

static void batch_size_problem(const char *path, struct problems *ps)
{
    problems_add(
        ps, path,
        "must be a whole number of servers, 1 to %d, or a percentage such as \"10%%\", more "
        "than 0%% and at most 100%%",
        (int)PLAN_MAX_SERVERS);
}

/* Numbers are compared with the number before them, percentages with the percentage before them:
 * how the two compare depends on how many servers there are. */
static void batch_list_check(const struct plan_size *sizes, size_t i, const char *path,
                             struct problems *ps)
{
    for (size_t before = i; before-- > 0;) {
        if (sizes[before].percent != sizes[i].percent)
            continue;
        if (sizes[before].value > sizes[i].value)
            problems_add(ps, path, "is smaller than [%zu]; the sizes in a list must not shrink",
                         before);
        return;
    }
}

static void batch_list_decode(const struct json_value *v, const char *path, struct array *sizes,
                              struct problems *ps)
{
    size_t count = json_count(v);
    if (count == 0 || count > PLAN_MAX_BATCH_SIZES) {
        problems_add(ps, path, "must have 1 to %d sizes and has %zu", (int)PLAN_MAX_BATCH_SIZES,
                     count);
        return;
    }
    struct plan_size *items = mem_array(count, sizeof(*items));
    if (!items) {
        ps->no_memory = true;
        return;
    }
    size_t faults_before = ps->total;
    size_t i = 0;
    for (const struct json_value *item = json_first(v); item; item = json_next(item), i++) {
        char item_path[PROBLEM_PATH_MAX];
        (void)snprintf(item_path, sizeof(item_path), "%s[%zu]", path, i);
        if (batch_size_decode(item, &items[i]))
            batch_list_check(items, i, item_path, ps);
        else
            batch_size_problem(item_path, ps);
    }
    if (ps->total != faults_before) {
        mem_free(items);
        return;
    }
    *sizes = (struct array){.items = items, .count = count};
}

static void batch_sizes_decode(const struct json_value *v, const char *path, void *field,
                               struct problems *ps)
{
    struct array *sizes = field;
    if (json_kind(v) == JSON_IS_ARRAY) {
        batch_list_decode(v, path, sizes, ps);
        return;
    }
    struct plan_size size;
    if (!batch_size_decode(v, &size)) {
        batch_size_problem(path, ps);
        return;
    }
    struct plan_size *item = MEM_NEW(struct plan_size);
    if (!item) {
        ps->no_memory = true;
        return;
    }
    *item = size;
    *sizes = (struct array){.items = item, .count = 1};
}

static void batch_sizes_encode(struct buf *b, const void *field)
{
    const struct array *sizes = field;
    if (sizes->count == 1) {
        size_write(b, ARRAY_AT(sizes, struct plan_size, 0));
        return;
    }
    buf_putc(b, '[');
    for (size_t i = 0; i < sizes->count; i++) {
        if (i > 0)
            buf_putc(b, ',');
        size_write(b, ARRAY_AT(sizes, struct plan_size, i));
    }
    buf_putc(b, ']');
}

static bool batch_sizes_empty(const void *field)
{
    return ((const struct array *)field)->count == 0;
}

static void batch_sizes_release(void *field)
{
    struct array *sizes = field;
    mem_free(sizes->items);
    *sizes = (struct array){0};
}

#define PERCENT_PATTERN "^[0-9]{1,3}([.][0-9]{1,6})?%$"
#define BATCH_SIZE_SCHEMA                                                                          \
    "{\"type\":\"integer\",\"minimum\":1,\"maximum\":200000},"                                     \
    "{\"type\":\"string\",\"pattern\":\"" PERCENT_PATTERN "\"}"
static_assert(PLAN_MAX_SERVERS == 200000 && PLAN_MAX_BATCH_SIZES == 64,
              "the schema texts name these limits");

const struct json_custom plan_batch_sizes_custom = {
    .decode = batch_sizes_decode,
    .encode = batch_sizes_encode,
    .empty = batch_sizes_empty,
    .release = batch_sizes_release,
    .schema = "{\"anyOf\":[" BATCH_SIZE_SCHEMA
              ",{\"type\":\"array\",\"items\":{\"anyOf\":[" BATCH_SIZE_SCHEMA
              "]},\"minItems\":1,\"maxItems\":64}]}",
};

/* ---- maxFailures, maxUnreachable --------------------------------------------------------- */

static bool limit_parse(const struct json_value *v, struct plan_limit *ret_limit)
{
    struct plan_limit limit = {.kind = LIMIT_SIZE};
    if (json_kind(v) == JSON_IS_STRING) {
        limit.size.percent = true;
        if (!plan_percent_parse(json_string(v), &limit.size.value))
            return false;
    } else {
        if (json_kind(v) != JSON_IS_NUMBER || !whole_number(json_number(v), -1, PLAN_MAX_SERVERS))
            return false;
        limit.size.value = json_number(v);
        if (limit.size.value < 0)
            limit = (struct plan_limit){.kind = LIMIT_NONE};
    }
    *ret_limit = limit;
    return true;
}

static void limit_decode(const struct json_value *v, const char *path, void *field,
                         struct problems *ps)
{
    if (!limit_parse(v, field))
        problems_add(
            ps, path,
            "must be a whole number of servers, 0 to %d, a percentage such as \"10%%\", at "
            "most 100%%, or -1 for no limit",
            (int)PLAN_MAX_SERVERS);
}

static void limit_encode(struct buf *b, const void *field)
{
    const struct plan_limit *limit = field;
    switch (limit->kind) {
    case LIMIT_ABSENT:
        buf_puts(b, "0");
        break;
    case LIMIT_NONE:
        buf_puts(b, "-1");
        break;
    case LIMIT_SIZE:
        size_write(b, &limit->size);
        break;
    }
}

static bool limit_empty(const void *field)
{
    return ((const struct plan_limit *)field)->kind == LIMIT_ABSENT;
}

const struct json_custom plan_limit_custom = {
    .decode = limit_decode,
    .encode = limit_encode,
    .empty = limit_empty,
    .schema = "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":-1,\"maximum\":200000},"
              "{\"type\":\"string\",\"pattern\":\"" PERCENT_PATTERN "\"}]}",
};
