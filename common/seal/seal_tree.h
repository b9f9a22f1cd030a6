/*
 * seal_tree: the servers of a plan as a Merkle tree, of which the root is signed. Each agent is
 * sent the proof that its server is among them, which is short however many there are. The hashes
 * are those of RFC 9162 (RFC 6962), section 2.1: a leaf is SHA-256(0x00, id), a node SHA-256(0x01,
 * left, right); the leaves are in the plan's order.
 *
 * Threading: a tree may be read by any thread. I/O: none.
 */
#pragma once

#include "common/base/cleanup.h"
#include "common/seal/seal.h"

enum { SEAL_PROOF_MAX = 18 }; /* hashes: for PLAN_MAX_SERVERS */

struct seal_tree;

/* Works linearly in the servers, and takes 64 bytes for each. ERR_NO_MEMORY. Caller owns. */
enum error_code seal_tree_new(const struct plan *plan, struct seal_tree **ret_tree,
                              struct error *err) MUST_CHECK;
void seal_tree_free(struct seal_tree *tree); /* NULL is fine */
DEFINE_CLEANUP(seal_tree_free, struct seal_tree)

const struct seal_hash *seal_tree_root(const struct seal_tree *tree);
/* The proof for a server of the plan, and the hashes in it. */
size_t seal_tree_proof(const struct seal_tree *tree, uint32_t server,
                       struct seal_hash ret_path[SEAL_PROOF_MAX]);

struct seal_proof {
    uint32_t index, count; /* this server's number, and how many there are */
    const struct seal_hash *path;
    size_t path_len;
};
/* ERR_DENIED: the id is not the one with that number below that root. */
enum error_code seal_proof_check(const struct seal_proof *proof, const char *server,
                                 const struct seal_hash *root, struct error *err) MUST_CHECK;
