/* An event stream from a server that may be anybody: it means the same in whatever pieces it comes.
 * The first byte says how it is cut. */
#include "orchestrator/cli/sse.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

/* Feeds it in pieces of `piece` bytes; appends every event. */
static enum error_code play(const uint8_t *data, size_t size, size_t piece, struct buf *ret)
{
    struct sse s = SSE_INIT;
    struct sse_event event;
    struct error err = {0};
    enum error_code code = ERR_OK;
    for (size_t at = 0; at < size && code == ERR_OK; at += piece) {
        size_t len = size - at < piece ? size - at : piece;
        char *copy = malloc(len);
        assert(copy != NULL);
        memcpy(copy, data + at, len);
        code = sse_feed(&s, copy, len, &err);
        free(copy);
        while (code == ERR_OK && sse_next(&s, &event)) {
            assert(strlen(event.type) <= SSE_MAX_NAME && strlen(event.id) <= SSE_MAX_NAME);
            assert(event.type[0] != '\0' && event.data[event.len] == '\0');
            buf_printf(ret, "%s|%s|%d|", event.type, event.id, event.has_id);
            buf_append(ret, event.data, event.len);
            buf_putc(ret, '\n');
        }
    }
    sse_done(&s);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t piece = (size_t)fuzz_byte(&in) + 1;
    struct buf whole = BUF_INIT, pieces = BUF_INIT;
    enum error_code code = play(in.at, in.left, in.left + 1, &whole);
    enum error_code again = play(in.at, in.left, piece, &pieces);
    /* Below the bounds nothing is refused. */
    assert(in.left > SSE_MAX_EVENT || (code == ERR_OK && again == ERR_OK));
    assert(buf_check(&whole, NULL) == ERR_OK && buf_check(&pieces, NULL) == ERR_OK);
    if (code == ERR_OK && again == ERR_OK)
        assert(whole.len == pieces.len &&
               (whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0));
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
