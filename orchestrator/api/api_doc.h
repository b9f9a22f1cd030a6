/*
 * api_doc: the documents of the HTTP API as structs and field tables. The server encodes with them,
 * the CLI decodes with them, and docs/openapi.json is held against them by a test.
 *
 * Strings are owned by the struct (json_release) where it was decoded; a server that encodes may
 * point them anywhere. Times are RFC 3339 texts in UTC; NULL: not yet.
 *
 * Threading: constants. I/O: none.
 */
#pragma once

#include "common/base/array.h"
#include "common/json/json.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    API_DEFAULT_PORT = 7233,
    API_PAGE_DEFAULT = 100, /* rollouts, or executions, in one answer unless asked otherwise */
    API_PAGE_MAX = 1000,
    API_BY_MAX = 128,      /* bytes of `by`; as long as an id */
    API_REASON_MAX = 1024, /* bytes of `reason` */
    API_TOUCHED_MAX = 10   /* rollouts that touched a server, in an answer about it */
};

/* application/problem+json, RFC 9457; every answer of 400 and above. */
struct api_problem {
    char *type; /* "about:blank" or "urn:kitsune:problem:invalid-plan" */
    char *title;
    int64_t status;
    char *detail;        /* what is wrong, and what would be right */
    struct array errors; /* struct api_plan_error: all faults of a plan */
    bool has_offset;
    int64_t offset; /* of an artifact's upload: where it goes on */
};
struct api_plan_error {
    char *path; /* "steps[2].params.duration" */
    char *message;
};
extern const struct json_table api_problem_table;

struct api_counts { /* servers by outcome; see engine.h */
    int64_t pending, in_flight, succeeded, failed, unreachable, unknown, cancelled, skipped;
    int64_t unchanged, rolled_back, rollback_failed;
};
extern const struct json_table api_counts_table;

/* GET /v1/rollouts -> {"rollouts":[...],"next":ID|absent}; ?limit= &before=ID */
struct api_rollout_summary {
    char *id, *name, *by;
    char *retry_of; /* the rollout whose servers it retries; NULL */
    bool check;     /* it changes nothing, and says what would change */
    int state;      /* enum rollout_state */
    char *created, *ended;
    int64_t servers;
    struct api_counts counts;
};
struct api_rollout_list {
    struct array rollouts; /* struct api_rollout_summary */
    char *next;            /* `before` of the next page; NULL: no more */
};
extern const struct json_table api_rollout_summary_table;
extern const struct json_table api_rollout_list_table;

/* One step of one server. */
struct api_step {
    char *name;
    int state; /* enum step_state */
    int64_t attempt;
    bool changed;  /* of a check: it would change the server */
    bool conflict; /* not undone, since somebody else has changed what it left */
    bool has_exit_code;
    int64_t exit_code;
    int64_t duration_ms;
    char *message;
};
/* One server of a rollout. */
struct api_execution {
    char *server;
    int state;   /* enum execution_state */
    int outcome; /* the state before any undoing */
    bool connected;
    bool conflict;  /* not undone, since somebody else has changed what a step left */
    bool resolved;  /* settled by a person */
    bool rebooting; /* a step has it rebooted, and it is not back */
    bool unchanged; /* succeeded without a change; of a check: nothing would change */
    char *started, *ended;
    char *waiting_for;  /* queued: the rollout that holds the server; NULL: none */
    char *locked_by;    /* queued: who locked the server; NULL: not said, or not locked */
    char *lock_reason;  /* queued: why; NULL: not locked */
    char *step;         /* under way, or the one that failed */
    char *message;      /* why */
    struct array steps; /* struct api_step */
};
extern const struct json_table api_execution_table;

/* GET /v1/rollouts/ID; with executions, at most ?limit= (default API_PAGE_DEFAULT) from ?offset=,
 * only those in ?state= and only the one named ?server= when given. POST /v1/rollouts answers the
 * same with 201 (200 for a repeat). */
struct api_rollout {
    char *id, *name, *by;
    char *retry_of; /* the rollout whose servers it retries; NULL */
    bool check;
    int state;
    char *reason; /* why it stopped or ended as it did; NULL */
    char *created, *ended;
    char *strategy; /* "Rolling" */
    int64_t batch, batches;
    int64_t servers;
    struct api_counts counts;
    int64_t last_seq;
    char *plan;              /* JSON text of the canonical plan, as a JSON value in the document */
    struct array executions; /* struct api_execution */
    int64_t more;            /* executions that match and are not in this answer */
};
extern const struct json_table api_rollout_table;

/* POST /v1/rollouts: the plan itself is the body; ?id= chooses the id, ?by= says who, ?wait=false
 * refuses when a server is held by another rollout, ?check=true changes nothing and has each server
 * say what would change. POST /v1/plans/validate: the plan is the body;
 * 200 with this, or 422 with a problem that lists all faults. */
struct api_validation {
    bool valid;
    char *name, *strategy;
    int64_t servers, steps, batches;
};
extern const struct json_table api_validation_table;

/* POST /v1/rollouts/ID/cancel; all optional. Answers 202 with the api_rollout. */
struct api_cancel {
    bool now;      /* end running steps too */
    bool rollback; /* undo what was changed */
    char *by, *reason;
};
extern const struct json_table api_cancel_table;

/* POST /v1/rollouts/ID/pause and /resume; all optional. Answers 202 with the api_rollout. */
struct api_request {
    char *by, *reason;
};
extern const struct json_table api_request_table;

/* POST /v1/rollouts/ID/retry?id=&by=&wait=: a new rollout with the plan of one that has ended, over
 * its servers that are not succeeded; answers as a submission does. */

/* POST /v1/rollouts/ID/rollback; all optional. Answers 202 with the api_rollout. 409: not possible,
 * with the server and the rollout that stand in the way. */
struct api_rollback {
    struct array servers; /* char *: these alone; empty: all that was touched */
    bool now;             /* all: end running steps too */
    bool force;           /* these: also what somebody else has changed since */
    char *by, *reason;
};
extern const struct json_table api_rollback_table;

/* POST /v1/rollouts/ID/servers/SERVER/resolve. Answers 202 with the api_rollout. */
struct api_resolve {
    int as; /* enum execution_state: succeeded, failed or rolled_back */
    char *by, *reason;
};
extern const struct json_table api_resolve_table;

/* GET /v1/rollouts/ID/events?after=SEQ&limit=N -> {"events":[...],"lastSeq":N}; the events as in
 * journal/event_json.h. With Accept: text/event-stream (or ?follow=true) server-sent events: id =
 * seq, event = type, data = the event; Last-Event-ID resumes; the stream ends with the rollout's
 * end. Live output comes as event "output" without an id: an api_output. */
/* An event as a client reads it: what journal/event_json.h writes, with texts instead of enums, so
 * that a type that a newer server has is no fault. */
struct api_event {
    int64_t seq;
    char *time, *type, *server, *step;
    int64_t attempt;
    char *state;
    bool has_exit_code;
    int64_t exit_code;
    int64_t duration_ms, away_ms;
    bool undoing, now, force, conflict, changed, check;
    int64_t batch, count;
    char *message, *by, *retry_of;
    int64_t agent_seq;
    char *agent_time;
};
struct api_event_list {
    struct array events; /* struct api_event */
    int64_t last_seq;    /* of this answer: `after` of the next one */
};
struct api_output {
    char *server, *step;
    int64_t attempt;
    int64_t offset; /* of `text` in all that the attempt printed */
    char *text;
};
extern const struct json_table api_event_table;
extern const struct json_table api_event_list_table;
extern const struct json_table api_output_table;

/* GET /v1/rollouts/ID/servers/S/steps/N/output: text/plain; N is a step's name or number from 1.
 * Header X-Kitsune-Attempt. 404 problem when there is none (yet). */

/* POST /v1/servers/ID/lock and /unlock. Answer 200 with the api_server; 409: locked already, by
 * whom, or not locked. */
struct api_lock {
    char *by, *reason;
};
struct api_unlock {
    char *by;
};
extern const struct json_table api_lock_table;
extern const struct json_table api_unlock_table;

/* The last lock of a server. */
struct api_server_lock {
    bool locked;
    char *by, *reason, *since;
    char *unlocked_by, *unlocked; /* when not locked any more */
};
/* A rollout that touched a server. */
struct api_touch {
    char *rollout, *created;
    bool undone;
};

/* GET /v1/servers -> {"servers":[...],"next":ID|absent}; ?limit= &after=ID; GET /v1/servers/ID */
struct api_server {
    char *id;
    bool connected;
    char *version, *hostname, *address;
    char *since;                        /* connected since, or gone since */
    char *rollout;                      /* that holds it; NULL: free */
    int64_t waiting;                    /* rollouts waiting for it */
    char *labels, *facts;               /* sets as JSON; facts: of one server alone */
    struct array handlers;              /* char *: step types */
    int64_t undo_bytes, undo_max_bytes; /* kept by its agent for undo, and at most; 0: no limit */
    bool has_lock;
    struct api_server_lock lock; /* in a list: that stands; of one server: the last, also if over */
    struct array touched_by;     /* struct api_touch: newest first; of one server alone */
};
struct api_server_list {
    struct array servers; /* struct api_server */
    char *next;
    int64_t connected, known; /* of all */
};
extern const struct json_table api_server_table;
extern const struct json_table api_server_list_table;

/* GET /v1/handlers -> {"handlers":[...]}; GET /v1/handlers/TYPE */
struct api_handler {
    char *type, *doc, *undo;
    bool idempotent, changes;
    char *params; /* JSON Schema of the params, as a JSON value */
};
struct api_handler_list {
    struct array handlers; /* struct api_handler */
};
extern const struct json_table api_handler_table;
extern const struct json_table api_handler_list_table;

/* GET /healthz, /readyz: 200 or 503 with {"status":"ok"|"...","detail":...}. GET /metrics:
 * Prometheus text. */
struct api_health {
    char *status, *detail;
};
extern const struct json_table api_health_table;
