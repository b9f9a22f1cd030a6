/* handlers, schema, version, help: what needs no orchestrator. */
#include "common/base/cleanup.h"
#include "common/plan/plan_json.h"
#include "handlers/catalog.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"

#include <string.h>

/* ---- handlers ----------------------------------------------------------------------------------
 */

/* Appends one handler's document; the copies last only as long as the encoding. */
static void put_handler(struct buf *b, const struct step_type *type)
{
    AUTO_BUF struct buf params = BUF_INIT;
    AUTO_FREE char *name = mem_strdup(type->name);
    AUTO_FREE char *doc = mem_strdup(type->doc);
    AUTO_FREE char *undo = mem_strdup(type->undo_doc ? type->undo_doc : "");
    json_schema(&params, type->params);
    if (!name || !doc || !undo || params.failed != ERR_OK) {
        b->failed = ERR_NO_MEMORY;
        return;
    }
    struct api_handler handler = {.type = name,
                                  .doc = doc,
                                  .undo = undo,
                                  .idempotent = (type->traits & STEP_TYPE_IDEMPOTENT) != 0,
                                  .changes = (type->traits & STEP_TYPE_CHANGES) != 0,
                                  .params = params.data};
    json_encode(b, &api_handler_table, &handler);
}

/* The first sentence of a paragraph. */
static void put_first_sentence(struct table *table, const char *doc)
{
    const char *end = strstr(doc, ". ");
    AUTO_FREE char *first = mem_strndup(doc, end ? (size_t)(end - doc) + 1 : strlen(doc));
    table_cell(table, INK_NONE, first);
}

static void put_paragraph(const struct cli *cli, struct buf *b, const char *lead, const char *doc)
{
    AUTO_BUF struct buf text = BUF_INIT;
    size_t columns = RENDER_PAGE;
    if (cli->style.columns > 0 && cli->style.columns < RENDER_PAGE)
        columns = (size_t)cli->style.columns;
    buf_puts(&text, lead);
    render_text(&text, doc);
    if (text.failed != ERR_OK)
        b->failed = text.failed;
    else if (text.len > 0)
        render_wrapped(b, text.data, text.len, columns, 0);
    buf_putc(b, '\n');
}

static int list_handlers(struct cli *cli)
{
    static const struct column columns[] = {{"TYPE", false}, {"CHANGES", false}, {"DOES", false}};
    AUTO_BUF struct buf b = BUF_INIT;
    AUTO_TABLE struct table table = {0};
    bool ok = false;
    if (cli->options.json) {
        buf_puts(&b, "{\"handlers\":[");
        for (size_t i = 0; i < handler_catalog.count; i++) {
            buf_puts(&b, i > 0 ? "," : "");
            put_handler(&b, handler_catalog.types[i]);
        }
        buf_puts(&b, "]}");
        ok = b.failed == ERR_OK ? cli_write_json(cli, b.data, b.len) : cli_write(cli, &b);
        return ok ? CLI_OK : CLI_USAGE;
    }
    table_init(&table, columns, ARRAY_LEN(columns));
    table.wrap = true;
    for (size_t i = 0; i < handler_catalog.count; i++) {
        const struct step_type *type = handler_catalog.types[i];
        table_cell(&table, INK_BOLD, type->name);
        table_cell(&table, INK_NONE, type->traits & STEP_TYPE_CHANGES ? "yes" : "no");
        put_first_sentence(&table, type->doc);
    }
    table_flush(&table, &cli->style, &b);
    return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
}

/* "a, b or c", for an enum's column. */
static void put_values(struct buf *b, const struct json_enum *values)
{
    bool first = true;
    for (size_t i = 0; i < values->count; i++) {
        if (!values->names[i])
            continue;
        buf_printf(b, "%s%s", first ? "" : "|", values->names[i]);
        first = false;
    }
}

static void put_type(struct buf *b, const struct json_field *field)
{
    static const char *const names[] = {
        [JSON_BOOL] = "boolean",    [JSON_INT] = "integer",     [JSON_NUMBER] = "number",
        [JSON_SECONDS] = "seconds", [JSON_STRING] = "string",   [JSON_ENUM] = "string",
        [JSON_OBJECT] = "object",   [JSON_ARRAY] = "array of ", [JSON_RAW] = "any value",
        [JSON_CUSTOM] = "value",
    };
    if (field->type == JSON_ENUM) {
        put_values(b, field->values);
        return;
    }
    buf_puts(b, names[field->type]);
    if (field->type == JSON_ARRAY) {
        buf_puts(b, names[field->item->type]);
        buf_putc(b, 's');
    }
}

static void put_default(struct buf *b, const struct json_field *field)
{
    if (!(field->flags & JSON_HAS_DEFAULT))
        return;
    if (field->type == JSON_BOOL)
        buf_puts(b, field->fallback != 0 ? "true" : "false");
    else if (field->type == JSON_ENUM)
        buf_puts(b, field->values->names[(int)field->fallback]);
    else
        buf_put_number(b, field->fallback);
}

static void put_params(struct cli *cli, const struct json_table *params, struct buf *b)
{
    static const struct column columns[] = {{"PARAM", false},
                                            {"TYPE", false},
                                            {"REQUIRED", false},
                                            {"DEFAULT", false},
                                            {"DESCRIPTION", false}};
    AUTO_TABLE struct table table = {0};
    table_init(&table, columns, ARRAY_LEN(columns));
    table.wrap = true;
    for (size_t i = 0; i < params->count; i++) {
        const struct json_field *field = &params->fields[i];
        AUTO_BUF struct buf type = BUF_INIT;
        AUTO_BUF struct buf fallback = BUF_INIT;
        AUTO_BUF struct buf doc = BUF_INIT;
        put_type(&type, field);
        put_default(&fallback, field);
        table_cell(&table, INK_BOLD, field->name);
        table_cell(&table, INK_NONE, type.data);
        table_cell(&table, INK_NONE, field->flags & JSON_REQUIRED ? "yes" : "no");
        table_cell(&table, INK_NONE, fallback.data);
        if (field->flags & JSON_SECRETS)
            buf_printf(&doc, "%s May have secrets.", field->doc);
        table_cell(&table, INK_NONE, doc.data ? doc.data : field->doc);
    }
    table_flush(&table, &cli->style, b);
}

static int no_handler(struct cli *cli, const char *name)
{
    AUTO_BUF struct buf known = BUF_INIT;
    for (size_t i = 0; i < handler_catalog.count; i++)
        buf_printf(&known, "%s%s", i > 0 ? ", " : "", handler_catalog.types[i]->name);
    cli_say(cli, "there is no step type \"%s\": there are %s", name, known.data ? known.data : "");
    return CLI_USAGE;
}

int cmd_handlers(struct cli *cli)
{
    AUTO_BUF struct buf b = BUF_INIT;
    if (cli->options.arg_count == 0)
        return list_handlers(cli);
    const struct step_type *type = step_catalog_find(&handler_catalog, cli->options.args[0]);
    if (!type)
        return no_handler(cli, cli->options.args[0]);
    if (cli->options.json) {
        put_handler(&b, type);
        bool ok = b.failed == ERR_OK ? cli_write_json(cli, b.data, b.len) : cli_write(cli, &b);
        return ok ? CLI_OK : CLI_USAGE;
    }
    render_ink(&b, &cli->style, INK_BOLD, type->name);
    buf_putc(&b, '\n');
    put_paragraph(cli, &b, "", type->doc);
    if (type->undo_doc)
        put_paragraph(cli, &b, "Rollback: ", type->undo_doc);
    buf_puts(&b, type->traits & STEP_TYPE_IDEMPOTENT
                     ? "Running it again after a half-done run is right.\n\n"
                     : "It is not run again by itself after a half-done run.\n\n");
    put_params(cli, type->params, &b);
    return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
}

/* ---- schema, version, help ---------------------------------------------------------------------
 */

int cmd_schema(struct cli *cli)
{
    AUTO_BUF struct buf b = BUF_INIT;
    plan_schema(&b, &handler_catalog);
    bool ok = b.failed == ERR_OK ? cli_write_json(cli, b.data, b.len) : cli_write(cli, &b);
    return ok ? CLI_OK : CLI_USAGE;
}

int cmd_version(struct cli *cli)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, cli->options.json ? "{\"version\": \"" KITSUNE_VERSION "\"}\n"
                                   : "kitsune " KITSUNE_VERSION "\n");
    return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
}

int cmd_help(struct cli *cli)
{
    AUTO_BUF struct buf b = BUF_INIT;
    AUTO_BUF struct buf name = BUF_INIT;
    const struct command *command = NULL;
    struct error err = {0};
    for (size_t i = 0; i < cli->options.arg_count; i++)
        buf_printf(&name, "%s%s", i > 0 ? " " : "", cli->options.args[i]);
    if (name.len == 0)
        options_overview(&b);
    else if (buf_check(&name, &err) != ERR_OK || command_find(name.data, &command, &err) != ERR_OK)
        return cli_fail(cli, &err);
    else
        options_help(&b, command);
    return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
}
