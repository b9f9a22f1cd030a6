/* key new, key show. */
#include "common/base/cleanup.h"
#include "common/pki/pki_file.h"
#include "common/pki/pki_key.h"
#include "common/seal/seal_keys.h"
#include "orchestrator/cli/commands.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct key_doc {
    char *id;
    char *name;
    char *line;
};

static const struct json_field key_fields[] = {
    {.name = "id", .type = JSON_STRING, JSON_AT(struct key_doc, id), .doc = "The key's id."},
    {.name = "name",
     .type = JSON_STRING,
     JSON_AT(struct key_doc, name),
     .flags = JSON_OMIT_EMPTY,
     .doc = "Whose it is."},
    {.name = "line",
     .type = JSON_STRING,
     JSON_AT(struct key_doc, line),
     .doc = "Its line in a file of trusted keys."},
};
static const struct json_table key_table =
    JSON_TABLE("key", struct key_doc, key_fields, "A key that signs plans.");

static void put_key(const struct cli *cli, const struct seal_key *key, struct buf *b)
{
    char line[SEAL_KEY_LINE_MAX];
    char id[sizeof(key->id)];
    char name[sizeof(key->name)];
    seal_key_line(key, line);
    if (!cli->options.json) {
        buf_printf(b, "%s  %s\n", key->id, line);
        return;
    }
    memcpy(id, key->id, sizeof(id));
    memcpy(name, key->name, sizeof(name));
    const struct key_doc doc = {.id = id, .name = name[0] ? name : NULL, .line = line};
    json_encode(b, &key_table, &doc);
}

/* ---- new ---------------------------------------------------------------------------------------
 */

static enum error_code must_be_new(const char *path, struct error *err)
{
    struct stat info;
    if (lstat(path, &info) == 0)
        return error_set(err, ERR_EXISTS, "%.150s is there already, and a key is never replaced",
                         path);
    return errno == ENOENT ? ERR_OK : error_errno(err, errno, "%.150s", path);
}

static enum error_code key_make(const struct cli *cli, struct pki_signer **ret_signer,
                                struct seal_key *ret_key, struct error *err)
{
    AUTO_BUF struct buf by = BUF_INIT;
    struct pki_public public;
    enum error_code code = cli_by(cli, &by, err);
    if (code == ERR_OK)
        code = pki_signer_new(ret_signer, err);
    if (code == ERR_OK)
        code = pki_signer_public(*ret_signer, &public, err);
    return code == ERR_OK ? seal_key_of(&public, by.data, ret_key, err) : code;
}

static enum error_code public_save(const struct seal_key *key, const char *path, struct error *err)
{
    enum { PUBLIC_MODE = 0644 };
    char line[SEAL_KEY_LINE_MAX + 1];
    seal_key_line(key, line);
    size_t len = strlen(line);
    line[len++] = '\n';
    return pki_file_write(path, line, len, PUBLIC_MODE, err);
}

DEFINE_CLEANUP(pki_signer_free, struct pki_signer)

static enum error_code key_new(const struct cli *cli, const char *path, const char *public_path,
                               struct seal_key *ret_key, struct error *err)
{
    AUTO(pki_signer_free) struct pki_signer *signer = NULL;
    enum error_code code = must_be_new(path, err);
    if (code == ERR_OK)
        code = must_be_new(public_path, err);
    if (code == ERR_OK)
        code = key_make(cli, &signer, ret_key, err);
    if (code == ERR_OK)
        code = pki_signer_save(signer, path, err);
    return code == ERR_OK ? public_save(ret_key, public_path, err) : code;
}

int cmd_key_new(struct cli *cli)
{
    AUTO_BUF struct buf public_path = BUF_INIT;
    AUTO_BUF struct buf b = BUF_INIT;
    struct seal_key key = {0};
    struct error err = {0};
    const char *path = cli->options.args[0];
    (void)pki_keys_protect();
    buf_printf(&public_path, "%s.pub", path);
    enum error_code code = buf_check(&public_path, &err);
    if (code == ERR_OK)
        code = key_new(cli, path, public_path.data, &key, &err);
    if (code != ERR_OK)
        return cli_fail(cli, &err);
    put_key(cli, &key, &b);
    if (cli->options.json && buf_check(&b, NULL) == ERR_OK)
        return cli_write_json(cli, b.data, b.len) ? CLI_OK : CLI_USAGE;
    return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
}

/* ---- show --------------------------------------------------------------------------------------
 */

static enum error_code show_private(const struct cli *cli, const char *path, struct buf *b,
                                    struct error *err)
{
    AUTO(pki_signer_free) struct pki_signer *signer = NULL;
    struct pki_public public;
    struct seal_key key;
    enum error_code code = pki_signer_load(path, &signer, err);
    if (code == ERR_OK)
        code = pki_signer_public(signer, &public, err);
    if (code == ERR_OK)
        code = seal_key_of(&public, "", &key, err);
    if (code == ERR_OK)
        put_key(cli, &key, b);
    return code;
}

static void put_keys(const struct cli *cli, const struct seal_keys *keys, struct buf *b)
{
    for (size_t i = 0; i < seal_keys_count(keys); i++) {
        buf_puts(b, cli->options.json && i > 0 ? "," : "");
        put_key(cli, seal_keys_at(keys, i), b);
    }
}

/* What has a private key in it is for its owner alone; the other two are texts of lines. */
static enum error_code show(const struct cli *cli, const char *path, struct buf *b,
                            struct error *err)
{
    AUTO(seal_keys_free) struct seal_keys *keys = NULL;
    AUTO_BUF struct buf text = BUF_INIT;
    buf_puts(b, cli->options.json ? "{\"keys\":[" : "");
    enum error_code code = pki_file_read(path, SEAL_KEYS_FILE_MAX, &text, err);
    if (code != ERR_OK)
        return code;
    bool private = text.len > 0 && strstr(text.data, "PRIVATE KEY") != NULL;
    if (private)
        explicit_bzero(text.data, text.len);
    if (private)
        code = show_private(cli, path, b, err);
    else
        code = seal_keys_parse(path, text.len > 0 ? text.data : "", text.len, &keys, err);
    if (code == ERR_OK && keys)
        put_keys(cli, keys, b);
    buf_puts(b, cli->options.json ? "]}" : "");
    return code == ERR_OK ? buf_check(b, err) : code;
}

int cmd_key_show(struct cli *cli)
{
    AUTO_BUF struct buf b = BUF_INIT;
    struct error err = {0};
    (void)pki_keys_protect();
    if (show(cli, cli->options.args[0], &b, &err) != ERR_OK)
        return cli_fail(cli, &err);
    if (cli->options.json)
        return cli_write_json(cli, b.data, b.len) ? CLI_OK : CLI_USAGE;
    return cli_write(cli, &b) ? CLI_OK : CLI_USAGE;
}
