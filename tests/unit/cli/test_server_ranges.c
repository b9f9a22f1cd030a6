#include "orchestrator/cli/server_ranges.h"

#include "common/base/alloc.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(const char *const *servers, const char *expected)
{
    struct server_ranges r = {0};
    struct buf b = BUF_INIT;
    for (; *servers; servers++)
        server_ranges_add(&r, *servers);
    server_ranges_put(&r, &b);
    assert_string_equal(b.data, expected);
    buf_done(&b);
    server_ranges_done(&r);
}
#define SERVERS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void names_that_follow_each_other_are_a_range(void **state)
{
    (void)state;
    expect(SERVERS("web-1"), "web-1");
    expect(SERVERS("web-1", "web-2"), "web-1, web-2");
    expect(SERVERS("web-1", "web-2", "web-3"), "web-1..web-3 (3 servers)");
    expect(SERVERS("web-8", "web-9", "web-10", "db", "web-12"),
           "web-8..web-10, db, web-12 (5 servers)");
    expect(SERVERS("n08", "n09", "n10"), "n08..n10 (3 servers)");
}

static void what_only_looks_so_is_none(void **state)
{
    (void)state;
    expect(SERVERS("web-1", "db-2", "db-3"), "web-1, db-2, db-3 (3 servers)");
    expect(SERVERS("a1", "a3", "a2"), "a1, a3, a2 (3 servers)");
    expect(SERVERS("n9", "n010", "n11"), "n9, n010, n11 (3 servers)");
    expect(SERVERS("a", "b", "c"), "a, b, c (3 servers)");
    expect(SERVERS("1", "2", "3"), "1..3 (3 servers)");
}

static void of_very_many_some_are_named_and_all_are_counted(void **state)
{
    (void)state;
    struct server_ranges r = {0};
    struct buf b = BUF_INIT;
    char name[32], tail[64];
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof(name), "server-%d", i * 2);
        server_ranges_add(&r, name);
    }
    server_ranges_put(&r, &b);
    size_t named = 1;
    for (const char *c = b.data; *c; c++)
        named += *c == ',';
    (void)snprintf(tail, sizeof(tail), " and %zu more (1000 servers)", 1000 - named);
    assert_string_equal(b.data + strlen(b.data) - strlen(tail), tail);
    assert_true(b.len < SERVER_RANGES_MAX_BYTES + 100);
    buf_done(&b);
    server_ranges_done(&r);
}

static void want_of_memory_is_told(void **state)
{
    (void)state;
    struct server_ranges r = {0};
    struct buf b = BUF_INIT;
    mem_fail_after(0);
    server_ranges_add(&r, "a");
    mem_fail_never();
    server_ranges_add(&r, "b");
    server_ranges_put(&r, &b);
    assert_int_equal(buf_check(&b, NULL), ERR_NO_MEMORY);
    server_ranges_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_follow_each_other_are_a_range),
        cmocka_unit_test(what_only_looks_so_is_none),
        cmocka_unit_test(of_very_many_some_are_named_and_all_are_counted),
        cmocka_unit_test(want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
