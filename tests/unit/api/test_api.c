/* The route table against the description that people program against. */
#include "common/base/cleanup.h"
#include "common/json/json.h"
#include "orchestrator/api/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { DESCRIPTION_MAX = 1024 * 1024 };

static struct json_doc *read_description(void)
{
    FILE *file = fopen(KITSUNE_SOURCE_DIR "/docs/openapi.json", "rb");
    assert_non_null(file);
    char *text = malloc(DESCRIPTION_MAX);
    assert_non_null(text);
    size_t len = fread(text, 1, DESCRIPTION_MAX, file);
    (void)fclose(file);
    struct json_doc *doc = NULL;
    struct error err = {0};
    if (json_parse(text, len, DESCRIPTION_MAX, &doc, &err) != ERR_OK)
        fail_msg("docs/openapi.json: %s", err.message);
    free(text);
    return doc;
}

static const char *const method_names[] = {
    [NET_GET] = "get",       [NET_POST] = "post", [NET_PUT] = "put",
    [NET_DELETE] = "delete", [NET_HEAD] = "head",
};

static bool served(const char *method, const char *path)
{
    size_t count = 0;
    const struct api_route *routes = api_routes(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(routes[i].pattern, path) == 0 &&
            strcmp(method_names[routes[i].method], method) == 0)
            return true;
    }
    return false;
}

static void every_route_is_described(void **state)
{
    (void)state;
    struct json_doc *doc = read_description();
    const struct json_value *paths = json_get(json_root(doc), "paths");
    assert_non_null(paths);
    size_t count = 0;
    const struct api_route *routes = api_routes(&count);
    assert_true(count > 10);
    for (size_t i = 0; i < count; i++) {
        const struct json_value *path = json_get(paths, routes[i].pattern);
        if (path == NULL || json_get(path, method_names[routes[i].method]) == NULL)
            fail_msg("docs/openapi.json does not describe %s %s", method_names[routes[i].method],
                     routes[i].pattern);
    }
    json_free(doc);
}

static void everything_described_is_a_route(void **state)
{
    (void)state;
    struct json_doc *doc = read_description();
    const struct json_value *paths = json_get(json_root(doc), "paths");
    for (const struct json_value *path = json_first(paths); path != NULL; path = json_next(path)) {
        for (const struct json_value *method = json_first(path); method != NULL;
             method = json_next(method)) {
            bool is_method = false;
            for (size_t i = 0; i < ARRAY_LEN(method_names); i++)
                is_method = is_method || strcmp(json_name(method), method_names[i]) == 0;
            if (is_method && !served(json_name(method), json_name(path)))
                fail_msg("nothing serves %s %s", json_name(method), json_name(path));
        }
    }
    json_free(doc);
}

/* The description says it to people, and to the test that tries them all. */
static void every_route_has_a_rule_and_the_description_says_the_same(void **state)
{
    (void)state;
    struct json_doc *doc = read_description();
    const struct json_value *paths = json_get(json_root(doc), "paths");
    size_t count = 0;
    const struct api_route *routes = api_routes(&count);
    for (size_t i = 0; i < count; i++) {
        const char *method = method_names[routes[i].method];
        if (routes[i].role <= API_NO_RULE || routes[i].role >= API_ROLE_COUNT)
            fail_msg("%s %s has no rule: nobody can use it", method, routes[i].pattern);
        const struct json_value *role =
            json_get(json_get(json_get(paths, routes[i].pattern), method), "x-role");
        if (role == NULL || strcmp(json_string(role), api_role_names[routes[i].role]) != 0)
            fail_msg("docs/openapi.json: x-role of %s %s is not %s", method, routes[i].pattern,
                     api_role_names[routes[i].role]);
    }
    json_free(doc);
}

static void nobody_gets_more_without_a_token_than_this(void **state)
{
    (void)state;
    static const char *const open_to_all[] = {"/healthz", "/readyz", "/v1/ca", "/v1/enrol"};
    size_t seen = 0;
    size_t count = 0;
    const struct api_route *routes = api_routes(&count);
    for (size_t i = 0; i < count; i++) {
        bool meant = false;
        if (routes[i].role != API_ANYBODY)
            continue;
        for (size_t k = 0; k < ARRAY_LEN(open_to_all); k++)
            meant = meant || strcmp(routes[i].pattern, open_to_all[k]) == 0;
        if (!meant)
            fail_msg("%s is open to anybody", routes[i].pattern);
        seen++;
    }
    assert_int_equal(seen, ARRAY_LEN(open_to_all));
}

static void what_changes_something_has_a_name_in_the_audit_log(void **state)
{
    (void)state;
    size_t count = 0;
    const struct api_route *routes = api_routes(&count);
    for (size_t i = 0; i < count; i++) {
        bool only_looks = strcmp(routes[i].pattern, "/v1/plans/validate") == 0;
        if (routes[i].method != NET_GET && !only_looks && routes[i].action == NULL)
            fail_msg("%s has no action", routes[i].pattern);
        /* What changes is for operators at least, or for agents. */
        if (routes[i].action != NULL && routes[i].role == API_VIEWER)
            fail_msg("a viewer may %s", routes[i].action);
    }
}

static void a_change_is_never_made_by_get(void **state)
{
    (void)state;
    static const char *const changes[] = {"cancel", "pause",   "resume", "rollback",
                                          "retry",  "resolve", "lock",   "unlock"};
    size_t seen = 0;
    size_t count = 0;
    const struct api_route *routes = api_routes(&count);
    for (size_t i = 0; i < count; i++) {
        const char *last = strrchr(routes[i].pattern, '/') + 1;
        for (size_t k = 0; k < ARRAY_LEN(changes); k++) {
            if (strcmp(last, changes[k]) != 0)
                continue;
            seen++;
            assert_int_equal(routes[i].method, NET_POST);
        }
    }
    assert_int_equal(seen, ARRAY_LEN(changes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_described),
        cmocka_unit_test(everything_described_is_a_route),
        cmocka_unit_test(every_route_has_a_rule_and_the_description_says_the_same),
        cmocka_unit_test(nobody_gets_more_without_a_token_than_this),
        cmocka_unit_test(what_changes_something_has_a_name_in_the_audit_log),
        cmocka_unit_test(a_change_is_never_made_by_get),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
