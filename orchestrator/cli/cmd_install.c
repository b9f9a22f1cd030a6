/* agent install, agent upgrade, agent uninstall. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/api/api_doc_access.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/install/pool.h"
#include "orchestrator/cli/install/script.h"
#include "orchestrator/cli/install_api.h"
#include "orchestrator/cli/install_board.h"
#include "orchestrator/cli/install_hosts.h"
#include "orchestrator/cli/prompt.h"
#include "orchestrator/cli/rows.h"

#include <pwd.h>
#include <string.h>
#include <strings.h>

#define OWN_BINARY "/usr/local/sbin/kitsune-agent"

/* ---- A row of the JSON document ----------------------------------------------------------------
 */

struct host_row {
    const char *server, *host, *result, *stage, *message;
};
#define ROW_TEXT(name_, member_, doc_)                                                             \
    {                                                                                              \
        .name = (name_), .type = JSON_STRING, JSON_AT(struct host_row, member_),                   \
        .flags = JSON_REQUIRED, .doc = (doc_)                                                      \
    }
static const struct json_field row_fields[] = {
    ROW_TEXT("server", server, "Its id."),
    ROW_TEXT("host", host, "As it was named."),
    ROW_TEXT("result", result,
             "installed, upgraded, unchanged, uninstalled, planned (--dry-run) or failed."),
    ROW_TEXT("stage", stage, "The last one: of a failed host, the one it failed in."),
    ROW_TEXT("message", message, "Why it failed, or what was done."),
};
static const struct json_table row_table =
    JSON_TABLE_OPEN("HostRow", struct host_row, row_fields, "What became of a host.");

/* ---- One run -----------------------------------------------------------------------------------
 */

struct install {
    struct cli *cli;
    struct install_api api;
    pthread_mutex_t screen; /* held by whoever draws, or asks a person */
    struct board board;
    struct rows rows;
    size_t counts[JOB_RESULT_COUNT];
    /* What the options point at. */
    struct payload payload;
    struct buf unit;
    char fingerprint[FACTS_SUM_MAX];
    char payload_path[TARGET_PATH_MAX];
    struct job_options options;
};

static void say(struct install *in, struct buf *b)
{
    /* A failed write is remembered; hosts that were begun are brought to their ends all the same.
     */
    (void)cli_write(in->cli, b);
}

static void on_ended(void *ctx, const struct job *job)
{
    struct install *in = ctx;
    AUTO_BUF struct buf b = BUF_INIT;
    (void)pthread_mutex_lock(&in->screen);
    in->counts[job->result]++;
    if (in->cli->options.json) {
        const struct host_row row = {job->target->server, job->target->host,
                                     job_result_names[job->result], job_stage_names[job->stage],
                                     job->text};
        (void)rows_put(&in->rows, &row);
    } else {
        board_clear(&in->board, &b);
        board_ended(&in->board, job, &in->cli->style, &b);
        say(in, &b);
    }
    (void)pthread_mutex_unlock(&in->screen);
}

static void on_news(void *ctx, const struct pool_view *views, size_t count, size_t left)
{
    struct install *in = ctx;
    AUTO_BUF struct buf b = BUF_INIT;
    if (!in->cli->live || in->cli->options.json)
        return;
    (void)pthread_mutex_lock(&in->screen);
    in->cli->style.columns = cli_columns(in->cli);
    board_draw(&in->board, views, count, left, &in->cli->style, &b);
    say(in, &b);
    (void)pthread_mutex_unlock(&in->screen);
}

static enum error_code ask_terminal(const char *prompt, char *ret, size_t size, struct error *err)
{
    struct pki_secret secret = {0};
    FILE *in = fopen("/dev/tty", "re");
    FILE *out = in ? fopen("/dev/tty", "we") : NULL;
    enum error_code code = ERR_UNAVAILABLE;
    if (out)
        code = prompt_secret(in, out, prompt, &secret, err);
    else
        (void)error_set(err, code, "the %.*s is wanted, and there is no terminal to ask at",
                        (int)strcspn(prompt, ":"), prompt);
    if (code == ERR_OK && secret.len >= size)
        code = error_set(err, ERR_LIMIT, "it is too long");
    if (code == ERR_OK)
        memcpy(ret, secret.data, secret.len + 1);
    pki_secret_done(&secret);
    if (in)
        (void)fclose(in);
    if (out)
        (void)fclose(out);
    return code;
}

static enum error_code on_ask(void *ctx, const char *prompt, char *ret, size_t size,
                              struct error *err)
{
    struct install *in = ctx;
    AUTO_BUF struct buf b = BUF_INIT;
    (void)pthread_mutex_lock(&in->screen);
    board_clear(&in->board, &b);
    say(in, &b);
    enum error_code code = ask_terminal(prompt, ret, size, err);
    (void)pthread_mutex_unlock(&in->screen);
    return code;
}

/* ---- What is wanted ----------------------------------------------------------------------------
 */

/* The agent beside this program, where a package or a build has put it. */
static bool find_beside(char ret[TARGET_PATH_MAX])
{
    static const char *const places[] = {"kitsune-agent", "../sbin/kitsune-agent"};
    char self[TARGET_PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len <= 0)
        return false;
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < ARRAY_LEN(places); i++) {
        *slash = '\0';
        int put = snprintf(ret, TARGET_PATH_MAX, "%s/%s", self, places[i]);
        if (put > 0 && put < TARGET_PATH_MAX && access(ret, R_OK) == 0)
            return true;
    }
    return false;
}

static enum error_code load_payload(struct install *in, struct error *err)
{
    const struct options *o = &in->cli->options;
    bool package = option_given(o, OPT_PACKAGE);
    const char *path = package ? o->texts[OPT_PACKAGE] : o->texts[OPT_BINARY];
    if (package && option_given(o, OPT_BINARY))
        return error_set(err, ERR_INVALID, "--package and --binary are two ways: choose one");
    if (!path && !find_beside(in->payload_path))
        return error_set(err, ERR_NOT_FOUND,
                         "there is no kitsune-agent beside this program: name one with --binary, "
                         "or its package with --package");
    enum error_code code = payload_load(path ? path : in->payload_path, package, &in->payload, err);
    in->options.wanted.payload = &in->payload;
    script_put_unit(&in->unit, OWN_BINARY);
    if (code == ERR_OK)
        code = buf_check(&in->unit, err);
    in->options.wanted.unit = in->unit.data;
    return code;
}

static bool is_https(const char *url)
{
    return strncasecmp(url, "https://", 8) == 0;
}

/* Where agents connect to: as this program does, unless it goes through a socket. */
static enum error_code take_url(struct install *in, struct error *err)
{
    const struct options *o = &in->cli->options;
    struct wanted *w = &in->options.wanted;
    const char *own = client_url(in->cli->client);
    const char *url = option_given(o, OPT_AGENT_URL) ? o->texts[OPT_AGENT_URL] : own;
    bool http = strncasecmp(url, "http://", 7) == 0;
    /* An upgrade leaves alone where the agent connects to, unless it is said. */
    if (w->goal == GOAL_UPGRADE && !option_given(o, OPT_AGENT_URL))
        return ERR_OK;
    if (!is_https(url) && !http)
        return error_set(err, ERR_INVALID,
                         "agents cannot connect to %.128s: say where they do, with --agent-url "
                         "https://HOST:PORT",
                         url);
    if (strpbrk(url, " \t\n;#'"))
        return error_set(err, ERR_INVALID, "\"%.128s\" is no URL", url);
    w->orchestrator = url;
    w->tls = !http;
    return ERR_OK;
}

static enum error_code take_times(struct install *in, struct error *err)
{
    const struct options *o = &in->cli->options;
    if (!option_given(o, OPT_TIMEOUT))
        return ERR_OK;
    enum error_code code = duration_parse(o->texts[OPT_TIMEOUT], &in->options.seen_ms, err);
    return code == ERR_OK ? code : error_wrap(err, "--timeout");
}

static enum error_code take_options(struct install *in, enum decide_goal goal, struct error *err)
{
    const struct options *o = &in->cli->options;
    struct job_options *j = &in->options;
    j->wanted.goal = goal;
    j->wanted.replace = option_given(o, OPT_REPLACE);
    j->wanted.start = !option_given(o, OPT_NO_START);
    j->dry_run = option_given(o, OPT_DRY_RUN);
    j->purge = option_given(o, OPT_PURGE);
    j->ssh.accept_new = option_given(o, OPT_ACCEPT_NEW);
    j->ssh.config_file = o->texts[OPT_SSH_CONFIG];
    if (option_given(o, OPT_PARALLEL) && o->numbers[OPT_PARALLEL] > POOL_PARALLEL_MAX)
        return error_set(err, ERR_INVALID, "--parallel is at most %d", POOL_PARALLEL_MAX);
    enum error_code code = take_times(in, err);
    if (code == ERR_OK && goal == GOAL_UNINSTALL) {
        /* Whoever speaks HTTP without TLS knows no certificates. */
        j->wanted.tls = strncasecmp(client_url(in->cli->client), "http://", 7) != 0;
        return ERR_OK;
    }
    if (code == ERR_OK)
        code = take_url(in, err);
    if (code == ERR_OK && j->wanted.orchestrator && j->wanted.tls) {
        code = install_api_ca(&in->api, in->fingerprint, err);
        j->wanted.ca_fingerprint = in->fingerprint;
    }
    return code == ERR_OK ? load_payload(in, err) : code;
}

/* Who asks, for ssh's tokens and default user. */
static void take_self(struct install *in, struct passwd *pw, char *store, size_t size)
{
    struct passwd *found = NULL;
    const char *home = in->cli->io->env("HOME");
    if (getpwuid_r(geteuid(), pw, store, size, &found) != 0 || !found)
        *pw = (struct passwd){.pw_name = "root", .pw_dir = "/root"};
    in->options.self = (struct ssh_self){home && *home ? home : pw->pw_dir, pw->pw_name};
}

/* ---- The run -----------------------------------------------------------------------------------
 */

static int sum_up(struct install *in, size_t count)
{
    AUTO_BUF struct buf b = BUF_INIT;
    const char *comma = ": ";
    if (in->cli->options.json)
        return rows_end(&in->rows, NULL) ? CLI_OK : CLI_USAGE;
    buf_printf(&b, "%zu host%s", count, count == 1 ? "" : "s");
    for (size_t i = JOB_RESULT_COUNT; i-- > 0;) {
        if (in->counts[i] > 0) {
            buf_printf(&b, "%s%zu %s", comma, in->counts[i], job_result_names[i]);
            comma = ", ";
        }
    }
    buf_putc(&b, '\n');
    return cli_write(in->cli, &b) ? CLI_OK : CLI_USAGE;
}

static int run_jobs(struct install *in, const struct array *targets)
{
    const struct options *o = &in->cli->options;
    AUTO_FREE struct job *jobs = mem_array(targets->count, sizeof(*jobs));
    struct job_hooks hooks = {.ctx = &in->api,
                              .ticket = install_api_ticket,
                              .seen = install_api_seen,
                              .revoke = install_api_revoke};
    const struct pool_listener listener = {.ctx = in, .ended = on_ended, .news = on_news};
    struct error err = {0};
    size_t parallel = option_given(o, OPT_PARALLEL) ? (size_t)o->numbers[OPT_PARALLEL]
                                                    : (size_t)POOL_PARALLEL_DEFAULT;
    if (!jobs) {
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
        return cli_fail(in->cli, &err);
    }
    for (size_t i = 0; i < targets->count; i++) {
        const struct target *t = ARRAY_AT(targets, struct target, i);
        jobs[i] = (struct job){.target = t, .options = &in->options, .hooks = &hooks};
        in->board.width = strlen(t->server) > in->board.width ? strlen(t->server) : in->board.width;
    }
    if (ssh_global_init(&err) != ERR_OK)
        return cli_fail(in->cli, &err);
    enum error_code code = pool_run(jobs, targets->count, parallel, &hooks, &listener, &err);
    ssh_global_done();
    if (code != ERR_OK)
        return cli_fail(in->cli, &err);
    int status = sum_up(in, targets->count);
    return status == CLI_OK && in->counts[JOB_FAILED] > 0 ? CLI_FAILED : status;
}

/* Without the orchestrator, or without leave, no host is touched: agents are let in and out by
 * admins. */
static int reach(struct cli *cli, enum decide_goal goal)
{
    struct api_principal who = {0};
    int status = cli_get_table(cli, "/v1/whoami", &api_principal_table, &who);
    if (status == CLI_OK && goal != GOAL_UPGRADE && strcmp(who.role, "admin") != 0) {
        cli_say(cli, "%s is %s, and agents are let in and out by an admin", who.name, who.role);
        status = CLI_USAGE;
    }
    json_release(&api_principal_table, &who);
    return status;
}

static int run_with(struct install *in, enum decide_goal goal, const struct array *targets)
{
    struct error err = {0};
    struct passwd pw = {0};
    char store[4096];
    AUTO(secrets_free) struct secrets *secrets = secrets_new(on_ask, in);
    take_self(in, &pw, store, sizeof(store));
    in->options.ssh.secrets = secrets;
    if (!secrets)
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
    if (!secrets || take_options(in, goal, &err) != ERR_OK)
        return cli_fail(in->cli, &err);
    return run_jobs(in, targets);
}

static int run_on(struct cli *cli, enum decide_goal goal, const struct array *targets)
{
    AUTO_FREE struct install *in = MEM_NEW(struct install);
    struct error err = {0};
    if (!in) {
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
        return cli_fail(cli, &err);
    }
    int status = reach(cli, goal);
    if (status != CLI_OK)
        return status;
    in->cli = cli;
    if (!install_api_init(&in->api, cli->client) || pthread_mutex_init(&in->screen, NULL) != 0) {
        (void)error_set(&err, ERR_NO_MEMORY, NULL);
        return cli_fail(cli, &err);
    }
    rows_init(&in->rows, cli, "hosts", &row_table);
    status = run_with(in, goal, targets);
    rows_done(&in->rows);
    payload_done(&in->payload);
    buf_done(&in->unit);
    (void)pthread_mutex_destroy(&in->screen);
    install_api_done(&in->api);
    return status;
}

static int run(struct cli *cli, enum decide_goal goal)
{
    struct array targets = {0};
    struct error err = {0};
    if (install_hosts(&cli->options, &targets, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = run_on(cli, goal, &targets);
    mem_free(targets.items);
    return status;
}

int cmd_agent_install(struct cli *cli)
{
    return run(cli, GOAL_INSTALL);
}

int cmd_agent_upgrade(struct cli *cli)
{
    return run(cli, GOAL_UPGRADE);
}

int cmd_agent_uninstall(struct cli *cli)
{
    return run(cli, GOAL_UNINSTALL);
}
