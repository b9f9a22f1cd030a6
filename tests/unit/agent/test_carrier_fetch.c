#include "agent/carrier_process.h"
#include "agent/channel.h"
#include "agent/network.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "unit/agent/support_content.h"

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

/* More than all that the kernel and two processes hold on the way. */
enum { MUCH = 32 * 1024 * 1024, SOME = 3 * 1024 * 1024 + 11, GUARD_MS = 60000, PATIENCE_MS = 300 };

static const char manner_variable[] = "KITSUNE_TEST_NETWORK";

struct rig {
    uv_loop_t loop;
    uv_timer_t guard;
    struct content_server server;
    const struct content *content;
    struct carrier *carrier;
    struct carrier_fetch *fetch;
    uint32_t silence_ms;
    /* How its user behaves: */
    bool keeps;    /* gives nothing back */
    bool gives_up; /* at the first data */
    /* What it was told: */
    unsigned began, done, posts;
    int64_t offset, total, len;
    size_t held;
    bool equal;
    int status;
    char failure[256];
    bool gone;
};

#define AWAIT(r, condition)                                                                        \
    while (!(condition))                                                                           \
    (void)uv_run(&(r)->loop, UV_RUN_ONCE)

/* ---- The carrier's user ------------------------------------------------------------------- */

static void on_began(void *ctx, struct carrier_fetch *fetch, int64_t offset, int64_t total_bytes)
{
    struct rig *r = ctx;
    assert_ptr_equal(fetch, r->fetch);
    r->began++;
    r->offset = offset;
    r->total = total_bytes;
}

static void on_data(void *ctx, struct carrier_fetch *fetch, const char *data, size_t len)
{
    struct rig *r = ctx;
    size_t at = (size_t)(r->offset + r->len);
    assert_ptr_equal(fetch, r->fetch);
    assert_int_equal(r->began, 1);
    r->equal = r->equal && r->content && at + len <= r->content->len &&
               memcmp(r->content->data + at, data, len) == 0;
    r->len += (int64_t)len;
    r->held += len;
    assert_true(r->held <= CARRIER_FETCH_WINDOW);
    if (r->gives_up) {
        carrier_fetch_cancel(TAKE(r->fetch));
    } else if (!r->keeps) {
        r->held -= len;
        carrier_fetch_more(fetch, len);
    }
}

static void on_done(void *ctx, int status, const char *failure)
{
    struct rig *r = ctx;
    r->fetch = NULL;
    r->done++;
    r->status = status;
    (void)snprintf(r->failure, sizeof(r->failure), "%s", failure ? failure : "");
}

static void on_posted(void *ctx, int status, const char *body, size_t len, const char *failure)
{
    struct rig *r = ctx;
    (void)status;
    (void)body;
    (void)len;
    (void)failure;
    r->posts++;
}

static void begin(struct rig *r, int64_t offset)
{
    struct error err = {0};
    char path[128];
    (void)snprintf(path, sizeof(path), "/v1/agent/artifacts/%s",
                   r->content ? r->content->digest : "none");
    const struct carrier_fetch_config config = {
        .peer = {.url = r->server.url},
        .path = path,
        .offset = offset,
        .silence_ms = r->silence_ms,
        .began = on_began,
        .data = on_data,
        .done = on_done,
        .ctx = r,
    };
    r->equal = true;
    r->began = r->done = 0;
    r->len = 0;
    r->held = 0;
    while (carrier_fetch(r->carrier, &config, &r->fetch, &err) != ERR_OK) {
        assert_int_equal(err.code, ERR_UNAVAILABLE); /* the process is being started again */
        (void)uv_run(&r->loop, UV_RUN_ONCE);
    }
    assert_int_equal(r->done, 0);
}

/* To and fro through both processes, behind all that is on its way. */
static void round_trip(struct rig *r)
{
    struct error err = {0};
    struct carrier_post *made = NULL;
    unsigned before = r->posts;
    const struct carrier_post_config config = {.peer = {.url = r->server.url},
                                               .path = "/",
                                               .body = "{}",
                                               .len = 2,
                                               .timeout_ms = GUARD_MS,
                                               .done = on_posted,
                                               .ctx = r};
    assert_int_equal(carrier_post(r->carrier, &config, &made, &err), ERR_OK);
    AWAIT(r, r->posts > before);
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
    struct rig *r = MEM_NEW(struct rig);
    assert_non_null(r);
    log_setup(LOG_LOGFMT, LOG_ERROR);
    (void)unsetenv(manner_variable);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(uv_timer_init(&r->loop, &r->guard), 0);
    assert_int_equal(uv_timer_start(&r->guard, guard_fired, GUARD_MS, 0), 0);
    content_start(&r->server, &r->loop);
    r->silence_ms = GUARD_MS;
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

static void carrier_stop(struct rig *r)
{
    r->gone = false;
    carrier_end(r->carrier, gone, r);
    AWAIT(r, r->gone);
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    if (r->carrier)
        carrier_stop(r);
    content_stop(&r->server);
    uv_close((uv_handle_t *)&r->guard, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    content_free(&r->server);
    mem_free(r);
    return 0;
}

/* ---- Tests -------------------------------------------------------------------------------- */

static void any_bytes_come_through_from_an_offset_on(void **state)
{
    struct rig *r = *state;
    r->content = content_add(&r->server, SOME, 1);
    begin(r, 0);
    AWAIT(r, r->done == 1);
    assert_string_equal(r->failure, "");
    assert_int_equal(r->status, 200);
    assert_int_equal(r->total, SOME);
    assert_int_equal(r->len, SOME);
    assert_true(r->equal);
    begin(r, 1234567);
    AWAIT(r, r->done == 1);
    assert_string_equal(r->failure, "");
    assert_int_equal(r->status, 206);
    assert_int_equal(r->offset, 1234567);
    assert_int_equal(r->total, SOME);
    assert_int_equal(r->len, SOME - 1234567);
    assert_true(r->equal);
}

static void whoever_is_slow_holds_no_more_than_the_window(void **state)
{
    struct rig *r = *state;
    r->content = content_add(&r->server, MUCH, 1);
    r->keeps = true;
    begin(r, 0);
    AWAIT(r, r->held == CARRIER_FETCH_WINDOW);
    for (int i = 0; i < 3; i++) {
        round_trip(r);
        assert_int_equal(r->held, CARRIER_FETCH_WINDOW);
    }
    assert_true(content_unsent(&r->server) > MUCH / 2); /* the rest is still the server's */
    while (r->done == 0) {
        size_t held = r->held;
        r->held = 0;
        carrier_fetch_more(r->fetch, held);
        AWAIT(r, r->held > 0 || r->done > 0);
    }
    assert_string_equal(r->failure, "");
    assert_int_equal(r->len, MUCH);
    assert_true(r->equal);
}

static void time_passed(uv_timer_t *timer)
{
    (void)timer;
}

/* It is not the network's process that is silent, nor the orchestrator. */
static void whoever_is_slow_has_time(void **state)
{
    struct rig *r = *state;
    uv_timer_t timer;
    r->content = content_add(&r->server, SOME, 1);
    r->keeps = true;
    r->silence_ms = 100;
    begin(r, 0);
    AWAIT(r, r->held == CARRIER_FETCH_WINDOW);
    assert_int_equal(uv_timer_init(&r->loop, &timer), 0);
    assert_int_equal(uv_timer_start(&timer, time_passed, 3 * PATIENCE_MS, 0), 0);
    AWAIT(r, !uv_is_active((uv_handle_t *)&timer));
    uv_close((uv_handle_t *)&timer, NULL);
    r->keeps = false;
    assert_int_equal(r->done, 0);
    r->held = 0;
    carrier_fetch_more(r->fetch, CARRIER_FETCH_WINDOW);
    AWAIT(r, r->done == 1);
    assert_string_equal(r->failure, "");
    assert_int_equal(r->len, SOME);
}

static void a_silent_server_is_told_of(void **state)
{
    struct rig *r = *state;
    r->content = content_add(&r->server, SOME, 1);
    r->server.silent = true;
    r->silence_ms = 100;
    begin(r, 0);
    AWAIT(r, r->done == 1);
    assert_int_equal(r->status, 0);
    assert_string_equal(r->failure, "timed out after 100 ms");
}

static void a_refusal_comes_with_its_status(void **state)
{
    struct rig *r = *state;
    begin(r, 0);
    AWAIT(r, r->done == 1);
    assert_int_equal(r->status, 404);
    assert_int_equal(r->began, 0);
    assert_true(r->failure[0] != '\0');
}

static void one_that_is_cut_off_is_not_whole(void **state)
{
    struct rig *r = *state;
    r->content = content_add(&r->server, SOME, 1);
    r->server.cut_bytes = 100000;
    begin(r, 0);
    AWAIT(r, r->done == 1);
    assert_int_equal(r->len, 100000);
    assert_true(r->failure[0] != '\0');
}

static void one_that_is_given_up_tells_nothing_more(void **state)
{
    struct rig *r = *state;
    r->content = content_add(&r->server, MUCH, 1);
    r->gives_up = true;
    begin(r, 0);
    AWAIT(r, r->len > 0);
    int64_t len = r->len;
    round_trip(r);
    assert_int_equal(r->len, len);
    assert_int_equal(r->done, 0);
}

static void when_the_process_dies_it_is_over_and_can_go_on(void **state)
{
    struct rig *r = *state;
    r->content = content_add(&r->server, MUCH, 1);
    r->keeps = true;
    begin(r, 0);
    AWAIT(r, r->held > 0);
    assert_int_equal(kill(carrier_process_pid(r->carrier), SIGKILL), 0);
    AWAIT(r, r->done == 1);
    assert_int_equal(r->status, 0);
    assert_non_null(strstr(r->failure, "network process is gone"));
    r->keeps = false;
    begin(r, MUCH - 1000);
    AWAIT(r, r->done == 1);
    assert_string_equal(r->failure, "");
    assert_int_equal(r->len, 1000);
}

/* ---- A network process that was taken over ------------------------------------------------- */

static const char *const manners[] = {"early-data", "too-much",  "past-the-end", "other-offset",
                                      "negative",   "twice",     "early-end",    "odd-status",
                                      "empty-data", "of-a-post", "of-a-conn"};

static void one_that_breaks_the_rules_is_ended(void **state)
{
    struct rig *r = *state;
    for (size_t i = 0; i < ARRAY_LEN(manners); i++) {
        assert_int_equal(setenv(manner_variable, manners[i], 1), 0);
        carrier_start(r);
        r->keeps = true;
        begin(r, 100);
        AWAIT(r, r->done == 1);
        if (!strstr(r->failure, "it breaks the rules"))
            fail_msg("%s: %s", manners[i], r->failure);
        carrier_stop(r);
    }
    r->carrier = NULL;
}

static void say(const struct channel_frame *frame)
{
    struct buf b = BUF_INIT;
    channel_encode(&b, frame);
    for (size_t at = 0; at < b.len;) {
        ssize_t done = write(STDIN_FILENO, b.data + at, b.len - at);
        if (done <= 0)
            _exit(2);
        at += (size_t)done;
    }
    buf_done(&b);
}

static void say_began(uint32_t id, int64_t offset, int64_t total)
{
    struct channel_frame frame = {.type = CHANNEL_BEGAN, .id = id};
    channel_put64(&frame, 0, offset);
    channel_put64(&frame, 2, total);
    say(&frame);
}

static void say_data(uint32_t id, size_t len)
{
    static char data[CHANNEL_DATA_MAX];
    struct channel_frame frame = {.type = CHANNEL_DATA, .id = id};
    frame.texts[0] = channel_text(data, len);
    say(&frame);
}

/* The id of what it is asked for. */
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
    uint32_t id = asked();
    struct channel_frame end = {.type = CHANNEL_FETCHED, .id = id, .numbers = {200}};
    if (strcmp(manner, "early-data") == 0) {
        say_data(id, 10);
    } else if (strcmp(manner, "too-much") == 0) {
        say_began(id, 100, MUCH);
        for (size_t sent = 0; sent <= CARRIER_FETCH_WINDOW; sent += CHANNEL_DATA_MAX)
            say_data(id, CHANNEL_DATA_MAX);
    } else if (strcmp(manner, "past-the-end") == 0) {
        say_began(id, 100, 109);
        say_data(id, 10);
    } else if (strcmp(manner, "other-offset") == 0) {
        say_began(id, 99, 200);
    } else if (strcmp(manner, "negative") == 0) {
        say_began(id, 0, -1);
    } else if (strcmp(manner, "twice") == 0) {
        say_began(id, 0, 200);
        say_began(id, 0, 200);
    } else if (strcmp(manner, "early-end") == 0) {
        say_began(id, 100, 200);
        say_data(id, 99);
        say(&end);
    } else if (strcmp(manner, "odd-status") == 0) {
        end.numbers[0] = 77;
        end.texts[0] = channel_string("odd");
        say(&end);
    } else if (strcmp(manner, "empty-data") == 0) {
        say_began(id, 100, 200);
        say_data(id, 0);
    } else {
        end.type = strcmp(manner, "of-a-post") == 0 ? CHANNEL_ANSWERED : CHANNEL_CLOSED;
        end.texts[0] = channel_string("{}");
        say(&end);
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
        TEST(any_bytes_come_through_from_an_offset_on),
        TEST(whoever_is_slow_holds_no_more_than_the_window),
        TEST(whoever_is_slow_has_time),
        TEST(a_silent_server_is_told_of),
        TEST(a_refusal_comes_with_its_status),
        TEST(one_that_is_cut_off_is_not_whole),
        TEST(one_that_is_given_up_tells_nothing_more),
        TEST(when_the_process_dies_it_is_over_and_can_go_on),
        cmocka_unit_test_setup_teardown(one_that_breaks_the_rules_is_ended, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
