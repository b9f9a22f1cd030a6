/*
 * engine_world: all that a simulated rollout consists of: its plan, the engine with the model
 * beside it, the agents with their journals, and what the orchestrator's edge remembers of each
 * server.
 *
 * Everything in it follows from the seed. The parts: engine_world.c makes it and carries decisions
 * out and events in; engine_fleet.c is the agents; sim_engine.c lets time pass, crashes and judges.
 */
#pragma once

#include "orchestrator/engine/engine.h"
#include "simulation/engine_model.h"
#include "simulation/rng.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MAX_ENTRIES = 40,    /* of one agent's journal */
    MAX_JOURNAL = 8192,  /* of one rollout */
    FAULTS_UNTIL = 3000, /* ticks; then all that can answer does */
    START_TIMEOUT = 60,
    SILENCE_TIMEOUT = 40
};

#define PATHS(X)                                                                                   \
    X(PATH_SUCCEEDED, "rollout succeeded")                                                         \
    X(PATH_TOLERATED, "rollout succeeded with failures")                                           \
    X(PATH_FAILED, "rollout failed")                                                               \
    X(PATH_CANCELLED, "rollout cancelled")                                                         \
    X(PATH_ROLLED_BACK, "rollout rolled back")                                                     \
    X(PATH_ROLLBACK_FAILED, "rollout rollback failed")                                             \
    X(PATH_THRESHOLD, "threshold exceeded")                                                        \
    X(PATH_CANARY_PASSED, "canary passed")                                                         \
    X(PATH_CANARY_FAILED, "canary failed")                                                         \
    X(PATH_DELAY, "batch delay")                                                                   \
    X(PATH_PAUSED, "paused")                                                                       \
    X(PATH_DUE_IN_PAUSE, "batch due while paused")                                                 \
    X(PATH_CANCEL_IN_PAUSE, "cancelled while paused")                                              \
    X(PATH_CANCEL_GRACEFUL, "cancelled, steps may finish")                                         \
    X(PATH_CANCEL_FIRMER, "cancelled again, firmer")                                               \
    X(PATH_CANCEL_UNDOING, "cancelled with undo")                                                  \
    X(PATH_COMMAND_REFUSED, "command refused")                                                     \
    X(PATH_WITHDRAWN, "withdrawn")                                                                 \
    X(PATH_UNREACHABLE, "unreachable")                                                             \
    X(PATH_UNKNOWN, "unknown")                                                                     \
    X(PATH_SILENT_UNDO, "silent while undoing")                                                    \
    X(PATH_OWN_UNDO, "server undid itself")                                                        \
    X(PATH_OWN_UNDO_FAILED, "server's own undo failed")                                            \
    X(PATH_UNDO_FAILED, "undo as told failed")                                                     \
    X(PATH_STRAY, "started after its place was given away")                                        \
    X(PATH_RETURN_RUNNING, "unknown came back, rollout running")                                   \
    X(PATH_RETURN_STOPPED, "unknown came back, rollout stopping or undoing")                       \
    X(PATH_RETURN_OVER, "unknown came back after the end")                                         \
    X(PATH_RETURN_WELL, "unknown turned out succeeded")                                            \
    X(PATH_LATE_ROLLBACK, "rollback after the end")                                                \
    X(PATH_REPEAT, "entry repeated")                                                               \
    X(PATH_GAP, "entry missing")                                                                   \
    X(PATH_CRASH_FORWARD, "crash going forward")                                                   \
    X(PATH_CRASH_DELAY, "crash in a delay")                                                        \
    X(PATH_CRASH_STOPPING, "crash while stopping")                                                 \
    X(PATH_CRASH_UNDOING, "crash while undoing")                                                   \
    X(PATH_CRASH_OVER, "crash after the end")
#define X(value, name) value,
enum path { PATHS(X) PATH_COUNT };
#undef X
extern const char *const path_names[PATH_COUNT];

enum agent_phase { AGENT_IDLE, AGENT_RUNNING, AGENT_UNDOING, AGENT_AT_REST, AGENT_UNDONE };

/* An agent with its own journal, and how it will fare. */
struct agent {
    /* What will happen. */
    uint32_t fails_at; /* step; none: the number of steps */
    enum execution_state failure;
    bool undoes_itself, undo_fails;
    uint32_t slowness;                  /* it acts once in so many ticks */
    uint32_t silent_from, silent_until; /* tick */
    uint32_t comes_and_goes;            /* ticks of each turn; 0: it does not */
    uint32_t answers_from;

    /* What did. */
    enum agent_phase phase;
    uint32_t step, attempt;
    bool in_step, stop, stop_now, undo_begun;
    struct event entries[MAX_ENTRIES];
    int64_t entry_count, acked;
};

/* What the orchestrator's edge knows of a server; gone with a crash. */
struct line {
    bool execute, cancel, cancel_now, rollback; /* to be delivered */
    bool sent;
    uint32_t deadline; /* tick; 0: none */
};

struct world {
    struct rng rng;
    struct plan *plan;
    uint32_t servers, steps;
    struct engine *engine;
    struct model model;
    struct agent agents[MODEL_MAX_SERVERS];
    struct line lines[MODEL_MAX_SERVERS];
    struct event journal[MAX_JOURNAL]; /* accepted inputs */
    uint32_t journal_len;
    uint32_t tick;
    uint32_t delay_batch, delay_until;
    uint32_t crash_every, command_every, repeat_percent;
    bool verbose;
    uint64_t *paths; /* counters by enum path */
};

/* ---- engine_world.c ------------------------------------------------------------------------ */

void world_init(struct world *w, uint64_t seed, uint64_t *paths, bool verbose);
void world_done(struct world *w);
/* Counts that a path was taken. */
void hit(struct world *w, enum path path);
bool world_over(const struct world *w);
/* Gives the engine an event, acts on its decisions and checks everything. */
enum error_code offer(struct world *w, struct event event);
/* The same for one that cannot be refused. */
void send_event(struct world *w, struct event event);
struct event event_about(enum event_type type, uint32_t server);
/* Takes the engine's decisions and acts on them; `again` when they are the standing ones. */
void take_decisions(struct world *w, bool again);

/* ---- engine_fleet.c ------------------------------------------------------------------------ */

bool connected(const struct world *w, const struct agent *a);
/* Lets one server act, be told, report, and be given up on when it is silent for too long. */
void tick_server(struct world *w, uint32_t server);
