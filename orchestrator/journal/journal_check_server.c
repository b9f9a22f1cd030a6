/* journal_check_server: looking for damage in what is kept of servers. */
#include "orchestrator/journal/journal_check.h"
#include "orchestrator/journal/journal_schema.h"

#include <stdio.h>
#include <string.h>

/* The servers that the row of JOURNAL_TOUCHES stands for, and those before it that have none. */
static void check_touch(struct check *c, const struct subject *subject, const struct replay *r,
                        const struct touch *row, uint32_t *next)
{
    char what[ID_BUFFER + 64];
    struct touch wanted = {0};
    uint32_t end = row == NULL ? plan_server_count(r->plan) : row->server;
    for (; *next < end && *next < plan_server_count(r->plan); ++*next) {
        if (!touch_of(r->engine, *next, &wanted))
            continue;
        (void)snprintf(what, sizeof(what), "that it touched server %s is not recorded",
                       wanted.name);
        check_found(c, subject->id, 0, what);
    }
    if (row == NULL)
        return;
    *next = row->server + 1;
    if (row->server >= plan_server_count(r->plan) || !touch_of(r->engine, row->server, &wanted) ||
        strcmp(wanted.name, row->name) != 0 || wanted.undone != row->undone)
        check_found(c, subject->id, 0, "the record of a touched server is not that of its events");
}

/* Each row by its sum, and, where the events were replayed, against them. */
enum error_code check_touches(struct check *c, const struct subject *subject,
                              const struct course *course, struct error *err)
{
    struct db_stmt *s = NULL;
    struct error why = {0};
    const struct replay *r =
        course->replaying && subject->num > c->j->untouched ? &course->replay : NULL;
    uint32_t next = 0;
    bool row = true;
    enum error_code code = db_use(c->db, JOURNAL_TOUCHES, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, touch_key(subject->num, 0));
    db_bind_int(s, 2, touch_key(subject->num + 1, 0) - 1);
    while ((code = db_step(s, &row, &why)) == ERR_OK && row) {
        struct touch touch;
        code = touch_read(s, &touch, &why);
        if (code == ERR_CORRUPT) {
            check_found(c, subject->id, 0, "the record of a touched server is damaged");
            next = ((uint32_t)db_column_int(s, TOUCH_COLUMN_KEY) & TOUCH_SERVER_MASK) + 1;
            continue;
        }
        if (code != ERR_OK)
            break;
        if (r != NULL)
            check_touch(c, subject, r, &touch, &next);
    }
    db_reset(s);
    if (code == ERR_OK && r != NULL)
        check_touch(c, subject, r, NULL, &next);
    return check_found_or_fail(c, subject->id, 0, code, &why, err);
}

enum error_code check_locks(struct check *c, struct error *err)
{
    struct db_stmt *s = NULL;
    struct error why = {0};
    bool row = true;
    enum error_code code = db_use(c->db, JOURNAL_LOCKS, &s, err);
    if (code != ERR_OK)
        return code;
    db_bind_int(s, 1, INT64_MIN); /* those that are over, too */
    while ((code = db_step(s, &row, &why)) == ERR_OK && row) {
        struct journal_server_lock lock;
        code = lock_read(s, &lock, &why);
        if (code == ERR_CORRUPT)
            check_found(c, NULL, 0, why.message);
        else if (code != ERR_OK)
            break;
    }
    db_reset(s);
    return check_found_or_fail(c, NULL, 0, code, &why, err);
}
