/*
 * login: makes a profile. The orchestrator is known by its CA, which is fetched from it without
 * trust in whoever answers, and counts only when it has the fingerprint that was told elsewhere.
 * Nothing secret is sent before.
 */
#include "common/base/cleanup.h"
#include "common/pki/pki_cert.h"
#include "common/pki/pki_verify.h"
#include "orchestrator/api/api_doc_access.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/connect.h"
#include "orchestrator/cli/prompt.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

DEFINE_CLEANUP(pki_certs_free, struct pki_certs)

enum { STEM_MAX = 100 };

struct login {
    struct cli *cli;
    const char *url;
    struct buf ca; /* PEM; empty: the machine's */
    struct pki_secret token;
};

static bool is_scheme(const char *url, const char *scheme)
{
    return strncasecmp(url, scheme, strlen(scheme)) == 0;
}

/* ---- Whom to trust -----------------------------------------------------------------------------
 */

/* Gets the CA's certificate from whoever answers. */
static int fetch(struct login *l, bool anybody, struct answer *answer, enum error_code *ret_code)
{
    const struct client_config config = {.url = l->url, .anybody = anybody};
    struct request request = {.method = "GET", .path = "/v1/ca", .repeatable = true};
    struct error err = {0};
    client_free(l->cli->client);
    l->cli->client = NULL;
    *ret_code = client_new(&config, &l->cli->client, &err);
    if (*ret_code != ERR_OK)
        return cli_fail(l->cli, &err);
    *ret_code = client_call(l->cli->client, &request, answer, &err);
    if (*ret_code == ERR_OK && answer->status >= API_REFUSED)
        return cli_refused(l->cli, answer);
    if (*ret_code == ERR_OK || (*ret_code == ERR_DENIED && !anybody))
        return CLI_OK;
    if (*ret_code == ERR_DENIED)
        return cli_distrusted(l->cli, err.message);
    return cli_unreachable(l->cli, err.message);
}

/* The fingerprint of what was fetched, one certificate and no more: whatever else came along would
 * be trusted without anybody having looked at it. */
static enum error_code fetched_ca(const struct answer *answer, struct buf *ret_pem,
                                  char ret_fingerprint[PKI_FINGERPRINT_MAX], struct error *err)
{
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    struct pki_facts facts = {0};
    enum error_code code = pki_certs_parse(answer->body.data ? answer->body.data : "",
                                           answer->body.len, "what /v1/ca gave", &certs, err);
    if (code == ERR_OK && pki_certs_count(certs) != 1)
        code = error_set(err, ERR_INVALID, "what /v1/ca gave is not one certificate, but %zu",
                         pki_certs_count(certs));
    if (code == ERR_OK)
        code = pki_certs_facts(certs, 0, &facts, err);
    if (code == ERR_OK)
        code = pki_certs_pem(certs, ret_pem, err);
    if (code == ERR_OK)
        memcpy(ret_fingerprint, facts.fingerprint, PKI_FINGERPRINT_MAX);
    return code;
}

/* With the fingerprint that was told (NULL: none was). */
static int trust_fetched(struct login *l, const char *told)
{
    AUTO_ANSWER struct answer answer = {0};
    AUTO_BUF struct buf pem = BUF_INIT;
    char found[PKI_FINGERPRINT_MAX] = "";
    struct error err = {0};
    enum error_code code = ERR_OK;
    int status = fetch(l, true, &answer, &code);
    if (status != CLI_OK)
        return status;
    if (fetched_ca(&answer, &pem, found, &err) != ERR_OK)
        return cli_fail(l->cli, &err);
    if (!told) {
        cli_say(l->cli, "%s has a CA that this machine does not know, with the fingerprint %s",
                l->url, found);
        cli_say(l->cli,
                "when that is what \"kitsune-orchestrator init\" has told: kitsune login %s "
                "--ca-fingerprint %s",
                l->url, found);
        return CLI_USAGE;
    }
    if (strcmp(found, told) != 0) {
        cli_say(l->cli,
                "the CA of %s has the fingerprint %s, and not the one that was given: it is "
                "another orchestrator, or somebody stands between. Nothing was sent",
                l->url, found);
        return CLI_USAGE;
    }
    buf_append(&l->ca, pem.data, pem.len);
    return buf_check(&l->ca, &err) == ERR_OK ? CLI_OK : cli_fail(l->cli, &err);
}

/* Without a fingerprint: a certificate that this machine trusts anyway, as behind a proxy. */
static int trust_machine(struct login *l)
{
    AUTO_ANSWER struct answer answer = {0};
    enum error_code code = ERR_OK;
    int status = fetch(l, false, &answer, &code);
    return code == ERR_DENIED ? trust_fetched(l, NULL) : status;
}

static int trust(struct login *l)
{
    const struct options *o = &l->cli->options;
    const char *told = o->texts[OPT_CA_FINGERPRINT];
    char fingerprint[PKI_FINGERPRINT_MAX];
    struct error err = {0};
    if (told && option_given(o, OPT_CA)) {
        cli_say(l->cli, "login: --ca and --ca-fingerprint say the same thing: give one of them");
        return CLI_USAGE;
    }
    if (option_given(o, OPT_CA))
        return connect_ca(o->texts[OPT_CA], "--ca", &l->ca, &err) == ERR_OK
                   ? CLI_OK
                   : cli_fail(l->cli, &err);
    if (!told)
        return trust_machine(l);
    if (pki_fingerprint_parse(told, fingerprint, &err) != ERR_OK) {
        (void)error_wrap(&err, "--ca-fingerprint");
        return cli_fail(l->cli, &err);
    }
    return trust_fetched(l, fingerprint);
}

/* ---- Who asks ----------------------------------------------------------------------------------
 */

static int take_token(struct login *l)
{
    AUTO_SECRET struct pki_secret text = {0};
    const struct cli_io *io = l->cli->io;
    struct error err = {0};
    const char *file = l->cli->options.texts[OPT_TOKEN_FILE];
    enum error_code code = file ? pki_secret_read(file, PROMPT_MAX, &text, &err)
                                : prompt_secret(io->in, io->err, "Token: ", &text, &err);
    if (code == ERR_OK)
        code = profile_token_parse(text.data, text.len, file ? file : "what was given", &l->token,
                                   &err);
    if (code == ERR_CANCELLED)
        return CLI_INTERRUPTED;
    if (code == ERR_NOT_FOUND && !file)
        (void)error_wrap(&err, "login wants a token, typed or on standard input");
    return code == ERR_OK ? CLI_OK : cli_fail(l->cli, &err);
}

/* Asks the orchestrator who that is. */
static int check(struct login *l, struct answer *answer, struct api_principal *ret_who)
{
    const struct client_config config = {.url = l->url, .ca = l->ca.data, .token = l->token.data};
    struct error err = {0};
    client_free(l->cli->client);
    l->cli->client = NULL;
    if (client_new(&config, &l->cli->client, &err) != ERR_OK)
        return cli_fail(l->cli, &err);
    struct request request = {.method = "GET", .path = "/v1/whoami", .repeatable = true};
    int status = cli_ask(l->cli, &request, answer);
    if (status == CLI_OK && answer->status == API_UNAUTHORIZED) {
        cli_say(l->cli, "%s does not accept this token; nothing was saved", l->url);
        return CLI_USAGE;
    }
    if (status == CLI_OK && answer->status >= API_REFUSED)
        return cli_refused(l->cli, answer);
    return status == CLI_OK ? cli_decode(l->cli, answer, &api_principal_table, ret_who) : status;
}

/* ---- The profile -------------------------------------------------------------------------------
 */

/* Makes the folders of a path, for this user alone. */
static enum error_code make_folders(const char *path, struct error *err)
{
    AUTO_FREE char *part = mem_strdup(path);
    if (!part)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return error_errno(err, errno, "making the folder %.150s", part);
        *slash = '/';
    }
    return ERR_OK;
}

/* "kitsune.example.org_7233": each orchestrator has files of its own, so that a crash between two
 * of them leaves no token that would go to another one. */
static void put_stem(const char *url, char ret_stem[STEM_MAX])
{
    const char *at = strstr(url, "://");
    size_t n = 0;
    for (at = at ? at + 3 : url; *at && n + 1 < STEM_MAX; at++)
        ret_stem[n++] = (char)(isalnum((unsigned char)*at) || strchr(".-", *at) ? *at : '_');
    ret_stem[n] = '\0';
}

/* Writes a file beside the profile. */
static enum error_code write_beside(const char *profile, const char *name, const char *data,
                                    size_t len, struct error *err)
{
    AUTO_BUF struct buf path = BUF_INIT;
    buf_append(&path, profile, (size_t)(strrchr(profile, '/') - profile) + 1);
    buf_puts(&path, name);
    enum error_code code = buf_check(&path, err);
    return code == ERR_OK ? pki_file_write(path.data, data, len, 0600, err) : code;
}

/* The profile comes last: what it names is there. */
static enum error_code save(const struct login *l, const char *path, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    char stem[STEM_MAX];
    char ca[STEM_MAX + 8];
    char token[STEM_MAX + 8];
    put_stem(l->url, stem);
    (void)snprintf(ca, sizeof(ca), "%s.ca.pem", stem);
    (void)snprintf(token, sizeof(token), "%s.token", stem);
    const char *const values[PROFILE_KEYS] = {[PROFILE_ORCHESTRATOR] = l->url,
                                              [PROFILE_CA] = l->ca.len > 0 ? ca : NULL,
                                              [PROFILE_TOKEN_FILE] = l->token.data ? token : NULL};
    enum error_code code = profile_text(values, &text, err);
    if (code == ERR_OK)
        code = make_folders(path, err);
    if (code == ERR_OK && l->ca.len > 0)
        code = write_beside(path, ca, l->ca.data, l->ca.len, err);
    if (code == ERR_OK && l->token.data)
        code = write_beside(path, token, l->token.data, l->token.len, err);
    return code == ERR_OK ? pki_file_write(path, text.data, text.len, 0600, err) : code;
}

static void warn_of_environment(struct cli *cli)
{
    static const char *const names[] = {"KITSUNE_ORCHESTRATOR", "KITSUNE_CA", "KITSUNE_TOKEN",
                                        "KITSUNE_TOKEN_FILE"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *value = cli->io->env(names[i]);
        if (value && *value)
            cli_say(cli, "%s is set in the environment and counts more than what was saved",
                    names[i]);
    }
}

static int report(struct login *l, const char *path, const struct answer *answer,
                  const struct api_principal *who)
{
    AUTO_BUF struct buf b = BUF_INIT;
    if (l->cli->options.json)
        return cli_write_json(l->cli, answer->body.data, answer->body.len) ? CLI_OK : CLI_USAGE;
    buf_puts(&b, "logged in to ");
    render_text(&b, l->url);
    buf_puts(&b, " as ");
    render_text(&b, who->name);
    buf_puts(&b, " (");
    render_text(&b, who->role);
    if (who->expires) {
        buf_puts(&b, ", until ");
        render_time(&b, who->expires);
        buf_puts(&b, " UTC");
    }
    buf_puts(&b, "); saved in ");
    render_text(&b, path);
    buf_putc(&b, '\n');
    return cli_write(l->cli, &b) ? CLI_OK : CLI_USAGE;
}

static int check_and_save(struct login *l, const char *path)
{
    AUTO_ANSWER struct answer answer = {0};
    struct api_principal who = {0};
    struct error err = {0};
    int status = check(l, &answer, &who);
    if (status == CLI_OK && save(l, path, &err) != ERR_OK)
        status = cli_fail(l->cli, &err);
    if (status == CLI_OK)
        status = report(l, path, &answer, &who);
    if (status == CLI_OK)
        warn_of_environment(l->cli);
    json_release(&api_principal_table, &who);
    return status;
}

int cmd_login(struct cli *cli)
{
    AUTO_FREE char *path = NULL;
    struct login l = {.cli = cli, .url = cli->options.args[0]};
    struct error err = {0};
    bool socket = is_scheme(l.url, "unix:");
    int status = CLI_OK;
    if (option_given(&cli->options, OPT_ORCHESTRATOR)) {
        cli_say(cli, "login: the URL is an argument: --orchestrator is for the other commands");
        return CLI_USAGE;
    }
    if (!socket && !is_scheme(l.url, "https:")) {
        cli_say(cli,
                "login: \"%.100s\" does not begin with https:// (or unix://): without TLS there is "
                "nothing to log in to",
                l.url);
        return CLI_USAGE;
    }
    if (profile_user_file(cli->io->env, &path, &err) != ERR_OK)
        return cli_fail(cli, &err);
    if (!socket)
        status = trust(&l);
    /* Over a socket the kernel says who asks. */
    if (status == CLI_OK && (!socket || option_given(&cli->options, OPT_TOKEN_FILE)))
        status = take_token(&l);
    if (status == CLI_OK)
        status = check_and_save(&l, path);
    pki_secret_done(&l.token);
    buf_done(&l.ca);
    return status;
}
