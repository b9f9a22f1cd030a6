/* events. */
#include "common/base/cleanup.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/follow.h"
#include "orchestrator/cli/rows.h"
#include "orchestrator/cli/words.h"

#include <string.h>

static const struct column columns[] = {
    {"SEQ", true},     {"TIME (UTC)", false}, {"EVENT", false},
    {"SERVER", false}, {"STEP", false},       {"DETAIL", false},
};

static void put_event(struct table *t, const struct api_event *e)
{
    AUTO_BUF struct buf detail = BUF_INIT;
    enum ink ink = INK_NONE;
    int step = cli_enum_find(step_state_names, STEP_STATE_COUNT, e->state);
    int execution = cli_enum_find(execution_state_names, EXECUTION_STATE_COUNT, e->state);
    if (step >= 0)
        ink = step_ink((enum step_state)step);
    else if (execution >= 0)
        ink = execution_ink((enum execution_state)execution);
    words_event(&detail, e);
    table_cell_int(t, INK_NONE, e->seq);
    table_cell_time(t, e->time);
    table_cell(t, INK_NONE, e->type);
    table_cell(t, INK_NONE, e->server);
    table_cell(t, INK_NONE, e->step);
    table_cell(t, ink, detail.data);
}

struct events {
    struct cli *cli;
    struct rows rows;
    struct table table;
    int64_t after;
    int64_t last_seq; /* following: of the rollout when that began, */
    bool final;       /* and whether it was over */
};

static bool flush(struct events *s)
{
    AUTO_BUF struct buf b = BUF_INIT;
    table_flush(&s->table, &s->cli->style, &b);
    return cli_write(s->cli, &b);
}

/* ---- What there is -----------------------------------------------------------------------------
 */

static int get_page(struct events *s, const char *id, struct api_event_list *ret)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, id);
    buf_printf(&path, "/events?after=%lld", (long long)s->after);
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(s->cli, &err);
    return cli_get_table(s->cli, path.data, &api_event_list_table, ret);
}

static int put_page(struct events *s, const struct api_event_list *page)
{
    for (size_t i = 0; i < page->events.count; i++) {
        const struct api_event *e = ARRAY_AT(&page->events, struct api_event, i);
        s->after = e->seq > s->after ? e->seq : s->after;
        if (!s->cli->options.json)
            put_event(&s->table, e);
        else if (!rows_put(&s->rows, e))
            return CLI_USAGE;
    }
    if (s->cli->options.json)
        return CLI_OK;
    return flush(s) ? CLI_OK : CLI_USAGE;
}

static int put_all(struct events *s, const char *id)
{
    bool more = true;
    int status = CLI_OK;
    while (status == CLI_OK && more) {
        struct api_event_list page = {0};
        int64_t before = s->after;
        status = get_page(s, id, &page);
        if (status == CLI_OK)
            status = put_page(s, &page);
        more = s->after > before;
        json_release(&api_event_list_table, &page);
    }
    if (status == CLI_OK && s->cli->options.json)
        status = rows_end(&s->rows, NULL) ? CLI_OK : CLI_USAGE;
    return status;
}

/* ---- What comes --------------------------------------------------------------------------------
 */

/* False: it cannot be written. */
static bool take(struct events *s, const struct sse_event *sse)
{
    struct api_event event = {0};
    if (strcmp(sse->type, "output") == 0)
        return true;
    if (s->cli->options.json)
        return cli_write_json_line(s->cli, sse->data, sse->len);
    if (json_read(sse->data, sse->len, SSE_MAX_EVENT, &api_event_table, &event, NULL) == ERR_OK)
        put_event(&s->table, &event);
    json_release(&api_event_table, &event);
    return flush(s);
}

/* A rollout that ended can have been opened again: what was there when the following began is shown
 * in any case, and then what comes until its end. */
static bool is_over(const struct events *s, const struct follow *f, const struct sse_event *sse)
{
    return f->last_seq >= s->last_seq && (s->final || strcmp(sse->type, "rollout_ended") == 0);
}

static int follow_events(struct events *s, const char *id)
{
    struct follow f;
    struct sse_event event;
    bool over = false;
    int status = follow_open(&f, s->cli, id, s->after);
    while (status == CLI_OK && !over) {
        switch (follow_next(&f, INT64_MAX, &event)) {
        case FOLLOW_EVENT:
            over = is_over(s, &f, &event);
            status = take(s, &event) ? CLI_OK : CLI_USAGE;
            break;
        case FOLLOW_INTERRUPTED:
            status = CLI_INTERRUPTED;
            break;
        case FOLLOW_FAILED:
            status = f.status;
            break;
        case FOLLOW_ENDED:
            over = true;
            break;
        case FOLLOW_CONNECTED:
        case FOLLOW_DEADLINE:
            break;
        }
    }
    follow_close(&f);
    return status;
}

/* ---- The command -------------------------------------------------------------------------------
 */

/* The rollout behind a prefix, and whether anything can still come. */
static int look(struct events *s, struct api_rollout *ret)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, s->cli->options.args[0]);
    buf_puts(&path, "?limit=1");
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(s->cli, &err);
    return cli_get_table(s->cli, path.data, &api_rollout_table, ret);
}

int cmd_events(struct cli *cli)
{
    struct events s = {.cli = cli, .after = cli->options.numbers[OPT_AFTER]};
    struct api_rollout rollout = {0};
    int status = CLI_OK;
    rows_init(&s.rows, cli, "events", &api_event_table);
    table_init(&s.table, columns, ARRAY_LEN(columns));
    if (!option_given(&cli->options, OPT_FOLLOW)) {
        status = put_all(&s, cli->options.args[0]);
    } else {
        status = look(&s, &rollout);
        s.last_seq = rollout.last_seq;
        s.final = status == CLI_OK && rollout_state_final((enum rollout_state)rollout.state);
        bool over = s.final && s.last_seq <= s.after;
        if (status == CLI_OK && !over)
            status = follow_events(&s, rollout.id);
    }
    json_release(&api_rollout_table, &rollout);
    rows_done(&s.rows);
    table_done(&s.table);
    return status;
}
