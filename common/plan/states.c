#include "common/plan/states.h"

#define X(value, name) [value] = (name),
const char *const rollout_state_names[ROLLOUT_STATE_COUNT] = {ROLLOUT_STATES(X)};
const char *const execution_state_names[EXECUTION_STATE_COUNT] = {EXECUTION_STATES(X)};
const char *const step_state_names[STEP_STATE_COUNT] = {STEP_STATES(X)};
const char *const report_type_names[REPORT_TYPE_COUNT] = {REPORT_TYPES(X)};
#undef X

bool rollout_state_final(enum rollout_state state)
{
    switch (state) {
    case ROLLOUT_SUCCEEDED:
    case ROLLOUT_FAILED:
    case ROLLOUT_CANCELLED:
    case ROLLOUT_ROLLED_BACK:
    case ROLLOUT_ROLLBACK_FAILED:
        return true;
    case ROLLOUT_PENDING:
    case ROLLOUT_RUNNING:
    case ROLLOUT_PAUSED:
    case ROLLOUT_ROLLING_BACK:
    case ROLLOUT_STATE_COUNT:
        break;
    }
    return false;
}
