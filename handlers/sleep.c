#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "handlers/builtin.h"

#include <assert.h>

struct sleep {
    uv_timer_t timer;
    struct handler_run *run;
    bool cancelled;
};

static void sleep_closed(uv_handle_t *handle)
{
    struct sleep *s = handle->data;
    struct handler_run *run = s->run;
    const struct sleep_params *params = run->params;
    struct handler_result result = {0};
    if (s->cancelled) {
        result.outcome = HANDLER_CANCELLED;
    } else {
        char text[CLOCK_TEXT_MAX];
        duration_format(params->duration_ms, text);
        result_succeed(&result, false, "slept %s", text);
    }
    run->state = NULL;
    mem_free(s);
    handler_finish(run, &result);
}

static void sleep_over(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, sleep_closed);
}

static void sleep_execute(struct handler_run *run)
{
    const struct sleep_params *params = run->params;
    assert(params->duration_ms >= 0);
    struct sleep *s = MEM_NEW(struct sleep);
    if (!s) {
        handler_fail(run, true, "out of memory");
        return;
    }
    s->run = run;
    int rc = uv_timer_init(run->host->loop, &s->timer);
    assert(rc == 0);
    s->timer.data = s;
    run->state = s;
    /* libuv counts from the time at which the loop woke, which may be a while ago. */
    uv_update_time(run->host->loop);
    rc = uv_timer_start(&s->timer, sleep_over, (uint64_t)params->duration_ms, 0);
    assert(rc == 0);
}

static void sleep_cancel(struct handler_run *run)
{
    struct sleep *s = run->state;
    /* Closing already: its time is over. */
    if (!s || uv_is_closing((uv_handle_t *)&s->timer))
        return;
    s->cancelled = true;
    uv_close((uv_handle_t *)&s->timer, sleep_closed);
}

const struct handler sleep_handler = {
    .type = &sleep_type,
    .prepare = handler_nothing,
    .execute = sleep_execute,
    .rollback = handler_nothing,
    .check = handler_changes_nothing,
    .cancel = sleep_cancel,
};
