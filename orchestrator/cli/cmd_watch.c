/* watch: a rollout until its end. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/follow.h"
#include "orchestrator/cli/live.h"
#include "orchestrator/cli/progress.h"
#include "orchestrator/cli/words.h"

#include <string.h>

struct watch {
    struct cli *cli;
    struct follow follow;
    struct progress *progress;
    struct live live;
    struct buf waiting; /* lines that are not written yet */
    int64_t draw_ms;    /* when the lines are to be drawn again; INT64_MAX: they are right */
    int64_t drawn_ms;
};

static bool is_live(const struct watch *w)
{
    return w->cli->live && !w->cli->options.json;
}

/* ---- Drawing -----------------------------------------------------------------------------------
 */

static void want_draw(struct watch *w)
{
    if (is_live(w) && w->draw_ms == INT64_MAX)
        w->draw_ms = w->drawn_ms + LIVE_REDRAW_MS;
}

/* Writes the lines that wait, in place of those that are drawn again. */
static void put_waiting(struct watch *w, struct buf *b)
{
    live_clear(&w->live, b);
    if (w->waiting.failed != ERR_OK)
        b->failed = w->waiting.failed;
    else if (w->waiting.len > 0)
        buf_append(b, w->waiting.data, w->waiting.len);
    buf_clear(&w->waiting);
}

static bool draw(struct watch *w)
{
    AUTO_BUF struct buf b = BUF_INIT;
    w->cli->style.columns = cli_columns(w->cli);
    if (w->waiting.len > 0)
        put_waiting(w, &b);
    live_draw(&w->live, progress_view(w->progress), &w->cli->style, &b);
    w->drawn_ms = clock_mono_ms();
    w->draw_ms = INT64_MAX;
    return cli_write(w->cli, &b);
}

/* A message is about to be written where the lines stand. */
static void clear_lines(void *ctx)
{
    struct watch *w = ctx;
    AUTO_BUF struct buf b = BUF_INIT;
    put_waiting(w, &b);
    (void)cli_write(w->cli, &b);
    want_draw(w);
}

/* A line that stays, above those that are drawn again: there it waits for the next drawing. */
static bool put_line(struct watch *w, const char *time, enum ink ink, const struct buf *text)
{
    render_time(&w->waiting, time);
    buf_puts(&w->waiting, "Z ");
    render_ink_begin(&w->waiting, &w->cli->style, ink);
    buf_append(&w->waiting, text->data, text->len);
    render_ink_end(&w->waiting, &w->cli->style, ink);
    buf_putc(&w->waiting, '\n');
    want_draw(w);
    return is_live(w) || cli_write(w->cli, &w->waiting);
}

/* ---- The rollout -------------------------------------------------------------------------------
 */

static int get_rollout(struct cli *cli, const char *id, const char *query, struct answer *answer,
                       struct api_rollout *ret)
{
    AUTO_BUF struct buf path = BUF_INIT;
    struct error err = {0};
    buf_puts(&path, "/v1/rollouts/");
    url_put(&path, id);
    buf_puts(&path, query);
    if (buf_check(&path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = cli_get(cli, path.data, answer);
    return status == CLI_OK ? cli_decode(cli, answer, &api_rollout_table, ret) : status;
}

/* How it ended, with the counts as the orchestrator has them. */
static int report_end(struct cli *cli, const struct answer *answer, const struct api_rollout *r)
{
    AUTO_BUF struct buf b = BUF_INIT;
    char text[CLOCK_TEXT_MAX];
    int64_t start = render_time_ms(r->created);
    int64_t end = r->ended ? render_time_ms(r->ended) : -1;
    bool ok = false;
    if (cli->options.json) {
        ok = cli_write_json_line(cli, answer->body.data, answer->body.len);
    } else {
        buf_puts(&b, r->check ? "check " : "rollout ");
        render_text(&b, r->id);
        buf_putc(&b, ' ');
        render_ink(&b, &cli->style, rollout_ink((enum rollout_state)r->state),
                   rollout_state_names[r->state]);
        if (start >= 0 && end >= start) {
            duration_format(end - start, text);
            buf_printf(&b, " after %s", text);
        }
        buf_printf(&b, "; of %lld: ", (long long)r->servers);
        words_counts(&b, &r->counts);
        if (r->reason) {
            buf_puts(&b, "; ");
            render_text(&b, r->reason);
        }
        buf_putc(&b, '\n');
        ok = cli_write(cli, &b);
    }
    int status = ok ? CLI_OK : CLI_USAGE;
    if (status == CLI_OK && r->check && !cli->options.json)
        status = check_show(cli, r->id);
    return status == CLI_OK ? cli_outcome((enum rollout_state)r->state) : status;
}

/* After the last event: the final picture. */
static int end_watch(struct watch *w)
{
    AUTO_ANSWER struct answer answer = {0};
    struct api_rollout rollout = {0};
    const struct progress_view *view = progress_view(w->progress);
    clear_lines(w);
    int status = get_rollout(w->cli, view->id, "?limit=1", &answer, &rollout);
    if (status == CLI_OK)
        status = report_end(w->cli, &answer, &rollout);
    else if (status == CLI_UNREACHABLE && rollout_state_final(view->state))
        /* The event told the outcome; only the picture is missing. */
        status = cli_outcome(view->state);
    json_release(&api_rollout_table, &rollout);
    return status;
}

/* ---- Events ------------------------------------------------------------------------------------
 */

/* CLI_OK: go on; -1: the rollout's end. */
enum { WATCH_OVER = -1 };

static int take_event(struct watch *w, const struct sse_event *sse)
{
    AUTO_BUF struct buf line = BUF_INIT;
    struct api_event event = {0};
    struct error err = {0};
    enum ink ink = INK_NONE;
    bool ok = true;
    int status = CLI_OK;
    if (strcmp(sse->type, "output") == 0)
        return CLI_OK;
    if (w->cli->options.json)
        ok = cli_write_json_line(w->cli, sse->data, sse->len);
    enum error_code code =
        json_read(sse->data, sse->len, SSE_MAX_EVENT, &api_event_table, &event, &err);
    if (code == ERR_OK)
        code = progress_apply(w->progress, &event, &line, &ink, &err);
    if (code == ERR_OK)
        code = buf_check(&line, &err);
    if (code != ERR_OK) {
        clear_lines(w);
        status = cli_fail(w->cli, &err);
    } else {
        if (line.len > 0 && !w->cli->options.json)
            ok = put_line(w, event.time, ink, &line);
        else
            want_draw(w);
        if (words_event_type(&event) == EVENT_ROLLOUT_ENDED)
            status = WATCH_OVER;
    }
    json_release(&api_event_table, &event);
    return ok ? status : CLI_USAGE;
}

static int stop_watching(struct watch *w)
{
    const char *id = progress_view(w->progress)->id;
    clear_lines(w);
    cli_say(w->cli,
            "rollout %s goes on; \"kitsune watch %s\" follows it again, \"kitsune cancel %s\" "
            "stops it",
            id, id, id);
    return CLI_INTERRUPTED;
}

static int watch_events(struct watch *w)
{
    for (;;) {
        struct sse_event event;
        int status = CLI_OK;
        /* A steady stream of events must not put the drawing off. */
        if (w->draw_ms <= clock_mono_ms() && !draw(w))
            return CLI_USAGE;
        switch (follow_next(&w->follow, w->draw_ms, &event)) {
        case FOLLOW_CONNECTED:
            want_draw(w);
            break;
        case FOLLOW_EVENT:
            status = take_event(w, &event);
            break;
        case FOLLOW_DEADLINE:
            break;
        case FOLLOW_INTERRUPTED:
            return stop_watching(w);
        case FOLLOW_ENDED:
            status = WATCH_OVER;
            break;
        case FOLLOW_FAILED:
            return w->follow.status;
        }
        if (status == WATCH_OVER)
            return end_watch(w);
        if (status != CLI_OK)
            return status;
    }
}

/* ---- The command -------------------------------------------------------------------------------
 */

/* The running servers that did not fit into the first answer. */
static int get_running(struct watch *w, const char *id, int64_t offset, int64_t more)
{
    struct error err = {0};
    while (more > 0) {
        AUTO_ANSWER struct answer answer = {0};
        struct api_rollout page = {0};
        char query[96];
        (void)snprintf(query, sizeof(query), "?state=running&limit=%d&offset=%lld", API_PAGE_MAX,
                       (long long)offset);
        int status = get_rollout(w->cli, id, query, &answer, &page);
        if (status == CLI_OK && progress_add_running(w->progress, &page.executions, &err) != ERR_OK)
            status = cli_fail(w->cli, &err);
        offset += (int64_t)page.executions.count;
        more = page.executions.count > 0 ? page.more : 0;
        json_release(&api_rollout_table, &page);
        if (status != CLI_OK)
            return status;
    }
    return CLI_OK;
}

static bool put_begin(struct watch *w, const struct api_rollout *r)
{
    AUTO_BUF struct buf b = BUF_INIT;
    if (w->cli->options.json)
        return true;
    if (is_live(w))
        return draw(w);
    buf_puts(&b, r->check ? "check " : "rollout ");
    render_text(&b, r->id);
    if (r->name) {
        buf_puts(&b, " (");
        render_text(&b, r->name);
        buf_putc(&b, ')');
    }
    buf_printf(&b, " is %s: ", rollout_state_names[r->state]);
    render_text(&b, r->strategy);
    buf_printf(&b, ", %lld servers: ", (long long)r->servers);
    words_counts(&b, &r->counts);
    buf_putc(&b, '\n');
    return cli_write(w->cli, &b);
}

static int watch_running(struct cli *cli, const struct api_rollout *rollout)
{
    struct watch w = {.cli = cli, .draw_ms = INT64_MAX, .follow = {.signal_fd = -1}};
    struct error err = {0};
    if (progress_new(rollout, &w.progress, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = get_running(&w, rollout->id, (int64_t)rollout->executions.count, rollout->more);
    if (status == CLI_OK) {
        /* The full id: a prefix that is unique now may not stay so. */
        status = follow_open(&w.follow, cli, rollout->id, rollout->last_seq);
        w.follow.before_message = clear_lines;
        w.follow.ctx = &w;
        if (status == CLI_OK)
            status = put_begin(&w, rollout) ? watch_events(&w) : CLI_USAGE;
        follow_close(&w.follow);
    }
    progress_free(w.progress);
    buf_done(&w.waiting);
    return status;
}

int watch_rollout(struct cli *cli, const char *id)
{
    AUTO_ANSWER struct answer answer = {0};
    struct api_rollout rollout = {0};
    char query[64];
    (void)snprintf(query, sizeof(query), "?state=running&limit=%d", API_PAGE_MAX);
    int status = get_rollout(cli, id, query, &answer, &rollout);
    if (status == CLI_OK && rollout_state_final((enum rollout_state)rollout.state))
        status = report_end(cli, &answer, &rollout);
    else if (status == CLI_OK)
        status = watch_running(cli, &rollout);
    json_release(&api_rollout_table, &rollout);
    return status;
}

int cmd_watch(struct cli *cli)
{
    return watch_rollout(cli, cli->options.args[0]);
}
