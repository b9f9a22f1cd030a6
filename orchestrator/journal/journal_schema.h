/*
 * journal_schema: the journal's tables, statements and columns. For this folder alone.
 */
#pragma once

#include "common/db/db.h"
#include "common/plan/plan.h"

#include <stdint.h>

extern const struct db_schema journal_schema;

enum journal_statement {
    JOURNAL_META_GET,
    JOURNAL_META_PUT,
    JOURNAL_ROLLOUT_FIND,
    JOURNAL_ROLLOUT_NEXT,
    JOURNAL_ROLLOUT_ADD,
    JOURNAL_ROLLOUT_UPDATE,
    JOURNAL_PLAN_ADD,
    JOURNAL_EVENT_ADD,
    JOURNAL_OUTPUT_PUT,
    JOURNAL_ROLLOUT_GET,
    JOURNAL_ROLLOUTS_OPEN,
    JOURNAL_ROLLOUTS_BEFORE,
    JOURNAL_RESOLVE,
    JOURNAL_PLAN_GET,
    JOURNAL_EVENTS_AFTER,
    JOURNAL_EVENT_GET,
    JOURNAL_OUTPUT_GET,
    JOURNAL_OUTPUTS,
    JOURNAL_ROLLOUTS_AFTER,
    JOURNAL_STRAYS,
    JOURNAL_EXPIRED,
    JOURNAL_REMOVED_NEXT,
    JOURNAL_REMOVED_ADD,
    JOURNAL_REMOVED_DROP,
    JOURNAL_ROLLOUT_DROP,
    JOURNAL_PLAN_DROP,
    JOURNAL_EVENTS_DROP,
    JOURNAL_OUTPUTS_DROP,
    JOURNAL_TOUCHES_DROP,
    JOURNAL_META_DROP,
    JOURNAL_ROLLOUT_UP_TO,
    JOURNAL_TOUCH_PUT,
    JOURNAL_TOUCHES,
    JOURNAL_TOUCH_LATER,
    JOURNAL_LOCK_PUT,
    JOURNAL_LOCKS,
    JOURNAL_LOCK_GET,
    JOURNAL_STATEMENT_COUNT
};

/* Of JOURNAL_ROLLOUT_FIND. */
enum journal_find_column { FIND_COLUMN_NUM, FIND_COLUMN_LAST_SEQ };

/* Of JOURNAL_ROLLOUT_GET, JOURNAL_ROLLOUTS_OPEN, _BEFORE and _AFTER, and JOURNAL_ROLLOUT_UP_TO. */
enum journal_rollout_column {
    COLUMN_ID,
    COLUMN_NAME,
    COLUMN_BY,
    COLUMN_STATE,
    COLUMN_CREATED_MS,
    COLUMN_ENDED_MS,
    COLUMN_LAST_SEQ,
    COLUMN_SERVERS,
    COLUMN_PENDING,
    COLUMN_IN_FLIGHT,
    COLUMN_SUCCEEDED,
    COLUMN_FAILED,
    COLUMN_UNREACHABLE,
    COLUMN_UNKNOWN,
    COLUMN_CANCELLED,
    COLUMN_SKIPPED,
    COLUMN_ROLLED_BACK,
    COLUMN_ROLLBACK_FAILED,
    COLUMN_OPEN,
    COLUMN_NUM,
    COLUMN_MADE_SUM,
    COLUMN_SUM,
    COLUMN_RETRY_OF,
    COLUMN_IS_CHECK,
    COLUMN_UNCHANGED
};

/* Parameters of JOURNAL_ROLLOUT_UPDATE. */
enum journal_update_parameter {
    UPDATE_NUM = 1,
    UPDATE_STATE,
    UPDATE_OPEN,
    UPDATE_CREATED_MS,
    UPDATE_ENDED_MS,
    UPDATE_LAST_SEQ,
    UPDATE_SERVERS,
    UPDATE_PENDING,
    UPDATE_IN_FLIGHT,
    UPDATE_SUCCEEDED,
    UPDATE_FAILED,
    UPDATE_UNREACHABLE,
    UPDATE_UNKNOWN,
    UPDATE_CANCELLED,
    UPDATE_SKIPPED,
    UPDATE_ROLLED_BACK,
    UPDATE_ROLLBACK_FAILED,
    UPDATE_SUM,
    UPDATE_IS_CHECK,
    UPDATE_UNCHANGED
};

/* Of JOURNAL_PLAN_GET. */
enum journal_plan_column { PLAN_COLUMN_TEXT, PLAN_COLUMN_SUM };

/* Of JOURNAL_EVENTS_AFTER and JOURNAL_EVENT_GET. */
enum journal_event_column {
    EVENT_COLUMN_KEY,
    EVENT_COLUMN_TYPE,
    EVENT_COLUMN_JSON,
    EVENT_COLUMN_SUM
};

/* Of JOURNAL_OUTPUT_GET and JOURNAL_OUTPUTS (which alone gives the key). */
enum journal_output_column {
    OUTPUT_COLUMN_ATTEMPT,
    OUTPUT_COLUMN_TEXT,
    OUTPUT_COLUMN_SUM,
    OUTPUT_COLUMN_KEY
};

/* Of JOURNAL_STRAYS. */
enum journal_stray_column { STRAY_COLUMN_WHAT, STRAY_COLUMN_NUM };

/* Of JOURNAL_EXPIRED. */
enum journal_expired_column { EXPIRED_COLUMN_NUM, EXPIRED_COLUMN_ID, EXPIRED_COLUMN_ENDED_MS };

/* Of JOURNAL_TOUCHES and JOURNAL_TOUCH_LATER (which alone gives the rollout). */
enum journal_touch_column {
    TOUCH_COLUMN_KEY,
    TOUCH_COLUMN_SERVER,
    TOUCH_COLUMN_UNDONE,
    TOUCH_COLUMN_SUM,
    TOUCH_COLUMN_ROLLOUT,
    TOUCH_COLUMN_CREATED_MS
};

/* Of JOURNAL_LOCKS and JOURNAL_LOCK_GET; the parameters of JOURNAL_LOCK_PUT are one more. */
enum journal_lock_column {
    LOCK_COLUMN_SERVER,
    LOCK_COLUMN_LOCKED,
    LOCK_COLUMN_BY,
    LOCK_COLUMN_REASON,
    LOCK_COLUMN_TIME_MS,
    LOCK_COLUMN_UNLOCKED_BY,
    LOCK_COLUMN_UNLOCKED_MS,
    LOCK_COLUMN_SUM
};

/* Events, outputs and touches are found by one integer, the fastest key there is and one that keeps
 * a rollout's rows together: the rollout's number above, what is within the rollout below. */
enum { EVENT_SEQ_BITS = 32, OUTPUT_STEP_BITS = 8, OUTPUT_SERVER_BITS = 18 };
#define TOUCH_SERVER_MASK ((UINT32_C(1) << OUTPUT_SERVER_BITS) - 1)
#define JOURNAL_MAX_SEQ ((UINT64_C(1) << EVENT_SEQ_BITS) - 1)
_Static_assert(PLAN_MAX_STEPS <= 1 << OUTPUT_STEP_BITS,
               "a step's number fits into an output's key");
_Static_assert(PLAN_MAX_SERVERS <= 1 << OUTPUT_SERVER_BITS,
               "a server's number fits into the keys of outputs and touches");

/* A rollout's number is below 2^31, as many as were ever made. */
static inline int64_t event_key(int64_t num, uint64_t seq)
{
    return (int64_t)(((uint64_t)num << EVENT_SEQ_BITS) | seq);
}

static inline int64_t output_key(int64_t num, uint32_t server, uint32_t step)
{
    return (int64_t)(((uint64_t)num << (OUTPUT_SERVER_BITS + OUTPUT_STEP_BITS)) |
                     ((uint64_t)server << OUTPUT_STEP_BITS) | step);
}

static inline int64_t touch_key(int64_t num, uint32_t server)
{
    return (int64_t)(((uint64_t)num << OUTPUT_SERVER_BITS) | server);
}
