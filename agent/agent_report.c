#include "agent/agent_state.h"

#include "agent/array_push.h"
#include "common/base/cleanup.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"

#include <assert.h>
#include <string.h>

/* ---- Batches ----------------------------------------------------------------------------- */

void batch_free(struct batch *batch)
{
    if (!batch)
        return;
    undo_entries_done(&batch->entries);
    for (size_t i = 0; i < batch->captures.count; i++)
        mem_free(ARRAY_AT(&batch->captures, struct undo_capture, i)->undo);
    mem_free(batch->captures.items);
    mem_free(batch);
}
DEFINE_CLEANUP(batch_free, struct batch)

static struct batch *batch_get(struct agent *a, struct execution *x, struct batch **batch)
{
    if (!*batch && (*batch = MEM_NEW(struct batch)) != NULL) {
        (*batch)->agent = a;
        (*batch)->execution = x;
    }
    return *batch;
}

enum error_code batch_record(struct agent *a, struct execution *x, struct batch **batch,
                             const struct executor_record *record, char *output, struct error *err)
{
    AUTO_FREE char *owned = output;
    AUTO_FREE char *message = record->message ? mem_strdup(record->message) : NULL;
    struct batch *b = batch_get(a, x, batch);
    struct wire_entry *entry =
        b && (message || !record->message) ? array_push(&b->entries, sizeof(*entry)) : NULL;
    if (!entry)
        return error_set(err, ERR_NO_MEMORY, NULL);
    b->bytes += (message ? strlen(message) : 0) + (owned ? strlen(owned) : 0);
    *entry = (struct wire_entry){
        .seq = ++x->last_seq,
        .type = (int)record->type,
        .time_ms = record->time_ms,
        .step = record->step,
        .attempt = record->attempt,
        .state = record->state,
        .undoing = record->undoing,
        .force = record->force,
        .conflict = record->conflict,
        .changed = record->changed,
        .has_exit_code = record->has_exit_code,
        .exit_code = record->exit_code,
        .duration_ms = record->duration_ms,
        .away_ms = record->away_ms,
        .message = TAKE(message),
        .output = TAKE(owned),
    };
    return ERR_OK;
}

void batch_put_out(struct batch *batch, char *json)
{
    assert(batch->entries.count > 0);
    ARRAY_AT(&batch->entries, struct wire_entry, batch->entries.count - 1)->outputs = json;
    batch->bytes += strlen(json);
}

enum error_code batch_boot(struct batch *batch, const char *boot_id, struct error *err)
{
    char *copy = mem_strdup(boot_id);
    if (!copy)
        return error_set(err, ERR_NO_MEMORY, NULL);
    assert(batch->entries.count > 0);
    ARRAY_AT(&batch->entries, struct wire_entry, batch->entries.count - 1)->boot_id = copy;
    return ERR_OK;
}

enum error_code batch_capture(struct agent *a, struct execution *x, struct batch **batch,
                              uint32_t step, const char *undo, struct error *err)
{
    AUTO_FREE char *text = mem_strdup(undo);
    struct batch *b = batch_get(a, x, batch);
    struct undo_capture *capture = b && text ? array_push(&b->captures, sizeof(*capture)) : NULL;
    if (!capture)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *capture = (struct undo_capture){.step = step, .undo = TAKE(text)};
    return ERR_OK;
}

enum error_code batch_note(struct agent *a, struct execution *x, struct batch **batch,
                           struct error *err)
{
    return batch_get(a, x, batch) ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

/* ---- What the execution under way comes to -------------------------------------------------
 */

static bool carries_output(enum report_type type)
{
    return type == REPORT_STEP_ENDED || type == REPORT_STEP_RETRYING ||
           type == REPORT_STEP_REBOOTING || type == REPORT_STEP_ROLLED_BACK;
}

static void log_record(const struct agent *a, const struct execution *x,
                       const struct executor_record *record)
{
    const char *server = a->config.identity.server;
    const char *message = record->message ? record->message : "";
    if (record->type == REPORT_STARTED)
        log_info("execution started", LOG_STR("server", server), LOG_STR("rollout", x->rollout),
                 LOG_INT("steps", x->steps.count), LOG_END);
    else if (record->type == REPORT_STEP_REBOOTING)
        log_info("a step has the server rebooted", LOG_STR("server", server),
                 LOG_STR("rollout", x->rollout), LOG_INT("step", record->step),
                 LOG_INT("away_ms", record->away_ms), LOG_STR("message", message), LOG_END);
    else if (record->type == REPORT_CONFIRMING)
        log_info("execution waits to be confirmed over a new connection", LOG_STR("server", server),
                 LOG_STR("rollout", x->rollout), LOG_INT("timeout_ms", x->confirm_ms), LOG_END);
    else if (record->type == REPORT_ENDED || record->type == REPORT_ROLLED_BACK)
        log_info("execution ended", LOG_STR("server", server), LOG_STR("rollout", x->rollout),
                 LOG_STR("state", execution_state_names[record->state]),
                 LOG_STR("message", message), LOG_END);
}

void run_record(struct agent *a, struct run *run, const struct executor_record *record)
{
    struct execution *x = run->execution;
    struct error err = {0};
    char *output = carries_output(record->type) ? reboot_output_join(run, record) : NULL;
    x->restarts = 0;
    if (record->type == REPORT_ROLLBACK_STARTED)
        x->settled = false;
    log_record(a, x, record);
    char *put_out = record->type == REPORT_STEP_ENDED ? TAKE(run->put_out) : NULL;
    enum error_code code = batch_record(a, x, &run->batch, record, output, &err);
    if (code == ERR_OK && record->type == REPORT_STEP_REBOOTING)
        code = batch_boot(run->batch, a->config.identity.boot_id, &err);
    if (code == ERR_OK && put_out)
        code = values_put_out(run, (uint32_t)record->step, put_out, &err);
    if (code == ERR_OK && put_out)
        batch_put_out(run->batch, put_out);
    else
        mem_free(put_out);
    if (code != ERR_OK)
        agent_fail(a, &err);
    else if (record->type == REPORT_CONFIRMING)
        run->confirm_seq = x->last_seq;
}

/* ---- Reports ----------------------------------------------------------------------------- */

/* Sends entries as one report; false when they did not go out. */
static bool report_send(struct agent *a, struct execution *x, const struct array *entries)
{
    AUTO_BUF struct buf b = BUF_INIT;
    AUTO_FREE char *facts = a->tell_facts ? agent_facts_text(a) : NULL;
    const struct wire_frame frame = {
        .type = WIRE_REPORT,
        .report = {.rollout = x->rollout, .facts = facts, .entries = *entries}};
    wire_encode(&b, &frame);
    if (buf_check(&b, NULL) != ERR_OK)
        return false; /* they stay unsent, and go out on a later occasion */
    FAILPOINT(FAIL_AGENT_REPORT_BEFORE);
    if (!a->config.link.send(a->config.link.ctx, b.data, b.len, false))
        return false;
    FAILPOINT(FAIL_AGENT_REPORT_AFTER);
    a->tell_facts = false;
    x->sent_seq = ARRAY_AT(entries, struct wire_entry, entries->count - 1)->seq;
    x->in_flight += b.len;
    a->in_flight += b.len;
    return true;
}

static bool may_send(const struct agent *a)
{
    return a->connected && !a->failed && a->in_flight < AGENT_IN_FLIGHT_MAX_BYTES;
}

/* Reads what was not sent back from the store; false when there is nothing more to do for now. */
static bool report_next(struct agent *a, struct execution *x)
{
    const struct undo_portion portion = {x->sent_seq, AGENT_REPORT_MAX_BYTES, WIRE_MAX_ENTRIES};
    struct array entries = {0};
    struct error err = {0};
    enum error_code code = a->config.store.entries(a->config.store.ctx, a->config.identity.server,
                                                   x->rollout, &portion, &entries, &err);
    if (code != ERR_OK) {
        agent_fail(a, &err);
        return false;
    }
    bool sent = entries.count > 0 && report_send(a, x, &entries);
    undo_entries_done(&entries);
    return sent;
}

void report_pump(struct agent *a)
{
    for (struct execution *x = a->first; x; x = x->next) {
        while (may_send(a) && x->sent_seq < x->durable_seq) {
            if (!report_next(a, x))
                return;
        }
    }
}

void report_resend(struct agent *a, struct execution *x, int64_t after_seq)
{
    a->in_flight -= x->in_flight;
    x->in_flight = 0;
    x->sent_seq = after_seq;
    if (x->acked_seq > after_seq)
        x->acked_seq = after_seq; /* asked for once more, it is to be acknowledged once more */
    report_pump(a);
}

void report_acked(struct agent *a, struct execution *x, int64_t seq)
{
    struct error err = {0};
    int64_t acked = seq < x->durable_seq ? seq : x->durable_seq;
    if (acked > x->acked_seq) {
        x->acked_seq = acked;
        FAILPOINT(FAIL_AGENT_ACK_BEFORE);
        if (a->config.store.ack(a->config.store.ctx, a->config.identity.server, x->rollout, acked,
                                &err) != ERR_OK) {
            agent_fail(a, &err);
            return;
        }
        FAILPOINT(FAIL_AGENT_ACK_AFTER);
    }
    if (x->sent_seq < x->acked_seq)
        x->sent_seq = x->acked_seq;
    if (x->acked_seq == x->sent_seq) {
        a->in_flight -= x->in_flight;
        x->in_flight = 0;
    }
    bool under_way = a->run && a->run->execution == x;
    execution_forget_if_done(a, x);
    report_pump(a);
    if (under_way)
        run_acked(a);
}

/* ---- To the disk ------------------------------------------------------------------------- */

static void batch_report(struct agent *a, struct execution *x, const struct batch *batch)
{
    if (batch->entries.count == 0)
        return;
    const struct wire_entry *entries = batch->entries.items;
    x->durable_seq = entries[batch->entries.count - 1].seq;
    if (!may_send(a))
        return;
    /* What comes next is sent from memory; after a gap, or when it is much, it is read back. */
    if (x->sent_seq + 1 == entries[0].seq && batch->bytes <= AGENT_REPORT_MAX_BYTES &&
        batch->entries.count <= WIRE_MAX_ENTRIES)
        (void)report_send(a, x, &batch->entries);
    else
        report_pump(a);
}

static void batch_done(void *ctx, enum error_code result)
{
    AUTO(batch_free) struct batch *batch = ctx;
    struct agent *a = batch->agent;
    struct execution *x = batch->execution;
    a->batches--;
    x->batches--;
    if (x->last_batch == batch)
        x->last_batch = NULL;
    if (result != ERR_OK) {
        struct error err = {0};
        error_set(&err, result, "the journal cannot be written");
        agent_fail(a, &err);
        agent_check_quiet(a);
        return;
    }
    FAILPOINT(FAIL_AGENT_DURABLE);
    batch_report(a, x, batch);
    if (a->run && a->run->execution == x) {
        run_durable(a, batch);
    } else {
        execution_forget_if_done(a, x);
        agent_next(a);
    }
    agent_check_quiet(a);
}

void batch_submit(struct agent *a, struct batch *batch)
{
    struct execution *x = batch->execution;
    struct error err = {0};
    const struct undo_append append = {
        .server = a->config.identity.server,
        .rollout = x->rollout,
        .spec = x->spec,
        .spec_len = x->spec_len,
        .entries = batch->entries.items,
        .entry_count = batch->entries.count,
        .captures = batch->captures.items,
        .capture_count = batch->captures.count,
        .replaces = x->replaces,
        .settled = x->settled,
        .time_ms = a->config.clock.wall_ms(a->config.clock.ctx),
        .restarts = x->restarts,
        .nonce = x->nonce[0] != '\0' && x->durable_seq == 0 ? x->nonce : NULL,
        .nonce_expires_ms = x->expires_ms,
        .done = batch_done,
        .ctx = batch,
    };
    if (a->failed) {
        batch_free(batch);
        return;
    }
    FAILPOINT(FAIL_AGENT_APPEND);
    x->last_batch = batch;
    x->batches++;
    a->batches++;
    if (a->config.store.append(a->config.store.ctx, &append, &err) != ERR_OK) {
        x->last_batch = NULL;
        x->batches--;
        a->batches--;
        batch_free(batch);
        agent_fail(a, &err);
        return;
    }
    x->replaces = false;
    mem_free(TAKE(x->spec));
}

void report_settle(struct agent *a, struct execution *x, const struct executor_record *records,
                   size_t count)
{
    AUTO(batch_free) struct batch *batch = NULL;
    struct error err = {0};
    for (size_t i = 0; i < count; i++) {
        if (batch_record(a, x, &batch, &records[i], NULL, &err) != ERR_OK) {
            agent_fail(a, &err);
            return;
        }
    }
    assert(batch);
    x->settled = true;
    batch_submit(a, TAKE(batch));
}

/* Numbered from one, also where there was a record before: what the orchestrator has of that it
 * keeps, and takes this for an answer beside it. */
void report_no_record(struct agent *a, struct execution *x)
{
    a->in_flight -= x->in_flight;
    x->in_flight = 0;
    x->last_seq = x->durable_seq = x->sent_seq = x->acked_seq = 0;
    const struct executor_record record = {
        .type = REPORT_ROLLED_BACK,
        .time_ms = a->config.clock.wall_ms(a->config.clock.ctx),
        .step = EXECUTOR_NO_STEP,
        .state = EXECUTION_ROLLBACK_FAILED,
        .message = EXECUTOR_NO_RECORD,
    };
    report_settle(a, x, &record, 1);
}
