/* durable: what may be shown of a rollout while the journal is stalled. The engine goes on with
 * what agents report, and is ahead of the journal for as long as that lasts; nobody may see of it
 * what a crash would take back. */
#include "orchestrator/dispatch/dispatch_internal.h"

bool durable_is_behind(const struct rollout *r)
{
    return r->appends > 0 && journal_stalled(r->d->config.journal, NULL, NULL);
}

void durable_forget(struct dispatcher *d)
{
    engine_free(TAKE(d->durable_engine));
    plan_free(TAKE(d->durable_plan));
}

enum error_code durable_view(const struct rollout *r, struct rollout_view *view, struct error *err)
{
    struct dispatcher *d = r->d;
    durable_forget(d);
    enum error_code code = journal_load(d->config.journal, r->id, &d->durable_plan,
                                        &d->durable_engine, &view->last_seq, err);
    if (code != ERR_OK)
        return code;
    view->plan = d->durable_plan;
    view->engine = d->durable_engine;
    if (!rollout_state_final(engine_state(view->engine)))
        view->ended_ms = 0;
    return ERR_OK;
}
