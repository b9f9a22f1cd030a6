#include "systemd/support_systemd.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { OUTPUT_MAX = 16384, OUTPUTS = 4 };

struct bed bed;

int open_bed(void **state)
{
    (void)state;
    bed_open(&bed);
    return 0;
}

int close_bed(void **state)
{
    (void)state;
    bed_close(&bed);
    units_remove("t.service other.service");
    return 0;
}

const char *shell(const char *fmt, ...)
{
    static char outputs[OUTPUTS][OUTPUT_MAX];
    static size_t next;
    char command[2048];
    char *output = outputs[next++ % OUTPUTS];
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    assert_true(wanted > 0 && wanted < (int)sizeof(command));
    FILE *pipe = popen(command, "re");
    assert_non_null(pipe);
    size_t len = fread(output, 1, OUTPUT_MAX - 1, pipe);
    (void)pclose(pipe);
    while (len > 0 && output[len - 1] == '\n')
        len--;
    output[len] = '\0';
    return output;
}

void unit_write(const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "/etc/systemd/system/%s", name);
    bed_write(path, text);
}

void unit_add(const char *name, const char *text)
{
    unit_write(name, text);
    assert_string_equal(shell("systemctl daemon-reload 2>&1"), "");
}

void units_remove(const char *names)
{
    (void)shell("systemctl stop %s 2>&1; cd /etc/systemd/system && rm -f %s; "
                "cd /run/systemd/system && rm -f %s; systemctl daemon-reload; "
                "systemctl reset-failed",
                names, names, names);
}

const char *unit_property(const char *unit, const char *property)
{
    return shell("systemctl show -p %s --value %s", property, unit);
}

void assert_active(const char *unit)
{
    assert_string_equal(unit_property(unit, "ActiveState"), "active");
}

void assert_inactive(const char *unit)
{
    assert_string_equal(unit_property(unit, "ActiveState"), "inactive");
}

const char *links_list(void)
{
    return shell("find /etc/systemd/system -type l -printf '%%p %%l\\n' -o -type d -print | sort");
}

void must(enum handler_operation operation, const char *params)
{
    bed_run(&bed, "service", operation, params);
    if (bed.result.outcome != HANDLER_OK)
        fail_msg("%s: %s\n%s", params, bed.result.message, bed.output.data ? bed.output.data : "");
}

void must_fail(enum handler_operation operation, const char *params, const char *message)
{
    bed_run(&bed, "service", operation, params);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    if (!strstr(bed.result.message, message))
        fail_msg("%s: %s", params, bed.result.message);
}

void expect_output(const char *text)
{
    if (!bed.output.data || !strstr(bed.output.data, text))
        fail_msg("not in the output: %s\n%s", text, bed.output.data ? bed.output.data : "");
}

/* Without a process for it, which bed_run would find. */
static void manager_begin_anew(void)
{
    sd_bus *bus = NULL;
    if (sd_bus_open_system(&bus) < 0)
        abort();
    /* The answer does not come. */
    (void)sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                             "org.freedesktop.systemd1.Manager", "Reexecute", NULL, NULL, "");
    sd_bus_unref(bus);
}

static void *watcher_main(void *argument)
{
    const struct watcher *w = argument;
    char byte;
    int fd = open(w->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1)
        abort();
    (void)close(fd);
    if (w->bed)
        bed_cancel(w->bed);
    else
        manager_begin_anew();
    return NULL;
}

void watcher_start(struct watcher *w)
{
    (void)unlink(w->path);
    assert_int_equal(mkfifo(w->path, 0600), 0);
    assert_int_equal(pthread_create(&w->thread, NULL, watcher_main, w), 0);
}

void watcher_join(struct watcher *w)
{
    assert_int_equal(pthread_join(w->thread, NULL), 0);
    assert_int_equal(unlink(w->path), 0);
}
