#include "common/base/cleanup.h"
#include "orchestrator/cli/install/ssh_internal.h"
#include "orchestrator/cli/install/ssh_key.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What became of the ways to log in, for the message when none worked. */
struct login {
    struct ssh *ssh;
    char *methods; /* what the host takes, borrowed from the session */
    int tried;     /* keys that the host did not want */
    bool rsa_left_out;
    char key_fault[ERROR_MESSAGE_MAX]; /* of the last key file that could not be used */
};

static bool takes(const struct login *l, const char *method)
{
    size_t len = strlen(method);
    for (const char *at = l->methods; at && (at = strstr(at, method)); at += len) {
        if ((at == l->methods || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* libssh2 before 1.11 signs with an RSA key by SHA-1 alone, which OpenSSH refuses from 8.8 on; each
 * try would count against the few that a host allows. */
static bool rsa_is_useless(struct ssh *ssh)
{
    enum { LIBSSH2_RSA_SHA2 = 0x010b00, MAJOR = 8, MINOR = 8 };
    const char *banner = libssh2_session_banner_get(ssh->session);
    const char *version = banner ? strstr(banner, "OpenSSH_") : NULL;
    char *end = NULL;
    if (libssh2_version(LIBSSH2_RSA_SHA2) || !version)
        return false;
    long major = strtol(version + strlen("OpenSSH_"), &end, 10);
    long minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    return major > MAJOR || (major == MAJOR && minor >= MINOR);
}

/* ---- The agent ---------------------------------------------------------------------------------
 */

static void agent_free_auto(LIBSSH2_AGENT **agent)
{
    if (!*agent)
        return;
    (void)libssh2_agent_disconnect(*agent);
    libssh2_agent_free(*agent);
}

/* With IdentitiesOnly the agent may use the keys alone whose public halves are named. */
static bool key_allowed(const struct login *l, const struct libssh2_agent_publickey *key)
{
    const struct ssh_config *c = l->ssh->config;
    if (!c->keys_only)
        return true;
    for (size_t i = 0; i < c->key_count; i++) {
        if (ssh_key_public_is(c->keys[i], key->blob, key->blob_len))
            return true;
    }
    return false;
}

static bool is_rsa(const struct libssh2_agent_publickey *key)
{
    static const char type[] = "\0\0\0\7ssh-rsa";
    return key->blob_len > sizeof(type) && memcmp(key->blob, type, sizeof(type) - 1) == 0;
}

static enum error_code try_agent_keys(struct login *l, LIBSSH2_AGENT *agent, bool *ret_in,
                                      struct error *err)
{
    struct libssh2_agent_publickey *key = NULL;
    bool no_rsa = rsa_is_useless(l->ssh);
    while (libssh2_agent_get_identity(agent, &key, key) == 0) {
        int rc = 0;
        if (!key_allowed(l, key))
            continue;
        if (no_rsa && is_rsa(key)) {
            l->rsa_left_out = true;
            continue;
        }
        enum error_code code =
            SSH_REPEAT(l->ssh, rc, libssh2_agent_userauth(agent, l->ssh->config->user, key), err);
        if (code != ERR_OK)
            return code;
        l->tried++;
        if (rc == LIBSSH2_ERROR_SOCKET_DISCONNECT || rc == LIBSSH2_ERROR_SOCKET_RECV)
            return ssh_failure(l->ssh, ERR_IO, "the host ends the log-in", err);
        if (rc == 0) {
            *ret_in = true;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static enum error_code try_agent(struct login *l, bool *ret_in, struct error *err)
{
    const struct ssh_config *c = l->ssh->config;
    __attribute__((cleanup(agent_free_auto))) LIBSSH2_AGENT *agent = NULL;
    if (strcmp(c->agent, "none") == 0)
        return ERR_OK;
    agent = libssh2_agent_init(l->ssh->session);
    if (!agent)
        return error_set(err, ERR_NO_MEMORY, NULL);
    if (c->agent[0] && strcmp(c->agent, "SSH_AUTH_SOCK") != 0)
        libssh2_agent_set_identity_path(agent, c->agent);
    /* That there is no agent is the usual thing. */
    if (libssh2_agent_connect(agent) != 0 || libssh2_agent_list_identities(agent) != 0)
        return ERR_OK;
    return try_agent_keys(l, agent, ret_in, err);
}

/* ---- Key files ---------------------------------------------------------------------------------
 */

static enum error_code offer_key(struct login *l, const char *path, const char *passphrase,
                                 int *ret_rc, struct error *err)
{
    struct ssh *ssh = l->ssh;
    return SSH_REPEAT(ssh, *ret_rc,
                      libssh2_userauth_publickey_fromfile_ex(ssh->session, ssh->config->user,
                                                             (unsigned)strlen(ssh->config->user),
                                                             NULL, path, passphrase),
                      err);
}

static enum error_code try_file(struct login *l, const char *path, bool *ret_in, struct error *err)
{
    struct ssh *ssh = l->ssh;
    AUTO_WIPED char passphrase[SECRET_MAX] = "";
    char name[TARGET_PATH_MAX + 32];
    enum ssh_key_kind kind = ssh_key_look(path);
    int rc = 0;
    if (kind == SSH_KEY_NONE)
        return ERR_OK;
    if (kind == SSH_KEY_RSA && rsa_is_useless(ssh)) {
        l->rsa_left_out = true;
        return ERR_OK;
    }
    (void)snprintf(name, sizeof(name), "passphrase of %s", path);
    if (kind == SSH_KEY_ENCRYPTED) {
        struct error why = {0};
        if (secrets_get(ssh->options.secrets, name, passphrase, &why) != ERR_OK) {
            (void)snprintf(l->key_fault, sizeof(l->key_fault), "%s", why.message);
            return ERR_OK;
        }
    }
    enum error_code code = offer_key(l, path, passphrase, &rc, err);
    if (code != ERR_OK)
        return code;
    if (rc == LIBSSH2_ERROR_SOCKET_DISCONNECT || rc == LIBSSH2_ERROR_SOCKET_RECV)
        return ssh_failure(ssh, ERR_IO, "the host ends the log-in", err);
    /* The file was read when the host was asked, whatever it answered. */
    if (kind == SSH_KEY_ENCRYPTED)
        secrets_used(ssh->options.secrets, name, rc != LIBSSH2_ERROR_FILE);
    if (rc == LIBSSH2_ERROR_FILE)
        (void)snprintf(l->key_fault, sizeof(l->key_fault), "%.160s cannot be used%s", path,
                       kind == SSH_KEY_ENCRYPTED ? " (wrong passphrase?)" : "");
    else if (rc != 0)
        l->tried++;
    *ret_in = rc == 0;
    return ERR_OK;
}

/* ---- Passwords ---------------------------------------------------------------------------------
 */

/* libssh2 hands an answer's memory to free(3): its own allocator is not set. */
static void answer_prompts( // NOLINT(readability-function-size): the parameters are libssh2's
    const char *name, int name_len, const char *instruction, int instruction_len, int count,
    const LIBSSH2_USERAUTH_KBDINT_PROMPT *prompts, LIBSSH2_USERAUTH_KBDINT_RESPONSE *responses,
    void **abstract)
{
    const char *password = *abstract;
    (void)name;
    (void)name_len;
    (void)instruction;
    (void)instruction_len;
    for (int i = 0; i < count; i++) {
        /* What is shown as it is typed is no password. */
        responses[i].text = strdup(prompts[i].echo ? "" : password);
        responses[i].length = responses[i].text ? (unsigned)strlen(responses[i].text) : 0;
    }
}

static enum error_code offer_password(struct login *l, const char *password, int *ret_rc,
                                      struct error *err)
{
    struct ssh *ssh = l->ssh;
    const char *user = ssh->config->user;
    unsigned user_len = (unsigned)strlen(user);
    enum error_code code = ERR_OK;
    *ret_rc = LIBSSH2_ERROR_AUTHENTICATION_FAILED;
    if (takes(l, "password"))
        code = SSH_REPEAT(ssh, *ret_rc,
                          libssh2_userauth_password_ex(ssh->session, user, user_len, password,
                                                       (unsigned)strlen(password), NULL),
                          err);
    if (code != ERR_OK || *ret_rc == 0 || !takes(l, "keyboard-interactive"))
        return code;
    void **abstract = libssh2_session_abstract(ssh->session);
    void *before = *abstract;
    union {
        const char *in;
        void *out;
    } secret = {password};
    *abstract = secret.out;
    code = SSH_REPEAT(
        ssh, *ret_rc,
        libssh2_userauth_keyboard_interactive_ex(ssh->session, user, user_len, answer_prompts),
        err);
    *abstract = before;
    return code;
}

/* Why no key would do. */
static enum error_code nothing_worked(const struct login *l, struct error *err)
{
    const char *user = l->ssh->config->user;
    if (l->key_fault[0])
        return error_set(err, ERR_DENIED, "cannot log in as %.64s: %.170s", user, l->key_fault);
    if (l->rsa_left_out)
        return error_set(
            err, ERR_DENIED,
            "cannot log in as %.64s: RSA keys were left out, as this libssh2 signs with "
            "SHA-1, which the host refuses; an Ed25519 key works",
            user);
    if (l->tried > 0)
        return error_set(err, ERR_DENIED, "cannot log in as %.64s: the host wants none of %d key%s",
                         user, l->tried, l->tried == 1 ? "" : "s");
    return error_set(err, ERR_DENIED,
                     "cannot log in as %.64s: there is no key to try; the host takes: %.100s", user,
                     l->methods);
}

static enum error_code try_password(struct login *l, bool *ret_in, struct error *err)
{
    struct ssh *ssh = l->ssh;
    AUTO_WIPED char password[SECRET_MAX] = "";
    char name[TARGET_USER_MAX + 32];
    int rc = 0;
    (void)snprintf(name, sizeof(name), "SSH password of %s", ssh->config->user);
    enum error_code code = secrets_get(ssh->options.secrets, name, password, err);
    bool keys_tried = l->key_fault[0] || l->rsa_left_out || l->tried > 0;
    if (code != ERR_OK && code != ERR_DENIED && keys_tried) {
        struct error keys = {0};
        error_ignore(nothing_worked(l, &keys));
        return error_set(err, code, "%s", keys.message); /* a password was the last resort */
    }
    if (code != ERR_OK)
        return code;
    code = offer_password(l, password, &rc, err);
    if (code != ERR_OK)
        return code;
    *ret_in = rc == 0;
    secrets_used(ssh->options.secrets, name, *ret_in);
    return *ret_in ? ERR_OK : error_set(err, ERR_DENIED, "the host refuses the %s", name);
}

/* ---- All of it ---------------------------------------------------------------------------------
 */

/* What the host takes; NULL with *ret_in when it takes anybody. */
static enum error_code ask_methods(struct login *l, bool *ret_in, struct error *err)
{
    struct ssh *ssh = l->ssh;
    const char *user = ssh->config->user;
    int64_t deadline = ssh_deadline(ssh);
    for (;;) {
        l->methods = libssh2_userauth_list(ssh->session, user, (unsigned)strlen(user));
        *ret_in = !l->methods && libssh2_userauth_authenticated(ssh->session);
        if (l->methods || *ret_in)
            return ERR_OK;
        if (libssh2_session_last_errno(ssh->session) != LIBSSH2_ERROR_EAGAIN)
            return ssh_failure(ssh, ERR_PROTOCOL, "the host lets nobody log in", err);
        enum error_code code = ssh_wait(ssh, deadline, err);
        if (code != ERR_OK)
            return code;
    }
}

enum error_code ssh_login(struct ssh *ssh, struct error *err)
{
    struct login l = {.ssh = ssh};
    const struct ssh_config *c = ssh->config;
    bool in = false;
    enum error_code code = ask_methods(&l, &in, err);
    if (code == ERR_OK && !in && takes(&l, "publickey")) {
        code = try_agent(&l, &in, err);
        for (size_t i = 0; code == ERR_OK && !in && i < c->key_count; i++)
            code = try_file(&l, c->keys[i], &in, err);
    }
    if (code != ERR_OK || in)
        return code;
    if (!takes(&l, "password") && !takes(&l, "keyboard-interactive"))
        return nothing_worked(&l, err);
    return try_password(&l, &in, err);
}
