#include "orchestrator/cli/install/payload.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static void a_program_tells_its_architecture(void **state)
{
    unsigned char elf[64] = {0x7f, 'E', 'L', 'F', 2, 1};
    enum payload_kind kind = PAYLOAD_KIND_COUNT;
    char machine[FACTS_TEXT_MAX];
    (void)state;
    elf[18] = 183; /* e_machine */
    assert_true(payload_look("agent", elf, sizeof(elf), &kind, machine));
    assert_int_equal(kind, PAYLOAD_BINARY);
    assert_string_equal(machine, "aarch64");
    elf[5] = 2; /* the other byte order */
    elf[18] = 0;
    elf[19] = 22;
    assert_true(payload_look("agent", elf, sizeof(elf), &kind, machine));
    assert_string_equal(machine, "s390x");
    /* A head that is cut off says nothing. */
    assert_true(payload_look("agent", elf, 18, &kind, machine));
    assert_string_equal(machine, "");
}

static void a_package_s_name_tells_its_architecture(void **state)
{
    static const unsigned char deb[] = "!<arch>\ndebian-binary   ";
    static const unsigned char rpm[] = {0xed, 0xab, 0xee, 0xdb, 3, 0};
    enum payload_kind kind = PAYLOAD_KIND_COUNT;
    char machine[FACTS_TEXT_MAX];
    (void)state;
    assert_true(payload_look("/p/kitsune-agent_1_amd64.deb", deb, sizeof(deb), &kind, machine));
    assert_int_equal(kind, PAYLOAD_DEB);
    assert_string_equal(machine, "x86_64");
    assert_true(payload_look("kitsune-agent-1.aarch64.rpm", rpm, sizeof(rpm), &kind, machine));
    assert_int_equal(kind, PAYLOAD_RPM);
    assert_string_equal(machine, "aarch64");
    assert_true(payload_look("agent.deb", deb, sizeof(deb), &kind, machine));
    assert_string_equal(machine, "");
}

static void anything_else_is_refused(void **state)
{
    enum payload_kind kind = PAYLOAD_KIND_COUNT;
    char machine[FACTS_TEXT_MAX];
    struct payload p = {0};
    struct error err = {0};
    (void)state;
    assert_false(payload_look("x", (const unsigned char *)"#!/bin/sh", 9, &kind, machine));
    assert_false(payload_look("x", (const unsigned char *)"", 0, &kind, machine));
    assert_int_equal(payload_load(KITSUNE_SOURCE_DIR "/LICENSE", false, &p, &err), ERR_INVALID);
    assert_int_equal(payload_load("/proc/self/exe", true, &p, &err), ERR_INVALID);
    assert_non_null(strstr(err.message, "is not a package"));
    assert_int_equal(payload_load("/nowhere", false, &p, &err), ERR_NOT_FOUND);
    assert_int_equal(payload_load("/proc/self/exe", false, &p, &err), ERR_OK);
    assert_int_equal(strlen(p.sum), 64);
    payload_done(&p);
}

static void the_sum_is_sha_256(void **state)
{
    char sum[FACTS_SUM_MAX];
    (void)state;
    payload_sum("abc", 3, sum);
    assert_string_equal(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_tells_its_architecture),
        cmocka_unit_test(a_package_s_name_tells_its_architecture),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(the_sum_is_sha_256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
