#include "orchestrator/cli/cli.h"

#include "common/base/cleanup.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/connect.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- Writing -----------------------------------------------------------------------------------
 */

bool cli_write(struct cli *cli, struct buf *b)
{
    if (b->failed != ERR_OK) {
        cli->out_failed = true;
        cli->out_errno = ENOMEM;
    }
    if (!cli->out_failed && b->len > 0 &&
        (fwrite(b->data, 1, b->len, cli->io->out) != b->len || fflush(cli->io->out) != 0)) {
        cli->out_failed = true;
        cli->out_errno = errno;
    }
    buf_clear(b);
    return !cli->out_failed;
}

int cli_write_failed(struct cli *cli)
{
    if (cli->out_errno == EPIPE)
        return CLI_PIPE;
    cli_say(cli, "cannot write the output: %s", strerror(cli->out_errno));
    return CLI_USAGE;
}

bool cli_write_json_line(struct cli *cli, const char *json, size_t len)
{
    AUTO_BUF struct buf b = BUF_INIT;
    render_json(&b, json, len);
    buf_putc(&b, '\n');
    return cli_write(cli, &b);
}

bool cli_write_json(struct cli *cli, const char *json, size_t len)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct json_doc *doc = NULL;
    if (json_parse(json, len, CLIENT_MAX_ANSWER, &doc, NULL) != ERR_OK)
        return cli_write_json_line(cli, json, len);
    json_write_pretty(&b, json_root(doc));
    json_free(doc);
    if (b.failed != ERR_OK)
        return cli_write(cli, &b);
    return cli_write_json_line(cli, b.data, b.len);
}

bool cli_write_table(struct cli *cli, const struct json_table *table, const void *object)
{
    AUTO_BUF struct buf b = BUF_INIT;
    json_encode(&b, table, object);
    if (b.failed != ERR_OK)
        return cli_write(cli, &b);
    return cli_write_json(cli, b.data, b.len);
}

static void put_err(struct cli *cli, const struct buf *b)
{
    /* When standard error is gone there is nobody left to tell. */
    if (b->len > 0 && fwrite(b->data, 1, b->len, cli->io->err) == b->len)
        (void)fflush(cli->io->err);
}

void cli_say(struct cli *cli, const char *fmt, ...)
{
    AUTO_BUF struct buf line = BUF_INIT;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    buf_puts(&line, "kitsune: ");
    if (len > 0)
        render_text(&line, text);
    buf_putc(&line, '\n');
    put_err(cli, &line);
}

int cli_fail(struct cli *cli, const struct error *err)
{
    cli_say(cli, "%s", err->message);
    return err->code == ERR_UNAVAILABLE ? CLI_UNREACHABLE : CLI_USAGE;
}

int cli_columns(const struct cli *cli)
{
    return cli->io->terminal && cli->io->columns ? cli->io->columns() : 0;
}

/* ---- Asking ------------------------------------------------------------------------------------
 */

static const char *env_text(const struct cli *cli, const char *name)
{
    const char *value = cli->io->env(name);
    return value && *value ? value : NULL;
}

struct client *cli_client(struct cli *cli, int *ret_status)
{
    struct error err = {0};
    if (!cli->client && connect_client(cli, &err) != ERR_OK)
        *ret_status = cli_fail(cli, &err);
    return cli->client;
}

int cli_unreachable(struct cli *cli, const char *why)
{
    const struct profile_value *url = &cli->profile.values[PROFILE_ORCHESTRATOR];
    if (!url->from && cli->profile.socket_closed)
        cli_say(cli,
                "cannot reach the orchestrator at %s: %s; the socket %s of the one on this machine "
                "is not open to you: use sudo, have yourself added to its group, or log in "
                "(\"kitsune login URL\")",
                client_url(cli->client), why, cli->io->local_socket);
    else
        cli_say(cli,
                "cannot reach the orchestrator at %s: %s (is kitsune-orchestrator running? "
                "--orchestrator or KITSUNE_ORCHESTRATOR names another)",
                client_url(cli->client), why);
    return CLI_UNREACHABLE;
}

int cli_distrusted(struct cli *cli, const char *why)
{
    const char *url = client_url(cli->client);
    if (strncasecmp(url, "https:", 6) == 0)
        cli_say(cli,
                "cannot trust what answers at %s: %s (\"kitsune login %s --ca-fingerprint FP\", or "
                "--ca FILE, says whose certificates are good)",
                url, why, url);
    else
        cli_say(cli, "cannot talk to the orchestrator at %s: %s (\"kitsune login https://...\")",
                url, why);
    return CLI_UNREACHABLE;
}

/* What helps against a refusal. */
static void put_remedy(const struct cli *cli, struct buf *text, const struct answer *answer)
{
    const char *from = profile_token_from(&cli->profile);
    if (answer->status == API_TOO_MANY && answer->retry_after_s > 0)
        buf_printf(text, "  try again in %lld s\n", (long long)answer->retry_after_s);
    if (answer->status == API_UNAUTHORIZED && from) {
        buf_puts(text, "  the token of ");
        render_text(text, from);
        buf_puts(text, " is not accepted: have an admin make another (\"kitsune token create\"), "
                       "then \"kitsune login\"\n");
    } else if (answer->status == API_UNAUTHORIZED) {
        buf_puts(text, "  no token was sent: \"kitsune login URL\", or name a token with "
                       "--token-file or KITSUNE_TOKEN_FILE\n");
    }
}

static void put_plan_errors(struct buf *text, const struct api_problem *problem)
{
    for (size_t i = 0; i < problem->errors.count; i++) {
        const struct api_plan_error *e = ARRAY_AT(&problem->errors, struct api_plan_error, i);
        buf_puts(text, "  ");
        render_text(text, e->path);
        buf_puts(text, e->path && *e->path ? ": " : "");
        render_text(text, e->message);
        buf_putc(text, '\n');
    }
}

int cli_refused(struct cli *cli, const struct answer *answer)
{
    AUTO_BUF struct buf text = BUF_INIT;
    struct api_problem problem = {0};
    buf_puts(&text, "kitsune: ");
    if (answer->body.len == 0 ||
        json_read(answer->body.data, answer->body.len, CLIENT_MAX_ANSWER, &api_problem_table,
                  &problem, NULL) != ERR_OK ||
        (!problem.title && !problem.detail)) {
        buf_printf(&text, "the orchestrator answered with HTTP status %ld\n", answer->status);
    } else {
        render_text(&text, problem.title ? problem.title : problem.detail);
        if (problem.title && problem.detail) {
            buf_puts(&text, ": ");
            render_text(&text, problem.detail);
        }
        buf_putc(&text, '\n');
        put_plan_errors(&text, &problem);
    }
    put_remedy(cli, &text, answer);
    put_err(cli, &text);
    json_release(&api_problem_table, &problem);
    return CLI_USAGE;
}

int cli_ask(struct cli *cli, const struct request *request, struct answer *ret_answer)
{
    struct error err = {0};
    int status = CLI_OK;
    struct client *client = cli_client(cli, &status);
    if (!client)
        return status;
    enum error_code code = client_call(client, request, ret_answer, &err);
    if (code == ERR_UNAVAILABLE)
        return cli_unreachable(cli, err.message);
    if (code == ERR_DENIED)
        return cli_distrusted(cli, err.message);
    if (code == ERR_IO || code == ERR_TIMEOUT) {
        cli_say(cli, "the connection to the orchestrator at %s failed: %s", client_url(client),
                err.message);
        return CLI_UNREACHABLE;
    }
    return code == ERR_OK ? CLI_OK : cli_fail(cli, &err);
}

int cli_call(struct cli *cli, const struct request *request, struct answer *ret_answer)
{
    int status = cli_ask(cli, request, ret_answer);
    return status == CLI_OK && ret_answer->status >= API_REFUSED ? cli_refused(cli, ret_answer)
                                                                 : status;
}

int cli_get(struct cli *cli, const char *path, struct answer *ret_answer)
{
    struct request request = {.method = "GET", .path = path, .repeatable = true};
    return cli_call(cli, &request, ret_answer);
}

int cli_decode(struct cli *cli, const struct answer *answer, const struct json_table *table,
               void *ret)
{
    struct error err = {0};
    if (json_read(answer->body.len > 0 ? answer->body.data : "", answer->body.len,
                  CLIENT_MAX_ANSWER, table, ret, &err) == ERR_OK)
        return CLI_OK;
    cli_say(cli, "the answer of %s is not what the API promises: %s", client_url(cli->client),
            err.message);
    return CLI_USAGE;
}

int cli_get_table(struct cli *cli, const char *path, const struct json_table *table, void *ret)
{
    AUTO_ANSWER struct answer answer = {0};
    int status = cli_get(cli, path, &answer);
    return status == CLI_OK ? cli_decode(cli, &answer, table, ret) : status;
}

enum error_code cli_by(const struct cli *cli, struct buf *b, struct error *err)
{
    enum { USER_MAX = 64, HOST_MAX = API_BY_MAX - USER_MAX };
    char host[HOST_MAX] = "";
    char store[4096];
    struct passwd pw = {0};
    struct passwd *found = NULL;
    const char *user = geteuid() == 0 ? env_text(cli, "SUDO_USER") : NULL;
    if (!user && getpwuid_r(geteuid(), &pw, store, sizeof(store), &found) == 0 && found)
        user = found->pw_name;
    if (user)
        buf_append(b, user, strnlen(user, USER_MAX));
    else
        buf_printf(b, "uid %u", (unsigned)geteuid());
    if (gethostname(host, sizeof(host) - 1) == 0 && host[0])
        buf_printf(b, "@%s", host);
    return buf_check(b, err);
}

int cli_outcome(enum rollout_state state)
{
    switch (state) {
    case ROLLOUT_FAILED:
    case ROLLOUT_CANCELLED:
        return CLI_FAILED;
    case ROLLOUT_ROLLED_BACK:
        return CLI_ROLLED_BACK;
    case ROLLOUT_ROLLBACK_FAILED:
        return CLI_ROLLBACK_FAILED;
    case ROLLOUT_PENDING:
    case ROLLOUT_RUNNING:
    case ROLLOUT_PAUSED:
    case ROLLOUT_ROLLING_BACK:
    case ROLLOUT_SUCCEEDED:
    case ROLLOUT_STATE_COUNT:
        break;
    }
    return CLI_OK;
}

int cli_enum_find(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; name && i < count; i++) {
        if (names[i] && strcmp(names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

/* ---- A run -------------------------------------------------------------------------------------
 */

static void pick_style(struct cli *cli)
{
    const char *term = env_text(cli, "TERM");
    cli->live = cli->io->terminal && term && strcmp(term, "dumb") != 0;
    cli->style = (struct style){.colour = cli->live && !env_text(cli, "NO_COLOR"),
                                .utf8 = cli->io->utf8,
                                .columns = cli_columns(cli)};
}

static int run_command(struct cli *cli)
{
    if (option_given(&cli->options, OPT_VERSION))
        return cmd_version(cli);
    if (option_given(&cli->options, OPT_HELP)) {
        AUTO_BUF struct buf b = BUF_INIT;
        if (cli->options.command)
            options_help(&b, cli->options.command);
        else
            options_overview(&b);
        return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
    }
    return cli->options.command->run(cli);
}

int cli_run(int argc, char *const *argv, const struct cli_io *io)
{
    struct error err = {0};
    struct cli cli = {.io = io};
    if (options_parse(argc, argv, &cli.options, &err) != ERR_OK) {
        cli_say(&cli, "%s", err.message);
        if (argc < 2) {
            AUTO_BUF struct buf b = BUF_INIT;
            options_overview(&b);
            put_err(&cli, &b);
        }
        return CLI_USAGE;
    }
    pick_style(&cli);
    int status = run_command(&cli);
    if (cli.out_failed)
        status = cli_write_failed(&cli);
    client_free(cli.client);
    profile_done(&cli.profile);
    return status;
}
