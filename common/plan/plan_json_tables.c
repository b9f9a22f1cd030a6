/* The field tables of a plan. */
#include "common/base/id.h"
#include "common/plan/plan_json_internal.h"
#include "common/plan/plan_secrets.h"
#include "common/values/expr.h"
#include "common/values/value_json.h"

#define X(value, name) [value] = (name),
static const char *const strategy_names[STRATEGY_COUNT] = {PLAN_STRATEGIES(X)};
static const char *const scope_names[SCOPE_COUNT] = {PLAN_SCOPES(X)};
static const char *const interrupt_names[INTERRUPT_COUNT] = {PLAN_INTERRUPTS(X)};
#undef X
static const struct json_enum strategies = {strategy_names, STRATEGY_COUNT};
static const struct json_enum scopes = {scope_names, SCOPE_COUNT};
static const struct json_enum interrupts = {interrupt_names, INTERRUPT_COUNT};

/* ---- Tables ------------------------------------------------------------------------------ */

static const char *check_server_id(const char *s)
{
    return id_valid(s) ? NULL
                       : "a server id: letters, digits, \".\", \"_\" and \"-\", first a letter or "
                         "digit, at most 128 characters";
}

static const char *check_name(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return "a name without control characters";
    }
    return NULL;
}

static const struct json_field exit_code_item = {
    .type = JSON_INT, .min = 1, .max = 255, .doc = "An exit code."};

static const struct json_field retry_fields[] = {
    {.name = "maximumAttempts",
     .type = JSON_INT,
     JSON_AT(struct plan_retry, maximum_attempts),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PLAN_MAX_ATTEMPTS,
     .doc = "How often the step is tried in all. Left out: 3 when the step type can be run again "
            "safely, else 1."},
    {.name = "initialIntervalSeconds",
     .type = JSON_SECONDS,
     JSON_AT(struct plan_retry, initial_interval_ms),
     .flags = JSON_HAS_DEFAULT,
     .min = 0,
     .max = PLAN_MAX_SECONDS,
     .fallback = 1,
     .doc = "The wait before the second attempt."},
    {.name = "backoffCoefficient",
     .type = JSON_NUMBER,
     JSON_AT(struct plan_retry, backoff_coefficient),
     .flags = JSON_HAS_DEFAULT,
     .min = 1,
     .max = 100,
     .fallback = 2,
     .doc = "Each further wait is the one before it times this."},
    {.name = "maximumIntervalSeconds",
     .type = JSON_SECONDS,
     JSON_AT(struct plan_retry, maximum_interval_ms),
     .flags = JSON_HAS_DEFAULT,
     .min = 0,
     .max = PLAN_MAX_SECONDS,
     .fallback = 60,
     .doc = "No wait is longer than this. Left out: 60, or initialIntervalSeconds when that is "
            "more."},
    {.name = "nonRetryableExitCodes",
     .type = JSON_ARRAY,
     JSON_AT(struct plan_retry, non_retryable_exit_codes),
     .flags = JSON_OMIT_EMPTY,
     .max = PLAN_MAX_EXIT_CODES,
     .item = &exit_code_item,
     .doc = "Exit codes after which the step is not tried again."},
};
static const struct json_table retry_table =
    JSON_TABLE("retry", struct plan_retry, retry_fields,
               "When and how often a failed attempt of the step is repeated.");

static const struct json_field step_fields[] = {
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct plan_step, name),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PLAN_MAX_NAME,
     .check = check_name,
     .doc = "The step's name, unique in the plan."},
    {.name = "type",
     .type = JSON_STRING,
     JSON_AT(struct plan_step, type),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PLAN_MAX_NAME,
     .check = check_name,
     .doc = "The step type; it says which params there are."},
    {.name = "when",
     .type = JSON_STRING,
     JSON_AT(struct plan_step, when),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = EXPR_TEXT_MAX,
     .doc = "A condition on the server's labels and facts, the plan's vars and what earlier steps "
            "put out; where it is false the step is skipped."},
    {.name = "params",
     .type = JSON_RAW,
     JSON_AT(struct plan_step, params_json),
     .flags = JSON_RAW_OBJECT,
     .doc = "The step type's parameters. \"${NAME}\" in a text stands for a value: vars.NAME, "
            "server.id, server.labels.NAME, facts.NAME, steps.STEP.outputs.NAME, and in some "
            "params secrets.NAME."},
    {.name = "required",
     .type = JSON_BOOL,
     JSON_AT(struct plan_step, required),
     .flags = JSON_HAS_DEFAULT,
     .fallback = 1,
     .doc = "Whether the server fails when this step fails for good. A failed step that is not "
            "required is recorded, and the next one begins."},
    {.name = "continueOnFailure",
     .type = JSON_BOOL,
     JSON_AT(struct plan_step, continue_on_failure),
     .flags = JSON_HAS_DEFAULT,
     .doc = "True: the next step begins even when this one failed, also when it is required."},
    {.name = "timeoutSeconds",
     .type = JSON_SECONDS,
     JSON_AT(struct plan_step, timeout_ms),
     .flags = JSON_HAS_DEFAULT,
     .min = 0.001,
     .max = PLAN_MAX_SECONDS,
     .fallback = (double)PLAN_DEFAULT_TIMEOUT_MS / 1000,
     .doc = "How long one attempt may take; then it is ended and counts as timed out."},
    {.name = "retry",
     .type = JSON_OBJECT,
     JSON_AT(struct plan_step, retry),
     .table = &retry_table,
     .doc = "When and how often a failed attempt of the step is repeated."},
    {.name = "onInterrupt",
     .type = JSON_ENUM,
     JSON_AT(struct plan_step, on_interrupt),
     .flags = JSON_HAS_DEFAULT,
     .values = &interrupts,
     .fallback = INTERRUPT_DEFAULT,
     .doc = "What becomes of the step when the agent dies while it runs: \"retry\" runs it again, "
            "\"fail\" counts it as failed, \"default\" retries what can be run again safely and "
            "fails the rest."},
};
const struct json_table plan_step_table =
    JSON_TABLE("step", struct plan_step, step_fields, "One step, carried out on each server.");

static const struct json_field strategy_fields[] = {
    {.name = "type",
     .type = JSON_ENUM,
     JSON_AT(struct plan_strategy, type),
     .flags = JSON_REQUIRED,
     .values = &strategies,
     .doc = "Parallel: all servers at once. Sequential: one after the other. Rolling: in batches. "
            "Canary: a few servers first, which must all succeed, then the rest."},
    {.name = "batchSize",
     .type = JSON_CUSTOM,
     JSON_AT(struct plan_strategy, batch_sizes),
     .flags = JSON_OMIT_EMPTY,
     .custom = &plan_batch_sizes_custom,
     .doc =
         "How many servers a batch has: a number, a percentage of all servers (rounded up), or a "
         "list of such sizes that does not shrink, of which the last repeats. Default: 1 "
         "(Rolling), all the rest at once (Canary)."},
    {.name = "batchDelaySeconds",
     .type = JSON_SECONDS,
     JSON_AT(struct plan_strategy, batch_delay_ms),
     .flags = JSON_OMIT_EMPTY,
     .min = 0,
     .max = PLAN_MAX_SECONDS,
     .doc = "The wait between the end of a batch and the start of the next. Default 0."},
    {.name = "maxFailures",
     .type = JSON_CUSTOM,
     JSON_AT(struct plan_strategy, max_failures),
     .flags = JSON_OMIT_EMPTY,
     .custom = &plan_limit_custom,
     .doc =
         "How many servers may fail: a number, a percentage of all servers (rounded down), or -1 "
         "for no limit. One more, and the rollout stops and is rolled back. Default 0."},
    {.name = "maxUnreachable",
     .type = JSON_CUSTOM,
     JSON_AT(struct plan_strategy, max_unreachable),
     .flags = JSON_OMIT_EMPTY,
     .custom = &plan_limit_custom,
     .doc = "The same for servers whose agent never took the work on. Left out: they count as "
            "failures."},
    {.name = "canaryPercentage",
     .type = JSON_NUMBER,
     JSON_AT(struct plan_strategy, canary_percentage),
     .flags = JSON_OMIT_EMPTY,
     .min = 0,
     .max = 100,
     .doc = "Canary: the share of the servers that goes first, rounded up, at least one server. "
            "Default 10."},
    {.name = "maxParallel",
     .type = JSON_INT,
     JSON_AT(struct plan_strategy, max_parallel),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PLAN_MAX_SERVERS,
     .doc = "The most servers that run at the same time. Left out: no cap beyond the batch."},
    {.name = "maxTouched",
     .type = JSON_INT,
     JSON_AT(struct plan_strategy, max_touched),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PLAN_MAX_SERVERS,
     .doc = "The most servers that the plan may name; one with more is refused before anything is "
            "touched. Left out: no cap."},
    {.name = "startTimeoutSeconds",
     .type = JSON_SECONDS,
     JSON_AT(struct plan_strategy, start_timeout_ms),
     .flags = JSON_HAS_DEFAULT,
     .min = 0.001,
     .max = PLAN_MAX_SECONDS,
     .fallback = 300,
     .doc = "How long a server may take to take its work on; then it is unreachable."},
    {.name = "reconnectTimeoutSeconds",
     .type = JSON_SECONDS,
     JSON_AT(struct plan_strategy, reconnect_timeout_ms),
     .flags = JSON_HAS_DEFAULT,
     .min = 0.001,
     .max = PLAN_MAX_SECONDS,
     .fallback = 300,
     .doc = "How long a server that was at work may be silent; then its outcome is unknown."},
};
static const struct json_table strategy_table =
    JSON_TABLE("rolloutStrategy", struct plan_strategy, strategy_fields,
               "In which order and how many at a time the servers are changed.");

static const struct json_field rollback_fields[] = {
    {.name = "scope",
     .type = JSON_ENUM,
     JSON_AT(struct plan_document_rollback, scope),
     .flags = JSON_HAS_DEFAULT,
     .values = &scopes,
     .fallback = SCOPE_ALL,
     .doc =
         "What is undone when the rollout fails. all: every server that was touched; failed: the "
         "failed servers only; none: nothing."},
    {.name = "confirmTimeoutSeconds",
     .type = JSON_SECONDS,
     JSON_AT(struct plan_document_rollback, confirm_timeout_ms),
     .flags = JSON_OMIT_EMPTY,
     .min = 0.001,
     .max = PLAN_MAX_SECONDS,
     .doc =
         "For changes that can cut the network: a server whose steps are done must hear from the "
         "orchestrator, over a new connection, within this time; else it undoes them by itself. "
         "Left out: it need not."},
};
static const struct json_table rollback_table = JSON_TABLE(
    "rollback", struct plan_document_rollback, rollback_fields, "What a failed rollout undoes.");

static const struct json_field server_item = {.type = JSON_STRING,
                                              .min = 1,
                                              .max = ID_MAX,
                                              .check = check_server_id,
                                              .doc = "A server's id."};
static const struct json_field step_item = {.type = JSON_OBJECT, .table = &plan_step_table};

static const struct json_field document_fields[] = {
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct plan_document, plan.name),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PLAN_MAX_NAME,
     .check = check_name,
     .doc = "What people call this plan."},
    {.name = "serverID",
     .type = JSON_STRING,
     JSON_AT(struct plan_document, server_id),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = ID_MAX,
     .check = check_server_id,
     .doc = "The one server the plan is for; instead of servers."},
    {.name = "servers",
     .type = JSON_ARRAY,
     JSON_AT(struct plan_document, plan.servers),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PLAN_MAX_SERVERS,
     .item = &server_item,
     .doc = "The ids of the servers the plan is for, each once. They are changed in this order."},
    {.name = "vars",
     .type = JSON_CUSTOM,
     JSON_AT(struct plan_document, plan.vars_json),
     .flags = JSON_OMIT_EMPTY,
     .custom = &value_set_custom,
     .doc = "Values that steps use as vars.NAME: texts, numbers, booleans, lists of these, and "
            "objects that group them."},
    {.name = "secrets",
     .type = JSON_CUSTOM,
     JSON_AT(struct plan_document, plan.secrets_json),
     .flags = JSON_OMIT_EMPTY,
     .custom = &plan_secrets_custom,
     .doc = "Where each server finds the secrets that steps use as secrets.NAME: {\"NAME\": "
            "{\"env\": \"VARIABLE\"}} in the agent's environment, {\"NAME\": {\"file\": "
            "\"/PATH\"}} in a file there. The values are in no journal, log or output."},
    {.name = "steps",
     .type = JSON_ARRAY,
     JSON_AT(struct plan_document, plan.steps),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PLAN_MAX_STEPS,
     .item = &step_item,
     .doc = "What is done on each server, in this order."},
    {.name = "rolloutStrategy",
     .type = JSON_OBJECT,
     JSON_AT(struct plan_document, plan.strategy),
     JSON_HAS(struct plan_document, has_strategy),
     .table = &strategy_table,
     .doc = "In which order and how many at a time the servers are changed. Left out: Sequential, "
            "and no server may fail."},
    {.name = "rollback",
     .type = JSON_OBJECT,
     JSON_AT(struct plan_document, rollback),
     .table = &rollback_table,
     .doc = "What a failed rollout undoes. Left out: everything."},
    {.name = "signing",
     .type = JSON_OBJECT,
     JSON_AT(struct plan_document, plan.signing),
     JSON_HAS(struct plan_document, plan.is_signed),
     .table = &plan_signing_table,
     .doc = "Who has signed the plan, for agents that run nothing else. Written by kitsune sign."},
};
const struct json_table plan_document_table = JSON_TABLE(
    "plan", struct plan_document, document_fields,
    "A rollout: which servers, which steps, in what order, and what is undone on failure.");
