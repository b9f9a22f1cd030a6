#include "agent/channel.h"

#include <assert.h>
#include <string.h>

enum { ABOUT_BYTES = 1 + 4, NO_TEXT = -1, HALF_BITS = 32 };

struct rule {
    bool outside;
    uint8_t numbers, texts;
    size_t max;
    enum channel_kind kind;
};

#define X(type, outside_, numbers_, texts_, max_, kind_) {outside_, numbers_, texts_, max_, kind_},
static const struct rule rules[CHANNEL_TYPE_COUNT] = {CHANNEL_TYPES(X)};
#undef X

struct channel_text channel_string(const char *text)
{
    return (struct channel_text){text, text ? strlen(text) : 0};
}

void channel_put64(struct channel_frame *frame, size_t at, int64_t value)
{
    frame->numbers[at] = (uint32_t)((uint64_t)value >> HALF_BITS);
    frame->numbers[at + 1] = (uint32_t)(uint64_t)value;
}

bool channel_get64(const struct channel_frame *frame, size_t at, int64_t *ret_value)
{
    uint64_t value = (uint64_t)frame->numbers[at] << HALF_BITS | frame->numbers[at + 1];
    if (value > INT64_MAX)
        return false;
    *ret_value = (int64_t)value;
    return true;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static void put32(struct buf *b, uint32_t value)
{
    buf_append(b, &value, sizeof(value));
}

static size_t frame_bytes(const struct channel_frame *frame)
{
    const struct rule *rule = &rules[frame->type];
    size_t bytes = ABOUT_BYTES + sizeof(uint32_t) * rule->numbers;
    for (size_t i = 0; i < rule->texts; i++) {
        const struct channel_text *text = &frame->texts[i];
        bytes += sizeof(int32_t) + (text->data ? text->len + 1 : 0);
    }
    return bytes;
}

void channel_encode(struct buf *b, const struct channel_frame *frame)
{
    const struct rule *rule = &rules[frame->type];
    /* At once, so that no copy of a secret is left behind on the way. */
    if (buf_reserve(b, CHANNEL_HEADER + frame_bytes(frame), NULL) != ERR_OK)
        return;
    put32(b, (uint32_t)frame_bytes(frame));
    buf_putc(b, (char)frame->type);
    put32(b, frame->id);
    for (size_t i = 0; i < rule->numbers; i++)
        put32(b, frame->numbers[i]);
    for (size_t i = 0; i < rule->texts; i++) {
        const struct channel_text *text = &frame->texts[i];
        assert(text->len <= rule->max);
        put32(b, text->data ? (uint32_t)text->len : (uint32_t)NO_TEXT);
        if (!text->data)
            continue;
        buf_append(b, text->data, text->len);
        buf_putc(b, '\0');
    }
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

/* What is left of a frame. */
struct rest {
    const char *data;
    size_t len;
};

static bool take32(struct rest *rest, uint32_t *ret_value)
{
    if (rest->len < sizeof(*ret_value))
        return false;
    memcpy(ret_value, rest->data, sizeof(*ret_value));
    rest->data += sizeof(*ret_value);
    rest->len -= sizeof(*ret_value);
    return true;
}

static bool take_text(struct rest *rest, const struct rule *rule, struct channel_text *ret_text)
{
    uint32_t len = 0;
    *ret_text = (struct channel_text){0};
    if (!take32(rest, &len))
        return false;
    if (len == (uint32_t)NO_TEXT)
        return true;
    if (len > rule->max || rest->len <= len || rest->data[len] != '\0' ||
        (rule->kind == CHANNEL_TEXT && memchr(rest->data, '\0', len)))
        return false;
    *ret_text = (struct channel_text){rest->data, len};
    rest->data += len + 1;
    rest->len -= len + 1;
    return true;
}

static bool take_frame(struct rest *rest, bool outside, struct channel_frame *frame)
{
    unsigned type = rest->len > 0 ? (unsigned char)*rest->data : CHANNEL_TYPE_COUNT;
    if (type >= CHANNEL_TYPE_COUNT || rules[type].outside != outside)
        return false;
    rest->data++;
    rest->len--;
    frame->type = (enum channel_type)type;
    const struct rule *rule = &rules[type];
    bool good = take32(rest, &frame->id);
    for (size_t i = 0; i < rule->numbers && good; i++)
        good = take32(rest, &frame->numbers[i]);
    for (size_t i = 0; i < rule->texts && good; i++)
        good = take_text(rest, rule, &frame->texts[i]);
    return good && rest->len == 0;
}

enum error_code channel_decode(const char *data, size_t len, bool outside,
                               struct channel_frame *ret_frame, size_t *ret_used, struct error *err)
{
    struct rest all = {data, len};
    struct channel_frame frame = {0};
    uint32_t bytes = 0;
    *ret_used = 0;
    if (!take32(&all, &bytes))
        return ERR_OK;
    if (bytes > CHANNEL_FRAME_MAX)
        return error_set(err, ERR_PROTOCOL, "a frame of %u bytes", (unsigned)bytes);
    if (all.len < bytes)
        return ERR_OK;
    struct rest rest = {all.data, bytes};
    if (!take_frame(&rest, outside, &frame))
        return error_set(err, ERR_PROTOCOL, "a frame that is none");
    *ret_frame = frame;
    *ret_used = CHANNEL_HEADER + bytes;
    return ERR_OK;
}
