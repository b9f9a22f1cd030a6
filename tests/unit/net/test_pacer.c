#include "common/net/pacer.h"
#include "unit/net/support_net.h"

#include "common/base/clock.h"

#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { LATE_MS = 100, NEVER_LATE_MS = 60000, GRACE_MS = 250 };

struct rig {
    uv_loop_t loop;
    struct pacer *pacer;
    uv_poll_t poll;
    uv_idle_t busy;
    int fds[2];
    unsigned heard; /* what was read from the pipe */
    unsigned due;
    unsigned heard_when_due;
    int64_t due_at_ms; /* on the monotonic clock */
    bool put_off;      /* sets it to later whenever something is heard */
    bool call_off;     /* stops it then */
    bool closed;
};

static void on_due(void *ctx)
{
    struct rig *r = ctx;
    r->due++;
    r->heard_when_due = r->heard;
    r->due_at_ms = clock_mono_ms();
    uv_stop(&r->loop);
}

static void on_heard(uv_poll_t *handle, int status, int events)
{
    struct rig *r = handle->data;
    char byte;
    (void)events;
    assert_int_equal(status, 0);
    assert_int_equal(read(r->fds[0], &byte, 1), 1);
    r->heard++;
    if (r->put_off)
        pacer_set(r->pacer, pacer_now_ms(r->pacer) + GRACE_MS);
    if (r->call_off)
        pacer_stop(r->pacer);
}

static void start(struct rig *r, int64_t late_ms)
{
    struct error err = {0};
    *r = (struct rig){0};
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(pipe(r->fds), 0);
    assert_int_equal(uv_poll_init(&r->loop, &r->poll, r->fds[0]), 0);
    r->poll.data = r;
    assert_int_equal(uv_poll_start(&r->poll, UV_READABLE, on_heard), 0);
    assert_int_equal(uv_idle_init(&r->loop, &r->busy), 0);
    r->busy.data = r;
    const struct pacer_config config = {
        .loop = &r->loop, .late_ms = late_ms, .grace_ms = GRACE_MS, .due = on_due, .ctx = r};
    assert_int_equal(pacer_new(&config, &r->pacer, &err), ERR_OK);
}

static void on_closed(void *ctx)
{
    ((struct rig *)ctx)->closed = true;
}

static void stop(struct rig *r)
{
    uv_close((uv_handle_t *)&r->poll, NULL);
    uv_close((uv_handle_t *)&r->busy, NULL);
    pacer_close(r->pacer, on_closed, r);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_true(r->closed);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    assert_int_equal(close(r->fds[0]) + close(r->fds[1]), 0);
}

/* As a process that is stopped: the loop does nothing meanwhile. */
static void sleep_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    assert_int_equal(nanosleep(&time, NULL), 0);
}

static void say(struct rig *r)
{
    assert_int_equal(write(r->fds[1], "x", 1), 1);
}

static void it_is_due_when_its_time_has_come_and_once(void **state)
{
    struct rig r;
    (void)state;
    start(&r, NEVER_LATE_MS);
    int64_t began_ms = clock_mono_ms();
    pacer_set(r.pacer, pacer_now_ms(r.pacer) + 30);
    (void)uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_true(r.due_at_ms - began_ms >= 30);
    pacer_set(r.pacer, pacer_now_ms(r.pacer) + 5000);
    pacer_set(r.pacer, pacer_now_ms(r.pacer) - 1);
    (void)uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_int_equal(r.due, 2);
    for (int i = 0; i < 10; i++)
        (void)uv_run(&r.loop, UV_RUN_NOWAIT);
    assert_int_equal(r.due, 2);
    stop(&r);
}

static void what_can_be_read_is_read_before_it_is_due(void **state)
{
    struct rig r;
    (void)state;
    start(&r, NEVER_LATE_MS);
    pacer_set(r.pacer, pacer_now_ms(r.pacer) + 1);
    sleep_ms(20);
    say(&r);
    (void)uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_int_equal(r.due, 1);
    assert_int_equal(r.heard_when_due, 1);
    stop(&r);
}

static void what_is_read_can_put_it_off(void **state)
{
    struct rig r;
    (void)state;
    start(&r, NEVER_LATE_MS);
    r.put_off = true;
    pacer_set(r.pacer, pacer_now_ms(r.pacer) + 1);
    sleep_ms(20);
    say(&r);
    for (int i = 0; i < 5; i++)
        (void)uv_run(&r.loop, UV_RUN_NOWAIT);
    assert_int_equal(r.heard, 1);
    assert_int_equal(r.due, 0);
    (void)uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_int_equal(r.due, 1);
    stop(&r);
}

/* Work that never ends, and sets the same deadline in each turn. */
static void set_again(uv_idle_t *handle)
{
    struct rig *r = handle->data;
    say(r);
}

static void on_heard_set_again(uv_poll_t *handle, int status, int events)
{
    struct rig *r = handle->data;
    on_heard(handle, status, events);
    pacer_set(r->pacer, r->due_at_ms);
}

static void a_busy_loop_does_not_put_it_off_for_ever(void **state)
{
    struct rig r;
    (void)state;
    start(&r, NEVER_LATE_MS);
    assert_int_equal(uv_poll_start(&r.poll, UV_READABLE, on_heard_set_again), 0);
    assert_int_equal(uv_idle_start(&r.busy, set_again), 0);
    r.due_at_ms = pacer_now_ms(r.pacer) - 1;
    pacer_set(r.pacer, r.due_at_ms);
    for (int i = 0; i < 100 && r.due == 0; i++)
        (void)uv_run(&r.loop, UV_RUN_NOWAIT);
    assert_int_equal(r.due, 1);
    stop(&r);
}

static void time_in_which_nothing_ran_does_not_count(void **state)
{
    struct rig r;
    (void)state;
    start(&r, LATE_MS);
    int64_t deadline_ms = pacer_now_ms(r.pacer) + 10;
    pacer_set(r.pacer, deadline_ms);
    sleep_ms(10 + 3 * LATE_MS);
    int64_t woke_ms = clock_mono_ms();
    /* Who asks for the time before the timer was noticed gets the right one already. */
    assert_true(pacer_now_ms(r.pacer) < deadline_ms);
    (void)uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_int_equal(r.due, 1);
    assert_true(r.due_at_ms - woke_ms >= GRACE_MS - 1);
    assert_true(pacer_now_ms(r.pacer) >= deadline_ms);
    stop(&r);
}

static void one_that_is_stopped_does_not_come(void **state)
{
    struct rig r;
    (void)state;
    start(&r, NEVER_LATE_MS);
    pacer_set(r.pacer, pacer_now_ms(r.pacer));
    pacer_stop(r.pacer);
    for (int i = 0; i < 5; i++)
        (void)uv_run(&r.loop, UV_RUN_NOWAIT);
    assert_int_equal(r.due, 0);
    /* By what is read when its time has come, too. */
    r.call_off = true;
    pacer_set(r.pacer, pacer_now_ms(r.pacer));
    say(&r);
    for (int i = 0; i < 5; i++)
        (void)uv_run(&r.loop, UV_RUN_NOWAIT);
    assert_int_equal(r.heard, 1);
    assert_int_equal(r.due, 0);
    stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_due_when_its_time_has_come_and_once),
        cmocka_unit_test(what_can_be_read_is_read_before_it_is_due),
        cmocka_unit_test(what_is_read_can_put_it_off),
        cmocka_unit_test(a_busy_loop_does_not_put_it_off_for_ever),
        cmocka_unit_test(time_in_which_nothing_ran_does_not_count),
        cmocka_unit_test(one_that_is_stopped_does_not_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
