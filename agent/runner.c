#include "agent/runner.h"

#include "agent/mask.h"
#include "agent/secrets.h"
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/output.h"
#include "common/base/problems.h"
#include "common/base/text.h"
#include "common/values/value_json.h"
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
    struct secrets *secrets; /* NULL: the plan has none */
    struct mask *mask;       /* NULL: there is no secret */
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

static void output_add(void *ctx, const char *data, size_t len)
{
    struct runner *r = ctx;
    struct under_way *u = r->now;
    if (output_write(&u->kept, data, len, NULL) != ERR_OK)
        u->output_failed = true;
    live_add(r, data, len);
    u->printed += (int64_t)len;
}

static void run_output(struct handler_run *run, const char *data, size_t len)
{
    struct runner *r = run->ctx;
    const struct mask_sink sink = {output_add, r};
    if (r->now->mask)
        mask_write(r->now->mask, data, len, &sink);
    else
        output_add(r, data, len);
}

/* ---- Without secrets --------------------------------------------------------------------- */

static void message_mask(struct mask *m, struct handler_result *result)
{
    AUTO_BUF struct buf text = BUF_INIT;
    size_t len = strlen(result->message);
    mask_text(m, result->message, len + 8 > sizeof(result->message), &text);
    if (buf_check(&text, NULL) == ERR_OK)
        (void)snprintf(result->message, sizeof(result->message), "%s", text.data ? text.data : "");
    else
        (void)snprintf(result->message, sizeof(result->message), "out of memory");
}

/* Each value by itself: as JSON, a secret could be written in another way. */
static enum error_code outputs_mask(struct mask *m, const struct value_set *set, struct buf *out,
                                    struct error *err)
{
    for (size_t i = 0; i < value_set_count(set); i++) {
        AUTO_BUF struct buf name = BUF_INIT;
        AUTO_BUF struct buf text = BUF_INIT;
        struct value v;
        const char *given = value_set_at(set, i, &v);
        mask_text(m, given, false, &name);
        mask_text(m, v.text ? v.text : "", false, &text);
        if (buf_check(&name, err) != ERR_OK || buf_check(&text, err) != ERR_OK)
            return err->code;
        if (strcmp(name.data ? name.data : "", given) != 0)
            return error_set(err, ERR_INVALID, "the name of an output has a secret in it");
        buf_puts(out, i == 0 ? "{" : ",");
        json_write_string(out, given, strlen(given));
        buf_putc(out, ':');
        if (v.kind == VALUE_TEXT)
            json_write_string(out, text.data ? text.data : "", text.len);
        else
            value_write_json(&v, out);
    }
    buf_puts(out, value_set_count(set) > 0 ? "}" : "");
    return buf_check(out, err);
}

/* What cannot be masked is not handed on. */
static void result_mask(struct mask *m, struct handler_result *result, struct buf *outputs)
{
    struct value_set *set = NULL;
    struct error err = {0};
    message_mask(m, result);
    if (!result->outputs)
        return;
    enum error_code code = value_set_read_json(result->outputs, &set, &err);
    if (code == ERR_OK)
        code = outputs_mask(m, set, outputs, &err);
    value_set_free(set);
    result->outputs = code == ERR_OK && outputs->len > 0 ? outputs->data : NULL;
    if (code == ERR_OK)
        return;
    result->outcome = HANDLER_FAILED;
    result->retryable = code == ERR_NO_MEMORY;
    (void)snprintf(result->message, sizeof(result->message), "%s", err.message);
}

/* ---- Operations -------------------------------------------------------------------------- */

static void under_way_free(struct under_way *u)
{
    if (!u)
        return;
    if (u->params)
        step_params_free(u->run.handler->type, u->params);
    mask_free(u->mask);
    secrets_free(u->secrets);
    output_done(&u->kept);
    buf_done(&u->live);
    mem_free(u);
}
DEFINE_CLEANUP(under_way_free, struct under_way)

static void run_done(struct handler_run *run, const struct handler_result *result)
{
    struct runner *r = run->ctx;
    AUTO_BUF struct buf text = BUF_INIT;
    AUTO_BUF struct buf outputs = BUF_INIT;
    struct handler_result told = *result;
    const struct mask_sink sink = {output_add, r};
    if (r->now->mask) {
        mask_end(r->now->mask, &sink);
        result_mask(r->now->mask, &told, &outputs);
    }
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
    r->config.done(r->config.ctx, &told, output);
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

/* What is wrong with a value that has a secret in it is not quoted. */
static enum error_code params_decode(struct under_way *u, const char *json, bool secret,
                                     struct error *err)
{
    struct problems ps = {0};
    enum error_code code =
        step_params_decode(u->run.handler->type, json, "params", &u->params, &ps, err);
    enum error_code found = problems_check(&ps, err);
    if (found == ERR_INVALID && secret)
        error_set(err, found, "%s: not right with its secrets filled in",
                  ps.count > 0 ? ps.items[0].path : "params");
    problems_done(&ps);
    return found != ERR_OK ? found : code;
}

/* Undoing a step needs what doing it needed. */
static enum error_code secret_missing(const struct runner_operation *op, enum error_code code,
                                      struct error *err)
{
    if (op->operation == HANDLER_ROLLBACK && code != ERR_NO_MEMORY)
        return error_set(
            err, code, "%.200s; nothing was undone: see to it that it can be had, then undo again",
            err->message);
    return code;
}

static enum error_code secrets_decode(struct under_way *u, const struct runner_operation *op,
                                      struct error *err)
{
    AUTO_FREE char *filled = NULL;
    enum error_code code = secrets_find(op->secrets, op->planned, &u->secrets, err);
    if (code != ERR_OK)
        return secret_missing(op, code, err);
    u->run.secret = secrets_used(u->secrets);
    code = secrets_mask(u->secrets, &u->mask, err);
    if (code == ERR_OK && u->run.secret)
        code =
            secrets_fill(u->secrets, op->planned, op->step->params_json, op->values, &filled, err);
    if (code != ERR_OK)
        return code;
    return params_decode(u, filled ? filled : op->step->params_json, u->run.secret, err);
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
    enum error_code code = op->secrets ? secrets_decode(u, op, &err)
                                       : params_decode(u, op->step->params_json, false, &err);
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
