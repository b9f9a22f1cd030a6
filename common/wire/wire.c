#include "common/wire/wire.h"

#include "common/base/cleanup.h"
#include "common/base/problems.h"
#include "common/base/text.h"
#include "common/plan/plan_json.h"
#include "common/wire/wire_internal.h"

#include <assert.h>
#include <string.h>

/* The steps of any plan fit into an execute: their defaults, written out, are far less than half.
 */
static_assert(WIRE_MAX_BYTES >= 2 * PLAN_MAX_BYTES, "the largest plan's steps fit");

#define X(value, name) [value] = (name),
const char *const wire_type_names[WIRE_TYPE_COUNT] = {WIRE_TYPES(X)};
#undef X

DEFINE_CLEANUP(json_free, struct json_doc)

/* A text that is not right is the peer's fault. */
static enum error_code as_protocol_error(enum error_code code, struct error *err)
{
    if (code != ERR_INVALID)
        return code;
    if (err)
        err->code = ERR_PROTOCOL;
    return ERR_PROTOCOL;
}

static enum error_code decode_head(const struct json_value *root, enum wire_type *ret_type,
                                   struct error *err)
{
    if (json_kind(root) != JSON_IS_OBJECT)
        return error_set(err, ERR_PROTOCOL, "a frame must be an object");
    const struct json_value *version = json_get(root, "v");
    if (!version || json_kind(version) != JSON_IS_NUMBER)
        return error_set(err, ERR_PROTOCOL, "v: missing, or not a number");
    if (json_number(version) != WIRE_VERSION)
        return error_set(err, ERR_PROTOCOL, "v: version %g is not spoken here, only %d",
                         json_number(version), (int)WIRE_VERSION);
    const struct json_value *type = json_get(root, "type");
    if (!type || json_kind(type) != JSON_IS_STRING)
        return error_set(err, ERR_PROTOCOL, "type: missing, or not a string");
    for (int i = 0; i < WIRE_TYPE_COUNT; i++) {
        if (strcmp(json_string(type), wire_type_names[i]) == 0) {
            *ret_type = (enum wire_type)i;
            return ERR_OK;
        }
    }
    const char *name = json_string(type);
    return error_set(err, ERR_PROTOCOL, "type: \"%.*s\" is not a type of frame",
                     (int)text_utf8_cut(name, strlen(name), 32), name);
}

/* Entries come in order and without gaps, and name a step when they are about one. */
static enum error_code check_report(const struct wire_report *report, struct error *err)
{
    const struct wire_entry *entries = report->entries.items;
    for (size_t i = 0; i < report->entries.count; i++) {
        if (i > 0 && entries[i].seq != entries[i - 1].seq + 1)
            return error_set(err, ERR_PROTOCOL,
                             "entries[%zu].seq: must be one more than the entry before", i);
        bool wanted = wire_about_step(entries[i].type);
        if (wanted != (entries[i].step >= 0))
            return error_set(err, ERR_PROTOCOL, "entries[%zu].step: must %s", i,
                             wanted ? "be the number of a step" : "be -1 or left out");
    }
    return ERR_OK;
}

static enum error_code complete_steps(struct wire_execute *execute, struct error *err)
{
    for (size_t i = 0; i < execute->steps.count; i++) {
        enum error_code code =
            plan_step_complete(ARRAY_AT(&execute->steps, struct plan_step, i), err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

/* What tables cannot say. */
static enum error_code check_frame(struct wire_frame *frame, struct error *err)
{
    if (frame->type == WIRE_REPORT)
        return check_report(&frame->report, err);
    if (frame->type == WIRE_EXECUTE)
        return complete_steps(&frame->execute, err);
    return ERR_OK;
}

static enum error_code decode_members(const struct json_value *root, struct wire_frame *frame,
                                      struct error *err)
{
    if (!wire_tables[frame->type])
        return ERR_OK;
    struct problems ps = {0};
    json_decode(root, wire_tables[frame->type], "", &frame->welcome, &ps);
    enum error_code code = problems_check(&ps, err);
    problems_done(&ps);
    return as_protocol_error(code, err);
}

enum error_code wire_decode(const char *text, size_t len, struct wire_frame *ret_frame,
                            struct error *err)
{
    AUTO(json_free) struct json_doc *doc = NULL;
    enum error_code code = json_parse(text, len, WIRE_MAX_BYTES, &doc, err);
    if (code != ERR_OK)
        return as_protocol_error(code, err);
    struct wire_frame frame = {0};
    code = decode_head(json_root(doc), &frame.type, err);
    if (code != ERR_OK)
        return code;
    code = decode_members(json_root(doc), &frame, err);
    if (code == ERR_OK)
        code = check_frame(&frame, err);
    if (code != ERR_OK) {
        wire_frame_done(&frame);
        return code;
    }
    *ret_frame = frame;
    return ERR_OK;
}

void wire_frame_done(struct wire_frame *frame)
{
    if (wire_tables[frame->type])
        json_release(wire_tables[frame->type], &frame->welcome);
}

static void open_frame(struct buf *b, enum wire_type type)
{
    static_assert(WIRE_VERSION == 1, "the text below says it");
    buf_puts(b, "{\"v\":1,\"type\":\"");
    buf_puts(b, wire_type_names[type]);
    buf_putc(b, '"');
}

void wire_encode(struct buf *b, const struct wire_frame *frame)
{
    bool first = false;
    open_frame(b, frame->type);
    if (wire_tables[frame->type])
        json_encode_members(b, wire_tables[frame->type], &frame->welcome, &first);
    buf_putc(b, '}');
}

void wire_encode_execute(struct buf *b, const struct wire_execute *execute, const char *steps_json,
                         size_t steps_len)
{
    bool first = false;
    open_frame(b, WIRE_EXECUTE);
    json_encode_members(b, &wire_execute_head_table, execute, &first);
    buf_puts(b, ",\"steps\":");
    buf_append(b, steps_json, steps_len);
    buf_putc(b, '}');
}

void wire_encode_steps(struct buf *b, const struct plan *plan)
{
    for (uint32_t i = 0; i < plan_step_count(plan); i++) {
        buf_putc(b, i == 0 ? '[' : ',');
        json_encode(b, &plan_step_table, plan_step(plan, i));
    }
    buf_putc(b, ']');
}
