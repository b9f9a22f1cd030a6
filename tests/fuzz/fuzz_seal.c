/*
 * What an agent with trusted keys reads: the first byte says whether the rest is a file of keys
 * (k), or a frame (f) that claims to be signed by the one key that is trusted here. Nobody has its
 * private half, so what is let through can only be the plan that was signed, to the letter.
 */
#include "agent/trust.h"
#include "common/base/text.h"
#include "common/seal/seal_keys.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#include <string.h>

/* That of RFC 8032's first example; the plan is that of tests/unit/seal. */
static const char key_line[] =
    "ed25519 d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
static const char signed_steps[] =
    "b75074da081670d9395edbd96a92f3536c2e60003f7093bf0f172b9d13a05ba5";
static const char signed_nonce[] = "000102030405060708090a0b0c0d0e0f";
#define SIGNED_CONFIRM_MS 9000
#define IN_ITS_TIME_MS INT64_C(1795690000000)

static void check_keys(const char *text, size_t len)
{
    struct seal_keys *keys = NULL;
    struct error err = {0};
    if (seal_keys_parse("fuzz", text, len, &keys, &err) != ERR_OK) {
        assert(err.message[0] != '\0');
        return;
    }
    assert(seal_keys_threshold(keys) >= 1 && seal_keys_threshold(keys) <= seal_keys_count(keys));
    for (size_t i = 0; i < seal_keys_count(keys); i++) {
        struct seal_keys *again = NULL;
        char line[SEAL_KEY_LINE_MAX];
        seal_key_line(seal_keys_at(keys, i), line);
        enum error_code code = seal_keys_parse("again", line, strlen(line), &again, &err);
        assert(code == ERR_OK && seal_keys_count(again) == 1);
        assert(strcmp(seal_keys_at(again, 0)->id, seal_keys_at(keys, i)->id) == 0);
        assert(strcmp(seal_keys_at(again, 0)->name, seal_keys_at(keys, i)->name) == 0);
        for (size_t other = 0; other < i; other++)
            assert(strcmp(seal_keys_at(keys, other)->id, seal_keys_at(keys, i)->id) != 0);
        seal_keys_free(again);
    }
    seal_keys_free(keys);
}

static void check_let_through(const struct wire_execute *execute, const char *server)
{
    struct seal_hash steps;
    char text[SEAL_HASH_TEXT];
    enum error_code code =
        seal_hash_steps(&execute->steps, execute->vars, execute->secrets, &steps, NULL);
    assert(code == ERR_OK);
    text_hex(steps.bytes, sizeof(steps.bytes), text);
    assert(strcmp(text, signed_steps) == 0);
    assert(strcmp(execute->seal.signing.nonce, signed_nonce) == 0);
    assert(execute->rollback_on_failure && execute->confirm_ms == SIGNED_CONFIRM_MS);
    assert(strncmp(server, "web-", 4) == 0);
}

static void check_frame(const char *text, size_t len)
{
    static const char *const servers[] = {"web-1", "web-2", "web-3", "other", ""};
    struct wire_frame frame = {0};
    struct trust *trust = NULL;
    struct error err = {0};
    if (wire_decode(text, len, &frame, &err) != ERR_OK)
        return;
    enum error_code code = trust_parse("keys", key_line, sizeof(key_line) - 1, &trust, &err);
    assert(code == ERR_OK);
    for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]) && frame.type == WIRE_EXECUTE;
         i++) {
        code = trust_check(trust, servers[i], &frame.execute, IN_ITS_TIME_MS, &err);
        assert(code == ERR_OK || (code == ERR_DENIED && err.message[0] != '\0'));
        if (code == ERR_OK)
            check_let_through(&frame.execute, servers[i]);
    }
    trust_free(trust);
    wire_frame_done(&frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t what = fuzz_byte(&in);
    char *text = malloc(in.left + 1);
    assert(text != NULL);
    memcpy(text, in.at, in.left);
    text[in.left] = '\0';
    if (what == 'k')
        check_keys(text, in.left);
    else if (what == 'f')
        check_frame(text, in.left);
    free(text);
    return 0;
}
