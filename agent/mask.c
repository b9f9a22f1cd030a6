#include "agent/mask.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

/* A node of the tree of all patterns. Its children are a list, which nearly always has one. */
struct node {
    uint32_t child, sibling; /* 0: none */
    uint32_t fail;           /* the longest end of it that begins a pattern too */
    uint32_t depth;
    uint32_t match; /* the length of the longest pattern that ends here; 0: none does */
    uint8_t byte;
};

/* Bytes of the stream to be masked, in the positions of the call that is under way. */
struct region {
    size_t start, end;
    bool told; /* its "***" is written */
};

enum { PAIRS = 256 * 256, ROOT = 0 };

struct mask {
    struct node *nodes;
    uint32_t count, capacity;
    uint32_t firsts[256];       /* the root's children */
    uint64_t pairs[PAIRS / 64]; /* the two bytes that patterns begin with */
    size_t longest;             /* bytes of a pattern */
    uint32_t state;
    char *held; /* `held_len` bytes that are not settled, room for `longest` */
    size_t held_len;
    struct region *regions; /* in order; from `first` on */
    size_t first, region_count, region_room;
};

/* ---- The patterns ------------------------------------------------------------------------------
 */

static uint32_t child_find(const struct mask *m, uint32_t at, uint8_t byte)
{
    if (at == ROOT)
        return m->firsts[byte];
    uint32_t child = m->nodes[at].child;
    while (child != 0 && m->nodes[child].byte != byte)
        child = m->nodes[child].sibling;
    return child;
}

static uint32_t child_add(struct mask *m, uint32_t at, uint8_t byte)
{
    uint32_t found = child_find(m, at, byte);
    if (found != 0)
        return found;
    assert(m->count < m->capacity);
    uint32_t made = m->count++;
    m->nodes[made] =
        (struct node){.byte = byte, .depth = m->nodes[at].depth + 1, .sibling = m->nodes[at].child};
    m->nodes[at].child = made;
    if (at == ROOT)
        m->firsts[byte] = made;
    return made;
}

static void pattern_add(struct mask *m, const char *text, size_t len)
{
    const uint8_t *bytes = (const uint8_t *)text;
    uint32_t at = ROOT;
    size_t pair = (size_t)bytes[0] << 8 | bytes[1];
    for (size_t i = 0; i < len; i++)
        at = child_add(m, at, bytes[i]);
    m->nodes[at].match = m->nodes[at].depth;
    m->pairs[pair / 64] |= UINT64_C(1) << pair % 64;
    if (len > m->longest)
        m->longest = len;
}

static void secret_add(struct mask *m, const char *secret)
{
    pattern_add(m, secret, strlen(secret));
    for (const char *line = secret; *line;) {
        size_t len = strcspn(line, "\n");
        size_t kept = len > 0 && line[len - 1] == '\r' ? len - 1 : len;
        if (kept >= MASK_LINE_MIN)
            pattern_add(m, line, kept);
        line += line[len] == '\n' ? len + 1 : len;
    }
}

static uint32_t step(const struct mask *m, uint32_t state, uint8_t byte)
{
    uint32_t to = child_find(m, state, byte);
    while (to == 0 && state != ROOT) {
        state = m->nodes[state].fail;
        to = child_find(m, state, byte);
    }
    return to;
}

/* By depth, so that what a node falls back to is known before it. */
static void fails_link(struct mask *m, uint32_t *queue)
{
    size_t count = 0;
    for (uint32_t c = m->nodes[ROOT].child; c != 0; c = m->nodes[c].sibling)
        queue[count++] = c;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t c = m->nodes[queue[i]].child; c != 0; c = m->nodes[c].sibling) {
            struct node *node = &m->nodes[c];
            node->fail = step(m, m->nodes[queue[i]].fail, node->byte);
            if (node->match == 0)
                node->match = m->nodes[node->fail].match;
            queue[count++] = c;
        }
    }
}

/* ---- Life --------------------------------------------------------------------------------------
 */

static enum error_code rooms_make(struct mask *m, const char *const *secrets, size_t count)
{
    size_t total = 1, longest = 0;
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(secrets[i]);
        assert(len >= MASK_SECRET_MIN);
        total += 2 * len; /* its lines too */
        longest = len > longest ? len : longest;
    }
    m->nodes = mem_array(total, sizeof(*m->nodes));
    m->held = mem_alloc(longest);
    m->region_room = longest / MASK_SECRET_MIN + 2;
    m->regions = mem_array(m->region_room, sizeof(*m->regions));
    if (!m->nodes || !m->held || !m->regions || total > UINT32_MAX)
        return ERR_NO_MEMORY;
    m->capacity = (uint32_t)total;
    m->count = 1;
    return ERR_OK;
}

DEFINE_CLEANUP(mask_free, struct mask)

enum error_code mask_new(const char *const *secrets, size_t count, struct mask **ret_mask,
                         struct error *err)
{
    AUTO(mask_free) struct mask *m = MEM_NEW(struct mask);
    if (!m || rooms_make(m, secrets, count) != ERR_OK)
        return error_set(err, ERR_NO_MEMORY, NULL);
    for (size_t i = 0; i < count; i++)
        secret_add(m, secrets[i]);
    AUTO_FREE uint32_t *queue = mem_array(m->count, sizeof(*queue));
    if (!queue)
        return error_set(err, ERR_NO_MEMORY, NULL);
    fails_link(m, queue);
    *ret_mask = TAKE(m);
    return ERR_OK;
}

void mask_free(struct mask *m)
{
    if (!m)
        return;
    if (m->nodes)
        explicit_bzero(m->nodes, m->count * sizeof(*m->nodes));
    if (m->held)
        explicit_bzero(m->held, m->longest);
    mem_free(m->nodes);
    mem_free(m->held);
    mem_free(m->regions);
    explicit_bzero(m, sizeof(*m));
    mem_free(m);
}

/* ---- A stream ----------------------------------------------------------------------------------
 */

/* One write: positions count from the first byte that was held back. */
struct piece {
    const char *data;
    size_t len;
    size_t settled; /* everything before is written, or masked */
    const struct mask_sink *sink;
};

static void put(const struct piece *p, const char *data, size_t len)
{
    if (len > 0)
        p->sink->put(p->sink->ctx, data, len);
}

/* Part of it may have been held back. */
static void put_plain(const struct mask *m, const struct piece *p, size_t from, size_t to)
{
    size_t held_to = to < m->held_len ? to : m->held_len;
    if (from < held_to)
        put(p, m->held + from, held_to - from);
    size_t at = from > m->held_len ? from : m->held_len;
    if (at < to)
        put(p, p->data + (at - m->held_len), to - at);
}

/* Writes what is before `border`: no match that is yet to come begins there. */
static void settle(struct mask *m, struct piece *p, size_t border)
{
    while (p->settled < border) {
        struct region *r = m->region_count > 0 ? &m->regions[m->first] : NULL;
        size_t plain_to = r && r->start < border ? r->start : border;
        if (plain_to > p->settled) {
            put_plain(m, p, p->settled, plain_to);
            p->settled = plain_to;
        }
        if (!r || r->start >= border)
            return;
        if (!r->told)
            put(p, MASK_SHOWN, sizeof(MASK_SHOWN) - 1);
        r->told = true;
        p->settled = r->end < border ? r->end : border;
        if (r->end > border)
            return;
        m->first++;
        m->region_count--;
    }
}

/* A secret ends at `end`. It may cover others, or overlap the last one; none ends later. */
static void match(struct mask *m, struct piece *p, size_t end, size_t len)
{
    struct region made = {.start = end - len, .end = end};
    settle(m, p, end - m->nodes[m->state].depth);
    for (; m->region_count > 0; m->region_count--) {
        const struct region *last = &m->regions[m->first + m->region_count - 1];
        if (last->end <= made.start)
            break;
        made.start = last->start < made.start ? last->start : made.start;
        made.told = made.told || last->told;
    }
    if (m->first > 0 && m->first + m->region_count == m->region_room) {
        memmove(m->regions, m->regions + m->first, m->region_count * sizeof(*m->regions));
        m->first = 0;
    }
    assert(m->first + m->region_count < m->region_room);
    m->regions[m->first + m->region_count++] = made;
}

static bool begins(const struct mask *m, const uint8_t *bytes)
{
    size_t pair = (size_t)bytes[0] << 8 | bytes[1];
    return (m->pairs[pair / 64] >> pair % 64 & 1) != 0;
}

/* The next byte at which a secret can begin. */
static size_t skip(const struct mask *m, const uint8_t *bytes, size_t at, size_t len)
{
    while (at + 1 < len && !begins(m, bytes + at))
        at++;
    return at + 1 == len && m->firsts[bytes[at]] == 0 ? len : at;
}

/* What is not settled is held back, and becomes the beginning of the next write. */
static void hold(struct mask *m, const struct piece *p)
{
    size_t total = m->held_len + p->len;
    size_t left = total - p->settled;
    size_t from_held = p->settled < m->held_len ? m->held_len - p->settled : 0;
    assert(left <= m->longest);
    if (from_held > 0)
        memmove(m->held, m->held + p->settled, from_held);
    if (left > from_held)
        memcpy(m->held + from_held, p->data + p->len - (left - from_held), left - from_held);
    if (m->held_len > left)
        explicit_bzero(m->held + left, m->held_len - left);
    m->held_len = left;
    for (size_t i = m->first; i < m->first + m->region_count; i++) {
        struct region *r = &m->regions[i];
        r->start = r->start > p->settled ? r->start - p->settled : 0;
        r->end -= p->settled;
    }
}

void mask_write(struct mask *m, const char *data, size_t len, const struct mask_sink *sink)
{
    struct piece p = {.data = data, .len = len, .sink = sink};
    const uint8_t *bytes = (const uint8_t *)data;
    for (size_t at = 0; at < len;) {
        if (m->state == ROOT)
            at = skip(m, bytes, at, len);
        if (at == len)
            break;
        m->state = step(m, m->state, bytes[at++]);
        if (m->nodes[m->state].match > 0)
            match(m, &p, m->held_len + at, m->nodes[m->state].match);
    }
    settle(m, &p, m->held_len + len - m->nodes[m->state].depth);
    hold(m, &p);
}

void mask_end(struct mask *m, const struct mask_sink *sink)
{
    struct piece p = {.data = "", .sink = sink};
    settle(m, &p, m->held_len);
    explicit_bzero(m->held, m->held_len);
    m->held_len = m->first = m->region_count = 0;
    m->state = ROOT;
}

/* ---- One text ----------------------------------------------------------------------------------
 */

static void put_buf(void *ctx, const char *data, size_t len)
{
    buf_append(ctx, data, len);
}

void mask_text(struct mask *m, const char *text, bool cut, struct buf *out)
{
    const struct mask_sink sink = {put_buf, out};
    assert(m->state == ROOT && m->held_len == 0);
    mask_write(m, text, strlen(text), &sink);
    if (cut && m->held_len >= MASK_SECRET_MIN) {
        m->regions[0] = (struct region){.start = 0, .end = m->held_len};
        m->first = 0;
        m->region_count = 1;
    }
    mask_end(m, &sink);
}
