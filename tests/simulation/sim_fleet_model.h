/* What is known of the rollouts of a simulated fleet: from the orchestrator's disk, and from what
 * really happened to the hosts. Kept by sim_fleet_check*.c and sim_fleet_host.c. */
#pragma once

#include "common/plan/plan.h"
#include "common/plan/states.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SIM_MAX_SERVERS = 6,
    SIM_MAX_ROLLOUTS = 12, /* more than the dispatcher keeps in memory once they have ended */
    SIM_MAX_STEPS = 4,
    SIM_KEYS = 3,      /* values of a host that steps change */
    SIM_NAME_MAX = 16, /* of a server, a rollout, an instance */
    SIM_MAX_CONNS = 256,
    SIM_MAX_COMMANDS = 512,
    SIM_FAILURE_MAX = 384,
    SIM_HEARTBEAT_MS = 5000
};

/* ---- Rollouts, and what is known of them ------------------------------------------------------
 */

/* What the orchestrator's disk says of one server of a rollout. */
struct sim_fact {
    bool started, touched, ended, unreachable, withdrawn, unknown, undoing, on_behalf;
    bool changed;         /* a step changed something (a check: would), or may have */
    bool unchanged;       /* it succeeded without */
    int64_t away_ms;      /* a step has it rebooted: so long it may be silent, */
    int64_t away_from_ms; /* at least from then on; 0: none does */
    bool silent;          /* said to be unknown, and nothing was heard since */
    bool undone;          /* the last undo has an end: undone_as */
    bool round_open;      /* its agent said that it began to undo, and not yet how that ended */
    bool ordered, forced; /* a person wanted it undone, with force, at any time */
    bool standing;        /* such an order has not been carried out yet */
    bool again;           /* it came while a round was under way, and is for after that */
    bool held;            /* the rollout was opened again, and holds it until it is undone */
    bool resolved;        /* settled by hand */
    bool settled;         /* at any time */
    int64_t rounds;       /* how often its agent said that it began to undo */
    enum execution_state ended_as, undone_as, resolved_as;
    enum execution_state outcome; /* pending: none yet */
    int64_t agent_seq;
};

enum sim_ask { ASK_NOT_YET, ASK_SENT, ASK_ANSWERED, ASK_REFUSED };

struct sim_rollout {
    char id[SIM_NAME_MAX];
    /* Of a retry there is none before it is durable. */
    char *text;        /* the plan's */
    struct plan *plan; /* the same, read */
    bool retry, no_wait;
    bool check;        /* it changes nothing */
    uint32_t retry_of; /* number */
    int64_t submit_at_ms;
    enum sim_ask asked;
    uint32_t node_of[SIM_MAX_SERVERS]; /* by number in the plan */
    /* On the orchestrator's disk: */
    bool created, stopped, undo_begun, paused, ended;
    bool closed;        /* it has ended once */
    bool reopened;      /* and was opened again, at any time */
    bool settled_since; /* a server was settled by hand since its end */
    bool released;      /* its end is known to the dispatcher's readers: it holds nothing */
    int scope;          /* enum plan_scope: what is undone, once it has stopped */
    int64_t stopped_ms;
    uint32_t place;  /* in the order of creation */
    uint32_t opened; /* servers in batches that were begun */
    enum rollout_state state;
    struct sim_fact facts[SIM_MAX_SERVERS]; /* by number in the plan */
};

/* What really happened to a server by a rollout. */
struct sim_trace {
    bool heard;   /* its agent was told of it */
    bool sent;    /* that was to execute it */
    bool amnesia; /* and lost its data afterwards: nothing can be asked of it */
    bool expired; /* that was because its time was over */
    bool began[SIM_MAX_STEPS], done[SIM_MAX_STEPS]; /* began: not for instant steps */
    int64_t attempt[SIM_MAX_STEPS];                 /* highest that ran */
    uint32_t reboot_boot[SIM_MAX_STEPS];            /* in which it wanted a reboot; 0: in none */
    uint64_t reboot_life[SIM_MAX_STEPS];            /* and of which agent */
    bool dirty[SIM_MAX_STEPS];                      /* it changed something, or may have */
    uint64_t captured[SIM_MAX_STEPS];
    uint32_t deaths[SIM_MAX_STEPS]; /* of agents by its prepare */
    bool touched[SIM_KEYS];
    uint64_t base[SIM_KEYS];    /* before the first change */
    uint32_t toucher[SIM_KEYS]; /* the step that made it */
    bool restored[SIM_KEYS];    /* an undo has brought something back */
    bool overwritten[SIM_KEYS]; /* by others, since then */
    uint32_t bad;               /* operations that did not go well */
    bool undoing_ever;
    bool undone[SIM_MAX_STEPS]; /* its undo ended well */
    /* In the last round of undoing: */
    bool undo_began[SIM_MAX_STEPS];
    bool conflict; /* a value of somebody else's was found */
    uint32_t bad_undos;
    int32_t undo_at; /* step whose undo was begun last; SIM_MAX_STEPS: none */
    /* Waiting to be confirmed: */
    int64_t confirm_seq;   /* the entry that says so; 0: none */
    uint32_t confirm_from; /* the first connection that is made afterwards */
    bool confirmed;        /* the entry was acknowledged over such a one */
};

/* What the disk says of a server's execution. */
static inline bool sim_given_up(const struct sim_fact *f)
{
    return f->unreachable || f->withdrawn;
}
static inline bool sim_is_undone(const struct sim_fact *f)
{
    return f->resolved ? f->resolved_as == EXECUTION_ROLLED_BACK
                       : f->undone && f->undone_as == EXECUTION_ROLLED_BACK;
}
/* Nothing of it stands in the way of others. */
static inline bool sim_left_nothing(const struct sim_fact *f)
{
    return sim_is_undone(f) || f->unchanged;
}
