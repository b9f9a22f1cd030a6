#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/db/db.h"
#include "unit/db/support_db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    SQL_INSERT,
    SQL_SELECT,
    SQL_COUNT,
    SQL_INSERT_CHILD,
    SQL_FILL,
    SQL_MAX_PAGES,
    SQL_NO_WAIT,
    SQL_SYNCHRONOUS,
    SQL_JOURNAL_MODE,
    SQL_AUTOCHECKPOINT,
    SQL_MMAP,
    SQL_CELL_CHECK,
    SQL_TRUSTED,
    SQL_DOUBLE_QUOTED,
    SQL_COUNT_STATEMENTS
};

static const char *const statements[SQL_COUNT_STATEMENTS] = {
    [SQL_INSERT] = "INSERT INTO item(id, text) VALUES(?1, ?2)",
    [SQL_SELECT] = "SELECT text FROM item WHERE id = ?1",
    [SQL_COUNT] = "SELECT count(*) FROM item",
    [SQL_INSERT_CHILD] = "INSERT INTO child(item) VALUES(?1)",
    [SQL_FILL] = ("WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1) "
                  "INSERT INTO item(text) SELECT hex(zeroblob(500)) FROM n"),
    [SQL_MAX_PAGES] = "PRAGMA max_page_count=20",
    [SQL_NO_WAIT] = "PRAGMA busy_timeout=0",
    [SQL_SYNCHRONOUS] = "PRAGMA synchronous",
    [SQL_JOURNAL_MODE] = "PRAGMA journal_mode",
    [SQL_AUTOCHECKPOINT] = "PRAGMA wal_autocheckpoint",
    [SQL_MMAP] = "PRAGMA mmap_size",
    [SQL_CELL_CHECK] = "PRAGMA cell_size_check",
    [SQL_TRUSTED] = "PRAGMA trusted_schema",
    [SQL_DOUBLE_QUOTED] = "SELECT \"not a column\" FROM item",
};

static const char *const migrations[] = {
    "CREATE TABLE item(id INTEGER PRIMARY KEY, text TEXT);",
    "CREATE TABLE child(item INTEGER NOT NULL REFERENCES item(id));"
    "CREATE INDEX child_item ON child(item);",
};

static const struct db_schema schema_one = {0x4b495431, migrations,           1,
                                            statements, SQL_COUNT_STATEMENTS, false};
static const struct db_schema schema_two = {0x4b495431, migrations,           2,
                                            statements, SQL_COUNT_STATEMENTS, false};

static int setup(void **state)
{
    static struct tmp_dir dir;
    tmp_dir_init(&dir);
    *state = &dir;
    return 0;
}

static int teardown(void **state)
{
    tmp_dir_done(*state);
    return 0;
}

static struct db *open_or_fail(const char *path, enum db_mode mode, const struct db_schema *schema)
{
    struct db *db = NULL;
    struct error err = {0};
    if (db_open(path, mode, schema, &db, &err) != ERR_OK)
        fail_msg("db_open: %s", err.message);
    return db;
}

static void expect_refusal(const char *path, enum db_mode mode, const struct db_schema *schema,
                           enum error_code code, const char *words)
{
    struct db *db = NULL;
    struct error err = {0};
    assert_int_equal(db_open(path, mode, schema, &db, &err), code);
    assert_null(db);
    if (strstr(err.message, path) == NULL || strstr(err.message, words) == NULL)
        fail_msg("the message does not name %s and \"%s\": %s", path, words, err.message);
}

static struct db_stmt *use(struct db *db, size_t statement)
{
    struct db_stmt *s = NULL;
    assert_int_equal(db_use(db, statement, &s, NULL), ERR_OK);
    return s;
}

static enum error_code insert(struct db *db, int64_t id, const char *text, struct error *err)
{
    struct db_stmt *s = use(db, SQL_INSERT);
    db_bind_int(s, 1, id);
    db_bind_text(s, 2, text, text == NULL ? 0 : strlen(text));
    return db_run(s, err);
}

static enum error_code fill(struct db *db, int64_t rows, struct error *err)
{
    struct db_stmt *s = use(db, SQL_FILL);
    db_bind_int(s, 1, rows);
    return db_run(s, err);
}

static int64_t number(struct db *db, size_t statement)
{
    struct db_stmt *s = use(db, statement);
    bool row = false;
    struct error err = {0};
    if (db_step(s, &row, &err) != ERR_OK || !row)
        fail_msg("statement %zu: %s", statement, err.message);
    int64_t value = db_column_int(s, 0);
    db_reset(s);
    return value;
}

/* Runs SQL past the layer under test. */
static void outside(const char *path, const char *sql)
{
    sqlite3 *handle = NULL;
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        fail_msg("%s: %s", path, strerror(errno));
    return st.st_mode & 07777;
}

static void a_new_database_has_the_schema_and_keeps_its_rows(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    struct db *db = open_or_fail(path, DB_READ_WRITE, &schema_one);
    assert_int_equal(insert(db, 7, "seven", NULL), ERR_OK);
    assert_int_equal(db_last_rowid(db), 7);
    assert_int_equal(db_changes(db), 1);
    db_close(db);

    db = open_or_fail(path, DB_READ_WRITE, &schema_one);
    struct db_stmt *s = use(db, SQL_SELECT);
    db_bind_int(s, 1, 7);
    bool row = false;
    assert_int_equal(db_step(s, &row, NULL), ERR_OK);
    assert_true(row);
    size_t len = 0;
    assert_string_equal(db_column_text(s, 0, &len), "seven");
    assert_int_equal(len, 5);
    assert_int_equal(db_step(s, &row, NULL), ERR_OK);
    assert_false(row);
    db_reset(s);
    db_close(db);
}

static void the_durable_and_safe_settings_are_in_force(void **state)
{
    struct db *db = open_or_fail(tmp_dir_file(*state, "a.db"), DB_READ_WRITE, &schema_one);
    assert_int_equal(number(db, SQL_SYNCHRONOUS), 2);
    assert_int_equal(number(db, SQL_AUTOCHECKPOINT), 4000);
    assert_int_equal(number(db, SQL_CELL_CHECK), 1);
    assert_int_equal(number(db, SQL_TRUSTED), 0);
    struct db_stmt *s = use(db, SQL_JOURNAL_MODE);
    bool row = false;
    assert_int_equal(db_step(s, &row, NULL), ERR_OK);
    assert_string_equal(db_column_text(s, 0, NULL), "wal");
    db_reset(s);
    s = use(db, SQL_MMAP);
    assert_int_equal(db_step(s, &row, NULL), ERR_OK);
    assert_true(!row || db_column_int(s, 0) == 0);
    db_reset(s);
    db_close(db);
}

static void a_misspelt_column_is_no_text(void **state)
{
    struct db *db = open_or_fail(tmp_dir_file(*state, "a.db"), DB_READ_WRITE, &schema_one);
    struct db_stmt *s = NULL;
    struct error err = {0};
    assert_int_equal(db_use(db, SQL_DOUBLE_QUOTED, &s, &err), ERR_INTERNAL);
    assert_non_null(strstr(err.message, "not a column"));
    db_close(db);
}

static void a_newer_program_brings_the_schema_up_to_date(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    struct db *db = open_or_fail(path, DB_READ_WRITE, &schema_one);
    assert_int_equal(insert(db, 1, "kept", NULL), ERR_OK);
    db_close(db);
    db = open_or_fail(path, DB_READ_WRITE, &schema_two);
    assert_int_equal(number(db, SQL_COUNT), 1);
    struct db_stmt *s = use(db, SQL_INSERT_CHILD);
    db_bind_int(s, 1, 1);
    assert_int_equal(db_run(s, NULL), ERR_OK);
    db_close(db);
    db_close(open_or_fail(path, DB_READ_WRITE, &schema_two));
}

static void a_newer_schema_is_refused_by_an_older_program(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    db_close(open_or_fail(path, DB_READ_WRITE, &schema_two));
    expect_refusal(path, DB_READ_WRITE, &schema_one, ERR_UNSUPPORTED, "newer version");
    expect_refusal(path, DB_READ_ONLY, &schema_one, ERR_UNSUPPORTED, "newer version");
}

static void a_reader_does_not_take_an_older_schema(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    db_close(open_or_fail(path, DB_READ_WRITE, &schema_one));
    expect_refusal(path, DB_READ_ONLY, &schema_two, ERR_UNSUPPORTED, "older version");
}

static void a_migration_that_fails_changes_nothing(void **state)
{
    static const char *const broken[] = {
        "CREATE TABLE item(id INTEGER PRIMARY KEY, text TEXT);",
        "CREATE TABLE half(id INTEGER); CREATE TABLE item(id INTEGER);",
    };
    struct db_schema schema_broken = schema_two;
    schema_broken.migrations = broken;
    const char *path = tmp_dir_file(*state, "a.db");
    expect_refusal(path, DB_READ_WRITE, &schema_broken, ERR_INTERNAL, "schema step 2");
    /* The first step stands, the half of the second is gone. */
    db_close(open_or_fail(path, DB_READ_ONLY, &schema_one));
    outside(path, "CREATE TABLE half(id INTEGER)");
}

static void another_programs_database_is_refused_and_left_alone(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    outside(path, "PRAGMA application_id=99; CREATE TABLE theirs(x)");
    expect_refusal(path, DB_READ_WRITE, &schema_one, ERR_CORRUPT, "another program");
    sqlite3 *handle = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(handle, "PRAGMA journal_mode", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "delete");
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(handle);
}

static void an_unmarked_database_with_tables_is_refused(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    outside(path, "CREATE TABLE theirs(x)");
    expect_refusal(path, DB_READ_WRITE, &schema_one, ERR_CORRUPT, "another program");
}

static void a_file_that_is_no_database_is_refused(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT, 0600);
    char text[4096];
    memset(text, 'x', sizeof(text));
    assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
    expect_refusal(path, DB_READ_WRITE, &schema_one, ERR_CORRUPT, "not a database");
}

/* SQLite would take it for one that may only be read, and a person would be sent to look at its
 * mode. */
static void a_header_that_forbids_writing_is_damage(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    static const char version = 6;
    db_close(open_or_fail(path, DB_READ_WRITE, &schema_one));
    AUTO_CLOSE int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, &version, 1, 18), 1);
    expect_refusal(path, DB_READ_WRITE, &schema_one, ERR_CORRUPT, "its header is damaged");
    expect_refusal(path, DB_READ_ONLY, &schema_one, ERR_CORRUPT, "its header is damaged");
}

static void a_missing_folder_or_file_is_named(void **state)
{
    expect_refusal(tmp_dir_file(*state, "no/such.db"), DB_READ_WRITE, &schema_one, ERR_NOT_FOUND,
                   "No such file");
    expect_refusal(tmp_dir_file(*state, "none.db"), DB_READ_ONLY, &schema_one, ERR_NOT_FOUND,
                   "No such file");
}

static void a_symbolic_link_is_refused(void **state)
{
    char target[128];
    (void)snprintf(target, sizeof(target), "%s", tmp_dir_file(*state, "target"));
    const char *path = tmp_dir_file(*state, "a.db");
    assert_int_equal(symlink(target, path), 0);
    expect_refusal(path, DB_READ_WRITE, &schema_one, ERR_DENIED, "not a regular file");
    assert_int_equal(access(target, F_OK), -1);
}

static void the_files_are_private_whatever_the_umask(void **state)
{
    static const mode_t masks[] = {0, 0277};
    for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "m%zu.db", i);
        const char *path = tmp_dir_file(*state, name);
        mode_t before = umask(masks[i]);
        struct db *db = open_or_fail(path, DB_READ_WRITE, &schema_one);
        (void)umask(before);
        char beside[160];
        assert_int_equal(mode_of(path), 0600);
        (void)snprintf(beside, sizeof(beside), "%s-wal", path);
        assert_int_equal(mode_of(beside), 0600);
        (void)snprintf(beside, sizeof(beside), "%s-shm", path);
        assert_int_equal(mode_of(beside), 0600);
        db_close(db);
    }
}

static void a_mode_that_is_too_wide_is_narrowed(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    db_close(open_or_fail(path, DB_READ_WRITE, &schema_one));
    assert_int_equal(chmod(path, 0644), 0);
    db_close(open_or_fail(path, DB_READ_WRITE, &schema_one));
    assert_int_equal(mode_of(path), 0600);
}

static void a_full_database_says_no_space_and_keeps_what_it_had(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    struct db *db = open_or_fail(path, DB_READ_WRITE, &schema_one);
    assert_int_equal(insert(db, 1, "kept", NULL), ERR_OK);
    assert_int_equal(number(db, SQL_MAX_PAGES), 20);
    assert_int_equal(db_begin(db, NULL), ERR_OK);
    struct error err = {0};
    assert_int_equal(fill(db, 1000, &err), ERR_NO_SPACE);
    assert_non_null(strstr(err.message, path));
    db_rollback(db);
    assert_false(db_in_transaction(db));
    assert_int_equal(number(db, SQL_COUNT), 1);
    db_close(db);
}

/* What the disk says, and what becomes of it. */
static void disk_failures_are_told_apart(void **state)
{
    static const struct {
        int sync, write, errnum;
        enum error_code code;
    } cases[] = {
        {SQLITE_OK, SQLITE_FULL, ENOSPC, ERR_NO_SPACE},
        {SQLITE_OK, SQLITE_IOERR_WRITE, ENOSPC, ERR_NO_SPACE},
        {SQLITE_OK, SQLITE_IOERR_WRITE, EDQUOT, ERR_NO_SPACE},
        {SQLITE_OK, SQLITE_IOERR_WRITE, EIO, ERR_IO},
        {SQLITE_OK, SQLITE_READONLY, EROFS, ERR_DENIED},
        {SQLITE_OK, SQLITE_IOERR_WRITE, EROFS, ERR_DENIED},
        /* The file was taken away from under it: nothing that it writes would be found again. */
        {SQLITE_OK, SQLITE_READONLY_DBMOVED, 0, ERR_IO},
        /* What errno said before is not about this failure. */
        {SQLITE_OK, SQLITE_IOERR_WRITE, 0, ERR_IO},
        /* A failed fsync is no lack of space whatever errno says. */
        {SQLITE_IOERR_FSYNC, SQLITE_OK, EIO, ERR_IO},
        {SQLITE_IOERR_FSYNC, SQLITE_OK, ENOSPC, ERR_IO},
        {SQLITE_IOERR_FSYNC, SQLITE_OK, EROFS, ERR_IO},
    };
    disk_install();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "d%zu.db", i);
        const char *path = tmp_dir_file(*state, name);
        struct db *db = open_or_fail(path, DB_READ_WRITE, &schema_one);
        disk_fail_sync(cases[i].sync, cases[i].errnum);
        disk_fail_write(cases[i].write, cases[i].errnum);
        struct error err = {0};
        errno = ENOSPC;
        assert_int_equal(insert(db, 1, "x", &err), cases[i].code);
        assert_non_null(strstr(err.message, path));
        disk_fail_sync(SQLITE_OK, 0);
        disk_fail_write(SQLITE_OK, 0);
        db_close(db);
    }
    disk_remove();
}

static void a_broken_constraint_is_a_conflict(void **state)
{
    struct db *db = open_or_fail(tmp_dir_file(*state, "a.db"), DB_READ_WRITE, &schema_two);
    assert_int_equal(insert(db, 1, "first", NULL), ERR_OK);
    assert_int_equal(insert(db, 1, "second", NULL), ERR_CONFLICT);
    struct db_stmt *s = use(db, SQL_INSERT_CHILD);
    db_bind_int(s, 1, 12345);
    assert_int_equal(db_run(s, NULL), ERR_CONFLICT);
    db_close(db);
}

static void a_database_that_another_writes_is_busy(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    struct db *one = open_or_fail(path, DB_READ_WRITE, &schema_one);
    struct db *two = open_or_fail(path, DB_READ_WRITE, &schema_one);
    assert_int_equal(number(two, SQL_NO_WAIT), 0);
    assert_int_equal(db_begin(one, NULL), ERR_OK);
    struct error err = {0};
    assert_int_equal(db_begin(two, &err), ERR_BUSY);
    assert_non_null(strstr(err.message, path));
    db_rollback(one);
    assert_int_equal(db_begin(two, NULL), ERR_OK);
    db_rollback(two);
    db_close(two);
    db_close(one);
}

static void a_second_open_does_not_drop_the_firsts_locks(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    struct db *one = open_or_fail(path, DB_READ_WRITE, &schema_one);
    assert_int_equal(insert(one, 1, "x", NULL), ERR_OK);
    db_close(open_or_fail(path, DB_READ_WRITE, &schema_one));
    /* While a connection holds its shared lock nobody may delete the log; were the lock lost, the
     * close of an outside connection would take itself for the last one. */
    pid_t child = fork();
    if (child == 0) {
        struct flock lock = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x40000002, .l_len = 510};
        int fd = open(path, O_RDWR);
        _exit(fd >= 0 && fcntl(fd, F_SETLK, &lock) == -1 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    db_close(one);
}

static void a_reader_sees_what_is_committed_and_cannot_write(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    struct db *writer = open_or_fail(path, DB_READ_WRITE, &schema_one);
    struct db *reader = open_or_fail(path, DB_READ_ONLY, &schema_one);
    assert_int_equal(db_begin(writer, NULL), ERR_OK);
    assert_int_equal(insert(writer, 1, "x", NULL), ERR_OK);
    assert_int_equal(number(reader, SQL_COUNT), 0);
    assert_int_equal(db_commit(writer, NULL), ERR_OK);
    assert_int_equal(number(reader, SQL_COUNT), 1);
    assert_int_equal(insert(reader, 2, "y", NULL), ERR_DENIED);
    db_close(writer);
    assert_int_equal(number(reader, SQL_COUNT), 1);
    db_close(reader);
}

static void a_savepoint_is_undone_alone(void **state)
{
    struct db *db = open_or_fail(tmp_dir_file(*state, "a.db"), DB_READ_WRITE, &schema_one);
    assert_int_equal(db_begin(db, NULL), ERR_OK);
    assert_true(db_in_transaction(db));
    assert_int_equal(insert(db, 1, "kept", NULL), ERR_OK);
    assert_int_equal(db_savepoint(db, NULL), ERR_OK);
    assert_int_equal(insert(db, 2, "undone", NULL), ERR_OK);
    assert_int_equal(db_savepoint_undo(db, NULL), ERR_OK);
    assert_int_equal(db_savepoint(db, NULL), ERR_OK);
    assert_int_equal(insert(db, 3, "kept", NULL), ERR_OK);
    assert_int_equal(db_savepoint_keep(db, NULL), ERR_OK);
    assert_int_equal(db_commit(db, NULL), ERR_OK);
    assert_int_equal(number(db, SQL_COUNT), 2);
    db_close(db);
}

static void a_rollback_without_a_transaction_is_fine(void **state)
{
    struct db *db = open_or_fail(tmp_dir_file(*state, "a.db"), DB_READ_WRITE, &schema_one);
    db_rollback(db);
    assert_int_equal(insert(db, 1, "x", NULL), ERR_OK);
    db_close(db);
    db_close(NULL);
}

static void nothing_is_told_from_empty_text(void **state)
{
    struct db *db = open_or_fail(tmp_dir_file(*state, "a.db"), DB_READ_WRITE, &schema_one);
    assert_int_equal(insert(db, 1, NULL, NULL), ERR_OK);
    assert_int_equal(insert(db, 2, "", NULL), ERR_OK);
    for (int64_t id = 1; id <= 2; id++) {
        struct db_stmt *s = use(db, SQL_SELECT);
        db_bind_int(s, 1, id);
        bool row = false;
        assert_int_equal(db_step(s, &row, NULL), ERR_OK);
        assert_true(row);
        assert_int_equal(db_column_null(s, 0), id == 1);
        size_t len = 99;
        const char *text = db_column_text(s, 0, &len);
        assert_int_equal(text == NULL, id == 1);
        assert_int_equal(len, 0);
        db_reset(s);
    }
    db_close(db);
}

static void bindings_do_not_outlive_their_use(void **state)
{
    struct db *db = open_or_fail(tmp_dir_file(*state, "a.db"), DB_READ_WRITE, &schema_one);
    assert_int_equal(insert(db, 1, "x", NULL), ERR_OK);
    struct db_stmt *s = use(db, SQL_INSERT);
    assert_int_equal(db_run(s, NULL), ERR_OK); /* unbound: NULL, so the next id and no text */
    s = use(db, SQL_SELECT);
    db_bind_int(s, 1, 2);
    bool row = false;
    assert_int_equal(db_step(s, &row, NULL), ERR_OK);
    assert_true(row);
    assert_true(db_column_null(s, 0));
    db_close(db); /* with a statement under way */
}

static void a_bind_that_fails_surfaces_at_the_step(void **state)
{
    struct db *db = open_or_fail(tmp_dir_file(*state, "a.db"), DB_READ_WRITE, &schema_one);
    struct db_stmt *s = use(db, SQL_SELECT);
    db_bind_int(s, 2, 1);
    db_bind_int(s, 1, 1);
    bool row = false;
    assert_int_equal(db_step(s, &row, NULL), ERR_INTERNAL);
    s = use(db, SQL_SELECT);
    db_bind_int(s, 1, 1);
    assert_int_equal(db_step(s, &row, NULL), ERR_OK);
    db_close(db);
}

static void damage_is_found(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    struct db *db = open_or_fail(path, DB_READ_WRITE, &schema_one);
    assert_int_equal(fill(db, 200, NULL), ERR_OK);
    assert_int_equal(db_verify(db, NULL), ERR_OK);
    db_close(db);

    AUTO_CLOSE int fd = open(path, O_WRONLY);
    char junk[1024];
    memset(junk, 0xa5, sizeof(junk));
    for (off_t page = 3; page < 12; page++)
        assert_int_equal(pwrite(fd, junk, sizeof(junk), page * 4096), sizeof(junk));
    db = open_or_fail(path, DB_READ_WRITE, &schema_one);
    struct error err = {0};
    assert_int_equal(db_verify(db, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.message, path));
    db_close(db);
}

static void the_size_counts_the_log_too(void **state)
{
    struct db *db = open_or_fail(tmp_dir_file(*state, "a.db"), DB_READ_WRITE, &schema_one);
    int64_t before = db_size_bytes(db);
    assert_int_equal(fill(db, 300, NULL), ERR_OK);
    assert_in_range(db_size_bytes(db) - before, 300 * 1000, 300 * 4000);
    db_close(db);
}

static void set_written(const char *path, const char *end, time_t when)
{
    char file[512];
    const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when, .tv_nsec = 7000000}};
    (void)snprintf(file, sizeof(file), "%s%s", path, end);
    assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0);
}

static void the_last_writing_may_be_in_the_log(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    assert_int_equal(db_last_written_ms(path), 0);
    struct db *db = open_or_fail(path, DB_READ_WRITE, &schema_one);
    assert_int_equal(fill(db, 3, NULL), ERR_OK);
    set_written(path, "", 1000);
    set_written(path, "-wal", 2000);
    assert_int_equal(db_last_written_ms(path), 2000007);
    set_written(path, "", 3000);
    assert_int_equal(db_last_written_ms(path), 3000007);
    db_close(db);
}

static void opening_survives_want_of_memory(void **state)
{
    const char *path = tmp_dir_file(*state, "a.db");
    enum error_code code = ERR_NO_MEMORY;
    for (uint64_t n = 0; code != ERR_OK; n++) {
        struct db *db = NULL;
        mem_fail_after(n);
        code = db_open(path, DB_READ_WRITE, &schema_one, &db, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        assert_int_equal(db != NULL, code == ERR_OK);
        assert_in_range(n, 0, 100);
        db_close(db);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_database_has_the_schema_and_keeps_its_rows),
        TEST(the_durable_and_safe_settings_are_in_force),
        TEST(a_misspelt_column_is_no_text),
        TEST(a_newer_program_brings_the_schema_up_to_date),
        TEST(a_newer_schema_is_refused_by_an_older_program),
        TEST(a_reader_does_not_take_an_older_schema),
        TEST(a_migration_that_fails_changes_nothing),
        TEST(another_programs_database_is_refused_and_left_alone),
        TEST(an_unmarked_database_with_tables_is_refused),
        TEST(a_file_that_is_no_database_is_refused),
        TEST(a_header_that_forbids_writing_is_damage),
        TEST(a_missing_folder_or_file_is_named),
        TEST(a_symbolic_link_is_refused),
        TEST(the_files_are_private_whatever_the_umask),
        TEST(a_mode_that_is_too_wide_is_narrowed),
        TEST(a_full_database_says_no_space_and_keeps_what_it_had),
        TEST(disk_failures_are_told_apart),
        TEST(a_broken_constraint_is_a_conflict),
        TEST(a_database_that_another_writes_is_busy),
        TEST(a_second_open_does_not_drop_the_firsts_locks),
        TEST(a_reader_sees_what_is_committed_and_cannot_write),
        TEST(a_savepoint_is_undone_alone),
        TEST(a_rollback_without_a_transaction_is_fine),
        TEST(nothing_is_told_from_empty_text),
        TEST(bindings_do_not_outlive_their_use),
        TEST(a_bind_that_fails_surfaces_at_the_step),
        TEST(damage_is_found),
        TEST(the_size_counts_the_log_too),
        TEST(the_last_writing_may_be_in_the_log),
        TEST(opening_survives_want_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
