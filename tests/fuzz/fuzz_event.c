/* A journalled event, as a damaged disk may give it. */
#include "common/plan/plan_json.h"
#include "orchestrator/journal/event_json.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>

static const char plan_text[] =
    "{\"servers\":[\"a\",\"b\"],\"steps\":[{\"name\":\"s\",\"type\":\"echo\","
    "\"params\":{\"message\":\"m\"}},{\"name\":\"t\",\"type\":\"echo\",\"params\":{\"message\":"
    "\"m\"}}]}";

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
    if (event_read((const char *)data, size, plan, &event, &hold, &err) != ERR_OK)
        return 0;
    struct buf text = BUF_INIT;
    event_write(&text, plan, &event);
    assert(buf_check(&text, &err) == ERR_OK);
    buf_done(&text);
    event_hold_free(hold);
    return 0;
}
