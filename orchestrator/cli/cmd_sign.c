/* sign: adds a signature to a plan. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/text.h"
#include "common/pki/pki_file.h"
#include "common/pki/pki_key.h"
#include "common/plan/plan_json.h"
#include "common/seal/seal_keys.h"
#include "common/seal/seal_plan.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/plan_file.h"

#include <string.h>

enum { DEFAULT_LIFETIME_MS = 8 * 3600 * 1000, SIGNED_MODE = 0644 };

DEFINE_CLEANUP(pki_signer_free, struct pki_signer)
DEFINE_CLEANUP(json_free, struct json_doc)

/* What the options say of the time; both count from now. */
static enum error_code times_read(const struct cli *cli, int64_t *ret_wait_ms,
                                  int64_t *ret_lifetime_ms, struct error *err)
{
    const char *wait = cli->options.texts[OPT_NOT_BEFORE];
    const char *lifetime = cli->options.texts[OPT_EXPIRES];
    int64_t wait_ms = 0;
    int64_t lifetime_ms = DEFAULT_LIFETIME_MS;
    if (wait && duration_parse(wait, &wait_ms, err) != ERR_OK)
        return error_wrap(err, "--not-before");
    if (lifetime && duration_parse(lifetime, &lifetime_ms, err) != ERR_OK)
        return error_wrap(err, "--expires");
    if (lifetime_ms <= wait_ms || lifetime_ms - wait_ms > PLAN_MAX_SECONDS * INT64_C(1000) ||
        wait_ms > PLAN_MAX_SECONDS * INT64_C(1000))
        return error_set(err, ERR_INVALID,
                         "--expires must be later than --not-before, by %d days at most",
                         PLAN_MAX_SECONDS / (24 * 3600));
    *ret_wait_ms = wait_ms;
    *ret_lifetime_ms = lifetime_ms;
    return ERR_OK;
}

/* Begins the signing of a plan that nobody has signed yet: the digest comes when all is there. */
static enum error_code signing_begin(const struct cli *cli, struct plan *plan, struct error *err)
{
    uint8_t nonce[PLAN_NONCE_DIGITS / 2];
    struct plan_signing *signing = &plan->signing;
    int64_t wait_ms = 0;
    int64_t lifetime_ms = 0;
    enum error_code code = times_read(cli, &wait_ms, &lifetime_ms, err);
    if (code == ERR_OK)
        code = id_random_bytes(nonce, sizeof(nonce), err);
    if (code != ERR_OK)
        return code;
    int64_t now_ms = clock_wall_ms();
    signing->version = PLAN_SIGNING_VERSION;
    signing->not_before_ms = now_ms + wait_ms;
    signing->expires_ms = now_ms + lifetime_ms;
    signing->nonce = mem_alloc(PLAN_NONCE_DIGITS + 1);
    signing->digest = mem_zalloc(SEAL_HASH_TEXT);
    if (!signing->nonce || !signing->digest)
        return error_set(err, ERR_NO_MEMORY, NULL);
    text_hex(nonce, sizeof(nonce), signing->nonce);
    plan->is_signed = true;
    return ERR_OK;
}

/* A further signature is over the same: nonce and times stay. */
static enum error_code signing_join(const struct cli *cli, const struct plan *plan,
                                    const struct seal_tree *tree, struct error *err)
{
    const struct plan_signing *signing = &plan->signing;
    if (option_given(&cli->options, OPT_EXPIRES) || option_given(&cli->options, OPT_NOT_BEFORE))
        return error_set(err, ERR_INVALID,
                         "the plan is signed already, which has fixed its times; --anew begins "
                         "anew");
    if (signing->signatures.count == PLAN_MAX_SIGNATURES)
        return error_set(err, ERR_LIMIT, "the plan has %d signatures already", PLAN_MAX_SIGNATURES);
    if (clock_wall_ms() > signing->expires_ms)
        return error_set(err, ERR_STALE, "what was signed has expired; --anew begins anew");
    return seal_plan_check(plan, tree, err);
}

static bool has_signed(const struct plan_signing *signing, const char *key)
{
    for (size_t i = 0; i < signing->signatures.count; i++)
        if (strcmp(ARRAY_AT(&signing->signatures, struct plan_signature, i)->key, key) == 0)
            return true;
    return false;
}

static enum error_code signature_add(struct plan_signing *signing, const char *key,
                                     const uint8_t signature[PKI_SIGNATURE_BYTES],
                                     struct error *err)
{
    size_t size = (signing->signatures.count + 1) * sizeof(struct plan_signature);
    struct plan_signature *items = mem_realloc(signing->signatures.items, size);
    AUTO_FREE char *key_copy = mem_strdup(key);
    AUTO_FREE char *text = mem_alloc(PLAN_SIGNATURE_DIGITS + 1);
    if (items)
        signing->signatures.items = items;
    if (!items || !key_copy || !text)
        return error_set(err, ERR_NO_MEMORY, NULL);
    text_hex(signature, PKI_SIGNATURE_BYTES, text);
    items[signing->signatures.count++] =
        (struct plan_signature){.key = TAKE(key_copy), .signature = TAKE(text)};
    return ERR_OK;
}

static enum error_code plan_seal(struct plan *plan, const struct seal_tree *tree,
                                 const struct pki_signer *signer, const char *key,
                                 struct error *err)
{
    AUTO_BUF struct buf statement = BUF_INIT;
    struct seal_hash hash;
    uint8_t signature[PKI_SIGNATURE_BYTES];
    enum error_code code = seal_plan_write(plan, tree, &statement, err);
    if (code == ERR_OK)
        code = seal_hash_bytes(statement.data, statement.len, &hash, err);
    if (code == ERR_OK)
        code = pki_sign(signer, statement.data, statement.len, signature, err);
    if (code != ERR_OK)
        return code;
    text_hex(hash.bytes, sizeof(hash.bytes), plan->signing.digest);
    return signature_add(&plan->signing, key, signature, err);
}

static enum error_code plan_sign(const struct cli *cli, struct plan *plan,
                                 char ret_key[PKI_SIGN_KEY_ID_MAX], struct error *err)
{
    AUTO(pki_signer_free) struct pki_signer *signer = NULL;
    AUTO(seal_tree_free) struct seal_tree *tree = NULL;
    struct pki_public public;
    enum error_code code = pki_signer_load(cli->options.texts[OPT_KEY], &signer, err);
    if (code == ERR_OK)
        code = pki_signer_public(signer, &public, err);
    if (code == ERR_OK)
        code = pki_public_id(&public, ret_key, err);
    if (code == ERR_OK)
        code = seal_tree_new(plan, &tree, err);
    if (code != ERR_OK)
        return code;
    if (option_given(&cli->options, OPT_ANEW)) {
        plan_signing_done(&plan->signing);
        plan->is_signed = false;
    }
    if (plan->is_signed && has_signed(&plan->signing, ret_key))
        return error_set(err, ERR_EXISTS, "key %s has signed this plan already", ret_key);
    code = plan->is_signed ? signing_join(cli, plan, tree, err) : signing_begin(cli, plan, err);
    return code == ERR_OK ? plan_seal(plan, tree, signer, ret_key, err) : code;
}

/* ---- Output ------------------------------------------------------------------------------------
 */

/* The plan as it is understood, every default written out: what is read is what is signed.
 * Indented, unless it is too long for that. */
static enum error_code plan_text(const struct plan *plan, struct buf *out, struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    AUTO_BUF struct buf compact = BUF_INIT;
    AUTO_BUF struct buf pretty = BUF_INIT;
    plan_write(&compact, plan);
    enum error_code code = buf_check(&compact, err);
    if (code == ERR_OK && compact.len >= PLAN_MAX_BYTES)
        code = error_set(err, ERR_LIMIT,
                         "with its defaults written out the plan is longer than %d bytes",
                         PLAN_MAX_BYTES);
    if (code == ERR_OK)
        code = json_parse(compact.data, compact.len, PLAN_MAX_BYTES, &doc, err);
    if (code != ERR_OK)
        return code;
    json_write_pretty(&pretty, json_root(doc));
    code = buf_check(&pretty, err);
    if (code != ERR_OK)
        return code;
    const struct buf *text = pretty.len < PLAN_MAX_BYTES ? &pretty : &compact;
    render_json(out, text->data, text->len);
    buf_putc(out, '\n');
    return buf_check(out, err);
}

static void say_signed(struct cli *cli, const struct plan *plan, const char *key)
{
    char expires[CLOCK_TEXT_MAX];
    clock_format(plan->signing.expires_ms, expires);
    cli_say(cli, "signed by key %s (signature %zu); no server begins after %s", key,
            plan->signing.signatures.count, expires);
}

int cmd_sign(struct cli *cli)
{
    AUTO_PLAN_FILE struct plan_file file = {0};
    AUTO_BUF struct buf text = BUF_INIT;
    char key[PKI_SIGN_KEY_ID_MAX];
    struct error err = {0};
    const char *out = cli->options.texts[OPT_OUT];
    if (!option_given(&cli->options, OPT_KEY)) {
        cli_say(cli, "sign: --key is missing: the file that kitsune key new has made");
        return CLI_USAGE;
    }
    (void)pki_keys_protect();
    int status = plan_file_read_good(cli, cli->options.args[0], &file);
    if (status != CLI_OK)
        return status;
    enum error_code code = plan_sign(cli, file.plan, key, &err);
    if (code == ERR_OK)
        code = plan_text(file.plan, &text, &err);
    if (code == ERR_OK && out)
        code = pki_file_write(out, text.data, text.len, SIGNED_MODE, &err);
    if (code != ERR_OK)
        return cli_fail(cli, &err);
    if (!out && !cli_write(cli, &text))
        return CLI_USAGE;
    say_signed(cli, file.plan, key);
    return CLI_OK;
}
