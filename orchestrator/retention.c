#include "orchestrator/retention.h"

#include "common/base/clock.h"
#include "common/base/log.h"

enum { RETAIN_EVERY_MS = 3600 * 1000 };

static bool retain_may(void *ctx, const char *id)
{
    struct retention *r = ctx;
    return dispatcher_forget(r->dispatcher, id);
}

static void retain_done(void *ctx, enum error_code result, const struct error *err,
                        uint64_t removed)
{
    (void)ctx;
    if (removed > 0)
        log_info("old rollouts were removed", LOG_INT("count", removed), LOG_END);
    if (result != ERR_OK && result != ERR_CANCELLED)
        log_error("old rollouts cannot be removed", LOG_STR("error", err->message), LOG_END);
}

static void retention_run(uv_timer_t *timer)
{
    struct retention *r = timer->data;
    struct error err = {0};
    bool doubted = false;
    int64_t now_ms = age_now(&r->age, clock_wall_ms(), clock_mono_ms(), &doubted);
    if (doubted && !r->clock_doubted)
        log_warn("the clock is far ahead; for a day nothing counts as old because of it", LOG_END);
    r->clock_doubted = doubted;
    const struct journal_retention how = {
        .before_ms = now_ms - r->retain_ms,
        .may = retain_may,
        .done = retain_done,
        .ctx = r,
    };
    enum error_code code = journal_retain(r->journal, &how, &err);
    if (code != ERR_OK && code != ERR_BUSY)
        log_error("old rollouts cannot be removed", LOG_STR("error", err.message), LOG_END);
}

bool retention_init(struct retention *r, uv_loop_t *loop)
{
    r->timer.data = r;
    return uv_timer_init(loop, &r->timer) == 0;
}

void retention_start(struct retention *r, struct journal *journal, struct dispatcher *dispatcher,
                     int64_t retain_ms)
{
    r->journal = journal;
    r->dispatcher = dispatcher;
    r->retain_ms = retain_ms;
    (void)uv_timer_start(&r->timer, retention_run, 0, RETAIN_EVERY_MS);
}

void retention_stop(struct retention *r)
{
    (void)uv_timer_stop(&r->timer);
}

void retention_close(struct retention *r)
{
    uv_close((uv_handle_t *)&r->timer, NULL);
}
