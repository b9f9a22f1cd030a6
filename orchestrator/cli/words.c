#include "orchestrator/cli/words.h"

#include "common/base/clock.h"
#include "orchestrator/cli/render.h"

#include <string.h>

void words_servers(struct buf *b, int64_t count)
{
    buf_printf(b, "%lld server%s", (long long)count, count == 1 ? "" : "s");
}

void words_counts(struct buf *b, const struct api_counts *c)
{
    const struct {
        int64_t count;
        const char *word;
    } parts[] = {
        {c->succeeded, "succeeded"},
        {c->failed, "failed"},
        {c->unreachable, "unreachable"},
        {c->unknown, "unknown"},
        {c->cancelled, "cancelled"},
        {c->skipped, "skipped"},
        {c->in_flight, "in flight"},
        {c->pending, "pending"},
        {c->unchanged, "unchanged"},
        {c->rolled_back, "rolled back"},
        {c->rollback_failed, "rollback failed"},
    };
    bool first = true;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].count == 0)
            continue;
        buf_printf(b, "%s%lld %s", first ? "" : ", ", (long long)parts[i].count, parts[i].word);
        first = false;
    }
}

int words_event_type(const struct api_event *event)
{
#define X(value, name, input) [value] = (name),
    static const char *const names[EVENT_TYPE_COUNT] = {EVENT_TYPES(X)};
#undef X
    for (int i = 0; i < EVENT_TYPE_COUNT; i++) {
        if (event->type && strcmp(event->type, names[i]) == 0)
            return i;
    }
    return -1;
}

/* A step that did what it should, and found it done. */
static bool words_unchanged(const struct api_event *e)
{
    return words_event_type(e) == EVENT_STEP_ENDED && !e->changed && e->state &&
           strcmp(e->state, step_state_names[STEP_SUCCEEDED]) == 0;
}

/* Begins a further part of a list of parts. */
static void part(struct buf *b, size_t from)
{
    if (b->len > from)
        buf_puts(b, ", ");
}

void words_event(struct buf *b, const struct api_event *e)
{
    size_t from = b->len;
    char text[CLOCK_TEXT_MAX];
    const struct {
        bool is;
        const char *word;
    } flags[] = {{e->changed, "changed"},  {words_unchanged(e), "unchanged"},
                 {e->check, "check"},      {e->undoing, "undoing"},
                 {e->now, "now"},          {e->force, "force"},
                 {e->conflict, "conflict"}};
    render_text(b, e->state);
    if (e->attempt > 1) {
        part(b, from);
        buf_printf(b, "attempt %lld", (long long)e->attempt);
    }
    if (e->has_exit_code) {
        part(b, from);
        buf_printf(b, "exit status %lld", (long long)e->exit_code);
    }
    if (e->duration_ms > 0) {
        part(b, from);
        duration_format(e->duration_ms, text);
        buf_puts(b, text);
    }
    if (e->away_ms > 0) {
        part(b, from);
        duration_format(e->away_ms, text);
        buf_printf(b, "back within %s", text);
    }
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (flags[i].is) {
            part(b, from);
            buf_puts(b, flags[i].word);
        }
    }
    if (e->batch > 0) {
        part(b, from);
        buf_printf(b, "batch %lld", (long long)e->batch);
    }
    if (e->count > 0) {
        part(b, from);
        words_servers(b, e->count);
    }
    if (e->by) {
        part(b, from);
        buf_puts(b, "by ");
        render_text(b, e->by);
    }
    if (e->message) {
        buf_puts(b, b->len > from ? ": " : "");
        render_text(b, e->message);
    }
}

void words_list(struct buf *b, const struct array *texts)
{
    for (size_t i = 0; i < texts->count; i++) {
        buf_puts(b, i > 0 ? ", " : "");
        render_text(b, *ARRAY_AT(texts, char *, i));
    }
}
