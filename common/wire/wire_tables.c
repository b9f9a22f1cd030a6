/* The field tables of the frames. */
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/plan/plan_json.h"
#include "common/plan/plan_secrets.h"
#include "common/values/value_json.h"
#include "common/wire/wire_internal.h"

enum {
    MAX_TEXT = 256,     /* a version, a host's name, ... */
    MAX_HANDLERS = 256, /* step types that an agent has */
    MAX_HEARTBEAT_MS = 24 * 3600 * 1000
};

static const char *check_id(const char *s)
{
    return id_valid(s) ? NULL : "an id";
}

#define ROLLOUT_FIELD(type_)                                                                       \
    {                                                                                              \
        .name = "rollout", .type = JSON_STRING, JSON_AT(type_, rollout), .flags = JSON_REQUIRED,   \
        .min = 1, .max = ID_MAX, .check = check_id, .doc = "The rollout's id."                     \
    }
#define EPOCH_FIELD(type_)                                                                         \
    {                                                                                              \
        .name = "epoch", .type = JSON_INT, JSON_AT(type_, epoch), .flags = JSON_REQUIRED,          \
        .min = 1, .max = (double)JSON_INT_MAX, .doc = "The orchestrator's epoch."                  \
    }

/* ---- To an agent ------------------------------------------------------------------------- */

static const struct json_field welcome_fields[] = {
    {.name = "orchestrator",
     .type = JSON_STRING,
     JSON_AT(struct wire_welcome, orchestrator),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = ID_MAX,
     .check = check_id,
     .doc = "The identity of the orchestrator's journal."},
    EPOCH_FIELD(struct wire_welcome),
    {.name = "heartbeatMs",
     .type = JSON_INT,
     JSON_AT(struct wire_welcome, heartbeat_ms),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = MAX_HEARTBEAT_MS,
     .doc = "How often the agent is to say that it lives."},
};
static const struct json_table welcome_table =
    JSON_TABLE_OPEN("welcome", struct wire_welcome, welcome_fields, "Answers hello.");

static const struct json_field step_item = {.type = JSON_OBJECT, .table = &plan_step_table};

#define HASH_FIELD(name_, member_, doc_)                                                           \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(struct wire_seal, member_),                  \
        .flags = JSON_REQUIRED, .min = PLAN_DIGEST_DIGITS, .max = PLAN_DIGEST_DIGITS,              \
        .check = plan_hex_check, .doc = (doc_)                                                     \
    }
#define X(value, name) [value] = (name),
static const char *const scope_names[SCOPE_COUNT] = {PLAN_SCOPES(X)};
#undef X
static const struct json_enum scope_values = {scope_names, SCOPE_COUNT};
static const struct json_field hash_item = {.type = JSON_STRING,
                                            .min = PLAN_DIGEST_DIGITS,
                                            .max = PLAN_DIGEST_DIGITS,
                                            .check = plan_hex_check,
                                            .doc = "A hash."};

static const struct json_field seal_fields[] = {
    {.name = "plan",
     .type = JSON_STRING,
     JSON_AT(struct wire_seal, plan),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = PLAN_MAX_NAME,
     .doc = "The plan's name."},
    HASH_FIELD("strategy", strategy, "The hash of its strategy."),
    {.name = "scope",
     .type = JSON_ENUM,
     JSON_AT(struct wire_seal, scope),
     .flags = JSON_REQUIRED,
     .values = &scope_values,
     .doc = "What is undone when it fails."},
    {.name = "servers",
     .type = JSON_INT,
     JSON_AT(struct wire_seal, servers),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PLAN_MAX_SERVERS,
     .doc = "How many servers it has."},
    HASH_FIELD("root", root, "The root of the tree of its servers."),
    {.name = "index",
     .type = JSON_INT,
     JSON_AT(struct wire_seal, index),
     .flags = JSON_REQUIRED,
     .min = 0,
     .max = PLAN_MAX_SERVERS,
     .doc = "The number of the agent's server among them, from 0."},
    {.name = "path",
     .type = JSON_ARRAY,
     JSON_AT(struct wire_seal, path),
     .flags = JSON_REQUIRED,
     .max = WIRE_MAX_PROOF,
     .item = &hash_item,
     .doc = "The hashes that lead from it to the root."},
    {.name = "signing",
     .type = JSON_OBJECT,
     JSON_AT(struct wire_seal, signing),
     .flags = JSON_REQUIRED,
     .table = &plan_signing_table,
     .doc = "The plan's signatures."},
};
static const struct json_table seal_table =
    JSON_TABLE_OPEN("signed", struct wire_seal, seal_fields, "What is signed beside the steps.");

static const struct json_field execute_fields[] = {
    ROLLOUT_FIELD(struct wire_execute),
    EPOCH_FIELD(struct wire_execute),
    {.name = "rollbackOnFailure",
     .type = JSON_BOOL,
     JSON_AT(struct wire_execute, rollback_on_failure),
     .flags = JSON_REQUIRED,
     .doc = "Whether the agent undoes its steps by itself when they fail for good."},
    {.name = "confirmMs",
     .type = JSON_INT,
     JSON_AT(struct wire_execute, confirm_ms),
     .flags = JSON_OMIT_EMPTY,
     .min = 0,
     .max = PLAN_MAX_SECONDS * 1000.0,
     .doc =
         "How long the agent waits, when all steps are done, to hear that this is known; then it "
         "undoes them."},
    {.name = "check",
     .type = JSON_BOOL,
     JSON_AT(struct wire_execute, check),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Nothing is changed: each step says what it would change."},
    {.name = "reboots",
     .type = JSON_BOOL,
     JSON_AT(struct wire_execute, reboots),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Whether a step may have the server rebooted: the orchestrator knows to wait for it."},
    {.name = "signed",
     .type = JSON_OBJECT,
     JSON_AT(struct wire_execute, seal),
     JSON_HAS(struct wire_execute, is_signed),
     .table = &seal_table,
     .doc = "For agents that run signed plans alone."},
    {.name = "vars",
     .type = JSON_CUSTOM,
     JSON_AT(struct wire_execute, vars),
     .flags = JSON_OMIT_EMPTY,
     .custom = &value_set_custom,
     .doc = "The plan's variables."},
    {.name = "secrets",
     .type = JSON_CUSTOM,
     JSON_AT(struct wire_execute, secrets),
     .flags = JSON_OMIT_EMPTY,
     .custom = &plan_secrets_custom,
     .doc = "Where to find the plan's secrets."},
    {.name = "steps",
     .type = JSON_ARRAY,
     JSON_AT(struct wire_execute, steps),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = PLAN_MAX_STEPS,
     .item = &step_item,
     .doc = "The plan's steps."},
};
static const struct json_table execute_table =
    JSON_TABLE_OPEN("execute", struct wire_execute, execute_fields, "Run these steps.");
const struct json_table wire_execute_head_table = {
    .name = "execute",
    .size = sizeof(struct wire_execute),
    .fields = execute_fields,
    .count = ARRAY_LEN(execute_fields) - 1,
    .open = true,
};

static const struct json_field rollback_fields[] = {
    ROLLOUT_FIELD(struct wire_rollback),
    EPOCH_FIELD(struct wire_rollback),
    {.name = "round",
     .type = JSON_INT,
     JSON_AT(struct wire_rollback, round),
     .flags = JSON_HAS_DEFAULT,
     .min = 1,
     .max = (double)JSON_INT_MAX,
     .fallback = 1,
     .doc = "How often the execution is to have been undone with it."},
    {.name = "force",
     .type = JSON_BOOL,
     JSON_AT(struct wire_rollback, force),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Also where somebody else has changed what the step left."},
};
static const struct json_table rollback_table =
    JSON_TABLE_OPEN("rollback", struct wire_rollback, rollback_fields, "Undo this execution.");

static const struct json_field cancel_fields[] = {
    ROLLOUT_FIELD(struct wire_cancel),
    EPOCH_FIELD(struct wire_cancel),
    {.name = "now",
     .type = JSON_BOOL,
     JSON_AT(struct wire_cancel, now),
     .flags = JSON_REQUIRED,
     .doc = "Whether the running step is ended too."},
};
static const struct json_table cancel_table =
    JSON_TABLE_OPEN("cancel", struct wire_cancel, cancel_fields, "Begin no further step.");

static const struct json_field ack_fields[] = {
    {.name = "rollout",
     .type = JSON_STRING,
     JSON_AT(struct wire_ack, rollout),
     .flags = JSON_OMIT_EMPTY,
     .min = 1,
     .max = ID_MAX,
     .check = check_id,
     .doc = "The rollout's id; left out in the answer to a heartbeat."},
    {.name = "seq",
     .type = JSON_INT,
     JSON_AT(struct wire_ack, seq),
     .flags = JSON_HAS_DEFAULT,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "Every entry up to this one is durable."},
};
static const struct json_table ack_table =
    JSON_TABLE_OPEN("ack", struct wire_ack, ack_fields, "Entries are durable.");

/* ---- From an agent ----------------------------------------------------------------------- */

static const struct json_field execution_fields[] = {
    ROLLOUT_FIELD(struct wire_execution),
    {.name = "lastSeq",
     .type = JSON_INT,
     JSON_AT(struct wire_execution, last_seq),
     .flags = JSON_REQUIRED,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "The highest entry in the agent's journal."},
};
static const struct json_table execution_table =
    JSON_TABLE_OPEN("execution", struct wire_execution, execution_fields, "What is under way.");

static const struct json_field handler_item = {.type = JSON_STRING, .min = 1, .max = MAX_TEXT};
static const struct json_field execution_item = {.type = JSON_OBJECT, .table = &execution_table};

static const struct json_field hello_fields[] = {
    {.name = "id",
     .type = JSON_STRING,
     JSON_AT(struct wire_hello, id),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = ID_MAX,
     .check = check_id,
     .doc = "The server's id."},
    {.name = "instance",
     .type = JSON_STRING,
     JSON_AT(struct wire_hello, instance),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = ID_MAX,
     .check = check_id,
     .doc = "The identity of the agent's data directory."},
    {.name = "version",
     .type = JSON_STRING,
     JSON_AT(struct wire_hello, version),
     .flags = JSON_REQUIRED,
     .max = MAX_TEXT,
     .doc = "The agent's version."},
    {.name = "hostname",
     .type = JSON_STRING,
     JSON_AT(struct wire_hello, hostname),
     .flags = JSON_OMIT_EMPTY,
     .max = MAX_TEXT,
     .doc = "The host's own name."},
    {.name = "bootId",
     .type = JSON_STRING,
     JSON_AT(struct wire_hello, boot_id),
     .flags = JSON_OMIT_EMPTY,
     .max = MAX_TEXT,
     .doc = "Different after each start of the host."},
    {.name = "undoBytes",
     .type = JSON_INT,
     JSON_AT(struct wire_hello, undo_bytes),
     .flags = JSON_OMIT_EMPTY,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "What the agent's disk holds for undo."},
    {.name = "undoMaxBytes",
     .type = JSON_INT,
     JSON_AT(struct wire_hello, undo_max_bytes),
     .flags = JSON_OMIT_EMPTY,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "The most that it may hold; 0: no limit."},
    {.name = "checks",
     .type = JSON_BOOL,
     JSON_AT(struct wire_hello, checks),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Whether the agent knows check in execute."},
    {.name = "values",
     .type = JSON_BOOL,
     JSON_AT(struct wire_hello, values),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Whether the agent knows vars, when, and placeholders in params."},
    {.name = "secrets",
     .type = JSON_BOOL,
     JSON_AT(struct wire_hello, secrets),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Whether the agent knows secrets."},
    {.name = "labels",
     .type = JSON_CUSTOM,
     JSON_AT(struct wire_hello, labels),
     .flags = JSON_OMIT_EMPTY,
     .custom = &value_set_custom,
     .doc = "What the agent was told of its server."},
    {.name = "facts",
     .type = JSON_CUSTOM,
     JSON_AT(struct wire_hello, facts),
     .flags = JSON_OMIT_EMPTY,
     .custom = &value_set_custom,
     .doc = "What the agent found out about its server."},
    {.name = "handlers",
     .type = JSON_ARRAY,
     JSON_AT(struct wire_hello, handlers),
     .max = MAX_HANDLERS,
     .item = &handler_item,
     .doc = "The step types that the agent has."},
    {.name = "executions",
     .type = JSON_ARRAY,
     JSON_AT(struct wire_hello, executions),
     .max = WIRE_MAX_EXECUTIONS,
     .item = &execution_item,
     .doc = "What has not ended or is not acknowledged to the end."},
};
static const struct json_table hello_table =
    JSON_TABLE_OPEN("hello", struct wire_hello, hello_fields, "The first frame.");

static const struct json_field entry_item = {.type = JSON_OBJECT, .table = &wire_entry_table};

static const struct json_field report_fields[] = {
    ROLLOUT_FIELD(struct wire_report),
    {.name = "facts",
     .type = JSON_CUSTOM,
     JSON_AT(struct wire_report, facts),
     .flags = JSON_OMIT_EMPTY,
     .custom = &value_set_custom,
     .doc = "What the agent has found out anew about its server."},
    {.name = "entries",
     .type = JSON_ARRAY,
     JSON_AT(struct wire_report, entries),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = WIRE_MAX_ENTRIES,
     .item = &entry_item,
     .doc = "What happened, in order."},
};
static const struct json_table report_table =
    JSON_TABLE_OPEN("report", struct wire_report, report_fields, "What happened.");

static const struct json_field output_fields[] = {
    ROLLOUT_FIELD(struct wire_output),
    {.name = "step",
     .type = JSON_INT,
     JSON_AT(struct wire_output, step),
     .flags = JSON_REQUIRED,
     .min = 0,
     .max = PLAN_MAX_STEPS - 1,
     .doc = "The step's number from 0."},
    {.name = "attempt",
     .type = JSON_INT,
     JSON_AT(struct wire_output, attempt),
     .flags = JSON_REQUIRED,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "The attempt, from 1."},
    {.name = "offset",
     .type = JSON_INT,
     JSON_AT(struct wire_output, offset),
     .flags = JSON_REQUIRED,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "Where the text begins in all that the attempt printed."},
    {.name = "text",
     .type = JSON_STRING,
     JSON_AT(struct wire_output, text),
     .flags = JSON_REQUIRED,
     .max = WIRE_MAX_OUTPUT,
     .doc = "What was printed."},
};
static const struct json_table output_table =
    JSON_TABLE_OPEN("output", struct wire_output, output_fields, "Live output.");

/* ---- All --------------------------------------------------------------------------------- */

const struct json_table *const wire_tables[WIRE_TYPE_COUNT] = {
    [WIRE_WELCOME] = &welcome_table,   [WIRE_EXECUTE] = &execute_table,
    [WIRE_ROLLBACK] = &rollback_table, [WIRE_CANCEL] = &cancel_table,
    [WIRE_ACK] = &ack_table,           [WIRE_HELLO] = &hello_table,
    [WIRE_REPORT] = &report_table,     [WIRE_OUTPUT] = &output_table,
};
