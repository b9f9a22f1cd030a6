#include "orchestrator/engine/engine_internal.h"

#include <inttypes.h>

/* One event on its way in, with what it is about. */
struct report {
    const struct event *event;
    uint32_t number;
    struct server *server;
    struct step_record *step; /* NULL when about the execution */
};

static void keep_reason(struct server *s, const struct event *event)
{
    if (event->message)
        s->x.reason_seq = event->seq;
}

/* ---- What a report may say ----------------------------------------------------------------- */

static enum error_code find_server(struct engine *e, const struct event *event,
                                   struct report *ret_report, struct error *err)
{
    if (event->server >= e->server_count) {
        error_set(err, ERR_INVALID, "the plan has no server number %" PRIu32, event->server);
        return ERR_INVALID;
    }
    if (event->server >= e->next) {
        error_set(err, ERR_CONFLICT, "%s was not started", plan_server(e->plan, event->server));
        return ERR_CONFLICT;
    }
    *ret_report = (struct report){event, event->server, &e->servers[event->server], NULL};
    return ERR_OK;
}

/* An agent that came back without its journal can say nothing of what it did: the dispatcher says
 * for it, unnumbered, that the execution has failed and cannot be undone. */
static bool said_on_behalf(enum event_type type)
{
    return type == EVENT_EXECUTION_ENDED || type == EVENT_EXECUTION_ROLLED_BACK;
}

static enum error_code check_numbering(const struct engine *e, const struct report *r,
                                       struct error *err)
{
    int64_t last = r->server->x.last_agent_seq;
    int64_t seq = r->event->agent_seq;
    if (seq == 0 && said_on_behalf(r->event->type))
        return ERR_OK;
    if (seq < 1)
        return error_set(err, ERR_INVALID, "an entry of %s is not numbered",
                         plan_server(e->plan, r->number));
    if (seq <= last)
        return error_set(err, ERR_STALE, "entry %" PRId64 " of %s is known", seq,
                         plan_server(e->plan, r->number));
    if (seq > last + 1)
        return error_set(err, ERR_INVALID, "entry %" PRId64 " of %s came after entry %" PRId64, seq,
                         plan_server(e->plan, r->number), last);
    return ERR_OK;
}

static bool can_start(const struct report *r)
{
    return !r->server->x.started;
}

static bool can_go_on(const struct report *r)
{
    return r->server->x.started && !r->server->ended;
}

static bool step_can_go_on(const struct report *r)
{
    return can_go_on(r) && (r->step->state == STEP_PENDING || r->step->state == STEP_RUNNING);
}

static bool step_is_running(const struct report *r)
{
    return can_go_on(r) && r->step->state == STEP_RUNNING;
}

/* Once without being told, and then as often as was ordered. */
static bool can_begin_undo(const struct report *r)
{
    const struct server *s = r->server;
    return s->ended && (s->rounds == 0 || s->rounds < s->x.undo_round);
}

/* Last step first, and in a round each once; one that is undone already by force alone. */
static bool step_can_be_undone(const struct report *r)
{
    const struct server *s = r->server;
    return s->round_open && r->event->step < s->undo_step &&
           (r->step->state != STEP_ROLLED_BACK || s->round_forced);
}

/* One that knows nothing of the execution (any more) says so without having begun. */
static bool can_end_undo(const struct report *r)
{
    switch ((enum undo)r->server->undo) {
    case UNDO_SELF:
    case UNDO_ASKED:
    case UNDO_SILENT:
    case UNDO_OWED:
        return r->server->ended;
    case UNDO_NONE:
    case UNDO_DUE:
    case UNDO_DONE:
    case UNDO_FAILED:
        break;
    }
    return r->server->round_open;
}

/* ---- What is on record then ---------------------------------------------------------------- */

static void step_changed(struct report *r, enum step_state state)
{
    const struct event *event = r->event;
    r->step->state = state;
    if (event->message)
        r->step->reason_seq = event->seq;
}

static void record_started(struct engine *e, struct report *r)
{
    r->server->x.started = true;
    r->server->x.started_ms = r->event->time_ms;
    server_weigh_change(e, r->server);
}

/* Steps that are done at once and change nothing have no beginning on record. */
static void record_step_started(struct engine *e, struct report *r)
{
    step_changed(r, STEP_RUNNING);
    r->step->attempt = r->event->attempt;
    if (r->event->type == EVENT_STEP_STARTED && !e->check)
        r->server->x.touched = true;
    server_weigh_change(e, r->server);
}

static void record_rebooting(struct engine *e, struct report *r)
{
    record_step_started(e, r);
    r->server->x.away_ms = r->event->away_ms;
}

static void record_step_ended(struct engine *e, struct report *r)
{
    (void)e;
    const struct event *event = r->event;
    step_changed(r, event->step_state);
    r->step->attempt = event->attempt;
    r->step->changed = event->changed;
    r->step->has_exit_code = event->has_exit_code;
    r->step->exit_code = event->has_exit_code ? event->exit_code : 0;
    r->step->duration_ms = event->duration_ms;
}

static void record_nothing(struct engine *e, struct report *r)
{
    (void)e;
    (void)r;
}

static void record_ended(struct engine *e, struct report *r)
{
    r->server->ended = true;
    server_weigh_change(e, r->server);
}

static void record_undo_begun(struct engine *e, struct report *r)
{
    r->server->rounds++;
    r->server->round_open = true;
    r->server->round_forced = r->event->force;
    r->server->undo_step = (int32_t)e->step_count;
}

static void record_step_undone(struct engine *e, struct report *r)
{
    (void)e;
    step_changed(r, r->event->step_state);
    r->step->conflict = r->event->conflict;
    r->server->undo_step = r->event->step;
}

static void record_undo_over(struct engine *e, struct report *r)
{
    (void)e;
    r->server->round_open = false;
}

/* ---- What follows for a server that is not settled by hand --------------------------------- */

/* A server that was thought settled is at work. One whose place was given away or whose undo was
 * ordered is stopped, and so is any that comes back while the rollout stops or after it was
 * stopped. */
static void come_back(struct engine *e, struct report *r)
{
    struct server *s = r->server;
    bool unwanted = s->stray || s->ordered || e->stop != STOP_NONE;
    server_set_busy(e, s, true);
    s->undo = UNDO_NONE;
    server_set_state(e, s, EXECUTION_RUNNING);
    if (unwanted && r->event->type != EVENT_EXECUTION_ENDED)
        server_cancel(e, r->number);
}

static void execution_started(struct engine *e, struct report *r)
{
    struct server *s = r->server;
    s->asks &= (uint8_t)~ASK_START;
    if (s->x.outcome == EXECUTION_PENDING) {
        server_set_state(e, s, EXECUTION_RUNNING);
        return;
    }
    s->stray = true;
    come_back(e, r);
}

static void step_started(struct engine *e, struct report *r)
{
    (void)e;
    r->server->x.step = r->event->step;
}

static void step_ended(struct engine *e, struct report *r)
{
    (void)e;
    const struct event *event = r->event;
    if (event->step_state == STEP_FAILED || event->step_state == STEP_TIMED_OUT) {
        r->server->x.step = event->step;
        keep_reason(r->server, event);
    } else if (r->server->x.step == event->step) {
        r->server->x.step = EVENT_NO_STEP;
    }
}

/* What is left is its end. */
static void execution_confirming(struct engine *e, struct report *r)
{
    (void)e;
    r->server->x.step = EVENT_NO_STEP;
}

static void undo_itself(struct engine *e, struct server *s)
{
    if (s->undo != UNDO_ASKED)
        s->undo = UNDO_SELF;
    s->x.undoing = true;
    server_set_busy(e, s, true);
    server_set_state(e, s, EXECUTION_ROLLING_BACK);
}

/* A step that failed and was tolerated may have changed something. */
static bool steps_unchanged(const struct engine *e, uint32_t number)
{
    for (uint32_t i = 0; i < e->step_count; i++) {
        const struct step_record *step = engine_step(e, number, i);
        if (step->changed || (step->state != STEP_SUCCEEDED && step->state != STEP_SKIPPED))
            return false;
    }
    return true;
}

static void execution_ended(struct engine *e, struct report *r)
{
    struct server *s = r->server;
    const struct event *event = r->event;
    s->asks &= (uint8_t) ~(ASK_CANCEL | ASK_CANCEL_NOW);
    s->x.ended_ms = event->time_ms;
    bool late = s->x.outcome == EXECUTION_UNKNOWN && !e->closed;
    if (s->x.outcome == EXECUTION_PENDING || late)
        server_set_outcome(e, s, event->state);
    s->x.unchanged =
        s->x.outcome == EXECUTION_SUCCEEDED && !s->x.resolved && steps_unchanged(e, r->number);
    e->unchanged += s->x.unchanged;
    server_set_state(e, s, event->state);
    if (event->state == EXECUTION_SUCCEEDED)
        s->x.step = EVENT_NO_STEP;
    else
        keep_reason(s, event);
    if (event->undoing) {
        undo_itself(e, s);
        return;
    }
    server_settle(e, s);
    rollback_consider(e, r->number);
}

static void rollback_started(struct engine *e, struct report *r)
{
    r->server->x.conflict = false;
    undo_itself(e, r->server);
}

static void step_rolled_back(struct engine *e, struct report *r)
{
    (void)e;
    if (r->event->step_state != STEP_ROLLBACK_FAILED)
        return;
    r->server->x.step = r->event->step;
    r->server->x.conflict = r->server->x.conflict || r->event->conflict;
    keep_reason(r->server, r->event);
}

/* An order that came while the round was under way is still to be carried out when that failed. */
static void execution_rolled_back(struct engine *e, struct report *r)
{
    struct server *s = r->server;
    bool done = r->event->state == EXECUTION_ROLLED_BACK;
    if (!done)
        keep_reason(s, r->event);
    s->asks &= (uint8_t)~ASK_ROLLBACK;
    rollback_settle(e, s, done ? UNDO_DONE : UNDO_FAILED);
    s->ordered = s->ordered && !done;
    if (s->ordered)
        rollback_put_due(e, r->number);
}

/* ---- The entries, each with what it may say, when, and what follows ---------------------- */

#define BIT(state) (1U << (state))
static const struct {
    bool about_step;
    unsigned states;                      /* that it can carry, as bits; 0: it carries none */
    bool (*fits)(const struct report *r); /* everything happens once, and in order */
    void (*record)(struct engine *e, struct report *r);
    void (*follow)(struct engine *e, struct report *r);
} entries[EVENT_TYPE_COUNT] = {
    [EVENT_EXECUTION_STARTED] = {false, 0, can_start, record_started, execution_started},
    [EVENT_STEP_STARTED] = {true, 0, step_can_go_on, record_step_started, step_started},
    [EVENT_STEP_RETRYING] = {true, 0, step_can_go_on, record_step_started, step_started},
    [EVENT_STEP_REBOOTING] = {true, 0, step_is_running, record_rebooting, step_started},
    [EVENT_STEP_REBOOTED] = {true, 0, step_is_running, record_step_started, step_started},
    [EVENT_STEP_ENDED] = {true,
                          BIT(STEP_SUCCEEDED) | BIT(STEP_FAILED) | BIT(STEP_TIMED_OUT) |
                              BIT(STEP_SKIPPED),
                          step_can_go_on, record_step_ended, step_ended},
    [EVENT_EXECUTION_CONFIRMING] = {false, 0, can_go_on, record_nothing, execution_confirming},
    [EVENT_EXECUTION_ENDED] = {false,
                               BIT(EXECUTION_SUCCEEDED) | BIT(EXECUTION_FAILED) |
                                   BIT(EXECUTION_TIMED_OUT) | BIT(EXECUTION_CANCELLED),
                               can_go_on, record_ended, execution_ended},
    [EVENT_EXECUTION_ROLLBACK_STARTED] = {false, 0, can_begin_undo, record_undo_begun,
                                          rollback_started},
    [EVENT_STEP_ROLLED_BACK] = {true, BIT(STEP_ROLLED_BACK) | BIT(STEP_ROLLBACK_FAILED),
                                step_can_be_undone, record_step_undone, step_rolled_back},
    [EVENT_EXECUTION_ROLLED_BACK] = {false,
                                     BIT(EXECUTION_ROLLED_BACK) | BIT(EXECUTION_ROLLBACK_FAILED),
                                     can_end_undo, record_undo_over, execution_rolled_back},
};

static enum error_code check_content(struct engine *e, struct report *r, struct error *err)
{
    const struct event *event = r->event;
    bool about_step = entries[event->type].about_step;
    if (about_step) {
        if (event->step < 0 || (uint32_t)event->step >= e->step_count)
            return error_set(err, ERR_INVALID, "the plan has no step number %" PRId32, event->step);
        r->step = &e->steps[(size_t)r->number * e->step_count + (uint32_t)event->step];
    }
    unsigned states = entries[event->type].states;
    unsigned state = about_step ? BIT(event->step_state) : BIT(event->state);
    bool undoes_success = event->type == EVENT_EXECUTION_ENDED && event->undoing &&
                          event->state == EXECUTION_SUCCEEDED;
    bool undoes = event->undoing || event->type == EVENT_EXECUTION_ROLLBACK_STARTED ||
                  event->type == EVENT_STEP_ROLLED_BACK ||
                  event->type == EVENT_EXECUTION_ROLLED_BACK;
    if (e->check && undoes)
        return error_set(err, ERR_INVALID, "%s reports %s, but in a check there is nothing to undo",
                         plan_server(e->plan, r->number), event_type_names[event->type]);
    if ((states && !(states & state)) || undoes_success)
        return error_set(err, ERR_INVALID, "%s reports %s with a state that it cannot have",
                         plan_server(e->plan, r->number), event_type_names[event->type]);
    return ERR_OK;
}

/* One that was at rest is at work again. */
static void wake(struct engine *e, struct report *r)
{
    if (!r->server->x.started || r->server->busy)
        return;
    if (r->server->ended)
        undo_itself(e, r->server);
    else
        come_back(e, r);
}

enum error_code report_apply(struct engine *e, const struct event *event, struct error *err)
{
    struct report r;
    enum error_code code = find_server(e, event, &r, err);
    if (code == ERR_OK)
        code = check_numbering(e, &r, err);
    if (code == ERR_OK)
        code = check_content(e, &r, err);
    if (code != ERR_OK)
        return code;
    if (!entries[event->type].fits(&r))
        return error_set(err, ERR_CONFLICT,
                         "%s reports %s, which cannot follow what it said before",
                         plan_server(e->plan, event->server), event_type_names[event->type]);
    if (event->agent_seq != 0)
        r.server->x.last_agent_seq = event->agent_seq;
    if (!r.server->x.resolved)
        wake(e, &r);
    r.server->x.away_ms = 0; /* whoever says something is not away */
    entries[event->type].record(e, &r);
    if (!r.server->x.resolved)
        entries[event->type].follow(e, &r);
    threshold_check(e);
    return ERR_OK;
}

/* ---- Said of a server by the orchestrator -------------------------------------------------- */

/* Settles a server that was queued and whose agent never took it on. */
static enum error_code settle_unstarted(struct engine *e, const struct event *event,
                                        enum execution_state outcome, struct error *err)
{
    struct report r;
    enum error_code code = find_server(e, event, &r, err);
    if (code != ERR_OK)
        return code;
    struct server *s = r.server;
    if (s->x.outcome != EXECUTION_PENDING)
        return error_set(err, ERR_STALE, "%s is settled (%s)", plan_server(e->plan, r.number),
                         execution_state_names[s->x.outcome]);
    if (s->x.started)
        return error_set(err, ERR_CONFLICT, "%s has started", plan_server(e->plan, r.number));
    if (outcome == EXECUTION_SKIPPED && e->stop == STOP_NONE)
        return error_set(err, ERR_CONFLICT, "%s is wanted: the rollout is not stopping",
                         plan_server(e->plan, r.number));
    s->asks = 0;
    s->x.ended_ms = event->time_ms;
    keep_reason(s, event);
    server_set_outcome(e, s, outcome);
    server_set_state(e, s, outcome);
    server_settle(e, s);
    threshold_check(e);
    return ERR_OK;
}

enum error_code report_unreachable(struct engine *e, const struct event *event, struct error *err)
{
    return settle_unstarted(e, event, EXECUTION_UNREACHABLE, err);
}

enum error_code report_withdrawn(struct engine *e, const struct event *event, struct error *err)
{
    return settle_unstarted(e, event, EXECUTION_SKIPPED, err);
}

enum error_code report_unknown(struct engine *e, const struct event *event, struct error *err)
{
    struct report r;
    enum error_code code = find_server(e, event, &r, err);
    if (code != ERR_OK)
        return code;
    struct server *s = r.server;
    if (s->slot && !s->x.started)
        return error_set(err, ERR_CONFLICT, "%s has not started", plan_server(e->plan, r.number));
    if (!s->busy)
        return error_set(err, ERR_STALE, "%s is settled (%s)", plan_server(e->plan, r.number),
                         execution_state_names[s->x.state]);
    keep_reason(s, event);
    s->asks = 0;
    s->x.away_ms = 0;
    if (s->ended) {
        rollback_settle(e, s, s->undo == UNDO_ASKED ? UNDO_OWED : UNDO_SILENT);
        return ERR_OK;
    }
    s->x.ended_ms = event->time_ms;
    if (s->x.outcome == EXECUTION_PENDING)
        server_set_outcome(e, s, EXECUTION_UNKNOWN);
    server_set_state(e, s, EXECUTION_UNKNOWN);
    server_settle(e, s);
    rollback_consider(e, r.number);
    threshold_check(e);
    return ERR_OK;
}
