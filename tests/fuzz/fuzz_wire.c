/* A frame from a peer that may be anybody. What is accepted must survive being written and read. */
#include "common/wire/wire.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

/* The frame's text, read back and written once more, is the same. */
static void check_round_trip(const struct wire_frame *frame)
{
    struct error err = {0};
    struct wire_frame again = {0};
    struct buf first = BUF_INIT, second = BUF_INIT;
    wire_encode(&first, frame);
    assert(buf_check(&first, &err) == ERR_OK);
    enum error_code code = wire_decode(first.data, first.len, &again, &err);
    assert(code == ERR_OK && again.type == frame->type);
    wire_encode(&second, &again);
    assert(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    wire_frame_done(&again);
    buf_done(&first);
    buf_done(&second);
}

/* The orchestrator writes the steps once for all servers: that is the same text. */
static void check_execute(const struct wire_frame *frame)
{
    const struct plan plan = {.steps = frame->execute.steps};
    struct buf steps = BUF_INIT, apart = BUF_INIT, whole = BUF_INIT;
    wire_encode_steps(&steps, &plan);
    assert(buf_check(&steps, NULL) == ERR_OK);
    wire_encode_execute(&apart, &frame->execute, steps.data, steps.len);
    wire_encode(&whole, frame);
    assert(apart.len == whole.len && memcmp(apart.data, whole.data, whole.len) == 0);
    buf_done(&steps);
    buf_done(&apart);
    buf_done(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_frame frame = {0};
    struct error err = {0};
    if (wire_decode((const char *)data, size, &frame, &err) != ERR_OK) {
        assert(err.message[0] != '\0');
        return 0;
    }
    check_round_trip(&frame);
    if (frame.type == WIRE_EXECUTE)
        check_execute(&frame);
    wire_frame_done(&frame);
    return 0;
}
