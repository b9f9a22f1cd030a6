#include "agent/carrier_net.h"
#include "agent/link.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/net.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GUARD_MS = 60000, HEARTBEAT_MS = 40 };

/* A link, and an orchestrator that it connects to over a real socket. */
struct rig {
    uv_loop_t loop;
    uv_timer_t guard;
    struct net *net;
    struct carrier *carrier;
    struct net_server *server;
    struct ticker *ticker;
    struct link *link;
    char url[64];
    /* The orchestrator: */
    struct net_conn *conn; /* the last one that came */
    bool greets, answers;
    int connections, hellos, heartbeats, closed;
    char last[64]; /* what else it was sent */
    /* What the link tells its agent: */
    int welcomes, losses, frames;
    bool refuse;
    bool gone;
};

/* ---- The orchestrator -------------------------------------------------------------------- */

static void say(struct rig *r, const char *text)
{
    struct error err = {0};
    assert_non_null(r->conn);
    assert_int_equal(net_conn_send(r->conn, text, strlen(text), &err), ERR_OK);
}

static void welcome(struct rig *r)
{
    char text[160];
    (void)snprintf(text, sizeof(text),
                   "{\"v\":1,\"type\":\"welcome\",\"orchestrator\":\"o1\",\"epoch\":3,"
                   "\"heartbeatMs\":%d}",
                   HEARTBEAT_MS);
    say(r, text);
}

static void server_message(void *ctx, struct net_conn *conn, const char *data, size_t len)
{
    struct rig *r = ctx;
    struct wire_frame frame;
    struct error err = {0};
    if (conn != r->conn)
        return;
    assert_int_equal(wire_decode(data, len, &frame, &err), ERR_OK);
    if (frame.type == WIRE_HELLO) {
        r->hellos++;
        if (r->greets)
            welcome(r);
    } else if (frame.type == WIRE_HEARTBEAT) {
        r->heartbeats++;
        if (r->answers)
            say(r, "{\"v\":1,\"type\":\"ack\"}");
    } else {
        (void)snprintf(r->last, sizeof(r->last), "%s", wire_type_names[frame.type]);
    }
    wire_frame_done(&frame);
}

static void server_closed(void *ctx, struct net_conn *conn, const char *reason)
{
    struct rig *r = ctx;
    (void)reason;
    r->closed++;
    if (r->conn == conn)
        r->conn = NULL;
}

static bool server_websocket(void *ctx, struct net_conn *conn, void **ret_ctx)
{
    struct rig *r = ctx;
    r->conn = conn;
    r->connections++;
    *ret_ctx = r;
    return true;
}

static void server_request(void *ctx, struct net_request *req)
{
    (void)ctx;
    net_respond(req, 404, "text/plain", NULL, "", 0);
}

static void server_request_closed(void *ctx, struct net_request *req)
{
    (void)ctx;
    (void)req;
}

/* ---- The agent --------------------------------------------------------------------------- */

static void agent_says_hello(void *ctx, struct buf *b)
{
    static char id[] = "s1";
    static char instance[] = "i1";
    static char version[] = "1";
    (void)ctx;
    const struct wire_frame frame = {.type = WIRE_HELLO,
                                     .hello = {.id = id, .instance = instance, .version = version}};
    wire_encode(b, &frame);
}

static enum error_code agent_welcomed(void *ctx, const struct wire_welcome *w, struct error *err)
{
    struct rig *r = ctx;
    assert_string_equal(w->orchestrator, "o1");
    assert_int_equal(w->epoch, 3);
    r->welcomes++;
    return r->refuse ? error_set(err, ERR_STALE, "too old") : ERR_OK;
}

static enum error_code agent_frame(void *ctx, struct wire_frame *frame, const char *text,
                                   size_t len, struct error *err)
{
    struct rig *r = ctx;
    (void)err;
    assert_int_equal(frame->type, WIRE_ROLLBACK);
    assert_int_equal(strlen(text), len);
    r->frames++;
    return ERR_OK;
}

static void agent_lost(void *ctx, const char *reason)
{
    struct rig *r = ctx;
    assert_non_null(reason);
    r->losses++;
}

/* ---- The rig ------------------------------------------------------------------------------ */

static void guard_fired(uv_timer_t *guard)
{
    (void)guard;
    fail_msg("what was waited for did not come");
}

static void server_start(struct rig *r)
{
    struct error err = {0};
    const struct net_server_config config = {
        .host = "127.0.0.1",
        .max_body = 1024,
        .max_message = WIRE_MAX_BYTES,
        .websocket_path = LINK_PATH,
        .websocket_protocol = LINK_PROTOCOL,
        .ctx = r,
        .request = server_request,
        .request_closed = server_request_closed,
        .websocket = server_websocket,
        .events = {.message = server_message, .closed = server_closed},
    };
    if (net_server_new(r->net, &config, &r->server, &err) != ERR_OK)
        fail_msg("%s", err.message);
    (void)snprintf(r->url, sizeof(r->url), "http://127.0.0.1:%u", net_server_port(r->server));
}

static void link_make(struct rig *r)
{
    struct error err = {0};
    const struct link_config config = {
        .carrier = r->carrier,
        .ticker = r->ticker,
        .url = r->url,
        .server = "s1",
        .events = {.ctx = r,
                   .hello = agent_says_hello,
                   .welcome = agent_welcomed,
                   .frame = agent_frame,
                   .lost = agent_lost},
    };
    assert_int_equal(ticker_reserve(r->ticker, 1, &err), ERR_OK);
    assert_int_equal(link_new(&config, &r->link, &err), ERR_OK);
}

static int set_up(void **state)
{
    struct error err = {0};
    struct rig *r = MEM_NEW(struct rig);
    assert_non_null(r);
    log_setup(LOG_LOGFMT, LOG_ERROR);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->guard), 0);
    assert_int_equal(uv_timer_start(&r->guard, guard_fired, GUARD_MS, 0), 0);
    assert_int_equal(net_new(&r->loop, 64, &r->net, &err), ERR_OK);
    assert_int_equal(carrier_net_new(r->net, &r->carrier, &err), ERR_OK);
    assert_int_equal(ticker_new(&r->loop, &r->ticker, &err), ERR_OK);
    r->greets = r->answers = true;
    server_start(r);
    link_make(r);
    *state = r;
    return 0;
}

static void gone(void *ctx)
{
    struct rig *r = ctx;
    r->gone = true;
}

static void stop(struct rig *r)
{
    r->gone = false;
    link_stop(r->link, gone, r);
    while (!r->gone)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    if (!r->gone)
        stop(r);
    link_free(r->link);
    r->gone = false;
    carrier_end(r->carrier, gone, r);
    while (!r->gone)
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    ticker_close(r->ticker, NULL, NULL);
    uv_close((uv_handle_t *)&r->guard, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    mem_free(r);
    return 0;
}

#define AWAIT(r, condition)                                                                        \
    while (!(condition))                                                                           \
    (void)uv_run(&(r)->loop, UV_RUN_ONCE)

/* ---- Tests ------------------------------------------------------------------------------- */

static void the_wait_before_a_reconnect_doubles_up_to_a_bound(void **state)
{
    (void)state;
    assert_int_equal(link_backoff_ms(0, false, 0), 0);
    assert_int_equal(link_backoff_ms(0, false, UINT32_MAX), LINK_BACKOFF_FIRST_MS);
    assert_int_equal(link_backoff_ms(1, false, UINT32_MAX), 2 * LINK_BACKOFF_FIRST_MS);
    assert_int_equal(link_backoff_ms(3, false, UINT32_MAX), 8 * LINK_BACKOFF_FIRST_MS);
    assert_int_equal(link_backoff_ms(8, false, UINT32_MAX), LINK_BACKOFF_MAX_MS);
    assert_int_equal(link_backoff_ms(UINT32_MAX, true, UINT32_MAX), LINK_BACKOFF_MAX_MS);
    assert_int_equal(link_backoff_ms(UINT32_MAX, true, UINT32_MAX / 2), LINK_BACKOFF_MAX_MS / 2);
}

static void a_fleet_that_lost_its_orchestrator_spreads_over_a_second(void **state)
{
    (void)state;
    assert_int_equal(link_backoff_ms(0, true, 0), 0);
    assert_int_equal(link_backoff_ms(0, true, UINT32_MAX / 2), LINK_SPREAD_MS / 2);
    assert_int_equal(link_backoff_ms(0, true, UINT32_MAX), LINK_SPREAD_MS);
}

static void it_introduces_itself_and_is_welcomed(void **state)
{
    struct rig *r = *state;
    assert_false(link_send(r->link, "{}", 2, false));
    link_start(r->link);
    AWAIT(r, r->welcomes > 0);
    assert_int_equal(r->hellos, 1);
    assert_true(link_up(r->link));
    say(r, "{\"v\":1,\"type\":\"rollback\",\"rollout\":\"r1\",\"epoch\":3}");
    AWAIT(r, r->frames > 0);
    const char *report = "{\"v\":1,\"type\":\"report\",\"rollout\":\"r1\",\"entries\":[{\"seq\":1,"
                         "\"type\":\"started\",\"timeMs\":1,\"state\":\"running\"}]}";
    assert_true(link_send(r->link, report, strlen(report), false));
    AWAIT(r, r->last[0] != '\0');
    assert_string_equal(r->last, "report");
}

static void what_may_be_dropped_is_when_the_peer_reads_slowly(void **state)
{
    struct rig *r = *state;
    static const char output[] = "{\"v\":1,\"type\":\"output\",\"rollout\":\"r1\",\"step\":0,"
                                 "\"attempt\":1,\"offset\":0,\"text\":\"0123456789abcdef\"}";
    link_start(r->link);
    AWAIT(r, r->welcomes > 0);
    /* Nothing goes out before the loop has its turn. */
    size_t sent = 0;
    while (link_send(r->link, output, sizeof(output) - 1, true))
        sent += sizeof(output) - 1;
    assert_true(sent >= LINK_DROPPABLE_QUEUE_MAX);
    assert_true(sent < LINK_DROPPABLE_QUEUE_MAX + 2 * sizeof(output));
    assert_true(link_send(r->link, output, sizeof(output) - 1, false));
    assert_true(link_up(r->link));
}

static void it_says_that_it_lives(void **state)
{
    struct rig *r = *state;
    link_start(r->link);
    AWAIT(r, r->heartbeats >= 6);
    assert_int_equal(r->connections, 1);
    assert_int_equal(r->losses, 0);
}

static void a_silent_orchestrator_is_left_and_looked_for_again(void **state)
{
    struct rig *r = *state;
    r->answers = false;
    link_start(r->link);
    AWAIT(r, r->losses > 0);
    assert_true(r->heartbeats <= LINK_SILENT_HEARTBEATS);
    r->answers = true;
    AWAIT(r, r->welcomes == 2);
    assert_int_equal(r->connections, 2);
}

static void a_lost_connection_is_made_again(void **state)
{
    struct rig *r = *state;
    link_start(r->link);
    AWAIT(r, r->welcomes == 1);
    net_conn_close(r->conn, 1001, "away");
    AWAIT(r, r->losses == 1);
    assert_false(link_up(r->link));
    AWAIT(r, r->welcomes == 2);
}

static void a_new_connection_is_made_where_one_is_wanted(void **state)
{
    struct rig *r = *state;
    link_start(r->link);
    AWAIT(r, r->welcomes == 1);
    link_renew(r->link);
    assert_false(link_up(r->link));
    assert_int_equal(r->losses, 1);
    assert_false(link_send(r->link, "{}", 2, false));
    AWAIT(r, r->welcomes == 2 && r->closed == 1);
    assert_int_equal(r->connections, 2);
    assert_int_equal(r->losses, 1);
    assert_true(link_up(r->link));
}

/* The welcome of a connection that was begun before may not be taken for that of the new one. */
static void a_connection_that_is_not_welcomed_yet_gives_way_to_a_new_one(void **state)
{
    struct rig *r = *state;
    r->greets = false;
    link_start(r->link);
    AWAIT(r, r->hellos == 1);
    welcome(r);
    r->greets = true;
    link_renew(r->link);
    AWAIT(r, r->welcomes == 1);
    assert_int_equal(r->connections, 2);
    assert_int_equal(r->hellos, 2);
    assert_int_equal(r->losses, 0);
    link_renew(r->link);
    link_renew(r->link); /* while it connects */
    AWAIT(r, r->welcomes == 2);
    assert_int_equal(r->losses, 1);
    assert_true(link_up(r->link));
}

static void a_link_that_is_stopped_makes_no_new_connection(void **state)
{
    struct rig *r = *state;
    link_start(r->link);
    AWAIT(r, r->welcomes == 1);
    link_renew(r->link);
    stop(r);
    link_renew(r->link);
    AWAIT(r, r->closed == 1);
    assert_int_equal(r->connections, 1);
}

static void a_frame_that_is_none_ends_the_connection(void **state)
{
    struct rig *r = *state;
    static const char *const bad[] = {
        "nonsense",
        "{\"v\":2,\"type\":\"ack\"}",
        "{\"v\":1,\"type\":\"hello\",\"id\":\"x\",\"instance\":\"y\",\"version\":\"z\"}",
        "{\"v\":1,\"type\":\"welcome\",\"orchestrator\":\"o1\",\"epoch\":3,\"heartbeatMs\":50}",
    };
    link_start(r->link);
    for (int i = 0; i < (int)ARRAY_LEN(bad); i++) {
        AWAIT(r, r->welcomes == i + 1);
        say(r, bad[i]);
        AWAIT(r, r->losses == i + 1);
    }
}

static void a_command_before_the_welcome_ends_the_connection(void **state)
{
    struct rig *r = *state;
    r->greets = false;
    link_start(r->link);
    AWAIT(r, r->hellos == 1);
    say(r, "{\"v\":1,\"type\":\"rollback\",\"rollout\":\"r1\",\"epoch\":3}");
    AWAIT(r, r->closed == 1);
    assert_int_equal(r->frames, 0);
    assert_int_equal(r->losses, 0);
}

static void an_orchestrator_that_is_refused_is_left_and_tried_again(void **state)
{
    struct rig *r = *state;
    r->refuse = true;
    link_start(r->link);
    AWAIT(r, r->closed == 1);
    assert_false(link_up(r->link));
    assert_int_equal(r->losses, 0);
    AWAIT(r, r->welcomes == 2);
    r->refuse = false;
    AWAIT(r, link_up(r->link));
}

static void an_orchestrator_that_is_not_there_is_tried_until_it_is(void **state)
{
    struct rig *r = *state;
    link_free(r->link);
    (void)snprintf(r->url, sizeof(r->url), "http://127.0.0.1:1");
    link_make(r);
    int64_t until_ms = clock_mono_ms() + 500;
    link_start(r->link);
    AWAIT(r, clock_mono_ms() > until_ms);
    assert_int_equal(r->connections, 0);
    /* The link reads the URL afresh for each attempt. */
    (void)snprintf(r->url, sizeof(r->url), "http://127.0.0.1:%u", net_server_port(r->server));
    AWAIT(r, r->welcomes == 1);
}

static void when_stopped_it_says_goodbye_and_stays_away(void **state)
{
    struct rig *r = *state;
    link_start(r->link);
    AWAIT(r, r->welcomes == 1);
    stop(r);
    assert_false(link_up(r->link));
    assert_int_equal(r->losses, 1);
    AWAIT(r, r->closed == 1);
    assert_int_equal(r->connections, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wait_before_a_reconnect_doubles_up_to_a_bound),
        cmocka_unit_test(a_fleet_that_lost_its_orchestrator_spreads_over_a_second),
        TEST(it_introduces_itself_and_is_welcomed),
        TEST(what_may_be_dropped_is_when_the_peer_reads_slowly),
        TEST(it_says_that_it_lives),
        TEST(a_silent_orchestrator_is_left_and_looked_for_again),
        TEST(a_lost_connection_is_made_again),
        TEST(a_new_connection_is_made_where_one_is_wanted),
        TEST(a_connection_that_is_not_welcomed_yet_gives_way_to_a_new_one),
        TEST(a_link_that_is_stopped_makes_no_new_connection),
        TEST(a_frame_that_is_none_ends_the_connection),
        TEST(a_command_before_the_welcome_ends_the_connection),
        TEST(an_orchestrator_that_is_refused_is_left_and_tried_again),
        TEST(an_orchestrator_that_is_not_there_is_tried_until_it_is),
        TEST(when_stopped_it_says_goodbye_and_stays_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
