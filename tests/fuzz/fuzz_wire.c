/* A frame from a peer that may be anybody. */
#include "common/wire/wire.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_frame frame = {0};
    struct error err = {0};
    if (wire_decode((const char *)data, size, &frame, &err) != ERR_OK)
        return 0;
    struct buf text = BUF_INIT;
    wire_encode(&text, &frame);
    assert(buf_check(&text, &err) == ERR_OK);
    struct wire_frame again = {0};
    enum error_code code = wire_decode(text.data, text.len, &again, &err);
    assert(code == ERR_OK && again.type == frame.type);
    wire_frame_done(&again);
    wire_frame_done(&frame);
    buf_done(&text);
    return 0;
}
