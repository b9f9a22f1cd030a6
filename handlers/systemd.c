#include "handlers/systemd.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/systemd_decode.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define MANAGER "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
#define MANAGER_INTERFACE "org.freedesktop.systemd1.Manager"
#define PRIVATE_ADDRESS "unix:path=/run/systemd/private"

enum {
    HANDLES = 3,
    JOB_PATH_MAX = 128,
    RESULTS_MAX = 16, /* of jobs that end before their number is known */
    USEC_PER_MS = 1000,
    CALL_SECONDS = 120 /* reading all unit files anew takes its time */
};

/* A job's end, as it is told. */
struct job_end {
    char path[JOB_PATH_MAX];
    char result[UNIT_STATE_MAX];
};

struct systemd {
    uv_loop_t *loop;
    sd_bus *bus;
    sd_bus_slot *call; /* under way */
    struct systemd_reply reply;
    bool busy, closing, lost;
    int closed;

    struct unit *unit; /* that is read */
    struct systemd_enabling *enabling;

    /* The job under way; "": none, or its number is not known yet. */
    enum unit_job job;
    bool cancelling;
    char job_unit[UNIT_NAME_MAX + 1];
    char job_path[JOB_PATH_MAX];
    struct job_end ends[RESULTS_MAX];
    size_t end_count;

    /* What keeps sd-bus going: before the loop waits, what there is is done, and it is asked what
     * to wait for. */
    uv_prepare_t prepare;
    uv_poll_t poll;
    int poll_fd; /* of our own: sd-bus closes its one when the connection ends */
    uv_timer_t timer;
    int polled; /* UV_READABLE, UV_WRITABLE */
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

/* ---- Answers ----------------------------------------------------------------------------- */

static void answer(struct systemd *s, const struct error *err)
{
    struct systemd_reply reply = s->reply;
    assert(s->busy);
    s->busy = s->cancelling = false;
    s->job = UNIT_JOB_NONE;
    s->job_path[0] = '\0';
    s->call = sd_bus_slot_unref(s->call);
    reply.done(reply.ctx, err);
}

static void answer_error(struct systemd *s, enum error_code code, const char *text)
{
    struct error err = {0};
    (void)error_set(&err, code, "%s", text);
    answer(s, &err);
}

static void connection_lost(struct systemd *s, int rc)
{
    char text[128];
    (void)snprintf(text, sizeof(text), "the connection to systemd was lost: %s", strerror(-rc));
    s->lost = true;
    (void)uv_poll_stop(&s->poll);
    (void)uv_prepare_stop(&s->prepare);
    if (s->busy)
        answer_error(s, ERR_UNAVAILABLE, text);
}

/* False, and answered, when a message is an error's. */
static bool message_good(struct systemd *s, sd_bus_message *m)
{
    struct error err = {0};
    if (systemd_error_decode(m, &err) == ERR_OK)
        return true;
    answer(s, &err);
    return false;
}

static void message_bad(struct systemd *s)
{
    answer_error(s, ERR_PROTOCOL, "systemd's answer is not understood");
}

/* ---- The loop ---------------------------------------------------------------------------- */

static void polled(uv_poll_t *poll, int status, int events)
{
    /* The loop is awake, and prepares before it waits again. */
    (void)poll;
    (void)status;
    (void)events;
}

static void timed(uv_timer_t *timer)
{
    (void)timer;
}

static void wait_for(struct systemd *s)
{
    uint64_t at_usec = UINT64_MAX;
    struct timespec now;
    int events = sd_bus_get_events(s->bus);
    int wanted = (events & POLLIN ? UV_READABLE : 0) | (events & POLLOUT ? UV_WRITABLE : 0);
    if (events >= 0 && wanted != s->polled) {
        s->polled = wanted;
        int rc = uv_poll_start(&s->poll, wanted, polled);
        assert(rc == 0);
    }
    (void)uv_timer_stop(&s->timer);
    if (sd_bus_get_timeout(s->bus, &at_usec) < 0 || at_usec == UINT64_MAX)
        return;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_usec = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    uint64_t wait_ms = at_usec > now_usec ? (at_usec - now_usec) / USEC_PER_MS + 1 : 0;
    int rc = uv_timer_start(&s->timer, timed, wait_ms, 0);
    assert(rc == 0);
}

static void prepared(uv_prepare_t *prepare)
{
    struct systemd *s = prepare->data;
    int rc = 1;
    while (!s->closing && rc > 0)
        rc = sd_bus_process(s->bus, NULL);
    if (rc < 0 && !s->closing)
        connection_lost(s, rc);
    else if (!s->closing)
        wait_for(s);
}

/* ---- Jobs -------------------------------------------------------------------------------- */

static void job_over(struct systemd *s, const char *result)
{
    struct error err = {0};
    enum error_code code = systemd_job_result(result, s->job, s->job_unit, &err);
    answer(s, code == ERR_OK ? NULL : &err);
}

/* For what need not succeed. */
static int call_tried(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
    (void)m;
    (void)error;
    answer(ctx, NULL);
    return 0;
}

static bool cancel_send(struct systemd *s)
{
    s->call = sd_bus_slot_unref(s->call);
    return sd_bus_call_method_async(s->bus, &s->call, "org.freedesktop.systemd1", s->job_path,
                                    "org.freedesktop.systemd1.Job", "Cancel", call_tried, s,
                                    "") >= 0;
}

static int job_removed(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
    struct systemd *s = ctx;
    uint32_t id;
    const char *path, *unit, *result;
    (void)error;
    if (s->job == UNIT_JOB_NONE || s->cancelling ||
        sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0)
        return 0;
    if (s->job_path[0] != '\0') {
        if (strcmp(path, s->job_path) == 0)
            job_over(s, result);
    } else if (s->end_count < RESULTS_MAX && strcmp(unit, s->job_unit) == 0) {
        struct job_end *end = &s->ends[s->end_count++];
        (void)snprintf(end->path, sizeof(end->path), "%s", path);
        (void)snprintf(end->result, sizeof(end->result), "%s", result);
    }
    return 0;
}

static int job_begun(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
    struct systemd *s = ctx;
    const char *path;
    (void)error;
    if (!message_good(s, m))
        return 0;
    if (sd_bus_message_read(m, "o", &path) < 0) {
        message_bad(s);
        return 0;
    }
    (void)snprintf(s->job_path, sizeof(s->job_path), "%s", path);
    if (s->cancelling && !cancel_send(s)) {
        answer(s, NULL);
        return 0;
    }
    for (size_t i = 0; i < s->end_count && !s->cancelling; i++) {
        if (strcmp(s->ends[i].path, s->job_path) == 0) {
            job_over(s, s->ends[i].result);
            break;
        }
    }
    return 0;
}

/* ---- Other answers ----------------------------------------------------------------------- */

static int call_over(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
    struct systemd *s = ctx;
    (void)error;
    if (message_good(s, m))
        answer(s, NULL);
    return 0;
}

static int properties_came(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
    struct systemd *s = ctx;
    struct error err = {0};
    (void)error;
    if (!message_good(s, m))
        return 0;
    enum error_code code = systemd_unit_decode(m, s->unit, &err);
    answer(s, code == ERR_OK ? NULL : &err);
    return 0;
}

static enum error_code call_failed(int rc, struct error *err)
{
    return rc == -ENOMEM
               ? error_set(err, ERR_NO_MEMORY, NULL)
               : error_set(err, ERR_UNAVAILABLE, "systemd cannot be asked: %s", strerror(-rc));
}

static int unit_loaded(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
    struct systemd *s = ctx;
    struct error err = {0};
    const char *path;
    (void)error;
    if (!message_good(s, m))
        return 0;
    if (sd_bus_message_read(m, "o", &path) < 0) {
        message_bad(s);
        return 0;
    }
    /* This slot's callback is under way, so it is not freed before it returns. */
    s->call = sd_bus_slot_unref(s->call);
    int rc = sd_bus_call_method_async(s->bus, &s->call, "org.freedesktop.systemd1", path,
                                      "org.freedesktop.DBus.Properties", "GetAll", properties_came,
                                      s, "s", "");
    if (rc < 0) {
        (void)call_failed(rc, &err);
        answer(s, &err);
    }
    return 0;
}

static void enabling_came(struct systemd *s, sd_bus_message *m, bool flag_first)
{
    struct error err = {0};
    if (!message_good(s, m))
        return;
    enum error_code code = systemd_enabling_decode(m, flag_first, s->enabling, &err);
    answer(s, code == ERR_OK ? NULL : &err);
}

static int enabled(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
    (void)error;
    enabling_came(ctx, m, true);
    return 0;
}

static int disabled(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
    (void)error;
    enabling_came(ctx, m, false);
    return 0;
}

/* ---- Calls ------------------------------------------------------------------------------- */

/* Takes what a call of sd_bus_call_method_async() returned. */
static enum error_code call_begun(struct systemd *s, int rc, struct systemd_reply reply,
                                  struct error *err)
{
    if (rc < 0 || s->lost)
        return call_failed(rc < 0 ? rc : -ENOTCONN, err);
    s->busy = true;
    s->reply = reply;
    return ERR_OK;
}

enum error_code systemd_unit_read(struct systemd *s, const char *name, struct unit *ret_unit,
                                  struct systemd_reply reply, struct error *err)
{
    assert(!s->busy && !s->closing);
    s->unit = ret_unit;
    int rc = sd_bus_call_method_async(s->bus, &s->call, MANAGER, MANAGER_INTERFACE, "LoadUnit",
                                      unit_loaded, s, "s", name);
    return call_begun(s, rc, reply, err);
}

enum error_code systemd_job_run(struct systemd *s, enum unit_job job, const char *unit,
                                struct systemd_reply reply, struct error *err)
{
    static const char *const methods[UNIT_JOB_COUNT] = {
        [UNIT_JOB_START] = "StartUnit",
        [UNIT_JOB_STOP] = "StopUnit",
        [UNIT_JOB_RESTART] = "RestartUnit",
        [UNIT_JOB_RELOAD] = "ReloadUnit",
    };
    assert(!s->busy && !s->closing && methods[job]);
    int rc = sd_bus_call_method_async(s->bus, &s->call, MANAGER, MANAGER_INTERFACE, methods[job],
                                      job_begun, s, "ss", unit, "replace");
    enum error_code code = call_begun(s, rc, reply, err);
    if (code != ERR_OK)
        return code;
    s->job = job;
    s->end_count = 0;
    s->job_path[0] = '\0';
    (void)snprintf(s->job_unit, sizeof(s->job_unit), "%s", unit);
    return ERR_OK;
}

bool systemd_job_cancel(struct systemd *s, struct systemd_reply reply)
{
    if (s->job == UNIT_JOB_NONE || s->cancelling)
        return false;
    /* Where its number is not known yet it is called off once it is. */
    if (s->job_path[0] != '\0' && !cancel_send(s))
        return false;
    s->cancelling = true;
    s->reply = reply;
    return true;
}

enum error_code systemd_reload(struct systemd *s, struct systemd_reply reply, struct error *err)
{
    assert(!s->busy && !s->closing);
    int rc = sd_bus_call_method_async(s->bus, &s->call, MANAGER, MANAGER_INTERFACE, "Reload",
                                      call_over, s, "");
    return call_begun(s, rc, reply, err);
}

enum error_code systemd_reboot(struct systemd *s, struct systemd_reply reply, struct error *err)
{
    assert(!s->busy && !s->closing);
    int rc = sd_bus_call_method_async(s->bus, &s->call, MANAGER, MANAGER_INTERFACE, "StartUnit",
                                      call_over, s, "ss", "reboot.target", "replace-irreversibly");
    return call_begun(s, rc, reply, err);
}

enum error_code systemd_reset_failed(struct systemd *s, const char *unit,
                                     struct systemd_reply reply, struct error *err)
{
    assert(!s->busy && !s->closing);
    int rc = sd_bus_call_method_async(s->bus, &s->call, MANAGER, MANAGER_INTERFACE,
                                      "ResetFailedUnit", call_tried, s, "s", unit);
    return call_begun(s, rc, reply, err);
}

enum error_code systemd_enable(struct systemd *s, const char *unit, struct systemd_enabling *ret,
                               struct systemd_reply reply, struct error *err)
{
    assert(!s->busy && !s->closing);
    s->enabling = ret;
    int rc = sd_bus_call_method_async(s->bus, &s->call, MANAGER, MANAGER_INTERFACE,
                                      "EnableUnitFiles", enabled, s, "asbb", 1, unit, 0, 0);
    return call_begun(s, rc, reply, err);
}

enum error_code systemd_disable(struct systemd *s, const char *unit, bool runtime,
                                struct systemd_enabling *ret, struct systemd_reply reply,
                                struct error *err)
{
    assert(!s->busy && !s->closing);
    s->enabling = ret;
    int rc =
        sd_bus_call_method_async(s->bus, &s->call, MANAGER, MANAGER_INTERFACE, "DisableUnitFiles",
                                 disabled, s, "asb", 1, unit, runtime ? 1 : 0);
    return call_begun(s, rc, reply, err);
}

/* ---- Life -------------------------------------------------------------------------------- */

static int bus_open_private(sd_bus **ret_bus)
{
    sd_bus *bus = NULL;
    int rc = sd_bus_new(&bus);
    if (rc >= 0)
        rc = sd_bus_set_address(bus, PRIVATE_ADDRESS);
    if (rc >= 0)
        rc = sd_bus_start(bus);
    if (rc < 0) {
        sd_bus_unref(bus);
        return rc;
    }
    *ret_bus = bus;
    return 0;
}

static int bus_open(sd_bus **ret_bus)
{
    if (geteuid() == 0 && bus_open_private(ret_bus) >= 0)
        return 0;
    return sd_bus_open_system(ret_bus);
}

/* Without these no end of a job is heard of. A refusal shows in the calls that follow. */
static int signals_ask_for(struct systemd *s)
{
    int rc = sd_bus_set_method_call_timeout(s->bus, (uint64_t)CALL_SECONDS * 1000000);
    if (rc >= 0)
        rc = sd_bus_match_signal_async(s->bus, NULL, NULL, "/org/freedesktop/systemd1",
                                       MANAGER_INTERFACE, "JobRemoved", job_removed, NULL, s);
    if (rc >= 0)
        rc = sd_bus_call_method_async(s->bus, NULL, MANAGER, MANAGER_INTERFACE, "Subscribe", NULL,
                                      NULL, "");
    return rc;
}

static void systemd_free(struct systemd *s)
{
    sd_bus_slot_unref(s->call);
    sd_bus_close(s->bus);
    sd_bus_unref(s->bus);
    if (s->poll_fd >= 0)
        (void)close(s->poll_fd);
    mem_free(s);
}

static void handle_closed(uv_handle_t *handle)
{
    struct systemd *s = handle->data;
    if (++s->closed < HANDLES)
        return;
    void (*closed)(void *ctx) = s->on_closed;
    void *ctx = s->closed_ctx;
    systemd_free(s);
    closed(ctx);
}

static int handles_open(struct systemd *s)
{
    int fd = sd_bus_get_fd(s->bus);
    if (fd < 0)
        return fd;
    s->poll_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (s->poll_fd < 0)
        return -errno;
    int rc = uv_poll_init(s->loop, &s->poll, s->poll_fd);
    if (rc != 0)
        return rc;
    rc = uv_prepare_init(s->loop, &s->prepare);
    assert(rc == 0);
    rc = uv_timer_init(s->loop, &s->timer);
    assert(rc == 0);
    s->poll.data = s->prepare.data = s->timer.data = s;
    rc = uv_prepare_start(&s->prepare, prepared);
    assert(rc == 0);
    return 0;
}

enum error_code systemd_open(uv_loop_t *loop, struct systemd **ret_systemd, struct error *err)
{
    if (sd_booted() <= 0)
        return error_set(err, ERR_UNAVAILABLE, "systemd does not run on this server");
    struct systemd *s = MEM_NEW(struct systemd);
    if (!s)
        return error_set(err, ERR_NO_MEMORY, NULL);
    s->loop = loop;
    s->poll_fd = -1;
    int rc = bus_open(&s->bus);
    if (rc >= 0)
        rc = signals_ask_for(s);
    if (rc >= 0)
        rc = handles_open(s);
    if (rc < 0) {
        systemd_free(s);
        return error_set(err, ERR_UNAVAILABLE, "systemd cannot be reached: %s", strerror(-rc));
    }
    *ret_systemd = s;
    return ERR_OK;
}

void systemd_close(struct systemd *s, void (*closed)(void *ctx), void *ctx)
{
    assert(!s->closing);
    s->closing = true;
    s->on_closed = closed;
    s->closed_ctx = ctx;
    uv_close((uv_handle_t *)&s->prepare, handle_closed);
    uv_close((uv_handle_t *)&s->poll, handle_closed);
    uv_close((uv_handle_t *)&s->timer, handle_closed);
}
