#include "agent/trust.h"

#include "common/base/text.h"
#include "common/pki/pki_file.h"
#include "common/seal/seal_keys.h"
#include "common/seal/seal_tree.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct trust {
    struct seal_keys *keys;
};

/* ---- The file ----------------------------------------------------------------------------------
 */

/* Who may write it decides what runs on this host. In a folder with the sticky bit others cannot
 * replace what is not theirs. */
static enum error_code owner_check(const char *path, struct error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return error_errno(err, errno, "%.150s", path);
    bool folder = S_ISDIR(info.st_mode);
    if (info.st_uid != 0 && info.st_uid != geteuid())
        return error_set(err, ERR_DENIED,
                         "%.120s belongs to user %u, who could change which keys are trusted: give "
                         "it to root (chown root)",
                         path, (unsigned)info.st_uid);
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !(folder && (info.st_mode & S_ISVTX) != 0))
        return error_set(err, ERR_DENIED,
                         "%.120s may be written by others (mode %04o), who could change which keys "
                         "are trusted: chmod go-w it",
                         path, (unsigned)(info.st_mode & 07777));
    return ERR_OK;
}

/* Of the file, and of each folder above it. */
static enum error_code owners_check(const char *path, struct error *err)
{
    char at[PATH_MAX];
    if (!realpath(path, at))
        return error_errno(err, errno, "reading %.150s", path);
    enum error_code code = owner_check(at, err);
    for (char *slash = strrchr(at, '/'); slash && code == ERR_OK; slash = strrchr(at, '/')) {
        *slash = '\0';
        code = owner_check(at[0] ? at : "/", err);
    }
    return code;
}

static enum error_code trust_make(struct seal_keys *keys, struct trust **ret_trust,
                                  struct error *err)
{
    struct trust *t = MEM_NEW(struct trust);
    if (!t) {
        seal_keys_free(keys);
        return error_set(err, ERR_NO_MEMORY, NULL);
    }
    t->keys = keys;
    *ret_trust = t;
    return ERR_OK;
}

enum error_code trust_load(const char *path, struct trust **ret_trust, struct error *err)
{
    struct seal_keys *keys = NULL;
    enum error_code code = owners_check(path, err);
    if (code == ERR_OK)
        code = seal_keys_load(path, &keys, err);
    return code == ERR_OK ? trust_make(keys, ret_trust, err) : code;
}

enum error_code trust_parse(const char *name, const char *text, size_t len,
                            struct trust **ret_trust, struct error *err)
{
    struct seal_keys *keys = NULL;
    enum error_code code = seal_keys_parse(name, text, len, &keys, err);
    return code == ERR_OK ? trust_make(keys, ret_trust, err) : code;
}

void trust_free(struct trust *trust)
{
    if (!trust)
        return;
    seal_keys_free(trust->keys);
    mem_free(trust);
}

void trust_describe(const struct trust *trust, char ret_text[TRUST_TEXT_MAX])
{
    (void)snprintf(ret_text, TRUST_TEXT_MAX, "%u of %zu",
                   (unsigned)seal_keys_threshold(trust->keys), seal_keys_count(trust->keys));
}

/* ---- An execute --------------------------------------------------------------------------------
 */

static enum error_code denied(struct error *err, const char *why)
{
    return error_set(err, ERR_DENIED, "%s", why);
}

static enum error_code server_check(const struct wire_seal *seal, const char *server,
                                    struct seal_hash *ret_root, struct error *err)
{
    struct seal_hash path[SEAL_PROOF_MAX];
    if (seal->path.count > SEAL_PROOF_MAX || seal->index >= seal->servers ||
        !text_unhex(seal->root, ret_root->bytes, sizeof(ret_root->bytes)))
        return denied(err, "the proof that this server is in the signed plan is none");
    for (size_t i = 0; i < seal->path.count; i++)
        if (!text_unhex(*ARRAY_AT(&seal->path, char *, i), path[i].bytes, SEAL_HASH_BYTES))
            return denied(err, "the proof that this server is in the signed plan is none");
    const struct seal_proof proof = {
        .index = (uint32_t)seal->index,
        .count = (uint32_t)seal->servers,
        .path = path,
        .path_len = seal->path.count,
    };
    return seal_proof_check(&proof, server, ret_root, err);
}

/* Made of what is going to be run, wherever the execute has it. */
static enum error_code statement_write(const struct wire_execute *execute,
                                       const struct seal_hash *root, struct buf *out,
                                       struct error *err)
{
    const struct wire_seal *seal = &execute->seal;
    struct seal_statement statement = {
        .name = seal->plan,
        .servers = *root,
        .server_count = (uint32_t)seal->servers,
        .scope = seal->scope,
        .confirm_ms = execute->confirm_ms,
        .signing = &seal->signing,
    };
    if (!text_unhex(seal->strategy, statement.strategy.bytes, SEAL_HASH_BYTES))
        return denied(err, "the strategy of the signed plan is none");
    enum error_code code =
        seal_hash_steps(&execute->steps, execute->vars, execute->secrets, &statement.steps, err);
    return code == ERR_OK ? seal_write(&statement, out, err) : code;
}

static enum error_code lifetime_check(const struct plan_signing *signing, struct error *err)
{
    int64_t longest_ms = PLAN_MAX_SECONDS * INT64_C(1000);
    if (signing->expires_ms > signing->not_before_ms &&
        signing->expires_ms - signing->not_before_ms <= longest_ms)
        return ERR_OK;
    return denied(err, "the signed plan holds for longer than one may");
}

static enum error_code seal_check(const struct trust *trust, const char *server,
                                  const struct wire_execute *execute, int64_t now_ms,
                                  struct error *err)
{
    AUTO_BUF struct buf statement = BUF_INIT;
    struct seal_hash root;
    const struct wire_seal *seal = &execute->seal;
    if (execute->rollback_on_failure != (seal->scope != SCOPE_NONE))
        return denied(err, "what is to happen on failure is not what the signed plan says");
    enum error_code code = server_check(seal, server, &root, err);
    if (code == ERR_OK)
        code = statement_write(execute, &root, &statement, err);
    if (code == ERR_OK)
        code = seal_keys_check(trust->keys, &seal->signing, &statement, err);
    if (code == ERR_OK)
        code = lifetime_check(&seal->signing, err);
    if (code == ERR_OK)
        code = seal_check_time(&seal->signing, now_ms, err);
    return code;
}

/* What went wrong here is no verdict. */
static bool is_verdict(enum error_code code)
{
    return code != ERR_OK && code != ERR_NO_MEMORY && code != ERR_INTERNAL;
}

enum error_code trust_check(const struct trust *trust, const char *server,
                            const struct wire_execute *execute, int64_t now_ms, struct error *err)
{
    if (!execute->is_signed)
        return denied(err, "the plan is not signed, and this agent runs only what its trusted keys "
                           "have signed");
    enum error_code code = seal_check(trust, server, execute, now_ms, err);
    if (!is_verdict(code))
        return code;
    if (err)
        err->code = ERR_DENIED;
    return ERR_DENIED;
}
