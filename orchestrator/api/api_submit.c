/* api_submit: plans in, and the rollouts made of them. */
#include "orchestrator/api/api_internal.h"

#include "common/plan/artifact.h"
#include "common/plan/plan_json.h"
#include "handlers/catalog.h"

#include <inttypes.h>
#include <stdio.h>
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

/* ---- The artifacts that a plan names ----------------------------------------------------------
 */

struct artifact_look {
    const struct artifact_store *store;
    struct problems *problems;
};

static void artifact_named(void *ctx, const char *path, const char *digest)
{
    const struct artifact_look *look = ctx;
    struct artifact_facts facts = {0};
    bool there = look->store != NULL && artifact_store_find(look->store, digest, &facts);
    if (!there)
        problems_add(look->problems, path,
                     "there is no artifact " ARTIFACT_PREFIX
                     "%s; kitsune artifact put FILE stores it",
                     digest);
    else if (!facts.whole)
        problems_add(look->problems, path,
                     "artifact " ARTIFACT_PREFIX "%s is still being uploaded: %" PRId64
                     " of its %" PRId64 " bytes are there; kitsune artifact put FILE goes on",
                     digest, facts.offset_bytes, facts.size_bytes);
}

/* Those that are not there. False: answered here. */
static bool call_artifacts_missing(struct api_call *call, const struct plan *plan,
                                   struct problems *problems)
{
    struct artifact_look look = {call->api->config.artifacts, problems};
    struct error err = {0};
    enum error_code code = plan_artifacts(plan, &handler_catalog, artifact_named, &look, &err);
    if (code == ERR_OK && problems->no_memory)
        code = error_set(&err, ERR_NO_MEMORY, NULL);
    if (code != ERR_OK)
        call_error(call, code, &err);
    return code == ERR_OK;
}

/* False: answered here. */
static bool call_plan_artifacts(struct api_call *call, const struct plan *plan)
{
    struct problems problems = {0};
    bool known = call_artifacts_missing(call, plan, &problems);
    bool there = known && problems.total == 0;
    if (known && !there)
        call_plan_problem(call, &problems);
    problems_done(&problems);
    return there;
}

void handle_plan_validate(struct api_call *call)
{
    AUTO(plan_free) struct plan *plan = call_plan(call);
    if (plan == NULL || !call_plan_artifacts(call, plan))
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

/* What is asked for. */
struct submission {
    struct plan *plan; /* NULL: of a rollout that is retried */
    char of[ID_BUFFER];
    char id[ID_BUFFER], by[ID_BUFFER]; /* "": not said */
    struct dispatcher_submit request;  /* borrows from the above */
};

static void submission_free(void *p)
{
    struct submission *submission = p;
    plan_free(submission->plan);
    mem_free(submission);
}

/* The name by which the audit log knows it has to be there before it is. */
static enum error_code submission_name(const struct api_call *call, struct submission *s,
                                       struct error *err)
{
    if (s->id[0] != '\0' || call->api->config.access == NULL)
        return ERR_OK;
    return id_random(s->id, err);
}

static enum error_code submission_query(struct api_call *call, struct submission *s,
                                        struct error *err)
{
    const char *wait = net_request_query(call->req, "wait");
    const char *id = net_request_query(call->req, "id");
    const char *by = net_request_query(call->req, "by");
    const char *check = net_request_query(call->req, "check");
    bool checks = check != NULL && strcmp(check, "true") == 0;
    if (id != NULL && !id_valid(id))
        return error_set(err, ERR_INVALID,
                         "query parameter \"id\": an id begins with a letter or digit and has at "
                         "most %d of letters, digits, \".\", \"_\" and \"-\"",
                         ID_MAX);
    if (by != NULL && strlen(by) > ID_MAX)
        return error_set(err, ERR_INVALID, "query parameter \"by\": at most %d bytes", ID_MAX);
    if (check != NULL && !checks && strcmp(check, "false") != 0)
        return error_set(err, ERR_INVALID, "query parameter \"check\": true or false");
    by = call_by(call, by);
    if (id != NULL)
        memcpy(s->id, id, strlen(id));
    if (by != NULL)
        memcpy(s->by, by, strlen(by));
    enum error_code code = submission_name(call, s, err);
    s->request = (struct dispatcher_submit){
        .id = s->id[0] == '\0' ? NULL : s->id,
        .by = by == NULL ? NULL : s->by,
        .check = checks,
        .no_wait = wait != NULL && strcmp(wait, "false") == 0,
        .done = call_rollout_done,
        .ctx = call,
    };
    return code;
}

/* Takes the plan over. NULL: answered here. */
static struct submission *call_submission(struct api_call *call, struct plan *plan)
{
    struct error err = {0};
    struct submission *s = MEM_NEW(struct submission);
    if (s == NULL) {
        plan_free(plan);
        call_error(call, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    s->plan = plan;
    call->order = s;
    call->order_free = submission_free;
    enum error_code code = submission_query(call, s, &err);
    if (code != ERR_OK)
        call_error(call, code, &err);
    return code == ERR_OK ? s : NULL;
}

static bool submission_is_repeat(const struct api_call *call, const struct submission *s)
{
    struct rollout_view view;
    return s->request.id != NULL &&
           dispatcher_rollout(call->api->config.dispatcher, s->request.id, &view, NULL) == ERR_OK;
}

/* A rollout that was taken on before needs nothing any more. False: answered here. */
static bool submission_artifacts(struct api_call *call, const struct submission *s,
                                 const struct plan *plan)
{
    struct problems problems = {0};
    bool known = call_artifacts_missing(call, plan, &problems);
    bool refused = known && problems.total > 0 && !submission_is_repeat(call, s);
    if (refused && call->audited)
        call_audit_refusal(call, ERR_INVALID, "an artifact that the plan names is not there");
    if (refused)
        call_plan_problem(call, &problems);
    problems_done(&problems);
    return known && !refused;
}

/* The artifacts may have gone while the audit log was written; from here on they stay. */
static void rollout_submit(struct api_call *call)
{
    struct error err = {0};
    struct submission *s = call->order;
    if (!submission_artifacts(call, s, s->plan))
        return;
    struct plan *plan = TAKE(s->plan);
    call_await(call, 201);
    enum error_code code =
        dispatcher_submit(call->api->config.dispatcher, plan, &s->request, &call->repeat, &err);
    if (code == ERR_OK)
        return;
    plan_free(plan);
    call_refused(call, code, &err);
}

void handle_rollout_submit(struct api_call *call)
{
    struct plan *plan = call_plan(call);
    struct submission *s = plan == NULL ? NULL : call_submission(call, plan);
    char detail[160];
    if (s == NULL || !call_may_plan(call, s->plan) || !submission_artifacts(call, s, s->plan))
        return;
    (void)snprintf(detail, sizeof(detail), "%.100s on %" PRIu32 " servers",
                   plan->name == NULL ? "a plan" : plan->name, plan_server_count(plan));
    call_change(call, s->request.id, detail, rollout_submit);
}

static void rollout_retry(struct api_call *call)
{
    struct rollout_view view;
    struct error err = {0};
    const struct submission *s = call->order;
    if (dispatcher_rollout(call->api->config.dispatcher, s->of, &view, NULL) == ERR_OK &&
        !submission_artifacts(call, s, view.plan))
        return;
    call_await(call, 201);
    enum error_code code =
        dispatcher_retry(call->api->config.dispatcher, s->of, &s->request, &call->repeat, &err);
    if (code != ERR_OK)
        call_refused(call, code, &err);
}

void handle_rollout_retry(struct api_call *call)
{
    char id[ID_BUFFER];
    char detail[160];
    if (!call_rollout_id(call, id) || !call_may_rollout(call, id))
        return;
    struct submission *s = call_submission(call, NULL);
    if (s == NULL)
        return;
    memcpy(s->of, id, sizeof(s->of));
    (void)snprintf(detail, sizeof(detail), "of %s", id);
    call_change(call, s->request.id, detail, rollout_retry);
}
