/* Any text at the JSON reader. What it takes must be taken again after writing, and mean the same;
 * compact or indented makes no difference. */
#include "common/json/json.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

enum { FUZZ_MAX = 1024 * 1024, DEPTH_MAX = 2 * JSON_DEPTH_MAX };

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void check_read_again(const struct buf *text, const struct buf *compact)
{
    struct json_doc *doc = NULL;
    struct error err = {0};
    struct buf again = BUF_INIT;
    enum error_code code =
        json_parse(text->data, text->len, (size_t)DEPTH_MAX * FUZZ_MAX, &doc, &err);
    assert(code == ERR_OK);
    json_write_value(&again, json_root(doc));
    assert(same(&again, compact));
    json_free(doc);
    buf_done(&again);
}

/* Every member is found by its name, and is the one that stands there. */
static void check_members(const struct json_value *v)
{
    size_t count = 0;
    for (const struct json_value *child = json_first(v); child != NULL; child = json_next(child)) {
        if (json_kind(v) == JSON_IS_OBJECT && json_count(v) < 64)
            assert(json_get(v, json_name(child)) == child);
        check_members(child);
        count++;
    }
    assert(count == json_count(v));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_doc *doc = NULL;
    struct error err = {0};
    if (json_parse((const char *)data, size, FUZZ_MAX, &doc, &err) != ERR_OK) {
        assert(err.message[0] != '\0');
        return 0;
    }
    struct buf compact = BUF_INIT, pretty = BUF_INIT;
    json_write_value(&compact, json_root(doc));
    json_write_pretty(&pretty, json_root(doc));
    assert(buf_check(&compact, &err) == ERR_OK && buf_check(&pretty, &err) == ERR_OK);
    check_read_again(&compact, &compact);
    check_read_again(&pretty, &compact);
    check_members(json_root(doc));
    json_free(doc);
    buf_done(&compact);
    buf_done(&pretty);
    return 0;
}
