/*
 * orchestrator_world: the product's dispatcher and API between the stand-ins for journal and net,
 * with a clock of their own. One at a time.
 */
#pragma once

#include "common/base/error.h"
#include "orchestrator/api/api.h"
#include "orchestrator/dispatch/dispatcher.h"
#include "tests/fuzz/stand_in_journal.h"
#include "tests/fuzz/stand_in_net.h"

#include <stdint.h>

struct world {
    struct journal *journal;
    struct dispatcher *dispatcher;
    struct api *api;
    int64_t mono_ms, wall_ms;
    unsigned fatal; /* how often the dispatcher said that it cannot go on */
    struct error why;
};

/* Errors: those of dispatcher_new and api_new; the world is to be closed all the same. */
enum error_code world_open(struct world *w, struct error *err) MUST_CHECK;
/* Connections and requests are to be gone. */
void world_close(struct world *w);
/* The process dies and starts again on the same journal. Without connections and requests. */
enum error_code world_restart(struct world *w, struct error *err) MUST_CHECK;
/* Makes durable what waits, and what follows from it, and writes the streams. */
void world_settle(struct world *w);
/* Lets time pass, doing what is due. */
void world_pass(struct world *w, int64_t ms);
/* A request to the end of its answer, or as far as it goes now. To be closed by the caller. */
struct net_request *world_ask(struct world *w, enum net_method method, const char *target,
                              const char *body);
