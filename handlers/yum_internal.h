/* yum_internal: what the files of the package handlers (yum*.c) share. For them alone. */
#pragma once

#include "common/base/buf.h"
#include "handlers/builtin.h"
#include "handlers/process.h"
#include "handlers/rpm_package.h"
#include "handlers/yum_plan.h"
#include "handlers/yum_record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum { YUM_LINE_MAX = 256, YUM_TEXT_MAX = 8192, YUM_TOLD_MAX = 4 };

struct yum;

/* A program's arguments; a failure to add one is remembered. */
struct yum_args {
    struct array items; /* char * */
    enum error_code failed;
};
void yum_args_add(struct yum_args *args, const char *fmt, ...) PRINTF_LIKE(2, 3);
void yum_args_done(struct yum_args *args);

/* How a program ended. */
struct yum_end {
    int64_t exit_code;
    int signal; /* 0: it exited */
};

struct yum {
    struct handler_run *run;
    const struct yum_params *params;
    enum yum_verb type;
    bool cancelled;

    /* What is under way: a program, or the wait for a lock before it is started again. */
    struct process *process;
    uv_timer_t timer;
    struct yum_args args;
    bool is_tool;
    bool is_shown;       /* what it prints is the step's output */
    const char *program; /* as found */
    struct buf output;   /* what it printed: all of a tool's, of dnf's up to a bound */
    struct yum_end end;
    void (*next)(struct yum *y); /* called when it has ended, unless the run is cancelled */
    uint64_t lock_until_ms;      /* on the loop's clock; 0: nobody was in the way yet */

    struct yum_plan plan;
    struct yum_record record;
    struct rpm_set first, now; /* installed at first, and when it was last looked */
    bool changed;              /* the host, by this run */
    bool online;               /* execute: dnf may ask its repositories */
    struct error failure;      /* why a change that had begun went wrong */
    struct yum_end change_end; /* of the dnf that made it */
    bool scriptlet_failed;     /* which rpm passes over */

    struct handler_result result;
};

/* ---- yum_run.c --------------------------------------------------------------------------- */

const char *yum_root(const struct yum *y);
/* A run begins with this; NULL when there is no memory (the run has failed). */
struct yum *yum_new(struct handler_run *run, enum yum_verb type);
/* What the transaction has brought may need a reboot, if it is of this machine. */
void yum_need_reboot(const struct yum *y);
/* Ends the run. The result is taken over. */
void yum_finish(struct yum *y, struct handler_result *result);
void yum_fail_error(struct yum *y, const struct error *err);
/* As of its last program. */
void yum_fail_program(struct yum *y, const char *what);
void yum_cancel(struct handler_run *run);

/* Starts the tool (rpm_tool.h), or dnf, with y->args, which are emptied first by the _args calls.
 */
void yum_tool_args(struct yum *y, const char *mode);
void yum_tool_start(struct yum *y, void (*next)(struct yum *y));
/* As that, and what it prints is the step's output. */
void yum_shown_start(struct yum *y, void (*next)(struct yum *y));
/* The options of every run of dnf, the first of which is `go` ("-y", "--assumeno"). */
void yum_dnf_args(struct yum *y, const char *go);
/* And what it is asked for: y->plan. */
void yum_ask_args(struct yum *y);
bool yum_ended_well(const struct yum *y);
/* The line of the output that says why, "" when there is none. */
void yum_reason(const struct yum *y, char ret_line[YUM_LINE_MAX]);
/* Reads a set that the tool has printed. */
enum error_code yum_set_read(struct yum *y, struct rpm_set *ret_set, struct error *err) MUST_CHECK;

/* ---- yum.c: what several operations begin or end with ------------------------------------ */

/* Lists what is installed into y->now, and looks for damage in those of y->record.before. */
void yum_list(struct yum *y, void (*next)(struct yum *y));
/* Reads y->now; false when the run was ended by a failure. */
bool yum_listed(struct yum *y);
/* Runs a mode of the tool that has the step's folder for its only argument: "end", "unmark" or
 * "drop". */
void yum_tidy(struct yum *y, const char *mode, void (*next)(struct yum *y));
/* Back to y->record.before, from the kept packages. */
void yum_apply_back(struct yum *y, void (*next)(struct yum *y));
/* Takes how that ended into y->failure. */
void yum_applied(struct yum *y);
/* What is said of a record that cannot be gone back from. */
void yum_lacks_text(const struct yum *y, char *ret_text, size_t size);
/* Reads what prepare captured. */
enum error_code yum_record_read(struct yum *y, struct error *err) MUST_CHECK;

/* ---- yum_prepare.c ----------------------------------------------------------------------- */

void yum_prepare(struct yum *y); /* prepare and check */

/* ---- yum_execute.c ----------------------------------------------------------------------- */

void yum_execute(struct yum *y);
