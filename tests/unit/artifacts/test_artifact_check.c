#include "unit/artifacts/support_store.h"

#include "orchestrator/artifacts/artifact_check.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void note_finding(void *ctx, const char *name, const char *what)
{
    char *found = ctx;
    (void)snprintf(found, HEX_BUFFER + 64, "%s: %.60s", name, what);
}

static void a_check_finds_what_is_damaged_and_changes_nothing(void **state)
{
    struct world *w = *state;
    struct artifact_checked checked = {0};
    struct error err = {0};
    char found_text[HEX_BUFFER + 64] = "";
    char good[HEX_BUFFER];
    char bad[HEX_BUFFER];
    char part[HEX_BUFFER];
    stored(w, "good", good);
    stored(w, "to be damaged", bad);
    half_put(w, part);
    assert_int_equal(artifact_check(w->dir, note_finding, found_text, &checked, &err), ERR_OK);
    assert_int_equal(checked.count, 2);
    assert_int_equal(checked.findings, 0);
    assert_int_equal(checked.bytes, 4 + 13);
    file_make(w, bad, "to be damageD");
    assert_int_equal(artifact_check(w->dir, note_finding, found_text, &checked, &err), ERR_OK);
    assert_int_equal(checked.findings, 1);
    assert_memory_equal(found_text, bad, ARTIFACT_DIGEST_DIGITS);
    assert_non_null(strstr(found_text, "is damaged"));
    assert_int_equal(begun(w, part, LEN).offset, FIRST);
    assert_int_equal(artifact_check("/nowhere", note_finding, found_text, &checked, &err), ERR_OK);
    assert_int_equal(checked.count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_check_finds_what_is_damaged_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
