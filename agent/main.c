/* kitsune-agent(8): options, signals, loop; the rest is host.c. */
#include "agent/host.h"
#include "agent/network.h"
#include "agent/options.h"
#include "common/base/buf.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/net/net.h"
#include "common/pki/pki_key.h"
#include "handlers/rpm_tool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

struct program {
    struct options options;
    uv_loop_t loop;
    uv_signal_t terminate, interrupt;
    struct host *host;
    bool stopping, failed;
};

/* ---- Stopping -------------------------------------------------------------------------------- */

static void program_stopped(void *ctx)
{
    struct program *p = ctx;
    host_free(p->host);
    p->host = NULL;
    uv_close((uv_handle_t *)&p->terminate, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
}

static void program_signalled(uv_signal_t *handle, int signum)
{
    struct program *p = handle->data;
    int64_t grace_ms = p->stopping ? 0 : p->options.stop_timeout_ms;
    if (!p->host)
        return;
    log_info(p->stopping ? "stopping at once" : "stopping", LOG_STR("signal", strsignal(signum)),
             LOG_END);
    p->stopping = true;
    host_stop(p->host, grace_ms, program_stopped, p);
}

/* What is durable is safe; nothing else may happen here. Restarted, the agent goes on from there.
 */
static void program_failed(void *ctx, const struct error *err)
{
    struct program *p = ctx;
    log_error("the agent cannot go on; stopping", LOG_STR("error", err->message), LOG_END);
    p->failed = true;
    p->stopping = true;
    host_stop(p->host, 0, program_stopped, p);
}

/* ---- Starting -------------------------------------------------------------------------------- */

/* One agent needs few files, and what its steps start should find the usual limits; many agents in
 * one process need a connection each. */
static void program_raise_limits(const struct program *p)
{
    struct rlimit limit;
    if (p->options.servers.count > 1 && getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
        limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static enum error_code program_start_loop(struct program *p, struct error *err)
{
    if (uv_loop_init(&p->loop) != 0 || uv_signal_init(&p->loop, &p->terminate) != 0 ||
        uv_signal_init(&p->loop, &p->interrupt) != 0 ||
        uv_signal_start(&p->terminate, program_signalled, SIGTERM) != 0 ||
        uv_signal_start(&p->interrupt, program_signalled, SIGINT) != 0)
        return error_set(err, ERR_UNAVAILABLE, "the event loop cannot be set up");
    p->terminate.data = p->interrupt.data = p;
    return ERR_OK;
}

static enum error_code program_start(struct program *p, struct error *err)
{
    const struct host_config config = {
        .loop = &p->loop,
        .orchestrator = p->options.orchestrator,
        .ca = p->options.ca,
        .ca_fingerprint = p->options.ca_fingerprint,
        .ticket = p->options.ticket,
        .several = p->options.servers.count > 1,
        .apart = !p->options.one_process,
        .log_format = p->options.log_format,
        .log_level = p->options.log_level,
        .data_dir = p->options.data_dir,
        .installroot = p->options.installroot,
        .labels = p->options.labels,
        .reboot_command = p->options.reboot_command,
        .trusted_keys = p->options.trusted_keys,
        .retention_ms = p->options.undo_retention_ms,
        .undo_max_bytes = p->options.undo_max_bytes,
        .artifact_max_bytes = p->options.artifact_max_bytes,
        .failed = program_failed,
        .ctx = p,
    };
    enum error_code code = program_start_loop(p, err);
    if (code == ERR_OK)
        code = host_new(&config, &p->host, err);
    for (size_t i = 0; i < p->options.servers.count && code == ERR_OK; i++)
        code = host_add(p->host, *ARRAY_AT(&p->options.servers, const char *, i), err);
    return code;
}

static void program_say_ready(const struct program *p)
{
    for (size_t i = 0; i < p->options.servers.count; i++) {
        AUTO_BUF struct buf text = BUF_INIT;
        buf_printf(&text, "server=%s", *ARRAY_AT(&p->options.servers, const char *, i));
        if (buf_check(&text, NULL) == ERR_OK)
            log_ready(text.data);
    }
}

static int program_refuse(struct program *p, const struct error *err)
{
    (void)fprintf(stderr, "kitsune-agent: %s\n", err->message);
    options_done(&p->options);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (rpm_tool_asked(argc, argv))
        return rpm_tool_main(argc, argv);
    static struct program program;
    if (argc > 1 && strcmp(argv[1], NETWORK_MODE) == 0)
        network_main(argc, argv);
    struct error err = {0};
    const struct options_environment environment = {
        .server_id = getenv("SERVER_ID"),
        .orchestrator = getenv("KITSUNE_ORCHESTRATOR"),
    };
    if (failpoint_setup(&err) != ERR_OK ||
        options_parse(argc, argv, &environment, &program.options, &err) != ERR_OK)
        return program_refuse(&program, &err);
    if (program.options.help || program.options.version) {
        (void)fputs(program.options.help ? options_help : "kitsune-agent " KITSUNE_VERSION "\n",
                    stdout);
        options_done(&program.options);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    log_setup(program.options.log_format, program.options.log_level);
    program_raise_limits(&program);
    if (net_url_tls(program.options.orchestrator))
        (void)pki_keys_protect();
    (void)signal(SIGPIPE, SIG_IGN);
    if (program_start(&program, &err) != ERR_OK) {
        /* The process ends here, and with it all that was set up. */
        int status = program_refuse(&program, &err);
        (void)fflush(stderr);
        _exit(status);
    }
    host_start(program.host);
    program_say_ready(&program);
    int left = uv_run(&program.loop, UV_RUN_DEFAULT);
    if (left == 0)
        left = uv_loop_close(&program.loop);
    if (left != 0)
        log_error("stopped, and not everything was closed", LOG_INT("left", left), LOG_END);
    else
        log_info("stopped", LOG_END);
    options_done(&program.options);
    return left == 0 && !program.failed ? EXIT_SUCCESS : EXIT_FAILURE;
}
