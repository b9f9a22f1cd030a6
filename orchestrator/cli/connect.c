#include "orchestrator/cli/connect.h"

#include "common/base/cleanup.h"
#include "common/pki/pki_cert.h"

#include <strings.h>

DEFINE_CLEANUP(pki_certs_free, struct pki_certs)

struct profile_sources connect_sources(const struct cli *cli)
{
    static const enum option_id options[PROFILE_KEYS] = {
        [PROFILE_ORCHESTRATOR] = OPT_ORCHESTRATOR,
        [PROFILE_CA] = OPT_CA,
        [PROFILE_TOKEN_FILE] = OPT_TOKEN_FILE,
    };
    struct profile_sources sources = {.env = cli->io->env,
                                      .system_file = cli->io->system_config,
                                      .socket = cli->io->local_socket};
    for (size_t i = 0; i < PROFILE_KEYS; i++) {
        if (option_given(&cli->options, options[i]))
            sources.given[i] = cli->options.texts[options[i]];
    }
    return sources;
}

enum error_code connect_ca(const char *path, const char *from, struct buf *pem, struct error *err)
{
    AUTO(pki_certs_free) struct pki_certs *certs = NULL;
    enum error_code code = pki_certs_load(path, &certs, err);
    if (code == ERR_OK)
        code = pki_certs_pem(certs, pem, err);
    if (code != ERR_OK && err)
        (void)error_wrap(err, "the CA (%.80s)", from);
    return code;
}

static bool wants_tls(const char *url)
{
    return strncasecmp(url, "https:", 6) == 0;
}

enum error_code connect_client(struct cli *cli, struct error *err)
{
    AUTO_SECRET struct pki_secret token = {0};
    AUTO_BUF struct buf ca = BUF_INIT;
    const struct profile_sources sources = connect_sources(cli);
    profile_done(&cli->profile);
    enum error_code code = profile_load(&sources, &cli->profile, err);
    if (code != ERR_OK)
        return code;
    const struct profile_value *url = &cli->profile.values[PROFILE_ORCHESTRATOR];
    const struct profile_value *ca_file = &cli->profile.values[PROFILE_CA];
    if (profile_token_from(&cli->profile))
        code = profile_token(&cli->profile, &token, err);
    if (code == ERR_OK && ca_file->text && wants_tls(url->text))
        code = connect_ca(ca_file->text, ca_file->from, &ca, err);
    if (code != ERR_OK)
        return code;
    const struct client_config config = {.url = url->text, .ca = ca.data, .token = token.data};
    code = client_new(&config, &cli->client, err);
    if (code == ERR_INVALID && err && url->from && !option_given(&cli->options, OPT_ORCHESTRATOR))
        (void)error_wrap(err, "%.80s", url->from);
    return code;
}
