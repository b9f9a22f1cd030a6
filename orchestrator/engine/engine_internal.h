/*
 * engine_internal: what the engine's parts share. Nothing outside orchestrator/engine includes it.
 *
 *   engine.c           life, decisions, accessors
 *   engine_batch.c     going forward: batches, the window of servers in flight, the threshold
 *   engine_control.c   commands of people that stop the rollout, hold it or let it go on
 *   engine_order.c     orders of people about what was done: undo it, or take it as settled
 *   engine_report.c    what is learnt of one server: its agent's reports, and silence
 *   engine_rollback.c  undoing, and how it ends
 *
 * Servers are started in the plan's order, so `next` divides them: those below it were started at
 * some time, those from it on never were. A server holds a *slot* from its start until it is
 * settled for the first time. It is *busy* while it holds a slot, and again whenever it is known to
 * be at work afterwards: it came back from silence, or undoes as it was told. Batches wait for
 * slots; the end of the rollout waits for all that are busy.
 *
 * A rollout that is over and opened again is in PHASE_UNDOING. Its servers are undone as those are
 * whose turn has passed: they wait in LIST_DUE.
 */
#pragma once

#include "orchestrator/engine/engine.h"

enum {
    ENGINE_MAX_NOTES = 8, /* more than one event can give rise to */
    ENGINE_MAX_CAUSE = 160,
    ENGINE_MAX_VERDICT = 512, /* of all its clauses */
    ENGINE_MAX_BY = 64,       /* of a person's name, in the reason */
    ENGINE_MAX_ORDER = 96
};

enum phase {
    PHASE_NEW,
    PHASE_BATCH,    /* a batch is under way */
    PHASE_BETWEEN,  /* the batch ahead has settled, the next waits for its delay or for a resume */
    PHASE_DRAINING, /* stopping: no server is started, those in flight settle */
    PHASE_UNDOING,
    PHASE_CLOSING, /* nothing is left to do but to see busy servers settle */
    PHASE_OVER
};

enum stop { STOP_NONE, STOP_GRACEFUL, STOP_NOW };

enum undo {
    UNDO_NONE,
    UNDO_SELF,   /* its agent undoes without having been asked by the engine */
    UNDO_DUE,    /* in the list of those to be asked */
    UNDO_ASKED,  /* DECISION_ROLLBACK given, no answer yet */
    UNDO_SILENT, /* needed, and given up because the server is silent */
    UNDO_OWED,   /* the same, but it had been asked and is asked again after a replay */
    UNDO_DONE,
    UNDO_FAILED
};

enum ask {
    ASK_START = 1 << 0,
    ASK_CANCEL = 1 << 1,
    ASK_CANCEL_NOW = 1 << 2,
    ASK_ROLLBACK = 1 << 3
};

/* First-in first-out lists of servers, linked through their structs. */
enum list {
    LIST_ASKS, /* decisions wait to be taken */
    LIST_DUE,  /* to be undone, out of turn */
    LIST_COUNT
};
#define LIST_END UINT32_MAX
struct server_list {
    uint32_t first, last;
};

struct server {
    struct execution x;
    uint32_t link[LIST_COUNT];
    uint8_t asks;   /* enum ask: decisions that were not taken yet */
    uint8_t undo;   /* enum undo */
    uint8_t cancel; /* enum stop: what it was asked */
    bool asking;    /* in LIST_ASKS */
    bool ended;     /* its agent said how the execution ended */
    bool slot;
    bool busy;
    bool stray; /* began after its place was given away: stopped and undone whatever the scope */
    /* A person wants it undone whatever the scope, and its agent was not told since: it is silent,
     * or it waits in LIST_DUE, or an earlier round has no known end. */
    bool ordered;
    bool held;         /* a person ordered its undo while it was heard, and that has not settled */
    bool in_due;       /* in LIST_DUE, perhaps no longer to be undone */
    bool round_open;   /* its agent has begun to undo and did not say how that ended */
    bool changed;      /* counted in engine.changed */
    bool round_forced; /* the last round that it began */
    int32_t undo_step; /* steps from here on were dealt with in this round */
    int64_t rounds;    /* how often its agent said that it began to undo */
};

struct engine {
    const struct plan *plan;
    struct server *servers;
    struct step_record *steps; /* server * step_count + step */
    uint32_t server_count, step_count, batch_count;
    uint32_t failures_allowed, unreachable_allowed;
    bool unreachable_apart; /* unreachable servers have a limit of their own */

    enum rollout_state state;
    enum phase phase;
    enum stop stop;
    int undo_scope; /* enum plan_scope: what is undone once it has stopped */
    bool check;     /* nothing is changed, so nothing is undone */
    bool tripped;   /* stopped by the threshold or the canary, else by a person */

    uint32_t next; /* first server that was not started */
    uint32_t batch, batch_first, batch_end, parallel;
    bool batch_open; /* batch_started was noted, batch_ended not yet */
    bool batch_due;  /* PHASE_BETWEEN: nothing but a pause holds the next batch */

    uint32_t slots, most_slots, busy;
    uint32_t undo_cursor;  /* servers from here on have been looked at by the undoing */
    uint32_t undo_running; /* UNDO_ASKED */
    uint32_t undo_planned;
    bool undo_begun;

    bool closed;         /* it has ended once: outcomes are final but for what people settle */
    bool reopened;       /* and was opened again */
    bool whole_ordered;  /* for all that was touched */
    bool single_ordered; /* a server was ordered to be undone by itself, at any time */

    uint32_t changed;  /* servers that may have been changed and are not undone */
    uint32_t resolved; /* servers that are settled by hand */
    uint32_t outcomes[EXECUTION_STATE_COUNT]; /* of servers below `next` */
    uint32_t unchanged;                       /* servers with x.unchanged */
    uint32_t rolled_back, rollback_failed;    /* by state */

    struct server_list lists[LIST_COUNT];
    struct event notes[ENGINE_MAX_NOTES];
    uint32_t note_count, notes_taken;
    bool ask_delay, ask_end;
    bool conclude_due; /* a server was settled after the end: how that was is looked at again */

    int64_t now_ms; /* of the event being applied */
    char cause[ENGINE_MAX_CAUSE];
    char order[ENGINE_MAX_ORDER]; /* who opened it again, for people */
    char verdict[ENGINE_MAX_VERDICT];
};

/* ---- engine.c ------------------------------------------------------------------------------ */

/* Adds a note and returns it for the caller to fill. */
struct event *engine_note(struct engine *e, enum event_type type);
void engine_ask(struct engine *e, uint32_t server, enum ask ask);
void engine_list_push(struct engine *e, enum list list, uint32_t server);
/* Takes the first one out; LIST_END when there is none. */
uint32_t engine_list_pop(struct engine *e, enum list list);

/* ---- A server's state, with the counters that follow it (engine.c) ------------------------- */

void server_set_outcome(struct engine *e, struct server *s, enum execution_state outcome);
void server_set_state(struct engine *e, struct server *s, enum execution_state state);
void server_set_busy(struct engine *e, struct server *s, bool busy);
/* Has the engine count it as changed when it may be, after what that depends on was set. */
void server_weigh_change(struct engine *e, struct server *s);
/* Gives its slot back and lets it rest. */
void server_settle(struct engine *e, struct server *s);

/* ---- engine_batch.c ------------------------------------------------------------------------ */

void batch_begin(struct engine *e);
/* Starts servers while slots are free. */
void batch_start_servers(struct engine *e);
/* The batch has settled: what comes after it. */
void batch_over(struct engine *e);
void batch_note_ended(struct engine *e);
/* Stops the rollout when the results so far are worse than allowed. */
void threshold_check(struct engine *e);
void engine_stop(struct engine *e, enum stop stop);
/* Asks every server at work that was not yet asked so firmly. */
void engine_cancel_servers(struct engine *e);
void server_cancel(struct engine *e, uint32_t server);

/* ---- engine_control.c ---------------------------------------------------------------------- */

enum error_code control_created(struct engine *e, const struct event *event,
                                struct error *err) MUST_CHECK;
enum error_code control_batch_due(struct engine *e, const struct event *event,
                                  struct error *err) MUST_CHECK;
enum error_code control_pause(struct engine *e, struct error *err) MUST_CHECK;
enum error_code control_resume(struct engine *e, struct error *err) MUST_CHECK;
enum error_code control_cancel(struct engine *e, const struct event *event,
                               struct error *err) MUST_CHECK;
/* Stops the rollout and undoes all that was touched. */
enum error_code control_rollback(struct engine *e, const struct event *event,
                                 struct error *err) MUST_CHECK;

/* ---- engine_order.c ------------------------------------------------------------------------ */

enum error_code order_rollback(struct engine *e, const struct event *event,
                               struct error *err) MUST_CHECK;
enum error_code order_resolve(struct engine *e, const struct event *event,
                              struct error *err) MUST_CHECK;
/* Takes back what a person settled, but for servers that are as good as undone. */
void order_release_resolved(struct engine *e);
/* Writes "WHAT by PERSON", or WHAT alone when the person is not named. */
void order_name(char *text, size_t size, const char *what, const struct event *event);

/* ---- engine_report.c ----------------------------------------------------------------------- */

/* An entry of an agent's report. */
enum error_code report_apply(struct engine *e, const struct event *event,
                             struct error *err) MUST_CHECK;
/* Said of a server by the orchestrator. */
enum error_code report_unreachable(struct engine *e, const struct event *event,
                                   struct error *err) MUST_CHECK;
enum error_code report_unknown(struct engine *e, const struct event *event,
                               struct error *err) MUST_CHECK;
enum error_code report_withdrawn(struct engine *e, const struct event *event,
                                 struct error *err) MUST_CHECK;

/* ---- engine_rollback.c --------------------------------------------------------------------- */

/* All have settled after a stop. */
void rollback_begin(struct engine *e);
/* A server came to rest: its undo may be due. */
void rollback_consider(struct engine *e, uint32_t server);
/* Puts it in the list of those that are undone out of turn. */
void rollback_put_due(struct engine *e, uint32_t server);
/* Asks for undos while fewer are under way than went forward at once. */
void rollback_ask_servers(struct engine *e);
/* Its undoing is over or given up. */
void rollback_settle(struct engine *e, struct server *s, enum undo undo);
void engine_finish(struct engine *e);
/* An ended rollout is opened again to undo `count` servers. */
void engine_reopen(struct engine *e, uint32_t count);
/* A person has settled a server of an ended rollout, and none that came late is at work: it may
 * have ended otherwise. */
void engine_conclude_again(struct engine *e);
