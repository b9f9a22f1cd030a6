/*
 * unit: what systemd says of a unit, what to ask of it to bring the unit to a state, and whether it
 * is there. Pure.
 *
 * Threading: no shared state. I/O: none.
 */
#pragma once

#include "common/base/array.h"
#include "common/base/error.h"
#include "handlers/catalog.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNIT_STATE_MAX = 32, UNIT_INVOCATION_MAX = 33, UNIT_PATH_MAX = 4096 };

struct unit {
    char id[UNIT_NAME_MAX + 1]; /* the unit's own name, when asked for by an alias too */
    char load_state[UNIT_STATE_MAX];
    char active_state[UNIT_STATE_MAX];
    char sub_state[UNIT_STATE_MAX];
    char file_state[UNIT_STATE_MAX];      /* enabled, disabled, static, ...; "" without a file */
    char result[UNIT_STATE_MAX];          /* how it last ended; "" of a kind that has none */
    char type[UNIT_STATE_MAX];            /* of a service: simple, notify, oneshot, ... */
    char invocation[UNIT_INVOCATION_MAX]; /* new with each start; hexadecimal */
    char load_error[256];
    char fragment[UNIT_PATH_MAX]; /* the unit file */
    bool need_reload;             /* its files were changed since they were read */
    bool can_reload, remain_after_exit;
    bool condition_met;             /* when it was last looked at: */
    uint64_t condition_usec;        /* 0: never since it was loaded */
    int32_t main_code, main_status; /* as waitid(2) has them; code 0: has not ended */
    uint32_t restarts;              /* by systemd itself */
    uint64_t began_usec;            /* when it last began to start; since 1970; 0: never */
    struct array names, drop_ins;   /* char *; all names; paths */
};
void unit_done(struct unit *u);

#define UNIT_JOBS(X)                                                                               \
    X(UNIT_JOB_NONE, "")                                                                           \
    X(UNIT_JOB_START, "start")                                                                     \
    X(UNIT_JOB_STOP, "stop")                                                                       \
    X(UNIT_JOB_RESTART, "restart")                                                                 \
    X(UNIT_JOB_RELOAD, "reload")
#define X(value, name) value,
enum unit_job { UNIT_JOBS(X) UNIT_JOB_COUNT };
#undef X
extern const char *const unit_job_names[UNIT_JOB_COUNT];

bool unit_exists(const struct unit *u);
/* It runs, and what was asked of it is done. */
bool unit_is_up(const struct unit *u);
bool unit_is_down(const struct unit *u);
/* It runs or is on its way there: what undo has to bring back. */
bool unit_is_meant_up(const struct unit *u);
bool unit_is_enabled(const struct unit *u);

/* Whether the step can be carried out, and undone, on the unit as it is: ERR_NOT_FOUND, ERR_INVALID
 * (its file is faulty), ERR_DENIED (masked), ERR_UNSUPPORTED. */
enum error_code unit_check(const struct unit *u, const struct service_params *params,
                           struct error *err) MUST_CHECK;
/* What the step asks of systemd. ERR_CONFLICT: a reload of what does not run. */
enum error_code unit_job_forward(const struct unit *u, const struct service_params *params,
                                 enum unit_job *ret_job, struct error *err) MUST_CHECK;
/* And what undoing it asks, `was_up` being how it was. */
enum unit_job unit_job_back(const struct unit *u, const struct service_params *params, bool was_up);
/* Whether the file's links are to be changed. */
bool unit_needs_enabling(const struct unit *u, const struct service_params *params);

/* Looks at the unit after a job that systemd calls done: ERR_IO says what became of it. `before` is
 * how it was right after the job; NULL: this is. */
enum error_code unit_verdict(const struct unit *u, enum unit_job job, const struct unit *before,
                             struct error *err) MUST_CHECK;
/* How it ended, for a message: " (Result exit-code, exit status 1)", "" when it has not. */
enum { UNIT_ENDING_MAX = 128 };
void unit_ending_text(const struct unit *u, char ret_text[UNIT_ENDING_MAX]);
/* How long to look after a job has brought it up. */
int64_t unit_settle_ms(const struct unit *u, enum unit_job job,
                       const struct service_params *params);
