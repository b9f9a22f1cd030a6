#include "orchestrator/api/api_doc_internal.h"

#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/plan/plan.h"
#include "common/plan/states.h"

/* What this program answers is always there in full, so the fields that are always written are
 * required; the tables are open, so that an older CLI reads a newer server. */

static const struct json_enum rollout_states = {rollout_state_names, ROLLOUT_STATE_COUNT};
static const struct json_enum execution_states = {execution_state_names, EXECUTION_STATE_COUNT};
static const struct json_enum step_states = {step_state_names, STEP_STATE_COUNT};

/* ---- Problems ----------------------------------------------------------------------------------
 */

static const struct json_field plan_error_fields[] = {
    TEXT("path", struct api_plan_error, path, "Where in the plan: steps[2].params.duration."),
    TEXT("message", struct api_plan_error, message, "What is wrong and what would be right."),
};
static const struct json_table plan_error_table =
    JSON_TABLE_OPEN("PlanError", struct api_plan_error, plan_error_fields, "One fault of a plan.");
static const struct json_field plan_error_item = OF_TABLE(plan_error_table);

static const struct json_field problem_fields[] = {
    TEXT_MAYBE("type", struct api_problem, type, "A URN that names the sort of problem."),
    TEXT_MAYBE("title", struct api_problem, title, "The sort of problem in words."),
    COUNT_MAYBE("status", struct api_problem, status, "The HTTP status."),
    TEXT_MAYBE("detail", struct api_problem, detail, "What is wrong and what would be right."),
    LIST_MAYBE("errors", struct api_problem, errors, plan_error_item, "All faults of a plan."),
    {.name = "offset",
     .type = JSON_INT,
     JSON_AT(struct api_problem, offset),
     JSON_HAS(struct api_problem, has_offset),
     .min = 0,
     .max = COUNT_MAX,
     .doc = "Of an artifact's upload: where it goes on."},
};
const struct json_table api_problem_table =
    JSON_TABLE_OPEN("Problem", struct api_problem, problem_fields,
                    "Why a request was refused (RFC 9457); every answer of 400 and above.");

/* ---- Rollouts ----------------------------------------------------------------------------------
 */

static const struct json_field counts_fields[] = {
    COUNT("pending", struct api_counts, pending, "Not started yet."),
    COUNT("inFlight", struct api_counts, in_flight, "Queued or running."),
    COUNT("succeeded", struct api_counts, succeeded, "Every required step succeeded."),
    COUNT("failed", struct api_counts, failed, "Failed or timed out."),
    COUNT("unreachable", struct api_counts, unreachable, "Never answered: nothing was started."),
    COUNT("unknown", struct api_counts, unknown, "Started, then silent."),
    COUNT("cancelled", struct api_counts, cancelled, "Stopped by a person."),
    COUNT("skipped", struct api_counts, skipped, "Not reached before the rollout ended."),
    COUNT_MAYBE("unchanged", struct api_counts, unchanged,
                "Of those that succeeded: nothing was, or in a check would be, changed."),
    COUNT("rolledBack", struct api_counts, rolled_back, "Of those that ended: undone."),
    COUNT("rollbackFailed", struct api_counts, rollback_failed,
          "Of those that ended: undoing failed."),
};
const struct json_table api_counts_table =
    JSON_TABLE_OPEN("Counts", struct api_counts, counts_fields, "Servers by outcome.");

static const struct json_field rollout_summary_fields[] = {
    TEXT("id", struct api_rollout_summary, id, "The rollout's id."),
    TEXT_MAYBE("name", struct api_rollout_summary, name, "The plan's name."),
    TEXT_MAYBE("by", struct api_rollout_summary, by, "Who submitted it."),
    TEXT_MAYBE("retryOf", struct api_rollout_summary, retry_of,
               "The rollout whose servers it retries."),
    FLAG_MAYBE("check", struct api_rollout_summary, check, "A check: it changes nothing."),
    STATE("state", struct api_rollout_summary, state, rollout_states, "The rollout's state."),
    TEXT("created", struct api_rollout_summary, created, "When it was submitted."),
    TEXT_MAYBE("ended", struct api_rollout_summary, ended, "When it ended; absent: not yet."),
    COUNT("servers", struct api_rollout_summary, servers, "Servers of the plan."),
    {.name = "counts",
     .type = JSON_OBJECT,
     JSON_AT(struct api_rollout_summary, counts),
     .flags = JSON_REQUIRED,
     .table = &api_counts_table,
     .doc = "Servers by outcome."},
};
const struct json_table api_rollout_summary_table =
    JSON_TABLE_OPEN("RolloutSummary", struct api_rollout_summary, rollout_summary_fields,
                    "A rollout as a row of a list.");
static const struct json_field rollout_summary_item = OF_TABLE(api_rollout_summary_table);

static const struct json_field rollout_list_fields[] = {
    LIST("rollouts", struct api_rollout_list, rollouts, rollout_summary_item, "Newest first."),
    TEXT_MAYBE("next", struct api_rollout_list, next,
               "`before` of the next page; absent: there are no more."),
};
const struct json_table api_rollout_list_table =
    JSON_TABLE_OPEN("RolloutList", struct api_rollout_list, rollout_list_fields, "Rollouts.");

static const struct json_field step_fields[] = {
    TEXT("name", struct api_step, name, "The step's name."),
    STATE("state", struct api_step, state, step_states, "The step's state."),
    COUNT_MAYBE("attempt", struct api_step, attempt, "The last attempt, from 1."),
    FLAG_MAYBE("changed", struct api_step, changed,
               "The step changed the server; of a check: it would."),
    FLAG_MAYBE("conflict", struct api_step, conflict,
               "Not undone, since somebody else has changed what it left."),
    {.name = "exitCode",
     .type = JSON_INT,
     JSON_AT(struct api_step, exit_code),
     JSON_HAS(struct api_step, has_exit_code),
     .doc = "Exit status of the step's program, where there was one."},
    COUNT_MAYBE("durationMs", struct api_step, duration_ms, "How long the last attempt took."),
    TEXT_MAYBE("message", struct api_step, message, "Why it ended as it did."),
};
static const struct json_table step_table =
    JSON_TABLE_OPEN("Step", struct api_step, step_fields, "One step on one server.");
static const struct json_field step_item = OF_TABLE(step_table);

static const struct json_field execution_fields[] = {
    TEXT("server", struct api_execution, server, "The server's id."),
    STATE("state", struct api_execution, state, execution_states, "The execution's state."),
    STATE("outcome", struct api_execution, outcome, execution_states,
          "The state before any undoing; pending until it ended."),
    FLAG("connected", struct api_execution, connected, "The server's agent is connected."),
    FLAG_MAYBE("conflict", struct api_execution, conflict,
               "Not undone, since somebody else has changed what a step left."),
    FLAG_MAYBE("resolved", struct api_execution, resolved, "A person settled it by hand."),
    FLAG_MAYBE("rebooting", struct api_execution, rebooting,
               "A step has the server rebooted, and it is not back yet."),
    FLAG_MAYBE("unchanged", struct api_execution, unchanged,
               "It succeeded, and nothing was changed; of a check: nothing would be."),
    TEXT_MAYBE("started", struct api_execution, started, "When its agent began."),
    TEXT_MAYBE("ended", struct api_execution, ended, "When it ended."),
    TEXT_MAYBE("waitingFor", struct api_execution, waiting_for,
               "Queued: the rollout that holds the server."),
    TEXT_MAYBE("lockedBy", struct api_execution, locked_by, "Queued: who locked the server."),
    TEXT_MAYBE("lockReason", struct api_execution, lock_reason,
               "Queued, and the server is locked: why."),
    TEXT_MAYBE("step", struct api_execution, step, "The step under way, or the one that failed."),
    TEXT_MAYBE("message", struct api_execution, message, "Why it ended as it did."),
    LIST_MAYBE("steps", struct api_execution, steps, step_item, "Its steps, in order."),
};
const struct json_table api_execution_table = JSON_TABLE_OPEN(
    "Execution", struct api_execution, execution_fields, "One server of a rollout.");
static const struct json_field execution_item = OF_TABLE(api_execution_table);

static const struct json_field rollout_fields[] = {
    TEXT("id", struct api_rollout, id, "The rollout's id."),
    TEXT_MAYBE("name", struct api_rollout, name, "The plan's name."),
    TEXT_MAYBE("by", struct api_rollout, by, "Who submitted it."),
    TEXT_MAYBE("retryOf", struct api_rollout, retry_of, "The rollout whose servers it retries."),
    FLAG_MAYBE("check", struct api_rollout, check, "A check: it changes nothing."),
    STATE("state", struct api_rollout, state, rollout_states, "The rollout's state."),
    TEXT_MAYBE("reason", struct api_rollout, reason, "Why it was stopped or ended as it did."),
    TEXT("created", struct api_rollout, created, "When it was submitted."),
    TEXT_MAYBE("ended", struct api_rollout, ended, "When it ended; absent: not yet."),
    TEXT("strategy", struct api_rollout, strategy, "The plan's strategy."),
    COUNT("batch", struct api_rollout, batch, "The batch under way, from 1; 0: none yet."),
    COUNT("batches", struct api_rollout, batches, "How many batches there will be."),
    COUNT("servers", struct api_rollout, servers, "Servers of the plan."),
    {.name = "counts",
     .type = JSON_OBJECT,
     JSON_AT(struct api_rollout, counts),
     .flags = JSON_REQUIRED,
     .table = &api_counts_table,
     .doc = "Servers by outcome."},
    COUNT("lastSeq", struct api_rollout, last_seq, "Number of the last event in this picture."),
    {.name = "plan",
     .type = JSON_RAW,
     JSON_AT(struct api_rollout, plan),
     .flags = JSON_OMIT_EMPTY | JSON_RAW_OBJECT,
     .doc = "The plan in its canonical form."},
    LIST_MAYBE("executions", struct api_rollout, executions, execution_item,
               "Servers, as the query asked."),
    COUNT_MAYBE("more", struct api_rollout, more,
                "Servers that match the query and are not in this answer."),
};
const struct json_table api_rollout_table =
    JSON_TABLE_OPEN("Rollout", struct api_rollout, rollout_fields, "A rollout.");

static const struct json_field validation_fields[] = {
    FLAG("valid", struct api_validation, valid, "True: a plan with faults is answered by 422."),
    TEXT_MAYBE("name", struct api_validation, name, "The plan's name."),
    TEXT("strategy", struct api_validation, strategy, "The plan's strategy."),
    COUNT("servers", struct api_validation, servers, "Servers of the plan."),
    COUNT("steps", struct api_validation, steps, "Steps on each server."),
    COUNT("batches", struct api_validation, batches, "How many batches there will be."),
};
const struct json_table api_validation_table = JSON_TABLE_OPEN(
    "Validation", struct api_validation, validation_fields, "A plan without fault.");

/* A request: closed, so that a misspelt option is refused rather than passed over. */
#define BY(struct_)                                                                                \
    {                                                                                              \
        .name = "by", .type = JSON_STRING, JSON_AT(struct_, by), .flags = JSON_OMIT_EMPTY,         \
        .max = API_BY_MAX, .doc = "Who asks."                                                      \
    }
#define REASON(struct_, flags_, min_)                                                              \
    {                                                                                              \
        .name = "reason", .type = JSON_STRING, JSON_AT(struct_, reason), .flags = (flags_),        \
        .min = (min_), .max = API_REASON_MAX, .doc = "Why, for the record."                        \
    }

static const struct json_field cancel_fields[] = {
    FLAG_MAYBE("now", struct api_cancel, now, "End running steps too."),
    FLAG_MAYBE("rollback", struct api_cancel, rollback, "Undo what was changed."),
    BY(struct api_cancel),
    REASON(struct api_cancel, JSON_OMIT_EMPTY, 0),
};
const struct json_table api_cancel_table =
    JSON_TABLE("Cancel", struct api_cancel, cancel_fields, "How to cancel a rollout.");

/* A request of pause and resume. */
static const struct json_field request_fields[] = {
    BY(struct api_request),
    REASON(struct api_request, JSON_OMIT_EMPTY, 0),
};
const struct json_table api_request_table =
    JSON_TABLE("Request", struct api_request, request_fields, "Who pauses or resumes, and why.");

static const struct json_field rollback_server_item = {
    .type = JSON_STRING, .min = 1, .max = ID_MAX, .doc = "A server's id."};
static const struct json_field rollback_fields[] = {
    {.name = "servers",
     .type = JSON_ARRAY,
     JSON_AT(struct api_rollback, servers),
     .flags = JSON_OMIT_EMPTY,
     .max = PLAN_MAX_SERVERS,
     .item = &rollback_server_item,
     .doc = "These servers alone; absent or empty: all that was touched."},
    FLAG_MAYBE("now", struct api_rollback, now,
               "Of the whole of a rollout that is going on: end running steps too."),
    FLAG_MAYBE("force", struct api_rollback, force,
               "Of these servers: also what somebody else, or a later rollout, has changed since."),
    BY(struct api_rollback),
    REASON(struct api_rollback, JSON_OMIT_EMPTY, 0),
};
const struct json_table api_rollback_table =
    JSON_TABLE("Rollback", struct api_rollback, rollback_fields, "What to undo of a rollout.");

/* The states that a person can say; the others have no name here. */
static const char *const resolve_names[EXECUTION_STATE_COUNT] = {
    [EXECUTION_SUCCEEDED] = "succeeded",
    [EXECUTION_FAILED] = "failed",
    [EXECUTION_ROLLED_BACK] = "rolled_back",
};
static const struct json_enum resolve_states = {resolve_names, EXECUTION_STATE_COUNT};
static const struct json_field resolve_fields[] = {
    STATE("as", struct api_resolve, as, resolve_states, "How the server was found, or left."),
    BY(struct api_resolve),
    REASON(struct api_resolve, JSON_REQUIRED, 1),
};
const struct json_table api_resolve_table =
    JSON_TABLE("Resolve", struct api_resolve, resolve_fields, "A server that a person settled.");

/* ---- Events ------------------------------------------------------------------------------------
 */

static const struct json_field event_fields[] = {
    COUNT("seq", struct api_event, seq, "Number in the rollout, from 1."),
    TEXT("time", struct api_event, time, "When the orchestrator took it."),
    TEXT("type", struct api_event, type, "What happened."),
    TEXT_MAYBE("server", struct api_event, server, "The server's id."),
    TEXT_MAYBE("step", struct api_event, step, "The step's name."),
    COUNT_MAYBE("attempt", struct api_event, attempt, "The attempt, from 1."),
    TEXT_MAYBE("state", struct api_event, state,
               "State of the step, execution or rollout, by the event's type."),
    {.name = "exitCode",
     .type = JSON_INT,
     JSON_AT(struct api_event, exit_code),
     JSON_HAS(struct api_event, has_exit_code),
     .doc = "Exit status of the step's program, where there was one."},
    COUNT_MAYBE("durationMs", struct api_event, duration_ms, "How long it took."),
    COUNT_MAYBE("awayMs", struct api_event, away_ms,
                "How long the server may be away for its reboot."),
    FLAG_MAYBE("undoing", struct api_event, undoing, "Undoing follows."),
    FLAG_MAYBE("now", struct api_event, now, "Running steps are ended too."),
    FLAG_MAYBE("force", struct api_event, force,
               "Undone even where somebody else has changed it since."),
    FLAG_MAYBE("conflict", struct api_event, conflict,
               "Not undone, since somebody else has changed it."),
    FLAG_MAYBE("changed", struct api_event, changed,
               "The step changed the server; of a check: it would."),
    FLAG_MAYBE("check", struct api_event, check, "The rollout is a check: it changes nothing."),
    COUNT_MAYBE("batch", struct api_event, batch, "The batch, from 1."),
    COUNT_MAYBE("count", struct api_event, count, "How many servers it is about."),
    TEXT_MAYBE("message", struct api_event, message, "Why."),
    TEXT_MAYBE("by", struct api_event, by, "Who asked."),
    TEXT_MAYBE("retryOf", struct api_event, retry_of, "The rollout whose servers it retries."),
    COUNT_MAYBE("agentSeq", struct api_event, agent_seq,
                "Number of the entry in the agent's own journal."),
    TEXT_MAYBE("agentTime", struct api_event, agent_time,
               "When the agent saw it, by its own clock."),
};
const struct json_table api_event_table =
    JSON_TABLE_OPEN("Event", struct api_event, event_fields, "What happened to a rollout.");
static const struct json_field event_item = OF_TABLE(api_event_table);

static const struct json_field event_list_fields[] = {
    LIST("events", struct api_event_list, events, event_item, "In order."),
    COUNT("lastSeq", struct api_event_list, last_seq,
          "Number of the last event here: `after` of the next page."),
};
const struct json_table api_event_list_table =
    JSON_TABLE_OPEN("EventList", struct api_event_list, event_list_fields, "Events of a rollout.");

static const struct json_field output_fields[] = {
    TEXT("server", struct api_output, server, "The server's id."),
    TEXT("step", struct api_output, step, "The step's name."),
    COUNT("attempt", struct api_output, attempt, "The attempt, from 1."),
    COUNT("offset", struct api_output, offset, "Of `text` in all that the attempt printed."),
    TEXT("text", struct api_output, text, "What the step printed."),
};
const struct json_table api_output_table =
    JSON_TABLE_OPEN("Output", struct api_output, output_fields, "A piece of a step's output.");

/* ---- Servers, handlers, health ------------------------------------------------------------------
 */

static const struct json_field lock_fields[] = {
    BY(struct api_lock),
    REASON(struct api_lock, JSON_REQUIRED, 1),
};
const struct json_table api_lock_table =
    JSON_TABLE("Lock", struct api_lock, lock_fields, "Who locks a server, and why.");
static const struct json_field unlock_fields[] = {BY(struct api_unlock)};
const struct json_table api_unlock_table =
    JSON_TABLE("Unlock", struct api_unlock, unlock_fields, "Who unlocks a server.");

static const struct json_field server_lock_fields[] = {
    FLAG("locked", struct api_server_lock, locked, "It stands: nothing new begins there."),
    TEXT_MAYBE("by", struct api_server_lock, by, "Who locked it."),
    TEXT("reason", struct api_server_lock, reason, "Why."),
    TEXT_MAYBE("since", struct api_server_lock, since, "When it was locked."),
    TEXT_MAYBE("unlockedBy", struct api_server_lock, unlocked_by, "Who unlocked it."),
    TEXT_MAYBE("unlocked", struct api_server_lock, unlocked, "When."),
};
static const struct json_table server_lock_table = JSON_TABLE_OPEN(
    "ServerLock", struct api_server_lock, server_lock_fields, "The last lock of a server.");

static const struct json_field touch_fields[] = {
    TEXT("rollout", struct api_touch, rollout, "The rollout's id."),
    TEXT_MAYBE("created", struct api_touch, created, "When it was submitted."),
    FLAG("undone", struct api_touch, undone, "What it did there is undone."),
};
static const struct json_table touch_table =
    JSON_TABLE_OPEN("Touch", struct api_touch, touch_fields, "A rollout that touched a server.");
static const struct json_field touch_item = OF_TABLE(touch_table);

static const struct json_field handler_name_item = {.type = JSON_STRING, .doc = "A step type."};
static const struct json_field server_fields[] = {
    TEXT("id", struct api_server, id, "The server's id."),
    FLAG("connected", struct api_server, connected, "Its agent is connected."),
    TEXT_MAYBE("version", struct api_server, version, "Its agent's version."),
    TEXT_MAYBE("hostname", struct api_server, hostname, "Its host name."),
    TEXT_MAYBE("address", struct api_server, address, "Where its agent connected from."),
    TEXT_MAYBE("since", struct api_server, since, "Connected, or gone, since."),
    TEXT_MAYBE("rollout", struct api_server, rollout, "The rollout that holds it."),
    COUNT("waiting", struct api_server, waiting, "Rollouts that wait for it."),
    VALUES("labels", struct api_server, labels, "What its agent was told of it (--label)."),
    VALUES("facts", struct api_server, facts,
           "Of one server: what its agent found out about it, when it connected last."),
    LIST("handlers", struct api_server, handlers, handler_name_item, "Step types it can run."),
    COUNT_MAYBE("undoBytes", struct api_server, undo_bytes,
                "What its agent keeps on disk for undo, as it said when it connected last."),
    COUNT_MAYBE("undoMaxBytes", struct api_server, undo_max_bytes,
                "Past it the agent captures nothing more; absent: no limit."),
    {.name = "lock",
     .type = JSON_OBJECT,
     JSON_AT(struct api_server, lock),
     JSON_HAS(struct api_server, has_lock),
     .table = &server_lock_table,
     .doc = "In a list, a lock that stands; of one server, its last lock."},
    LIST_MAYBE("touchedBy", struct api_server, touched_by, touch_item,
               "Of one server: the last rollouts that touched it, newest first."),
};
const struct json_table api_server_table =
    JSON_TABLE_OPEN("Server", struct api_server, server_fields, "A server and its agent.");
static const struct json_field server_item = OF_TABLE(api_server_table);

static const struct json_field server_list_fields[] = {
    LIST("servers", struct api_server_list, servers, server_item, "By id."),
    TEXT_MAYBE("next", struct api_server_list, next,
               "`after` of the next page; absent: there are no more."),
    COUNT("connected", struct api_server_list, connected, "Connected, of all that are known."),
    COUNT("known", struct api_server_list, known, "Servers that ever connected."),
};
const struct json_table api_server_list_table =
    JSON_TABLE_OPEN("ServerList", struct api_server_list, server_list_fields, "Servers.");

static const struct json_field handler_fields[] = {
    TEXT("type", struct api_handler, type, "The step type's name."),
    TEXT("doc", struct api_handler, doc, "What it does."),
    TEXT("undo", struct api_handler, undo, "What rollback does."),
    FLAG("idempotent", struct api_handler, idempotent,
         "Running it again after a half-done run is right."),
    FLAG("changes", struct api_handler, changes, "It changes the server."),
    {.name = "params",
     .type = JSON_RAW,
     JSON_AT(struct api_handler, params),
     .flags = JSON_REQUIRED | JSON_RAW_OBJECT,
     .doc = "JSON Schema of its params."},
};
const struct json_table api_handler_table =
    JSON_TABLE_OPEN("Handler", struct api_handler, handler_fields, "A step type.");
static const struct json_field handler_item = OF_TABLE(api_handler_table);

static const struct json_field handler_list_fields[] = {
    LIST("handlers", struct api_handler_list, handlers, handler_item, "By name."),
};
const struct json_table api_handler_list_table =
    JSON_TABLE_OPEN("HandlerList", struct api_handler_list, handler_list_fields, "Step types.");

static const struct json_field health_fields[] = {
    TEXT("status", struct api_health, status, "\"ok\", or what is wrong in a word."),
    TEXT_MAYBE("detail", struct api_health, detail, "What is wrong."),
};
const struct json_table api_health_table =
    JSON_TABLE_OPEN("Health", struct api_health, health_fields, "Whether the orchestrator serves.");
