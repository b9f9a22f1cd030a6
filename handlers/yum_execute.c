/* yum_execute: the transaction that prepare has recorded, that one and no other. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/program.h"
#include "handlers/rpm_tool.h"
#include "handlers/yum_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { INCLUDES_MAX = 120 * 1024 }; /* of one argument */

static void change_start(struct yum *y);

/* ---- The end ----------------------------------------------------------------------------- */

static void meanwhile_tell(const struct yum *y, struct buf *text)
{
    AUTO_BUF struct buf what = {.max = YUM_TEXT_MAX};
    if (!yum_record_explains(&y->record, &y->first.packages, &y->now.packages, &what))
        buf_printf(text, "; somebody else has changed others meanwhile: %s",
                   what.data ? what.data : "");
}

static void changed_ended(struct yum *y)
{
    AUTO_BUF struct buf text = {.max = YUM_TEXT_MAX};
    AUTO_BUF struct buf reboot = BUF_INIT;
    struct handler_result result = {0};
    if (!yum_ended_well(y)) {
        yum_fail_program(y, "end");
        return;
    }
    yum_record_summary(&y->record, YUM_TOLD_MAX, &text);
    yum_record_reboot(&y->record, &reboot);
    if (reboot.len > 0)
        buf_printf(&text, "; reboot required: %s", reboot.data);
    yum_need_reboot(y);
    if (y->changed)
        meanwhile_tell(y, &text);
    if (y->scriptlet_failed)
        buf_puts(&text, "; a scriptlet failed, see the output");
    result_succeed(&result, y->changed, "%s%s", text.data ? text.data : "nothing to do",
                   y->changed || !text.data ? "" : " already");
    yum_finish(y, &result);
}

static void failed(struct yum *y, bool retryable, const char *what)
{
    struct handler_result result = {.has_exit_code = y->change_end.signal == 0,
                                    .exit_code = y->change_end.exit_code};
    result_fail(&result, retryable, "%s; %s", y->failure.message, what);
    yum_finish(y, &result);
}

static void unchanged_ended(struct yum *y)
{
    y->changed = false;
    failed(y, true, "nothing was changed");
}

/* Nothing was changed: another try may ask the repositories anew, and else it has failed. The mark
 * stays when dnf was killed, which may have begun to write files. */
static void unchanged(struct yum *y)
{
    if (y->change_end.signal != 0) {
        failed(y, true, "the database knows of no change");
    } else if (!y->online) {
        y->online = true;
        change_start(y);
    } else {
        yum_tidy(y, "unmark", unchanged_ended);
    }
}

/* ---- What came of it --------------------------------------------------------------------- */

static void explain(struct yum *y)
{
    AUTO_BUF struct buf what = {.max = YUM_TEXT_MAX};
    struct handler_result result = {0};
    bool explained = yum_record_explains(&y->record, &y->first.packages, &y->now.packages, &what);
    /* dnf could bring nothing else, and take away no more than it may. What it may not is
     * somebody else's doing, who was quicker to the lock. */
    bool might_take = y->params->allow_erasing || y->type == YUM_REMOVE;
    if (explained || !might_take) {
        yum_tidy(y, "end", changed_ended);
        return;
    }
    result_fail(&result, false, "more has changed than was foreseen: %s",
                what.data ? what.data : "");
    yum_finish(y, &result);
}

static void change_looked(struct yum *y)
{
    struct rpm_set as_read;
    if (!yum_listed(y))
        return;
    /* dnf has said that it ended well, or not: its scriptlets are no longer in question. */
    as_read = y->now;
    as_read.begun = as_read.begun && y->failure.code != ERR_OK;
    enum yum_state state = yum_record_state(&y->record, &as_read, NULL);
    y->changed = state != YUM_STATE_BEFORE;
    if (state == YUM_STATE_AFTER) {
        explain(y);
    } else if (state == YUM_STATE_BEFORE && y->failure.code != ERR_OK) {
        unchanged(y);
    } else {
        if (y->failure.code == ERR_OK)
            error_ignore(error_set(&y->failure, ERR_UNAVAILABLE, "%s ended well", y->program));
        failed(y, true, "the packages are not as the transaction should have left them");
    }
}

static void change_ended(struct yum *y)
{
    char line[YUM_LINE_MAX], end[PROGRAM_END_MAX];
    y->failure = (struct error){0};
    y->change_end = y->end;
    y->scriptlet_failed = y->output.data && (strstr(y->output.data, "scriptlet failed") ||
                                             strstr(y->output.data, " scriptlet in rpm package "));
    if (!yum_ended_well(y)) {
        yum_reason(y, line);
        program_end_text(y->end.exit_code, y->end.signal, end);
        error_ignore(error_set(&y->failure, ERR_UNAVAILABLE, "%s %s: %s%s%s", y->program,
                               yum_verb_names[y->plan.verb], end, line[0] ? ": " : "", line));
    }
    y->changed = true;
    yum_list(y, change_looked);
}

/* ---- The change -------------------------------------------------------------------------- */

/* Of what the repositories have only the packages that were recorded: whatever they have come to
 * hold since, dnf can find no other transaction. */
static void includes_add(struct yum *y)
{
    char nevra[RPM_TEXT_MAX];
    AUTO_BUF struct buf includes = {.max = INCLUDES_MAX};
    for (size_t i = 0; i < y->record.after.count; i++) {
        rpm_package_nevra(rpm_package_at(&y->record.after, i), nevra);
        buf_printf(&includes, "%s%s", i > 0 ? "," : "", nevra);
    }
    if (includes.len > 0 && includes.failed == ERR_OK)
        yum_args_add(&y->args, "--setopt=*.includepkgs=%s", includes.data);
}

/* At first from what prepare has fetched and read, without asking anybody. */
static void change_start(struct yum *y)
{
    yum_dnf_args(y, "-y");
    if (!y->online)
        yum_args_add(&y->args, "-C");
    if (y->record.after.count > 0)
        yum_args_add(&y->args, "--setopt=destdir=%s/" RPM_TOOL_NEW, y->run->undo_dir);
    includes_add(y);
    yum_ask_args(y);
    yum_shown_start(y, change_ended);
}

static void begun(struct yum *y)
{
    if (yum_ended_well(y))
        change_start(y);
    else
        yum_fail_program(y, "begin");
}

static void change_begin(struct yum *y)
{
    struct error err = {0};
    if (yum_plan_make(y->type, y->params, &y->first.packages, &y->plan, &err) != ERR_OK) {
        yum_fail_error(y, &err);
        return;
    }
    yum_tool_args(y, "begin");
    yum_args_add(&y->args, "%s", yum_root(y));
    yum_args_add(&y->args, "%s", y->run->undo_dir);
    yum_args_add(&y->args, "%" PRId64, y->params->lock_timeout_ms / 1000);
    yum_shown_start(y, begun);
}

/* ---- After one that was cut off ---------------------------------------------------------- */

static void execute_listed(struct yum *y);

static void recover_ended(struct yum *y)
{
    if (yum_ended_well(y))
        yum_list(y, execute_listed);
    else
        yum_fail_program(y, "end");
}

static void recover_looked(struct yum *y)
{
    struct handler_result result = {0};
    if (!yum_listed(y))
        return;
    if (y->failure.code == ERR_OK &&
        yum_record_state(&y->record, &y->now, NULL) == YUM_STATE_BEFORE) {
        yum_tidy(y, "unmark", recover_ended);
        return;
    }
    result_fail(&result, true, "a transaction was cut off, and going back from it failed: %s",
                y->failure.message);
    yum_finish(y, &result);
}

static void recover_applied(struct yum *y)
{
    yum_applied(y);
    yum_list(y, recover_looked);
}

static void recover(struct yum *y)
{
    static const char text[] = "a transaction was cut off; going back before it is made again\n";
    struct handler_result result = {0};
    char lacks[YUM_LINE_MAX] = "";
    if (y->record.kept) {
        y->run->output(y->run, text, sizeof(text) - 1);
        yum_apply_back(y, recover_applied);
        return;
    }
    yum_lacks_text(y, lacks, sizeof(lacks));
    result_fail(&result, false,
                "a transaction was cut off and cannot be gone back from: %s (`dnf check` shows "
                "what is amiss)",
                lacks);
    yum_finish(y, &result);
}

/* ---- The beginning ----------------------------------------------------------------------- */

static void execute_foreign(struct yum *y, const struct rpm_package *foreign)
{
    struct handler_result result = {0};
    char evr[RPM_TEXT_MAX];
    rpm_package_evr(foreign, evr);
    result_fail(&result, false,
                "changed by somebody else since the step was prepared: %s is at %s; nothing was "
                "changed",
                foreign->name, evr);
    yum_finish(y, &result);
}

static void execute_listed(struct yum *y)
{
    const struct rpm_package *foreign = NULL;
    struct handler_result result = {0};
    if (!yum_listed(y))
        return;
    rpm_set_done(&y->first);
    y->first = y->now;
    y->now = (struct rpm_set){0};
    enum yum_state state = yum_record_state(&y->record, &y->first, &foreign);
    if (state == YUM_STATE_FOREIGN) {
        execute_foreign(y, foreign);
    } else if (y->first.begun) {
        y->now = y->first;
        y->first = (struct rpm_set){0};
        recover(y);
    } else if (state == YUM_STATE_BEFORE) {
        change_begin(y);
    } else if (state == YUM_STATE_AFTER) {
        yum_tidy(y, "end", changed_ended);
    } else {
        result_fail(&result, false,
                    "packages have been removed or damaged since the step was prepared; nothing "
                    "was changed");
        yum_finish(y, &result);
    }
}

void yum_execute(struct yum *y)
{
    struct error err = {0};
    if (yum_record_read(y, &err) != ERR_OK)
        yum_fail_error(y, &err);
    else if (y->record.before.count == 0 && y->record.after.count == 0)
        yum_tidy(y, "end", changed_ended);
    else
        yum_list(y, execute_listed);
}
