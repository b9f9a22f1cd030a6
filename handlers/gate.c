#include "handlers/gate.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "handlers/builtin.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { TEXT_MAX = 400, NS_PER_MS = 1000000 };

/* ---- What has come of them --------------------------------------------------------------- */

enum gate_verdict gate_count_probe(struct gate_count *count, const struct gate_params *params,
                                   bool success)
{
    count->probes++;
    count->successes = success ? count->successes + 1 : 0;
    count->failures = success ? 0 : count->failures + 1;
    if (count->successes >= params->success_threshold)
        return GATE_HEALTHY;
    return count->failures >= params->failure_threshold ? GATE_UNHEALTHY : GATE_GOES_ON;
}

int64_t gate_wait_ms(const struct gate_params *params, int64_t since_begin_ms)
{
    return since_begin_ms < params->interval_ms ? params->interval_ms - since_begin_ms : 0;
}

/* ---- The end ----------------------------------------------------------------------------- */

static void gate_closed(uv_handle_t *handle)
{
    struct gate *g = handle->data;
    struct handler_run *run = g->run;
    struct handler_result result = g->result;
    run->state = NULL;
    g->prober->free(g);
    handler_finish(run, &result);
}

/* With the result as it is. */
static void gate_end(struct gate *g)
{
    assert(!g->over);
    g->over = true;
    uv_close((uv_handle_t *)&g->timer, gate_closed);
}

/* ---- Probes ------------------------------------------------------------------------------ */

static void timer_fired(uv_timer_t *timer);

static void timer_arm(struct gate *g, int64_t delay_ms)
{
    uv_update_time(g->run->host->loop);
    int rc = uv_timer_start(&g->timer, timer_fired, (uint64_t)delay_ms, 0);
    assert(rc == 0);
}

static void probe_begin(struct gate *g)
{
    g->probing = true;
    g->timed_out = false;
    g->began_ns = uv_hrtime();
    timer_arm(g, g->params->timeout_ms);
    g->prober->probe(g);
}

static void timer_fired(uv_timer_t *timer)
{
    struct gate *g = timer->data;
    if (!g->probing) {
        probe_begin(g);
        return;
    }
    g->timed_out = true;
    g->prober->stop(g);
}

static void probe_say(const struct gate *g, bool success, int64_t duration_ms, const char *text)
{
    AUTO_BUF struct buf line = BUF_INIT;
    char took[CLOCK_TEXT_MAX];
    duration_format(duration_ms, took);
    buf_printf(&line, "probe %" PRId64 ": %s: %s (%s)\n", g->count.probes,
               success ? "healthy" : "unhealthy", text, took);
    if (buf_check(&line, NULL) == ERR_OK)
        g->run->output(g->run, line.data, line.len);
}

/* The thresholds are what tries again. */
static void verdict_unhealthy(struct gate *g, const char *text)
{
    if (g->count.failures == 1)
        result_fail(&g->result, false, "unhealthy: %s", text);
    else
        result_fail(&g->result, false,
                    "unhealthy: %" PRId64 " probes in a row failed, the last: %s",
                    g->count.failures, text);
}

static void verdict_set(struct gate *g, enum gate_verdict verdict, const char *text)
{
    const struct gate_count *count = &g->count;
    if (verdict == GATE_HEALTHY && count->probes == 1)
        result_succeed(&g->result, false, "healthy: %s", text);
    else if (verdict == GATE_HEALTHY)
        result_succeed(&g->result, false, "healthy after %" PRId64 " probes: %s", count->probes,
                       text);
    else
        verdict_unhealthy(g, text);
}

/* Some of it comes from whoever was asked. */
static void one_line(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
    }
}

void gate_probed(struct gate *g, bool success, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list args;
    assert(g->probing && !g->over);
    int64_t duration_ms = (int64_t)((uv_hrtime() - g->began_ns) / NS_PER_MS);
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    one_line(text);
    g->probing = false;
    (void)uv_timer_stop(&g->timer);
    if (g->cancelled) {
        g->result.outcome = HANDLER_CANCELLED;
        gate_end(g);
        return;
    }
    if (g->timed_out) {
        char limit[CLOCK_TEXT_MAX];
        duration_format(g->params->timeout_ms, limit);
        success = false;
        (void)snprintf(text, sizeof(text), "no answer within %s", limit);
    }
    enum gate_verdict verdict = gate_count_probe(&g->count, g->params, success);
    probe_say(g, success, duration_ms, text);
    /* Whoever is told may have cancelled. */
    if (g->over)
        return;
    if (verdict == GATE_GOES_ON) {
        timer_arm(g, gate_wait_ms(g->params, duration_ms));
        return;
    }
    verdict_set(g, verdict, text);
    gate_end(g);
}

void gate_broken(struct gate *g, const struct error *err)
{
    assert(g->probing && !g->over);
    g->probing = false;
    if (g->cancelled)
        g->result.outcome = HANDLER_CANCELLED;
    else
        result_fail_error(&g->result, err);
    gate_end(g);
}

void gate_start(struct gate *g, const struct gate_prober *prober, const struct gate_params *params,
                struct handler_run *run)
{
    g->prober = prober;
    g->params = params;
    g->run = run;
    run->state = g;
    int rc = uv_timer_init(run->host->loop, &g->timer);
    assert(rc == 0);
    g->timer.data = g;
    probe_begin(g);
}

void gate_check(struct handler_run *run, void (*execute)(struct handler_run *run))
{
    if (!handler_depends(run, "not probed"))
        execute(run);
}

void gate_cancel(struct gate *g)
{
    if (!g || g->over || g->cancelled)
        return;
    g->cancelled = true;
    if (g->probing) {
        g->prober->stop(g);
        return;
    }
    g->result.outcome = HANDLER_CANCELLED;
    gate_end(g);
}
