/* submit: new rollouts: submitted, or the retry of one that has ended. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include "common/plan/plan_json.h"

#include <assert.h>
#include <string.h>

/* ---- Submitting ------------------------------------------------------------------------------ */

/* Whether a rollout with that id is of the same plan. */
static enum error_code submit_compare(struct rollout *r, const struct plan *plan, bool check,
                                      struct error *err)
{
    if (engine_is_check(r->engine) != check)
        return error_set(err, ERR_EXISTS, "rollout \"%s\" exists and is %s; choose another id",
                         r->id, check ? "no check" : "a check");
    AUTO_BUF struct buf there = BUF_INIT;
    AUTO_BUF struct buf here = BUF_INIT;
    plan_write(&there, r->plan);
    plan_write(&here, plan);
    enum error_code code = buf_check(&there, err);
    if (code == ERR_OK)
        code = buf_check(&here, err);
    if (code != ERR_OK)
        return code;
    if (there.len != here.len || memcmp(there.data, here.data, here.len) != 0)
        return error_set(err, ERR_EXISTS,
                         "rollout \"%s\" exists with another plan; choose another id", r->id);
    return ERR_OK;
}

/* Answers with a rollout that is there already. */
static enum error_code submit_repeat(struct rollout *r, const struct dispatcher_submit *request,
                                     bool *ret_repeat, struct error *err)
{
    struct tx tx;
    enum error_code code = tx_begin(&tx, r, err);
    if (code != ERR_OK)
        return code;
    tx.effect->done = request->done;
    tx.effect->done_ctx = request->ctx;
    *ret_repeat = true;
    (void)tx_commit(&tx);
    return ERR_OK;
}

static enum error_code submit_no_wait(struct dispatcher *d, const struct plan *plan,
                                      struct error *err)
{
    for (uint32_t i = 0; i < plan_server_count(plan); i++) {
        const struct server *server = fleet_find(d, plan_server(plan, i));
        if (server != NULL && server->lock.set) {
            AUTO_BUF struct buf why = BUF_INIT;
            lock_describe(&server->lock, &why);
            return error_set(err, ERR_BUSY, "server \"%s\" is %s", server->id,
                             why.data == NULL ? "locked" : why.data);
        }
        if (server != NULL && server->head != NULL)
            return error_set(err, ERR_BUSY, "server \"%s\" is held by rollout \"%s\"", server->id,
                             server->head->rollout->id);
    }
    return ERR_OK;
}

static enum error_code submit_record(struct rollout *r, const struct dispatcher_submit *request,
                                     struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    struct tx tx;
    plan_write(&text, r->plan);
    enum error_code code = buf_check(&text, err);
    if (code == ERR_OK)
        code = tx_begin(&tx, r, err);
    if (code != ERR_OK)
        return code;
    const char *retry_of = r->retry_of[0] == '\0' ? NULL : r->retry_of;
    code = journal_append_create(tx.append, r->plan, text.data, text.len, request->by, err);
    if (code == ERR_OK && retry_of != NULL)
        code = journal_append_retry_of(tx.append, retry_of, err);
    if (code == ERR_OK) {
        struct event event = rollout_event(EVENT_ROLLOUT_CREATED, EVENT_NO_SERVER);
        event.by = request->by;
        event.retry_of = retry_of;
        event.check = request->check;
        code = tx_apply(&tx, &event, err);
    }
    if (code != ERR_OK) {
        tx_abandon(&tx);
        return code;
    }
    tx.effect->done = request->done;
    tx.effect->done_ctx = request->ctx;
    (void)tx_commit(&tx);
    return ERR_OK;
}

static enum error_code submit_new(struct dispatcher *d, const char *id, struct plan *plan,
                                  const struct dispatcher_submit *request,
                                  struct rollout **ret_rollout, struct error *err)
{
    if (d->stats.open >= DISPATCH_MAX_OPEN)
        return error_set(err, ERR_LIMIT,
                         "%d rollouts are open already; wait for some to end, or cancel them",
                         DISPATCH_MAX_OPEN);
    enum error_code code = sealed_check(plan, d->config.now_wall_ms(d->config.ctx), err);
    if (code == ERR_OK && request->no_wait)
        code = submit_no_wait(d, plan, err);
    AUTO(engine_free) struct engine *engine = NULL;
    if (code == ERR_OK)
        code = engine_new(plan, &engine, err);
    if (code == ERR_OK)
        code = rollout_new(d, id, plan, engine, ret_rollout, err);
    if (code == ERR_OK)
        (void)TAKE(engine);
    return code;
}

/* The rollout with the wanted id, when there is one; a random id when none is wanted. */
static enum error_code submit_find(struct dispatcher *d, const char *wanted, char id[ID_BUFFER],
                                   struct rollout **ret_rollout, struct error *err)
{
    *ret_rollout = NULL;
    if (d->config.held != NULL)
        return error_set(err, ERR_UNAVAILABLE, "%s", d->config.held);
    enum error_code code = dispatcher_writable(d, err);
    if (code != ERR_OK)
        return code;
    if (wanted == NULL)
        return id_random(id, err);
    memset(id, 0, ID_BUFFER);
    memcpy(id, wanted, strnlen(wanted, ID_MAX));
    code = rollout_get(d, id, ret_rollout, err);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

/* Begins one that is not there yet; takes the plan over on success only. */
static enum error_code submit_begin(struct dispatcher *d, const char *id, struct plan *plan,
                                    const char *retry_of, const struct dispatcher_submit *request,
                                    struct error *err)
{
    struct rollout *r = NULL;
    enum error_code code = submit_new(d, id, plan, request, &r, err);
    if (code != ERR_OK)
        return code;
    assert(r != NULL);
    r->created_ms = d->config.now_wall_ms(d->config.ctx);
    if (request->by != NULL)
        memcpy(r->by, request->by, strnlen(request->by, ID_MAX));
    if (retry_of != NULL)
        memcpy(r->retry_of, retry_of, strnlen(retry_of, ID_MAX));
    rollout_open(r);
    code = submit_record(r, request, err);
    if (code != ERR_OK) {
        queue_release(r);
        r->plan = NULL; /* stays the caller's */
        rollout_free(r);
    }
    return code;
}

enum error_code dispatcher_submit(struct dispatcher *d, struct plan *plan,
                                  const struct dispatcher_submit *request, bool *ret_repeat,
                                  struct error *err)
{
    char id[ID_BUFFER];
    struct rollout *r = NULL;
    enum error_code code = submit_find(d, request->id, id, &r, err);
    if (code != ERR_OK)
        return code;
    *ret_repeat = false;
    if (r == NULL)
        return submit_begin(d, id, plan, NULL, request, err);
    code = submit_compare(r, plan, request->check, err);
    if (code == ERR_OK)
        code = submit_repeat(r, request, ret_repeat, err);
    if (code == ERR_OK)
        plan_free(plan);
    return code;
}

/* ---- Retrying -------------------------------------------------------------------------------- */

static bool retry_keeps(void *ctx, uint32_t server)
{
    const struct rollout *r = ctx;
    return engine_execution(r->engine, server)->state != EXECUTION_SUCCEEDED;
}

/* The plan for what the rollout left undone. Caller owns. */
static enum error_code retry_plan(struct dispatcher *d, const char *of, char ret_of[ID_BUFFER],
                                  bool *ret_check, struct plan **ret_plan, struct error *err)
{
    struct rollout *r = NULL;
    enum error_code code = rollout_get(d, of, &r, err);
    if (code != ERR_OK)
        return code;
    enum rollout_state state = engine_state(r->engine);
    uint32_t left = 0;
    if (!rollout_state_final(state))
        return error_set(err, ERR_CONFLICT,
                         "rollout \"%s\" has not ended (%s); wait for its end, or cancel it", r->id,
                         rollout_state_names[state]);
    for (uint32_t i = 0; i < r->slot_count; i++)
        left += retry_keeps(r, i);
    if (r->plan->is_signed)
        return error_set(err, ERR_CONFLICT,
                         "the plan of rollout \"%s\" is signed, for its servers and for one run: "
                         "sign one for those that are left (kitsune sign --anew), and submit that",
                         r->id);
    if (left == 0)
        return error_set(err, ERR_CONFLICT,
                         "nothing of rollout \"%s\" is left to do: it succeeded on every server",
                         r->id);
    memcpy(ret_of, r->id, ID_BUFFER);
    *ret_check = *ret_check || engine_is_check(r->engine);
    return plan_keep_servers(r->plan, retry_keeps, r, ret_plan, err);
}

enum error_code dispatcher_retry(struct dispatcher *d, const char *of,
                                 const struct dispatcher_submit *request, bool *ret_repeat,
                                 struct error *err)
{
    char id[ID_BUFFER];
    char origin[ID_BUFFER];
    struct rollout *r = NULL;
    AUTO(plan_free) struct plan *plan = NULL;
    enum error_code code = submit_find(d, request->id, id, &r, err);
    if (code != ERR_OK)
        return code;
    *ret_repeat = false;
    /* What was left undone may have changed since it was asked for the first time. */
    if (r != NULL && strcmp(r->retry_of, of) == 0)
        return submit_repeat(r, request, ret_repeat, err);
    if (r != NULL)
        return error_set(err, ERR_EXISTS,
                         "rollout \"%s\" exists and is no retry of \"%s\"; choose another id",
                         r->id, of);
    struct dispatcher_submit retry = *request;
    code = retry_plan(d, of, origin, &retry.check, &plan, err);
    if (code != ERR_OK)
        return code;
    assert(plan != NULL);
    code = submit_begin(d, id, plan, origin, &retry, err);
    if (code == ERR_OK)
        (void)TAKE(plan);
    return code;
}
