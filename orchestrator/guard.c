#include "orchestrator/guard.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/pki/pki_key.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <unistd.h>

static const int64_t ca_soon_ms = INT64_C(365) * 24 * 3600 * 1000;

/* ---- Upkeep ---------------------------------------------------------------------------------- */

static void guard_signal(void *ctx)
{
    struct guard *g = ctx;
    (void)uv_async_send(&g->wake);
}

static void guard_wake(uv_async_t *async)
{
    struct guard *g = async->data;
    struct error why = {0};
    bool final = false;
    if (g->access == NULL)
        return;
    access_collect(g->access);
    bool stalled = access_stalled(g->access, &final, &why);
    if (stalled == g->stalled)
        return;
    g->stalled = stalled;
    if (stalled)
        log_error("the audit log cannot be written; nothing is changed until it can",
                  LOG_STR("error", why.message), LOG_INT("until_restart", final), LOG_END);
    else
        log_info("the audit log goes on", LOG_END);
}

static void guard_renew(struct guard *g)
{
    struct error err = {0};
    int64_t now_ms = clock_wall_ms();
    if (!identity_is_due(g->identity, now_ms))
        return;
    enum error_code code =
        identity_renew(g->identity, g->options->server_certificate_ms, now_ms, &err);
    if (code == ERR_OK)
        code = api_renewed(g->api, &err);
    if (code == ERR_OK)
        log_info("the server's certificate was renewed", LOG_END);
    else if (!g->renewal_failed)
        log_error("the server's certificate cannot be renewed; it is tried again",
                  LOG_STR("error", err.message), LOG_END);
    g->renewal_failed = code != ERR_OK;
}

static void guard_tick(uv_timer_t *timer)
{
    struct guard *g = timer->data;
    if (g->stalled)
        access_retry(g->access);
    guard_renew(g);
    api_tick(g->api);
}

/* Often enough that a certificate of short life is renewed in time, too. */
static uint64_t guard_period_ms(const struct options *o)
{
    uint64_t tenth = (uint64_t)o->server_certificate_ms / 10;
    return tenth < API_TICK_MS ? tenth : API_TICK_MS;
}

static void guard_refused(void *ctx, const char *peer, const char *reason)
{
    (void)ctx;
    log_info("a connection was refused", LOG_STR("peer", peer), LOG_STR("reason", reason), LOG_END);
}

void guard_alarm(struct guard *g, const struct dispatcher_alarm *alarm)
{
    if (g->api != NULL && !api_alarm(g->api, alarm))
        return;
    log_warn("an agent was refused", LOG_STR("what", alarm->what), LOG_STR("server", alarm->server),
             LOG_STR("peer", alarm->peer), LOG_STR("detail", alarm->detail), LOG_END);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static enum error_code group_find(const char *name, gid_t *ret_group, struct error *err)
{
    errno = 0;
    const struct group *group = getgrnam(name);
    if (group == NULL)
        return error_set(err, ERR_INVALID, "--socket-group: there is no group \"%.80s\"", name);
    *ret_group = group->gr_gid;
    return ERR_OK;
}

static enum error_code socket_name(struct guard *g, struct error *err)
{
    const struct options *o = g->options;
    AUTO_BUF struct buf name = BUF_INIT;
    if (o->socket == NULL)
        return ERR_OK;
    buf_printf(&name, "unix:%s", o->socket);
    g->socket = buf_check(&name, NULL) == ERR_OK ? buf_take(&name, NULL) : NULL;
    if (g->socket == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    return o->socket_group == NULL ? ERR_OK : group_find(o->socket_group, &g->group, err);
}

static enum error_code secrets_open(struct guard *g, struct error *err)
{
    const struct options *o = g->options;
    if (!pki_keys_protect())
        log_warn("core dumps may hold keys: the system does not let them be kept out", LOG_END);
    enum error_code code = identity_load(o->data_dir, &g->identity, err);
    g->uninitialised = code == ERR_NOT_FOUND;
    if (code == ERR_OK)
        code = access_open(o->data_dir, guard_signal, g, &g->access, err);
    if (code == ERR_OK && identity_ca_expires_ms(g->identity) < clock_wall_ms() + ca_soon_ms)
        log_warn("the CA's certificate expires within a year; see kitsune-orchestrator(8)",
                 LOG_END);
    return code;
}

enum error_code guard_open(struct guard *g, uv_loop_t *loop, const struct options *options,
                           struct error *err)
{
    g->options = options;
    g->wake.data = g->tick.data = g;
    if (uv_async_init(loop, &g->wake, guard_wake) != 0 || uv_timer_init(loop, &g->tick) != 0)
        return error_set(err, ERR_UNAVAILABLE, "the event loop cannot be set up");
    enum error_code code = socket_name(g, err);
    return code != ERR_OK || options->insecure_dev ? code : secrets_open(g, err);
}

void guard_describe(const struct guard *g, struct api_config *config)
{
    config->access = g->access;
    config->identity = g->identity;
    config->agent_certificate_ms = g->options->agent_certificate_ms;
    config->socket = g->socket;
    config->socket_group = g->options->socket_group == NULL ? NULL : &g->group;
    config->refused = guard_refused;
}

enum error_code guard_start(struct guard *g, struct api *api, struct error *err)
{
    const struct options *o = g->options;
    g->api = api;
    /* Until then it is its own group's, whose members are asked who they are all the same. */
    if (o->socket_group != NULL && chown(o->socket, (uid_t)-1, g->group) != 0)
        return error_errno(err, errno,
                           "--socket-group %.60s: %.100s cannot be given to it (the orchestrator's "
                           "user must be a member)",
                           o->socket_group, o->socket);
    if (g->access != NULL)
        (void)uv_timer_start(&g->tick, guard_tick, guard_period_ms(o), guard_period_ms(o));
    else
        log_warn("INSECURE: there is no TLS, and everybody on this machine may do everything "
                 "(--insecure-dev)",
                 LOG_END);
    return ERR_OK;
}

void guard_stop(struct guard *g)
{
    (void)uv_timer_stop(&g->tick);
}

void guard_close(struct guard *g)
{
    struct access *access = g->access;
    g->access = NULL;
    g->api = NULL;
    access_close(access);
    identity_free(g->identity);
    g->identity = NULL;
    mem_free(g->socket);
    uv_close((uv_handle_t *)&g->wake, NULL);
    uv_close((uv_handle_t *)&g->tick, NULL);
}
