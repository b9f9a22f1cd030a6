#include "common/base/alloc.h"
#include "orchestrator/cli/render.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct style plain = {.utf8 = true};

static void expect_text(const char *s, const char *rendered)
{
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, "");
    render_text(&b, s);
    assert_string_equal(b.data, rendered);
}

static void escapes_of_terminals_are_made_visible(void **state)
{
    (void)state;
    expect_text("a\x1b[2Jb", "a\\x1b[2Jb");
    expect_text("\x07\x7f", "\\x07\\x7f");
    expect_text("\xc2\x9b"
                "31m",
                "\\x9b31m");
    expect_text("one\ntwo\r\t", "one\\ntwo\\r\\t");
    expect_text("\xe2\x80\xae"
                "cod",
                "\\u202ecod");
    expect_text("\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd");
    expect_text("\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd");
    expect_text("\xed\xa0", "\xef\xbf\xbd\xef\xbf\xbd");
    expect_text("gr\xc3\xbc\xc3\x9f \xe7\x8b\x90", "gr\xc3\xbc\xc3\x9f \xe7\x8b\x90");
    expect_text(NULL, "");
}

static void output_keeps_its_lines_and_loses_its_escapes(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    static const char text[] = "a\r\nb\tc\r50%\r100%\n\x1b[0m";
    render_lines(&b, text, sizeof(text) - 1);
    assert_string_equal(b.data, "a\nb\tc\n50%\n100%\n\\x1b[0m");
}

static void json_escapes_what_json_lets_stand(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    static const char json[] = "{\"a\":\"\xc2\x9b\x7f\xc3\xbc\"}\n";
    render_json(&b, json, sizeof(json) - 1);
    assert_string_equal(b.data, "{\"a\":\"\\u009b\\u007f\xc3\xbc\"}\n");
}

static void what_is_no_json_steers_nothing_either(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    static const char text[] = "<p>\x1b[2J\r\n\t\x9b\xed\xa0\x80";
    render_json(&b, text, sizeof(text) - 1);
    assert_string_equal(b.data, "<p>\\u001b[2J\\u000d\n\t\xef\xbf\xbd\xef\xbf\xbd");
}

static void widths_are_columns_and_not_bytes(void **state)
{
    (void)state;
    assert_int_equal(render_width("abc", 3), 3);
    assert_int_equal(render_width("gr\xc3\xbcn", 5), 4);
    assert_int_equal(render_width("\xe7\x8b\x90\xe7\x8b\xb8", 6), 4); /* two wide characters */
    assert_int_equal(render_width("e\xcc\x81", 3), 1);                /* a combining accent */
}

static void a_text_is_cut_between_characters(void **state)
{
    (void)state;
    size_t width = 0;
    assert_int_equal(render_fit("\xe7\x8b\x90\xe7\x8b\xb8", 6, 3, &width), 3);
    assert_int_equal(width, 2);
    assert_int_equal(render_fit("gr\xc3\xbcn", 5, 3, &width), 4);
    assert_int_equal(width, 3);
}

static const struct column columns[] = {{"NAME", false}, {"N", true}, {"TEXT", false}};

static void expect_table(struct table *t, const struct style *style, const char *rendered)
{
    AUTO_BUF struct buf b = BUF_INIT;
    table_flush(t, style, &b);
    assert_string_equal(b.data, rendered);
}

static void columns_line_up_whatever_characters_they_hold(void **state)
{
    (void)state;
    AUTO_TABLE struct table t = {0};
    table_init(&t, columns, 3);
    table_cell(&t, INK_NONE, "\xe7\x8b\x90\xe7\x8b\x90\xe7\x8b\x90");
    table_cell_int(&t, INK_NONE, 5);
    table_cell(&t, INK_NONE, "x");
    table_cell(&t, INK_NONE, "gr\xc3\xbcn");
    table_cell_int(&t, INK_NONE, 1234);
    table_cell(&t, INK_NONE, NULL);
    expect_table(&t, &plain,
                 "NAME       N  TEXT\n"
                 "\xe7\x8b\x90\xe7\x8b\x90\xe7\x8b\x90     5  x\n"
                 "gr\xc3\xbcn    1234  -\n");
}

static void a_list_in_pieces_has_one_heading_and_keeps_its_widths(void **state)
{
    (void)state;
    AUTO_TABLE struct table t = {0};
    table_init(&t, columns, 3);
    table_cell(&t, INK_NONE, "longer-name");
    table_cell_int(&t, INK_NONE, 1);
    table_cell(&t, INK_NONE, "a");
    expect_table(&t, &plain, "NAME         N  TEXT\nlonger-name  1  a\n");
    table_cell(&t, INK_NONE, "b");
    table_cell_int(&t, INK_NONE, 2);
    table_cell(&t, INK_NONE, "c");
    expect_table(&t, &plain, "b            2  c\n");
}

static void the_last_column_is_cut_at_the_edge_of_a_terminal(void **state)
{
    (void)state;
    AUTO_TABLE struct table t = {0};
    struct style style = {.utf8 = true, .columns = 24};
    table_init(&t, columns, 3);
    table_cell(&t, INK_NONE, "ab");
    table_cell_int(&t, INK_NONE, 1);
    table_cell(&t, INK_NONE, "0123456789012345");
    expect_table(&t, &style,
                 "NAME  N  TEXT\n"
                 "ab    1  01234567890123\xe2\x80\xa6\n");
    style.utf8 = false;
    table_cell(&t, INK_NONE, "ab");
    table_cell_int(&t, INK_NONE, 1);
    table_cell(&t, INK_NONE, "0123456789012345");
    expect_table(&t, &style, "ab    1  01234567890123>\n");
    table_cell(&t, INK_NONE, "ab");
    table_cell_int(&t, INK_NONE, 1);
    table_cell(&t, INK_NONE, "012345678901234");
    expect_table(&t, &style, "ab    1  012345678901234\n");
}

static void the_last_column_is_wrapped_when_asked(void **state)
{
    (void)state;
    AUTO_TABLE struct table t = {0};
    struct style style = {.columns = 24};
    table_init(&t, columns, 3);
    t.wrap = true;
    table_cell(&t, INK_NONE, "ab");
    table_cell_int(&t, INK_NONE, 1);
    table_cell(&t, INK_NONE, "one two three four five");
    expect_table(&t, &style,
                 "NAME  N  TEXT\n"
                 "ab    1  one two three\n"
                 "         four five\n");
}

static void colours_stand_around_the_text_and_not_the_padding(void **state)
{
    (void)state;
    AUTO_TABLE struct table t = {0};
    struct style style = {.colour = true};
    table_init(&t, columns, 3);
    table_cell(&t, INK_GOOD, "a");
    table_cell_int(&t, INK_NONE, 1);
    table_cell(&t, INK_BAD, "b");
    expect_table(&t, &style,
                 "\033[1mNAME\033[0m  \033[1mN\033[0m  \033[1mTEXT\033[0m\n"
                 "\033[32ma\033[0m     1  \033[31mb\033[0m\n");
}

static void times_are_shown_to_the_second(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    render_time(&b, "2026-11-21T06:25:56.123Z");
    buf_putc(&b, '|');
    render_time(&b, NULL);
    buf_putc(&b, '|');
    render_time(&b, "\x1b soon");
    assert_string_equal(b.data, "2026-11-21 06:25:56|-|\\x1b soon");
}

static void times_are_read_to_the_millisecond(void **state)
{
    (void)state;
    assert_int_equal(render_time_ms("1970-01-01T00:00:01.5Z"), 1500);
    assert_int_equal(render_time_ms("1970-01-02T00:00:00Z"), 86400000);
    assert_int_equal(render_time_ms("2026-11-21T06:25:56.123Z"), INT64_C(1795242356123));
    assert_int_equal(render_time_ms("yesterday"), -1);
    assert_int_equal(render_time_ms("1970-01-01T00:00:01+01:00"), -1);
    assert_int_equal(render_time_ms(NULL), -1);
}

static void a_table_for_which_memory_is_out_says_so(void **state)
{
    (void)state;
    bool done = false;
    for (uint64_t n = 0; !done; n++) {
        AUTO_TABLE struct table t = {0};
        AUTO_BUF struct buf b = BUF_INIT;
        table_init(&t, columns, 3);
        mem_fail_after(n);
        table_cell(&t, INK_NONE, "a");
        table_cell_int(&t, INK_NONE, 1);
        table_cell_time(&t, "2026-11-21T06:25:56.123Z");
        table_flush(&t, &plain, &b);
        mem_fail_never();
        done = b.failed == ERR_OK;
        assert_true(done || b.failed == ERR_NO_MEMORY);
        if (done)
            assert_string_equal(b.data, "NAME  N  TEXT\na     1  2026-11-21 06:25:56\n");
    }
}

static void sizes_are_shown_in_the_largest_unit_that_they_have(void **state)
{
    static const struct {
        int64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 bytes"},
                 {1023, "1023 bytes"},
                 {1024, "1.0 KiB"},
                 {1536, "1.5 KiB"},
                 {30000000, "28.6 MiB"},
                 {INT64_C(20) << 30, "20.0 GiB"},
                 {INT64_C(3) << 40, "3.0 TiB"},
                 {INT64_C(3) << 50, "3072.0 TiB"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTO_BUF struct buf b = BUF_INIT;
        render_size(&b, sizes[i].bytes);
        assert_string_equal(b.data, sizes[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_of_terminals_are_made_visible),
        cmocka_unit_test(output_keeps_its_lines_and_loses_its_escapes),
        cmocka_unit_test(json_escapes_what_json_lets_stand),
        cmocka_unit_test(what_is_no_json_steers_nothing_either),
        cmocka_unit_test(widths_are_columns_and_not_bytes),
        cmocka_unit_test(a_text_is_cut_between_characters),
        cmocka_unit_test(columns_line_up_whatever_characters_they_hold),
        cmocka_unit_test(a_list_in_pieces_has_one_heading_and_keeps_its_widths),
        cmocka_unit_test(the_last_column_is_cut_at_the_edge_of_a_terminal),
        cmocka_unit_test(the_last_column_is_wrapped_when_asked),
        cmocka_unit_test(colours_stand_around_the_text_and_not_the_padding),
        cmocka_unit_test(times_are_shown_to_the_second),
        cmocka_unit_test(sizes_are_shown_in_the_largest_unit_that_they_have),
        cmocka_unit_test(times_are_read_to_the_millisecond),
        cmocka_unit_test(a_table_for_which_memory_is_out_says_so),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
