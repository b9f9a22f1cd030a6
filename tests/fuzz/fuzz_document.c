/* The documents of the API, bodies of requests and answers, as the other end may send them. The
 * first line names the table; what is taken is written and read again the same. */
#include "orchestrator/api/api_doc.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

enum { FUZZ_MAX = 1024 * 1024, OBJECT_MAX = 1024 };

static const struct json_table *const tables[] = {
    &api_cancel_table,          &api_request_table,      &api_rollout_table,
    &api_rollout_summary_table, &api_rollout_list_table, &api_execution_table,
    &api_validation_table,      &api_event_table,        &api_event_list_table,
    &api_output_table,          &api_server_table,       &api_server_list_table,
    &api_handler_table,         &api_handler_list_table, &api_health_table,
    &api_problem_table,         &api_counts_table,       &api_rollback_table,
    &api_resolve_table,         &api_lock_table,         &api_unlock_table,
};
enum { TABLE_COUNT = sizeof(tables) / sizeof(tables[0]) };

/* The one of that name; of any other line, some table. */
static const struct json_table *table_of(const char *line)
{
    size_t sum = 0;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (strcmp(tables[i]->name, line) == 0)
            return tables[i];
    }
    for (const char *s = line; *s != '\0'; s++)
        sum += (unsigned char)*s;
    return tables[sum % TABLE_COUNT];
}

static void check_round_trip(const struct json_table *table, const void *object)
{
    _Alignas(max_align_t) char again[OBJECT_MAX];
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct error err = {0};
    json_encode(&first, table, object);
    assert(buf_check(&first, NULL) == ERR_OK);
    enum error_code code =
        json_read(first.data, first.len, (size_t)8 * FUZZ_MAX, table, again, &err);
    assert(code == ERR_OK);
    json_encode(&second, table, again);
    assert(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    json_release(table, again);
    buf_done(&first);
    buf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _Alignas(max_align_t) char object[OBJECT_MAX];
    struct fuzz_input in = {data, size};
    struct error err = {0};
    char *line = fuzz_line(&in, NULL);
    if (line == NULL)
        return 0;
    const struct json_table *table = table_of(line);
    assert(table->size <= OBJECT_MAX);
    if (json_read((const char *)in.at, in.left, FUZZ_MAX, table, object, &err) == ERR_OK) {
        check_round_trip(table, object);
        json_release(table, object);
    } else {
        assert(err.message[0] != '\0');
    }
    free(line);
    return 0;
}
