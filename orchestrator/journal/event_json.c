#include "orchestrator/journal/event_json.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <assert.h>
#include <string.h>

/* Texts are owned when it was decoded; for writing they point anywhere. */
struct event_doc {
    int64_t seq;
    int64_t time_ms;
    int type; /* enum event_type */
    const char *server, *step;
    int64_t attempt;
    const char *state;
    bool has_exit_code;
    int64_t exit_code;
    int64_t duration_ms, away_ms;
    bool undoing, now, force, conflict, changed, check;
    int64_t batch, count;
    const char *message, *by, *retry_of;
    int64_t agent_seq, agent_time_ms;
};

/* ---- Times as text ---------------------------------------------------------------------- */

#define TIME_MAX_MS INT64_C(253402300799999) /* the end of the year 9999 */

/* An agent's clock can say anything; what has no four-digit year is not written. */
static int64_t time_writable(int64_t time_ms)
{
    return time_ms >= 0 && time_ms <= TIME_MAX_MS ? time_ms : 0;
}

/* ---- The table -------------------------------------------------------------------------- */

static const struct json_enum type_values = {event_type_names, EVENT_TYPE_COUNT};

#define MAYBE(name_, type_, member_, doc_)                                                         \
    {                                                                                              \
        .name = (name_), .type = (type_), JSON_AT(struct event_doc, member_),                      \
        .flags = JSON_OMIT_EMPTY, .doc = (doc_)                                                    \
    }
/* As long as the whole event may be: what was written can be read. */
#define MAYBE_TEXT(name_, member_, doc_)                                                           \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(struct event_doc, member_),                  \
        .flags = JSON_OMIT_EMPTY, .max = EVENT_MAX_BYTES, .doc = (doc_)                            \
    }

static const struct json_field fields[] = {
    {.name = "seq",
     .type = JSON_INT,
     JSON_AT(struct event_doc, seq),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = (double)JSON_INT_MAX,
     .doc = "Number in the rollout, from 1, without gaps."},
    {.name = "time",
     .type = JSON_CUSTOM,
     JSON_AT(struct event_doc, time_ms),
     .flags = JSON_REQUIRED,
     .custom = &json_time_custom,
     .doc = "When the orchestrator took it, UTC."},
    {.name = "type",
     .type = JSON_ENUM,
     JSON_AT(struct event_doc, type),
     .flags = JSON_REQUIRED,
     .values = &type_values,
     .doc = "What happened."},
    MAYBE("server", JSON_STRING, server, "The server's id."),
    MAYBE("step", JSON_STRING, step, "The step's name."),
    MAYBE("attempt", JSON_INT, attempt, "The attempt at the step, from 1."),
    MAYBE("state", JSON_STRING, state,
          "State of the step, execution or rollout, by the event's type."),
    {.name = "exitCode",
     .type = JSON_INT,
     JSON_AT(struct event_doc, exit_code),
     JSON_HAS(struct event_doc, has_exit_code),
     .doc = "Exit status of the step's program, where there was one."},
    MAYBE("durationMs", JSON_INT, duration_ms, "How long it took, milliseconds."),
    MAYBE("awayMs", JSON_INT, away_ms, "How long the server may be away for its reboot."),
    MAYBE("undoing", JSON_BOOL, undoing, "Undoing follows."),
    MAYBE("now", JSON_BOOL, now, "Running steps are ended too."),
    MAYBE("force", JSON_BOOL, force, "Undone even where somebody else has changed it since."),
    MAYBE("conflict", JSON_BOOL, conflict, "Not undone, since somebody else has changed it."),
    MAYBE("changed", JSON_BOOL, changed, "The step changed the server; of a check: it would."),
    MAYBE("check", JSON_BOOL, check, "The rollout is a check: it changes nothing."),
    MAYBE("batch", JSON_INT, batch, "The batch, from 1."),
    MAYBE("count", JSON_INT, count, "How many servers it is about."),
    MAYBE_TEXT("message", message, "Why, for people."),
    MAYBE_TEXT("by", by, "Who asked."),
    MAYBE_TEXT("retryOf", retry_of, "The rollout whose servers it retries."),
    MAYBE("agentSeq", JSON_INT, agent_seq, "Number of the entry in the agent's own journal."),
    {.name = "agentTime",
     .type = JSON_CUSTOM,
     JSON_AT(struct event_doc, agent_time_ms),
     .flags = JSON_OMIT_EMPTY,
     .custom = &json_time_custom,
     .doc = "When the agent saw it, by its own clock."},
};

const struct json_table event_table =
    JSON_TABLE("Event", struct event_doc, fields, "What happened to a rollout.");

/* ---- Whose state an event tells --------------------------------------------------------- */

enum state_kind { STATE_NONE, STATE_STEP, STATE_EXECUTION, STATE_ROLLOUT };

static const enum state_kind state_kinds[EVENT_TYPE_COUNT] = {
    [EVENT_STEP_ENDED] = STATE_STEP,
    [EVENT_STEP_ROLLED_BACK] = STATE_STEP,
    [EVENT_EXECUTION_ENDED] = STATE_EXECUTION,
    [EVENT_EXECUTION_ROLLED_BACK] = STATE_EXECUTION,
    [EVENT_EXECUTION_RESOLVED] = STATE_EXECUTION,
    [EVENT_ROLLOUT_ENDED] = STATE_ROLLOUT,
};

static const char *state_name(const struct event *event)
{
    switch (state_kinds[event->type]) {
    case STATE_NONE:
        break;
    case STATE_STEP:
        return step_state_names[event->step_state];
    case STATE_EXECUTION:
        return execution_state_names[event->state];
    case STATE_ROLLOUT:
        return rollout_state_names[event->rollout_state];
    }
    return NULL;
}

/* The place of a name in a list of names, or -1. */
static int name_find(const char *name, const char *const *names, int count)
{
    for (int i = 0; name != NULL && i < count; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static bool state_read(const char *name, struct event *event)
{
    int state = 0;
    switch (state_kinds[event->type]) {
    case STATE_NONE:
        return name == NULL;
    case STATE_STEP:
        state = name_find(name, step_state_names, STEP_STATE_COUNT);
        if (state >= 0)
            event->step_state = (enum step_state)state;
        break;
    case STATE_EXECUTION:
        state = name_find(name, execution_state_names, EXECUTION_STATE_COUNT);
        if (state >= 0)
            event->state = (enum execution_state)state;
        break;
    case STATE_ROLLOUT:
        state = name_find(name, rollout_state_names, ROLLOUT_STATE_COUNT);
        if (state >= 0)
            event->rollout_state = (enum rollout_state)state;
        break;
    }
    return state >= 0;
}

/* ---- Writing ---------------------------------------------------------------------------- */

void event_write(struct buf *b, const struct plan *plan, const struct event *event)
{
    assert(event->server == EVENT_NO_SERVER || event->server < plan_server_count(plan));
    assert(event->step == EVENT_NO_STEP ||
           (event->step >= 0 && (uint32_t)event->step < plan_step_count(plan)));
    bool has_server = event->server != EVENT_NO_SERVER;
    bool has_step = event->step != EVENT_NO_STEP;
    struct event_doc doc = {
        .seq = (int64_t)event->seq,
        .time_ms = time_writable(event->time_ms),
        .type = (int)event->type,
        .server = has_server ? plan_server(plan, event->server) : NULL,
        .step = has_step ? plan_step(plan, (uint32_t)event->step)->name : NULL,
        .attempt = event->attempt,
        .state = state_name(event),
        .has_exit_code = event->has_exit_code,
        .exit_code = event->exit_code,
        .duration_ms = event->duration_ms,
        .away_ms = event->away_ms,
        .undoing = event->undoing,
        .now = event->now,
        .force = event->force,
        .conflict = event->conflict,
        .changed = event->changed,
        .check = event->check,
        .batch = event->batch,
        .count = event->count,
        .message = event->message,
        .by = event->by,
        .retry_of = event->retry_of,
        .agent_seq = event->agent_seq,
        .agent_time_ms = time_writable(event->agent_time_ms),
    };
    json_encode(b, &event_table, &doc);
}

/* ---- Reading ---------------------------------------------------------------------------- */

static enum error_code names_read(const struct event_doc *doc, const struct plan *plan,
                                  struct event *event, struct error *err)
{
    event->server = EVENT_NO_SERVER;
    event->step = EVENT_NO_STEP;
    if (doc->server != NULL && !plan_server_find(plan, doc->server, &event->server))
        return error_set(err, ERR_CORRUPT, "server: the plan names no \"%s\"", doc->server);
    uint32_t step = 0;
    if (doc->step != NULL && !plan_step_find(plan, doc->step, &step))
        return error_set(err, ERR_CORRUPT, "step: the plan names no \"%s\"", doc->step);
    if (doc->step != NULL)
        event->step = (int32_t)step;
    if (!state_read(doc->state, event))
        return error_set(err, ERR_CORRUPT, "state: \"%s\" is none that %s can have",
                         doc->state == NULL ? "" : doc->state, event_type_names[event->type]);
    return ERR_OK;
}

static enum error_code event_from_doc(const struct event_doc *doc, const struct plan *plan,
                                      struct event *ret_event, struct error *err)
{
    if (doc->attempt != (int32_t)doc->attempt || doc->batch != (uint32_t)doc->batch ||
        doc->count != (uint32_t)doc->count)
        return error_set(err, ERR_CORRUPT, "a number is out of range");
    struct event event = {
        .type = (enum event_type)doc->type,
        .seq = (uint64_t)doc->seq,
        .time_ms = doc->time_ms,
        .attempt = (int32_t)doc->attempt,
        .agent_seq = doc->agent_seq,
        .agent_time_ms = doc->agent_time_ms,
        .duration_ms = doc->duration_ms,
        .away_ms = doc->away_ms,
        .undoing = doc->undoing,
        .now = doc->now,
        .force = doc->force,
        .conflict = doc->conflict,
        .changed = doc->changed,
        .check = doc->check,
        .has_exit_code = doc->has_exit_code,
        .exit_code = doc->exit_code,
        .batch = (uint32_t)doc->batch,
        .count = (uint32_t)doc->count,
        .message = doc->message,
        .by = doc->by,
        .retry_of = doc->retry_of,
    };
    enum error_code code = names_read(doc, plan, &event, err);
    if (code == ERR_OK)
        *ret_event = event;
    return code;
}

DEFINE_CLEANUP(event_hold_free, struct event_doc)

enum error_code event_read(const char *json, size_t len, const struct plan *plan,
                           struct event *ret_event, struct event_doc **ret_hold, struct error *err)
{
    AUTO(event_hold_free) struct event_doc *doc = MEM_NEW(struct event_doc);
    if (doc == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    struct error why = {0};
    enum error_code code = json_read(json, len, EVENT_MAX_BYTES, &event_table, doc, &why);
    if (code == ERR_OK)
        code = event_from_doc(doc, plan, ret_event, &why);
    if (code == ERR_NO_MEMORY)
        return error_set(err, code, NULL);
    if (code != ERR_OK)
        return error_set(err, ERR_CORRUPT, "%s", why.message);
    *ret_hold = TAKE(doc);
    return ERR_OK;
}

void event_hold_free(struct event_doc *hold)
{
    if (hold == NULL)
        return;
    json_release(&event_table, hold);
    mem_free(hold);
}
