#include "common/base/cleanup.h"
#include "handlers/file_run.h"
#include "handlers/file_undo.h"

#include <string.h>
#include <unistd.h>

/* Whether it may be replaced. */
static enum error_code replace_check(const struct symlink_params *params,
                                     const struct file_node *node, struct error *err)
{
    if (node->kind == FILE_NOTHING || node->kind == FILE_LINK ||
        (node->kind == FILE_REGULAR && params->force))
        return ERR_OK;
    if (node->kind == FILE_REGULAR)
        return error_set(err, ERR_INVALID, "%s is a file; set force to replace it", node->path);
    return file_node_refuse(node, err);
}

static bool leads_there(const struct symlink_params *params, const struct file_node *node)
{
    return node->kind == FILE_LINK && strcmp(node->target, params->target) == 0;
}

/* ---- prepare ----------------------------------------------------------------------------- */

static enum error_code capture(const struct handler_run *run, struct file_undo *undo,
                               struct handler_result *result, struct error *err)
{
    const struct symlink_params *params = run->params;
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    bool missing = false;
    enum error_code code =
        file_undo_place(params->path, params->create_parents, undo, &place, &missing, err);
    if (code == ERR_OK)
        code = missing ? file_undo_nothing(params->path, undo, err)
                       : file_undo_keep(run, &place, undo, result, err);
    return code == ERR_OK ? replace_check(params, file_undo_main(undo), err) : code;
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

static enum error_code link_make(const struct handler_run *run, bool *ret_changed,
                                 struct error *err)
{
    const struct symlink_params *params = run->params;
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_NODE struct file_node now = {0};
    char temp[NAME_MAX + 1];
    bool apart = false;
    enum error_code code = file_undo_read(run, &undo, err);
    if (code == ERR_OK)
        code = file_undo_make_folders(&undo, err);
    if (code == ERR_OK)
        code = file_place_open(params->path, &place, err);
    if (code == ERR_OK)
        code = file_node_look(&place, &now, err);
    if (code == ERR_OK)
        code = replace_check(params, &now, err);
    if (code != ERR_OK)
        return code;
    file_temp_name(run, &place, temp);
    (void)unlinkat(place.dir_fd, temp, 0);
    *ret_changed = !leads_there(params, &now);
    if (!*ret_changed) /* perhaps by an earlier run that was cut off */
        return file_place_sync(&place, err);
    const struct file_node wanted = {
        .path = params->path, .kind = FILE_LINK, .meta = FILE_META_INIT, .target = params->target};
    return file_node_restore(run, &wanted, &place, &apart, err);
}

static void execute_work(const struct handler_run *run, struct handler_result *result,
                         struct buf *shown)
{
    const struct symlink_params *params = run->params;
    struct error err = {0};
    bool changed = false;
    (void)shown;
    if (link_make(run, &changed, &err) != ERR_OK)
        result_fail_error(result, &err);
    else
        result_succeed(result, changed, "%s %sleads to %s", params->path, changed ? "" : "already ",
                       file_path_shown(params->target));
}

/* ---- check ------------------------------------------------------------------------------- */

static enum error_code check(const struct handler_run *run, struct handler_result *result,
                             struct error *err)
{
    const struct symlink_params *params = run->params;
    AUTO_UNDO struct file_undo undo = {0};
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_NODE struct file_node now = {0};
    char text[FILE_TEXT_MAX];
    bool missing = false;
    enum error_code code =
        file_undo_place(params->path, params->create_parents, &undo, &place, &missing, err);
    if (code == ERR_OK && !missing)
        code = file_node_read(&place, &now, err);
    if (code == ERR_OK)
        code = replace_check(params, &now, err);
    if (code == ERR_OK)
        code = file_node_check(run, &now, result, err);
    if (code != ERR_OK)
        return code;
    file_node_text(&now, text);
    if (leads_there(params, &now))
        result_succeed(result, false, "%s already leads to %s", params->path,
                       file_path_shown(params->target));
    else
        result_succeed(result, true, "would have %s lead to %s; there is %s", params->path,
                       file_path_shown(params->target), text);
    return ERR_OK;
}

static void check_work(const struct handler_run *run, struct handler_result *result,
                       struct buf *shown)
{
    struct error err = {0};
    (void)shown;
    if (check(run, result, &err) != ERR_OK && result->message[0] == '\0')
        result_fail_error(result, &err);
}

/* ---- rollback ---------------------------------------------------------------------------- */

static enum error_code left_find(const struct handler_run *run, const struct file_undo *undo,
                                 size_t i, struct file_left *ret_left, int64_t *ret_size,
                                 struct error *err)
{
    const struct symlink_params *params = run->params;
    (void)undo;
    (void)i;
    (void)err;
    *ret_left = (struct file_left){.kind = FILE_LINK, .target = params->target};
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

static void symlink_run(struct handler_run *run)
{
    static const file_work works[] = {
        [HANDLER_PREPARE] = prepare_work,
        [HANDLER_EXECUTE] = execute_work,
        [HANDLER_ROLLBACK] = rollback_work,
        [HANDLER_CHECK] = check_work,
    };
    file_run_start(run, works[run->operation]);
}

const struct handler symlink_handler = {
    .type = &symlink_type,
    .prepare = symlink_run,
    .execute = symlink_run,
    .rollback = symlink_run,
    .check = symlink_run,
    .cancel = file_run_cancel,
};
