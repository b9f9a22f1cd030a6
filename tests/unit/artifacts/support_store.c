#include "unit/artifacts/support_store.h"

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"

#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

void world_begin(struct world *w)
{
    *w = (struct world){.dir = "/tmp/kitsune-artifacts-XXXXXX"};
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(uv_loop_init(&w->loop), 0);
    w->config = (struct artifact_store_config){
        .loop = &w->loop, .dir = w->dir, .stale_ms = ARTIFACT_STALE_MS};
    world_open(w);
}

static int remove_each(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void world_end(struct world *w)
{
    world_close(w);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(nftw(w->dir, remove_each, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    world_begin(w);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    world_end(*state);
    free(*state);
    return 0;
}

void world_open(struct world *w)
{
    struct error err = {0};
    if (artifact_store_open(&w->config, &w->store, &err) != ERR_OK)
        fail_msg("%s", err.message);
}

void world_close(struct world *w)
{
    artifact_store_close(w->store);
    w->store = NULL;
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
}

void world_again(struct world *w)
{
    world_close(w);
    world_open(w);
}

void wait_for(struct world *w, const struct ended *ended, int times)
{
    while (ended->times < times)
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    assert_int_equal(ended->times, times);
}

const char *path_of(const struct world *w, const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof(path), "%s/artifacts/%s", w->dir, name);
    return path;
}

int64_t length_of(const struct world *w, const char *name)
{
    struct stat st;
    return lstat(path_of(w, name), &st) == 0 ? st.st_size : -1;
}

bool is_there(const struct world *w, const char *name)
{
    return length_of(w, name) >= 0;
}

void file_make(const struct world *w, const char *name, const char *text)
{
    FILE *file = fopen(path_of(w, name), "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void hex_of(const char *data, size_t len, char ret[HEX_BUFFER])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    assert_int_equal(EVP_Digest(data, len, sum, NULL, EVP_sha256(), NULL), 1);
    text_hex(sum, ARTIFACT_DIGEST_DIGITS / 2, ret);
}

/* ---- Asking -----------------------------------------------------------------------------------
 */

void ended_done(void *ctx, enum error_code result, const struct error *err,
                const struct artifact_facts *facts)
{
    struct ended *ended = ctx;
    ended->times++;
    ended->code = result;
    ended->there = facts != NULL;
    if (result != ERR_OK)
        (void)snprintf(ended->message, sizeof(ended->message), "%s", err->message);
    if (facts == NULL)
        return;
    ended->size = facts->size_bytes;
    ended->offset = facts->offset_bytes;
    ended->whole = facts->whole;
}

void begin(struct world *w, const char *hex, int64_t size, struct ended *ended)
{
    const struct artifact_wish wish = {
        .digest = hex, .name = "app.tar", .by = "eve", .size_bytes = size, .now_ms = 1000};
    artifact_store_begin(w->store, &wish, ended_done, ended);
}

void piece(struct world *w, const char *hex, int64_t offset, const char *data, size_t len,
           struct ended *ended)
{
    char *copy = len == 0 ? NULL : mem_alloc(len);
    if (copy != NULL)
        memcpy(copy, data, len);
    const struct artifact_piece piece = {
        .digest = hex, .offset_bytes = offset, .data = copy, .len = len};
    artifact_store_piece(w->store, &piece, ended_done, ended);
}

struct ended begun(struct world *w, const char *hex, int64_t size)
{
    struct ended ended = {0};
    begin(w, hex, size, &ended);
    wait_for(w, &ended, 1);
    return ended;
}

struct ended put(struct world *w, const char *hex, int64_t offset, const char *data, size_t len)
{
    struct ended ended = {0};
    piece(w, hex, offset, data, len, &ended);
    wait_for(w, &ended, 1);
    return ended;
}

struct ended deleted(struct world *w, const char *hex)
{
    struct ended ended = {0};
    artifact_store_delete(w->store, hex, ended_done, &ended);
    wait_for(w, &ended, 1);
    return ended;
}

void stored(struct world *w, const char *text, char ret_hex[HEX_BUFFER])
{
    hex_of(text, strlen(text), ret_hex);
    assert_int_equal(begun(w, ret_hex, (int64_t)strlen(text)).code, ERR_OK);
    assert_true(put(w, ret_hex, 0, text, strlen(text)).whole);
}

bool found(const struct world *w, const char *hex, struct artifact_facts *ret)
{
    struct artifact_facts facts;
    return artifact_store_find(w->store, hex, ret == NULL ? &facts : ret);
}

void half_put(struct world *w, char ret_hex[HEX_BUFFER])
{
    hex_of(TEXT, LEN, ret_hex);
    assert_int_equal(begun(w, ret_hex, LEN).code, ERR_OK);
    struct ended ended = put(w, ret_hex, 0, TEXT, FIRST);
    assert_int_equal(ended.code, ERR_OK);
    assert_int_equal(ended.offset, FIRST);
}

void is_whole(struct world *w, const char *hex)
{
    struct artifact_facts facts;
    char part[HEX_BUFFER + 8];
    (void)snprintf(part, sizeof(part), "%s.part", hex);
    assert_true(found(w, hex, &facts));
    assert_true(facts.whole);
    assert_int_equal(facts.offset_bytes, facts.size_bytes);
    assert_int_equal(length_of(w, hex), facts.size_bytes);
    assert_false(is_there(w, part));
}

void nothing_is_left(const struct world *w, const char *hex)
{
    static const char *const suffixes[] = {"", ".part", ".json", ".json.new"};
    assert_false(found(w, hex, NULL));
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[HEX_BUFFER + 16];
        (void)snprintf(name, sizeof(name), "%s%s", hex, suffixes[i]);
        assert_false(is_there(w, name));
    }
}
