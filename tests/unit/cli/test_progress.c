#include "common/base/alloc.h"
#include "orchestrator/cli/live.h"
#include "orchestrator/cli/progress.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char id[] = "r1";
static char name[] = "patch-web";
static char running_server[] = "web-9";

static struct progress *begin(struct api_rollout *r)
{
    struct progress *p = NULL;
    struct error err = {0};
    assert_int_equal(progress_new(r, &p, &err), ERR_OK);
    return p;
}

static struct progress *begin_fresh(int64_t servers)
{
    struct api_rollout r = {
        .id = id, .name = name, .state = ROLLOUT_RUNNING, .servers = servers, .batches = 2};
    r.counts.pending = servers;
    return begin(&r);
}

/* Takes an event as it comes from the server; the line that it makes, or "" for none. */
static void expect(struct progress *p, const char *json, const char *line)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct api_event event = {0};
    struct error err = {0};
    enum ink ink = INK_NONE;
    buf_puts(&b, "");
    if (json_read(json, strlen(json), 65536, &api_event_table, &event, &err) != ERR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(progress_apply(p, &event, &b, &ink, &err), ERR_OK);
    json_release(&api_event_table, &event);
    assert_string_equal(b.data, line);
}

#define EVENT(type, rest)                                                                          \
    "{\"seq\":1,\"time\":\"2026-11-21T06:25:56.123Z\",\"type\":\"" type "\"" rest "}"
#define ON(server) ",\"server\":\"" server "\""

static void expect_counts(const struct progress *p, int64_t running, int64_t succeeded,
                          int64_t failed, int64_t pending)
{
    const struct progress_view *v = progress_view(p);
    assert_int_equal(v->running, running);
    assert_int_equal(v->counts.succeeded, succeeded);
    assert_int_equal(v->counts.failed, failed);
    assert_int_equal(v->counts.pending, pending);
}

static void a_failed_rollout_reads_as_it_happened(void **state)
{
    (void)state;
    struct progress *p = begin_fresh(4);
    expect(p, EVENT("rollout_created", ""), "");
    expect(p, EVENT("rollout_started", ""), "started: 4 servers");
    expect(p, EVENT("batch_started", ",\"batch\":1,\"count\":2"),
           "batch 1 of 2 started: 2 servers");
    expect(p, EVENT("execution_started", ON("web-1")), "");
    expect(p, EVENT("execution_started", ON("web-2")), "");
    expect_counts(p, 2, 0, 0, 2);
    expect(p, EVENT("step_started", ON("web-1") ",\"step\":\"upgrade\",\"attempt\":1"), "");
    expect(p, EVENT("execution_ended", ON("web-1") ",\"state\":\"succeeded\""), "");
    expect(p,
           EVENT("step_ended", ON("web-2") ",\"step\":\"upgrade\",\"state\":\"failed\","
                                           "\"message\":\"exit status 3\""),
           "");
    expect(p, EVENT("execution_ended", ON("web-2") ",\"state\":\"failed\",\"undoing\":true"),
           "web-2 failed at step upgrade: exit status 3; it undoes itself");
    expect_counts(p, 0, 1, 1, 2);
    expect(p, EVENT("batch_ended", ",\"batch\":1,\"count\":2"),
           "batch 1 of 2 ended: 1 succeeded, 1 failed");
    expect(p, EVENT("threshold_exceeded", ",\"count\":1,\"message\":\"1 of 4 servers failed\""),
           "threshold exceeded: 1 of 4 servers failed");
    expect(p, EVENT("rollback_started", ",\"count\":2"), "rollback started: 2 servers");
    assert_int_equal(progress_view(p)->state, ROLLOUT_ROLLING_BACK);
    expect(p, EVENT("execution_rolled_back", ON("web-2") ",\"state\":\"rolled_back\""),
           "web-2 rolled back");
    expect(p,
           EVENT("execution_rolled_back",
                 ON("web-1") ",\"state\":\"rollback_failed\",\"message\":\"disk full\""),
           "web-1 could not be rolled back: disk full");
    expect(p, EVENT("rollout_ended", ",\"state\":\"rollback_failed\",\"message\":\"1 of 4\""),
           "rollout r1 rollback_failed: 1 of 4");
    assert_int_equal(progress_view(p)->state, ROLLOUT_ROLLBACK_FAILED);
    progress_free(p);
}

static void orders_of_people_read_as_they_were_given(void **state)
{
    (void)state;
    struct progress *p = begin_fresh(4);
    expect(p, EVENT("rollback_requested", ",\"by\":\"me\",\"message\":\"leak\""),
           "rollback requested by me: leak");
    expect(p, EVENT("rollback_requested", ON("web-1") ",\"force\":true"),
           "rollback of web-1 requested");
    expect(p,
           EVENT("execution_resolved",
                 ON("web-2") ",\"state\":\"rolled_back\",\"by\":\"me\",\"message\":\"new\""),
           "web-2 settled as rolled_back by me: new");
    progress_free(p);
}

static void undoing_again_is_counted_from_nought(void **state)
{
    (void)state;
    struct api_rollout r = {.id = id, .state = ROLLOUT_ROLLED_BACK, .servers = 4};
    r.counts.succeeded = 4;
    r.counts.rolled_back = 1;
    r.counts.rollback_failed = 1;
    struct progress *p = begin(&r);
    expect(p, EVENT("rollback_started", ",\"count\":2"), "rollback started: 2 servers");
    assert_int_equal(progress_view(p)->undone_before, 2);
    assert_int_equal(progress_view(p)->undo, 2);
    progress_free(p);
}

static void a_server_that_is_rebooted_is_followed(void **state)
{
    (void)state;
    struct progress *p = begin_fresh(1);
    expect(p, EVENT("execution_started", ON("web-1")), "");
    expect(p,
           EVENT("step_rebooting", ON("web-1") ",\"step\":\"patch\",\"attempt\":1,"
                                               "\"awayMs\":600000,\"message\":\"a new kernel\""),
           "web-1 reboots at step patch (to be back within 10m): a new kernel");
    expect_counts(p, 1, 0, 0, 0);
    expect(p, EVENT("step_rebooted", ON("web-1") ",\"step\":\"patch\",\"attempt\":1"),
           "web-1 is back from its reboot");
    expect_counts(p, 1, 0, 0, 0);
    progress_free(p);
}

static void servers_that_fall_silent_are_counted_until_they_come_back(void **state)
{
    (void)state;
    struct progress *p = begin_fresh(3);
    expect(p, EVENT("execution_started", ON("web-1")), "");
    expect(p, EVENT("execution_unknown", ON("web-1")), "web-1 started and is silent");
    expect_counts(p, 0, 0, 0, 2);
    assert_int_equal(progress_view(p)->counts.unknown, 1);
    expect(p, EVENT("execution_ended", ON("web-1") ",\"state\":\"succeeded\""), "");
    assert_int_equal(progress_view(p)->counts.unknown, 0);
    expect_counts(p, 0, 1, 0, 2);
    expect(p, EVENT("execution_unreachable", ON("web-2") ",\"message\":\"5m passed\""),
           "web-2 did not answer: 5m passed");
    assert_int_equal(progress_view(p)->counts.unreachable, 1);
    expect(p, EVENT("execution_withdrawn", ON("web-3")), "");
    expect_counts(p, 0, 1, 0, 0);
    progress_free(p);
}

static void a_picture_taken_in_the_middle_is_carried_on(void **state)
{
    (void)state;
    struct api_execution running = {.server = running_server, .state = EXECUTION_RUNNING};
    struct api_rollout r = {.id = id,
                            .state = ROLLOUT_RUNNING,
                            .servers = 10,
                            .batch = 1,
                            .executions = {.items = &running, .count = 1}};
    r.counts = (struct api_counts){.succeeded = 4, .failed = 1, .in_flight = 2, .unknown = 1};
    struct progress *p = begin(&r);
    expect_counts(p, 1, 4, 1, 3);
    expect(p, EVENT("execution_ended", ON("web-9") ",\"state\":\"timed_out\",\"step\":\"up\""),
           "web-9 timed out at step up");
    expect_counts(p, 0, 4, 2, 3);
    /* Not seen to begin: the one that was silent in the picture. */
    expect(p, EVENT("execution_ended", ON("web-7") ",\"state\":\"succeeded\""), "");
    assert_int_equal(progress_view(p)->counts.unknown, 0);
    expect_counts(p, 0, 5, 2, 3);
    expect(p, EVENT("batch_ended", ",\"batch\":1,\"count\":5"), "batch 1 ended");
    progress_free(p);
}

static void what_people_asked_for_is_told_with_who_and_why(void **state)
{
    (void)state;
    struct progress *p = begin_fresh(1);
    expect(p, EVENT("pause_requested", ",\"by\":\"root@bastion\",\"message\":\"load\""),
           "pause requested by root@bastion: load");
    expect(p, EVENT("rollout_paused", ""), "paused");
    assert_int_equal(progress_view(p)->state, ROLLOUT_PAUSED);
    expect(p, EVENT("resume_requested", ""), "resume requested");
    expect(p, EVENT("rollout_resumed", ""), "resumed");
    expect(p, EVENT("cancel_requested", ",\"by\":\"a\""), "cancel requested by a");
    expect(p, EVENT("canary_passed", ",\"count\":1"), "canary passed: 1 server");
    progress_free(p);
}

static void servers_that_undid_themselves_are_not_said_to_be_rolled_back_again(void **state)
{
    (void)state;
    struct progress *p = begin_fresh(1);
    expect(p, EVENT("rollback_started", ""), "rollback: no server is left to undo");
    assert_int_equal(progress_view(p)->state, ROLLOUT_ROLLING_BACK);
    progress_free(p);
}

static void a_type_that_is_not_known_is_passed_over(void **state)
{
    (void)state;
    struct progress *p = begin_fresh(1);
    expect(p, EVENT("weather_changed", ON("web-1")), "");
    expect_counts(p, 0, 0, 0, 1);
    progress_free(p);
}

static void escapes_in_messages_are_made_visible(void **state)
{
    (void)state;
    struct progress *p = begin_fresh(1);
    expect(p, EVENT("threshold_exceeded", ",\"message\":\"\\u001b[2J\""),
           "threshold exceeded: \\x1b[2J");
    progress_free(p);
}

static void want_of_memory_is_said(void **state)
{
    (void)state;
    static const char *const events[] = {
        EVENT("execution_started", ON("web-1")),
        EVENT("step_ended", ON("web-1") ",\"step\":\"s\",\"state\":\"failed\",\"message\":\"m\""),
        EVENT("execution_unknown", ON("web-2")),
    };
    struct api_event parsed[3] = {0};
    struct api_rollout r = {.id = id, .name = name, .servers = 2};
    bool done = false;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(
            json_read(events[i], strlen(events[i]), 65536, &api_event_table, &parsed[i], NULL),
            ERR_OK);
    for (uint64_t n = 0; !done; n++) {
        AUTO(progress_free) struct progress *p = NULL;
        AUTO_BUF struct buf b = BUF_INIT;
        enum ink ink = INK_NONE;
        mem_fail_after(n);
        enum error_code code = progress_new(&r, &p, NULL);
        for (size_t i = 0; code == ERR_OK && i < 3; i++)
            code = progress_apply(p, &parsed[i], &b, &ink, NULL);
        if (code == ERR_OK)
            code = buf_check(&b, NULL);
        mem_fail_never();
        done = code == ERR_OK;
        assert_true(done || code == ERR_NO_MEMORY);
    }
    for (size_t i = 0; i < 3; i++)
        json_release(&api_event_table, &parsed[i]);
}

/* ---- What is drawn -----------------------------------------------------------------------------
 */

static const struct style plain = {.utf8 = false, .columns = 80};

static void expect_bar(struct progress_view v, size_t cells, const char *bar)
{
    AUTO_BUF struct buf b = BUF_INIT;
    live_bar(&v, &plain, cells, &b);
    assert_string_equal(b.data, bar);
}

static void the_bar_shares_its_cells_out_over_the_servers(void **state)
{
    (void)state;
    struct progress_view v = {.servers = 10, .running = 2};
    v.counts = (struct api_counts){.succeeded = 5, .failed = 1, .pending = 2};
    expect_bar(v, 10, "#####x>>..");
    expect_bar(v, 20, "##########xx>>>>....");
}

static void one_failure_among_many_servers_is_seen_in_the_bar(void **state)
{
    (void)state;
    struct progress_view v = {.servers = 100000};
    v.counts = (struct api_counts){.succeeded = 49999, .failed = 1, .pending = 50000};
    AUTO_BUF struct buf b = BUF_INIT;
    live_bar(&v, &plain, 20, &b);
    assert_int_equal(b.len, 20);
    assert_non_null(strchr(b.data, 'x'));
    v.counts = (struct api_counts){.succeeded = 100000};
    expect_bar(v, 10, "##########");
}

static void the_lines_are_drawn_in_place_and_wiped(void **state)
{
    (void)state;
    struct live live = {0};
    struct progress_view v = {.id = "r1", .name = "n", .servers = 4, .running = 1};
    AUTO_BUF struct buf b = BUF_INIT;
    v.state = ROLLOUT_RUNNING;
    v.batch = 1;
    v.batches = 2;
    v.batch_servers = 2;
    v.counts = (struct api_counts){.succeeded = 1, .pending = 2};
    live_draw(&live, &v, &plain, &b);
    assert_string_equal(b.data, "r1 (n): running, batch 1 of 2 (2 servers)\033[K\n"
                                "[##########>>>>>>>>>>....................] 1/4, 1 running, "
                                "1 succeeded\033[K\n\033[J");
    assert_int_equal(live.lines, 2);
    buf_clear(&b);
    live_draw(&live, &v, &plain, &b);
    assert_memory_equal(b.data, "\033[2A\r", 5);
    buf_clear(&b);
    live_clear(&live, &b);
    assert_string_equal(b.data, "\033[2A\r\033[J");
    assert_int_equal(live.lines, 0);
    buf_clear(&b);
    live_clear(&live, &b);
    assert_int_equal(b.len, 0);
}

/* The widest line between the codes that end lines. */
static size_t widest(const struct buf *b)
{
    size_t most = 0;
    for (const char *s = b->data; *s; s++) {
        const char *end = strstr(s, "\033[K\n");
        if (!end)
            break;
        const char *start = s[0] == '\033' ? strchr(s, '\r') + 1 : s;
        size_t width = render_width(start, (size_t)(end - start));
        most = width > most ? width : most;
        s = end + 3;
    }
    return most;
}

static void no_line_is_wider_than_the_terminal(void **state)
{
    (void)state;
    struct progress_view v = {.id = "a-rather-long-identifier-of-a-rollout",
                              .name = "gr\xc3\xbcne \xe7\x8b\x90\xe7\x8b\x90\xe7\x8b\x90",
                              .servers = 123456,
                              .running = 333};
    v.state = ROLLOUT_ROLLING_BACK;
    v.counts = (struct api_counts){.succeeded = 12345,
                                   .failed = 67,
                                   .unreachable = 8,
                                   .unknown = 9,
                                   .rolled_back = 4,
                                   .pending = 110694};
    for (int columns = 1; columns < 140; columns++) {
        struct live live = {0};
        struct style style = {.utf8 = true, .columns = columns};
        AUTO_BUF struct buf b = BUF_INIT;
        live_draw(&live, &v, &style, &b);
        assert_in_range(widest(&b), 1, columns > 1 ? columns - 1 : 1);
        assert_int_equal(live.lines, 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_rollout_reads_as_it_happened),
        cmocka_unit_test(orders_of_people_read_as_they_were_given),
        cmocka_unit_test(undoing_again_is_counted_from_nought),
        cmocka_unit_test(a_server_that_is_rebooted_is_followed),
        cmocka_unit_test(servers_that_fall_silent_are_counted_until_they_come_back),
        cmocka_unit_test(a_picture_taken_in_the_middle_is_carried_on),
        cmocka_unit_test(what_people_asked_for_is_told_with_who_and_why),
        cmocka_unit_test(servers_that_undid_themselves_are_not_said_to_be_rolled_back_again),
        cmocka_unit_test(a_type_that_is_not_known_is_passed_over),
        cmocka_unit_test(escapes_in_messages_are_made_visible),
        cmocka_unit_test(want_of_memory_is_said),
        cmocka_unit_test(the_bar_shares_its_cells_out_over_the_servers),
        cmocka_unit_test(one_failure_among_many_servers_is_seen_in_the_bar),
        cmocka_unit_test(the_lines_are_drawn_in_place_and_wiped),
        cmocka_unit_test(no_line_is_wider_than_the_terminal),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return EXIT_FAILURE;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
