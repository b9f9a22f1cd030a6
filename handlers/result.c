#include "common/base/id.h"
#include "common/base/text.h"
#include "handlers/builtin.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void result_say(struct handler_result *r, const char *fmt, va_list ap)
{
    int len = vsnprintf(r->message, sizeof(r->message), fmt, ap);
    assert(len >= 0);
    if ((size_t)len >= sizeof(r->message)) {
        size_t kept = sizeof(r->message) - 1;
        r->message[text_utf8_cut(r->message, kept, kept - 1)] = '\0';
    }
}

void result_succeed(struct handler_result *r, bool changed, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    result_say(r, fmt, ap);
    va_end(ap);
    r->outcome = HANDLER_OK;
    r->changed = changed;
}

void result_fail(struct handler_result *r, bool retryable, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    result_say(r, fmt, ap);
    va_end(ap);
    r->outcome = HANDLER_FAILED;
    r->retryable = retryable;
}

/* What may be otherwise at the next attempt without anybody doing something about it. */
static bool may_pass(enum error_code code)
{
    static const bool passing[ERROR_CODE_COUNT] = {
        [ERR_NO_MEMORY] = true, [ERR_IO] = true,          [ERR_NO_SPACE] = true,
        [ERR_BUSY] = true,      [ERR_UNAVAILABLE] = true, [ERR_TIMEOUT] = true,
    };
    return passing[code];
}

void result_fail_error(struct handler_result *r, const struct error *err)
{
    result_fail(r, may_pass(err->code), "%s", err->message);
}

/* ---- Conflicts --------------------------------------------------------------------------- */

enum { CONFLICT_TAIL_MAX = 2 * ID_MAX + 128 }; /* what to do about it is never cut off */

void result_conflict(struct handler_result *r, const struct handler_run *run, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    result_say(r, fmt, ap);
    va_end(ap);
    size_t len =
        text_utf8_cut(r->message, strlen(r->message), sizeof(r->message) - CONFLICT_TAIL_MAX);
    (void)snprintf(r->message + len, sizeof(r->message) - len,
                   "; it stays as it is (`kitsune rollback %s --server %s --force` undoes the step "
                   "all the same)",
                   run->rollout, run->host->server_id);
    r->outcome = HANDLER_FAILED;
    r->retryable = false;
    r->conflict = true;
}

/* ---- Room -------------------------------------------------------------------------------- */

void result_size_text(int64_t bytes, char ret_text[SIZE_TEXT_MAX])
{
    static const char units[] = "KMGTP";
    double size = (double)bytes;
    const char *unit = NULL;
    for (const char *u = units; *u != '\0' && size >= 1024; u++) {
        size /= 1024;
        unit = u;
    }
    if (unit)
        (void)snprintf(ret_text, SIZE_TEXT_MAX, "%.1f%c", size, *unit);
    else
        (void)snprintf(ret_text, SIZE_TEXT_MAX, "%" PRId64 " bytes", bytes);
}

bool room_fits(const struct handler_run *run, int64_t bytes)
{
    const struct handler_room *room = &run->room;
    return run->operation != HANDLER_PREPARE || room->max_bytes == 0 ||
           (room->used_bytes <= room->max_bytes && bytes <= room->max_bytes - room->used_bytes);
}

void result_no_room(struct handler_result *r, const struct handler_run *run, int64_t bytes)
{
    char need[SIZE_TEXT_MAX], used[SIZE_TEXT_MAX], most[SIZE_TEXT_MAX];
    result_size_text(bytes, need);
    result_size_text(run->room.used_bytes, used);
    result_size_text(run->room.max_bytes, most);
    result_fail(r, false,
                "undoing it would need %s, and of the %s that this agent may keep for undo %s are "
                "used; nothing was changed (raise --undo-max-size of kitsune-agent, or lower its "
                "--undo-retention)",
                need, most, used);
    r->no_room = true;
}
