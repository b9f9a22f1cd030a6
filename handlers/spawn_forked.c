#include "handlers/spawn_forked.h"

#include "common/base/cleanup.h"
#include "handlers/account.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TEXT_FD = STDERR_FILENO + 1,
    FAILURE_FD = TEXT_FD + 1, /* where the child says why it could not; closed by exec */
    ABOVE_FD = 16             /* no descriptor that is moved down lies in the way of another */
};

struct child {
    const struct process_config *config;
    int out_fd, failure_fd;
    char **args, **env;
};

/* All of the following runs in the child, between fork and exec: only functions that are safe in a
 * signal handler, and no memory is allocated. */

static bool signals_reset(void)
{
    const struct sigaction by_default = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &by_default, NULL); /* of two there is nothing to be set */
    return true;
}

static bool descriptor_raise(int *fd)
{
    if (*fd < 0)
        return true;
    *fd = fcntl(*fd, F_DUPFD_CLOEXEC, ABOVE_FD);
    return *fd >= 0;
}

static bool descriptors_set(struct child *c, const struct process_setup *setup, int *ret_procs_fd)
{
    int in_fd = setup->stdin_fd >= 0 ? setup->stdin_fd : open("/dev/null", O_RDONLY | O_CLOEXEC);
    int text_fd = setup->text_fd;
    int procs_fd = setup->procs_fd;
    if (in_fd < 0 || !descriptor_raise(&c->failure_fd) || !descriptor_raise(&in_fd) ||
        !descriptor_raise(&text_fd) || !descriptor_raise(&procs_fd) ||
        !descriptor_raise(&c->out_fd))
        return false;
    *ret_procs_fd = procs_fd;
    return dup2(in_fd, STDIN_FILENO) >= 0 && dup2(c->out_fd, STDOUT_FILENO) >= 0 &&
           dup2(c->out_fd, STDERR_FILENO) >= 0 && (text_fd < 0 || dup2(text_fd, TEXT_FD) >= 0);
}

static bool limit_set(__rlimit_resource_t resource, int64_t soft, int64_t hard)
{
    const struct rlimit limit = {.rlim_cur = (rlim_t)soft, .rlim_max = (rlim_t)hard};
    return soft == 0 || setrlimit(resource, &limit) == 0;
}

/* A second after the time is over it is killed, should it have taken the signal for it. */
static bool limits_set(const struct process_setup *setup)
{
    return limit_set(RLIMIT_AS, setup->address_space_bytes, setup->address_space_bytes) &&
           limit_set(RLIMIT_NPROC, setup->pids, setup->pids) &&
           limit_set(RLIMIT_CPU, setup->cpu_seconds, setup->cpu_seconds + 1);
}

/* The system calls themselves: the library's functions would have all threads follow, of which the
 * child has none. */
static bool user_set(const struct account *user)
{
    if (!user)
        return true;
    /* Who is that user already needs no right for it. */
    if (geteuid() != 0 && user->uid == geteuid())
        return true;
    return syscall(SYS_setgroups, user->groups_count, user->groups) == 0 &&
           syscall(SYS_setresgid, user->gid, user->gid, user->gid) == 0 &&
           syscall(SYS_setresuid, user->uid, user->uid, user->uid) == 0;
}

static bool child_set_up(struct child *c)
{
    const struct process_config *config = c->config;
    const struct process_setup *setup = config->setup;
    sigset_t none;
    int procs_fd = -1;
    if (setsid() < 0 || !signals_reset() || !descriptors_set(c, setup, &procs_fd))
        return false;
    if (procs_fd >= 0 && write(procs_fd, "0", 1) != 1)
        return false;
    if (setup->umask >= 0)
        (void)umask((mode_t)setup->umask);
    if (!limits_set(setup) || !user_set(setup->user) || chdir(config->cwd ? config->cwd : "/") != 0)
        return false;
    if (dup3(c->failure_fd, FAILURE_FD, O_CLOEXEC) < 0)
        return false;
    c->failure_fd = FAILURE_FD;
    if (setup->text_fd < 0)
        (void)close(TEXT_FD);
    closefrom(FAILURE_FD + 1);
    (void)sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) == 0;
}

__attribute__((noreturn)) static void child_run(struct child *c)
{
    int errnum = 0;
    if (child_set_up(c))
        (void)execvpe(c->config->program, c->args, c->env);
    errnum = errno;
    /* The parent reads an end without a number as a failure of its own kind. */
    (void)(write(c->failure_fd, &errnum, sizeof(errnum)) == (ssize_t)sizeof(errnum));
    _exit(127);
}

/* ---- The parent -------------------------------------------------------------------------- */

/* 0: the program runs. */
static int failure_read(int fd)
{
    int errnum = 0;
    ssize_t len = 0;
    do {
        len = read(fd, &errnum, sizeof(errnum));
    } while (len < 0 && errno == EINTR);
    if (len == 0)
        return 0;
    return len == (ssize_t)sizeof(errnum) && errnum != 0 ? errnum : EIO;
}

int spawn_forked(const struct process_config *config, int out_fd, char **args, char **env,
                 pid_t *ret_pid)
{
    sigset_t all, before;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return errno;
    AUTO_CLOSE int read_fd = fds[0];
    struct child child = {
        .config = config, .out_fd = out_fd, .failure_fd = fds[1], .args = args, .env = env};
    /* A handler of the agent's must not run in the child. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    int errnum = errno;
    if (pid == 0)
        child_run(&child);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)close(fds[1]);
    if (pid < 0)
        return errnum;
    errnum = failure_read(read_fd);
    if (errnum != 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        return errnum;
    }
    *ret_pid = pid;
    return 0;
}
