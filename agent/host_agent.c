#include "agent/host_internal.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/net/net.h"
#include "handlers/catalog.h"

enum { ALARMS_PER_AGENT = 4 }; /* its own, the link's, the identity's, the runner's */

/* ---- The agent's seams, filled with the real parts ---------------------------------------------
 */

static struct undo_journal *journal_of(void *ctx)
{
    return ((struct host *)ctx)->journal;
}

static enum error_code store_append(void *ctx, const struct undo_append *append, struct error *err)
{
    return undo_journal_append(journal_of(ctx), append, err);
}

static enum error_code store_ack(void *ctx, const char *server, const char *rollout, int64_t seq,
                                 struct error *err)
{
    return undo_journal_ack(journal_of(ctx), server, rollout, seq, err);
}

static enum error_code store_save_epoch(void *ctx, const char *server, const char *orchestrator,
                                        int64_t epoch, struct error *err)
{
    return undo_journal_save_epoch(journal_of(ctx), server, orchestrator, epoch, err);
}

static enum error_code store_epoch(void *ctx, const char *server, const char *orchestrator,
                                   int64_t *ret_epoch, struct error *err)
{
    return undo_journal_epoch(journal_of(ctx), server, orchestrator, ret_epoch, err);
}

static enum error_code store_nonce(void *ctx, const char *server, const char *nonce,
                                   char ret_rollout[ID_BUFFER], struct error *err)
{
    return undo_journal_nonce(journal_of(ctx), server, nonce, ret_rollout, err);
}

static enum error_code
store_open_executions(void *ctx, const char *server,
                      enum error_code (*each)(void *each_ctx, const char *rollout,
                                              const struct undo_status *status, struct error *err),
                      void *each_ctx, struct error *err)
{
    return undo_journal_open_executions(journal_of(ctx), server, each, each_ctx, err);
}

static enum error_code store_find(void *ctx, const char *server, const char *rollout,
                                  int64_t time_ms, struct undo_status *ret_status,
                                  struct error *err)
{
    (void)time_ms; /* may be of a clock that has jumped */
    return undo_journal_find(journal_of(ctx), server, rollout, host_age_ms(ctx), ret_status, err);
}

static enum error_code store_load(void *ctx, const char *server, const char *rollout,
                                  struct undo_image *ret_image, struct error *err)
{
    return undo_journal_load(journal_of(ctx), server, rollout, ret_image, err);
}

static enum error_code store_entries(void *ctx, const char *server, const char *rollout,
                                     const struct undo_portion *portion, struct array *ret_entries,
                                     struct error *err)
{
    return undo_journal_entries(journal_of(ctx), server, rollout, portion, ret_entries, err);
}

static enum error_code store_capture(void *ctx, const char *server, const char *rollout,
                                     uint32_t step, char **ret_undo, struct error *err)
{
    return undo_journal_capture(journal_of(ctx), server, rollout, step, ret_undo, err);
}

static enum error_code store_folder(void *ctx, const char *server, const char *rollout,
                                    uint32_t step, char ret_path[UNDO_FILES_PATH_MAX],
                                    struct error *err)
{
    return undo_journal_folder(journal_of(ctx), server, rollout, step, ret_path, err);
}

static struct undo_usage store_usage(void *ctx)
{
    return undo_journal_usage(journal_of(ctx));
}

static enum error_code store_expire(void *ctx, int64_t time_ms,
                                    void (*done)(void *done_ctx, enum error_code result),
                                    void *done_ctx, struct error *err)
{
    (void)time_ms; /* the same */
    return undo_journal_expire(journal_of(ctx), host_age_ms(ctx), done, done_ctx, err);
}

static bool store_stalled(void *ctx)
{
    bool final = false;
    return undo_journal_stalled(journal_of(ctx), &final, NULL);
}

static bool link_out(void *ctx, const char *data, size_t len, bool droppable)
{
    const struct host_agent *ha = ctx;
    return link_send(ha->link, data, len, droppable);
}

static void link_anew(void *ctx)
{
    const struct host_agent *ha = ctx;
    link_renew(ha->link);
}

static void runner_in(void *ctx, const struct runner_operation *operation)
{
    const struct host_agent *ha = ctx;
    /* What it finds out later than that is as old as the next step's condition takes it for. */
    if (operation->operation == HANDLER_EXECUTE || operation->operation == HANDLER_ROLLBACK)
        ha->host->facts_stale = true;
    runner_start(ha->runner, operation);
}

static void runner_stop(void *ctx)
{
    const struct host_agent *ha = ctx;
    runner_cancel(ha->runner);
}

static void runner_tidy(void *ctx, const char *rollout, const char *step)
{
    const struct host_agent *ha = ctx;
    runner_clean(ha->runner, rollout, step);
}

static int64_t clock_wall(void *ctx)
{
    (void)ctx;
    return clock_wall_ms();
}

static int64_t clock_mono(void *ctx)
{
    (void)ctx;
    return clock_mono_ms();
}

static void clock_set(void *ctx, int64_t delay_ms)
{
    struct host_agent *ha = ctx;
    alarm_set(ha->host->ticker, &ha->alarm, delay_ms);
}

static void clock_stop(void *ctx)
{
    struct host_agent *ha = ctx;
    alarm_stop(ha->host->ticker, &ha->alarm);
}

/* ---- What the parts tell the agent --------------------------------------------------------------
 */

static void agent_alarm_fired(void *ctx)
{
    const struct host_agent *ha = ctx;
    agent_alarm(ha->agent);
}

static void run_over(void *ctx, const struct handler_result *result, const char *output)
{
    const struct host_agent *ha = ctx;
    agent_operation_done(ha->agent, result, output);
    host_reboot_check(ha->host);
}

static void run_live(void *ctx, int64_t offset, const char *text)
{
    const struct host_agent *ha = ctx;
    agent_operation_output(ha->agent, offset, text);
}

static void link_hello(void *ctx, struct buf *b)
{
    const struct host_agent *ha = ctx;
    agent_hello(ha->agent, b);
}

static enum error_code link_welcome(void *ctx, const struct wire_welcome *welcome,
                                    struct error *err)
{
    const struct host_agent *ha = ctx;
    enum error_code code = agent_welcome(ha->agent, welcome, err);
    if (code == ERR_OK && ha->identity)
        identity_welcomed(ha->identity);
    return code;
}

static enum error_code link_frame(void *ctx, struct wire_frame *frame, const char *text, size_t len,
                                  struct error *err)
{
    const struct host_agent *ha = ctx;
    return agent_receive(ha->agent, frame, text, len, err);
}

static void link_lost(void *ctx, const char *reason)
{
    const struct host_agent *ha = ctx;
    (void)reason;
    agent_disconnected(ha->agent);
}

static void link_peer(void *ctx, struct carrier_peer *peer)
{
    const struct host_agent *ha = ctx;
    if (ha->identity)
        identity_peer(ha->identity, peer);
}

/* A host that has none yet would be refused, which is not to be taken for the last word. */
static bool artifacts_peer(void *ctx, struct carrier_peer *peer)
{
    const struct host_agent *ha = ctx;
    if (!ha->identity)
        return true;
    identity_peer(ha->identity, peer);
    return peer->pair != NULL;
}

static void link_refused(void *ctx, enum net_end end)
{
    const struct host_agent *ha = ctx;
    if (ha->identity)
        identity_refused(ha->identity, end);
}

static void identity_changed(void *ctx)
{
    struct host_agent *ha = ctx;
    if (ha->linked)
        link_renew(ha->link);
    else
        link_start(ha->link);
    ha->linked = true;
}

void host_agent_connect(struct host_agent *ha)
{
    if (ha->identity)
        identity_start(ha->identity);
    else
        link_start(ha->link);
}

void host_agent_part(struct host_agent *ha)
{
    if (ha->identity)
        identity_stop(ha->identity);
    link_stop(ha->link, host_link_gone, ha->host);
}

/* ---- Life
 * ---------------------------------------------------------------------------------------- */

static enum error_code make_agent(struct host_agent *ha, struct error *err)
{
    struct host *h = ha->host;
    const struct agent_config config = {
        .identity = {.server = ha->server,
                     .instance = (char *)(uintptr_t)undo_journal_instance(h->journal),
                     .version = (char *)(uintptr_t)KITSUNE_VERSION,
                     .hostname = h->hostname,
                     .boot_id = h->boot_id},
        .values = {h, h->config.labels, host_facts},
        .catalog = &handler_catalog,
        .trust = h->trust,
        .after_death = undo_journal_died(h->journal),
        .link = {ha, link_out, link_anew},
        .store = {.ctx = h,
                  .append = store_append,
                  .ack = store_ack,
                  .save_epoch = store_save_epoch,
                  .epoch = store_epoch,
                  .nonce = store_nonce,
                  .open_executions = store_open_executions,
                  .find = store_find,
                  .load = store_load,
                  .entries = store_entries,
                  .capture = store_capture,
                  .folder = store_folder,
                  .usage = store_usage,
                  .expire = store_expire,
                  .stalled = store_stalled},
        .runner = {ha, runner_in, runner_stop, runner_tidy},
        .clock = {ha, clock_wall, clock_mono, clock_set, clock_stop},
        .owner = {ha, host_agent_failed, host_agent_quiet, host_reboot, host_reboot_withdraw},
    };
    return agent_new(&config, &ha->agent, err);
}

static enum error_code make_identity(struct host_agent *ha, struct error *err)
{
    const struct host_config *host = &ha->host->config;
    AUTO_BUF struct buf ticket = BUF_INIT;
    if (host->ticket)
        buf_puts(&ticket, host->ticket);
    if (host->ticket && host->several)
        buf_printf(&ticket, ".%s", ha->server);
    const struct identity_config config = {
        .carrier = ha->host->carrier,
        .ticker = ha->host->ticker,
        .data_dir = host->data_dir,
        .server = ha->server,
        .url = host->orchestrator,
        .ca = host->ca,
        .ca_fingerprint = host->ca_fingerprint,
        .ticket = ticket.data,
        .ctx = ha,
        .changed = identity_changed,
    };
    enum error_code code = buf_check(&ticket, err);
    return code == ERR_OK ? identity_new(&config, &ha->identity, err) : code;
}

static enum error_code make_parts(struct host_agent *ha, struct error *err)
{
    struct host *h = ha->host;
    const struct runner_config runner = {
        .host = &ha->handler_host,
        .ticker = h->ticker,
        .ctx = ha,
        .done = run_over,
        .live = run_live,
    };
    const struct link_config link = {
        .carrier = h->carrier,
        .ticker = h->ticker,
        .url = h->config.orchestrator,
        .server = ha->server,
        .events = {ha, link_hello, link_welcome, link_frame, link_lost, link_peer, link_refused},
    };
    enum error_code code = ticker_reserve(h->ticker, ALARMS_PER_AGENT, err);
    if (code == ERR_OK)
        code = runner_new(&runner, &ha->runner, err);
    if (code == ERR_OK)
        code = link_new(&link, &ha->link, err);
    if (code == ERR_OK && net_url_tls(h->config.orchestrator))
        code = make_identity(ha, err);
    if (code == ERR_OK)
        code = make_agent(ha, err);
    return code;
}

enum error_code host_agent_new(struct host *h, const char *server, struct host_agent **ret_agent,
                               struct error *err)
{
    struct host_agent *ha = MEM_NEW(struct host_agent);
    if (!ha)
        return error_set(err, ERR_NO_MEMORY, NULL);
    ha->host = h;
    ha->alarm.fired = agent_alarm_fired;
    ha->alarm.ctx = ha;
    ha->server = mem_strdup(server);
    ha->handler_host = (struct handler_host){
        .loop = h->config.loop,
        .server_id = ha->server,
        .installroot = h->config.installroot,
        .kill_grace_ms = HOST_KILL_GRACE_MS,
        .artifacts = h->artifacts ? &ha->artifacts.source : NULL,
        .reboot_need = &h->reboot_need,
    };
    ha->artifacts = (struct artifacts_agent){
        .artifacts = h->artifacts, .server = ha->server, .ctx = ha, .peer = artifacts_peer};
    artifacts_agent_init(&ha->artifacts);
    enum error_code code = ha->server ? make_parts(ha, err) : error_set(err, ERR_NO_MEMORY, NULL);
    if (code != ERR_OK) {
        host_agent_free(ha);
        return code;
    }
    *ret_agent = ha;
    return ERR_OK;
}

void host_agent_free(struct host_agent *ha)
{
    if (!ha)
        return;
    alarm_stop(ha->host->ticker, &ha->alarm);
    agent_free(ha->agent);
    link_free(ha->link);
    identity_free(ha->identity);
    runner_free(ha->runner);
    mem_free(ha->server);
    mem_free(ha);
}
