#include "simulation/engine_world.h"

static void act(struct world *w, struct event event)
{
    event.by = "somebody";
    enum error_code code = offer(w, event);
    if (code == ERR_CONFLICT)
        hit(w, PATH_COMMAND_REFUSED);
    else if (code != ERR_OK)
        model_fail(&w->model, "a command was refused: %s", error_code_name(code));
}

void people_act(struct world *w)
{
    struct event event = event_about(EVENT_PAUSE_REQUESTED, EVENT_NO_SERVER);
    if (w->orders_left > 0 && rng_chance(&w->rng, 35)) {
        w->orders_left--;
        people_order(w);
        return;
    }
    uint32_t choice = rng_below(&w->rng, 10);
    if (choice >= 4)
        event.type = EVENT_RESUME_REQUESTED;
    if (choice >= 8) {
        event.type = EVENT_CANCEL_REQUESTED;
        event.now = rng_chance(&w->rng, 40);
        event.undoing = rng_chance(&w->rng, 50);
    }
    act(w, event);
}

/* Mostly one that it makes sense for. */
static uint32_t choose_server(struct world *w, bool (*fits)(const struct world *, uint32_t))
{
    uint32_t first = rng_below(&w->rng, w->servers);
    if (rng_chance(&w->rng, 20))
        return first;
    for (uint32_t i = 0; i < w->servers; i++) {
        uint32_t server = (first + i) % w->servers;
        if (fits(w, server))
            return server;
    }
    return first;
}

static bool is_in_doubt(const struct world *w, uint32_t server)
{
    enum execution_state state = engine_execution(w->engine, server)->state;
    return state == EXECUTION_UNKNOWN || state == EXECUTION_ROLLBACK_FAILED;
}

static bool needs_undo(const struct world *w, uint32_t server)
{
    return engine_needs_undo(w->engine, server);
}

static struct event make_rollback(struct world *w, uint32_t server)
{
    struct event event = event_about(EVENT_ROLLBACK_REQUESTED, server);
    event.force = server != EVENT_NO_SERVER && rng_chance(&w->rng, 40);
    event.now = server == EVENT_NO_SERVER && rng_chance(&w->rng, 30);
    return event;
}

static struct event make_resolve(struct world *w, uint32_t server)
{
    static const enum execution_state settled[] = {EXECUTION_SUCCEEDED, EXECUTION_FAILED,
                                                   EXECUTION_ROLLED_BACK};
    struct event event = event_about(EVENT_EXECUTION_RESOLVED, server);
    event.state = settled[rng_below(&w->rng, 3)];
    event.message = "looked at it";
    return event;
}

static void order(struct world *w, struct event event)
{
    event.by = "somebody";
    bool resolves = event.type == EVENT_EXECUTION_RESOLVED;
    enum model_opinion expected = model_opinion(&w->model, &event);
    enum error_code code = offer(w, event);
    if (code != ERR_OK && code != ERR_CONFLICT)
        model_fail(&w->model, "an order was refused: %s", error_code_name(code));
    if (code == ERR_OK && expected == MODEL_REFUSES)
        model_fail(&w->model, "an order was accepted that cannot be");
    if (code != ERR_OK && expected == MODEL_TAKES)
        model_fail(&w->model, "an order was refused that can be");
    if (code != ERR_OK)
        hit(w, resolves   ? PATH_RESOLVE_REFUSED
               : w->check ? PATH_CHECK_ORDER_REFUSED
                          : PATH_ORDER_REFUSED);
    else if (resolves && rng_chance(&w->rng, 50))
        w->lines[event.server].rollback = false; /* else it has just gone out */
}

void people_order(struct world *w)
{
    uint32_t choice = rng_below(&w->rng, 10);
    if (choice < 3)
        order(w, make_rollback(w, EVENT_NO_SERVER));
    else if (choice < 7)
        order(w, make_rollback(w, choose_server(w, needs_undo)));
    else
        order(w, make_resolve(w, choose_server(w, is_in_doubt)));
}

void people_see_silence(struct world *w, uint32_t server)
{
    w->orders_left--;
    if (rng_chance(&w->rng, 60))
        order(w, make_rollback(w, server));
    else
        order(w, make_resolve(w, server));
}
