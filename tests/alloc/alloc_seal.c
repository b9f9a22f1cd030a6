/* Signed plans: their trees, what is signed of them, and the keys. */
#include "alloc/alloc.h"
#include "alloc/plans.h"
#include "common/base/cleanup.h"
#include "common/plan/plan_json.h"
#include "common/seal/seal_keys.h"
#include "common/seal/seal_plan.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char keys_text[] =
    "threshold 1\n"
    "ed25519 d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a alice\n";

struct world {
    struct alloc_world base;
    struct plan *plan;
    struct seal_tree *tree;
    struct seal_keys *keys;
    struct buf statement;
};

static void begin(void *world)
{
    struct world *w = world;
    const char *text = plan_of_all_fields;
    assert_int_equal(plan_read(text, strlen(text), &w->plan, NULL), ERR_OK);
}

static void end(void *world)
{
    struct world *w = world;
    plan_free(w->plan);
    seal_tree_free(w->tree);
    seal_keys_free(w->keys);
    buf_done(&w->statement);
}

static void look(void *world, struct buf *b)
{
    const struct world *w = world;
    if (w->tree)
        buf_append(b, seal_tree_root(w->tree)->bytes, SEAL_HASH_BYTES);
    if (w->keys)
        buf_puts(b, seal_keys_at(w->keys, 0)->id);
    buf_append(b, w->statement.len > 0 ? w->statement.data : "", w->statement.len);
}

static enum error_code run_tree(void *world, struct error *err)
{
    struct world *w = world;
    return seal_tree_new(w->plan, &w->tree, err);
}

static void begin_with_tree(void *world)
{
    begin(world);
    assert_int_equal(run_tree(world, NULL), ERR_OK);
}

static enum error_code run_write(void *world, struct error *err)
{
    struct world *w = world;
    buf_done(&w->statement);
    return seal_plan_write(w->plan, w->tree, &w->statement, err);
}

static bool changed_since(const void *world, enum error_code code)
{
    (void)world;
    return code == ERR_CONFLICT;
}

static enum error_code run_check(void *world, struct error *err)
{
    struct world *w = world;
    return seal_plan_check(w->plan, w->tree, err);
}

static enum error_code run_keys(void *world, struct error *err)
{
    struct world *w = world;
    return seal_keys_parse("keys", keys_text, sizeof(keys_text) - 1, &w->keys, err);
}

static void sweep(const char *name, void (*begin_world)(void *),
                  enum error_code (*run)(void *, struct error *))
{
    const struct alloc_op op = {.name = name,
                                .world_size = sizeof(struct world),
                                .begin = begin_world,
                                .run = run,
                                .look = look,
                                .end = end,
                                .accept = run == run_check ? changed_since : NULL};
    assert_true(alloc_sweep(&op) > 0);
}

static void what_is_signed_is_whole_or_not_there(void **state)
{
    (void)state;
    sweep("seal: tree", begin, run_tree);
    sweep("seal: statement", begin_with_tree, run_write);
    sweep("seal: check", begin_with_tree, run_check);
    sweep("seal: keys", NULL, run_keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_signed_is_whole_or_not_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
