/* script: the operations of the handler. script_setup.c has what is made before a program can be
 * started: the user, the control group, standard input, the text. */
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "handlers/builtin.h"
#include "handlers/outputs.h"
#include "handlers/program.h"
#include "handlers/script_setup.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    COMMAND_SHOWN_MAX = 400, /* bytes of a command line in a message */
    EXIT_REBOOT = 194        /* asks for a reboot; the agents of AWS Systems Manager take it so */
};

struct script {
    struct handler_run *run;
    uv_work_t request;
    struct script_setup setup;
    struct outputs outputs;
    enum error_code ready; /* what making the setup came to */
    struct error err;
    struct process *process;
    bool checking; /* check_script runs */
    bool cancelled;
    struct handler_result result; /* while the control group is ended */
};

static void script_start(struct script *s);

static const struct script_params *params_of(const struct script *s)
{
    return s->run->params;
}

static void pool_run(struct script *s, uv_work_cb work, uv_after_work_cb over)
{
    int rc = uv_queue_work(s->run->host->loop, &s->request, work, over);
    assert(rc == 0);
}

/* ---- Ends -------------------------------------------------------------------------------- */

static void script_free(struct script *s)
{
    struct handler_run *run = s->run;
    struct handler_result result = s->result;
    if (s->cancelled)
        result.outcome = HANDLER_CANCELLED;
    run->state = NULL;
    outputs_close(&s->outputs);
    script_setup_done(&s->setup);
    mem_free(s);
    handler_finish(run, &result);
}

static void end_work(uv_work_t *request)
{
    struct script *s = request->data;
    script_setup_end(&s->setup);
}

static void end_over(uv_work_t *request, int status)
{
    struct script *s = request->data;
    static const char left[] = "\nthe control group of this step could not be removed\n";
    assert(status == 0);
    if (s->setup.group_left)
        s->run->output(s->run, left, sizeof(left) - 1);
    if (s->setup.out_of_memory && s->result.outcome == HANDLER_FAILED) {
        size_t len = strlen(s->result.message);
        (void)snprintf(s->result.message + len, sizeof(s->result.message) - len,
                       "; its memory limit was reached");
    }
    script_free(s);
}

static void script_finish(struct script *s, const struct handler_result *result)
{
    s->result = *result;
    if (script_setup_has_group(&s->setup))
        pool_run(s, end_work, end_over);
    else
        script_free(s);
}

/* ---- What would be run ------------------------------------------------------------------- */

/* As a person would type it, so that what is one argument is seen to be one. */
static void put_word(struct buf *b, const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "%+,-./:=@_";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        buf_puts(b, word);
        return;
    }
    buf_putc(b, '\'');
    for (; *word; word++) {
        if (*word == '\'')
            buf_puts(b, "'\\''");
        else
            buf_putc(b, *word);
    }
    buf_putc(b, '\'');
}

static void command_write(const struct script_params *params, struct buf *b)
{
    if (params->script)
        put_word(b, params->script);
    else
        buf_printf(b, "a text of %zu bytes", strlen(params->inline_text));
    for (size_t i = 0; i < params->args.count; i++) {
        buf_putc(b, ' ');
        put_word(b, *ARRAY_AT(&params->args, char *, i));
    }
    if (params->user)
        buf_printf(b, " (as %s)", params->user);
}

/* That the script would run. The whole command is printed where the message has no room for it, and
 * a text always. */
static void would_run(struct script *s, const char *why)
{
    const struct script_params *params = params_of(s);
    AUTO_BUF struct buf command = BUF_INIT;
    struct handler_result result = {0};
    command_write(params, &command);
    if (buf_check(&command, NULL) != ERR_OK) {
        result_fail(&result, true, "out of memory");
        script_finish(s, &result);
        return;
    }
    size_t len = text_utf8_cut(command.data, command.len, COMMAND_SHOWN_MAX);
    bool cut = len < command.len;
    result_succeed(&result, true, "would run: %.*s%s%s", (int)len, command.data, cut ? "..." : "",
                   why);
    buf_putc(&command, '\n');
    if (cut && buf_check(&command, NULL) == ERR_OK)
        s->run->output(s->run, command.data, command.len);
    if (params->inline_text)
        s->run->output(s->run, params->inline_text, strlen(params->inline_text));
    script_finish(s, &result);
}

/* ---- Ends of programs -------------------------------------------------------------------- */

/* check_script has ended. */
static void checked(struct script *s, int64_t exit_code, int signal)
{
    char text[PROGRAM_END_MAX];
    struct handler_result result = {.has_exit_code = signal == 0, .exit_code = exit_code};
    const char *name = params_of(s)->check_script ? "check_script" : "checkInline";
    program_end_text(exit_code, signal, text);
    s->checking = false;
    if (signal != 0 || s->cancelled) {
        result_fail(&result, true, "%s: %s", name, text);
        script_finish(s, &result);
    } else if (exit_code == 0) {
        result_succeed(&result, false, "nothing to do: %s: %s", name, text);
        script_finish(s, &result);
    } else if (s->run->operation == HANDLER_CHECK) {
        would_run(s, "");
    } else {
        script_start(s);
    }
}

static bool is_success(const struct script_params *params, int64_t exit_code)
{
    const struct array *codes = &params->success_exit_codes;
    for (size_t i = 0; i < codes->count; i++) {
        if (*ARRAY_AT(codes, int64_t, i) == exit_code)
            return true;
    }
    return codes->count == 0 && exit_code == 0;
}

/* What cannot be understood must not be missing later without a word. */
static void take_outputs(struct script *s, struct handler_result *result)
{
    struct error err = {0};
    if (outputs_read(&s->outputs, &result->outputs, &err) != ERR_OK)
        result_fail_error(result, &err);
}

static void ended(struct script *s, int64_t exit_code, int signal)
{
    char text[PROGRAM_END_MAX];
    struct handler_result result = {.has_exit_code = signal == 0, .exit_code = exit_code};
    program_end_text(exit_code, signal, text);
    bool executes = s->run->operation == HANDLER_EXECUTE;
    if (signal == 0 && is_success(params_of(s), exit_code))
        result_succeed(&result, true, "%s", text);
    else if (signal == 0 && exit_code == EXIT_REBOOT && executes && !s->cancelled)
        result_succeed(&result, true, "%s: it goes on after a reboot", text);
    else
        result_fail(&result, true, "%s", text);
    result.reboot = result.outcome == HANDLER_OK && !is_success(params_of(s), exit_code);
    if (result.outcome == HANDLER_OK && !result.reboot)
        take_outputs(s, &result);
    script_finish(s, &result);
}

/* ---- Programs ---------------------------------------------------------------------------- */

static void script_output(void *ctx, const char *data, size_t len)
{
    const struct script *s = ctx;
    s->run->output(s->run, data, len);
}

static void script_exited(void *ctx, int64_t exit_code, int signal)
{
    struct script *s = ctx;
    s->process = NULL;
    if (s->checking)
        checked(s, exit_code, signal);
    else
        ended(s, exit_code, signal);
}

/* The program or the text that is due. */
static struct script_source source_of(const struct script *s)
{
    const struct script_params *params = params_of(s);
    if (s->checking)
        return (struct script_source){params->check_script, params->check_inline};
    if (s->run->operation == HANDLER_ROLLBACK)
        return (struct script_source){params->rollback_script, params->rollback_inline};
    return (struct script_source){params->script, params->inline_text};
}

static enum error_code outputs_begin(struct script *s, struct program *what, struct error *err)
{
    const struct account *user = s->setup.process.user;
    char mark[HANDLER_MARK_MAX];
    handler_mark(s->run->host->server_id, s->run->rollout, s->run->step, mark);
    what->output_path = s->outputs.path;
    return outputs_open(&s->outputs, mark, user ? user->uid : (uid_t)-1, err);
}

static enum error_code program_begin(struct script *s, struct error *err)
{
    const struct script_params *params = params_of(s);
    const struct script_source source = source_of(s);
    AUTO_FREE void *items = NULL;
    struct program what = {
        .args = &params->args,
        .env = &params->env,
        .cwd = params->cwd,
        .is_check = s->checking,
        .ctx = s,
        .output = script_output,
        .exited = script_exited,
    };
    enum error_code code = script_setup_program(&s->setup, params, &source, &what, err);
    if (code == ERR_OK && s->run->operation == HANDLER_EXECUTE && !s->checking)
        code = outputs_begin(s, &what, err);
    if (code != ERR_OK)
        return code;
    struct array args = {0};
    if (s->setup.has_interpreter) {
        code = script_setup_args(&params->args, &items, &args, err);
        if (code != ERR_OK)
            return code;
        what.args = &args;
    }
    return program_start(s->run, &what, &s->process, err);
}

static void script_start(struct script *s)
{
    struct error err = {0};
    struct handler_result result = {0};
    if (program_begin(s, &err) == ERR_OK)
        return;
    if (s->checking)
        (void)error_wrap(&err, "check_script");
    result_fail_error(&result, &err);
    script_finish(s, &result);
}

/* ---- Before the first program ------------------------------------------------------------ */

static void ready_work(uv_work_t *request)
{
    struct script *s = request->data;
    s->ready = script_setup_make(s->run, &s->setup, &s->err);
}

static void ready_over(uv_work_t *request, int status)
{
    struct script *s = request->data;
    struct handler_result result = {0};
    assert(status == 0);
    if (s->ready != ERR_OK)
        result_fail_error(&result, &s->err);
    else if (s->cancelled)
        result_fail(&result, true, "cancelled");
    if (result.outcome == HANDLER_FAILED) {
        script_finish(s, &result);
        return;
    }
    if (s->run->operation == HANDLER_PREPARE) {
        result_succeed(&result, false, "nothing to do");
        script_finish(s, &result);
        return;
    }
    if (s->setup.limits_text[0] != '\0')
        s->run->output(s->run, s->setup.limits_text, strlen(s->setup.limits_text));
    script_start(s);
}

static void script_begin(struct script *s)
{
    if (script_setup_is_needed(params_of(s)))
        pool_run(s, ready_work, ready_over);
    else
        script_start(s);
}

/* ---- The operations ---------------------------------------------------------------------- */

/* NULL: memory is out, and the run is over. */
static struct script *script_new(struct handler_run *run)
{
    struct script *s = MEM_NEW(struct script);
    if (!s) {
        handler_fail(run, true, "out of memory");
        return NULL;
    }
    script_setup_init(&s->setup);
    s->outputs = OUTPUTS_INIT;
    s->run = run;
    s->request.data = s;
    run->state = s;
    return s;
}

static bool has_check(const struct script_params *params)
{
    return params->check_script || params->check_inline;
}

/* A user that does not exist is told before anything is changed. */
static void script_prepare(struct handler_run *run)
{
    const struct script_params *params = run->params;
    struct script *s = NULL;
    if (!params->user) {
        handler_nothing(run);
        return;
    }
    s = script_new(run);
    if (s)
        pool_run(s, ready_work, ready_over);
}

static void script_execute(struct handler_run *run)
{
    struct script *s = script_new(run);
    if (!s)
        return;
    s->checking = has_check(run->params);
    script_begin(s);
}

static void script_rollback(struct handler_run *run)
{
    const struct script_params *params = run->params;
    if (!params->rollback_script && !params->rollback_inline) {
        handler_succeed(run, false, "nothing to undo with: the step has no rollback_script");
        return;
    }
    struct script *s = script_new(run);
    if (s)
        script_begin(s);
}

static void script_check(struct handler_run *run)
{
    struct script *s = script_new(run);
    if (!s)
        return;
    s->checking = has_check(run->params);
    if (s->checking)
        script_begin(s);
    else
        would_run(s, " (what it changes is not known: no check_script)");
}

static void script_cancel(struct handler_run *run)
{
    struct script *s = run->state;
    if (!s)
        return;
    /* What runs on the pool is over soon. */
    s->cancelled = true;
    if (s->process)
        process_kill(s->process);
}

const struct handler script_handler = {
    .type = &script_type,
    .prepare = script_prepare,
    .execute = script_execute,
    .rollback = script_rollback,
    .check = script_check,
    .cancel = script_cancel,
};
