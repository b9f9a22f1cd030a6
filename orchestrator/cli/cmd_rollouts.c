/* list. */
#include "common/base/cleanup.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/rows.h"

static const struct column columns[] = {
    {"ID", false},    {"STATE", false},         {"SERVERS", true}, {"SUCCEEDED", true},
    {"FAILED", true}, {"CREATED (UTC)", false}, {"BY", false},     {"NAME", false},
};

static void put_rollout(struct table *table, const struct api_rollout_summary *r)
{
    int64_t failed = r->counts.failed + r->counts.unreachable + r->counts.unknown;
    AUTO_BUF struct buf state = BUF_INIT;
    table_cell(table, INK_NONE, r->id);
    buf_printf(&state, "%s%s", rollout_state_names[r->state], r->check ? " (check)" : "");
    table_cell(table, rollout_ink((enum rollout_state)r->state), state.data);
    table_cell_int(table, INK_NONE, r->servers);
    table_cell_int(table, INK_NONE, r->counts.succeeded);
    table_cell_int(table, failed > 0 ? INK_BAD : INK_NONE, failed);
    table_cell_time(table, r->created);
    table_cell(table, INK_NONE, r->by);
    table_cell(table, INK_NONE, r->name);
}

enum { LIST_PAGE = 500 };

struct listing {
    struct rows *rows;
    struct table *table;
    int64_t left; /* rows still wanted */
    char *before; /* where the next page begins; NULL: at the start, or no more */
};

static bool put_page(struct cli *cli, const struct listing *l, const struct api_rollout_list *page)
{
    AUTO_BUF struct buf b = BUF_INIT;
    for (size_t i = 0; i < page->rollouts.count; i++) {
        const struct api_rollout_summary *r =
            ARRAY_AT(&page->rollouts, struct api_rollout_summary, i);
        if (!cli->options.json)
            put_rollout(l->table, r);
        else if (!rows_put(l->rows, r))
            return false;
    }
    if (!cli->options.json)
        table_flush(l->table, &cli->style, &b);
    return cli_write(cli, &b);
}

static int next_page(struct cli *cli, struct listing *l)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    struct api_rollout_list page = {0};
    buf_printf(&path, "/v1/rollouts?limit=%lld",
               (long long)(l->left < LIST_PAGE ? l->left : LIST_PAGE));
    if (l->before) {
        buf_puts(&path, "&before=");
        url_put(&path, l->before);
    }
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = cli_get_table(cli, path.data, &api_rollout_list_table, &page);
    if (status == CLI_OK) {
        status = put_page(cli, l, &page) ? CLI_OK : CLI_USAGE;
        l->left -= (int64_t)page.rollouts.count;
        mem_free(l->before);
        l->before = page.rollouts.count > 0 ? TAKE(page.next) : NULL;
    }
    json_release(&api_rollout_list_table, &page);
    return status;
}

int cmd_list(struct cli *cli)
{
    AUTO_ROWS struct rows rows = {0};
    AUTO_TABLE struct table table = {0};
    struct listing l = {.rows = &rows, .table = &table, .left = API_PAGE_DEFAULT};
    int status = CLI_OK;
    rows_init(&rows, cli, "rollouts", &api_rollout_summary_table);
    table_init(&table, columns, ARRAY_LEN(columns));
    if (option_given(&cli->options, OPT_ALL))
        l.left = INT64_MAX;
    else if (option_given(&cli->options, OPT_LIMIT))
        l.left = cli->options.numbers[OPT_LIMIT];
    do
        status = next_page(cli, &l);
    while (status == CLI_OK && l.before && l.left > 0);
    if (status == CLI_OK && cli->options.json)
        status = rows_end(&rows, l.before) ? CLI_OK : CLI_USAGE;
    else if (status == CLI_OK && l.before && cli->io->terminal)
        cli_say(cli, "there are older ones (--limit N, --all)");
    mem_free(l.before);
    return status;
}
