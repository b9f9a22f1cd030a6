#include "agent/undo_journal_internal.h"

#include "common/base/sum.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What is larger would keep the agent waiting when it starts. */
#define CHECK_MAX_BYTES (INT64_C(64) * 1024 * 1024)

enum item_column { ITEM_TEXT, ITEM_EXECUTION, ITEM_NUMBER, ITEM_SUM };
enum execution_column {
    EXECUTION_ID,
    EXECUTION_SERVER,
    EXECUTION_ROLLOUT,
    EXECUTION_SPEC,
    EXECUTION_SUM,
    EXECUTION_LAST_SEQ,
    EXECUTION_ACKED_SEQ,
    EXECUTION_SETTLED,
    EXECUTION_ENTRIES,
    EXECUTION_MAX_SEQ
};
enum nonce_column { NONCE_SERVER, NONCE_TEXT, NONCE_ROLLOUT, NONCE_EXPIRES, NONCE_SUM };

int64_t undo_sum_spec(const char *server, const char *rollout, const char *spec, size_t len)
{
    return (int64_t)sum_text(sum_string(sum_string(SUM_INIT, server), rollout), spec, len);
}

int64_t undo_sum_item(int64_t execution, int64_t number, const char *text, size_t len)
{
    return (int64_t)sum_text(sum_int(sum_int(SUM_INIT, execution), number), text, len);
}

int64_t undo_sum_nonce(const char *server, const char *nonce, const char *rollout,
                       int64_t expires_ms)
{
    uint64_t sum = sum_string(sum_string(sum_string(SUM_INIT, server), nonce), rollout);
    return (int64_t)sum_int(sum, expires_ms);
}

/* ---- Rows -------------------------------------------------------------------------------- */

static bool sum_holds(const struct undo_journal *j, struct db_stmt *s, int column, int64_t id,
                      int64_t sum)
{
    return db_column_null(s, column) ? id <= j->unsummed : db_column_int(s, column) == sum;
}

enum error_code undo_item_check(const struct undo_journal *j, struct db_stmt *s, const char *what,
                                struct error *err)
{
    size_t len = 0;
    const char *text = db_column_text(s, ITEM_TEXT, &len);
    int64_t execution = db_column_int(s, ITEM_EXECUTION);
    int64_t number = db_column_int(s, ITEM_NUMBER);
    int64_t sum = undo_sum_item(execution, number, text, len);
    if (text && sum_holds(j, s, ITEM_SUM, execution, sum))
        return ERR_OK;
    return error_set(err, ERR_CORRUPT,
                     "execution %" PRId64 " of the journal: %s %" PRId64 ": damaged", execution,
                     what, number);
}

bool undo_spec_holds(const struct undo_journal *j, struct db_stmt *s, int64_t id, int column,
                     const char *server, const char *rollout)
{
    size_t len = 0;
    const char *spec = db_column_text(s, column, &len);
    return spec ? sum_holds(j, s, column + 1, id, undo_sum_spec(server, rollout, spec, len))
                : db_column_null(s, column + 1);
}

/* ---- All of it --------------------------------------------------------------------------- */

/* Without its entries nothing can be told of an execution, nor gone on with it: that is the end.
 * Where its steps or a capture are damaged it can still be told, and what needs them fails: it must
 * not keep the agent from all else that it has to do and to undo. */

/* The entries' numbers run from 1 without a gap, and the execution's row says up to where. */
static enum error_code execution_check(struct undo_journal *j, struct db_stmt *s, struct error *err)
{
    int64_t id = db_column_int(s, EXECUTION_ID);
    const char *server = db_column_text(s, EXECUTION_SERVER, NULL);
    const char *rollout = db_column_text(s, EXECUTION_ROLLOUT, NULL);
    int64_t last_seq = db_column_int(s, EXECUTION_LAST_SEQ);
    int64_t acked_seq = db_column_int(s, EXECUTION_ACKED_SEQ);
    int64_t settled = db_column_int(s, EXECUTION_SETTLED);
    bool sound = server && id_valid(server) && rollout && id_valid(rollout) && acked_seq >= 0 &&
                 acked_seq <= last_seq && (settled == 0 || settled == 1) &&
                 db_column_int(s, EXECUTION_ENTRIES) == last_seq &&
                 db_column_int(s, EXECUTION_MAX_SEQ) == last_seq;
    if (!sound)
        return error_set(err, ERR_CORRUPT, "execution %" PRId64 " of the journal: damaged", id);
    if (!undo_spec_holds(j, s, id, EXECUTION_SPEC, server, rollout))
        (void)error_set(&j->damage, ERR_CORRUPT,
                        "execution %" PRId64 " of the journal: its steps: damaged", id);
    return ERR_OK;
}

static enum error_code entry_check(struct undo_journal *j, struct db_stmt *s, struct error *err)
{
    return undo_item_check(j, s, "entry", err);
}

static enum error_code capture_check(struct undo_journal *j, struct db_stmt *s, struct error *err)
{
    (void)err;
    error_ignore(undo_item_check(j, s, "capture of step", &j->damage));
    return ERR_OK;
}

/* One that cannot be read may be of a plan that could run once more until it expires. */
static enum error_code nonce_check(struct undo_journal *j, struct db_stmt *s, struct error *err)
{
    const char *server = db_column_text(s, NONCE_SERVER, NULL);
    const char *nonce = db_column_text(s, NONCE_TEXT, NULL);
    const char *rollout = db_column_text(s, NONCE_ROLLOUT, NULL);
    int64_t expires_ms = db_column_int(s, NONCE_EXPIRES);
    (void)err;
    if (!server || !nonce || !rollout ||
        db_column_int(s, NONCE_SUM) != undo_sum_nonce(server, nonce, rollout, expires_ms))
        error_ignore(
            error_set(&j->damage, ERR_CORRUPT, "a nonce of a signed plan that was run: damaged"));
    return ERR_OK;
}

static enum error_code
rows_check(struct undo_journal *j, struct db *db, enum undo_statement statement,
           enum error_code (*check)(struct undo_journal *j, struct db_stmt *s, struct error *err),
           struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = db_use(db, statement, &s, err);
    if (code != ERR_OK)
        return code;
    while ((code = db_step(s, &row, err)) == ERR_OK && row) {
        code = check(j, s, err);
        if (code != ERR_OK)
            break;
    }
    db_reset(s);
    return code;
}

static enum error_code unsummed_read(struct undo_journal *j, struct db *db, struct error *err)
{
    struct db_stmt *s = NULL;
    bool row = false;
    enum error_code code = db_use(db, UNDO_META_GET, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_text(s, 1, "unsummed", strlen("unsummed"));
    code = db_step(s, &row, err);
    const char *text = code == ERR_OK && row ? db_column_text(s, 0, NULL) : NULL;
    j->unsummed = text ? strtoll(text, NULL, 10) : 0;
    db_reset(s);
    return code;
}

/* A table or a column that is not there is found now, rather than when it is needed. */
static enum error_code statements_check(struct db *db, struct error *err)
{
    enum error_code code = ERR_OK;
    for (size_t i = 0; i < UNDO_STATEMENT_COUNT && code == ERR_OK; i++) {
        struct db_stmt *s = NULL;
        code = db_use(db, i, &s, err);
    }
    return code;
}

static void keep_first(void *ctx, const char *finding)
{
    struct error *first = ctx;
    if (first->code == ERR_OK)
        error_ignore(error_set(first, ERR_CORRUPT, "%s", finding));
}

/* The pages and the indexes, then what is in them. */
static enum error_code all_check(struct undo_journal *j, struct db *db, struct error *err)
{
    struct error first = {0};
    enum error_code code = db_check(db, keep_first, &first, err);
    if (code == ERR_OK && first.code != ERR_OK)
        code = error_set(err, first.code, "%s", first.message);
    if (code == ERR_OK)
        code = rows_check(j, db, UNDO_CHECK_EXECUTIONS, execution_check, err);
    if (code == ERR_OK)
        code = rows_check(j, db, UNDO_CHECK_ENTRIES, entry_check, err);
    if (code == ERR_OK)
        code = rows_check(j, db, UNDO_CHECK_CAPTURES, capture_check, err);
    if (code == ERR_OK)
        code = rows_check(j, db, UNDO_CHECK_NONCES, nonce_check, err);
    return code;
}

enum error_code undo_journal_check(struct undo_journal *j, struct db *db, const char *path,
                                   struct error *err)
{
    struct error why = {0};
    enum error_code code = statements_check(db, &why);
    if (code == ERR_OK)
        code = unsummed_read(j, db, &why);
    if (code == ERR_OK && db_size_bytes(db) <= CHECK_MAX_BYTES)
        code = all_check(j, db, &why);
    /* The statements are fixed: they fail so only on tables that are not what they were made as. */
    if (code == ERR_INTERNAL)
        code = error_set(&why, ERR_CORRUPT, "its tables are damaged");
    if (code == ERR_CORRUPT)
        return error_set(err, code, "%s: damaged; kitsune-agent(8) says what to do: %.100s", path,
                         why.message);
    return code == ERR_OK ? ERR_OK : error_set(err, code, "%s", why.message);
}
