#include "agent/agent_state.h"

#include "common/base/cleanup.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* ---- The list of executions ------------------------------------------------------------------ */

static struct execution *execution_find(const struct agent *a, const char *rollout)
{
    for (struct execution *x = a->first; x; x = x->next) {
        if (strcmp(x->rollout, rollout) == 0)
            return x;
    }
    return NULL;
}

/* NULL when memory is out, with the error set. */
static struct execution *execution_add(struct agent *a, const char *rollout, struct error *err)
{
    struct execution *x = MEM_NEW(struct execution);
    if (!x || !(x->rollout = mem_strdup(rollout))) {
        mem_free(x);
        error_set(err, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    if (a->last)
        a->last->next = x;
    else
        a->first = x;
    a->last = x;
    return x;
}

static void execution_free(struct execution *x)
{
    for (size_t i = 0; i < x->steps.count; i++)
        plan_step_release(ARRAY_AT(&x->steps, struct plan_step, i));
    mem_free(x->steps.items);
    mem_free(x->spec);
    mem_free(x->rollout);
    mem_free(x);
}

static void execution_remove(struct agent *a, struct execution *x)
{
    struct execution *before = NULL;
    for (struct execution *at = a->first; at != x; at = at->next)
        before = at;
    if (before)
        before->next = x->next;
    else
        a->first = x->next;
    if (a->last == x)
        a->last = before;
    a->in_flight -= x->in_flight;
    execution_free(x);
}

void execution_forget_if_done(struct agent *a, struct execution *x)
{
    bool under_way = a->run && a->run->execution == x;
    if (!under_way && x->settled && x->turn == TURN_NONE && x->batches == 0 &&
        x->acked_seq >= x->last_seq)
        execution_remove(a, x);
}

static void execution_take_status(struct execution *x, const struct undo_status *status)
{
    x->settled = status->settled;
    x->undo_deaths = status->undo_deaths;
    x->last_seq = x->durable_seq = status->last_seq;
    x->sent_seq = x->acked_seq = status->acked_seq;
}

static void execution_queue(struct agent *a, struct execution *x, enum turn turn)
{
    x->turn = turn;
    a->queued++;
}

/* ---- Life -------------------------------------------------------------------------------- */

/* One that the store says is open: found at the start. */
static enum error_code adopt_open(void *ctx, const char *rollout, const struct undo_status *status,
                                  struct error *err)
{
    struct agent *a = ctx;
    struct execution *x = execution_add(a, rollout, err);
    if (!x)
        return ERR_NO_MEMORY;
    execution_take_status(x, status);
    if (!x->settled)
        execution_queue(a, x, TURN_RESUME);
    return ERR_OK;
}

enum error_code agent_new(const struct agent_config *config, struct agent **ret_agent,
                          struct error *err)
{
    struct agent *a = MEM_NEW(struct agent);
    if (!a)
        return error_set(err, ERR_NO_MEMORY, NULL);
    a->config = *config;
    enum error_code code = config->store.open_executions(config->store.ctx, config->identity.server,
                                                         adopt_open, a, err);
    if (code != ERR_OK) {
        agent_free(a);
        return code;
    }
    *ret_agent = a;
    return ERR_OK;
}

void agent_free(struct agent *a)
{
    if (!a)
        return;
    assert(a->batches == 0);
    run_free(a->run);
    for (struct execution *x = a->first; x;) {
        struct execution *next = x->next;
        execution_free(x);
        x = next;
    }
    mem_free(a->orchestrator);
    mem_free(a);
}

void agent_fail(struct agent *a, const struct error *err)
{
    if (a->failed)
        return;
    a->failed = true;
    a->config.owner.failed(a->config.owner.ctx, err);
}

void agent_next(struct agent *a)
{
    if (a->choosing || !a->started)
        return;
    a->choosing = true;
    struct execution *x = a->first;
    while (x && !a->run && !a->stopping && !a->failed) {
        struct execution *next = x->next;
        /* What was ended by a record alone is gone on with once that is durable: it is read back.
         */
        if (x->turn != TURN_NONE && x->batches == 0) {
            run_begin(a, x);
            next = a->first; /* it may have ended already, and the list is another one */
        }
        x = next;
    }
    a->choosing = false;
}

void agent_start(struct agent *a)
{
    a->started = true;
    agent_next(a);
}

void agent_check_quiet(struct agent *a)
{
    bool busy = a->run && a->run->busy;
    /* Interrupted, it does not wait for the disk, which may be full: closing the store does. */
    bool writing = a->batches > 0 && !a->interrupted;
    if (!a->stopping || a->quiet || busy || writing)
        return;
    a->quiet = true;
    a->config.owner.quiet(a->config.owner.ctx);
}

void agent_stop(struct agent *a)
{
    a->stopping = true;
    if (a->run && !a->run->busy && !a->run->awaited) {
        a->run->halted = true; /* it waits for another attempt */
        a->config.clock.stop(a->config.clock.ctx);
    }
    agent_check_quiet(a);
}

void agent_interrupt(struct agent *a)
{
    assert(a->stopping);
    a->interrupted = true;
    if (a->run && a->run->busy)
        a->config.runner.cancel(a->config.runner.ctx);
    agent_check_quiet(a);
}

/* ---- Hello and welcome ------------------------------------------------------------------------
 */

static void hello_fill(const struct agent *a, const char **handlers,
                       struct wire_execution *executions, struct wire_hello *hello)
{
    const struct agent_identity *identity = &a->config.identity;
    *hello = (struct wire_hello){
        .id = identity->server,
        .instance = identity->instance,
        .version = identity->version,
        .hostname = identity->hostname,
        .boot_id = identity->boot_id,
        .handlers = {(void *)handlers, a->config.catalog->count},
        .executions = {executions, 0},
    };
    for (size_t i = 0; i < a->config.catalog->count; i++)
        handlers[i] = a->config.catalog->types[i]->name;
    for (const struct execution *x = a->first; x; x = x->next) {
        if (x->last_seq > 0 && hello->executions.count < WIRE_MAX_EXECUTIONS)
            executions[hello->executions.count++] =
                (struct wire_execution){.rollout = x->rollout, .last_seq = x->last_seq};
    }
}

void agent_hello(struct agent *a, struct buf *b)
{
    size_t count = 0;
    for (const struct execution *x = a->first; x; x = x->next)
        count++;
    AUTO_FREE const char **handlers = mem_array(a->config.catalog->count, sizeof(*handlers));
    AUTO_FREE struct wire_execution *executions = mem_array(count, sizeof(*executions));
    if (!handlers || !executions) {
        b->failed = ERR_NO_MEMORY;
        return;
    }
    struct wire_frame frame = {.type = WIRE_HELLO};
    hello_fill(a, handlers, executions, &frame.hello);
    wire_encode(b, &frame);
}

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

enum error_code agent_welcome(struct agent *a, const struct wire_welcome *welcome,
                              struct error *err)
{
    enum error_code code = orchestrator_know(a, welcome->orchestrator, err);
    if (code == ERR_OK)
        code = epoch_check(a, welcome->epoch, err);
    if (code == ERR_OK)
        code = epoch_raise(a, welcome->epoch, err);
    if (code != ERR_OK)
        return code;
    a->connected = true;
    for (struct execution *x = a->first; x; x = x->next)
        x->sent_seq = x->acked_seq;
    report_pump(a);
    return ERR_OK;
}

void agent_disconnected(struct agent *a)
{
    a->connected = false;
    a->in_flight = 0;
    for (struct execution *x = a->first; x; x = x->next)
        x->in_flight = 0;
}

/* ---- What the orchestrator asks ----------------------------------------------------------------
 */

/* Brings an execution that is in the store alone back into the list. ERR_NOT_FOUND. */
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

static enum error_code execute_new(struct agent *a, struct wire_execute *execute, const char *text,
                                   size_t len, struct error *err)
{
    if (a->queued >= AGENT_MAX_QUEUE)
        return error_set(err, ERR_LIMIT, "%d executions are waiting already", AGENT_MAX_QUEUE);
    AUTO_FREE char *spec = mem_strndup(text, len);
    if (!spec)
        return error_set(err, ERR_NO_MEMORY, NULL);
    struct execution *x = execution_add(a, execute->rollout, err);
    if (!x)
        return ERR_NO_MEMORY;
    x->spec = TAKE(spec);
    x->spec_len = len;
    x->steps = execute->steps;
    execute->steps = (struct array){0};
    x->rollback_on_failure = execute->rollback_on_failure;
    execution_queue(a, x, TURN_BEGIN);
    agent_next(a);
    return ERR_OK;
}

static enum error_code take_execute(struct agent *a, struct wire_execute *execute, const char *text,
                                    size_t len, struct error *err)
{
    struct execution *x = execution_find(a, execute->rollout);
    if (x) {
        report_resend(a, x, x->acked_seq);
        return ERR_OK;
    }
    enum error_code code = execution_adopt(a, execute->rollout, &x, err);
    if (code == ERR_NOT_FOUND)
        return a->stopping ? ERR_OK : execute_new(a, execute, text, len, err);
    if (code == ERR_OK)
        report_resend(a, x, 0); /* everything was acknowledged, and yet it is asked for */
    return code;
}

/* One whose turn has not come and which has no record: it ends here. */
static void settle_unbegun(struct agent *a, struct execution *x, bool undo)
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
         .undoing = undo,
         .message = "cancelled before it began"},
        {.type = REPORT_ROLLBACK_STARTED,
         .time_ms = now_ms,
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_ROLLING_BACK},
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

static enum error_code rollback_unknown(struct agent *a, const char *rollout, struct error *err)
{
    const struct executor_record record = {
        .type = REPORT_ROLLED_BACK,
        .time_ms = a->config.clock.wall_ms(a->config.clock.ctx),
        .step = EXECUTOR_NO_STEP,
        .state = EXECUTION_ROLLBACK_FAILED,
        .message = "no record of this rollout on this server",
    };
    struct execution *x = execution_add(a, rollout, err);
    if (!x)
        return ERR_NO_MEMORY;
    report_settle(a, x, &record, 1);
    return ERR_OK;
}

static enum error_code take_rollback(struct agent *a, const struct wire_rollback *rollback,
                                     struct error *err)
{
    struct execution *x = execution_find(a, rollback->rollout);
    enum error_code code = ERR_OK;
    if (!x)
        code = execution_adopt(a, rollback->rollout, &x, err);
    if (code == ERR_NOT_FOUND)
        return rollback_unknown(a, rollback->rollout, err);
    if (code != ERR_OK)
        return code;
    if (x->turn == TURN_BEGIN) {
        settle_unbegun(a, x, true);
        return ERR_OK;
    }
    x->rollback = true;
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
static enum error_code cancel_unknown(struct agent *a, const char *rollout, struct error *err)
{
    struct execution *x = execution_add(a, rollout, err);
    if (!x)
        return ERR_NO_MEMORY;
    settle_unbegun(a, x, false);
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
        return code == ERR_NOT_FOUND ? cancel_unknown(a, cancel->rollout, err) : code;
    }
    if (x->turn == TURN_BEGIN) {
        settle_unbegun(a, x, false);
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
        return code == ERR_OK ? take_execute(a, &frame->execute, text, len, err) : code;
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
