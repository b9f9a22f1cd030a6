#include "common/net/pacer.h"

#include "common/base/alloc.h"
#include "common/base/clock.h"

#include <stdbool.h>

enum { HANDLES = 3 };

struct pacer {
    struct pacer_config config;
    uv_timer_t timer;
    uv_idle_t no_wait;     /* while it runs, the loop polls its sockets without waiting */
    uv_check_t after_poll; /* comes when they have been read */
    int64_t deadline_ms;
    int64_t left_out_ms;
    bool armed;   /* the deadline is still to be acted upon */
    bool reading; /* it has passed, and the sockets have their turn */
    int closed;
    void (*done)(void *ctx);
    void *done_ctx;
};

/* Whoever asks for the time first after a stop finds out, so that nothing is done with the time
 * before it is right. */
int64_t pacer_now_ms(struct pacer *p)
{
    int64_t now_ms = clock_mono_ms() - p->left_out_ms;
    int64_t late_ms = now_ms - p->deadline_ms;
    if (!p->armed || late_ms <= p->config.late_ms)
        return now_ms;
    p->left_out_ms += late_ms + p->config.grace_ms;
    return now_ms - late_ms - p->config.grace_ms;
}

static void reading_stop(struct pacer *p)
{
    p->reading = false;
    (void)uv_idle_stop(&p->no_wait);
    (void)uv_check_stop(&p->after_poll);
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle;
}

static void on_read(uv_check_t *handle)
{
    struct pacer *p = handle->data;
    reading_stop(p);
    if (pacer_now_ms(p) < p->deadline_ms) { /* time was left out */
        pacer_set(p, p->deadline_ms);
        return;
    }
    p->armed = false;
    p->config.due(p->config.ctx);
}

static void on_timer(uv_timer_t *handle)
{
    struct pacer *p = handle->data;
    p->reading = true;
    (void)uv_idle_start(&p->no_wait, on_idle);
    (void)uv_check_start(&p->after_poll, on_read);
}

void pacer_set(struct pacer *p, int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - pacer_now_ms(p);
    p->deadline_ms = deadline_ms;
    p->armed = true;
    /* What is read may set it again and again, which must not put it off. */
    if (p->reading && left_ms <= 0)
        return;
    reading_stop(p);
    uv_update_time(p->config.loop); /* else what this turn has taken already would be missing */
    (void)uv_timer_start(&p->timer, on_timer, left_ms > 0 ? (uint64_t)left_ms : 0, 0);
}

void pacer_stop(struct pacer *p)
{
    p->armed = false;
    reading_stop(p);
    (void)uv_timer_stop(&p->timer);
}

enum error_code pacer_new(const struct pacer_config *config, struct pacer **ret_pacer,
                          struct error *err)
{
    struct pacer *p = MEM_NEW(struct pacer);
    if (p == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    p->config = *config;
    (void)uv_timer_init(config->loop, &p->timer);
    (void)uv_idle_init(config->loop, &p->no_wait);
    (void)uv_check_init(config->loop, &p->after_poll);
    p->timer.data = p->no_wait.data = p->after_poll.data = p;
    *ret_pacer = p;
    return ERR_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct pacer *p = handle->data;
    if (++p->closed < HANDLES)
        return;
    void (*done)(void *ctx) = p->done;
    void *ctx = p->done_ctx;
    mem_free(p);
    if (done != NULL)
        done(ctx);
}

void pacer_close(struct pacer *p, void (*done)(void *ctx), void *ctx)
{
    p->done = done;
    p->done_ctx = ctx;
    uv_close((uv_handle_t *)&p->timer, on_closed);
    uv_close((uv_handle_t *)&p->no_wait, on_closed);
    uv_close((uv_handle_t *)&p->after_poll, on_closed);
}
