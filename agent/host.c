#include "agent/host_internal.h"

#include "agent/carrier_net.h"
#include "agent/carrier_process.h"
#include "agent/facts.h"
#include "agent/sandbox.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/db/db.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { HOST_FILES_ONE = 256, HOST_FILES_SEVERAL = 1024 * 1024 }; /* of the network process */
enum { EXPIRE_EVERY_MS = 3600 * 1000, EXPIRE_EVERY_MIN_MS = 1000, UNDO_HIGH_PERCENT = 80 };

/* ---- The journal's state -----------------------------------------------------------------------
 */

static void host_fail(struct host *h, const struct error *err)
{
    if (h->failed)
        return;
    h->failed = true;
    h->config.failed(h->config.ctx, err);
}

static void stall_check(struct host *h)
{
    struct error why = {0};
    bool final = false;
    bool stalled = undo_journal_stalled(h->journal, &final, &why);
    if (final) {
        host_fail(h, &why);
        return;
    }
    if (stalled && !h->stalled)
        log_error("the journal cannot be written: executions wait", LOG_STR("reason", why.message),
                  LOG_END);
    if (!stalled && h->stalled)
        log_info("the journal can be written again", LOG_END);
    h->stalled = stalled;
    if (stalled && !alarm_armed(&h->stall_alarm))
        alarm_set(h->ticker, &h->stall_alarm, HOST_STALL_RETRY_MS);
}

static void stall_alarm_fired(void *ctx)
{
    struct host *h = ctx;
    if (!h->journal || !h->stalled)
        return;
    undo_journal_retry(h->journal);
    alarm_set(h->ticker, &h->stall_alarm, HOST_STALL_RETRY_MS);
}

int64_t host_age_ms(struct host *h)
{
    bool doubted = false;
    int64_t now_ms = age_now(&h->age, clock_wall_ms(), clock_mono_ms(), &doubted);
    if (doubted && !h->clock_doubted)
        log_warn("the clock is far ahead; for a day nothing counts as old because of it", LOG_END);
    h->clock_doubted = doubted;
    return now_ms;
}

static void expired(void *ctx, enum error_code result)
{
    struct host *h = ctx;
    (void)result; /* what is wrong with the journal is told by stall_check */
    h->expiring = false;
}

/* On a full disk one that is not over yet is not followed by another. */
static void expire_begin(struct host *h)
{
    struct error err = {0};
    if (h->expiring)
        return;
    h->expiring = true;
    if (undo_journal_expire(h->journal, host_age_ms(h), expired, h, &err) == ERR_OK)
        return;
    h->expiring = false;
    log_warn("old executions were not removed", LOG_STR("reason", err.message), LOG_END);
}

static void expire_alarm_fired(void *ctx)
{
    struct host *h = ctx;
    int64_t every_ms = EXPIRE_EVERY_MS;
    if (h->config.retention_ms > 0 && h->config.retention_ms < every_ms)
        every_ms = h->config.retention_ms > EXPIRE_EVERY_MIN_MS ? h->config.retention_ms
                                                                : EXPIRE_EVERY_MIN_MS;
    expire_begin(h);
    alarm_set(h->ticker, &h->expire_alarm, every_ms);
}

/* Says once, each time that it comes to it, that the bound is near. */
static void usage_check(struct host *h)
{
    struct undo_usage usage = undo_journal_usage(h->journal);
    bool high =
        usage.max_bytes > 0 && usage.used_bytes >= usage.max_bytes / 100 * UNDO_HIGH_PERCENT;
    if (high && !h->undo_high)
        log_warn("what is kept for undo is near its bound (--undo-max-size): past it, steps that "
                 "have to keep something fail",
                 LOG_INT("bytes", usage.used_bytes), LOG_INT("max_bytes", usage.max_bytes),
                 LOG_END);
    h->undo_high = high;
}

/* On the journal's thread. */
static void journal_wake(void *ctx)
{
    struct host *h = ctx;
    (void)uv_async_send(&h->async);
}

static void journal_collect(uv_async_t *async)
{
    struct host *h = async->data;
    if (!h->journal)
        return;
    undo_journal_collect(h->journal);
    stall_check(h);
    usage_check(h);
}

/* ---- Stopping ---------------------------------------------------------------------------------
 */

/* Every part is closed after the ones that use it: links, artifacts, network, journal, and the
 * loop's handles.
 */
static void handle_gone(struct host *h)
{
    if (--h->handles > 0)
        return;
    void (*stopped)(void *ctx) = h->stopped;
    h->stopped = NULL;
    if (stopped)
        stopped(h->stopped_ctx);
}

static void ticker_gone(void *ctx)
{
    handle_gone(ctx);
}

static void async_gone(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void carrier_gone(void *ctx)
{
    struct host *h = ctx;
    h->carrier = NULL;
    host_reboot_stop(h);
    undo_journal_close(h->journal);
    h->journal = NULL;
    for (size_t i = 0; i < h->count; i++)
        host_agent_free(TAKE(h->agents[i]));
    h->count = 0;
    h->handles = 2;
    ticker_close(TAKE(h->ticker), ticker_gone, h);
    uv_close((uv_handle_t *)&h->async, async_gone);
}

static void artifacts_gone(void *ctx)
{
    struct host *h = ctx;
    carrier_end(h->carrier, carrier_gone, h);
}

static void links_check(struct host *h)
{
    if (h->closing != CLOSING_LINKS || h->links > 0)
        return;
    h->closing = CLOSING_REST;
    if (h->artifacts)
        artifacts_close(TAKE(h->artifacts), artifacts_gone, h);
    else
        artifacts_gone(h);
}

void host_link_gone(void *ctx)
{
    struct host *h = ctx;
    h->links--;
    links_check(h);
}

static void links_stop(struct host *h)
{
    h->closing = CLOSING_LINKS;
    alarm_stop(h->ticker, &h->grace_alarm);
    h->links = h->count + 1; /* one for this function: links may be gone at once */
    for (size_t i = 0; i < h->count; i++)
        host_agent_part(h->agents[i]);
    host_link_gone(h);
}

/* Runs in a callback of an agent that became quiet, which is not to be freed under it. */
static void quiet_alarm_fired(void *ctx)
{
    struct host *h = ctx;
    if (h->closing == CLOSING_AGENTS && h->loud == 0)
        links_stop(h);
}

void host_agent_quiet(void *ctx)
{
    struct host_agent *ha = ctx;
    struct host *h = ha->host;
    if (--h->loud == 0)
        alarm_set(h->ticker, &h->quiet_alarm, 0);
}

static void grace_alarm_fired(void *ctx)
{
    struct host *h = ctx;
    for (size_t i = 0; i < h->count; i++)
        agent_interrupt(h->agents[i]->agent);
}

void host_stop(struct host *h, int64_t grace_ms, void (*done)(void *ctx), void *ctx)
{
    h->stopped = done;
    h->stopped_ctx = ctx;
    if (h->closing == CLOSING_NOTHING) {
        h->closing = CLOSING_AGENTS;
        h->loud = h->count;
        for (size_t i = 0; i < h->count; i++)
            agent_stop(h->agents[i]->agent);
        if (h->count == 0)
            alarm_set(h->ticker, &h->quiet_alarm, 0);
    }
    if (h->closing == CLOSING_AGENTS)
        alarm_set(h->ticker, &h->grace_alarm, grace_ms);
}

/* ---- Starting ---------------------------------------------------------------------------------
 */

static void alarms_set_up(struct host *h)
{
    struct {
        struct alarm *alarm;
        void (*fired)(void *ctx);
    } alarms[] = {
        {&h->stall_alarm, stall_alarm_fired},  {&h->expire_alarm, expire_alarm_fired},
        {&h->quiet_alarm, quiet_alarm_fired},  {&h->grace_alarm, grace_alarm_fired},
        {&h->reboot_alarm, host_reboot_alarm},
    };
    static_assert(ARRAY_LEN(alarms) == HOST_ALARMS, "room is reserved for all");
    for (size_t i = 0; i < ARRAY_LEN(alarms); i++)
        *alarms[i].alarm = (struct alarm){.fired = alarms[i].fired, .ctx = h};
}

/* What hello says of the machine; left empty when it cannot be read. */
static void machine_read(struct host *h)
{
    if (gethostname(h->hostname, sizeof(h->hostname) - 1) != 0)
        h->hostname[0] = '\0';
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!file)
        return;
    if (fgets(h->boot_id, sizeof(h->boot_id), file))
        h->boot_id[strcspn(h->boot_id, "\n")] = '\0';
    (void)fclose(file);
}

/* A few small files, read where the journal is read too: a plan that asks is to have an answer that
 * is not old, and to wait for it would cost more than to read. */
const struct value_set *host_facts(void *ctx)
{
    struct host *h = ctx;
    struct value_set *facts = NULL;
    int64_t now_ms = clock_mono_ms();
    const struct reboot_marks marks = host_reboot_marks(h);
    if (h->facts && !h->facts_stale && now_ms - h->facts_ms < HOST_FACTS_MAX_AGE_MS)
        return h->facts;
    if (value_set_new(&facts, NULL) != ERR_OK || facts_collect("", facts, NULL) != ERR_OK ||
        facts_collect_reboot(&marks, facts, NULL) != ERR_OK) {
        value_set_free(facts);
        return h->facts; /* memory is out: old ones are better than none */
    }
    value_set_free(h->facts);
    h->facts = facts;
    h->facts_stale = false;
    h->facts_ms = now_ms;
    return h->facts;
}

static void say_state(const struct undo_journal *j)
{
    struct db_log log = undo_journal_log_found(j);
    struct error damage;
    if (undo_journal_damaged(j, &damage))
        log_error("the journal is damaged; what needs this record will fail",
                  LOG_STR("record", damage.message), LOG_END);
    if (log.commits > 0 || log.torn_bytes > 0)
        log_info("the journal was not closed; what is whole in its log was taken over",
                 LOG_INT("commits", log.commits), LOG_INT("torn_bytes", log.torn_bytes), LOG_END);
}

/* Root gives it another user; else there is none to change to. */
static enum error_code process_open(struct host *h, struct error *err)
{
    struct sandbox_user user;
    bool root = geteuid() == 0;
    if (root && !sandbox_user_find(&user))
        log_warn("there is no user " SANDBOX_USER ": the network process runs as nobody", LOG_END);
    const struct carrier_process_config config = {
        .loop = h->config.loop,
        .user = root ? &user : NULL,
        .files = h->config.several ? HOST_FILES_SEVERAL : HOST_FILES_ONE,
        .log_format = h->config.log_format,
        .log_level = h->config.log_level,
    };
    return carrier_process_new(&config, &h->carrier, err);
}

static enum error_code carrier_open(struct host *h, struct error *err)
{
    struct net *net = NULL;
    if (h->config.apart)
        return process_open(h, err);
    enum error_code code = net_new(h->config.loop, 0, &net, err);
    if (code != ERR_OK)
        return code;
    code = carrier_net_new(net, &h->carrier, err);
    if (code != ERR_OK)
        net_close(net, NULL, NULL);
    return code;
}

/* Without them an agent still undoes what was done: it is not to fail for want of a place. */
static void artifacts_open(struct host *h)
{
    struct error err = {0};
    const struct artifacts_config config = {
        .loop = h->config.loop,
        .carrier = h->carrier,
        .ticker = h->ticker,
        .url = h->config.orchestrator,
        .data_dir = h->config.data_dir,
        .max_bytes = h->config.artifact_max_bytes,
    };
    if (artifacts_new(&config, &h->artifacts, &err) != ERR_OK)
        log_error("there is no place for artifacts: steps that need one fail",
                  LOG_STR("reason", err.message), LOG_END);
}

static enum error_code trust_open(struct host *h, struct error *err)
{
    char text[TRUST_TEXT_MAX];
    enum error_code code = trust_load(h->config.trusted_keys, &h->trust, err);
    if (code != ERR_OK)
        return code;
    trust_describe(h->trust, text);
    log_info("only signed plans are run", LOG_STR("keys", text), LOG_END);
    return ERR_OK;
}

static enum error_code parts_open(struct host *h, struct error *err)
{
    const struct undo_journal_config journal = {
        .data_dir = h->config.data_dir,
        .retention_ms = h->config.retention_ms,
        .max_bytes = h->config.undo_max_bytes,
        .wake = journal_wake,
        .wake_ctx = h,
    };
    AUTO_BUF struct buf path = BUF_INIT;
    buf_printf(&path, "%s/agent.db", h->config.data_dir);
    enum error_code code = buf_check(&path, err);
    if (code == ERR_OK) {
        age_init(&h->age, db_last_written_ms(path.data), clock_wall_ms(), clock_mono_ms());
        code = net_url_check(h->config.orchestrator, err);
    }
    if (code == ERR_OK && h->config.trusted_keys)
        code = trust_open(h, err);
    if (code == ERR_OK)
        code = ticker_reserve(h->ticker, HOST_ALARMS + ARTIFACTS_ALARMS, err);
    if (code == ERR_OK)
        code = undo_journal_open(&journal, &h->journal, err);
    if (code == ERR_OK)
        say_state(h->journal);
    if (code == ERR_OK)
        code = carrier_open(h, err);
    if (code == ERR_OK)
        artifacts_open(h);
    return code;
}

static void discarded(void *ctx)
{
    host_free(ctx);
}

enum error_code host_new(const struct host_config *config, struct host **ret_host,
                         struct error *err)
{
    struct host *h = MEM_NEW(struct host);
    if (!h)
        return error_set(err, ERR_NO_MEMORY, NULL);
    h->config = *config;
    enum error_code code = ticker_new(config->loop, &h->ticker, err);
    if (code == ERR_OK && uv_async_init(config->loop, &h->async, journal_collect) != 0) {
        ticker_close(TAKE(h->ticker), NULL, NULL);
        code = error_set(err, ERR_UNAVAILABLE, "the event loop takes no further handle");
    }
    if (code != ERR_OK) {
        host_free(h);
        return code;
    }
    h->async.data = h;
    alarms_set_up(h);
    host_reboot_set_up(h);
    machine_read(h);
    code = parts_open(h, err);
    if (code != ERR_OK) {
        /* The loop has to let go of its handles first; the caller runs it to its end. */
        h->stopped = discarded;
        h->stopped_ctx = h;
        carrier_gone(h);
        return code;
    }
    *ret_host = h;
    return ERR_OK;
}

enum error_code host_add(struct host *h, const char *server, struct error *err)
{
    if (!id_valid(server))
        return error_set(
            err, ERR_INVALID,
            "\"%s\" is not a server id (letters, digits, '.', '_' and '-', at most %d)", server,
            ID_MAX);
    for (size_t i = 0; i < h->count; i++) {
        if (strcmp(h->agents[i]->server, server) == 0)
            return error_set(err, ERR_EXISTS, "the server id \"%s\" is given twice", server);
    }
    struct host_agent **agents =
        mem_realloc(h->agents, (h->count + 1) * sizeof(struct host_agent *));
    if (!agents)
        return error_set(err, ERR_NO_MEMORY, NULL);
    h->agents = agents;
    enum error_code code = host_agent_new(h, server, &agents[h->count], err);
    if (code == ERR_OK)
        h->count++;
    return code;
}

void host_start(struct host *h)
{
    expire_alarm_fired(h);
    usage_check(h);
    for (size_t i = 0; i < h->count; i++) {
        agent_start(h->agents[i]->agent);
        host_agent_connect(h->agents[i]);
    }
}

void host_free(struct host *h)
{
    if (!h)
        return;
    assert(!h->journal && !h->ticker);
    mem_free(h->agents);
    value_set_free(h->facts);
    trust_free(h->trust);
    mem_free(h);
}

void host_agent_failed(void *ctx, const struct error *err)
{
    struct host_agent *ha = ctx;
    host_fail(ha->host, err);
}

size_t host_connected(const struct host *h)
{
    size_t connected = 0;
    for (size_t i = 0; i < h->count; i++)
        connected += link_up(h->agents[i]->link);
    return connected;
}
