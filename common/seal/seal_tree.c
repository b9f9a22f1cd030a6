#include "common/seal/seal_tree.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

enum { LEVELS_MAX = SEAL_PROOF_MAX + 1 };
static_assert(PLAN_MAX_SERVERS <= 1 << SEAL_PROOF_MAX, "a proof for the last server fits");

struct seal_tree {
    struct seal_hash *hashes;               /* of all levels, the leaves first */
    size_t at[LEVELS_MAX], len[LEVELS_MAX]; /* where each level lies in them */
    size_t levels;
};

/* ---- Hashing -----------------------------------------------------------------------------------
 */

/* Looked up once: that costs more than what it hashes here. */
struct hasher {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
};

static enum error_code hasher_init(struct hasher *h, struct error *err)
{
    h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    h->ctx = EVP_MD_CTX_new();
    if (h->md && h->ctx)
        return ERR_OK;
    ERR_clear_error();
    return error_set(err, ERR_NO_MEMORY, NULL);
}

static void hasher_done(struct hasher *h)
{
    EVP_MD_free(h->md);
    EVP_MD_CTX_free(h->ctx);
}
#define AUTO_HASHER __attribute__((cleanup(hasher_done)))

static enum error_code hash_parts(const struct hasher *h, uint8_t prefix, const char *left,
                                  size_t left_len, const struct seal_hash *right,
                                  struct seal_hash *ret)
{
    bool ok = EVP_DigestInit_ex(h->ctx, h->md, NULL) == 1 &&
              EVP_DigestUpdate(h->ctx, &prefix, 1) == 1 &&
              EVP_DigestUpdate(h->ctx, left, left_len) == 1 &&
              (!right || EVP_DigestUpdate(h->ctx, right->bytes, sizeof(right->bytes)) == 1) &&
              EVP_DigestFinal_ex(h->ctx, ret->bytes, NULL) == 1;
    if (!ok)
        ERR_clear_error();
    return ok ? ERR_OK : ERR_NO_MEMORY;
}

static enum error_code hash_leaf(const struct hasher *h, const char *id, struct seal_hash *ret)
{
    return hash_parts(h, 0, id, strlen(id), NULL, ret);
}

static enum error_code hash_node(const struct hasher *h, const struct seal_hash *left,
                                 const struct seal_hash *right, struct seal_hash *ret)
{
    struct seal_hash both[2] = {*left, *right}; /* `ret` may be one of them */
    return hash_parts(h, 1, (const char *)both[0].bytes, sizeof(both[0].bytes), &both[1], ret);
}

/* ---- The tree ----------------------------------------------------------------------------------
 */

/* Each level has half as many as the one below. One without a neighbour is carried up as it is,
 * which gives the tree of the RFC: its left part is the largest whole one. */
static enum error_code levels_hash(struct seal_tree *t, const struct plan *plan,
                                   const struct hasher *h)
{
    enum error_code code = ERR_OK;
    for (uint32_t i = 0; i < plan_server_count(plan) && code == ERR_OK; i++)
        code = hash_leaf(h, plan_server(plan, i), &t->hashes[i]);
    for (size_t level = 1; level < t->levels; level++) {
        const struct seal_hash *below = t->hashes + t->at[level - 1];
        struct seal_hash *here = t->hashes + t->at[level];
        for (size_t i = 0; i < t->len[level] && code == ERR_OK; i++) {
            if (2 * i + 1 < t->len[level - 1])
                code = hash_node(h, &below[2 * i], &below[2 * i + 1], &here[i]);
            else
                here[i] = below[2 * i];
        }
    }
    return code;
}

static size_t levels_lay_out(struct seal_tree *t, size_t leaves)
{
    size_t all = 0;
    for (size_t len = leaves;; len = (len + 1) / 2) {
        assert(t->levels < LEVELS_MAX);
        t->at[t->levels] = all;
        t->len[t->levels++] = len;
        all += len;
        if (len == 1)
            return all;
    }
}

enum error_code seal_tree_new(const struct plan *plan, struct seal_tree **ret_tree,
                              struct error *err)
{
    assert(plan->servers.count > 0 && plan->servers.count <= PLAN_MAX_SERVERS);
    AUTO(seal_tree_free) struct seal_tree *t = MEM_NEW(struct seal_tree);
    AUTO_HASHER struct hasher h = {0};
    if (!t)
        return error_set(err, ERR_NO_MEMORY, NULL);
    size_t all = levels_lay_out(t, plan->servers.count);
    t->hashes = mem_array(all, sizeof(*t->hashes));
    if (!t->hashes)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = hasher_init(&h, err);
    if (code != ERR_OK)
        return code;
    code = levels_hash(t, plan, &h);
    if (code != ERR_OK)
        return error_set(err, code, NULL);
    *ret_tree = TAKE(t);
    return ERR_OK;
}

void seal_tree_free(struct seal_tree *tree)
{
    if (!tree)
        return;
    mem_free(tree->hashes);
    mem_free(tree);
}

const struct seal_hash *seal_tree_root(const struct seal_tree *tree)
{
    return &tree->hashes[tree->at[tree->levels - 1]];
}

size_t seal_tree_proof(const struct seal_tree *tree, uint32_t server,
                       struct seal_hash ret_path[SEAL_PROOF_MAX])
{
    size_t count = 0;
    size_t i = server;
    assert(i < tree->len[0]);
    for (size_t level = 0; level + 1 < tree->levels; level++, i /= 2) {
        size_t neighbour = i ^ 1;
        if (neighbour < tree->len[level])
            ret_path[count++] = tree->hashes[tree->at[level] + neighbour];
    }
    return count;
}

/* ---- Proofs ------------------------------------------------------------------------------------
 */

/* RFC 9162, section 2.1.3.2: the root that the path leads to from that leaf. False: it is too long
 * or too short for that number in a tree of that size. */
static bool path_climb(const struct seal_proof *proof, const struct hasher *h,
                       struct seal_hash *node, enum error_code *ret_code)
{
    uint32_t at = proof->index;
    uint32_t last = proof->count - 1;
    for (size_t i = 0; i < proof->path_len && *ret_code == ERR_OK; i++) {
        const struct seal_hash *step = &proof->path[i];
        if (last == 0)
            return false;
        if (at % 2 == 1 || at == last) {
            *ret_code = hash_node(h, step, node, node);
            while (at % 2 == 0 && at > 0) {
                at /= 2;
                last /= 2;
            }
        } else {
            *ret_code = hash_node(h, node, step, node);
        }
        at /= 2;
        last /= 2;
    }
    return last == 0;
}

enum error_code seal_proof_check(const struct seal_proof *proof, const char *server,
                                 const struct seal_hash *root, struct error *err)
{
    AUTO_HASHER struct hasher h = {0};
    struct seal_hash node;
    if (proof->count == 0 || proof->index >= proof->count || proof->path_len > SEAL_PROOF_MAX)
        return error_set(err, ERR_DENIED, "the proof that server %s is in the signed plan is none",
                         server);
    enum error_code code = hasher_init(&h, err);
    if (code != ERR_OK)
        return code;
    code = hash_leaf(&h, server, &node);
    bool right = code == ERR_OK && path_climb(proof, &h, &node, &code);
    if (code != ERR_OK)
        return error_set(err, code, NULL);
    if (!right || memcmp(node.bytes, root->bytes, sizeof(node.bytes)) != 0)
        return error_set(err, ERR_DENIED, "server %s is not among those of the signed plan",
                         server);
    return ERR_OK;
}
