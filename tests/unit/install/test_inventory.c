#include "orchestrator/cli/install/inventory.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* "web-1=root@10.0.0.1:22+key ": each host as it was understood. */
static char *understood(const char *text, const char *group)
{
    struct array targets = {0};
    struct error err = {0};
    struct buf b = BUF_INIT;
    if (inventory_parse("hosts", text, group, &targets, &err) != ERR_OK)
        fail_msg("%s", err.message);
    buf_puts(&b, "");
    for (size_t i = 0; i < targets.count; i++) {
        const struct target *t = ARRAY_AT(&targets, struct target, i);
        buf_printf(&b, "%s=%s@%s", t->server, t->user, t->host);
        if (t->address[0])
            buf_printf(&b, "/%s", t->address);
        if (t->port > 0)
            buf_printf(&b, ":%d", t->port);
        if (t->key_file[0])
            buf_printf(&b, "+%s", t->key_file);
        buf_putc(&b, ' ');
    }
    mem_free(targets.items);
    return buf_take(&b, NULL);
}

static void check(const char *text, const char *group, const char *expected)
{
    char *said = understood(text, group);
    assert_string_equal(said, expected);
    mem_free(said);
}

static void a_list_has_one_host_a_line(void **state)
{
    (void)state;
    check("# ours\nweb-1\n\n  web-2  # the new one\nroot@web-3:2222\r\nsix=::1\n; no\n", NULL,
          "web-1=@web-1 web-2=@web-2 web-3=root@web-3:2222 six=@::1 ");
    check("", NULL, "");
}

static void ranges_stand_for_many(void **state)
{
    (void)state;
    check("web[08:10].x\n", NULL, "web08.x=@web08.x web09.x=@web09.x web10.x=@web10.x ");
    check("[a]\nrack[a:b]-[1:5:4]\n", "a",
          "racka-1=@racka-1 racka-5=@racka-5 rackb-1=@rackb-1 rackb-5=@rackb-5 ");
}

static void groups_are_chosen_with_what_is_in_them(void **state)
{
    static const char text[] = "alone\n[web]\nweb-1\nweb-2\n[db]\ndb-1\n[prod:children]\nweb\ndb\n"
                               "[loop:children]\nloop\nprod\n";
    (void)state;
    check(text, "web", "web-1=@web-1 web-2=@web-2 ");
    check(text, "prod", "web-1=@web-1 web-2=@web-2 db-1=@db-1 ");
    check(text, "loop", "web-1=@web-1 web-2=@web-2 db-1=@db-1 ");
    check(text, "ungrouped", "alone=@alone ");
    check(text, "all", "alone=@alone web-1=@web-1 web-2=@web-2 db-1=@db-1 ");
    struct array targets = {0};
    struct error err = {0};
    assert_int_equal(inventory_parse("hosts", text, "wbe", &targets, &err), ERR_NOT_FOUND);
    assert_string_equal(err.message, "hosts has no group \"wbe\"");
}

static void the_closest_variable_counts(void **state)
{
    (void)state;
    check("[web]\n"
          "a ansible_host=10.0.0.1 ansible_port=2201 ansible_user='me'\n"
          "b ansible_ssh_private_key_file=\"/k e y\" kitsune_server=bee other=1\n"
          "[web:vars]\nansible_user = group\n"
          "[top:children]\nweb\n"
          "[top:vars]\nansible_user=top\nansible_port=2222\n"
          "[all:vars]\nansible_port=1\nansible_ssh_private_key_file=~/all\n",
          NULL, "a=me@a/10.0.0.1:2201+~/all bee=group@b:2222+/k e y ");
}

static void a_host_may_stand_in_several_groups(void **state)
{
    (void)state;
    check("[a]\nx ansible_port=22\n[b]\nx\n[b:vars]\nansible_user=bob\n", "b", "x=bob@x:22 ");
    check("[a]\nx kitsune_server=s\n[b]\nx ansible_user=me\n", NULL, "s=me@x ");
    check("a=h:1\nb=h:2\n", NULL, "a=@h:1 b=@h:2 ");
}

static void faults_are_told_with_their_line(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"ok\n[web\n", "hosts:2: a \"]\" is missing"},
        {"[web:kids]\n", "hosts:1: \":kids\" is neither :children nor :vars"},
        {"\n\n-x\n", "hosts:3: \"-x\" is not a host's name or address"},
        {"a ansible_port=x\n", "hosts:1: ansible_port: \"x\" is not a port"},
        {"a ansible_host=-oX\n", "hosts:1: ansible_host: \"-oX\" is not a host's name or address"},
        {"a what\n", "hosts:1: \"what\" is not of the form NAME=VALUE"},
        {"[web:vars]\nwhat\n", "hosts:2: \"what\" is not of the form NAME=VALUE"},
        {"a=h:1\na=h:2\n", "hosts:2: the server a is named at two addresses"},
        {"h:1\nh:2\n", "hosts:2: the server h is named at two addresses"},
        {"a[5:1]\n", "hosts:1: \"a[5:1]\": a range is of the form [01:10], [1:9:2] or [a:f], the "
                     "lower first"},
        {"a[1:2][1:2][1:2][1:2][1:2]\n", "hosts:1: more than 4 ranges in one name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct array targets = {0};
        struct error err = {0};
        if (inventory_parse("hosts", cases[i].text, NULL, &targets, &err) == ERR_OK)
            fail_msg("\"%s\" was taken", cases[i].text);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void a_range_that_is_too_long_ends(void **state)
{
    struct array targets = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(inventory_parse("hosts", "a[1:99999]\n", NULL, &targets, &err), ERR_LIMIT);
}

static void want_of_memory_is_told(void **state)
{
    static const char text[] = "[web]\nweb-[1:40]\n[web:vars]\nansible_user=x\n[p:children]\nweb\n";
    enum error_code code = ERR_NO_MEMORY;
    (void)state;
    for (uint64_t n = 0; code != ERR_OK; n++) {
        struct array targets = {0};
        mem_fail_after(n);
        code = inventory_parse("hosts", text, "p", &targets, NULL);
        mem_fail_never();
        assert_true(code == ERR_OK || code == ERR_NO_MEMORY);
        assert_int_equal(targets.count, code == ERR_OK ? 40 : 0);
        mem_free(targets.items);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_has_one_host_a_line),
        cmocka_unit_test(ranges_stand_for_many),
        cmocka_unit_test(groups_are_chosen_with_what_is_in_them),
        cmocka_unit_test(the_closest_variable_counts),
        cmocka_unit_test(a_host_may_stand_in_several_groups),
        cmocka_unit_test(faults_are_told_with_their_line),
        cmocka_unit_test(a_range_that_is_too_long_ends),
        cmocka_unit_test(want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
