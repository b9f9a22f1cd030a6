#include "handlers/service_run.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "handlers/builtin.h"
#include "handlers/unit_links.h"
#include "handlers/unit_log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { CANCEL_WAIT_MS = 5000, STATES_MAX = 128 };

const struct service_params *service_params_of(const struct service_run *s)
{
    return s->run->params;
}

void service_say(struct service_run *s, const char *fmt, ...)
{
    char line[2048];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    size_t shown = len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1;
    if (len > 0)
        s->run->output(s->run, line, shown);
}

/* ---- The end ----------------------------------------------------------------------------- */

static void service_free(struct service_run *s)
{
    unit_done(&s->unit);
    unit_done(&s->before);
    json_release(&service_capture_table, &s->capture);
    mem_free(s);
}

static void handle_gone(struct service_run *s)
{
    if (--s->handles > 0)
        return;
    struct handler_run *run = s->run;
    struct handler_result result = s->result;
    run->state = NULL;
    service_free(s);
    handler_finish(run, &result);
}

static void timer_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void systemd_closed(void *ctx)
{
    handle_gone(ctx);
}

void service_end(struct service_run *s)
{
    assert(!s->ending);
    s->ending = true;
    if (s->cancelled)
        s->result.outcome = HANDLER_CANCELLED;
    if (s->log)
        offload_abandon(TAKE(s->log));
    s->handles = s->systemd ? 2 : 1;
    if (s->systemd)
        systemd_close(TAKE(s->systemd), systemd_closed, s);
    uv_close((uv_handle_t *)&s->timer, timer_closed);
}

void service_fail(struct service_run *s, const struct error *err)
{
    result_fail_error(&s->result, err);
    service_end(s);
}

/* ---- Stages ------------------------------------------------------------------------------ */

static void timer_fired(uv_timer_t *timer)
{
    struct service_run *s = timer->data;
    s->timer_fired(s);
}

static void timer_arm(struct service_run *s, int64_t delay_ms, void (*fired)(struct service_run *s))
{
    s->timer_fired = fired;
    uv_update_time(s->run->host->loop);
    int rc = uv_timer_start(&s->timer, timer_fired, (uint64_t)delay_ms, 0);
    assert(rc == 0);
}

static void stage_over(void *ctx, const struct error *err)
{
    struct service_run *s = ctx;
    if (err)
        service_fail(s, err);
    else
        s->then(s);
}

static struct systemd_reply stage_reply(struct service_run *s, void (*then)(struct service_run *s))
{
    s->then = then;
    return (struct systemd_reply){stage_over, s};
}

void service_read(struct service_run *s, void (*then)(struct service_run *s))
{
    struct error err = {0};
    if (systemd_unit_read(s->systemd, s->name, &s->unit, stage_reply(s, then), &err) != ERR_OK)
        service_fail(s, &err);
}

void service_reload(struct service_run *s, void (*then)(struct service_run *s))
{
    struct error err = {0};
    s->reloaded = true;
    if (systemd_reload(s->systemd, stage_reply(s, then), &err) != ERR_OK)
        service_fail(s, &err);
}

void service_reset_failed(struct service_run *s, void (*then)(struct service_run *s))
{
    struct error err = {0};
    if (systemd_reset_failed(s->systemd, s->name, stage_reply(s, then), &err) != ERR_OK)
        service_fail(s, &err);
}

/* What to go on with once the unit is known as it is on disk; service_read uses `then`. */
static void read_again(struct service_run *s)
{
    service_read(s, s->fresh_then);
}

static void read_first(struct service_run *s)
{
    /* A unit whose file is new may not be known yet. */
    if (!s->reloaded && (s->unit.need_reload || !unit_exists(&s->unit)))
        service_reload(s, read_again);
    else
        s->fresh_then(s);
}

void service_read_fresh(struct service_run *s, void (*then)(struct service_run *s))
{
    s->fresh_then = then;
    service_read(s, read_first);
}

/* ---- Enabling ---------------------------------------------------------------------------- */

static void enabled(struct service_run *s)
{
    struct error err = {0};
    const struct service_params *params = service_params_of(s);
    service_say(s, "%s", s->enabling.lines);
    /* Whoever is told may have cancelled. */
    if (s->ending)
        return;
    s->changed = s->changed || s->enabling.changes > 0;
    if (params->enabled && !s->enabling.installable) {
        (void)error_set(&err, ERR_UNSUPPORTED,
                        "%s cannot be enabled: its file has no [Install] section", s->unit.id);
        service_fail(s, &err);
        return;
    }
    service_reload(s, s->enabled_then);
}

void service_enable(struct service_run *s, void (*then)(struct service_run *s))
{
    struct error err = {0};
    enum error_code code;
    const char *unit = s->unit.id;
    struct systemd_reply reply = stage_reply(s, enabled);
    s->enabled_then = then;
    if (service_params_of(s)->enabled)
        code = systemd_enable(s->systemd, unit, &s->enabling, reply, &err);
    else
        code = systemd_disable(s->systemd, unit, strcmp(s->unit.file_state, "enabled-runtime") == 0,
                               &s->enabling, reply, &err);
    if (code != ERR_OK)
        service_fail(s, &err);
}

/* ---- Why it failed ----------------------------------------------------------------------- */

struct log_job {
    struct service_run *service;
    char unit[UNIT_NAME_MAX + 1];
    uint64_t since_usec;
    struct buf lines;
};

static void log_work(void *job)
{
    struct log_job *log = job;
    unit_log_read(log->unit, log->since_usec, &log->lines);
}

static void log_done(void *job)
{
    struct log_job *log = job;
    struct service_run *s = log->service;
    s->log = NULL;
    if (log->lines.len > 0 && buf_check(&log->lines, NULL) == ERR_OK) {
        service_say(s, "the last lines of its log:\n");
        s->run->output(s->run, log->lines.data, log->lines.len);
    }
    if (!s->ending)
        service_fail(s, &s->failure);
}

static void log_free(void *job)
{
    struct log_job *log = job;
    buf_done(&log->lines);
    mem_free(log);
}

/* systemd notes when a unit began only once its program runs, and may by then have said why it
 * cannot. */
static uint64_t log_since(const struct service_run *s)
{
    bool ours = s->asked_usec > 0 && s->asked_usec < s->unit.began_usec;
    return ours ? s->asked_usec : s->unit.began_usec;
}

static uint64_t now_usec(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static bool log_start(struct service_run *s)
{
    static const struct offload_job what = {log_work, log_done, log_free};
    struct log_job *log = s->unit.began_usec > 0 ? MEM_NEW(struct log_job) : NULL;
    if (!log)
        return false;
    log->service = s;
    memcpy(log->unit, s->unit.id, sizeof(log->unit));
    log->since_usec = log_since(s);
    if (offload_start(s->run->host->loop, &what, log, &s->log, NULL) == ERR_OK)
        return true;
    log_free(log);
    return false;
}

static void failure_explain(struct service_run *s)
{
    char states[UNIT_ENDING_MAX];
    unit_ending_text(&s->unit, states);
    service_say(s, "%s is %s, %s%s\n", s->unit.id, s->unit.active_state, s->unit.sub_state, states);
    if (!s->ending && !log_start(s))
        service_fail(s, &s->failure);
}

/* The failure is known; this is about its reason, so what goes wrong here is not told. */
static void failure_read(void *ctx, const struct error *err)
{
    struct service_run *s = ctx;
    if (err)
        service_fail(s, &s->failure);
    else
        failure_explain(s);
}

static void failure_begin(struct service_run *s, const struct error *err)
{
    s->failure = *err;
    if (systemd_unit_read(s->systemd, s->name, &s->unit, (struct systemd_reply){failure_read, s},
                          NULL) != ERR_OK)
        service_fail(s, &s->failure);
}

/* ---- Jobs -------------------------------------------------------------------------------- */

static void job_look(struct service_run *s, const struct unit *before)
{
    struct error err = {0};
    if (unit_verdict(&s->unit, s->job, before, &err) != ERR_OK) {
        s->failure = err;
        failure_explain(s);
        return;
    }
    service_say(s, "%s: %s is %s, %s\n", unit_job_names[s->job], s->unit.id, s->unit.active_state,
                s->unit.sub_state);
    if (!s->ending)
        s->job_then(s);
}

static void job_settled(struct service_run *s)
{
    job_look(s, &s->before);
}

static void settle_over(struct service_run *s)
{
    service_read(s, job_settled);
}

static void job_read(struct service_run *s)
{
    int64_t settle_ms = unit_settle_ms(&s->unit, s->job, service_params_of(s));
    if (settle_ms == 0) {
        job_look(s, NULL);
        return;
    }
    unit_done(&s->before);
    s->before = s->unit;
    s->unit = (struct unit){0};
    timer_arm(s, settle_ms, settle_over);
}

static void job_over(void *ctx, const struct error *err)
{
    struct service_run *s = ctx;
    (void)uv_timer_stop(&s->timer);
    if (err)
        failure_begin(s, err);
    else
        service_read(s, job_read);
}

static void job_called_off(void *ctx, const struct error *err)
{
    struct service_run *s = ctx;
    struct error late = {0};
    char limit[CLOCK_TEXT_MAX];
    (void)err;
    duration_format(service_params_of(s)->timeout_ms, limit);
    (void)error_set(&late, ERR_TIMEOUT, "the %s of %s took longer than %s and was called off",
                    unit_job_names[s->job], s->name, limit);
    failure_begin(s, &late);
}

static void job_late(struct service_run *s)
{
    struct error err = {0};
    if (systemd_job_cancel(s->systemd, (struct systemd_reply){job_called_off, s}))
        return;
    (void)error_set(&err, ERR_TIMEOUT, "systemd does not answer");
    service_fail(s, &err);
}

static void job_begin(struct service_run *s)
{
    struct error err = {0};
    int64_t timeout_ms = service_params_of(s)->timeout_ms;
    s->asked_usec = now_usec();
    if (systemd_job_run(s->systemd, s->job, s->name, (struct systemd_reply){job_over, s}, &err) !=
        ERR_OK) {
        service_fail(s, &err);
        return;
    }
    s->changed = true;
    if (timeout_ms > 0)
        timer_arm(s, timeout_ms, job_late);
}

void service_job(struct service_run *s, enum unit_job job, void (*then)(struct service_run *s))
{
    s->job = job;
    s->job_then = then;
    if (job == UNIT_JOB_NONE) {
        then(s);
    } else if (job == UNIT_JOB_STOP || job == UNIT_JOB_RELOAD) {
        job_begin(s);
    } else {
        /* Attempts of this step, and what it undoes, must not run into the unit's start limit. */
        service_reset_failed(s, job_begin);
    }
}

/* ---- The thread pool --------------------------------------------------------------------- */

static void pool_work(uv_work_t *work)
{
    struct service_run *s = work->data;
    (void)s->working(s, &s->work_error);
}

static void pool_over(uv_work_t *work, int status)
{
    struct service_run *s = work->data;
    (void)status;
    s->working_now = false;
    if (s->cancelled)
        service_end(s);
    else if (s->work_error.code != ERR_OK)
        service_fail(s, &s->work_error);
    else
        s->then(s);
}

void service_work(struct service_run *s,
                  enum error_code (*work)(struct service_run *s, struct error *err),
                  void (*then)(struct service_run *s))
{
    s->then = then;
    s->working = work;
    s->work_error = (struct error){0};
    s->work.data = s;
    s->working_now = true;
    int rc = uv_queue_work(s->run->host->loop, &s->work, pool_work, pool_over);
    assert(rc == 0);
}

/* ---- Beginning and cancelling ------------------------------------------------------------ */

void service_begin(struct handler_run *run, void (*first)(struct service_run *s))
{
    struct error err = {0};
    const struct service_params *params = run->params;
    struct service_run *s = MEM_NEW(struct service_run);
    if (!s) {
        handler_fail(run, true, "out of memory");
        return;
    }
    s->run = run;
    run->state = s;
    service_unit_name(params->name, s->name);
    int rc = uv_timer_init(run->host->loop, &s->timer);
    assert(rc == 0);
    s->timer.data = s;
    if (systemd_open(run->host->loop, &s->systemd, &err) != ERR_OK)
        service_fail(s, &err);
    else
        first(s);
}

static void cancel_over(void *ctx, const struct error *err)
{
    (void)err;
    service_end(ctx);
}

static void cancel_late(struct service_run *s)
{
    service_end(s);
}

void service_cancel(struct handler_run *run)
{
    struct service_run *s = run->state;
    if (!s || s->ending || s->cancelled)
        return;
    s->cancelled = true;
    /* What is begun on the thread pool is over soon. */
    if (s->working_now)
        return;
    if (s->systemd && systemd_job_cancel(s->systemd, (struct systemd_reply){cancel_over, s}))
        timer_arm(s, CANCEL_WAIT_MS, cancel_late);
    else
        service_end(s);
}
