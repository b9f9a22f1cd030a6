#include "common/values/value_json.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

DEFINE_CLEANUP(value_set_free, struct value_set)

static struct value_set *make(void)
{
    struct value_set *set = NULL;
    assert_int_equal(value_set_new(&set, NULL), ERR_OK);
    return set;
}

static enum error_code put_json(struct value_set *set, const char *json, struct error *err)
{
    struct json_doc *doc = NULL;
    assert_int_equal(json_parse(json, strlen(json), 1 << 22, &doc, NULL), ERR_OK);
    enum error_code code = value_set_put_json(set, json_root(doc), err);
    json_free(doc);
    return code;
}

static void is(const struct value_set *set, const char *json)
{
    AUTO_BUF struct buf b = BUF_INIT;
    value_set_write_json(set, &b);
    assert_string_equal(b.data, json);
}

static void values_are_found_by_name(void **state)
{
    (void)state;
    AUTO(value_set_free) struct value_set *set = make();
    struct value v;
    assert_int_equal(value_set_put_text(set, "os.id", "debian", NULL), ERR_OK);
    assert_int_equal(value_set_put_number(set, "cpus", 4, NULL), ERR_OK);
    assert_true(value_set_find(set, "os.id", &v));
    assert_string_equal(v.text, "debian");
    assert_true(value_set_find(set, "cpus", &v));
    assert_int_equal(v.kind, VALUE_NUMBER);
    assert_false(value_set_find(set, "os", &v));
    assert_false(value_set_find(set, "os.i", &v));
}

static void a_later_value_replaces_an_earlier_one(void **state)
{
    (void)state;
    AUTO(value_set_free) struct value_set *set = make();
    assert_int_equal(value_set_put_text(set, "a", "x", NULL), ERR_OK);
    assert_int_equal(put_json(set, "{\"a\":[1,\"two\",true]}", NULL), ERR_OK);
    assert_int_equal(value_set_count(set), 1);
    is(set, "{\"a\":[1,\"two\",true]}");
}

static void objects_in_objects_are_dotted_names(void **state)
{
    (void)state;
    AUTO(value_set_free) struct value_set *set = make();
    assert_int_equal(put_json(set,
                              "{\"os\":{\"version\":\"12\",\"id\":\"debian\"},\"none\":null,"
                              "\"mem.mb\":512.5,\"empty\":[],\"x\":{}}",
                              NULL),
                     ERR_OK);
    is(set, "{\"empty\":[],\"mem.mb\":512.5,\"os.id\":\"debian\",\"os.version\":\"12\"}");
    AUTO(value_set_free) struct value_set *again = make();
    assert_int_equal(put_json(again,
                              "{\"empty\":[],\"mem.mb\":512.5,\"os.id\":\"debian\",\"os.version\":"
                              "\"12\"}",
                              NULL),
                     ERR_OK);
    is(again, "{\"empty\":[],\"mem.mb\":512.5,\"os.id\":\"debian\",\"os.version\":\"12\"}");
}

static void refuse(const char *json, enum error_code code, const char *message)
{
    AUTO(value_set_free) struct value_set *set = make();
    struct error err = {0};
    assert_int_equal(put_json(set, json, &err), code);
    assert_string_equal(err.message, message);
}

static void what_can_be_no_value_is_refused(void **state)
{
    (void)state;
    refuse("[]", ERR_INVALID, "expected an object, and it is an array");
    refuse("{\"a\":[1,[2]]}", ERR_INVALID, "a[1]: an array cannot stand in a list");
    refuse("{\"a\":{\"b\":[null]}}", ERR_INVALID, "a.b[0]: null cannot stand in a list");
    refuse("{\"a b\":1}", ERR_INVALID,
           "\"a b\" is no name: words of letters, digits, _ and -, joined by dots");
    refuse("{\"a.\":1}", ERR_INVALID,
           "\"a.\" is no name: words of letters, digits, _ and -, joined by dots");
    refuse("{\"\":1}", ERR_INVALID,
           "\"\" is no name: words of letters, digits, _ and -, joined by dots");
}

static void what_is_too_much_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    AUTO(value_set_free) struct value_set *set = make();
    AUTO_BUF struct buf text = BUF_INIT;
    struct error err = {0};
    for (int i = 0; i < VALUE_SET_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(value_set_put_number(set, name, i, NULL), ERR_OK);
    }
    assert_int_equal(value_set_put_number(set, "more", 1, &err), ERR_LIMIT);
    assert_string_equal(err.message, "more than 1024 values");
    assert_int_equal(value_set_put_number(set, "n7", 1, NULL), ERR_OK);
    while (text.len < VALUE_TEXT_MAX)
        buf_putc(&text, 'x');
    assert_int_equal(value_set_put_text(set, "n0", text.data, NULL), ERR_OK);
    assert_int_equal(value_set_put_text(set, "n1", text.data, NULL), ERR_OK);
    assert_int_equal(value_set_put_text(set, "n2", text.data, NULL), ERR_OK);
    assert_int_equal(value_set_put_text(set, "n3", text.data, &err), ERR_LIMIT);
    assert_string_equal(err.message, "values of more than 262144 bytes together");
    /* One that goes makes room. */
    assert_int_equal(value_set_put_number(set, "n0", 0, NULL), ERR_OK);
    assert_int_equal(value_set_put_text(set, "n3", text.data, NULL), ERR_OK);
    buf_putc(&text, 'x');
    assert_int_equal(value_set_put_text(set, "n4", text.data, &err), ERR_LIMIT);
    assert_string_equal(err.message, "a text of more than 65536 bytes");
    assert_int_equal(value_set_count(set), VALUE_SET_MAX);
}

static void no_memory_is_an_error_and_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        AUTO(value_set_free) struct value_set *set = make();
        const struct value items[] = {{.kind = VALUE_TEXT, .text = "a"},
                                      {.kind = VALUE_TEXT, .text = "b"}};
        const struct value list = {.kind = VALUE_LIST, .items = items, .count = 2};
        mem_fail_after(n);
        enum error_code code = value_set_put(set, "list", &list, NULL);
        bool failed = mem_fail_count() > 0;
        mem_fail_never();
        assert_int_equal(code, failed ? ERR_NO_MEMORY : ERR_OK);
        assert_int_equal(value_set_count(set), failed ? 0 : 1);
        if (!failed)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found_by_name),
        cmocka_unit_test(a_later_value_replaces_an_earlier_one),
        cmocka_unit_test(objects_in_objects_are_dotted_names),
        cmocka_unit_test(what_can_be_no_value_is_refused),
        cmocka_unit_test(what_is_too_much_is_refused_and_changes_nothing),
        cmocka_unit_test(no_memory_is_an_error_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
