/*
 * engine_world: all that a simulated rollout consists of: its plan, the engine with the model
 * beside it, the agents with their journals, and what the orchestrator's edge remembers of each
 * server.
 *
 * Everything in it follows from the seed. The parts: engine_world.c makes it and carries decisions
 * out and events in; engine_fleet.c is the agents; engine_people.c those who give orders;
 * engine_paths.c sees what was visited; sim_engine.c lets time pass, crashes and judges.
 */
#pragma once

#include "orchestrator/engine/engine.h"
#include "simulation/engine_model.h"
#include "simulation/rng.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MAX_ENTRIES = 112,   /* of one agent's journal */
    MAX_ORDERS = 8,      /* to undo, in flight and afterwards; each gives rise to a round at most */
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
    X(PATH_NOT_CONFIRMED, "steps done and not confirmed")                                          \
    X(PATH_CRASH_OVER, "crash after the end")                                                      \
    X(PATH_CRASH_REOPENED, "crash in a reopened rollout")                                          \
    X(PATH_ORDER_REFUSED, "order to undo refused")                                                 \
    X(PATH_ORDER_FORWARD, "rollback ordered, rollout running")                                     \
    X(PATH_ORDER_WIDENS, "rollback ordered while stopping")                                        \
    X(PATH_REOPENED, "rollback ordered after the end")                                             \
    X(PATH_REOPENED_ROLLED_BACK, "reopened and rolled back")                                       \
    X(PATH_REOPENED_FAILED, "reopened and rollback failed")                                        \
    X(PATH_REOPENED_PARTLY, "reopened for some servers, ended as before")                          \
    X(PATH_SINGLE_FORWARD, "one server ordered, rollout running")                                  \
    X(PATH_SINGLE_UNDOING, "one server ordered, rollout rolling back")                             \
    X(PATH_SINGLE_OVER, "one server ordered after the end")                                        \
    X(PATH_ORDER_SILENT, "silent server ordered")                                                  \
    X(PATH_ORDER_OWED, "server ordered that owed its undo")                                        \
    X(PATH_ORDER_RETURNED, "silent server that was ordered came back")                             \
    X(PATH_ORDER_OUTLIVED, "order outlived the round before it")                                   \
    X(PATH_FORCED, "undone by force")                                                              \
    X(PATH_CONFLICT, "undo refused for somebody's change")                                         \
    X(PATH_RETRIED, "undone after a round had failed")                                             \
    X(PATH_RESOLVED_SUCCEEDED, "settled as succeeded")                                             \
    X(PATH_RESOLVED_FAILED, "settled as failed")                                                   \
    X(PATH_RESOLVED_ROLLED_BACK, "settled as rolled back")                                         \
    X(PATH_RESOLVED_UNKNOWN, "settled when unknown")                                               \
    X(PATH_RESOLVED_END, "settling changed how the rollout ended")                                 \
    X(PATH_RESOLVED_LATE, "settled server reported")                                               \
    X(PATH_RESOLVED_ORDERED, "settled server ordered to be undone")                                \
    X(PATH_RESOLVE_REFUSED, "settling refused")                                                    \
    X(PATH_CHECK_SUCCEEDED, "check succeeded")                                                     \
    X(PATH_CHECK_FAILED, "check failed")                                                           \
    X(PATH_CHECK_ORDER_REFUSED, "undo of a check refused")                                         \
    X(PATH_UNCHANGED, "server succeeded unchanged")
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
    bool undoes_itself;
    uint32_t undo_failures; /* rounds of undo that fail, at the step numbered so, from the last */
    uint32_t undo_fails_at;
    bool idle;                          /* finds all done that its steps would do */
    bool undo_conflicts;                /* for somebody's change: not when forced */
    uint32_t slowness;                  /* it acts once in so many ticks */
    uint32_t silent_from, silent_until; /* tick */
    uint32_t comes_and_goes;            /* ticks of each turn; 0: it does not */
    uint32_t answers_from;

    /* What did. */
    enum agent_phase phase;
    uint32_t step, attempt;
    bool in_step, confirming, rebooting, stop, stop_now;
    bool begun[MODEL_MAX_STEPS], undone[MODEL_MAX_STEPS];
    uint32_t rounds;    /* of undo, begun */
    uint32_t undo_left; /* steps below are still to be looked at in this round */
    bool round_begun, round_failed, force;
    struct event entries[MAX_ENTRIES];
    int64_t entry_count, acked;
};

/* What the orchestrator's edge knows of a server; gone with a crash. */
struct line {
    bool execute, cancel, cancel_now, rollback; /* to be delivered */
    int64_t round;                              /* of the rollback */
    bool force;
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
    bool check; /* the rollout is one */
    uint32_t tick;
    uint32_t delay_batch, delay_until;
    uint32_t crash_every, command_every, repeat_percent;
    uint32_t orders_left; /* that people will give yet: to undo */
    uint32_t afterwards;  /* that they give when nothing happens any more */
    bool verbose;
    uint64_t *paths; /* counters by enum path */
};

/* ---- engine_world.c ------------------------------------------------------------------------ */

void world_init(struct world *w, uint64_t seed, uint64_t *paths, bool verbose);
void world_done(struct world *w);
bool world_over(const struct world *w);
/* Gives the engine an event, acts on its decisions and checks everything. */
enum error_code offer(struct world *w, struct event event);
/* The same for one that cannot be refused. */
void send_event(struct world *w, struct event event);
struct event event_about(enum event_type type, uint32_t server);
/* Takes the engine's decisions and acts on them; `again` when they are the standing ones. */
void take_decisions(struct world *w, bool again);

/* ---- engine_paths.c ------------------------------------------------------------------------ */

/* Counts that a path was taken. */
void hit(struct world *w, enum path path);
/* Count the paths that an accepted event takes, before the model takes it in: that then still knows
 * how things were. */
void paths_event(struct world *w, const struct event *event);
void paths_note(struct world *w, const struct event *note);

/* ---- engine_fleet.c ------------------------------------------------------------------------ */

bool connected(const struct world *w, const struct agent *a);
/* Lets one server act, be told, report, and be given up on when it is silent for too long. */
void tick_server(struct world *w, uint32_t server);

/* ---- engine_people.c ----------------------------------------------------------------------- */

/* Somebody pauses, resumes, cancels, orders or settles something. */
void people_act(struct world *w);
/* Somebody orders that something is undone, or settles a server by hand. */
void people_order(struct world *w);
/* Somebody does so with a server that has just been given up. */
void people_see_silence(struct world *w, uint32_t server);
