/* The JSON Schema of a plan: the tables' schemas, and what ties a step's params to its type. */
#include "common/plan/plan_json_internal.h"

#include <string.h>

static bool has_required_field(const struct json_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->fields[i].flags & JSON_REQUIRED)
            return true;
    }
    return false;
}

/* The table's schema as a part of another one. */
static void write_table(struct buf *b, const struct json_table *table)
{
    const struct json_field whole = {.type = JSON_OBJECT, .table = table};
    json_schema_field(b, &whole);
}

static void write_name(struct buf *b, const char *name)
{
    json_write_string(b, name, strlen(name));
}

/* {"if": the type is this one, "then": the params are these} */
static void write_step_type(struct buf *b, const struct step_type *type)
{
    buf_puts(b, "{\"if\":{\"properties\":{\"type\":{\"const\":");
    write_name(b, type->name);
    buf_puts(b, "}},\"required\":[\"type\"]},\"then\":{\"properties\":{\"params\":");
    write_table(b, type->params);
    buf_putc(b, '}');
    if (has_required_field(type->params))
        buf_puts(b, ",\"required\":[\"params\"]");
    buf_puts(b, "}}");
}

void plan_schema(struct buf *b, const struct step_catalog *catalog)
{
    buf_puts(b, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
                "\"title\":\"Kitsune rollout plan\",\"allOf\":[");
    write_table(b, &plan_document_table);
    buf_puts(b, ",{\"oneOf\":[{\"required\":[\"servers\"]},{\"required\":[\"serverID\"]}]},"
                "{\"properties\":{\"steps\":{\"items\":{"
                "\"properties\":{\"type\":{\"oneOf\":[");
    for (size_t i = 0; i < catalog->count; i++) {
        buf_puts(b, i > 0 ? ",{\"const\":" : "{\"const\":");
        write_name(b, catalog->types[i]->name);
        buf_puts(b, ",\"description\":");
        write_name(b, catalog->types[i]->doc);
        buf_putc(b, '}');
    }
    buf_puts(b, "]}},\"allOf\":[");
    for (size_t i = 0; i < catalog->count; i++) {
        if (i > 0)
            buf_putc(b, ',');
        write_step_type(b, catalog->types[i]);
    }
    buf_puts(b, "]}}}}]}");
}
