#include "agent/agent_state.h"

#include "common/base/cleanup.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/text.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static int64_t wall_ms(const struct agent *a)
{
    return a->config.clock.wall_ms(a->config.clock.ctx);
}

static int64_t mono_ms(const struct agent *a)
{
    return a->config.clock.mono_ms(a->config.clock.ctx);
}

static unsigned traits_of(const struct agent *a, const struct plan_step *step)
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
        unsigned traits = traits_of(a, ARRAY_AT(&x->steps, struct plan_step, i));
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

/* ---- Operations ---------------------------------------------------------------------------- */

static enum handler_operation operation_of(enum executor_action_type type)
{
    if (type == EXECUTOR_PREPARE)
        return HANDLER_PREPARE;
    if (type == EXECUTOR_CHECK)
        return HANDLER_CHECK;
    return type == EXECUTOR_EXECUTE ? HANDLER_EXECUTE : HANDLER_ROLLBACK;
}

enum { POINT_BEFORE, POINT_BEGUN, POINT_ENDED };

/* The failpoints of an operation follow each other. A check has those of a prepare, which changes
 * nothing either. */
static enum failpoint point_of(enum executor_action_type type, int part)
{
    bool looks = type == EXECUTOR_PREPARE || type == EXECUTOR_CHECK;
    enum failpoint first = looks                      ? FAIL_AGENT_PREPARE_BEFORE
                           : type == EXECUTOR_EXECUTE ? FAIL_AGENT_EXECUTE_BEFORE
                                                      : FAIL_AGENT_UNDO_BEFORE;
    return (enum failpoint)((int)first + part);
}

/* Has at hand what was captured for the step; nothing is right too. */
static enum error_code undo_fetch(struct agent *a, struct run *run, uint32_t step,
                                  struct error *err)
{
    if (run->undo_step == (int64_t)step)
        return ERR_OK;
    mem_free(TAKE(run->undo));
    values_forget(run);
    run->undo_step = -1;
    enum error_code code = a->config.store.capture(a->config.store.ctx, a->config.identity.server,
                                                   run->execution->rollout, step, &run->undo, err);
    bool values = plan_step_has_values(run_step(run, step));
    if (code == ERR_NOT_FOUND && values)
        return error_set(err, ERR_CORRUPT, "what its values were is not on record");
    if (code != ERR_OK && code != ERR_NOT_FOUND)
        return code;
    code = values ? values_take_kept(run, err) : ERR_OK;
    run->undo_step = code == ERR_OK ? (int64_t)step : -1;
    return code;
}

static void result_set_error(struct run *run, const struct error *err)
{
    run->has_result = true;
    run->result =
        (struct handler_result){.outcome = HANDLER_FAILED, .retryable = err->code != ERR_CORRUPT};
    (void)snprintf(run->result.message, sizeof(run->result.message), "%s", err->message);
}

static struct handler_room room_now(const struct agent *a)
{
    struct undo_usage usage = a->config.store.usage(a->config.store.ctx);
    return (struct handler_room){usage.used_bytes, usage.max_bytes};
}

/* Said where the step's message is, since nothing can be had for it. */
static void result_note_lost_output(struct handler_result *result)
{
    static const char lost[] = "its output was lost: out of memory";
    char *message = result->message;
    size_t len =
        text_utf8_cut(message, strlen(message), sizeof(result->message) - sizeof(lost) - 2);
    (void)snprintf(message + len, sizeof(result->message) - len, "%s%s", len > 0 ? "; " : "", lost);
}

/* What undoing needs is at hand, or has a place. */
static enum error_code undo_ready(struct agent *a, struct run *run, bool changes, struct error *err)
{
    const struct executor_action *action = &run->operation;
    enum error_code code = ERR_OK;
    if (action->type != EXECUTOR_PREPARE)
        code = undo_fetch(a, run, action->step, err);
    /* A journal that has lost a capture has a step that began without one. */
    if (code == ERR_OK && changes && action->type == EXECUTOR_EXECUTE && !run->undo)
        code = error_set(err, ERR_CORRUPT, "what undoing it needs is not on record");
    if (code == ERR_OK && changes)
        code = a->config.store.folder(a->config.store.ctx, a->config.identity.server,
                                      run->execution->rollout, action->step, run->folder, err);
    return code;
}

static void operation_start(struct agent *a, struct run *run)
{
    const struct executor_action *action = &run->operation;
    const struct plan_step *step = run_step(run, action->step);
    struct error err = {0};
    bool check = action->type == EXECUTOR_CHECK;
    bool changes = !check && (traits_of(a, step) & STEP_TYPE_CHANGES) != 0;
    run->operation_began_ms = mono_ms(a);
    if ((check || action->type == EXECUTOR_PREPARE) && !values_ready(a, run))
        return;
    if (!check && undo_ready(a, run, changes, &err) != ERR_OK) {
        result_set_error(run, &err);
        return;
    }
    const struct runner_operation operation = {
        .operation = operation_of(action->type),
        .rollout = run->execution->rollout,
        .step = values_step(run, action->step),
        .planned = step->params_json,
        .values = run->late,
        .secrets = run->execution->secrets,
        .attempt = action->attempt,
        .reboots = action->reboots,
        .undo = action->type == EXECUTOR_PREPARE || check ? NULL : run->undo,
        .undo_dir = changes ? run->folder : NULL,
        .room = room_now(a),
        .force = action->force,
        .depends = action->depends,
        .depends_name =
            action->depends >= 0 ? run_step(run, (uint32_t)action->depends)->name : NULL,
    };
    run->busy = true;
    if (action->type == EXECUTOR_EXECUTE)
        reboot_output_go_on(a, run);
    FAILPOINT(point_of(action->type, POINT_BEFORE));
    a->config.runner.start(a->config.runner.ctx, &operation);
    FAILPOINT(point_of(action->type, POINT_BEGUN));
    if (run->busy)
        a->config.clock.set(a->config.clock.ctx, action->timeout_ms);
}

/* What was recorded is to be acknowledged once more. Over a connection that does not exist yet,
 * where the one that there is may live on and a new one would not come about; or over any of this
 * agent's, after the orders that stand. */
static void confirm_start(struct agent *a, struct run *run)
{
    run->confirm_after = run->operation.fresh ? a->connections : 0;
    a->config.clock.set(a->config.clock.ctx, run->operation.delay_ms);
    if (run->operation.fresh)
        a->config.link.renew(a->config.link.ctx);
    else if (a->connected)
        report_resend(a, run->execution, run->confirm_seq - 1);
}

static void action_start(struct agent *a, struct run *run)
{
    run->held = a->held && run->operation.type != EXECUTOR_REBOOT;
    if (run->held)
        return;
    if (run->operation.type == EXECUTOR_CONFIRM)
        confirm_start(a, run);
    else if (run->operation.type == EXECUTOR_REBOOT)
        reboot_start(a, run);
    else
        operation_start(a, run);
}

void run_release(struct agent *a)
{
    struct run *run = a->run;
    if (!run || !run->held || run->awaited || run->halted || a->failed)
        return;
    bool draining = a->draining;
    a->draining = true;
    action_start(a, run);
    a->draining = draining;
    run_drain(a);
}

/* ---- Room for undo ------------------------------------------------------------------------- */

/* What was past its retention is gone: the prepare begins again, with what room there is now. */
static void room_made(void *ctx, enum error_code result)
{
    struct agent *a = ctx;
    struct run *run = a->run;
    (void)result; /* a journal that cannot be written any more is told elsewhere */
    assert(run && run->making_room);
    run->making_room = false;
    run->halted = run->halted || a->stopping;
    if (!run->halted && !a->failed) {
        bool draining = a->draining;
        a->draining = true;
        action_start(a, run);
        a->draining = draining;
        run_drain(a);
    }
    agent_check_quiet(a);
}

/* A prepare found no room: true when some is being made for it. */
static bool room_make(struct agent *a, struct run *run, const struct handler_result *result)
{
    struct error err = {0};
    if (!result->no_room || run->made_room || a->stopping)
        return false;
    run->made_room = run->making_room = true;
    if (a->config.store.expire(a->config.store.ctx, wall_ms(a), room_made, a, &err) == ERR_OK)
        return true;
    run->making_room = false;
    return false;
}

/* ---- Results ------------------------------------------------------------------------------- */

void agent_operation_done(struct agent *a, const struct handler_result *result, const char *output)
{
    struct run *run = a->run;
    assert(run && run->busy);
    FAILPOINT(point_of(run->operation.type, POINT_ENDED));
    run->busy = false;
    a->config.clock.stop(a->config.clock.ctx);
    if (a->interrupted) {
        run->halted = true; /* its end is left open, to be judged after the restart */
        agent_check_quiet(a);
        return;
    }
    if (room_make(a, run, result))
        return;
    run->has_result = true;
    run->result = *result;
    run->result.undo = result->undo ? mem_strdup(result->undo) : NULL;
    run->result.outputs = result->outputs ? mem_strdup(result->outputs) : NULL;
    if ((result->undo && !run->result.undo) || (result->outputs && !run->result.outputs))
        result_set_error(run, &(struct error){ERR_NO_MEMORY, "out of memory"});
    mem_free(run->output);
    run->output = output ? mem_strdup(output) : NULL;
    if (output && !run->output)
        result_note_lost_output(&run->result);
    run_drain(a);
    agent_check_quiet(a);
}

void agent_operation_output(struct agent *a, int64_t offset, const char *text)
{
    const struct run *run = a->run;
    if (!run || !a->connected || run->operation.type != EXECUTOR_EXECUTE)
        return;
    AUTO_BUF struct buf b = BUF_INIT;
    const struct wire_frame frame = {
        .type = WIRE_OUTPUT,
        .output = {.rollout = run->execution->rollout,
                   .step = run->operation.step,
                   .attempt = run->operation.attempt,
                   .offset = offset + reboot_output_length(run),
                   .text = (char *)(uintptr_t)text},
    };
    wire_encode(&b, &frame);
    if (buf_check(&b, NULL) == ERR_OK)
        (void)a->config.link.send(a->config.link.ctx, b.data, b.len, true);
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
        action_start(a, run);
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
    bool changes = (traits_of(a, run_step(run, step)) & STEP_TYPE_CHANGES) != 0;
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
        action_start(a, run);
    a->draining = false;
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
