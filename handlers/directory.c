#include "common/base/cleanup.h"
#include "handlers/account.h"
#include "handlers/directory_internal.h"
#include "handlers/file_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_MODE = 0755, WHAT_MAX = 128 };

/* ---- What it shall be like --------------------------------------------------------------- */

/* Of a folder that is there (or not) what is to be set: FILE_KEEP for what stays. */
static enum error_code meta_wanted(const struct directory_params *params,
                                   const struct file_node *now, struct file_meta *ret_meta,
                                   struct error *err)
{
    struct file_meta meta = FILE_META_INIT;
    enum error_code code = ERR_OK;
    if (params->mode)
        meta.mode = (int64_t)(strtoul(params->mode, NULL, 8) & 07777);
    else if (now->kind == FILE_NOTHING)
        meta.mode = DEFAULT_MODE;
    if (params->owner)
        code = account_user_id(params->owner, &meta.uid, err);
    if (code == ERR_OK && params->group)
        code = account_group_id(params->group, &meta.gid, err);
    if (code == ERR_OK)
        *ret_meta = meta;
    return code;
}

static bool number_is(int64_t now, int64_t wanted)
{
    return wanted == FILE_KEEP || now == wanted;
}

static bool is_so_already(const struct file_node *now, const struct file_meta *wanted)
{
    return now->kind == FILE_FOLDER && number_is(now->meta.mode, wanted->mode) &&
           number_is(now->meta.uid, wanted->uid) && number_is(now->meta.gid, wanted->gid);
}

static enum error_code kind_check(const struct file_node *node, struct error *err)
{
    return node->kind == FILE_NOTHING || node->kind == FILE_FOLDER ? ERR_OK
                                                                   : file_node_refuse(node, err);
}

/* ---- prepare ----------------------------------------------------------------------------- */

static enum error_code capture(const struct handler_run *run, struct file_undo *undo,
                               struct handler_result *result, struct error *err)
{
    const struct directory_params *params = run->params;
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    struct file_meta wanted = {0};
    bool absent = params->state == DIRECTORY_ABSENT, missing = false;
    enum error_code code =
        file_undo_place(params->path, params->create_parents, undo, &place, &missing, err);
    if (code == ERR_NOT_FOUND && absent)
        return file_undo_nothing(params->path, undo, err);
    if (code == ERR_OK)
        code = missing ? file_undo_nothing(params->path, undo, err)
                       : file_undo_keep(run, &place, undo, result, err);
    if (code == ERR_OK)
        code = kind_check(file_undo_main(undo), err);
    if (code == ERR_OK && absent)
        return directory_capture_content(run, undo, result, err);
    return code == ERR_OK ? meta_wanted(params, file_undo_main(undo), &wanted, err) : code;
}

static void prepare_work(const struct handler_run *run, struct handler_result *result,
                         struct buf *shown)
{
    struct error err = {0};
    AUTO_UNDO struct file_undo undo = {0};
    (void)shown;
    enum error_code code = capture(run, &undo, result, &err);
    file_undo_prepared(&undo, code, result, &err);
}

/* ---- execute ----------------------------------------------------------------------------- */

static enum error_code folder_make(const struct handler_run *run, const struct file_undo *undo,
                                   bool *ret_changed, struct error *err)
{
    const struct directory_params *params = run->params;
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_NODE struct file_node now = {0};
    struct file_node wanted = {.path = params->path, .kind = FILE_FOLDER};
    bool apart = false;
    enum error_code code = file_undo_make_folders(undo, err);
    if (code == ERR_OK)
        code = file_place_open(params->path, &place, err);
    if (code == ERR_OK)
        code = file_node_look(&place, &now, err);
    if (code == ERR_OK)
        code = kind_check(&now, err);
    /* One that an earlier attempt has made may not have its mode yet. */
    if (code == ERR_OK)
        code = meta_wanted(params, file_undo_main(undo), &wanted.meta, err);
    if (code != ERR_OK)
        return code;
    *ret_changed = !is_so_already(&now, &wanted.meta);
    return *ret_changed ? file_node_restore(run, &wanted, &place, &apart, err)
                        : file_place_sync(&place, err);
}

static void execute_work(const struct handler_run *run, struct handler_result *result,
                         struct buf *shown)
{
    const struct directory_params *params = run->params;
    struct error err = {0};
    AUTO_UNDO struct file_undo undo = {0};
    bool absent = params->state == DIRECTORY_ABSENT, changed = false;
    (void)shown;
    enum error_code code = file_undo_read(run, &undo, &err);
    if (code == ERR_OK)
        code = absent ? directory_remove(&undo, &changed, &err)
                      : folder_make(run, &undo, &changed, &err);
    if (code != ERR_OK)
        result_fail_error(result, &err);
    else if (absent)
        result_succeed(result, changed, "%s %s", params->path,
                       changed ? "removed" : "is not there");
    else
        result_succeed(result, changed, "%s %s", params->path, changed ? "made" : "is so already");
}

/* ---- check ------------------------------------------------------------------------------- */

static void number_tell(char what[WHAT_MAX], const char *name, int64_t now, int64_t wanted)
{
    size_t len = strlen(what);
    if (!number_is(now, wanted))
        (void)snprintf(what + len, WHAT_MAX - len, "%s%s %" PRId64 " -> %" PRId64,
                       len > 0 ? "; " : "", name, now, wanted);
}

static void present_tell(const struct directory_params *params, const struct file_undo *undo,
                         const struct file_node *now, const struct file_meta *wanted,
                         struct handler_result *result)
{
    char what[WHAT_MAX] = "";
    if (is_so_already(now, wanted)) {
        result_succeed(result, false, "%s is so already", params->path);
        return;
    }
    if (now->kind == FILE_NOTHING) {
        result_succeed(result, true, "would make %s, mode %04" PRIo64 "%s", params->path,
                       wanted->mode,
                       undo->made.count > 0 ? ", and the folders that lead to it" : "");
        return;
    }
    if (!number_is(now->meta.mode, wanted->mode))
        (void)snprintf(what, sizeof(what), "mode %04" PRIo64 " -> %04" PRIo64, now->meta.mode,
                       wanted->mode);
    number_tell(what, "owner", now->meta.uid, wanted->uid);
    number_tell(what, "group", now->meta.gid, wanted->gid);
    result_succeed(result, true, "would change %s: %s", params->path, what);
}

static enum error_code check(const struct handler_run *run, struct handler_result *result,
                             struct buf *shown, struct error *err)
{
    const struct directory_params *params = run->params;
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_NODE struct file_node now = {0};
    struct file_meta wanted = {0};
    bool missing = false;
    enum error_code code =
        file_undo_place(params->path, params->create_parents, &undo, &place, &missing, err);
    if (code == ERR_OK && !missing)
        code = file_node_look(&place, &now, err);
    if (code == ERR_OK)
        code = kind_check(&now, err);
    if (params->state == DIRECTORY_ABSENT)
        return directory_check_absent(run, &now, code, result, shown, err);
    if (code == ERR_OK)
        code = meta_wanted(params, &now, &wanted, err);
    if (code == ERR_OK)
        present_tell(params, &undo, &now, &wanted, result);
    return code;
}

static void check_work(const struct handler_run *run, struct handler_result *result,
                       struct buf *shown)
{
    struct error err = {0};
    if (check(run, result, shown, &err) != ERR_OK && result->message[0] == '\0')
        result_fail_error(result, &err);
}

/* ---- rollback ---------------------------------------------------------------------------- */

static enum error_code left_find(const struct handler_run *run, const struct file_undo *undo,
                                 size_t i, struct file_left *ret_left, int64_t *ret_size,
                                 struct error *err)
{
    const struct directory_params *params = run->params;
    if (params->state == DIRECTORY_ABSENT)
        return file_left_nothing(run, undo, i, ret_left, ret_size, err);
    *ret_left = (struct file_left){.kind = FILE_FOLDER};
    *ret_size = 0;
    return ERR_OK;
}

static void rollback_work(const struct handler_run *run, struct handler_result *result,
                          struct buf *shown)
{
    (void)shown;
    file_undo_rollback(run, left_find, result);
}

/* ---- The handler ------------------------------------------------------------------------- */

static void directory_run(struct handler_run *run)
{
    static const file_work works[] = {
        [HANDLER_PREPARE] = prepare_work,
        [HANDLER_EXECUTE] = execute_work,
        [HANDLER_ROLLBACK] = rollback_work,
        [HANDLER_CHECK] = check_work,
    };
    file_run_start(run, works[run->operation]);
}

const struct handler directory_handler = {
    .type = &directory_type,
    .prepare = directory_run,
    .execute = directory_run,
    .rollback = directory_run,
    .check = directory_run,
    .cancel = file_run_cancel,
};
