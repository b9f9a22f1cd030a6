#include "agent/agent_state.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/values/value_json.h"

#include <assert.h>
#include <string.h>

/* ---- The list of executions ------------------------------------------------------------------ */

struct execution *execution_find(const struct agent *a, const char *rollout)
{
    for (struct execution *x = a->first; x; x = x->next) {
        if (strcmp(x->rollout, rollout) == 0)
            return x;
    }
    return NULL;
}

struct execution *execution_add(struct agent *a, const char *rollout, struct error *err)
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
    mem_free(x->vars);
    mem_free(x->secrets);
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

void execution_take_status(struct execution *x, const struct undo_status *status)
{
    x->settled = status->settled;
    x->restarts = status->restarts;
    x->last_seq = x->durable_seq = status->last_seq;
    x->sent_seq = x->acked_seq = status->acked_seq;
}

void execution_queue(struct agent *a, struct execution *x, enum turn turn)
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
    a->cautious = config->after_death;
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
    bool busy = agent_busy(a);
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
    if (a->run && !a->run->busy && !a->run->awaited && !a->run->making_room) {
        a->run->halted = true; /* it waits for another attempt, or to be confirmed */
        a->config.clock.stop(a->config.clock.ctx);
    }
    agent_check_quiet(a);
}

void agent_interrupt(struct agent *a)
{
    assert(a->stopping);
    a->interrupted = true;
    if (agent_busy(a))
        a->config.runner.cancel(a->config.runner.ctx);
    agent_check_quiet(a);
}

bool agent_busy(const struct agent *a)
{
    return a->run && a->run->busy;
}

void agent_hold(struct agent *a, bool hold)
{
    a->held = hold;
    if (!hold)
        run_release(a);
}

/* ---- Hello and welcome ------------------------------------------------------------------------
 */

static void hello_fill(const struct agent *a, const char **handlers,
                       struct wire_execution *executions, struct wire_hello *hello)
{
    const struct agent_identity *identity = &a->config.identity;
    struct undo_usage usage = a->config.store.usage(a->config.store.ctx);
    *hello = (struct wire_hello){
        .id = identity->server,
        .instance = identity->instance,
        .version = identity->version,
        .hostname = identity->hostname,
        .boot_id = identity->boot_id,
        .undo_bytes = usage.used_bytes,
        .undo_max_bytes = usage.max_bytes,
        .checks = true,
        .values = true,
        .secrets = true,
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

const struct value_set *agent_facts(const struct agent *a)
{
    const struct agent_values *values = &a->config.values;
    return values->facts ? values->facts(values->ctx) : NULL;
}

/* What does not fit into memory is only missing from what people see. */
static char *values_text(const struct value_set *set)
{
    AUTO_BUF struct buf text = BUF_INIT;
    if (!set || value_set_count(set) == 0)
        return NULL;
    value_set_write_json(set, &text);
    return buf_check(&text, NULL) == ERR_OK ? buf_take(&text, NULL) : NULL;
}

char *agent_facts_text(const struct agent *a)
{
    return values_text(agent_facts(a));
}

void agent_facts_changed(struct agent *a)
{
    a->tell_facts = true;
}

void agent_hello(struct agent *a, struct buf *b)
{
    AUTO_FREE char *labels = values_text(a->config.values.labels);
    AUTO_FREE char *facts = agent_facts_text(a);
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
    frame.hello.labels = labels;
    frame.hello.facts = facts;
    wire_encode(b, &frame);
}

enum error_code agent_welcome(struct agent *a, const struct wire_welcome *welcome,
                              struct error *err)
{
    enum error_code code = orders_welcome(a, welcome, err);
    if (code != ERR_OK)
        return code;
    a->connected = true;
    a->connections++;
    run_connected(a);
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
