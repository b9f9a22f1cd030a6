#include "handlers/unit_links.h"

#include "common/base/cleanup.h"
#include "unit/handlers/support_run.h"

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

/* ---- A system's folders ------------------------------------------------------------------ */

static struct bed bed;
static char etc[PATH_MAX], lib[PATH_MAX];
static const char *const links_in[] = {etc, "/no/such/folder", NULL};
static const char *const files_in[] = {etc, lib, NULL};
static const struct unit_folders folders = {links_in, files_in};

static int open_folders(void **state)
{
    (void)state;
    bed_open(&bed);
    (void)snprintf(etc, sizeof(etc), "%s/etc", bed.dir);
    (void)snprintf(lib, sizeof(lib), "%s/lib", bed.dir);
    assert_int_equal(mkdir(etc, 0755), 0);
    assert_int_equal(mkdir(lib, 0755), 0);
    return 0;
}

static int close_folders(void **state)
{
    (void)state;
    bed_close(&bed);
    return 0;
}

static const char *in_etc(const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "etc/%s", name);
    return bed_path(&bed, path);
}

static void link_put(const char *name, const char *target)
{
    const char *path = in_etc(name);
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
    (void)mkdir(folder, 0755);
    assert_int_equal(symlink(target, path), 0);
}

static void assert_link(const char *name, const char *target)
{
    char found[PATH_MAX] = "";
    assert_true(readlink(in_etc(name), found, sizeof(found) - 1) > 0);
    assert_string_equal(found, target);
}

static void assert_absent(const char *name)
{
    struct stat st;
    assert_int_equal(lstat(in_etc(name), &st), -1);
}

/* ---- A family ---------------------------------------------------------------------------- */

struct family {
    struct array names, links;
};

/* Of a unit with that name and that file's text. */
static struct family family_of(const char *name, const char *text)
{
    struct family f = {0};
    const struct array none = {0};
    const char *const names[] = {name};
    const struct array own = {.items = (void *)(uintptr_t)names, .count = 1};
    char path[256];
    (void)snprintf(path, sizeof(path), "lib/%s", name);
    bed_write(bed_path(&bed, path), text);
    assert_int_equal(unit_family_find(&folders, &own, bed_path(&bed, path), &none, &f.names, NULL),
                     ERR_OK);
    assert_int_equal(unit_links_read(&folders, &f.names, &f.links, NULL), ERR_OK);
    return f;
}

static void family_done(struct family *f)
{
    unit_family_done(&f->names);
    unit_links_done(&f->links);
}

static bool restore(const struct family *f)
{
    bool changed = false;
    struct error err = {0};
    if (unit_links_restore(&folders, &f->names, &f->links, &changed, &err) != ERR_OK)
        fail_msg("%s", err.message);
    return changed;
}

/* ---- Tests ------------------------------------------------------------------------------- */

static void the_family_is_all_that_is_enabled_along(void **state)
{
    (void)state;
    bed_write(bed_path(&bed, "lib/b.socket"), "[Install]\n Also = c.path  a.service\n");
    bed_write(bed_path(&bed, "lib/c.path"), "[Install]\nAlso=../../evil /etc/passwd\n");
    struct family f =
        family_of("a.service", "[Unit]\nAlsoNot=x.service\n[Install]\nAlso=b.socket\n");
    assert_int_equal(f.names.count, 3);
    assert_string_equal(*ARRAY_AT(&f.names, char *, 1), "b.socket");
    assert_string_equal(*ARRAY_AT(&f.names, char *, 2), "c.path");
    family_done(&f);
}

static void links_to_the_family_are_found_and_no_others(void **state)
{
    (void)state;
    link_put("multi-user.target.wants/a.service", "/lib/a.service");
    link_put("other.target.requires/a.service", "/lib/a.service");
    link_put("alias.service", "/lib/a.service");
    link_put("multi-user.target.wants/z.service", "/lib/z.service");
    link_put("a.service.d/a.service", "/lib/a.service");
    bed_write(in_etc("multi-user.target.wants/file"), "no link");
    struct family f = family_of("a.service", "");
    assert_int_equal(f.links.count, 3);
    family_done(&f);
}

static void a_template_is_of_its_instances_family(void **state)
{
    (void)state;
    link_put("multi-user.target.wants/g@tty1.service", "/lib/g@.service");
    struct family f = family_of("g@tty1.service", "");
    assert_int_equal(f.names.count, 2);
    assert_string_equal(*ARRAY_AT(&f.names, char *, 1), "g@.service");
    assert_int_equal(f.links.count, 1);
    family_done(&f);
}

static void links_that_came_go_and_those_that_went_come_back(void **state)
{
    (void)state;
    link_put("kept.target.wants/a.service", "/lib/a.service");
    link_put("moved.target.wants/a.service", "/lib/a.service");
    link_put("gone.target.wants/a.service", "../a.service");
    struct family f = family_of("a.service", "");
    assert_int_equal(f.links.count, 3);
    assert_false(restore(&f));

    assert_int_equal(unlink(in_etc("gone.target.wants/a.service")), 0);
    assert_int_equal(rmdir(in_etc("gone.target.wants")), 0);
    assert_int_equal(unlink(in_etc("moved.target.wants/a.service")), 0);
    link_put("moved.target.wants/a.service", "/elsewhere/a.service");
    link_put("new.target.wants/a.service", "/lib/a.service");
    link_put("kept.target.wants/z.service", "/lib/z.service");
    assert_true(restore(&f));
    assert_link("gone.target.wants/a.service", "../a.service");
    assert_link("moved.target.wants/a.service", "/lib/a.service");
    assert_link("kept.target.wants/a.service", "/lib/a.service");
    assert_link("kept.target.wants/z.service", "/lib/z.service");
    assert_absent("new.target.wants");
    assert_false(restore(&f));
    family_done(&f);
}

static void a_mask_stays(void **state)
{
    (void)state;
    struct family f = family_of("a.service", "");
    link_put("a.service", "/dev/null");
    assert_false(restore(&f));
    assert_link("a.service", "/dev/null");
    family_done(&f);
}

static void what_is_no_link_any_more_is_not_clobbered(void **state)
{
    (void)state;
    bool changed = false;
    link_put("alias.service", "/lib/a.service");
    struct family f = family_of("a.service", "");
    assert_int_equal(unlink(in_etc("alias.service")), 0);
    bed_write(in_etc("alias.service"), "a file of somebody");
    assert_int_equal(unit_links_restore(&folders, &f.names, &f.links, &changed, NULL),
                     ERR_CONFLICT);
    AUTO_FREE char *text = bed_read(in_etc("alias.service"));
    assert_string_equal(text, "a file of somebody");
    family_done(&f);
}

static void without_memory_nothing_is_leaked(void **state)
{
    (void)state;
    uint64_t failed = 1;
    struct family f = family_of("a.service", "[Install]\nAlso=b.service\n");
    link_put("alias.service", "/lib/a.service");
    for (uint64_t n = 0; failed > 0; n++) {
        struct array names = {0}, links = {0};
        const struct array none = {0};
        mem_fail_after(n);
        enum error_code code = unit_family_find(&folders, &f.names, "", &none, &names, NULL);
        if (code == ERR_OK)
            code = unit_links_read(&folders, &names, &links, NULL);
        failed = mem_fail_count();
        mem_fail_never();
        assert_int_equal(code, failed > 0 ? ERR_NO_MEMORY : ERR_OK);
        unit_family_done(&names);
        unit_links_done(&links);
    }
    family_done(&f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_folders, close_folders)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_family_is_all_that_is_enabled_along),
        TEST(links_to_the_family_are_found_and_no_others),
        TEST(a_template_is_of_its_instances_family),
        TEST(links_that_came_go_and_those_that_went_come_back),
        TEST(a_mask_stays),
        TEST(what_is_no_link_any_more_is_not_clobbered),
        TEST(without_memory_nothing_is_leaked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
