/* api_submit: plans in, and the rollouts made of them. */
#include "orchestrator/api/api_internal.h"

#include "common/plan/plan_json.h"
#include "handlers/catalog.h"

#include <string.h>

/* ---- Plans in
 * ---------------------------------------------------------------------------------------- */

static void call_plan_problem(struct api_call *call, const struct problems *problems)
{
    char type[] = "urn:kitsune:problem:invalid-plan", title[] = "Invalid plan";
    AUTO_BUF struct buf detail = BUF_INIT;
    struct array errors = {.items = mem_array(problems->count, sizeof(struct api_plan_error))};
    buf_printf(&detail, "%zu fault%s in the plan", problems->total,
               problems->total == 1 ? "" : "s");
    for (size_t i = 0; i < problems->count && errors.items != NULL; i++) {
        *ARRAY_AT(&errors, struct api_plan_error, errors.count++) = (struct api_plan_error){
            .path = problems->items[i].path, .message = problems->items[i].message};
    }
    if (errors.items == NULL || buf_check(&detail, NULL) != ERR_OK)
        call->short_of_memory = true;
    struct api_problem problem = {
        .type = type, .title = title, .status = 422, .detail = detail.data, .errors = errors};
    call_problem(call, 422, &problem);
    mem_free(errors.items);
}

/* The plan in the request's body; NULL when it was answered here. Caller owns. */
static struct plan *call_plan(struct api_call *call)
{
    size_t len = 0;
    const char *body = net_request_body(call->req, &len);
    struct plan *plan = NULL;
    struct problems problems = {0};
    struct error err = {0};
    enum error_code code = plan_parse(body, len, &handler_catalog, &plan, &problems, &err);
    /* Where memory is out there may be more faults than are known. */
    if (code != ERR_OK && code != ERR_NO_MEMORY && problems.total > 0)
        call_plan_problem(call, &problems);
    else if (code != ERR_OK)
        call_error(call, code, &err);
    problems_done(&problems);
    return plan;
}

void handle_plan_validate(struct api_call *call)
{
    AUTO(plan_free) struct plan *plan = call_plan(call);
    if (plan == NULL)
        return;
    const char *strategy = plan_strategy_name((enum plan_strategy_type)plan->strategy.type);
    int64_t batches = 0;
    uint32_t left = plan_server_count(plan);
    for (uint32_t batch = 0; left > 0; batch++, batches++)
        left -= plan_batch_size(plan, batch, left);
    struct api_validation document = {
        .valid = true,
        .name = plan->name,
        .strategy = call_keep_string(call, strategy),
        .servers = plan_server_count(plan),
        .steps = plan_step_count(plan),
        .batches = batches,
    };
    call_document(call, 200, &api_validation_table, &document);
}

/* ---- New rollouts
 * -------------------------------------------------------------------------------------- */

/* What the query says of a rollout that is asked for. False: answered here. */
static bool call_request(struct api_call *call, struct dispatcher_submit *ret)
{
    struct error err = {0};
    const char *wait = net_request_query(call->req, "wait");
    const char *check = net_request_query(call->req, "check");
    *ret = (struct dispatcher_submit){
        .id = net_request_query(call->req, "id"),
        .by = net_request_query(call->req, "by"),
        .check = check != NULL && strcmp(check, "true") == 0,
        .no_wait = wait != NULL && strcmp(wait, "false") == 0,
        .done = call_rollout_done,
        .ctx = call,
    };
    enum error_code code = ERR_OK;
    if (ret->id != NULL && !id_valid(ret->id))
        code = error_set(&err, ERR_INVALID,
                         "query parameter \"id\": an id begins with a letter or digit and has at "
                         "most %d of letters, digits, \".\", \"_\" and \"-\"",
                         ID_MAX);
    else if (check != NULL && !ret->check && strcmp(check, "false") != 0)
        code = error_set(&err, ERR_INVALID, "query parameter \"check\": true or false");
    else if (ret->by != NULL && strlen(ret->by) > ID_MAX)
        code = error_set(&err, ERR_INVALID, "query parameter \"by\": at most %d bytes", ID_MAX);
    if (code != ERR_OK)
        call_error(call, code, &err);
    return code == ERR_OK;
}

void handle_rollout_submit(struct api_call *call)
{
    AUTO(plan_free) struct plan *plan = call_plan(call);
    struct dispatcher_submit request;
    struct error err = {0};
    if (plan == NULL || !call_request(call, &request))
        return;
    call_await(call, 201);
    enum error_code code =
        dispatcher_submit(call->api->config.dispatcher, plan, &request, &call->repeat, &err);
    if (code == ERR_OK)
        (void)TAKE(plan);
    else
        call_refused(call, code, &err);
}

void handle_rollout_retry(struct api_call *call)
{
    char id[ID_BUFFER];
    struct dispatcher_submit request;
    struct error err = {0};
    if (!call_rollout_id(call, id) || !call_request(call, &request))
        return;
    call_await(call, 201);
    enum error_code code =
        dispatcher_retry(call->api->config.dispatcher, id, &request, &call->repeat, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
}
