/* options: see options.h. */
#include "agent/options.h"

#include "agent/array_push.h"
#include "agent/artifact_cache.h"
#include "agent/facts.h"
#include "agent/undo_journal.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/size.h"
#include "common/config/arguments.h"
#include "common/net/net.h"
#include "common/pki/pki_verify.h"

#include <string.h>

const char options_help[] =
    "Usage: kitsune-agent --server-id ID [OPTION]...\n"
    "Carry out the rollouts that an orchestrator sends to this server, and undo them.\n"
    "\n"
    "  --config FILE           take options from FILE first, one \"key = value\" a line, named as\n"
    "                          here without the dashes; what is said here counts more\n"
    "  --server-id ID          this server's name in plans (or SERVER_ID); may be repeated: then\n"
    "                          this process is the agent of each\n"
    "  --label NAME=VALUE      what plans may ask of this server (\"when\", \"${server.labels."
    "NAME}\");\n"
    "                          may be repeated\n"
    "  --orchestrator URL      where to connect (or KITSUNE_ORCHESTRATOR; default\n"
    "                          http://127.0.0.1:7233); https:// where that is another machine\n"
    "  --ca FILE               the CA by which the orchestrator is known (PEM)\n"
    "  --ca-fingerprint HEX    the same by the SHA-256 of its certificate\n"
    "  --enrol-token-file FILE the ticket for getting a certificate; removed when it is used "
    "(with\n"
    "                          several ids FILE.ID, one for each)\n"
    "  --data-dir DIR          where the journal and what undo needs are kept (default\n"
    "                          /var/lib/kitsune-agent)\n"
    "  --installroot DIR       let package steps act below DIR instead of /\n"
    "  --reboot-command COMMAND\n"
    "                          what reboots this server when a step asks for it, for sh (default: "
    "systemd\n"
    "                          is asked)\n"
    "  --undo-retention DURATION\n"
    "                          how long an execution can be undone after it ended (default 30d)\n"
    "  --undo-max-size SIZE    what may be kept for that, as 500M; K, M, G and T are powers of "
    "1024;\n"
    "                          0: no limit (default 4G)\n"
    "  --artifact-cache-max-size SIZE\n"
    "                          what may be kept of the artifacts that were fetched, in the same "
    "way;\n"
    "                          0: no limit (default 2G)\n"
    "  --trusted-keys FILE     run only what the keys in FILE have signed (kitsune sign); read at\n"
    "                          the start\n"
    "  --stop-timeout DURATION how long a running step may take to end when the agent is asked to\n"
    "                          stop (default 30s)\n"
    "  --log-format FORMAT     logfmt or json (default logfmt)\n"
    "  --log-level LEVEL       debug, info, warn or error (default info)\n"
    "  --one-process           speak to the network in this process, not in one without "
    "privileges:\n"
    "                          for measuring, not for use\n"
    "  --help                  print this and exit\n"
    "  --version               print the version and exit\n"
    "\n"
    "It logs to standard error, prints \"ready server=ID\" there when its journal is open, "
    "connects\n"
    "in the background, and ends cleanly on SIGTERM. What is under way goes on when it is started\n"
    "again.\n"
    "\n"
    "Example: kitsune-agent --server-id web-1 --data-dir /tmp/agent\n";

enum { STOP_TIMEOUT_DEFAULT_MS = 30 * 1000 };

enum option_key {
    KEY_CONFIG = 256,
    KEY_SERVER,
    KEY_LABEL,
    KEY_ORCHESTRATOR,
    KEY_CA,
    KEY_FINGERPRINT,
    KEY_TICKET,
    KEY_DATA,
    KEY_ROOT,
    KEY_REBOOT,
    KEY_RETENTION,
    KEY_MAX_SIZE,
    KEY_ARTIFACTS,
    KEY_TRUSTED,
    KEY_STOP,
    KEY_FORMAT,
    KEY_LEVEL,
    KEY_ONE,
    KEY_HELP,
    KEY_VERSION
};

static const char config_option[] = "config";
static const struct option long_options[] = {
    {config_option, required_argument, NULL, KEY_CONFIG},
    {"server-id", required_argument, NULL, KEY_SERVER},
    {"label", required_argument, NULL, KEY_LABEL},
    {"orchestrator", required_argument, NULL, KEY_ORCHESTRATOR},
    {"ca", required_argument, NULL, KEY_CA},
    {"ca-fingerprint", required_argument, NULL, KEY_FINGERPRINT},
    {"enrol-token-file", required_argument, NULL, KEY_TICKET},
    {"data-dir", required_argument, NULL, KEY_DATA},
    {"installroot", required_argument, NULL, KEY_ROOT},
    {"reboot-command", required_argument, NULL, KEY_REBOOT},
    {"undo-retention", required_argument, NULL, KEY_RETENTION},
    {"undo-max-size", required_argument, NULL, KEY_MAX_SIZE},
    {"artifact-cache-max-size", required_argument, NULL, KEY_ARTIFACTS},
    {"trusted-keys", required_argument, NULL, KEY_TRUSTED},
    {"stop-timeout", required_argument, NULL, KEY_STOP},
    {"log-format", required_argument, NULL, KEY_FORMAT},
    {"log-level", required_argument, NULL, KEY_LEVEL},
    {"one-process", no_argument, NULL, KEY_ONE},
    {"help", no_argument, NULL, KEY_HELP},
    {"version", no_argument, NULL, KEY_VERSION},
    {NULL, 0, NULL, 0},
};

static enum error_code server_add(struct options *options, const char *server, struct error *err)
{
    if (!id_valid(server))
        return error_set(err, ERR_INVALID,
                         "--server-id %.80s: an id is letters, digits, '.', '_' and '-', begins "
                         "with a letter or digit, and has at most %d characters",
                         server, ID_MAX);
    const char **item = array_push(&options->servers, sizeof(*item));
    if (!item)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *item = server;
    return ERR_OK;
}

static enum error_code label_add(struct options *options, const char *text, struct error *err)
{
    enum error_code code = ERR_OK;
    struct error why = {0};
    if (!options->labels)
        code = value_set_new(&options->labels, &why);
    if (code == ERR_OK)
        code = facts_label(text, options->labels, &why);
    if (code == ERR_OK || code == ERR_NO_MEMORY)
        return code == ERR_OK ? ERR_OK : error_set(err, code, NULL);
    return error_set(err, ERR_INVALID, "--label: %s", why.message);
}

static enum error_code bound_parse(const char *option, const char *text, int64_t *ret_bytes,
                                   struct error *err)
{
    struct error why = {0};
    if (size_parse(text, ret_bytes, &why) == ERR_OK)
        return ERR_OK;
    return error_set(err, ERR_INVALID, "--%s %.150s, or 0 for no limit", option, why.message);
}

static enum error_code retention_parse(const char *text, int64_t *ret_ms, struct error *err)
{
    int64_t ms = 0;
    if (duration_parse(text, &ms, err) != ERR_OK)
        return error_wrap(err, "--undo-retention");
    if (ms == 0)
        return error_set(err, ERR_INVALID,
                         "--undo-retention 0: nothing could be undone; a rollout must be over "
                         "before it passes");
    *ret_ms = ms;
    return ERR_OK;
}

/* One option with its value, from the command line or the file. */
static enum error_code option_take(void *ctx, int key, const char *value, struct error *err)
{
    struct options *options = ctx;
    switch (key) {
    case KEY_SERVER:
        return server_add(options, value, err);
    case KEY_LABEL:
        return label_add(options, value, err);
    case KEY_ORCHESTRATOR:
        options->orchestrator = value;
        return ERR_OK;
    case KEY_CA:
        options->ca = value;
        return ERR_OK;
    case KEY_FINGERPRINT:
        options->ca_fingerprint = value;
        return ERR_OK;
    case KEY_TICKET:
        options->ticket = value;
        return ERR_OK;
    case KEY_DATA:
        options->data_dir = value;
        return ERR_OK;
    case KEY_ROOT:
        options->installroot = value;
        return ERR_OK;
    case KEY_REBOOT:
        options->reboot_command = value;
        return value[0] ? ERR_OK
                        : error_set(err, ERR_INVALID, "--reboot-command must not be empty");
    case KEY_RETENTION:
        return retention_parse(value, &options->undo_retention_ms, err);
    case KEY_MAX_SIZE:
        return bound_parse("undo-max-size", value, &options->undo_max_bytes, err);
    case KEY_ARTIFACTS:
        return bound_parse("artifact-cache-max-size", value, &options->artifact_max_bytes, err);
    case KEY_TRUSTED:
        options->trusted_keys = value;
        return value[0] ? ERR_OK : error_set(err, ERR_INVALID, "--trusted-keys must not be empty");
    case KEY_STOP:
        if (duration_parse(value, &options->stop_timeout_ms, err) != ERR_OK)
            return error_wrap(err, "--stop-timeout");
        return ERR_OK;
    case KEY_FORMAT:
        return arguments_log_format(value, &options->log_format, err);
    case KEY_LEVEL:
        return arguments_log_level(value, &options->log_level, err);
    case KEY_ONE:
        options->one_process = true;
        return ERR_OK;
    case KEY_HELP:
        options->help = true;
        return ERR_OK;
    default:
        options->version = true;
        return ERR_OK;
    }
}

static bool is_said(const char *text)
{
    return text && text[0] != '\0';
}

/* Ids (and labels) add up in one place, and those of another take their place. */
static enum error_code options_environment_take(const struct options_environment *environment,
                                                struct options *options, struct error *err)
{
    if (is_said(environment->orchestrator))
        options->orchestrator = environment->orchestrator;
    if (!is_said(environment->server_id))
        return ERR_OK;
    options->servers.count = 0;
    return server_add(options, environment->server_id, err);
}

/* What the command line has said so far. */
struct line {
    struct options *options;
    bool has_server, has_label;
};

static enum error_code line_take(void *ctx, int key, const char *value, struct error *err)
{
    struct line *line = ctx;
    if (key == KEY_SERVER && !line->has_server)
        line->options->servers.count = 0;
    if (key == KEY_LABEL && !line->has_label)
        value_set_free(TAKE(line->options->labels));
    line->has_server = line->has_server || key == KEY_SERVER;
    line->has_label = line->has_label || key == KEY_LABEL;
    return option_take(line->options, key, value, err);
}

/* Plain HTTP is for this machine alone: whoever stands between could command this agent. */
static enum error_code orchestrator_check(const struct options *options, struct error *err)
{
    char hex[PKI_FINGERPRINT_MAX];
    const char *url = options->orchestrator;
    enum error_code code = net_url_check(url, err);
    if (code != ERR_OK)
        return code;
    bool tls = net_url_tls(url);
    if (!tls && !net_url_loopback(url))
        return error_set(err, ERR_INVALID,
                         "--orchestrator %.80s: to another machine only https:// is spoken; give "
                         "its https:// URL, and --ca or --ca-fingerprint",
                         url);
    if (!tls && (options->ca || options->ca_fingerprint || options->ticket))
        return error_set(err, ERR_INVALID,
                         "--orchestrator %.80s: with --ca, --ca-fingerprint or --enrol-token-file "
                         "it has to begin with https://",
                         url);
    if (options->ca && options->ca_fingerprint)
        return error_set(err, ERR_INVALID, "give one of --ca and --ca-fingerprint");
    if (options->ca_fingerprint &&
        pki_fingerprint_parse(options->ca_fingerprint, hex, err) != ERR_OK)
        return error_wrap(err, "--ca-fingerprint");
    return ERR_OK;
}

static enum error_code options_check(struct options *options, struct error *err)
{
    enum error_code code = ERR_OK;
    if (options->servers.count == 0)
        code = error_set(err, ERR_INVALID, "--server-id is missing: which server is this?");
    if (code == ERR_OK)
        code = orchestrator_check(options, err);
    if (code == ERR_OK && options->installroot && options->installroot[0] != '/')
        code = error_set(err, ERR_INVALID, "--installroot %s: must be an absolute path",
                         options->installroot);
    if (code == ERR_OK && options->data_dir[0] == '\0')
        code = error_set(err, ERR_INVALID, "--data-dir must not be empty");
    return code;
}

enum error_code options_parse(int argc, char **argv, const struct options_environment *environment,
                              struct options *ret_options, struct error *err)
{
    *ret_options = (struct options){
        .orchestrator = "http://127.0.0.1:7233",
        .data_dir = "/var/lib/kitsune-agent",
        .stop_timeout_ms = STOP_TIMEOUT_DEFAULT_MS,
        .undo_retention_ms = UNDO_RETENTION_DEFAULT_MS,
        .undo_max_bytes = UNDO_MAX_BYTES_DEFAULT,
        .artifact_max_bytes = ARTIFACT_CACHE_MAX_BYTES_DEFAULT,
        .log_level = LOG_INFO,
    };
    struct line line = {.options = ret_options};
    const struct config_use file = {long_options, config_option, ret_options, option_take};
    const struct config_use arguments = {long_options, config_option, &line, line_take};
    enum error_code code = arguments_file(argc, argv, &file, &ret_options->config, err);
    if (code == ERR_OK)
        code = options_environment_take(environment, ret_options, err);
    if (code == ERR_OK)
        code = arguments_take(argc, argv, &arguments, err);
    if (code != ERR_OK || ret_options->help || ret_options->version)
        return code;
    return options_check(ret_options, err);
}

void options_done(struct options *options)
{
    config_free(TAKE(options->config));
    value_set_free(TAKE(options->labels));
    mem_free(options->servers.items);
    options->servers = (struct array){0};
}
