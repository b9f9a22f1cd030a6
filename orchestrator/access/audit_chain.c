#include "orchestrator/access/audit_chain.h"

#include "common/base/buf.h"
#include "common/base/text.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static const char first_hash[] = "0000000000000000000000000000000000000000000000000000000000000000";
_Static_assert(sizeof(first_hash) == AUDIT_HASH_BUFFER, "as long as a hash");

/* Each field with its length in front, so that nothing can move from one to the next. */
static void put_field(struct buf *b, const char *text)
{
    if (!text) {
        buf_puts(b, "-;");
        return;
    }
    buf_printf(b, "%zu:", strlen(text));
    buf_puts(b, text);
    buf_putc(b, ';');
}

static enum error_code sha256_hex(const struct buf *b, char ret_hash[AUDIT_HASH_BUFFER],
                                  struct error *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (EVP_Digest(b->data, b->len, digest, &len, EVP_sha256(), NULL) != 1)
        return error_set(err, ERR_NO_MEMORY, "SHA-256 cannot be had");
    text_hex(digest, len, ret_hash);
    return ERR_OK;
}

enum error_code audit_chain_hash(const struct audit_entry *e, const char *before,
                                 char ret_hash[AUDIT_HASH_BUFFER], struct error *err)
{
    AUTO_BUF struct buf b = BUF_INIT;
    const char *const texts[] = {e->who,    e->role,   e->peer,  e->action,
                                 e->target, e->result, e->detail};
    buf_puts(&b, before);
    buf_printf(&b, "%" PRId64 ";%" PRId64 ";", e->seq, e->time_ms);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        put_field(&b, texts[i]);
    enum error_code code = buf_check(&b, err);
    return code == ERR_OK ? sha256_hex(&b, ret_hash, err) : code;
}

void audit_walk_begin(struct audit_walk *walk, const struct audit_head *expected)
{
    *walk = (struct audit_walk){.expected = expected, .met = !expected || expected->seq == 0};
    memcpy(walk->head.hash, first_hash, sizeof(first_hash));
}

enum error_code audit_walk_on(struct audit_walk *walk, const struct audit_entry *entry,
                              struct error *err)
{
    char hash[AUDIT_HASH_BUFFER];
    if (entry->seq != walk->head.seq + 1)
        return error_set(err, ERR_CORRUPT,
                         "the audit log: entry %" PRId64 " is missing: %" PRId64 " comes next",
                         walk->head.seq + 1, entry->seq);
    enum error_code code = audit_chain_hash(entry, walk->head.hash, hash, err);
    if (code != ERR_OK)
        return code;
    if (!entry->hash || strcmp(hash, entry->hash) != 0)
        return error_set(err, ERR_CORRUPT,
                         "the audit log: entry %" PRId64 " does not fit its hash: it, or the one "
                         "before it, was altered",
                         entry->seq);
    walk->head.seq = entry->seq;
    memcpy(walk->head.hash, hash, sizeof(hash));
    if (walk->expected && walk->expected->seq == entry->seq)
        walk->met = strcmp(walk->expected->hash, hash) == 0;
    return ERR_OK;
}

enum error_code audit_walk_end(const struct audit_walk *walk, struct error *err)
{
    if (walk->met)
        return ERR_OK;
    return error_set(err, ERR_CORRUPT,
                     "the audit log no longer has entry %" PRId64 " as it was kept: entries were "
                     "cut off or written anew",
                     walk->expected->seq);
}
