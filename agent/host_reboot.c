/* host_reboot: the machine goes down for an agent's step. The operations of other agents of this
 * host that are under way are waited for, and no other is begun; then the service manager is asked,
 * or the program that --reboot-command names. */
#include "agent/host_internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "handlers/systemd.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The program under way; lives until its handle is closed, perhaps longer than the host. */
struct host_command {
    uv_process_t process;
    struct host *host;
};

static void manager_gone(void *ctx)
{
    (void)ctx;
}

static void manager_close(struct host *h)
{
    if (h->manager)
        systemd_close(TAKE(h->manager), manager_gone, NULL);
}

static bool is_wanted(const struct host *h)
{
    for (size_t i = 0; i < h->count; i++) {
        if (h->agents[i]->wants_reboot)
            return true;
    }
    return false;
}

static bool is_idle(const struct host *h)
{
    for (size_t i = 0; i < h->count; i++) {
        if (agent_busy(h->agents[i]->agent))
            return false;
    }
    return true;
}

/* An agent that is let go may have something done at once, and want a reboot itself. */
static void let_go(struct host *h)
{
    for (size_t i = 0; i < h->count && h->reboot == HOST_REBOOT_NONE; i++)
        agent_hold(h->agents[i]->agent, false);
}

static void stayed_up(struct host *h, const struct error *why)
{
    h->reboot = HOST_REBOOT_NONE;
    alarm_stop(h->ticker, &h->reboot_alarm);
    manager_close(h);
    log_warn("the server was not rebooted", LOG_STR("reason", why->message), LOG_END);
    if (h->closing != CLOSING_NOTHING)
        return;
    for (size_t i = 0; i < h->count; i++) {
        struct host_agent *ha = h->agents[i];
        if (!ha->wants_reboot)
            continue;
        ha->wants_reboot = false;
        agent_stayed_up(ha->agent, why);
    }
    let_go(h);
}

/* ---- Asking ------------------------------------------------------------------------------------
 */

/* It was asked for, and that was taken; nothing is left but to wait for it. */
static void asked(struct host *h)
{
    h->reboot = HOST_REBOOT_COMING;
    alarm_set(h->ticker, &h->reboot_alarm, HOST_REBOOT_DOWN_MS);
}

static void manager_answered(void *ctx, const struct error *err)
{
    struct host *h = ctx;
    manager_close(h);
    if (err)
        stayed_up(h, err);
    else
        asked(h);
}

static void manager_ask(struct host *h)
{
    struct error err = {0};
    const struct systemd_reply reply = {manager_answered, h};
    enum error_code code = systemd_open(h->config.loop, &h->manager, &err);
    if (code == ERR_OK)
        code = systemd_reboot(h->manager, reply, &err);
    if (code == ERR_OK)
        return;
    (void)error_wrap(&err, "no reboot (--reboot-command names another way)");
    stayed_up(h, &err);
}

static void command_gone(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void command_exited(uv_process_t *process, int64_t status, int signal)
{
    struct host_command *c = process->data;
    struct host *h = c->host;
    struct error err = {0};
    uv_close((uv_handle_t *)process, command_gone);
    h->command = NULL;
    if (status == 0 && signal == 0) {
        asked(h);
        return;
    }
    if (signal != 0)
        error_set(&err, ERR_UNAVAILABLE, "the reboot command was killed by signal %d", signal);
    else
        error_set(&err, ERR_UNAVAILABLE, "the reboot command: exit status %" PRId64, status);
    stayed_up(h, &err);
}

/* It may well outlive this process, which it is to end. */
static int command_spawn(const struct host *h, struct host_command *c)
{
    char *args[] = {"/bin/sh", "-c", (char *)(uintptr_t)h->config.reboot_command, NULL};
    uv_stdio_container_t io[] = {{.flags = UV_IGNORE},
                                 {.flags = UV_INHERIT_FD, .data.fd = 1},
                                 {.flags = UV_INHERIT_FD, .data.fd = 2}};
    const uv_process_options_t options = {
        .exit_cb = command_exited,
        .file = args[0],
        .args = args,
        .cwd = "/",
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = (int)ARRAY_LEN(io),
        .stdio = io,
    };
    return uv_spawn(h->config.loop, &c->process, &options);
}

static void command_run(struct host *h)
{
    struct error err = {0};
    struct host_command *c = MEM_NEW(struct host_command);
    if (!c) {
        error_set(&err, ERR_NO_MEMORY, NULL);
        stayed_up(h, &err);
        return;
    }
    c->process.data = c;
    int rc = command_spawn(h, c);
    if (rc == 0) {
        c->host = h;
        h->command = c;
        return;
    }
    uv_close((uv_handle_t *)&c->process, command_gone);
    error_set(&err, ERR_UNAVAILABLE, "the reboot command cannot be run: %s", uv_strerror(rc));
    stayed_up(h, &err);
}

static void ask(struct host *h)
{
    log_warn("the server is rebooted",
             LOG_STR("by", h->config.reboot_command ? h->config.reboot_command : "systemd"),
             LOG_END);
    h->reboot = HOST_REBOOT_ASKING;
    if (h->config.reboot_command)
        command_run(h);
    else
        manager_ask(h);
}

/* ---- Stages ------------------------------------------------------------------------------------
 */

void host_reboot_alarm(void *ctx)
{
    struct host *h = ctx;
    struct error err = {0};
    char text[CLOCK_TEXT_MAX];
    if (h->closing != CLOSING_NOTHING)
        return;
    if (h->reboot == HOST_REBOOT_WAITING && is_idle(h)) {
        ask(h);
    } else if (h->reboot == HOST_REBOOT_COMING) {
        duration_format(HOST_REBOOT_DOWN_MS, text);
        error_set(&err, ERR_TIMEOUT, "it did not go down within %s of being asked", text);
        stayed_up(h, &err);
    }
}

void host_reboot_check(struct host *h)
{
    if (h->reboot == HOST_REBOOT_WAITING && is_idle(h))
        alarm_set(h->ticker, &h->reboot_alarm, 0);
}

void host_reboot(void *ctx)
{
    struct host_agent *ha = ctx;
    struct host *h = ha->host;
    ha->wants_reboot = true;
    if (h->reboot != HOST_REBOOT_NONE)
        return; /* another agent's reboot is this one's, too */
    h->reboot = HOST_REBOOT_WAITING;
    for (size_t i = 0; i < h->count; i++)
        agent_hold(h->agents[i]->agent, true);
    host_reboot_check(h);
}

bool host_reboot_withdraw(void *ctx)
{
    struct host_agent *ha = ctx;
    struct host *h = ha->host;
    if (h->reboot != HOST_REBOOT_WAITING)
        return false;
    ha->wants_reboot = false;
    if (is_wanted(h))
        return true;
    h->reboot = HOST_REBOOT_NONE;
    alarm_stop(h->ticker, &h->reboot_alarm);
    let_go(h);
    return true;
}

void host_reboot_stop(struct host *h)
{
    alarm_stop(h->ticker, &h->reboot_alarm);
    manager_close(h);
    /* It is not waited for: perhaps it waits for this process to end. */
    if (h->command)
        uv_close((uv_handle_t *)&TAKE(h->command)->process, command_gone);
}

/* ---- That one is needed ------------------------------------------------------------------------
 */

struct reboot_marks host_reboot_marks(const struct host *h)
{
    return (struct reboot_marks){"", h->config.data_dir, h->boot_id};
}

static void need_add(void *ctx, const char *what)
{
    struct host *h = ctx;
    struct error err = {0};
    const struct reboot_marks marks = host_reboot_marks(h);
    if (reboot_marks_add(&marks, what, &err) != ERR_OK)
        log_warn("that a reboot is required was not kept", LOG_STR("by", what),
                 LOG_STR("reason", err.message), LOG_END);
    h->facts_stale = true;
    for (size_t i = 0; i < h->count; i++)
        agent_facts_changed(h->agents[i]->agent);
}

static bool need_get(void *ctx, struct buf *why)
{
    const struct host *h = ctx;
    const struct reboot_marks marks = host_reboot_marks(h);
    AUTO_BUF struct buf lines = BUF_INIT;
    bool needed = reboot_marks_get(&marks, &lines);
    for (size_t i = 0; i + 1 < lines.len; i++) {
        if (lines.data[i] == '\n')
            buf_puts(why, ", ");
        else
            buf_putc(why, lines.data[i]);
    }
    return needed;
}

void host_reboot_set_up(struct host *h)
{
    h->reboot_need = (struct reboot_need){h, need_add, need_get};
}
