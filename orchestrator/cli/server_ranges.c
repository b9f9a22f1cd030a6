#include "orchestrator/cli/server_ranges.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "orchestrator/cli/render.h"
#include "orchestrator/cli/words.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS_MAX = 9 };

/* Where the number at a name's end begins. */
static size_t number_at(const char *name)
{
    size_t len = strlen(name);
    size_t at = len;
    while (at > 0 && len - at < DIGITS_MAX && name[at - 1] >= '0' && name[at - 1] <= '9')
        at--;
    return at;
}

/* web-10 follows web-9, and web-010 follows web-009. */
static bool follows(const char *name, const char *before)
{
    size_t at = number_at(name);
    size_t at_before = number_at(before);
    size_t digits = strlen(name) - at;
    size_t digits_before = strlen(before) - at_before;
    if (at != at_before || digits == 0 || digits_before == 0 || memcmp(name, before, at) != 0)
        return false;
    bool padded = name[at] == '0' || before[at] == '0';
    return (digits == digits_before || !padded) &&
           strtol(name + at, NULL, 10) == strtol(before + at, NULL, 10) + 1;
}

static void put_range(struct buf *b, const struct server_ranges *r)
{
    render_text(b, r->first);
    if (r->in_range == 1)
        return;
    buf_puts(b, r->in_range == 2 ? ", " : "..");
    render_text(b, r->last);
}

static void range_close(struct server_ranges *r)
{
    if (r->in_range > 0 && r->text.len < SERVER_RANGES_MAX_BYTES) {
        buf_puts(&r->text, r->text.len > 0 ? ", " : "");
        put_range(&r->text, r);
    } else {
        r->unnamed += r->in_range;
    }
    r->in_range = 0;
}

void server_ranges_add(struct server_ranges *r, const char *server)
{
    AUTO_FREE char *first = mem_strdup(server);
    AUTO_FREE char *last = mem_strdup(server);
    r->count++;
    if (!first || !last) {
        r->text.failed = ERR_NO_MEMORY;
        return;
    }
    if (r->in_range == 0 || !follows(server, r->last)) {
        range_close(r);
        mem_free(r->first);
        r->first = TAKE(first);
    }
    mem_free(r->last);
    r->last = TAKE(last);
    r->in_range++;
}

void server_ranges_put(const struct server_ranges *r, struct buf *b)
{
    bool named = r->in_range == 0 || r->text.len < SERVER_RANGES_MAX_BYTES;
    int64_t unnamed = r->unnamed + (named ? 0 : r->in_range);
    if (r->text.failed != ERR_OK) {
        b->failed = r->text.failed;
        return;
    }
    buf_append(b, r->text.data ? r->text.data : "", r->text.len);
    if (named && r->in_range > 0) {
        buf_puts(b, r->text.len > 0 ? ", " : "");
        put_range(b, r);
    }
    if (unnamed > 0)
        buf_printf(b, " and %lld more", (long long)unnamed);
    if (r->count > 2) {
        buf_puts(b, " (");
        words_servers(b, r->count);
        buf_putc(b, ')');
    }
}

void server_ranges_done(struct server_ranges *r)
{
    buf_done(&r->text);
    mem_free(r->first);
    mem_free(r->last);
}
