/*
 * event_json: an event as JSON, as the journal stores it and the API gives it:
 *
 *   {"seq":7,"time":"2026-11-21T06:25:56.123Z","type":"step_ended","server":"web-1","step":"upgrade",
 *    "attempt":1,"state":"failed","exitCode":3,"message":"exit status 3", ...}
 *
 * Server and step are named, not numbered; `state` is that of the step, execution or rollout, by
 * the event's type. Pure.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/json/json.h"
#include "common/plan/plan.h"
#include "orchestrator/engine/event.h"

#include <stddef.h>

enum { EVENT_MAX_BYTES = 4 * 1024 * 1024 }; /* of one event's text; a longer one is not read */

struct event_doc;                           /* what the table decodes into */
extern const struct json_table event_table; /* documents the event for the API */

void event_write(struct buf *b, const struct plan *plan, const struct event *event);
/* Reads what event_write wrote. The event's texts point into *ret_hold, which the caller frees with
 * event_hold_free after use. ERR_CORRUPT. */
enum error_code event_read(const char *json, size_t len, const struct plan *plan,
                           struct event *ret_event, struct event_doc **ret_hold,
                           struct error *err) MUST_CHECK;
void event_hold_free(struct event_doc *hold);
