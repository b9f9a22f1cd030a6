#include "agent/agent_state.h"

#include "common/base/cleanup.h"
#include "common/base/failpoint.h"
#include "common/base/text.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

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
    bool changes = !check && (run_step_traits(a, step) & STEP_TYPE_CHANGES) != 0;
    run->operation_began_ms = a->config.clock.mono_ms(a->config.clock.ctx);
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

void operation_begin(struct agent *a, struct run *run)
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
        operation_begin(a, run);
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
    if (a->config.store.expire(a->config.store.ctx, a->config.clock.wall_ms(a->config.clock.ctx),
                               room_made, a, &err) == ERR_OK)
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
