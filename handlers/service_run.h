/*
 * service_run: the stages that the operations of `service` are made of. Each stage calls `then`
 * when it went well, and ends the run when it did not.
 *
 * Threading: the loop's thread. I/O: systemd; the thread pool.
 */
#pragma once

#include "handlers/handler.h"
#include "handlers/offload.h"
#include "handlers/systemd.h"
#include "handlers/unit.h"

#include <stdbool.h>
#include <uv.h>

/* What prepare found, for undo. */
struct service_capture {
    char *unit; /* its own name */
    bool was_up;
    char *active_state, *file_state; /* as systemd says them; file_state "" without a file */
    bool has_links;                  /* the step changes them */
    struct array family;             /* char *; see unit_links.h */
    struct array links;              /* struct unit_link */
};
extern const struct json_table service_capture_table;

struct service_run {
    struct handler_run *run;
    struct systemd *systemd;
    struct unit unit, before; /* as last read; as it was right after the job */
    char name[UNIT_NAME_MAX + 1];
    struct systemd_enabling enabling;
    struct service_capture capture;
    bool reloaded; /* the unit files were read anew */
    bool changed;

    /* What each kind of stage goes on with. */
    void (*then)(struct service_run *s);
    void (*fresh_then)(struct service_run *s);
    void (*enabled_then)(struct service_run *s);
    void (*job_then)(struct service_run *s);
    enum unit_job job;
    uint64_t asked_usec; /* when the job was asked for, since 1970; 0: not yet */
    uv_timer_t timer;    /* of the job, or until it is looked at again */
    void (*timer_fired)(struct service_run *s);
    uv_work_t work;
    enum error_code (*working)(struct service_run *s, struct error *err);
    struct error work_error;
    struct offload *log;
    struct error failure; /* while it is being found out why */
    bool working_now, cancelled, ending;
    int handles;
    struct handler_result result;
};

/* Connects and begins. */
void service_begin(struct handler_run *run, void (*first)(struct service_run *s));
const struct service_params *service_params_of(const struct service_run *s);
/* Reads the unit, by its own name where that is known. */
void service_read(struct service_run *s, void (*then)(struct service_run *s));
/* The same, and reads changed unit files anew first. */
void service_read_fresh(struct service_run *s, void (*then)(struct service_run *s));
void service_reload(struct service_run *s, void (*then)(struct service_run *s));
/* Forgets that it failed, and how often it was started lately. */
void service_reset_failed(struct service_run *s, void (*then)(struct service_run *s));
/* Enables or disables it as the params say, and adds to `changed`. */
void service_enable(struct service_run *s, void (*then)(struct service_run *s));
/* Has the job done (none: at once), waits until the unit has settled, and looks whether it is as it
 * should be. When it is not, the reason and the last lines of its log are told. */
void service_job(struct service_run *s, enum unit_job job, void (*then)(struct service_run *s));
/* Runs something that blocks on the thread pool. */
void service_work(struct service_run *s,
                  enum error_code (*work)(struct service_run *s, struct error *err),
                  void (*then)(struct service_run *s));

/* Ends the run with s->result. */
void service_end(struct service_run *s);
void service_fail(struct service_run *s, const struct error *err);
void service_say(struct service_run *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* For handler.cancel. */
void service_cancel(struct handler_run *run);
