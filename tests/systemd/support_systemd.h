/*
 * support_systemd: units for tests, and what systemctl says of them. For programs that `boot` runs.
 */
#pragma once

#include "unit/handlers/support_run.h"

#include <stdbool.h>

#define SLEEPER "[Service]\nExecStart=/bin/sleep 1000\n"
/* Tells systemd when it is up, so that nothing is waited for. */
#define READY "[Service]\nType=exec\nExecStart=/bin/sleep 1000\n"
/* Writes to a watcher's pipe, and is never up. */
#define NEVER_UP "[Service]\nType=notify\nExecStart=/bin/sh -c 'echo x > /tmp/began; sleep 1000'\n"

/* The parameters of a step about unit t.service. */
#define T(rest) "{\"name\":\"t\"" rest "}"
#define QUICK ",\"settleSeconds\":0"

/* Each test has a bed of its own; t.service and other.service are gone after it. */
extern struct bed bed;
int open_bed(void **state);
int close_bed(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bed, close_bed)

/* What a line of shell prints, without the last newline; borrowed until the fourth next call. */
const char *shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Writes /etc/systemd/system/NAME, without telling systemd. */
void unit_write(const char *name, const char *text);
/* The same, and tells it. */
void unit_add(const char *name, const char *text);
/* Stops them and removes their files; names with spaces between them. */
void units_remove(const char *names);
/* A property, as systemctl shows it. */
const char *unit_property(const char *unit, const char *property);
void assert_active(const char *unit);
void assert_inactive(const char *unit);
/* All links below /etc/systemd/system, one a line, with where they lead; borrowed as with shell. */
const char *links_list(void);

/* Runs an operation and expects it to succeed. */
void must(enum handler_operation operation, const char *params);
/* And to fail, with that in its message. */
void must_fail(enum handler_operation operation, const char *params, const char *message);
/* The last operation printed that. */
void expect_output(const char *text);

/* Calls bed_cancel, or has systemd begin anew, once a unit has written to the pipe at `path`. */
struct watcher {
    struct bed *bed; /* NULL: systemd begins anew, which ends all connections to it */
    char path[64];
    unsigned long thread;
};
void watcher_start(struct watcher *w);
void watcher_join(struct watcher *w);
