/*
 * systemd: a connection to the service manager, by D-Bus, on the loop. Nothing here waits: calls
 * are answered later, one at a time.
 *
 * As root it is the manager's own socket, which systemctl uses too: it answers while the message
 * bus is down or is itself the unit that is restarted. Without it, and for others, the system bus.
 *
 * Threading: the loop's thread. I/O: a socket.
 */
#pragma once

#include "common/base/error.h"
#include "handlers/unit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct systemd;

/* Calls are answered once, by this, later; `err` is NULL when it went well. Another call may be
 * made in it, and the connection closed. */
struct systemd_reply {
    void (*done)(void *ctx, const struct error *err);
    void *ctx;
};

/* ERR_UNAVAILABLE: systemd does not run here, or does not take connections; ERR_NO_MEMORY. */
enum error_code systemd_open(uv_loop_t *loop, struct systemd **ret_systemd,
                             struct error *err) MUST_CHECK;
/* A call under way is dropped, unanswered. Freed before `closed` is called. */
void systemd_close(struct systemd *s, void (*closed)(void *ctx), void *ctx);

/* Each returns an error when the call cannot be made; then it is not answered. */

/* Loads the unit and reads what is known of it into *ret_unit (zeroed or a unit before), which must
 * stay until it is answered. A unit that does not exist has load state "not-found". */
enum error_code systemd_unit_read(struct systemd *s, const char *name, struct unit *ret_unit,
                                  struct systemd_reply reply, struct error *err) MUST_CHECK;
/* Has a job done and waits for its end. ERR_BUSY: called off by somebody else's job; ERR_TIMEOUT,
 * ERR_IO (it failed), ERR_DENIED, ERR_INVALID (it does not apply). */
enum error_code systemd_job_run(struct systemd *s, enum unit_job job, const char *unit,
                                struct systemd_reply reply, struct error *err) MUST_CHECK;
/* Calls the job under way off: this reply comes in place of the job's, once systemd has called it
 * off or found it over. False when there is none to call off: then it is not answered. */
bool systemd_job_cancel(struct systemd *s, struct systemd_reply reply);
/* Reads all unit files anew. */
enum error_code systemd_reload(struct systemd *s, struct systemd_reply reply,
                               struct error *err) MUST_CHECK;
/* Has the machine rebooted, in order: answered once that has begun, and not taken back by any job
 * that comes later. */
enum error_code systemd_reboot(struct systemd *s, struct systemd_reply reply,
                               struct error *err) MUST_CHECK;
/* Forgets that the unit failed, and how often it was started lately. A unit that is not loaded is
 * no error. */
enum error_code systemd_reset_failed(struct systemd *s, const char *unit,
                                     struct systemd_reply reply, struct error *err) MUST_CHECK;

/* What enabling or disabling did; `lines` tells of each change, for people. */
struct systemd_enabling {
    bool installable; /* the unit file says what enabling it means */
    size_t changes;
    char lines[1024];
};
/* *ret must stay until it is answered. `runtime`: the links that are gone after a reboot. */
enum error_code systemd_enable(struct systemd *s, const char *unit, struct systemd_enabling *ret,
                               struct systemd_reply reply, struct error *err) MUST_CHECK;
enum error_code systemd_disable(struct systemd *s, const char *unit, bool runtime,
                                struct systemd_enabling *ret, struct systemd_reply reply,
                                struct error *err) MUST_CHECK;
