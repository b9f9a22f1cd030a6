/*
 * wire: the messages between orchestrator and agent, version 1.
 *
 * Each frame is one JSON text in one WebSocket text message: {"v":1,"type":"execute",...}. The
 * tables are open: a field that is not known is passed over, so a newer peer can add some.
 *
 * To an agent:    welcome, execute, rollback, cancel, ack
 * From an agent:  hello, report, output, heartbeat
 *
 * An execution is named by its rollout's id: a rollout has one execution per server. An agent
 * numbers the entries of its reports per execution from 1, without gaps; the orchestrator answers
 * with `ack` once they are durable, and the agent sends what is not acknowledged again after a
 * reconnect. `ack` without a rollout answers a heartbeat.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/json/json.h"
#include "common/plan/plan.h"
#include "common/plan/states.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WIRE_VERSION = 1,
    WIRE_MAX_BYTES = 16 * 1024 * 1024, /* of one frame, either way */
    WIRE_MAX_ENTRIES = 4096,           /* in one report */
    WIRE_MAX_EXECUTIONS = 10000,       /* in one hello */
    WIRE_MAX_OUTPUT = 256 * 1024,      /* of one output text */
    WIRE_MAX_MESSAGE = 4096,           /* of a message for people */
    WIRE_MAX_BOOT_ID = 64,             /* of the name of a boot */
    WIRE_MAX_PROOF = 32                /* hashes; more than there are servers for */
};

#define WIRE_TYPES(X)                                                                              \
    X(WIRE_WELCOME, "welcome")                                                                     \
    X(WIRE_EXECUTE, "execute")                                                                     \
    X(WIRE_ROLLBACK, "rollback")                                                                   \
    X(WIRE_CANCEL, "cancel")                                                                       \
    X(WIRE_ACK, "ack")                                                                             \
    X(WIRE_HELLO, "hello")                                                                         \
    X(WIRE_REPORT, "report")                                                                       \
    X(WIRE_OUTPUT, "output")                                                                       \
    X(WIRE_HEARTBEAT, "heartbeat")

#define X(value, name) value,
enum wire_type { WIRE_TYPES(X) WIRE_TYPE_COUNT };
#undef X
extern const char *const wire_type_names[WIRE_TYPE_COUNT];

/* ---- To an agent --------------------------------------------------------------------------- */

struct wire_welcome {
    char *orchestrator;   /* the journal's identity, made once with it */
    int64_t epoch;        /* goes up with each start of an orchestrator on that journal */
    int64_t heartbeat_ms; /* how often the agent is to say that it lives */
};

/* What an agent needs to know of a signed plan, beside what it is to do, to check the signatures:
 * see common/seal. */
struct wire_seal {
    char *plan;     /* its name; NULL: none */
    char *strategy; /* its hash */
    int scope;      /* enum plan_scope */
    int64_t servers;
    char *root; /* of the tree of the servers; then the proof that the agent's is one of them */
    int64_t index;
    struct array path; /* char * */
    struct plan_signing signing;
};

struct wire_execute {
    char *rollout;
    int64_t epoch;
    bool rollback_on_failure; /* undo by itself when it fails for good */
    int64_t confirm_ms;       /* 0: no; else see plan.h, confirm_timeout_ms */
    bool check;               /* change nothing: say of each step what it would change */
    bool reboots;             /* the orchestrator knows step_rebooting */
    bool is_signed;
    struct wire_seal seal;
    char *vars;         /* the plan's, as there */
    char *secrets;      /* the same */
    struct array steps; /* struct plan_step */
};

/* An execution can be undone again when undoing it has failed, so each order has a number: an agent
 * that has begun to undo as often before (by itself too) takes it for a repeat. */
struct wire_rollback {
    char *rollout;
    int64_t epoch;
    int64_t round; /* from 1 */
    bool force;    /* also where somebody else has changed since what the step left */
};

struct wire_cancel {
    char *rollout;
    int64_t epoch;
    bool now; /* end the running step too; else it finishes, and no other begins */
};

struct wire_ack {
    char *rollout; /* NULL: answers a heartbeat */
    int64_t seq;   /* everything up to here is durable */
};

/* ---- From an agent ------------------------------------------------------------------------- */

struct wire_execution {
    char *rollout;
    int64_t last_seq; /* highest report entry in the agent's journal */
};

struct wire_hello {
    char *id;       /* the server's */
    char *instance; /* made once with the agent's data directory */
    char *version;
    char *hostname;
    char *boot_id;
    int64_t undo_bytes;      /* on its disk, for undo */
    int64_t undo_max_bytes;  /* past it nothing more is captured; 0: no limit */
    bool checks;             /* knows execute's `check`; one that does not would pass it over */
    bool values;             /* the same of `vars`, of `when` and of placeholders in params */
    bool secrets;            /* the same of `secrets` */
    char *labels, *facts;    /* sets of values as JSON, see value_json.h; NULL: none */
    struct array handlers;   /* char *; step types */
    struct array executions; /* struct wire_execution: not ended, or not acknowledged to the end */
};

struct wire_entry {
    int64_t seq;
    int type;        /* enum report_type */
    int64_t time_ms; /* the agent's wall clock */
    int64_t step;    /* step number from 0; -1 when about the execution */
    int64_t attempt; /* from 1; 0 when it does not apply */
    /* enum step_state in an entry about a step (type step_...), enum execution_state in the others.
     * Written by its name; the entry's type says of which of the two. */
    int state;
    bool undoing;  /* ended: the agent is rolling back by itself */
    bool force;    /* rollback_started: as wire_rollback says */
    bool conflict; /* step_rolled_back: refused, since somebody else has changed it */
    bool changed;  /* step_ended: it changed the host; in a check: it would */
    bool has_exit_code;
    int64_t exit_code;
    int64_t duration_ms;
    int64_t away_ms; /* step_rebooting: so long the server may be away */
    char *boot_id;   /* step_rebooting: the boot that is to end; NULL in the others */
    char *message;   /* NULL: none */
    char *output;    /* step_ended: head and tail of what the step printed; NULL: nothing */
    char *outputs;   /* step_ended: what it put out, a set of values as JSON; NULL: nothing */
};

struct wire_report {
    char *rollout;
    char *facts;          /* as in hello, when they are others by now; NULL: the same */
    struct array entries; /* struct wire_entry, seq rising by one */
};

/* Live output; a help for people who watch. The output in step_ended is the one that counts. */
struct wire_output {
    char *rollout;
    int64_t step;
    int64_t attempt;
    int64_t
        offset; /* of `text` in all that the attempt printed; a gap says that some was left out */
    char *text;
};

/* ---- Both ---------------------------------------------------------------------------------- */

struct wire_frame {
    enum wire_type type;
    union {
        struct wire_welcome welcome;
        struct wire_execute execute;
        struct wire_rollback rollback;
        struct wire_cancel cancel;
        struct wire_ack ack;
        struct wire_hello hello;
        struct wire_report report;
        struct wire_output output;
    };
};

extern const struct json_table wire_entry_table; /* also what the agent's journal stores */

/* Reads one frame. ERR_PROTOCOL: not a frame of this version; ERR_LIMIT; ERR_NO_MEMORY. The caller
 * owns what it holds: wire_frame_done. */
enum error_code wire_decode(const char *text, size_t len, struct wire_frame *ret_frame,
                            struct error *err) MUST_CHECK;
void wire_frame_done(struct wire_frame *frame);
/* Appends one frame. Check the buffer afterwards. */
void wire_encode(struct buf *b, const struct wire_frame *frame);
/* The steps of an execute are the same for every server of a rollout: this appends an execute frame
 * with the steps already encoded (a JSON array). */
void wire_encode_execute(struct buf *b, const struct wire_execute *execute, const char *steps_json,
                         size_t steps_len);
/* Appends a plan's steps as the JSON array for it. */
void wire_encode_steps(struct buf *b, const struct plan *plan);
/* True when an entry of that type (enum report_type) is about a step. */
bool wire_about_step(int report_type);
void wire_entry_release(struct wire_entry *entry);
