/* Plans: read, checked, written, documented, and the params of their steps. */
#include "alloc/alloc.h"
#include "alloc/plans.h"
#include "common/base/cleanup.h"
#include "common/plan/plan_json.h"
#include "handlers/catalog.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct world {
    struct alloc_world base;
    struct plan *plan;
    struct problems problems;
    struct buf text;
    void *params;
    enum step_undo undo;
    const char *lacks;
};

static const char *text_of(const struct world *w)
{
    return w->base.param;
}

/* Left by a failure, or by nothing. */
static void clear(struct world *w)
{
    plan_free(TAKE(w->plan));
    problems_done(&w->problems);
    buf_done(&w->text);
}

static void end(void *world)
{
    clear(world);
}

static void look(void *world, struct buf *b)
{
    struct world *w = world;
    if (w->plan != NULL)
        plan_write(b, w->plan);
    for (size_t i = 0; i < w->problems.count; i++)
        buf_printf(b, "%s: %s\n", w->problems.items[i].path, w->problems.items[i].message);
    buf_append(b, w->text.len > 0 ? w->text.data : "", w->text.len);
}

static enum error_code run_parse(void *world, struct error *err)
{
    struct world *w = world;
    clear(w);
    enum error_code code =
        plan_parse(text_of(w), strlen(text_of(w)), &handler_catalog, &w->plan, &w->problems, err);
    assert_true((code == ERR_OK) == (w->plan != NULL));
    return code;
}

static enum error_code run_read(void *world, struct error *err)
{
    struct world *w = world;
    clear(w);
    return plan_read(text_of(w), strlen(text_of(w)), &w->plan, err);
}

static void begin_with_plan(void *world)
{
    struct world *w = world;
    assert_int_equal(plan_read(text_of(w), strlen(text_of(w)), &w->plan, NULL), ERR_OK);
}

static enum error_code run_write(void *world, struct error *err)
{
    struct world *w = world;
    buf_done(&w->text);
    plan_write(&w->text, w->plan);
    return buf_check(&w->text, err);
}

static enum error_code run_schema(void *world, struct error *err)
{
    struct world *w = world;
    buf_done(&w->text);
    plan_schema(&w->text, &handler_catalog);
    return buf_check(&w->text, err);
}

/* Every step's. */
static enum error_code run_params(void *world, struct error *err)
{
    struct world *w = world;
    enum error_code code = ERR_OK;
    for (uint32_t i = 0; i < plan_step_count(w->plan) && code == ERR_OK; i++) {
        const struct plan_step *step = plan_step(w->plan, i);
        const struct step_type *type = step_catalog_find(&handler_catalog, step->type);
        struct problems ps = {0};
        void *params = NULL;
        code = step_params_decode(type, step->params_json, "params", &params, &ps, err);
        assert_true((code == ERR_OK) == (params != NULL));
        step_params_free(type, params);
        problems_done(&ps);
    }
    return code;
}

static enum error_code run_undo_find(void *world, struct error *err)
{
    struct world *w = world;
    enum error_code code = ERR_OK;
    for (uint32_t i = 0; i < plan_step_count(w->plan) && code == ERR_OK; i++)
        code = step_undo_find(&handler_catalog, plan_step(w->plan, i), &w->undo, &w->lacks, err);
    return code;
}

static void sweep(const char *name, const char *text, void (*begin)(void *),
                  enum error_code (*run)(void *, struct error *))
{
    const struct alloc_op op = {.name = name,
                                .world_size = sizeof(struct world),
                                .param = text,
                                .begin = begin,
                                .run = run,
                                .look = look,
                                .end = end};
    assert_true(alloc_sweep(&op) > 0);
}

static void a_plan_is_taken_whole_or_not_at_all(void **state)
{
    (void)state;
    sweep("plan: parse", plan_of_all_fields, NULL, run_parse);
    sweep("plan: parse, single-server form", plan_of_one_server, NULL, run_parse);
    sweep("plan: parse, values", plan_of_values, NULL, run_parse);
    sweep("plan: read", plan_of_all_fields, NULL, run_read);
    sweep("plan: read, values", plan_of_values, NULL, run_read);
}

static void all_faults_of_a_plan_are_told_or_none(void **state)
{
    (void)state;
    sweep("plan: parse, with faults", plan_of_faults, NULL, run_parse);
    sweep("plan: parse, with faults in values", plan_of_value_faults, NULL, run_parse);
    sweep("plan: parse, no JSON", "{\"name\":", NULL, run_parse);
    sweep("plan: parse, a member twice", "{\"name\":\"a\",\"name\":\"b\"}", NULL, run_parse);
}

static void a_plan_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    sweep("plan: write", plan_of_all_fields, begin_with_plan, run_write);
    sweep("plan: schema", NULL, NULL, run_schema);
}

static void params_are_judged_by_what_they_say(void **state)
{
    (void)state;
    sweep("plan: params", plan_of_all_types, begin_with_plan, run_params);
    sweep("plan: undo", plan_of_all_types, begin_with_plan, run_undo_find);
    sweep("plan: undo, values", plan_of_values, begin_with_plan, run_undo_find);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_taken_whole_or_not_at_all),
        cmocka_unit_test(all_faults_of_a_plan_are_told_or_none),
        cmocka_unit_test(a_plan_is_written_whole_or_not_at_all),
        cmocka_unit_test(params_are_judged_by_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
