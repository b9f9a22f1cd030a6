#include "handlers/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct gate_params params = {
    .interval_ms = 100, .timeout_ms = 100, .success_threshold = 3, .failure_threshold = 2};

/* The verdict after each of the probes: '+' a success; '.', 'H', 'U'. */
static void assert_verdicts(const char *probes, const char *verdicts)
{
    struct gate_count count = {0};
    for (size_t i = 0; i < strlen(probes); i++) {
        static const char letters[] = {
            [GATE_GOES_ON] = '.', [GATE_HEALTHY] = 'H', [GATE_UNHEALTHY] = 'U'};
        assert_int_equal(letters[gate_count_probe(&count, &params, probes[i] == '+')], verdicts[i]);
    }
    assert_int_equal(count.probes, strlen(probes));
}

static void only_probes_in_a_row_count(void **state)
{
    (void)state;
    assert_verdicts("+++", "..H");
    assert_verdicts("--", ".U");
    assert_verdicts("-+-+-+-+++", ".........H");
    assert_verdicts("++-++-++-+--", "...........U");
}

static void a_probe_begins_an_interval_after_the_one_before_began(void **state)
{
    (void)state;
    assert_int_equal(gate_wait_ms(&params, 0), 100);
    assert_int_equal(gate_wait_ms(&params, 30), 70);
    assert_int_equal(gate_wait_ms(&params, 100), 0);
    assert_int_equal(gate_wait_ms(&params, 5000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_probes_in_a_row_count),
        cmocka_unit_test(a_probe_begins_an_interval_after_the_one_before_began),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
