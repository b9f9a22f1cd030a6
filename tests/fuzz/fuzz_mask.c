/* The mask: secrets and a stream of any bytes, cut anywhere. The pieces make no difference, and no
 * secret is in what comes out. */
#include "agent/mask.h"
#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "fuzz.h"

#include <assert.h>
#include <string.h>

enum { SECRETS_MAX = 8 };

static void put(void *ctx, const char *data, size_t len)
{
    assert(len > 0);
    buf_append(ctx, data, len);
}

static void stream(struct mask *m, const char *text, size_t len, size_t size, struct buf *out)
{
    const struct mask_sink sink = {put, out};
    for (size_t at = 0; at < len; at += size)
        mask_write(m, text + at, len - at < size ? len - at : size, &sink);
    mask_end(m, &sink);
}

/* A secret of asterisks can come out of others' masks. */
static bool can_be_made_of_masks(const char *secret)
{
    return strchr(secret, '*') != NULL;
}

static void run(const char *const *secrets, size_t count, const char *text, size_t len)
{
    static const size_t sizes[] = {1, 2, 3, 7, 64};
    struct mask *m = NULL;
    AUTO_BUF struct buf whole = BUF_INIT;
    if (mask_new(secrets, count, &m, NULL) != ERR_OK)
        return;
    stream(m, text, len, len > 0 ? len : 1, &whole);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTO_BUF struct buf pieces = BUF_INIT;
        stream(m, text, len, sizes[i], &pieces);
        assert(pieces.len == whole.len);
        assert(whole.len == 0 || memcmp(pieces.data, whole.data, whole.len) == 0);
    }
    for (size_t i = 0; i < count; i++)
        assert(whole.len == 0 || can_be_made_of_masks(secrets[i]) ||
               !memmem(whole.data, whole.len, secrets[i], strlen(secrets[i])));
    mask_free(m);
}

/* Secrets, each ended by a NUL, then the stream. Shorter ones are passed over. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = mem_alloc(size + 1);
    const char *secrets[SECRETS_MAX];
    size_t count = 0, at = 0;
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    while (at < size && count < SECRETS_MAX && memchr(text + at, '\0', size - at)) {
        size_t len = strlen(text + at);
        if (len >= MASK_SECRET_MIN)
            secrets[count++] = text + at;
        at += len + 1;
    }
    if (count > 0)
        run(secrets, count, text + at, size - at);
    return 0;
}
