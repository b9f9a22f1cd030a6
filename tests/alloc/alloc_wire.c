/* Frames: every type, read and written. */
#include "alloc/alloc.h"
#include "common/wire/wire.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FRAME(type, rest) "{\"v\":1,\"type\":\"" type "\"," rest "}"
#define ENTRY(seq, rest)                                                                           \
    "{\"seq\":" seq ",\"timeMs\":1,\"message\":\"m\",\"output\":\"printed\\n\"," rest "}"

static const char welcome[] =
    FRAME("welcome", "\"orchestrator\":\"o\",\"epoch\":1,\"heartbeatMs\":1000");
#define ZEROES_16 "0000000000000000"
#define ZEROES_64 ZEROES_16 ZEROES_16 ZEROES_16 ZEROES_16
#define SIGNED                                                                                     \
    "\"signed\":{\"plan\":\"p\",\"strategy\":\"" ZEROES_64                                         \
    "\",\"scope\":\"all\",\"servers\":2,\"root\":\"" ZEROES_64                                     \
    "\",\"index\":1,\"path\":[\"" ZEROES_64                                                        \
    "\"],\"signing\":{\"version\":1,\"nonce\":\"" ZEROES_16 ZEROES_16                              \
    "\",\"notBefore\":\"2026-11-26T06:00:00.000Z\",\"expires\":"                                   \
    "\"2026-11-26T14:00:00.000Z\",\"digest\":\"" ZEROES_64                                         \
    "\",\"signatures\":[{\"key\":\"" ZEROES_16 "\",\"signature\":\"" ZEROES_64 ZEROES_64 "\"}]}},"
static const char execute[] = FRAME(
    "execute", "\"rollout\":\"r\",\"epoch\":1,\"rollbackOnFailure\":true," SIGNED "\"steps\":["
               "{\"name\":\"s\",\"type\":\"script\",\"params\":{\"script\":\"sh\"},"
               "\"retry\":{\"nonRetryableExitCodes\":[9,3]}},"
               "{\"name\":\"t\",\"type\":\"echo\"}]");
static const char rollback[] =
    FRAME("rollback", "\"rollout\":\"r\",\"epoch\":1,\"round\":2,\"force\":true");
static const char cancel[] = FRAME("cancel", "\"rollout\":\"r\",\"epoch\":1,\"now\":true");
static const char ack[] = FRAME("ack", "\"rollout\":\"r\",\"seq\":3");
static const char hello[] =
    FRAME("hello", "\"id\":\"a\",\"instance\":\"i\",\"version\":\"1\",\"hostname\":\"h\","
                   "\"bootId\":\"b\",\"handlers\":[\"echo\",\"script\"],\"executions\":["
                   "{\"rollout\":\"r\",\"lastSeq\":3},{\"rollout\":\"q\",\"lastSeq\":0}]");
static const char report[] =
    FRAME("report", "\"rollout\":\"r\",\"entries\":[" ENTRY(
                        "1", "\"type\":\"started\",\"state\":"
                             "\"running\"") "," ENTRY("2", "\"type\":\"step_ended\",\"step\":0,"
                                                           "\"attempt\":1,\"state\":\"failed\","
                                                           "\"exitCode\":3") "]");
static const char output[] =
    FRAME("output", "\"rollout\":\"r\",\"step\":0,\"attempt\":1,\"offset\":7,\"text\":\"l\"");
static const char heartbeat[] = "{\"v\":1,\"type\":\"heartbeat\"}";

static const char *const frames[WIRE_TYPE_COUNT] = {
    [WIRE_WELCOME] = welcome, [WIRE_EXECUTE] = execute, [WIRE_ROLLBACK] = rollback,
    [WIRE_CANCEL] = cancel,   [WIRE_ACK] = ack,         [WIRE_HELLO] = hello,
    [WIRE_REPORT] = report,   [WIRE_OUTPUT] = output,   [WIRE_HEARTBEAT] = heartbeat,
};

/* Not right, and said so. */
static const char steps_that_are_none[] =
    FRAME("execute", "\"rollout\":\"r\",\"epoch\":0,\"steps\":[{},{\"name\":7}]");
static const char a_state_that_is_none[] =
    FRAME("report", "\"rollout\":\"r\",\"entries\":[" ENTRY("1", "\"type\":\"started\",\"state\":"
                                                                 "\"succeded\"") "]");
static const char a_type_that_is_none[] = "{\"v\":1,\"type\":\"hi\"}";
static const char *const faulty[] = {steps_that_are_none, a_state_that_is_none,
                                     a_type_that_is_none};

struct world {
    struct alloc_world base;
    struct wire_frame frame;
    bool decoded;
    struct buf text;
};

static void end(void *world)
{
    struct world *w = world;
    if (w->decoded)
        wire_frame_done(&w->frame);
    buf_done(&w->text);
}

static void look(void *world, struct buf *b)
{
    struct world *w = world;
    if (w->decoded)
        wire_encode(b, &w->frame);
    buf_append(b, w->text.len > 0 ? w->text.data : "", w->text.len);
}

static enum error_code run_decode(void *world, struct error *err)
{
    struct world *w = world;
    const char *text = w->base.param;
    enum error_code code = wire_decode(text, strlen(text), &w->frame, err);
    w->decoded = code == ERR_OK;
    return code;
}

static void begin_decoded(void *world)
{
    assert_int_equal(run_decode(world, NULL), ERR_OK);
}

static enum error_code run_encode(void *world, struct error *err)
{
    struct world *w = world;
    buf_done(&w->text);
    wire_encode(&w->text, &w->frame);
    return buf_check(&w->text, err);
}

/* As an orchestrator writes it: the steps once for all servers. */
static enum error_code run_encode_apart(void *world, struct error *err)
{
    struct world *w = world;
    const struct plan plan = {.steps = w->frame.execute.steps};
    struct buf steps = BUF_INIT;
    buf_done(&w->text);
    wire_encode_steps(&steps, &plan);
    enum error_code code = buf_check(&steps, err);
    if (code == ERR_OK) {
        wire_encode_execute(&w->text, &w->frame.execute, steps.data, steps.len);
        code = buf_check(&w->text, err);
    }
    buf_done(&steps);
    return code;
}

static void sweep(const char *what, const char *text, void (*begin)(void *),
                  enum error_code (*run)(void *, struct error *))
{
    const struct alloc_op op = {.name = what,
                                .world_size = sizeof(struct world),
                                .param = text,
                                .begin = begin,
                                .run = run,
                                .look = look,
                                .end = end};
    assert_true(alloc_sweep(&op) > 0);
}

static void a_frame_is_taken_whole_or_not_at_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < WIRE_TYPE_COUNT; i++)
        sweep(wire_type_names[i], frames[i], NULL, run_decode);
}

static void a_faulty_frame_is_refused_for_its_fault_or_for_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(faulty) / sizeof(faulty[0]); i++)
        sweep("a faulty frame", faulty[i], NULL, run_decode);
}

static void a_frame_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < WIRE_TYPE_COUNT; i++)
        sweep(wire_type_names[i], frames[i], begin_decoded, run_encode);
    sweep("execute, its steps apart", frames[WIRE_EXECUTE], begin_decoded, run_encode_apart);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_taken_whole_or_not_at_all),
        cmocka_unit_test(a_faulty_frame_is_refused_for_its_fault_or_for_memory),
        cmocka_unit_test(a_frame_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
