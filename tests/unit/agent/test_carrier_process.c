#include "agent/carrier_process.h"
#include "agent/channel.h"
#include "agent/network.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GUARD_MS = 60000, PATIENCE_MS = 200, MESSAGE_MAX = 1024 * 1024 };

static const char message[] = "{\"v\":1,\"type\":\"ack\"}";
static const char manner_variable[] = "KITSUNE_TEST_NETWORK";

/* A carrier, and a server that its process connects to. */
struct rig {
    uv_loop_t loop;
    uv_timer_t guard;
    struct net *net;
    struct net_server *server;
    struct carrier *carrier;
    char url[64];
    /* The server: */
    struct net_conn *conn;
    int connections, requests;
    char received[256], body[64];
    /* What the carrier told: */
    struct carrier_conn *own;
    int opened, messages, closed, done;
    enum net_end end;
    char reason[256], text[256];
    int status;
    bool gone;
};

/* ---- The server --------------------------------------------------------------------------- */

static void server_message(void *ctx, struct net_conn *conn, const char *data, size_t len)
{
    struct rig *r = ctx;
    struct error err = {0};
    (void)snprintf(r->received, sizeof(r->received), "%.*s", (int)len, data);
    assert_int_equal(net_conn_send(conn, data, len, &err), ERR_OK);
}

static void server_closed(void *ctx, struct net_conn *conn, const char *reason)
{
    struct rig *r = ctx;
    (void)reason;
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
    struct rig *r = ctx;
    size_t len = 0;
    const char *body = net_request_body(req, &len);
    r->requests++;
    (void)snprintf(r->body, sizeof(r->body), "%.*s", (int)len, body);
    net_respond(req, 201, "application/json", NULL, "{\"b\":2}", 7);
}

static void server_request_closed(void *ctx, struct net_request *req)
{
    (void)ctx;
    (void)req;
}

/* ---- The carrier's user ------------------------------------------------------------------- */

static void on_opened(void *ctx, struct carrier_conn *conn)
{
    struct rig *r = ctx;
    assert_ptr_equal(conn, r->own);
    r->opened++;
}

static void on_message(void *ctx, struct carrier_conn *conn, const char *data, size_t len)
{
    struct rig *r = ctx;
    assert_ptr_equal(conn, r->own);
    assert_int_equal(strlen(data), len);
    r->messages++;
    (void)snprintf(r->text, sizeof(r->text), "%s", data);
}

static void on_closed(void *ctx, struct carrier_conn *conn, enum net_end end, const char *reason)
{
    struct rig *r = ctx;
    assert_ptr_equal(conn, r->own);
    r->own = NULL;
    r->closed++;
    r->end = end;
    (void)snprintf(r->reason, sizeof(r->reason), "%s", reason);
}

static void on_done(void *ctx, int status, const char *body, size_t len, const char *failure)
{
    struct rig *r = ctx;
    r->done++;
    r->status = status;
    (void)snprintf(r->text, sizeof(r->text), "%.*s", (int)len, body ? body : "");
    (void)snprintf(r->reason, sizeof(r->reason), "%s", failure ? failure : "");
}

static enum error_code try_connect(struct rig *r, struct error *err)
{
    const struct carrier_conn_config config = {
        .peer = {.url = r->url},
        .path = "/ws",
        .protocol = "kitsune.v1",
        .max_message = MESSAGE_MAX,
        .timeout_ms = PATIENCE_MS,
        .events = {.opened = on_opened, .message = on_message, .closed = on_closed},
        .ctx = r,
    };
    return carrier_connect(r->carrier, &config, &r->own, err);
}

#define AWAIT(r, condition)                                                                        \
    while (!(condition))                                                                           \
    (void)uv_run(&(r)->loop, UV_RUN_ONCE)

/* As a link does: again later, while there is no process. */
static void begin(struct rig *r)
{
    struct error err = {0};
    while (try_connect(r, &err) != ERR_OK) {
        assert_int_equal(err.code, ERR_UNAVAILABLE);
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
}

static void open_one(struct rig *r)
{
    int before = r->opened;
    begin(r);
    AWAIT(r, r->opened > before);
}

static void post(struct rig *r)
{
    struct carrier_post *made = NULL;
    struct error err = {0};
    const struct carrier_post_config config = {
        .peer = {.url = r->url},
        .path = "/v1/enrol",
        .body = "{\"a\":1}",
        .len = 7,
        .timeout_ms = GUARD_MS,
        .done = on_done,
        .ctx = r,
    };
    if (carrier_post(r->carrier, &config, &made, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

/* ---- The rig ------------------------------------------------------------------------------ */

static void guard_fired(uv_timer_t *guard)
{
    (void)guard;
    fail_msg("what was waited for did not come");
}

static void carrier_start(struct rig *r)
{
    struct error err = {0};
    struct sandbox_user user;
    (void)sandbox_user_find(&user);
    const struct carrier_process_config config = {
        .loop = &r->loop,
        .user = geteuid() == 0 ? &user : NULL,
        .files = 64,
        .log_format = LOG_LOGFMT,
        .log_level = LOG_ERROR,
        .patience_ms = PATIENCE_MS,
    };
    if (carrier_process_new(&config, &r->carrier, &err) != ERR_OK)
        fail_msg("%s", err.message);
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
    const struct net_server_config config = {
        .host = "127.0.0.1",
        .max_body = 1024,
        .max_message = 2 * MESSAGE_MAX,
        .websocket_path = "/ws",
        .websocket_protocol = "kitsune.v1",
        .ctx = r,
        .request = server_request,
        .request_closed = server_request_closed,
        .websocket = server_websocket,
        .events = {.message = server_message, .closed = server_closed},
    };
    if (net_server_new(r->net, &config, &r->server, &err) != ERR_OK)
        fail_msg("%s", err.message);
    (void)snprintf(r->url, sizeof(r->url), "http://127.0.0.1:%u", net_server_port(r->server));
    (void)unsetenv(manner_variable);
    *state = r;
    return 0;
}

static int set_up_started(void **state)
{
    int failed = set_up(state);
    carrier_start(*state);
    return failed;
}

static void gone(void *ctx)
{
    ((struct rig *)ctx)->gone = true;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    carrier_end(r->carrier, gone, r);
    AWAIT(r, r->gone);
    assert_null(r->own);
    r->gone = false;
    net_close(r->net, gone, r);
    AWAIT(r, r->gone);
    uv_close((uv_handle_t *)&r->guard, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    mem_free(r);
    return 0;
}

/* ---- Tests -------------------------------------------------------------------------------- */

static void messages_go_to_and_fro(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    open_one(r);
    assert_int_equal(carrier_send(r->own, message, sizeof(message) - 1, &err), ERR_OK);
    AWAIT(r, r->messages == 1);
    assert_string_equal(r->received, message);
    assert_string_equal(r->text, message);
    carrier_close(r->own, 1000, "enough");
    assert_int_not_equal(carrier_send(r->own, message, sizeof(message) - 1, &err), ERR_OK);
    AWAIT(r, r->closed == 1);
    assert_int_equal(r->end, NET_END_LOST);
}

static void long_ones_too_and_what_waits_is_counted_until_it_is_sent(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    struct buf b = BUF_INIT;
    open_one(r);
    buf_printf(&b, "{\"v\":1,\"type\":\"ack\",\"more\":\"%*d\"}", MESSAGE_MAX - 100, 7);
    assert_int_equal(carrier_send(r->own, b.data, b.len, &err), ERR_OK);
    assert_int_equal(carrier_queued(r->own), b.len);
    AWAIT(r, r->messages == 1);
    AWAIT(r, carrier_queued(r->own) == 0);
    assert_true(strncmp(r->text, b.data, sizeof(r->text) - 1) == 0);
    buf_done(&b);
    carrier_close(r->own, 1000, "enough");
    AWAIT(r, r->closed == 1);
}

static void what_is_no_message_of_the_protocol_does_not_get_through(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    static const char odd[] = "{\"v\":1,\"type\":\"format-the-disk\"}";
    open_one(r);
    assert_int_equal(net_conn_send(r->conn, odd, sizeof(odd) - 1, &err), ERR_OK);
    AWAIT(r, r->closed == 1);
    assert_int_equal(r->messages, 0);
}

static void a_server_that_is_not_there_is_told_of(void **state)
{
    struct rig *r = *state;
    (void)snprintf(r->url, sizeof(r->url), "http://127.0.0.1:1");
    begin(r);
    AWAIT(r, r->closed == 1);
    assert_int_equal(r->opened, 0);
    assert_string_equal(r->reason, "connection refused");
}

static void a_request_is_answered(void **state)
{
    struct rig *r = *state;
    post(r);
    AWAIT(r, r->done == 1);
    assert_int_equal(r->status, 201);
    assert_string_equal(r->text, "{\"b\":2}");
    assert_string_equal(r->body, "{\"a\":1}");
}

static void one_that_is_forgotten_or_given_up_tells_nothing_more(void **state)
{
    struct rig *r = *state;
    struct carrier_post *made = NULL;
    struct error err = {0};
    const struct carrier_post_config config = {.peer = {.url = r->url},
                                               .path = "/",
                                               .body = "",
                                               .timeout_ms = GUARD_MS,
                                               .done = on_done,
                                               .ctx = r};
    open_one(r);
    carrier_forget(TAKE(r->own), 1001, "anew");
    assert_int_equal(carrier_post(r->carrier, &config, &made, &err), ERR_OK);
    carrier_post_cancel(made);
    open_one(r);
    AWAIT(r, r->connections == 2);
    assert_int_equal(r->closed, 0);
    assert_int_equal(r->done, 0);
    carrier_close(r->own, 1000, "enough");
    AWAIT(r, r->closed == 1);
}

static void when_the_process_dies_another_takes_its_place(void **state)
{
    struct rig *r = *state;
    open_one(r);
    post(r);
    int pid = carrier_process_pid(r->carrier);
    assert_int_equal(kill(pid, SIGKILL), 0);
    AWAIT(r, r->closed == 1 && r->done == 1);
    assert_int_equal(r->end, NET_END_LOST);
    assert_non_null(strstr(r->reason, "network process is gone"));
    open_one(r);
    assert_int_not_equal(carrier_process_pid(r->carrier), pid);
    carrier_close(r->own, 1000, "enough");
    AWAIT(r, r->closed == 2);
}

/* It has gone by itself, and is not ended for a fault on the channel. */
static void one_that_dies_with_something_unread_is_gone_too(void **state)
{
    struct rig *r = *state;
    struct error err = {0};
    open_one(r);
    int pid = carrier_process_pid(r->carrier);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(carrier_send(r->own, message, sizeof(message) - 1, &err), ERR_OK);
    assert_int_equal(kill(pid, SIGKILL), 0);
    AWAIT(r, r->closed == 1);
    assert_non_null(strstr(r->reason, "network process is gone"));
    assert_null(strstr(r->reason, "reset"));
    open_one(r);
    carrier_close(r->own, 1000, "enough");
    AWAIT(r, r->closed == 2);
}

static void one_that_hangs_is_ended(void **state)
{
    struct rig *r = *state;
    open_one(r);
    int pid = carrier_process_pid(r->carrier);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    carrier_close(r->own, 1000, "enough");
    AWAIT(r, r->closed == 1);
    assert_non_null(strstr(r->reason, "does not answer"));
    open_one(r);
    carrier_close(r->own, 1000, "enough");
    AWAIT(r, r->closed == 2);
}

/* One that has been taken over says what it likes: it is ended each time, and nothing of it comes
 * through. */
static void one_that_breaks_the_rules_is_ended(void **state)
{
    static const char *const manners[] = {"garbage", "foreign",  "unasked",
                                          "long",    "oversent", "odd-end"};
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(manners); i++) {
        int before = r->closed;
        assert_int_equal(setenv(manner_variable, manners[i], 1), 0);
        r->carrier = NULL;
        carrier_start(r);
        begin(r);
        AWAIT(r, r->closed > before);
        assert_int_equal(r->messages, 0);
        assert_non_null(strstr(r->reason, "network process is gone"));
        assert_null(strstr(r->reason, "does not answer"));
        if (i + 1 < ARRAY_LEN(manners)) {
            r->gone = false;
            carrier_end(r->carrier, gone, r);
            AWAIT(r, r->gone);
        }
    }
    r->gone = false;
}

/* ---- A network process that was taken over ------------------------------------------------- */

static void say(const struct channel_frame *frame)
{
    struct buf b = BUF_INIT;
    channel_encode(&b, frame);
    if (write(STDIN_FILENO, b.data, b.len) != (ssize_t)b.len)
        _exit(2);
    buf_done(&b);
}

/* The id of the connection that it is asked for. */
static uint32_t asked(void)
{
    char data[4096];
    struct channel_frame frame = {0};
    struct error err = {0};
    size_t len = 0, used = 0;
    while (used == 0) {
        ssize_t got = read(STDIN_FILENO, data + len, sizeof(data) - len);
        if (got <= 0 ||
            channel_decode(data, len += (size_t)got, false, &frame, &used, &err) != ERR_OK)
            _exit(1);
    }
    return frame.id;
}

static void misbehave(const char *manner)
{
    static char much[MESSAGE_MAX + 2];
    struct channel_frame frame = {.id = asked()};
    memset(much, 'x', sizeof(much) - 1);
    if (strcmp(manner, "garbage") == 0) {
        (void)!write(STDIN_FILENO, much, 1000);
    } else if (strcmp(manner, "foreign") == 0) {
        frame.type = CHANNEL_CANCEL;
        say(&frame);
    } else if (strcmp(manner, "unasked") == 0) {
        frame.type = CHANNEL_MESSAGE; /* before it is open */
        frame.texts[0] = channel_string("{}");
        say(&frame);
    } else if (strcmp(manner, "long") == 0) {
        frame.type = CHANNEL_OPENED;
        say(&frame);
        frame.type = CHANNEL_MESSAGE;
        frame.texts[0] = channel_string(much);
        say(&frame);
    } else if (strcmp(manner, "oversent") == 0) {
        frame.type = CHANNEL_SENT;
        frame.numbers[0] = 1;
        say(&frame);
    } else {
        frame.type = CHANNEL_CLOSED;
        frame.numbers[0] = 77;
        frame.texts[0] = channel_string("odd");
        say(&frame);
    }
    (void)pause();
    _exit(0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_started, tear_down)

int main(int argc, char **argv)
{
    const char *manner = getenv(manner_variable);
    if (argc > 1 && strcmp(argv[1], NETWORK_MODE) == 0) {
        if (manner)
            misbehave(manner);
        network_main(argc, argv);
    }
    const struct CMUnitTest tests[] = {
        TEST(messages_go_to_and_fro),
        TEST(long_ones_too_and_what_waits_is_counted_until_it_is_sent),
        TEST(what_is_no_message_of_the_protocol_does_not_get_through),
        TEST(a_server_that_is_not_there_is_told_of),
        TEST(a_request_is_answered),
        TEST(one_that_is_forgotten_or_given_up_tells_nothing_more),
        TEST(when_the_process_dies_another_takes_its_place),
        TEST(one_that_dies_with_something_unread_is_gone_too),
        TEST(one_that_hangs_is_ended),
        cmocka_unit_test_setup_teardown(one_that_breaks_the_rules_is_ended, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
