#include "handlers/outputs.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What a script would have appended. */
static void put(const struct outputs *o, const char *text, size_t len)
{
    int fd = open(o->path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    (void)close(fd);
}

static void gives(const char *text, const char *json)
{
    struct outputs o = OUTPUTS_INIT;
    struct error err = {0};
    char *read = NULL;
    assert_int_equal(outputs_open(&o, "a.r.s", (uid_t)-1, &err), ERR_OK);
    put(&o, text, strlen(text));
    assert_int_equal(outputs_read(&o, &read, &err), ERR_OK);
    if (json)
        assert_string_equal(read, json);
    else
        assert_null(read);
    mem_free(read);
    outputs_close(&o);
}

static void refuses(const char *text, size_t len, enum error_code code, const char *message)
{
    struct outputs o = OUTPUTS_INIT;
    struct error err = {0};
    char *read = NULL;
    assert_int_equal(outputs_open(&o, "a.r.s", (uid_t)-1, &err), ERR_OK);
    put(&o, text, len);
    assert_int_equal(outputs_read(&o, &read, &err), code);
    assert_null(read);
    if (!strstr(err.message, message))
        fail_msg("\"%s\" does not say \"%s\"", err.message, message);
    outputs_close(&o);
}

static void lines_are_values_and_the_last_of_a_name_counts(void **state)
{
    (void)state;
    gives("a=1\nb-c=x = y\n\na=2", "{\"a\":\"2\",\"b-c\":\"x = y\"}");
    gives("empty=\n", "{\"empty\":\"\"}");
    gives("", NULL);
    gives("\n\n", NULL);
}

static void what_is_no_value_is_told_with_its_line(void **state)
{
    (void)state;
    refuses("a=1\nno name\n", 12, ERR_INVALID, "line 2: must be NAME=VALUE");
    refuses("=x\n", 3, ERR_INVALID, "line 1");
    refuses("a.b=x\n", 6, ERR_INVALID, "line 1");
    refuses("a=\xff\n", 4, ERR_INVALID, "UTF-8");
    refuses("a=\0b\n", 5, ERR_INVALID, "UTF-8");
}

static void too_much_is_refused(void **state)
{
    static char text[OUTPUTS_MAX_BYTES + 8];
    (void)state;
    memset(text, 'x', sizeof(text));
    memcpy(text, "a=", 2);
    refuses(text, sizeof(text), ERR_LIMIT, "65536");
}

static void each_attempt_has_a_file_of_its_own_and_none_is_left(void **state)
{
    struct outputs o = OUTPUTS_INIT;
    struct error err = {0};
    char first[OUTPUTS_PATH_MAX], second[OUTPUTS_PATH_MAX];
    char *read = NULL;
    (void)state;
    assert_int_equal(outputs_open(&o, "a.r.s", getuid(), &err), ERR_OK);
    put(&o, "a=1\n", 4);
    memcpy(first, o.path, sizeof(first));
    assert_int_equal(outputs_open(&o, "a.r.s", getuid(), &err), ERR_OK);
    memcpy(second, o.path, sizeof(second));
    assert_int_equal(access(first, F_OK), -1);
    assert_int_equal(outputs_read(&o, &read, &err), ERR_OK);
    assert_null(read);
    outputs_close(&o);
    assert_int_equal(access(second, F_OK), -1);
    outputs_close(&o);
    assert_int_equal(outputs_read(&o, &read, &err), ERR_OK);
    assert_null(read);
}

static void what_a_dead_agent_left_of_that_step_is_removed(void **state)
{
    struct outputs left = OUTPUTS_INIT;
    struct outputs other = OUTPUTS_INIT;
    struct error err = {0};
    (void)state;
    assert_int_equal(outputs_open(&left, "a.r.s", (uid_t)-1, &err), ERR_OK);
    assert_int_equal(outputs_open(&other, "a.r.t", (uid_t)-1, &err), ERR_OK);
    outputs_clean("a.r.s");
    assert_int_equal(access(left.path, F_OK), -1);
    assert_int_equal(access(other.path, F_OK), 0);
    outputs_close(&left);
    outputs_close(&other);
}

static void what_the_path_leads_to_by_then_is_not_read(void **state)
{
    struct outputs o = OUTPUTS_INIT;
    struct error err = {0};
    char *read = NULL;
    (void)state;
    assert_int_equal(outputs_open(&o, "a.r.s", (uid_t)-1, &err), ERR_OK);
    put(&o, "a=1\n", 4);
    assert_int_equal(unlink(o.path), 0);
    assert_int_equal(symlink("/etc/passwd", o.path), 0);
    assert_int_equal(outputs_read(&o, &read, &err), ERR_OK);
    assert_string_equal(read, "{\"a\":\"1\"}");
    mem_free(read);
    outputs_close(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_values_and_the_last_of_a_name_counts),
        cmocka_unit_test(what_is_no_value_is_told_with_its_line),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(each_attempt_has_a_file_of_its_own_and_none_is_left),
        cmocka_unit_test(what_a_dead_agent_left_of_that_step_is_removed),
        cmocka_unit_test(what_the_path_leads_to_by_then_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
