#include "agent/agent_state.h"

#include "common/base/cleanup.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"

#include <assert.h>
#include <stdio.h>

static int64_t wall_ms(const struct agent *a)
{
    return a->config.clock.wall_ms(a->config.clock.ctx);
}

static struct executor_record record_of(const struct wire_entry *entry)
{
    return (struct executor_record){
        .type = (enum report_type)entry->type,
        .time_ms = entry->time_ms,
        .step = (int32_t)entry->step,
        .attempt = entry->attempt,
        .state = entry->state,
        .undoing = entry->undoing,
        .force = entry->force,
        .changed = entry->changed,
        .away_ms = entry->away_ms,
        .message = entry->message,
    };
}

static enum error_code replay(struct run *run, const struct undo_image *image, struct error *err)
{
    for (size_t i = 0; i < image->entries.count; i++) {
        struct executor_record record = record_of(ARRAY_AT(&image->entries, struct wire_entry, i));
        enum error_code code = executor_replay(run->executor, &record, err);
        const struct wire_entry *entry = ARRAY_AT(&image->entries, struct wire_entry, i);
        if (code == ERR_OK && entry->outputs && record.type == REPORT_STEP_ENDED)
            code = values_put_out(run, (uint32_t)record.step, entry->outputs, err);
        if (code != ERR_OK)
            return code;
        reboot_output_take(run, entry);
        if (record.type == REPORT_CONFIRMING || record.type == REPORT_STEP_REBOOTING)
            run->confirm_seq = entry->seq;
    }
    for (size_t i = 0; i < image->captured.count; i++)
        executor_captured(run->executor, (uint32_t)*ARRAY_AT(&image->captured, int64_t, i));
    return ERR_OK;
}

/* The steps, from the frame as it was received. */
static enum error_code spec_read(struct execution *x, const struct undo_image *image,
                                 struct error *err)
{
    struct wire_frame frame = {0};
    if (image->spec_damaged)
        return error_set(err, ERR_CORRUPT, "its steps are damaged on the disk");
    if (!image->spec)
        return ERR_OK;
    enum error_code code = wire_decode(image->spec, image->spec_len, &frame, err);
    if (code != ERR_OK)
        return code;
    if (frame.type == WIRE_EXECUTE) {
        x->rollback_on_failure = frame.execute.rollback_on_failure;
        x->check = frame.execute.check;
        x->reboots = frame.execute.reboots;
        x->confirm_ms = frame.execute.confirm_ms;
        x->steps = frame.execute.steps;
        frame.execute.steps = (struct array){0};
        x->vars = TAKE(frame.execute.vars);
        x->secrets = TAKE(frame.execute.secrets);
    } else {
        code = error_set(err, ERR_CORRUPT, "the record is not of an execution");
    }
    wire_frame_done(&frame);
    return code;
}

/* An execution whose record cannot be understood: it is ended in the way its state calls for. */
static void settle_unreadable(struct agent *a, struct execution *x, const struct undo_image *image,
                              const struct error *why)
{
    char message[ERROR_MESSAGE_MAX + 64];
    bool ended = false;
    bool undoing = false;
    int64_t rounds = 0;
    for (size_t i = 0; i < image->entries.count; i++) {
        int type = ARRAY_AT(&image->entries, struct wire_entry, i)->type;
        ended = ended || type == REPORT_ENDED;
        rounds += type == REPORT_ROLLBACK_STARTED;
        undoing = type == REPORT_ROLLBACK_STARTED || (undoing && type != REPORT_ROLLED_BACK);
    }
    int64_t round = x->rollback.round;
    bool force = x->rollback.force;
    x->rollback = (struct undo_order){0};
    if (x->settled && !undoing && round <= rounds) {
        report_resend(a, x, 0);
        return;
    }
    (void)snprintf(message, sizeof(message), "the record of this execution cannot be read: %s",
                   why->message);
    const struct executor_record records[] = {
        {.type = REPORT_ENDED,
         .time_ms = wall_ms(a),
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_FAILED,
         .message = message},
        {.type = REPORT_ROLLBACK_STARTED,
         .time_ms = wall_ms(a),
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_ROLLING_BACK,
         .force = force},
        {.type = REPORT_ROLLED_BACK,
         .time_ms = wall_ms(a),
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_ROLLBACK_FAILED,
         .message = message},
    };
    size_t first = undoing ? 2 : ended ? 1 : 0;
    report_settle(a, x, records + first, first == 0 ? 1 : ARRAY_LEN(records) - first);
}

static enum error_code resume(struct agent *a, struct execution *x, struct undo_image *image,
                              struct error *err)
{
    enum error_code code = spec_read(x, image, err);
    if (code != ERR_OK)
        return code;
    AUTO(run_free) struct run *run = run_new(a, x, err);
    if (!run)
        return ERR_NO_MEMORY;
    code = replay(run, image, err);
    if (code != ERR_OK)
        return code;
    /* On disk before what may have killed the agent begins again. */
    if (!x->settled) {
        x->restarts++;
        code = batch_note(a, x, &run->batch, err);
        if (code != ERR_OK)
            return code;
    }
    uint32_t step;
    if (executor_interrupted(run->executor, &step))
        a->config.runner.clean(a->config.runner.ctx, x->rollout, run_step(run, step)->name);
    run->resumed = true;
    executor_resume(run->executor, wall_ms(a), x->restarts, reboot_happened(a, &image->entries));
    a->run = TAKE(run);
    return ERR_OK;
}

static void run_resume(struct agent *a, struct execution *x)
{
    struct undo_image image = {0};
    struct error err = {0};
    FAILPOINT(FAIL_AGENT_RESUME);
    enum error_code code = a->config.store.load(a->config.store.ctx, a->config.identity.server,
                                                x->rollout, &image, &err);
    bool loaded = code == ERR_OK;
    if (loaded)
        code = resume(a, x, &image, &err);
    if (code == ERR_OK)
        log_info("execution goes on", LOG_STR("server", a->config.identity.server),
                 LOG_STR("rollout", x->rollout), LOG_END);
    else if (code == ERR_NOT_FOUND && !loaded)
        report_no_record(a, x); /* it expired while it waited for its turn */
    else if (code == ERR_NO_MEMORY || !loaded)
        agent_fail(a, &err);
    else
        settle_unreadable(a, x, &image, &err);
    undo_image_done(&image);
}

static void run_new_execution(struct agent *a, struct execution *x)
{
    struct error err = {0};
    const struct executor_event begin = {.type = EXECUTOR_BEGIN, .time_ms = wall_ms(a)};
    if (trusted_begin(a, x, &err) != ERR_OK) {
        trusted_refuse(a, x, x->rollback_on_failure, &err);
        return;
    }
    struct run *run = run_new(a, x, &err);
    if (!run) {
        agent_fail(a, &err);
        return;
    }
    a->run = run;
    executor_step(run->executor, &begin);
}

void run_begin(struct agent *a, struct execution *x)
{
    enum turn turn = x->turn;
    assert(!a->run && turn != TURN_NONE);
    x->turn = TURN_NONE;
    a->queued--;
    if (turn == TURN_BEGIN)
        run_new_execution(a, x);
    else
        run_resume(a, x);
    if (a->run && !a->failed)
        run_drain(a);
}
