#include "orchestrator/cli/install_board.h"

#include "common/base/cleanup.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static const struct target web = {.server = "web-1", .host = "web-1"};
static const struct target db = {.server = "db", .host = "db"};
static const struct style plain = {.columns = 80};

static void a_host_that_has_ended_has_a_line(void **state)
{
    struct board board = {.width = 5};
    struct job job = {.target = &db, .result = JOB_INSTALLED, .text = "Debian"};
    AUTO_BUF struct buf b = BUF_INIT;
    (void)state;
    board_ended(&board, &job, &plain, &b);
    assert_string_equal(b.data, "db     installed    Debian\n");
}

static void a_host_that_failed_says_where_and_why_and_steers_no_terminal(void **state)
{
    struct board board = {.width = 5};
    struct job job = {.target = &web, .stage = JOB_UPLOAD, .text = "no \033[2J\nspace"};
    AUTO_BUF struct buf b = BUF_INIT;
    (void)state;
    board_ended(&board, &job, &plain, &b);
    assert_string_equal(b.data, "web-1  failed       upload: no \\x1b[2J\\nspace\n");
}

static void hosts_under_way_are_drawn_again_in_place(void **state)
{
    struct board board = {.width = 5};
    struct job jobs[] = {{.target = &web}, {.target = &db}};
    struct pool_view views[] = {{&jobs[0], JOB_ENROL}, {&jobs[1], JOB_REMOVE}};
    AUTO_BUF struct buf b = BUF_INIT;
    (void)state;
    board_draw(&board, views, 2, 5, &plain, &b);
    assert_string_equal(b.data,
                        "web-1  connect ok  upload ok  enrol ..  start     verify   \033[K\n"
                        "db     remove ...\033[K\n"
                        "3 more to come\033[K\n");
    buf_clear(&b);
    board_draw(&board, views, 1, 1, &plain, &b);
    assert_string_equal(b.data,
                        "\033[3A\r\033[J"
                        "web-1  connect ok  upload ok  enrol ..  start     verify   \033[K\n");
    buf_clear(&b);
    board_clear(&board, &b);
    assert_string_equal(b.data, "\033[1A\r\033[J");
    buf_clear(&b);
    board_clear(&board, &b);
    assert_int_equal(b.len, 0);
}

static void a_narrow_terminal_and_many_hosts_are_cut(void **state)
{
    enum { MANY = 40 };
    const struct style narrow = {.columns = 12};
    struct board board = {.width = 5};
    struct job job = {.target = &web};
    struct pool_view views[MANY];
    AUTO_BUF struct buf b = BUF_INIT;
    (void)state;
    for (int i = 0; i < MANY; i++)
        views[i] = (struct pool_view){&job, JOB_CONNECT};
    board_draw(&board, views, MANY, MANY, &narrow, &b);
    assert_int_equal(board.lines, BOARD_ROWS_MAX + 1);
    assert_memory_equal(b.data, "web-1  conn\033[K\n", 15);
    assert_non_null(strstr(b.data, "28 more to \033[K\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_has_ended_has_a_line),
        cmocka_unit_test(a_host_that_failed_says_where_and_why_and_steers_no_terminal),
        cmocka_unit_test(hosts_under_way_are_drawn_again_in_place),
        cmocka_unit_test(a_narrow_terminal_and_many_hosts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
