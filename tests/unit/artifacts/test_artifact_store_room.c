#include "unit/artifacts/support_store.h"

#include "common/base/alloc.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char text[] = TEXT;

/* ---- Room -------------------------------------------------------------------------------------
 */

static void the_limit_is_for_all_together_and_deleting_makes_room(void **state)
{
    struct world *w = *state;
    char first[HEX_BUFFER];
    char hex[HEX_BUFFER];
    world_close(w);
    w->config.max_bytes = LEN + 10;
    world_open(w);
    stored(w, text, first);
    hex_of("12345678901", 11, hex);
    struct ended ended = begun(w, hex, LEN + 11);
    assert_int_equal(ended.code, ERR_LIMIT);
    assert_non_null(strstr(ended.message, "--artifact-max-size"));
    ended = begun(w, hex, 11);
    assert_int_equal(ended.code, ERR_NO_SPACE);
    assert_non_null(strstr(ended.message, "kitsune artifact delete"));
    assert_false(ended.there);
    nothing_is_left(w, hex);
    /* What is under way counts in full. */
    hex_of("1234567890", 10, hex);
    assert_int_equal(begun(w, hex, 10).code, ERR_OK);
    char other[HEX_BUFFER];
    hex_of("1", 1, other);
    assert_int_equal(begun(w, other, 1).code, ERR_NO_SPACE);
    assert_int_equal(deleted(w, hex).code, ERR_OK);
    assert_int_equal(begun(w, other, 1).code, ERR_OK);
}

static void a_disk_without_room_refuses_and_loses_nothing(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    char other[HEX_BUFFER];
    half_put(w, hex);
    world_close(w);
    w->config.free_min_bytes = INT64_MAX;
    world_open(w);
    struct ended ended = put(w, hex, FIRST, text + FIRST, LEN - FIRST);
    assert_int_equal(ended.code, ERR_NO_SPACE);
    assert_int_equal(ended.offset, FIRST);
    hex_of("x", 1, other);
    assert_int_equal(begun(w, other, 1).code, ERR_NO_SPACE);
    nothing_is_left(w, other);
    assert_int_equal(artifact_store_stats(w->store).uploads, 1);
    w->config.free_min_bytes = 0;
    world_again(w);
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
}

static void a_write_that_fails_half_way_counts_for_nothing(void **state)
{
    struct world *w = *state;
    struct rlimit before;
    char hex[HEX_BUFFER];
    char part[HEX_BUFFER + 8];
    half_put(w, hex);
    (void)snprintf(part, sizeof(part), "%s.part", hex);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit small = {FIRST + 5, before.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct ended ended = put(w, hex, FIRST, text + FIRST, LEN - FIRST);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_not_equal(ended.code, ERR_OK);
    assert_int_equal(ended.offset, FIRST);
    assert_int_equal(length_of(w, part), FIRST);
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
}

static void uploads_at_once_are_bounded(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    for (int i = 0; i < ARTIFACT_UPLOADS_MAX; i++) {
        hex_of((const char *)&i, sizeof(i), hex);
        assert_int_equal(begun(w, hex, 9).code, ERR_OK);
    }
    char one_more[HEX_BUFFER];
    hex_of(text, LEN, one_more);
    assert_int_equal(begun(w, one_more, LEN).code, ERR_LIMIT);
    assert_int_equal(deleted(w, hex).code, ERR_OK);
    assert_int_equal(begun(w, one_more, LEN).code, ERR_OK);
}

static void want_of_memory_is_told_and_loses_nothing(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    struct ended ended = {.code = ERR_NO_MEMORY};
    hex_of(text, LEN, hex);
    for (uint64_t n = 0; ended.code != ERR_OK; n++) {
        assert_int_equal(ended.code, ERR_NO_MEMORY);
        ended = (struct ended){0};
        mem_fail_after(n);
        begin(w, hex, LEN, &ended);
        mem_fail_never();
        wait_for(w, &ended, 1);
    }
    for (ended.code = ERR_NO_MEMORY; ended.code != ERR_OK;) {
        static uint64_t n;
        char *copy = mem_strndup(text, LEN);
        const struct artifact_piece whole = {.digest = hex, .data = copy, .len = LEN};
        ended = (struct ended){0};
        mem_fail_after(n++);
        artifact_store_piece(w->store, &whole, ended_done, &ended);
        mem_fail_never();
        wait_for(w, &ended, 1);
        assert_true(ended.code == ERR_OK || ended.code == ERR_NO_MEMORY);
        assert_true(n < 10);
    }
    assert_true(ended.whole);
    is_whole(w, hex);
}

/* ---- Removing --------------------------------------------------------------------------------
 */

static void what_is_deleted_is_gone_and_can_come_again(void **state)
{
    struct world *w = *state;
    char hex[HEX_BUFFER];
    stored(w, text, hex);
    struct ended ended = {0};
    artifact_store_delete(w->store, hex, ended_done, &ended);
    assert_false(found(w, hex, NULL)); /* from the call on */
    wait_for(w, &ended, 1);
    assert_int_equal(ended.code, ERR_OK);
    nothing_is_left(w, hex);
    assert_int_equal(artifact_store_stats(w->store).count, 0);
    assert_int_equal(artifact_store_stats(w->store).bytes, 0);
    assert_int_equal(deleted(w, hex).code, ERR_NOT_FOUND);
    stored(w, text, hex);
    is_whole(w, hex);
}

static void what_is_asked_of_one_is_done_in_order(void **state)
{
    struct world *w = *state;
    struct ended ended = {0};
    struct ended removed = {0};
    struct ended anew = {0};
    char hex[HEX_BUFFER];
    hex_of(text, LEN, hex);
    begin(w, hex, LEN, &ended);
    piece(w, hex, 0, text, LEN, &ended);
    artifact_store_delete(w->store, hex, ended_done, &removed);
    begin(w, hex, LEN, &anew);
    wait_for(w, &anew, 1);
    assert_int_equal(ended.times, 2);
    assert_true(ended.whole);
    assert_int_equal(removed.code, ERR_OK);
    assert_int_equal(anew.code, ERR_OK);
    assert_int_equal(anew.offset, 0);
    assert_true(found(w, hex, NULL));
    assert_true(put(w, hex, 0, text, LEN).whole);
}

/* An upload that comes to nothing must not hide the next one behind a removal that found nothing.
 */
static void a_removal_behind_an_upload_that_fails_leaves_no_trace(void **state)
{
    struct world *w = *state;
    struct ended ended = {0};
    struct ended removed = {0};
    struct ended anew = {0};
    char hex[HEX_BUFFER];
    hex_of("other", 5, hex);
    assert_int_equal(begun(w, hex, LEN).code, ERR_OK);
    piece(w, hex, 0, text, LEN, &ended);
    artifact_store_delete(w->store, hex, ended_done, &removed);
    begin(w, hex, 5, &anew);
    wait_for(w, &anew, 1);
    assert_int_equal(ended.code, ERR_CORRUPT);
    assert_int_equal(removed.code, ERR_NOT_FOUND);
    assert_int_equal(anew.code, ERR_OK);
    assert_true(found(w, hex, NULL));
}

static void an_upload_that_nobody_goes_on_with_is_removed_and_no_other(void **state)
{
    struct world *w = *state;
    char whole[HEX_BUFFER];
    char hex[HEX_BUFFER];
    stored(w, "x", whole);
    half_put(w, hex);
    artifact_store_expire(w->store);
    (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_true(found(w, hex, NULL)); /* it is young */
    world_close(w);
    w->config.stale_ms = 0;
    world_open(w);
    artifact_store_expire(w->store);
    world_again(w);
    nothing_is_left(w, hex);
    is_whole(w, whole);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_limit_is_for_all_together_and_deleting_makes_room),
        TEST(a_disk_without_room_refuses_and_loses_nothing),
        TEST(a_write_that_fails_half_way_counts_for_nothing),
        TEST(uploads_at_once_are_bounded),
        TEST(want_of_memory_is_told_and_loses_nothing),
        TEST(what_is_deleted_is_gone_and_can_come_again),
        TEST(what_is_asked_of_one_is_done_in_order),
        TEST(a_removal_behind_an_upload_that_fails_leaves_no_trace),
        TEST(an_upload_that_nobody_goes_on_with_is_removed_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
