/* reboot: the step that has its server rebooted. The agent does it: this only says when. */
#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "handlers/builtin.h"

#include <assert.h>

enum { WHY_SHOWN_MAX = 300 }; /* bytes of the reasons in a message */

/* A wait before it. */
struct reboot {
    uv_timer_t timer;
    struct handler_run *run;
    bool cancelled;
};

static bool is_required(const struct handler_run *run, struct buf *why)
{
    const struct reboot_need *need = run->host->reboot_need;
    bool required = need && need->get(need->ctx, why);
    if (buf_check(why, NULL) != ERR_OK || why->len == 0)
        return required;
    if (why->len > WHY_SHOWN_MAX)
        why->data[WHY_SHOWN_MAX] = '\0';
    return required;
}

static void want(struct handler_run *run)
{
    const struct reboot_params *params = run->params;
    struct handler_result result = {0};
    result_succeed(&result, true, "%s", params->message ? params->message : "");
    result.reboot = true;
    result.away_ms = params->timeout_ms;
    handler_finish(run, &result);
}

static void wait_closed(uv_handle_t *handle)
{
    struct reboot *r = handle->data;
    struct handler_run *run = r->run;
    struct handler_result stopped = {.outcome = HANDLER_CANCELLED};
    bool cancelled = r->cancelled;
    run->state = NULL;
    mem_free(r);
    if (cancelled)
        handler_finish(run, &stopped);
    else
        want(run);
}

static void wait_over(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, wait_closed);
}

static void wait_begin(struct handler_run *run, int64_t delay_ms)
{
    struct reboot *r = MEM_NEW(struct reboot);
    if (!r) {
        handler_fail(run, true, "out of memory");
        return;
    }
    r->run = run;
    int rc = uv_timer_init(run->host->loop, &r->timer);
    assert(rc == 0);
    r->timer.data = r;
    run->state = r;
    uv_update_time(run->host->loop);
    rc = uv_timer_start(&r->timer, wait_over, (uint64_t)delay_ms, 0);
    assert(rc == 0);
}

static void reboot_execute(struct handler_run *run)
{
    const struct reboot_params *params = run->params;
    AUTO_BUF struct buf why = BUF_INIT;
    if (run->reboots > 0)
        handler_succeed(run, true, "the server was rebooted");
    else if (params->only_if_required && !is_required(run, &why))
        handler_succeed(run, false, "no reboot is required");
    else if (params->delay_ms > 0)
        wait_begin(run, params->delay_ms);
    else
        want(run);
}

static void reboot_rollback(struct handler_run *run)
{
    handler_succeed(run, false, "nothing to undo: a reboot cannot be taken back");
}

static void reboot_check(struct handler_run *run)
{
    const struct reboot_params *params = run->params;
    AUTO_BUF struct buf why = BUF_INIT;
    if (!params->only_if_required)
        handler_succeed(run, true, "would reboot the server");
    else if (is_required(run, &why))
        handler_succeed(run, true, "would reboot the server%s%s", why.len > 0 ? ": " : "",
                        why.len > 0 ? why.data : "");
    else if (run->depends_name)
        handler_succeed(run, true, "would reboot the server if step %s makes it necessary",
                        run->depends_name);
    else
        handler_succeed(run, false, "no reboot is required");
}

static void reboot_cancel(struct handler_run *run)
{
    struct reboot *r = run->state;
    if (!r || uv_is_closing((uv_handle_t *)&r->timer))
        return;
    r->cancelled = true;
    uv_close((uv_handle_t *)&r->timer, wait_closed);
}

const struct handler reboot_handler = {
    .type = &reboot_type,
    .prepare = handler_nothing,
    .execute = reboot_execute,
    .rollback = reboot_rollback,
    .check = reboot_check,
    .cancel = reboot_cancel,
};
