#include "unit/access/support_access.h"

#include "orchestrator/access/access_internal.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void wake(void *ctx)
{
    (void)ctx;
}

void store_done(void *ctx, enum error_code result, const struct error *err)
{
    struct store *s = ctx;
    assert_true(result == ERR_OK ? err == NULL : err->message[0] != '\0');
    s->done++;
    s->last = result;
}

static void store_open(struct store *s)
{
    struct error err = {0};
    enum error_code code = access_open(s->folder, wake, s, &s->access, &err);
    if (code != ERR_OK)
        fail_msg("%s", err.message);
}

int store_setup(void **state)
{
    struct store *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    (void)snprintf(s->folder, sizeof(s->folder), "/tmp/kitsune-access-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    store_open(s);
    *state = s;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

int store_teardown(void **state)
{
    struct store *s = *state;
    access_close(s->access);
    (void)nftw(s->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(s);
    return 0;
}

void store_reopen(struct store *s)
{
    access_close(s->access);
    s->access = NULL;
    store_open(s);
}

void store_tamper(struct store *s, const char *sql)
{
    char path[128];
    struct db_schema schema = access_schema;
    struct db *db = NULL;
    struct db_stmt *stmt = NULL;
    struct error err = {0};
    access_close(s->access);
    s->access = NULL;
    schema.statements = &sql;
    schema.statement_count = 1;
    (void)snprintf(path, sizeof(path), "%s/access.db", s->folder);
    assert_int_equal(db_open(path, DB_READ_WRITE, &schema, &db, &err), ERR_OK);
    assert_int_equal(db_use(db, 0, &stmt, &err), ERR_OK);
    assert_int_equal(db_run(stmt, &err), ERR_OK);
    assert_true(db_changes(db) > 0);
    db_close(db);
    store_open(s);
}
