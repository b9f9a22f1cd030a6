#include "unit/handlers/support_file.h"
#include "unit/handlers/support_source.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
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

enum { LARGE = 3 * 1024 * 1024 + 5 };
static const off_t endless = (off_t)64 << 30; /* bytes of a file with nothing in it */
static const char some_digest[] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/* The run of this bed is cancelled when so many large pieces were written. */
static struct bed *copying;
static atomic_int pieces;
enum { PIECE_BYTES = 64 * 1024, PIECES = 3 };
ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    if (len == PIECE_BYTES && copying && atomic_fetch_add(&pieces, 1) == PIECES)
        bed_cancel(copying);
    return __real_write(fd, data, len);
}

/* A bed with an artifact in a folder of its own, and params that name it. */
struct yard {
    struct bed bed;
    struct source source;
    char path[PATH_MAX];
    char params[2 * PATH_MAX];
    int files; /* open ones, before */
};

static int files_open(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    assert_int_equal(closedir(dir), 0);
    return count;
}

static void params_make(struct yard *y, const char *more)
{
    (void)snprintf(y->params, sizeof(y->params), "{\"path\":\"%s/f\",\"source\":\"%s\"%s}",
                   y->bed.dir, y->source.name, more);
}

/* What it is from; the caller writes it first. */
static const char *yard_file(struct yard *y)
{
    y->files = files_open();
    bed_open(&y->bed);
    assert_int_equal(mkdir(bed_path(&y->bed, "store"), 0700), 0);
    (void)snprintf(y->path, sizeof(y->path), "%s/store/artifact", y->bed.dir);
    return y->path;
}

static void yard_open(struct yard *y)
{
    source_open(&y->source, &y->bed, y->path);
    params_make(y, "");
}

static void yard_open_text(struct yard *y, const char *text)
{
    bed_write(yard_file(y), text);
    yard_open(y);
}

static void yard_open_large(struct yard *y)
{
    char *data = mem_alloc(LARGE);
    assert_non_null(data);
    for (uint32_t i = 0; i < LARGE; i++)
        data[i] = (char)((i * 2654435761U) >> 23);
    int fd = open(yard_file(y), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, LARGE), LARGE);
    assert_int_equal(close(fd), 0);
    mem_free(data);
    yard_open(y);
}

static void yard_close(struct yard *y)
{
    bed_close(&y->bed);
    assert_int_equal(files_open(), y->files);
}

static void ok(struct yard *y, enum handler_operation operation)
{
    write_ok(&y->bed, operation, y->params);
}

static void assert_same_bytes(const char *a, const char *b)
{
    char command[3 * PATH_MAX];
    (void)snprintf(command, sizeof(command), "cmp -s '%s' '%s'", a, b);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): names of the test's own */
}

/* ---- Tests -------------------------------------------------------------------------------- */

static void an_artifact_becomes_the_file_and_undo_brings_back_what_was_there(void **state)
{
    (void)state;
    struct yard y;
    yard_open_large(&y);
    const char *path = bed_path(&y.bed, "f");
    make_original(path);
    struct look before = look_at(path);
    ok(&y, HANDLER_PREPARE);
    ok(&y, HANDLER_EXECUTE);
    assert_true(y.bed.result.changed);
    write_said(&y.bed, "wrote 3145733 bytes");
    assert_same_bytes(path, y.path);
    assert_int_equal(y.source.given, 2);
    ok(&y, HANDLER_EXECUTE);
    assert_false(y.bed.result.changed);
    ok(&y, HANDLER_ROLLBACK);
    struct look after = look_at(path);
    assert_same_look(&before, &after);
    assert_int_equal(y.source.asked, 3); /* to undo it, nothing is asked for */
    yard_close(&y);
}

static void a_file_that_was_not_there_is_gone_again(void **state)
{
    (void)state;
    struct yard y;
    yard_open_text(&y, "");
    ok(&y, HANDLER_PREPARE);
    ok(&y, HANDLER_EXECUTE);
    assert_file_text(bed_path(&y.bed, "f"), "");
    ok(&y, HANDLER_ROLLBACK);
    assert_file_count(&y.bed, 1);
    yard_close(&y);
}

static void one_that_cannot_be_had_is_known_before_anything_is_changed(void **state)
{
    static const struct {
        enum error_code code;
        bool retryable;
    } refusals[] = {{ERR_NOT_FOUND, false}, {ERR_DENIED, false},     {ERR_CORRUPT, false},
                    {ERR_NO_SPACE, true},   {ERR_UNAVAILABLE, true}, {ERR_IO, true}};
    (void)state;
    struct yard y;
    yard_open_text(&y, "new");
    make_original(bed_path(&y.bed, "f"));
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        y.source.refuses = refusals[i].code;
        write_fails(&y.bed, HANDLER_PREPARE, y.params, "the store does not give it");
        assert_int_equal(y.bed.result.retryable, refusals[i].retryable);
        assert_string_equal(y.bed.undo, "{}");
        write_fails(&y.bed, HANDLER_CHECK, y.params, "the store does not give it");
    }
    assert_file_text(bed_path(&y.bed, "f"), "the original\n");
    yard_close(&y);
}

static void without_a_place_for_artifacts_the_step_fails_and_says_so(void **state)
{
    (void)state;
    struct yard y;
    yard_open_text(&y, "new");
    y.bed.host.artifacts = NULL;
    write_fails(&y.bed, HANDLER_PREPARE, y.params, "no place for artifacts");
    assert_false(y.bed.result.retryable);
    params_make(&y, ",\"validate\":[\"true\"]");
    write_fails(&y.bed, HANDLER_EXECUTE, y.params, "no place for artifacts");
    assert_file_count(&y.bed, 1);
    yard_close(&y);
}

/* With and without a validation, in each operation that asks for it: at once, and a moment later.
 */
static void the_wait_for_it_can_be_cancelled(void **state)
{
    static const enum handler_operation operations[] = {HANDLER_PREPARE, HANDLER_EXECUTE,
                                                        HANDLER_CHECK};
    static const char *const more[] = {"", ",\"validate\":[\"true\"]"};
    (void)state;
    struct yard y;
    yard_open_text(&y, "new");
    bed_write(bed_path(&y.bed, "f"), "old");
    ok(&y, HANDLER_PREPARE);
    y.source.silent = true;
    for (size_t i = 0; i < ARRAY_LEN(operations) * ARRAY_LEN(more) * 2; i++) {
        y.source.cancels = i % 2 == 0;
        y.bed.cancel_at = i % 2 == 0 ? NULL : "";
        y.source.cancelled = 0;
        params_make(&y, more[i / 2 % 2]);
        bed_run(&y.bed, "file_write", operations[i / 4], y.params);
        assert_int_equal(y.bed.result.outcome, HANDLER_CANCELLED);
        assert_int_equal(y.source.cancelled, 1);
    }
    assert_file_text(bed_path(&y.bed, "f"), "old");
    assert_file_count(&y.bed, 2);
    yard_close(&y);
}

/* It would take minutes. */
static void so_can_the_copying_of_one(void **state)
{
    static const char *const more[] = {"", ",\"validate\":[\"true\"]"};
    (void)state;
    struct yard y;
    bed_write(yard_file(&y), "");
    assert_int_equal(truncate(y.path, endless), 0);
    source_open_as(&y.source, &y.bed, y.path, some_digest);
    bed_write(bed_path(&y.bed, "f"), "old");
    params_make(&y, "");
    ok(&y, HANDLER_PREPARE);
    copying = &y.bed;
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        params_make(&y, more[i]);
        atomic_store(&pieces, 0);
        bed_run(&y.bed, "file_write", HANDLER_EXECUTE, y.params);
        assert_int_equal(y.bed.result.outcome, HANDLER_CANCELLED);
        assert_true(atomic_load(&pieces) > PIECES);
        assert_file_text(bed_path(&y.bed, "f"), "old");
        assert_file_count(&y.bed, 2);
    }
    copying = NULL;
    yard_close(&y);
}

static void what_somebody_else_wrote_since_is_a_conflict(void **state)
{
    (void)state;
    struct yard y;
    yard_open_large(&y);
    const char *path = bed_path(&y.bed, "f");
    bed_write(path, "old");
    ok(&y, HANDLER_PREPARE);
    ok(&y, HANDLER_EXECUTE);
    bed_write(path, "another one's");
    write_fails(&y.bed, HANDLER_ROLLBACK, y.params, "expected were sha256 ");
    assert_true(y.bed.result.conflict);
    assert_file_text(path, "another one's");
    y.bed.force = true;
    ok(&y, HANDLER_ROLLBACK);
    assert_file_text(path, "old");
    yard_close(&y);
}

static void a_check_shows_a_text_and_names_the_rest(void **state)
{
    (void)state;
    struct yard y;
    yard_open_text(&y, "one\ntwo\n");
    ok(&y, HANDLER_CHECK);
    assert_true(y.bed.result.changed);
    write_said(&y.bed, "would create");
    assert_non_null(strstr(y.bed.output.data, "+two\n"));
    bed_write(bed_path(&y.bed, "f"), "one\n");
    ok(&y, HANDLER_CHECK);
    assert_true(y.bed.result.changed);
    write_said(&y.bed, "1 line added, 0 removed");
    bed_write(bed_path(&y.bed, "f"), "one\ntwo\n");
    ok(&y, HANDLER_CHECK);
    assert_false(y.bed.result.changed);
    yard_close(&y);
}

static void a_check_does_not_fetch_what_it_would_not_show(void **state)
{
    (void)state;
    struct yard y;
    yard_open_large(&y);
    const char *path = bed_path(&y.bed, "f");
    char digest[16];
    (void)snprintf(digest, sizeof(digest), "%.12s", artifact_digest(y.source.name));
    ok(&y, HANDLER_CHECK);
    assert_true(y.bed.result.changed);
    write_said(&y.bed, "3145733 bytes, mode 0644");
    write_said(&y.bed, digest);
    bed_write(path, "old");
    ok(&y, HANDLER_CHECK);
    assert_true(y.bed.result.changed);
    write_said(&y.bed, "3 bytes (sha256 ");
    write_said(&y.bed, "-> 3145733 bytes (sha256 ");
    write_said(&y.bed, digest);
    assert_int_equal(y.source.given, 0);
    ok(&y, HANDLER_PREPARE);
    ok(&y, HANDLER_EXECUTE);
    assert_int_equal(y.source.given, 2);
    ok(&y, HANDLER_CHECK);
    assert_false(y.bed.result.changed);
    assert_int_equal(y.source.given, 2);
    yard_close(&y);
}

static void a_validation_sees_it_before_it_takes_its_place(void **state)
{
    (void)state;
    struct yard y;
    yard_open_text(&y, "good\n");
    const char *path = bed_path(&y.bed, "f");
    bed_write(path, "old\n");
    params_make(&y, ",\"validate\":[\"grep\",\"-q\",\"bad\"]");
    ok(&y, HANDLER_PREPARE);
    write_fails(&y.bed, HANDLER_EXECUTE, y.params, "stays as it is");
    assert_file_text(path, "old\n");
    params_make(&y, ",\"validate\":[\"grep\",\"-q\",\"good\"]");
    ok(&y, HANDLER_EXECUTE);
    assert_true(y.bed.result.changed);
    assert_file_text(path, "good\n");
    y.source.refuses = ERR_NOT_FOUND;
    write_fails(&y.bed, HANDLER_EXECUTE, y.params, "the store does not give it");
    ok(&y, HANDLER_ROLLBACK);
    assert_file_text(path, "old\n");
    yard_close(&y);
}

/* libuv keeps some files of its own from the first loop on. */
static int first_loop(void **state)
{
    struct bed bed;
    (void)state;
    bed_open(&bed);
    bed_close(&bed);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_artifact_becomes_the_file_and_undo_brings_back_what_was_there),
        cmocka_unit_test(a_file_that_was_not_there_is_gone_again),
        cmocka_unit_test(one_that_cannot_be_had_is_known_before_anything_is_changed),
        cmocka_unit_test(without_a_place_for_artifacts_the_step_fails_and_says_so),
        cmocka_unit_test(the_wait_for_it_can_be_cancelled),
        cmocka_unit_test(so_can_the_copying_of_one),
        cmocka_unit_test(what_somebody_else_wrote_since_is_a_conflict),
        cmocka_unit_test(a_check_shows_a_text_and_names_the_rest),
        cmocka_unit_test(a_check_does_not_fetch_what_it_would_not_show),
        cmocka_unit_test(a_validation_sees_it_before_it_takes_its_place),
    };
    return cmocka_run_group_tests(tests, first_loop, NULL);
}
