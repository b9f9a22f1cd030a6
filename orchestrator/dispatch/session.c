/* session: what agents say, turned into events. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include "common/base/failpoint.h"

#include <stdio.h>
#include <string.h>

enum {
    SESSION_SILENT_HEARTBEATS = 3, /* that may be missed before a session is dropped */
    CLOSE_GOING_AWAY = 1001,
    CLOSE_PROTOCOL = 1002, /* WebSocket close codes, RFC 6455 section 7.4.1 */
    CLOSE_POLICY = 1008,
    CLOSE_TRY_LATER = 1013,
    CLOSED_REASON_MAX = 160
};

static void session_note(struct session *s, const char *what, const char *detail)
{
    const struct dispatcher_config *config = &s->d->config;
    config->note(config->ctx, what, s->server == NULL ? s->peer : s->server->id, detail);
}

static void session_end(struct session *s, uint16_t code, const char *reason)
{
    if (s->closing)
        return;
    s->closing = true;
    s->d->config.close(s->conn, code, reason);
}

void session_fault(struct session *s, const char *why)
{
    session_note(s, "agent refused", why);
    session_end(s, CLOSE_PROTOCOL, why);
}

/* The same of what no agent does that is what it should be. */
static void session_alarm(struct session *s, const char *what, const char *server, const char *why)
{
    const struct dispatcher_config *config = &s->d->config;
    const struct dispatcher_alarm alarm = {what, server, s->peer, why};
    if (config->alarm != NULL && !s->closing)
        config->alarm(config->ctx, &alarm);
    session_fault(s, why);
}

static int64_t session_silence_ms(const struct session *s)
{
    return SESSION_SILENT_HEARTBEATS * s->d->config.heartbeat_ms;
}

/* Takes the server away from the session; true when it had it. */
static bool session_detach(struct session *s)
{
    struct server *server = s->server;
    if (server == NULL || server->session != s)
        return false;
    server->session = NULL;
    server->since_ms = s->d->config.now_wall_ms(s->d->config.ctx);
    s->d->stats.connected--;
    return true;
}

/* The connection may take long to notice its end; the server counts as gone from now on. */
static void session_drop(struct session *s, uint16_t code, const char *reason)
{
    session_end(s, code, reason);
    if (session_detach(s))
        queue_disconnected(s->server);
}

/* One timer per session that follows the last frame lazily: hearing something costs nothing. */
void session_timer(struct session *s)
{
    int64_t now = s->d->config.now_mono_ms(s->d->config.ctx);
    int64_t left = s->heard_ms + session_silence_ms(s) - now;
    bool expired = s->bound != NULL && s->d->config.now_wall_ms(s->d->config.ctx) > s->not_after_ms;
    if (left > 0 && !expired) {
        queue_arm(s->d, &s->timer, TIMER_SILENCE, s, left);
        return;
    }
    if (expired)
        session_note(s, "agent's certificate has expired", s->peer);
    else
        session_note(s, "agent is silent",
                     s->server == NULL ? "no hello came" : "heartbeats missed");
    if (expired)
        session_drop(s, CLOSE_POLICY, "its certificate has expired");
    else
        session_drop(s, CLOSE_GOING_AWAY, "silent for too long");
}

enum error_code dispatcher_session_bind(struct session *s, const char *server, int64_t not_after_ms,
                                        struct error *err)
{
    char *bound = mem_strdup(server);
    if (bound == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    mem_free(s->bound);
    s->bound = bound;
    s->not_after_ms = not_after_ms;
    return ERR_OK;
}

void dispatcher_server_end(struct dispatcher *d, const char *server, const char *reason)
{
    struct session *next = NULL;
    for (struct session *s = d->sessions; s != NULL; s = next) {
        next = s->next;
        bool its = (s->server != NULL && strcmp(s->server->id, server) == 0) ||
                   (s->bound != NULL && strcmp(s->bound, server) == 0);
        if (its && !s->closing) {
            session_note(s, "agent's session is ended", reason);
            session_drop(s, CLOSE_POLICY, reason);
        }
    }
}

enum error_code dispatcher_session_open(struct dispatcher *d, void *conn, const char *peer,
                                        struct session **ret_session, struct error *err)
{
    struct session *s = MEM_NEW(struct session);
    if (s == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    s->d = d;
    s->conn = conn;
    s->heard_ms = d->config.now_mono_ms(d->config.ctx);
    size_t len = strnlen(peer, sizeof(s->peer) - 1);
    memcpy(s->peer, peer, len);
    s->next = d->sessions;
    if (s->next != NULL)
        s->next->prev = s;
    d->sessions = s;
    queue_arm(d, &s->timer, TIMER_SILENCE, s, session_silence_ms(s));
    *ret_session = s;
    return ERR_OK;
}

static void session_free(struct session *s)
{
    mem_free(s->bound);
    mem_free(s);
}

void dispatcher_session_closed(struct session *s, const char *reason)
{
    struct dispatcher *d = s->d;
    if (session_detach(s)) {
        char detail[sizeof(s->peer) + CLOSED_REASON_MAX];
        (void)snprintf(detail, sizeof(detail), "%s: %s", s->peer, reason);
        session_note(s, "agent disconnected", detail);
        if (!d->failed)
            queue_disconnected(s->server);
    }
    timers_disarm(&d->timers, &s->timer);
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        d->sessions = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    session_free(s);
}

void session_free_all(struct dispatcher *d)
{
    while (d->sessions != NULL) {
        struct session *s = d->sessions;
        d->sessions = s->next;
        timers_disarm(&d->timers, &s->timer);
        session_free(s);
    }
}

/* ---- hello ----------------------------------------------------------------------------------- */

static bool session_welcome(struct session *s)
{
    struct journal *journal = s->d->config.journal;
    struct wire_frame frame = {
        .type = WIRE_WELCOME,
        .welcome = {.orchestrator = (char *)(uintptr_t)journal_identity(journal),
                    .epoch = journal_epoch(journal),
                    .heartbeat_ms = s->d->config.heartbeat_ms},
    };
    return queue_send(s->server, &frame);
}

/* The same agent may come again before its old connection is known to be dead; another agent with
 * the same id may not. A copy of its data directory on another machine says the same instance:
 * there the boot is another one. After a restart of the machine itself the old connection is soon
 * found to be silent, unless a step wanted the restart: then it is expected. */
static bool session_may_replace(const struct server *server, const struct wire_hello *hello)
{
    if (server->session == NULL)
        return true;
    bool same_boot = server->boot_id == NULL || hello->boot_id == NULL ||
                     strcmp(server->boot_id, hello->boot_id) == 0;
    return (same_boot || queue_reboots(server)) && server->instance != NULL &&
           strcmp(server->instance, hello->instance) == 0;
}

static void session_second(struct session *s, const struct server *server)
{
    static const char why[] = "another agent with this id is connected";
    const struct dispatcher_config *config = &s->d->config;
    const struct dispatcher_alarm alarm = {"agent.hello", server->id, s->peer, why};
    config->note(config->ctx, "a second agent with this id was refused", server->id, s->peer);
    if (config->alarm != NULL)
        config->alarm(config->ctx, &alarm);
    session_end(s, CLOSE_POLICY, why);
}

static void session_hello(struct session *s, const struct wire_hello *hello)
{
    struct dispatcher *d = s->d;
    struct error err = {0};
    struct server *server = NULL;
    if (d->config.held != NULL) {
        /* It comes again; what it has to report stays with it until then. */
        session_end(s, CLOSE_TRY_LATER, "the orchestrator is held: its journal was restored");
        return;
    }
    if (s->server != NULL || !id_valid(hello->id)) {
        session_fault(s, s->server != NULL ? "a second hello" : "not a valid server id");
        return;
    }
    if (s->bound != NULL && strcmp(s->bound, hello->id) != 0) {
        session_alarm(s, "agent.hello", s->bound, "its certificate is another server's");
        return;
    }
    if (fleet_get(d, hello->id, &server, &err) != ERR_OK) {
        session_fault(s, err.message);
        return;
    }
    if (!session_may_replace(server, hello)) {
        session_second(s, server);
        return;
    }
    if (server->session != NULL) {
        struct session *old = server->session;
        /* An agent that has lost its connection says the same as a copy of its data directory. */
        session_note(old, "a live connection is replaced by a newer one of the same agent",
                     s->peer);
        (void)session_detach(old);
        session_end(old, CLOSE_POLICY, "replaced by a newer connection");
    }
    s->server = server;
    server->session = s;
    server->since_ms = d->config.now_wall_ms(d->config.ctx);
    d->stats.connected++;
    fleet_describe(d, server, hello, s->peer);
    if (server->instance == NULL) {
        /* Not known by it, the same agent could not come again before this connection is gone. */
        session_fault(s, "out of memory");
        return;
    }
    session_note(s, "agent connected", s->peer);
    if (session_welcome(s))
        queue_connected(server, hello);
}

/* ---- report ---------------------------------------------------------------------------------- */

static const enum event_type event_of_report[REPORT_TYPE_COUNT] = {
    [REPORT_STARTED] = EVENT_EXECUTION_STARTED,
    [REPORT_STEP_STARTED] = EVENT_STEP_STARTED,
    [REPORT_STEP_RETRYING] = EVENT_STEP_RETRYING,
    [REPORT_STEP_REBOOTING] = EVENT_STEP_REBOOTING,
    [REPORT_STEP_REBOOTED] = EVENT_STEP_REBOOTED,
    [REPORT_STEP_ENDED] = EVENT_STEP_ENDED,
    [REPORT_CONFIRMING] = EVENT_EXECUTION_CONFIRMING,
    [REPORT_ENDED] = EVENT_EXECUTION_ENDED,
    [REPORT_ROLLBACK_STARTED] = EVENT_EXECUTION_ROLLBACK_STARTED,
    [REPORT_STEP_ROLLED_BACK] = EVENT_STEP_ROLLED_BACK,
    [REPORT_ROLLED_BACK] = EVENT_EXECUTION_ROLLED_BACK,
};

static struct event report_event(const struct wire_entry *entry, uint32_t server)
{
    struct event event = rollout_event(event_of_report[entry->type], server);
    event.step = (int32_t)entry->step;
    event.attempt = (int32_t)entry->attempt;
    event.agent_seq = entry->seq;
    event.agent_time_ms = entry->time_ms;
    event.duration_ms = entry->duration_ms;
    event.away_ms = entry->away_ms;
    event.undoing = entry->undoing;
    event.force = entry->force;
    event.conflict = entry->conflict;
    event.changed = entry->changed;
    event.has_exit_code = entry->has_exit_code;
    event.exit_code = entry->exit_code;
    event.message = entry->message;
    if (wire_about_step(entry->type))
        event.step_state = (enum step_state)entry->state;
    else
        event.state = (enum execution_state)entry->state;
    /* An agent without any record of the rollout numbers its only answer from one again. */
    if (entry->type == REPORT_ROLLED_BACK && entry->seq == 1)
        event.agent_seq = 0;
    return event;
}

static void slot_forget_live(struct slot *slot)
{
    if (slot->live == NULL)
        return;
    output_done(slot->live);
    mem_free(slot->live);
    slot->live = NULL;
}

/* Records what the step printed: what the agent says, or, when it died in the step, what had come
 * live. */
static enum error_code report_output(struct tx *tx, struct slot *slot,
                                     const struct wire_entry *entry, struct error *err)
{
    enum error_code code = ERR_OK;
    if (entry->type != REPORT_STEP_ENDED && entry->type != REPORT_STEP_RETRYING &&
        entry->type != REPORT_STEP_REBOOTING)
        return ERR_OK;
    if (entry->output != NULL) {
        code = tx_output(tx, slot->index, (uint32_t)entry->step, (int32_t)entry->attempt,
                         entry->output, err);
    } else if (slot->live != NULL && slot->live_step == entry->step) {
        AUTO_BUF struct buf text = BUF_INIT;
        output_text(slot->live, &text);
        code = buf_check(&text, err);
        if (code == ERR_OK && text.data != NULL)
            code = tx_output(tx, slot->index, (uint32_t)entry->step, slot->live_attempt, text.data,
                             err);
    }
    slot_forget_live(slot);
    return code;
}

/* Applies the entries; *ret_seq is the last that is settled, applied or known before. */
static enum error_code report_apply(struct tx *tx, struct slot *slot,
                                    const struct wire_report *report, int64_t *ret_seq,
                                    struct error *err)
{
    for (size_t i = 0; i < report->entries.count; i++) {
        const struct wire_entry *entry = ARRAY_AT(&report->entries, struct wire_entry, i);
        struct event event = report_event(entry, slot->index);
        enum error_code code = tx_apply(tx, &event, err);
        if (code == ERR_OK) {
            code = report_output(tx, slot, entry, err);
            /* The event would be known without its output, and a repeat be passed over. */
            if (code != ERR_OK)
                dispatch_fatal(tx->rollout->d, err);
        } else if (code == ERR_STALE || (code == ERR_CONFLICT && event.agent_seq == 0)) {
            /* Known already; an unnumbered one is known by not fitting any more. */
            tx->rollout->d->stats.duplicates++;
            code = ERR_OK;
        }
        if (code != ERR_OK)
            return code;
        *ret_seq = entry->seq;
    }
    return ERR_OK;
}

/* A person has settled the execution, and its agent came back and goes forward with it. */
static bool report_of_settled(const struct slot *slot, const struct wire_report *report)
{
    const struct wire_entry *last =
        ARRAY_AT(&report->entries, struct wire_entry, 0) + (report->entries.count - 1);
    bool forward = last->type == REPORT_STARTED ||
                   (wire_about_step(last->type) && last->type != REPORT_STEP_ROLLED_BACK);
    return forward && engine_execution(slot->rollout->engine, slot->index)->resolved;
}

static void session_report(struct session *s, const struct wire_report *report)
{
    struct dispatcher *d = s->d;
    struct error err = {0};
    struct rollout *r = NULL;
    uint32_t index = 0;
    struct tx tx;
    d->stats.reports++;
    if (report->facts != NULL)
        fleet_take_facts(s->server, report->facts);
    FAILPOINT(FAIL_RECEIVE_BEFORE);
    if (rollout_get(d, report->rollout, &r, &err) != ERR_OK) {
        session_note(s, "a report of a rollout that is not known", report->rollout);
        return;
    }
    if (!plan_server_find(r->plan, s->server->id, &index)) {
        session_alarm(s, "agent.report", s->server->id,
                      "a report of a rollout that does not name this server");
        return;
    }
    if (tx_begin(&tx, r, &err) != ERR_OK) {
        dispatch_fatal(d, &err);
        return;
    }
    int64_t settled = 0;
    enum error_code code = report_apply(&tx, &r->slots[index], report, &settled, &err);
    if (d->failed) {
        tx_abandon(&tx);
        return;
    }
    if (settled > 0) {
        memcpy(tx.effect->server, s->server->id, sizeof(s->server->id));
        tx.effect->agent_seq = settled;
        if (report_of_settled(&r->slots[index], report))
            tx.effect->settled = &r->slots[index];
    }
    (void)tx_commit(&tx);
    if (r->slots[index].returning)
        queue_settle(&r->slots[index]); /* all of it was known already */
    if (code != ERR_OK)
        session_fault(s, err.message);
}

/* ---- live output ------------------------------------------------------------------------------
 */

static void slot_keep_live(struct slot *slot, const struct wire_output *output)
{
    struct error err = {0};
    if (slot->live != NULL &&
        (slot->live_step != output->step || slot->live_attempt != output->attempt))
        slot_forget_live(slot);
    if (slot->live == NULL)
        slot->live = MEM_NEW(struct output);
    if (slot->live == NULL)
        return;
    slot->live_step = (int32_t)output->step;
    slot->live_attempt = (int32_t)output->attempt;
    error_ignore(output_write(slot->live, output->text, strlen(output->text), &err));
}

/* Live output is a help for those who watch: what does not fit is left out, the step's record has
 * the whole. */
static void session_output(struct session *s, const struct wire_output *output)
{
    struct dispatcher *d = s->d;
    struct rollout *r = rollout_find(d, output->rollout);
    uint32_t index = 0;
    d->stats.outputs++;
    if (r == NULL || output->step < 0 || output->step >= (int64_t)plan_step_count(r->plan) ||
        !plan_server_find(r->plan, s->server->id, &index))
        return;
    struct slot *slot = &r->slots[index];
    const struct step_record *step = engine_step(r->engine, index, (uint32_t)output->step);
    if (step->state != STEP_RUNNING)
        return;
    slot_keep_live(slot, output);
    const char *name = plan_step(r->plan, (uint32_t)output->step)->name;
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, "{\"server\":");
    json_write_string(&b, s->server->id, strlen(s->server->id));
    buf_puts(&b, ",\"step\":");
    json_write_string(&b, name, strlen(name));
    buf_puts(&b, ",\"attempt\":");
    buf_put_int(&b, output->attempt);
    buf_puts(&b, ",\"offset\":");
    buf_put_int(&b, output->offset);
    buf_puts(&b, ",\"text\":");
    json_write_string(&b, output->text, strlen(output->text));
    buf_putc(&b, '}');
    if (buf_check(&b, NULL) == ERR_OK)
        d->config.output(d->config.ctx, r->id, b.data, b.len);
}

static void session_heartbeat(struct session *s)
{
    struct wire_frame frame = {.type = WIRE_ACK, .ack = {.rollout = NULL, .seq = 0}};
    (void)queue_send(s->server, &frame);
}

/* ---- frames -----------------------------------------------------------------------------------
 */

static void session_dispatch(struct session *s, const struct wire_frame *frame)
{
    if (s->server == NULL && frame->type != WIRE_HELLO) {
        session_fault(s, "the first frame must be a hello");
        return;
    }
    if (s->server != NULL && !s->proven) {
        s->proven = true;
        queue_proven(s->server);
    }
    switch (frame->type) {
    case WIRE_HELLO:
        session_hello(s, &frame->hello);
        return;
    case WIRE_REPORT:
        session_report(s, &frame->report);
        return;
    case WIRE_OUTPUT:
        session_output(s, &frame->output);
        return;
    case WIRE_HEARTBEAT:
        session_heartbeat(s);
        return;
    case WIRE_WELCOME:
    case WIRE_EXECUTE:
    case WIRE_ROLLBACK:
    case WIRE_CANCEL:
    case WIRE_ACK:
    case WIRE_TYPE_COUNT:
        session_alarm(s, "agent.frame", s->server->id, "a frame that only an orchestrator sends");
        return;
    }
}

void dispatcher_session_frame(struct session *s, const char *data, size_t len)
{
    struct wire_frame frame = {0};
    struct error err = {0};
    if (s->closing || s->d->failed)
        return;
    s->heard_ms = s->d->config.now_mono_ms(s->d->config.ctx);
    if (wire_decode(data, len, &frame, &err) != ERR_OK) {
        session_fault(s, err.message);
        return;
    }
    session_dispatch(s, &frame);
    wire_frame_done(&frame);
}
