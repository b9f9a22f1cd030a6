/* What the network's side of an agent says to the privileged one, when somebody else speaks for it.
 * What is accepted must be the same when it is written again. */
#include "agent/channel.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

static void check(const char *data, size_t len, bool outside)
{
    struct channel_frame frame = {0};
    struct error err = {0};
    size_t at = 0, used = 1;
    while (used > 0 &&
           channel_decode(data + at, len - at, outside, &frame, &used, &err) == ERR_OK &&
           used > 0) {
        struct buf again = BUF_INIT;
        channel_encode(&again, &frame);
        assert(buf_check(&again, &err) == ERR_OK);
        assert(again.len == used && memcmp(again.data, data + at, used) == 0);
        buf_done(&again);
        at += used;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check((const char *)data, size, true);
    check((const char *)data, size, false);
    return 0;
}
