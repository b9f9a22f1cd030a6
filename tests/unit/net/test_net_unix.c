#include "unit/net/support_net.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char folder[64];
static char path[96];
static char host[128];

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/kitsune-unix-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(path, sizeof(path), "%s/api.sock", folder);
    (void)snprintf(host, sizeof(host), "unix:%s", path);
    return 0;
}

/* Nothing may be left in it. */
static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void start(struct fixture *f, uint32_t mode)
{
    struct net_server_config config = fixture_config(f);
    config.host = host;
    config.unix_mode = mode;
    struct error err = {0};
    fixture_start_without_server(f);
    config.ctx = f;
    if (net_server_new(f->net, &config, &f->server, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

static void assert_refused(const char *where, enum error_code code, const char *text)
{
    struct fixture f;
    struct error err = {0};
    struct net_server *server = NULL;
    struct net_server_config config = fixture_config(&f);
    config.host = where;
    fixture_start(&f, NULL);
    assert_int_equal(net_server_new(f.net, &config, &server, &err), code);
    if (strstr(err.message, text) == NULL)
        fail_msg("expected \"%s\": %s", text, err.message);
    assert_null(server);
    fixture_stop(&f);
}

static void connect_to(struct raw *r, struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    raw_adopt(r, f, fd);
}

enum { NO_SUCH_GROUP = 987654321 };
static uid_t seen_uid;
static pid_t seen_pid;

static void answer_user(struct fixture *f, struct net_request *req)
{
    (void)f;
    assert_true(net_request_peer_user(req, &seen_uid, &seen_pid));
    assert_true(net_request_peer_in_group(req, getegid()));
    assert_false(net_request_peer_in_group(req, NO_SUCH_GROUP));
    const char *peer = net_request_peer(req);
    net_respond(req, 200, "text/plain", NULL, peer, strlen(peer));
}

static void the_peers_user_and_process_are_known(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    char expected[64];
    start(&f, 0);
    f.answer = answer_user;
    assert_int_equal(net_server_port(f.server), 0);
    connect_to(&r, &f);
    raw_puts(&r, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    (void)snprintf(expected, sizeof(expected), "unix uid %u pid %d", (unsigned)getuid(),
                   (int)getpid());
    raw_expect(&r, expected);
    assert_int_equal(seen_uid, getuid());
    assert_int_equal(seen_pid, getpid());
    raw_close(&r);
    fixture_stop(&f);
}

static void answer_no_user(struct fixture *f, struct net_request *req)
{
    (void)f;
    uid_t uid = 0;
    pid_t pid = 0;
    assert_false(net_request_peer_user(req, &uid, &pid));
    net_respond(req, 200, "text/plain", NULL, "fine\n", 5);
}

static void over_tcp_the_user_is_not_known(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    fixture_start(&f, NULL);
    f.answer = answer_no_user;
    raw_connect(&r, &f, net_server_port(f.server));
    raw_puts(&r, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_expect(&r, "fine\n");
    raw_close(&r);
    fixture_stop(&f);
}

static void websockets_work_too(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    start(&f, 0);
    connect_to(&r, &f);
    raw_upgrade(&r);
    static const unsigned char hello[] = {0x81, 0x82, 0, 0, 0, 0, 'h', 'i'};
    raw_send(&r, hello, sizeof(hello));
    run_until(&f, &f.messages, 1);
    assert_string_equal(f.last_message.data, "hi");
    raw_expect(&r, "hi");
    raw_close(&r);
    fixture_stop(&f);
}

static void the_mode_says_who_may_connect(void **state)
{
    (void)state;
    static const struct {
        uint32_t given;
        mode_t expected;
    } cases[] = {{0, 0600}, {0660, 0660}, {0666, 0666}, {0600, 0600}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct stat info;
        mode_t mask = umask(i % 2 == 0 ? 0 : 077); /* whatever that is */
        start(&f, cases[i].given);
        (void)umask(mask);
        assert_int_equal(stat(path, &info), 0);
        assert_true(S_ISSOCK(info.st_mode));
        assert_int_equal(info.st_mode & 07777, cases[i].expected);
        fixture_stop(&f);
        assert_int_not_equal(access(path, F_OK), 0); /* and it is gone with the server */
    }
}

static void one_who_listens_is_not_pushed_aside(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    start(&f, 0);
    f.answer = answer_user;
    assert_refused(host, ERR_BUSY, "another program listens there");
    connect_to(&r, &f);
    raw_puts(&r, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_expect(&r, "unix uid");
    raw_close(&r);
    fixture_stop(&f);
}

/* What a program leaves that was killed. */
static void make_stale(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)close(fd);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_socket_that_a_dead_program_left_is_replaced(void **state)
{
    (void)state;
    struct fixture f;
    struct raw r;
    make_stale();
    start(&f, 0);
    f.answer = answer_user;
    connect_to(&r, &f);
    raw_puts(&r, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_expect(&r, "unix uid");
    raw_close(&r);
    fixture_stop(&f);
}

static void what_is_not_a_socket_is_left_alone(void **state)
{
    (void)state;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_refused(host, ERR_INVALID, "something is there that is not a socket");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_refused(host, ERR_INVALID, "something is there that is not a socket");
    assert_int_equal(unlink(path), 0);
}

static void a_socket_that_is_somebody_elses_by_now_stays(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 0);
    assert_int_equal(unlink(path), 0);
    make_stale();
    fixture_stop(&f);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);
}

static void places_where_none_can_be_are_refused(void **state)
{
    (void)state;
    assert_refused("unix:relative.sock", ERR_INVALID, "give an absolute path");
    assert_refused("unix:@abstract", ERR_INVALID, "give an absolute path");
    assert_refused("unix:", ERR_INVALID, "give an absolute path");
    assert_refused("unix:/nowhere/at/all/api.sock", ERR_NOT_FOUND, "/nowhere/at/all");
    char deep[200] = "unix:/tmp/";
    memset(deep + 10, 'x', 120);
    assert_refused(deep, ERR_INVALID, "may have at most");
}

/* A user without the right to it is kept out by the kernel. Takes another user, which only root
 * can. */
static void others_cannot_connect(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct fixture f;
    start(&f, 0);
    assert_int_equal(chmod(folder, 0755), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool kept_out = setuid(65534) == 0 &&
                        connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
                        errno == EACCES;
        _exit(kept_out ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_peers_user_and_process_are_known),
        cmocka_unit_test(over_tcp_the_user_is_not_known),
        cmocka_unit_test(websockets_work_too),
        cmocka_unit_test(the_mode_says_who_may_connect),
        cmocka_unit_test(one_who_listens_is_not_pushed_aside),
        cmocka_unit_test(a_socket_that_a_dead_program_left_is_replaced),
        cmocka_unit_test(what_is_not_a_socket_is_left_alone),
        cmocka_unit_test(a_socket_that_is_somebody_elses_by_now_stays),
        cmocka_unit_test(places_where_none_can_be_are_refused),
        cmocka_unit_test(others_cannot_connect),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
