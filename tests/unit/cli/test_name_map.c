#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/cli/name_map.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MANY = 5000 };

struct thing {
    struct name_node node;
    char text[16];
};

static void name_them(struct thing *things)
{
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(things[i].text, sizeof(things[i].text), "web-%d", i);
        things[i].node.name = things[i].text;
    }
}

static void things_are_found_until_they_are_removed(void **state)
{
    (void)state;
    AUTO_FREE struct thing *things = mem_array(MANY, sizeof(*things));
    struct name_map map = {0};
    name_them(things);
    assert_null(name_map_find(&map, "web-0"));
    for (int i = 0; i < MANY; i++)
        assert_int_equal(name_map_add(&map, &things[i].node, NULL), ERR_OK);
    for (int i = 0; i < MANY; i += 2)
        name_map_remove(&map, &things[i].node);
    for (int i = 0; i < MANY; i++)
        assert_ptr_equal(name_map_find(&map, things[i].text), i % 2 ? &things[i].node : NULL);
    assert_null(name_map_find(&map, "web"));
    size_t popped = 0;
    while (name_map_pop(&map))
        popped++;
    assert_int_equal(popped, MANY / 2);
    /* An emptied map serves again. */
    assert_int_equal(name_map_add(&map, &things[0].node, NULL), ERR_OK);
    assert_ptr_equal(name_map_pop(&map), &things[0].node);
    name_map_done(&map);
}

static void want_of_memory_leaves_what_was_there(void **state)
{
    (void)state;
    AUTO_FREE struct thing *things = mem_array(MANY, sizeof(*things));
    struct name_map map = {0};
    size_t added = 0;
    name_them(things);
    for (int i = 0; i < 64; i++)
        assert_int_equal(name_map_add(&map, &things[i].node, NULL), ERR_OK);
    mem_fail_after(0);
    for (int i = 64; i < MANY; i++)
        added += name_map_add(&map, &things[i].node, NULL) == ERR_OK ? 1 : 0;
    mem_fail_never();
    assert_int_equal(added, 0);
    for (int i = 0; i < 64; i++)
        assert_ptr_equal(name_map_find(&map, things[i].text), &things[i].node);
    while (name_map_pop(&map))
        ;
    name_map_done(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(things_are_found_until_they_are_removed),
        cmocka_unit_test(want_of_memory_leaves_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
