#include "common/seal/seal_keys.h"

#include "common/base/text.h"
#include "common/pki/pki_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct seal_keys {
    struct seal_key items[SEAL_KEYS_MAX];
    size_t count;
    uint32_t threshold; /* 0: not said */
};

static const char key_word[] = "ed25519";
static const char blanks[] = " \t";

/* ---- Text --------------------------------------------------------------------------------------
 */

struct reader {
    const char *name; /* of the file */
    size_t line;
    struct seal_keys *keys;
};

/* Printable ASCII: a name is shown in messages and logs. */
static void name_take(const char *from, char ret[SEAL_KEY_NAME_MAX + 1])
{
    size_t len = 0;
    for (; *from && len < SEAL_KEY_NAME_MAX; from++)
        if (*from > ' ' && *from < 0x7f && *from != '#')
            ret[len++] = *from;
    ret[len] = '\0';
}

enum error_code seal_key_of(const struct pki_public *public, const char *name,
                            struct seal_key *ret_key, struct error *err)
{
    struct seal_key key = {.public = *public};
    enum error_code code = pki_public_id(public, key.id, err);
    if (code != ERR_OK)
        return code;
    name_take(name, key.name);
    *ret_key = key;
    return ERR_OK;
}

void seal_key_line(const struct seal_key *key, char ret_line[SEAL_KEY_LINE_MAX])
{
    char digits[2 * PKI_SIGN_PUBLIC_BYTES + 1];
    text_hex(key->public.bytes, sizeof(key->public.bytes), digits);
    (void)snprintf(ret_line, SEAL_KEY_LINE_MAX, "%s %s%s%s", key_word, digits,
                   key->name[0] ? " " : "", key->name);
}

static enum error_code key_take(struct reader *r, const char *digits, const char *name,
                                struct error *err)
{
    struct seal_keys *keys = r->keys;
    struct pki_public public;
    if (!digits || !text_unhex(digits, public.bytes, sizeof(public.bytes)))
        return error_set(err, ERR_INVALID,
                         "%.80s: line %zu: a key is \"ed25519\", its %d lower-case hexadecimal "
                         "digits and a name",
                         r->name, r->line, 2 * PKI_SIGN_PUBLIC_BYTES);
    if (keys->count == SEAL_KEYS_MAX)
        return error_set(err, ERR_INVALID, "%.80s: line %zu: more than %d keys", r->name, r->line,
                         SEAL_KEYS_MAX);
    struct seal_key *key = &keys->items[keys->count];
    enum error_code code = seal_key_of(&public, name ? name : "", key, err);
    if (code != ERR_OK)
        return code;
    /* Twice the same key would count twice; two with one id could not be told apart. */
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->items[i].id, key->id) == 0)
            return error_set(err, ERR_INVALID, "%.80s: line %zu: key %s is there already", r->name,
                             r->line, key->id);
    keys->count++;
    return ERR_OK;
}

static enum error_code threshold_take(struct reader *r, const char *text, struct error *err)
{
    char *end = NULL;
    unsigned long number = text ? strtoul(text, &end, 10) : 0;
    if (!text || text[0] < '1' || text[0] > '9' || *end != '\0' || number > SEAL_KEYS_MAX)
        return error_set(err, ERR_INVALID,
                         "%.80s: line %zu: \"threshold\" and how many of the keys must have signed",
                         r->name, r->line);
    if (r->keys->threshold != 0)
        return error_set(err, ERR_INVALID, "%.80s: line %zu: the threshold is there already",
                         r->name, r->line);
    r->keys->threshold = (uint32_t)number;
    return ERR_OK;
}

static enum error_code line_take(struct reader *r, char *line, struct error *err)
{
    char *rest = NULL;
    line[strcspn(line, "#\r")] = '\0';
    const char *word = strtok_r(line, blanks, &rest);
    const char *value = word ? strtok_r(NULL, blanks, &rest) : NULL;
    const char *name = value ? strtok_r(NULL, blanks, &rest) : NULL;
    bool more = name && strtok_r(NULL, blanks, &rest);
    if (!word)
        return ERR_OK;
    if (strcmp(word, key_word) == 0 && !more)
        return key_take(r, value, name, err);
    if (strcmp(word, "threshold") == 0 && !name)
        return threshold_take(r, value, err);
    return error_set(err, ERR_INVALID,
                     "%.80s: line %zu: is neither \"threshold N\" nor \"ed25519 KEY NAME\"",
                     r->name, r->line);
}

static enum error_code keys_finish(const struct reader *r, struct error *err)
{
    struct seal_keys *keys = r->keys;
    if (keys->count == 0)
        return error_set(err, ERR_INVALID, "%.150s: there is no key in it", r->name);
    if (keys->threshold == 0 && keys->count > 1)
        return error_set(err, ERR_INVALID,
                         "%.80s: a line \"threshold N\" is missing: how many of the %zu keys must "
                         "have signed",
                         r->name, keys->count);
    if (keys->threshold == 0)
        keys->threshold = 1;
    if (keys->threshold > keys->count)
        return error_set(err, ERR_INVALID,
                         "%.80s: the threshold is %u, but there are only %zu keys", r->name,
                         (unsigned)keys->threshold, keys->count);
    return ERR_OK;
}

enum error_code seal_keys_parse(const char *name, const char *text, size_t len,
                                struct seal_keys **ret_keys, struct error *err)
{
    AUTO(seal_keys_free) struct seal_keys *keys = MEM_NEW(struct seal_keys);
    AUTO_FREE char *copy = mem_strndup(text, len);
    struct reader r = {.name = name, .keys = keys};
    if (!keys || !copy)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (strlen(copy) != len)
        return error_set(err, ERR_INVALID, "%.150s: is not a text", name);
    enum error_code code = ERR_OK;
    for (char *line = copy; line && code == ERR_OK;) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        r.line++;
        code = line_take(&r, line, err);
        line = end ? end + 1 : NULL;
    }
    if (code == ERR_OK)
        code = keys_finish(&r, err);
    if (code != ERR_OK)
        return code;
    *ret_keys = TAKE(keys);
    return ERR_OK;
}

enum error_code seal_keys_load(const char *path, struct seal_keys **ret_keys, struct error *err)
{
    AUTO_BUF struct buf text = BUF_INIT;
    enum error_code code = pki_file_read(path, SEAL_KEYS_FILE_MAX, &text, err);
    if (code != ERR_OK)
        return code;
    return seal_keys_parse(path, text.len > 0 ? text.data : "", text.len, ret_keys, err);
}

void seal_keys_free(struct seal_keys *keys)
{
    mem_free(keys);
}

uint32_t seal_keys_threshold(const struct seal_keys *keys)
{
    return keys->threshold;
}

size_t seal_keys_count(const struct seal_keys *keys)
{
    return keys->count;
}

const struct seal_key *seal_keys_at(const struct seal_keys *keys, size_t i)
{
    return &keys->items[i];
}

/* ---- Signatures --------------------------------------------------------------------------------
 */

enum error_code seal_key_check(const struct seal_key *key, const struct plan_signing *signing,
                               const struct buf *statement, struct error *err)
{
    enum error_code code = error_set(err, ERR_NOT_FOUND, "there is no signature by it");
    for (size_t i = 0; i < signing->signatures.count; i++) {
        const struct plan_signature *s = ARRAY_AT(&signing->signatures, struct plan_signature, i);
        uint8_t bytes[PKI_SIGNATURE_BYTES];
        if (strcmp(s->key, key->id) != 0)
            continue;
        if (text_unhex(s->signature, bytes, sizeof(bytes)))
            code = pki_sign_check(&key->public, statement->data, statement->len, bytes, err);
        else
            code = error_set(err, ERR_DENIED, "its signature is none");
        if (code != ERR_DENIED)
            return code;
    }
    return code;
}

/* Each key is asked once, so that none counts twice. */
enum error_code seal_keys_check(const struct seal_keys *keys, const struct plan_signing *signing,
                                const struct buf *statement, struct error *err)
{
    const struct seal_key *wrong = NULL;
    uint32_t good = 0;
    for (size_t i = 0; i < keys->count; i++) {
        enum error_code code = seal_key_check(&keys->items[i], signing, statement, err);
        if (code == ERR_OK)
            good++;
        else if (code == ERR_DENIED)
            wrong = &keys->items[i];
        else if (code != ERR_NOT_FOUND)
            return code;
    }
    if (good >= keys->threshold)
        return ERR_OK;
    if (wrong)
        return error_set(
            err, ERR_DENIED,
            "the signature by key %s%s%s does not fit: the plan is not what was signed", wrong->id,
            wrong->name[0] ? " " : "", wrong->name);
    return error_set(err, ERR_DENIED,
                     "the plan is signed by %u of the trusted keys, and %u must have signed it",
                     (unsigned)good, (unsigned)keys->threshold);
}
