/*
 * sim_fleet: a whole system in one process, from a seed: the production dispatcher with its engine,
 * the production agents with their links, and in between and below them a simulated network, disks,
 * hosts, clock and people.
 *
 *   sim_fleet.c               the program: seeds, coverage
 *   sim_fleet_world.c         makes a world, lets time pass, knows when all is quiet
 *   sim_fleet_faults.c        what goes wrong, and when
 *   sim_fleet_queue.c         what will happen, in order of time
 *   sim_fleet_orchestrator.c  the orchestrator's process
 *   sim_journal*.c            its disk, in place of orchestrator/journal
 *   sim_fleet_agent.c         the agents' processes
 *   sim_fleet_store*.c        their disks, in place of agent/undo_journal
 *   sim_fleet_host.c          what steps do to a server, in place of agent/runner
 *   sim_fleet_net.c           connections, in place of common/net and agent/ticker
 *   sim_fleet_plans.c         what rollouts there will be
 *   sim_fleet_people.c        who submits, pauses and cancels them
 *   sim_fleet_orders.c        and who orders undo, settles servers by hand, locks and retries
 *   sim_fleet_check*.c        what must hold
 *
 * Everything follows from the seed: nothing depends on addresses, on the order of a hash or on real
 * time. The first thing that does not hold is kept as `failure` and ends the world.
 */
#pragma once

#include "agent/agent.h"
#include "agent/link.h"
#include "agent/ticker.h"
#include "common/net/net.h"
#include "orchestrator/dispatch/dispatcher.h"
#include "simulation/rng.h"
#include "simulation/sim_fleet_model.h"
#include "simulation/sim_fleet_paths.h"

extern const char *const sim_path_names[SIM_PATH_COUNT];

/* ---- What will happen (sim_fleet_queue.c) -----------------------------------------------------
 */

#define SIM_EVENTS(X)                                                                              \
    X(EV_TICK, sim_orchestrator_tick)       /* a deadline of the dispatcher */                     \
    X(EV_COMMIT, sim_journal_commit)        /* the journal's writer has written a group */         \
    X(EV_COLLECT, sim_orchestrator_collect) /* the orchestrator's loop is woken by it */           \
    X(EV_ORCHESTRATOR_START, sim_orchestrator_start)                                               \
    X(EV_STORE_BEGIN, sim_store_begin) /* who: the agent, as in those that follow */               \
    X(EV_STORE_COMMIT, sim_store_commit)                                                           \
    X(EV_STORE_COLLECT, sim_agent_collect)                                                         \
    X(EV_AGENT_ALARM, sim_agent_alarm)                                                             \
    X(EV_LINK_ALARM, sim_agent_link_alarm)                                                         \
    X(EV_AGENT_INTERRUPT, sim_agent_interrupt)                                                     \
    X(EV_AGENT_REBOOT, sim_agent_reboot) /* what comes of a reboot that was asked for */           \
    X(EV_AGENT_START, sim_agent_start)                                                             \
    X(EV_OPERATION_HALF, sim_host_half)                                                            \
    X(EV_OPERATION_END, sim_host_end)                                                              \
    X(EV_CONN_ACCEPT, sim_net_accept) /* who: the connection, as in those below */                 \
    X(EV_CONN_OPENED, sim_net_opened)                                                              \
    X(EV_CONN_DELIVER, sim_net_deliver) /* token: the direction */                                 \
    X(EV_CONN_CLOSED, sim_net_closed)   /* token: the side */                                      \
    X(EV_CONN_TIMEOUT, sim_net_timeout) /* it should have come about by now */                     \
    X(EV_HEAL, sim_faults_heal)         /* who: the server */                                      \
    X(EV_FAULT, sim_faults_next)                                                                   \
    X(EV_PEOPLE, sim_people_act) /* token 1: cancel that rollout (who) */
#define X(kind, handler) kind,
enum sim_event_kind { SIM_EVENTS(X) SIM_EVENT_COUNT };
#undef X

/* What a token means is the handler's: mostly, an event whose token is not the one that is waited
 * for is passed over. */
struct sim_event {
    int64_t at_ms;
    uint64_t order;
    enum sim_event_kind kind;
    uint32_t who;
    uint64_t token;
};

struct sim_queue {
    struct sim_event *heap;
    size_t count, capacity;
    uint64_t order;
};

struct sim;
#define X(kind, handler) void handler(struct sim *sim, uint32_t who, uint64_t token);
SIM_EVENTS(X)
#undef X

void sim_after(struct sim *sim, int64_t delay_ms, enum sim_event_kind kind, uint32_t who,
               uint64_t token);
/* The next one; false when there is none. */
bool sim_queue_pop(struct sim_queue *q, struct sim_event *ret_event);
void sim_queue_done(struct sim_queue *q);

/* ---- The orchestrator's disk and process ------------------------------------------------------
 */

struct sim_disk_event {
    enum event_type type;
    char *json;
    size_t len;
};

enum sim_touch { TOUCH_NONE, TOUCH_STANDS, TOUCH_UNDONE };

struct sim_disk_rollout {
    uint32_t number; /* in sim->rollouts */
    char *by, *retry_of, *plan_text;
    enum sim_touch touches[SIM_MAX_SERVERS]; /* by number in the plan */
    size_t plan_len;
    struct journal_summary summary;
    struct sim_disk_event *events;
    size_t event_count, event_capacity;
};

/* A person's lock of a server. */
struct sim_lock {
    bool locked;
    int64_t time_ms;
    char *by, *reason, *unlocked_by; /* may be NULL */
};
void sim_lock_done(struct sim_lock *lock);

struct sim_disk {
    struct sim_disk_rollout rollouts[SIM_MAX_ROLLOUTS]; /* in the order of creation */
    uint32_t count;
    struct sim_lock locks[SIM_MAX_SERVERS];
    int64_t epoch;
    bool full, broken; /* broken: the next commit fails for good */
};

struct sim_orchestrator {
    bool running, dying;
    bool power;             /* it died without a word to its peers */
    int64_t writable_ms;    /* since when it can write */
    int64_t full_ms;        /* since when its disk was full before that; 0: never */
    uint32_t sends_to_live; /* it dies after so many more; 0: it does not */
    struct sim_disk disk;
    struct journal *journal;
    struct dispatcher *dispatcher;
    uint64_t tick_token;
    int64_t tick_at_ms;
};

/* Opens the disk; raises the epoch. */
struct journal *sim_journal_open(struct sim *sim);
/* The process has died: what is not durable is lost. */
void sim_journal_kill(struct journal *j);
/* All becomes durable; for a stop in good order. */
void sim_journal_drain(struct journal *j);
bool sim_journal_idle(const struct journal *j);
void sim_disk_done(struct sim_disk *disk);

/* Kills a process that is to die. After each event. */
void sim_orchestrator_settle(struct sim *sim);
void sim_orchestrator_stop(struct sim *sim);
void sim_orchestrator_free(struct sim *sim);

/* ---- Agents: disk, host, process --------------------------------------------------------------
 */

struct sim_store_entry {
    int64_t seq;
    int type, state;
    bool changed;
    int64_t step;
    char *json;
    size_t len;
};

struct sim_store_execution {
    uint32_t rollout;
    char *spec;
    size_t spec_len;
    int64_t last_seq, acked_seq, restarts, time_ms;
    bool settled;
    struct sim_store_entry *entries;
    size_t entry_count, entry_capacity;
    char *captures[SIM_MAX_STEPS];
};

struct sim_store_op;
struct sim_store {
    struct sim_store_execution executions[SIM_MAX_ROLLOUTS]; /* durable, in order */
    uint32_t count;
    int64_t epoch; /* of the only orchestrator */
    char instance[SIM_NAME_MAX];
    uint32_t instances;
    struct sim_store_op *first, *last;           /* handed in and not durable */
    size_t pending, writing;                     /* the first `writing` are being written */
    struct sim_store_op *written, *written_last; /* durable, and nobody was told */
    bool full, broken, stalled;                  /* stalled: that it is full was found out */
};

/* One operation of a handler under way, with or without its agent. */
struct sim_operation {
    bool active, orphan, cancelled, force, no_room;
    bool depends;   /* check: of a change before it */
    bool idle;      /* execute: it finds all done */
    bool was_dirty; /* execute: an attempt before it may have changed something */
    uint64_t token;
    enum handler_operation operation;
    uint32_t rollout, step, key;
    bool boots; /* of a type that reboots */
    int64_t attempt;
    int64_t reboots; /* for this step, so far */
    int64_t round;   /* of undoing */
    unsigned traits;
    uint64_t undo; /* rollback: the value to bring back */
    uint32_t fate; /* enum fate, sim_fleet_host.c */
};

/* It changes the host. */
static inline bool sim_changes(const struct sim_operation *op)
{
    return (op->traits & STEP_TYPE_CHANGES) != 0 && op->operation != HANDLER_PREPARE &&
           op->operation != HANDLER_CHECK;
}

struct ticker {
    struct sim_node *node;
};

struct sim_node {
    struct sim *sim;
    uint32_t index;
    char id[SIM_NAME_MAX];
    bool running, dying, gone, stopping;
    bool died;     /* it was not stopped */
    bool reboot;   /* when it dies, so does what its steps started */
    uint32_t boot; /* which start of the machine it is */
    char boot_id[SIM_NAME_MAX];
    bool reboot_asked;     /* by its agent, for a step */
    uint64_t reboot_token; /* the request that counts */
    bool partitioned;
    bool confirming;      /* it waits to be confirmed */
    bool wants_room;      /* its last operation was a prepare that found none */
    int64_t reachable_ms; /* since when it can be told what is to be told */
    uint32_t sends_to_live, appends_to_live, operations_to_live; /* 0: not by that */
    uint64_t life;
    struct agent *agent;
    struct carrier *carrier;
    struct link *link;
    struct ticker ticker;
    struct alarm *link_alarm;
    uint64_t link_token, alarm_token, heal_token;
    struct sim_store store;
    struct sim_operation operation;
    struct sim_operation orphan;
    uint64_t operations; /* tokens */
    uint64_t values[SIM_KEYS];
    uint32_t holder; /* the rollout that is changing the host; SIM_MAX_ROLLOUTS: none */
    struct sim_trace traces[SIM_MAX_ROLLOUTS];
};

extern const struct step_catalog sim_catalog;

/* A partition between it and the orchestrator, for a while. */
void sim_faults_cut_off(struct sim_node *n);

void sim_agent_settle(struct sim_node *n);
void sim_agent_stop(struct sim_node *n);
/* Ends the process at once; nothing of it remains but disk and host. */
void sim_agent_kill(struct sim_node *n);
/* What its disk says, for checks; NULL when nothing. */
const struct sim_store_execution *sim_store_find(const struct sim_node *n, uint32_t rollout);
const struct sim_store_entry *sim_store_entry(const struct sim_store_execution *x, int64_t seq);
/* Whether it has an entry of that type about that step (-1: about the execution). */
bool sim_store_says(const struct sim_node *n, uint32_t rollout, enum report_type type,
                    int64_t step);
/* How many entries of that type it has about the execution; the last one, or NULL. */
int64_t sim_store_count(const struct sim_node *n, uint32_t rollout, enum report_type type);
const struct sim_store_entry *sim_store_last(const struct sim_node *n, uint32_t rollout,
                                             enum report_type type);
/* Has it remove what is past its time. */
void sim_store_expire(struct sim_node *n);
void sim_store_seam(struct sim_node *n, struct agent_store *ret_store);
/* What reads of it. */
void sim_store_seam_read(struct agent_store *ret_store);
/* It is over, and was before that time. */
bool sim_store_may_go(const struct sim_store_execution *x, int64_t before_ms);
/* The process has died. */
void sim_store_kill(struct sim_node *n);
/* Calls what waits for durable writes. */
void sim_store_collect(struct sim_node *n);
bool sim_store_idle(const struct sim_node *n);
/* Forgets everything; also for the end. */
void sim_store_wipe(struct sim_node *n);
void sim_host_seam(struct sim_node *n, struct agent_runner *ret_runner);
/* Somebody changes a value by hand. */
void sim_host_meddle(struct sim_node *n);
/* The agent has died, perhaps in an operation. */
void sim_host_abandon(struct sim_node *n);

/* ---- Connections ------------------------------------------------------------------------------
 */

enum { TO_ORCHESTRATOR, TO_AGENT, DIRECTIONS };

struct sim_frame;
struct net_conn {
    struct sim *sim;
    uint32_t id;
    struct sim_node *node;
    struct net_client_config config;
    struct session *session;  /* the orchestrator's end; NULL: none (yet, or any more) */
    bool open[DIRECTIONS];    /* by who sends to whom ends there: the receiving end lives */
    bool closing[DIRECTIONS]; /* that end takes nothing in any more */
    bool blocked[DIRECTIONS]; /* nothing arrives for now */
    bool broken;              /* what is sent is lost */
    bool up;                  /* it has come about, as the agent sees it */
    bool telling[DIRECTIONS]; /* that end will be told */
    struct sim_frame *first[DIRECTIONS], *last[DIRECTIONS];
    int64_t last_at_ms[DIRECTIONS];
};

struct sim_net {
    struct net_conn *conns[SIM_MAX_CONNS];
    uint32_t count; /* ids given */
};

/* Sends to the agent. */
bool sim_net_send(struct net_conn *c, const char *data, size_t len);
/* The orchestrator closes its end. */
void sim_net_close(struct net_conn *c);
/* Both ends are told, in their own time; what is on its way is lost. */
void sim_net_break(struct net_conn *c);
void sim_net_block(struct net_conn *c, bool to_orchestrator, bool to_agent);
/* The process at that end has died; `silently`: nobody tells the other one. */
void sim_net_end_died(struct net_conn *c, int direction, bool silently);
/* The connection of that agent that was made last; NULL. */
struct net_conn *sim_net_of(const struct sim *sim, const struct sim_node *n);
bool sim_net_idle(const struct sim *sim);
void sim_net_done(struct sim *sim);
/* Whose random numbers and time the replaced functions of the base library give. */
void sim_net_use(struct sim *sim);

/* ---- People -----------------------------------------------------------------------------------
 */

enum sim_command_kind { SIM_SUBMIT, SIM_ORDER, SIM_ROLLBACK, SIM_RESOLVE, SIM_LOCK };

struct sim_command {
    struct sim *sim;
    enum sim_command_kind kind;
    uint32_t rollout, token;
    uint32_t servers; /* SIM_ROLLBACK: as bits, by number in the plan; 0: all. SIM_LOCK: the node */
    bool now, force;
    bool locks;      /* SIM_LOCK */
    uint32_t server; /* SIM_RESOLVE */
    enum execution_state as;
};

struct sim_people {
    struct sim_command commands[SIM_MAX_COMMANDS];
    uint32_t count;
    bool durable[SIM_MAX_COMMANDS]; /* by token: on the orchestrator's disk */
    bool locking[SIM_MAX_SERVERS];  /* a lock was accepted by this orchestrator */
    struct sim_command lost;        /* one that got no answer; sim NULL: none */
    uint64_t meddled;               /* values changed by hand */
};

void sim_people_init(struct sim *sim);
void sim_people_free(struct sim *sim);
/* Reads a plan's text; one that is not right ends the program. */
struct plan *sim_plan_read(const char *text);
/* Makes up a rollout: a plan, or the retry of another one. */
void sim_plan_make(struct sim *sim, uint32_t number);
/* Notes what a command is about and gives it a token; NULL: there were too many. */
struct sim_command *sim_command_new(struct sim *sim, const struct sim_command *command);
void sim_command_answered(void *ctx, enum error_code result, const struct error *err,
                          const char *id);
/* An order about what was done (sim_fleet_orders.c), chosen by chance; given; or given again. */
void sim_order_something(struct sim *sim, uint32_t rollout);
void sim_order_lock(struct sim *sim, uint32_t node, bool locks);
void sim_order_lock_something(struct sim *sim);
void sim_order_again(struct sim *sim);
void sim_order_retry(struct sim *sim, uint32_t rollout);
/* A lock holds, or is about to. */
bool sim_is_locked(const struct sim *sim, uint32_t node);

/* ---- The world --------------------------------------------------------------------------------
 */

struct sim_profile {
    bool calm;
    int64_t fault_every_ms;
    uint32_t trouble;                              /* operations in a hundred that do not go well */
    uint32_t long_ms;                              /* most that an operation takes */
    uint32_t commit_ms;                            /* most that a commit takes, on any disk */
    bool confirms, meddling, locking, reboots;     /* plans and people do so */
    uint32_t captures;                             /* most that an agent may keep; 0: no limit */
    uint32_t orchestrator, agents, network, disks; /* weights of faults */
};

struct sim {
    struct rng rng;
    uint64_t seed;
    int64_t now_ms, wall_offset_ms;
    int64_t faults_until_ms, quiet_since_ms; /* -1: not quiet */
    bool verbose;
    bool watching; /* false: the world is being taken apart */
    struct sim_profile profile;
    struct sim_queue queue;
    struct sim_net net;
    struct sim_orchestrator orchestrator;
    struct sim_node nodes[SIM_MAX_SERVERS];
    uint32_t node_count;
    struct sim_rollout rollouts[SIM_MAX_ROLLOUTS];
    uint32_t rollout_count;
    struct sim_people people;
    uint64_t *paths;
    uint64_t ended; /* rollouts, over all worlds */
    char failure[SIM_FAILURE_MAX];
};

/* Runs a world to its end; true when all held. */
bool sim_run(struct sim *sim, uint64_t seed, bool verbose);

static inline void sim_hit(struct sim *sim, enum sim_path path)
{
    sim->paths[path]++;
}
static inline bool sim_faulty(const struct sim *sim)
{
    return sim->now_ms < sim->faults_until_ms;
}
int64_t sim_wall_ms(const struct sim *sim);
/* Something does not hold. The first time counts. */
void sim_fail(struct sim *sim, const char *fmt, ...) PRINTF_LIKE(2, 3);
void sim_trace(const struct sim *sim, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The rollout's number; SIM_MAX_ROLLOUTS when there is none of that id. */
uint32_t sim_rollout_find(const struct sim *sim, const char *id);
/* The server's number in the rollout's plan; false when it has none. */
bool sim_rollout_server(const struct sim *sim, uint32_t rollout, uint32_t node, uint32_t *ret);
/* Memory that must be there. */
void *sim_checked(void *p);

/* A server by its id; node_count when there is none. */
uint32_t sim_node_find(const struct sim *sim, const char *id);

/* ---- What must hold (sim_fleet_check*.c) ------------------------------------------------------
 */

/* An event has become durable. */
void sim_check_event(struct sim *sim, uint32_t rollout, const struct event *event);
/* The command of that text (#NUMBER), too. */
void sim_check_command(struct sim *sim, const char *text);
void sim_check_summary(struct sim *sim, uint32_t rollout, const struct journal_summary *summary);
void sim_check_touches(struct sim *sim, const struct sim_disk_rollout *r);
/* A retry has become durable: takes its plan. */
void sim_check_retry(struct sim *sim, uint32_t rollout, const char *of, const char *plan);
/* The orchestrator has started: its locks are those on the disk. */
void sim_check_locks(struct sim *sim);
/* The orchestrator sends this to an agent. */
void sim_check_frame(struct sim *sim, const struct sim_node *n, const char *data, size_t len);
/* An agent's frame arrives at the orchestrator. */
void sim_check_arrival(struct sim *sim, const struct sim_node *n, const char *data);
/* The orchestrator's frame arrives at an agent over that connection. */
void sim_check_delivery(struct sim *sim, const struct net_conn *c, const char *data);
/* The agent records these. */
void sim_check_append(struct sim_node *n, uint32_t rollout, const struct undo_append *append);
/* An operation begins, with what was captured for it. */
void sim_check_operation(struct sim_node *n, const struct sim_operation *op, const char *undo);
/* A command has been taken, or refused. */
void sim_check_ordered(struct sim *sim, const struct sim_command *c, enum error_code code,
                       const struct error *err);
void sim_check_submitted(struct sim *sim, uint32_t rollout, enum error_code code);
/* A replay of the disk gives what the living engine says. */
void sim_check_replay(struct sim *sim);
/* All is quiet. */
void sim_check_end(struct sim *sim);
