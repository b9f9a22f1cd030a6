/*
 * db_internal: what the files of this folder share of a connection. Not for anybody else.
 */
#pragma once

#include "common/base/error.h"
#include "common/db/db.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

struct db_stmt {
    struct db *db;
    sqlite3_stmt *stmt; /* NULL until first used */
    int bind_failed;    /* SQLite's first failure to bind since db_use; SQLITE_OK */
};

struct db {
    sqlite3 *handle;
    char *path;
    const struct db_schema *schema; /* borrowed for the connection's life */
    struct db_stmt *statements;     /* schema->statement_count of them */
    enum db_mode mode;
    struct db_log log; /* as it was found */
};

/* Turns SQLite's last failure on this connection into an error that names the file. To be called
 * right after the call that failed, while errno still tells of it; that call sets errno to 0 first
 * (SQLite itself keeps no errno of a failure within a commit). */
enum error_code db_fail(const struct db *db, struct error *err);
/* sqlite3_step with errno set to 0 first. */
int db_step_raw(sqlite3_stmt *stmt);
/* Runs SQL that gives no rows. */
enum error_code db_exec(struct db *db, const char *sql, struct error *err) MUST_CHECK;
/* Runs SQL that gives one number. */
enum error_code db_query_int(struct db *db, const char *sql, int64_t *ret_value,
                             struct error *err) MUST_CHECK;
