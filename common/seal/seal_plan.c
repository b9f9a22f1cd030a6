#include "common/seal/seal_plan.h"

#include "common/base/text.h"

#include <string.h>

enum error_code seal_plan_write(const struct plan *plan, const struct seal_tree *tree,
                                struct buf *out, struct error *err)
{
    struct seal_statement statement = {
        .name = plan->name,
        .servers = *seal_tree_root(tree),
        .server_count = plan_server_count(plan),
        .scope = plan->rollback_scope,
        .confirm_ms = plan->confirm_timeout_ms,
        .signing = &plan->signing,
    };
    enum error_code code =
        seal_hash_steps(&plan->steps, plan->vars_json, plan->secrets_json, &statement.steps, err);
    if (code == ERR_OK)
        code = seal_hash_strategy(&plan->strategy, &statement.strategy, err);
    return code == ERR_OK ? seal_write(&statement, out, err) : code;
}

enum error_code seal_plan_check(const struct plan *plan, const struct seal_tree *tree,
                                struct error *err)
{
    AUTO_BUF struct buf statement = BUF_INIT;
    struct seal_hash hash;
    char digest[SEAL_HASH_TEXT];
    enum error_code code = seal_plan_write(plan, tree, &statement, err);
    if (code == ERR_OK)
        code = seal_hash_bytes(statement.data, statement.len, &hash, err);
    if (code != ERR_OK)
        return code;
    text_hex(hash.bytes, sizeof(hash.bytes), digest);
    if (strcmp(digest, plan->signing.digest) != 0)
        return error_set(err, ERR_CONFLICT,
                         "the plan is not what was signed: it was changed since, or signed with "
                         "another version of kitsune; sign it again");
    return ERR_OK;
}
