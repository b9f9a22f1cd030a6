/* What everything is made of: UTF-8, JSON strings, durations, kept output. */
#include "common/base/clock.h"
#include "common/base/output.h"
#include "common/base/text.h"
#include "common/json/json.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

static void check_utf8(const char *s, size_t len)
{
    size_t bad = 0;
    bool valid = text_utf8_valid(s, len, &bad);
    bool each_valid = true;
    for (size_t at = 0; at < len;) {
        bool here;
        size_t next = text_utf8_next(s + at, len - at, &here);
        assert(next >= 1 && next <= 4 && next <= len - at);
        if (!here && each_valid) {
            each_valid = false;
            assert(!valid && bad == at);
        }
        at += next;
    }
    assert(valid == each_valid);
    for (size_t most = 0; most <= len && most < 64; most++) {
        size_t cut = text_utf8_cut(s, len, most);
        assert(cut <= most && (!valid || text_utf8_valid(s, cut, NULL)));
    }
}

/* Whatever the bytes, the string that is written is JSON, and valid ones come back unchanged. */
static void check_string(const char *s, size_t len)
{
    struct buf b = BUF_INIT;
    struct json_doc *doc = NULL;
    struct error err = {0};
    json_write_string(&b, s, len);
    assert(buf_check(&b, NULL) == ERR_OK);
    enum error_code code = json_parse(b.data, b.len, b.len, &doc, &err);
    assert(code == ERR_OK && json_kind(json_root(doc)) == JSON_IS_STRING);
    if (text_utf8_valid(s, len, NULL) && memchr(s, '\0', len) == NULL)
        assert(strlen(json_string(json_root(doc))) == len &&
               memcmp(json_string(json_root(doc)), s, len) == 0);
    json_free(doc);
    buf_done(&b);
}

static void check_duration(const char *text)
{
    int64_t ms = -1, again = -1;
    char shown[CLOCK_TEXT_MAX];
    struct error err = {0};
    if (duration_parse(text, &ms, &err) != ERR_OK) {
        assert(err.message[0] != '\0');
        return;
    }
    assert(ms >= 0);
    duration_format(ms, shown);
    /* Shown with less than all digits, but as a duration that is no longer. */
    enum error_code code = duration_parse(shown, &again, &err);
    assert(code == ERR_OK && again <= ms);
}

/* In whatever pieces it comes, the same is kept of it; `rounds`: how often it comes. */
static void check_output(const char *s, size_t len, size_t piece, size_t rounds)
{
    struct output whole = OUTPUT_INIT, pieces = OUTPUT_INIT;
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct error err = {0};
    for (size_t round = 0; round < rounds; round++) {
        enum error_code code = output_write(&whole, s, len, &err);
        for (size_t at = 0; at < len && code == ERR_OK; at += piece)
            code = output_write(&pieces, s + at, len - at < piece ? len - at : piece, &err);
        assert(code == ERR_OK);
    }
    output_text(&whole, &first);
    output_text(&pieces, &second);
    assert(first.len == second.len &&
           (first.len == 0 || memcmp(first.data, second.data, first.len) == 0));
    assert(text_utf8_valid(first.len > 0 ? first.data : "", first.len, NULL));
    output_done(&whole);
    output_done(&pieces);
    buf_done(&first);
    buf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t piece = (size_t)fuzz_byte(&in) * 4 + 1;
    const char *s = (const char *)in.at;
    char *text = malloc(in.left + 1);
    assert(text != NULL);
    memcpy(text, s, in.left);
    text[in.left] = '\0';
    check_utf8(s, in.left);
    check_string(s, in.left);
    check_duration(text);
    /* Often enough, now and then, for the middle to be passed over. */
    check_output(s, in.left, piece, piece > 1000 && in.left >= 64 ? 100000 / in.left : 1);
    const char *const names[] = {"message", "duration", "maxFailures"};
    (void)text_closest(text, names, 3);
    free(text);
    return 0;
}
