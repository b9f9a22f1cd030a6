#include "unit/handlers/support_params.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

void *good(const struct step_type *type, const char *params_json)
{
    struct problems ps = {0};
    struct error err = {0};
    void *params = NULL;
    enum error_code code = step_params_decode(type, params_json, "params", &params, &ps, &err);
    if (code != ERR_OK)
        print_error("%s\n%s\n", params_json, err.message);
    problems_done(&ps);
    assert_int_equal(code, ERR_OK);
    return params;
}

void assert_good(const struct step_type *type, const char *params_json)
{
    step_params_free(type, good(type, params_json));
}

void assert_wrong(const struct step_type *type, const char *params_json, const char *path,
                  const char *message)
{
    struct problems ps = {0};
    void *params = NULL;
    enum error_code code = step_params_decode(type, params_json, "params", &params, &ps, NULL);
    bool right = code == ERR_INVALID && ps.total == 1 && strcmp(ps.items[0].path, path) == 0 &&
                 strstr(ps.items[0].message, message);
    if (!right) {
        print_error("%.100s\n", params_json);
        for (size_t i = 0; i < ps.count; i++)
            print_error("%s: %s\n", ps.items[i].path, ps.items[i].message);
    }
    problems_done(&ps);
    assert_null(params);
    assert_true(right);
}
