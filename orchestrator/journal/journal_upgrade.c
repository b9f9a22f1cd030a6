/* journal_upgrade: what journals of earlier versions lack, made of their events. */
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/journal_internal.h"
#include "orchestrator/journal/journal_schema.h"

#include <string.h>

enum { UPGRADE_GROUP = 256 }; /* rollouts in one transaction */

/* A rollout's row, copied so that its statement is free again. */
struct former {
    char id[ID_BUFFER];
    int64_t num;
    struct journal_summary summary;
    uint64_t last_seq;
    bool sound; /* a damaged one is passed over here, and refused where it is read */
};

/* The newest one up to number `num`. */
static enum error_code former_find(const struct journal *j, struct db *db, int64_t num,
                                   struct former *ret, bool *ret_found, struct error *err)
{
    struct db_stmt *s = NULL;
    struct journal_rollout r;
    enum error_code code = db_use(db, JOURNAL_ROLLOUT_UP_TO, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, num);
    code = db_step(s, ret_found, err);
    if (code == ERR_OK && *ret_found) {
        *ret = (struct former){.num = db_column_int(s, COLUMN_NUM)};
        code = rollout_read_row(s, j->unsummed, &r, err);
        ret->sound = code == ERR_OK;
        if (code == ERR_OK) {
            memcpy(ret->id, r.id, strnlen(r.id, ID_MAX));
            ret->summary = r.summary;
            ret->last_seq = r.last_seq;
        }
    }
    db_reset(s);
    return code == ERR_CORRUPT ? ERR_OK : code;
}

static enum error_code former_record(struct db *db, const struct former *former,
                                     const struct replay *r, struct error *err)
{
    struct journal_summary summary = former->summary;
    summary.counts.unchanged = engine_counts(r->engine).unchanged;
    bool final = rollout_state_final(summary.state);
    enum error_code code = ERR_OK;
    for (uint32_t i = 0; i < plan_server_count(r->plan) && code == ERR_OK; i++) {
        struct touch touch;
        if (touch_of(r->engine, i, &touch))
            code = touch_put(db, former->num, &touch, err);
        if (final && engine_standing(r->engine, i) != 0)
            summary.undo_owed = true;
    }
    if (code == ERR_OK && (summary.undo_owed || summary.counts.unchanged > 0))
        code = summary_write(db, former->num, &summary, former->last_seq, err);
    return code;
}

static enum error_code former_upgrade(const struct journal *j, struct db *db,
                                      const struct former *former, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    __attribute__((cleanup(replay_done))) struct replay r = {.id = former->id,
                                                             .unsummed = j->unsummed};
    enum error_code code = plan_read_text(db, former->id, former->num, j->unsummed, &text, err);
    if (code == ERR_OK)
        code = replay_begin(&r, text.data, text.len, err);
    if (code == ERR_OK)
        code = replay_all(&r, db, former->num, err);
    if (code == ERR_OK)
        code = former_record(db, former, &r, err);
    return code == ERR_CORRUPT ? ERR_OK : code;
}

/* In a transaction: the next few, the newest first. */
static enum error_code upgrade_group(struct journal *j, struct db *db, int64_t *ret_left,
                                     struct error *err)
{
    int64_t left = j->untouched;
    enum error_code code = ERR_OK;
    for (int i = 0; i < UPGRADE_GROUP && left > 0 && code == ERR_OK; i++) {
        struct former former = {0};
        bool found = false;
        code = former_find(j, db, left, &former, &found, err);
        left = found ? former.num - 1 : 0;
        if (code == ERR_OK && former.sound)
            code = former_upgrade(j, db, &former, err);
    }
    if (code == ERR_OK)
        code = record_untouched(db, left, err);
    *ret_left = left;
    return code;
}

enum error_code upgrade(struct journal *j, struct db *db, struct error *err)
{
    while (j->untouched > 0) {
        int64_t left = 0;
        enum error_code code = db_begin(db, err);
        if (code == ERR_OK)
            code = upgrade_group(j, db, &left, err);
        if (code == ERR_OK)
            code = db_commit(db, err);
        if (code != ERR_OK) {
            db_rollback(db);
            return code;
        }
        j->untouched = left;
    }
    return ERR_OK;
}
