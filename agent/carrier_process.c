#include "agent/carrier_process_internal.h"

#include "agent/network.h"
#include "agent/network_environment.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NUMBER_TEXT_MAX = 16, ARGUMENTS_MAX = 9 };

/* ---- What is under way --------------------------------------------------------------------------
 */

static void watch_start(struct carrier_process *cp);

void carrier_process_expect(struct carrier_process *cp, struct carried *x, int64_t within_ms)
{
    x->deadline_ms = within_ms > 0 ? clock_mono_ms() + within_ms : 0;
    x->overdue = false;
    if (within_ms > 0)
        watch_start(cp);
}

/* ---- The process's end ------------------------------------------------------------------------
 */

static void restart(uv_timer_t *timer);
static void watch(uv_timer_t *timer);

static void finish(uv_handle_t *timer)
{
    struct carrier_process *cp = timer->data;
    void (*done)(void *) = cp->done;
    void *ctx = cp->done_ctx;
    mem_free(cp);
    if (done)
        done(ctx);
}

static void handles_check(struct carrier_process *cp)
{
    if (cp->pipe_open || cp->process_open)
        return;
    if (cp->ending) {
        uv_close((uv_handle_t *)&cp->timer, finish);
        return;
    }
    int64_t pause_ms = CARRIER_RESTART_FIRST_MS;
    for (uint32_t i = 0; i < cp->deaths && pause_ms < CARRIER_RESTART_MAX_MS; i++)
        pause_ms *= 2;
    if (pause_ms > CARRIER_RESTART_MAX_MS)
        pause_ms = CARRIER_RESTART_MAX_MS;
    cp->deaths++;
    (void)uv_timer_start(&cp->timer, restart, (uint64_t)pause_ms, 0);
}

static void on_pipe_closed(void *ctx)
{
    struct carrier_process *cp = ctx;
    cp->pipe_open = false;
    handles_check(cp);
}

static void on_process_closed(uv_handle_t *handle)
{
    struct carrier_process *cp = handle->data;
    cp->process_open = false;
    handles_check(cp);
}

/* Nothing more is expected of it; it is killed, and everything under way is over. */
static void down(struct carrier_process *cp, const char *reason)
{
    if (!cp->up)
        return;
    cp->up = false;
    (void)uv_timer_stop(&cp->timer);
    if (clock_mono_ms() - cp->since_ms >= CARRIER_LIVED_MS)
        cp->deaths = 0;
    channel_pipe_close(&cp->pipe);
    if (uv_is_active((uv_handle_t *)&cp->process))
        (void)uv_process_kill(&cp->process, SIGKILL);
    char why[ERROR_MESSAGE_MAX];
    (void)snprintf(why, sizeof(why), "the agent's network process is gone: %.180s", reason);
    while (cp->all)
        carried_end(cp, cp->all, NET_END_LOST, why);
}

static void on_process_exit(uv_process_t *process, int64_t status, int signum)
{
    struct carrier_process *cp = process->data;
    char reason[ERROR_MESSAGE_MAX];
    if (signum == SIGSYS)
        (void)snprintf(reason, sizeof(reason), "it tried what it may not do, and was ended");
    else if (signum != 0)
        (void)snprintf(reason, sizeof(reason), "ended by signal %d (%s)", signum,
                       strsignal(signum));
    else
        (void)snprintf(reason, sizeof(reason), "it ended with status %d", (int)status);
    if (cp->up || cp->untold)
        log_error("the network process is gone; it is started again", LOG_STR("reason", reason),
                  LOG_END);
    cp->untold = false;
    down(cp, reason);
    uv_close((uv_handle_t *)process, on_process_closed);
}

/* It breaks the rules, or hangs. */
static void give_up(struct carrier_process *cp, const char *reason)
{
    if (!cp->up)
        return;
    if (!cp->ending)
        log_error("the network process is ended; it is started again", LOG_STR("reason", reason),
                  LOG_END);
    down(cp, reason);
}

static void on_ended(void *ctx, const char *reason)
{
    struct carrier_process *cp = ctx;
    if (reason) {
        give_up(cp, reason);
        return;
    }
    cp->untold = cp->up && !cp->ending; /* how it ended is known in a moment */
    down(cp, "it has ended");
}

/* ---- What is overdue --------------------------------------------------------------------------
 */

/* Late twice: between the two what has come was read, so it is not this process that was late. */
static void watch(uv_timer_t *timer)
{
    struct carrier_process *cp = timer->data;
    int64_t now_ms = clock_mono_ms();
    bool waits = false;
    for (struct carried *x = cp->all; x; x = x->hh.next) {
        bool late = x->deadline_ms > 0 && now_ms >= x->deadline_ms;
        if (late && x->overdue) {
            give_up(cp, "it does not answer");
            return;
        }
        x->overdue = late;
        waits = waits || x->deadline_ms > 0;
    }
    if (!waits)
        (void)uv_timer_stop(timer);
}

static void watch_start(struct carrier_process *cp)
{
    if (cp->up && !uv_is_active((uv_handle_t *)&cp->timer))
        (void)uv_timer_start(&cp->timer, watch, (uint64_t)cp->config.patience_ms / 2,
                             (uint64_t)cp->config.patience_ms / 2);
}

/* ---- What comes -------------------------------------------------------------------------------
 */

static void on_frame(void *ctx, const struct channel_frame *frame)
{
    struct carrier_process *cp = ctx;
    if (!cp->up || frame->type == CHANNEL_READY)
        return;
    if (!carried_frame(cp, frame))
        give_up(cp, "it breaks the rules of the channel");
}

/* ---- Starting ---------------------------------------------------------------------------------
 */

static int spawn(struct carrier_process *cp)
{
    char uid[NUMBER_TEXT_MAX], gid[NUMBER_TEXT_MAX], files[NUMBER_TEXT_MAX];
    char format[NUMBER_TEXT_MAX], level[NUMBER_TEXT_MAX];
    static char name[] = "kitsune-agent: network", mode[] = NETWORK_MODE, same[] = "-";
    (void)snprintf(uid, sizeof(uid), "%u", (unsigned)cp->user.uid);
    (void)snprintf(gid, sizeof(gid), "%u", (unsigned)cp->user.gid);
    (void)snprintf(files, sizeof(files), "%u", (unsigned)cp->config.files);
    (void)snprintf(format, sizeof(format), "%d", (int)cp->config.log_format);
    (void)snprintf(level, sizeof(level), "%d", (int)cp->config.log_level);
    char *arguments[ARGUMENTS_MAX] = {
        name,  mode, cp->config.user ? uid : same, cp->config.user ? gid : same, files, format,
        level, NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE | UV_WRITABLE_PIPE,
         .data.stream = (uv_stream_t *)&cp->pipe.handle},
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
    };
    AUTO_FREE char **environment = network_environment();
    if (!environment)
        return UV_ENOMEM;
    const uv_process_options_t options = {
        .file = "/proc/self/exe",
        .args = arguments,
        .env = environment,
        .stdio = stdio,
        .stdio_count = 3,
        .exit_cb = on_process_exit,
    };
    return uv_spawn(cp->config.loop, &cp->process, &options);
}

static enum error_code start(struct carrier_process *cp, struct error *err)
{
    cp->pipe.inside = true;
    cp->pipe.ctx = cp;
    cp->pipe.frame = on_frame;
    cp->pipe.ended = on_ended;
    cp->pipe.closed = on_pipe_closed;
    channel_pipe_init(&cp->pipe, cp->config.loop);
    cp->pipe_open = cp->process_open = true;
    cp->process.data = cp;
    cp->since_ms = clock_mono_ms();
    int failed = spawn(cp);
    cp->up = failed == 0;
    enum error_code code = failed == 0 ? channel_pipe_start(&cp->pipe, err)
                                       : error_errno(err, -failed, "starting the network process");
    if (code == ERR_OK)
        return code;
    if (cp->up) {
        give_up(cp, err->message);
    } else {
        channel_pipe_close(&cp->pipe);
        uv_close((uv_handle_t *)&cp->process, on_process_closed);
    }
    return code;
}

static void restart(uv_timer_t *timer)
{
    struct carrier_process *cp = timer->data;
    struct error err = {0};
    if (start(cp, &err) != ERR_OK)
        log_error("the network process does not start", LOG_STR("reason", err.message), LOG_END);
}

/* ---- Life -------------------------------------------------------------------------------------
 */

static void end_overdue(uv_timer_t *timer)
{
    struct carrier_process *cp = timer->data;
    if (uv_is_active((uv_handle_t *)&cp->process))
        (void)uv_process_kill(&cp->process, SIGKILL);
}

/* It ends by itself when its end of the channel is closed. */
void carrier_process_end(struct carrier *c, void (*done)(void *ctx), void *ctx)
{
    struct carrier_process *cp = carrier_process_of(c);
    cp->ending = true;
    cp->done = done;
    cp->done_ctx = ctx;
    if (!cp->up) {
        (void)uv_timer_stop(&cp->timer);
        handles_check(cp);
        return;
    }
    while (cp->all)
        carried_end(cp, cp->all, NET_END_LOST, "the agent stops");
    cp->up = false;
    channel_pipe_close(&cp->pipe);
    (void)uv_timer_start(&cp->timer, end_overdue, CARRIER_END_MS, 0);
}

enum error_code carrier_process_new(const struct carrier_process_config *config,
                                    struct carrier **ret_carrier, struct error *err)
{
    struct carrier_process *cp = MEM_NEW(struct carrier_process);
    if (!cp)
        return error_set(err, ERR_NO_MEMORY, NULL);
    cp->base.ops = &carrier_process_ops;
    cp->config = *config;
    if (config->user)
        cp->user = *config->user;
    if (cp->config.patience_ms == 0)
        cp->config.patience_ms = CARRIER_PATIENCE_MS;
    (void)uv_timer_init(config->loop, &cp->timer);
    cp->timer.data = cp;
    enum error_code code = start(cp, err);
    if (code != ERR_OK) {
        cp->ending = true;
        handles_check(cp);
        return code;
    }
    *ret_carrier = &cp->base;
    return ERR_OK;
}

int carrier_process_pid(const struct carrier *c)
{
    const struct carrier_process *cp = carrier_process_of(c);
    return cp->up ? cp->process.pid : 0;
}
