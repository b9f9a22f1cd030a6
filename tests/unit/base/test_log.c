#include "common/base/log.h"

#include "common/base/alloc.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Standard error, caught in memory while a test logs. */
struct capture {
    int memory_fd;
    int saved_fd;
    char text[4 * PIPE_BUF];
};

static void capture_begin(struct capture *c)
{
    c->memory_fd = memfd_create("stderr", MFD_CLOEXEC);
    c->saved_fd = dup(STDERR_FILENO);
    assert_true(c->memory_fd >= 0 && c->saved_fd >= 0);
    assert_int_equal(dup2(c->memory_fd, STDERR_FILENO), STDERR_FILENO);
}

static void capture_end(struct capture *c)
{
    int restored = dup2(c->saved_fd, STDERR_FILENO);
    ssize_t n = pread(c->memory_fd, c->text, sizeof(c->text) - 1, 0);
    (void)close(c->saved_fd);
    (void)close(c->memory_fd);
    assert_int_equal(restored, STDERR_FILENO);
    assert_true(n >= 0);
    c->text[n] = '\0';
}

/* The line from `from` on, where the time stamp is behind. */
static const char *after(const struct capture *c, const char *from)
{
    const char *at = strstr(c->text, from);
    assert_non_null(at);
    return at;
}

static void a_line_has_time_level_message_and_fields(void **state)
{
    (void)state;
    struct capture c;
    log_setup(LOG_LOGFMT, LOG_INFO);
    capture_begin(&c);
    log_info("agent connected", LOG_STR("server", "web-1"), LOG_INT("sessions", -3), LOG_END);
    capture_end(&c);
    assert_memory_equal(c.text, "ts=2", 4);
    assert_int_equal(c.text[3 + 24], ' ');
    assert_string_equal(after(&c, "level="),
                        "level=info msg=\"agent connected\" server=web-1 sessions=-3\n");
}

static void a_json_line_has_the_same(void **state)
{
    (void)state;
    struct capture c;
    log_setup(LOG_JSON, LOG_INFO);
    capture_begin(&c);
    log_warn("slow", LOG_STR("server", "web-1"), LOG_INT("ms", 12), LOG_END);
    capture_end(&c);
    assert_memory_equal(c.text, "{\"ts\":\"2", 8);
    assert_string_equal(after(&c, "\"level\""),
                        "\"level\":\"warn\",\"msg\":\"slow\",\"server\":\"web-1\",\"ms\":12}\n");
}

static void lines_below_the_level_are_dropped(void **state)
{
    (void)state;
    struct capture c;
    log_setup(LOG_LOGFMT, LOG_WARN);
    capture_begin(&c);
    log_debug("no", LOG_END);
    log_info("no", LOG_END);
    log_warn("warn", LOG_END);
    log_error("error", LOG_END);
    log_ready("http://127.0.0.1:7233");
    capture_end(&c);
    assert_null(strstr(c.text, "msg=no"));
    assert_non_null(strstr(c.text, "level=warn msg=warn\n"));
    assert_non_null(strstr(c.text, "level=error msg=error\nready http://127.0.0.1:7233\n"));
}

static void data_cannot_forge_a_field_or_a_line(void **state)
{
    (void)state;
    struct capture c;
    log_setup(LOG_LOGFMT, LOG_INFO);
    capture_begin(&c);
    log_info("x", LOG_STR("a", "1 level=error"), LOG_STR("b", "2\nts=0 level=error"),
             LOG_STR("c", "say \"hi\""), LOG_STR("d", "\x1B[2J\xC2\x9B"), LOG_STR("e", "k=v"),
             LOG_STR("f", NULL), LOG_STR("g", "caf\xC3\xA9\xFF"), LOG_END);
    capture_end(&c);
    assert_string_equal(after(&c, "msg="),
                        "msg=x a=\"1 level=error\" b=\"2\\nts=0 level=error\" "
                        "c=\"say \\\"hi\\\"\" d=\"\\u001b[2J\\u009b\" e=\"k=v\" f=\"\" "
                        "g=\"caf\xC3\xA9\xEF\xBF\xBD\"\n");
}

static void data_cannot_break_out_of_json(void **state)
{
    (void)state;
    struct capture c;
    log_setup(LOG_JSON, LOG_INFO);
    capture_begin(&c);
    log_info("x", LOG_STR("a", "\",\"level\":\"error\n"), LOG_STR("b", "\\"), LOG_STR("c", NULL),
             LOG_END);
    log_ready("one\nlevel=error");
    capture_end(&c);
    assert_string_equal(after(&c, "\"a\""),
                        "\"a\":\"\\\",\\\"level\\\":\\\"error\\n\",\"b\":\"\\\\\",\"c\":\"\"}\n"
                        "ready one\\nlevel=error\n");
}

static void a_long_line_is_cut_and_stays_well_formed(void **state)
{
    (void)state;
    static const char euro[] = "\xE2\x82\xAC";
    static char text[2 * PIPE_BUF];
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        text[i] = euro[i % 3];
    for (size_t shift = 0; shift < 3; shift++) {
        struct capture c;
        if (shift > 0)
            text[shift] = '"';
        log_setup(LOG_JSON, LOG_INFO);
        capture_begin(&c);
        log_info("x", LOG_STR("a", text + shift), LOG_STR("b", "gone"), LOG_INT("n", 1), LOG_END);
        capture_end(&c);
        size_t len = strlen(c.text);
        assert_true(len <= PIPE_BUF && len > PIPE_BUF - 16);
        assert_string_equal(c.text + len - 6, "...\"}\n");
        assert_null(strstr(c.text, "gone"));
    }
}

static void every_length_of_line_ends_properly(void **state)
{
    (void)state;
    static char text[PIPE_BUF];
    for (size_t len = PIPE_BUF - 120; len < PIPE_BUF - 1; len++) {
        struct capture c;
        memset(text, 'x', len);
        text[len] = '\0';
        log_setup(LOG_LOGFMT, LOG_INFO);
        capture_begin(&c);
        log_info("m", LOG_STR("a", text), LOG_STR("key", "two words"), LOG_INT("n", 12345),
                 LOG_END);
        capture_end(&c);
        size_t line_len = strlen(c.text);
        assert_true(line_len <= PIPE_BUF);
        assert_ptr_equal(strchr(c.text, '\n'), c.text + line_len - 1);
        size_t quotes = 0;
        for (const char *p = c.text; *p != '\0'; p++)
            quotes += *p == '"';
        assert_int_equal(quotes % 2, 0);
        /* No key without its value. */
        assert_int_not_equal(c.text[line_len - 2], '=');
        assert_int_not_equal(c.text[line_len - 2], ' ');
    }
}

static void logging_needs_no_memory_and_keeps_errno(void **state)
{
    (void)state;
    struct capture c;
    log_setup(LOG_LOGFMT, LOG_INFO);
    capture_begin(&c);
    mem_fail_after(0);
    errno = ENOSPC;
    log_error("out of memory", LOG_END);
    int kept = errno;
    uint64_t failed = mem_fail_count();
    mem_fail_never();
    capture_end(&c);
    assert_int_equal(kept, ENOSPC);
    assert_int_equal(failed, 0);
    assert_non_null(strstr(c.text, "msg=\"out of memory\"\n"));
}

static void formats_and_levels_have_names(void **state)
{
    (void)state;
    enum log_format format = LOG_LOGFMT;
    enum log_level level = LOG_DEBUG;
    assert_true(log_format_parse("json", &format));
    assert_int_equal(format, LOG_JSON);
    assert_true(log_format_parse("logfmt", &format));
    assert_int_equal(format, LOG_LOGFMT);
    assert_false(log_format_parse("xml", &format));
    assert_true(log_level_parse("error", &level));
    assert_int_equal(level, LOG_ERROR);
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_false(log_level_parse("INFO", &level));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_message_and_fields),
        cmocka_unit_test(a_json_line_has_the_same),
        cmocka_unit_test(lines_below_the_level_are_dropped),
        cmocka_unit_test(data_cannot_forge_a_field_or_a_line),
        cmocka_unit_test(data_cannot_break_out_of_json),
        cmocka_unit_test(a_long_line_is_cut_and_stays_well_formed),
        cmocka_unit_test(every_length_of_line_ends_properly),
        cmocka_unit_test(logging_needs_no_memory_and_keeps_errno),
        cmocka_unit_test(formats_and_levels_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
