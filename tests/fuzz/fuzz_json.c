/* Any text at the JSON reader; what it takes must be taken again after writing, and mean the same.
 */
#include "common/json/json.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

enum { FUZZ_MAX = 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_doc *doc = NULL, *again = NULL;
    struct error err = {0};
    if (json_parse((const char *)data, size, FUZZ_MAX, &doc, &err) != ERR_OK) {
        assert(err.message[0] != '\0');
        return 0;
    }
    struct buf first = BUF_INIT, second = BUF_INIT;
    json_write_value(&first, json_root(doc));
    assert(buf_check(&first, &err) == ERR_OK);
    enum error_code code = json_parse(first.data, first.len, (size_t)8 * FUZZ_MAX, &again, &err);
    assert(code == ERR_OK);
    json_write_value(&second, json_root(again));
    assert(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    json_free(again);
    json_free(doc);
    buf_done(&first);
    buf_done(&second);
    return 0;
}
