/* servers, server. */
#include "common/base/cleanup.h"
#include "common/values/value_json.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/rows.h"

#include <string.h>

static const struct column columns[] = {
    {"SERVER", false},  {"CONNECTED", false}, {"SINCE (UTC)", false},
    {"VERSION", false}, {"ROLLOUT", false},   {"WAITING", true},
    {"LOCKED", false},  {"HOST", false},      {"ADDRESS", false},
};

static void put_server(struct table *table, const struct api_server *s)
{
    table_cell(table, INK_NONE, s->id);
    table_cell(table, s->connected ? INK_GOOD : INK_BAD, s->connected ? "yes" : "no");
    table_cell_time(table, s->since);
    table_cell(table, INK_NONE, s->version);
    table_cell(table, INK_NONE, s->rollout);
    bool locked = s->has_lock && s->lock.locked;
    table_cell_int(table, INK_NONE, s->waiting);
    table_cell(table, locked ? INK_WARN : INK_NONE, locked ? "yes" : "no");
    table_cell(table, INK_NONE, s->hostname);
    table_cell(table, INK_NONE, s->address);
}

static bool put_page(struct cli *cli, struct rows *rows, struct table *table,
                     const struct api_server_list *page)
{
    AUTO_BUF struct buf b = BUF_INIT;
    for (size_t i = 0; i < page->servers.count; i++) {
        const struct api_server *s = ARRAY_AT(&page->servers, struct api_server, i);
        if (!cli->options.json)
            put_server(table, s);
        else if (!rows_put(rows, s))
            return false;
    }
    if (!cli->options.json)
        table_flush(table, &cli->style, &b);
    return cli_write(cli, &b);
}

enum { LIST_PAGE = 500 };

struct listing {
    struct rows *rows;
    struct table *table;
    int64_t left; /* rows still wanted */
    char *after;  /* where the next page begins; NULL: at the start, or no more */
    int64_t shown, connected, known;
};

/* Gets and prints one page. */
static int next_page(struct cli *cli, struct listing *l)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    struct api_server_list page = {0};
    buf_printf(&path, "/v1/servers?limit=%lld",
               (long long)(l->left < LIST_PAGE ? l->left : LIST_PAGE));
    if (l->after) {
        buf_puts(&path, "&after=");
        url_put(&path, l->after);
    }
    if (option_given(&cli->options, OPT_LABEL)) {
        buf_puts(&path, "&label=");
        url_put(&path, cli->options.texts[OPT_LABEL]);
    }
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = cli_get_table(cli, path.data, &api_server_list_table, &page);
    if (status == CLI_OK) {
        status = put_page(cli, l->rows, l->table, &page) ? CLI_OK : CLI_USAGE;
        l->left -= (int64_t)page.servers.count;
        l->shown += (int64_t)page.servers.count;
        l->connected = page.connected;
        l->known = page.known;
        mem_free(l->after);
        l->after = page.servers.count > 0 ? TAKE(page.next) : NULL;
    }
    json_release(&api_server_list_table, &page);
    return status;
}

int cmd_servers(struct cli *cli)
{
    AUTO_ROWS struct rows rows = {0};
    AUTO_TABLE struct table table = {0};
    AUTO_BUF struct buf b = BUF_INIT;
    struct listing l = {.rows = &rows, .table = &table, .left = API_PAGE_DEFAULT};
    int status = CLI_OK;
    rows_init(&rows, cli, "servers", &api_server_table);
    table_init(&table, columns, ARRAY_LEN(columns));
    if (option_given(&cli->options, OPT_ALL))
        l.left = INT64_MAX;
    else if (option_given(&cli->options, OPT_LIMIT))
        l.left = cli->options.numbers[OPT_LIMIT];
    do
        status = next_page(cli, &l);
    while (status == CLI_OK && l.after && l.left > 0);
    if (status == CLI_OK && cli->options.json) {
        status = rows_end(&rows, l.after) ? CLI_OK : CLI_USAGE;
    } else if (status == CLI_OK) {
        buf_printf(&b, "%lld of %lld servers are connected", (long long)l.connected,
                   (long long)l.known);
        if (l.after && option_given(&cli->options, OPT_LABEL))
            buf_puts(&b, "; more have the label (--all shows them)");
        else if (l.after)
            buf_printf(&b, "; %lld are not shown (--all shows them)",
                       (long long)(l.known - l.shown));
        buf_putc(&b, '\n');
        status = cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    mem_free(l.after);
    return status;
}

static void put_field(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%-11s", name);
    render_text(b, value && *value ? value : "-");
    buf_putc(b, '\n');
}

/* "locked by root@bastion on 2026-11-21 06:00:00 UTC: disk is being replaced" */
static void put_lock(struct buf *b, const struct api_server *s)
{
    const struct api_server_lock *lock = &s->lock;
    const char *by = lock->locked ? lock->by : lock->unlocked_by;
    if (!s->has_lock)
        return;
    buf_printf(b, "%-11s%s by ", "lock", lock->locked ? "locked" : "unlocked");
    render_text(b, by ? by : "somebody");
    buf_puts(b, " on ");
    render_time(b, lock->locked ? lock->since : lock->unlocked);
    buf_puts(b, lock->locked ? " UTC: " : " UTC; it was: ");
    render_text(b, lock->reason);
    buf_putc(b, '\n');
}

static void put_undo(struct buf *b, const struct api_server *s)
{
    buf_printf(b, "%-11s", "undo data");
    render_size(b, s->undo_bytes);
    if (s->undo_max_bytes > 0) {
        buf_puts(b, " of at most ");
        render_size(b, s->undo_max_bytes);
    }
    buf_putc(b, '\n');
}

static const struct column touch_columns[] = {
    {"TOUCHED BY", false}, {"CREATED (UTC)", false}, {"UNDONE", false}};

static void put_touches(struct cli *cli, struct buf *b, const struct api_server *s)
{
    AUTO_TABLE struct table table = {0};
    if (s->touched_by.count == 0)
        return;
    table_init(&table, touch_columns, ARRAY_LEN(touch_columns));
    for (size_t i = 0; i < s->touched_by.count; i++) {
        const struct api_touch *t = ARRAY_AT(&s->touched_by, struct api_touch, i);
        table_cell(&table, INK_NONE, t->rollout);
        table_cell_time(&table, t->created);
        table_cell(&table, INK_NONE, t->undone ? "yes" : "no");
    }
    buf_putc(b, '\n');
    table_flush(&table, &cli->style, b);
}

/* "labels     tier=front", one below the other. */
static void put_values(struct buf *b, const char *name, const char *json)
{
    struct value_set *set = NULL;
    struct error err;
    if (!json || value_set_read_json(json, &set, &err) != ERR_OK)
        return;
    for (size_t i = 0; i < value_set_count(set); i++) {
        struct value v;
        AUTO_BUF struct buf text = BUF_INIT;
        const char *key = value_set_at(set, i, &v);
        if (v.kind == VALUE_TEXT)
            buf_puts(&text, v.text);
        else
            value_write_json(&v, &text);
        buf_printf(b, "%-11s", i == 0 ? name : "");
        render_text(b, key);
        buf_putc(b, '=');
        render_text(b, buf_check(&text, NULL) == ERR_OK && text.data ? text.data : "");
        buf_putc(b, '\n');
    }
    value_set_free(set);
}

static void put_server_page(struct cli *cli, struct buf *b, const struct api_server *s)
{
    put_field(b, "server", s->id);
    put_field(b, "connected", s->connected ? "yes" : "no");
    buf_puts(b, "since      ");
    render_time(b, s->since);
    buf_putc(b, '\n');
    put_field(b, "version", s->version);
    put_field(b, "hostname", s->hostname);
    put_field(b, "address", s->address);
    put_field(b, "rollout", s->rollout);
    buf_printf(b, "waiting    %lld\n", (long long)s->waiting);
    put_lock(b, s);
    put_undo(b, s);
    put_values(b, "labels", s->labels);
    put_values(b, "facts", s->facts);
    buf_puts(b, "handlers  ");
    for (size_t i = 0; i < s->handlers.count; i++) {
        buf_putc(b, ' ');
        render_text(b, *ARRAY_AT(&s->handlers, char *, i));
    }
    buf_putc(b, '\n');
    put_touches(cli, b, s);
}

int cmd_server(struct cli *cli)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_BUF struct buf b = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    struct api_server s = {0};
    buf_puts(&path, "/v1/servers/");
    url_put(&path, cli->options.args[0]);
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = cli_get(cli, path.data, &answer);
    if (status != CLI_OK)
        return status;
    if (cli->options.json)
        return cli_write_json(cli, answer.body.data, answer.body.len) ? CLI_OK : CLI_USAGE;
    status = cli_decode(cli, &answer, &api_server_table, &s);
    if (status == CLI_OK) {
        put_server_page(cli, &b, &s);
        status = cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    json_release(&api_server_table, &s);
    return status;
}
