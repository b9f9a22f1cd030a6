#include "orchestrator/cli/sse.h"

#include <string.h>

enum error_code sse_feed(struct sse *s, const char *bytes, size_t len, struct error *err)
{
    if (s->failed == ERR_OK) {
        if (s->pos > 0) {
            buf_consume(&s->in, s->pos);
            s->scanned -= s->pos;
            s->pos = 0;
        }
        /* Room for a piece of the transport's beyond the longest line. */
        s->in.max = 2 * (size_t)SSE_MAX_EVENT;
        buf_append(&s->in, bytes, len);
        if (s->in.failed != ERR_OK)
            s->failed = s->in.failed;
    }
    if (s->failed != ERR_OK)
        return error_set(err, s->failed,
                         s->failed == ERR_LIMIT ? "an event is longer than %d bytes" : NULL,
                         SSE_MAX_EVENT);
    return ERR_OK;
}

/* Takes one line out of `in`, without its end. False: it is not whole yet. */
static bool take_line(struct sse *s, const char **ret_line, size_t *ret_len)
{
    if (s->skip_lf && s->pos < s->in.len) {
        if (s->in.data[s->pos] == '\n')
            s->pos++;
        s->skip_lf = false;
    }
    if (s->scanned < s->pos)
        s->scanned = s->pos;
    while (s->scanned < s->in.len && s->in.data[s->scanned] != '\n' &&
           s->in.data[s->scanned] != '\r')
        s->scanned++;
    if (s->scanned == s->in.len) {
        if (s->in.len - s->pos > SSE_MAX_EVENT)
            s->failed = ERR_LIMIT;
        return false;
    }
    *ret_line = s->in.data + s->pos;
    *ret_len = s->scanned - s->pos;
    s->skip_lf = s->in.data[s->scanned] == '\r';
    s->scanned++;
    s->pos = s->scanned;
    return true;
}

static void keep_name(char *ret, const char *value, size_t len)
{
    if (len > SSE_MAX_NAME || memchr(value, '\0', len))
        return;
    memcpy(ret, value, len);
    ret[len] = '\0';
}

static void take_field(struct sse *s, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : len;
    const char *value = colon ? colon + 1 : line + len;
    size_t value_len = len - (size_t)(value - line);
    if (value_len > 0 && value[0] == ' ') {
        value++;
        value_len--;
    }
    if (name_len == 4 && memcmp(line, "data", 4) == 0) {
        if (s->has_data)
            buf_putc(&s->data, '\n');
        buf_append(&s->data, value, value_len);
        s->has_data = true;
        if (s->data.failed != ERR_OK)
            s->failed = s->data.failed;
    } else if (name_len == 5 && memcmp(line, "event", 5) == 0) {
        keep_name(s->type, value, value_len);
    } else if (name_len == 2 && memcmp(line, "id", 2) == 0) {
        keep_name(s->id, value, value_len);
        s->has_id = true;
    }
}

static void forget_event(struct sse *s)
{
    buf_clear(&s->data);
    s->type[0] = '\0';
    s->has_data = false;
    s->has_id = false;
    s->given = false;
}

/* A byte order mark before everything is passed over. False: too few bytes to tell. */
static bool skip_mark(struct sse *s)
{
    static const char mark[] = "\xef\xbb\xbf";
    size_t have = s->in.len < 3 ? s->in.len : 3;
    if (have > 0 && memcmp(s->in.data, mark, have) == 0) {
        if (have < 3)
            return false;
        s->pos = 3;
    }
    s->begun = have > 0;
    return s->begun;
}

bool sse_next(struct sse *s, struct sse_event *ret_event)
{
    const char *line = NULL;
    size_t len = 0;
    if (s->given)
        forget_event(s);
    if (!s->begun && !skip_mark(s))
        return false;
    s->data.max = SSE_MAX_EVENT;
    while (s->failed == ERR_OK && take_line(s, &line, &len)) {
        if (len > 0) {
            take_field(s, line, len);
        } else if (s->has_data) {
            *ret_event = (struct sse_event){.type = s->type[0] ? s->type : "message",
                                            .id = s->id,
                                            .has_id = s->has_id,
                                            .data = s->data.data ? s->data.data : "",
                                            .len = s->data.len};
            s->given = true;
            return true;
        } else {
            forget_event(s);
        }
    }
    return false;
}

void sse_done(struct sse *s)
{
    buf_done(&s->in);
    buf_done(&s->data);
}
