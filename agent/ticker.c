#include "agent/ticker.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <assert.h>

struct ticker {
    uv_timer_t handle;
    struct timers timers;
    size_t reserved;
    int64_t set_for_ms; /* what the handle is set for; INT64_MAX: nothing */
    bool firing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void handle_fired(uv_timer_t *handle);

/* Sets the handle for the earliest deadline. */
static void handle_set(struct ticker *t)
{
    int64_t deadline_ms;
    if (t->firing || !timers_next(&t->timers, &deadline_ms) || deadline_ms >= t->set_for_ms)
        return; /* one that is set too early finds nothing to do and is set again */
    int64_t delay_ms = deadline_ms - clock_mono_ms();
    t->set_for_ms = deadline_ms;
    uv_update_time(t->handle.loop);
    (void)uv_timer_start(&t->handle, handle_fired, delay_ms > 0 ? (uint64_t)delay_ms : 0, 0);
}

static void handle_fired(uv_timer_t *handle)
{
    struct ticker *t = handle->data;
    int64_t now_ms = clock_mono_ms();
    struct timer *timer;
    t->firing = true;
    while ((timer = timers_pop(&t->timers, now_ms)) != NULL) {
        const struct alarm *alarm = timer->owner;
        alarm->fired(alarm->ctx);
    }
    t->firing = false;
    t->set_for_ms = INT64_MAX;
    handle_set(t);
}

enum error_code ticker_new(uv_loop_t *loop, struct ticker **ret_ticker, struct error *err)
{
    struct ticker *t = MEM_NEW(struct ticker);
    if (!t)
        return error_set(err, ERR_NO_MEMORY, NULL);
    (void)uv_timer_init(loop, &t->handle);
    t->handle.data = t;
    t->set_for_ms = INT64_MAX;
    *ret_ticker = t;
    return ERR_OK;
}

static void handle_closed(uv_handle_t *handle)
{
    struct ticker *t = handle->data;
    void (*closed)(void *ctx) = t->closed;
    void *ctx = t->closed_ctx;
    timers_done(&t->timers);
    mem_free(t);
    if (closed)
        closed(ctx);
}

void ticker_close(struct ticker *t, void (*done)(void *ctx), void *ctx)
{
    t->closed = done;
    t->closed_ctx = ctx;
    uv_close((uv_handle_t *)&t->handle, handle_closed);
}

enum error_code ticker_reserve(struct ticker *t, size_t alarms, struct error *err)
{
    size_t total = t->reserved + alarms;
    if (total > t->timers.capacity) {
        size_t capacity = total + total / 2;
        struct timer **heap = mem_realloc(t->timers.heap, capacity * sizeof(struct timer *));
        if (!heap)
            return error_set(err, ERR_NO_MEMORY, NULL);
        t->timers.heap = heap;
        t->timers.capacity = capacity;
    }
    t->reserved = total;
    return ERR_OK;
}

void alarm_set(struct ticker *t, struct alarm *alarm, int64_t delay_ms)
{
    int64_t deadline_ms = clock_mono_ms() + (delay_ms > 0 ? delay_ms : 0);
    alarm->timer.owner = alarm;
    enum error_code code = timers_arm(&t->timers, &alarm->timer, deadline_ms, NULL);
    assert(code == ERR_OK); /* room was reserved */
    handle_set(t);
}

void alarm_stop(struct ticker *t, struct alarm *alarm)
{
    timers_disarm(&t->timers, &alarm->timer);
}

bool alarm_armed(const struct alarm *alarm)
{
    return alarm->timer.slot != 0;
}
