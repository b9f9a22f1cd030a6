#include "unit/agent/support_agent.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GUARD_MS = 60000 };

/* Some tests fork while the pool of libuv has threads; ThreadSanitizer is to bear with it. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

/* ---- What the agent sends ------------------------------------------------------------------ */

static void write_entry(struct buf *b, const struct wire_entry *e)
{
    buf_printf(b, " %" PRId64 ":", e->seq);
    switch ((enum report_type)e->type) {
    case REPORT_STARTED:
        buf_puts(b, "started");
        break;
    case REPORT_STEP_STARTED:
        buf_printf(b, "begun%" PRId64 ".%" PRId64, e->step, e->attempt);
        break;
    case REPORT_STEP_RETRYING:
        buf_printf(b, "retrying%" PRId64 ".%" PRId64, e->step, e->attempt);
        break;
    case REPORT_STEP_REBOOTING:
        buf_printf(b, "rebooting%" PRId64 ".%" PRId64, e->step, e->attempt);
        break;
    case REPORT_STEP_REBOOTED:
        buf_printf(b, "rebooted%" PRId64 ".%" PRId64, e->step, e->attempt);
        break;
    case REPORT_STEP_ENDED:
    case REPORT_STEP_ROLLED_BACK:
        buf_printf(b, "%" PRId64 "=%s%s", e->step, step_state_names[e->state],
                   e->conflict ? "+conflict" : "");
        break;
    case REPORT_CONFIRMING:
        buf_puts(b, "confirming");
        break;
    case REPORT_ENDED:
        buf_printf(b, "ended=%s%s", execution_state_names[e->state], e->undoing ? "+undo" : "");
        break;
    case REPORT_ROLLBACK_STARTED:
        buf_printf(b, "undoing%s", e->force ? "+force" : "");
        break;
    case REPORT_ROLLED_BACK:
        buf_printf(b, "over=%s", execution_state_names[e->state]);
        break;
    case REPORT_TYPE_COUNT:
        break;
    }
}

static void take_report(struct agent_rig *r, const struct wire_report *report)
{
    if (report->facts)
        buf_printf(&r->facts, "%s\n", report->facts);
    const struct wire_entry *entries = report->entries.items;
    buf_printf(&r->sent, "[%s", report->rollout);
    for (size_t i = 0; i < report->entries.count; i++) {
        write_entry(&r->sent, &entries[i]);
        if (entries[i].output)
            buf_printf(&r->last_outputs, "%s\n", entries[i].output);
        if (entries[i].message)
            buf_printf(&r->messages, "%s\n", entries[i].message);
    }
    buf_puts(&r->sent, "]");
    if (!r->ack)
        return;
    assert_true(r->due_count < RIG_ACKS_MAX);
    struct wire_ack *due = &r->due[r->due_count++];
    due->rollout = mem_strdup(report->rollout);
    due->seq = entries[report->entries.count - 1].seq;
}

static bool capture(void *ctx, const char *data, size_t len, bool droppable)
{
    struct agent_rig *r = ctx;
    struct wire_frame frame;
    struct error err = {0};
    if (r->refuse_sends)
        return false;
    if (wire_decode(data, len, &frame, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(droppable, frame.type == WIRE_OUTPUT);
    if (frame.type == WIRE_OUTPUT)
        buf_printf(&r->output, "%" PRId64 ":%s", frame.output.offset, frame.output.text);
    else if (frame.type == WIRE_REPORT)
        take_report(r, &frame.report);
    else
        fail_msg("the agent sent a %s", wire_type_names[frame.type]);
    wire_frame_done(&frame);
    return true;
}

static void renew(void *ctx)
{
    struct agent_rig *r = ctx;
    r->renewals++;
    if (r->agent->connected && !r->keeps_connection)
        agent_disconnected(r->agent);
}

/* ---- Life -------------------------------------------------------------------------------- */

static void guard_fired(uv_timer_t *guard)
{
    const struct agent_rig *r = guard->data;
    fail_msg("nothing more came; sent: %s", r->sent.data ? r->sent.data : "");
}

static void host_failed(void *ctx, const struct error *err)
{
    struct agent_rig *r = ctx;
    (void)err;
    r->failed = true;
}

void agent_rig_begin(struct agent_rig *r)
{
    struct error err = {0};
    const struct host_config config = {
        .loop = &r->loop,
        .orchestrator = "http://127.0.0.1:9",
        .data_dir = folder_path(&r->folder, "data"),
        .retention_ms = r->retention_ms,
        .undo_max_bytes = r->undo_max_bytes,
        .reboot_command = r->reboots_by ? r->reboots_by : "exit 1", /* never the machine itself */
        .failed = host_failed,
        .ctx = r,
    };
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->guard), 0);
    r->guard.data = r;
    assert_int_equal(uv_timer_start(&r->guard, guard_fired, GUARD_MS, 0), 0);
    if (host_new(&config, &r->host, &err) != ERR_OK || host_add(r->host, "s1", &err) != ERR_OK)
        fail_msg("%s", err.message);
    r->stopped = false;
    r->agent = r->host->agents[0]->agent;
    r->agent->config.link = (struct agent_link){r, capture, renew};
    if (r->boot_id)
        (void)snprintf(r->host->boot_id, sizeof(r->host->boot_id), "%s", r->boot_id);
    host_start(r->host); /* nothing listens there: the test is the connection */
}

void agent_rig_init(struct agent_rig *r)
{
    memset(r, 0, sizeof(*r));
    r->ack = true;
    log_setup(LOG_LOGFMT, LOG_ERROR);
    folder_make(&r->folder);
    agent_rig_begin(r);
}

static void deliver_acks(struct agent_rig *r);

static void host_stopped(void *ctx)
{
    struct agent_rig *r = ctx;
    r->stopped = true;
}

void agent_rig_end(struct agent_rig *r, int64_t grace_ms)
{
    deliver_acks(r);
    host_stop(r->host, grace_ms, host_stopped, r);
    while (!r->stopped)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    host_free(r->host);
    r->host = NULL;
    r->agent = NULL;
    uv_close((uv_handle_t *)&r->guard, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

void agent_rig_restart(struct agent_rig *r)
{
    agent_rig_end(r, 0);
    agent_rig_begin(r);
}

void agent_rig_done(struct agent_rig *r)
{
    if (r->host)
        agent_rig_end(r, 0);
    while (r->due_count > 0)
        mem_free(r->due[--r->due_count].rollout);
    buf_done(&r->sent);
    buf_done(&r->output);
    buf_done(&r->last_outputs);
    buf_done(&r->messages);
    buf_done(&r->facts);
    folder_remove(&r->folder);
}

static void deliver_acks(struct agent_rig *r)
{
    while (r->due_count > 0) {
        struct wire_ack ack = r->due[--r->due_count];
        if (r->agent->connected) /* else it is lost */
            agent_rig_ack(r, ack.rollout, ack.seq);
        mem_free(ack.rollout);
    }
}

void agent_rig_pass(struct agent_rig *r)
{
    deliver_acks(r);
    (void)uv_run(&r->loop, UV_RUN_ONCE);
    deliver_acks(r);
}

/* ---- What the orchestrator says ------------------------------------------------------------- */

void agent_rig_connect(struct agent_rig *r, int64_t epoch)
{
    struct error err = {0};
    char name[] = "orchestrator";
    const struct wire_welcome welcome = {
        .orchestrator = name, .epoch = epoch, .heartbeat_ms = 1000};
    if (agent_welcome(r->agent, &welcome, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

void agent_rig_frame(struct agent_rig *r, const char *json)
{
    struct wire_frame frame;
    struct error err = {0};
    if (wire_decode(json, strlen(json), &frame, &err) != ERR_OK ||
        agent_receive(r->agent, &frame, json, strlen(json), &err) != ERR_OK)
        fail_msg("%s", err.message);
    wire_frame_done(&frame);
}

void agent_rig_execute(struct agent_rig *r, const char *rollout, const char *steps)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_printf(&b,
               "{\"v\":1,\"type\":\"execute\",\"rollout\":\"%s\",\"epoch\":1,"
               "\"rollbackOnFailure\":true,\"reboots\":%s,\"steps\":[%s]}",
               rollout, r->old_orchestrator ? "false" : "true", steps);
    agent_rig_frame(r, b.data);
}

void agent_rig_ack(struct agent_rig *r, const char *rollout, int64_t seq)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_printf(&b, "{\"v\":1,\"type\":\"ack\",\"rollout\":\"%s\",\"seq\":%" PRId64 "}", rollout,
               seq);
    agent_rig_frame(r, b.data);
}

void agent_rig_await(struct agent_rig *r, const char *text)
{
    while (!r->sent.data || !strstr(r->sent.data, text))
        agent_rig_pass(r);
}

void agent_rig_settle(struct agent_rig *r)
{
    while (r->agent->run || r->agent->batches > 0)
        agent_rig_pass(r);
    deliver_acks(r);
}

const char *agent_rig_sent(struct agent_rig *r)
{
    static char text[8192];
    (void)snprintf(text, sizeof(text), "%s", r->sent.data ? r->sent.data : "");
    buf_clear(&r->sent);
    return text;
}

const char *agent_rig_hello(struct agent_rig *r)
{
    static char text[1024];
    AUTO_BUF struct buf b = BUF_INIT;
    struct wire_frame frame;
    struct error err = {0};
    size_t len = 0;
    agent_hello(r->agent, &b);
    assert_int_equal(wire_decode(b.data, b.len, &frame, &err), ERR_OK);
    assert_int_equal(frame.type, WIRE_HELLO);
    assert_string_equal(frame.hello.id, "s1");
    text[0] = '\0';
    for (size_t i = 0; i < frame.hello.executions.count; i++) {
        const struct wire_execution *x =
            ARRAY_AT(&frame.hello.executions, struct wire_execution, i);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s/%" PRId64 " ", x->rollout,
                                x->last_seq);
    }
    wire_frame_done(&frame);
    return text;
}

/* ---- For tests ----------------------------------------------------------------------- */

int agent_rig_set_up(void **state)
{
    struct agent_rig *r = MEM_NEW(struct agent_rig);
    assert_non_null(r);
    agent_rig_init(r);
    *state = r;
    return 0;
}

int agent_rig_tear_down(void **state)
{
    struct agent_rig *r = *state;
    agent_rig_done(r);
    mem_free(r);
    return 0;
}

const char *agent_rig_shell(const struct agent_rig *r, const char *name, const char *text,
                            const char *more)
{
    static char steps[4][2048];
    static unsigned next;
    char script[1024];
    char *step = steps[next++ % 4];
    const char *at = strstr(text, "%s");
    if (at)
        (void)snprintf(script, sizeof(script), "%.*s%s%s", (int)(at - text), text, r->folder.path,
                       at + 2);
    else
        (void)snprintf(script, sizeof(script), "%s", text);
    (void)snprintf(step, sizeof(steps[0]),
                   "{\"name\":\"%s\",\"type\":\"script\",\"params\":{\"script\":\"/bin/sh\","
                   "\"args\":[\"-c\",\"%s\"]}%s}",
                   name, script, more);
    return step;
}

const char *agent_rig_write(const struct agent_rig *r, const char *content)
{
    static char step[2048];
    (void)snprintf(step, sizeof(step),
                   "{\"name\":\"w\",\"type\":\"file_write\",\"params\":{\"path\":\"%s/target\","
                   "\"content\":\"%s\"}}",
                   r->folder.path, content);
    return step;
}

int agent_rig_gate(const struct agent_rig *r)
{
    assert_int_equal(mkfifo(folder_path(&r->folder, "gate"), 0600), 0);
    int fd = open(folder_path(&r->folder, "gate"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

void agent_rig_open_gate(int fd)
{
    assert_int_equal(write(fd, "\n", 1), 1);
}

const char *agent_rig_join(const char *a, const char *b)
{
    static char text[6144];
    (void)snprintf(text, sizeof(text), "%s,%s", a, b);
    return text;
}

void agent_rig_until_killed(struct agent_rig *r, const char *steps)
{
    int status = 0;
    r->ack = false; /* how far the acknowledgements came before the kill would be chance */
    agent_rig_end(r, 0);
    pid_t child = fork();
    if (child == 0) {
        agent_rig_begin(r);
        agent_rig_connect(r, 1);
        if (steps)
            agent_rig_execute(r, "r1", steps);
        agent_rig_settle(r);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    agent_rig_begin(r);
}
