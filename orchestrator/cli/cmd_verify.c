/* verify: whether agents with certain trusted keys would run a plan. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/seal/seal_keys.h"
#include "common/seal/seal_plan.h"
#include "orchestrator/cli/commands.h"
#include "orchestrator/cli/plan_file.h"

#include <string.h>

#define KEY_STATES(X) X(KEY_SIGNED, "signed") X(KEY_MISSING, "missing") X(KEY_WRONG, "does not fit")
#define X(value, name) value,
enum key_state { KEY_STATES(X) KEY_STATE_COUNT };
#undef X
#define X(value, name) [value] = (name),
static const char *const key_state_names[KEY_STATE_COUNT] = {KEY_STATES(X)};
#undef X

struct key_doc {
    char *id, *name, *state;
};
struct verify_doc {
    bool valid;
    char *reason;
    char *nonce;
    int64_t not_before_ms, expires_ms, threshold;
    struct array keys; /* struct key_doc */
};

static const struct json_field key_fields[] = {
    {.name = "id", .type = JSON_STRING, JSON_AT(struct key_doc, id), .doc = "The key's id."},
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct key_doc, name),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Whose it is."},
    {.name = "state",
     .type = JSON_STRING,
     JSON_AT(struct key_doc, state),
     .doc = "Whether it has signed."},
};
static const struct json_table key_table =
    JSON_TABLE("key", struct key_doc, key_fields, "One of the trusted keys.");
static const struct json_field key_item = {.type = JSON_OBJECT, .table = &key_table};

static const struct json_field verify_fields[] = {
    {.name = "valid",
     .type = JSON_BOOL,
     JSON_AT(struct verify_doc, valid),
     .flags = JSON_REQUIRED,
     .doc = "Whether agents with these keys would run the plan now."},
    {.name = "reason",
     .type = JSON_STRING,
     JSON_AT(struct verify_doc, reason),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Why not."},
    {.name = "nonce",
     .type = JSON_STRING,
     JSON_AT(struct verify_doc, nonce),
     .flags = JSON_OMIT_EMPTY,
     .doc = "An agent runs it once."},
    {.name = "notBefore",
     .type = JSON_CUSTOM,
     JSON_AT(struct verify_doc, not_before_ms),
     .flags = JSON_OMIT_EMPTY,
     .custom = &json_time_custom,
     .doc = "Not before this time."},
    {.name = "expires",
     .type = JSON_CUSTOM,
     JSON_AT(struct verify_doc, expires_ms),
     .flags = JSON_OMIT_EMPTY,
     .custom = &json_time_custom,
     .doc = "Not after this time."},
    {.name = "threshold",
     .type = JSON_INT,
     JSON_AT(struct verify_doc, threshold),
     .flags = JSON_REQUIRED,
     .doc = "How many of the keys must have signed."},
    {.name = "keys",
     .type = JSON_ARRAY,
     JSON_AT(struct verify_doc, keys),
     .flags = JSON_REQUIRED,
     .item = &key_item,
     .doc = "The trusted keys."},
};
static const struct json_table verify_table =
    JSON_TABLE("verification", struct verify_doc, verify_fields, "What a plan's signatures are.");

/* ---- Looking -----------------------------------------------------------------------------------
 */

struct verdict {
    struct error why; /* ERR_OK: it would be run */
    enum key_state states[SEAL_KEYS_MAX];
};

static enum error_code keys_look(const struct plan *plan, const struct seal_keys *keys,
                                 const struct buf *statement, struct verdict *v, struct error *err)
{
    for (size_t i = 0; i < seal_keys_count(keys); i++) {
        enum error_code code =
            seal_key_check(seal_keys_at(keys, i), &plan->signing, statement, err);
        if (code != ERR_OK && code != ERR_NOT_FOUND && code != ERR_DENIED)
            return code;
        v->states[i] = code == ERR_OK          ? KEY_SIGNED
                       : code == ERR_NOT_FOUND ? KEY_MISSING
                                               : KEY_WRONG;
    }
    return ERR_OK;
}

/* In v->why what would keep an agent from running it; the result says whether that is known. */
static enum error_code look(const struct plan *plan, const struct seal_keys *keys,
                            struct verdict *v, struct error *err)
{
    AUTO(seal_tree_free) struct seal_tree *tree = NULL;
    AUTO_BUF struct buf statement = BUF_INIT;
    enum error_code code = seal_tree_new(plan, &tree, err);
    if (code == ERR_OK)
        code = seal_plan_write(plan, tree, &statement, err);
    if (code == ERR_OK)
        code = keys_look(plan, keys, &statement, v, err);
    if (code != ERR_OK)
        return code;
    code = seal_plan_check(plan, tree, &v->why);
    if (code == ERR_OK)
        code = seal_keys_check(keys, &plan->signing, &statement, &v->why);
    if (code == ERR_OK)
        code = seal_check_time(&plan->signing, clock_wall_ms(), &v->why);
    v->why.code = code;
    return code == ERR_NO_MEMORY || code == ERR_INTERNAL ? error_set(err, code, NULL) : ERR_OK;
}

/* ---- Telling -----------------------------------------------------------------------------------
 */

static char *text_at(const void *text)
{
    return (char *)(uintptr_t)text; /* written, and not kept */
}

static bool tell_json(struct cli *cli, const struct plan *plan, const struct seal_keys *keys,
                      const struct verdict *v)
{
    struct key_doc items[SEAL_KEYS_MAX];
    struct verify_doc doc = {
        .valid = v->why.code == ERR_OK,
        .reason = v->why.code == ERR_OK ? NULL : text_at(v->why.message),
        .threshold = seal_keys_threshold(keys),
        .nonce = plan->signing.nonce,
        .not_before_ms = plan->signing.not_before_ms,
        .expires_ms = plan->signing.expires_ms,
        .keys = {.items = items, .count = seal_keys_count(keys)},
    };
    for (size_t i = 0; i < doc.keys.count; i++) {
        const struct seal_key *key = seal_keys_at(keys, i);
        items[i] = (struct key_doc){.id = text_at(key->id),
                                    .name = key->name[0] ? text_at(key->name) : NULL,
                                    .state = text_at(key_state_names[v->states[i]])};
    }
    return cli_write_table(cli, &verify_table, &doc);
}

static bool tell_table(struct cli *cli, const struct plan_file *file, const struct seal_keys *keys,
                       const struct verdict *v)
{
    static const struct column columns[] = {{"KEY", false}, {"NAME", false}, {"SIGNATURE", false}};
    static const enum ink inks[KEY_STATE_COUNT] = {
        [KEY_SIGNED] = INK_GOOD, [KEY_MISSING] = INK_NONE, [KEY_WRONG] = INK_BAD};
    AUTO_TABLE struct table table = {0};
    AUTO_BUF struct buf b = BUF_INIT;
    char expires[CLOCK_TEXT_MAX];
    table_init(&table, columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < seal_keys_count(keys); i++) {
        table_cell(&table, INK_BOLD, seal_keys_at(keys, i)->id);
        table_cell(&table, INK_NONE, seal_keys_at(keys, i)->name);
        table_cell(&table, inks[v->states[i]], key_state_names[v->states[i]]);
    }
    table_flush(&table, &cli->style, &b);
    if (v->why.code == ERR_OK) {
        clock_format(file->plan->signing.expires_ms, expires);
        render_text(&b, file->name);
        buf_printf(&b, ": agents with these keys run it, each once, until %s\n", expires);
    }
    return cli_write(cli, &b);
}

int cmd_verify(struct cli *cli)
{
    AUTO_PLAN_FILE struct plan_file file = {0};
    AUTO(seal_keys_free) struct seal_keys *keys = NULL;
    struct verdict verdict = {0};
    struct error err = {0};
    if (!option_given(&cli->options, OPT_TRUSTED_KEYS)) {
        cli_say(cli, "verify: --trusted-keys is missing: the file that the agents have");
        return CLI_USAGE;
    }
    if (seal_keys_load(cli->options.texts[OPT_TRUSTED_KEYS], &keys, &err) != ERR_OK)
        return cli_fail(cli, &err);
    int status = plan_file_read_good(cli, cli->options.args[0], &file);
    if (status != CLI_OK)
        return status;
    if (!file.plan->is_signed) {
        cli_say(cli, "%s: is not signed", file.name);
        return CLI_USAGE;
    }
    if (look(file.plan, keys, &verdict, &err) != ERR_OK)
        return cli_fail(cli, &err);
    bool told = cli->options.json ? tell_json(cli, file.plan, keys, &verdict)
                                  : tell_table(cli, &file, keys, &verdict);
    if (!told || verdict.why.code == ERR_OK)
        return told ? CLI_OK : CLI_USAGE;
    if (!cli->options.json)
        cli_say(cli, "%s: %s", file.name, verdict.why.message);
    return CLI_USAGE;
}
