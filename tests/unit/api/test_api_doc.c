#include "orchestrator/api/api_doc.h"
#include "orchestrator/api/api_doc_access.h"
#include "orchestrator/api/api_doc_artifacts.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/journal/event_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct json_table *const tables[] = {
    &api_problem_table,        &api_counts_table,        &api_rollout_summary_table,
    &api_rollout_list_table,   &api_execution_table,     &api_rollout_table,
    &api_validation_table,     &api_cancel_table,        &api_request_table,
    &api_event_table,          &api_event_list_table,    &api_output_table,
    &api_server_table,         &api_server_list_table,   &api_handler_table,
    &api_handler_list_table,   &api_health_table,        &api_rollback_table,
    &api_resolve_table,        &api_lock_table,          &api_unlock_table,
    &api_principal_table,      &api_token_table,         &api_token_request_table,
    &api_token_made_table,     &api_token_list_table,    &api_ticket_table,
    &api_ticket_request_table, &api_enrol_table,         &api_renew_table,
    &api_identity_table,       &api_agent_table,         &api_agent_list_table,
    &api_audit_entry_table,    &api_audit_page_table,    &api_audit_state_table,
    &api_artifact_table,       &api_artifact_list_table, &api_artifact_request_table,
};

/* ---- The description against the tables --------------------------------------------------------
 */

static struct json_doc *read_description(void)
{
    FILE *f = fopen(KITSUNE_SOURCE_DIR "/docs/openapi.json", "re");
    char *text = NULL;
    size_t size = 0;
    struct json_doc *doc = NULL;
    struct error err = {0};
    assert_non_null(f);
    ssize_t len = getdelim(&text, &size, '\0', f);
    assert_true(len > 0);
    (void)fclose(f);
    if (json_parse(text, (size_t)len, 1 << 24, &doc, &err) != ERR_OK)
        fail_msg("docs/openapi.json: %s", err.message);
    free(text);
    return doc;
}

static const struct json_value *get(const struct json_value *v, const char *name)
{
    return v && json_kind(v) == JSON_IS_OBJECT ? json_get(v, name) : NULL;
}

static const struct json_value *schema_of(const struct json_doc *doc, const char *name)
{
    return get(get(get(json_root(doc), "components"), "schemas"), name);
}

/* What a schema says, with a reference replaced by what it refers to. */
static const struct json_value *resolve(const struct json_doc *doc, const struct json_value *v)
{
    static const char prefix[] = "#/components/schemas/";
    const struct json_value *r = get(v, "$ref");
    if (!r)
        return v;
    assert_memory_equal(json_string(r), prefix, sizeof(prefix) - 1);
    const struct json_value *found = schema_of(doc, json_string(r) + sizeof(prefix) - 1);
    if (!found)
        fail_msg("docs/openapi.json: %s refers to nothing", json_string(r));
    return found;
}

static bool lists(const struct json_value *array, const char *name)
{
    for (const struct json_value *v = array ? json_first(array) : NULL; v; v = json_next(v)) {
        if (strcmp(json_string(v), name) == 0)
            return true;
    }
    return false;
}

/* The names of states and the like, as one text. */
static void put_values(struct buf *b, const struct json_value *v)
{
    buf_puts(b, "");
    if (v)
        json_write_value(b, v);
}

static const char *type_of(const struct json_value *schema)
{
    const struct json_value *type = get(schema, "type");
    return type ? json_string(type) : get(schema, "enum") ? "one of" : "anything";
}

static void compare(const struct json_doc *doc, const struct json_value *described,
                    const struct json_value *made, const char *path);

static void compare_properties(const struct json_doc *doc, const struct json_value *described,
                               const struct json_value *made, const char *path)
{
    const struct json_value *ours = get(described, "properties");
    const struct json_value *theirs = get(made, "properties");
    if (!theirs)
        return;
    if (!ours)
        fail_msg("docs/openapi.json: %s has no properties", path);
    for (const struct json_value *p = json_first(theirs); p; p = json_next(p)) {
        char inner[256];
        (void)snprintf(inner, sizeof(inner), "%s.%s", path, json_name(p));
        if (!json_get(ours, json_name(p)))
            fail_msg("docs/openapi.json: %s is not described", inner);
        if (lists(get(described, "required"), json_name(p)) !=
            lists(get(made, "required"), json_name(p)))
            fail_msg("docs/openapi.json: whether %s is required is not so", inner);
        compare(doc, json_get(ours, json_name(p)), p, inner);
    }
    for (const struct json_value *p = json_first(ours); p; p = json_next(p)) {
        if (!json_get(theirs, json_name(p)))
            fail_msg("docs/openapi.json: %s.%s is described and is not there", path, json_name(p));
    }
}

static void compare(const struct json_doc *doc, const struct json_value *described,
                    const struct json_value *made, const char *path)
{
    AUTO_BUF struct buf ours = BUF_INIT;
    AUTO_BUF struct buf theirs = BUF_INIT;
    described = resolve(doc, described);
    if (strcmp(type_of(described), type_of(made)) != 0)
        fail_msg("docs/openapi.json: %s is described as %s and is %s", path, type_of(described),
                 type_of(made));
    put_values(&ours, get(described, "enum"));
    put_values(&theirs, get(made, "enum"));
    if (strcmp(ours.data, theirs.data) != 0)
        fail_msg("docs/openapi.json: %s is described as one of %s and is one of %s", path,
                 ours.data, theirs.data);
    const struct json_value *closed = get(described, "additionalProperties");
    const struct json_value *closed_made = get(made, "additionalProperties");
    bool is_closed = closed && json_kind(closed) == JSON_IS_BOOL && !json_bool(closed);
    bool made_closed =
        closed_made && json_kind(closed_made) == JSON_IS_BOOL && !json_bool(closed_made);
    if (is_closed != made_closed)
        fail_msg("docs/openapi.json: whether %s takes further properties is not so", path);
    compare_properties(doc, described, made, path);
    if (get(made, "items")) {
        char inner[256];
        (void)snprintf(inner, sizeof(inner), "%s[]", path);
        if (!get(described, "items"))
            fail_msg("docs/openapi.json: %s has no items", path);
        compare(doc, get(described, "items"), get(made, "items"), inner);
    }
}

static void the_description_says_what_the_tables_say(void **state)
{
    (void)state;
    struct json_doc *doc = read_description();
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        AUTO_BUF struct buf schema = BUF_INIT;
        struct json_doc *made = NULL;
        json_schema(&schema, tables[i]);
        assert_int_equal(json_parse(schema.data, schema.len, 1 << 20, &made, NULL), ERR_OK);
        const struct json_value *described = schema_of(doc, tables[i]->name);
        if (!described)
            fail_msg("docs/openapi.json does not describe %s", tables[i]->name);
        compare(doc, described, json_root(made), tables[i]->name);
        json_free(made);
    }
    json_free(doc);
}

static void every_answer_of_the_description_is_a_known_document(void **state)
{
    (void)state;
    struct json_doc *doc = read_description();
    size_t operations = 0;
    const struct json_value *paths = get(json_root(doc), "paths");
    for (const struct json_value *p = json_first(paths); p; p = json_next(p)) {
        for (const struct json_value *op = json_first(p); op; op = json_next(op)) {
            const struct json_value *responses = get(op, "responses");
            operations++;
            if (!responses || !get(responses, "default") || !get(op, "operationId"))
                fail_msg("docs/openapi.json: %s is not described in full", json_name(p));
            for (const struct json_value *r = json_first(responses); r; r = json_next(r)) {
                const struct json_value *json = get(get(r, "content"), "application/json");
                if (json)
                    (void)resolve(doc, get(json, "schema"));
            }
        }
    }
    assert_int_equal(operations, 42);
    json_free(doc);
}

/* ---- The journal's event and the client's ------------------------------------------------------
 */

static const struct json_field *field_of(const struct json_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->fields[i].name, name) == 0)
            return &table->fields[i];
    }
    return NULL;
}

/* Texts on the client's side: types and times that it does not know are no fault. */
static bool reads(const struct json_field *client, const struct json_field *journal)
{
    if (client->type == journal->type)
        return true;
    return client->type == JSON_STRING &&
           (journal->type == JSON_ENUM || journal->type == JSON_CUSTOM);
}

static void a_client_reads_every_field_of_the_journals_events(void **state)
{
    (void)state;
    for (size_t i = 0; i < event_table.count; i++) {
        const struct json_field *journal = &event_table.fields[i];
        const struct json_field *client = field_of(&api_event_table, journal->name);
        if (!client)
            fail_msg("api_event has no field %s", journal->name);
        else if (!reads(client, journal))
            fail_msg("api_event: %s is of another type", journal->name);
    }
    assert_int_equal(event_table.count, api_event_table.count);
}

/* ---- Round trips -------------------------------------------------------------------------------
 */

/* Reads a document and writes it again: the same text. */
static void expect_round_trip(const struct json_table *table, const char *text)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct error err = {0};
    void *object = calloc(1, table->size);
    assert_non_null(object);
    if (json_read(text, strlen(text), 1 << 20, table, object, &err) != ERR_OK)
        fail_msg("%s: %s", table->name, err.message);
    json_encode(&b, table, object);
    assert_string_equal(b.data, text);
    json_release(table, object);
    free(object);
}

#define COUNTS                                                                                     \
    "{\"pending\":1,\"inFlight\":2,\"succeeded\":3,\"failed\":4,\"unreachable\":5,\"unknown\":6,"  \
    "\"cancelled\":7,\"skipped\":8,\"rolledBack\":9,\"rollbackFailed\":10}"

static void documents_come_out_as_they_went_in(void **state)
{
    (void)state;
    expect_round_trip(&api_counts_table, COUNTS);
    expect_round_trip(&api_problem_table,
                      "{\"type\":\"about:blank\",\"title\":\"t\",\"status\":422,\"detail\":\"d\","
                      "\"errors\":[{\"path\":\"steps[0]\",\"message\":\"m\"}]}");
    expect_round_trip(
        &api_rollout_list_table,
        "{\"rollouts\":[{\"id\":\"r1\",\"name\":\"n\",\"by\":\"b\",\"retryOf\":\"r0\",\"state\":"
        "\"paused\",\"created\":\"c\",\"ended\":\"e\",\"servers\":36,\"counts\":" COUNTS
        "}],\"next\":\"r0\"}");
    expect_round_trip(
        &api_rollout_table,
        "{\"id\":\"r1\",\"name\":\"n\",\"by\":\"b\",\"retryOf\":\"r0\",\"state\":\"rolled_back\","
        "\"reason\":\"w\","
        "\"created\":\"c\",\"ended\":\"e\",\"strategy\":\"Rolling\",\"batch\":1,\"batches\":2,"
        "\"servers\":36,\"counts\":" COUNTS
        ",\"lastSeq\":77,\"plan\":{\"name\":\"n\"},\"executions\":[{\"server\":\"web-1\","
        "\"state\":\"rolled_back\",\"outcome\":\"failed\",\"connected\":true,\"conflict\":true,"
        "\"resolved\":true,\"started\":\"s\",\"ended\":\"e\",\"waitingFor\":\"r0\","
        "\"lockedBy\":\"b\",\"lockReason\":\"r\",\"step\":\"up\",\"message\":\"m\",\"steps\":["
        "{\"name\":\"up\",\"state\":\"failed\",\"attempt\":2,\"changed\":true,\"conflict\":true,"
        "\"exitCode\":0,"
        "\"durationMs\":12,\"message\":\"m\"}]}],\"more\":35}");
    expect_round_trip(&api_validation_table,
                      "{\"valid\":true,\"name\":\"n\",\"strategy\":\"Canary\","
                      "\"servers\":3,\"steps\":2,\"batches\":2}");
    expect_round_trip(&api_cancel_table,
                      "{\"now\":true,\"rollback\":true,\"by\":\"b\",\"reason\":\"r\"}");
    expect_round_trip(&api_request_table, "{\"by\":\"b\",\"reason\":\"r\"}");
    expect_round_trip(&api_rollback_table, "{\"servers\":[\"a\",\"b\"],\"now\":true,"
                                           "\"force\":true,\"by\":\"b\",\"reason\":\"r\"}");
    expect_round_trip(&api_resolve_table, "{\"as\":\"rolled_back\",\"by\":\"b\",\"reason\":\"r\"}");
    expect_round_trip(&api_lock_table, "{\"by\":\"b\",\"reason\":\"r\"}");
    expect_round_trip(&api_unlock_table, "{\"by\":\"b\"}");
    expect_round_trip(
        &api_event_list_table,
        "{\"events\":[{\"seq\":7,\"time\":\"t\",\"type\":\"step_ended\",\"server\":"
        "\"web-1\",\"step\":\"up\",\"attempt\":1,\"state\":\"failed\",\"exitCode\":-9,"
        "\"durationMs\":5,\"undoing\":true,\"now\":true,\"changed\":true,\"batch\":1,"
        "\"count\":2,\"message\":\"m\",\"by\":\"b\",\"agentSeq\":4,\"agentTime\":"
        "\"t\"}],\"lastSeq\":7}");
    expect_round_trip(&api_output_table, "{\"server\":\"web-1\",\"step\":\"up\",\"attempt\":1,"
                                         "\"offset\":10,\"text\":\"hi\\n\"}");
    expect_round_trip(&api_server_list_table,
                      "{\"servers\":[{\"id\":\"web-1\",\"connected\":true,\"version\":\"0.1.0\","
                      "\"hostname\":\"h\",\"address\":\"a\",\"since\":\"s\",\"rollout\":\"r1\","
                      "\"waiting\":1,\"handlers\":[\"echo\",\"sleep\"]}],\"next\":\"web-1\","
                      "\"connected\":1,\"known\":2}");
    expect_round_trip(
        &api_server_table,
        "{\"id\":\"web-1\",\"connected\":false,\"waiting\":0,\"handlers\":[],\"undoBytes\":5,"
        "\"undoMaxBytes\":9,\"lock\":{\"locked\":false,\"by\":\"b\",\"reason\":\"r\",\"since\":"
        "\"s\",\"unlockedBy\":\"u\",\"unlocked\":\"t\"},\"touchedBy\":[{\"rollout\":\"r1\","
        "\"created\":\"c\",\"undone\":true}]}");
    expect_round_trip(&api_handler_list_table,
                      "{\"handlers\":[{\"type\":\"echo\",\"doc\":\"d\",\"undo\":\"u\","
                      "\"idempotent\":true,\"changes\":false,\"params\":{\"type\":\"object\"}}]}");
    expect_round_trip(&api_problem_table, "{\"type\":\"about:blank\",\"status\":409,\"offset\":0}");
    expect_round_trip(&api_artifact_list_table,
                      "{\"artifacts\":[{\"sha256\":\"ab\",\"size\":9,\"offset\":4,\"whole\":false,"
                      "\"name\":\"n\",\"by\":\"b\",\"created\":\"c\"}],\"next\":\"ab\","
                      "\"bytes\":9,\"maxBytes\":10}");
    expect_round_trip(&api_health_table, "{\"status\":\"ok\",\"detail\":\"d\"}");
}

static void what_is_not_known_yet_is_left_out(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = BUF_INIT;
    char server[] = "web-1";
    struct api_execution e = {.server = server, .state = EXECUTION_PENDING};
    json_encode(&b, &api_execution_table, &e);
    assert_string_equal(b.data,
                        "{\"server\":\"web-1\",\"state\":\"pending\",\"outcome\":\"pending\","
                        "\"connected\":false}");
}

static void a_newer_servers_fields_are_passed_over(void **state)
{
    (void)state;
    static const char text[] = "{\"status\":\"ok\",\"mood\":\"fine\"}";
    struct api_health health = {0};
    assert_int_equal(json_read(text, sizeof(text) - 1, 1000, &api_health_table, &health, NULL),
                     ERR_OK);
    assert_string_equal(health.status, "ok");
    json_release(&api_health_table, &health);
}

static void a_requests_misspelt_field_is_refused(void **state)
{
    (void)state;
    static const char text[] = "{\"rolback\":true}";
    struct api_cancel cancel = {0};
    struct error err = {0};
    assert_int_equal(json_read(text, sizeof(text) - 1, 1000, &api_cancel_table, &cancel, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.message, "rolback"));
    assert_non_null(strstr(err.message, "rollback"));
}

static void a_person_settles_a_server_as_one_of_three_states_and_says_why(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "{\"as\":\"unknown\",\"reason\":\"r\"}",
        "{\"as\":\"failed\"}",
        "{\"as\":\"failed\",\"reason\":\"\"}",
        "{\"reason\":\"r\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct api_resolve resolve = {0};
        assert_int_equal(
            json_read(refused[i], strlen(refused[i]), 1000, &api_resolve_table, &resolve, NULL),
            ERR_INVALID);
    }
}

static void decoding_without_memory_fails_cleanly(void **state)
{
    (void)state;
    static const char text[] = "{\"servers\":[{\"id\":\"web-1\",\"connected\":true,\"waiting\":0,"
                               "\"handlers\":[\"echo\"]}],"
                               "\"connected\":1,\"known\":2}";
    bool done = false;
    for (uint64_t n = 0; !done; n++) {
        struct api_server_list list = {0};
        mem_fail_after(n);
        enum error_code code =
            json_read(text, sizeof(text) - 1, 1000, &api_server_list_table, &list, NULL);
        mem_fail_never();
        done = code == ERR_OK;
        assert_true(done || code == ERR_NO_MEMORY);
        json_release(&api_server_list_table, &list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_description_says_what_the_tables_say),
        cmocka_unit_test(every_answer_of_the_description_is_a_known_document),
        cmocka_unit_test(a_client_reads_every_field_of_the_journals_events),
        cmocka_unit_test(documents_come_out_as_they_went_in),
        cmocka_unit_test(what_is_not_known_yet_is_left_out),
        cmocka_unit_test(a_newer_servers_fields_are_passed_over),
        cmocka_unit_test(a_requests_misspelt_field_is_refused),
        cmocka_unit_test(a_person_settles_a_server_as_one_of_three_states_and_says_why),
        cmocka_unit_test(decoding_without_memory_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
