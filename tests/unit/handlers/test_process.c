#include "handlers/process.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/clock.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct seen {
    struct buf output;
    int exited;
    int64_t exit_code;
    int signal;
};

static void take_output(void *ctx, const char *data, size_t len)
{
    struct seen *seen = ctx;
    buf_append(&seen->output, data, len);
}

static void take_exit(void *ctx, int64_t exit_code, int signal)
{
    struct seen *seen = ctx;
    seen->exited++;
    seen->exit_code = exit_code;
    seen->signal = signal;
}

/* A mark that no other test program running now uses. */
static const char *own_mark(void)
{
    static char mark[64];
    (void)snprintf(mark, sizeof(mark), "test-process-%d", (int)getpid());
    return mark;
}

static struct process_config config_of(uv_loop_t *loop, struct seen *seen, const char *program,
                                       const char *const *args)
{
    return (struct process_config){
        .loop = loop,
        .program = program,
        .args = args,
        .mark = own_mark(),
        .kill_grace_ms = 300,
        .ctx = seen,
        .output = take_output,
        .exited = take_exit,
    };
}

static void a_given_variable_replaces_the_agents(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct seen seen = {0};
    struct process *process = NULL;
    const char *const args[] = {"-c", "echo $PATH; env | grep -c ^PATH=; echo $KITSUNE_RUN", NULL};
    const char *const env[] = {"PATH=/bin:/usr/bin:/replaced", NULL};
    char expected[128];
    assert_int_equal(uv_loop_init(&loop), 0);
    struct process_config config = config_of(&loop, &seen, "sh", args);
    config.env = env;
    assert_int_equal(process_start(&config, &process, NULL), ERR_OK);
    assert_true(process_pid(process) > 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(seen.exited, 1);
    assert_int_equal(seen.exit_code, 0);
    (void)snprintf(expected, sizeof(expected), "/bin:/usr/bin:/replaced\n1\n%s\n", own_mark());
    assert_string_equal(seen.output.data, expected);
    buf_done(&seen.output);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void it_runs_in_the_folder_that_is_named(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct seen seen = {0};
    struct process *process = NULL;
    struct error err = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    struct process_config config = config_of(&loop, &seen, "pwd", NULL);
    config.cwd = "/usr";
    assert_int_equal(process_start(&config, &process, &err), ERR_OK);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_string_equal(seen.output.data, "/usr\n");
    config.cwd = "/no/such/folder";
    assert_int_equal(process_start(&config, &process, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "/no/such/folder"));
    buf_done(&seen.output);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void it_leads_a_session_of_its_own(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct seen seen = {0};
    struct process *process = NULL;
    /* pid, parent, group and session of the shell. */
    const char *const args[] = {"-c", "read a b c d e f g </proc/self/stat; echo $a $e $f", NULL};
    char expected[64];
    assert_int_equal(uv_loop_init(&loop), 0);
    struct process_config config = config_of(&loop, &seen, "sh", args);
    assert_int_equal(process_start(&config, &process, NULL), ERR_OK);
    int pid = process_pid(process);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    (void)snprintf(expected, sizeof(expected), "%d %d %d\n", pid, pid, pid);
    assert_string_equal(seen.output.data, expected);
    buf_done(&seen.output);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void without_descriptors_the_start_fails_and_can_be_tried_again(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct seen seen = {0};
    struct process *process = NULL;
    struct error err = {0};
    struct rlimit old, limit;
    enum error_code code = ERR_UNAVAILABLE;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct process_config config = config_of(&loop, &seen, "true", NULL);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    rlim_t room = 0;
    for (; room < 64 && code != ERR_OK; room++) {
        limit = old;
        limit.rlim_cur = room;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        code = process_start(&config, &process, &err);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        if (code != ERR_OK)
            assert_int_equal(code, ERR_UNAVAILABLE);
        else
            assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    }
    assert_int_equal(code, ERR_OK);
    assert_true(room > 1);
    assert_int_equal(seen.exited, 1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    buf_done(&seen.output);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_process_outside_of_the_tree_cannot_hold_the_end_up(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct seen seen = {0};
    struct process *process = NULL;
    /* The pipe's writing end is handed to a process that was there before. */
    int fds[2];
    char path[64];
    const char *const args[] = {"-c", "ls -l /proc/$$/fd/1 >/dev/null; echo mine; read line <$0",
                                path, NULL};
    assert_int_equal(pipe(fds), 0);
    (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fds[0]);
    assert_int_equal(uv_loop_init(&loop), 0);
    struct process_config config = config_of(&loop, &seen, "sh", args);
    assert_int_equal(process_start(&config, &process, NULL), ERR_OK);
    char theirs[64];
    (void)snprintf(theirs, sizeof(theirs), "/proc/%d/fd/1", process_pid(process));
    FILE *held = fopen(theirs, "we");
    assert_non_null(held);
    assert_int_equal(write(fds[1], "\n", 1), 1);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(seen.exited, 1);
    assert_string_equal(seen.output.data, "mine\n");
    assert_int_equal(fclose(held), 0);
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(close(fds[1]), 0);
    buf_done(&seen.output);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static pid_t start_sleeper(const char *variable)
{
    char sleep_name[] = "sleep", time[] = "1000", text[128];
    char *args[] = {sleep_name, time, NULL};
    char *env[] = {text, NULL};
    pid_t pid = 0;
    (void)snprintf(text, sizeof(text), "%s", variable);
    assert_int_equal(posix_spawnp(&pid, sleep_name, NULL, NULL, args, env), 0);
    return pid;
}

static void what_carries_the_mark_is_killed_and_nothing_else(void **state)
{
    (void)state;
    char marked[128], longer[128], other_name[128];
    siginfo_t info = {0};
    (void)snprintf(marked, sizeof(marked), "KITSUNE_RUN=%s", own_mark());
    (void)snprintf(longer, sizeof(longer), "KITSUNE_RUN=%s0", own_mark());
    (void)snprintf(other_name, sizeof(other_name), "NOT_KITSUNE_RUN=%s", own_mark());
    pid_t first = start_sleeper(marked), second = start_sleeper(marked);
    pid_t third = start_sleeper(longer), fourth = start_sleeper(other_name);
    assert_int_equal(process_kill_marked(own_mark()), 2);
    assert_int_equal(waitid(P_PID, (id_t)first, &info, WEXITED), 0);
    assert_int_equal(info.si_status, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)second, &info, WEXITED), 0);
    assert_int_equal(info.si_status, SIGKILL);
    assert_int_equal(waitpid(third, NULL, WNOHANG), 0);
    assert_int_equal(waitpid(fourth, NULL, WNOHANG), 0);
    assert_int_equal(process_kill_marked(own_mark()), 0);
    assert_int_equal(kill(third, SIGKILL), 0);
    assert_int_equal(kill(fourth, SIGKILL), 0);
    assert_int_equal(waitpid(third, NULL, 0), third);
    assert_int_equal(waitpid(fourth, NULL, 0), fourth);
}

static void release(uv_timer_t *timer)
{
    assert_int_equal(write(*(const int *)timer->data, "\n", 1), 1);
    uv_close((uv_handle_t *)timer, NULL);
}

/* What could not be told at first is found to be of the tree while the program's others are given
 * their time; that time has an end all the same. */
static void a_process_that_is_found_late_is_ended_too(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct seen seen = {0};
    struct process *process = NULL;
    char script[128];
    char name[] = "sh", option[] = "-c";
    char *args[] = {name, option, script, NULL};
    char *env[] = {NULL};
    int fds[2], status = 0;
    pid_t late = 0;
    uv_timer_t timer = {.data = &fds[1]};
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    struct process_config config = config_of(&loop, &seen, "true", NULL);
    assert_int_equal(process_start(&config, &process, NULL), ERR_OK);
    /* It has no environment until the timer lets it go on, and the mark then. */
    (void)snprintf(script, sizeof(script), "read line; exec env KITSUNE_RUN=%s sleep 20",
                   own_mark());
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, fds[0], STDIN_FILENO), 0);
    assert_int_equal(posix_spawnp(&late, name, &actions, NULL, args, env), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    assert_int_equal(uv_timer_init(&loop, &timer), 0);
    assert_int_equal(uv_timer_start(&timer, release, 30, 0), 0);
    int64_t begin = clock_mono_ms();
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(seen.exited, 1);
    assert_true(clock_mono_ms() - begin < 10000);
    /* On a machine so busy that it got its mark too late to be found it lives still. */
    (void)kill(late, SIGKILL);
    assert_int_equal(waitpid(late, &status, 0), late);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(close(fds[1]), 0);
    buf_done(&seen.output);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_given_variable_replaces_the_agents),
        cmocka_unit_test(it_runs_in_the_folder_that_is_named),
        cmocka_unit_test(it_leads_a_session_of_its_own),
        cmocka_unit_test(without_descriptors_the_start_fails_and_can_be_tried_again),
        cmocka_unit_test(a_process_outside_of_the_tree_cannot_hold_the_end_up),
        cmocka_unit_test(what_carries_the_mark_is_killed_and_nothing_else),
        cmocka_unit_test(a_process_that_is_found_late_is_ended_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
