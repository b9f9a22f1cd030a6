#include "orchestrator/cli/install/child.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

extern char **environ;

enum { PRINTED_MAX = 256 * 1024 };

struct ends {
    int in, out, err; /* -1: as this program's */
};

static enum error_code spawn(const char *const argv[], const struct ends *ends, pid_t *ret_pid,
                             struct error *err)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return error_set(err, ERR_NO_MEMORY, NULL);
    const int from[] = {ends->in, ends->out, ends->err};
    int number = 0;
    for (int to = 0; to < (int)ARRAY_LEN(from) && number == 0; to++) {
        if (from[to] >= 0)
            number = posix_spawn_file_actions_adddup2(&actions, from[to], to);
    }
    /* posix_spawn takes the words as ones that could be written to, and does not. */
    union {
        const char *const *in;
        char *const *out;
    } words = {argv};
    if (number == 0)
        number = posix_spawnp(ret_pid, argv[0], &actions, NULL, words.out, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (number == ENOENT)
        return error_set(err, ERR_NOT_FOUND, "there is no program %s", argv[0]);
    return number == 0 ? ERR_OK : error_errno(err, number, "cannot start %s", argv[0]);
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* Reads both to their ends; what is more than PRINTED_MAX is read and let go. */
static void collect(int out_fd, int err_fd, struct buf *out, struct buf *complaint)
{
    struct pollfd fds[] = {{.fd = out_fd, .events = POLLIN}, {.fd = err_fd, .events = POLLIN}};
    struct buf *bufs[] = {out, complaint};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
            return;
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
            char data[4096];
            if (fds[i].fd < 0 || !(fds[i].revents & (POLLIN | POLLHUP | POLLERR)))
                continue;
            ssize_t len = read(fds[i].fd, data, sizeof(data));
            if (len <= 0)
                fds[i].fd = -1;
            else if (bufs[i] && bufs[i]->len < PRINTED_MAX)
                buf_append(bufs[i], data, (size_t)len);
        }
    }
}

enum error_code child_run(const char *const argv[], struct buf *out, struct buf *complaint,
                          int *ret_status, struct error *err)
{
    int out_pipe[2] = {-1, -1};
    int err_pipe[2] = {-1, -1};
    pid_t pid = 0;
    AUTO_CLOSE int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (pipe2(out_pipe, O_CLOEXEC) != 0)
        return error_errno(err, errno, "cannot make a pipe");
    AUTO_CLOSE int out_fd = out_pipe[0];
    if (complaint && pipe2(err_pipe, O_CLOEXEC) != 0) {
        (void)close(out_pipe[1]);
        return error_errno(err, errno, "cannot make a pipe");
    }
    AUTO_CLOSE int err_fd = err_pipe[0];
    const struct ends ends = {null, out_pipe[1], err_pipe[1]};
    enum error_code code = spawn(argv, &ends, &pid, err);
    (void)close(out_pipe[1]);
    if (err_pipe[1] >= 0)
        (void)close(err_pipe[1]);
    if (code != ERR_OK)
        return code;
    collect(out_fd, err_fd, out, complaint);
    *ret_status = wait_for(pid);
    return ERR_OK;
}

enum error_code child_connect(const char *const argv[], int *ret_fd, pid_t *ret_pid,
                              struct error *err)
{
    int pair[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return error_errno(err, errno, "cannot make a socket");
    const struct ends ends = {pair[1], pair[1], -1};
    enum error_code code = spawn(argv, &ends, ret_pid, err);
    (void)close(pair[1]);
    if (code != ERR_OK) {
        (void)close(pair[0]);
        return code;
    }
    *ret_fd = pair[0];
    return ERR_OK;
}

void child_end(pid_t pid)
{
    (void)kill(pid, SIGTERM);
    (void)wait_for(pid);
}
