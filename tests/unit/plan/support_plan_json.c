#include "support_plan_json.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "handlers/catalog.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct plan *parse_good(const char *text)
{
    struct plan *plan = NULL;
    struct problems ps = {0};
    struct error err = {0};
    enum error_code code = plan_parse(text, strlen(text), &handler_catalog, &plan, &ps, &err);
    if (code != ERR_OK)
        print_error("%s\n", err.message);
    problems_done(&ps);
    assert_int_equal(code, ERR_OK);
    assert_non_null(plan);
    return plan;
}

static void find_problem(const char *text, const char *path, const char *message, bool only)
{
    struct plan *plan = NULL;
    struct problems ps = {0};
    enum error_code code = plan_parse(text, strlen(text), &handler_catalog, &plan, &ps, NULL);
    bool found = false;
    for (size_t i = 0; i < ps.count; i++)
        found =
            found || (strcmp(ps.items[i].path, path) == 0 && strstr(ps.items[i].message, message));
    size_t total = ps.total;
    bool right = found && (!only || total == 1);
    for (size_t i = 0; !right && i < ps.count; i++)
        print_error("%s: %s\n", ps.items[i].path, ps.items[i].message);
    problems_done(&ps);
    assert_int_equal(code, ERR_INVALID);
    assert_null(plan);
    assert_true(right);
}

void assert_problem(const char *text, const char *path, const char *message)
{
    find_problem(text, path, message, true);
}

void assert_has_problem(const char *text, const char *path, const char *message)
{
    find_problem(text, path, message, false);
}

char *written(const struct plan *plan)
{
    AUTO_BUF struct buf b = BUF_INIT;
    plan_write(&b, plan);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    char *text = buf_take(&b, NULL);
    assert_non_null(text);
    return text;
}

void assert_same_plan(const char *one, const char *other)
{
    AUTO(plan_free) struct plan *a = parse_good(one);
    AUTO(plan_free) struct plan *b = parse_good(other);
    AUTO_FREE char *text_a = written(a);
    AUTO_FREE char *text_b = written(b);
    assert_string_equal(text_a, text_b);
}

char *source_file(const char *path, size_t *ret_len)
{
    enum { FILE_MAX = 64 * 1024 };
    char full[4096];
    (void)snprintf(full, sizeof(full), "%s/%s", KITSUNE_SOURCE_DIR, path);
    FILE *file = fopen(full, "re");
    assert_non_null(file);
    char *text = mem_alloc(FILE_MAX);
    assert_non_null(text);
    size_t len = fread(text, 1, FILE_MAX - 1, file);
    assert_int_equal(ferror(file), 0);
    assert_int_equal(fclose(file), 0);
    assert_true(len > 0 && len < FILE_MAX - 1);
    text[len] = '\0';
    *ret_len = len;
    return text;
}
