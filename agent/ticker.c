#include "agent/ticker.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/net/pacer.h"

#include <assert.h>

enum {
    LATE_MS = 1000, /* a loop that is later than this was not running */
    GRACE_MS = 5000 /* to take in what ended meanwhile: processes are looked for in all of /proc */
};

struct ticker {
    struct pacer *pacer;
    struct timers timers;
    size_t reserved;
    int64_t set_for_ms; /* what the pacer is set for; INT64_MAX: nothing */
    bool firing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* Sets the pacer for the earliest deadline. */
static void pacer_follow(struct ticker *t)
{
    int64_t deadline_ms;
    if (t->firing || !timers_next(&t->timers, &deadline_ms) || deadline_ms >= t->set_for_ms)
        return; /* one that is set too early finds nothing to do and is set again */
    t->set_for_ms = deadline_ms;
    pacer_set(t->pacer, deadline_ms);
}

static void pacer_due(void *ctx)
{
    struct ticker *t = ctx;
    int64_t now_ms = pacer_now_ms(t->pacer);
    struct timer *timer;
    t->firing = true;
    while ((timer = timers_pop(&t->timers, now_ms)) != NULL) {
        const struct alarm *alarm = timer->owner;
        alarm->fired(alarm->ctx);
    }
    t->firing = false;
    t->set_for_ms = INT64_MAX;
    pacer_follow(t);
}

enum error_code ticker_new(uv_loop_t *loop, struct ticker **ret_ticker, struct error *err)
{
    AUTO_FREE struct ticker *t = MEM_NEW(struct ticker);
    if (!t)
        return error_set(err, ERR_NO_MEMORY, NULL);
    const struct pacer_config config = {
        .loop = loop, .late_ms = LATE_MS, .grace_ms = GRACE_MS, .due = pacer_due, .ctx = t};
    enum error_code code = pacer_new(&config, &t->pacer, err);
    if (code != ERR_OK)
        return code;
    t->set_for_ms = INT64_MAX;
    *ret_ticker = TAKE(t);
    return ERR_OK;
}

static void pacer_closed(void *ctx)
{
    struct ticker *t = ctx;
    void (*closed)(void *closed_ctx) = t->closed;
    void *closed_ctx = t->closed_ctx;
    timers_done(&t->timers);
    mem_free(t);
    if (closed)
        closed(closed_ctx);
}

void ticker_close(struct ticker *t, void (*done)(void *ctx), void *ctx)
{
    t->closed = done;
    t->closed_ctx = ctx;
    pacer_close(t->pacer, pacer_closed, t);
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
    int64_t deadline_ms = pacer_now_ms(t->pacer) + (delay_ms > 0 ? delay_ms : 0);
    alarm->timer.owner = alarm;
    enum error_code code = timers_arm(&t->timers, &alarm->timer, deadline_ms, NULL);
    assert(code == ERR_OK); /* room was reserved */
    pacer_follow(t);
}

void alarm_stop(struct ticker *t, struct alarm *alarm)
{
    timers_disarm(&t->timers, &alarm->timer);
}

bool alarm_armed(const struct alarm *alarm)
{
    return alarm->timer.slot != 0;
}
