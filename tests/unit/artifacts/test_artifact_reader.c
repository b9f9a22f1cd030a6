#include "unit/artifacts/support_store.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char text[] = TEXT;

struct got {
    int times;
    enum error_code code;
    char data[LEN + 1];
    size_t len;
};

static void got_done(void *ctx, enum error_code result, const char *data, size_t len)
{
    struct got *got = ctx;
    got->times++;
    got->code = result;
    got->len = len;
    memset(got->data, 0, sizeof(got->data));
    if (len > 0)
        memcpy(got->data, data, len);
}

static void read_and_wait(struct world *w, struct artifact_reader *reader, int64_t offset,
                          size_t len, struct got *got)
{
    int before = got->times;
    artifact_reader_read(reader, offset, len, got_done, got);
    assert_int_equal(got->times, before);
    while (got->times == before)
        (void)uv_run(&w->loop, UV_RUN_ONCE);
}

static void a_reader_reads_any_part_and_reads_on_what_is_deleted(void **state)
{
    struct world *w = *state;
    struct error err = {0};
    struct artifact_reader *reader = NULL;
    struct got got = {0};
    char hex[HEX_BUFFER];
    half_put(w, hex);
    assert_int_equal(artifact_reader_open(w->store, hex, &reader, &err), ERR_NOT_FOUND);
    assert_true(put(w, hex, FIRST, text + FIRST, LEN - FIRST).whole);
    assert_int_equal(artifact_reader_open(w->store, hex, &reader, &err), ERR_OK);
    read_and_wait(w, reader, 0, LEN, &got);
    assert_string_equal(got.data, text);
    assert_int_equal(deleted(w, hex).code, ERR_OK);
    struct artifact_reader *late = NULL;
    assert_int_equal(artifact_reader_open(w->store, hex, &late, &err), ERR_NOT_FOUND);
    read_and_wait(w, reader, 5, 7, &got);
    assert_int_equal(got.len, 7);
    assert_memory_equal(got.data, text + 5, 7);
    read_and_wait(w, reader, LEN, 5, &got);
    assert_int_equal(got.code, ERR_OK);
    assert_int_equal(got.len, 0);
    artifact_reader_close(reader);
}

static void a_reader_that_is_closed_hears_nothing_more(void **state)
{
    struct world *w = *state;
    struct error err = {0};
    struct artifact_reader *reader = NULL;
    struct got got = {0};
    char hex[HEX_BUFFER];
    stored(w, text, hex);
    assert_int_equal(artifact_reader_open(w->store, hex, &reader, &err), ERR_OK);
    artifact_reader_read(reader, 0, LEN, got_done, &got);
    artifact_reader_close(reader);
    world_again(w);
    assert_int_equal(got.times, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reader_reads_any_part_and_reads_on_what_is_deleted),
        TEST(a_reader_that_is_closed_hears_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
