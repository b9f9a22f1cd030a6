#include "agent/facts.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/values/value_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

DEFINE_CLEANUP(value_set_free, struct value_set)

static char root[64];
static const char *const folders[] = {
    "/etc", "/proc",    "/proc/sys",     "/proc/sys/kernel",  "/proc/sys/kernel/random",
    "/var", "/var/lib", "/var/lib/dpkg", "/var/lib/dpkg/info"};
static const char *const files[][2] = {
    {"/etc/os-release", "# one\nPRETTY_NAME=\"An \\\"OS\\\" 12\"\nID=rocky\nVERSION_ID='9.3'\n"
                        "ID_LIKE=\"rhel  fedora\"\nEMPTY=\nnonsense\n"},
    {"/proc/meminfo", "MemTotal:       16384000 kB\nMemFree: 1 kB\nSwapTotal:             0 kB\n"},
    {"/proc/sys/kernel/random/boot_id", "0b1c\n"},
    {"/var/lib/dpkg/info/a.list", ""},
    {"/var/lib/dpkg/info/b:amd64.list", ""},
    {"/var/lib/dpkg/info/b:amd64.md5sums", ""},
    {"/var/lib/dpkg/info/.list", ""},
};

static const char *in_root(const char *path)
{
    static char full[256];
    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    return full;
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "/tmp/kitsune-facts-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        assert_int_equal(mkdir(in_root(folders[i]), 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        FILE *f = fopen(in_root(files[i][0]), "we");
        assert_non_null(f);
        assert_true(fputs(files[i][1], f) >= 0);
        assert_int_equal(fclose(f), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        (void)unlink(in_root(files[i][0]));
    for (size_t i = ARRAY_LEN(folders); i-- > 0;)
        (void)rmdir(in_root(folders[i]));
    return rmdir(root);
}

static struct value_set *make(void)
{
    struct value_set *set = NULL;
    assert_int_equal(value_set_new(&set, NULL), ERR_OK);
    return set;
}

static void expect_text(const struct value_set *set, const char *name, const char *text)
{
    struct value v = {0};
    if (!value_set_find(set, name, &v))
        fail_msg("no %s", name);
    assert_int_equal(v.kind, VALUE_TEXT);
    assert_string_equal(v.text, text);
}

static void expect_number(const struct value_set *set, const char *name, double number)
{
    struct value v = {0};
    if (!value_set_find(set, name, &v))
        fail_msg("no %s", name);
    assert_int_equal(v.kind, VALUE_NUMBER);
    assert_true(v.number == number);
}

static void what_the_files_say_is_reported(void **state)
{
    (void)state;
    AUTO(value_set_free) struct value_set *set = make();
    struct utsname name;
    struct value v;
    assert_int_equal(facts_collect(root, set, NULL), ERR_OK);
    expect_text(set, "os.id", "rocky");
    expect_text(set, "os.version", "9.3");
    expect_text(set, "os.name", "An \"OS\" 12");
    assert_true(value_set_find(set, "os.like", &v));
    assert_int_equal(v.count, 2);
    assert_string_equal(v.items[1].text, "fedora");
    expect_number(set, "memory.mb", 16000);
    expect_number(set, "swap.mb", 0);
    expect_number(set, "packages.dpkg", 2);
    expect_text(set, "boot.id", "0b1c");
    assert_int_equal(uname(&name), 0);
    expect_text(set, "kernel", name.release);
    expect_text(set, "arch", name.machine);
    assert_true(value_set_find(set, "cpus", &v) && v.number >= 1);
    assert_true(value_set_find(set, "disk.root.mb", &v) && v.number >= 1);
}

static void what_cannot_be_found_out_is_left_out(void **state)
{
    (void)state;
    AUTO(value_set_free) struct value_set *set = make();
    struct value v;
    assert_int_equal(facts_collect("/nowhere", set, NULL), ERR_OK);
    assert_false(value_set_find(set, "os.id", &v));
    assert_false(value_set_find(set, "memory.mb", &v));
    assert_false(value_set_find(set, "packages.dpkg", &v));
    assert_false(value_set_find(set, "disk.root.mb", &v));
    assert_true(value_set_find(set, "kernel", &v));
}

static void this_machine_has_facts(void **state)
{
    (void)state;
    AUTO(value_set_free) struct value_set *set = make();
    struct value v;
    assert_int_equal(facts_collect("", set, NULL), ERR_OK);
    assert_true(value_set_find(set, "memory.mb", &v) && v.number > 0);
    assert_true(value_set_find(set, "boot.id", &v));
}

static void a_label_is_a_name_and_a_value(void **state)
{
    (void)state;
    AUTO(value_set_free) struct value_set *labels = make();
    struct error err = {0};
    assert_int_equal(facts_label("tier=front", labels, NULL), ERR_OK);
    assert_int_equal(facts_label("note=a=b c", labels, NULL), ERR_OK);
    assert_int_equal(facts_label("none=", labels, NULL), ERR_OK);
    expect_text(labels, "note", "a=b c");
    expect_text(labels, "none", "");
    assert_int_equal(facts_label("tier=back", labels, &err), ERR_EXISTS);
    assert_string_equal(err.message, "label \"tier\" is given twice");
    static const char *const bad[] = {"tier", "=x", "a.b=c", "a b=c", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(facts_label(bad[i], labels, &err), ERR_INVALID);
    assert_string_equal(err.message,
                        "\"\" is no label: NAME=VALUE, with a name of letters, digits, "
                        "_ and -");
}

static void no_memory_is_an_error_or_leaves_out(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        AUTO(value_set_free) struct value_set *set = make();
        mem_fail_after(n);
        enum error_code code = facts_collect(root, set, NULL);
        bool failed = mem_fail_count() > 0;
        mem_fail_never();
        assert_true(code == ERR_OK || (failed && code == ERR_NO_MEMORY));
        if (!failed)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_files_say_is_reported),
        cmocka_unit_test(what_cannot_be_found_out_is_left_out),
        cmocka_unit_test(this_machine_has_facts),
        cmocka_unit_test(a_label_is_a_name_and_a_value),
        cmocka_unit_test(no_memory_is_an_error_or_leaves_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
