/* The entry of a report: one thing that happened. */
#include "common/base/output.h"
#include "common/values/value_json.h"
#include "common/wire/wire_internal.h"

#include <assert.h>
#include <string.h>

/* A kept output may be bytes that are not UTF-8, each of which becomes three; between head and tail
 * stands a line. What an agent keeps must always fit into a frame. */
static_assert(WIRE_MAX_OUTPUT >= 3 * (OUTPUT_HEAD_MAX + OUTPUT_TAIL_MAX) + 256,
              "the output that an agent keeps fits");

/* An entry's state is a step's or an execution's, by the entry's type, and each name has its own
 * number in the two. Members may come in any order, so a state that comes before the type is taken
 * as an execution's, all of whose names a step's are among, and put right when the type comes.
 * Until then the type is 0, an execution's; a state that has not come is 0 too, the same in both.
 */
struct state_set {
    const char *const *names;
    int count;
};
static_assert((int)STEP_PENDING == 0 && (int)EXECUTION_PENDING == 0 && REPORT_STARTED == 0,
              "what has not come yet is the same in both");

bool wire_about_step(int report_type)
{
    switch ((enum report_type)report_type) {
    case REPORT_STEP_STARTED:
    case REPORT_STEP_RETRYING:
    case REPORT_STEP_REBOOTING:
    case REPORT_STEP_REBOOTED:
    case REPORT_STEP_ENDED:
    case REPORT_STEP_ROLLED_BACK:
        return true;
    case REPORT_STARTED:
    case REPORT_CONFIRMING:
    case REPORT_ENDED:
    case REPORT_ROLLBACK_STARTED:
    case REPORT_ROLLED_BACK:
    case REPORT_TYPE_COUNT:
        break;
    }
    return false;
}

static struct state_set states_of(int report_type)
{
    if (wire_about_step(report_type))
        return (struct state_set){step_state_names, STEP_STATE_COUNT};
    return (struct state_set){execution_state_names, EXECUTION_STATE_COUNT};
}

/* The number of a name; -1 when it is not among them. */
static int name_find(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

static struct wire_entry *entry_of(void *field, size_t offset)
{
    return (void *)((char *)field - offset);
}

static const struct wire_entry *entry_in(const void *field, size_t offset)
{
    return (const void *)((const char *)field - offset);
}

static void state_decode(const struct json_value *v, const char *path, void *field,
                         struct problems *ps)
{
    const struct wire_entry *entry = entry_in(field, offsetof(struct wire_entry, state));
    struct state_set set = states_of(entry->type);
    int found =
        json_kind(v) == JSON_IS_STRING ? name_find(set.names, set.count, json_string(v)) : -1;
    if (found >= 0)
        *(int *)field = found;
    else
        problems_add(ps, path, "must be the name of a state");
}

static void state_encode(struct buf *b, const void *field)
{
    int state = *(const int *)field;
    struct state_set set = states_of(entry_in(field, offsetof(struct wire_entry, state))->type);
    assert(state >= 0 && state < set.count);
    buf_putc(b, '"');
    buf_puts(b, set.names[state]);
    buf_putc(b, '"');
}

static void entry_type_decode(const struct json_value *v, const char *path, void *field,
                              struct problems *ps)
{
    int type = json_kind(v) == JSON_IS_STRING
                   ? name_find(report_type_names, REPORT_TYPE_COUNT, json_string(v))
                   : -1;
    if (type < 0) {
        problems_add(ps, path, "must be the name of a type of entry");
        return;
    }
    struct wire_entry *entry = entry_of(field, offsetof(struct wire_entry, type));
    entry->type = type;
    if (!wire_about_step(type))
        return;
    int state = name_find(step_state_names, STEP_STATE_COUNT, execution_state_names[entry->state]);
    if (state >= 0)
        entry->state = state;
    else
        problems_add(ps, path, "does not go with the state \"%s\"",
                     execution_state_names[entry->state]);
}

static void entry_type_encode(struct buf *b, const void *field)
{
    int type = *(const int *)field;
    assert(type >= 0 && type < REPORT_TYPE_COUNT);
    buf_putc(b, '"');
    buf_puts(b, report_type_names[type]);
    buf_putc(b, '"');
}

static const struct json_custom entry_type_custom = {
    .decode = entry_type_decode,
    .encode = entry_type_encode,
    .schema = "{\"type\":\"string\"}",
    .size = sizeof(int),
};

static const struct json_custom state_custom = {
    .decode = state_decode,
    .encode = state_encode,
    .schema = "{\"type\":\"string\"}",
    .size = sizeof(int),
};

static const struct json_field entry_fields[] = {
    {.name = "seq",
     .type = JSON_INT,
     JSON_AT(struct wire_entry, seq),
     .flags = JSON_REQUIRED,
     .min = 1,
     .max = (double)JSON_INT_MAX,
     .doc = "The entry's number."},
    {.name = "type",
     .type = JSON_CUSTOM,
     JSON_AT(struct wire_entry, type),
     .flags = JSON_REQUIRED,
     .custom = &entry_type_custom,
     .doc = "What happened."},
    {.name = "timeMs",
     .type = JSON_INT,
     JSON_AT(struct wire_entry, time_ms),
     .flags = JSON_REQUIRED,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "When, by the server's clock, in milliseconds since 1970."},
    {.name = "step",
     .type = JSON_INT,
     JSON_AT(struct wire_entry, step),
     .flags = JSON_HAS_DEFAULT,
     .min = -1,
     .max = PLAN_MAX_STEPS - 1,
     .fallback = -1,
     .doc = "The step's number from 0; -1 when it is about the execution."},
    {.name = "attempt",
     .type = JSON_INT,
     JSON_AT(struct wire_entry, attempt),
     .flags = JSON_OMIT_EMPTY,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "The attempt, from 1."},
    {.name = "state",
     .type = JSON_CUSTOM,
     JSON_AT(struct wire_entry, state),
     .flags = JSON_REQUIRED,
     .custom = &state_custom,
     .doc = "The state from now on, of the step in an entry about a step, else of the execution."},
    {.name = "undoing",
     .type = JSON_BOOL,
     JSON_AT(struct wire_entry, undoing),
     .flags = JSON_OMIT_EMPTY,
     .doc = "The agent undoes its steps by itself."},
    {.name = "force",
     .type = JSON_BOOL,
     JSON_AT(struct wire_entry, force),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Undone even where somebody else has changed it since."},
    {.name = "conflict",
     .type = JSON_BOOL,
     JSON_AT(struct wire_entry, conflict),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Not undone, since somebody else has changed it."},
    {.name = "changed",
     .type = JSON_BOOL,
     JSON_AT(struct wire_entry, changed),
     .flags = JSON_OMIT_EMPTY,
     .doc = "The step changed the host, or, in a check, would change it."},
    {.name = "exitCode",
     .type = JSON_INT,
     JSON_AT(struct wire_entry, exit_code),
     JSON_HAS(struct wire_entry, has_exit_code),
     .min = INT32_MIN,
     .max = INT32_MAX,
     .doc = "The exit code of the step's program."},
    {.name = "durationMs",
     .type = JSON_INT,
     JSON_AT(struct wire_entry, duration_ms),
     .flags = JSON_OMIT_EMPTY,
     .min = 0,
     .max = (double)JSON_INT_MAX,
     .doc = "How long it took."},
    {.name = "awayMs",
     .type = JSON_INT,
     JSON_AT(struct wire_entry, away_ms),
     .flags = JSON_OMIT_EMPTY,
     .min = 0,
     .max = PLAN_MAX_SECONDS * 1000.0,
     .doc = "How long the server may be away for its reboot."},
    {.name = "bootId",
     .type = JSON_STRING,
     JSON_AT(struct wire_entry, boot_id),
     .flags = JSON_OMIT_EMPTY,
     .max = WIRE_MAX_BOOT_ID,
     .doc = "The boot that the reboot is to end."},
    {.name = "message",
     .type = JSON_STRING,
     JSON_AT(struct wire_entry, message),
     .flags = JSON_OMIT_EMPTY,
     .max = WIRE_MAX_MESSAGE,
     .doc = "A line for people."},
    {.name = "output",
     .type = JSON_STRING,
     JSON_AT(struct wire_entry, output),
     .flags = JSON_OMIT_EMPTY,
     .max = WIRE_MAX_OUTPUT,
     .doc = "Head and tail of what the step printed."},
    {.name = "outputs",
     .type = JSON_CUSTOM,
     JSON_AT(struct wire_entry, outputs),
     .flags = JSON_OMIT_EMPTY,
     .custom = &value_set_custom,
     .doc = "What the step put out for later ones."},
};
const struct json_table wire_entry_table =
    JSON_TABLE_OPEN("entry", struct wire_entry, entry_fields, "One thing that happened.");

void wire_entry_release(struct wire_entry *entry)
{
    json_release(&wire_entry_table, entry);
}
