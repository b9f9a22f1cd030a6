/* Any text as a condition, and as a text with names in it. A condition that is taken gives the same
 * answer each time; a text without names is filled in as itself, and one that was filled in with
 * escapes alone loses a dollar for each. */
#include "common/values/expr.h"
#include "common/values/template.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FUZZ_MAX = 16 * 1024 };

/* What a name stands for, is decided by its last byte. */
static bool find(void *ctx, const char *name, struct value *ret_value)
{
    static const struct value items[] = {{.kind = VALUE_TEXT, .text = "a"},
                                         {.kind = VALUE_NUMBER, .number = 1}};
    static const struct value values[] = {
        {.kind = VALUE_TEXT, .text = "12.5"},
        {.kind = VALUE_NUMBER, .number = -0.5},
        {.kind = VALUE_BOOL, .yes = true},
        {.kind = VALUE_LIST, .items = items, .count = 2},
    };
    (void)ctx;
    size_t kind = (unsigned char)name[strlen(name) - 1] % 5;
    if (kind == 4)
        return false;
    *ret_value = values[kind];
    return true;
}

static const struct value_scope scope = {.find = find};

static bool known(void *ctx, const char *name)
{
    (void)ctx;
    assert(value_name_scan(name, NULL) == strlen(name));
    return true;
}

static void check_condition(const char *text)
{
    struct expr *e = NULL;
    struct error err = {0};
    if (expr_parse(text, &e, &err) != ERR_OK) {
        assert(err.message[0] != '\0');
        return;
    }
    bool first = false, second = true;
    expr_names(e, known, NULL);
    enum error_code code = expr_test(e, &scope, &first, &err);
    assert(expr_test(e, &scope, &second, NULL) == code);
    assert(code == ERR_OK ? first == second : err.message[0] != '\0');
    expr_free(e);
}

static void check_text(const char *text)
{
    struct buf b = BUF_INIT;
    struct error err = {0};
    enum error_code code = template_fill(text, &scope, &b, &err);
    if (!template_has(text))
        assert(code == ERR_OK && strcmp(b.data ? b.data : "", text) == 0);
    buf_done(&b);
}

static void check_json(const char *text)
{
    struct json_doc *doc = NULL;
    struct json_doc *again = NULL;
    struct buf b = BUF_INIT;
    struct error err = {0};
    if (json_parse(text, strlen(text), FUZZ_MAX, &doc, &err) != ERR_OK)
        return;
    template_json_names(json_root(doc), known, NULL);
    if (template_json_fill(json_root(doc), "params", &scope, &b, &err) == ERR_OK)
        assert(json_parse(b.data, b.len, (size_t)64 * FUZZ_MAX, &again, &err) == ERR_OK);
    json_free(again);
    json_free(doc);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FUZZ_MAX)
        return 0;
    char *text = malloc(size + 1);
    assert(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    check_condition(text);
    check_text(text);
    check_json(text);
    free(text);
    return 0;
}
