/* api_rollouts: list and show. */
#include "orchestrator/api/api_internal.h"

#include "common/plan/plan_json.h"

#include <string.h>

/* ---- Documents --------------------------------------------------------------------------------
 */

static struct api_counts counts_document(const struct engine_counts *counts)
{
    return (struct api_counts){
        .pending = counts->pending,
        .in_flight = counts->in_flight,
        .succeeded = counts->succeeded,
        .failed = counts->failed,
        .unreachable = counts->unreachable,
        .unknown = counts->unknown,
        .cancelled = counts->cancelled,
        .skipped = counts->skipped,
        .unchanged = counts->unchanged,
        .rolled_back = counts->rolled_back,
        .rollback_failed = counts->rollback_failed,
    };
}

/* The message of the event that explains a state; NULL when there is none. */
static char *call_reason(struct api_call *call, const char *id, uint64_t seq)
{
    AUTO_BUF struct buf text = BUF_INIT;
    struct error err = {0};
    if (seq == 0)
        return NULL;
    enum error_code code = journal_event_message(call->api->config.journal, id, seq, &text, &err);
    call->short_of_memory = call->short_of_memory || code == ERR_NO_MEMORY;
    if (code != ERR_OK || text.data == NULL)
        return NULL;
    return call_keep(call, text.data, text.len);
}

static bool execution_steps(struct api_call *call, const struct rollout_view *view, uint32_t server,
                            struct array *ret_steps)
{
    uint32_t count = plan_step_count(view->plan);
    ret_steps->items = mem_array(count, sizeof(struct api_step));
    if (ret_steps->items == NULL)
        return false;
    ret_steps->count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct step_record *record = engine_step(view->engine, server, i);
        *ARRAY_AT(ret_steps, struct api_step, i) = (struct api_step){
            .name = plan_step(view->plan, i)->name,
            .state = (int)record->state,
            .attempt = record->attempt,
            .changed = record->changed,
            .conflict = record->conflict,
            .has_exit_code = record->has_exit_code,
            .exit_code = record->exit_code,
            .duration_ms = record->duration_ms,
            .message = call_reason(call, view->id, record->reason_seq),
        };
    }
    return true;
}

/* What else keeps a server that is queued from beginning. */
static void execution_lock(struct api_call *call, const char *server, struct api_execution *ret)
{
    struct server_view view;
    if (dispatcher_server(call->api->config.dispatcher, server, &view, NULL) != ERR_OK ||
        !view.locked)
        return;
    ret->locked_by = call_keep_string(call, view.locked_by);
    ret->lock_reason = call_keep_string(call, view.lock_reason);
}

static bool execution_document(struct api_call *call, const struct rollout_view *view,
                               uint32_t server, struct api_execution *ret)
{
    struct dispatcher *d = call->api->config.dispatcher;
    const struct execution *x = engine_execution(view->engine, server);
    const char *id = plan_server(view->plan, server);
    const char *holder =
        x->state == EXECUTION_QUEUED ? dispatcher_waiting_for(d, view->id, server) : NULL;
    *ret = (struct api_execution){
        .server = call_keep_string(call, id),
        .state = (int)x->state,
        .outcome = (int)x->outcome,
        .connected = dispatcher_connected(d, id),
        .conflict = x->conflict,
        .resolved = x->resolved,
        .rebooting = x->away_ms > 0,
        .unchanged = x->unchanged,
        .started = call_time(call, x->started_ms),
        .ended = call_time(call, x->ended_ms),
        .waiting_for = call_keep_string(call, holder),
        .step = x->step >= 0 ? plan_step(view->plan, (uint32_t)x->step)->name : NULL,
        .message = call_reason(call, view->id, x->reason_seq),
    };
    if (x->state == EXECUTION_QUEUED)
        execution_lock(call, id, ret);
    return execution_steps(call, view, server, &ret->steps);
}

/* Which executions an answer shows. */
struct execution_window {
    int64_t limit, offset;
    int state;          /* enum execution_state, or -1: any */
    const char *server; /* NULL: any */
};

static bool window_read(struct api_call *call, struct execution_window *ret)
{
    struct error err;
    *ret = (struct execution_window){.limit = API_PAGE_DEFAULT, .state = -1};
    const char *state = net_request_query(call->req, "state");
    ret->server = net_request_query(call->req, "server");
    if (!call_query_number(call, "limit", API_PAGE_MAX, API_PAGE_DEFAULT, &ret->limit) ||
        !call_query_number(call, "offset", PLAN_MAX_SERVERS, 0, &ret->offset))
        return false;
    for (int i = 0; state != NULL && i < EXECUTION_STATE_COUNT; i++) {
        if (strcmp(state, execution_state_names[i]) == 0)
            ret->state = i;
    }
    if (state != NULL && ret->state < 0) {
        (void)error_set(&err, ERR_INVALID, "query parameter \"state\": no state is called \"%s\"",
                        state);
        call_error(call, err.code, &err);
        return false;
    }
    return true;
}

static bool window_matches(const struct execution_window *window, const struct rollout_view *view,
                           uint32_t server)
{
    const struct execution *x = engine_execution(view->engine, server);
    return (window->state < 0 || (int)x->state == window->state ||
            (int)x->outcome == window->state) &&
           (window->server == NULL || strcmp(window->server, plan_server(view->plan, server)) == 0);
}

static bool rollout_executions(struct api_call *call, const struct rollout_view *view,
                               const struct execution_window *window, struct api_rollout *ret)
{
    uint32_t servers = plan_server_count(view->plan);
    size_t room = window->limit < servers ? (size_t)window->limit : servers;
    int64_t matched = 0;
    ret->executions.items = mem_array(room, sizeof(struct api_execution));
    if (ret->executions.items == NULL)
        return false;
    for (uint32_t i = 0; i < servers; i++) {
        if (!window_matches(window, view, i) || matched++ < window->offset)
            continue;
        if (ret->executions.count == room) {
            ret->more++;
            continue;
        }
        struct api_execution *x =
            ARRAY_AT(&ret->executions, struct api_execution, ret->executions.count);
        ret->executions.count++;
        if (!execution_document(call, view, i, x))
            return false;
    }
    return true;
}

static void rollout_document_done(struct api_rollout *document)
{
    for (size_t i = 0; i < document->executions.count; i++)
        mem_free(ARRAY_AT(&document->executions, struct api_execution, i)->steps.items);
    mem_free(document->executions.items);
}

static void call_rollout_view(struct api_call *call, int status, const struct rollout_view *view,
                              const struct execution_window *window)
{
    AUTO_BUF struct buf plan = BUF_INIT;
    struct engine_counts counts = engine_counts(view->engine);
    const char *reason = engine_reason(view->engine);
    const char *strategy = plan_strategy_name((enum plan_strategy_type)view->plan->strategy.type);
    plan_write(&plan, view->plan);
    struct api_rollout document = {
        .id = call_keep_string(call, view->id),
        .name = view->plan->name,
        .by = call_keep_string(call, view->by),
        .retry_of = call_keep_string(call, view->retry_of),
        .check = engine_is_check(view->engine),
        .state = (int)engine_state(view->engine),
        .reason = reason[0] == '\0' ? NULL : call_keep(call, reason, strlen(reason)),
        .created = call_time(call, view->created_ms),
        .ended = call_time(call, view->ended_ms),
        .strategy = call_keep_string(call, strategy),
        .batch = engine_batch(view->engine),
        .batches = engine_batch_count(view->engine),
        .servers = plan_server_count(view->plan),
        .counts = counts_document(&counts),
        .last_seq = (int64_t)view->last_seq,
        .plan = plan.data,
    };
    if (buf_check(&plan, NULL) == ERR_OK && rollout_executions(call, view, window, &document))
        call_document_durable(call, status, &api_rollout_table, &document);
    else
        call_error(call, ERR_NO_MEMORY, NULL);
    rollout_document_done(&document);
}

void call_rollout(struct api_call *call, int status, const char *id)
{
    struct rollout_view view;
    struct execution_window window;
    struct error err = {0};
    enum error_code code = dispatcher_rollout(call->api->config.dispatcher, id, &view, &err);
    if (code != ERR_OK)
        call_error(call, code, &err);
    else if (window_read(call, &window))
        call_rollout_view(call, status, &view, &window);
}

void handle_rollout_get(struct api_call *call)
{
    char id[ID_BUFFER];
    if (call_rollout_id(call, id))
        call_rollout(call, 200, id);
}

/* ---- List
 * ------------------------------------------------------------------------------------------ */

struct list_state {
    struct api_call *call;
    struct api_rollout_list document;
    size_t limit;
    bool more;
};

static bool list_each(void *ctx, const struct journal_rollout *r)
{
    struct list_state *list = ctx;
    struct api_call *call = list->call;
    if (list->document.rollouts.count == list->limit) {
        list->more = true;
        return false;
    }
    *ARRAY_AT(&list->document.rollouts, struct api_rollout_summary,
              list->document.rollouts.count++) = (struct api_rollout_summary){
        .id = call_keep_string(call, r->id),
        .name = call_keep_string(call, r->name),
        .by = call_keep_string(call, r->by),
        .retry_of = call_keep_string(call, r->retry_of),
        .check = r->summary.check,
        .state = (int)r->summary.state,
        .created = call_time(call, r->summary.created_ms),
        .ended = call_time(call, r->summary.ended_ms),
        .servers = r->summary.servers,
        .counts = counts_document(&r->summary.counts),
    };
    return true;
}

void handle_rollout_list(struct api_call *call)
{
    struct error err = {0};
    int64_t limit = 0;
    const char *before = net_request_query(call->req, "before");
    /* One more than is shown is read, to know whether there are more. */
    if (!call_query_number(call, "limit", JOURNAL_MAX_READ - 1, API_PAGE_DEFAULT, &limit))
        return;
    struct list_state list = {.call = call, .limit = (size_t)limit};
    list.document.rollouts.items = mem_array(list.limit, sizeof(struct api_rollout_summary));
    enum error_code code = list.document.rollouts.items == NULL
                               ? error_set(&err, ERR_NO_MEMORY, NULL)
                               : journal_list(call->api->config.journal, before,
                                              (uint32_t)limit + 1, list_each, &list, &err);
    if (code == ERR_OK) {
        size_t count = list.document.rollouts.count;
        if (list.more && count > 0)
            list.document.next =
                ARRAY_AT(&list.document.rollouts, struct api_rollout_summary, count - 1)->id;
        call_document(call, 200, &api_rollout_list_table, &list.document);
    } else {
        call_error(call, code, &err);
    }
    mem_free(list.document.rollouts.items);
}
