#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/cli/sse.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Every event as a line: type, id (with a mark when the event brought it), data. */
static void collect(struct sse *s, struct buf *out)
{
    struct sse_event e;
    while (sse_next(s, &e))
        buf_printf(out, "%s|%s%s|%.*s\n", e.type, e.id, e.has_id ? "*" : "", (int)e.len, e.data);
}

static void feed(struct sse *s, const char *bytes, size_t len)
{
    assert_int_equal(sse_feed(s, bytes, len, NULL), ERR_OK);
}

static void expect(const char *stream, const char *events)
{
    size_t len = strlen(stream);
    /* In one piece, and cut in two at every byte. */
    for (size_t cut = 0; cut <= len; cut++) {
        struct sse s = SSE_INIT;
        AUTO_BUF struct buf out = BUF_INIT;
        buf_puts(&out, "");
        feed(&s, stream, cut);
        collect(&s, &out);
        feed(&s, stream + cut, len - cut);
        collect(&s, &out);
        assert_string_equal(out.data, events);
        sse_done(&s);
    }
    /* Byte by byte. */
    struct sse s = SSE_INIT;
    AUTO_BUF struct buf out = BUF_INIT;
    buf_puts(&out, "");
    for (size_t i = 0; i < len; i++) {
        feed(&s, stream + i, 1);
        collect(&s, &out);
    }
    assert_string_equal(out.data, events);
    sse_done(&s);
}

static void events_come_whole_however_the_bytes_are_cut(void **state)
{
    (void)state;
    expect("id: 7\nevent: step_ended\ndata: {\"seq\":7}\n\n"
           "id: 8\nevent: rollout_ended\ndata: {\"seq\":8}\n\n",
           "step_ended|7*|{\"seq\":7}\nrollout_ended|8*|{\"seq\":8}\n");
}

static void all_three_line_ends_are_understood(void **state)
{
    (void)state;
    expect("id: 1\r\ndata: a\r\n\r\nid: 2\rdata: b\r\rid: 3\ndata: c\n\n",
           "message|1*|a\nmessage|2*|b\nmessage|3*|c\n");
}

static void data_of_several_lines_is_joined_by_newlines(void **state)
{
    (void)state;
    expect("data: one\ndata:two\ndata\ndata:  four\n\n", "message||one\ntwo\n\n four\n");
}

static void comments_and_unknown_fields_are_passed_over(void **state)
{
    (void)state;
    expect(": keep-alive\n\nretry: 100\nfoo: bar\ndata: x\n: y\n\n:\n\n", "message||x\n");
}

static void an_event_without_an_id_keeps_the_last_one(void **state)
{
    (void)state;
    expect("id: 5\ndata: a\n\nevent: output\ndata: b\n\n", "message|5*|a\noutput|5|b\n");
}

static void a_byte_order_mark_is_passed_over(void **state)
{
    (void)state;
    expect("\xef\xbb\xbf"
           "data: a\n\n",
           "message||a\n");
    expect("data: \xef\xbb\xbf\n\n", "message||\xef\xbb\xbf\n");
}

static void a_block_without_data_is_no_event(void **state)
{
    (void)state;
    expect("event: x\n\ndata: a\n\n", "message||a\n");
}

static void an_unfinished_event_is_not_given(void **state)
{
    (void)state;
    expect("data: a\n\ndata: b\n", "message||a\n");
}

static void names_that_are_too_long_are_passed_over(void **state)
{
    (void)state;
    char name[SSE_MAX_NAME + 2];
    AUTO_BUF struct buf stream = BUF_INIT;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    buf_printf(&stream, "event: %s\ndata: a\n\n", name);
    expect(stream.data, "message||a\n");
}

/* Feeds "data: xxxx..." in pieces until the bound says no; the bytes fed by then. */
static size_t feed_until_refused(struct sse *s, const char *piece, size_t len)
{
    struct error err = {0};
    struct sse_event e;
    size_t fed = 0;
    while (fed < 4 * (size_t)SSE_MAX_EVENT) {
        if (sse_feed(s, piece, len, &err) != ERR_OK) {
            assert_int_equal(err.code, ERR_LIMIT);
            return fed;
        }
        fed += len;
        assert_false(sse_next(s, &e));
    }
    return fed;
}

static void a_line_without_end_is_refused_at_the_bound(void **state)
{
    (void)state;
    static char piece[65536];
    struct sse s = SSE_INIT;
    memset(piece, 'x', sizeof(piece));
    size_t fed = feed_until_refused(&s, piece, sizeof(piece));
    assert_in_range(fed, SSE_MAX_EVENT, SSE_MAX_EVENT + 2 * sizeof(piece));
    sse_done(&s);
}

static void an_event_of_many_lines_is_refused_at_the_bound(void **state)
{
    (void)state;
    static char line[65536];
    struct sse s = SSE_INIT;
    memset(line, 'x', sizeof(line));
    for (size_t i = 0; i < 6; i++)
        line[i] = "data: "[i];
    line[sizeof(line) - 1] = '\n';
    size_t fed = feed_until_refused(&s, line, sizeof(line));
    assert_in_range(fed, SSE_MAX_EVENT - 65536, SSE_MAX_EVENT + 3 * sizeof(line));
    sse_done(&s);
}

static void a_full_pipe_of_small_events_fits(void **state)
{
    (void)state;
    struct sse s = SSE_INIT;
    struct sse_event e;
    size_t count = 0;
    for (int i = 0; i < 100000; i++) {
        feed(&s, "data: 0123456789\n\n", 18);
        while (sse_next(&s, &e))
            count++;
    }
    assert_int_equal(count, 100000);
    sse_done(&s);
}

static void want_of_memory_is_an_error_and_not_a_lost_event(void **state)
{
    (void)state;
    static const char stream[] = "id: 1\nevent: x\ndata: a\ndata: b\n\n";
    bool done = false;
    for (uint64_t n = 0; !done; n++) {
        struct sse s = SSE_INIT;
        struct sse_event e = {0};
        mem_fail_after(n);
        enum error_code code = sse_feed(&s, stream, sizeof(stream) - 1, NULL);
        bool came = sse_next(&s, &e);
        if (code == ERR_OK && !came)
            code = sse_feed(&s, "", 0, NULL);
        mem_fail_never();
        assert_true(came || code == ERR_NO_MEMORY);
        done = came;
        sse_done(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_whole_however_the_bytes_are_cut),
        cmocka_unit_test(all_three_line_ends_are_understood),
        cmocka_unit_test(data_of_several_lines_is_joined_by_newlines),
        cmocka_unit_test(comments_and_unknown_fields_are_passed_over),
        cmocka_unit_test(an_event_without_an_id_keeps_the_last_one),
        cmocka_unit_test(a_byte_order_mark_is_passed_over),
        cmocka_unit_test(a_block_without_data_is_no_event),
        cmocka_unit_test(an_unfinished_event_is_not_given),
        cmocka_unit_test(names_that_are_too_long_are_passed_over),
        cmocka_unit_test(a_line_without_end_is_refused_at_the_bound),
        cmocka_unit_test(an_event_of_many_lines_is_refused_at_the_bound),
        cmocka_unit_test(a_full_pipe_of_small_events_fits),
        cmocka_unit_test(want_of_memory_is_an_error_and_not_a_lost_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
