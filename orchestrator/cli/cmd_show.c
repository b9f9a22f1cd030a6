/* show. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/rows.h"
#include "orchestrator/cli/words.h"

#include <string.h>

/* Worst first: what a person looks for in a large rollout. */
static const enum execution_state worst_first[] = {
    EXECUTION_ROLLBACK_FAILED, EXECUTION_FAILED,      EXECUTION_TIMED_OUT, EXECUTION_UNKNOWN,
    EXECUTION_UNREACHABLE,     EXECUTION_ROLLED_BACK, EXECUTION_CANCELLED, EXECUTION_ROLLING_BACK,
    EXECUTION_RUNNING,         EXECUTION_QUEUED,      EXECUTION_SKIPPED,   EXECUTION_SUCCEEDED,
    EXECUTION_PENDING,
};
_Static_assert(ARRAY_LEN(worst_first) == EXECUTION_STATE_COUNT, "every state has its place");

/* ---- Asking ------------------------------------------------------------------------------------
 */

struct query {
    const char *id;
    const char *server; /* NULL: any */
    const char *state;  /* NULL: any */
    int64_t limit, offset;
};

static int get_answer(struct cli *cli, const struct query *q, struct answer *ret)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, q->id);
    buf_printf(&path, "?limit=%lld", (long long)q->limit);
    if (q->offset > 0)
        buf_printf(&path, "&offset=%lld", (long long)q->offset);
    if (q->state) {
        buf_puts(&path, "&state=");
        url_put(&path, q->state);
    }
    if (q->server) {
        buf_puts(&path, "&server=");
        url_put(&path, q->server);
    }
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    return cli_get(cli, path.data, ret);
}

/* The caller releases *ret in any case. */
static int get(struct cli *cli, const struct query *q, struct api_rollout *ret)
{
    AUTO_ANSWER struct answer answer = {0};
    int status = get_answer(cli, q, &answer);
    return status == CLI_OK ? cli_decode(cli, &answer, &api_rollout_table, ret) : status;
}

/* ---- Words -------------------------------------------------------------------------------------
 */

static void put_name(struct buf *b, const char *name)
{
    buf_printf(b, "%-10s", name);
}

static void put_line(struct buf *b, const char *name, const char *value)
{
    if (!value)
        return;
    put_name(b, name);
    render_text(b, value);
    buf_putc(b, '\n');
}

static void put_duration(struct buf *b, const char *from, const char *to)
{
    char text[CLOCK_TEXT_MAX];
    int64_t start = render_time_ms(from);
    int64_t end = to ? render_time_ms(to) : clock_wall_ms();
    if (start < 0 || end < start) {
        buf_putc(b, '-');
        return;
    }
    duration_format(end - start, text);
    buf_puts(b, text);
}

static void put_header(struct cli *cli, const struct api_rollout *r, struct buf *b)
{
    put_line(b, "id", r->id);
    put_line(b, "name", r->name);
    put_line(b, "check", r->check ? "nothing is changed" : NULL);
    put_name(b, "state");
    render_ink(b, &cli->style, rollout_ink((enum rollout_state)r->state),
               rollout_state_names[r->state]);
    buf_putc(b, '\n');
    put_line(b, "reason", r->reason);
    put_name(b, "strategy");
    render_text(b, r->strategy);
    if (r->batches > 1)
        buf_printf(b, ", batch %lld of %lld", (long long)r->batch, (long long)r->batches);
    buf_putc(b, '\n');
    put_line(b, "by", r->by);
    put_line(b, "retry of", r->retry_of);
    put_name(b, "created");
    render_time(b, r->created);
    buf_puts(b, " UTC\n");
    put_name(b, r->ended ? "ended" : "so far");
    if (r->ended) {
        render_time(b, r->ended);
        buf_puts(b, " UTC, after ");
    }
    put_duration(b, r->created, r->ended);
    buf_putc(b, '\n');
    put_name(b, "servers");
    buf_printf(b, "%lld: ", (long long)r->servers);
    words_counts(b, &r->counts);
    buf_putc(b, '\n');
}

static const struct column execution_columns[] = {
    {"SERVER", false},        {"STATE", false},   {"STEP", false},
    {"STARTED (UTC)", false}, {"DURATION", true}, {"MESSAGE", false},
};

/* "rolled_back (failed)": what became of it, and why it came to that. */
static void put_state(struct buf *b, const struct api_execution *e, bool check)
{
    bool undone = e->state == EXECUTION_ROLLING_BACK || e->state == EXECUTION_ROLLED_BACK ||
                  e->state == EXECUTION_ROLLBACK_FAILED;
    if (check && e->state == EXECUTION_SUCCEEDED)
        buf_puts(b, e->unchanged ? "unchanged" : "would change");
    else
        buf_puts(b, execution_state_names[e->state]);
    if (!check && e->state == EXECUTION_SUCCEEDED && e->unchanged)
        buf_puts(b, ", unchanged");
    if (undone && e->outcome != EXECUTION_PENDING && e->outcome != e->state)
        buf_printf(b, " (%s)", execution_state_names[e->outcome]);
    if (e->rebooting)
        buf_puts(b, ", rebooting");
    if (e->conflict)
        buf_puts(b, ", conflict");
    if (e->resolved)
        buf_puts(b, ", by hand");
}

/* "locked by root@bastion: disk is being replaced" */
static void put_lock(struct buf *b, const struct api_execution *e)
{
    buf_printf(b, "locked%s%s: %s", e->locked_by ? " by " : "", e->locked_by ? e->locked_by : "",
               e->lock_reason);
}

static void put_execution(struct table *t, const struct api_execution *e, bool check)
{
    AUTO_BUF struct buf state = BUF_INIT;
    AUTO_BUF struct buf duration = BUF_INIT;
    AUTO_BUF struct buf message = BUF_INIT;
    put_state(&state, e, check);
    put_duration(&duration, e->started, e->ended);
    if (e->waiting_for)
        buf_printf(&message, "waits for rollout %s", e->waiting_for);
    else if (e->lock_reason)
        put_lock(&message, e);
    else if (e->message)
        buf_puts(&message, e->message);
    else if (e->state == EXECUTION_QUEUED && !e->connected)
        buf_puts(&message, "its agent is not connected");
    table_cell(t, INK_NONE, e->server);
    table_cell(t, execution_ink((enum execution_state)e->state), state.data);
    table_cell(t, INK_NONE, e->step);
    table_cell_time(t, e->started);
    table_cell(t, INK_NONE, duration.data);
    table_cell(t, INK_NONE, message.data);
}

/* ---- The servers -------------------------------------------------------------------------------
 */

/* Those of the earlier answers; a server that moved on between two requests is shown once. */
static bool seen(const struct api_rollout *pages, size_t count, const char *server)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < pages[i].executions.count; k++) {
            const struct api_execution *e = ARRAY_AT(&pages[i].executions, struct api_execution, k);
            if (strcmp(e->server, server) == 0)
                return true;
        }
    }
    return false;
}

/* A page full of servers, the worst ones first. */
static int put_worst(struct cli *cli, const char *id, struct table *t, int64_t *ret_shown)
{
    struct api_rollout pages[EXECUTION_STATE_COUNT] = {0};
    struct query q = {.id = id, .limit = API_PAGE_DEFAULT};
    int status = CLI_OK;
    *ret_shown = 0;
    for (size_t i = 0; status == CLI_OK && q.limit > 0 && i < ARRAY_LEN(worst_first); i++) {
        q.state = execution_state_names[worst_first[i]];
        status = get(cli, &q, &pages[i]);
        for (size_t k = 0; status == CLI_OK && k < pages[i].executions.count; k++) {
            const struct api_execution *e = ARRAY_AT(&pages[i].executions, struct api_execution, k);
            if (seen(pages, i, e->server))
                continue;
            put_execution(t, e, pages[i].check);
            q.limit--;
            ++*ret_shown;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        json_release(&api_rollout_table, &pages[i]);
    return status;
}

static bool put_page(struct cli *cli, struct rows *rows, struct table *t,
                     const struct api_rollout *r)
{
    AUTO_BUF struct buf b = BUF_INIT;
    for (size_t i = 0; i < r->executions.count; i++) {
        const struct api_execution *e = ARRAY_AT(&r->executions, struct api_execution, i);
        if (!cli->options.json)
            put_execution(t, e, r->check);
        else if (!rows_put(rows, e))
            return false;
    }
    if (!cli->options.json)
        table_flush(t, &cli->style, &b);
    return cli_write(cli, &b);
}

/* The first page with everything about the rollout. */
static bool put_first(struct cli *cli, struct rows *rows, struct table *t, struct api_rollout *r)
{
    AUTO_BUF struct buf b = BUF_INIT;
    if (cli->options.json) {
        struct array executions = r->executions;
        int64_t more = r->more;
        r->executions = (struct array){0};
        r->more = 0;
        rows_head(rows, &api_rollout_table, r);
        r->executions = executions;
        r->more = more;
        return put_page(cli, rows, t, r);
    }
    put_header(cli, r, &b);
    buf_putc(&b, '\n');
    return cli_write(cli, &b) && put_page(cli, rows, t, r);
}

/* Every server that matches, page by page. */
static int show_all(struct cli *cli, struct query *q)
{
    AUTO_ROWS struct rows rows = {0};
    AUTO_TABLE struct table table = {0};
    bool more = true;
    int status = CLI_OK;
    rows_init(&rows, cli, "executions", &api_execution_table);
    table_init(&table, execution_columns, ARRAY_LEN(execution_columns));
    q->limit = API_PAGE_MAX;
    while (status == CLI_OK && more) {
        struct api_rollout r = {0};
        status = get(cli, q, &r);
        if (status == CLI_OK) {
            bool ok = q->offset == 0 ? put_first(cli, &rows, &table, &r)
                                     : put_page(cli, &rows, &table, &r);
            status = ok ? CLI_OK : CLI_USAGE;
            q->offset += (int64_t)r.executions.count;
            more = r.more > 0 && r.executions.count > 0;
        }
        json_release(&api_rollout_table, &r);
    }
    if (status == CLI_OK && cli->options.json)
        status = rows_end(&rows, NULL) ? CLI_OK : CLI_USAGE;
    return status;
}

static int show_page(struct cli *cli, const struct query *q)
{
    AUTO_TABLE struct table table = {0};
    AUTO_BUF struct buf b = BUF_INIT;
    struct api_rollout r = {0};
    int64_t shown = 0;
    int status = get(cli, q, &r);
    table_init(&table, execution_columns, ARRAY_LEN(execution_columns));
    if (status == CLI_OK) {
        put_header(cli, &r, &b);
        buf_putc(&b, '\n');
        shown = (int64_t)r.executions.count;
        if (r.more > 0 && !q->state) {
            status = put_worst(cli, r.id, &table, &shown);
        } else {
            for (size_t i = 0; i < r.executions.count; i++)
                put_execution(&table, ARRAY_AT(&r.executions, struct api_execution, i), r.check);
        }
    }
    if (status == CLI_OK) {
        table_flush(&table, &cli->style, &b);
        if (r.more > 0)
            buf_printf(&b, "%lld more not shown (--all, --state STATE, --server SERVER)\n",
                       (long long)((int64_t)r.executions.count + r.more - shown));
        buf_puts(&b, r.check ? "\n" : "");
        status = cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    if (status == CLI_OK && r.check)
        status = check_show(cli, r.id);
    json_release(&api_rollout_table, &r);
    return status;
}

/* ---- One server --------------------------------------------------------------------------------
 */

static const struct column step_columns[] = {
    {"#", true},    {"STEP", false},    {"STATE", false},   {"ATTEMPT", true},
    {"EXIT", true}, {"CHANGED", false}, {"DURATION", true}, {"MESSAGE", false},
};

static void put_step(struct table *t, int64_t number, const struct api_step *s, bool check)
{
    AUTO_BUF struct buf state = BUF_INIT;
    char duration[CLOCK_TEXT_MAX] = "";
    const char *word = step_state_names[s->state];
    if (check && s->state == STEP_SUCCEEDED)
        word = s->changed ? "would change" : "unchanged";
    buf_printf(&state, "%s%s", word, s->conflict ? ", conflict" : "");
    if (s->duration_ms > 0 || s->state == STEP_SUCCEEDED)
        duration_format(s->duration_ms, duration);
    table_cell_int(t, INK_NONE, number);
    table_cell(t, INK_NONE, s->name);
    table_cell(t, step_ink((enum step_state)s->state), state.data);
    table_cell_int(t, INK_NONE, s->attempt);
    if (s->has_exit_code)
        table_cell_int(t, INK_NONE, s->exit_code);
    else
        table_cell(t, INK_NONE, NULL);
    table_cell(t, INK_NONE, s->changed && !check ? "yes" : "no");
    table_cell(t, INK_NONE, duration);
    table_cell(t, INK_NONE, s->message);
}

static void put_server(struct cli *cli, const struct api_execution *e, bool check, struct buf *b)
{
    AUTO_TABLE struct table table = {0};
    AUTO_BUF struct buf state = BUF_INIT;
    put_line(b, "server", e->server);
    put_state(&state, e, check);
    put_name(b, "state");
    render_ink(b, &cli->style, execution_ink((enum execution_state)e->state), state.data);
    buf_putc(b, '\n');
    put_line(b, "message", e->message);
    put_line(b, "waits for", e->waiting_for);
    if (e->lock_reason) {
        AUTO_BUF struct buf lock = BUF_INIT;
        put_lock(&lock, e);
        put_line(b, "lock", lock.data);
    }
    put_line(b, "connected", e->connected ? "yes" : "no");
    if (e->started) {
        put_name(b, "started");
        render_time(b, e->started);
        buf_puts(b, " UTC\n");
        put_name(b, e->ended ? "took" : "so far");
        put_duration(b, e->started, e->ended);
        buf_putc(b, '\n');
    }
    buf_putc(b, '\n');
    table_init(&table, step_columns, ARRAY_LEN(step_columns));
    for (size_t i = 0; i < e->steps.count; i++)
        put_step(&table, (int64_t)i + 1, ARRAY_AT(&e->steps, struct api_step, i), check);
    table_flush(&table, &cli->style, b);
}

static int show_server(struct cli *cli, struct query *q)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct api_rollout r = {0};
    const struct api_execution *found = NULL;
    q->limit = 1;
    int status = get(cli, q, &r);
    for (size_t i = 0; status == CLI_OK && !found && i < r.executions.count; i++) {
        const struct api_execution *e = ARRAY_AT(&r.executions, struct api_execution, i);
        found = strcmp(e->server, q->server) == 0 ? e : NULL;
    }
    if (status == CLI_OK && !found) {
        cli_say(cli, "server %s is not in rollout %s", q->server, r.id);
        status = CLI_USAGE;
    } else if (status == CLI_OK && cli->options.json) {
        status = cli_write_table(cli, &api_execution_table, found) ? CLI_OK : CLI_USAGE;
    } else if (status == CLI_OK) {
        put_server(cli, found, r.check, &b);
        status = cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    json_release(&api_rollout_table, &r);
    return status;
}

/* ---- The command -------------------------------------------------------------------------------
 */

static bool state_known(struct cli *cli, const char *state)
{
    if (!state || cli_enum_find(execution_state_names, EXECUTION_STATE_COUNT, state) >= 0)
        return true;
    const char *closest = text_closest(state, execution_state_names, EXECUTION_STATE_COUNT);
    AUTO_BUF struct buf known = BUF_INIT;
    for (size_t i = 0; i < EXECUTION_STATE_COUNT; i++)
        buf_printf(&known, "%s%s", i > 0 ? ", " : "", execution_state_names[i]);
    if (closest)
        cli_say(cli, "--state: there is no state \"%s\" (did you mean \"%s\"?)", state, closest);
    else
        cli_say(cli, "--state: there is no state \"%s\": there are %s", state,
                known.data ? known.data : "");
    return false;
}

int cmd_show(struct cli *cli)
{
    AUTO_ANSWER struct answer answer = {0};
    struct query q = {.id = cli->options.args[0],
                      .server = cli->options.texts[OPT_SERVER],
                      .state = cli->options.texts[OPT_STATE],
                      .limit = API_PAGE_DEFAULT};
    if (!state_known(cli, q.state))
        return CLI_USAGE;
    if (q.server)
        return show_server(cli, &q);
    if (option_given(&cli->options, OPT_ALL))
        return show_all(cli, &q);
    if (!cli->options.json)
        return show_page(cli, &q);
    int status = get_answer(cli, &q, &answer);
    if (status != CLI_OK)
        return status;
    return cli_write_json(cli, answer.body.data, answer.body.len) ? CLI_OK : CLI_USAGE;
}
