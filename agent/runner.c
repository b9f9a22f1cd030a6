#include "agent/runner.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/output.h"
#include "common/base/problems.h"
#include "common/base/text.h"
#include "handlers/outputs.h"
#include "handlers/process.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* An operation under way: made for it, so that an idle agent stays small. */
struct under_way {
    struct handler_run run;
    void *params;
    struct output kept;
    struct buf live;     /* printed, not yet passed on; at most RUNNER_LIVE_MAX */
    int64_t live_offset; /* of its first byte */
    int64_t printed;     /* bytes in all */
    bool live_begun;     /* something was passed on live */
    bool output_failed;  /* memory was out: some output is lost */
};

struct runner {
    struct runner_config config;
    struct under_way *now; /* NULL: nothing is under way */
    struct alarm live_alarm;
};

/* ---- Output ------------------------------------------------------------------------------ */

/* How much of it ends with a whole character, as far as its last bytes tell. */
static size_t whole_characters(const char *s, size_t len)
{
    for (size_t back = 1; back < 4 && back <= len; back++) {
        unsigned char c = (unsigned char)s[len - back];
        size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
        if (c >= 0xC0)
            return need > back ? len - back : len;
        if (c < 0x80)
            break;
    }
    return len;
}

static bool live_has_gap(const struct under_way *u)
{
    return u->live_offset + (int64_t)u->live.len != u->printed;
}

/* Passes on what has gathered, as text; the beginning of a character waits for its end. */
static void live_flush(struct runner *r, bool last)
{
    struct under_way *u = r->now;
    bool all = last || live_has_gap(u);
    size_t len = all ? u->live.len : whole_characters(u->live.data, u->live.len);
    AUTO_BUF struct buf text = BUF_INIT;
    for (size_t at = 0; at < len;) {
        bool valid;
        size_t next = text_utf8_next(u->live.data + at, len - at, &valid);
        if (valid && u->live.data[at] != '\0')
            buf_append(&text, u->live.data + at, next);
        else
            buf_puts(&text, TEXT_REPLACEMENT);
        at += next;
    }
    if (len == 0 || buf_check(&text, NULL) != ERR_OK)
        return;
    r->config.live(r->config.ctx, u->live_offset, text.data);
    u->live_begun = true;
    u->live_offset += (int64_t)len;
    buf_consume(&u->live, len);
}

static void live_alarm_fired(void *ctx)
{
    struct runner *r = ctx;
    if (r->now && r->now->live.len > 0)
        live_flush(r, false);
}

static void live_add(struct runner *r, const char *data, size_t len)
{
    struct under_way *u = r->now;
    if (u->live.len == 0)
        u->live_offset = u->printed;
    /* What follows a gap does not go into the same text. */
    size_t room = live_has_gap(u) ? 0 : RUNNER_LIVE_MAX - u->live.len;
    buf_append(&u->live, data, len < room ? len : room);
    if (!alarm_armed(&r->live_alarm))
        alarm_set(r->config.ticker, &r->live_alarm, RUNNER_LIVE_MS);
}

static void run_output(struct handler_run *run, const char *data, size_t len)
{
    struct runner *r = run->ctx;
    struct under_way *u = r->now;
    if (output_write(&u->kept, data, len, NULL) != ERR_OK)
        u->output_failed = true;
    live_add(r, data, len);
    u->printed += (int64_t)len;
}

/* ---- Operations -------------------------------------------------------------------------- */

static void under_way_free(struct under_way *u)
{
    if (!u)
        return;
    if (u->params)
        step_params_free(u->run.handler->type, u->params);
    output_done(&u->kept);
    buf_done(&u->live);
    mem_free(u);
}
DEFINE_CLEANUP(under_way_free, struct under_way)

static void run_done(struct handler_run *run, const struct handler_result *result)
{
    struct runner *r = run->ctx;
    AUTO_BUF struct buf text = BUF_INIT;
    alarm_stop(r->config.ticker, &r->live_alarm);
    /* Who has seen the beginning live sees the end too; else the kept text is enough. */
    if (r->now->live_begun && r->now->live.len > 0)
        live_flush(r, true);
    AUTO(under_way_free) struct under_way *u = TAKE(r->now);
    if (u->kept.total > 0)
        output_text(&u->kept, &text);
    if (u->output_failed)
        buf_puts(&text, "\n[some output was lost: out of memory]\n");
    const char *output = text.len > 0 ? text.data : NULL;
    if (buf_check(&text, NULL) != ERR_OK)
        output = "[all output was lost: out of memory]\n";
    r->config.done(r->config.ctx, result, output);
}

static PRINTF_LIKE(3, 4) void refuse(const struct runner *r, bool retryable, const char *fmt, ...)
{
    struct handler_result result = {.outcome = HANDLER_FAILED, .retryable = retryable};
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(result.message, sizeof(result.message), fmt, args);
    va_end(args);
    r->config.done(r->config.ctx, &result, NULL);
}

static enum error_code params_decode(struct under_way *u, const struct plan_step *step,
                                     struct error *err)
{
    struct problems ps = {0};
    enum error_code code =
        step_params_decode(u->run.handler->type, step->params_json, "params", &u->params, &ps, err);
    enum error_code found = problems_check(&ps, err);
    problems_done(&ps);
    return found != ERR_OK ? found : code;
}

void runner_start(struct runner *r, const struct runner_operation *op)
{
    assert(!r->now);
    struct error err = {0};
    const struct handler *handler = handler_find(op->step->type);
    if (!handler) {
        refuse(r, false, "this agent has no step type \"%s\"", op->step->type);
        return;
    }
    AUTO(under_way_free) struct under_way *u = MEM_NEW(struct under_way);
    if (!u) {
        refuse(r, true, "out of memory");
        return;
    }
    u->run = (struct handler_run){
        .host = r->config.host,
        .handler = handler,
        .operation = op->operation,
        .rollout = op->rollout,
        .step = op->step->name,
        .attempt = op->attempt,
        .reboots = op->reboots,
        .undo = op->undo ? op->undo : "{}",
        .undo_dir = op->undo_dir,
        .room = op->room,
        .force = op->force,
        .depends = op->depends_name ? op->depends : -1,
        .depends_name = op->depends_name,
        .output = run_output,
        .done = run_done,
        .ctx = r,
    };
    enum error_code code = params_decode(u, op->step, &err);
    if (code != ERR_OK) {
        refuse(r, code == ERR_NO_MEMORY, "%s", err.message);
        return;
    }
    u->run.params = u->params;
    r->now = TAKE(u);
    handler_start(&r->now->run);
}

void runner_cancel(struct runner *r)
{
    if (r->now)
        handler_cancel(&r->now->run);
}

void runner_clean(struct runner *r, const char *rollout, const char *step)
{
    char mark[HANDLER_MARK_MAX];
    handler_mark(r->config.host->server_id, rollout, step, mark);
    (void)process_kill_marked(mark);
    outputs_clean(mark);
}

bool runner_busy(const struct runner *r)
{
    return r->now != NULL;
}

/* ---- Life -------------------------------------------------------------------------------- */

enum error_code runner_new(const struct runner_config *config, struct runner **ret_runner,
                           struct error *err)
{
    struct runner *r = MEM_NEW(struct runner);
    if (!r)
        return error_set(err, ERR_NO_MEMORY, NULL);
    r->config = *config;
    r->live_alarm.fired = live_alarm_fired;
    r->live_alarm.ctx = r;
    *ret_runner = r;
    return ERR_OK;
}

void runner_free(struct runner *r)
{
    if (!r)
        return;
    assert(!r->now);
    alarm_stop(r->config.ticker, &r->live_alarm);
    mem_free(r);
}
