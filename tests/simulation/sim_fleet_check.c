/* What must hold. The orchestrator is judged by what is on its own disk and on the agents', the
 * agents by what really happened to their hosts. */
#include "simulation/sim_fleet.h"

#include "common/base/cleanup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Events that have become durable --------------------------------------------------------- */

/* A place that was given away: its agent is stopped and undone if it began all the same. */
static bool given_up(const struct sim_fact *f)
{
    return f->unreachable || f->withdrawn;
}

static const enum report_type report_of[EVENT_TYPE_COUNT] = {
    [EVENT_EXECUTION_STARTED] = REPORT_STARTED,
    [EVENT_STEP_STARTED] = REPORT_STEP_STARTED,
    [EVENT_STEP_RETRYING] = REPORT_STEP_RETRYING,
    [EVENT_STEP_ENDED] = REPORT_STEP_ENDED,
    [EVENT_EXECUTION_ENDED] = REPORT_ENDED,
    [EVENT_EXECUTION_ROLLBACK_STARTED] = REPORT_ROLLBACK_STARTED,
    [EVENT_STEP_ROLLED_BACK] = REPORT_STEP_ROLLED_BACK,
    [EVENT_EXECUTION_ROLLED_BACK] = REPORT_ROLLED_BACK,
};

/* What is recorded of an agent is what the agent has on its own disk, once and in order. */
static void check_reported(struct sim *sim, uint32_t rollout, const struct event *event)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    struct sim_fact *f = &r->facts[event->server];
    const struct sim_node *n = &sim->nodes[r->node_of[event->server]];
    const struct sim_store_execution *x = sim_store_find(n, rollout);
    const struct sim_store_entry *entry = NULL;
    if (event->agent_seq == 0)
        return;
    if (event->agent_seq != f->agent_seq + 1)
        sim_fail(sim, "%s: entry %" PRId64 " of %s is recorded after entry %" PRId64, r->id,
                 event->agent_seq, n->id, f->agent_seq);
    f->agent_seq = event->agent_seq;
    if (n->traces[rollout].amnesia)
        return;
    entry = x == NULL ? NULL : sim_store_entry(x, event->agent_seq);
    if (entry == NULL) {
        sim_fail(sim, "%s: entry %" PRId64 " of %s is recorded, and the server has none", r->id,
                 event->agent_seq, n->id);
        return;
    }
    bool about_step = event->step != EVENT_NO_STEP;
    bool about_end =
        event->type == EVENT_EXECUTION_ENDED || event->type == EVENT_EXECUTION_ROLLED_BACK;
    int state = about_step ? (int)event->step_state : (int)event->state;
    if (entry->type != (int)report_of[event->type] || entry->step != event->step ||
        ((about_end || event->type == EVENT_STEP_ENDED) && entry->state != state))
        sim_fail(sim, "%s: entry %" PRId64 " of %s is recorded otherwise than the server has it",
                 r->id, event->agent_seq, n->id);
}

static void fact_started(struct sim *sim, struct sim_rollout *r, struct sim_fact *f)
{
    if (f->started)
        sim_fail(sim, "%s: a server starts twice", r->id);
    f->started = true;
    if (given_up(f))
        sim_hit(sim, PATH_STRAY);
}

static void fact_ended(struct sim *sim, struct sim_rollout *r, struct sim_fact *f,
                       const struct event *event)
{
    if (f->ended)
        sim_fail(sim, "%s: a server ends twice", r->id);
    f->ended = true;
    f->ended_as = event->state;
    f->late = r->ended;
    if (event->agent_seq == 0) {
        f->on_behalf = true;
        sim_hit(sim, PATH_LOST_RECORD);
        if (!sim->nodes[r->node_of[event->server]].traces[r - sim->rollouts].amnesia)
            sim_fail(sim, "%s: server %u is said to have lost its record, and has not", r->id,
                     event->server);
    }
    if (f->unknown)
        sim_hit(sim, r->ended ? PATH_LATE_RETURN_OVER : PATH_LATE_RETURN);
}

static void fact_undone(struct sim *sim, struct sim_rollout *r, struct sim_fact *f,
                        const struct event *event)
{
    if (f->undone)
        sim_fail(sim, "%s: a server is undone twice", r->id);
    f->undone = true;
    f->undone_as = event->state;
    if (r->ended && event->state == EXECUTION_ROLLED_BACK)
        sim_hit(sim, PATH_LATE_ROLLED_BACK);
}

static void rollout_over(struct sim *sim, struct sim_rollout *r, const struct event *event)
{
    static const enum sim_path paths[ROLLOUT_STATE_COUNT] = {
        [ROLLOUT_SUCCEEDED] = PATH_SUCCEEDED,
        [ROLLOUT_FAILED] = PATH_FAILED,
        [ROLLOUT_CANCELLED] = PATH_CANCELLED,
        [ROLLOUT_ROLLED_BACK] = PATH_ROLLED_BACK,
        [ROLLOUT_ROLLBACK_FAILED] = PATH_ROLLBACK_FAILED,
    };
    if (r->ended)
        sim_fail(sim, "%s: it ends twice", r->id);
    if (!rollout_state_final(event->rollout_state))
        sim_fail(sim, "%s: it ends as %s", r->id, rollout_state_names[event->rollout_state]);
    r->ended = true;
    r->state = event->rollout_state;
    sim->ended++;
    sim_hit(sim, paths[event->rollout_state]);
    sim_trace(sim, "%s has ended: %s", r->id, rollout_state_names[r->state]);
}

static void note_command(struct sim *sim, const struct event *event)
{
    if (event->message != NULL && event->message[0] == '#')
        sim->people.durable[strtoul(event->message + 1, NULL, 10) % SIM_MAX_COMMANDS] = true;
}

static void take_server_event(struct sim *sim, uint32_t rollout, const struct event *event)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    struct sim_fact *f = &r->facts[event->server];
    check_reported(sim, rollout, event);
    if (event->type == EVENT_EXECUTION_STARTED)
        fact_started(sim, r, f);
    else if (event->type == EVENT_EXECUTION_ENDED)
        fact_ended(sim, r, f, event);
    else if (event->type == EVENT_EXECUTION_ROLLED_BACK)
        fact_undone(sim, r, f, event);
    else if (event->type == EVENT_EXECUTION_UNREACHABLE)
        f->unreachable = true;
    else if (event->type == EVENT_EXECUTION_WITHDRAWN)
        f->withdrawn = true;
    else if (event->type == EVENT_EXECUTION_UNKNOWN)
        f->unknown = true;
    else if (event->type == EVENT_EXECUTION_ROLLBACK_STARTED)
        f->undoing = true;
    if (event->type == EVENT_EXECUTION_UNREACHABLE)
        sim_hit(sim, PATH_UNREACHABLE);
    else if (event->type == EVENT_EXECUTION_WITHDRAWN)
        sim_hit(sim, PATH_WITHDRAWN);
    else if (event->type == EVENT_EXECUTION_UNKNOWN)
        sim_hit(sim, PATH_UNKNOWN);
}

static void take_rollout_event(struct sim *sim, uint32_t rollout, const struct event *event)
{
    struct sim_rollout *r = &sim->rollouts[rollout];
    if (event->type == EVENT_ROLLOUT_CREATED) {
        r->created = true;
        r->place = sim->orchestrator.disk.count;
    } else if (event->type == EVENT_BATCH_STARTED) {
        if (r->stopped)
            sim_fail(sim, "%s: a batch begins after it was stopped", r->id);
        r->opened += event->count;
    } else if (event->type == EVENT_CANCEL_REQUESTED || event->type == EVENT_THRESHOLD_EXCEEDED) {
        r->stopped_ms = r->stopped ? r->stopped_ms : sim->now_ms;
        r->stopped = true;
        r->paused = false;
    } else if (event->type == EVENT_ROLLBACK_STARTED) {
        r->undo_begun = true;
    } else if (event->type == EVENT_ROLLOUT_PAUSED || event->type == EVENT_ROLLOUT_RESUMED) {
        r->paused = event->type == EVENT_ROLLOUT_PAUSED;
    } else if (event->type == EVENT_ROLLOUT_ENDED) {
        rollout_over(sim, r, event);
    }
    if (event->type == EVENT_THRESHOLD_EXCEEDED)
        sim_hit(sim, PATH_THRESHOLD);
    else if (event->type == EVENT_CANARY_PASSED)
        sim_hit(sim, PATH_CANARY_PASSED);
    note_command(sim, event);
}

void sim_check_event(struct sim *sim, uint32_t rollout, const struct event *event)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    sim_trace(sim, "durable: %s %" PRIu64 " %s server %d step %d (%s)", r->id, event->seq,
              event_type_names[event->type], (int)event->server, event->step,
              event->message == NULL ? "" : event->message);
    if (event->type != EVENT_ROLLOUT_CREATED && !r->created)
        sim_fail(sim, "%s: %s before it was created", r->id, event_type_names[event->type]);
    if (event->server == EVENT_NO_SERVER)
        take_rollout_event(sim, rollout, event);
    else
        take_server_event(sim, rollout, event);
}

void sim_check_summary(struct sim *sim, uint32_t rollout, const struct journal_summary *summary)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct engine_counts *c = &summary->counts;
    uint32_t sum = c->pending + c->in_flight + c->succeeded + c->failed + c->unreachable +
                   c->unknown + c->cancelled + c->skipped;
    if (sum != summary->servers || sum != plan_server_count(r->plan))
        sim_fail(sim, "%s: the counts make %u servers of %u", r->id, sum, summary->servers);
    if (r->ended != rollout_state_final(summary->state) ||
        (r->ended && summary->state != r->state && summary->state != ROLLOUT_ROLLBACK_FAILED))
        sim_fail(sim, "%s: it is %s in lists and has ended as %s", r->id,
                 rollout_state_names[summary->state], rollout_state_names[r->state]);
    uint32_t batch = plan_server_count(r->plan);
    if (!r->stopped && c->in_flight > plan_parallel(r->plan, batch))
        sim_fail(sim, "%s: %u servers in flight", r->id, c->in_flight);
}

/* ---- Frames to agents ------------------------------------------------------------------------ */

/* Nothing goes out before what caused it is durable, and nothing forward after a stop. */
static void check_execute(struct sim *sim, uint32_t rollout, uint32_t server)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_fact *f = &r->facts[server];
    uint32_t node = r->node_of[server];
    if (r->stopped)
        sim_fail(sim, "%s is sent to server %u after it was stopped", r->id, server);
    if (server >= r->opened)
        sim_fail(sim, "%s is sent to server %u before its batch", r->id, server);
    if (f->ended || given_up(f))
        sim_fail(sim, "%s is sent to server %u, which is settled", r->id, server);
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *other = &sim->rollouts[i];
        uint32_t number = 0;
        bool shared = i != rollout && sim_rollout_server(sim, i, node, &number);
        if (!shared || !other->created || other->place > r->place)
            continue;
        if (!other->ended)
            sim_fail(sim, "%s is sent to %s, which %s holds", r->id, sim->nodes[node].id,
                     other->id);
        sim_hit(sim, PATH_QUEUE_WAIT);
    }
    if (sim->nodes[node].traces[rollout].heard)
        sim_hit(sim, PATH_EXECUTE_AGAIN);
}

static int64_t number_after(const char *text, const char *what)
{
    const char *at = strstr(text, what);
    return at == NULL ? -1 : strtoll(at + strlen(what), NULL, 10);
}

static bool text_after(const char *text, const char *what, char ret[SIM_NAME_MAX])
{
    const char *at = strstr(text, what);
    if (at == NULL)
        return false;
    at += strlen(what);
    size_t len = strcspn(at, "\"");
    if (len >= SIM_NAME_MAX)
        return false;
    memcpy(ret, at, len);
    ret[len] = '\0';
    return true;
}

void sim_check_frame(struct sim *sim, const struct sim_node *n, const char *data, size_t len)
{
    char type[SIM_NAME_MAX];
    char id[SIM_NAME_MAX];
    uint32_t server = 0;
    (void)len;
    if (!text_after(data, "\"type\":\"", type) || !text_after(data, "\"rollout\":\"", id))
        return;
    uint32_t rollout = sim_rollout_find(sim, id);
    if (rollout == SIM_MAX_ROLLOUTS || !sim_rollout_server(sim, rollout, n->index, &server)) {
        sim_fail(sim, "%s is told of %s, which has no part for it", n->id, id);
        return;
    }
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_fact *f = &r->facts[server];
    bool may_stop = r->stopped || given_up(f);
    if (!r->created)
        sim_fail(sim, "%s is told of %s before that is durable", n->id, id);
    if (strcmp(type, "execute") == 0)
        check_execute(sim, rollout, server);
    else if (strcmp(type, "cancel") == 0 && !may_stop)
        sim_fail(sim, "%s is told to stop %s, which nobody stopped", n->id, id);
    else if (strcmp(type, "rollback") == 0 && !may_stop && !f->undoing)
        sim_fail(sim, "%s is told to undo %s, which nobody stopped", n->id, id);
    else if (strcmp(type, "ack") == 0 && number_after(data, "\"seq\":") > f->agent_seq &&
             !n->traces[rollout].amnesia)
        sim_fail(sim, "%s: entry %" PRId64 " of %s is acknowledged, durable is %" PRId64, n->id,
                 number_after(data, "\"seq\":"), id, f->agent_seq);
}

void sim_check_arrival(struct sim *sim, const struct sim_node *n, const char *data)
{
    char type[SIM_NAME_MAX];
    char id[SIM_NAME_MAX];
    uint32_t server = 0;
    if (!text_after(data, "\"type\":\"", type) || strcmp(type, "report") != 0 ||
        !text_after(data, "\"rollout\":\"", id))
        return;
    uint32_t rollout = sim_rollout_find(sim, id);
    if (rollout < SIM_MAX_ROLLOUTS && sim_rollout_server(sim, rollout, n->index, &server) &&
        number_after(data, "\"seq\":") <= sim->rollouts[rollout].facts[server].agent_seq)
        sim_hit(sim, PATH_RESENT);
}

/* ---- What an agent says of its host ---------------------------------------------------------- */

static bool tolerated(const struct plan_step *step)
{
    return !step->required || step->continue_on_failure;
}

static void check_said_ended(struct sim_node *n, uint32_t rollout, const struct wire_entry *entry)
{
    struct sim *sim = n->sim;
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_trace *t = &n->traces[rollout];
    uint32_t server = 0;
    (void)sim_rollout_server(sim, rollout, n->index, &server);
    bool good = true;
    for (uint32_t i = 0; i < plan_step_count(r->plan); i++)
        good = good && (t->done[i] || tolerated(plan_step(r->plan, i)));
    if (entry->state == EXECUTION_SUCCEEDED && !good)
        sim_fail(sim, "%s says that %s succeeded, and it did not", n->id, r->id);
    if ((entry->state == EXECUTION_FAILED || entry->state == EXECUTION_TIMED_OUT) && t->bad == 0)
        sim_fail(sim, "%s says that %s failed, and all went well", n->id, r->id);
    if (entry->state == EXECUTION_CANCELLED && !r->stopped && !given_up(&r->facts[server]))
        sim_fail(sim, "%s says that %s was cancelled, and nobody did", n->id, r->id);
    if (entry->state == EXECUTION_CANCELLED && entry->message != NULL &&
        strstr(entry->message, "before it began") != NULL)
        sim_hit(sim, PATH_TOMBSTONE);
    if (entry->undoing)
        sim_hit(sim, PATH_OWN_UNDO);
}

/* Every step that began was undone, or that was tried; rolled back: the host is as it was before.
 */
static void check_said_undone(struct sim_node *n, uint32_t rollout, const struct wire_entry *entry)
{
    struct sim *sim = n->sim;
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_trace *t = &n->traces[rollout];
    bool failed = entry->state == EXECUTION_ROLLBACK_FAILED;
    if (sim_store_says(n, rollout, REPORT_ROLLED_BACK, EVENT_NO_STEP))
        sim_fail(sim, "%s says twice that %s is undone", n->id, r->id);
    for (uint32_t i = 0; i < plan_step_count(r->plan); i++)
        if (t->began[i] && !t->undo_began[i])
            sim_fail(sim, "%s says that %s is undone, and step %u is not", n->id, r->id, i);
    for (uint32_t i = 0; i < SIM_KEYS && !failed; i++)
        if (t->touched[i] && n->values[i] != t->base[i])
            sim_fail(sim, "%s says that %s is undone, and value %u is %" PRIx64 ", was %" PRIx64,
                     n->id, r->id, i, n->values[i], t->base[i]);
    if (failed)
        sim_hit(sim, PATH_UNDO_FAILED);
    if (failed && t->bad_undos == 0)
        sim_fail(sim, "%s says that %s could not be undone, and all went well", n->id, r->id);
}

static void check_entry(struct sim_node *n, uint32_t rollout, const struct wire_entry *entry)
{
    struct sim *sim = n->sim;
    const char *message = entry->message == NULL ? "" : entry->message;
    bool ends = false;
    if (entry->type == REPORT_ENDED) {
        check_said_ended(n, rollout, entry);
        ends = !entry->undoing;
    } else if (entry->type == REPORT_ROLLED_BACK) {
        check_said_undone(n, rollout, entry);
        ends = true;
    } else if (entry->type == REPORT_ROLLBACK_STARTED &&
               sim_store_says(n, rollout, REPORT_ENDED, EVENT_NO_STEP)) {
        sim_hit(sim, PATH_TOLD_UNDO);
    }
    if (strstr(message, "died during this step") != NULL)
        sim_hit(sim, PATH_KILLED_BY_STEP);
    if (strstr(message, "stopped while this step ran") != NULL)
        sim_hit(sim, PATH_IN_DOUBT_FAILED);
    if (strstr(message, "stopped during the attempt before") != NULL)
        sim_hit(sim, PATH_IN_DOUBT_RETRIED);
    if (ends && n->holder == rollout)
        n->holder = SIM_MAX_ROLLOUTS;
}

void sim_check_append(struct sim_node *n, uint32_t rollout, const struct undo_append *append)
{
    if (rollout == SIM_MAX_ROLLOUTS)
        return;
    for (size_t i = 0; i < append->entry_count; i++) {
        const struct wire_entry *entry = &append->entries[i];
        sim_trace(n->sim, "%s records %s %" PRId64 " %s step %" PRId64 " (%s)", n->id,
                  n->sim->rollouts[rollout].id, entry->seq, report_type_names[entry->type],
                  entry->step, entry->message == NULL ? "" : entry->message);
        if (!n->traces[rollout].amnesia)
            check_entry(n, rollout, entry);
    }
}

/* ---- Replay ---------------------------------------------------------------------------------- */

static bool same_execution(const struct execution *x, const struct execution *y)
{
    return x->state == y->state && x->outcome == y->outcome && x->started == y->started &&
           x->undoing == y->undoing && x->step == y->step &&
           x->last_agent_seq == y->last_agent_seq && x->started_ms == y->started_ms &&
           x->ended_ms == y->ended_ms && x->reason_seq == y->reason_seq;
}

static bool same_engine(const struct engine *a, const struct engine *b, const struct plan *plan)
{
    struct engine_counts ca = engine_counts(a);
    struct engine_counts cb = engine_counts(b);
    bool same = engine_state(a) == engine_state(b) && memcmp(&ca, &cb, sizeof(ca)) == 0 &&
                strcmp(engine_reason(a), engine_reason(b)) == 0;
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        same = same && same_execution(engine_execution(a, i), engine_execution(b, i));
        for (uint32_t k = 0; k < plan_step_count(plan); k++)
            same = same && engine_step(a, i, k)->state == engine_step(b, i, k)->state &&
                   engine_step(a, i, k)->attempt == engine_step(b, i, k)->attempt;
    }
    return same;
}

void sim_check_replay(struct sim *sim)
{
    const struct sim_orchestrator *o = &sim->orchestrator;
    for (uint32_t i = 0; i < sim->rollout_count && o->running && sim_journal_idle(o->journal);
         i++) {
        AUTO(plan_free) struct plan *plan = NULL;
        AUTO(engine_free) struct engine *engine = NULL;
        struct rollout_view view;
        uint64_t last_seq = 0;
        struct error err = {0};
        if (!sim->rollouts[i].created || journal_load(o->journal, sim->rollouts[i].id, &plan,
                                                      &engine, &last_seq, &err) != ERR_OK)
            continue;
        if (dispatcher_rollout(o->dispatcher, sim->rollouts[i].id, &view, &err) != ERR_OK ||
            view.last_seq != last_seq || !same_engine(view.engine, engine, plan))
            sim_fail(sim, "%s: a replay gives another state", sim->rollouts[i].id);
    }
}

/* ---- The end --------------------------------------------------------------------------------- */

static void check_settled_server(struct sim *sim, uint32_t rollout, uint32_t server,
                                 const struct execution *x)
{
    const struct sim_rollout *r = &sim->rollouts[rollout];
    const struct sim_node *n = &sim->nodes[r->node_of[server]];
    const struct sim_trace *t = &n->traces[rollout];
    const struct sim_store_execution *stored = sim_store_find(n, rollout);
    bool began = false;
    for (uint32_t i = 0; i < SIM_MAX_STEPS; i++)
        began = began || t->began[i];
    if (t->amnesia || n->gone)
        return;
    /* An order to undo that was lost on its way, of a rollout that had ended: it is not given again
     * to an agent that has nothing more to say of that rollout. */
    if (x->state == EXECUTION_ROLLING_BACK && r->facts[server].late)
        return;
    if ((stored == NULL ? 0 : stored->last_seq) != x->last_agent_seq)
        sim_fail(sim, "%s: %s has %" PRId64 " entries, and %" PRId64 " are recorded", r->id, n->id,
                 stored == NULL ? 0 : stored->last_seq, x->last_agent_seq);
    if (began && !x->started)
        sim_fail(sim, "%s: %s was changed, and that is not known", r->id, n->id);
    if (x->state == EXECUTION_UNKNOWN || x->state == EXECUTION_QUEUED ||
        x->state == EXECUTION_RUNNING || x->state == EXECUTION_ROLLING_BACK)
        sim_fail(sim, "%s: %s is here, and how it fares is %s", r->id, n->id,
                 execution_state_names[x->state]);
    bool undone = x->state == EXECUTION_ROLLED_BACK || x->state == EXECUTION_ROLLBACK_FAILED;
    if (began && r->undo_begun && r->plan->rollback_scope == SCOPE_ALL && !undone)
        sim_fail(sim, "%s: %s was changed, and is not undone", r->id, n->id);
    if (began && given_up(&r->facts[server]) && !undone)
        sim_fail(sim, "%s: %s began after its time, and is not undone", r->id, n->id);
    if (x->state == EXECUTION_ROLLED_BACK &&
        !sim_store_says(n, rollout, REPORT_ROLLED_BACK, EVENT_NO_STEP))
        sim_fail(sim, "%s: %s is said to be rolled back, and is not", r->id, n->id);
}

void sim_check_end(struct sim *sim)
{
    sim_check_replay(sim);
    for (uint32_t i = 0; i < sim->rollout_count; i++) {
        const struct sim_rollout *r = &sim->rollouts[i];
        struct rollout_view view;
        struct error err = {0};
        if (r->asked == ASK_REFUSED)
            continue;
        if (dispatcher_rollout(sim->orchestrator.dispatcher, r->id, &view, &err) != ERR_OK) {
            sim_fail(sim, "%s: at the end: %s", r->id, err.message);
            continue;
        }
        if (i >= DISPATCH_ENDED_KEPT)
            sim_hit(sim, PATH_EVICTED);
        for (uint32_t k = 0; k < plan_server_count(r->plan); k++)
            check_settled_server(sim, i, k, engine_execution(view.engine, k));
    }
    for (uint32_t i = 0; i < sim->node_count; i++)
        if (!sim->nodes[i].gone && sim->nodes[i].store.epoch != sim->orchestrator.disk.epoch)
            sim_fail(sim, "%s: the epoch that it knows is not the last", sim->nodes[i].id);
    if (dispatcher_stats(sim->orchestrator.dispatcher).duplicates > 0)
        sim_hit(sim, PATH_DUPLICATE);
}
