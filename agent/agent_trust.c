/* What an agent with trusted keys lets begin: trust.h, and that nothing runs twice. */
#include "agent/agent_state.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/seal/seal.h"

#include <stdio.h>
#include <string.h>

static int64_t wall_ms(const struct agent *a)
{
    return a->config.clock.wall_ms(a->config.clock.ctx);
}

/* ---- Once --------------------------------------------------------------------------------------
 */

static enum error_code spent(const char *rollout, struct error *err)
{
    return error_set(err, ERR_DENIED,
                     "the signed plan was run on this server already, by rollout %s; sign it again",
                     rollout);
}

/* What is not durable yet is in the list. One of the same rollout, too: were its execution still on
 * record, this would be a repeat. */
static enum error_code nonce_check(struct agent *a, const char *nonce, struct error *err)
{
    char rollout[ID_BUFFER];
    for (const struct execution *x = a->first; x; x = x->next) {
        if (strcmp(x->nonce, nonce) == 0)
            return spent(x->rollout, err);
    }
    enum error_code code =
        a->config.store.nonce(a->config.store.ctx, a->config.identity.server, nonce, rollout, err);
    if (code == ERR_OK)
        return spent(rollout, err);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

enum error_code trusted_check(struct agent *a, const struct wire_execute *execute,
                              struct error *err)
{
    enum error_code code =
        trust_check(a->config.trust, a->config.identity.server, execute, wall_ms(a), err);
    /* A check changes nothing and spends nothing. */
    if (code != ERR_OK || execute->check)
        return code;
    return nonce_check(a, execute->seal.signing.nonce, err);
}

void trusted_take(struct execution *x, const struct wire_execute *execute)
{
    const struct plan_signing *signing = &execute->seal.signing;
    if (execute->check)
        return;
    (void)snprintf(x->nonce, sizeof(x->nonce), "%s", signing->nonce);
    x->not_before_ms = signing->not_before_ms;
    x->expires_ms = signing->expires_ms;
}

enum error_code trusted_begin(const struct agent *a, const struct execution *x, struct error *err)
{
    const struct plan_signing signing = {.not_before_ms = x->not_before_ms,
                                         .expires_ms = x->expires_ms};
    if (x->nonce[0] == '\0' || seal_check_time(&signing, wall_ms(a), err) == ERR_OK)
        return ERR_OK;
    return ERR_DENIED;
}

/* ---- Refusing ----------------------------------------------------------------------------------
 */

void trusted_refuse(struct agent *a, struct execution *x, bool rollback_on_failure,
                    const struct error *why)
{
    char message[ERROR_MESSAGE_MAX + 16];
    (void)snprintf(message, sizeof(message), "refused: %s", why->message);
    log_warn("execution refused", LOG_STR("server", a->config.identity.server),
             LOG_STR("rollout", x->rollout), LOG_STR("reason", why->message), LOG_END);
    mem_free(TAKE(x->spec)); /* as large as a stranger likes */
    const struct executor_record records[] = {
        {.type = REPORT_STARTED,
         .time_ms = wall_ms(a),
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_RUNNING},
        {.type = REPORT_ENDED,
         .time_ms = wall_ms(a),
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_FAILED,
         .undoing = rollback_on_failure,
         .message = message},
        {.type = REPORT_ROLLBACK_STARTED,
         .time_ms = wall_ms(a),
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_ROLLING_BACK},
        {.type = REPORT_ROLLED_BACK,
         .time_ms = wall_ms(a),
         .step = EXECUTOR_NO_STEP,
         .state = EXECUTION_ROLLED_BACK},
    };
    report_settle(a, x, records, rollback_on_failure ? ARRAY_LEN(records) : 2);
}

/* What somebody has changed since is his; an orchestrator by itself may not throw it away. */
bool trusted_force(const struct agent *a, const struct wire_rollback *rollback)
{
    if (!rollback->force || !a->config.trust)
        return rollback->force;
    log_warn("a forced undo is done without force, since only signed plans are trusted here",
             LOG_STR("server", a->config.identity.server), LOG_STR("rollout", rollback->rollout),
             LOG_END);
    return false;
}
