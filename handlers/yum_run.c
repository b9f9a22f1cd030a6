/* yum_run: the programs of a package step, one after the other: kitsune's rpm tool and dnf. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "handlers/program.h"
#include "handlers/rpm_tool.h"
#include "handlers/yum_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    OUTPUT_MAX = 16 * 1024 * 1024,
    OUTPUT_KEPT = 4 * 1024 * 1024, /* of dnf's */
    LOCK_RETRY_MS = 1000,
    DNF_LOCKED = 200, /* its exit status with exit_on_lock */
    /* rpm puts TERM off until its transaction is over, and a transaction that is killed leaves the
     * package database in between. */
    KILL_GRACE_MIN_MS = 60 * 1000
};

const char *yum_root(const struct yum *y)
{
    const char *root = y->params->installroot ? y->params->installroot : y->run->host->installroot;
    return root ? root : "/";
}

void yum_need_reboot(const struct yum *y)
{
    const struct reboot_need *need = y->run->host->reboot_need;
    if (!need || strcmp(yum_root(y), "/") != 0)
        return;
    yum_record_each_reboot(&y->record, need->add, need->ctx);
}

/* ---- Arguments --------------------------------------------------------------------------- */

void yum_args_add(struct yum_args *args, const char *fmt, ...)
{
    va_list ap;
    char *copy = NULL;
    char small[RPM_TEXT_MAX];
    va_start(ap, fmt);
    int len = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    void *items = mem_realloc(args->items.items, (args->items.count + 1) * sizeof(char *));
    if (items)
        args->items.items = items;
    if (items && len >= 0)
        copy = mem_alloc((size_t)len + 1);
    if (!copy) {
        args->failed = ERR_NO_MEMORY;
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(copy, (size_t)len + 1, fmt, ap);
    va_end(ap);
    *ARRAY_AT(&args->items, char *, args->items.count) = copy;
    args->items.count++;
}

void yum_args_done(struct yum_args *args)
{
    for (size_t i = 0; i < args->items.count; i++)
        mem_free(*ARRAY_AT(&args->items, char *, i));
    mem_free(args->items.items);
    *args = (struct yum_args){0};
}

void yum_tool_args(struct yum *y, const char *mode)
{
    yum_args_done(&y->args);
    y->is_tool = true;
    yum_args_add(&y->args, RPM_TOOL);
    yum_args_add(&y->args, "%s", mode);
}

static void repos_add(struct yum_args *args, const char *option, const struct array *repos)
{
    for (size_t i = 0; i < repos->count; i++)
        yum_args_add(args, "%s=%s", option, *ARRAY_AT(repos, char *, i));
}

void yum_dnf_args(struct yum *y, const char *go)
{
    yum_args_done(&y->args);
    y->is_tool = false;
    yum_args_add(&y->args, "%s", go);
    /* Tells what it would do, package by package. */
    yum_args_add(&y->args, "-v");
    if (strcmp(yum_root(y), "/") != 0)
        yum_args_add(&y->args, "--installroot=%s", yum_root(y));
    /* Says why a version cannot be had, where it would pass it over. */
    yum_args_add(&y->args, "--setopt=best=True");
    /* Takes no package away that the step does not name. */
    yum_args_add(&y->args, "--setopt=clean_requirements_on_remove=False");
    /* It would wait without an end. */
    yum_args_add(&y->args, "--setopt=exit_on_lock=True");
    yum_args_add(&y->args, "--setopt=deltarpm=False");
    repos_add(&y->args, "--disablerepo", &y->params->disable_repos);
    repos_add(&y->args, "--enablerepo", &y->params->enable_repos);
}

void yum_ask_args(struct yum *y)
{
    if (y->params->security)
        yum_args_add(&y->args, "--security");
    if (y->params->allow_erasing && y->plan.verb != YUM_REMOVE)
        yum_args_add(&y->args, "--allowerasing");
    yum_args_add(&y->args, "%s", yum_verb_names[y->plan.verb]);
    for (size_t i = 0; i < y->plan.specs.count; i++)
        yum_args_add(&y->args, "%s", *ARRAY_AT(&y->plan.specs, char *, i));
}

/* ---- A run ------------------------------------------------------------------------------- */

struct yum *yum_new(struct handler_run *run, enum yum_verb type)
{
    struct yum *y = MEM_NEW(struct yum);
    if (!y) {
        handler_fail(run, true, "out of memory");
        return NULL;
    }
    y->run = run;
    y->params = run->params;
    y->type = type;
    y->output = (struct buf){.max = OUTPUT_MAX};
    run->state = y;
    int rc = uv_timer_init(run->host->loop, &y->timer);
    assert(rc == 0);
    y->timer.data = y;
    return y;
}

static void timer_closed(uv_handle_t *handle)
{
    struct yum *y = handle->data;
    struct handler_run *run = y->run;
    struct handler_result result = y->result;
    yum_args_done(&y->args);
    buf_done(&y->output);
    yum_plan_done(&y->plan);
    yum_record_done(&y->record);
    rpm_set_done(&y->first);
    rpm_set_done(&y->now);
    run->state = NULL;
    mem_free(y);
    handler_finish(run, &result);
}

void yum_finish(struct yum *y, struct handler_result *result)
{
    assert(!y->process);
    y->result = *result;
    y->result.changed = y->result.changed || y->changed;
    if (y->cancelled)
        y->result.outcome = HANDLER_CANCELLED;
    uv_close((uv_handle_t *)&y->timer, timer_closed);
}

void yum_fail_error(struct yum *y, const struct error *err)
{
    struct handler_result result = {0};
    result_fail_error(&result, err);
    yum_finish(y, &result);
}

/* ---- What a program said ----------------------------------------------------------------- */

struct reason {
    const char *text;
    size_t len;
};

/* What is worth telling of a line that begins as dnf's errors do. */
static bool line_tells(const char *line, size_t len, struct reason *ret_reason)
{
    static const char error[] = "Error: ", problem[] = " Problem";
    if (len > sizeof(error) && memcmp(line, error, sizeof(error) - 1) == 0) {
        *ret_reason = (struct reason){line + sizeof(error) - 1, len - (sizeof(error) - 1)};
        return true;
    }
    if (len > sizeof(problem) && memcmp(line, problem, sizeof(problem) - 1) == 0) {
        *ret_reason = (struct reason){line + 1, len - 1};
        return true;
    }
    return false;
}

/* The last line that tells, else the last one that is not empty. */
static struct reason reason_find(const struct buf *output)
{
    struct reason found = {NULL, 0}, last = {NULL, 0};
    for (const char *at = output->data, *end = at + output->len; at && at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = newline ? (size_t)(newline - at) : (size_t)(end - at);
        while (len > 0 && at[len - 1] == ' ')
            len--;
        if (!line_tells(at, len, &found) && len > 0)
            last = (struct reason){at, len};
        at = newline ? newline + 1 : end;
    }
    return found.text ? found : last;
}

void yum_reason(const struct yum *y, char ret_line[YUM_LINE_MAX])
{
    const struct reason reason = reason_find(&y->output);
    ret_line[0] = '\0';
    if (!reason.text || !text_utf8_valid(reason.text, reason.len, NULL))
        return;
    size_t len = text_utf8_cut(reason.text, reason.len, YUM_LINE_MAX - 1);
    memcpy(ret_line, reason.text, len);
    ret_line[len] = '\0';
}

bool yum_ended_well(const struct yum *y)
{
    return y->end.signal == 0 && y->end.exit_code == 0;
}

void yum_fail_program(struct yum *y, const char *what)
{
    char line[YUM_LINE_MAX], end[PROGRAM_END_MAX];
    struct handler_result result = {0};
    yum_reason(y, line);
    program_end_text(y->end.exit_code, y->end.signal, end);
    if (y->is_tool && y->end.signal == 0 && line[0] != '\0') {
        result_fail(&result, true, "%s", line);
    } else {
        result.has_exit_code = y->end.signal == 0;
        result.exit_code = y->end.exit_code;
        result_fail(&result, true, "%s %s: %s%s%s", y->is_tool ? "rpm" : y->program, what, end,
                    line[0] != '\0' ? ": " : "", line);
    }
    yum_finish(y, &result);
}

enum error_code yum_set_read(struct yum *y, struct rpm_set *ret_set, struct error *err)
{
    char line[YUM_LINE_MAX], end[PROGRAM_END_MAX];
    rpm_set_done(ret_set);
    if (y->end.signal == 0 && y->end.exit_code == 0)
        return json_read(y->output.data ? y->output.data : "", y->output.len, OUTPUT_MAX,
                         &rpm_set_table, ret_set, err);
    yum_reason(y, line);
    program_end_text(y->end.exit_code, y->end.signal, end);
    return error_set(err, ERR_IO, "%s", y->end.signal == 0 && line[0] != '\0' ? line : end);
}

/* ---- Programs ---------------------------------------------------------------------------- */

static void program_begin(struct yum *y);

static void lock_retry(uv_timer_t *timer)
{
    struct yum *y = timer->data;
    program_begin(y);
}

/* Whether it is started again, since others hold dnf's lock. */
static bool lock_wait(struct yum *y)
{
    static const char waiting[] = "waiting for another dnf, which holds the lock\n";
    uint64_t now = uv_now(y->run->host->loop);
    if (y->is_tool || y->cancelled || y->end.signal != 0 || y->end.exit_code != DNF_LOCKED)
        return false;
    if (y->lock_until_ms == 0) {
        y->lock_until_ms = now + (uint64_t)y->params->lock_timeout_ms;
        y->run->output(y->run, waiting, sizeof(waiting) - 1);
    }
    if (now >= y->lock_until_ms)
        return false;
    int rc = uv_timer_start(&y->timer, lock_retry, LOCK_RETRY_MS, 0);
    assert(rc == 0);
    return true;
}

static void program_output(void *ctx, const char *data, size_t len)
{
    struct yum *y = ctx;
    if (y->is_tool || y->output.len < OUTPUT_KEPT)
        buf_append(&y->output, data, len);
    if (y->is_shown)
        y->run->output(y->run, data, len);
}

static void program_exited(void *ctx, int64_t exit_code, int signal)
{
    struct yum *y = ctx;
    y->process = NULL;
    y->end = (struct yum_end){exit_code, signal};
    if (y->cancelled)
        yum_fail_program(y, "was cancelled");
    else if (!lock_wait(y))
        y->next(y);
}

static enum error_code program_try(struct yum *y, const char *const *args, struct error *err)
{
    const struct handler_run *run = y->run;
    const char *yum_program = run->host->yum_program;
    const char *const names[] = {y->is_tool    ? "/proc/self/exe"
                                 : yum_program ? yum_program
                                               : "dnf",
                                 y->is_tool || yum_program ? NULL : "yum"};
    /* Messages and names of files come as UTF-8 and in English, whatever the agent's locale is, and
     * errors in their place among the other lines. */
    const char *const env[] = {"LC_ALL=C.UTF-8", "PYTHONUNBUFFERED=1", NULL};
    int64_t grace_ms = run->host->kill_grace_ms;
    char mark[HANDLER_MARK_MAX];
    handler_mark(run->host->server_id, run->rollout, run->step, mark);
    struct process_config config = {
        .loop = run->host->loop,
        .args = args,
        .env = env,
        .mark = mark,
        .kill_grace_ms = grace_ms > KILL_GRACE_MIN_MS ? grace_ms : KILL_GRACE_MIN_MS,
        .linger_ms = grace_ms,
        .ctx = y,
        .output = program_output,
        .exited = program_exited,
    };
    enum error_code code = ERR_NOT_FOUND;
    for (size_t i = 0; i < ARRAY_LEN(names) && names[i] && code == ERR_NOT_FOUND; i++) {
        config.program = y->program = names[i];
        code = process_start(&config, &y->process, err);
    }
    return code;
}

static void program_begin(struct yum *y)
{
    struct error err = {0};
    const struct array *items = &y->args.items;
    AUTO_FREE const char **args = mem_array(items->count + 1, sizeof(*args));
    buf_clear(&y->output);
    if (!args || y->args.failed != ERR_OK) {
        error_ignore(error_set(&err, ERR_NO_MEMORY, NULL));
        yum_fail_error(y, &err);
        return;
    }
    for (size_t i = 0; i < items->count; i++)
        args[i] = *ARRAY_AT(items, char *, i);
    if (program_try(y, args, &err) != ERR_OK)
        yum_fail_error(y, &err);
}

void yum_tool_start(struct yum *y, void (*next)(struct yum *y))
{
    y->is_shown = false;
    y->next = next;
    program_begin(y);
}

void yum_shown_start(struct yum *y, void (*next)(struct yum *y))
{
    y->is_shown = true;
    y->lock_until_ms = 0;
    y->next = next;
    program_begin(y);
}

void yum_cancel(struct handler_run *run)
{
    struct yum *y = run->state;
    if (!y || y->cancelled)
        return;
    y->cancelled = true;
    if (y->process) {
        process_kill(y->process);
    } else if (uv_is_active((uv_handle_t *)&y->timer)) {
        struct handler_result result = {0};
        (void)uv_timer_stop(&y->timer);
        result_fail(&result, false, "cancelled");
        yum_finish(y, &result);
    }
}
