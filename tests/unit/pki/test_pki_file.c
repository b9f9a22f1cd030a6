#include "unit/pki/support_pki.h"

#include <fcntl.h>
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

static void a_file_is_replaced_as_a_whole(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    struct buf text = BUF_INIT;
    folder_make(&f);
    const char *path = folder_file(&f, "x");
    mode_t before = umask(077);
    assert_int_equal(pki_file_write(path, "one", 3, 0644, &err), ERR_OK);
    assert_int_equal(file_mode(path), 0644); /* whatever the umask */
    (void)umask(before);
    int old = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(old >= 0);
    file_put(folder_file(&f, "x.new"), "half of something longer, left by a crash", 0644);
    assert_int_equal(pki_file_write(path, "three", 5, 0600, &err), ERR_OK);
    assert_int_equal(file_mode(path), 0600);
    assert_int_equal(pki_file_read(path, 5, &text, &err), ERR_OK);
    assert_string_equal(text.data, "three");
    char still[8] = "";
    assert_int_equal(read(old, still, sizeof(still)), 3); /* the old one was not written into */
    assert_string_equal(still, "one");
    assert_int_not_equal(access(folder_file(&f, "x.new"), F_OK), 0);
    (void)close(old);
    buf_done(&text);
    folder_remove(&f);
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    struct buf text = BUF_INIT;
    folder_make(&f);
    const char *path = folder_file(&f, "x");
    file_put(path, "old", 0600);
    assert_int_equal(mkdir(folder_file(&f, "x.new"), 0700), 0); /* in the way */
    assert_int_not_equal(pki_file_write(path, "new", 3, 0600, &err), ERR_OK);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(pki_file_read(path, 16, &text, &err), ERR_OK);
    assert_string_equal(text.data, "old");
    assert_int_equal(rmdir(folder_file(&f, "x.new")), 0);
    buf_done(&text);
    assert_int_equal(pki_file_write(folder_file(&f, "none/x"), "new", 3, 0600, &err),
                     ERR_NOT_FOUND);
    folder_remove(&f);
}

static void only_regular_files_of_a_bounded_size_are_read(void **state)
{
    (void)state;
    struct folder f;
    struct error err = {0};
    struct buf text = BUF_INIT;
    folder_make(&f);
    assert_int_equal(pki_file_read(folder_file(&f, "none"), 8, &text, &err), ERR_NOT_FOUND);
    assert_int_equal(pki_file_read(f.path, 8, &text, &err), ERR_INVALID);
    assert_int_equal(mkfifo(folder_file(&f, "fifo"), 0600), 0);
    assert_int_equal(pki_file_read(folder_file(&f, "fifo"), 8, &text, &err), ERR_INVALID);
    file_put(folder_file(&f, "long"), "123456789", 0600);
    assert_int_equal(pki_file_read(folder_file(&f, "long"), 8, &text, &err), ERR_LIMIT);
    assert_int_equal(pki_file_read(folder_file(&f, "long"), 9, &text, &err), ERR_OK);
    assert_int_equal(text.len, 9);
    file_put(folder_file(&f, "empty"), "", 0600);
    buf_clear(&text);
    assert_int_equal(pki_file_read(folder_file(&f, "empty"), 9, &text, &err), ERR_OK);
    assert_int_equal(text.len, 0);
    buf_done(&text);
    folder_remove(&f);
}

static void a_secret_that_others_may_touch_is_refused(void **state)
{
    (void)state;
    static const mode_t open_modes[] = {0640, 0604, 0620, 0601, 0666, 0644};
    struct folder f;
    struct error err = {0};
    folder_make(&f);
    const char *path = folder_file(&f, "token");
    for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
        struct pki_secret secret = {0};
        file_put(path, "hush", open_modes[i]);
        if (pki_secret_read(path, 64, &secret, &err) != ERR_DENIED)
            fail_msg("mode %o is taken", (unsigned)open_modes[i]);
        assert_non_null(strstr(err.message, path));
        assert_non_null(strstr(err.message, "chmod 600"));
        assert_null(secret.data);
    }
    static const mode_t private_modes[] = {0600, 0400};
    for (size_t i = 0; i < sizeof(private_modes) / sizeof(private_modes[0]); i++) {
        AUTO_SECRET struct pki_secret secret = {0};
        file_put(path, "hush", private_modes[i]);
        assert_int_equal(pki_secret_read(path, 64, &secret, &err), ERR_OK);
        assert_string_equal(secret.data, "hush");
        assert_int_equal(secret.len, 4);
    }
    folder_remove(&f);
}

/* Takes another user, which only root can. */
static void a_secret_of_another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct folder f;
    struct error err = {0};
    struct pki_secret secret = {0};
    folder_make(&f);
    const char *path = folder_file(&f, "token");
    file_put(path, "hush", 0600);
    assert_int_equal(chown(path, 65534, 65534), 0);
    assert_int_equal(pki_secret_read(path, 64, &secret, &err), ERR_DENIED);
    assert_non_null(strstr(err.message, "another user (65534)"));
    assert_null(secret.data);
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_replaced_as_a_whole),
        cmocka_unit_test(a_failed_write_leaves_the_old_file),
        cmocka_unit_test(only_regular_files_of_a_bounded_size_are_read),
        cmocka_unit_test(a_secret_that_others_may_touch_is_refused),
        cmocka_unit_test(a_secret_of_another_user_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
