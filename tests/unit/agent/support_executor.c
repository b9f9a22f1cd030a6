#include "unit/agent/support_executor.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char names[STEPS_MAX][4] = {"a", "b", "c", "d", "e", "f", "g", "h"};

void rig_init(struct rig *r, size_t count)
{
    memset(r, 0, sizeof(*r));
    r->count = count;
    r->now_ms = 1000;
    r->rollback_on_failure = true;
    for (size_t i = 0; i < count; i++) {
        r->steps[i] = (struct plan_step){
            .name = names[i],
            .required = true,
            .timeout_ms = TIMEOUT_MS,
            .retry = {.initial_interval_ms = 1000,
                      .backoff_coefficient = 2.0,
                      .maximum_interval_ms = 3000},
        };
    }
}

void rig_done(struct rig *r)
{
    for (size_t i = 0; i < r->record_count; i++)
        mem_free((char *)(uintptr_t)r->records[i].message);
    executor_free(r->x);
    buf_done(&r->trace);
}

void rig_make(struct rig *r)
{
    struct error err;
    const struct executor_config config = {
        .steps = r->steps,
        .traits = r->traits,
        .count = r->count,
        .rollback_on_failure = r->rollback_on_failure,
        .cautious = r->cautious,
        .check = r->check,
        .confirm_ms = r->confirm_ms,
    };
    executor_free(r->x);
    r->x = NULL;
    assert_int_equal(executor_new(&config, &r->x, &err), ERR_OK);
    r->under_way = r->waiting = r->confirming = r->finished = false;
}

static void write_record(struct rig *r, const struct executor_record *e)
{
    struct buf *b = &r->trace;
    switch (e->type) {
    case REPORT_STARTED:
        buf_puts(b, "started ");
        break;
    case REPORT_STEP_STARTED:
        buf_printf(b, "begun%d.%d ", e->step, (int)e->attempt);
        break;
    case REPORT_STEP_RETRYING:
        buf_printf(b, "retrying%d.%d ", e->step, (int)e->attempt);
        break;
    case REPORT_STEP_REBOOTING:
        buf_printf(b, "rebooting%d.%d ", e->step, (int)e->attempt);
        break;
    case REPORT_STEP_REBOOTED:
        buf_printf(b, "rebooted%d.%d ", e->step, (int)e->attempt);
        break;
    case REPORT_STEP_ENDED:
        buf_printf(b, "%d=%s%s ", e->step, step_state_names[e->state],
                   e->state == STEP_SUCCEEDED && !e->changed ? "-" : "");
        break;
    case REPORT_CONFIRMING:
        buf_puts(b, "confirming ");
        break;
    case REPORT_ENDED:
        buf_printf(b, "ended=%s%s ", execution_state_names[e->state], e->undoing ? "+undo" : "");
        break;
    case REPORT_ROLLBACK_STARTED:
        buf_printf(b, "undoing%s ", e->force ? "+force" : "");
        break;
    case REPORT_STEP_ROLLED_BACK:
        buf_printf(b, "%d=%s%s ", e->step, step_state_names[e->state],
                   e->conflict ? "+conflict" : "");
        break;
    case REPORT_ROLLED_BACK:
        buf_printf(b, "over=%s ", execution_state_names[e->state]);
        break;
    case REPORT_TYPE_COUNT:
        break;
    }
}

void rig_keep(struct rig *r, const struct executor_record *record)
{
    assert_true(r->record_count < RECORDS_MAX);
    struct executor_record *kept = &r->records[r->record_count++];
    *kept = *record;
    if (record->message) {
        kept->message = mem_strdup(record->message);
        assert_non_null(kept->message);
    }
}

static void write_operation(struct rig *r, const char *name, const struct executor_action *action)
{
    assert_false(r->under_way);
    r->under_way = true;
    r->operation = *action;
    buf_printf(&r->trace, "%s%u.%d%s%s", name, action->step, (int)action->attempt,
               action->durable_first ? "!" : "", action->force ? "+force" : "");
    if (action->reboots > 0)
        buf_printf(&r->trace, "~%d", (int)action->reboots);
    if (action->depends != EXECUTOR_NO_STEP)
        buf_printf(&r->trace, "(%d)", action->depends);
    buf_putc(&r->trace, ' ');
}

void rig_take_actions(struct rig *r)
{
    struct executor_action action;
    while (executor_next(r->x, &action)) {
        switch (action.type) {
        case EXECUTOR_RECORD:
            r->finished = false;
            write_record(r, &action.record);
            rig_keep(r, &action.record);
            break;
        case EXECUTOR_PREPARE:
            write_operation(r, "prepare", &action);
            break;
        case EXECUTOR_EXECUTE:
            write_operation(r, "execute", &action);
            break;
        case EXECUTOR_UNDO:
            write_operation(r, "undo", &action);
            break;
        case EXECUTOR_CHECK:
            write_operation(r, "check", &action);
            break;
        case EXECUTOR_REBOOT:
            write_operation(r, "reboot", &action);
            break;
        case EXECUTOR_STOP:
            assert_true(r->under_way);
            buf_puts(&r->trace, "stop ");
            break;
        case EXECUTOR_TIMER_START:
            r->waiting = true;
            buf_printf(&r->trace, "wait%d ", (int)action.delay_ms);
            break;
        case EXECUTOR_CONFIRM:
            r->confirming = true;
            buf_printf(&r->trace, "%s%d%s ", action.fresh ? "confirm" : "hear",
                       (int)action.delay_ms, action.durable_first ? "!" : "");
            break;
        case EXECUTOR_TIMER_STOP:
            assert_true(r->waiting || r->confirming);
            r->waiting = r->confirming = false;
            buf_puts(&r->trace, "nowait ");
            break;
        case EXECUTOR_FINISHED:
            r->finished = true;
            buf_puts(&r->trace, "finished ");
            break;
        }
    }
}

/* Without the space at the end. */
const char *rig_trace(struct rig *r)
{
    static char text[4096];
    size_t len = r->trace.len > 0 ? r->trace.len - 1 : 0;
    assert_true(len < sizeof(text));
    if (len > 0)
        memcpy(text, r->trace.data, len);
    text[len] = '\0';
    buf_clear(&r->trace);
    return text;
}

static const char *rig_event(struct rig *r, struct executor_event e)
{
    e.time_ms = r->now_ms++;
    executor_step(r->x, &e);
    rig_take_actions(r);
    return rig_trace(r);
}

const char *rig_begin(struct rig *r)
{
    rig_make(r);
    return rig_event(r, (struct executor_event){.type = EXECUTOR_BEGIN});
}

const char *rig_over(struct rig *r, struct executor_result result)
{
    static const enum executor_event_type events[] = {
        [EXECUTOR_PREPARE] = EXECUTOR_PREPARED, [EXECUTOR_EXECUTE] = EXECUTOR_EXECUTED,
        [EXECUTOR_UNDO] = EXECUTOR_UNDONE,      [EXECUTOR_CHECK] = EXECUTOR_CHECKED,
        [EXECUTOR_REBOOT] = EXECUTOR_STAYED,
    };
    assert_true(r->under_way);
    r->under_way = false;
    return rig_event(r,
                     (struct executor_event){.type = events[r->operation.type], .result = result});
}

const char *rig_ok(struct rig *r)
{
    return rig_over(r, (struct executor_result){.outcome = EXECUTOR_OK, .changed = true});
}

const char *rig_unchanged(struct rig *r)
{
    return rig_over(r, (struct executor_result){.outcome = EXECUTOR_OK});
}

const char *rig_fails(struct rig *r, bool retryable)
{
    return rig_over(r, (struct executor_result){.outcome = EXECUTOR_FAILED,
                                                .retryable = retryable,
                                                .message = "it broke"});
}

const char *rig_stopped(struct rig *r)
{
    return rig_over(r, (struct executor_result){.outcome = EXECUTOR_STOPPED, .message = "killed"});
}

const char *rig_timer(struct rig *r)
{
    r->waiting = r->confirming = false;
    return rig_event(r, (struct executor_event){.type = EXECUTOR_TIMER});
}

const char *rig_cancel(struct rig *r, bool now)
{
    return rig_event(r, (struct executor_event){.type = EXECUTOR_CANCEL, .now = now});
}

const char *rig_order(struct rig *r, int64_t round, bool force)
{
    return rig_event(
        r, (struct executor_event){.type = EXECUTOR_ROLLBACK, .round = round, .force = force});
}

const char *rig_rollback(struct rig *r)
{
    return rig_order(r, 1, false);
}

const char *rig_confirmed(struct rig *r)
{
    return rig_event(r, (struct executor_event){.type = EXECUTOR_CONFIRMED});
}

const char *rig_conflicts(struct rig *r)
{
    return rig_over(r, (struct executor_result){.outcome = EXECUTOR_FAILED,
                                                .retryable = true,
                                                .conflict = true,
                                                .message = "theirs"});
}

const char *rig_wants_reboot(struct rig *r)
{
    return rig_over(r,
                    (struct executor_result){
                        .outcome = EXECUTOR_OK, .changed = true, .reboot = true, .away_ms = 7000});
}

const struct executor_record *rig_last(const struct rig *r)
{
    return &r->records[r->record_count - 1];
}

static const char *restart(struct rig *r, size_t count, int64_t restarts, bool rebooted)
{
    struct error err;
    rig_make(r);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(executor_replay(r->x, &r->records[i], &err), ERR_OK);
        if (r->records[i].type == REPORT_STEP_STARTED)
            executor_captured(r->x, (uint32_t)r->records[i].step);
    }
    while (r->record_count > count)
        mem_free((char *)(uintptr_t)r->records[--r->record_count].message);
    executor_resume(r->x, r->now_ms++, restarts, rebooted);
    rig_take_actions(r);
    return rig_trace(r);
}

const char *rig_restart(struct rig *r, size_t count, int64_t restarts)
{
    return restart(r, count, restarts, false);
}

const char *rig_reboot(struct rig *r, size_t count, int64_t restarts)
{
    return restart(r, count, restarts, true);
}
