/* sealed: signed plans: what is refused here, and what goes out to agents so that they can check.
 */
#include "orchestrator/dispatch/dispatch_internal.h"

#include "common/base/text.h"
#include "common/seal/seal_plan.h"

#include <assert.h>

struct sealed {
    struct seal_tree *tree;
    char strategy[SEAL_HASH_TEXT], root[SEAL_HASH_TEXT];
    /* Of the server asked for last: */
    char path[SEAL_PROOF_MAX][SEAL_HASH_TEXT];
    char *path_items[SEAL_PROOF_MAX];
};

void sealed_free(struct sealed *sealed)
{
    if (sealed == NULL)
        return;
    seal_tree_free(sealed->tree);
    mem_free(sealed);
}
DEFINE_CLEANUP(sealed_free, struct sealed)

static enum error_code sealed_make(const struct plan *plan, struct sealed **ret_sealed,
                                   struct error *err)
{
    AUTO(sealed_free) struct sealed *sealed = MEM_NEW(struct sealed);
    struct seal_hash strategy;
    if (sealed == NULL)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = seal_tree_new(plan, &sealed->tree, err);
    if (code == ERR_OK)
        code = seal_hash_strategy(&plan->strategy, &strategy, err);
    if (code != ERR_OK)
        return code;
    text_hex(strategy.bytes, SEAL_HASH_BYTES, sealed->strategy);
    text_hex(seal_tree_root(sealed->tree)->bytes, SEAL_HASH_BYTES, sealed->root);
    for (size_t i = 0; i < SEAL_PROOF_MAX; i++)
        sealed->path_items[i] = sealed->path[i];
    *ret_sealed = TAKE(sealed);
    return ERR_OK;
}

enum error_code sealed_check(const struct plan *plan, int64_t now_ms, struct error *err)
{
    AUTO(seal_tree_free) struct seal_tree *tree = NULL;
    if (!plan->is_signed)
        return ERR_OK;
    enum error_code code = seal_check_time(&plan->signing, now_ms, err);
    if (code == ERR_STALE)
        code = err->code = ERR_CONFLICT; /* to a person: not possible now */
    if (code == ERR_OK)
        code = seal_tree_new(plan, &tree, err);
    return code == ERR_OK ? seal_plan_check(plan, tree, err) : code;
}

enum error_code sealed_fill(struct rollout *r, uint32_t server, struct wire_seal *ret,
                            struct error *err)
{
    struct seal_hash path[SEAL_PROOF_MAX];
    enum error_code code = r->sealed == NULL ? sealed_make(r->plan, &r->sealed, err) : ERR_OK;
    if (code != ERR_OK)
        return code;
    struct sealed *sealed = r->sealed;
    assert(sealed != NULL);
    size_t count = seal_tree_proof(sealed->tree, server, path);
    for (size_t i = 0; i < count; i++)
        text_hex(path[i].bytes, SEAL_HASH_BYTES, sealed->path[i]);
    *ret = (struct wire_seal){
        .plan = r->plan->name,
        .strategy = sealed->strategy,
        .scope = r->plan->rollback_scope,
        .servers = plan_server_count(r->plan),
        .root = sealed->root,
        .index = server,
        .path = {.items = sealed->path_items, .count = count},
        .signing = r->plan->signing,
    };
    return ERR_OK;
}
