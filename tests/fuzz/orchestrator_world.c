#include "tests/fuzz/orchestrator_world.h"

#include <string.h>

enum { SETTLE_ROUNDS = 64, STREAM_ROUNDS = 64, TICKS_MAX = 256 };

static int64_t hook_mono(void *ctx)
{
    return ((struct world *)ctx)->mono_ms;
}

static int64_t hook_wall(void *ctx)
{
    return ((struct world *)ctx)->wall_ms;
}

static void hook_rearm(void *ctx)
{
    (void)ctx;
}

static void hook_changed(void *ctx, const char *rollout, uint64_t last_seq)
{
    const struct world *w = ctx;
    if (w->api != NULL)
        api_changed(w->api, rollout, last_seq);
}

static void hook_output(void *ctx, const char *rollout, const char *json, size_t len)
{
    const struct world *w = ctx;
    if (w->api != NULL)
        api_output(w->api, rollout, json, len);
}

static void hook_fatal(void *ctx, const struct error *err)
{
    struct world *w = ctx;
    w->fatal++;
    w->why = *err;
}

static void hook_note(void *ctx, const char *what, const char *server, const char *detail)
{
    (void)ctx;
    (void)what;
    (void)server;
    (void)detail;
}

static enum error_code start(struct world *w, struct error *err)
{
    const struct dispatcher_config dispatch = {
        .journal = w->journal,
        .heartbeat_ms = 1000,
        .ctx = w,
        .now_mono_ms = hook_mono,
        .now_wall_ms = hook_wall,
        .rearm = hook_rearm,
        .send = api_conn_send,
        .close = api_conn_close,
        .changed = hook_changed,
        .output = hook_output,
        .fatal = hook_fatal,
        .note = hook_note,
    };
    enum error_code code = dispatcher_new(&dispatch, &w->dispatcher, err);
    if (code != ERR_OK)
        return code;
    const struct api_config api = {
        .journal = w->journal, .dispatcher = w->dispatcher, .host = "127.0.0.1", .port = 1};
    return api_new(NULL, &api, &w->api, err);
}

static void stop(struct world *w)
{
    if (w->api != NULL)
        api_stop(w->api);
    stand_net_done();
    while (!stand_journal_idle(w->journal))
        journal_collect(w->journal);
    dispatcher_free(w->dispatcher);
    api_free(w->api);
    w->dispatcher = NULL;
    w->api = NULL;
}

enum error_code world_open(struct world *w, struct error *err)
{
    *w = (struct world){.mono_ms = 1000000, .wall_ms = INT64_C(1700000000000)};
    w->journal = stand_journal_new();
    if (w->journal == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    return start(w, err);
}

void world_close(struct world *w)
{
    if (w->journal != NULL)
        stop(w);
    stand_journal_free(w->journal);
    w->journal = NULL;
}

enum error_code world_restart(struct world *w, struct error *err)
{
    stop(w);
    w->fatal = 0;
    return start(w, err);
}

void world_settle(struct world *w)
{
    for (int i = 0; i < SETTLE_ROUNDS && !stand_journal_idle(w->journal); i++)
        journal_collect(w->journal);
    stand_net_pump(STREAM_ROUNDS);
}

void world_pass(struct world *w, int64_t ms)
{
    int64_t end = w->mono_ms + ms, next = 0;
    for (int i = 0; i < TICKS_MAX && dispatcher_next_deadline(w->dispatcher, &next) && next <= end;
         i++) {
        if (next > w->mono_ms) {
            w->wall_ms += next - w->mono_ms;
            w->mono_ms = next;
        }
        dispatcher_tick(w->dispatcher);
        world_settle(w);
    }
    w->wall_ms += end - w->mono_ms;
    w->mono_ms = end;
}

struct net_request *world_ask(struct world *w, enum net_method method, const char *target,
                              const char *body)
{
    struct net_request *req = stand_net_request(method, target, body, strlen(body));
    stand_net_give(req);
    world_settle(w);
    return req;
}
