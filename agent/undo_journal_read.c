#include "agent/undo_journal_internal.h"

#include "agent/array_push.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>

/* Ends the use of a statement with the scope. */
static void stmt_reset_auto(struct db_stmt **s)
{
    if (*s)
        db_reset(*s);
}
#define AUTO_STMT __attribute__((cleanup(stmt_reset_auto)))

enum error_code undo_column_text(struct db_stmt *s, int column, const char **ret_text,
                                 size_t *ret_len, struct error *err)
{
    const char *text = db_column_text(s, column, ret_len);
    if (!text && !db_column_null(s, column))
        return error_set(err, ERR_NO_MEMORY, NULL);
    *ret_text = text;
    return ERR_OK;
}

static enum error_code use_for(struct undo_journal *j, enum undo_statement statement,
                               const char *server, const char *name, struct db_stmt **ret_stmt,
                               struct error *err)
{
    if (!j->reader)
        return error_set(err, ERR_UNAVAILABLE, "the journal is being closed");
    enum error_code code = db_use(j->reader, statement, ret_stmt, err);
    if (code != ERR_OK)
        return code;
    db_bind_text(*ret_stmt, 1, server, strlen(server));
    if (name)
        db_bind_text(*ret_stmt, 2, name, strlen(name));
    return ERR_OK;
}

/* The columns that UNDO_OPEN and UNDO_FIND begin with. */
static struct undo_status status_of(struct db_stmt *s)
{
    return (struct undo_status){
        .last_seq = db_column_int(s, 0),
        .acked_seq = db_column_int(s, 1),
        .settled = db_column_int(s, 2) != 0,
        .restarts = db_column_int(s, 3),
    };
}

enum error_code undo_journal_open_executions(
    struct undo_journal *j, const char *server,
    enum error_code (*each)(void *ctx, const char *rollout, const struct undo_status *status,
                            struct error *err),
    void *ctx, struct error *err)
{
    AUTO_STMT struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = use_for(j, UNDO_OPEN, server, NULL, &s, err);
    while (code == ERR_OK && (code = db_step(s, &row, err)) == ERR_OK && row) {
        struct undo_status status = status_of(s);
        const char *rollout = NULL;
        code = undo_column_text(s, 4, &rollout, NULL, err);
        if (code == ERR_OK && (!rollout || !id_valid(rollout)))
            code =
                error_set(err, ERR_CORRUPT, "the journal is damaged: an execution's name is none");
        if (code == ERR_OK)
            code = each(ctx, rollout, &status, err);
    }
    return code;
}

/* The statement UNDO_FIND, standing on the execution's row. */
static enum error_code find_row(struct undo_journal *j, const char *server, const char *rollout,
                                struct db_stmt **ret_stmt, struct error *err)
{
    bool row = false;
    enum error_code code = use_for(j, UNDO_FIND, server, rollout, ret_stmt, err);
    if (code == ERR_OK)
        code = db_step(*ret_stmt, &row, err);
    if (code == ERR_OK && !row)
        code = error_set(err, ERR_NOT_FOUND, "no record of this rollout on this server");
    return code;
}

enum error_code undo_journal_find(struct undo_journal *j, const char *server, const char *rollout,
                                  int64_t time_ms, struct undo_status *ret_status,
                                  struct error *err)
{
    AUTO_STMT struct db_stmt *s = NULL;
    enum error_code code = find_row(j, server, rollout, &s, err);
    if (code != ERR_OK)
        return code;
    struct undo_status status = status_of(s);
    /* What undo_journal_expire may be removing at this moment is not begun with again. */
    bool open = !status.settled || status.acked_seq < status.last_seq;
    if (!open && db_column_int(s, 4) < time_ms - j->retention_ms)
        return error_set(err, ERR_STALE, "the record of this rollout is past its retention");
    *ret_status = status;
    return ERR_OK;
}

/* ---- Entries ----------------------------------------------------------------------------- */

void undo_entries_done(struct array *entries)
{
    for (size_t i = 0; i < entries->count; i++)
        wire_entry_release(ARRAY_AT(entries, struct wire_entry, i));
    mem_free(entries->items);
    *entries = (struct array){0};
}
#define AUTO_ENTRIES __attribute__((cleanup(undo_entries_done)))

static enum error_code entry_add(struct array *entries, const char *text, size_t len,
                                 struct error *err)
{
    struct wire_entry *entry = array_push(entries, sizeof(*entry));
    if (!entry)
        return error_set(err, ERR_NO_MEMORY, NULL);
    enum error_code code = json_read(text, len, WIRE_MAX_BYTES, &wire_entry_table, entry, err);
    if (code == ERR_INVALID) {
        code = ERR_CORRUPT;
        if (err)
            err->code = code;
        return error_wrap(err, "a journal entry cannot be read");
    }
    return code;
}

enum error_code undo_journal_entries(struct undo_journal *j, const char *server,
                                     const char *rollout, const struct undo_portion *portion,
                                     struct array *ret_entries, struct error *err)
{
    AUTO_STMT struct db_stmt *s = NULL;
    AUTO_ENTRIES struct array entries = {0};
    size_t bytes = 0;
    bool row = false;
    enum error_code code = use_for(j, UNDO_ENTRIES, server, rollout, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 3, portion->after_seq);
    while ((code = db_step(s, &row, err)) == ERR_OK && row) {
        size_t len = 0;
        const char *text = NULL;
        code = undo_column_text(s, 0, &text, &len, err);
        if (code != ERR_OK)
            return code;
        bytes += len;
        if (entries.count > 0 &&
            (bytes > portion->max_bytes || entries.count == portion->max_count))
            break;
        code = undo_item_check(j, s, "entry", err);
        if (code == ERR_OK)
            code = entry_add(&entries, text ? text : "", len, err);
        if (code != ERR_OK)
            return code;
    }
    if (code != ERR_OK)
        return code;
    *ret_entries = entries;
    entries = (struct array){0};
    return ERR_OK;
}

/* ---- Whole executions ---------------------------------------------------------------------- */

void undo_image_done(struct undo_image *image)
{
    mem_free(image->spec);
    undo_entries_done(&image->entries);
    mem_free(image->captured.items);
    *image = (struct undo_image){0};
}
#define AUTO_IMAGE __attribute__((cleanup(undo_image_done)))

static enum error_code load_head(struct undo_journal *j, const char *server, const char *rollout,
                                 struct undo_image *image, struct error *err)
{
    AUTO_STMT struct db_stmt *s = NULL;
    enum error_code code = find_row(j, server, rollout, &s, err);
    if (code != ERR_OK)
        return code;
    image->status = status_of(s);
    image->spec_damaged = !undo_spec_holds(j, s, db_column_int(s, 5), 6, server, rollout);
    if (image->spec_damaged)
        return ERR_OK;
    size_t len = 0;
    const char *spec = NULL;
    code = undo_column_text(s, 6, &spec, &len, err);
    if (code != ERR_OK || !spec)
        return code;
    image->spec = mem_strndup(spec, len);
    image->spec_len = len;
    return image->spec ? ERR_OK : error_set(err, ERR_NO_MEMORY, NULL);
}

static enum error_code load_captured(struct undo_journal *j, const char *server,
                                     const char *rollout, struct array *steps, struct error *err)
{
    AUTO_STMT struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = use_for(j, UNDO_CAPTURED, server, rollout, &s, err);
    while (code == ERR_OK && (code = db_step(s, &row, err)) == ERR_OK && row) {
        int64_t *step = array_push(steps, sizeof(*step));
        if (!step)
            return error_set(err, ERR_NO_MEMORY, NULL);
        *step = db_column_int(s, 0);
    }
    return code;
}

enum error_code undo_journal_load(struct undo_journal *j, const char *server, const char *rollout,
                                  struct undo_image *ret_image, struct error *err)
{
    static const struct undo_portion all = {.max_bytes = SIZE_MAX, .max_count = SIZE_MAX};
    AUTO_IMAGE struct undo_image image = {0};
    enum error_code code = load_head(j, server, rollout, &image, err);
    if (code == ERR_OK)
        code = undo_journal_entries(j, server, rollout, &all, &image.entries, err);
    if (code == ERR_OK)
        code = load_captured(j, server, rollout, &image.captured, err);
    if (code != ERR_OK)
        return code;
    *ret_image = image;
    image = (struct undo_image){0};
    return ERR_OK;
}

enum error_code undo_journal_capture(struct undo_journal *j, const char *server,
                                     const char *rollout, uint32_t step, char **ret_undo,
                                     struct error *err)
{
    AUTO_STMT struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = use_for(j, UNDO_CAPTURE, server, rollout, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 3, step);
    const char *text = NULL;
    code = db_step(s, &row, err);
    if (code == ERR_OK && row)
        code = undo_column_text(s, 0, &text, NULL, err);
    if (code != ERR_OK)
        return code;
    if (!text)
        return error_set(err, ERR_NOT_FOUND, "nothing was captured for this step");
    code = undo_item_check(j, s, "capture of step", err);
    if (code != ERR_OK)
        return code;
    char *undo = mem_strdup(text);
    if (!undo)
        return error_set(err, ERR_NO_MEMORY, NULL);
    *ret_undo = undo;
    return ERR_OK;
}

enum error_code undo_journal_nonce(struct undo_journal *j, const char *server, const char *nonce,
                                   char ret_rollout[ID_BUFFER], struct error *err)
{
    AUTO_STMT struct db_stmt *s = NULL;
    bool row = false;
    const char *rollout = NULL;
    enum error_code code = use_for(j, UNDO_NONCE_FIND, server, nonce, &s, err);
    if (code == ERR_OK)
        code = db_step(s, &row, err);
    if (code == ERR_OK && row)
        code = undo_column_text(s, 0, &rollout, NULL, err);
    if (code != ERR_OK)
        return code;
    if (!row)
        return error_set(err, ERR_NOT_FOUND, "nothing with this nonce was run");
    (void)snprintf(ret_rollout, ID_BUFFER, "%s", rollout ? rollout : "");
    return ERR_OK;
}

enum error_code undo_journal_epoch(struct undo_journal *j, const char *server,
                                   const char *orchestrator, int64_t *ret_epoch, struct error *err)
{
    AUTO_STMT struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = use_for(j, UNDO_EPOCH_GET, server, orchestrator, &s, err);
    if (code == ERR_OK)
        code = db_step(s, &row, err);
    if (code != ERR_OK)
        return code;
    *ret_epoch = row ? db_column_int(s, 0) : 0;
    return ERR_OK;
}

enum error_code undo_journal_folder(struct undo_journal *j, const char *server, const char *rollout,
                                    uint32_t step, char ret_path[UNDO_FILES_PATH_MAX],
                                    struct error *err)
{
    return undo_files_make(j->files_root, server, rollout, step, ret_path, err);
}

enum error_code undo_journal_count(struct undo_journal *j, struct error *err)
{
    AUTO_STMT struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = db_use(j->reader, UNDO_KEPT, &s, err);
    if (code == ERR_OK)
        code = db_step(s, &row, err);
    if (code == ERR_OK && row)
        j->usage.used_bytes = db_column_int(s, 0);
    return code;
}

static enum error_code sweep_one(void *ctx, const char *server, const char *rollout,
                                 struct error *err)
{
    struct undo_journal *j = ctx;
    AUTO_STMT struct db_stmt *s = NULL;
    if (find_row(j, server, rollout, &s, err) == ERR_NOT_FOUND)
        error_ignore(undo_files_remove(j->files_root, server, rollout, NULL));
    return ERR_OK;
}

void undo_journal_sweep(struct undo_journal *j)
{
    /* Where it cannot be done, it may be possible when the agent starts the next time. */
    error_ignore(undo_files_each(j->files_root, sweep_one, j, NULL));
}
