#include "orchestrator/cli/rows.h"

#include <string.h>

void rows_init(struct rows *rows, struct cli *cli, const char *name, const struct json_table *table)
{
    *rows = (struct rows){.cli = cli, .name = name, .table = table};
}

void rows_done(struct rows *rows)
{
    buf_done(&rows->b);
}

void rows_head(struct rows *rows, const struct json_table *table, const void *object)
{
    AUTO_BUF struct buf json = BUF_INIT;
    bool first = true;
    json_encode_members(&json, table, object, &first);
    buf_putc(&rows->b, '{');
    if (json.failed != ERR_OK)
        rows->b.failed = json.failed;
    else if (json.len > 0)
        render_json(&rows->b, json.data, json.len);
    buf_printf(&rows->b, "%s\"%s\": [", first ? "" : ",\n", rows->name);
    rows->begun = true;
}

static void begin(struct rows *rows)
{
    if (!rows->begun)
        buf_printf(&rows->b, "{\"%s\": [", rows->name);
    rows->begun = true;
}

bool rows_put(struct rows *rows, const void *row)
{
    AUTO_BUF struct buf json = BUF_INIT;
    begin(rows);
    buf_puts(&rows->b, rows->has_row ? ",\n" : "\n");
    rows->has_row = true;
    json_encode(&json, rows->table, row);
    if (json.failed != ERR_OK)
        rows->b.failed = json.failed;
    else
        render_json(&rows->b, json.data, json.len);
    return cli_write(rows->cli, &rows->b);
}

bool rows_end(struct rows *rows, const char *next)
{
    begin(rows);
    buf_puts(&rows->b, "\n]");
    if (next) {
        buf_puts(&rows->b, ",\n\"next\": ");
        json_write_string(&rows->b, next, strlen(next));
    }
    buf_puts(&rows->b, "}\n");
    return cli_write(rows->cli, &rows->b);
}
