/* The tree of a plan's servers, and the proofs that one is among them. */
#include "unit/seal/support_seal.h"

#include "common/base/text.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SIZES_MAX = 20 };

/* "s0", "s1", ... Caller owns. */
static struct plan *plan_with(uint32_t count)
{
    struct plan *plan = MEM_NEW(struct plan);
    assert_non_null(plan);
    char **servers = mem_array(count, sizeof(*servers));
    assert_non_null(servers);
    plan->servers = (struct array){servers, count};
    for (uint32_t i = 0; i < count; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "s%u", i);
        servers[i] = mem_strdup(name);
        assert_non_null(servers[i]);
    }
    return plan;
}

static struct seal_tree *tree_of(const struct plan *plan)
{
    struct seal_tree *tree = NULL;
    assert_int_equal(seal_tree_new(plan, &tree, NULL), ERR_OK);
    return tree;
}

/* Made by another program, from the recursive definition of the RFC. */
static void the_roots_are_those_of_the_rfc(void **state)
{
    static const struct {
        uint32_t count;
        const char *root;
    } known[] = {
        {1, "a73e8ee41b091349694a3c7c0872665f8cb176f2eb904264296e322edd01dab9"},
        {2, "ae487fc1ae3ce5ddd4c465dfef31dde066a6971f5540c0d759b37ea1638e6c91"},
        {3, "8c0acc538ced7e13662404cb8a0f811062b89846e37a2fed476e2f9835bea1b5"},
        {7, "1d8020d731a1233ab0af56da9bf7d03dbe0244719f57b94d2558f8fdac55a95f"},
        {8, "9de6724f4ce9134faa79c00d71d91c702fa6e93439203eb75478bb4e239e97aa"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        char text[SEAL_HASH_TEXT];
        AUTO(plan_free) struct plan *plan = plan_with(known[i].count);
        AUTO(seal_tree_free) struct seal_tree *tree = tree_of(plan);
        text_hex(seal_tree_root(tree)->bytes, SEAL_HASH_BYTES, text);
        assert_string_equal(text, known[i].root);
    }
}

static enum error_code check(const struct seal_tree *tree, const struct seal_proof *proof,
                             const char *server)
{
    struct error err = {0};
    enum error_code code = seal_proof_check(proof, server, seal_tree_root(tree), &err);
    assert_true(code == ERR_OK || err.message[0] != '\0');
    return code;
}

/* No other number, server, length or hash passes. */
static void no_change_passes(const struct seal_tree *tree, const struct seal_proof *right,
                             const char *server)
{
    struct seal_hash path[SEAL_PROOF_MAX + 1];
    struct seal_proof proof = *right;
    memcpy(path, right->path, right->path_len * sizeof(*path));
    path[right->path_len] = (struct seal_hash){0};
    proof.path = path;
    assert_int_equal(check(tree, &proof, "s"), ERR_DENIED);
    for (uint32_t i = 0; i <= right->count; i++) {
        proof.index = i;
        assert_int_equal(check(tree, &proof, server), i == right->index ? ERR_OK : ERR_DENIED);
    }
    proof.index = right->index;
    proof.path_len++;
    assert_int_equal(check(tree, &proof, server), ERR_DENIED);
    proof.path_len--;
    for (size_t i = 0; i < right->path_len; i++) {
        path[i].bytes[i % SEAL_HASH_BYTES] ^= 1;
        assert_int_equal(check(tree, &proof, server), ERR_DENIED);
        path[i].bytes[i % SEAL_HASH_BYTES] ^= 1;
    }
    if (proof.path_len > 0) {
        proof.path_len--;
        assert_int_equal(check(tree, &proof, server), ERR_DENIED);
    }
}

static void each_server_is_proven_and_no_other(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= SIZES_MAX; count++) {
        AUTO(plan_free) struct plan *plan = plan_with(count);
        AUTO(seal_tree_free) struct seal_tree *tree = tree_of(plan);
        for (uint32_t i = 0; i < count; i++) {
            struct seal_hash path[SEAL_PROOF_MAX] = {0};
            const struct seal_proof proof = {i, count, path, seal_tree_proof(tree, i, path)};
            assert_int_equal(check(tree, &proof, plan_server(plan, i)), ERR_OK);
            no_change_passes(tree, &proof, plan_server(plan, i));
        }
    }
}

/* The two hashes of a node, as an id, would be a leaf with its hash if both were hashed alike. */
static void a_node_is_no_server(void **state)
{
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_with(2);
    AUTO(seal_tree_free) struct seal_tree *tree = tree_of(plan);
    struct seal_hash left[SEAL_PROOF_MAX], right[SEAL_PROOF_MAX]; /* the leaves */
    char id[2 * SEAL_HASH_BYTES + 1] = "";
    assert_int_equal(seal_tree_proof(tree, 1, left), 1);
    assert_int_equal(seal_tree_proof(tree, 0, right), 1);
    memcpy(id, &left[0], SEAL_HASH_BYTES);
    memcpy(id + SEAL_HASH_BYTES, &right[0], SEAL_HASH_BYTES);
    assert_int_equal(strlen(id), 2 * SEAL_HASH_BYTES);
    const struct seal_proof proof = {0, 1, NULL, 0};
    assert_int_equal(check(tree, &proof, id), ERR_DENIED);
}

static void the_largest_plan_has_proofs_that_fit(void **state)
{
    static const uint32_t some[] = {0, 1, 65535, 65536, 131071, 131072, PLAN_MAX_SERVERS - 1};
    (void)state;
    AUTO(plan_free) struct plan *plan = plan_with(PLAN_MAX_SERVERS);
    AUTO(seal_tree_free) struct seal_tree *tree = tree_of(plan);
    for (size_t i = 0; i < ARRAY_LEN(some); i++) {
        struct seal_hash path[SEAL_PROOF_MAX];
        const struct seal_proof proof = {some[i], PLAN_MAX_SERVERS, path,
                                         seal_tree_proof(tree, some[i], path)};
        assert_int_equal(check(tree, &proof, plan_server(plan, some[i])), ERR_OK);
        assert_int_equal(check(tree, &proof, "s7"), ERR_DENIED);
    }
}

static void a_proof_of_nothing_or_beyond_every_size_is_none(void **state)
{
    (void)state;
    static const struct seal_hash path[SEAL_PROOF_MAX + 2];
    static const struct seal_proof none[] = {{0, 0, path, 0},
                                             {1, 1, path, 0},
                                             {7, 7, path, 3},
                                             {0, UINT32_MAX, path, SEAL_PROOF_MAX + 1}};
    AUTO(plan_free) struct plan *plan = plan_with(1);
    AUTO(seal_tree_free) struct seal_tree *tree = tree_of(plan);
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(check(tree, &none[i], "s0"), ERR_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_roots_are_those_of_the_rfc),
        cmocka_unit_test(each_server_is_proven_and_no_other),
        cmocka_unit_test(a_node_is_no_server),
        cmocka_unit_test(the_largest_plan_has_proofs_that_fit),
        cmocka_unit_test(a_proof_of_nothing_or_beyond_every_size_is_none),
    };
    return cmocka_run_group_tests_name("seal_tree", tests, NULL, NULL);
}
