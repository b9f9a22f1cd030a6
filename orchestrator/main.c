/* kitsune-orchestrator(8): wires journal, dispatcher, API and loop together. */
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/db/db.h"
#include "common/net/net.h"
#include "common/net/pacer.h"
#include "orchestrator/api/api.h"
#include "orchestrator/artifacts/artifact_store.h"
#include "orchestrator/check.h"
#include "orchestrator/dispatch/dispatcher.h"
#include "orchestrator/guard.h"
#include "orchestrator/init.h"
#include "orchestrator/journal/journal.h"
#include "orchestrator/options.h"
#include "orchestrator/retention.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>
#include <uv.h>

enum {
    STALL_RETRY_MS = 1000, /* how often a disk that is full or read-only is tried again */
    LATE_MIN_MS = 1000,  /* a loop that is later than this, and than a heartbeat, was not running */
    GRACE_HEARTBEATS = 3 /* then everybody has so long to be heard before a deadline passes */
};

struct program {
    struct options options;
    uv_loop_t loop;
    uv_async_t wake;     /* the journal's writer has something */
    struct pacer *pacer; /* the dispatcher's earliest deadline, and its clock */
    uv_timer_t stall;    /* tries a stalled journal again */
    uv_signal_t terminate, interrupt;
    struct net *net;
    struct journal *journal;
    struct dispatcher *dispatcher;
    struct artifact_store *artifacts;
    struct api *api;
    struct guard guard;
    struct retention retention;
    struct error held; /* why nothing is acted upon; ERR_OK: as usual */
    bool stalled, stopping;
};

/* ---- The dispatcher's hooks --------------------------------------------------------------------
 */

static int64_t hook_mono(void *ctx)
{
    const struct program *p = ctx;
    return pacer_now_ms(p->pacer);
}

static int64_t hook_wall(void *ctx)
{
    (void)ctx;
    return clock_wall_ms();
}

static void hook_rearm(void *ctx)
{
    struct program *p = ctx;
    int64_t deadline = 0;
    if (p->dispatcher == NULL || p->stopping || !dispatcher_next_deadline(p->dispatcher, &deadline))
        return;
    pacer_set(p->pacer, deadline);
}

static void hook_changed(void *ctx, const char *rollout, uint64_t last_seq)
{
    struct program *p = ctx;
    if (p->api != NULL)
        api_changed(p->api, rollout, last_seq);
}

static void hook_output(void *ctx, const char *rollout, const char *json, size_t len)
{
    struct program *p = ctx;
    if (p->api != NULL)
        api_output(p->api, rollout, json, len);
}

/* What is durable is safe, and nothing else may go out: the end, at once. */
static void hook_fatal(void *ctx, const struct error *err)
{
    (void)ctx;
    log_error("the journal cannot be trusted any more; stopping",
              LOG_STR("error", err == NULL ? "unknown" : err->message), LOG_END);
    _exit(EXIT_FAILURE);
}

static void hook_note(void *ctx, const char *what, const char *server, const char *detail)
{
    (void)ctx;
    log_info(what, LOG_STR("server", server), LOG_STR("detail", detail), LOG_END);
}

static void hook_alarm(void *ctx, const struct dispatcher_alarm *alarm)
{
    struct program *p = ctx;
    guard_alarm(&p->guard, alarm);
}

static void program_tick(void *ctx)
{
    struct program *p = ctx;
    dispatcher_tick(p->dispatcher);
    hook_rearm(p);
}

/* ---- The journal's signals ---------------------------------------------------------------------
 */

static void journal_signal(void *ctx)
{
    struct program *p = ctx;
    (void)uv_async_send(&p->wake);
}

static void program_retry(uv_timer_t *timer)
{
    struct program *p = timer->data;
    journal_retry(p->journal);
}

static void program_wake(uv_async_t *async)
{
    struct program *p = async->data;
    struct error why = {0};
    bool final = false;
    if (p->journal == NULL)
        return;
    journal_collect(p->journal);
    bool stalled = journal_stalled(p->journal, &final, &why);
    if (stalled && final)
        hook_fatal(p, &why);
    if (stalled != p->stalled) {
        p->stalled = stalled;
        if (stalled) {
            log_error("the journal is stalled; dispatch stops until it can be written",
                      LOG_STR("error", why.message), LOG_END);
            (void)uv_timer_start(&p->stall, program_retry, STALL_RETRY_MS, STALL_RETRY_MS);
        } else {
            log_info("the journal goes on", LOG_END);
            (void)uv_timer_stop(&p->stall);
        }
    }
}

/* ---- Stopping -----------------------------------------------------------------------------------
 */

static void program_closed(void *ctx)
{
    struct program *p = ctx;
    struct journal *journal = p->journal;
    guard_close(&p->guard);
    p->journal = NULL;
    journal_close(journal);
    artifact_store_close(p->artifacts);
    dispatcher_free(p->dispatcher);
    api_free(p->api);
    uv_close((uv_handle_t *)&p->wake, NULL);
    pacer_close(p->pacer, NULL, NULL);
    uv_close((uv_handle_t *)&p->stall, NULL);
    retention_close(&p->retention);
}

static void program_stop(uv_signal_t *handle, int signum)
{
    struct program *p = handle->data;
    if (p->stopping)
        return;
    p->stopping = true;
    log_info("stopping", LOG_STR("signal", strsignal(signum)), LOG_END);
    uv_close((uv_handle_t *)&p->terminate, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
    pacer_stop(p->pacer);
    retention_stop(&p->retention);
    guard_stop(&p->guard);
    api_stop(p->api);
    net_close(p->net, program_closed, p);
}

/* ---- Starting -----------------------------------------------------------------------------------
 */

static void program_raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static enum error_code program_start_loop(struct program *p, struct error *err)
{
    if (uv_loop_init(&p->loop) != 0 || uv_async_init(&p->loop, &p->wake, program_wake) != 0 ||
        uv_timer_init(&p->loop, &p->stall) != 0 || !retention_init(&p->retention, &p->loop) ||
        uv_signal_init(&p->loop, &p->terminate) != 0 ||
        uv_signal_init(&p->loop, &p->interrupt) != 0 ||
        uv_signal_start(&p->terminate, program_stop, SIGTERM) != 0 ||
        uv_signal_start(&p->interrupt, program_stop, SIGINT) != 0)
        return error_set(err, ERR_UNAVAILABLE, "the event loop cannot be set up");
    p->wake.data = p->stall.data = p;
    p->terminate.data = p->interrupt.data = p;
    int64_t heartbeat_ms = p->options.heartbeat_ms;
    const struct pacer_config pacer = {
        .loop = &p->loop,
        .late_ms = heartbeat_ms > LATE_MIN_MS ? heartbeat_ms : LATE_MIN_MS,
        .grace_ms = GRACE_HEARTBEATS * heartbeat_ms,
        .due = program_tick,
        .ctx = p,
    };
    return pacer_new(&pacer, &p->pacer, err);
}

static void program_say_recovered(struct db_log log)
{
    if (log.commits > 0 || log.torn_bytes > 0)
        log_info("the journal was not closed; what is whole in its log was taken over",
                 LOG_INT("commits", log.commits), LOG_INT("torn_bytes", log.torn_bytes), LOG_END);
}

static enum error_code program_open_journal(struct program *p, struct error *err)
{
    const struct options *o = &p->options;
    AUTO_BUF struct buf path = BUF_INIT;
    buf_printf(&path, "%s/journal.db", o->data_dir);
    enum error_code code = buf_check(&path, err);
    if (code == ERR_OK)
        age_init(&p->retention.age, db_last_written_ms(path.data), clock_wall_ms(),
                 clock_mono_ms());
    if (code == ERR_OK && o->accept_restored)
        code = journal_accept_restored(o->data_dir, o->accept_epoch, err);
    if (code == ERR_OK)
        code = journal_open(o->data_dir, journal_signal, p, &p->journal, err);
    if (code == ERR_OK)
        program_say_recovered(journal_log_found(p->journal));
    if (code == ERR_OK && journal_held(p->journal, &p->held))
        log_warn("nothing is dispatched", LOG_STR("why", p->held.message), LOG_END);
    return code;
}

/* An open rollout that cannot be loaded: the file is named, and what to do. */
static enum error_code program_say_damage(const struct program *p, struct error *err)
{
    struct error why = *err;
    return error_set(err, ERR_CORRUPT,
                     "%s/journal.db: %.120s; --check lists all that is damaged; restore from a "
                     "backup",
                     p->options.data_dir, why.message);
}

static const char *program_held(const struct program *p)
{
    return p->held.code == ERR_OK ? NULL : p->held.message;
}

static enum error_code program_start_dispatcher(struct program *p, struct error *err)
{
    struct dispatcher_config dispatch = {
        .journal = p->journal,
        .heartbeat_ms = p->options.heartbeat_ms,
        .held = program_held(p),
        .ctx = p,
        .now_mono_ms = hook_mono,
        .now_wall_ms = hook_wall,
        .rearm = hook_rearm,
        .send = api_conn_send,
        .close = api_conn_close,
        .changed = hook_changed,
        .output = hook_output,
        .fatal = hook_fatal,
        .note = hook_note,
        .alarm = hook_alarm,
    };
    enum error_code code = dispatcher_new(&dispatch, &p->dispatcher, err);
    return code == ERR_CORRUPT ? program_say_damage(p, err) : code;
}

static enum error_code program_open_artifacts(struct program *p, struct error *err)
{
    const struct artifact_store_config config = {
        .loop = &p->loop,
        .dir = p->options.data_dir,
        .max_bytes = p->options.artifact_max_bytes,
        .free_min_bytes = ARTIFACT_FREE_MIN,
        .stale_ms = ARTIFACT_STALE_MS,
    };
    return artifact_store_open(&config, &p->artifacts, err);
}

static enum error_code program_serve(struct program *p, struct error *err)
{
    struct api_config api = {
        .journal = p->journal,
        .dispatcher = p->dispatcher,
        .artifacts = p->artifacts,
        .host = p->options.host,
        .port = p->options.port,
        .held = program_held(p),
    };
    guard_describe(&p->guard, &api);
    enum error_code code = api_new(p->net, &api, &p->api, err);
    return code == ERR_OK ? guard_start(&p->guard, p->api, err) : code;
}

static enum error_code program_start(struct program *p, struct error *err)
{
    enum error_code code = program_start_loop(p, err);
    if (code == ERR_OK)
        code = net_new(&p->loop, 0, &p->net, err);
    if (code == ERR_OK)
        code = guard_open(&p->guard, &p->loop, &p->options, err);
    if (code == ERR_OK)
        code = program_open_journal(p, err);
    if (code == ERR_OK)
        code = program_start_dispatcher(p, err);
    if (code == ERR_OK)
        code = program_open_artifacts(p, err);
    if (code == ERR_OK)
        code = program_serve(p, err);
    if (code != ERR_OK)
        return code;
    hook_rearm(p);
    if (p->held.code == ERR_OK && p->options.retain_ms > 0)
        retention_start(&p->retention, p->journal, p->dispatcher, p->options.retain_ms);
    return ERR_OK;
}
static void program_say_ready(const struct program *p)
{
    AUTO_BUF struct buf text = BUF_INIT;
    bool v6 = strchr(p->options.host, ':') != NULL;
    buf_printf(&text, "listen=%s%s%s:%u data-dir=%s epoch=%lld", v6 ? "[" : "", p->options.host,
               v6 ? "]" : "", api_port(p->api), p->options.data_dir,
               (long long)journal_epoch(p->journal));
    if (p->guard.access != NULL)
        buf_printf(&text, " tls=1.3 ca-fingerprint=%s", identity_ca_fingerprint(p->guard.identity));
    else
        buf_puts(&text, " INSECURE=everybody-may-do-everything");
    if (p->options.socket != NULL)
        buf_printf(&text, " socket=%s", p->options.socket);
    if (buf_check(&text, NULL) == ERR_OK)
        log_ready(text.data);
}

int main(int argc, char **argv)
{
    static struct program program;
    struct error err = {0};
    if (failpoint_setup(&err) != ERR_OK ||
        options_parse(argc, argv, &program.options, &err) != ERR_OK) {
        (void)fprintf(stderr, "kitsune-orchestrator: %s\n", err.message);
        return EXIT_FAILURE;
    }
    if (program.options.help || program.options.version) {
        (void)fputs(program.options.help ? options_help
                                         : "kitsune-orchestrator " KITSUNE_VERSION "\n",
                    stdout);
        options_done(&program.options);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (program.options.check || program.options.init) {
        int found = program.options.check ? check_run(program.options.data_dir)
                                          : init_run(&program.options);
        options_done(&program.options);
        return found;
    }
    log_setup(program.options.log_format, program.options.log_level);
    program_raise_limits();
    (void)signal(SIGPIPE, SIG_IGN);
    if (program_start(&program, &err) != ERR_OK) {
        /* The process ends here, and with it all that was set up. */
        (void)fprintf(stderr, "kitsune-orchestrator: %s\n", err.message);
        (void)fflush(stderr);
        _exit(program.guard.uninitialised ? EX_CONFIG : EXIT_FAILURE);
    }
    program_say_ready(&program);
    int left = uv_run(&program.loop, UV_RUN_DEFAULT);
    if (left == 0)
        left = uv_loop_close(&program.loop);
    if (left != 0)
        log_error("stopped, and not everything was closed", LOG_INT("left", left), LOG_END);
    else
        log_info("stopped", LOG_END);
    options_done(&program.options);
    return left == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
