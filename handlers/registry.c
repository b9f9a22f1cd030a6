#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "handlers/builtin.h"
#include "handlers/handler.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct handler *const handlers[] = {
    &echo_handler,        &sleep_handler,      &script_handler,        &file_write_handler,
    &file_remove_handler, &directory_handler,  &symlink_handler,       &yum_upgrade_handler,
    &http_check_handler,  &tcp_check_handler,  &command_check_handler, &service_handler,
    &yum_install_handler, &yum_remove_handler, &release_handler,       &reboot_handler,
};

const struct handler *handler_find(const char *type)
{
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        if (strcmp(handlers[i]->type->name, type) == 0)
            return handlers[i];
    }
    return NULL;
}

void handler_start(struct handler_run *run)
{
    assert(run->handler && run->host && run->done && !run->finished);
    switch (run->operation) {
    case HANDLER_PREPARE:
        run->handler->prepare(run);
        return;
    case HANDLER_EXECUTE:
        run->handler->execute(run);
        return;
    case HANDLER_ROLLBACK:
        run->handler->rollback(run);
        return;
    case HANDLER_CHECK:
        run->handler->check(run);
        return;
    }
    assert(false);
}

void handler_cancel(struct handler_run *run)
{
    if (!run->finished && run->handler->cancel)
        run->handler->cancel(run);
}

void handler_finish(struct handler_run *run, struct handler_result *result)
{
    assert(!run->finished);
    AUTO_FREE char *undo = TAKE(result->undo);
    char *outputs = result->outputs; /* borrowed for the call, as `undo` is */
    if (undo && strlen(undo) > HANDLER_UNDO_MAX)
        result_fail(result, false, "what undo needs to know is larger than %d bytes",
                    HANDLER_UNDO_MAX);
    else if (undo && !room_fits(run, (int64_t)strlen(undo)))
        result_no_room(result, run, (int64_t)strlen(undo));
    else
        result->undo = undo;
    run->finished = true;
    run->done(run, result);
    mem_free(outputs);
}

void handler_fail_error(struct handler_run *run, const struct error *err)
{
    struct handler_result result = {0};
    result_fail_error(&result, err);
    handler_finish(run, &result);
}

void handler_succeed(struct handler_run *run, bool changed, const char *fmt, ...)
{
    struct handler_result result = {.outcome = HANDLER_OK, .changed = changed};
    va_list ap;
    va_start(ap, fmt);
    result_say(&result, fmt, ap);
    va_end(ap);
    handler_finish(run, &result);
}

void handler_fail(struct handler_run *run, bool retryable, const char *fmt, ...)
{
    struct handler_result result = {.outcome = HANDLER_FAILED, .retryable = retryable};
    va_list ap;
    va_start(ap, fmt);
    result_say(&result, fmt, ap);
    va_end(ap);
    handler_finish(run, &result);
}

void handler_nothing(struct handler_run *run)
{
    handler_succeed(run, false, "nothing to do");
}

void handler_changes_nothing(struct handler_run *run)
{
    handler_succeed(run, false, "changes nothing");
}

bool handler_depends(struct handler_run *run, const char *what)
{
    if (!run->depends_name)
        return false;
    handler_succeed(run, false, "%s: depends on a change of step %" PRId32 " (%s)", what,
                    run->depends + 1, run->depends_name);
    return true;
}

void handler_mark(const char *server_id, const char *rollout, const char *step,
                  char ret_mark[HANDLER_MARK_MAX])
{
    int len = snprintf(ret_mark, HANDLER_MARK_MAX, "%s.%s.%016" PRIx64, server_id, rollout,
                       id_hash(step));
    assert(len > 0 && len < HANDLER_MARK_MAX);
}
