#include "common/json/json_internal.h"

#include "common/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BOUNDS_MAX = 80, LIST_MAX = 200 };

struct path_text {
    char *text; /* PROBLEM_PATH_MAX bytes */
    size_t len;
};

static void path_put(struct path_text *t, const char *s)
{
    size_t len = text_utf8_cut(s, strlen(s), PROBLEM_PATH_MAX - 1 - t->len);
    memcpy(t->text + t->len, s, len);
    t->len += len;
    t->text[t->len] = '\0';
}

/* True for a name that reads well between dots. */
static bool is_plain_name(const char *name)
{
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-$");
    return len > 0 && name[len] == '\0';
}

static void path_put_all(struct path_text *t, const struct json_path *p)
{
    char index[32];
    char excerpt[JSON_EXCERPT_MAX];
    if (p->parent == NULL) {
        path_put(t, p->name);
        return;
    }
    path_put_all(t, p->parent);
    if (p->name == NULL) {
        (void)snprintf(index, sizeof(index), "[%zu]", p->index);
        path_put(t, index);
    } else if (is_plain_name(p->name)) {
        path_put(t, t->len > 0 ? "." : "");
        path_put(t, p->name);
    } else {
        json_excerpt(p->name, excerpt);
        path_put(t, "[");
        path_put(t, excerpt);
        path_put(t, "]");
    }
}

void json_path_write(const struct json_path *path, char ret[PROBLEM_PATH_MAX])
{
    struct path_text t = {.text = ret, .len = 0};
    ret[0] = '\0';
    path_put_all(&t, path);
}

void json_fault(const struct json_place *at, const char *fmt, ...)
{
    if (json_only_counted(at)) {
        at->ps->total++;
        return;
    }
    char path[PROBLEM_PATH_MAX];
    json_path_write(at->path, path);
    /* With room for the rest of a character that problems_add may have to cut. */
    char message[PROBLEM_TEXT_MAX + 4] = "";
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    problems_add(at->ps, path, "%s", message);
}

void json_fault_kind(const struct json_place *at, const cJSON *v)
{
    char expected[JSON_EXPECTED_MAX];
    json_expected(at->field, expected);
    json_fault(at, "must be %s, not %s", expected, json_kind_name(json_kind(json_value_of(v))));
}

void json_fault_memory(const struct json_place *at)
{
    at->ps->total++;
    at->ps->no_memory = true;
}

/* Lists names, cut when there are many. */
static void list_names(const char *const *names, size_t count, char ret[LIST_MAX])
{
    size_t used = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const char *separator = i > 0 ? ", " : "";
        if (used + strlen(separator) + strlen(names[i]) + strlen(", ...") >= LIST_MAX) {
            (void)snprintf(ret + used, LIST_MAX - used, "%s...", separator);
            return;
        }
        used += (size_t)snprintf(ret + used, LIST_MAX - used, "%s%s", separator, names[i]);
    }
}

void json_fault_unknown(const struct json_place *at, const struct json_table *table)
{
    if (json_only_counted(at)) {
        at->ps->total++;
        return;
    }
    const char *names[JSON_FIELDS_MAX];
    for (size_t i = 0; i < table->count; i++)
        names[i] = table->fields[i].name;
    const char *noun = table->noun != NULL ? table->noun : "field";
    const char *closest = text_closest(at->path->name, names, table->count);
    char list[LIST_MAX];
    list_names(names, table->count, list);
    if (closest != NULL)
        json_fault(at, "unknown %s (did you mean \"%s\"?)", noun, closest);
    else if (table->count > 0)
        json_fault(at, "unknown %s (there are: %s)", noun, list);
    else
        json_fault(at, "unknown %s (there are none)", noun);
}

void json_fault_enum(const struct json_place *at, const char *s)
{
    const struct json_enum *values = at->field->values;
    const char *names[JSON_FIELDS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < values->count && count < JSON_FIELDS_MAX; i++) {
        if (values->names[i] != NULL)
            names[count++] = values->names[i];
    }
    const char *closest = json_only_counted(at) ? NULL : text_closest(s, names, count);
    char excerpt[JSON_EXCERPT_MAX];
    char expected[JSON_EXPECTED_MAX];
    json_excerpt(s, excerpt);
    json_expected(at->field, expected);
    if (closest != NULL)
        json_fault(at, "must be %s, not %s (did you mean \"%s\"?)", expected, excerpt, closest);
    else
        json_fault(at, "must be %s, not %s", expected, excerpt);
}

/* ---- Bounds ---------------------------------------------------------------------------------- */

/* "between 1 and 10", "at least 1", "at most 10", "4". */
static void bounds_text(const struct json_field *field, char ret[BOUNDS_MAX])
{
    if (!json_has_max(field))
        (void)snprintf(ret, BOUNDS_MAX, "at least %.16g", field->min);
    else if (field->min == field->max)
        (void)snprintf(ret, BOUNDS_MAX, "%.16g", field->min);
    else
        (void)snprintf(ret, BOUNDS_MAX, "between %.16g and %.16g", field->min, field->max);
}

static bool in_bounds(const struct json_field *field, double d)
{
    return (!json_has_min(field) || d >= field->min) && (!json_has_max(field) || d <= field->max);
}

bool json_check_number(const struct json_place *at, double d, const char *unit)
{
    if (in_bounds(at->field, d))
        return true;
    char bounds[BOUNDS_MAX];
    bounds_text(at->field, bounds);
    json_fault(at, "must be %s%s, not %.16g", bounds, unit, d);
    return false;
}

/* What has a size is counted from 0, so an absent lower bound reads "at most". */
static bool check_size(const struct json_place *at, const struct json_field *bounded, size_t size,
                       const char *verb, const char *what)
{
    if (in_bounds(bounded, (double)size))
        return true;
    char bounds[BOUNDS_MAX];
    bounds_text(bounded, bounds);
    if (size == 0)
        json_fault(at, "must not be empty");
    else if (bounded->min <= 1)
        json_fault(at, "must %s at most %.0f %s, not %zu", verb, bounded->max, what, size);
    else
        json_fault(at, "must %s %s %s, not %zu", verb, bounds, what, size);
    return false;
}

bool json_check_length(const struct json_place *at, size_t len)
{
    struct json_field bounded = {.min = at->field->min, .max = at->field->max};
    if (bounded.max <= 0)
        bounded.max = JSON_STRING_MAX;
    return check_size(at, &bounded, len, "be", "bytes long");
}

bool json_check_count(const struct json_place *at, size_t count)
{
    return check_size(at, at->field, count, "have", "items");
}
