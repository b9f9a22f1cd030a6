/* logs: what the steps printed. */
#include "common/base/cleanup.h"
#include "common/base/output.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/follow.h"
#include "orchestrator/cli/shown.h"
#include "orchestrator/cli/words.h"

#include <stdlib.h>
#include <string.h>

enum { STATUS_NOT_FOUND = 404 };

struct logs {
    struct cli *cli;
    const char *server; /* NULL: all */
    const char *step;   /* name or number; NULL: all */
    struct shown *shown;
    char *last;      /* the header printed last */
    bool mid_line;   /* the output printed last did not end its line */
    int64_t printed; /* pieces */
    int64_t matched; /* servers */
};

/* ---- Printing ----------------------------------------------------------------------------------
 */

static bool put_json(struct logs *l, const struct shown_key *key, size_t from, const char *text,
                     size_t len)
{
    AUTO_BUF struct buf b = BUF_INIT;
    AUTO_FREE char *server = mem_strdup(key->server);
    AUTO_FREE char *step = mem_strdup(key->step);
    AUTO_FREE char *copy = mem_strndup(text, len);
    struct api_output doc = {.server = server,
                             .step = step,
                             .attempt = key->attempt,
                             .offset = (int64_t)from,
                             .text = copy};
    if (!server || !step || !copy)
        b.failed = ERR_NO_MEMORY;
    else
        json_encode(&b, &api_output_table, &doc);
    if (b.failed != ERR_OK)
        return cli_write(l->cli, &b);
    return cli_write_json_line(l->cli, b.data, b.len);
}

/* "== web-3 upgrade (attempt 2)", unless the last piece was of the same. */
static void put_header(struct logs *l, const struct shown_key *key, bool again, struct buf *b)
{
    AUTO_BUF struct buf header = BUF_INIT;
    buf_puts(&header, "== ");
    render_text(&header, key->server);
    buf_putc(&header, ' ');
    render_text(&header, key->step);
    buf_printf(&header, " (attempt %lld)", (long long)key->attempt);
    if (header.failed != ERR_OK) {
        b->failed = header.failed;
        return;
    }
    if (!again && l->last && strcmp(l->last, header.data) == 0)
        return;
    if (l->mid_line)
        buf_putc(b, '\n');
    render_ink_begin(b, &l->cli->style, INK_BOLD);
    buf_append(b, header.data, header.len);
    buf_puts(b, again ? ", again in whole" : "");
    render_ink_end(b, &l->cli->style, INK_BOLD);
    buf_putc(b, '\n');
    mem_free(l->last);
    l->last = buf_take(&header, NULL);
}

/* False: it cannot be written. */
static bool put_output(struct logs *l, const struct shown_key *key, const struct shown_part *part,
                       int64_t base, const char *text, size_t len)
{
    AUTO_BUF struct buf b = BUF_INIT;
    size_t from = part->from;
    /* A character that was cut in two is shown whole. */
    while (from > 0 && from < len && ((unsigned char)text[from] & 0xc0) == 0x80)
        from--;
    if (from >= len)
        return true;
    l->printed++;
    if (l->cli->options.json)
        return put_json(l, key, (size_t)base + from, text + from, len - from);
    put_header(l, key, part->again, &b);
    render_lines(&b, text + from, len - from);
    l->mid_line = text[len - 1] != '\n';
    return cli_write(l->cli, &b);
}

/* ---- What is kept ------------------------------------------------------------------------------
 */

/* Gets and prints one step's output; there may be none. `number`: of the step, from 1; 0: not
 * known. In a path it serves better than a name, which may hold anything. */
static int put_kept(struct logs *l, const char *id, const char *server, const char *step,
                    size_t number)
{
    AUTO_BUF struct buf path = BUF_INIT;
    AUTO_ANSWER struct answer answer = {0};
    struct error err = {0};
    struct shown_part part = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, id);
    buf_puts(&path, "/servers/");
    url_put(&path, server);
    buf_puts(&path, "/steps/");
    if (number > 0)
        buf_printf(&path, "%zu", number);
    else
        url_put(&path, step);
    buf_puts(&path, "/output");
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(l->cli, &err);
    struct request request = {.method = "GET", .path = path.data, .repeatable = true};
    int status = cli_ask(l->cli, &request, &answer);
    if (status != CLI_OK || answer.status == STATUS_NOT_FOUND)
        return status;
    if (answer.status >= API_REFUSED)
        return cli_refused(l->cli, &answer);
    struct shown_key key = {.server = server, .step = step, .attempt = answer.attempt};
    bool whole = answer.body.len <= (size_t)OUTPUT_HEAD_MAX + OUTPUT_TAIL_MAX;
    if (shown_kept(l->shown, &key, answer.body.len, whole, &part, &err) != ERR_OK)
        return cli_fail(l->cli, &err);
    if (answer.body.len == 0)
        return CLI_OK;
    return put_output(l, &key, &part, 0, answer.body.data, answer.body.len) ? CLI_OK : CLI_USAGE;
}

static bool step_wanted(const struct logs *l, const char *name, size_t number)
{
    char text[24];
    if (!l->step || strcmp(l->step, name) == 0)
        return true;
    (void)snprintf(text, sizeof(text), "%zu", number);
    return strcmp(l->step, text) == 0;
}

static int put_execution(struct logs *l, const char *id, const struct api_execution *e,
                         bool running)
{
    int status = CLI_OK;
    if (l->server && strcmp(l->server, e->server) != 0)
        return CLI_OK;
    l->matched++;
    for (size_t i = 0; status == CLI_OK && i < e->steps.count; i++) {
        const struct api_step *s = ARRAY_AT(&e->steps, struct api_step, i);
        bool begun = running ? s->state == STEP_RUNNING : s->attempt > 0;
        if (begun && step_wanted(l, s->name, i + 1))
            status = put_kept(l, id, e->server, s->name, i + 1);
    }
    return status;
}

static int get_page(struct logs *l, const char *id, bool running, int64_t offset,
                    struct api_rollout *ret)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, id);
    buf_printf(&path, "?limit=%d&offset=%lld", API_PAGE_MAX, (long long)offset);
    if (running)
        buf_printf(&path, "&state=%s", execution_state_names[EXECUTION_RUNNING]);
    if (l->server) {
        buf_puts(&path, "&server=");
        url_put(&path, l->server);
    }
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(l->cli, &err);
    return cli_get_table(l->cli, path.data, &api_rollout_table, ret);
}

/* Everything that is kept, or (`running`) what the steps under way have printed. *ret_first (may be
 * NULL; the caller releases it) becomes the first page. */
static int put_all(struct logs *l, const char *id, bool running, struct api_rollout *ret_first)
{
    int64_t offset = 0;
    bool more = true;
    int status = CLI_OK;
    while (status == CLI_OK && more) {
        struct api_rollout page = {0};
        status = get_page(l, id, running, offset, &page);
        for (size_t i = 0; status == CLI_OK && i < page.executions.count; i++)
            status = put_execution(l, page.id, ARRAY_AT(&page.executions, struct api_execution, i),
                                   running);
        more = page.more > 0 && page.executions.count > 0;
        offset += (int64_t)page.executions.count;
        if (ret_first && !ret_first->id) {
            *ret_first = page;
            continue;
        }
        json_release(&api_rollout_table, &page);
    }
    return status;
}

/* ---- What comes --------------------------------------------------------------------------------
 */

/* The number of a step, by the plan's order; it is only known from a server's steps. */
static size_t step_number(const struct api_rollout *first, const char *name)
{
    const struct api_execution *e =
        first->executions.count > 0 ? ARRAY_AT(&first->executions, struct api_execution, 0) : NULL;
    for (size_t i = 0; e && i < e->steps.count; i++) {
        if (strcmp(ARRAY_AT(&e->steps, struct api_step, i)->name, name) == 0)
            return i + 1;
    }
    return 0;
}

static bool wanted(const struct logs *l, const struct api_rollout *first, const char *server,
                   const char *step)
{
    return server && step && (!l->server || strcmp(l->server, server) == 0) &&
           step_wanted(l, step, step_number(first, step));
}

static int take_output(struct logs *l, const struct api_rollout *first, const struct sse_event *sse)
{
    struct api_output output = {0};
    struct shown_part part = {0};
    struct error err = {0};
    int status = CLI_OK;
    if (json_read(sse->data, sse->len, SSE_MAX_EVENT, &api_output_table, &output, &err) != ERR_OK)
        return cli_fail(l->cli, &err);
    if (wanted(l, first, output.server, output.step)) {
        struct shown_key key = {
            .server = output.server, .step = output.step, .attempt = output.attempt};
        size_t len = strlen(output.text);
        if (shown_live(l->shown, &key, output.offset, len, &part, &err) != ERR_OK)
            status = cli_fail(l->cli, &err);
        else if (!put_output(l, &key, &part, output.offset, output.text, len))
            status = CLI_USAGE;
    }
    json_release(&api_output_table, &output);
    return status;
}

/* A step's end: the output in the journal is the one that counts. */
static int take_event(struct logs *l, const struct api_rollout *first, const struct sse_event *sse)
{
    struct api_event event = {0};
    struct error err = {0};
    int status = CLI_OK;
    if (json_read(sse->data, sse->len, SSE_MAX_EVENT, &api_event_table, &event, &err) != ERR_OK)
        return cli_fail(l->cli, &err);
    if ((words_event_type(&event) == EVENT_STEP_ENDED ||
         words_event_type(&event) == EVENT_STEP_RETRYING ||
         words_event_type(&event) == EVENT_STEP_REBOOTING) &&
        wanted(l, first, event.server, event.step))
        status = put_kept(l, first->id, event.server, event.step, step_number(first, event.step));
    json_release(&api_event_table, &event);
    return status;
}

static int follow_logs(struct logs *l, const struct api_rollout *first)
{
    struct follow f;
    struct sse_event event;
    bool over = false;
    int status = follow_open(&f, l->cli, first->id, first->last_seq);
    while (status == CLI_OK && !over) {
        switch (follow_next(&f, INT64_MAX, &event)) {
        case FOLLOW_CONNECTED:
            /* What was printed before live output reached here. Of the steps that ended meanwhile
             * the events tell. */
            status = put_all(l, first->id, true, NULL);
            break;
        case FOLLOW_EVENT:
            over = strcmp(event.type, "rollout_ended") == 0;
            status = strcmp(event.type, "output") == 0 ? take_output(l, first, &event)
                                                       : take_event(l, first, &event);
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
        case FOLLOW_DEADLINE:
            break;
        }
    }
    follow_close(&f);
    return status;
}

/* ---- The command -------------------------------------------------------------------------------
 */

int cmd_logs(struct cli *cli)
{
    struct logs l = {.cli = cli,
                     .server = cli->options.texts[OPT_SERVER],
                     .step = cli->options.texts[OPT_STEP],
                     .shown = shown_new()};
    struct api_rollout first = {0};
    int status = CLI_USAGE;
    if (!l.shown) {
        cli_say(cli, "out of memory");
        return CLI_USAGE;
    }
    status = put_all(&l, cli->options.args[0], false, &first);
    if (status == CLI_OK && l.server && l.matched == 0) {
        cli_say(cli, "server %s is not in rollout %s", l.server, first.id);
        status = CLI_USAGE;
    }
    if (status == CLI_OK && option_given(&cli->options, OPT_FOLLOW) &&
        !rollout_state_final((enum rollout_state)first.state))
        status = follow_logs(&l, &first);
    if (status == CLI_OK && l.mid_line) {
        AUTO_BUF struct buf b = BUF_INIT;
        buf_putc(&b, '\n');
        status = cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    if (status == CLI_OK && l.printed == 0)
        cli_say(cli, "there is no output%s",
                rollout_state_final((enum rollout_state)first.state) ? "" : " yet");
    json_release(&api_rollout_table, &first);
    shown_free(l.shown);
    mem_free(l.last);
    return status;
}
