/* What placeholders have become, of the kind that params want. Labels and outputs are texts, and a
 * number may be wanted; vars and facts may be numbers, and a text is wanted. */
#include "common/base/cleanup.h"
#include "common/plan/plan_json_internal.h"
#include "common/values/template.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool reads_as_number(const char *text, double *ret)
{
    char *end = NULL;
    if (strspn(text, "-0123456789") == 0 || strspn(text, "-+.eE0123456789") != strlen(text))
        return false;
    *ret = strtod(text, &end);
    return *end == '\0' && isfinite(*ret);
}

/* One value that stands where a placeholder was. */
static void put_scalar(const struct json_value *v, const struct json_field *field, struct buf *out)
{
    AUTO_BUF struct buf text = BUF_INIT;
    const char *given = json_string(v);
    enum json_kind kind = json_kind(v);
    bool wants_number =
        field->type == JSON_INT || field->type == JSON_NUMBER || field->type == JSON_SECONDS;
    double number = 0;
    if (given && wants_number && reads_as_number(given, &number)) {
        buf_put_number(out, number);
    } else if (given && field->type == JSON_BOOL &&
               (strcmp(given, "true") == 0 || strcmp(given, "false") == 0)) {
        buf_puts(out, given);
    } else if (field->type == JSON_STRING && (kind == JSON_IS_NUMBER || kind == JSON_IS_BOOL)) {
        json_write_value(&text, v);
        json_write_string(out, text.data ? text.data : "", text.len);
    } else {
        json_write_value(out, v);
    }
}

static void put_fit(const struct json_value *planned, const struct json_value *filled,
                    const struct json_field *field, struct buf *out);

static void put_items(const struct json_value *planned, const struct json_value *filled,
                      const struct json_field *item, struct buf *out)
{
    const struct json_value *v = json_first(filled);
    buf_putc(out, '[');
    for (const struct json_value *p = json_first(planned); p && v; p = json_next(p)) {
        if (p != json_first(planned))
            buf_putc(out, ',');
        put_fit(p, v, item, out);
        v = json_next(v);
    }
    buf_putc(out, ']');
}

const struct json_field *plan_params_field(const struct json_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->fields[i].name, name) == 0)
            return &table->fields[i];
    }
    return NULL;
}

static void put_fit(const struct json_value *planned, const struct json_value *filled,
                    const struct json_field *field, struct buf *out)
{
    const char *text = json_string(planned);
    enum json_kind kind = json_kind(planned);
    if (field && text && template_has(text))
        put_scalar(filled, field, out);
    else if (field && field->type == JSON_OBJECT && kind == JSON_IS_OBJECT)
        plan_params_fit(planned, filled, field->table, out);
    else if (field && field->type == JSON_ARRAY && kind == JSON_IS_ARRAY)
        put_items(planned, filled, field->item, out);
    else
        json_write_value(out, filled);
}

void plan_params_fit(const struct json_value *planned, const struct json_value *filled,
                     const struct json_table *table, struct buf *out)
{
    const struct json_value *v = json_first(filled);
    buf_putc(out, '{');
    for (const struct json_value *p = json_first(planned); p && v; p = json_next(p)) {
        const char *name = json_name(p);
        if (p != json_first(planned))
            buf_putc(out, ',');
        json_write_string(out, name, strlen(name));
        buf_putc(out, ':');
        put_fit(p, v, plan_params_field(table, name), out);
        v = json_next(v);
    }
    buf_putc(out, '}');
}
