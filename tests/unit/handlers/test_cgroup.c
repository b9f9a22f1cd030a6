#include "handlers/cgroup.h"
#include "handlers/process.h"
#include "unit/handlers/support_run.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_agents_own_group_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *mountinfo, *groups, *mount, *own;
    } cases[] = {
        {"24 1 0:22 / /proc rw - proc proc rw\n"
         "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
         "0::/system.slice/kitsune-agent.service\n", "/sys/fs/cgroup",
         "/system.slice/kitsune-agent.service"},
        {"40 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
         "9:pids:/\n4:memory:/x\n0::/\n", "/sys/fs/cgroup/unified", "/"},
        {"31 24 0:27 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n", "0::/\n", NULL, NULL},
        {"31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "4:memory:/x\n", NULL, NULL},
        {"", "", NULL, NULL},
        {" - cgroup2 ", "0::", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char mount[PATH_MAX], own[PATH_MAX];
        bool found = cgroup_locate(cases[i].mountinfo, cases[i].groups, mount, own);
        assert_int_equal(found, cases[i].mount != NULL);
        if (!found)
            continue;
        assert_string_equal(mount, cases[i].mount);
        assert_string_equal(own, cases[i].own);
    }
}

static void limits_are_written_where_there_are_controllers(void **state)
{
    (void)state;
    struct bed bed;
    struct cgroup group = CGROUP_INIT;
    const struct cgroup_limits limits = {.memory_bytes = 1048576, .pids = 7};
    bed_open(&bed);
    (void)snprintf(group.path, sizeof(group.path), "%s", bed.dir);
    cgroup_limits_write(&group, &limits);
    assert_false(group.has_memory);
    assert_false(group.has_pids);
    bed_write(bed_path(&bed, "memory.max"), "");
    bed_write(bed_path(&bed, "memory.swap.max"), "");
    bed_write(bed_path(&bed, "pids.max"), "");
    cgroup_limits_write(&group, &limits);
    assert_true(group.has_memory);
    assert_true(group.has_pids);
    AUTO_FREE char *memory = bed_read(bed_path(&bed, "memory.max"));
    AUTO_FREE char *swap = bed_read(bed_path(&bed, "memory.swap.max"));
    AUTO_FREE char *pids = bed_read(bed_path(&bed, "pids.max"));
    assert_string_equal(memory, "1048576");
    assert_string_equal(swap, "0");
    assert_string_equal(pids, "7");
    const struct cgroup_limits none = {0};
    cgroup_limits_write(&group, &none);
    assert_false(group.has_memory);
    assert_false(group.has_pids);
    bed_close(&bed);
}

static void what_ran_out_of_memory_is_told(void **state)
{
    (void)state;
    struct bed bed;
    struct cgroup group = CGROUP_INIT;
    bed_open(&bed);
    (void)snprintf(group.path, sizeof(group.path), "%s", bed.dir);
    group.procs_fd = STDIN_FILENO; /* only that there is a group */
    assert_false(cgroup_was_out_of_memory(&group));
    bed_write(bed_path(&bed, "memory.events"), "low 0\nmax 12\noom 1\noom_kill 0\n");
    assert_false(cgroup_was_out_of_memory(&group));
    bed_write(bed_path(&bed, "memory.events"), "low 0\nmax 12\noom 1\noom_kill 2\n");
    assert_true(cgroup_was_out_of_memory(&group));
    bed_close(&bed);
}

static void a_group_that_an_earlier_agent_left_is_ended(void **state)
{
    (void)state;
    struct cgroup group = CGROUP_INIT;
    const struct cgroup_limits none = {0};
    struct stat st;
    char name[CGROUP_NAME_MAX];
    cgroup_name("test-mark-of-an-earlier-agent", name);
    if (cgroup_make(name, &none, &group, NULL) != ERR_OK)
        skip();
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (write(group.procs_fd, "0", 1) != 1 || write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    assert_int_equal(close(ready[1]), 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(close(ready[0]), 0);
    char kept[PATH_MAX];
    (void)snprintf(kept, sizeof(kept), "%s", group.path);
    /* The earlier agent is no more. */
    assert_int_equal(close(group.procs_fd), 0);
    int status = 0;
    /* What a restarted agent does; nothing but the group leads to it. */
    assert_int_equal(process_kill_marked("test-mark-of-an-earlier-agent"), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(stat(kept, &st), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_agents_own_group_is_found),
        cmocka_unit_test(limits_are_written_where_there_are_controllers),
        cmocka_unit_test(what_ran_out_of_memory_is_told),
        cmocka_unit_test(a_group_that_an_earlier_agent_left_is_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
