/* Frames: every type, read and written. */
#include "alloc/alloc.h"
#include "common/wire/wire.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define STEP                                                                                       \
    "{\"name\":\"s\",\"type\":\"script\",\"params\":{\"script\":\"sh\"},\"retry\":{"               \
    "\"nonRetryableExitCodes\":[9,3]}}"
#define ENTRY(seq, rest)                                                                           \
    "{\"seq\":" seq ",\"timeMs\":1,\"message\":\"m\",\"output\":\"printed\\n\"," rest "}"

static const char *const frames[] = {
    "{\"v\":1,\"type\":\"welcome\",\"orchestrator\":\"o\",\"epoch\":1,\"heartbeatMs\":1000}",
    "{\"v\":1,\"type\":\"execute\",\"rollout\":\"r\",\"epoch\":1,\"rollbackOnFailure\":true,"
    "\"steps\":[" STEP ",{\"name\":\"t\",\"type\":\"echo\"}]}",
    "{\"v\":1,\"type\":\"rollback\",\"rollout\":\"r\",\"epoch\":1,\"round\":2,\"force\":true}",
    "{\"v\":1,\"type\":\"cancel\",\"rollout\":\"r\",\"epoch\":1,\"now\":true}",
    "{\"v\":1,\"type\":\"ack\",\"rollout\":\"r\",\"seq\":3}",
    "{\"v\":1,\"type\":\"hello\",\"id\":\"a\",\"instance\":\"i\",\"version\":\"1\",\"hostname\":"
    "\"h\",\"bootId\":\"b\",\"handlers\":[\"echo\",\"script\"],\"executions\":[{\"rollout\":\"r\","
    "\"lastSeq\":3},{\"rollout\":\"q\",\"lastSeq\":0}]}",
    "{\"v\":1,\"type\":\"report\",\"rollout\":\"r\",\"entries\":[" ENTRY(
        "1", "\"type\":\"started\",\"state\":\"running\"") "," ENTRY("2",
                                                                     "\"type\":\"step_ended\","
                                                                     "\"step\":0,\"attempt\":1,"
                                                                     "\"state\":\"failed\","
                                                                     "\"exitCode\":3") "]}",
    "{\"v\":1,\"type\":\"output\",\"rollout\":\"r\",\"step\":0,\"attempt\":1,\"offset\":7,"
    "\"text\":\"live\"}",
    "{\"v\":1,\"type\":\"heartbeat\"}",
};
_Static_assert(sizeof(frames) / sizeof(frames[0]) == WIRE_TYPE_COUNT, "there is one of each");

/* Not right, and said so. */
static const char *const faulty[] = {
    "{\"v\":1,\"type\":\"execute\",\"rollout\":\"r\",\"epoch\":0,\"steps\":[{},{\"name\":7}]}",
    "{\"v\":1,\"type\":\"report\",\"rollout\":\"r\",\"entries\":[" ENTRY(
        "1", "\"type\":\"started\",\"state\":\"succeded\"") "]}",
    "{\"v\":1,\"type\":\"hi\"}",
};

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
