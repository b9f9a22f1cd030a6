/*
 * A journal whose file was damaged: it is looked at as --check does, then opened and read. A check
 * that finds nothing means that everything is as it was written; whatever it finds, nothing is made
 * of it that was not written.
 *
 * One thing alone can be missing unnoticed: what a step printed, when a page of that table is
 * another one, whole in itself. Nothing else speaks of how many there are.
 *
 * What the two rollouts hold was noted before; the input says what became of the file.
 */
#include "common/base/alloc.h"
#include "common/plan/plan_json.h"
#include "orchestrator/journal/journal.h"
#include "tests/fuzz/damage.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

static const char plan_text[] =
    "{\"name\":\"a plan\",\"servers\":[\"s1\",\"s2\"],\"steps\":[{\"name\":\"one\",\"type\":"
    "\"echo\",\"params\":{\"message\":\"1\"}}],\"rolloutStrategy\":{\"type\":\"Parallel\","
    "\"maxFailures\":-1}}";

static const char *folder;
static struct image sound; /* the file as it was written */

/* And what it holds. */
enum { ROLLOUTS = 2, SERVERS = 2, OUTPUT_TEXT_MAX = 64 };
struct contents {
    struct buf all;                                    /* but the outputs */
    char outputs[ROLLOUTS * SERVERS][OUTPUT_TEXT_MAX]; /* "": none */
};
static struct contents noted;

static void no_wake(void *ctx)
{
    (void)ctx;
}

/* ---- What it holds --------------------------------------------------------------------------- */

struct reading {
    struct journal *journal;
    struct buf *b;
    char ids[ROLLOUTS][129];
    size_t count;
};

static bool note_rollout(void *ctx, const struct journal_rollout *r)
{
    struct reading *reading = ctx;
    buf_printf(reading->b, "%s %s %s %s %u %u %llu\n", r->id, r->name ? r->name : "",
               r->by ? r->by : "", rollout_state_names[r->summary.state],
               r->summary.counts.succeeded, r->summary.servers, (unsigned long long)r->last_seq);
    if (reading->count < ROLLOUTS && strlen(r->id) < sizeof(reading->ids[0]))
        (void)snprintf(reading->ids[reading->count++], sizeof(reading->ids[0]), "%s", r->id);
    return true;
}

static bool note_event(void *ctx, uint64_t seq, const char *type, const char *json, size_t len)
{
    struct reading *reading = ctx;
    buf_printf(reading->b, "%llu %s ", (unsigned long long)seq, type);
    buf_append(reading->b, json, len);
    buf_putc(reading->b, '\n');
    return true;
}

static enum error_code note_outputs(struct reading *r, size_t rollout, struct contents *contents,
                                    struct error *err)
{
    for (uint32_t server = 0; server < SERVERS; server++) {
        int32_t attempt = 0;
        struct buf text = BUF_INIT;
        enum error_code code =
            journal_output(r->journal, r->ids[rollout], server, 0, &text, &attempt, err);
        if (code == ERR_OK)
            (void)snprintf(contents->outputs[rollout * SERVERS + server], OUTPUT_TEXT_MAX, "%d %s",
                           attempt, text.data);
        buf_done(&text);
        if (code != ERR_OK && code != ERR_NOT_FOUND)
            return code;
    }
    return ERR_OK;
}

static enum error_code note_state(struct reading *r, const char *id, struct error *err)
{
    struct plan *plan = NULL;
    struct engine *engine = NULL;
    uint64_t last_seq = 0;
    enum error_code code = journal_load(r->journal, id, &plan, &engine, &last_seq, err);
    if (code == ERR_OK)
        buf_printf(r->b, "%s %llu\n", rollout_state_names[engine_state(engine)],
                   (unsigned long long)last_seq);
    engine_free(engine);
    plan_free(plan);
    return code;
}

/* Everything that can be read; the first error, if any. */
static enum error_code note_all(struct journal *j, struct contents *contents, struct error *err)
{
    struct buf *b = &contents->all;
    struct reading r = {.journal = j, .b = b};
    buf_printf(b, "%s\n", journal_identity(j));
    enum error_code code = journal_list(j, NULL, 100, note_rollout, &r, err);
    for (size_t i = 0; i < r.count && code == ERR_OK; i++) {
        code = journal_plan_text(j, r.ids[i], b, err);
        if (code == ERR_OK)
            code = journal_events(j, r.ids[i], 0, 1000, note_event, &r, err);
        if (code == ERR_OK)
            code = note_outputs(&r, i, contents, err);
        if (code == ERR_OK)
            code = note_state(&r, r.ids[i], err);
    }
    assert(buf_check(b, NULL) == ERR_OK);
    return code;
}

/* ---- What was written ------------------------------------------------------------------------ */

static void add_event(struct journal_append *a, struct engine *engine, const struct plan *plan,
                      struct event *event)
{
    struct decision decision;
    struct error err = {0};
    event->time_ms = INT64_C(1795242356123);
    enum error_code code = engine_apply(engine, event, &err);
    if (code == ERR_OK)
        code = journal_append_event(a, plan, event, &err);
    while (code == ERR_OK && engine_next(engine, &decision)) {
        if (decision.type == DECISION_NOTE)
            code = journal_append_event(a, plan, &decision.note, &err);
    }
    assert(code == ERR_OK);
}

static void add_server(struct journal_append *a, struct engine *engine, const struct plan *plan,
                       uint32_t server)
{
    struct error err = {0};
    struct event event = {.server = server, .step = EVENT_NO_STEP};
    event.type = EVENT_EXECUTION_STARTED;
    event.agent_seq = 1;
    add_event(a, engine, plan, &event);
    event.type = EVENT_STEP_ENDED;
    event.step = 0;
    event.attempt = 1;
    event.step_state = STEP_SUCCEEDED;
    event.agent_seq = 2;
    add_event(a, engine, plan, &event);
    event.type = EVENT_EXECUTION_ENDED;
    event.step = EVENT_NO_STEP;
    event.state = EXECUTION_SUCCEEDED;
    event.agent_seq = 3;
    add_event(a, engine, plan, &event);
    const struct journal_output output = {
        .server = server, .attempt = 1, .text = "what it printed\n", .len = 16};
    enum error_code code = journal_append_output(a, &output, &err);
    assert(code == ERR_OK);
}

static void write_rollout(struct journal *j, const struct plan *plan, const char *id,
                          uint32_t servers)
{
    struct journal_append *a = NULL;
    struct engine *engine = NULL;
    struct error err = {0};
    enum error_code code = journal_append_new(id, 1, &a, &err);
    if (code == ERR_OK)
        code = journal_append_create(a, plan, plan_text, sizeof(plan_text) - 1, "me", &err);
    if (code == ERR_OK)
        code = engine_new(plan, &engine, &err);
    assert(code == ERR_OK);
    struct event created = {.type = EVENT_ROLLOUT_CREATED,
                            .server = EVENT_NO_SERVER,
                            .step = EVENT_NO_STEP,
                            .by = "me"};
    add_event(a, engine, plan, &created);
    for (uint32_t server = 0; server < servers; server++)
        add_server(a, engine, plan, server);
    const struct journal_summary summary = {.state = engine_state(engine),
                                            .counts = engine_counts(engine),
                                            .servers = plan_server_count(plan),
                                            .created_ms = created.time_ms,
                                            .ended_ms = servers == 2 ? created.time_ms : 0};
    journal_append_summary(a, &summary);
    journal_append(j, a, NULL, NULL);
    engine_free(engine);
}

static void write_once(void)
{
    struct journal *j = NULL;
    struct plan *plan = NULL;
    struct error err = {0};
    folder = folder_make();
    enum error_code code = plan_read(plan_text, sizeof(plan_text) - 1, &plan, &err);
    if (code == ERR_OK)
        code = journal_open(folder, no_wake, NULL, &j, &err);
    assert(code == ERR_OK);
    write_rollout(j, plan, "r-ended", 2);
    write_rollout(j, plan, "r-open", 1);
    journal_close(j);
    sound = file_read(folder_path(folder, "journal.db"));
    code = journal_open(folder, no_wake, NULL, &j, &err);
    if (code == ERR_OK)
        code = note_all(j, &noted, &err);
    assert(code == ERR_OK && noted.outputs[0][0] != '\0');
    journal_close(j);
    plan_free(plan);
    assert(sound.size > 0);
}

/* ---- An input -------------------------------------------------------------------------------- */

static void count_finding(void *ctx, const struct journal_finding *finding)
{
    assert(finding->what != NULL && finding->what[0] != '\0');
    (*(uint64_t *)ctx)++;
}

static void lay_out(const struct image *image)
{
    folder_clear(folder);
    file_write(folder_path(folder, "journal.db"), image->bytes, image->size);
    file_write(folder_path(folder, "epoch"), (const uint8_t *)"1\n", 2);
}

static void check_same(const struct contents *contents)
{
    assert(strcmp(contents->all.data, noted.all.data) == 0);
    for (size_t i = 0; i < ROLLOUTS * SERVERS; i++)
        assert(contents->outputs[i][0] == '\0' ||
               strcmp(contents->outputs[i], noted.outputs[i]) == 0);
}

/* Nothing that can be read without an error is different from what was written. */
static bool open_and_read(bool must_be_sound)
{
    struct journal *j = NULL;
    struct contents contents = {0};
    struct error err = {0};
    enum error_code code = journal_open(folder, no_wake, NULL, &j, &err);
    bool opened = code == ERR_OK;
    assert(opened || err.message[0] != '\0');
    assert(opened || !must_be_sound);
    if (opened && !journal_held(j, NULL)) {
        code = note_all(j, &contents, &err);
        assert(code == ERR_OK || !must_be_sound);
        if (code == ERR_OK)
            check_same(&contents);
    }
    journal_close(j);
    buf_done(&contents.all);
    return opened;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct error err = {0};
    struct journal_checked checked = {0};
    uint64_t findings = 0;
    if (sound.size == 0)
        write_once();
    struct image image = {malloc(sound.size), sound.size};
    assert(image.bytes != NULL);
    memcpy(image.bytes, sound.bytes, sound.size);
    bool changed = damage_apply(&image, &in);
    lay_out(&image);
    enum error_code code = journal_check(folder, count_finding, &findings, &checked, &err);
    assert(code == ERR_OK || err.message[0] != '\0');
    assert(code != ERR_OK || checked.findings == findings);
    bool clean = code == ERR_OK && findings == 0;
    assert(changed || clean);
    (void)open_and_read(clean);
    free(image.bytes);
    return 0;
}
