/* agent_state: what the parts of an agent share: agent.c (life and queue), agent_orders.c (what the
 * orchestrator asks), agent_resume.c (an execution gets its turn), agent_run.c (the one under way),
 * agent_operation.c (what its runner does), agent_reboot.c (a step reboots the server),
 * agent_report.c (journal and reports). */
#pragma once

#include "agent/agent.h"
#include "agent/executor.h"

/* What an execution waits for. */
enum turn {
    TURN_NONE,  /* nothing; perhaps for acknowledgements */
    TURN_BEGIN, /* it is new */
    TURN_RESUME /* it is in the journal, to be gone on with or undone */
};

/* An order to undo; round 0: none. See wire_rollback. */
struct undo_order {
    int64_t round;
    bool force;
};

/* An execution that is not over and done with: in the queue, under way, or not acknowledged. */
struct execution {
    struct execution *next; /* in order of arrival */
    char *rollout;
    char *spec; /* the frame, until it is on its way to the journal */
    size_t spec_len;
    struct array steps; /* struct plan_step; only while it waits for its turn or has it */
    bool rollback_on_failure;
    bool check;   /* see wire_execute */
    bool reboots; /* the same */
    int64_t confirm_ms;
    char *vars, *secrets; /* see wire_execute; as long as the steps */
    /* Of a signed plan that was checked, until it is durable that it is spent; nonce "": none. */
    char nonce[PLAN_NONCE_DIGITS + 1];
    int64_t not_before_ms, expires_ms;
    enum turn turn;
    bool cancel, cancel_now;    /* asked for, not yet passed on */
    struct undo_order rollback; /* the same */
    bool replaces;              /* see undo_append; until it is on its way to the journal */
    bool settled;
    int64_t restarts; /* see undo_status */
    int64_t last_seq, durable_seq, sent_seq, acked_seq;
    size_t in_flight;         /* bytes sent and not acknowledged */
    struct batch *last_batch; /* the newest on its way to the disk; NULL: none */
    size_t batches;           /* on their way to the disk */
};

/* What becomes durable together, and is then reported. */
struct batch {
    struct agent *agent;
    struct execution *execution;
    struct array entries;  /* struct wire_entry */
    struct array captures; /* struct undo_capture */
    size_t bytes;          /* of the entries' texts */
};

/* How far a reboot has come. */
enum reboot_stage {
    REBOOT_NONE,
    REBOOT_TOLD, /* the orchestrator is to know of it first */
    REBOOT_ASKED /* for; it can come at any moment */
};

/* The execution under way. */
struct run {
    struct execution *execution;
    struct executor *executor;
    struct executor_traits *traits;
    struct batch *batch;              /* gathers; NULL: nothing yet */
    const struct batch *awaited;      /* must be durable before `operation` begins */
    struct executor_action operation; /* the one under way, or held */
    bool held;
    bool busy;        /* the runner has it */
    bool has_result;  /* it is over, and the executor does not know yet */
    bool finished;    /* nothing is left to do but to become durable */
    bool making_room; /* `operation`, a prepare, begins again when old executions are gone */
    bool made_room;   /* that was done for it */
    bool confirmed;   /* and the executor does not know yet */
    bool resumed;
    bool halted;         /* the agent stops: nothing more begins */
    int64_t first_seq;   /* last_seq at its beginning */
    int64_t confirm_seq; /* the entry whose acknowledgement confirms it; 0: none yet */
    enum reboot_stage reboot;
    int64_t reboot_seq;    /* the entry that says so */
    int64_t confirm_after; /* over a connection after so many; -1: it is not waited for */
    int64_t operation_began_ms;
    struct handler_result result;
    char *output; /* of the operation; NULL: none */
    char *before; /* what the attempt printed before a reboot, and a line; NULL: nothing */
    int64_t before_step, before_attempt;
    char *undo;        /* what was captured for undo_step */
    int64_t undo_step; /* -1: none */
    char *params;      /* of the operation's step, with values filled in; NULL: as in the plan */
    char *late;        /* what texts with secrets name beside: a set of values; NULL: nothing */
    bool skipped;      /* `result` is that the step's condition is false */
    struct plan_step filled; /* the step with `params` */
    char *put_out;           /* by the operation that is over; NULL: nothing */
    struct value_set *vars;  /* NULL: none */
    size_t step_count;
    struct value_set **outputs; /* one per step: what it has put out; NULL: nothing */
    char folder[UNDO_FILES_PATH_MAX];
};

struct agent {
    struct agent_config config;
    struct execution *first, *last;
    size_t queued;   /* with a turn to come */
    struct run *run; /* NULL: idle */
    bool draining;   /* in run_drain: its callees must not enter it again */
    bool choosing;   /* the same for agent_next */
    bool started, stopping, interrupted, quiet, failed;
    bool cautious;   /* after_death, until something has run to its end */
    bool held;       /* the machine is about to be rebooted: no operation begins */
    bool tell_facts; /* with the next report */
    bool connected;
    int64_t connections; /* made so far */
    size_t in_flight;
    size_t batches;
    char *orchestrator; /* of the last welcome; NULL: none yet */
    int64_t epoch;      /* the highest seen of it */
};

/* ---- agent.c ------------------------------------------------------------------------------- */

void agent_fail(struct agent *a, const struct error *err);
/* Begins the next execution when there is none under way. */
void agent_next(struct agent *a);
void agent_check_quiet(struct agent *a);
/* NULL: none can be had; borrowed until the next call. */
const struct value_set *agent_facts(const struct agent *a);
/* The same as JSON, caller owns; NULL also for want of memory. */
char *agent_facts_text(const struct agent *a);
/* Takes it out of the list when nothing is left to do with it. */
void execution_forget_if_done(struct agent *a, struct execution *x);

struct execution *execution_find(const struct agent *a, const char *rollout);
/* NULL when memory is out, with the error set. */
struct execution *execution_add(struct agent *a, const char *rollout, struct error *err);
void execution_take_status(struct execution *x, const struct undo_status *status);
void execution_queue(struct agent *a, struct execution *x, enum turn turn);

/* ---- agent_orders.c ------------------------------------------------------------------------ */

/* Knows the orchestrator, and refuses it when its epoch is an older one than seen before. */
enum error_code orders_welcome(struct agent *a, const struct wire_welcome *welcome,
                               struct error *err) MUST_CHECK;

/* ---- agent_trust.c ------------------------------------------------------------------------- */

/* Whether an execute of which nothing is on record may be taken on. ERR_DENIED: no, with why. */
enum error_code trusted_check(struct agent *a, const struct wire_execute *execute,
                              struct error *err) MUST_CHECK;
/* Keeps in mind that it was: its nonce is spent with the first thing on record of it. */
void trusted_take(struct execution *x, const struct wire_execute *execute);
/* Whether the time for it has not passed while it waited for its turn. ERR_DENIED: it has. */
enum error_code trusted_begin(const struct agent *a, const struct execution *x,
                              struct error *err) MUST_CHECK;
/* Ends an execution that is not begun, as failed, and says so. */
void trusted_refuse(struct agent *a, struct execution *x, bool rollback_on_failure,
                    const struct error *why);
/* Whether an order to overwrite what others have changed is obeyed. */
bool trusted_force(const struct agent *a, const struct wire_rollback *rollback);

/* ---- agent_resume.c ------------------------------------------------------------------------ */

/* Gives the execution its turn. */
void run_begin(struct agent *a, struct execution *x);

/* ---- agent_run.c --------------------------------------------------------------------------- */

/* NULL when memory is out, with the error set. */
struct run *run_new(const struct agent *a, struct execution *x, struct error *err);
const struct plan_step *run_step(const struct run *run, uint32_t step);
/* Of its type; 0 for one that is not in the catalog. */
unsigned run_step_traits(const struct agent *a, const struct plan_step *step);
/* Does what is to be done now: also what the flags of its execution ask for. */
void run_drain(struct agent *a);
/* A batch of the execution under way is durable. */
void run_durable(struct agent *a, const struct batch *batch);
/* There is a connection, and nothing was sent over it yet: what is to be confirmed is acknowledged
 * once more, whoever had it before. */
void run_connected(struct agent *a);
/* Entries of the execution under way were acknowledged. */
void run_acked(struct agent *a);
void run_free(struct run *run);
DEFINE_CLEANUP(run_free, struct run)

/* Begins the operation that was held back, if nothing holds it back any more. */
void run_release(struct agent *a);

/* ---- agent_operation.c --------------------------------------------------------------------- */

/* Begins run->operation, or holds it back while the machine is about to be rebooted. */
void operation_begin(struct agent *a, struct run *run);

/* ---- agent_reboot.c ------------------------------------------------------------------------ */

/* Why the step's wish cannot be granted here. NULL: it can. */
const char *reboot_refused(const struct agent *a, const struct execution *x);
/* The execution's last entry says that the server is to be rebooted: sees to it. */
void reboot_start(struct agent *a, struct run *run);
/* It is not wanted any more. */
void reboot_stop(struct agent *a, struct run *run);
/* The same as agent_alarm and run_acked; false when it is about something else. */
bool reboot_alarm(struct agent *a, struct run *run);
void reboot_acked(struct agent *a, struct run *run);
/* What a step has printed before the reboot stands before what it prints afterwards: taken from
 * what is on record; how long it is, of the operation under way; its last line, for those who
 * watch; and joined with the operation's output, for what is recorded now. */
void reboot_output_take(struct run *run, const struct wire_entry *entry);
int64_t reboot_output_length(const struct run *run);
void reboot_output_go_on(struct agent *a, const struct run *run);
char *reboot_output_join(struct run *run, const struct executor_record *record);
/* Since the entries were written, of which the last one says that it was wanted. */
bool reboot_happened(const struct agent *a, const struct array *entries);

/* ---- agent_values.c ------------------------------------------------------------------------ */

/* The values of run->execution. */
enum error_code values_init(struct run *run, struct error *err) MUST_CHECK;
void values_done(struct run *run);
/* run->params and run->late. */
void values_forget(struct run *run);
/* Before the step of `operation` is prepared or checked: tests its condition and fills its params
 * in. False: it goes no further, run->result says why. */
bool values_ready(struct agent *a, struct run *run);
/* The step as it is to be carried out; borrowed until the next call. */
const struct plan_step *values_step(struct run *run, uint32_t step);
/* What the step has put out, as its handler gave it. ERR_INVALID, ERR_NO_MEMORY. */
enum error_code values_put_out(struct run *run, uint32_t step, const char *json,
                               struct error *err) MUST_CHECK;
/* What is kept of a step with values: run->params, run->late and what undo needs. NULL: memory is
 * out. */
char *values_keep(const struct run *run, const char *undo);
/* The other way round: run->undo, as it was kept, into these. ERR_CORRUPT. */
enum error_code values_take_kept(struct run *run, struct error *err) MUST_CHECK;

/* ---- agent_report.c ------------------------------------------------------------------------ */

/* Adds an entry to *batch (made when NULL) under the execution's next number. Takes `output` over
 * in any case. */
enum error_code batch_record(struct agent *a, struct execution *x, struct batch **batch,
                             const struct executor_record *record, char *output,
                             struct error *err) MUST_CHECK;
/* Adds what a step put out to the entry that was recorded last. Takes `json` over. */
void batch_put_out(struct batch *batch, char *json);
/* Adds the boot that is to end to the entry that was recorded last. */
enum error_code batch_boot(struct batch *batch, const char *boot_id, struct error *err) MUST_CHECK;
enum error_code batch_capture(struct agent *a, struct execution *x, struct batch **batch,
                              uint32_t step, const char *undo, struct error *err) MUST_CHECK;
/* The executor has this recorded. */
void run_record(struct agent *a, struct run *run, const struct executor_record *record);
/* Makes a batch that carries the present state of the execution, if there is none yet. */
enum error_code batch_note(struct agent *a, struct execution *x, struct batch **batch,
                           struct error *err) MUST_CHECK;
/* Hands it to the store; takes it over in any case. */
void batch_submit(struct agent *a, struct batch *batch);
void batch_free(struct batch *batch);
/* Ends an execution that is not under way by these records alone. */
void report_settle(struct agent *a, struct execution *x, const struct executor_record *records,
                   size_t count);
/* One of which nothing is known cannot be undone. */
void report_no_record(struct agent *a, struct execution *x);
/* Sends what is durable and was not sent, as far as the bound allows. */
void report_pump(struct agent *a);
void report_resend(struct agent *a, struct execution *x, int64_t after_seq);
void report_acked(struct agent *a, struct execution *x, int64_t seq);
