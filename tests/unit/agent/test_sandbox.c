#include "agent/sandbox.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { FILES = 64, NOBODY = 65534, UNREADY = 99 };

/* In a process of its own, in the sandbox: its exit status, or minus the signal that ended it. */
static int inside(int (*attempt)(void))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct error err = {0};
        const struct sandbox_user nobody = {NOBODY, NOBODY};
        if (sandbox_enter(geteuid() == 0 ? &nobody : NULL, FILES, &err) != ERR_OK ||
            sandbox_close(&err) != ERR_OK) {
            (void)fprintf(stderr, "%s\n", err.message);
            _exit(UNREADY);
        }
        _exit(attempt());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* An attempt's status: 0 when it came about, else its errno. */
static int outcome(bool done)
{
    return done ? 0 : errno;
}

static int runs_a_program(void)
{
    static char path[] = "/bin/true";
    char *const argv[] = {path, NULL};
    (void)execv(path, argv);
    return errno;
}

static int runs_a_program_by_descriptor(void)
{
    static char path[] = "/bin/true";
    char *const argv[] = {path, NULL};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)fexecve(fd, argv, environ);
    return errno;
}

static int makes_a_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return outcome(pid > 0);
}

static int writes_a_file(void)
{
    return outcome(open("/tmp/kitsune-sandbox-test", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0);
}

static int opens_one_to_append(void)
{
    return outcome(open("/dev/null", O_RDWR | O_APPEND | O_CLOEXEC) >= 0);
}

static int makes_one_without_a_name(void)
{
    return outcome(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) >= 0);
}

static int removes_a_file(void)
{
    return outcome(unlink("/tmp/kitsune-sandbox-test") == 0);
}

static int makes_a_folder(void)
{
    return outcome(mkdir("/tmp/kitsune-sandbox-test", 0700) == 0);
}

static int follows_another_process(void)
{
    return outcome(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0);
}

static int reads_another_process(void)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {&byte, 1};
    return outcome(process_vm_readv(getppid(), &here, 1, &there, 1, 0) == 1);
}

static int signals_another_process(void)
{
    return outcome(kill(getppid(), 0) == 0);
}

static int connects_to_a_local_socket(void)
{
    return outcome(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
}

static int makes_a_raw_socket(void)
{
    return outcome(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0);
}

static int listens(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return outcome(fd >= 0 && listen(fd, 1) == 0);
}

static int mounts(void)
{
    return outcome(syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL) == 0);
}

static int makes_code(void)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return outcome(page != MAP_FAILED);
}

static int makes_data_into_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? UNREADY : outcome(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
}

static int becomes_root(void)
{
    return outcome(setuid(0) == 0);
}

static int raises_its_limits(void)
{
    const struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};
    return outcome(setrlimit(RLIMIT_FSIZE, &more) == 0);
}

static void *thread_run(void *arg)
{
    return arg;
}

/* What it is there for: threads, name resolution, sockets, reading files, memory. */
static int does_its_work(void)
{
    pthread_t thread;
    struct addrinfo *addresses = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    if (pthread_create(&thread, NULL, thread_run, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    if (getaddrinfo("localhost", "1", &hints, &addresses) != 0)
        return 2;
    freeaddrinfo(addresses);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const struct sockaddr_in nobody = {.sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || (connect(fd, (const struct sockaddr *)&nobody, sizeof(nobody)) != 0 &&
                   (errno == EPERM || errno == EACCES)))
        return 3;
    int file = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 4;
    void *block = malloc((size_t)64 << 20);
    if (block == NULL)
        return 5;
    free(block);
    return 0;
}

/* ---- Tests ------------------------------------------------------------------------------------
 */

static void what_speaking_to_the_network_takes_can_be_done(void **state)
{
    (void)state;
    assert_int_equal(inside(does_its_work), 0);
}

static void whoever_wants_to_run_something_is_ended(void **state)
{
    (void)state;
    assert_int_equal(inside(runs_a_program), -SIGSYS);
    assert_int_equal(inside(runs_a_program_by_descriptor), -SIGSYS);
    assert_int_equal(inside(follows_another_process), -SIGSYS);
    assert_int_equal(inside(reads_another_process), -SIGSYS);
    assert_int_equal(inside(mounts), -SIGSYS);
}

static void everything_else_is_refused(void **state)
{
    (void)state;
    static int (*const attempts[])(void) = {
        makes_a_process,
        writes_a_file,
        opens_one_to_append,
        makes_one_without_a_name,
        removes_a_file,
        makes_a_folder,
        signals_another_process,
        connects_to_a_local_socket,
        makes_a_raw_socket,
        listens,
        makes_code,
        makes_data_into_code,
        becomes_root,
        raises_its_limits,
    };
    for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
        int status = inside(attempts[i]);
        if (status != EPERM)
            fail_msg("attempt %zu: %d (%s)", i, status, status > 0 ? strerror(status) : "");
    }
}

static int tells_of_itself(void)
{
    char line[256], text[8192] = "";
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof(line), file))
        (void)strncat(text, line, sizeof(text) - strlen(text) - 1);
    if (!strstr(text, "NoNewPrivs:\t1") || !strstr(text, "Seccomp:\t2") ||
        !strstr(text, "CapEff:\t0000000000000000") || !strstr(text, "CapPrm:\t0000000000000000"))
        return 1;
    return getuid() == 0 || geteuid() == 0 || getgid() == 0;
}

static void it_has_no_privileges_left(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* there is nobody to become */
    assert_int_equal(inside(tells_of_itself), 0);
}

static void its_user_is_not_root(void **state)
{
    (void)state;
    struct sandbox_user user = {0};
    (void)sandbox_user_find(&user);
    assert_true(user.uid != 0 && user.gid != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_speaking_to_the_network_takes_can_be_done),
        cmocka_unit_test(whoever_wants_to_run_something_is_ended),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(it_has_no_privileges_left),
        cmocka_unit_test(its_user_is_not_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
