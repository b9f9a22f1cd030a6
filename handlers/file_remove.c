#include "common/base/cleanup.h"
#include "handlers/file_run.h"
#include "handlers/file_undo.h"

#include <string.h>

/* ---- prepare ----------------------------------------------------------------------------- */

static enum error_code refuse_folder(const struct file_node *node, struct error *err)
{
    if (node->kind != FILE_FOLDER)
        return ERR_OK;
    return error_set(err, ERR_INVALID, "%s is a folder; a step of type directory removes it",
                     node->path);
}

static enum error_code capture(const struct handler_run *run, struct file_undo *undo,
                               struct handler_result *result, struct error *err)
{
    const struct file_remove_params *params = run->params;
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    enum error_code code = file_place_open(params->path, &place, err);
    if (code == ERR_NOT_FOUND) /* with its folder */
        return file_undo_nothing(params->path, undo, err);
    if (code == ERR_OK)
        code = file_undo_keep(run, &place, undo, result, err);
    return code == ERR_OK ? refuse_folder(file_undo_main(undo), err) : code;
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

static enum error_code remove_file(const struct handler_run *run, bool *ret_changed,
                                   struct error *err)
{
    AUTO_UNDO struct file_undo undo = {0};
    enum error_code code = file_undo_read(run, &undo, err);
    return code == ERR_OK ? file_undo_remove(file_undo_main(&undo), ret_changed, err) : code;
}

static void execute_work(const struct handler_run *run, struct handler_result *result,
                         struct buf *shown)
{
    const struct file_remove_params *params = run->params;
    struct error err = {0};
    bool changed = false;
    (void)shown;
    if (remove_file(run, &changed, &err) != ERR_OK)
        result_fail_error(result, &err);
    else
        result_succeed(result, changed, "%s %s", params->path,
                       changed ? "removed" : "is not there");
}

/* ---- check ------------------------------------------------------------------------------- */

static enum error_code check(const struct handler_run *run, struct handler_result *result,
                             struct error *err)
{
    const struct file_remove_params *params = run->params;
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    AUTO_NODE struct file_node node = {0};
    char text[FILE_TEXT_MAX];
    enum error_code code = file_place_open(params->path, &place, err);
    if (code == ERR_OK)
        code = file_node_read(&place, &node, err);
    if (code == ERR_OK)
        code = refuse_folder(&node, err);
    if (code == ERR_OK)
        code = file_node_check(run, &node, result, err);
    if (code == ERR_NOT_FOUND || (code == ERR_OK && node.kind == FILE_NOTHING)) {
        result_succeed(result, false, "%s is not there", params->path);
        return ERR_OK;
    }
    if (code != ERR_OK)
        return code;
    file_node_text(&node, text);
    result_succeed(result, true, "would remove %s: %s", params->path, text);
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

/* ---- The handler ------------------------------------------------------------------------- */

static void rollback_work(const struct handler_run *run, struct handler_result *result,
                          struct buf *shown)
{
    (void)shown;
    file_undo_rollback(run, file_left_nothing, result);
}

static void remove_run(struct handler_run *run)
{
    static const file_work works[] = {
        [HANDLER_PREPARE] = prepare_work,
        [HANDLER_EXECUTE] = execute_work,
        [HANDLER_ROLLBACK] = rollback_work,
        [HANDLER_CHECK] = check_work,
    };
    file_run_start(run, works[run->operation]);
}

const struct handler file_remove_handler = {
    .type = &file_remove_type,
    .prepare = remove_run,
    .execute = remove_run,
    .rollback = remove_run,
    .check = remove_run,
    .cancel = file_run_cancel,
};
