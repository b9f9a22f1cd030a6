/* A release step on a disk that is full, and beside what others have mounted. The mounts are this
 * program's alone, and are gone with it; where it may make none its tests are skipped. */
#include "unit/handlers/support_release.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_full_disk_leaves_all_as_it_was(void **state)
{
    (void)state;
    struct site site;
    static const struct made entries[] = {{.name = "big", .zeros = 4 * 1024 * 1024}, END};
    site_open(&site);
    assert_int_equal(mount("tmpfs", bed_path(&site.bed, "app"), "tmpfs", 0, "size=1m,mode=755"), 0);
    site_fill(&site);
    const char *params =
        site_params(&site, shelf_put(&site.shelf, entries, PACKING_ZSTD), ",\"keep\":1");
    char *before = site_tree(&site);
    site_ok(&site, HANDLER_PREPARE, params);
    site_fails(&site, HANDLER_EXECUTE, params, "the archive cannot be unpacked: big: No space");
    assert_true(site.bed.result.retryable);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    before = site_tree(&site);
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_tree(bed_path(&site.bed, "app"), false, before);
    assert_int_equal(umount(bed_path(&site.bed, "app")), 0);
    site_close(&site);
}

static void an_old_release_in_which_something_is_mounted_stays(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    site_fill(&site);
    assert_int_equal(mkdir(bed_path(&site.bed, "shared"), 0755), 0);
    bed_write(bed_path(&site.bed, "shared/uploads"), "work");
    /* Of the same file system, so that only the mount tells. */
    assert_int_equal(mount(bed_path(&site.bed, "shared"),
                           bed_path(&site.bed, "app/releases/1/data"), NULL, MS_BIND, NULL),
                     0);
    const char *params = site_new_params(&site, ",\"keep\":1");
    site_run(&site, params);
    site_said(&site, "1 stays: data: something else is mounted there");
    assert_true(site_has(&site, "shared/uploads"));
    site_ok(&site, HANDLER_ROLLBACK, params);
    assert_int_equal(umount(bed_path(&site.bed, "app/releases/1/data")), 0);
    site_close(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_leaves_all_as_it_was),
        cmocka_unit_test(an_old_release_in_which_something_is_mounted_stays),
    };
    /* Before there is a thread: each would be in the old namespace. */
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        (void)printf("skipped: no mount namespace can be had here\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
