#include "unit/dispatch/support_dispatch.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/plan/plan_json.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SETTLE_MS = 20000 };

/* ---- Hooks ------------------------------------------------------------------------------------
 */

static void hook_wake(void *ctx)
{
    struct bench *b = ctx;
    ssize_t written = write(b->wake[1], "x", 1);
    (void)written;
}

static int64_t hook_mono(void *ctx)
{
    return ((struct bench *)ctx)->mono_ms;
}

static int64_t hook_wall(void *ctx)
{
    return ((struct bench *)ctx)->wall_ms;
}

static void hook_rearm(void *ctx)
{
    (void)ctx;
}

static bool hook_send(void *conn, const char *data, size_t len)
{
    struct fake_conn *c = conn;
    struct error err = {0};
    if (c->closed)
        return false;
    assert_true(c->frame_count < BENCH_MAX_FRAMES);
    if (wire_decode(data, len, &c->frames[c->frame_count], &err) != ERR_OK)
        fail_msg("a frame that cannot be read: %s", err.message);
    c->frame_count++;
    return true;
}

static void hook_close(void *conn, uint16_t code, const char *reason)
{
    struct fake_conn *c = conn;
    (void)code;
    c->closed = true;
    (void)snprintf(c->reason, sizeof(c->reason), "%s", reason);
}

static void hook_changed(void *ctx, const char *rollout, uint64_t last_seq)
{
    (void)rollout;
    ((struct bench *)ctx)->last_changed = last_seq;
}

static void hook_output(void *ctx, const char *rollout, const char *json, size_t len)
{
    (void)ctx;
    (void)rollout;
    (void)json;
    (void)len;
}

static void hook_fatal(void *ctx, const struct error *err)
{
    (void)err;
    ((struct bench *)ctx)->fatal++;
}

static void hook_alarm(void *ctx, const struct dispatcher_alarm *alarm)
{
    struct bench *b = ctx;
    b->alarms++;
    (void)snprintf(b->last_alarm, sizeof(b->last_alarm), "%s %s: %s", alarm->what, alarm->server,
                   alarm->detail);
}

static void hook_note(void *ctx, const char *what, const char *server, const char *detail)
{
    (void)ctx;
    (void)what;
    (void)server;
    (void)detail;
}

/* ---- The bench --------------------------------------------------------------------------------
 */

static void bench_start(struct bench *b)
{
    struct error err = {0};
    if (journal_open(b->dir, hook_wake, b, &b->journal, &err) != ERR_OK)
        fail_msg("journal: %s", err.message);
    struct dispatcher_config config = {
        .journal = b->journal,
        .heartbeat_ms = 1000,
        .held = b->held,
        .ctx = b,
        .now_mono_ms = hook_mono,
        .now_wall_ms = hook_wall,
        .rearm = hook_rearm,
        .send = hook_send,
        .close = hook_close,
        .changed = hook_changed,
        .output = hook_output,
        .fatal = hook_fatal,
        .note = hook_note,
        .alarm = hook_alarm,
    };
    if (dispatcher_new(&config, &b->dispatcher, &err) != ERR_OK)
        fail_msg("dispatcher: %s", err.message);
    bench_settle(b);
}

static void bench_stop(struct bench *b)
{
    journal_close(b->journal);
    dispatcher_free(b->dispatcher);
    b->journal = NULL;
    b->dispatcher = NULL;
}

void bench_open(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    (void)snprintf(b->dir, sizeof(b->dir), "/tmp/kitsune-dispatch-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    assert_int_equal(pipe2(b->wake, O_CLOEXEC | O_NONBLOCK), 0);
    b->mono_ms = 1000000;
    b->wall_ms = 1700000000000;
    bench_start(b);
}

void bench_restart(struct bench *b)
{
    bench_stop(b);
    bench_start(b);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void bench_close(struct bench *b)
{
    bench_stop(b);
    (void)close(b->wake[0]);
    (void)close(b->wake[1]);
    (void)nftw(b->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(b->fatal, 0);
}

static void bench_barrier_done(void *ctx)
{
    *(bool *)ctx = true;
}

void bench_settle(struct bench *b)
{
    /* What becomes durable may cause more: two barriers in a row without any append in between. */
    for (int round = 0; round < 4; round++) {
        bool done = false;
        assert_true(journal_barrier(b->journal, bench_barrier_done, &done));
        while (!done) {
            struct pollfd wait = {.fd = b->wake[0], .events = POLLIN};
            char drain[64];
            assert_int_equal(poll(&wait, 1, SETTLE_MS), 1);
            while (read(b->wake[0], drain, sizeof(drain)) > 0) {
            }
            journal_collect(b->journal);
        }
    }
}

void bench_pass(struct bench *b, int64_t ms)
{
    int64_t end = b->mono_ms + ms, next = 0;
    while (dispatcher_next_deadline(b->dispatcher, &next) && next <= end) {
        if (next > b->mono_ms) {
            b->wall_ms += next - b->mono_ms;
            b->mono_ms = next;
        }
        dispatcher_tick(b->dispatcher);
        bench_settle(b);
    }
    b->wall_ms += end - b->mono_ms;
    b->mono_ms = end;
}

static void bench_answer(void *ctx, enum error_code result, const struct error *err, const char *id)
{
    struct bench *b = ctx;
    (void)err;
    b->answers++;
    b->last_answer = result;
    (void)snprintf(b->last_id, sizeof(b->last_id), "%s", id);
}

enum error_code bench_retry(struct bench *b, const char *of, const char *id, struct error *err)
{
    const struct dispatcher_submit request = {
        .id = id, .by = "tester", .done = bench_answer, .ctx = b};
    bool repeat = false;
    return dispatcher_retry(b->dispatcher, of, &request, &repeat, err);
}

enum error_code bench_rollback(struct bench *b, const char *id, const char *server, bool force,
                               struct error *err)
{
    const struct dispatcher_rollback order = {.servers = &server,
                                              .server_count = server != NULL,
                                              .force = force,
                                              .by = "me",
                                              .reason = "wrong version"};
    return dispatcher_rollback(b->dispatcher, id, &order, bench_answer, b, err);
}

enum error_code bench_resolve(struct bench *b, const char *id, const char *server,
                              enum execution_state as, struct error *err)
{
    const struct dispatcher_resolve resolve = {
        .server = server, .as = as, .by = "me", .reason = "looked at it"};
    return dispatcher_resolve(b->dispatcher, id, &resolve, bench_answer, b, err);
}

enum error_code bench_lock(struct bench *b, const char *server, struct error *err)
{
    const struct dispatcher_lock lock = {.server = server, .by = "me", .reason = "disk swap"};
    return dispatcher_lock(b->dispatcher, &lock, bench_answer, b, err);
}

enum error_code bench_unlock(struct bench *b, const char *server, struct error *err)
{
    const struct dispatcher_lock lock = {.server = server, .by = "you"};
    return dispatcher_unlock(b->dispatcher, &lock, bench_answer, b, err);
}

enum error_code bench_try_submit(struct bench *b, const char *id, const char *text, bool no_wait,
                                 struct error *err)
{
    struct plan *plan = NULL;
    enum error_code code = plan_read(text, strlen(text), &plan, err);
    if (code != ERR_OK)
        fail_msg("plan: %s", err->message);
    struct dispatcher_submit request = {
        .id = id, .by = "tester", .no_wait = no_wait, .done = bench_answer, .ctx = b};
    bool repeat = false;
    code = dispatcher_submit(b->dispatcher, plan, &request, &repeat, err);
    if (code != ERR_OK)
        plan_free(plan);
    return code;
}

void bench_submit(struct bench *b, const char *id, const char *text)
{
    struct error err = {0};
    if (bench_try_submit(b, id, text, false, &err) != ERR_OK)
        fail_msg("submit: %s", err.message);
}

enum rollout_state bench_state(struct bench *b, const char *id)
{
    struct rollout_view view;
    struct error err = {0};
    if (dispatcher_rollout(b->dispatcher, id, &view, &err) != ERR_OK)
        fail_msg("view: %s", err.message);
    return engine_state(view.engine);
}

const struct execution *bench_execution(struct bench *b, const char *id, uint32_t server)
{
    struct rollout_view view;
    struct error err = {0};
    if (dispatcher_rollout(b->dispatcher, id, &view, &err) != ERR_OK)
        fail_msg("view: %s", err.message);
    return engine_execution(view.engine, server);
}

/* ---- Connections --------------------------------------------------------------------------------
 */

void conn_say(struct fake_conn *c, const char *text)
{
    dispatcher_session_frame(c->session, text, strlen(text));
}

void conn_frame(struct fake_conn *c, const struct wire_frame *frame)
{
    struct buf text = BUF_INIT;
    wire_encode(&text, frame);
    assert_int_equal(buf_check(&text, NULL), ERR_OK);
    dispatcher_session_frame(c->session, text.data, text.len);
    buf_done(&text);
}

static bool agents_are_old, agents_know_no_secrets;

void bench_old_agents(bool old)
{
    agents_are_old = old;
}

void bench_agents_before_secrets(bool before)
{
    agents_know_no_secrets = before;
}

void conn_connect(struct bench *b, struct fake_conn *c, const char *server, const char *instance,
                  const char *rollout)
{
    struct error err = {0};
    memset(c, 0, sizeof(*c));
    assert_int_equal(dispatcher_session_open(b->dispatcher, c, "127.0.0.1:9", &c->session, &err),
                     ERR_OK);
    AUTO_FREE char *id = mem_strdup(server), *made = mem_strdup(instance);
    AUTO_FREE char *listed = rollout == NULL ? NULL : mem_strdup(rollout);
    char version[] = "1", echo[] = "echo";
    char *handlers[] = {echo};
    struct wire_execution execution = {.rollout = listed, .last_seq = 1};
    struct wire_frame frame = {
        .type = WIRE_HELLO,
        .hello = {.id = id,
                  .instance = made,
                  .version = version,
                  .hostname = version,
                  .boot_id = version,
                  .checks = !agents_are_old,
                  .values = !agents_are_old,
                  .secrets = !agents_are_old && !agents_know_no_secrets,
                  .handlers = {.items = handlers, .count = 1},
                  .executions = {.items = &execution, .count = rollout != NULL}},
    };
    conn_frame(c, &frame);
    bench_settle(b);
}

void conn_report(struct fake_conn *c, const char *rollout, struct wire_entry entry)
{
    AUTO_FREE char *id = mem_strdup(rollout);
    entry.time_ms = 1700000000000;
    struct wire_frame frame = {
        .type = WIRE_REPORT,
        .report = {.rollout = id, .entries = {.items = &entry, .count = 1}},
    };
    conn_frame(c, &frame);
}

void conn_started(struct bench *b, struct fake_conn *c, const char *rollout)
{
    conn_report(c, rollout, ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    bench_settle(b);
}

void conn_touched(struct bench *b, struct fake_conn *c, const char *rollout)
{
    conn_report(c, rollout, ENTRY(1, REPORT_STARTED, -1, .state = EXECUTION_RUNNING));
    conn_report(c, rollout, ENTRY(2, REPORT_STEP_STARTED, 0, .attempt = 1, .state = STEP_RUNNING));
    bench_settle(b);
}

void conn_ended(struct bench *b, struct fake_conn *c, const char *rollout,
                enum execution_state state)
{
    bool good = state == EXECUTION_SUCCEEDED;
    conn_touched(b, c, rollout);
    conn_report(c, rollout,
                ENTRY(3, REPORT_STEP_ENDED, 0, .attempt = 1,
                      .state = good ? STEP_SUCCEEDED : STEP_FAILED, .changed = true));
    conn_report(c, rollout, ENTRY(4, REPORT_ENDED, -1, .state = (int)state));
    bench_settle(b);
}

void conn_undone(struct bench *b, struct fake_conn *c, const char *rollout, int64_t seq,
                 enum execution_state state)
{
    bool good = state == EXECUTION_ROLLED_BACK;
    conn_report(c, rollout,
                ENTRY(seq, REPORT_ROLLBACK_STARTED, -1, .state = EXECUTION_ROLLING_BACK));
    conn_report(c, rollout,
                ENTRY(seq + 1, REPORT_STEP_ROLLED_BACK, 0,
                      .state = good ? STEP_ROLLED_BACK : STEP_ROLLBACK_FAILED));
    conn_report(c, rollout, ENTRY(seq + 2, REPORT_ROLLED_BACK, -1, .state = (int)state));
    bench_settle(b);
}

void conn_drop(struct fake_conn *c)
{
    if (c->session != NULL)
        dispatcher_session_closed(c->session, "gone");
    for (size_t i = 0; i < c->frame_count; i++)
        wire_frame_done(&c->frames[i]);
    memset(c, 0, sizeof(*c));
}

size_t conn_count(const struct fake_conn *c, enum wire_type type)
{
    size_t count = 0;
    for (size_t i = 0; i < c->frame_count; i++)
        count += c->frames[i].type == type;
    return count;
}

const struct wire_frame *conn_last(const struct fake_conn *c, enum wire_type type)
{
    for (size_t i = c->frame_count; i > 0; i--) {
        if (c->frames[i - 1].type == type)
            return &c->frames[i - 1];
    }
    return NULL;
}
