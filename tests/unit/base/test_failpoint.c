#include "common/base/failpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#ifdef KITSUNE_FAILPOINTS

static enum error_code setup_with(const char *text, struct error *err)
{
    assert_int_equal(setenv("KITSUNE_FAILPOINT", text, 1), 0);
    enum error_code code = failpoint_setup(err);
    assert_int_equal(unsetenv("KITSUNE_FAILPOINT"), 0);
    return code;
}

/* How a process ends that passes a point so many times; it is set up by the text. */
static int child_status(const char *text, enum failpoint point, int passes)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (setup_with(text, NULL) != ERR_OK)
            _exit(100);
        for (int i = 0; i < passes; i++)
            FAILPOINT(point);
        exit(0); /* what is registered for the exit is to be done */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void nothing_is_wanted_by_default(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(setup_with("", &err), ERR_OK);
    FAILPOINT(FAIL_NET_SENT);
    assert_false(FAILPOINT_FAILS(FAIL_WRITER_COMMIT));
}

static void a_process_dies_at_the_nth_pass_and_not_before(void **state)
{
    (void)state;
    int status = child_status("agent.undo.begun=kill@3", FAIL_AGENT_UNDO_BEGUN, 3);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    status = child_status("agent.undo.begun=kill@3", FAIL_AGENT_UNDO_BEGUN, 2);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    status = child_status("agent.undo.begun=kill@3", FAIL_AGENT_UNDO_ENDED, 5);
    assert_true(WIFEXITED(status));
}

static void a_point_fails_at_the_nth_pass_alone(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int failed = 0;
        if (setup_with("writer.commit=error@2", NULL) != ERR_OK)
            _exit(100);
        for (int i = 0; i < 4; i++)
            failed = failed * 2 + FAILPOINT_FAILS(FAIL_WRITER_COMMIT);
        _exit(failed);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 4); /* 0100 */
}

static void the_passes_are_counted_until_the_exit(void **state)
{
    (void)state;
    char path[] = "/tmp/kitsune-failpoint-XXXXXX";
    char text[64];
    char line[128];
    int points = 0;
    bool found = false;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)snprintf(text, sizeof(text), "count:%s", path);
    int status = child_status(text, FAIL_AGENT_EXPIRE, 7);
    assert_true(WIFEXITED(status));
    FILE *file = fdopen(fd, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        points++;
        found = found || strcmp(line, "agent.expire.between 7\n") == 0;
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(points, FAILPOINT_COUNT);
    assert_true(found);
}

static void what_does_not_exist_is_refused_and_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"agent.undo.begin=kill@1", "\"agent.undo.begin\" (did you mean \"agent.undo.begun\"?)"},
        {"writer.commi=kill@1", "\"writer.commi\""},
        {"qqqq=kill@1", "no failpoint \"qqqq\""},
        {"net.sent", "not NAME=kill@N"},
        {"net.sent=die@1", "\"die@1\" is neither"},
        {"net.sent=kill@0", "\"kill@0\" is neither"},
        {"net.sent=kill@", "\"kill@\" is neither"},
        {"net.sent=kill@-1", "\"kill@-1\" is neither"},
        {"net.sent=kill@1x", "\"kill@1x\" is neither"},
        {"net.sent=error@1", "\"net.sent\" cannot be told to fail"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {0};
        assert_int_equal(setup_with(cases[i].text, &err), ERR_INVALID);
        if (strstr(err.message, cases[i].said) == NULL)
            fail_msg("%s: %s", cases[i].text, err.message);
    }
}

int main(void)
{
    /* Those that leave passes or a wish behind in this process come last. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_dies_at_the_nth_pass_and_not_before),
        cmocka_unit_test(a_point_fails_at_the_nth_pass_alone),
        cmocka_unit_test(the_passes_are_counted_until_the_exit),
        cmocka_unit_test(nothing_is_wanted_by_default),
        cmocka_unit_test(what_does_not_exist_is_refused_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void without_them_nothing_is_read_and_nothing_happens(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(setenv("KITSUNE_FAILPOINT", "net.sent=kill@1", 1), 0);
    assert_int_equal(failpoint_setup(&err), ERR_OK);
    FAILPOINT(FAIL_NET_SENT);
    assert_false(FAILPOINT_FAILS(FAIL_WRITER_COMMIT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_them_nothing_is_read_and_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
