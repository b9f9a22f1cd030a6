/* The log of a database is cut and flipped at many places. */
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/db/db.h"
#include "unit/db/support_db.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SQL_INSERT, SQL_COUNT, SQL_STATEMENTS };
/* Primes: the places fall differently into each frame. */
enum { COMMITS = 12, CUT_STEP = 61, FLIP_STEP = 67, HEADER = 32, FRAME = 24 + 4096 };

static const char *const statements[SQL_STATEMENTS] = {
    [SQL_INSERT] = "INSERT INTO item(text) SELECT hex(zeroblob(?1))",
    [SQL_COUNT] = "SELECT count(*) FROM item",
};
static const char *const migrations[] = {"CREATE TABLE item(id INTEGER PRIMARY KEY, text TEXT);"};
static const struct db_schema schema = {0x4b495431, migrations,     1,
                                        statements, SQL_STATEMENTS, false};

/* A database as a crash leaves it: each commit but the first, of the schema, added a row. */
struct crashed {
    struct tmp_dir dir;
    char *db, *log;
    size_t db_len, log_len;
    size_t ends[COMMITS + 1]; /* of the log after each commit */
    char path[96], log_path[112];
};

static char *read_file(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *ret_len = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*ret_len + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *ret_len, file), *ret_len);
    assert_int_equal(fclose(file), 0);
    return data;
}

static void write_file(const char *path, const char *data, size_t len)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static size_t file_size(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (size_t)st.st_size;
}

static struct db *open_or_fail(const char *path)
{
    struct db *db = NULL;
    struct error err = {0};
    if (db_open(path, DB_READ_WRITE, &schema, &db, &err) != ERR_OK)
        fail_msg("db_open: %s", err.message);
    return db;
}

static void insert(struct db *db, int64_t bytes)
{
    struct db_stmt *s = NULL;
    assert_int_equal(db_use(db, SQL_INSERT, &s, NULL), ERR_OK);
    db_bind_int(s, 1, bytes);
    assert_int_equal(db_run(s, NULL), ERR_OK);
}

static int64_t rows(struct db *db)
{
    struct db_stmt *s = NULL;
    bool row = false;
    assert_int_equal(db_use(db, SQL_COUNT, &s, NULL), ERR_OK);
    assert_int_equal(db_step(s, &row, NULL), ERR_OK);
    int64_t count = db_column_int(s, 0);
    db_reset(s);
    return count;
}

static int crash(void **state)
{
    static struct crashed c;
    c = (struct crashed){0};
    tmp_dir_init(&c.dir);
    (void)snprintf(c.path, sizeof(c.path), "%s/a.db", c.dir.path);
    (void)snprintf(c.log_path, sizeof(c.log_path), "%s-wal", c.path);
    struct db *db = open_or_fail(c.path);
    c.ends[0] = file_size(c.log_path);
    /* Some of one frame, some of several. */
    for (int i = 1; i <= COMMITS; i++) {
        insert(db, i % 3 == 0 ? 6000 : 20);
        c.ends[i] = file_size(c.log_path);
    }
    c.db = read_file(c.path, &c.db_len);
    c.log = read_file(c.log_path, &c.log_len);
    assert_int_equal(c.log_len, c.ends[COMMITS]);
    db_close(db);
    *state = &c;
    return 0;
}

static int clean(void **state)
{
    struct crashed *c = *state;
    free(c->db);
    free(c->log);
    tmp_dir_done(&c->dir);
    return 0;
}

static void put_back(const struct crashed *c, size_t log_len)
{
    write_file(c->path, c->db, c->db_len);
    write_file(c->log_path, c->log, log_len);
}

static struct db_log look_or_fail(const struct crashed *c)
{
    struct db_log log = {-1, -1};
    struct error err = {0};
    if (db_log_look(c->path, &log, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return log;
}

/* Commits that end at or before that place. */
static int64_t commits_before(const struct crashed *c, size_t place)
{
    int64_t count = 0;
    while (count <= COMMITS && c->ends[count] <= place)
        count++;
    return count;
}

static void what_a_crash_left_is_counted_and_nothing_of_it_is_torn(void **state)
{
    const struct crashed *c = *state;
    put_back(c, c->log_len);
    struct db_log log = look_or_fail(c);
    assert_int_equal(log.commits, COMMITS + 1);
    assert_int_equal(log.torn_bytes, 0);
    struct db *db = open_or_fail(c->path);
    assert_int_equal(db_log_found(db).commits, COMMITS + 1);
    assert_int_equal(rows(db), COMMITS);
    db_close(db);
    /* Closed properly there is nothing to take over. */
    log = look_or_fail(c);
    assert_int_equal(log.commits, 0);
    db = open_or_fail(c->path);
    assert_int_equal(db_log_found(db).commits, 0);
    db_close(db);
}

static void a_torn_log_is_never_taken_for_a_damaged_one(void **state)
{
    const struct crashed *c = *state;
    for (size_t len = 0; len < c->log_len; len += len < 2 * HEADER ? 1 : CUT_STEP) {
        put_back(c, len);
        struct db_log log = look_or_fail(c);
        int64_t whole = commits_before(c, len);
        size_t end = whole == 0 ? 0 : c->ends[whole - 1];
        assert_int_equal(log.commits, whole);
        /* A header alone holds nothing that could be torn. */
        if (len != HEADER)
            assert_int_equal(log.torn_bytes, whole == 0 && len > HEADER ? len - HEADER : len - end);
        struct db *db = open_or_fail(c->path);
        assert_int_equal(rows(db), whole == 0 ? 0 : whole - 1);
        db_close(db);
    }
}

static void a_torn_last_commit_whose_later_pages_are_there_is_no_damage(void **state)
{
    const struct crashed *c = *state;
    assert_true(c->ends[COMMITS] - c->ends[COMMITS - 1] > FRAME);
    put_back(c, c->log_len);
    int fd = open(c->log_path, O_WRONLY);
    assert_int_equal(pwrite(fd, "\0\0\0\0", 4, (off_t)c->ends[COMMITS - 1] + 100), 4);
    assert_int_equal(pwrite(fd, "torn", 4, (off_t)c->ends[COMMITS - 1] + 300), 4);
    assert_int_equal(close(fd), 0);
    struct db_log log = look_or_fail(c);
    assert_int_equal(log.commits, COMMITS);
    assert_int_equal(log.torn_bytes, c->ends[COMMITS] - c->ends[COMMITS - 1]);
}

static void expect_damage(const struct crashed *c, size_t flipped)
{
    struct db_log log = {-1, -1};
    struct error err = {0};
    char place[32];
    size_t frame = flipped < HEADER ? 0 : flipped - (flipped - HEADER) % FRAME;
    (void)snprintf(place, sizeof(place), "byte %zu ", frame);
    if (db_log_look(c->path, &log, &err) != ERR_CORRUPT)
        fail_msg("a flip at %zu of %zu is not seen", flipped, c->log_len);
    assert_int_equal(log.commits, -1);
    if (strstr(err.message, place) == NULL || strstr(err.message, c->log_path) == NULL)
        fail_msg("a flip at %zu: %s", flipped, err.message);
}

static void a_flip_before_the_last_commit_is_damage_and_its_place_is_said(void **state)
{
    const struct crashed *c = *state;
    for (size_t at = 0; at < c->log_len; at += at < 2 * HEADER ? 1 : FLIP_STEP) {
        c->log[at] = (char)~c->log[at];
        put_back(c, c->log_len);
        c->log[at] = (char)~c->log[at];
        if (at < c->ends[COMMITS - 1]) {
            expect_damage(c, at);
        } else {
            struct db_log log = look_or_fail(c);
            size_t in_frame = (at - HEADER) % FRAME;
            assert_int_equal(log.commits, COMMITS);
            /* Without its salts it looks like one of an earlier round. */
            assert_true(log.torn_bytes > 0 || (in_frame >= 8 && in_frame < 16));
        }
    }
}

static void a_damaged_log_is_not_opened_and_stays_as_it_is(void **state)
{
    const struct crashed *c = *state;
    struct db *db = NULL;
    struct error err = {0};
    size_t len = 0;
    c->log[c->ends[3] + 200] ^= 1;
    put_back(c, c->log_len);
    assert_int_equal(db_open(c->path, DB_READ_WRITE, &schema, &db, &err), ERR_CORRUPT);
    assert_null(db);
    AUTO_FREE char *after = read_file(c->log_path, &len);
    assert_int_equal(len, c->log_len);
    assert_memory_equal(after, c->log, len);
    c->log[c->ends[3] + 200] ^= 1;
}

static void what_is_left_of_an_earlier_round_is_neither_torn_nor_damage(void **state)
{
    const struct crashed *c = *state;
    sqlite3 *handle = NULL;
    put_back(c, c->log_len);
    assert_int_equal(sqlite3_open(c->path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_exec(handle,
                                  "PRAGMA wal_checkpoint(RESTART); INSERT INTO item(text) "
                                  "VALUES('next round'); SELECT 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    size_t len = 0;
    AUTO_FREE char *log = read_file(c->log_path, &len);
    assert_int_equal(len, c->log_len); /* written over from the beginning, not cut */
    struct db_log found = look_or_fail(c);
    assert_int_equal(found.commits, 1);
    assert_int_equal(found.torn_bytes, 0);
    assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

static void no_log_and_an_empty_one_are_fine_and_one_that_cannot_be_read_is_not(void **state)
{
    const struct crashed *c = *state;
    struct error err = {0};
    struct db_log log = {-1, -1};
    put_back(c, 0);
    assert_int_equal(look_or_fail(c).commits, 0);
    assert_int_equal(unlink(c->log_path), 0);
    assert_int_equal(look_or_fail(c).torn_bytes, 0);
    assert_int_equal(mkdir(c->log_path, 0700), 0);
    assert_int_not_equal(db_log_look(c->path, &log, &err), ERR_OK);
    assert_non_null(strstr(err.message, c->log_path));
    assert_int_equal(rmdir(c->log_path), 0);
    mem_fail_after(0);
    assert_int_equal(db_log_look(c->path, &log, &err), ERR_NO_MEMORY);
    mem_fail_never();
    assert_int_equal(log.commits, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_crash_left_is_counted_and_nothing_of_it_is_torn),
        cmocka_unit_test(a_torn_log_is_never_taken_for_a_damaged_one),
        cmocka_unit_test(a_torn_last_commit_whose_later_pages_are_there_is_no_damage),
        cmocka_unit_test(a_flip_before_the_last_commit_is_damage_and_its_place_is_said),
        cmocka_unit_test(a_damaged_log_is_not_opened_and_stays_as_it_is),
        cmocka_unit_test(what_is_left_of_an_earlier_round_is_neither_torn_nor_damage),
        cmocka_unit_test(no_log_and_an_empty_one_are_fine_and_one_that_cannot_be_read_is_not),
    };
    return cmocka_run_group_tests(tests, crash, clean);
}
