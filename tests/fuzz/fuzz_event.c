/* A journalled event, as a damaged disk may give it. One that is read is written and read again the
 * same. */
#include "common/plan/plan_json.h"
#include "orchestrator/journal/event_json.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

static const char plan_text[] =
    "{\"servers\":[\"a\",\"b\"],\"steps\":[{\"name\":\"s\",\"type\":\"echo\","
    "\"params\":{\"message\":\"m\"}},{\"name\":\"t\",\"type\":\"echo\",\"params\":{\"message\":"
    "\"m\"}}]}";

static void write_again(const struct buf *first, const struct plan *plan)
{
    struct event event;
    struct event_doc *hold = NULL;
    struct error err = {0};
    struct buf second = BUF_INIT;
    enum error_code code = event_read(first->data, first->len, plan, &event, &hold, &err);
    assert(code == ERR_OK);
    event_write(&second, plan, &event);
    assert(first->len == second.len && memcmp(first->data, second.data, second.len) == 0);
    event_hold_free(hold);
    buf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct plan *plan;
    struct error err = {0};
    if (plan == NULL) {
        enum error_code code = plan_read(plan_text, sizeof(plan_text) - 1, &plan, &err);
        assert(code == ERR_OK);
    }
    struct event event;
    struct event_doc *hold = NULL;
    if (event_read((const char *)data, size, plan, &event, &hold, &err) != ERR_OK) {
        assert(err.code == ERR_CORRUPT && err.message[0] != '\0');
        return 0;
    }
    struct buf text = BUF_INIT;
    event_write(&text, plan, &event);
    assert(buf_check(&text, &err) == ERR_OK);
    if (text.len <= EVENT_MAX_BYTES)
        write_again(&text, plan);
    buf_done(&text);
    event_hold_free(hold);
    return 0;
}
