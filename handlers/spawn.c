#include "handlers/spawn.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/account.h"
#include "handlers/proctree.h"
#include "handlers/spawn_forked.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static bool same_variable(const char *a, const char *b)
{
    size_t len = strcspn(a, "=");
    return strncmp(a, b, len) == 0 && b[len] == '=';
}

static bool overridden(const char *variable, const char *const *env)
{
    for (size_t i = 0; env && env[i]; i++) {
        if (same_variable(env[i], variable))
            return true;
    }
    return same_variable(PROCTREE_MARK_VARIABLE, variable);
}

/* The mark first, so that a scan sees it soon. The strings are borrowed. */
static char **environment_new(const char *mark_variable, const char *const *env)
{
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    for (size_t i = 0; env && env[i]; i++)
        count++;
    void *memory = mem_array(count + 2, sizeof(char *));
    const char **all = memory;
    if (!memory)
        return NULL;
    all[kept++] = mark_variable;
    for (size_t i = 0; env && env[i]; i++)
        all[kept++] = env[i];
    for (size_t i = 0; environ[i]; i++) {
        if (!overridden(environ[i], env))
            all[kept++] = environ[i];
    }
    return memory;
}

static char **arguments_new(const struct process_config *config)
{
    size_t count = 0;
    while (config->args && config->args[count])
        count++;
    void *memory = mem_array(count + 2, sizeof(char *));
    const char **all = memory;
    if (!memory)
        return NULL;
    all[0] = config->program;
    for (size_t i = 0; i < count; i++)
        all[i + 1] = config->args[i];
    return memory;
}

static enum error_code spawn_error(const struct process_config *config, int errnum,
                                   struct error *err)
{
    const char *program = config->program;
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
        if (config->cwd && access(config->cwd, X_OK) != 0)
            return error_set(err, ERR_NOT_FOUND, "%s: no such folder to run %s in", config->cwd,
                             program);
        if (strchr(program, '/') && access(program, F_OK) == 0)
            return error_set(err, ERR_NOT_FOUND, "%s: the interpreter it asks for does not exist",
                             program);
        return error_set(err, ERR_NOT_FOUND, "%s: no such program", program);
    case EACCES:
    case EPERM:
        if (config->setup && config->setup->user)
            return error_set(err, ERR_DENIED, "%s: not allowed to run it as %s%s%s", program,
                             config->setup->user->name, config->cwd ? " in " : "",
                             config->cwd ? config->cwd : "");
        return error_set(err, ERR_DENIED, "%s: not allowed to run it (is it executable?)", program);
    case ENOEXEC:
        return error_set(err, ERR_INVALID, "%s: not a program, and no #! line says what runs it",
                         program);
    case E2BIG:
        return error_set(err, ERR_LIMIT, "%s: arguments and environment are too long", program);
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return error_set(err, ERR_UNAVAILABLE, "%s: cannot start it now: %s", program,
                         strerror(errnum));
    default:
        return error_errno(err, errnum, "%s", program);
    }
}

/* `out_fd` becomes both its output and its error stream, so that their order is kept. */
static int spawn(const struct process_config *config, int out_fd, char **args, char **env,
                 pid_t *ret_pid)
{
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigset_t all, none;
    int rc = posix_spawnattr_init(&attributes);
    if (rc != 0)
        return rc;
    rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        (void)posix_spawnattr_destroy(&attributes);
        return rc;
    }
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETSIGMASK);

    rc = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, out_fd, STDERR_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_addchdir_np(&actions, config->cwd ? config->cwd : "/");
    if (rc == 0)
        rc = posix_spawnp(ret_pid, config->program, &actions, &attributes, args, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    return rc;
}

/* The pipe's writing end is none of 0 to 2, which are set one after the other in the child. */
static enum error_code pipe_open(int *ret_read_fd, int *ret_write_fd, struct error *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return error_set(err, ERR_UNAVAILABLE, "cannot make a pipe: %s", strerror(errno));
    int write_fd = fcntl(fds[1], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int errnum = errno;
    (void)close(fds[1]);
    if (write_fd < 0) {
        (void)close(fds[0]);
        return error_set(err, ERR_UNAVAILABLE, "cannot make a pipe: %s", strerror(errnum));
    }
    *ret_read_fd = fds[0];
    *ret_write_fd = write_fd;
    return ERR_OK;
}

enum error_code spawn_program(const struct process_config *config, const char *mark_variable,
                              pid_t *ret_pid, int *ret_output_fd, struct error *err)
{
    AUTO_CLOSE int read_fd = -1;
    AUTO_CLOSE int write_fd = -1;
    AUTO_FREE char **args = arguments_new(config);
    AUTO_FREE char **env = environment_new(mark_variable, config->env);
    if (!args || !env)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = pipe_open(&read_fd, &write_fd, err);
    if (code != ERR_OK)
        return code;
    int rc = config->setup ? spawn_forked(config, write_fd, args, env, ret_pid)
                           : spawn(config, write_fd, args, env, ret_pid);
    if (rc != 0)
        return spawn_error(config, rc, err);
    *ret_output_fd = read_fd;
    read_fd = -1;
    return ERR_OK;
}
