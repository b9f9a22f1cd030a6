/* yum_prepare: what the transaction would be, and the way back from it; and the check. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/rpm_tool.h"
#include "handlers/yum_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool is_check(const struct yum *y)
{
    return y->run->operation == HANDLER_CHECK;
}

/* ---- The end ----------------------------------------------------------------------------- */

static void captured(struct yum *y)
{
    AUTO_BUF struct buf text = {.max = HANDLER_UNDO_MAX};
    struct error err = {0};
    struct handler_result result = {0};
    json_encode(&text, &yum_record_table, &y->record);
    enum error_code code = buf_check(&text, &err);
    if (code == ERR_OK) {
        result_succeed(&result, false, "captured");
        result.undo = buf_take(&text, NULL);
        if (!result.undo)
            code = error_set(&err, ERR_NO_MEMORY, NULL);
    }
    if (code == ERR_OK)
        yum_finish(y, &result);
    else
        yum_fail_error(y, &err);
}

static void names_add(const struct yum *y, struct buf *text)
{
    for (size_t i = 0; i < y->params->packages.count && i < YUM_TOLD_MAX; i++)
        buf_printf(text, "%s%s", i > 0 ? ", " : "", *ARRAY_AT(&y->params->packages, char *, i));
    if (y->params->packages.count == 0)
        buf_puts(text, "everything");
    else if (y->params->packages.count > YUM_TOLD_MAX)
        buf_puts(text, " ...");
}

static void nothing_to_do(struct yum *y)
{
    AUTO_BUF struct buf names = BUF_INIT;
    struct handler_result result = {0};
    if (!is_check(y)) {
        y->record.kept = true;
        captured(y);
        return;
    }
    names_add(y, &names);
    if (y->params->version)
        result_succeed(&result, false, "%s is at %s already", names.data ? names.data : "",
                       y->params->version);
    else
        result_succeed(&result, false, "%s: nothing to do", names.data ? names.data : "");
    yum_finish(y, &result);
}

/* What was put aside for a step that will not be made. */
static void refused_cleaned(struct yum *y)
{
    struct handler_result result = y->result;
    yum_finish(y, &result);
}

static void refuse(struct yum *y, const struct handler_result *result)
{
    y->result = *result;
    yum_tidy(y, "drop", refused_cleaned);
}

static void fail_tidied(struct yum *y, const struct error *err)
{
    struct handler_result result = {0};
    result_fail_error(&result, err);
    if (is_check(y))
        yum_finish(y, &result);
    else
        refuse(y, &result);
}

static void would_change(struct yum *y)
{
    AUTO_BUF struct buf lines = BUF_INIT;
    AUTO_BUF struct buf text = {.max = YUM_TEXT_MAX};
    AUTO_BUF struct buf reboot = BUF_INIT;
    struct handler_result result = {0};
    char lacks[YUM_LINE_MAX] = "";
    yum_record_tell(&y->record, &lines);
    yum_record_summary(&y->record, YUM_TOLD_MAX, &text);
    yum_record_reboot(&y->record, &reboot);
    yum_lacks_text(y, lacks, sizeof(lacks));
    if (lines.data)
        y->run->output(y->run, lines.data, lines.len);
    if (reboot.len > 0)
        buf_printf(&text, "; reboot required: %s", reboot.data);
    const char *what = text.data ? text.data : "";
    if (lacks[0] == '\0')
        result_succeed(&result, true, "would change %s", what);
    else if (y->params->require_undo)
        result_fail(&result, false,
                    "would fail and change nothing: %s, so that it could not be undone "
                    "(\"requireUndo\": false goes on all the same): %s",
                    lacks, what);
    else
        result_succeed(&result, true, "would change what cannot be undone (%s): %s", lacks, what);
    yum_finish(y, &result);
}

/* ---- What comes -------------------------------------------------------------------------- */

static int64_t bytes_of(const struct array *packages)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < packages->count; i++)
        bytes += rpm_package_at(packages, i)->size_bytes;
    return bytes;
}

/* Every package that dnf said would come has been fetched, so nothing was misread. */
static void brought_read(struct yum *y)
{
    AUTO_SET struct rpm_set files = {0};
    struct error err = {0};
    char nevra[RPM_TEXT_MAX];
    enum error_code code = yum_set_read(y, &files, &err);
    for (size_t i = 0; i < y->record.after.count && code == ERR_OK; i++) {
        const struct rpm_package *p = rpm_package_at(&y->record.after, i);
        rpm_package_nevra(p, nevra);
        if (!rpm_packages_find(&files.packages, p))
            code = error_set(&err, ERR_PROTOCOL, "%s was not fetched", nevra);
    }
    if (code != ERR_OK) {
        fail_tidied(y, &err);
        return;
    }
    int64_t bytes = bytes_of(&files.packages) + bytes_of(&y->record.before);
    if (!room_fits(y->run, bytes)) {
        struct handler_result result = {0};
        result_no_room(&result, y->run, bytes);
        refuse(y, &result);
        return;
    }
    captured(y);
}

static void look_at_brought(struct yum *y)
{
    yum_tool_args(y, "files");
    yum_args_add(&y->args, "%s/" RPM_TOOL_NEW, y->run->undo_dir);
    yum_args_add(&y->args, "%s", yum_root(y));
    yum_args_add(&y->args, "%s/" RPM_TOOL_PATHS, y->run->undo_dir);
    yum_tool_start(y, brought_read);
}

/* ---- What goes --------------------------------------------------------------------------- */

/* What is damaged before the step is not the step's doing. */
static void before_looked(struct yum *y)
{
    if (!yum_listed(y))
        return;
    for (size_t i = 0; i < y->record.before.count; i++) {
        struct rpm_package *p = ARRAY_AT(&y->record.before, struct rpm_package, i);
        const struct rpm_package *now = rpm_packages_find(&y->now.packages, p);
        p->damaged = now && now->damaged;
    }
    look_at_brought(y);
}

static void unkept(struct yum *y)
{
    struct handler_result result = {0};
    char lacks[YUM_LINE_MAX] = "", line[2 * YUM_LINE_MAX];
    yum_lacks_text(y, lacks, sizeof(lacks));
    if (!y->params->require_undo) {
        int len = snprintf(line, sizeof(line), "cannot be undone: %s\n", lacks);
        y->run->output(y->run, line, (size_t)len);
        yum_list(y, before_looked);
        return;
    }
    result_fail(&result, false,
                "%s, so that the step could not be undone; nothing was changed "
                "(\"requireUndo\": false goes on all the same)",
                lacks);
    refuse(y, &result);
}

static void kept_read(struct yum *y)
{
    AUTO_SET struct rpm_set files = {0};
    struct error err = {0};
    enum error_code code = yum_set_read(y, &files, &err);
    if (code == ERR_OK)
        code = yum_record_keep(&files.packages, &y->record, &err);
    if (code != ERR_OK)
        fail_tidied(y, &err);
    else if (!y->record.kept)
        unkept(y);
    else
        yum_list(y, before_looked);
}

/* dnf passes over what it has not, so its exit status says nothing: what was fetched does. */
static void look_at_kept(struct yum *y)
{
    char nevra[RPM_TEXT_MAX];
    yum_tool_args(y, "keep");
    yum_args_add(&y->args, "%s", y->run->undo_dir);
    yum_args_add(&y->args, "%s", yum_root(y));
    for (size_t i = 0; i < y->record.before.count; i++) {
        rpm_package_nevra(rpm_package_at(&y->record.before, i), nevra);
        yum_args_add(&y->args, "%s", nevra);
    }
    yum_tool_start(y, kept_read);
}

static void offers_read(struct yum *y)
{
    struct error err = {0};
    enum error_code code =
        yum_record_offered(y->output.data ? y->output.data : "", y->output.len, &y->record, &err);
    if (code == ERR_OK)
        would_change(y);
    else
        yum_fail_error(y, &err);
}

static void fetch_what_goes(struct yum *y)
{
    char nevra[RPM_TEXT_MAX];
    if (y->record.before.count == 0) {
        y->record.kept = true;
        if (is_check(y))
            would_change(y);
        else
            look_at_brought(y);
        return;
    }
    yum_dnf_args(y, is_check(y) ? "--assumeno" : "-y");
    if (!is_check(y)) {
        yum_args_add(&y->args, "--downloadonly");
        yum_args_add(&y->args, "--downloaddir=%s", y->run->undo_dir);
    }
    yum_args_add(&y->args, "reinstall");
    for (size_t i = 0; i < y->record.before.count; i++) {
        rpm_package_nevra(rpm_package_at(&y->record.before, i), nevra);
        yum_args_add(&y->args, "%s", nevra);
    }
    yum_shown_start(y, is_check(y) ? offers_read : look_at_kept);
}

/* ---- The transaction --------------------------------------------------------------------- */

/* dnf removes what needs a removed package without being asked whether it may. */
static const struct rpm_package *goes_along(const struct yum *y)
{
    for (size_t i = 0; i < y->record.before.count; i++) {
        const struct rpm_package *p = rpm_package_at(&y->record.before, i);
        bool named = false;
        for (size_t k = 0; k < y->params->packages.count && !named; k++)
            named = rpm_package_named(p, *ARRAY_AT(&y->params->packages, char *, k));
        if (!named)
            return p;
    }
    return NULL;
}

/* Instances that clash are of a transaction that was cut off, which is not ours to mend. */
static enum error_code clash_refuse(const struct yum *y, struct error *err)
{
    for (size_t i = 0; i < y->first.packages.count; i++) {
        const struct rpm_package *p = rpm_package_at(&y->first.packages, i);
        bool concerned = p->clash && rpm_packages_find(&y->record.before, p);
        for (size_t k = 0; k < y->params->packages.count && p->clash && !concerned; k++)
            concerned = rpm_package_named(p, *ARRAY_AT(&y->params->packages, char *, k));
        if (concerned)
            return error_set(err, ERR_CONFLICT,
                             "two versions of %s are installed over each other: a package "
                             "transaction was cut off (`dnf check` and `dnf remove --duplicates` "
                             "settle it)",
                             p->name);
    }
    return ERR_OK;
}

static enum error_code transaction_read(struct yum *y, struct error *err)
{
    enum error_code code = yum_record_resolve(y->output.data ? y->output.data : "", y->output.len,
                                              &y->first.packages, &y->record, err);
    if (code == ERR_OK)
        code = yum_record_beside(&y->first.packages, &y->record, err);
    const struct rpm_package *along = y->type == YUM_REMOVE ? goes_along(y) : NULL;
    if (code == ERR_OK && along && !y->params->allow_erasing)
        code = error_set(err, ERR_CONFLICT,
                         "%s would be removed too, which \"allowErasing\": true would let it be",
                         along->name);
    return code == ERR_OK ? clash_refuse(y, err) : code;
}

/* Told not to go on, dnf ends as if it had failed, but for its last line: it has resolved all. */
static bool resolved(const struct yum *y)
{
    static const char *const ends[] = {"Operation aborted.", "Exiting on user command"};
    for (size_t i = 0; i < ARRAY_LEN(ends) && y->output.data; i++) {
        if (y->end.signal == 0 && y->end.exit_code == 1 && strstr(y->output.data, ends[i]))
            return true;
    }
    return yum_ended_well(y);
}

/* One that tells nothing package by package, as dnf 5, must not be taken for one that has nothing
 * to do. */
static bool tells_nothing(const struct yum *y)
{
    static const char *const ends[] = {"Finished dependency resolution", "Nothing to do",
                                       "No packages marked for"};
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(ends) && y->output.data && !known; i++)
        known = strstr(y->output.data, ends[i]) != NULL;
    return !known && y->record.before.count == 0 && y->record.after.count == 0;
}

static void transaction_resolved(struct yum *y)
{
    struct error err = {0};
    if (!resolved(y)) {
        yum_fail_program(y, yum_verb_names[y->plan.verb]);
        return;
    }
    enum error_code code = transaction_read(y, &err);
    if (code == ERR_OK && tells_nothing(y))
        code = error_set(&err, ERR_UNSUPPORTED,
                         "%s does not say what it would do; dnf 4 or yum is needed", y->program);
    if (code != ERR_OK)
        fail_tidied(y, &err);
    else if (y->record.before.count == 0 && y->record.after.count == 0)
        nothing_to_do(y);
    else
        fetch_what_goes(y);
}

static void transaction_resolve(struct yum *y)
{
    bool fetches = !is_check(y) && y->type != YUM_REMOVE;
    yum_dnf_args(y, fetches ? "-y" : "--assumeno");
    if (fetches) {
        yum_args_add(&y->args, "--downloadonly");
        yum_args_add(&y->args, "--downloaddir=%s/" RPM_TOOL_NEW, y->run->undo_dir);
    }
    yum_ask_args(y);
    yum_shown_start(y, transaction_resolved);
}

static void first_listed(struct yum *y)
{
    struct error err = {0};
    if (!yum_listed(y))
        return;
    y->first = y->now;
    y->now = (struct rpm_set){0};
    if (clash_refuse(y, &err) != ERR_OK ||
        yum_plan_make(y->type, y->params, &y->first.packages, &y->plan, &err) != ERR_OK)
        yum_fail_error(y, &err);
    else if (!y->plan.needed)
        nothing_to_do(y);
    else
        transaction_resolve(y);
}

void yum_prepare(struct yum *y)
{
    yum_list(y, first_listed);
}
