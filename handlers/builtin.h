/*
 * builtin: the handlers of this folder, and what they share.
 *
 * Threading: the result_ and room_ functions only read the run; the rest is for the loop's thread.
 * I/O: none.
 */
#pragma once

#include "common/base/error.h"
#include "handlers/handler.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

extern const struct handler echo_handler;
extern const struct handler sleep_handler;
extern const struct handler script_handler;
extern const struct handler file_write_handler;
extern const struct handler file_remove_handler;
extern const struct handler directory_handler;
extern const struct handler symlink_handler;
extern const struct handler release_handler;
extern const struct handler yum_install_handler;
extern const struct handler yum_remove_handler;
extern const struct handler yum_upgrade_handler;
extern const struct handler http_check_handler;
extern const struct handler tcp_check_handler;
extern const struct handler command_check_handler;
extern const struct handler service_handler;
extern const struct handler reboot_handler;

/* An operation that has nothing to do: succeeds at once. */
void handler_nothing(struct handler_run *run);
/* check, of a step that never changes anything. */
void handler_changes_nothing(struct handler_run *run);
/* check, where what is there now says nothing: true when an earlier step would change something, in
 * which case the run has been finished as unchanged, with `what` ("not probed"). */
bool handler_depends(struct handler_run *run, const char *what);

/* The message alone. The text is cut at a character's boundary. */
void result_say(struct handler_result *r, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* Fill a result that is finished later. */
void result_succeed(struct handler_result *r, bool changed, const char *fmt, ...) PRINTF_LIKE(3, 4);
void result_fail(struct handler_result *r, bool retryable, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Whether another attempt may help follows from the code. */
void result_fail_error(struct handler_result *r, const struct error *err);
void handler_fail_error(struct handler_run *run, const struct error *err);
/* rollback found what somebody else has left. The text says what was found and what was expected;
 * that it stays, and how to undo the step all the same, is added. */
void result_conflict(struct handler_result *r, const struct handler_run *run, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* "512 bytes", "1.5M". */
enum { SIZE_TEXT_MAX = 32 };
void result_size_text(int64_t bytes, char ret_text[SIZE_TEXT_MAX]);

/* Whether prepare may keep so many bytes. */
bool room_fits(const struct handler_run *run, int64_t bytes);
void result_no_room(struct handler_result *r, const struct handler_run *run, int64_t bytes);
