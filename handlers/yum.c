/*
 * yum: yum_install, yum_remove and yum_upgrade, which differ only in what dnf is asked for.
 *
 * prepare has dnf resolve the transaction and fetch what it brings, records all packages that it
 * would change, and fetches those that it would take away, at exactly their versions. execute has
 * dnf make that transaction and no other, and compares what is installed then with the record.
 * rollback makes the reverse one through librpm, from the kept packages, and compares too.
 *
 * A mark in the step's folder says that a transaction was begun and not yet found to have ended as
 * it should. While it is there nothing that the database says is trusted: an execute goes back
 * first and then makes the transaction again, a rollback puts all packages in place anew.
 */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/program.h"
#include "handlers/rpm_tool.h"
#include "handlers/yum_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- What is installed ------------------------------------------------------------------- */

void yum_list(struct yum *y, void (*next)(struct yum *y))
{
    char nevra[RPM_TEXT_MAX];
    yum_tool_args(y, "list");
    yum_args_add(&y->args, "%s", yum_root(y));
    yum_args_add(&y->args, "%s", y->run->undo_dir ? y->run->undo_dir : "/nonexistent");
    for (size_t i = 0; i < y->record.before.count; i++) {
        rpm_package_nevra(rpm_package_at(&y->record.before, i), nevra);
        yum_args_add(&y->args, "%s", nevra);
    }
    yum_tool_start(y, next);
}

bool yum_listed(struct yum *y)
{
    struct error err = {0};
    enum error_code code = yum_set_read(y, &y->now, &err);
    if (code == ERR_OK && y->now.unsound)
        code = error_set(&err, ERR_CORRUPT,
                         "the package database is damaged (`rpm --rebuilddb` may mend it)");
    if (code != ERR_OK)
        yum_fail_error(y, &err);
    return code == ERR_OK;
}

enum error_code yum_record_read(struct yum *y, struct error *err)
{
    enum error_code code = json_read(y->run->undo, strlen(y->run->undo), HANDLER_UNDO_MAX,
                                     &yum_record_table, &y->record, err);
    return code == ERR_OK ? ERR_OK : error_wrap(err, "what prepare captured");
}

/* ---- Back -------------------------------------------------------------------------------- */

void yum_tidy(struct yum *y, const char *mode, void (*next)(struct yum *y))
{
    yum_tool_args(y, mode);
    yum_args_add(&y->args, "%s", y->run->undo_dir);
    yum_tool_start(y, next);
}

static bool is_beside(const struct yum_record *record, const struct rpm_package *p)
{
    for (size_t i = 0; i < record->beside.count; i++) {
        const struct rpm_package *other = rpm_package_at(&record->beside, i);
        if (strcmp(other->name, p->name) == 0 && strcmp(other->arch, p->arch) == 0)
            return true;
    }
    return false;
}

static void files_add(struct yum *y, const char *how, bool beside)
{
    yum_args_add(&y->args, "%s", how);
    for (size_t i = 0; i < y->record.before.count; i++) {
        const struct rpm_package *p = rpm_package_at(&y->record.before, i);
        if (is_beside(&y->record, p) == beside)
            yum_args_add(&y->args, "%s/%s", y->run->undo_dir, p->file);
    }
}

/* Of the names in the record each instance that was not there before. */
static bool is_to_go(const struct yum_record *record, const struct rpm_package *p)
{
    if (rpm_packages_find(&record->before, p) || rpm_packages_find(&record->beside, p))
        return false;
    for (size_t i = 0; i < record->before.count + record->after.count; i++) {
        const struct rpm_package *other =
            i < record->before.count ? rpm_package_at(&record->before, i)
                                     : rpm_package_at(&record->after, i - record->before.count);
        if (strcmp(other->name, p->name) == 0)
            return true;
    }
    return false;
}

void yum_apply_back(struct yum *y, void (*next)(struct yum *y))
{
    char nevra[RPM_TEXT_MAX];
    yum_tool_args(y, "apply");
    yum_args_add(&y->args, "%s", yum_root(y));
    yum_args_add(&y->args, "%s", y->run->undo_dir);
    yum_args_add(&y->args, "%" PRId64, y->params->lock_timeout_ms / 1000);
    files_add(y, "install", false);
    files_add(y, "beside", true);
    yum_args_add(&y->args, "erase");
    for (size_t i = 0; i < y->now.packages.count; i++) {
        const struct rpm_package *p = rpm_package_at(&y->now.packages, i);
        if (!is_to_go(&y->record, p))
            continue;
        rpm_package_nevra(p, nevra);
        yum_args_add(&y->args, "%s", nevra);
    }
    yum_shown_start(y, next);
}

void yum_applied(struct yum *y)
{
    char line[YUM_LINE_MAX], end[PROGRAM_END_MAX];
    y->changed = true;
    if (yum_ended_well(y))
        return;
    yum_reason(y, line);
    program_end_text(y->end.exit_code, y->end.signal, end);
    error_ignore(
        error_set(&y->failure, ERR_IO, "%s", y->end.signal == 0 && line[0] != '\0' ? line : end));
}

void yum_lacks_text(const struct yum *y, char *ret_text, size_t size)
{
    char evr[RPM_TEXT_MAX];
    const struct rpm_package *p = yum_record_lacks(&y->record);
    if (!p)
        return;
    rpm_package_evr(p, evr);
    (void)snprintf(ret_text, size, "%.80s %.80s is in no repository any more", p->name, evr);
}

/* ---- rollback ---------------------------------------------------------------------------- */

static void rollback_ended(struct yum *y)
{
    struct handler_result result = {0};
    AUTO_BUF struct buf text = {.max = YUM_TEXT_MAX};
    if (!yum_ended_well(y)) {
        yum_fail_program(y, "end");
        return;
    }
    if (y->changed)
        yum_need_reboot(y);
    yum_record_summary(&y->record, YUM_TOLD_MAX, &text);
    result_succeed(&result, y->changed, y->changed ? "as before: undone %s" : "as it was",
                   text.data ? text.data : "");
    yum_finish(y, &result);
}

static void rollback_looked(struct yum *y)
{
    struct handler_result result = {0};
    if (!yum_listed(y))
        return;
    /* One that was killed may owe a scriptlet. */
    if (y->failure.code == ERR_OK &&
        yum_record_state(&y->record, &y->now, NULL) == YUM_STATE_BEFORE) {
        yum_tidy(y, "end", rollback_ended);
        return;
    }
    result_fail(&result, true, "going back failed: %s",
                y->failure.message[0] ? y->failure.message
                                      : "rpm ended well, and the packages are not as they were");
    yum_finish(y, &result);
}

static void rollback_applied(struct yum *y)
{
    yum_applied(y);
    yum_list(y, rollback_looked);
}

static void rollback_conflict(struct yum *y, const struct rpm_package *foreign)
{
    struct handler_result result = {0};
    char evr[RPM_TEXT_MAX];
    AUTO_BUF struct buf expected = {.max = YUM_TEXT_MAX};
    rpm_package_evr(foreign, evr);
    yum_record_summary(&y->record, YUM_TOLD_MAX, &expected);
    result_conflict(&result, y->run,
                    "changed by somebody else since: %s is at %s, and this step was about %s",
                    foreign->name, evr, expected.data ? expected.data : "");
    yum_finish(y, &result);
}

static void rollback_unkept(struct yum *y)
{
    struct handler_result result = {0};
    char lacks[YUM_LINE_MAX] = "";
    yum_lacks_text(y, lacks, sizeof(lacks));
    result_fail(&result, false, "cannot be undone: %s, and requireUndo is false", lacks);
    yum_finish(y, &result);
}

static void rollback_listed(struct yum *y)
{
    const struct rpm_package *foreign = NULL;
    if (!yum_listed(y))
        return;
    enum yum_state state = yum_record_state(&y->record, &y->now, &foreign);
    if (state == YUM_STATE_BEFORE && !y->now.begun)
        yum_tidy(y, "end", rollback_ended);
    else if (state == YUM_STATE_FOREIGN && !y->run->force)
        rollback_conflict(y, foreign);
    else if (!y->record.kept)
        rollback_unkept(y);
    else
        yum_apply_back(y, rollback_applied);
}

static void yum_rollback(struct yum *y)
{
    struct error err = {0};
    if (yum_record_read(y, &err) != ERR_OK)
        yum_fail_error(y, &err);
    else if (y->record.before.count == 0 && y->record.after.count == 0)
        yum_tidy(y, "end", rollback_ended);
    else
        yum_list(y, rollback_listed);
}

/* ---- The handlers ------------------------------------------------------------------------ */

static void yum_begin(struct handler_run *run, enum yum_verb type)
{
    struct yum *y = yum_new(run, type);
    if (!y)
        return;
    switch (run->operation) {
    case HANDLER_PREPARE:
    case HANDLER_CHECK:
        yum_prepare(y);
        return;
    case HANDLER_EXECUTE:
        yum_execute(y);
        return;
    case HANDLER_ROLLBACK:
        yum_rollback(y);
        return;
    }
}

static void install_begin(struct handler_run *run)
{
    yum_begin(run, YUM_INSTALL);
}

static void remove_begin(struct handler_run *run)
{
    yum_begin(run, YUM_REMOVE);
}

static void upgrade_begin(struct handler_run *run)
{
    yum_begin(run, YUM_UPGRADE);
}

#define YUM_HANDLER(type_, begin_)                                                                 \
    {                                                                                              \
        .type = &(type_), .prepare = (begin_), .execute = (begin_), .rollback = (begin_),          \
        .check = (begin_), .cancel = yum_cancel                                                    \
    }
const struct handler yum_install_handler = YUM_HANDLER(yum_install_type, install_begin);
const struct handler yum_remove_handler = YUM_HANDLER(yum_remove_type, remove_begin);
const struct handler yum_upgrade_handler = YUM_HANDLER(yum_upgrade_type, upgrade_begin);
