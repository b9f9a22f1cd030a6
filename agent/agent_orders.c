#include "agent/agent_state.h"

#include "common/base/cleanup.h"
#include "common/base/failpoint.h"

#include <inttypes.h>
#include <string.h>

/* ---- Orchestrators and their epochs ------------------------------------------------------------
 */

/* Raises the highest epoch seen of the orchestrator that is connected. */
static enum error_code epoch_raise(struct agent *a, int64_t epoch, struct error *err)
{
    if (epoch == a->epoch)
        return ERR_OK;
    FAILPOINT(FAIL_AGENT_EPOCH_BEFORE);
    enum error_code code = a->config.store.save_epoch(
        a->config.store.ctx, a->config.identity.server, a->orchestrator, epoch, err);
    FAILPOINT(FAIL_AGENT_EPOCH_AFTER);
    if (code == ERR_OK)
        a->epoch = epoch;
    return code;
}

/* Reads what is on record of this orchestrator, unless it is the one known already. */
static enum error_code orchestrator_know(struct agent *a, const char *name, struct error *err)
{
    int64_t epoch = 0;
    if (a->orchestrator && strcmp(a->orchestrator, name) == 0)
        return ERR_OK;
    enum error_code code =
        a->config.store.epoch(a->config.store.ctx, a->config.identity.server, name, &epoch, err);
    if (code != ERR_OK)
        return code;
    char *copy = mem_strdup(name);
    if (!copy)
        return error_set(err, ERR_NO_MEMORY, NULL);
    mem_free(a->orchestrator);
    a->orchestrator = copy;
    a->epoch = epoch;
    return ERR_OK;
}

static enum error_code epoch_check(const struct agent *a, int64_t epoch, struct error *err)
{
    if (epoch >= a->epoch)
        return ERR_OK;
    return error_set(err, ERR_STALE,
                     "the orchestrator's epoch is %" PRId64 ", but %" PRId64
                     " was seen before: it is "
                     "an old one, or runs on an old copy of its data",
                     epoch, a->epoch);
}

enum error_code orders_welcome(struct agent *a, const struct wire_welcome *welcome,
                               struct error *err)
{
    enum error_code code = orchestrator_know(a, welcome->orchestrator, err);
    if (code == ERR_OK)
        code = epoch_check(a, welcome->epoch, err);
    return code == ERR_OK ? epoch_raise(a, welcome->epoch, err) : code;
}

/* ---- What the orchestrator asks ----------------------------------------------------------------
 */

/* A frame as it came. */
struct slice {
    const char *data;
    size_t len;
};

/* Brings an execution that is in the store alone back into the list. ERR_NOT_FOUND; ERR_STALE: it
 * is past its retention, which is as if there were none. */
static enum error_code execution_adopt(struct agent *a, const char *rollout,
                                       struct execution **ret_execution, struct error *err)
{
    struct undo_status status;
    enum error_code code =
        a->config.store.find(a->config.store.ctx, a->config.identity.server, rollout,
                             a->config.clock.wall_ms(a->config.clock.ctx), &status, err);
    if (code != ERR_OK)
        return code;
    struct execution *x = execution_add(a, rollout, err);
    if (!x)
        return ERR_NO_MEMORY;
    execution_take_status(x, &status);
    *ret_execution = x;
    return ERR_OK;
}

static bool is_unknown(enum error_code code)
{
    return code == ERR_NOT_FOUND || code == ERR_STALE;
}

/* One of which nothing is known; what is past its retention makes room for it. NULL when memory is
 * out. */
static struct execution *execution_add_new(struct agent *a, const char *rollout,
                                           enum error_code found, struct error *err)
{
    struct execution *x = execution_add(a, rollout, err);
    if (x)
        x->replaces = found == ERR_STALE;
    return x;
}

/* One that must not be begun: it ends here, and nothing of it is kept but that. */
static enum error_code execute_refuse(struct agent *a, const struct wire_execute *execute,
                                      enum error_code found, const struct error *why,
                                      struct error *err)
{
    struct execution *x = execution_add_new(a, execute->rollout, found, err);
    if (!x)
        return ERR_NO_MEMORY;
    trusted_refuse(a, x, execute->rollback_on_failure && !execute->check, why);
    return ERR_OK;
}

/* `found`: what the search for it gave. */
static enum error_code execute_new(struct agent *a, struct wire_execute *execute,
                                   const struct slice *text, enum error_code found,
                                   struct error *err)
{
    if (a->queued >= AGENT_MAX_QUEUE)
        return error_set(err, ERR_LIMIT, "%d executions are waiting already", AGENT_MAX_QUEUE);
    AUTO_FREE char *spec = mem_strndup(text->data, text->len);
    if (!spec)
        return error_set(err, ERR_NO_MEMORY, NULL);
    struct execution *x = execution_add_new(a, execute->rollout, found, err);
    if (!x)
        return ERR_NO_MEMORY;
    x->spec = TAKE(spec);
    x->spec_len = text->len;
    x->steps = execute->steps;
    execute->steps = (struct array){0};
    x->vars = TAKE(execute->vars);
    x->secrets = TAKE(execute->secrets);
    x->rollback_on_failure = execute->rollback_on_failure;
    x->check = execute->check;
    x->reboots = execute->reboots;
    x->confirm_ms = execute->confirm_ms;
    if (a->config.trust)
        trusted_take(x, execute);
    execution_queue(a, x, TURN_BEGIN);
    agent_next(a);
    return ERR_OK;
}

static enum error_code take_execute(struct agent *a, struct wire_execute *execute,
                                    const struct slice *text, struct error *err)
{
    struct execution *x = execution_find(a, execute->rollout);
    if (x) {
        report_resend(a, x, x->acked_seq);
        return ERR_OK;
    }
    enum error_code found = execution_adopt(a, execute->rollout, &x, err);
    if (found == ERR_OK)
        report_resend(a, x, 0); /* everything was acknowledged, and yet it is asked for */
    if (!is_unknown(found) || a->stopping)
        return is_unknown(found) ? ERR_OK : found;
    enum error_code code = a->config.trust ? trusted_check(a, execute, err) : ERR_OK;
    if (code == ERR_DENIED)
        return execute_refuse(a, execute, found, err, err);
    return code == ERR_OK ? execute_new(a, execute, text, found, err) : code;
}

/* One whose turn has not come and which has no record: it ends here. `undo`: NULL when it is only
 * cancelled. */
static void settle_unbegun(struct agent *a, struct execution *x, const struct wire_rollback *undo)
{
    int64_t now_ms = a->config.clock.wall_ms(a->config.clock.ctx);
    const struct executor_record records[] = {
        {.type = REPORT_STARTED,
         .time_ms = now_ms,
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_RUNNING},
        {.type = REPORT_ENDED,
         .time_ms = now_ms,
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_CANCELLED,
         .undoing = undo != NULL,
         .message = "cancelled before it began"},
        {.type = REPORT_ROLLBACK_STARTED,
         .time_ms = now_ms,
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_ROLLING_BACK,
         .force = undo && undo->force},
        {.type = REPORT_ROLLED_BACK,
         .time_ms = now_ms,
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_ROLLED_BACK},
    };
    if (x->turn != TURN_NONE)
        a->queued--;
    x->turn = TURN_NONE;
    report_settle(a, x, records, undo ? ARRAY_LEN(records) : 2);
}

static enum error_code rollback_unknown(struct agent *a, const char *rollout, enum error_code found,
                                        struct error *err)
{
    struct execution *x = execution_add_new(a, rollout, found, err);
    if (!x)
        return ERR_NO_MEMORY;
    report_no_record(a, x);
    return ERR_OK;
}

/* Of orders that come before one can be passed on, the newest counts. */
static void order_keep(struct undo_order *order, const struct wire_rollback *rollback, bool force)
{
    if (rollback->round < order->round)
        return;
    order->force = force || (rollback->round == order->round && order->force);
    order->round = rollback->round;
}

/* All that is on record is that there was no record when its undo was ordered. */
static bool is_no_record(const struct agent *a, const struct execution *x)
{
    bool under_way = a->run && a->run->execution == x;
    return x->settled && x->last_seq == 1 && x->turn == TURN_NONE && !under_way;
}

static enum error_code take_rollback(struct agent *a, const struct wire_rollback *rollback,
                                     struct error *err)
{
    struct execution *x = execution_find(a, rollback->rollout);
    enum error_code code = ERR_OK;
    if (!x)
        code = execution_adopt(a, rollback->rollout, &x, err);
    if (is_unknown(code))
        return rollback_unknown(a, rollback->rollout, code, err);
    if (code != ERR_OK)
        return code;
    if (is_no_record(a, x)) {
        report_resend(a, x,
                      0); /* the orchestrator knows of other entries: this one is its answer */
        return ERR_OK;
    }
    if (x->turn == TURN_BEGIN) {
        settle_unbegun(a, x, rollback);
        return ERR_OK;
    }
    order_keep(&x->rollback, rollback, trusted_force(a, rollback));
    if (a->run && a->run->execution == x) {
        run_drain(a);
        return ERR_OK;
    }
    if (x->turn == TURN_NONE)
        execution_queue(a, x, TURN_RESUME);
    agent_next(a);
    return ERR_OK;
}

/* Leaves a mark, so that an execute of it that is still on its way is refused. */
static enum error_code cancel_unknown(struct agent *a, const char *rollout, enum error_code found,
                                      struct error *err)
{
    struct execution *x = execution_add_new(a, rollout, found, err);
    if (!x)
        return ERR_NO_MEMORY;
    settle_unbegun(a, x, NULL);
    return ERR_OK;
}

static enum error_code take_cancel(struct agent *a, const struct wire_cancel *cancel,
                                   struct error *err)
{
    struct execution *x = execution_find(a, cancel->rollout);
    struct undo_status status;
    if (!x) {
        enum error_code code =
            a->config.store.find(a->config.store.ctx, a->config.identity.server, cancel->rollout,
                                 a->config.clock.wall_ms(a->config.clock.ctx), &status, err);
        /* One that is known ended, and its end was acknowledged: there is nothing to cancel. */
        return is_unknown(code) ? cancel_unknown(a, cancel->rollout, code, err) : code;
    }
    if (x->turn == TURN_BEGIN) {
        settle_unbegun(a, x, NULL);
        return ERR_OK;
    }
    bool under_way = a->run && a->run->execution == x;
    if (!under_way && x->turn == TURN_NONE)
        return ERR_OK;
    x->cancel = true;
    x->cancel_now = x->cancel_now || cancel->now;
    if (under_way)
        run_drain(a);
    return ERR_OK;
}

static void take_ack(struct agent *a, const struct wire_ack *ack)
{
    struct execution *x = execution_find(a, ack->rollout);
    if (x)
        report_acked(a, x, ack->seq);
}

/* Every command carries the epoch of the orchestrator that decided on it. */
static enum error_code command_epoch(struct agent *a, int64_t epoch, struct error *err)
{
    enum error_code code = epoch_check(a, epoch, err);
    return code == ERR_OK ? epoch_raise(a, epoch, err) : code;
}

enum error_code agent_receive(struct agent *a, struct wire_frame *frame, const char *text,
                              size_t len, struct error *err)
{
    const struct slice whole = {text, len};
    enum error_code code = ERR_OK;
    if (a->failed)
        return error_set(err, ERR_UNAVAILABLE, "the agent has failed");
    if (!a->connected)
        return error_set(err, ERR_PROTOCOL, "a command before the welcome");
    if (frame->type != WIRE_ACK)
        FAILPOINT(FAIL_AGENT_COMMAND);
    switch (frame->type) {
    case WIRE_ACK:
        take_ack(a, &frame->ack);
        return ERR_OK;
    case WIRE_EXECUTE:
        code = command_epoch(a, frame->execute.epoch, err);
        return code == ERR_OK ? take_execute(a, &frame->execute, &whole, err) : code;
    case WIRE_ROLLBACK:
        code = command_epoch(a, frame->rollback.epoch, err);
        return code == ERR_OK ? take_rollback(a, &frame->rollback, err) : code;
    case WIRE_CANCEL:
        code = command_epoch(a, frame->cancel.epoch, err);
        return code == ERR_OK ? take_cancel(a, &frame->cancel, err) : code;
    case WIRE_WELCOME:
    case WIRE_HELLO:
    case WIRE_REPORT:
    case WIRE_OUTPUT:
    case WIRE_HEARTBEAT:
    case WIRE_TYPE_COUNT:
        break;
    }
    return error_set(err, ERR_PROTOCOL, "\"%s\" is no command", wire_type_names[frame->type]);
}
