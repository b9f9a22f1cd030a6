#include "common/wire/wire.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/output.h"
#include "common/plan/plan_json.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- Help -------------------------------------------------------------------------------- */

static struct wire_frame good(const char *text)
{
    struct wire_frame frame;
    struct error err = {0};
    enum error_code code = wire_decode(text, strlen(text), &frame, &err);
    if (code != ERR_OK)
        print_error("%s\n", err.message);
    assert_int_equal(code, ERR_OK);
    return frame;
}

/* The frame is refused, and the message says so in these words. */
static void assert_refused(const char *text, const char *message)
{
    struct wire_frame frame;
    memset(&frame, 0x5a, sizeof(frame));
    struct wire_frame before = frame;
    struct error err = {0};
    enum error_code code = wire_decode(text, strlen(text), &frame, &err);
    if (code != ERR_PROTOCOL || !strstr(err.message, message))
        print_error("%.200s\n%d %s\n", text, (int)code, err.message);
    assert_int_equal(code, ERR_PROTOCOL);
    assert_int_equal(err.code, ERR_PROTOCOL);
    assert_non_null(strstr(err.message, message));
    assert_memory_equal(&frame, &before, sizeof(frame));
    assert_int_equal(wire_decode(text, strlen(text), &frame, NULL), ERR_PROTOCOL);
}

/* What is decoded is encoded as the same text again. */
static void assert_round_trip(const char *text)
{
    struct wire_frame frame = good(text);
    AUTO_BUF struct buf b = BUF_INIT;
    wire_encode(&b, &frame);
    wire_frame_done(&frame);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    assert_string_equal(b.data, text);
}

/* A report with these entries. */
#define REPORT(entries) "{\"v\":1,\"type\":\"report\",\"rollout\":\"r1\",\"entries\":[" entries "]}"
#define ENTRY(seq, members) "{\"seq\":" seq ",\"type\":" members "}"
#define STEP_ENDED "\"step_ended\",\"timeMs\":5,\"step\":0,\"attempt\":1,\"state\":\"failed\""
#define STEP_TEXT                                                                                  \
    "{\"name\":\"a\",\"type\":\"echo\",\"params\":{\"message\":\"m\"},\"required\":true,"          \
    "\"continueOnFailure\":false,\"timeoutSeconds\":1.5,\"retry\":{\"initialIntervalSeconds\":1,"  \
    "\"backoffCoefficient\":2,\"maximumIntervalSeconds\":60},\"onInterrupt\":\"default\"}"
#define EXECUTE_TEXT                                                                               \
    "{\"v\":1,\"type\":\"execute\",\"rollout\":\"r1\",\"epoch\":3,\"rollbackOnFailure\":true,"     \
    "\"steps\":[" STEP_TEXT "]}"
#define ZEROES_16 "0000000000000000"
#define ZEROES_64 ZEROES_16 ZEROES_16 ZEROES_16 ZEROES_16
#define SIGNING(version)                                                                           \
    "{\"version\":" version ",\"nonce\":\"" ZEROES_16 ZEROES_16                                    \
    "\",\"notBefore\":\"2026-11-26T06:00:00.000Z\",\"expires\":\"2026-11-26T14:00:00.000Z\","      \
    "\"digest\":\"" ZEROES_64 "\",\"signatures\":[{\"key\":\"" ZEROES_16                           \
    "\",\"signature\":\"" ZEROES_64 ZEROES_64 "\"}]}"
#define SIGNED(scope, index, path, signing)                                                        \
    "{\"v\":1,\"type\":\"execute\",\"rollout\":\"r1\",\"epoch\":3,\"rollbackOnFailure\":true,"     \
    "\"signed\":{\"plan\":\"p\",\"strategy\":\"" ZEROES_64 "\",\"scope\":\"" scope                 \
    "\",\"servers\":3,\"root\":\"" ZEROES_64 "\",\"index\":" index ",\"path\":[" path              \
    "],\"signing\":" signing "},\"steps\":[" STEP_TEXT "]}"
#define STEP_64 "\"" ZEROES_64 "\""
#define FULL_REPORT                                                                                     \
    REPORT(                                                                                             \
        ENTRY("7", "\"started\",\"timeMs\":1760000000000,\"step\":-1,\"state\":\"running\"") "," ENTRY( \
            "8",                                                                                        \
            "\"step_ended\",\"timeMs\":1760000000001,\"step\":0,\"attempt\":2,"                         \
            "\"state\":\"timed_out\",\"changed\":true,\"exitCode\":0,"                                  \
            "\"durationMs\":12,\"message\":\"m \\\"q\\\"\",\"output\":\"a\\nb\"") "," ENTRY("9",        \
                                                                                            "\"en"      \
                                                                                            "ded"       \
                                                                                            "\","       \
                                                                                            "\"ti"      \
                                                                                            "meMs"      \
                                                                                            "\":"       \
                                                                                            "1760"      \
                                                                                            "0000"      \
                                                                                            "0000"      \
                                                                                            "2,"        \
                                                                                            "\"st"      \
                                                                                            "ep\""      \
                                                                                            ":-1,"      \
                                                                                            "\"st"      \
                                                                                            "ate"       \
                                                                                            "\":"       \
                                                                                            "\"ti"      \
                                                                                            "med_"      \
                                                                                            "out"       \
                                                                                            "\","       \
                                                                                            "\"un"      \
                                                                                            "doin"      \
                                                                                            "g\":"      \
                                                                                            "tru"       \
                                                                                            "e"))

static const char *const every_frame[] = {
    "{\"v\":1,\"type\":\"welcome\",\"orchestrator\":\"o1\",\"epoch\":3,\"heartbeatMs\":15000}",
    EXECUTE_TEXT,
    "{\"v\":1,\"type\":\"execute\",\"rollout\":\"r1\",\"epoch\":3,\"rollbackOnFailure\":true,"
    "\"confirmMs\":30000,\"steps\":[" STEP_TEXT "]}",
    SIGNED("failed", "2", STEP_64 "," STEP_64, SIGNING("1")),
    "{\"v\":1,\"type\":\"rollback\",\"rollout\":\"r1\",\"epoch\":3,\"round\":1}",
    "{\"v\":1,\"type\":\"rollback\",\"rollout\":\"r1\",\"epoch\":3,\"round\":2,\"force\":true}",
    "{\"v\":1,\"type\":\"cancel\",\"rollout\":\"r1\",\"epoch\":3,\"now\":false}",
    "{\"v\":1,\"type\":\"ack\",\"rollout\":\"r1\",\"seq\":9007199254740991}",
    "{\"v\":1,\"type\":\"ack\",\"seq\":0}",
    "{\"v\":1,\"type\":\"hello\",\"id\":\"web-1\",\"instance\":\"i1\",\"version\":\"0.1.0\","
    "\"hostname\":\"h\",\"bootId\":\"b\",\"undoBytes\":4096,\"undoMaxBytes\":8192,\"handlers\":["
    "\"echo\",\"sleep\"],"
    "\"executions\":[{\"rollout\":\"r1\",\"lastSeq\":4},{\"rollout\":\"r2\",\"lastSeq\":0}]}",
    "{\"v\":1,\"type\":\"hello\",\"id\":\"web-1\",\"instance\":\"i1\",\"version\":\"0.1.0\","
    "\"handlers\":[],\"executions\":[]}",
    FULL_REPORT,
    REPORT(ENTRY("1", "\"confirming\",\"timeMs\":1,\"step\":-1,\"state\":\"running\"") "," ENTRY(
        "2", "\"rollback_started\",\"timeMs\":2,\"step\":-1,\"state\":\"rolling_back\",\"force\":"
             "true") "," ENTRY("3", "\"step_rolled_back\",\"timeMs\":3,\"step\":0,\"attempt\":1,"
                                    "\"state\":\"rollback_failed\",\"conflict\":true")),
    "{\"v\":1,\"type\":\"output\",\"rollout\":\"r1\",\"step\":0,\"attempt\":1,\"offset\":70000,"
    "\"text\":\"x\"}",
    "{\"v\":1,\"type\":\"heartbeat\"}",
};

/* ---- Right frames ------------------------------------------------------------------------ */

static void every_frame_reads_back_the_same(void **state)
{
    (void)state;
    bool seen[WIRE_TYPE_COUNT] = {false};
    for (size_t i = 0; i < ARRAY_LEN(every_frame); i++) {
        assert_round_trip(every_frame[i]);
        struct wire_frame frame = good(every_frame[i]);
        seen[frame.type] = true;
        wire_frame_done(&frame);
    }
    for (int i = 0; i < WIRE_TYPE_COUNT; i++)
        assert_true(seen[i]);
}

static void a_welcome_is_read(void **state)
{
    (void)state;
    struct wire_frame frame = good(every_frame[0]);
    assert_int_equal(frame.type, WIRE_WELCOME);
    assert_string_equal(frame.welcome.orchestrator, "o1");
    assert_int_equal(frame.welcome.epoch, 3);
    assert_int_equal(frame.welcome.heartbeat_ms, 15000);
    wire_frame_done(&frame);
}

static void an_execute_is_read_with_its_steps(void **state)
{
    (void)state;
    struct wire_frame frame = good(EXECUTE_TEXT);
    assert_true(frame.execute.rollback_on_failure);
    assert_int_equal(frame.execute.steps.count, 1);
    const struct plan_step *step = ARRAY_AT(&frame.execute.steps, struct plan_step, 0);
    assert_string_equal(step->name, "a");
    assert_string_equal(step->params_json, "{\"message\":\"m\"}");
    assert_int_equal(step->timeout_ms, 1500);
    wire_frame_done(&frame);
}

static void a_step_without_params_has_empty_ones(void **state)
{
    (void)state;
    struct wire_frame frame =
        good("{\"v\":1,\"type\":\"execute\",\"rollout\":\"r\",\"epoch\":1,"
             "\"rollbackOnFailure\":false,\"steps\":[{\"name\":\"a\",\"type\":\"echo\"}]}");
    const struct plan_step *step = ARRAY_AT(&frame.execute.steps, struct plan_step, 0);
    assert_string_equal(step->params_json, "{}");
    assert_true(step->required);
    assert_int_equal(step->retry.initial_interval_ms, 1000);
    wire_frame_done(&frame);
}

static void an_ack_of_a_heartbeat_has_no_rollout(void **state)
{
    (void)state;
    struct wire_frame frame = good("{\"v\":1,\"type\":\"ack\"}");
    assert_null(frame.ack.rollout);
    assert_int_equal(frame.ack.seq, 0);
    wire_frame_done(&frame);
}

static void a_report_is_read_with_its_entries(void **state)
{
    (void)state;
    struct wire_frame frame = good(FULL_REPORT);
    assert_int_equal(frame.report.entries.count, 3);
    const struct wire_entry *entries = frame.report.entries.items;
    assert_int_equal(entries[0].seq, 7);
    assert_int_equal(entries[0].type, REPORT_STARTED);
    assert_int_equal(entries[0].step, -1);
    assert_int_equal(entries[0].state, EXECUTION_RUNNING);
    assert_false(entries[0].has_exit_code);
    assert_null(entries[0].message);
    assert_int_equal(entries[1].state, STEP_TIMED_OUT);
    assert_int_equal(entries[1].attempt, 2);
    assert_true(entries[1].changed && entries[1].has_exit_code);
    assert_int_equal(entries[1].exit_code, 0);
    assert_string_equal(entries[1].message, "m \"q\"");
    assert_string_equal(entries[1].output, "a\nb");
    assert_int_equal(entries[2].state, EXECUTION_TIMED_OUT);
    assert_true(entries[2].undoing);
    wire_frame_done(&frame);
}

static void fields_of_a_newer_peer_are_passed_over(void **state)
{
    (void)state;
    struct wire_frame frame = good(
        "{\"later\":[1],\"type\":\"cancel\",\"v\":1,\"now\":true,\"epoch\":1,\"rollout\":\"r\"}");
    assert_true(frame.cancel.now);
    wire_frame_done(&frame);
    frame = good(REPORT(ENTRY("1", STEP_ENDED ",\"later\":{\"a\":1}")));
    wire_frame_done(&frame);
}

/* ---- States of entries ------------------------------------------------------------------- */

static void a_step_has_no_state_that_an_execution_lacks(void **state)
{
    (void)state;
    for (int i = 0; i < STEP_STATE_COUNT; i++) {
        bool found = false;
        for (int j = 0; j < EXECUTION_STATE_COUNT; j++)
            found = found || strcmp(step_state_names[i], execution_state_names[j]) == 0;
        assert_true(found);
    }
}

static bool type_is_about_a_step(int type)
{
    return strncmp(report_type_names[type], "step_", 5) == 0;
}

/* Every type with every state, in either order of members. */
static void an_entry_reads_back_whatever_the_order_of_its_members(void **state)
{
    (void)state;
    for (int type = 0; type < REPORT_TYPE_COUNT; type++) {
        bool step = type_is_about_a_step(type);
        int count = step ? (int)STEP_STATE_COUNT : (int)EXECUTION_STATE_COUNT;
        for (int s = 0; s < count; s++) {
            const char *type_name = report_type_names[type];
            const char *name = step ? step_state_names[s] : execution_state_names[s];
            static const char *const orders[] = {
                "{\"type\":\"%s\",\"state\":\"%s\",\"seq\":1,\"timeMs\":1,\"step\":%d}",
                "{\"state\":\"%2$s\",\"type\":\"%1$s\",\"seq\":1,\"timeMs\":1,\"step\":%3$d}",
            };
            for (size_t o = 0; o < ARRAY_LEN(orders); o++) {
                char text[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                int len = snprintf(text, sizeof(text), orders[o], type_name, name, step ? 2 : -1);
#pragma GCC diagnostic pop
                struct wire_entry entry;
                assert_int_equal(
                    json_read(text, (size_t)len, 1000, &wire_entry_table, &entry, NULL), ERR_OK);
                assert_int_equal(entry.type, type);
                assert_int_equal(entry.state, s);
                AUTO_BUF struct buf b = BUF_INIT;
                json_encode(&b, &wire_entry_table, &entry);
                assert_non_null(strstr(b.data, name));
                wire_entry_release(&entry);
            }
        }
    }
}

static void an_entry_with_a_state_that_its_type_lacks_is_refused(void **state)
{
    (void)state;
    assert_refused(REPORT("{\"seq\":1,\"type\":\"step_ended\",\"timeMs\":1,\"step\":0,"
                          "\"state\":\"cancelled\"}"),
                   "entries[0].state");
    assert_refused(REPORT("{\"seq\":1,\"state\":\"cancelled\",\"type\":\"step_ended\",\"timeMs\":1,"
                          "\"step\":0}"),
                   "entries[0].type");
    assert_refused(REPORT("{\"seq\":1,\"type\":\"ended\",\"timeMs\":1,\"state\":\"done\"}"),
                   "entries[0].state");
    assert_refused(REPORT("{\"seq\":1,\"type\":\"ended\",\"timeMs\":1,\"state\":3}"),
                   "entries[0].state");
    assert_refused(REPORT("{\"seq\":1,\"type\":\"over\",\"timeMs\":1,\"state\":\"failed\"}"),
                   "entries[0].type");
    assert_refused(REPORT("{\"seq\":1,\"type\":null,\"timeMs\":1,\"state\":\"failed\"}"),
                   "entries[0].type");
}

/* ---- Hostile frames ---------------------------------------------------------------------- */

static void what_is_not_a_frame_is_refused(void **state)
{
    (void)state;
    assert_refused("", "");
    assert_refused("x", "");
    assert_refused("[]", "a frame must be an object");
    assert_refused("null", "a frame must be an object");
    assert_refused("{\"v\":1,\"type\":\"heartbeat\"", "");
    assert_refused("{\"v\":1,\"type\":\"heartbeat\"}{}", "");
    assert_refused("{\"v\":1,\"type\":\"heartbeat\",\"x\":\"\xff\"}", "");
}

static void another_version_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"type\":\"heartbeat\"}", "v: missing");
    assert_refused("{\"v\":\"1\",\"type\":\"heartbeat\"}", "v: missing, or not a number");
    assert_refused("{\"v\":2,\"type\":\"heartbeat\"}", "version 2");
    assert_refused("{\"v\":1.5,\"type\":\"heartbeat\"}", "version 1.5");
    assert_refused("{\"v\":1,\"v\":1,\"type\":\"heartbeat\"}", "");
}

static void an_unknown_type_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"v\":1}", "type: missing");
    assert_refused("{\"v\":1,\"type\":7}", "type: missing, or not a string");
    assert_refused("{\"v\":1,\"type\":\"Heartbeat\"}", "\"Heartbeat\" is not a type of frame");
    assert_refused("{\"v\":1,\"type\":\"\"}", "is not a type of frame");
}

static void a_frame_without_a_field_it_needs_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"v\":1,\"type\":\"welcome\",\"epoch\":1,\"heartbeatMs\":1}", "orchestrator");
    assert_refused("{\"v\":1,\"type\":\"welcome\",\"orchestrator\":\"o\",\"heartbeatMs\":1}",
                   "epoch");
    assert_refused("{\"v\":1,\"type\":\"rollback\",\"epoch\":1}", "rollout");
    assert_refused("{\"v\":1,\"type\":\"cancel\",\"rollout\":\"r\",\"epoch\":1}", "now");
    assert_refused(
        "{\"v\":1,\"type\":\"execute\",\"rollout\":\"r\",\"epoch\":1,\"steps\":[" STEP_TEXT "]}",
        "rollbackOnFailure");
    assert_refused("{\"v\":1,\"type\":\"hello\",\"instance\":\"i\",\"version\":\"v\"}", "id");
    assert_refused("{\"v\":1,\"type\":\"report\",\"rollout\":\"r\"}", "entries");
    assert_refused(REPORT("{\"type\":\"started\",\"timeMs\":1,\"state\":\"running\"}"),
                   "entries[0].seq");
    assert_refused(REPORT("{\"seq\":1,\"timeMs\":1,\"state\":\"running\"}"), "entries[0].type");
    assert_refused(REPORT("{\"seq\":1,\"type\":\"started\",\"timeMs\":1}"), "entries[0].state");
    assert_refused("{\"v\":1,\"type\":\"output\",\"rollout\":\"r\",\"step\":0,\"attempt\":1,"
                   "\"offset\":0}",
                   "text");
}

static void ids_that_could_be_paths_are_refused(void **state)
{
    (void)state;
    static const char *const ids[] = {"../x", "a/b", ".", "", "-x", "a b", "\\u0007"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "{\"v\":1,\"type\":\"rollback\",\"rollout\":\"%s\",\"epoch\":1}", ids[i]);
        assert_refused(text, "rollout");
        (void)snprintf(text, sizeof(text),
                       "{\"v\":1,\"type\":\"hello\",\"id\":\"%s\",\"instance\":\"i\","
                       "\"version\":\"v\"}",
                       ids[i]);
        assert_refused(text, "id");
    }
}

static void numbers_out_of_their_bounds_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"v\":1,\"type\":\"rollback\",\"rollout\":\"r\",\"epoch\":0}", "epoch");
    assert_refused("{\"v\":1,\"type\":\"ack\",\"rollout\":\"r\",\"seq\":-1}", "seq");
    assert_refused("{\"v\":1,\"type\":\"ack\",\"rollout\":\"r\",\"seq\":1e300}", "seq");
    assert_refused("{\"v\":1,\"type\":\"ack\",\"rollout\":\"r\",\"seq\":9007199254740993}", "seq");
    assert_refused("{\"v\":1,\"type\":\"ack\",\"rollout\":\"r\",\"seq\":1.5}", "seq");
    assert_refused(REPORT(ENTRY("0", STEP_ENDED)), "entries[0].seq");
    assert_refused(REPORT(ENTRY("-4", STEP_ENDED)), "entries[0].seq");
    assert_refused(REPORT("{\"seq\":1,\"type\":\"step_ended\",\"timeMs\":1,\"step\":256,"
                          "\"state\":\"failed\"}"),
                   "entries[0].step");
    assert_refused(REPORT("{\"seq\":1,\"type\":\"step_ended\",\"timeMs\":1,\"step\":-2,"
                          "\"state\":\"failed\"}"),
                   "entries[0].step");
}

static void entries_rise_by_one(void **state)
{
    (void)state;
    assert_refused(REPORT(ENTRY("1", STEP_ENDED) "," ENTRY("1", STEP_ENDED)), "entries[1].seq");
    assert_refused(REPORT(ENTRY("1", STEP_ENDED) "," ENTRY("3", STEP_ENDED)), "entries[1].seq");
    assert_refused(REPORT(ENTRY("5", STEP_ENDED) "," ENTRY("4", STEP_ENDED)), "entries[1].seq");
    assert_refused(REPORT(""), "entries");
}

static void an_entry_names_a_step_exactly_when_it_is_about_one(void **state)
{
    (void)state;
    assert_refused(REPORT("{\"seq\":1,\"type\":\"step_ended\",\"timeMs\":1,\"state\":\"failed\"}"),
                   "entries[0].step");
    assert_refused(REPORT("{\"seq\":1,\"type\":\"ended\",\"timeMs\":1,\"step\":0,"
                          "\"state\":\"failed\"}"),
                   "entries[0].step");
}

static void nested_garbage_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"v\":1,\"type\":\"report\",\"rollout\":\"r\",\"entries\":{}}", "entries");
    assert_refused(REPORT("[]"), "entries[0]");
    assert_refused(REPORT("null"), "entries[0]");
    assert_refused(REPORT("1"), "entries[0]");
    assert_refused("{\"v\":1,\"type\":\"hello\",\"id\":\"i\",\"instance\":\"i\",\"version\":\"v\","
                   "\"handlers\":[1]}",
                   "handlers[0]");
    assert_refused("{\"v\":1,\"type\":\"hello\",\"id\":\"i\",\"instance\":\"i\",\"version\":\"v\","
                   "\"executions\":[{\"rollout\":{}}]}",
                   "executions[0].rollout");
    assert_refused("{\"v\":1,\"type\":\"execute\",\"rollout\":\"r\",\"epoch\":1,"
                   "\"rollbackOnFailure\":true,\"steps\":[{\"name\":\"a\",\"type\":\"echo\","
                   "\"params\":[]}]}",
                   "steps[0].params");
    assert_refused("{\"v\":1,\"type\":\"execute\",\"rollout\":\"r\",\"epoch\":1,"
                   "\"rollbackOnFailure\":true,\"steps\":[]}",
                   "steps");
}

static void too_many_brackets_are_a_limit(void **state)
{
    (void)state;
    char text[1024] = "{\"v\":1,\"type\":\"heartbeat\",\"x\":";
    size_t len = strlen(text);
    memset(text + len, '[', 500);
    struct wire_frame frame;
    assert_int_equal(wire_decode(text, len + 500, &frame, NULL), ERR_LIMIT);
}

/* ---- Limits ------------------------------------------------------------------------------ */

static void too_long_a_frame_is_a_limit(void **state)
{
    (void)state;
    AUTO_FREE char *text = mem_alloc(WIRE_MAX_BYTES + 1);
    memset(text, ' ', WIRE_MAX_BYTES + 1);
    struct wire_frame frame;
    assert_int_equal(wire_decode(text, WIRE_MAX_BYTES + 1, &frame, NULL), ERR_LIMIT);
}

static void a_report_has_a_limit_of_entries(void **state)
{
    (void)state;
    for (int count = WIRE_MAX_ENTRIES; count <= WIRE_MAX_ENTRIES + 1; count++) {
        AUTO_BUF struct buf b = BUF_INIT;
        buf_puts(&b, "{\"v\":1,\"type\":\"report\",\"rollout\":\"r\",\"entries\":[");
        for (int i = 0; i < count; i++)
            buf_printf(&b, "%s{\"seq\":%d,\"type\":" STEP_ENDED "}", i > 0 ? "," : "", i + 1);
        buf_puts(&b, "]}");
        if (count > WIRE_MAX_ENTRIES) {
            assert_refused(b.data, "entries");
            continue;
        }
        struct wire_frame frame = good(b.data);
        assert_int_equal(frame.report.entries.count, WIRE_MAX_ENTRIES);
        wire_frame_done(&frame);
    }
}

static void a_hello_has_a_limit_of_executions(void **state)
{
    (void)state;
    for (int count = WIRE_MAX_EXECUTIONS; count <= WIRE_MAX_EXECUTIONS + 1; count++) {
        AUTO_BUF struct buf b = BUF_INIT;
        buf_puts(&b, "{\"v\":1,\"type\":\"hello\",\"id\":\"i\",\"instance\":\"i\","
                     "\"version\":\"v\",\"executions\":[");
        for (int i = 0; i < count; i++)
            buf_printf(&b, "%s{\"rollout\":\"r%d\",\"lastSeq\":1}", i > 0 ? "," : "", i);
        buf_puts(&b, "]}");
        if (count > WIRE_MAX_EXECUTIONS) {
            assert_refused(b.data, "executions");
            continue;
        }
        struct wire_frame frame = good(b.data);
        wire_frame_done(&frame);
    }
}

static void put_output_frame(struct buf *b, size_t len)
{
    buf_puts(b, "{\"v\":1,\"type\":\"output\",\"rollout\":\"r\",\"step\":0,\"attempt\":1,"
                "\"offset\":0,\"text\":\"");
    for (size_t i = 0; i < len; i++)
        buf_putc(b, 'x');
    buf_puts(b, "\"}");
}

static void an_output_has_a_limit(void **state)
{
    (void)state;
    AUTO_BUF struct buf fits = BUF_INIT;
    put_output_frame(&fits, WIRE_MAX_OUTPUT);
    struct wire_frame frame = good(fits.data);
    wire_frame_done(&frame);
    AUTO_BUF struct buf longer = BUF_INIT;
    put_output_frame(&longer, WIRE_MAX_OUTPUT + 1);
    assert_refused(longer.data, "text");
}

/* Bytes that are not UTF-8 grow on their way: what an agent keeps of them must still be accepted.
 */
static void the_most_binary_output_that_is_kept_fits(void **state)
{
    (void)state;
    AUTO_BUF struct buf kept = BUF_INIT;
    struct output output = OUTPUT_INIT;
    char bytes[4096];
    memset(bytes, 0xff, sizeof(bytes));
    for (int i = 0; i < 64; i++)
        assert_int_equal(output_write(&output, bytes, sizeof(bytes), NULL), ERR_OK);
    output_text(&output, &kept);
    output_done(&output);
    assert_true(kept.len > OUTPUT_HEAD_MAX + OUTPUT_TAIL_MAX);

    struct wire_entry entry = {
        .seq = 1, .type = REPORT_STEP_ENDED, .state = STEP_FAILED, .output = kept.data};
    char rollout[] = "r";
    struct wire_frame frame = {.type = WIRE_REPORT,
                               .report = {.rollout = rollout, .entries = {&entry, 1}}};
    AUTO_BUF struct buf b = BUF_INIT;
    wire_encode(&b, &frame);
    assert_int_equal(buf_check(&b, NULL), ERR_OK);
    struct wire_frame read = good(b.data);
    assert_string_equal(ARRAY_AT(&read.report.entries, struct wire_entry, 0)->output, kept.data);
    wire_frame_done(&read);
}

/* ---- Signed plans ------------------------------------------------------------------------ */

static void what_is_signed_comes_beside_the_steps(void **state)
{
    (void)state;
    struct wire_frame frame = good(SIGNED("none", "1", STEP_64, SIGNING("9")));
    const struct wire_seal *seal = &frame.execute.seal;
    assert_true(frame.execute.is_signed);
    assert_string_equal(seal->plan, "p");
    assert_int_equal(seal->scope, SCOPE_NONE);
    assert_int_equal(seal->servers, 3);
    assert_int_equal(seal->index, 1);
    assert_int_equal(seal->path.count, 1);
    assert_int_equal(seal->signing.version, 9); /* for whoever checks to refuse */
    assert_int_equal(seal->signing.signatures.count, 1);
    assert_int_equal(seal->signing.expires_ms - seal->signing.not_before_ms, 8 * 3600 * 1000);
    wire_frame_done(&frame);
    frame = good(EXECUTE_TEXT);
    assert_false(frame.execute.is_signed);
    wire_frame_done(&frame);
}

static void what_cannot_be_signed_is_no_frame(void **state)
{
    (void)state;
    AUTO_BUF struct buf path = BUF_INIT;
    for (int i = 0; i <= WIRE_MAX_PROOF; i++)
        buf_puts(&path, i > 0 ? "," STEP_64 : STEP_64);
    AUTO_BUF struct buf giant = BUF_INIT;
    buf_printf(&giant, SIGNED("all", "1", "%s", SIGNING("1")), path.data);
    assert_refused(giant.data, "signed.path");
    assert_refused(SIGNED("some", "1", "", SIGNING("1")), "signed.scope");
    assert_refused(SIGNED("all", "-1", "", SIGNING("1")), "signed.index");
    assert_refused(SIGNED("all", "1", "\"00\"", SIGNING("1")), "signed.path[0]");
    assert_refused(SIGNED("all", "1", "", SIGNING("0")), "signed.signing.version");
    assert_refused(SIGNED("all", "1", "", "{}"), "signed.signing.version");
    assert_refused(SIGNED("all", "1", "", "null"), "signed.signing");
}

/* ---- Encoding ---------------------------------------------------------------------------- */

static void an_execute_is_put_together_from_encoded_steps(void **state)
{
    (void)state;
    struct wire_frame frame = good(EXECUTE_TEXT);
    struct plan plan = {.steps = frame.execute.steps};
    AUTO_BUF struct buf steps = BUF_INIT;
    wire_encode_steps(&steps, &plan);
    assert_string_equal(steps.data, "[" STEP_TEXT "]");
    AUTO_BUF struct buf whole = BUF_INIT;
    wire_encode_execute(&whole, &frame.execute, steps.data, steps.len);
    wire_frame_done(&frame);
    assert_string_equal(whole.data, EXECUTE_TEXT);
}

static void frames_are_appended(void **state)
{
    (void)state;
    struct wire_frame frame = {.type = WIRE_HEARTBEAT};
    AUTO_BUF struct buf b = BUF_INIT;
    buf_puts(&b, "before ");
    wire_encode(&b, &frame);
    assert_string_equal(b.data, "before {\"v\":1,\"type\":\"heartbeat\"}");
    wire_frame_done(&frame);
}

/* ---- Memory ------------------------------------------------------------------------------ */

static void decoding_without_memory_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(every_frame); i++) {
        uint64_t failed = 1;
        for (uint64_t n = 0; failed > 0; n++) {
            struct wire_frame frame;
            mem_fail_after(n);
            enum error_code code =
                wire_decode(every_frame[i], strlen(every_frame[i]), &frame, NULL);
            failed = mem_fail_count();
            mem_fail_never();
            assert_int_equal(code, failed > 0 ? ERR_NO_MEMORY : ERR_OK);
            if (code == ERR_OK)
                wire_frame_done(&frame);
        }
    }
}

static void encoding_without_memory_is_seen_in_the_buffer(void **state)
{
    (void)state;
    struct wire_frame frame = good(FULL_REPORT);
    AUTO_BUF struct buf b = BUF_INIT;
    mem_fail_after(0);
    wire_encode(&b, &frame);
    mem_fail_never();
    assert_int_equal(buf_check(&b, NULL), ERR_NO_MEMORY);
    wire_frame_done(&frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_reads_back_the_same),
        cmocka_unit_test(what_is_signed_comes_beside_the_steps),
        cmocka_unit_test(what_cannot_be_signed_is_no_frame),
        cmocka_unit_test(a_welcome_is_read),
        cmocka_unit_test(an_execute_is_read_with_its_steps),
        cmocka_unit_test(a_step_without_params_has_empty_ones),
        cmocka_unit_test(an_ack_of_a_heartbeat_has_no_rollout),
        cmocka_unit_test(a_report_is_read_with_its_entries),
        cmocka_unit_test(fields_of_a_newer_peer_are_passed_over),
        cmocka_unit_test(a_step_has_no_state_that_an_execution_lacks),
        cmocka_unit_test(an_entry_reads_back_whatever_the_order_of_its_members),
        cmocka_unit_test(an_entry_with_a_state_that_its_type_lacks_is_refused),
        cmocka_unit_test(what_is_not_a_frame_is_refused),
        cmocka_unit_test(another_version_is_refused),
        cmocka_unit_test(an_unknown_type_is_refused),
        cmocka_unit_test(a_frame_without_a_field_it_needs_is_refused),
        cmocka_unit_test(ids_that_could_be_paths_are_refused),
        cmocka_unit_test(numbers_out_of_their_bounds_are_refused),
        cmocka_unit_test(entries_rise_by_one),
        cmocka_unit_test(an_entry_names_a_step_exactly_when_it_is_about_one),
        cmocka_unit_test(nested_garbage_is_refused),
        cmocka_unit_test(too_many_brackets_are_a_limit),
        cmocka_unit_test(too_long_a_frame_is_a_limit),
        cmocka_unit_test(a_report_has_a_limit_of_entries),
        cmocka_unit_test(a_hello_has_a_limit_of_executions),
        cmocka_unit_test(an_output_has_a_limit),
        cmocka_unit_test(the_most_binary_output_that_is_kept_fits),
        cmocka_unit_test(an_execute_is_put_together_from_encoded_steps),
        cmocka_unit_test(frames_are_appended),
        cmocka_unit_test(decoding_without_memory_is_an_error_and_leaks_nothing),
        cmocka_unit_test(encoding_without_memory_is_seen_in_the_buffer),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
