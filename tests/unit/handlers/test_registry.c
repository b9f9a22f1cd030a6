#include "common/base/alloc.h"
#include "handlers/builtin.h"
#include "unit/handlers/support_run.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void every_step_type_has_a_handler(void **state)
{
    (void)state;
    for (size_t i = 0; i < handler_catalog.count; i++) {
        const struct step_type *type = handler_catalog.types[i];
        const struct handler *handler = handler_find(type->name);
        assert_non_null(handler);
        assert_ptr_equal(handler->type, type);
        assert_non_null(handler->prepare);
        assert_non_null(handler->execute);
        assert_non_null(handler->rollback);
        assert_non_null(handler->check);
    }
}

static void an_unknown_step_type_has_no_handler(void **state)
{
    (void)state;
    assert_null(handler_find("teleport"));
    assert_null(handler_find(""));
}

static void a_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    struct handler_result result = {0};
    char text[HANDLER_MESSAGE_MAX + 8];
    /* One byte, then characters of two bytes each: the last place falls into the middle of one. */
    text[0] = 'x';
    for (size_t i = 1; i + 1 < sizeof(text); i += 2) {
        text[i] = (char)0xc3;
        text[i + 1] = (char)0xa4;
    }
    text[sizeof(text) - 1] = '\0';
    result_fail(&result, true, "%s", text);
    size_t len = strlen(result.message);
    assert_true(len >= HANDLER_MESSAGE_MAX - 4 && len < HANDLER_MESSAGE_MAX);
    assert_int_equal((unsigned char)result.message[len - 1], 0xa4);
}

static int done_calls;
static struct handler_result seen;

static void remember(struct handler_run *run, const struct handler_result *result)
{
    (void)run;
    done_calls++;
    seen = *result;
    seen.undo = NULL;
}

static void undo_data_past_the_bound_fails_the_prepare(void **state)
{
    (void)state;
    struct handler_run run = {.handler = &echo_handler, .done = remember};
    struct handler_result result = {.outcome = HANDLER_OK};
    result.undo = mem_zalloc(HANDLER_UNDO_MAX + 2);
    assert_non_null(result.undo);
    memset(result.undo, 'x', HANDLER_UNDO_MAX + 1);
    done_calls = 0;
    handler_finish(&run, &result);
    assert_int_equal(done_calls, 1);
    assert_true(run.finished);
    assert_int_equal(seen.outcome, HANDLER_FAILED);
    assert_false(seen.retryable);
}

static void what_there_is_no_room_for_fails_the_prepare_alone(void **state)
{
    (void)state;
    struct handler_run run = {.handler = &echo_handler,
                              .operation = HANDLER_PREPARE,
                              .room = {.used_bytes = 98, .max_bytes = 100},
                              .done = remember};
    struct handler_result result = {.outcome = HANDLER_OK};
    assert_true(room_fits(&run, 2));
    assert_false(room_fits(&run, 3));
    result.undo = mem_strdup("{ }");
    handler_finish(&run, &result);
    assert_int_equal(seen.outcome, HANDLER_FAILED);
    assert_true(seen.no_room);
    run.operation = HANDLER_ROLLBACK;
    assert_true(room_fits(&run, 3));
    run.operation = HANDLER_PREPARE;
    run.room.max_bytes = 0;
    assert_true(room_fits(&run, INT64_MAX));
}

static void cancelling_what_has_ended_does_nothing(void **state)
{
    (void)state;
    struct handler_run run = {.handler = &sleep_handler, .done = remember};
    done_calls = 0;
    handler_succeed(&run, false, "over");
    handler_cancel(&run);
    assert_int_equal(done_calls, 1);
}

static void marks_differ_by_server_rollout_and_step(void **state)
{
    (void)state;
    char a[HANDLER_MARK_MAX], b[HANDLER_MARK_MAX];
    handler_mark("web-1", "r1", "first", a);
    handler_mark("web-1", "r1", "first", b);
    assert_string_equal(a, b);
    handler_mark("web-2", "r1", "first", b);
    assert_string_not_equal(a, b);
    handler_mark("web-1", "r2", "first", b);
    assert_string_not_equal(a, b);
    handler_mark("web-1", "r1", "second", b);
    assert_string_not_equal(a, b);
}

static void errors_that_may_pass_are_worth_another_attempt(void **state)
{
    (void)state;
    struct handler_result result = {0};
    struct error err;
    error_set(&err, ERR_NO_SPACE, NULL);
    result_fail_error(&result, &err);
    assert_true(result.retryable);
    error_set(&err, ERR_INVALID, "a folder");
    result_fail_error(&result, &err);
    assert_false(result.retryable);
    assert_string_equal(result.message, "a folder");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_type_has_a_handler),
        cmocka_unit_test(an_unknown_step_type_has_no_handler),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(undo_data_past_the_bound_fails_the_prepare),
        cmocka_unit_test(what_there_is_no_room_for_fails_the_prepare_alone),
        cmocka_unit_test(cancelling_what_has_ended_does_nothing),
        cmocka_unit_test(marks_differ_by_server_rollout_and_step),
        cmocka_unit_test(errors_that_may_pass_are_worth_another_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
