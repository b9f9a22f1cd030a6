/* A plan as a stranger may send it. What is accepted must survive being written and read again. */
#include "common/plan/plan_json.h"
#include "handlers/catalog.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <string.h>

static void check_round_trip(const struct plan *plan)
{
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct plan *again = NULL;
    struct error err = {0};
    plan_write(&first, plan);
    assert(buf_check(&first, &err) == ERR_OK);
    enum error_code code = plan_read(first.data, first.len, &again, &err);
    assert(code == ERR_OK);
    plan_write(&second, again);
    assert(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    plan_free(again);
    buf_done(&first);
    buf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan *plan = NULL;
    struct problems problems = {0};
    struct error err = {0};
    enum error_code code =
        plan_parse((const char *)data, size, &handler_catalog, &plan, &problems, &err);
    assert((code == ERR_OK) == (plan != NULL));
    assert(code != ERR_INVALID || problems.total > 0 || err.message[0] != '\0');
    if (plan != NULL) {
        uint32_t left = plan_server_count(plan);
        for (uint32_t batch = 0; left > 0 && batch < 1000; batch++) {
            uint32_t size_of_batch = plan_batch_size(plan, batch, left);
            assert(size_of_batch >= 1 && size_of_batch <= left);
            left -= size_of_batch;
        }
        check_round_trip(plan);
    }
    plan_free(plan);
    problems_done(&problems);
    return 0;
}
