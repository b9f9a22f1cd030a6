/* options: see options.h. */
#include "orchestrator/options.h"

#include "common/base/clock.h"
#include "common/base/size.h"
#include "common/config/arguments.h"
#include "common/net/net.h"
#include "orchestrator/api/api_doc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char options_help[] =
    "Usage: kitsune-orchestrator [OPTION]...\n"
    "       kitsune-orchestrator init [--data-dir DIR] [--host NAME]... [--token-file FILE]\n"
    "                                 [--renew]\n"
    "Run rollouts over a fleet of agents, and serve the API that kitsune(1) and the agents use.\n"
    "Once before that, init makes what it needs to be trusted: a CA, a certificate, and the first\n"
    "admin's token.\n"
    "\n"
    "  --config FILE           take options from FILE first, one \"key = value\" a line, named as\n"
    "                          here without the dashes; what is said here counts more\n"
    "  --listen ADDR:PORT      where to serve (default 127.0.0.1:7233; port 0 takes a free one)\n"
    "  --data-dir DIR          where the journal lives (default /var/lib/kitsune-orchestrator)\n"
    "  --socket PATH           serve on this Unix socket too, to root and to its own user as "
    "admins\n"
    "  --socket-group GROUP    and to the members of GROUP as operators\n"
    "  --insecure-dev          no TLS, and everybody may do everything: on a loopback address "
    "alone,\n"
    "                          and never on a machine that others can use\n"
    "  --agent-certificate DURATION\n"
    "                          how long an agent's certificate is good (default 30d); it renews it "
    "at\n"
    "                          two thirds of that\n"
    "  --server-certificate DURATION\n"
    "                          the same of its own (default 365d)\n"
    "  --heartbeat DURATION    how often agents say that they live (default 15s); an agent is\n"
    "                          taken for gone after three\n"
    "  --retain DURATION       how long ended rollouts are kept (default 90d; 0: forever)\n"
    "  --artifact-max-size SIZE\n"
    "                          how much the artifacts may take on the disk, as 500M; K, M, G and "
    "T\n"
    "                          are powers of 1024 (default 20G; 0: no limit)\n"
    "  --check                 look for damage in the journal, say what there is, and exit: 0 "
    "when\n"
    "                          it is sound, else 1; nothing is changed\n"
    "  --accept-restored[=EPOCH]\n"
    "                          go on with a journal that was restored from a backup (see\n"
    "                          kitsune-orchestrator(8)), in an epoch not below EPOCH\n"
    "  --host NAME             init: a name or address by which this machine is reached (default: "
    "the\n"
    "                          machine's own; those of loopback are always among them)\n"
    "  --token-file FILE       init: write the token there instead of printing it\n"
    "  --renew                 init: only make the server's certificate anew, as for other hosts\n"
    "  --log-format FORMAT     logfmt or json (default logfmt)\n"
    "  --log-level LEVEL       debug, info, warn or error (default info)\n"
    "  --help                  print this and exit\n"
    "  --version               print the version and exit\n"
    "\n"
    "It logs to standard error, prints \"ready listen=ADDR:PORT ...\" there when it serves, and "
    "ends\n"
    "cleanly on SIGTERM. Rollouts that are under way go on when it is started again.\n"
    "\n"
    "Example: kitsune-orchestrator --data-dir /tmp/kitsune --listen 127.0.0.1:7233\n";

enum { HEARTBEAT_MIN_MS = 100, HEARTBEAT_MAX_MS = 3600 * 1000, HEARTBEAT_DEFAULT_MS = 15 * 1000 };
#define DAY_MS (INT64_C(24) * 3600 * 1000)
static const int64_t retain_default_ms = 90 * DAY_MS;
static const int64_t artifact_default_bytes = INT64_C(20) * 1024 * 1024 * 1024;
static const int64_t agent_default_ms = 30 * DAY_MS, server_default_ms = 365 * DAY_MS;
static const int64_t lifetime_max_ms = 3650 * DAY_MS;
enum { LIFETIME_MIN_MS = 3000 };

enum error_code options_parse_listen(const char *text, struct options *options, struct error *err)
{
    const char *colon = strrchr(text, ':');
    const char *close = strrchr(text, ']');
    if (colon != NULL && close != NULL && colon < close)
        colon = NULL;
    size_t host_len = colon == NULL ? strlen(text) : (size_t)(colon - text);
    if (colon != NULL) {
        char *end = NULL;
        unsigned long port = strtoul(colon + 1, &end, 10);
        if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port > UINT16_MAX)
            return error_set(err, ERR_INVALID,
                             "--listen %s: the port must be a number from 0 to 65535", text);
        options->port = (uint16_t)port;
    }
    if (host_len >= 2 && text[0] == '[' && text[host_len - 1] == ']') {
        text++;
        host_len -= 2;
    }
    if (host_len >= OPTIONS_MAX_HOST)
        return error_set(err, ERR_INVALID, "--listen: the address is too long");
    if (host_len > 0) {
        memcpy(options->host, text, host_len);
        options->host[host_len] = '\0';
    }
    return ERR_OK;
}

static enum error_code options_heartbeat(const char *text, struct options *options,
                                         struct error *err)
{
    enum error_code code = duration_parse(text, &options->heartbeat_ms, err);
    if (code != ERR_OK)
        return error_wrap(err, "--heartbeat");
    if (options->heartbeat_ms < HEARTBEAT_MIN_MS || options->heartbeat_ms > HEARTBEAT_MAX_MS)
        return error_set(err, ERR_INVALID, "--heartbeat must be from 100ms to 1h, not %s", text);
    return ERR_OK;
}

static enum error_code options_retain(const char *text, struct options *options, struct error *err)
{
    if (duration_parse(text, &options->retain_ms, err) != ERR_OK)
        return error_wrap(err, "--retain");
    return ERR_OK;
}

static enum error_code options_artifacts(const char *text, struct options *options,
                                         struct error *err)
{
    if (size_parse(text, &options->artifact_max_bytes, err) != ERR_OK)
        return error_wrap(err, "--artifact-max-size");
    return ERR_OK;
}

static enum error_code options_accept(const char *text, struct options *options, struct error *err)
{
    char *end = NULL;
    options->accept_restored = true;
    if (text == NULL)
        return ERR_OK;
    errno = 0;
    long long epoch = strtoll(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || epoch > OPTIONS_MAX_EPOCH)
        return error_set(err, ERR_INVALID, "--accept-restored=%s: an epoch is a number", text);
    options->accept_epoch = epoch;
    return ERR_OK;
}

enum option_key {
    KEY_CONFIG = 256,
    KEY_LISTEN,
    KEY_DATA,
    KEY_BEAT,
    KEY_RETAIN,
    KEY_ARTIFACTS,
    KEY_INSECURE,
    KEY_SOCKET,
    KEY_GROUP,
    KEY_AGENT_CERT,
    KEY_SERVER_CERT,
    KEY_HOST,
    KEY_TOKEN_FILE,
    KEY_RENEW,
    KEY_CHECK,
    KEY_ACCEPT,
    KEY_FORMAT,
    KEY_LEVEL,
    KEY_HELP,
    KEY_VERSION
};

static const char config_option[] = "config";
static const struct option long_options[] = {
    {config_option, required_argument, NULL, KEY_CONFIG},
    {"listen", required_argument, NULL, KEY_LISTEN},
    {"data-dir", required_argument, NULL, KEY_DATA},
    {"heartbeat", required_argument, NULL, KEY_BEAT},
    {"retain", required_argument, NULL, KEY_RETAIN},
    {"artifact-max-size", required_argument, NULL, KEY_ARTIFACTS},
    {"insecure-dev", no_argument, NULL, KEY_INSECURE},
    {"socket", required_argument, NULL, KEY_SOCKET},
    {"socket-group", required_argument, NULL, KEY_GROUP},
    {"agent-certificate", required_argument, NULL, KEY_AGENT_CERT},
    {"server-certificate", required_argument, NULL, KEY_SERVER_CERT},
    {"host", required_argument, NULL, KEY_HOST},
    {"token-file", required_argument, NULL, KEY_TOKEN_FILE},
    {"renew", no_argument, NULL, KEY_RENEW},
    {"check", no_argument, NULL, KEY_CHECK},
    {"accept-restored", optional_argument, NULL, KEY_ACCEPT},
    {"log-format", required_argument, NULL, KEY_FORMAT},
    {"log-level", required_argument, NULL, KEY_LEVEL},
    {"help", no_argument, NULL, KEY_HELP},
    {"version", no_argument, NULL, KEY_VERSION},
    {NULL, 0, NULL, 0},
};

static enum error_code options_lifetime(const char *name, const char *text, int64_t *ret_ms,
                                        struct error *err)
{
    int64_t ms = 0;
    if (duration_parse(text, &ms, err) != ERR_OK)
        return error_wrap(err, "%s", name);
    if (ms < LIFETIME_MIN_MS || ms > lifetime_max_ms)
        return error_set(err, ERR_INVALID, "%s must be from 3s to 3650d, not %s", name, text);
    *ret_ms = ms;
    return ERR_OK;
}

static enum error_code options_host(const char *text, struct options *options, struct error *err)
{
    if (options->host_count == OPTIONS_MAX_HOSTS)
        return error_set(err, ERR_INVALID, "--host: at most %d", OPTIONS_MAX_HOSTS);
    options->hosts[options->host_count++] = text;
    return ERR_OK;
}

/* What has to do with who may come in. *ret_mine: it was such a one. */
static enum error_code options_take_access(struct options *options, int key, const char *value,
                                           bool *ret_mine, struct error *err)
{
    *ret_mine = true;
    switch (key) {
    case KEY_INSECURE:
        options->insecure_dev = true;
        return ERR_OK;
    case KEY_SOCKET:
        options->socket = value;
        return ERR_OK;
    case KEY_GROUP:
        options->socket_group = value;
        return ERR_OK;
    case KEY_AGENT_CERT:
        return options_lifetime("--agent-certificate", value, &options->agent_certificate_ms, err);
    case KEY_SERVER_CERT:
        return options_lifetime("--server-certificate", value, &options->server_certificate_ms,
                                err);
    case KEY_HOST:
        return options_host(value, options, err);
    case KEY_TOKEN_FILE:
        options->token_file = value;
        return ERR_OK;
    case KEY_RENEW:
        options->renew = true;
        return ERR_OK;
    default:
        *ret_mine = false;
        return ERR_OK;
    }
}

/* One option with its value, from the command line or the file. */
static enum error_code options_take(void *ctx, int key, const char *value, struct error *err)
{
    struct options *options = ctx;
    bool taken = false;
    enum error_code code = options_take_access(options, key, value, &taken, err);
    if (taken)
        return code;
    switch (key) {
    case KEY_LISTEN:
        return options_parse_listen(value, options, err);
    case KEY_DATA:
        options->data_dir = value;
        return ERR_OK;
    case KEY_BEAT:
        return options_heartbeat(value, options, err);
    case KEY_RETAIN:
        return options_retain(value, options, err);
    case KEY_ARTIFACTS:
        return options_artifacts(value, options, err);
    case KEY_CHECK:
        options->check = true;
        return ERR_OK;
    case KEY_ACCEPT:
        return options_accept(value, options, err);
    case KEY_FORMAT:
        return arguments_log_format(value, &options->log_format, err);
    case KEY_LEVEL:
        return arguments_log_level(value, &options->log_level, err);
    case KEY_HELP:
        options->help = true;
        return ERR_OK;
    default:
        options->version = true;
        return ERR_OK;
    }
}

static enum error_code options_fit(const struct options *o, struct error *err)
{
    if (!o->init && (o->host_count > 0 || o->token_file != NULL || o->renew))
        return error_set(err, ERR_INVALID, "%s is for \"kitsune-orchestrator init\" (see --help)",
                         o->renew                ? "--renew"
                         : o->token_file != NULL ? "--token-file"
                                                 : "--host");
    if (o->init && (o->insecure_dev || o->check || o->accept_restored))
        return error_set(err, ERR_INVALID, "%s is not for init (see --help)",
                         o->insecure_dev ? "--insecure-dev"
                         : o->check      ? "--check"
                                         : "--accept-restored");
    if (o->socket_group != NULL && o->socket == NULL)
        return error_set(err, ERR_INVALID, "--socket-group needs a --socket");
    if (o->insecure_dev && !net_host_loopback(o->host))
        return error_set(err, ERR_INVALID,
                         "--insecure-dev lets everybody do everything: it serves on a loopback "
                         "address alone, and %.80s is none (leave --insecure-dev away, after "
                         "\"kitsune-orchestrator init\")",
                         o->host);
    return ERR_OK;
}

enum error_code options_parse(int argc, char **argv, struct options *ret_options, struct error *err)
{
    struct options options = {
        .host = "127.0.0.1",
        .port = API_DEFAULT_PORT,
        .data_dir = "/var/lib/kitsune-orchestrator",
        .heartbeat_ms = HEARTBEAT_DEFAULT_MS,
        .retain_ms = retain_default_ms,
        .artifact_max_bytes = artifact_default_bytes,
        .agent_certificate_ms = agent_default_ms,
        .server_certificate_ms = server_default_ms,
        .log_format = LOG_LOGFMT,
        .log_level = LOG_INFO,
    };
    options.init = argc > 1 && strcmp(argv[1], "init") == 0;
    argc -= options.init;
    argv += options.init;
    const struct config_use use = {long_options, config_option, &options, options_take};
    enum error_code code = arguments_file(argc, argv, &use, &options.config, err);
    if (code == ERR_OK)
        code = arguments_take(argc, argv, &use, err);
    if (code == ERR_OK)
        code = options_fit(&options, err);
    if (code != ERR_OK) {
        options_done(&options);
        return code;
    }
    *ret_options = options;
    return ERR_OK;
}

void options_done(struct options *options)
{
    config_free(options->config);
    options->config = NULL;
}
