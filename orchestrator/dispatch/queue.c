/* queue: the servers' queues, and what goes out to agents from them. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include "common/base/failpoint.h"
#include "common/plan/plan_json.h"

#include <stdio.h>
#include <string.h>

enum { QUEUE_WHY_MAX = 96 };

/* ---- Deadlines ------------------------------------------------------------------------------- */

void queue_arm(struct dispatcher *d, struct timer *timer, enum timer_kind kind, void *owner,
               int64_t delay_ms)
{
    struct error err = {0};
    timer->kind = (int)kind;
    timer->owner = owner;
    int64_t now = d->config.now_mono_ms(d->config.ctx);
    if (timers_arm(&d->timers, timer, now + delay_ms, &err) != ERR_OK) {
        dispatch_fatal(d, &err);
        return;
    }
    d->config.rearm(d->config.ctx);
}

static const struct execution *slot_execution(const struct slot *slot)
{
    return engine_execution(slot->rollout->engine, slot->index);
}

/* The agent has it in hand: running, or undoing. */
static bool slot_in_hand(const struct slot *slot)
{
    const struct execution *x = slot_execution(slot);
    return x->state == EXECUTION_RUNNING || x->state == EXECUTION_ROLLING_BACK;
}

/* What an ended rollout left there is being stopped or undone, or about to be. What goes forward
 * waits for that: it would stand on what is taken away. */
static bool queue_owes_undo(const struct server *server)
{
    return server->apart != NULL;
}

/* One that a step reboots is expected to be away. */
static int64_t slot_reconnect_ms(const struct slot *slot)
{
    int64_t usual_ms = slot->rollout->plan->strategy.reconnect_timeout_ms;
    int64_t away_ms = slot_execution(slot)->away_ms;
    return away_ms > usual_ms ? away_ms : usual_ms;
}

static void slot_await_reconnect(struct slot *slot)
{
    struct dispatcher *d = slot->rollout->d;
    if (slot->timer.slot != 0)
        return;
    queue_arm(d, &slot->timer, TIMER_RECONNECT, slot, slot_reconnect_ms(slot));
}

bool queue_reboots(const struct server *server)
{
    if (server->head != NULL && slot_execution(server->head)->away_ms > 0)
        return true;
    for (const struct slot *slot = server->apart; slot != NULL; slot = slot->next)
        if (slot_execution(slot)->away_ms > 0)
            return true;
    return false;
}

void queue_settle(struct slot *slot)
{
    struct dispatcher *d = slot->rollout->d;
    const struct execution *x = slot_execution(slot);
    unsigned orders = engine_standing(slot->rollout->engine, slot->index);
    bool owed = queue_owes_undo(slot->server);
    if (x->state != EXECUTION_QUEUED) {
        slot->wanted = false;
        if (slot->timer.slot != 0 && slot->timer.kind == TIMER_START)
            timers_disarm(&d->timers, &slot->timer);
    }
    if ((orders & (ORDER_CANCEL | ORDER_CANCEL_NOW)) == 0)
        slot->cancel = 0;
    if ((orders & ORDER_ROLLBACK) == 0)
        slot->rollback = false;
    if (!slot_in_hand(slot) && x->state != EXECUTION_QUEUED)
        timers_disarm(&d->timers, &slot->timer);
    slot->returning = false;
    queue_sort(slot);
    if (owed && !queue_owes_undo(slot->server))
        queue_pump(slot->server);
}

/* ---- Sending --------------------------------------------------------------------------------- */

static bool queue_send_text(struct server *server)
{
    struct dispatcher *d = server->session->d;
    struct error err = {0};
    if (buf_check(&d->frame, &err) != ERR_OK) {
        session_fault(server->session, err.message);
        return false;
    }
    return d->config.send(server->session->conn, d->frame.data, d->frame.len);
}

bool queue_send(struct server *server, const struct wire_frame *frame)
{
    if (server->session == NULL)
        return false;
    struct dispatcher *d = server->session->d;
    buf_clear(&d->frame);
    wire_encode(&d->frame, frame);
    return queue_send_text(server);
}

static bool rollout_encode_steps(struct rollout *r)
{
    if (r->steps_json != NULL)
        return true;
    AUTO_BUF struct buf b = BUF_INIT;
    wire_encode_steps(&b, r->plan);
    struct error err = {0};
    if (buf_check(&b, &err) == ERR_OK)
        r->steps_json = buf_take(&b, &r->steps_len);
    return r->steps_json != NULL;
}

static bool rollout_has_values(struct rollout *r)
{
    if (r->values == VALUES_UNKNOWN)
        r->values = plan_has_values(r->plan) ? VALUES_YES : VALUES_NO;
    return r->values == VALUES_YES;
}

static void slot_send_execute(struct slot *slot)
{
    struct rollout *r = slot->rollout;
    struct dispatcher *d = r->d;
    if (slot->server->session == NULL)
        return;
    if (!rollout_encode_steps(r)) {
        session_fault(slot->server->session, "out of memory");
        return; /* it is sent when the agent comes again */
    }
    /* A check has nothing to undo or confirm; but what is signed is said as it was signed. */
    bool check = engine_is_check(r->engine);
    bool whole = !check || r->plan->is_signed;
    struct wire_execute execute = {
        .rollout = r->id,
        .epoch = journal_epoch(d->config.journal),
        .rollback_on_failure = whole && r->plan->rollback_scope != SCOPE_NONE,
        .confirm_ms = whole ? r->plan->confirm_timeout_ms : 0,
        .check = check,
        .reboots = true,
        .is_signed = r->plan->is_signed,
        .vars = r->plan->vars_json,
        .secrets = r->plan->secrets_json,
    };
    struct error err = {0};
    if (execute.is_signed && sealed_fill(r, slot->index, &execute.seal, &err) != ERR_OK) {
        session_fault(slot->server->session, err.message);
        return; /* the same */
    }
    buf_clear(&d->frame);
    wire_encode_execute(&d->frame, &execute, r->steps_json, r->steps_len);
    slot->sent = true;
    d->stats.executes++;
    FAILPOINT(FAIL_EXECUTE_BEFORE);
    (void)queue_send_text(slot->server);
    FAILPOINT(FAIL_EXECUTE_AFTER);
}

static void slot_send_cancel(struct slot *slot, bool now)
{
    struct wire_frame frame = {
        .type = WIRE_CANCEL,
        .cancel = {.rollout = slot->rollout->id,
                   .epoch = journal_epoch(slot->rollout->d->config.journal),
                   .now = now},
    };
    FAILPOINT(FAIL_CANCEL_BEFORE);
    (void)queue_send(slot->server, &frame);
    FAILPOINT(FAIL_CANCEL_AFTER);
}

/* The step that it is in has its end; a half-done one would be undone by nobody. */
void queue_stop_settled(struct slot *slot)
{
    const struct execution *x = slot_execution(slot);
    if (x->resolved && slot->server->session != NULL)
        slot_send_cancel(slot, false);
}

static void slot_send_rollback(struct slot *slot)
{
    struct wire_frame frame = {
        .type = WIRE_ROLLBACK,
        .rollback = {.rollout = slot->rollout->id,
                     .epoch = journal_epoch(slot->rollout->d->config.journal),
                     .round = slot->undo_round,
                     .force = slot->undo_force},
    };
    slot->rollout->d->stats.rollbacks++;
    FAILPOINT(FAIL_ROLLBACK_BEFORE);
    (void)queue_send(slot->server, &frame);
    FAILPOINT(FAIL_ROLLBACK_AFTER);
}

static void slot_await_start(struct slot *slot)
{
    if (slot->timer.slot == 0)
        queue_arm(slot->rollout->d, &slot->timer, TIMER_START, slot,
                  slot->rollout->plan->strategy.start_timeout_ms);
}

/* What an agent is too old for, NULL: nothing. One from before there were checks would pass over
 * that it is one, and carry it out; and one from before there were conditions those; and one from
 * before there were secrets would write out their names. */
static const char *slot_too_old(const struct slot *slot)
{
    const struct server *server = slot->server;
    if (server->session == NULL)
        return NULL;
    if (engine_is_check(slot->rollout->engine) && !server->checks)
        return "checks";
    if (slot->rollout->plan->secrets_json && !server->secrets)
        return "plans with secrets";
    return rollout_has_values(slot->rollout) && !server->values ? "plans with values" : NULL;
}

/* Lets the head of a queue go when the engine wants it, nobody has locked the server, and nothing
 * is to be undone there first. Nothing goes forward any more once the rollout stops, also while
 * that is still being made durable: the cancel is on its way. */
static void slot_pump(struct slot *slot)
{
    if (slot == NULL || !slot->wanted || slot->server->head != slot || slot->server->lock.set ||
        engine_stopping(slot->rollout->engine))
        return;
    if (slot_too_old(slot) != NULL) {
        timers_disarm(&slot->rollout->d->timers, &slot->timer);
        queue_arm(slot->rollout->d, &slot->timer, TIMER_START, slot, 0);
        return;
    }
    slot_await_start(slot);
    if (!queue_owes_undo(slot->server))
        slot_send_execute(slot);
}

void queue_pump(struct server *server)
{
    slot_pump(server->head);
}

void queue_locked(struct server *server)
{
    struct slot *head = server->head;
    if (head != NULL && !head->sent && head->timer.slot != 0 && head->timer.kind == TIMER_START)
        timers_disarm(&head->rollout->d->timers, &head->timer);
}

/* ---- Giving up --------------------------------------------------------------------------------
 */

/* Its place is given away, and that is durable: an agent that has the execution waiting behind
 * another one is to drop it, rather than to begin what would only be stopped and undone. */
static void slot_given_up(void *ctx, enum error_code result, const struct error *err,
                          const char *id)
{
    struct slot *slot = ctx;
    (void)err;
    (void)id;
    if (result == ERR_OK && slot->sent)
        slot_send_cancel(slot, true);
}

void queue_timer(struct slot *slot, enum timer_kind kind)
{
    struct rollout *r = slot->rollout;
    char text[CLOCK_TEXT_MAX];
    char why[QUEUE_WHY_MAX];
    int64_t limit_ms =
        kind == TIMER_START ? r->plan->strategy.start_timeout_ms : slot_reconnect_ms(slot);
    bool reboots = slot_execution(slot)->away_ms > 0;
    duration_format(limit_ms, text);
    struct event event = rollout_event(
        kind == TIMER_START ? EVENT_EXECUTION_UNREACHABLE : EVENT_EXECUTION_UNKNOWN, slot->index);
    const char *old = kind == TIMER_START ? slot_too_old(slot) : NULL;
    if (old != NULL)
        (void)snprintf(why, sizeof(why), "its agent is too old for %s: update it", old);
    else if (kind == TIMER_START)
        (void)snprintf(why, sizeof(why),
                       slot->server->session == NULL ? "its agent did not connect within %s"
                                                     : "its agent did not begin within %s",
                       text);
    else
        (void)snprintf(why, sizeof(why),
                       reboots ? "it was not back from its reboot within %s"
                               : "its agent was silent for %s",
                       text);
    event.message = why;
    rollout_apply_then(r, &event, kind == TIMER_START ? slot_given_up : NULL, slot);
}

/* ---- The queues ------------------------------------------------------------------------------ */

void queue_enter(struct slot *slot)
{
    struct server *server = slot->server;
    slot->queued = true;
    queue_sort(slot);
    slot->prev = server->tail;
    slot->next = NULL;
    if (server->tail != NULL)
        server->tail->next = slot;
    else
        server->head = slot;
    server->tail = slot;
    server->queue_length++;
}

static void queue_leave(struct slot *slot)
{
    struct server *server = slot->server;
    if (slot->prev != NULL)
        slot->prev->next = slot->next;
    else
        server->head = slot->next;
    if (slot->next != NULL)
        slot->next->prev = slot->prev;
    else
        server->tail = slot->prev;
    server->queue_length--;
    slot->prev = slot->next = NULL;
    slot->queued = false;
    queue_sort(slot);
}

/* What an ended rollout still has to say to an agent, or to hear of it, is not in the queue. It
 * stands in a list of its server's own, so that a connection looks at nothing else. */
void queue_sort(struct slot *slot)
{
    struct server *server = slot->server;
    bool apart = !slot->queued &&
                 (slot->cancel != 0 || slot->rollback || slot->returning || slot_in_hand(slot));
    if (apart == slot->apart)
        return;
    slot->apart = apart;
    if (apart) {
        slot->prev = NULL;
        slot->next = server->apart;
        if (slot->next != NULL)
            slot->next->prev = slot;
        server->apart = slot;
        return;
    }
    if (slot->prev != NULL)
        slot->prev->next = slot->next;
    else
        server->apart = slot->next;
    if (slot->next != NULL)
        slot->next->prev = slot->prev;
    slot->prev = slot->next = NULL;
}

void queue_release(struct rollout *r)
{
    struct dispatcher *d = r->d;
    timers_disarm(&d->timers, &r->batch_timer);
    for (uint32_t i = 0; i < r->slot_count; i++) {
        struct slot *slot = &r->slots[i];
        if (!slot->queued)
            continue;
        bool held = slot->server->head == slot;
        queue_leave(slot);
        if (held)
            slot_pump(slot->server->head);
    }
    if (r->open) {
        r->open = false;
        d->stats.open--;
        r->used = ++d->uses;
    }
}

/* ---- Decisions ------------------------------------------------------------------------------- */

static void slot_cancel(struct slot *slot, bool now)
{
    const struct execution *x = slot_execution(slot);
    /* It can have ended while the decision was being made durable. An agent that knows nothing of
     * it (any more) would take the cancel for one that came ahead of its execute. */
    if (x->state != EXECUTION_QUEUED && x->state != EXECUTION_RUNNING)
        return;
    slot->cancel = now ? 2 : 1;
    if (slot->missing)
        return;
    bool reachable = slot->server->session != NULL && slot->sent;
    if (x->state == EXECUTION_QUEUED && !reachable) {
        struct event event = rollout_event(EVENT_EXECUTION_WITHDRAWN, slot->index);
        rollout_apply(slot->rollout, &event);
        return;
    }
    /* Where the server was locked, or after a restart, nobody waits for its beginning yet. */
    if (x->state == EXECUTION_QUEUED)
        slot_await_start(slot);
    slot_send_cancel(slot, now);
}

static void slot_fail_rollback(struct slot *slot, const char *why)
{
    struct event event = rollout_event(EVENT_EXECUTION_ROLLED_BACK, slot->index);
    event.state = EXECUTION_ROLLBACK_FAILED;
    event.message = why;
    rollout_apply(slot->rollout, &event);
}

static void slot_rollback(struct slot *slot)
{
    slot->rollback = true;
    if (slot->lost)
        slot_fail_rollback(slot, "the agent has no record of what it changed");
    else if (slot->server->session != NULL)
        slot_send_rollback(slot);
    else if (slot_in_hand(slot))
        slot_await_reconnect(slot);
}

void queue_decide(struct rollout *r, const struct decision *decision)
{
    struct slot *slot = decision->server < r->slot_count ? &r->slots[decision->server] : NULL;
    switch (decision->type) {
    case DECISION_START:
        if (slot == NULL || slot_execution(slot)->state != EXECUTION_QUEUED)
            return;
        slot->wanted = true;
        slot_pump(slot);
        return;
    case DECISION_CANCEL:
        if (slot != NULL) {
            slot_cancel(slot, decision->now);
            queue_sort(slot);
        }
        return;
    case DECISION_ROLLBACK:
        if (slot != NULL && (engine_standing(r->engine, slot->index) & ORDER_ROLLBACK) != 0) {
            slot->undo_round = decision->undo_round;
            slot->undo_force = decision->undo_force;
            slot_rollback(slot);
            queue_sort(slot);
        }
        return;
    case DECISION_BATCH_DELAY:
        r->batch_due = decision->batch;
        queue_arm(r->d, &r->batch_timer, TIMER_BATCH, r, decision->delay_ms);
        return;
    case DECISION_END:
        /* A person may have opened it again while that was being made durable. */
        if (rollout_state_final(engine_state(r->engine)))
            queue_release(r);
        return;
    case DECISION_NOTE:
        return;
    }
}

void queue_resume(struct rollout *r)
{
    for (uint32_t i = 0; i < r->slot_count; i++) {
        struct slot *slot = &r->slots[i];
        const struct execution *x = slot_execution(slot);
        /* The former process may have sent it just before it ended, if its turn had come. */
        slot->sent = x->state != EXECUTION_PENDING && slot->server->head == slot;
        queue_await(slot);
    }
}

/* ---- Coming and going ------------------------------------------------------------------------ */

static bool hello_lists(const struct wire_hello *hello, const char *rollout)
{
    for (size_t i = 0; i < hello->executions.count; i++) {
        if (strcmp(ARRAY_AT(&hello->executions, struct wire_execution, i)->rollout, rollout) == 0)
            return true;
    }
    return false;
}

/* The agent was at work, and knows nothing of it any more. It cannot say so by itself unless it is
 * asked to undo: that order stands, and it answers. */
static void slot_lost(struct slot *slot)
{
    static const char why[] = "the agent came back without any record of this execution";
    slot->lost = true;
    if (slot_execution(slot)->state == EXECUTION_ROLLING_BACK) {
        slot_fail_rollback(slot, why);
        return;
    }
    struct event event = rollout_event(EVENT_EXECUTION_ENDED, slot->index);
    event.state = EXECUTION_FAILED;
    event.message = why;
    rollout_apply(slot->rollout, &event);
}

/* Its agent must know of it. One that is only to be undone has perhaps nothing more to say of it,
 * and was perhaps not told yet: that order may still be on its way to the disk. */
static bool slot_at_work(const struct slot *slot)
{
    return slot_in_hand(slot) &&
           (engine_standing(slot->rollout->engine, slot->index) & ORDER_ROLLBACK) == 0;
}

static void slot_connected(struct slot *slot, const struct wire_hello *hello)
{
    struct dispatcher *d = slot->rollout->d;
    if (slot->timer.slot != 0 && slot->timer.kind == TIMER_RECONNECT)
        timers_disarm(&d->timers, &slot->timer);
    slot->missing = slot_at_work(slot) && !hello_lists(hello, slot->rollout->id);
    if (slot->missing)
        return;
    if (slot->cancel != 0)
        slot_send_cancel(slot, slot->cancel == 2);
    else
        slot_pump(slot);
    if (slot->rollback)
        slot_send_rollback(slot);
}

/* What was given up as unknown and is now listed: its report comes, and shows what is to be undone.
 */
static void queue_await_returning(struct server *server, const struct wire_hello *hello)
{
    struct error err = {0};
    for (size_t i = 0; i < hello->executions.count; i++) {
        const char *id = ARRAY_AT(&hello->executions, struct wire_execution, i)->rollout;
        struct rollout *r = NULL;
        uint32_t index = 0;
        if (rollout_get(server->session->d, id, &r, &err) != ERR_OK ||
            !plan_server_find(r->plan, server->id, &index))
            continue;
        struct slot *slot = &r->slots[index];
        slot->returning = slot_execution(slot)->outcome == EXECUTION_UNKNOWN;
        queue_sort(slot);
    }
}

void queue_connected(struct server *server, const struct wire_hello *hello)
{
    struct slot *next = NULL;
    queue_await_returning(server, hello);
    for (struct slot *slot = server->apart; slot != NULL; slot = next) {
        next = slot->next;
        slot_connected(slot, hello);
    }
    if (server->head != NULL)
        slot_connected(server->head, hello);
}

/* A hello can be late: of a connection whose agent has died, overtaken by the next one's. Such an
 * agent never answers, so what it did not list is lost only once it has. */
static void slot_proven(struct slot *slot)
{
    if (!slot->missing)
        return;
    slot->missing = false;
    if (slot_at_work(slot))
        slot_lost(slot);
}

void queue_proven(struct server *server)
{
    struct slot *next = NULL;
    if (server->head != NULL)
        slot_proven(server->head);
    for (struct slot *slot = server->apart; slot != NULL; slot = next) {
        next = slot->next;
        slot_proven(slot);
    }
}

void queue_await(struct slot *slot)
{
    queue_sort(slot);
    if (slot_in_hand(slot) && slot->server->session == NULL)
        slot_await_reconnect(slot);
}

void queue_disconnected(struct server *server)
{
    struct slot *next = NULL;
    if (server->head != NULL)
        queue_await(server->head);
    for (struct slot *slot = server->apart; slot != NULL; slot = next) {
        next = slot->next;
        slot->returning = false;
        queue_await(slot);
    }
}
