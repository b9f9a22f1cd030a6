#include "unit/handlers/support_peer.h"
#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Help -------------------------------------------------------------------------------- */

struct test {
    struct bed bed;
    struct peer peer;
};

static void test_open(struct test *t, void (*serve)(struct peer_call *call))
{
    memset(t, 0, sizeof(*t));
    bed_open(&t->bed);
    t->peer.serve = serve;
    t->peer.ctx = t;
    peer_open(&t->peer);
}

static void test_close(struct test *t)
{
    peer_close(&t->peer);
    bed_close(&t->bed);
}

static void check_at(struct bed *bed, const char *host, uint16_t port, const char *params)
{
    char text[1024];
    (void)snprintf(text, sizeof(text),
                   "{\"host\":\"%s\",\"port\":%u,\"interval\":\"50ms\",\"failureThreshold\":1%s}",
                   host, port, params);
    bed_run(bed, "tcp_check", HANDLER_EXECUTE, text);
}

/* "" or text with a comma in front. */
static void check(struct test *t, const char *params)
{
    char text[512];
    (void)snprintf(text, sizeof(text), ",\"timeout\":\"20s\"%s", params);
    check_at(&t->bed, "127.0.0.1", t->peer.port, text);
}

static void assert_healthy(const struct bed *bed, const char *message)
{
    assert_string_not_equal(bed->result.message, "");
    if (bed->result.outcome != HANDLER_OK || !strstr(bed->result.message, message))
        fail_msg("%s", bed->result.message);
    assert_false(bed->result.changed);
}

static void assert_unhealthy(const struct bed *bed, const char *message)
{
    assert_int_equal(bed->result.outcome, HANDLER_FAILED);
    assert_false(bed->result.retryable);
    if (!strstr(bed->result.message, message))
        fail_msg("%s", bed->result.message);
}

/* ---- Answers ----------------------------------------------------------------------------- */

static void serve_silence(struct peer_call *call)
{
    peer_await_end(call);
}

static void a_port_that_takes_connections_is_healthy(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_silence);
    check(&t, "");
    assert_healthy(&t.bed, " takes connections");
    assert_ptr_equal(strstr(t.bed.output.data, "probe 1: healthy: 127.0.0.1:"), t.bed.output.data);
    check(&t, ",\"successThreshold\":3");
    assert_healthy(&t.bed, "after 3 probes");
    test_close(&t);
    assert_int_equal(t.peer.calls, 4);
}

static void a_refused_connection_is_unhealthy(void **state)
{
    (void)state;
    struct bed bed;
    int refusing;
    bed_open(&bed);
    check_at(&bed, "127.0.0.1", peer_refusing_port(&refusing), "");
    assert_unhealthy(&bed, ": connection refused");
    bed_close(&bed);
    assert_int_equal(close(refusing), 0);
}

static void serve_greeting(struct peer_call *call)
{
    (void)peer_say(call, "220 mail");
    (void)peer_say(call, ".test ESMTP\r\n");
    peer_await_end(call);
}

static void the_greeting_must_have_what_is_expected(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_greeting);
    check(&t, ",\"expect\":\"mail.test ESMTP\"");
    assert_healthy(&t.bed, "sent what was expected");
    check_at(&t.bed, "127.0.0.1", t.peer.port, ",\"expect\":\"IMAP\",\"timeout\":0.2");
    assert_unhealthy(&t.bed, "no answer within 200ms");
    test_close(&t);
}

static void serve_pong(struct peer_call *call)
{
    char text[8] = "";
    if (recv(call->fd, text, 6, MSG_WAITALL) == 6 && strcmp(text, "PING\r\n") == 0)
        (void)peer_say(call, "+PONG\r\n");
}

static void what_is_to_be_sent_is_sent(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_pong);
    check(&t, ",\"send\":\"PING\\r\\n\",\"expect\":\"+PONG\"");
    assert_healthy(&t.bed, "sent what was expected");
    check(&t, ",\"send\":\"PING\\r\\n\",\"expect\":\"+PANG\"");
    assert_unhealthy(&t.bed, "ended the connection after 7 bytes without what was expected");
    test_close(&t);
}

static void serve_giant(struct peer_call *call)
{
    static const char chunk[10000] = {'x'};
    while (peer_write(call, chunk, sizeof(chunk)))
        continue;
}

static void a_flood_is_read_up_to_a_bound(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_giant);
    check(&t, ",\"expect\":\"ready\"");
    assert_unhealthy(&t.bed, "sent 64 KiB without what was expected");
    test_close(&t);
}

static void serve_second_time(struct peer_call *call)
{
    if (call->number >= 2)
        (void)peer_say(call, "ready");
}

static void it_is_probed_until_it_is_healthy(void **state)
{
    (void)state;
    struct test t;
    char text[256];
    test_open(&t, serve_second_time);
    (void)snprintf(text, sizeof(text),
                   "{\"port\":%u,\"interval\":0.05,\"timeout\":20,\"expect\":\"ready\"}",
                   t.peer.port);
    bed_run(&t.bed, "tcp_check", HANDLER_EXECUTE, text);
    assert_healthy(&t.bed, "healthy after 2 probes");
    test_close(&t);
}

/* ---- Cancelling -------------------------------------------------------------------------- */

static void serve_then_cancel(struct peer_call *call)
{
    struct test *t = call->peer->ctx;
    bed_cancel(&t->bed);
    peer_await_end(call);
}

static void cancelling_in_a_probe_ends_at_once(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_then_cancel);
    check_at(&t.bed, "127.0.0.1", t.peer.port, ",\"timeout\":3600,\"expect\":\"never\"");
    assert_int_equal(t.bed.result.outcome, HANDLER_CANCELLED);
    assert_true(t.bed.duration_ms < 20000);
    test_close(&t);
}

static void cancelling_while_the_name_is_resolved_ends_at_once(void **state)
{
    (void)state;
    struct test t;
    test_open(&t, serve_silence);
    t.bed.cancel_at = "";
    check(&t, "");
    assert_int_equal(t.bed.result.outcome, HANDLER_CANCELLED);
    test_close(&t);
}

/* ---- Names ------------------------------------------------------------------------------- */

static void a_name_without_an_address_is_unhealthy(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    /* A label is too long for any name server to be asked. */
    check_at(&bed, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test",
             80, "");
    assert_unhealthy(&bed, "no address is known of aaaa");
    bed_close(&bed);
}

static bool names_are_ours;

/* Puts a file of ours in place of one in /etc, for this process alone. */
static bool etc_replace(const char *path, const char *text)
{
    char ours[] = "/tmp/kitsune-etc-XXXXXX";
    int fd = mkstemp(ours);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
    bool done = mount(ours, path, NULL, MS_BIND, NULL) == 0;
    assert_int_equal(unlink(ours), 0);
    return done;
}

static bool loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool up = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    assert_int_equal(close(fd), 0);
    return up;
}

/* A network and names of our own, where the kernel lets us. */
static int names_make_ours(void **state)
{
    (void)state;
    names_are_ours = unshare(CLONE_NEWNS | CLONE_NEWNET) == 0 && loopback_up() &&
                     mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                     etc_replace("/etc/hosts", "127.0.0.1 twofold\n127.0.0.2 twofold\n"
                                               "127.0.0.1 localhost\n") &&
                     etc_replace("/etc/nsswitch.conf", "hosts: files dns\n") &&
                     etc_replace("/etc/resolv.conf", "nameserver 127.0.0.3\n");
    return 0;
}

/* A listener whose queue is full lets connections hang. */
static int swallow(const char *address, uint16_t port, int ret_callers[8])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, address, &at.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 8; i++) {
        ret_callers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(ret_callers[i], (struct sockaddr *)&at, sizeof(at));
    }
    return fd;
}

static void all_addresses_of_a_name_are_tried(void **state)
{
    (void)state;
    struct test t = {.peer = {.serve = serve_silence, .address = "127.0.0.2"}};
    int callers[8];
    if (!names_are_ours) {
        print_message("skipped: no network of its own can be had here\n");
        skip();
    }
    bed_open(&t.bed);
    peer_open(&t.peer);
    /* The first refuses. */
    check_at(&t.bed, "twofold", t.peer.port, ",\"timeout\":\"20s\"");
    assert_healthy(&t.bed, "127.0.0.2:");
    int swallowing = swallow("127.0.0.1", t.peer.port, callers);
    check_at(&t.bed, "127.0.0.1", t.peer.port, ",\"timeout\":\"200ms\"");
    assert_unhealthy(&t.bed, "no answer");
    check_at(&t.bed, "twofold", t.peer.port, ",\"timeout\":\"20s\"");
    assert_healthy(&t.bed, "127.0.0.2:");
    for (int i = 0; i < 8; i++)
        assert_int_equal(close(callers[i]), 0);
    assert_int_equal(close(swallowing), 0);
    test_close(&t);
}

/* Takes questions and never answers. */
static int silent_name_server(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
    assert_int_equal(inet_pton(AF_INET, "127.0.0.3", &at.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static void a_resolver_that_hangs_is_not_waited_for(void **state)
{
    (void)state;
    struct bed bed;
    int fd = names_are_ours ? silent_name_server() : -1;
    if (fd < 0) {
        print_message("skipped: no name server can be had here\n");
        skip();
    }
    bed_open(&bed);
    check_at(&bed, "unknown.test", 80, ",\"timeout\":\"200ms\"");
    assert_unhealthy(&bed, "no answer within 200ms");
    /* It asks its name servers for 5 seconds and more. */
    assert_true(bed.duration_ms < 4500);
    bed_run(&bed, "http_check", HANDLER_EXECUTE,
            "{\"url\":\"http://unknown.test/\",\"timeout\":0.2,\"failureThreshold\":1}");
    assert_unhealthy(&bed, "no answer within 200ms");
    assert_true(bed.duration_ms < 4500);
    bed_close(&bed);
    assert_int_equal(close(fd), 0);
}

/* ---- Memory ------------------------------------------------------------------------------ */

static void keep_result(struct handler_run *run, const struct handler_result *result)
{
    struct bed *bed = run->ctx;
    bed->result = *result;
}

static void ignore_output(struct handler_run *run, const char *data, size_t len)
{
    (void)run;
    (void)data;
    (void)len;
}

static void memory_running_out_fails_the_check(void **state)
{
    (void)state;
    struct test t;
    static char host[] = "127.0.0.1";
    static char expect[] = "ESMTP";
    test_open(&t, serve_greeting);
    struct tcp_check_params params = {
        .host = host,
        .port = t.peer.port,
        .expect = expect,
        .gate = {.interval_ms = 1,
                 .timeout_ms = 20000,
                 .success_threshold = 1,
                 .failure_threshold = 1},
    };
    uint64_t failed = 1;
    for (uint64_t n = 0; failed > 0; n++) {
        struct handler_run run = {.host = &t.bed.host,
                                  .handler = handler_find("tcp_check"),
                                  .operation = HANDLER_EXECUTE,
                                  .params = &params,
                                  .output = ignore_output,
                                  .done = keep_result,
                                  .ctx = &t.bed};
        mem_fail_after(n);
        handler_start(&run);
        assert_int_equal(uv_run(&t.bed.loop, UV_RUN_DEFAULT), 0);
        failed = mem_fail_count();
        mem_fail_never();
        bool ok = t.bed.result.outcome == HANDLER_OK;
        assert_true(ok || (failed > 0 && strstr(t.bed.result.message, "out of memory")));
        assert_true(n > 0 || !ok);
    }
    test_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_that_takes_connections_is_healthy),
        cmocka_unit_test(a_refused_connection_is_unhealthy),
        cmocka_unit_test(the_greeting_must_have_what_is_expected),
        cmocka_unit_test(what_is_to_be_sent_is_sent),
        cmocka_unit_test(a_flood_is_read_up_to_a_bound),
        cmocka_unit_test(it_is_probed_until_it_is_healthy),
        cmocka_unit_test(cancelling_in_a_probe_ends_at_once),
        cmocka_unit_test(cancelling_while_the_name_is_resolved_ends_at_once),
        cmocka_unit_test(a_name_without_an_address_is_unhealthy),
        cmocka_unit_test(all_addresses_of_a_name_are_tried),
        cmocka_unit_test(a_resolver_that_hangs_is_not_waited_for),
        cmocka_unit_test(memory_running_out_fails_the_check),
    };
    return cmocka_run_group_tests(tests, names_make_ours, NULL);
}
