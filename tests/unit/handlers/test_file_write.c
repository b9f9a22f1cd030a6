#include "handlers/fileio.h"
#include "unit/handlers/support_file.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_file_comes_back_in_every_respect(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    make_original(path);
    struct look before = look_at(path);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    struct look between = look_at(path);
    assert_string_equal(between.bytes, "new");
    mem_free(between.bytes);
    /* What the step does not name stays. */
    assert_int_equal(between.st.st_mode, before.st.st_mode);
    assert_int_equal(between.st.st_uid, 1234);
    assert_int_equal(between.st.st_gid, 4321);
    assert_int_equal(between.attribute_len, before.attribute_len);
    assert_true(between.st.st_mtim.tv_sec > before.st.st_mtim.tv_sec);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    struct look after = look_at(path);
    assert_same_look(&before, &after);
    assert_file_count(&bed, 1);
    bed_close(&bed);
}

static void a_file_that_was_not_there_is_gone_again(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    struct stat st;
    mode_t mask = umask(077);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    (void)umask(mask);
    assert_true(bed.result.changed);
    assert_file_text(path, "new");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_file_count(&bed, 0);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    bed_close(&bed);
}

static void mode_owner_and_group_are_set_by_name_or_number(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const struct passwd *user = getpwnam("daemon");
    const struct group *group = getgrnam("adm");
    struct stat st;
    assert_non_null(user);
    assert_non_null(group);
    uid_t uid = user->pw_uid;
    gid_t gid = group->gr_gid;
    const char *params =
        write_params(&bed, "x", ",\"mode\":\"2750\",\"owner\":\"daemon\",\"group\":\"adm\"");
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 02750);
    assert_int_equal(st.st_uid, uid);
    assert_int_equal(st.st_gid, gid);
    params = write_params(&bed, "x", ",\"mode\":\"0600\",\"owner\":\"77\",\"group\":\"88\"");
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_uid, 77);
    assert_int_equal(st.st_gid, 88);
    bed_close(&bed);
}

static void an_unknown_owner_fails_and_nothing_is_written(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = write_params(&bed, "x", ",\"owner\":\"no-such-user\"");
    write_fails(&bed, HANDLER_PREPARE, params, "there is no user no-such-user");
    assert_false(bed.result.retryable);
    assert_file_count(&bed, 0);
    params = write_params(&bed, "x", ",\"group\":\"no-such-group\"");
    write_fails(&bed, HANDLER_PREPARE, params, "there is no group no-such-group");
    assert_file_count(&bed, 0);
    bed_close(&bed);
}

static void a_file_that_is_so_already_is_left_alone(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    struct stat before, after;
    bed_write(path, "same");
    assert_int_equal(stat(path, &before), 0);
    const char *params = write_params(&bed, "same", "");
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    write_ok(&bed, HANDLER_EXECUTE, write_params(&bed, "same", ",\"mode\":\"0640\""));
    assert_true(bed.result.changed);
    write_ok(&bed, HANDLER_EXECUTE, write_params(&bed, "samE", ",\"mode\":\"0640\""));
    assert_true(bed.result.changed);
    write_ok(&bed, HANDLER_EXECUTE, write_params(&bed, "samE!", ",\"mode\":\"0640\""));
    assert_true(bed.result.changed);
    bed_close(&bed);
}

static void empty_content_makes_an_empty_file(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "", "");
    bed_write(path, "full");
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_true(bed.result.changed);
    assert_file_text(path, "");
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_file_text(path, "full");
    bed_close(&bed);
}

static void a_large_file_comes_back(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "small", "");
    enum { LINES = 100000 };
    struct buf text = BUF_INIT;
    for (int i = 0; i < LINES; i++)
        buf_printf(&text, "line %d\n", i);
    bed_write(path, text.data);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_file_text(path, "small");
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_file_text(path, text.data);
    buf_done(&text);
    bed_close(&bed);
}

static void a_symbolic_link_is_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    bed_write(bed_path(&bed, "target"), "kept");
    assert_int_equal(symlink("target", bed_path(&bed, "f")), 0);
    write_fails(&bed, HANDLER_PREPARE, write_params(&bed, "x", ""),
                "/f is a symbolic link to target; set followSymlinks to write through it");
    assert_false(bed.result.retryable);
    assert_file_text(bed_path(&bed, "target"), "kept");
    bed_close(&bed);
}

static void a_link_that_came_after_prepare_is_not_written_through(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = write_params(&bed, "x", "");
    write_ok(&bed, HANDLER_PREPARE, params);
    bed_write(bed_path(&bed, "target"), "kept");
    assert_int_equal(symlink("target", bed_path(&bed, "f")), 0);
    write_fails(&bed, HANDLER_EXECUTE, params, "is a symbolic link");
    write_fails(&bed, HANDLER_ROLLBACK, params, "is a symbolic link");
    assert_file_text(bed_path(&bed, "target"), "kept");
    bed_close(&bed);
}

static void links_are_followed_when_the_step_says_so(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = write_params(&bed, "x", ",\"followSymlinks\":true");
    assert_int_equal(mkdir(bed_path(&bed, "sub"), 0755), 0);
    const char *target = bed_path(&bed, "sub/target");
    make_original(target);
    assert_int_equal(symlink("second", bed_path(&bed, "f")), 0);
    assert_int_equal(symlink(bed_path(&bed, "third"), bed_path(&bed, "second")), 0);
    assert_int_equal(symlink("./sub/target", bed_path(&bed, "third")), 0);
    struct look before = look_at(target);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_file_text(target, "x");
    /* The link leads elsewhere by now; the undo is for the file that was written. */
    assert_int_equal(unlink(bed_path(&bed, "f")), 0);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    struct look after = look_at(target);
    assert_same_look(&before, &after);
    bed_close(&bed);
}

static void a_link_to_nothing_yet_is_followed_too(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *params = write_params(&bed, "x", ",\"followSymlinks\":true");
    assert_int_equal(symlink("target", bed_path(&bed, "f")), 0);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_file_text(bed_path(&bed, "target"), "x");
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_file_count(&bed, 1);
    bed_close(&bed);
}

static void links_in_a_circle_are_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(symlink("g", bed_path(&bed, "f")), 0);
    assert_int_equal(symlink("f", bed_path(&bed, "g")), 0);
    write_fails(&bed, HANDLER_PREPARE, write_params(&bed, "x", ",\"followSymlinks\":true"),
                "too many symbolic links");
    bed_close(&bed);
}

static void a_folder_or_a_fifo_is_refused(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    assert_int_equal(mkdir(bed_path(&bed, "f"), 0755), 0);
    write_fails(&bed, HANDLER_PREPARE, write_params(&bed, "x", ""), "/f is a folder");
    assert_int_equal(rmdir(bed_path(&bed, "f")), 0);
    assert_int_equal(mkfifo(bed_path(&bed, "f"), 0644), 0);
    write_fails(&bed, HANDLER_PREPARE, write_params(&bed, "x", ""), "/f is not a regular file");
    bed_close(&bed);
}

static void a_missing_folder_is_named(void **state)
{
    (void)state;
    struct bed bed;
    char params[PATH_MAX];
    char expected[PATH_MAX];
    bed_open(&bed);
    (void)snprintf(params, sizeof(params), "{\"path\":\"%s/no/f\",\"content\":\"x\"}", bed.dir);
    (void)snprintf(expected, sizeof(expected), "the folder %s/no does not exist", bed.dir);
    write_fails(&bed, HANDLER_PREPARE, params, expected);
    assert_false(bed.result.retryable);
    bed_close(&bed);
}

static void a_file_that_grows_while_it_is_copied_is_given_up(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    bed_open(&bed);
    bed_write(bed_path(&bed, "from"), "more than was seen");
    AUTO_CLOSE int fd = open(bed_path(&bed, "from"), O_RDONLY | O_CLOEXEC);
    AUTO_PLACE struct file_place place = FILE_PLACE_INIT;
    const struct file_meta meta = FILE_META_INIT;
    const struct file_source source = {.fd = fd, .len = 4};
    assert_int_equal(file_place_open(bed_path(&bed, "to"), &place, &err), ERR_OK);
    assert_int_equal(file_replace(&place, "to.part", &source, &meta, &err), ERR_BUSY);
    assert_file_count(&bed, 1);
    bed_close(&bed);
}

static void a_run_that_was_cut_off_leaves_nothing_after_the_next(void **state)
{
    (void)state;
    struct bed bed;
    char mark[HANDLER_MARK_MAX], name[64];
    bed_open(&bed);
    const char *params = write_params(&bed, "new", "");
    write_ok(&bed, HANDLER_PREPARE, params);
    handler_mark(bed.host.server_id, "rollout-1", bed.step, mark);
    /* FNV-1a, as the name of the file is built. */
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const char *c = mark; *c; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
    (void)snprintf(name, sizeof(name), ".f.kitsune-%016llx", (unsigned long long)hash);
    bed_write(bed_path(&bed, name), "half of");
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_file_count(&bed, 1);
    assert_file_text(bed_path(&bed, "f"), "new");
    bed_write(bed_path(&bed, name), "half of");
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    assert_file_count(&bed, 1);
    bed_write(bed_path(&bed, name), "half of");
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_file_count(&bed, 0);
    bed_close(&bed);
}

static void a_name_of_greatest_length_can_be_written(void **state)
{
    (void)state;
    struct bed bed;
    char name[NAME_MAX + 1], params[PATH_MAX];
    bed_open(&bed);
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    (void)snprintf(params, sizeof(params), "{\"path\":\"%s/%s\",\"content\":\"x\"}", bed.dir, name);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_file_text(bed_path(&bed, name), "x");
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_file_count(&bed, 0);
    bed_close(&bed);
}

static void a_retry_after_a_failure_ends_as_a_first_try_would(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "new", "");
    make_original(path);
    struct look before = look_at(path);
    write_ok(&bed, HANDLER_PREPARE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_false(bed.result.changed);
    write_ok(&bed, HANDLER_ROLLBACK, params);
    struct look after = look_at(path);
    assert_same_look(&before, &after);
    bed_close(&bed);
}

static void a_write_that_fails_leaves_the_old_file(void **state)
{
    (void)state;
    struct bed bed;
    struct rlimit old, limit;
    bed_open(&bed);
    const char *path = bed_path(&bed, "f");
    const char *params = write_params(&bed, "much more than eight bytes", "");
    bed_write(path, "old");
    write_ok(&bed, HANDLER_PREPARE, params);
    /* This process's files may not grow beyond some bytes for a while. */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 8;
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    bed_run(&bed, "file_write", HANDLER_EXECUTE, params);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(bed.result.outcome, HANDLER_FAILED);
    assert_non_null(strstr(bed.result.message, "cannot write: File too large"));
    assert_file_text(path, "old");
    assert_file_count(&bed, 1);
    write_ok(&bed, HANDLER_EXECUTE, params);
    assert_file_text(path, "much more than eight bytes");
    write_ok(&bed, HANDLER_ROLLBACK, params);
    assert_file_text(path, "old");
    bed_close(&bed);
}

static void wait_for_post(uv_work_t *work)
{
    uv_sem_wait(work->data);
}

static void post(uv_timer_t *timer)
{
    uv_sem_post(timer->data);
    uv_close((uv_handle_t *)timer, NULL);
}

/* The one thread of the pool is busy until the loop turns, so the operation cannot have begun. */
static void a_cancel_before_it_began_is_honoured(void **state)
{
    (void)state;
    struct bed bed;
    uv_sem_t released;
    uv_work_t blocker = {.data = &released};
    uv_timer_t release = {.data = &released};
    bed_open(&bed);
    const char *params = write_params(&bed, "new", "");
    bed_write(bed_path(&bed, "f"), "old");
    write_ok(&bed, HANDLER_PREPARE, params);
    assert_int_equal(uv_sem_init(&released, 0), 0);
    assert_int_equal(uv_queue_work(&bed.loop, &blocker, wait_for_post, NULL), 0);
    assert_int_equal(uv_timer_init(&bed.loop, &release), 0);
    assert_int_equal(uv_timer_start(&release, post, 0, 0), 0);
    bed.cancel_at = "";
    bed_run(&bed, "file_write", HANDLER_EXECUTE, params);
    assert_int_equal(bed.result.outcome, HANDLER_CANCELLED);
    assert_file_text(bed_path(&bed, "f"), "old");
    uv_sem_destroy(&released);
    bed_close(&bed);
}

int main(void)
{
    /* Before the pool is first used: see the test of cancelling. */
    assert_int_equal(setenv("UV_THREADPOOL_SIZE", "1", 1), 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_comes_back_in_every_respect),
        cmocka_unit_test(a_file_that_was_not_there_is_gone_again),
        cmocka_unit_test(mode_owner_and_group_are_set_by_name_or_number),
        cmocka_unit_test(an_unknown_owner_fails_and_nothing_is_written),
        cmocka_unit_test(a_file_that_is_so_already_is_left_alone),
        cmocka_unit_test(empty_content_makes_an_empty_file),
        cmocka_unit_test(a_large_file_comes_back),
        cmocka_unit_test(a_symbolic_link_is_refused),
        cmocka_unit_test(a_link_that_came_after_prepare_is_not_written_through),
        cmocka_unit_test(links_are_followed_when_the_step_says_so),
        cmocka_unit_test(a_link_to_nothing_yet_is_followed_too),
        cmocka_unit_test(links_in_a_circle_are_refused),
        cmocka_unit_test(a_folder_or_a_fifo_is_refused),
        cmocka_unit_test(a_missing_folder_is_named),
        cmocka_unit_test(a_file_that_grows_while_it_is_copied_is_given_up),
        cmocka_unit_test(a_run_that_was_cut_off_leaves_nothing_after_the_next),
        cmocka_unit_test(a_name_of_greatest_length_can_be_written),
        cmocka_unit_test(a_retry_after_a_failure_ends_as_a_first_try_would),
        cmocka_unit_test(a_write_that_fails_leaves_the_old_file),
        cmocka_unit_test(a_cancel_before_it_began_is_honoured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
