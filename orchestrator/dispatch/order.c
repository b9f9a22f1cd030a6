/* order: what people order of a rollout. */
#include "orchestrator/dispatch/dispatch_internal.h"

#include <string.h>

/* ---- Pausing, resuming, cancelling ----------------------------------------------------------- */

enum error_code dispatcher_order(struct dispatcher *d, const char *id,
                                 const struct dispatcher_order *order, dispatcher_done done,
                                 void *ctx, struct error *err)
{
    static const enum event_type events[] = {
        [COMMAND_PAUSE] = EVENT_PAUSE_REQUESTED,
        [COMMAND_RESUME] = EVENT_RESUME_REQUESTED,
        [COMMAND_CANCEL] = EVENT_CANCEL_REQUESTED,
    };
    struct rollout *r = NULL;
    struct tx tx;
    enum error_code code = dispatcher_writable(d, err);
    if (code == ERR_OK)
        code = rollout_get(d, id, &r, err);
    if (code == ERR_OK)
        code = tx_begin(&tx, r, err);
    if (code != ERR_OK)
        return code;
    struct event event = rollout_event(events[order->command], EVENT_NO_SERVER);
    event.now = order->now;
    event.undoing = order->rollback;
    event.by = order->by;
    event.message = order->reason;
    code = tx_apply(&tx, &event, err);
    if (code != ERR_OK && tx.applied == 0) {
        tx_abandon(&tx);
        return code;
    }
    tx.effect->done = done;
    tx.effect->done_ctx = ctx;
    (void)tx_commit(&tx);
    return ERR_OK;
}
