#include "agent/agent_state.h"

#include "common/base/cleanup.h"

#include <stdio.h>

static int64_t wall_ms(const struct agent *a)
{
    return a->config.clock.wall_ms(a->config.clock.ctx);
}

static int64_t mono_ms(const struct agent *a)
{
    return a->config.clock.mono_ms(a->config.clock.ctx);
}

unsigned run_step_traits(const struct agent *a, const struct plan_step *step)
{
    const struct step_type *type = step_catalog_find(a->config.catalog, step->type);
    return type ? type->traits : 0;
}

const struct plan_step *run_step(const struct run *run, uint32_t step)
{
    return ARRAY_AT(&run->execution->steps, struct plan_step, step);
}

/* ---- Life -------------------------------------------------------------------------------- */

void run_free(struct run *run)
{
    if (!run)
        return;
    executor_free(run->executor);
    batch_free(run->batch);
    mem_free(run->traits);
    mem_free(run->output);
    mem_free(run->before);
    mem_free(run->undo);
    mem_free(run->result.undo);
    mem_free(run->result.outputs);
    values_done(run);
    mem_free(run);
}

struct run *run_new(const struct agent *a, struct execution *x, struct error *err)
{
    AUTO(run_free) struct run *run = MEM_NEW(struct run);
    if (!run || !(run->traits = mem_array(x->steps.count, sizeof(*run->traits)))) {
        error_set(err, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    run->execution = x;
    if (values_init(run, err) != ERR_OK)
        return NULL;
    run->first_seq = x->last_seq;
    run->undo_step = -1;
    run->confirm_after = -1;
    for (size_t i = 0; i < x->steps.count; i++) {
        unsigned traits = run_step_traits(a, ARRAY_AT(&x->steps, struct plan_step, i));
        run->traits[i].idempotent = (traits & STEP_TYPE_IDEMPOTENT) != 0;
        run->traits[i].instant = (traits & STEP_TYPE_INSTANT) != 0;
        run->traits[i].inert = (traits & STEP_TYPE_CHANGES) == 0;
    }
    const struct executor_config config = {
        .steps = x->steps.items,
        .traits = run->traits,
        .count = x->steps.count,
        .rollback_on_failure = x->rollback_on_failure && !x->check,
        .check = x->check,
        .cautious = a->cautious || x->replaces,
        .confirm_ms = x->check ? 0 : x->confirm_ms,
    };
    if (executor_new(&config, &run->executor, err) != ERR_OK)
        return NULL;
    return TAKE(run);
}

/* ---- Actions ----------------------------------------------------------------------------- */

static void run_flush(struct agent *a, struct run *run)
{
    if (run->batch)
        batch_submit(a, TAKE(run->batch));
}

/* Nothing is begun while something waits for a full disk, not even what changes nothing; nor before
 * it is durable that what was signed is spent. */
static bool waits_for_disk(const struct agent *a, const struct execution *x,
                           const struct executor_action *action)
{
    bool unspent = x->nonce[0] != '\0' && x->durable_seq == 0;
    return action->durable_first || unspent || a->config.store.stalled(a->config.store.ctx);
}

static void act_operation(struct agent *a, struct run *run, const struct executor_action *action)
{
    run->operation = *action;
    run->made_room = false;
    mem_free(TAKE(run->output));
    if (a->stopping) {
        run->halted = true;
        return;
    }
    if (waits_for_disk(a, run->execution, action)) {
        run_flush(a, run);
        run->awaited = run->execution->last_batch;
    }
    if (run->awaited)
        run->held = true;
    else if (!a->failed)
        operation_begin(a, run);
}

static void act_stop(struct agent *a, struct run *run)
{
    if (run->held) { /* it has not begun */
        run->held = false;
        run->has_result = true;
        run->result = (struct handler_result){.outcome = HANDLER_CANCELLED};
    } else if (run->operation.type == EXECUTOR_REBOOT) {
        reboot_stop(a, run);
    } else {
        a->config.runner.cancel(a->config.runner.ctx);
    }
}

static void act(struct agent *a, struct run *run, const struct executor_action *action)
{
    switch (action->type) {
    case EXECUTOR_RECORD:
        run->finished = false;
        run_record(a, run, &action->record);
        break;
    case EXECUTOR_PREPARE:
    case EXECUTOR_EXECUTE:
    case EXECUTOR_UNDO:
    case EXECUTOR_CHECK:
    case EXECUTOR_REBOOT:
    case EXECUTOR_CONFIRM:
        act_operation(a, run, action);
        break;
    case EXECUTOR_STOP:
        act_stop(a, run);
        break;
    case EXECUTOR_TIMER_START:
        a->config.clock.set(a->config.clock.ctx, action->delay_ms);
        break;
    case EXECUTOR_TIMER_STOP:
        a->config.clock.stop(a->config.clock.ctx);
        break;
    case EXECUTOR_FINISHED:
        run->finished = true;
        run->execution->settled = true;
        break;
    }
}

/* ---- Events ------------------------------------------------------------------------------ */

static enum executor_outcome outcome_of(enum handler_outcome outcome)
{
    if (outcome == HANDLER_OK)
        return EXECUTOR_OK;
    return outcome == HANDLER_FAILED ? EXECUTOR_FAILED : EXECUTOR_STOPPED;
}

/* What prepare captured goes to the disk with what is recorded next, before the change begins. */
static void keep_capture(struct agent *a, struct run *run)
{
    uint32_t step = run->operation.step;
    struct error err = {0};
    bool changes = (run_step_traits(a, run_step(run, step)) & STEP_TYPE_CHANGES) != 0;
    bool values = run->params != NULL;
    mem_free(run->undo);
    run->undo = TAKE(run->result.undo);
    run->undo_step = step;
    if (!run->undo && !changes && !values)
        return;
    if (!run->undo)
        run->undo = mem_strdup("{}");
    AUTO_FREE char *kept = run->undo && values ? values_keep(run, run->undo) : NULL;
    if (!run->undo || (values && !kept))
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
    if (!run->undo || (values && !kept) ||
        batch_capture(a, run->execution, &run->batch, step, kept ? kept : run->undo, &err) !=
            ERR_OK)
        agent_fail(a, &err);
}

static void refuse_reboot(const struct agent *a, struct run *run)
{
    const char *why = reboot_refused(a, run->execution);
    if (!why)
        return;
    run->result.outcome = HANDLER_FAILED;
    run->result.retryable = false;
    (void)snprintf(run->result.message, sizeof(run->result.message), "%s", why);
}

static void feed_result(struct agent *a, struct run *run)
{
    static const enum executor_event_type events[] = {
        [EXECUTOR_PREPARE] = EXECUTOR_PREPARED, [EXECUTOR_EXECUTE] = EXECUTOR_EXECUTED,
        [EXECUTOR_UNDO] = EXECUTOR_UNDONE,      [EXECUTOR_CHECK] = EXECUTOR_CHECKED,
        [EXECUTOR_REBOOT] = EXECUTOR_STAYED,
    };
    const struct handler_result *result = &run->result;
    bool skipped = run->skipped;
    run->has_result = run->skipped = false;
    if (run->operation.type == EXECUTOR_EXECUTE && result->outcome == HANDLER_OK && result->reboot)
        refuse_reboot(a, run);
    if (run->operation.type == EXECUTOR_PREPARE && result->outcome == HANDLER_OK && !skipped)
        keep_capture(a, run);
    const struct executor_event event = {
        .type = events[run->operation.type],
        .time_ms = wall_ms(a),
        .result = {.outcome = outcome_of(result->outcome),
                   .changed = result->changed,
                   .skipped = skipped,
                   .reboot = result->reboot,
                   .away_ms = result->away_ms,
                   .retryable = result->retryable,
                   .conflict = result->conflict,
                   .has_exit_code = result->has_exit_code,
                   .exit_code = result->exit_code,
                   .duration_ms = mono_ms(a) - run->operation_began_ms,
                   .message = result->message[0] != '\0' ? result->message : NULL},
    };
    mem_free(run->put_out);
    run->put_out = TAKE(run->result.outputs);
    executor_step(run->executor, &event);
    mem_free(TAKE(run->result.undo));
}

/* Gives the executor what happened meanwhile; false when nothing did. */
static bool feed(struct agent *a, struct run *run)
{
    struct execution *x = run->execution;
    struct executor_event event = {.time_ms = wall_ms(a)};
    if (run->has_result) {
        feed_result(a, run);
        return true;
    }
    if (run->confirmed) {
        run->confirmed = false;
        event.type = EXECUTOR_CONFIRMED;
        executor_step(run->executor, &event);
        return true;
    }
    if (x->rollback.round > 0) {
        event.type = EXECUTOR_ROLLBACK;
        event.round = x->rollback.round;
        event.force = x->rollback.force;
    } else if (x->cancel) {
        event.type = EXECUTOR_CANCEL;
        event.now = x->cancel_now;
    } else {
        return false;
    }
    x->rollback = (struct undo_order){0};
    x->cancel = x->cancel_now = false;
    executor_step(run->executor, &event);
    return true;
}

static void run_end(struct agent *a)
{
    AUTO(run_free) struct run *run = TAKE(a->run);
    struct execution *x = run->execution;
    for (size_t i = 0; i < x->steps.count; i++)
        plan_step_release(ARRAY_AT(&x->steps, struct plan_step, i));
    mem_free(x->steps.items);
    x->steps = (struct array){0};
    mem_free(TAKE(x->vars));
    mem_free(TAKE(x->secrets));
    a->cautious = false;
    /* Asked to do what was done already: whoever asks does not know how it ended. */
    if (run->resumed && x->last_seq == run->first_seq)
        report_resend(a, x, 0);
    execution_forget_if_done(a, x);
    agent_next(a);
}

void run_drain(struct agent *a)
{
    struct run *run = a->run;
    struct executor_action action;
    if (a->draining)
        return;
    a->draining = true;
    while (!run->awaited && !run->making_room && !run->halted && !a->failed) {
        if (executor_next(run->executor, &action))
            act(a, run, &action);
        else if (!feed(a, run))
            break;
    }
    a->draining = false;
    run_flush(a, run);
    if (run->finished && !run->has_result && run->execution->batches == 0 && !a->failed)
        run_end(a);
}

void run_durable(struct agent *a, const struct batch *batch)
{
    struct run *run = a->run;
    if (run->awaited == batch)
        run->awaited = NULL;
    if (run->held && !run->awaited && a->stopping)
        run->halted = true;
    a->draining = true;
    if (run->held && !run->awaited && !run->halted && !a->failed)
        operation_begin(a, run);
    a->draining = false;
    run_drain(a);
}

void run_release(struct agent *a)
{
    struct run *run = a->run;
    if (!run || !run->held || run->awaited || run->halted || a->failed)
        return;
    bool draining = a->draining;
    a->draining = true;
    operation_begin(a, run);
    a->draining = draining;
    run_drain(a);
}

void run_connected(struct agent *a)
{
    const struct run *run = a->run;
    if (run && run->confirm_after >= 0 && run->execution->acked_seq >= run->confirm_seq)
        run->execution->acked_seq = run->confirm_seq - 1;
}

void run_acked(struct agent *a)
{
    struct run *run = a->run;
    reboot_acked(a, run);
    if (run->confirm_after < 0 || a->connections == run->confirm_after ||
        run->execution->acked_seq < run->confirm_seq)
        return;
    run->confirm_after = -1;
    run->confirmed = true;
    run_drain(a);
}

void agent_alarm(struct agent *a)
{
    struct run *run = a->run;
    if (!run || run->halted || a->failed || a->interrupted)
        return;
    if (!run->busy && a->stopping) {
        run->halted = true; /* a wait for the next attempt: it is cut short by the restart */
        return;
    }
    if (reboot_alarm(a, run))
        return;
    const struct executor_event event = {.type = EXECUTOR_TIMER, .time_ms = wall_ms(a)};
    executor_step(run->executor, &event);
    run_drain(a);
}
